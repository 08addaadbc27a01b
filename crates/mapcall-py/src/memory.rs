//! NumPy's arrays as memory: reading where one lies, and making one on a map.
//!
//! The fields of `PyArrayObject` are read directly; calls into Python would cost more than the
//! work around them.

#![allow(unsafe_code)]

use std::slice;

use mapcall_array::layout::Order;
use mapcall_array::{Buffer, Layout};
use numpy::npyffi::{PyArrayObject, npy_intp};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

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

/// Where an array's strides come from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strides {
    /// NumPy computes them for packed elements; it has its own idea of those of an empty array.
    Packed(Order),
    /// The layout has them.
    Given,
}

/// An array of `class` on a map; the layout counts from the map's first byte.
///
/// NumPy itself takes the map as a buffer: it checks the bounds, and makes the map the base before
/// it calls a subclass's `__array_finalize__`.
pub(crate) fn array_on<'py>(
    class: &Bound<'py, PyType>,
    map: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyArrayDescr>,
    layout: &Layout,
    strides: Strides,
) -> PyResult<Bound<'py, PyAny>> {
    static NEW: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = class.py();
    let new = NEW.get_or_try_init(py, || {
        py.get_type::<PyUntypedArray>()
            .getattr("__new__")
            .map(Bound::unbind)
    })?;
    let shape = PyTuple::new(py, layout.shape())?;
    let (steps, order) = match strides {
        Strides::Packed(Order::C) => (None, None),
        Strides::Packed(Order::F) => (None, Some("F")),
        Strides::Given => (Some(PyTuple::new(py, layout.strides())?), None),
    };
    new.bind(py)
        .call1((class, shape, dtype, map, layout.offset(), steps, order))
}

/// The layout of an array that lies in a buffer, counted from the buffer's first byte.
pub(crate) fn layout_in(buffer: &Buffer, array: &Bound<'_, PyUntypedArray>) -> PyResult<Layout> {
    let elements = Elements::of(array);
    let outside = || PyValueError::new_err("the array does not lie in the map");
    let offset = elements
        .address
        .checked_sub(buffer.as_ptr().addr())
        .ok_or_else(outside)?;
    let shape: Vec<usize> = elements
        .shape
        .iter()
        .map(|&length| usize::try_from(length).map_err(|_| outside()))
        .collect::<PyResult<_>>()?;
    let layout = Layout::from_strides(offset, &shape, elements.strides, array.dtype().itemsize())
        .map_err(|error| crate::errors::to_py(error.into()))?;
    layout
        .fits_in(buffer.len())
        .map_err(|error| crate::errors::to_py(error.into()))?;
    Ok(layout)
}
