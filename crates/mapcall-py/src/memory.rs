//! NumPy's arrays as memory: reading where one lies, and making one on a map.
//!
//! The fields of `PyArrayObject` are read directly; calls into Python would cost more than the
//! work around them.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::slice;

use mapcall_array::layout::{Dims, Order};
use mapcall_array::{Buffer, Layout};
use numpy::npyffi::{
    NPY_ARRAY_OWNDATA, NPY_ARRAY_WRITEABLE, PyArrayObject, PyArrayObject_fields, npy_intp,
};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

/// The address of an array's first element.
pub(crate) fn address(array: &Bound<'_, PyUntypedArray>) -> usize {
    fields(array).data.addr()
}

/// The lengths of an array's axes: a copy, since Python code may reshape the array in place.
pub(crate) fn shape(array: &Bound<'_, PyUntypedArray>) -> Dims<npy_intp> {
    let fields = fields(array);
    // SAFETY: an ndarray of `nd` axes has as many lengths.
    unsafe { copied(fields.dimensions, fields.nd) }
}

/// The strides of an array's axes, in bytes: a copy, as for the shape.
pub(crate) fn strides(array: &Bound<'_, PyUntypedArray>) -> Dims<npy_intp> {
    let fields = fields(array);
    // SAFETY: an ndarray of `nd` axes has as many strides.
    unsafe { copied(fields.strides, fields.nd) }
}

/// Whether NumPy lets an array be written to.
pub(crate) fn is_writeable(array: &Bound<'_, PyUntypedArray>) -> bool {
    fields(array).flags & NPY_ARRAY_WRITEABLE != 0
}

/// Whether NumPy has allocated the memory for this array, and no other.
pub(crate) fn owns_data(array: &Bound<'_, PyUntypedArray>) -> bool {
    fields(array).flags & NPY_ARRAY_OWNDATA != 0
}

fn fields<'a>(array: &'a Bound<'_, PyUntypedArray>) -> &'a PyArrayObject_fields {
    // SAFETY: `array` is an ndarray, alive while borrowed.
    unsafe { &(*array.as_array_ptr()).fields }
}

/// # Safety
///
/// `values` has `ndim` entries.
unsafe fn copied(values: *const npy_intp, ndim: c_int) -> Dims<npy_intp> {
    match usize::try_from(ndim) {
        // SAFETY: the caller's promise; without axes the pointer may be null.
        Ok(ndim @ 1..) => unsafe { slice::from_raw_parts(values, ndim) }.into(),
        _ => Dims::new(),
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
    let outside = || PyValueError::new_err("the array does not lie in the map");
    let first = buffer.as_ptr().addr();
    let shape: Dims<usize> = shape(array)
        .into_iter()
        .map(|length| usize::try_from(length).map_err(|_| outside()))
        .collect::<PyResult<_>>()?;
    let offset = if shape.contains(&0) {
        // NumPy lets the address of an array without elements point past either end.
        address(array).saturating_sub(first).min(buffer.len())
    } else {
        address(array).checked_sub(first).ok_or_else(outside)?
    };
    let itemsize = array.dtype().itemsize();
    let layout = Layout::from_strides(offset, &shape, &strides(array), itemsize)
        .and_then(|layout| layout.fits_in(buffer.len()).map(|()| layout));
    layout.map_err(|_| outside())
}
