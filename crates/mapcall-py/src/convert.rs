//! Arguments from Python, and dtypes both ways.

use mapcall_array::layout::{MAX_NDIM, Order};
use mapcall_array::literal::{LiteralError, Value};
use mapcall_array::{DType, Mode};
use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

/// A mode by its name; numpy.memmap's words when there is none such.
pub(crate) fn mode(mode: &Bound<'_, PyAny>) -> PyResult<Mode> {
    // As a key of NumPy's dict, the mode must be hashable.
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

/// A byte offset: any integer of Python or NumPy that is not negative.
pub(crate) fn offset(offset: &Bound<'_, PyAny>) -> PyResult<u64> {
    let offset: i64 = offset.extract()?;
    u64::try_from(offset)
        .map_err(|_| PyOverflowError::new_err("memory mapped offset must be positive"))
}

/// A shape: None, an integer, or a sequence of integers.
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
        // What is no integer is a sequence; an integer may still be too large.
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

fn axis_length(length: &Bound<'_, PyAny>) -> PyResult<usize> {
    let length: isize = length.extract()?;
    usize::try_from(length)
        .map_err(|_| PyValueError::new_err("negative dimensions are not allowed"))
}

/// 'C' or 'F'; NumPy's 'A', 'K' and None mean 'C' for a new array.
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

/// A dtype of plain data, as `numpy.dtype` understands it: None is float64.
pub(crate) fn dtype<'py>(dtype: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyArrayDescr>> {
    let py = dtype.py();
    if dtype.is_none() {
        return Ok(numpy::dtype::<f64>(py));
    }
    let dtype = PyArrayDescr::new(py, dtype)?;
    // Of NumPy's kinds, those whose elements are all in the array's own bytes.
    if dtype.has_object() || !b"?biufcSUVMm".contains(&dtype.kind()) {
        return Err(PyValueError::new_err(format!(
            "dtype {dtype} holds Python objects, whose addresses mean nothing in a file; take a \
             dtype of plain data"
        )));
    }
    Ok(dtype)
}

/// Refuses, before a file is touched, more axes than NumPy has: those of the shape and the dtype's.
pub(crate) fn check_axes(shape: Option<&[usize]>, dtype: &Bound<'_, PyArrayDescr>) -> PyResult<()> {
    let ndim = shape.map_or(1, <[usize]>::len);
    if dtype.ndim() > 0 && ndim.saturating_add(dtype.ndim()) > MAX_NDIM {
        return Err(PyValueError::new_err(format!(
            "number of dimensions must be within [0, {MAX_NDIM}]"
        )));
    }
    Ok(())
}

/// The core's dtype as NumPy's.
pub(crate) fn to_numpy<'py>(py: Python<'py>, dtype: &DType) -> PyResult<Bound<'py, PyArrayDescr>> {
    match usual(py, dtype) {
        Some(usual) => Ok(usual),
        None => PyArrayDescr::new(py, specification(py, dtype)?),
    }
}

/// NumPy's dtype of the usual numbers, which it has made already.
fn usual<'py>(py: Python<'py>, dtype: &DType) -> Option<Bound<'py, PyArrayDescr>> {
    Some(match dtype {
        dtype if *dtype == DType::F64 => numpy::dtype::<f64>(py),
        dtype if *dtype == DType::F32 => numpy::dtype::<f32>(py),
        dtype if *dtype == DType::I32 => numpy::dtype::<i32>(py),
        dtype if *dtype == DType::I64 => numpy::dtype::<i64>(py),
        dtype if *dtype == DType::U8 => numpy::dtype::<u8>(py),
        _ => return None,
    })
}

/// What `numpy.dtype` makes the dtype from: a string, a dict of fields, or a pair.
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

/// NumPy's dtype as the core's, by way of the descriptor that a `.npy` header has.
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
