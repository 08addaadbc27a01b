//! NumPy's arrays as memory: reading where one lies, and making one on a map.
//!
//! The fields of `PyArrayObject` are read directly; calls into Python would cost more than the
//! work around them.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::slice;

use mapcall_array::Layout;
use numpy::npyffi::{
    NPY_ARRAY_F_CONTIGUOUS, NPY_ARRAY_UPDATE_ALL, NPY_ARRAY_WRITEABLE, PY_ARRAY_API, PyArrayObject,
    npy_intp,
};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::map::Map;

/// The fields of an array that say where its elements lie.
pub(crate) struct Elements<'a> {
    pub(crate) address: usize,
    pub(crate) shape: &'a [npy_intp],
    pub(crate) strides: &'a [npy_intp],
}

impl<'a> Elements<'a> {
    /// Reads the fields; they are the array's own, and change when it is reshaped in place.
    pub(crate) fn of(array: &'a Bound<'_, PyUntypedArray>) -> Self {
        let array = array.as_array_ptr();
        // SAFETY: `array` is an ndarray, kept alive by the borrow.
        let fields = unsafe { &(*array).fields };
        let ndim = usize::try_from(fields.nd).unwrap_or(0);
        if ndim == 0 {
            return Self {
                address: fields.data.addr(),
                shape: &[],
                strides: &[],
            };
        }
        // SAFETY: an ndarray of `nd` > 0 axes has as many lengths, alive while it is.
        let shape = unsafe { slice::from_raw_parts(fields.dimensions, ndim) };
        // SAFETY: as above, for the strides.
        let strides = unsafe { slice::from_raw_parts(fields.strides, ndim) };
        Self {
            address: fields.data.addr(),
            shape,
            strides,
        }
    }
}

/// What the array says its memory belongs to; borrowed, null for none.
///
/// # Safety
///
/// `array` is an ndarray.
pub(crate) unsafe fn base(array: *mut pyo3::ffi::PyObject) -> *mut pyo3::ffi::PyObject {
    // SAFETY: the caller's promise.
    unsafe { (*array.cast::<PyArrayObject>()).fields.base }
}

/// An array of `class` on a map: at `offset` bytes into it, of a layout that fits there.
pub(crate) fn array_on<'py>(
    class: &Bound<'py, PyType>,
    map: Bound<'py, Map>,
    dtype: Bound<'py, PyArrayDescr>,
    layout: &Layout,
    keep_strides: bool,
    fortran: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let ndarray = py.get_type::<PyUntypedArray>();
    if !class.is_subclass(&ndarray)? {
        return Err(PyValueError::new_err(format!(
            "{class} is no subclass of numpy.ndarray"
        )));
    }
    let buffer = map.get().buffer();
    layout
        .fits_in(buffer.len())
        .map_err(|error| crate::errors::to_py(error.into()))?;
    let mut shape = intps(layout.shape())?;
    let mut strides = intps(layout.strides())?;
    let ndim = c_int::try_from(shape.len()).map_err(|_| overflow())?;
    let mut flags = if buffer.is_writeable() {
        NPY_ARRAY_WRITEABLE
    } else {
        0
    };
    if fortran {
        flags |= NPY_ARRAY_F_CONTIGUOUS;
    }
    let strides = if keep_strides {
        strides.as_mut_ptr()
    } else {
        std::ptr::null_mut()
    };
    let data = buffer.as_mut_ptr().wrapping_add(layout.offset());
    // SAFETY: `class` is a subclass of ndarray; the reference to the dtype is handed over; shape
    // and strides have `ndim` entries; the layout lies in the map, which becomes the base.
    let array = unsafe {
        PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            class.as_type_ptr(),
            dtype.into_dtype_ptr(),
            ndim,
            shape.as_mut_ptr(),
            strides,
            data.cast(),
            flags,
            std::ptr::null_mut(),
        )
    };
    // SAFETY: a new reference, or null with an exception set.
    let array = unsafe { Bound::from_owned_ptr_or_err(py, array) }?;
    let raw = array.as_ptr().cast::<PyArrayObject>();
    // SAFETY: `raw` is a new ndarray without a base; the reference to the map is handed over.
    let failed = unsafe { PY_ARRAY_API.PyArray_SetBaseObject(py, raw, map.into_ptr()) };
    if failed != 0 {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: `raw` is an ndarray.
    unsafe { PY_ARRAY_API.PyArray_UpdateFlags(py, raw, NPY_ARRAY_UPDATE_ALL) };
    Ok(array)
}

fn intps<N: Copy + TryInto<npy_intp>>(values: &[N]) -> PyResult<Vec<npy_intp>> {
    values
        .iter()
        .map(|&value| value.try_into().map_err(|_| overflow()))
        .collect()
}

fn overflow() -> PyErr {
    PyOverflowError::new_err("a length or stride does not fit npy_intp")
}

/// The layout of an array that lies in a map, counted from the map's first byte.
pub(crate) fn layout_in(map: &Map, array: &Bound<'_, PyUntypedArray>) -> PyResult<Layout> {
    let elements = Elements::of(array);
    let outside = || PyValueError::new_err("the array does not lie in its map");
    let offset = elements
        .address
        .checked_sub(map.buffer().as_ptr().addr())
        .ok_or_else(outside)?;
    let shape: Vec<usize> = elements
        .shape
        .iter()
        .map(|&length| usize::try_from(length).map_err(|_| outside()))
        .collect::<PyResult<_>>()?;
    let layout = Layout::from_strides(offset, &shape, elements.strides, array.dtype().itemsize())
        .map_err(|error| crate::errors::to_py(error.into()))?;
    layout
        .fits_in(map.buffer().len())
        .map_err(|error| crate::errors::to_py(error.into()))?;
    Ok(layout)
}
