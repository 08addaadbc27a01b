//! The values of cffi.

use mapcall::array::dtype::Field;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMemoryView, PyType};

use super::target::{MAX_DEPTH, MAX_MEMBERS};
use super::{CMemory, CPointer, CValue, Target, scalar_at};
use crate::once::{Once, intern};

/// cffi's own functions.
struct Backend {
    /// An instance of `_cffi_backend.FFI`, which knows C's own types.
    ffi: Py<PyAny>,
    data: Py<PyType>,
}

/// Returns cffi's functions; `None` if nothing has imported it.
fn backend(py: Python<'_>) -> PyResult<Option<&'static Backend>> {
    static BACKEND: Once<Backend> = Once::new();
    if let Some(backend) = BACKEND.get(py) {
        return Ok(Some(backend));
    }
    let modules = py
        .import("sys")?
        .getattr("modules")?
        .cast_into::<PyDict>()?;
    let Some(module) = modules.get_item("_cffi_backend")? else {
        return Ok(None);
    };
    let backend = BACKEND.get_or_try_init(py, || -> PyResult<_> {
        let class = module.getattr("FFI")?;
        Ok(Backend {
            data: class.getattr("CData")?.cast_into::<PyType>()?.unbind(),
            ffi: class.call0()?.unbind(),
        })
    })?;
    Ok(Some(backend))
}

/// Reads an object of cffi; `None` for any other object.
pub(super) fn read<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<CValue<'py>>> {
    let py = object.py();
    let Some(backend) = backend(py)? else {
        return Ok(None);
    };
    if !object.is_instance(backend.data.bind(py))? {
        return Ok(None);
    }
    let reader = Reader {
        ffi: backend.ffi.bind(py),
        members: 0,
    };
    reader.value(object).map(Some)
}

/// A reader of one value, with the number of members that it has read.
struct Reader<'a, 'py> {
    ffi: &'a Bound<'py, PyAny>,
    members: usize,
}

impl<'py> Reader<'_, 'py> {
    fn value(mut self, object: &Bound<'py, PyAny>) -> PyResult<CValue<'py>> {
        let py = object.py();
        let ctype = self.ffi.call_method1(intern!(py, "typeof"), (object,))?;
        Ok(match &kind(&ctype)?[..] {
            "primitive" | "enum" => CValue::Number(self.number(object, &ctype)?, None),
            "pointer" => {
                let address = self.address(object)?;
                if address == 0 {
                    return Ok(CValue::Null);
                }
                let item = ctype.getattr(intern!(py, "item"))?;
                let (target, shape) = self.elements(&item, 0)?;
                let as_array = match &target.dtype {
                    Some(Ok(dtype)) => format!(
                        "numpy.frombuffer(ffi.buffer({{}}, {} * n), '{}')",
                        dtype.itemsize(),
                        dtype.name()
                    ),
                    _ => String::new(),
                };
                // `ffi.new` returns a pointer that owns one element.
                let is_owner = object.get_type().name()? == "__CDataOwn";
                let shape = match shape {
                    shape if !shape.is_empty() => Some([&[1], &shape[..]].concat()),
                    _ if is_owner => Some(vec![1]),
                    _ => None,
                };
                CValue::Pointer(CPointer {
                    target,
                    address,
                    array: None,
                    shape,
                    owner: object.clone(),
                    as_array,
                })
            }
            "array" => {
                let (target, mut shape) = self.elements(&ctype, 0)?;
                // The length of an array of a type without one is that of the value.
                if let Some(first) = shape.first_mut() {
                    *first = object.len()?;
                }
                CValue::Memory(CMemory {
                    target,
                    address: self.address(object)?,
                    shape,
                    is_read_only: is_read_only(object)?,
                    owner: object.clone(),
                })
            }
            "struct" | "union" => {
                let pointer = self.ffi.call_method1(intern!(py, "addressof"), (object,))?;
                CValue::Memory(CMemory {
                    target: self.target(&ctype, 0)?,
                    address: self.address(&pointer)?,
                    shape: Vec::new(),
                    is_read_only: false,
                    owner: object.clone(),
                })
            }
            "function" => CValue::Pointer(CPointer {
                target: Target::incomplete("a function"),
                address: self.address(object)?,
                array: None,
                shape: None,
                owner: object.clone(),
                as_array: String::new(),
            }),
            _ => CValue::Unusable("it is no value of C data"),
        })
    }

    fn address(&self, object: &Bound<'py, PyAny>) -> PyResult<usize> {
        let py = self.ffi.py();
        let cast = self
            .ffi
            .call_method1(intern!(py, "cast"), (intern!(py, "uintptr_t"), object))?;
        cast.call_method0(intern!(py, "__int__"))?.extract()
    }

    fn number(
        &mut self,
        object: &Bound<'py, PyAny>,
        ctype: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = object.py();
        let name: String = ctype.getattr(intern!(py, "cname"))?.extract()?;
        if name == "long double" {
            let new = (format!("{name} *"), object);
            let memory = self.ffi.call_method1(intern!(py, "new"), new)?;
            return scalar_at(&Target::named(&name), self.address(&memory)?, &memory);
        }
        let method = match &name[..] {
            "float" | "double" => "__float__",
            "_Bool" | "bool" => "__bool__",
            name if name.contains("complex") => "__complex__",
            _ => "__int__",
        };
        object.call_method0(method)
    }

    /// Returns the type of the elements of a type, and the lengths of an array's axes.
    fn elements(
        &mut self,
        ctype: &Bound<'py, PyAny>,
        depth: usize,
    ) -> PyResult<(Target, Vec<usize>)> {
        let py = ctype.py();
        let (mut ctype, mut shape) = (ctype.clone(), Vec::new());
        while kind(&ctype)? == "array" {
            if shape.len() > MAX_DEPTH {
                return Ok((
                    Target::without_dtype("an array", "it has too many axes"),
                    shape,
                ));
            }
            let length: Option<usize> = ctype.getattr(intern!(py, "length"))?.extract()?;
            shape.push(length.unwrap_or(0));
            ctype = ctype.getattr(intern!(py, "item"))?;
        }
        Ok((self.target(&ctype, depth)?, shape))
    }

    /// Returns a type that is no array.
    fn target(&mut self, ctype: &Bound<'py, PyAny>, depth: usize) -> PyResult<Target> {
        let py = ctype.py();
        let name: String = ctype.getattr(intern!(py, "cname"))?.extract()?;
        if depth > MAX_DEPTH {
            return Ok(Target::without_dtype(
                &name,
                "its types are nested too deep",
            ));
        }
        Ok(match &kind(ctype)?[..] {
            "primitive" => match &name[..] {
                "_cffi_float_complex_t" => Target::named("float _Complex"),
                "_cffi_double_complex_t" => Target::named("double _Complex"),
                name => Target::named(name),
            },
            "void" => Target::incomplete("void"),
            "enum" => match self
                .ffi
                .call_method1(intern!(py, "sizeof"), (ctype,))?
                .extract()?
            {
                4 => Target::named("int"),
                _ => Target::without_dtype(&name, "its enum has another size than int"),
            },
            "pointer" => {
                let item = ctype.getattr(intern!(py, "item"))?;
                // Only the name counts, so that a type may point to itself.
                let item: String = item.getattr(intern!(py, "cname"))?.extract()?;
                let item = item.trim_start_matches("struct ").replace("* *", "**");
                let target = Target::incomplete(&item);
                let is_pointer = item.ends_with('*');
                Target::pointer_to(&Target {
                    is_pointer,
                    ..target
                })
            }
            "struct" | "union" => {
                let tag = name
                    .trim_start_matches("struct ")
                    .trim_start_matches("union ");
                let fields = ctype.getattr(intern!(py, "fields"))?;
                if fields.is_none() {
                    return Ok(Target::incomplete(tag));
                }
                let members = self.members(&fields, depth)?;
                let size = self
                    .ffi
                    .call_method1(intern!(py, "sizeof"), (ctype,))?
                    .extract()?;
                Target::structure(tag, members, size)
            }
            _ => Target::without_dtype(&name, format!("{name} has no size")),
        })
    }

    /// Returns the members of a struct; an error if one has no dtype.
    fn members(
        &mut self,
        fields: &Bound<'py, PyAny>,
        depth: usize,
    ) -> PyResult<Result<Vec<Field>, String>> {
        let py = fields.py();
        let mut members = Vec::new();
        for field in fields.try_iter()? {
            self.members += 1;
            if self.members > MAX_MEMBERS {
                return Ok(Err("it has too many members".into()));
            }
            let (name, field): (String, Bound<'py, PyAny>) = field?.extract()?;
            let bits: i64 = field.getattr(intern!(py, "bitsize"))?.extract()?;
            if bits >= 0 {
                return Ok(Err("it has bit-fields".into()));
            }
            let offset = field.getattr(intern!(py, "offset"))?.extract()?;
            let (target, shape) = self.elements(&field.getattr(intern!(py, "type"))?, depth + 1)?;
            match target.member(&name, offset, &shape) {
                Ok(member) => members.push(member),
                Err(reason) => return Ok(Err(reason)),
            }
        }
        Ok(Ok(members))
    }
}

fn kind(ctype: &Bound<'_, PyAny>) -> PyResult<String> {
    ctype.getattr(intern!(ctype.py(), "kind"))?.extract()
}

/// Returns whether an array is one that `ffi.from_buffer` made of a read-only object, which its type does not say.
fn is_read_only(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = object.py();
    if object.get_type().name()? != "__CDataFromBuf" {
        return Ok(false);
    }
    let owners = py.import("gc")?.call_method1("get_referents", (object,))?;
    for owner in owners.try_iter()? {
        if let Ok(view) = PyMemoryView::from(&owner?) {
            return view.getattr(intern!(py, "readonly"))?.extract();
        }
    }
    Ok(false)
}
