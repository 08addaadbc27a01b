//! Arrays that follow the length of their file.

#![allow(unsafe_code)]

use std::ptr::NonNull;

use mapcall_array::layout::Order;
use mapcall_array::{Array, Buffer, Change};
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::appender::rows_of;
use crate::convert;
use crate::errors::to_py;
use crate::map::{Map, new_array};
use crate::mapped_array::map_of;
use crate::memory::{self, Strides, array_on, layout_in};

/// Return the array of the file with rows of zeros added until there are `rows`.
///
/// >>> import mapcall
/// >>> x = mapcall.create('x.npy', shape=2)
/// >>> mapcall._mapcall.grow(x, 3, False)
/// memmap([0., 0., 0.])
#[pyfunction]
#[pyo3(signature = (array, rows, sync))]
pub(crate) fn grow<'py>(
    array: &Bound<'py, PyUntypedArray>,
    rows: usize,
    sync: bool,
) -> PyResult<Bound<'py, PyAny>> {
    change(array, &Change::Grow(rows), sync)
}

/// Return the array of the file without the rows behind the first `rows`.
///
/// >>> import mapcall
/// >>> x = mapcall.create('x.npy', shape=2)
/// >>> mapcall._mapcall.truncate(x, 1, False)
/// memmap([0.])
#[pyfunction]
#[pyo3(signature = (array, rows, sync))]
pub(crate) fn truncate<'py>(
    array: &Bound<'py, PyUntypedArray>,
    rows: usize,
    sync: bool,
) -> PyResult<Bound<'py, PyAny>> {
    change(array, &Change::Truncate(rows), sync)
}

/// Return the array of the file with rows added.
///
/// >>> import mapcall
/// >>> x = mapcall.create('x.npy', shape=2)
/// >>> mapcall._mapcall.append_to(x, [1, 2], False)
/// memmap([0., 0., 1., 2.])
#[pyfunction]
#[pyo3(signature = (array, rows, sync))]
pub(crate) fn append_to<'py>(
    array: &Bound<'py, PyUntypedArray>,
    rows: &Bound<'py, PyAny>,
    sync: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let order = if array.is_c_contiguous() {
        Order::C
    } else {
        Order::F
    };
    let rows = rows_of(rows, &array.dtype(), order)?;
    let dtype = convert::from_numpy(&rows.dtype())?;
    let address: *mut u8 = std::ptr::with_exposed_provenance_mut(memory::address(&rows));
    let shape = rows.shape().to_vec();
    let nbytes = rows.len().saturating_mul(rows.dtype().itemsize());
    let layout = mapcall_array::Layout::contiguous(&shape, rows.dtype().itemsize(), order);
    let layout = layout.map_err(|error| to_py(error.into()))?;
    let owner = rows.into_any().unbind();
    let first = NonNull::new(address).unwrap_or(NonNull::dangling());
    // SAFETY: the array is contiguous, so that it has `nbytes` bytes from its address on, and `owner` keeps it
    // alive. No typed view of it is made.
    let buffer = unsafe { Buffer::foreign(first, nbytes, false, owner) };
    let rows = Array::new(buffer, dtype, layout).map_err(to_py)?;
    change(array, &Change::Append(&rows), sync)
}

/// Return the array of the file's present length: the array itself if it has not changed.
///
/// >>> import mapcall
/// >>> x = mapcall.create('x.npy', shape=2)
/// >>> mapcall._mapcall.refresh(x) is x
/// True
#[pyfunction]
pub(crate) fn refresh<'py>(array: &Bound<'py, PyUntypedArray>) -> PyResult<Bound<'py, PyAny>> {
    if is_up_to_date(array)? {
        return Ok(array.as_any().clone());
    }
    let (map, core) = core_array(array)?;
    let refreshed = array.py().detach(|| core.refresh()).map_err(to_py)?;
    if is_same(&core, &refreshed) {
        return Ok(array.as_any().clone());
    }
    resized(array, &map, &core, &refreshed)
}

/// Returns whether an array is all that the file has; `false` if that is not found out quickly.
fn is_up_to_date(array: &Bound<'_, PyUntypedArray>) -> PyResult<bool> {
    let Some(map) = map_of(array) else {
        return Ok(false);
    };
    let buffer = map.get().buffer()?;
    let begins = memory::address(array) == buffer.as_ptr().addr() && array.ndim() > 0;
    let is_contiguous = array.is_c_contiguous() || array.is_fortran_contiguous();
    if !(begins && is_contiguous) {
        return Ok(false);
    }
    let nbytes = array.len().saturating_mul(array.dtype().itemsize());
    Ok(buffer.map().is_some_and(|map| map.ends_at(nbytes)))
}

fn change<'py>(
    array: &Bound<'py, PyUntypedArray>,
    change: &Change<'_>,
    sync: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let (map, core) = core_array(array)?;
    let changed = array.py().detach(|| core.change_len(change, sync));
    resized(array, &map, &core, &changed.map_err(to_py)?)
}

/// Returns the map that an array is on, and the array as one of the core.
fn core_array<'py>(array: &Bound<'py, PyUntypedArray>) -> PyResult<(Bound<'py, Map>, Array)> {
    let map = map_of(array).ok_or_else(|| {
        PyValueError::new_err("the array is no part of a map: it was copied, or computed; use the array that was opened")
    })?;
    let buffer = map.get().buffer()?;
    let layout = layout_in(&buffer, array)?;
    let dtype = convert::from_numpy(&array.dtype())?;
    let core = Array::new(buffer, dtype, layout).map_err(to_py)?;
    Ok((map, core))
}

fn is_same(one: &Array, other: &Array) -> bool {
    one.layout() == other.layout() && one.buffer().as_ptr() == other.buffer().as_ptr()
}

/// Returns an array of another length, on the same map or on a new one.
fn resized<'py>(
    array: &Bound<'py, PyUntypedArray>,
    map: &Bound<'py, Map>,
    old: &Array,
    new: &Array,
) -> PyResult<Bound<'py, PyAny>> {
    let (class, dtype) = (array.get_type(), array.dtype());
    if old.buffer().as_ptr() == new.buffer().as_ptr() {
        return array_on(&class, map.as_any(), &dtype, new.layout(), Strides::Given);
    }
    let filename = map.get().filename(array.py());
    let filename = filename.map(|filename| filename.into_bound(array.py()));
    let offset = map.get().offset();
    let (buffer, layout) = (new.buffer(), new.layout());
    new_array(
        &class,
        buffer,
        filename,
        offset,
        &dtype,
        layout,
        Strides::Given,
    )
}
