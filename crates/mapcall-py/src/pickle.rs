//! Pickles of arrays on maps. They hold the file, offset and layout of the array, and no elements.

#![allow(unsafe_code)]

use mapcall_array::map::{self, Fingerprint, MapError};
use mapcall_array::{DType, Error, Layout, MapOptions, Mode};
use numpy::npyffi::npy_intp;
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::convert;
use crate::errors::to_py;
use crate::map::{file_offset_of, mapped, new_array};
use crate::mapped_array::map_of;
use crate::memory::{Strides, is_writeable, layout_in};
use crate::once::{Once, intern};
use crate::source::Named;

/// The fingerprint in a pickle: inode, creation time, size, modification time.
type Recorded = (u64, Option<i128>, u64, i128);

/// Returns the context variable that `mapcall.trust_files` sets.
pub(crate) fn trust(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static TRUST: Once<Py<PyAny>> = Once::new();
    let trust = TRUST.get_or_try_init(py, || {
        let new = py.import("contextvars")?.getattr("ContextVar")?;
        new.call1(("mapcall.trust_files",)).map(Bound::unbind)
    });
    trust.map(|trust| trust.bind(py))
}

/// Returns whether fingerprints are ignored, as they are within `mapcall.trust_files`.
fn is_trusting(py: Python<'_>) -> PyResult<bool> {
    trust(py)?
        .call_method1(intern!(py, "get"), (false,))?
        .is_truthy()
}

/// Return the arguments of `reopen` for an array; None if it must be pickled by value.
///
/// >>> import mapcall
/// >>> x = mapcall.memmap('x.dat', 'f4', 'w+', shape=(2, 3))
/// >>> mapcall._mapcall.reduce(x[1])[3:]
/// (12, '<f4', (3,), (4,), 'r+', True)
///
/// Copies are pickled by value, and so are arrays on files that no longer have their name, and on
/// copy-on-write maps that have changes, which are in the memory of this process only.
#[pyfunction]
pub(crate) fn reduce<'py>(
    array: &Bound<'py, PyUntypedArray>,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let py = array.py();
    let Some(map) = map_of(array) else {
        return Ok(None);
    };
    let map = map.get();
    let buffer = map.buffer()?;
    let core = mapped(&buffer)?;
    let (Some(path), Some(found)) = (core.path(), core.fingerprint()) else {
        return Ok(None);
    };
    let recorded: Option<Recorded> = if is_trusting(py)? {
        None
    } else {
        Some((found.inode, found.created, found.len, found.modified))
    };
    let layout = layout_in(&buffer, array)?;
    if core.has_private_changes(layout.bounds()).map_err(to_py)? {
        return Ok(None);
    }
    // Mode 'w+' would empty the file when it is opened again.
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
    // A map that was opened by a name of type bytes has no `filename`.
    let filename = match map.filename(py) {
        Some(filename) => filename.into_bound(py),
        None => py
            .import(intern!(py, "os"))?
            .call_method1(intern!(py, "fsencode"), (path,))?,
    };
    let state = (
        array.get_type(),
        filename,
        recorded,
        file_offset_of(&buffer, &layout)?,
        dtype,
        PyTuple::new(py, layout.shape())?,
        PyTuple::new(py, layout.strides())?,
        mode.as_str(),
        is_writeable(array),
    );
    state.into_pyobject(py).map(Some)
}

/// Map the array for which `reduce` returned the arguments.
///
/// >>> import mapcall
/// >>> x = mapcall.memmap('x.dat', 'f4', 'w+', shape=(2, 3))
/// >>> x[1] = 7
/// >>> mapcall._mapcall.reopen(*mapcall._mapcall.reduce(x[:, 1]))
/// memmap([0., 7.], dtype=float32)
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the tuple in a pickle is flat")]
pub(crate) fn reopen<'py>(
    class: &Bound<'py, PyType>,
    filename: &Bound<'py, PyAny>,
    recorded: Option<Recorded>,
    file_offset: u64,
    dtype: &Bound<'py, PyAny>,
    shape: Vec<usize>,
    strides: Vec<npy_intp>,
    mode: &Bound<'py, PyAny>,
    writeable: bool,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let name = Named::new(filename)?;
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

    let end = u64::try_from(bounds.end)?;
    // The fingerprint is that of the open file, which is mapped even if its name is changed meanwhile.
    let file = map::open_regular(&name.path, mode).map_err(to_py)?;
    let found = Fingerprint::of(&file).map_err(to_py)?;
    let changed = |source| {
        to_py(Error::Map {
            path: Some(name.path.clone()),
            source,
        })
    };
    if let Some((inode, created, len, modified)) = recorded {
        if end > len {
            return Err(PyValueError::new_err(
                "the pickle asks for bytes beyond the end of the file",
            ));
        }
        let recorded = Fingerprint {
            inode,
            created,
            len,
            modified,
        };
        if let Err(error) = recorded.check(&found, mode)
            && !is_trusting(py)?
        {
            return Err(changed(error));
        }
    }
    if end > found.len {
        return Err(changed(MapError::Changed {
            what: "size",
            expected: end.into(),
            found: found.len.into(),
        }));
    }
    let options = MapOptions::new()
        .mode(mode)
        .offset(u64::try_from(bounds.start)?)
        .dtype(DType::U8)
        .shape([bounds.len()]);
    // SAFETY: no Rust reference to the bytes is made: they are copied through raw pointers, or read
    // and written by C code.
    let array = py
        .detach(|| unsafe { options.map_file(&file, Some(&name.path)) })
        .map_err(to_py)?;
    let (buffer, filename, strides) = (array.buffer(), name.filename()?, Strides::Given);
    // The attribute `offset` is that of the array's first byte in the file.
    let offset = u64::try_from(bounds.start)?;
    let array = new_array(class, buffer, filename, offset, &dtype, &layout, strides)?;
    if !writeable {
        array.call_method1(intern!(py, "setflags"), (false,))?;
    }
    Ok(array)
}
