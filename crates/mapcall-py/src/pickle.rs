//! Maps by reference: what a pickle holds is where the array is, not what is in it.

#![allow(unsafe_code)]

use std::fs;

use mapcall_array::{DType, Error, Layout, MapOptions, Mode};
use numpy::npyffi::npy_intp;
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::convert;
use crate::errors::{ChangedFileError, to_py, with_fields};
use crate::map::Map;
use crate::mapped_array::map_of;
use crate::memory::{Strides, array_on, layout_in, shape, strides};
use crate::open::Named;

/// Where an array is, as the arguments of `reopen`; None when it can only travel by value.
///
/// >>> import mapcall
/// >>> x = mapcall.memmap('x.dat', 'f4', 'w+', shape=(2, 3))
/// >>> mapcall._mapcall.reduce(x[1])[2:8]
/// (24, 12, '<f4', (3,), (4,), 'r+')
///
/// By value travel copies, files whose name is gone or leads elsewhere, and copy-on-write maps that
/// have been written to, since their changes are in this process only.
#[pyfunction]
pub(crate) fn reduce<'py>(
    array: &Bound<'py, PyUntypedArray>,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let py = array.py();
    let Some(map) = map_of(array) else {
        return Ok(None);
    };
    let map = map.get();
    let (Some(filename), core) = (map.filename(py), map.map()?) else {
        return Ok(None);
    };
    let Some(file_len) = core.named_file_len() else {
        return Ok(None);
    };
    if core
        .has_private_changes(layout_in(map.buffer(), array)?.bounds())
        .map_err(to_py)?
    {
        return Ok(None);
    }
    // A new file is not emptied again where it is re-opened.
    let mode = if core.mode() == Mode::Write {
        Mode::ReadWrite
    } else {
        core.mode()
    };
    let dtype = array.dtype();
    let plain = !dtype.has_fields() && dtype.getattr(intern!(py, "metadata"))?.is_none();
    let dtype = if plain {
        dtype.getattr(intern!(py, "str"))?
    } else {
        dtype.into_any()
    };
    let place = (
        array.get_type(),
        filename,
        file_len,
        map.file_offset(array)?,
        dtype,
        PyTuple::new(py, shape(array))?,
        PyTuple::new(py, strides(array))?,
        mode.as_str(),
        map.offset(),
    );
    place.into_pyobject(py).map(Some)
}

/// The array that `reduce` has described.
///
/// >>> import mapcall
/// >>> x = mapcall.memmap('x.dat', 'f4', 'w+', shape=(2, 3))
/// >>> x[1] = 7
/// >>> mapcall._mapcall.reopen(*mapcall._mapcall.reduce(x[:, 1]))
/// memmap([0., 7.], dtype=float32)
#[pyfunction]
#[expect(
    clippy::too_many_arguments,
    reason = "what a pickle holds is a flat tuple"
)]
pub(crate) fn reopen<'py>(
    class: &Bound<'py, PyType>,
    filename: &Bound<'py, PyAny>,
    file_len: u64,
    file_offset: u64,
    dtype: &Bound<'py, PyAny>,
    shape: Vec<usize>,
    strides: Vec<npy_intp>,
    mode: &Bound<'py, PyAny>,
    offset: u64,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let file = Named::new(filename)?;
    let dtype = PyArrayDescr::new(py, dtype)?;
    if dtype.has_object() {
        return Err(PyValueError::new_err(
            "the pickle asks for Python objects in a file",
        ));
    }
    let itemsize = dtype.itemsize();
    let first = usize::try_from(file_offset)?;
    let in_file = Layout::from_strides(first, &shape, &strides, itemsize)
        .map_err(|error| to_py(error.into()))?;
    let bounds = in_file.bounds();
    let layout = in_file
        .with_offset(first - bounds.start)
        .map_err(|error| to_py(error.into()))?;

    let found = fs::metadata(&file.path)
        .map_err(|source| {
            to_py(Error::Io {
                action: "inspect",
                path: Some(file.path.clone()),
                source,
            })
        })?
        .len();
    if found != file_len {
        return Err(changed(py, &file, file_len, found));
    }
    if u64::try_from(bounds.end)? > found {
        return Err(PyValueError::new_err(
            "the pickle asks for bytes beyond the end of the file",
        ));
    }
    let options = MapOptions::new()
        .mode(convert::mode(mode)?)
        .offset(u64::try_from(bounds.start)?)
        .dtype(DType::U8)
        .shape([bounds.len()]);
    // SAFETY: no reference to the bytes is made here: NumPy reads and writes them as C does.
    let array = py
        .detach(|| unsafe { options.map(&file.path) })
        .map_err(to_py)?;
    let map = Map::new(
        array.buffer().clone(),
        Some(filename.clone().unbind()),
        offset,
    );
    let map = Bound::new(py, map)?;
    array_on(class, map.as_any(), &dtype, &layout, Strides::Given)
}

fn changed(py: Python<'_>, file: &Named<'_>, expected: u64, found: u64) -> PyErr {
    let path = file.path.display();
    let exception = ChangedFileError::new_err(format!(
        "{path} had {expected} bytes when a map of it was pickled, and has {found} now; pickle the \
         map again"
    ));
    with_fields(py, exception, |value| {
        value.setattr("path", file.path.as_os_str())?;
        value.setattr("expected", expected)?;
        value.setattr("found", found)
    })
}
