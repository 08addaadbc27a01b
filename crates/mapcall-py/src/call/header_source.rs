//! The headers of a library, as the arguments of `load` give them.

use std::path::PathBuf;

use mapcall::Header;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySequence, PyString, PyTuple};

/// Returns the names that the argument `header` or `prototypes` of `load` has: one, or a sequence of them.
pub(super) fn names(header: &Bound<'_, PyAny>) -> PyResult<Vec<PathBuf>> {
    match header.extract::<PathBuf>() {
        Ok(name) => Ok(vec![name]),
        Err(_) if header.cast::<PySequence>().is_ok() => header.extract(),
        Err(error) => Err(error),
    }
}

/// Returns the texts that the argument `header_text` of `load` has: one, or a sequence of them.
pub(super) fn texts(text: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    if text.is_instance_of::<PyString>() {
        return Ok(vec![text.extract()?]);
    }
    text.extract().map_err(|_: PyErr| {
        let found = text.get_type().name();
        let found = found.map_or_else(|error| error.to_string(), |name| name.to_string());
        PyTypeError::new_err(format!(
            "load: header_text: expected a str or a sequence of them, got {found}"
        ))
    })
}

/// The headers of a library, with the options of `load`.
#[derive(Clone, Default)]
pub(super) struct HeaderSource {
    pub(super) names: Vec<PathBuf>,
    /// Headers that are no files.
    pub(super) texts: Vec<String>,
    /// The files of prototypes that override those of the headers.
    pub(super) prototypes: Vec<PathBuf>,
    pub(super) include: Vec<PathBuf>,
    pub(super) define: Vec<(String, Option<String>)>,
}

impl HeaderSource {
    /// Returns whether there is no header.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.texts.is_empty() && self.prototypes.is_empty()
    }

    /// Returns whether files of prototypes override those of the headers.
    pub(super) fn has_prototypes(&self) -> bool {
        !self.prototypes.is_empty()
    }

    pub(super) fn header(&self) -> Header {
        // Files of prototypes without a header are headers themselves.
        let (names, prototypes) = if self.names.is_empty() && self.texts.is_empty() {
            (&self.prototypes, &[][..])
        } else {
            (&self.names, &self.prototypes[..])
        };
        let mut texts = self.texts.iter();
        let mut header = match names.first() {
            Some(name) => Header::new(name),
            None => Header::of_text(texts.next().map_or("", String::as_str)),
        };
        for name in names.iter().skip(1) {
            header = header.and(name);
        }
        for text in texts {
            header = header.text(text);
        }
        for path in prototypes {
            header = header.prototypes(path);
        }
        for directory in &self.include {
            header = header.include(directory);
        }
        for (name, value) in &self.define {
            header = header.define(name, value.as_deref());
        }
        header
    }

    /// Returns the names for messages.
    pub(super) fn names(&self) -> String {
        let names = self.names.iter().map(|name| name.display().to_string());
        let texts = self.texts.iter().map(|_| "header_text".to_owned());
        names.chain(texts).collect::<Vec<_>>().join(", ")
    }

    /// Returns the arguments of `load` for a pickle: names, include, define, prototypes, texts.
    pub(super) fn reduced<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let define = PyDict::new(py);
        for (name, value) in &self.define {
            define.set_item(name, value)?;
        }
        let paths = |paths: &[PathBuf]| PyTuple::new(py, paths.iter().map(|path| path.as_os_str()));
        let names = match &self.names[..] {
            [name] => name.as_os_str().into_pyobject(py)?.into_any(),
            names => paths(names)?.into_any(),
        };
        let (include, prototypes) = (paths(&self.include)?, paths(&self.prototypes)?);
        let texts = PyTuple::new(py, &self.texts)?;
        (names, include, define, prototypes, texts).into_pyobject(py)
    }
}
