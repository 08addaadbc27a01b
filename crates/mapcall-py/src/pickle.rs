//! Maps by reference: what a pickle holds is where the array is, not what is in it.

#![allow(unsafe_code)]

use std::fs;

use mapcall_array::{DType, Error, Layout, MapOptions, Mode};
use numpy::npyffi::npy_intp;
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::convert;
use crate::errors::{ChangedFileError, to_py, with_fields};
use crate::map::Map;
use crate::mapped_array::map_of;
use crate::memory::{Strides, array_on, is_writeable, layout_in};
use crate::source::Named;

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
    let core = map.map()?;
    let (Some(path), Some(file_len)) = (core.path(), core.named_file_len()) else {
        return Ok(None);
    };
    let layout = layout_in(map.buffer(), array)?;
    if core.has_private_changes(layout.bounds()).map_err(to_py)? {
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
    // A map that was opened by bytes shows no name, but has one.
    let filename = match map.filename(py) {
        Some(filename) => filename.into_bound(py),
        None => py
            .import(intern!(py, "os"))?
            .call_method1(intern!(py, "fsencode"), (path,))?,
    };
    let place = (
        array.get_type(),
        filename,
        file_len,
        map.file_offset_of(&layout)?,
        dtype,
        PyTuple::new(py, layout.shape())?,
        PyTuple::new(py, layout.strides())?,
        mode.as_str(),
        map.offset(),
        is_writeable(array),
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
    writeable: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let file = Named::new(filename)?;
    let dtype = convert::dtype(dtype)?;
    let mode = convert::mode(mode)?;
    if mode == Mode::Write {
        return Err(PyValueError::new_err(
            "the pickle asks for a file to be emptied",
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
        .mode(mode)
        .offset(u64::try_from(bounds.start)?)
        .dtype(DType::U8)
        .shape([bounds.len()]);
    // SAFETY: no reference to the bytes is made here: NumPy reads and writes them as C does.
    let array = py
        .detach(|| unsafe { options.map(&file.path) })
        .map_err(to_py)?;
    let name = file.filename()?.map(Bound::unbind);
    let map = Map::new(array.buffer().clone(), name, offset);
    let map = Bound::new(py, map)?;
    let array = array_on(class, map.as_any(), &dtype, &layout, Strides::Given)?;
    if !writeable {
        array.call_method1(intern!(py, "setflags"), (false,))?;
    }
    Ok(array)
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
