//! Conversion of the core's errors to Python exceptions. Where NumPy raises an exception for the
//! same mistake, the type and message are NumPy's, and a note has the core's message.

#![allow(
    clippy::disallowed_types,
    reason = "the extension makes the types of `create_exception` when it is imported"
)]

use std::io;
use std::path::{Path, PathBuf};

use mapcall::nearest::nearest;
use mapcall_array::layout::LayoutError;
use mapcall_array::map::MapError;
use mapcall_array::{AppendError, Error};
use pyo3::create_exception;
use pyo3::exceptions::{
    PyAttributeError, PyBlockingIOError, PyFileExistsError, PyMemoryError, PyOSError,
    PyRuntimeWarning, PyTypeError, PyValueError, PyZeroDivisionError,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::once::intern;

create_exception!(
    mapcall,
    FormatError,
    PyValueError,
    "A file does not conform to its format.\n\
     \n\
     >>> import mapcall, pathlib\n\
     >>> _ = pathlib.Path('no.npy').write_text('no array')\n\
     >>> try:\n\
     ...     mapcall.open('no.npy')\n\
     ... except mapcall.FormatError as error:\n\
     ...     error.path\n\
     'no.npy'\n\
     \n\
     Attributes\n\
     ----------\n\
     path : str\n\
     \x20   The file.\n\
     reason : str\n\
     \x20   What is wrong with it."
);

create_exception!(
    mapcall,
    ChangedFileError,
    PyOSError,
    "A file has changed, or is another file, since a map of it was pickled.\n\
     \n\
     >>> import mapcall, os, pickle\n\
     >>> pickled = pickle.dumps(mapcall.memmap('x.dat', mode='w+', shape=10))\n\
     >>> os.truncate('x.dat', 5)\n\
     >>> try:\n\
     ...     pickle.loads(pickled)\n\
     ... except mapcall.ChangedFileError as error:\n\
     ...     error.changed, error.expected, error.found\n\
     ('size', 10, 5)\n\
     \n\
     Attributes\n\
     ----------\n\
     path : str\n\
     \x20   The file.\n\
     changed : {'inode', 'creation time', 'size', 'modification time'}\n\
     \x20   The property that differs. Another inode or creation time means another file. The\n\
     \x20   modification time is compared in modes 'r' and 'c'.\n\
     expected, found : int\n\
     \x20   Its value when the map was pickled, and its value now: the number of the inode, bytes,\n\
     \x20   or nanoseconds since 1970."
);

create_exception!(
    mapcall,
    ReplacedFileWarning,
    PyRuntimeWarning,
    "A map was flushed, and the name of its file now belongs to another file.\n\
     \n\
     >>> import mapcall, warnings\n\
     >>> import numpy as np\n\
     >>> x = mapcall.create('x.npy', 3)\n\
     >>> y = mapcall.create('x.npy', 5, overwrite=True)\n\
     >>> x[:] = 1\n\
     >>> with warnings.catch_warnings(record=True) as caught:\n\
     ...     warnings.simplefilter('always')\n\
     ...     x.flush()\n\
     >>> caught[0].category.__name__, np.load('x.npy').tolist()\n\
     ('ReplacedFileWarning', [0.0, 0.0, 0.0, 0.0, 0.0])\n\
     \n\
     The bytes written to the map are in the old file. Unless it has another name, it is deleted\n\
     with its last map. There is no warning for a file that was only removed."
);

/// Converts an error of the core to an exception, attaching to the interpreter.
#[expect(clippy::needless_pass_by_value, reason = "it is for `map_err`")]
pub(crate) fn to_py(error: Error) -> PyErr {
    Python::attach(|py| of(py, &error))
}

/// Converts an error of the core to an exception.
pub(crate) fn of(py: Python<'_>, error: &Error) -> PyErr {
    match error {
        Error::Io { path, source, .. } => os_error(py, path.as_deref(), source),
        Error::OutOfMemory { .. } => PyMemoryError::new_err(error.to_string()),
        Error::Format { path, source } => {
            let exception = FormatError::new_err(error.to_string());
            with_fields(py, exception, |value| {
                value.setattr("path", path.as_os_str())?;
                value.setattr("reason", source.to_string())
            })
        }
        Error::Fault(fault) => crate::faults::fault(py, fault),
        Error::Append {
            path,
            source: source @ AppendError::Locked,
        } => PyBlockingIOError::new_err((EAGAIN, source.to_string(), path.as_os_str().to_owned())),
        Error::Map { path, source } => map_error(py, error, path.as_ref(), source),
        Error::Layout(source) => match numpy_layout_message(source) {
            Some(message) => noted(py, PyValueError::new_err(message), error),
            None => PyValueError::new_err(error.to_string()),
        },
        _ => PyValueError::new_err(error.to_string()),
    }
}

fn map_error(py: Python<'_>, error: &Error, path: Option<&PathBuf>, source: &MapError) -> PyErr {
    let exception = match source {
        MapError::ShapeRequired => PyValueError::new_err("shape must be given if mode == 'w+'"),
        MapError::ZeroItemsize => PyZeroDivisionError::new_err("integer modulo by zero"),
        MapError::NotMultiple { .. } => {
            PyValueError::new_err("Size of available data is not a multiple of the data-type size.")
        }
        MapError::OffsetPastEnd { .. } => {
            PyValueError::new_err("negative dimensions are not allowed")
        }
        MapError::TooShort { .. } => PyValueError::new_err("mmap length is greater than file size"),
        MapError::EmptyFile { .. } => PyValueError::new_err("cannot mmap an empty file"),
        MapError::Changed {
            what,
            expected,
            found,
        } => {
            let mut remedy = "pickle the map again".to_owned();
            if *what != "size" {
                remedy.push_str(", or load it within mapcall.trust_files() if the file was copied");
            }
            let exception = ChangedFileError::new_err(format!("{error}; {remedy}"));
            return with_fields(py, exception, |value| {
                value.setattr("path", path.map(|path| path.as_os_str()))?;
                value.setattr("changed", what)?;
                value.setattr("expected", expected)?;
                value.setattr("found", found)
            });
        }
        MapError::NotRegular { kind: "directory" } => {
            let directory = io::Error::from(io::ErrorKind::IsADirectory);
            return os_error(py, path.map(PathBuf::as_path), &directory);
        }
        MapError::Exists => {
            let message = "File exists; give overwrite=True to replace it".to_owned();
            let path = path.map(|path| path.as_os_str().to_owned());
            return PyFileExistsError::new_err((EEXIST, message, path));
        }
        _ => return PyValueError::new_err(error.to_string()),
    };
    noted(py, exception, error)
}

fn numpy_layout_message(error: &LayoutError) -> Option<String> {
    match error {
        LayoutError::TooManyAxes { ndim } => Some(format!(
            "maximum supported dimension for an ndarray is currently 64, found {ndim}"
        )),
        LayoutError::TooBig { .. } => Some(
            "array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum \
             possible size."
                .into(),
        ),
        _ => None,
    }
}

/// Returns an `OSError` of the subclass that belongs to the error number.
fn os_error(py: Python<'_>, path: Option<&Path>, source: &io::Error) -> PyErr {
    let number = match source.raw_os_error() {
        Some(number) => number,
        None if source.kind() == io::ErrorKind::IsADirectory => EISDIR,
        None => return PyOSError::new_err(source.to_string()),
    };
    let message = py
        .import("os")
        .and_then(|os| os.call_method1("strerror", (number,)));
    let message = message.unwrap_or_else(|_| PyString::new(py, &source.to_string()).into_any());
    let message = message.unbind();
    match path {
        // A str and no Path: a Path's constructor is Python code, which could raise another exception.
        Some(path) => PyOSError::new_err((number, message, path.as_os_str().to_owned())),
        None => PyOSError::new_err((number, message)),
    }
}

/// Error numbers, which are the same on all systems.
const EISDIR: i32 = 21;
const EEXIST: i32 = 17;

/// The error number that Linux has for a lock that another file has.
const EAGAIN: i32 = 11;

fn noted(py: Python<'_>, exception: PyErr, error: &Error) -> PyErr {
    with_fields(py, exception, |value| {
        value
            .call_method1("add_note", (error.to_string(),))
            .map(drop)
    })
}

/// Refuses keywords that a function does not know.
///
/// # Errors
///
/// `TypeError` if there are any; it names the known keyword that is most similar.
pub(crate) fn refuse_unknown(
    function: &str,
    known: &[&str],
    unknown: Option<&Bound<'_, PyDict>>,
) -> PyResult<()> {
    let Some(name) = unknown.and_then(|unknown| unknown.keys().iter().next()) else {
        return Ok(());
    };
    let name = name.to_string();
    let message = format!("{function}() got an unexpected keyword argument '{name}'");
    Err(PyTypeError::new_err(
        match nearest(&name, known.iter().copied()).first() {
            Some(near) => format!("{message}; did you mean '{near}'?"),
            None => message,
        },
    ))
}

/// Returns an `AttributeError` with a message, which names the attribute in `dir(object)` that is most
/// similar.
///
/// The interpreter makes such suggestions of its own from the exception's `name` and `obj`, if it prints
/// the exception. So `obj` is set only if the message has no suggestion.
pub(crate) fn missing_attribute(object: &Bound<'_, PyAny>, name: &str, message: String) -> PyErr {
    let py = object.py();
    // Names with underscores are asked for by protocols, which expect that an object lacks them.
    let mut known = Vec::new();
    if !name.starts_with('_') {
        let names = object
            .dir()
            .and_then(|names| names.extract::<Vec<String>>());
        known = names.unwrap_or_default();
    }
    let near = nearest(name, known.iter().map(String::as_str))
        .first()
        .copied();
    let message = match near {
        Some(near) => format!("{message}; did you mean '{near}'?"),
        None => message,
    };
    attribute_error(py, name, near.is_none().then_some(object), message)
}

/// Returns an `AttributeError` with its `name` and `obj`.
pub(crate) fn attribute_error(
    py: Python<'_>,
    name: &str,
    object: Option<&Bound<'_, PyAny>>,
    message: String,
) -> PyErr {
    with_fields(py, PyAttributeError::new_err(message), |value| {
        value.setattr(intern!(py, "name"), name)?;
        value.setattr(intern!(py, "obj"), object)
    })
}

/// The exception with more on it, or the one that came of trying.
pub(crate) fn with_fields(
    py: Python<'_>,
    exception: PyErr,
    set: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<()>,
) -> PyErr {
    match set(exception.value(py)) {
        Ok(()) => exception,
        Err(error) => error,
    }
}
