//! Maps by reference: what a pickle holds is where the array is, not what is in it.

#![allow(unsafe_code)]

use mapcall_array::map::{self, Fingerprint, MapError};
use mapcall_array::{DType, Error, Layout, MapOptions, Mode};
use numpy::npyffi::npy_intp;
use numpy::{PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

use crate::convert;
use crate::errors::to_py;
use crate::map::{file_offset_of, mapped, new_array};
use crate::mapped_array::map_of;
use crate::memory::{Strides, is_writeable, layout_in};
use crate::source::Named;

/// A fingerprint as a pickle has it: inode, creation time, size, modification time.
type Recorded = (u64, Option<i128>, u64, i128);

/// The context variable that `mapcall.trust_files` sets.
pub(crate) fn trust(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static TRUST: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let trust = TRUST.get_or_try_init(py, || {
        let new = py.import("contextvars")?.getattr("ContextVar")?;
        new.call1(("mapcall.trust_files",)).map(Bound::unbind)
    });
    trust.map(|trust| trust.bind(py))
}

/// Whether files are taken for what they were, whatever their fingerprint.
fn is_trusting(py: Python<'_>) -> PyResult<bool> {
    trust(py)?
        .call_method1(intern!(py, "get"), (false,))?
        .is_truthy()
}

/// Returns the position of an array as the arguments of `reopen`; None if it can only be pickled by
/// value.
///
/// >>> import mapcall
/// >>> x = mapcall.memmap('x.dat', 'f4', 'w+', shape=(2, 3))
/// >>> mapcall._mapcall.reduce(x[1])[3:]
/// (12, '<f4', (3,), (4,), 'r+', True)
///
/// Pickled by value are copies, arrays in files whose name is gone or leads elsewhere, and copy-on-write
/// maps that have been written to, since their changes are in this process only.
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
        recorded,
        file_offset_of(&buffer, &layout)?,
        dtype,
        PyTuple::new(py, layout.shape())?,
        PyTuple::new(py, layout.strides())?,
        mode.as_str(),
        is_writeable(array),
    );
    place.into_pyobject(py).map(Some)
}

/// Opens the array that `reduce` has described.
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
    // What is compared is the file that is mapped, whatever happens to its name meanwhile.
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
    // SAFETY: no reference to the bytes is made here: NumPy reads and writes them as C does.
    let array = py
        .detach(|| unsafe { options.map_file(&file, Some(&name.path)) })
        .map_err(to_py)?;
    let (buffer, filename, strides) = (array.buffer(), name.filename()?, Strides::Given);
    // As of any array that is first on its map, the offset is that of its first byte.
    let offset = u64::try_from(bounds.start)?;
    let array = new_array(class, buffer, filename, offset, &dtype, &layout, strides)?;
    if !writeable {
        array.call_method1(intern!(py, "setflags"), (false,))?;
    }
    Ok(array)
}
