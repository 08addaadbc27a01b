//! Function pointers of ctypes, cffi, numba and SciPy, and those in capsules.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::fmt::Write;
use std::ptr;

use mapcall::Prototype;
use mapcall::contract::{FunctionValue, HostValue};
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyCapsule, PyDict, PyFunction, PyString, PyTuple, PyType};

use crate::once::intern;

/// A C function that an object of another library stands for.
pub(super) struct ForeignFunction {
    address: usize,
    signature: Signature,
}

/// What an object of another library tells of its function.
enum Signature {
    Prototype(Box<Prototype>),
    /// A text that can't be read as C.
    Unreadable(String),
    Unknown,
}

impl ForeignFunction {
    /// Describes it for the check of a call.
    pub(super) fn value(&self) -> HostValue<'_> {
        let function = match &self.signature {
            Signature::Prototype(prototype) => FunctionValue::Foreign(prototype),
            Signature::Unreadable(text) => FunctionValue::Unreadable(text),
            Signature::Unknown => FunctionValue::Unknown,
        };
        HostValue::Function {
            function,
            address: ptr::with_exposed_provenance(self.address),
        }
    }
}

/// Returns the C function that an object of another library stands for; `None` for any other object.
///
/// These are function pointers of ctypes and cffi, the results of numba's `cfunc`, capsules with a signature
/// as name, and SciPy's `LowLevelCallable`.
///
/// # Errors
///
/// Exceptions of the object's attributes.
pub(super) fn read(object: &Bound<'_, PyAny>) -> PyResult<Option<ForeignFunction>> {
    if object.is_instance_of::<PyFunction>() || object.is_instance_of::<PyCFunction>() {
        return Ok(None);
    }
    if let Ok(capsule) = object.cast::<PyCapsule>() {
        return of_capsule(capsule).map(Some);
    }
    if is_instance(object, "_ctypes", "CFuncPtr")? {
        return of_ctypes(object).map(Some);
    }
    if is_instance(object, "_cffi_backend", "_CDataBase")? {
        return of_cffi(object).map(Some);
    }
    if is_instance(object, "numba.core.ccallback", "CFunc")? {
        let address = object.getattr(intern!(object.py(), "address"))?.extract()?;
        let signature = numba_signature(object).unwrap_or(Signature::Unknown);
        return Ok(Some(ForeignFunction { address, signature }));
    }
    low_level_callable(object)?
        .as_ref()
        .map(of_capsule)
        .transpose()
}

/// Returns the capsule of a `LowLevelCallable` of SciPy; `None` for any other object.
fn low_level_callable<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyCapsule>>> {
    // It is a tuple whose first item is the capsule; its own `__getitem__` refuses.
    let Ok(tuple) = object.cast::<PyTuple>() else {
        return Ok(None);
    };
    if !is_instance(object, "scipy._lib._ccallback", "LowLevelCallable")? {
        return Ok(None);
    }
    let capsule = tuple.as_slice().first();
    Ok(capsule.and_then(|capsule| capsule.cast::<PyCapsule>().ok().cloned()))
}

/// Returns the address of the user data of a `LowLevelCallable` of SciPy; `None` if it has none, and for any other
/// object.
///
/// # Errors
///
/// Exceptions of the object's attributes.
pub(super) fn user_data(object: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
    let Some(capsule) = low_level_callable(object)? else {
        return Ok(None);
    };
    // SAFETY: the object is a capsule.
    let data = unsafe { ffi::PyCapsule_GetContext(capsule.as_ptr()) };
    if data.is_null() && PyErr::occurred(object.py()) {
        return Err(PyErr::fetch(object.py()));
    }
    Ok((!data.is_null()).then(|| data.expose_provenance()))
}

/// Returns the address in a capsule.
///
/// # Errors
///
/// `ValueError` if it has none.
pub(super) fn capsule_address(capsule: &Bound<'_, PyCapsule>) -> PyResult<usize> {
    let object = capsule.as_ptr();
    // SAFETY: `object` is a capsule.
    let name = unsafe { ffi::PyCapsule_GetName(object) };
    // SAFETY: `object` is a capsule, and the name its own.
    let address = unsafe { ffi::PyCapsule_GetPointer(object, name) };
    if address.is_null() {
        return Err(PyErr::fetch(capsule.py()));
    }
    Ok(address.expose_provenance())
}

/// Returns whether an object is an instance of a class of a module, which is not imported for that.
fn is_instance(object: &Bound<'_, PyAny>, module: &str, class: &str) -> PyResult<bool> {
    let py = object.py();
    let modules = py
        .import(intern!(py, "sys"))?
        .getattr(intern!(py, "modules"))?;
    let Some(module) = modules.cast::<PyDict>()?.get_item(module)? else {
        return Ok(false);
    };
    match module.getattr_opt(class)? {
        Some(class) => object.is_instance(&class),
        None => Ok(false),
    }
}

/// Returns the function in a capsule, whose name is its signature: `"double (double, void *)"`.
fn of_capsule(capsule: &Bound<'_, PyCapsule>) -> PyResult<ForeignFunction> {
    let address = capsule_address(capsule)?;
    // SAFETY: the object is a capsule.
    let name = unsafe { ffi::PyCapsule_GetName(capsule.as_ptr()) };
    let signature = if name.is_null() {
        Signature::Unknown
    } else {
        // SAFETY: the name of a capsule is a text that ends with a NUL, and lives as long as the capsule.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let parsed = name
            .split_once('(')
            .and_then(|(result, rest)| Prototype::parse(&format!("{result} f({rest}")).ok());
        match parsed {
            Some(prototype) => Signature::Prototype(Box::new(prototype)),
            None => Signature::Unreadable(name.into_owned()),
        }
    };
    Ok(ForeignFunction { address, signature })
}

fn of_ctypes(object: &Bound<'_, PyAny>) -> PyResult<ForeignFunction> {
    let py = object.py();
    let ctypes = py.import(intern!(py, "ctypes"))?;
    let pointer = ctypes.getattr(intern!(py, "c_void_p"))?;
    let address = ctypes.call_method1(intern!(py, "cast"), (object, pointer))?;
    let address: Option<usize> = address.getattr(intern!(py, "value"))?.extract()?;
    let parameters = object.getattr(intern!(py, "argtypes"))?;
    let signature = if parameters.is_none() {
        Signature::Unknown
    } else {
        let mut writer = SignatureWriter::default();
        let result = object.getattr(intern!(py, "restype"))?;
        let result = writer.ctypes(&result, 0)?;
        let mut types = Vec::new();
        for parameter in parameters.try_iter()? {
            types.push(writer.ctypes(&parameter?, 0)?);
        }
        writer.signature(result, types)
    };
    Ok(ForeignFunction {
        address: address.unwrap_or_default(),
        signature,
    })
}

fn of_cffi(object: &Bound<'_, PyAny>) -> PyResult<ForeignFunction> {
    let py = object.py();
    let backend = py.import(intern!(py, "_cffi_backend"))?;
    let ctype = backend.call_method1(intern!(py, "typeof"), (object,))?;
    let kind = ctype.getattr(intern!(py, "kind"))?;
    let is_function = kind.eq("function")?;
    if !is_function {
        let is_void = kind.eq("pointer")? && { ctype.getattr(intern!(py, "item"))? }
            .getattr(intern!(py, "kind"))?
            .eq("void")?;
        if !is_void {
            let name = ctype.getattr(intern!(py, "cname"))?.to_string();
            return Ok(ForeignFunction {
                address: 0,
                signature: Signature::Unreadable(name),
            });
        }
    }
    let uintptr = backend.call_method1(intern!(py, "new_primitive_type"), ("uintptr_t",))?;
    let address = backend.call_method1(intern!(py, "cast"), (uintptr, object))?;
    let address = address.call_method0(intern!(py, "__int__"))?.extract()?;
    let signature = if is_function {
        let mut writer = SignatureWriter::default();
        let result = writer.cffi(&ctype.getattr(intern!(py, "result"))?, 0)?;
        let mut types = Vec::new();
        for parameter in ctype.getattr(intern!(py, "args"))?.try_iter()? {
            types.push(writer.cffi(&parameter?, 0)?);
        }
        if ctype.getattr(intern!(py, "ellipsis"))?.is_truthy()? {
            types.push("...".into());
        }
        writer.signature(result, types)
    } else {
        Signature::Unknown
    };
    Ok(ForeignFunction { address, signature })
}

/// Returns the signature of a function that numba has compiled. It has no public attribute.
fn numba_signature(object: &Bound<'_, PyAny>) -> PyResult<Signature> {
    let signature = object.getattr("_sig")?;
    let writer = SignatureWriter::default();
    let result = numba_type(&signature.getattr("return_type")?)?;
    let mut types = Vec::new();
    for parameter in signature.getattr("args")?.try_iter()? {
        types.push(numba_type(&parameter?)?);
    }
    Ok(
        match types.into_iter().collect::<Option<Vec<_>>>().zip(result) {
            Some((types, result)) => writer.signature(result, types),
            None => Signature::Unknown,
        },
    )
}

/// Returns the C type of one of numba's; `None` for those that have none by value.
fn numba_type(ctype: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    let name = ctype.str()?.to_string();
    let known = match name.as_str() {
        "none" | "void" => "void",
        "bool" | "boolean" => "_Bool",
        "float32" => "float",
        "float64" => "double",
        "complex64" => "float _Complex",
        "complex128" => "double _Complex",
        "int8" => "int8_t",
        "int16" => "int16_t",
        "int32" => "int32_t",
        "int64" => "int64_t",
        "uint8" => "uint8_t",
        "uint16" => "uint16_t",
        "uint32" => "uint32_t",
        "uint64" => "uint64_t",
        "void*" | "voidptr" => "void *",
        _ => {
            let class = ctype.get_type();
            if class.name()? != "CPointer" {
                return Ok(None);
            }
            let target = numba_type(&ctype.getattr("dtype")?)?;
            return Ok(Some(match target {
                Some(target) => format!("{target} *"),
                None => "void *".into(),
            }));
        }
    };
    Ok(Some(known.into()))
}

/// A writer of signatures as C, from the types of another library.
#[derive(Default)]
struct SignatureWriter {
    /// The definitions of the structs that are passed by value.
    definitions: String,
    structs: usize,
}

impl SignatureWriter {
    /// The maximum depth of pointers to pointers that is compared.
    const MAX_DEPTH: usize = 8;

    fn signature(self, result: String, types: Vec<String>) -> Signature {
        let types = if types.is_empty() {
            "void".to_owned()
        } else {
            types.join(", ")
        };
        let text = format!("{result} f({types})");
        match Prototype::parse(&format!("{}{text}", self.definitions)) {
            Ok(prototype) => Signature::Prototype(Box::new(prototype)),
            Err(_) => Signature::Unreadable(text),
        }
    }

    /// Returns the name of a struct with the size and alignment of one that is passed by value.
    fn structure(&mut self, size: usize, alignment: usize) -> String {
        self.structs += 1;
        let name = format!("struct by_value{}", self.structs);
        let member = match alignment {
            8 => "long long",
            4 => "int",
            2 => "short",
            _ => "char",
        };
        let count = size / alignment.clamp(1, 8);
        // Writing to a `String` can't fail.
        let _ = write!(self.definitions, "{name} {{ {member} values[{count}]; }}; ");
        name
    }

    /// Returns the C type of a class of ctypes.
    fn ctypes(&mut self, class: &Bound<'_, PyAny>, depth: usize) -> PyResult<String> {
        let py = class.py();
        if class.is_none() {
            return Ok("void".into());
        }
        // A callable as `restype` gets an int.
        let Ok(class) = class.cast::<PyType>() else {
            return Ok("int".into());
        };
        let ctypes = py.import(intern!(py, "ctypes"))?;
        let is_record = class.is_subclass(&ctypes.getattr(intern!(py, "Structure"))?)?
            || class.is_subclass(&ctypes.getattr(intern!(py, "Union"))?)?;
        if is_record {
            if depth > 0 {
                return Ok("struct pointed_to".into());
            }
            let size = ctypes.call_method1(intern!(py, "sizeof"), (class,))?;
            let alignment = ctypes.call_method1(intern!(py, "alignment"), (class,))?;
            return Ok(self.structure(size.extract()?, alignment.extract()?));
        }
        let Some(inner) = class.getattr_opt(intern!(py, "_type_"))? else {
            return Ok("void *".into());
        };
        if inner.is_instance_of::<PyType>() {
            return Ok(if depth < Self::MAX_DEPTH {
                format!("{} *", self.ctypes(&inner, depth + 1)?)
            } else {
                "void *".into()
            });
        }
        let code = inner.cast::<PyString>().map(ToString::to_string);
        Ok(match code.as_deref() {
            Ok("c" | "b") => "signed char",
            Ok("B") => "unsigned char",
            Ok("?") => "_Bool",
            Ok("h") => "short",
            Ok("H") => "unsigned short",
            Ok("i") => "int",
            Ok("I") => "unsigned",
            Ok("l") => "long",
            Ok("L") => "unsigned long",
            Ok("q") => "long long",
            Ok("Q") => "unsigned long long",
            Ok("f") => "float",
            Ok("d") => "double",
            Ok("g") => "long double",
            Ok("u") => "wchar_t",
            Ok("z") => "char *",
            _ => "void *",
        }
        .into())
    }

    /// Returns the C type of a type of cffi.
    fn cffi(&mut self, ctype: &Bound<'_, PyAny>, depth: usize) -> PyResult<String> {
        let py = ctype.py();
        let kind = ctype.getattr(intern!(py, "kind"))?.to_string();
        Ok(match kind.as_str() {
            "void" => "void".into(),
            "enum" => "int".into(),
            "struct" | "union" if depth > 0 => "struct pointed_to".into(),
            "struct" | "union" => {
                let backend = py.import(intern!(py, "_cffi_backend"))?;
                let size = backend.call_method1(intern!(py, "sizeof"), (ctype,))?;
                let alignment = backend.call_method1(intern!(py, "alignof"), (ctype,))?;
                self.structure(size.extract()?, alignment.extract()?)
            }
            "pointer" | "array" if depth < Self::MAX_DEPTH => {
                let item = ctype.getattr(intern!(py, "item"))?;
                format!("{} *", self.cffi(&item, depth + 1)?)
            }
            "pointer" | "array" | "function" => "void *".into(),
            _ => {
                let name = ctype.getattr(intern!(py, "cname"))?.to_string();
                match name.as_str() {
                    "_cffi_float_complex_t" => "float _Complex".into(),
                    "_cffi_double_complex_t" => "double _Complex".into(),
                    "bool" => "_Bool".into(),
                    _ => name,
                }
            }
        })
    }
}

/// Makes the ctypes function of a C function at an address, which keeps `owner` alive.
///
/// # Errors
///
/// `TypeError` if ctypes has no class for a type.
pub(super) fn to_ctypes<'py>(
    owner: &Bound<'py, PyAny>,
    name: &str,
    address: usize,
    (result, parameters): (&mapcall::CType, &[mapcall::CType]),
) -> PyResult<Bound<'py, PyAny>> {
    let py = owner.py();
    let ctypes = py.import(intern!(py, "ctypes"))?;
    let mut classes = vec![ctypes_class(&ctypes, result, true)?];
    for parameter in parameters {
        classes.push(ctypes_class(&ctypes, parameter, false)?);
    }
    let class = ctypes.call_method1(intern!(py, "CFUNCTYPE"), PyTuple::new(py, classes)?)?;
    let function = class.call1((address,))?;
    function.setattr(intern!(py, "__name__"), name)?;
    // The library stays loaded as long as the function exists.
    function.setattr(intern!(py, "_mapcall_owner"), owner)?;
    Ok(function)
}

/// Returns the class of ctypes for a C type.
fn ctypes_class<'py>(
    ctypes: &Bound<'py, PyModule>,
    ctype: &mapcall::CType,
    is_result: bool,
) -> PyResult<Bound<'py, PyAny>> {
    use mapcall::CType;
    use mapcall::ctype::Float;
    let py = ctypes.py();
    let name = match ctype.resolved() {
        CType::Void if is_result => return Ok(py.None().into_bound(py)),
        CType::Bool => "c_bool".to_owned(),
        CType::Float(Float::Float) => "c_float".to_owned(),
        CType::Float(Float::Double) => "c_double".to_owned(),
        CType::Float(Float::LongDouble) => "c_longdouble".to_owned(),
        CType::Pointer(pointer) => match pointer.target.resolved() {
            // As a result, it would become bytes; a pointer stays one.
            _ if pointer.is_text() && !is_result => "c_char_p".to_owned(),
            target @ (CType::Bool | CType::Integer(_) | CType::Enum(_) | CType::Float(_)) => {
                return match ctypes_class(ctypes, target, false) {
                    Ok(class) => ctypes.call_method1(intern!(py, "POINTER"), (class,)),
                    Err(_) => ctypes.getattr(intern!(py, "c_void_p")),
                };
            }
            _ => "c_void_p".to_owned(),
        },
        other => match other.integer() {
            Some(mapcall::ctype::Integer::Char) => "c_byte".to_owned(),
            Some(integer) => {
                let sign = if integer.is_signed() { "" } else { "u" };
                format!("c_{sign}int{}", 8 * integer.size())
            }
            None => {
                return Err(PyTypeError::new_err(format!(
                    "expected a function whose types ctypes has, got `{ctype}`; wrap it in a C function \
                     that takes a pointer"
                )));
            }
        },
    };
    ctypes.getattr(name)
}
