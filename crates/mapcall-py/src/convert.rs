//! Conversion of Python arguments to the types of the core, and of dtypes in both directions.

use mapcall_array::layout::{MAX_NDIM, Order};
use mapcall_array::literal::{LiteralError, Value};
use mapcall_array::{DType, Mode};
use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

/// Converts the name of a mode. The error message is that of `numpy.memmap`.
pub(crate) fn mode(mode: &Bound<'_, PyAny>) -> PyResult<Mode> {
    // NumPy looks the mode up in a dict, so a mode that is not hashable is a TypeError.
    mode.hash()?;
    let name = mode
        .cast::<PyString>()
        .ok()
        .and_then(|mode| mode.to_str().ok());
    name.and_then(|name| name.parse().ok()).ok_or_else(|| {
        let known = "['r', 'c', 'r+', 'w+', 'readonly', 'copyonwrite', 'readwrite', 'write']";
        match mode.repr() {
            Ok(got) => PyValueError::new_err(format!("mode must be one of {known} (got {got})")),
            Err(error) => error,
        }
    })
}

/// Converts a byte offset: an integer of Python or NumPy that is not negative.
pub(crate) fn offset(offset: &Bound<'_, PyAny>) -> PyResult<u64> {
    let offset: i64 = offset.extract()?;
    u64::try_from(offset)
        .map_err(|_| PyOverflowError::new_err("memory mapped offset must be positive"))
}

/// Converts a shape: None, an integer, or a sequence of integers.
pub(crate) fn shape(shape: &Bound<'_, PyAny>) -> PyResult<Option<Vec<usize>>> {
    if shape.is_none() {
        return Ok(None);
    }
    if let Ok(shape) = shape.cast::<PyTuple>() {
        return shape
            .iter_borrowed()
            .map(|length| axis_length(&length))
            .collect::<PyResult<_>>()
            .map(Some);
    }
    if !shape.is_instance_of::<PyList>() {
        // A TypeError means that the shape is a sequence; other errors are those of an integer.
        match axis_length(shape) {
            Err(error) if error.is_instance_of::<PyTypeError>(shape.py()) => {}
            length => return length.map(|length| Some(vec![length])),
        }
    }
    shape
        .try_iter()?
        .map(|length| axis_length(&length?))
        .collect::<PyResult<_>>()
        .map(Some)
}

/// Converts a shape, of which one length may be -1: returns it with that length as 0, and the axis.
///
/// # Errors
///
/// `ValueError` for another negative length, or the exceptions of [`shape`].
pub(crate) fn shape_to_end(
    given: &Bound<'_, PyAny>,
) -> PyResult<(Option<Vec<usize>>, Option<usize>)> {
    let lengths: Vec<isize> = match given.extract::<isize>() {
        Ok(length) => vec![length],
        Err(_) => match given.extract() {
            Ok(lengths) => lengths,
            Err(_) => return Ok((shape(given)?, None)),
        },
    };
    let inferred = lengths.iter().position(|&length| length == -1);
    let lengths = lengths.iter().enumerate().map(|(axis, &length)| {
        let length = if inferred == Some(axis) { 0 } else { length };
        usize::try_from(length).map_err(|_| {
            let message = "only one length of the shape may be -1, and no other is negative";
            PyValueError::new_err(message)
        })
    });
    Ok((Some(lengths.collect::<PyResult<_>>()?), inferred))
}

fn axis_length(length: &Bound<'_, PyAny>) -> PyResult<usize> {
    let length: isize = length.extract()?;
    usize::try_from(length)
        .map_err(|_| PyValueError::new_err("negative dimensions are not allowed"))
}

/// Converts a memory order. NumPy's 'A', 'K' and None mean 'C' for a new array.
pub(crate) fn order(order: &Bound<'_, PyAny>) -> PyResult<Order> {
    if order.is_none() {
        return Ok(Order::C);
    }
    let name = if let Ok(bytes) = order.cast::<PyBytes>() {
        String::from_utf8_lossy(bytes.as_bytes()).into_owned()
    } else if order.is_instance_of::<PyString>() {
        order.extract()?
    } else {
        let found = order.get_type().name()?;
        return Err(PyTypeError::new_err(format!(
            "order must be str, not {found}"
        )));
    };
    match &*name {
        "C" | "c" | "A" | "a" | "K" | "k" => Ok(Order::C),
        "F" | "f" => Ok(Order::F),
        _ => Err(PyValueError::new_err(format!(
            "order must be one of 'C', 'F', 'A', or 'K' (got '{name}')"
        ))),
    }
}

/// Converts an argument of `numpy.dtype` to a dtype without Python objects; None is float64.
pub(crate) fn dtype<'py>(dtype: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArrayDescr>> {
    let py = dtype.py();
    if dtype.is_none() {
        return Ok(numpy::dtype::<f64>(py));
    }
    let dtype = PyArrayDescr::new(py, dtype)?;
    // The kinds whose elements lie wholly in the array's memory.
    if dtype.has_object() || !b"?biufcSUVMm".contains(&dtype.kind()) {
        return Err(PyValueError::new_err(format!(
            "dtype {dtype} holds Python objects, whose addresses mean nothing in a file; take a \
             dtype of plain data"
        )));
    }
    Ok(dtype)
}

/// Checks that the axes of the shape and those of a subarray dtype are not more than NumPy allows
/// together. It is called before a file is created or changed.
pub(crate) fn check_axes(shape: Option<&[usize]>, dtype: &Bound<'_, PyArrayDescr>) -> PyResult<()> {
    let ndim = shape.map_or(1, <[usize]>::len);
    if dtype.ndim() > 0 && ndim.saturating_add(dtype.ndim()) > MAX_NDIM {
        return Err(PyValueError::new_err(format!(
            "number of dimensions must be within [0, {MAX_NDIM}]"
        )));
    }
    Ok(())
}

/// Converts a dtype of the core to NumPy's.
pub(crate) fn to_numpy<'py>(py: Python<'py>, dtype: &DType) -> PyResult<Bound<'py, PyArrayDescr>> {
    match common(py, dtype) {
        Some(common) => Ok(common),
        None => PyArrayDescr::new(py, specification(py, dtype)?),
    }
}

/// Returns the dtype object that NumPy already has for a common number type.
fn common<'py>(py: Python<'py>, dtype: &DType) -> Option<Bound<'py, PyArrayDescr>> {
    Some(match dtype {
        dtype if *dtype == DType::F64 => numpy::dtype::<f64>(py),
        dtype if *dtype == DType::F32 => numpy::dtype::<f32>(py),
        dtype if *dtype == DType::I32 => numpy::dtype::<i32>(py),
        dtype if *dtype == DType::I64 => numpy::dtype::<i64>(py),
        dtype if *dtype == DType::U8 => numpy::dtype::<u8>(py),
        _ => return None,
    })
}

/// Returns the argument that makes `numpy.dtype` return this dtype: a string, a dict of fields, or
/// a pair of a base and a shape.
fn specification<'py>(py: Python<'py>, dtype: &DType) -> PyResult<Bound<'py, PyAny>> {
    if let Some(fields) = dtype.fields() {
        let names = PyList::empty(py);
        let formats = PyList::empty(py);
        let offsets = PyList::empty(py);
        let titles = PyList::empty(py);
        for field in fields {
            names.append(&*field.name)?;
            formats.append(to_numpy(py, &field.dtype)?)?;
            offsets.append(field.offset)?;
            titles.append(field.title.as_deref())?;
        }
        let specification = PyDict::new(py);
        specification.set_item("names", names)?;
        specification.set_item("formats", formats)?;
        specification.set_item("offsets", offsets)?;
        specification.set_item("titles", titles)?;
        specification.set_item("itemsize", dtype.itemsize())?;
        specification.set_item("aligned", dtype.is_aligned_struct())?;
        return Ok(specification.into_any());
    }
    if let Some((base, shape)) = dtype.subdtype() {
        let base = PyArrayDescr::new(py, specification(py, base)?)?;
        return Ok((base, PyTuple::new(py, shape)?)
            .into_pyobject(py)?
            .into_any());
    }
    Ok(dtype.to_string().into_pyobject(py)?.into_any())
}

/// Converts a NumPy dtype to the core's, through the descriptor that a `.npy` header would have.
pub(crate) fn from_numpy(dtype: &Bound<'_, PyArrayDescr>) -> PyResult<DType> {
    let py = dtype.py();
    if dtype.has_subarray() {
        let base = from_numpy(&dtype.base())?;
        let subarray = DType::subarray(base, &dtype.shape());
        return subarray.map_err(|error| crate::errors::to_py(error.into()));
    }
    let format = py.import("numpy.lib.format")?;
    let descr = format.call_method1("dtype_to_descr", (dtype,))?;
    let literal: Value = descr
        .repr()?
        .to_str()?
        .parse()
        .map_err(|error: LiteralError| PyValueError::new_err(error.to_string()))?;
    DType::from_descr(&literal).map_err(|error| crate::errors::to_py(error.into()))
}
