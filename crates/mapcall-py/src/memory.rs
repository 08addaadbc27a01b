//! The address, shape and strides of NumPy's arrays, and new arrays on a map.
//!
//! The fields of `PyArrayObject` are read directly, since calls into Python would take more time
//! than the rest.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ops::Range;
use std::slice;

use mapcall_array::layout::{Dims, Order};
use mapcall_array::{Buffer, Layout};
use numpy::npyffi::{
    NPY_ARRAY_OWNDATA, NPY_ARRAY_WRITEABLE, PyArrayObject, PyArrayObject_fields, npy_intp,
};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::once::Once;

/// Returns the address of an array's first element.
pub(crate) fn address(array: &Bound<'_, PyUntypedArray>) -> usize {
    fields(array).data.addr()
}

/// Returns the range from the lowest address of an array's bytes to the highest.
pub(crate) fn addresses(array: &Bound<'_, PyUntypedArray>) -> Range<usize> {
    let (mut start, mut end) = (address(array), address(array));
    let shape = shape(array);
    if shape.contains(&0) {
        return start..end;
    }
    for (&length, stride) in shape.iter().zip(strides(array)) {
        let reach = stride.wrapping_mul(length - 1);
        if reach < 0 {
            start = start.saturating_add_signed(reach);
        } else {
            end = end.saturating_add_signed(reach);
        }
    }
    start..end.saturating_add(array.dtype().itemsize())
}

/// Returns a copy of the lengths of an array's axes: Python code may reshape the array in place.
pub(crate) fn shape(array: &Bound<'_, PyUntypedArray>) -> Dims<npy_intp> {
    let fields = fields(array);
    // SAFETY: `dimensions` of a live ndarray points to `nd` lengths.
    unsafe { copied(fields.dimensions, fields.nd) }
}

/// Returns a copy of the strides of an array's axes, in bytes: Python code may change them.
pub(crate) fn strides(array: &Bound<'_, PyUntypedArray>) -> Dims<npy_intp> {
    let fields = fields(array);
    // SAFETY: `strides` of a live ndarray points to `nd` strides.
    unsafe { copied(fields.strides, fields.nd) }
}

/// Returns whether an array has NumPy's flag `WRITEABLE`.
pub(crate) fn is_writeable(array: &Bound<'_, PyUntypedArray>) -> bool {
    fields(array).flags & NPY_ARRAY_WRITEABLE != 0
}

/// Returns whether an array has NumPy's flag `OWNDATA`: NumPy has allocated its memory for it.
pub(crate) fn owns_data(array: &Bound<'_, PyUntypedArray>) -> bool {
    fields(array).flags & NPY_ARRAY_OWNDATA != 0
}

fn fields<'a>(array: &'a Bound<'_, PyUntypedArray>) -> &'a PyArrayObject_fields {
    // SAFETY: `array` is a reference to an ndarray, which is alive while it is borrowed.
    unsafe { &(*array.as_array_ptr()).fields }
}

/// Returns a copy of `ndim` values.
///
/// # Safety
///
/// If `ndim` is positive, `values` points to `ndim` values.
unsafe fn copied(values: *const npy_intp, ndim: c_int) -> Dims<npy_intp> {
    match usize::try_from(ndim) {
        // SAFETY: the caller guarantees that `values` points to `ndim` values.
        Ok(ndim @ 1..) => unsafe { slice::from_raw_parts(values, ndim) }.into(),
        _ => Dims::new(),
    }
}

/// Returns the `base` of an array, the owner of its memory, as a borrowed reference; null for none.
///
/// # Safety
///
/// `array` points to a live ndarray.
pub(crate) unsafe fn base(array: *mut pyo3::ffi::PyObject) -> *mut pyo3::ffi::PyObject {
    // SAFETY: the caller guarantees that `array` points to a live ndarray, whose struct is this one.
    unsafe { (*array.cast::<PyArrayObject>()).fields.base }
}

/// The source of a new array's strides.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strides {
    /// NumPy computes the strides of packed elements. Those of an empty array differ from the layout's.
    Packed(Order),
    /// The strides are the layout's.
    Given,
}

/// Returns a new array of `class` on a map. Offsets of the layout are from the map's first byte.
///
/// NumPy uses the map by the buffer protocol: it checks the bounds, and makes the map the base before
/// it calls the `__array_finalize__` of a subclass.
pub(crate) fn array_on<'py>(
    class: &Bound<'py, PyType>,
    map: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyArrayDescr>,
    layout: &Layout,
    strides: Strides,
) -> PyResult<Bound<'py, PyAny>> {
    static NEW: Once<Py<PyAny>> = Once::new();
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

/// Returns the layout of an array that lies in a buffer. Offsets are from the buffer's first byte.
pub(crate) fn layout_in(buffer: &Buffer, array: &Bound<'_, PyUntypedArray>) -> PyResult<Layout> {
    let outside = || PyValueError::new_err("the array does not lie in the map");
    let first = buffer.as_ptr().addr();
    let shape: Dims<usize> = shape(array)
        .into_iter()
        .map(|length| usize::try_from(length).map_err(|_| outside()))
        .collect::<PyResult<_>>()?;
    let offset = if shape.contains(&0) {
        // The address of an array without elements may lie before or after the buffer.
        address(array).saturating_sub(first).min(buffer.len())
    } else {
        address(array).checked_sub(first).ok_or_else(outside)?
    };
    let itemsize = array.dtype().itemsize();
    let layout = Layout::from_strides(offset, &shape, &strides(array), itemsize)
        .and_then(|layout| layout.fits_in(buffer.len()).map(|()| layout));
    layout.map_err(|_| outside())
}
