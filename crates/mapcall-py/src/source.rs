//! The file arguments of Python functions: a name, a path, or an open file.

#![allow(unsafe_code)]

use std::fs::File;
use std::path::PathBuf;

use mapcall_array::{Array, Error, MapOptions};
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::errors::to_py;
use crate::once::intern;

/// A file, by name or open.
pub(crate) enum Source<'py> {
    Named(Named<'py>),
    Open {
        object: Bound<'py, PyAny>,
        file: File,
    },
}

impl<'py> Source<'py> {
    pub(crate) fn new(given: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = given.py();
        if given.is_instance_of::<PyString>() || !given.hasattr(intern!(py, "read"))? {
            return Ok(Self::Named(Named::new(given)?));
        }
        // `seek` writes the object's buffer to the file.
        given.call_method1(intern!(py, "seek"), (0, 2))?;
        let descriptor = given.call_method0(intern!(py, "fileno"))?.extract()?;
        Ok(Self::Open {
            object: given.clone(),
            file: duplicate(descriptor)?,
        })
    }

    /// Maps the file as a raw file. `name` is the path that the map of an open file gets.
    pub(crate) fn map(
        &self,
        py: Python<'py>,
        options: &MapOptions,
        name: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Array> {
        let (object, file) = match self {
            Self::Named(Named { path, .. }) => {
                // SAFETY: no Rust reference to the bytes is made: they are copied through raw
                // pointers, or read and written by C code.
                return py.detach(|| unsafe { options.map(path) }).map_err(to_py);
            }
            Self::Open { object, file } => (object, file),
        };
        let path = name.map(PyAnyMethods::extract::<PathBuf>).transpose()?;
        // SAFETY: no Rust reference to the bytes is made: they are copied through raw pointers, or read
        // and written by C code.
        let array = py.detach(|| unsafe { options.map_file(file, path.as_deref()) });
        if let Err(Error::Io {
            action: "resize", ..
        }) = &array
        {
            // A file object that is not open for writing raises its own exception.
            object.call_method1(intern!(py, "write"), (PyBytes::new(py, b""),))?;
        }
        let array = array.map_err(to_py)?;
        // numpy.memmap leaves the file object at the end of the file too.
        object.call_method1(intern!(py, "seek"), (0, 2))?;
        Ok(array)
    }

    /// Returns the `filename` of the array: that of [`Named`], or the name of an open file if it has one.
    pub(crate) fn filename(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self {
            Self::Named(named) => named.filename(),
            Self::Open { object, .. } => {
                let py = object.py();
                let name = object.getattr_opt(intern!(py, "name"))?;
                // The name of a temporary file may be its descriptor, an int.
                name.filter(PyAnyMethods::is_instance_of::<PyString>)
                    .map(absolute)
                    .transpose()
            }
        }
    }
}

/// A file with a name.
pub(crate) struct Named<'py> {
    given: Bound<'py, PyAny>,
    name: Bound<'py, PyAny>,
    pub(crate) path: PathBuf,
}

impl<'py> Named<'py> {
    pub(crate) fn new(given: &Bound<'py, PyAny>) -> PyResult<Self> {
        let (name, path) = path(given)?;
        Ok(Self {
            given: given.clone(),
            name,
            path,
        })
    }

    /// Returns the `filename` of the array, which is that of numpy.memmap: a Path for a path object, an
    /// absolute str for a str, None for bytes.
    pub(crate) fn filename(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = self.given.py();
        let is_path = !self.given.is(&self.name);
        if is_path && let Some(resolve) = self.given.getattr_opt(intern!(py, "resolve"))? {
            return resolve.call0().map(Some);
        }
        if self.name.is_instance_of::<PyString>() {
            return absolute(self.name.clone()).map(Some);
        }
        Ok(None)
    }
}

/// Returns the path of a str, bytes or object with `__fspath__`: as a str or bytes, and as a path of
/// the core.
fn path<'py>(file: &Bound<'py, PyAny>) -> PyResult<(Bound<'py, PyAny>, PathBuf)> {
    let (name, path): (_, PathBuf) = if file.is_instance_of::<PyString>() {
        (file.clone(), file.extract()?)
    } else {
        let os = file.py().import(intern!(file.py(), "os"))?;
        let name = os.call_method1(intern!(file.py(), "fspath"), (file,))?;
        let path = os.call_method1(intern!(file.py(), "fsdecode"), (&name,))?;
        (name, path.extract()?)
    };
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(PyValueError::new_err("embedded null byte"));
    }
    Ok((name, path))
}

/// Returns `os.path.abspath(name)`. It does not call that function, which takes as long as the rest of
/// mapping a file, for a name that is absolute already.
fn absolute(name: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let py = name.py();
    // An instance of a subclass of str is converted to a str, since its class may have no pickle.
    // SAFETY: `name` is a reference to an object.
    let text = unsafe { ffi::PyUnicode_FromObject(name.as_ptr()) };
    // SAFETY: the function returned a new reference, or null with an exception set.
    let name = unsafe { Bound::from_owned_ptr_or_err(py, text) }?;
    if name.extract::<&str>().is_ok_and(is_normal) {
        return Ok(name);
    }
    py.import(intern!(py, "os.path"))?
        .call_method1(intern!(py, "abspath"), (name,))
}

/// Returns whether `os.path.abspath` would not change a name.
fn is_normal(name: &str) -> bool {
    let mut parts = name.split('/');
    cfg!(unix) && parts.next() == Some("") && parts.all(|part| !matches!(part, "" | "." | ".."))
}

/// Returns a file with a duplicate of a descriptor that the caller goes on to own.
#[cfg(unix)]
fn duplicate(descriptor: i32) -> PyResult<File> {
    use std::os::fd::BorrowedFd;

    if descriptor < 0 {
        return Err(PyValueError::new_err(format!(
            "{descriptor} is no file descriptor"
        )));
    }
    // SAFETY: the descriptor is not -1. It is open: `fileno` of the file object has returned it, and
    // this thread has been attached since then, so no Python code has closed it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let owned = borrowed.try_clone_to_owned();
    owned.map(File::from).map_err(|source| {
        to_py(Error::Io {
            action: "open",
            path: None,
            source,
        })
    })
}

#[cfg(not(unix))]
fn duplicate(_: i32) -> PyResult<File> {
    Err(PyValueError::new_err(
        "give the file's name: an open file can't be mapped on this system",
    ))
}
