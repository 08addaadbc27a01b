//! The values of ctypes.

use std::ffi::c_char;

use mapcall::array::dtype::Field;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple, PyType};

use super::target::{MAX_DEPTH, MAX_MEMBERS};
use super::{CMemory, CPointer, CValue, Target, address_of, array_of, ndarray, scalar_at};
use crate::once::{Once, intern};

/// The classes of ctypes.
struct Classes {
    module: Py<PyAny>,
    data: Py<PyType>,
    simple: Py<PyType>,
    array: Py<PyType>,
    pointer: Py<PyType>,
    structure: Py<PyType>,
    union: Py<PyType>,
    /// The class of what `byref` returns.
    argument: Py<PyType>,
}

/// Returns the classes of ctypes, if it has been imported, as NumPy does.
fn loaded(py: Python<'_>) -> PyResult<Option<&'static Classes>> {
    let modules = py.import("sys")?.getattr("modules")?;
    match modules.cast_into::<PyDict>()?.get_item("ctypes")? {
        Some(module) if !module.is_none() => classes(py).map(Some),
        _ => Ok(None),
    }
}

/// Returns the classes of ctypes, which has been imported.
fn classes(py: Python<'_>) -> PyResult<&'static Classes> {
    static CLASSES: Once<Classes> = Once::new();
    CLASSES.get_or_try_init(py, || {
        let ctypes = py.import("ctypes")?;
        let class = |name: &str| -> PyResult<Bound<'_, PyType>> {
            Ok(ctypes.getattr(name)?.cast_into::<PyType>()?)
        };
        let simple = class("_SimpleCData")?;
        let number = ctypes.getattr("c_int")?.call0()?;
        let argument = ctypes.call_method1("byref", (number,))?.get_type();
        Ok(Classes {
            data: simple.getattr("__base__")?.cast_into::<PyType>()?.unbind(),
            simple: simple.unbind(),
            array: class("Array")?.unbind(),
            pointer: class("_Pointer")?.unbind(),
            structure: class("Structure")?.unbind(),
            union: class("Union")?.unbind(),
            argument: argument.unbind(),
            module: ctypes.into_any().unbind(),
        })
    })
}

/// Reads an object of ctypes, or one whose `_as_parameter_` is one; `None` for any other object.
pub(super) fn read<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<CValue<'py>>> {
    let py = object.py();
    let Some(classes) = loaded(py)? else {
        return Ok(None);
    };
    if object.is_instance(classes.argument.bind(py))? {
        return by_reference(object).map(Some);
    }
    if object.is_instance(classes.data.bind(py))? {
        return data(object).map(Some);
    }
    let Some(parameter) = object.getattr_opt(intern!(py, "_as_parameter_"))? else {
        return Ok(None);
    };
    if let Some(array) = array_of(object)? {
        let pointer = CPointer {
            target: Target::incomplete("void"),
            address: ndarray::memory(&array).address.addr(),
            array: Some(array),
            shape: None,
            owner: object.clone(),
            as_array: String::new(),
        };
        return Ok(Some(CValue::Attribute(pointer)));
    }
    if parameter.is_instance(classes.argument.bind(py))? {
        return by_reference(&parameter).map(Some);
    }
    if parameter.is_instance(classes.data.bind(py))? {
        return data(&parameter).map(Some);
    }
    Ok(None)
}

/// Reads an instance of a type of ctypes.
fn data<'py>(object: &Bound<'py, PyAny>) -> PyResult<CValue<'py>> {
    let py = object.py();
    let (classes, class) = (classes(py)?, object.get_type());
    let is = |of: &Py<PyType>| class.is_subclass(of.bind(py));
    if is(&classes.simple)? {
        return simple(object, &class);
    }
    if is(&classes.pointer)? {
        let Some(target) = class.getattr_opt(intern!(py, "_type_"))? else {
            return Ok(CValue::Unusable("it is a pointer to no type"));
        };
        let (target, shape) = Types::default().elements(&target, 0)?;
        return pointer(object, target, &shape);
    }
    if is(&classes.array)? || is(&classes.structure)? || is(&classes.union)? {
        return memory(object).map(CValue::Memory);
    }
    // A function pointer.
    pointer(object, Target::incomplete("a function"), &[])
}

/// Reads an instance of a simple type: a number, a text or an untyped pointer.
fn simple<'py>(object: &Bound<'py, PyAny>, class: &Bound<'py, PyType>) -> PyResult<CValue<'py>> {
    let py = object.py();
    let value = object.getattr(intern!(py, "value"));
    let value = match code(class)? {
        'P' => return pointer(object, Target::incomplete("void"), &[]),
        'z' => {
            let value = value?;
            return Ok(if value.is_none() {
                CValue::Null
            } else {
                CValue::Text(value)
            });
        }
        'Z' => return pointer(object, Target::named("wchar_t"), &[]),
        'O' => return Ok(CValue::Unusable("C code has no use for a Python object")),
        'c' => {
            let value = value?.cast_into::<PyBytes>()?;
            let byte = value.as_bytes().first().copied().unwrap_or_default();
            c_char::from_ne_bytes([byte]).into_pyobject(py)?.into_any()
        }
        'u' => {
            let value = value?.cast_into::<PyString>()?;
            let character = value.to_str()?.chars().next().unwrap_or_default();
            u32::from(character).into_pyobject(py)?.into_any()
        }
        'g' | 'F' | 'D' | 'G' => {
            let memory = memory(object)?;
            let value = scalar_at(&memory.target, memory.address, object)?;
            return Ok(CValue::Number(value, Some(memory)));
        }
        _ => value?,
    };
    Ok(CValue::Number(value, Some(memory(object)?)))
}

/// Returns the letter of a simple type.
fn code(class: &Bound<'_, PyAny>) -> PyResult<char> {
    class.getattr(intern!(class.py(), "_type_"))?.extract()
}

/// Returns the memory of an instance.
fn memory<'py>(object: &Bound<'py, PyAny>) -> PyResult<CMemory<'py>> {
    let (target, shape) = Types::default().elements(object.get_type().as_any(), 0)?;
    let (address, _) = region(object)?;
    Ok(CMemory {
        target,
        address,
        shape,
        is_read_only: false,
        owner: object.clone(),
    })
}

/// Returns the address and the size in bytes of an instance.
fn region(object: &Bound<'_, PyAny>) -> PyResult<(usize, usize)> {
    let py = object.py();
    let ctypes = classes(py)?.module.bind(py);
    let address = ctypes.call_method1(intern!(py, "addressof"), (object,))?;
    let size = ctypes.call_method1(intern!(py, "sizeof"), (object,))?;
    Ok((address.extract()?, size.extract()?))
}

/// Reads what `byref` returned.
fn by_reference<'py>(argument: &Bound<'py, PyAny>) -> PyResult<CValue<'py>> {
    let object = argument.getattr(intern!(argument.py(), "_obj"))?;
    let (target, shape) = Types::default().elements(object.get_type().as_any(), 0)?;
    let address = address_of(argument)?;
    let (start, size) = region(&object)?;
    let shape = if start == address {
        Some(if shape.is_empty() { vec![1] } else { shape })
    } else {
        elements_left(&target, address, (start, size), &[])
    };
    Ok(CValue::Pointer(CPointer {
        target,
        address,
        array: None,
        shape,
        owner: object,
        as_array: String::new(),
    }))
}

/// Returns the lengths of the elements from an address to the end of a region, each an array of the lengths
/// `inner`; `None` if the address lies outside, or if the elements have no size.
fn elements_left(
    target: &Target,
    address: usize,
    region: (usize, usize),
    inner: &[usize],
) -> Option<Vec<usize>> {
    let offset = address.checked_sub(region.0)?;
    let left = region.1.checked_sub(offset).filter(|&left| left > 0)?;
    let sizes = inner.iter().copied();
    let size = sizes.fold(target.itemsize(), |size, length| size?.checked_mul(length))?;
    let mut shape = vec![left.checked_div(size)?];
    shape.extend_from_slice(inner);
    Some(shape)
}

/// Reads a pointer. `inner` has the lengths of the array that it points to, if it is one to an array.
fn pointer<'py>(
    object: &Bound<'py, PyAny>,
    target: Target,
    inner: &[usize],
) -> PyResult<CValue<'py>> {
    let py = object.py();
    let address = address_of(object)?;
    if address == 0 {
        return Ok(CValue::Null);
    }
    let mut pointer = CPointer {
        target,
        address,
        array: None,
        shape: None,
        owner: object.clone(),
        as_array: "numpy.ctypeslib.as_array({}, (n,))".into(),
    };
    if let Some(array) = array_of(object)? {
        let memory = ndarray::memory(&array);
        let is_same = match &pointer.target.dtype {
            Some(Ok(dtype)) => {
                ndarray::core_dtype(&ndarray::dtype_of(&array)).as_ref() == Ok(dtype)
            }
            _ => pointer.target.name == "void",
        };
        // The pointer may have been set to another address since.
        if memory.address.addr() == address && is_same && memory.shape.ends_with(inner) {
            pointer.array = Some(array);
            return Ok(CValue::Pointer(pointer));
        }
        if memory.is_contiguous && memory.is_writeable {
            let items = memory.shape.iter().product::<usize>();
            let region = (memory.address.addr(), items * ndarray::itemsize(&array));
            pointer.shape = elements_left(&pointer.target, address, region, inner);
        }
    }
    // The objects that the pointer was made of. The attribute is the dict itself, which an assignment to
    // `contents` changes.
    if let Some(objects) = object.getattr_opt(intern!(py, "_objects"))?
        && let Ok(objects) = objects.cast_into::<PyDict>()
    {
        let objects = objects.values();
        for known in &objects {
            let is_data = known.is_instance(classes(py)?.data.bind(py))?;
            if pointer.shape.is_none() && is_data && !known.is(object) {
                pointer.shape = elements_left(&pointer.target, address, region(&known)?, inner);
            }
        }
        pointer.owner = PyTuple::new(py, [object.as_any(), objects.as_any()])?.into_any();
    }
    if pointer.shape.is_none() && !inner.is_empty() {
        pointer.shape = Some([&[1], inner].concat());
    }
    Ok(CValue::Pointer(pointer))
}

/// A reader of the types of ctypes, with the number of members that it has read.
#[derive(Default)]
struct Types {
    members: usize,
}

impl Types {
    /// Returns the type of the elements of a class, and the lengths of an array's axes.
    fn elements(
        &mut self,
        class: &Bound<'_, PyAny>,
        depth: usize,
    ) -> PyResult<(Target, Vec<usize>)> {
        let py = class.py();
        let array = classes(py)?.array.bind(py);
        let (mut class, mut shape) = (class.clone(), Vec::new());
        while let Ok(of) = class.cast::<PyType>()
            && of.is_subclass(array)?
        {
            if shape.len() > MAX_DEPTH {
                return Ok((
                    Target::without_dtype("an array", "it has too many axes"),
                    shape,
                ));
            }
            shape.push(class.getattr(intern!(py, "_length_"))?.extract()?);
            class = class.getattr(intern!(py, "_type_"))?;
        }
        Ok((self.target(&class, depth)?, shape))
    }

    /// Returns the type of a class that is no array.
    fn target(&mut self, class: &Bound<'_, PyAny>, depth: usize) -> PyResult<Target> {
        let py = class.py();
        let classes = classes(py)?;
        let Ok(class) = class.cast::<PyType>() else {
            return Ok(Target::without_dtype("void", "it is no type of ctypes"));
        };
        if depth > MAX_DEPTH {
            return Ok(Target::without_dtype(
                "a type",
                "its types are nested too deep",
            ));
        }
        let is = |of: &Py<PyType>| class.is_subclass(of.bind(py));
        if is(&classes.simple)? {
            let target = named(code(class.as_any())?);
            let is_swapped = match class.getattr_opt(native(py))? {
                Some(native) => !native.is(class),
                None => false,
            };
            return Ok(if is_swapped { target.swapped() } else { target });
        }
        if is(&classes.pointer)? {
            let target = match class.getattr_opt(intern!(py, "_type_"))? {
                Some(target) => self.elements(&target, depth + 1)?.0,
                None => Target::incomplete("void"),
            };
            return Ok(Target::pointer_to(&target));
        }
        if is(&classes.structure)? || is(&classes.union)? {
            return self.structure(class, depth);
        }
        let name = class.name()?.to_string();
        Ok(Target::without_dtype(&name, format!("{name} has no size")))
    }

    /// Returns the type of a structure or union: its fields, those of its base classes first.
    fn structure(&mut self, class: &Bound<'_, PyType>, depth: usize) -> PyResult<Target> {
        let py = class.py();
        let name = class.name()?.to_string();
        let mut declared = Vec::new();
        for base in class.mro().iter().rev() {
            let dict = base.getattr(intern!(py, "__dict__"))?;
            if dict.contains(intern!(py, "_fields_"))? {
                for field in dict.get_item(intern!(py, "_fields_"))?.try_iter()? {
                    declared.push((base.clone(), field?));
                }
            }
        }
        if declared.is_empty() {
            return Ok(Target::incomplete(&name));
        }
        let mut members: Result<Vec<Field>, String> = Ok(Vec::new());
        for (base, field) in declared {
            self.members += 1;
            if self.members > MAX_MEMBERS {
                members = Err("it has too many members".into());
            }
            let Ok(known) = &mut members else { break };
            let field = field.try_iter()?.collect::<PyResult<Vec<_>>>()?;
            let member = match &field[..] {
                [name, of] => {
                    let name: String = name.extract()?;
                    let descriptor = base.getattr(name.as_str())?;
                    let offset = descriptor.getattr(intern!(py, "offset"))?.extract()?;
                    let (target, shape) = self.elements(of, depth + 1)?;
                    target.member(&name, offset, &shape)
                }
                _ => Err("it has bit-fields".into()),
            };
            match member {
                Ok(member) => known.push(member),
                Err(reason) => members = Err(reason),
            }
        }
        let ctypes = classes(py)?.module.bind(py);
        let size = ctypes.call_method1(intern!(py, "sizeof"), (class,))?;
        Ok(Target::structure(&name, members, size.extract()?))
    }
}

/// Returns the name of the attribute of a simple type that is the type itself, if it has the byte order of this
/// machine.
fn native(py: Python<'_>) -> &Bound<'_, PyString> {
    if cfg!(target_endian = "little") {
        intern!(py, "__ctype_le__")
    } else {
        intern!(py, "__ctype_be__")
    }
}

/// Returns the type of a letter of ctypes.
fn named(code: char) -> Target {
    Target::named(match code {
        '?' => "_Bool",
        'c' => "char",
        'b' => "signed char",
        'B' => "unsigned char",
        'h' => "short",
        'H' => "unsigned short",
        'i' => "int",
        'I' => "unsigned int",
        'l' => "long",
        'L' => "unsigned long",
        'q' => "long long",
        'Q' => "unsigned long long",
        'f' => "float",
        'd' => "double",
        'g' => "long double",
        'F' => "float _Complex",
        'D' => "double _Complex",
        'G' => "long double _Complex",
        'u' => "wchar_t",
        'P' => return Target::pointer_to(&Target::incomplete("void")),
        'z' => return Target::pointer_to(&Target::named("char")),
        'Z' => return Target::pointer_to(&Target::named("wchar_t")),
        'O' => return Target::without_dtype("PyObject *", "C code has no use for Python objects"),
        _ => return Target::without_dtype("a type", "it is no type of C"),
    })
}
