//! Calls of variadic functions: the C types of their variable arguments.

use mapcall::contract::{HostValue, argument_type};
use mapcall::ctype::{CType, Float, Integer};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyType};

use super::function::{Binding, Function, Origin};
use super::handle::Handle;
use super::number::PythonNumber;
use super::struct_object::StructObject;
use super::{callback, errors, foreign, ndarray, number};
use crate::once::{Once, intern};

/// The function that takes the variable arguments of one call, and these.
pub(super) struct Variant<'py> {
    pub(super) function: Bound<'py, Function>,
    pub(super) added: Vec<Bound<'py, PyAny>>,
}

/// Returns the variant of a variadic function for its variable arguments.
///
/// # Errors
///
/// `ArgumentError` if an object has no C type.
pub(super) fn variant<'py>(
    function: &Bound<'py, Function>,
    added: &[Bound<'py, PyAny>],
) -> PyResult<Variant<'py>> {
    let (py, this) = (function.py(), function.get());
    let first = this.inner.prototype().parameters.len();
    let mut types = Vec::with_capacity(added.len());
    let mut arguments = Vec::with_capacity(added.len());
    for (position, object) in (first..).zip(added) {
        let (ctype, argument) = typed(this, position, object)?;
        types.push(ctype);
        arguments.push(argument);
    }
    let inner = this.inner.variant(&types);
    let inner = inner.map_err(|error| errors::argument(py, &error))?;
    let binding = this.binding();
    let library = binding.library.clone_ref(py);
    let options = binding.options.clone_ref(py);
    let binding = Binding::new(py, library, &inner, Origin::Address, options)?;
    let function = Function::object(py, inner, this.is_unchecked, Py::new(py, binding)?)?;
    Ok(Variant {
        function,
        added: arguments,
    })
}

/// Returns the C type of a variable argument, and the object to pass for it.
fn typed<'py>(
    function: &Function,
    position: usize,
    object: &Bound<'py, PyAny>,
) -> PyResult<(CType, Bound<'py, PyAny>)> {
    let py = object.py();
    let contract = function.inner.contract();
    let decide = |value: HostValue<'_>| {
        argument_type(value).map_err(|problem| {
            errors::refused(*contract.refuse_added(position, problem), value, object)
        })
    };
    let unchanged = |ctype| Ok((ctype, object.clone()));
    if object.is_none() {
        return unchanged(decide(HostValue::None)?);
    }
    if object.is_instance_of::<PyString>() || object.is_instance_of::<PyBytes>() {
        return unchanged(decide(HostValue::Text(&[0]))?);
    }
    if let Some(value) = callback::function_value(object) {
        return unchanged(decide(value)?);
    }
    if object.is_instance_of::<Handle>() || object.is_instance_of::<StructObject>() {
        return unchanged(decide(HostValue::Null)?);
    }
    if foreign::is_scalar(object)? {
        let dtype = object.getattr(intern!(py, "dtype"))?;
        let kind: char = dtype.getattr(intern!(py, "kind"))?.extract()?;
        let size: usize = dtype.getattr(intern!(py, "itemsize"))?.extract()?;
        if let Some(ctype) = number_type(kind, size) {
            return unchanged(ctype.promoted());
        }
        return unchanged(decide(HostValue::Other)?);
    }
    if let Some((ctype, value)) = of_ctypes(object)? {
        return Ok((ctype.promoted(), value));
    }
    let ndarray: *mut ffi::PyTypeObject = function.ndarray.as_ptr().cast();
    if ndarray::as_array(object, ndarray).is_some() {
        return unchanged(decide(HostValue::Null)?);
    }
    match number::read(object)? {
        PythonNumber::Scalar(value) => unchanged(decide(HostValue::Number(value))?),
        PythonNumber::Huge(found) => unchanged(decide(HostValue::HugeNumber(&found))?),
        PythonNumber::None => {
            // ctypes passes its structs by value, whose type is not known here.
            let is_struct = object.hasattr(intern!(py, "_fields_"))?;
            let is_pointer = object.hasattr(intern!(py, "_as_parameter_"))?
                || (!is_struct && foreign::exported(object)?.is_some());
            let value = if is_pointer {
                HostValue::Null
            } else {
                HostValue::Other
            };
            unchanged(decide(value)?)
        }
    }
}

/// Returns the C type of a number of NumPy by its dtype.
fn number_type(kind: char, size: usize) -> Option<CType> {
    let integer = |types: [Integer; 4]| {
        let integer = types.into_iter().find(|integer| integer.size() == size);
        integer.map(CType::Integer)
    };
    let floats = [
        Float::Float16,
        Float::Float,
        Float::Double,
        Float::LongDouble,
    ];
    match kind {
        'b' => Some(CType::Bool),
        'i' => integer([
            Integer::SChar,
            Integer::Short,
            Integer::Int,
            Integer::LongLong,
        ]),
        'u' => integer([
            Integer::UChar,
            Integer::UShort,
            Integer::UInt,
            Integer::ULongLong,
        ]),
        'f' => floats
            .into_iter()
            .find(|float| float.size() == size)
            .map(CType::Float),
        'c' => floats
            .into_iter()
            .find(|float| 2 * float.size() == size)
            .map(CType::Complex),
        _ => None,
    }
}

/// The type of an address that is given as an int.
const ADDRESS: CType = CType::Integer(if size_of::<usize>() == size_of::<u64>() {
    Integer::ULongLong
} else {
    Integer::ULong
});

/// Returns the C type and the value of an instance of a simple type of ctypes, such as `c_double`; the address
/// in a pointer of ctypes. `None` for other objects.
fn of_ctypes<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<(CType, Bound<'py, PyAny>)>> {
    static SIMPLE: Once<Py<PyType>> = Once::new();
    static POINTER: Once<Py<PyType>> = Once::new();
    static FUNCTION: Once<Py<PyType>> = Once::new();
    let py = object.py();
    if !object.is_instance(SIMPLE.import(py, "_ctypes", "_SimpleCData")?)? {
        let is_pointer = object.is_instance(POINTER.import(py, "_ctypes", "_Pointer")?)?
            || object.is_instance(FUNCTION.import(py, "_ctypes", "CFuncPtr")?)?
            || object.get_type().name()? == "CArgObject";
        if !is_pointer {
            return Ok(None);
        }
        let address = foreign::address_of(object)?.into_pyobject(py)?.into_any();
        return Ok(Some((ADDRESS, address)));
    }
    let code: char = object.getattr(intern!(py, "_type_"))?.extract()?;
    let value = object.getattr(intern!(py, "value"))?;
    let integer = |integer| Some(CType::Integer(integer));
    let ctype = match code {
        '?' => Some(CType::Bool),
        'b' => integer(Integer::SChar),
        'B' => integer(Integer::UChar),
        'h' => integer(Integer::Short),
        'H' => integer(Integer::UShort),
        'i' => integer(Integer::Int),
        'I' => integer(Integer::UInt),
        'l' => integer(Integer::Long),
        'L' => integer(Integer::ULong),
        'q' => integer(Integer::LongLong),
        'Q' => integer(Integer::ULongLong),
        'f' => Some(CType::Float(Float::Float)),
        'd' => Some(CType::Float(Float::Double)),
        'g' => Some(CType::Float(Float::LongDouble)),
        'z' => Some(CType::pointer_to(CType::Integer(Integer::Char), true)),
        'P' => Some(ADDRESS),
        _ => None,
    };
    let value = match code {
        // A character is a bytes object of length 1.
        'c' => {
            let byte = value.cast::<PyBytes>()?.as_bytes().first().copied();
            let byte = byte.unwrap_or_default().into_pyobject(py)?.into_any();
            return Ok(Some((CType::Integer(Integer::Char), byte)));
        }
        'P' if value.is_none() => 0_u8.into_pyobject(py)?.into_any(),
        _ => value,
    };
    Ok(ctype.map(|ctype| (ctype, value)))
}
