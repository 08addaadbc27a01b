//! NumPy views of the arrays of other libraries, without a copy.

use mapcall::contract::{Contract, Problem, Remedy, Role, Rule};
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyBufferError, PyException, PyMemoryError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMemoryView, PyType};

use super::{errors, ndarray};
use crate::once::{Once, intern};

/// Returns an array on the memory of an object, which keeps the object alive; `None` if the object
/// exports no memory.
///
/// The protocols are tried in this order: `__array_interface__` or `__array_struct__`, the buffer
/// protocol, and DLPack for memory of the CPU. For a parameter that C only reads, the last is the method
/// `__array__`, as pandas and xarray have it: it does not say whether its array is on the object's memory.
///
/// # Errors
///
/// `ArgumentError` if the object's library refuses to export the memory, and if C writes what is only read.
pub(super) fn view<'py>(
    contract: &Contract,
    role: Role,
    object: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
    let not_shared = |error| not_shared(contract, role, object, error);
    let found = exported(object).map_err(not_shared)?;
    let has_method = || object.get_type().hasattr(intern!(object.py(), "__array__"));
    let is_writeable = found.as_ref().map(crate::memory::is_writeable);
    if is_writeable == Some(true)
        || is_scalar(object)?
        || ndarray::is_masked(object)?
        || !has_method()?
    {
        return Ok(found);
    }
    let is_const = match role {
        Role::Parameter(position) => match contract.rules().get(position) {
            Some(Rule::Array(rule)) => rule.is_const(),
            Some(Rule::Pointer(rule)) => rule.is_const,
            _ => true,
        },
        Role::Result => false,
        Role::Mask => true,
    };
    if !is_const {
        return Err(not_written(contract, role, object)?);
    }
    match found {
        Some(found) => Ok(Some(found)),
        None => converted(object).map_err(not_shared),
    }
}

/// Returns the array of an object's method `__array__`, if it makes no copy; `None` for an array of Dask, which
/// would be computed.
#[cold]
fn converted<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
    let py = object.py();
    if object.get_type().hasattr(intern!(py, "__dask_graph__"))?
        && !object
            .call_method0(intern!(py, "__dask_graph__"))?
            .is_none()
    {
        return Err(PyBufferError::new_err("Dask has not computed it"));
    }
    let array = match without_copy(object) {
        Ok(array) => array,
        Err(error) => of_arrow(object)?.ok_or(error)?,
    };
    Ok(Some(array.cast_into::<PyUntypedArray>()?))
}

/// Returns an array on the memory of a chunked array of Arrow, or of a Series or Index of pandas that is on one: if it
/// has one chunk without nulls. Their own conversions always copy.
#[cold]
fn of_arrow<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = object.py();
    let array = object.getattr_opt(intern!(py, "array"))?;
    let array = array.as_ref().unwrap_or(object);
    let modules = py.import("sys")?.getattr("modules")?;
    let pandas = modules.cast::<PyDict>()?.get_item("pandas.arrays")?;
    let class = match pandas {
        Some(pandas) => pandas.getattr_opt(intern!(py, "ArrowExtensionArray"))?,
        None => None,
    };
    let is_pandas = match class {
        Some(class) => array.is_instance(&class)?,
        None => false,
    };
    let chunks = if is_pandas {
        &array.call_method0(intern!(py, "__arrow_array__"))?
    } else {
        array
    };
    let count = chunks.getattr_opt(intern!(py, "num_chunks"))?;
    if !count.is_some_and(|count| count.extract::<usize>().is_ok_and(|count| count == 1)) {
        return Ok(None);
    }
    let chunk = chunks.call_method1(intern!(py, "chunk"), (0,))?;
    // A chunk with nulls is refused by the error of the object.
    Ok(without_copy(&chunk).ok())
}

/// Returns the `ArgumentError` for an object that only lends its memory to be read, where C writes.
#[cold]
fn not_written(contract: &Contract, role: Role, object: &Bound<'_, PyAny>) -> PyResult<PyErr> {
    let py = object.py();
    let name = contract.role_name(role);
    // xarray's arrays show the NumPy array that they are made of.
    let is_xarray = object.get_type().hasattr(intern!(py, "dims"))?;
    let data = if is_xarray {
        object.getattr_opt(intern!(py, "data")).ok().flatten()
    } else {
        None
    };
    let data = data.and_then(|data| data.cast_into::<PyUntypedArray>().ok());
    let remedy = match data {
        Some(data) if crate::memory::is_writeable(&data) => {
            format!("give {name}.data, the array that it is made of")
        }
        _ => format!("give values = numpy.array({name}), and take the results from values"),
    };
    let problem = Problem::Type {
        found: format!(
            "{}, which lends its memory read-only",
            errors::what(object)?
        ),
        remedy: Remedy::Words(remedy),
    };
    Ok(errors::argument(py, &contract.refuse_role(role, problem)))
}

/// Returns the `ArgumentError` for an object whose library refuses to export the memory. Its cause is
/// the library's exception. MemoryError, and exceptions such as KeyboardInterrupt, are returned
/// unchanged.
#[cold]
fn not_shared(contract: &Contract, role: Role, object: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    let py = object.py();
    let is_refusal =
        !error.is_instance_of::<PyMemoryError>(py) && error.is_instance_of::<PyException>(py);
    let (true, Ok(name)) = (is_refusal, errors::what(object)) else {
        return error;
    };
    let reason = error.value(py).to_string();
    let reason = reason.lines().next().unwrap_or_default();
    let remedy =
        copy_of(contract, role, object).unwrap_or("make it one that does, or a copy".into());
    let problem = Problem::Type {
        found: format!("{name} that doesn't share its memory ({reason})"),
        remedy: Remedy::Words(remedy),
    };
    let refused = errors::argument(py, &contract.refuse_role(role, problem));
    refused.set_cause(py, Some(error));
    refused
}

/// Returns the remedy for an object that NumPy makes an array of, but not without a copy; `None` for any other
/// object.
#[cold]
fn copy_of(contract: &Contract, role: Role, object: &Bound<'_, PyAny>) -> Option<String> {
    let py = object.py();
    let class = object.get_type();
    let has = |name| class.hasattr(name).unwrap_or(false);
    if !has(intern!(py, "__array__")) {
        return None;
    }
    let name = contract.role_name(role);
    let dtype = match role {
        Role::Parameter(position) => match contract.rules().get(position)? {
            Rule::Array(rule) => Some(rule.dtype().clone()),
            Rule::Pointer(rule) => rule.dtype.clone(),
            _ => contract
                .prototype()
                .parameters
                .get(position)?
                .ctype
                .dtype()
                .ok(),
        },
        _ => None,
    };
    let dtype = dtype.filter(|dtype| dtype.fields().is_none());
    let dtype = dtype.map(|dtype| format!("'{}'", dtype.name()));
    if has(intern!(py, "__dask_graph__")) {
        return Some(format!("give {name}.compute()"));
    }
    // Arrow's arrays.
    let nulls = object.getattr(intern!(py, "null_count"));
    if nulls.is_ok_and(|nulls| nulls.extract::<u64>().is_ok_and(|nulls| nulls > 0)) {
        return Some(format!("give numpy.asarray({name}.fill_null(value))"));
    }
    // Those of pandas.
    let missing = object
        .call_method0(intern!(py, "isna"))
        .and_then(|missing| py.import("numpy")?.call_method1("asarray", (missing,)))
        .and_then(|missing| missing.call_method0(intern!(py, "any")));
    if missing.is_ok_and(|missing| missing.is_truthy().unwrap_or(false)) {
        let dtype = dtype.unwrap_or("dtype".into());
        return Some(format!("give {name}.to_numpy({dtype}, na_value=value)"));
    }
    let dtype = dtype.map_or(String::new(), |dtype| format!(", {dtype}"));
    Some(format!("give numpy.asarray({name}{dtype})"))
}

/// Returns an array on the memory of an object as [`view`] does. Errors are the exceptions of the object's library.
pub(super) fn exported<'py>(
    object: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
    let py = object.py();
    if is_scalar(object)? || ndarray::is_masked(object)? {
        return Ok(None);
    }
    let class = object.get_type();
    let has = |name| class.hasattr(name);
    let array = if has(intern!(py, "__array_interface__"))? || has(intern!(py, "__array_struct__"))?
    {
        check_interface(object)?;
        without_copy(object)?
    } else if let Ok(buffer) = PyMemoryView::from(object) {
        without_copy(buffer.as_any())?
    } else if has(intern!(py, "__arrow_c_array__"))? && has(intern!(py, "__array__"))? {
        without_copy(object)?
    } else if has(intern!(py, "__dlpack__"))? {
        let device = object.call_method0(intern!(py, "__dlpack_device__"))?;
        let device: i32 = device.get_item(0)?.extract()?;
        if device != CPU {
            return Ok(None);
        }
        return dlpack(object).map(Some);
    } else {
        return Ok(None);
    };
    Ok(Some(array.cast_into::<PyUntypedArray>()?))
}

/// Checks that an object's `__array_interface__` has no mask, which NumPy would ignore.
fn check_interface(object: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = object.py();
    let interface = object.getattr_opt(intern!(py, "__array_interface__"))?;
    let mask = match interface.as_ref().map(Bound::cast::<PyDict>) {
        Some(Ok(interface)) => interface.get_item(intern!(py, "mask"))?,
        _ => None,
    };
    if mask.is_some_and(|mask| !mask.is_none()) {
        return Err(PyBufferError::new_err("it has a mask"));
    }
    Ok(())
}

/// Returns whether an object is a NumPy scalar, whose array interface exports a copy.
pub(super) fn is_scalar(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    static GENERIC: Once<Py<PyType>> = Once::new();
    object.is_instance(GENERIC.import(object.py(), "numpy", "generic")?)
}

/// DLPack's device type `kDLCPU`.
const CPU: i32 = 1;

fn without_copy<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    let options = PyDict::new(py);
    options.set_item(intern!(py, "copy"), false)?;
    let numpy = py.import(intern!(py, "numpy"))?;
    numpy.call_method(intern!(py, "asarray"), (object,), Some(&options))
}

fn dlpack<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = object.py();
    // The elements of a PyTorch tensor with the negative bit are the negated values of its memory, and
    // DLPack exports the memory only.
    let is_negated = object
        .call_method0(intern!(py, "is_neg"))
        .is_ok_and(|answer| matches!(answer.extract(), Ok(true)));
    if is_negated {
        return Err(PyBufferError::new_err(
            "its negative bit is set, use tensor.resolve_neg()",
        ));
    }
    let numpy = py.import(intern!(py, "numpy"))?;
    let array = numpy
        .call_method1(intern!(py, "from_dlpack"), (object,))?
        .cast_into::<PyUntypedArray>()?;
    // If the exporter's pointer is NULL, NumPy allocates memory.
    if crate::memory::owns_data(&array) && !array.is_empty() {
        return Err(PyBufferError::new_err("it has no memory"));
    }
    Ok(writeable(object, array))
}

/// Returns the array of the object's method `numpy`, if it is on the same memory; else `array`.
///
/// DLPack before 1.0 has no read-only flag, so NumPy makes arrays from it read-only. The array that
/// the method returns is writeable if the object is.
fn writeable<'py>(
    object: &Bound<'py, PyAny>,
    array: Bound<'py, PyUntypedArray>,
) -> Bound<'py, PyUntypedArray> {
    if crate::memory::is_writeable(&array) {
        return array;
    }
    let Ok(own) = object.call_method0(intern!(object.py(), "numpy")) else {
        return array;
    };
    match own.cast_into::<PyUntypedArray>() {
        Ok(own) if crate::memory::address(&own) == crate::memory::address(&array) => own,
        _ => array,
    }
}

/// Returns the address in an `_as_parameter_`: an int, or a pointer of ctypes.
pub(super) fn address_of(parameter: &Bound<'_, PyAny>) -> PyResult<usize> {
    if let Ok(address) = parameter.extract::<usize>() {
        return Ok(address);
    }
    let ctypes = parameter.py().import("ctypes")?;
    let void_pointer = ctypes.getattr("c_void_p")?;
    let pointer = ctypes.call_method1("cast", (parameter, void_pointer))?;
    let address: Option<usize> = pointer.getattr("value")?.extract()?;
    Ok(address.unwrap_or(0))
}
