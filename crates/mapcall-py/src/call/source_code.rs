//! The source code of a compiled library: what `mapcall.compile` was given, and what a pickle says of it.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use mapcall::source::Language;
use mapcall::{CompileError, SourceCode};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::package::Package;

/// The source code of a library, with the options of the compiler.
#[derive(Clone)]
pub(super) struct Code {
    text: String,
    /// The file that the text was read from, as an absolute path.
    file: Option<PathBuf>,
    language: Language,
    flags: Vec<String>,
    libraries: Vec<PathBuf>,
    include: Vec<PathBuf>,
    define: Vec<(String, Option<String>)>,
    prototypes: Vec<Prototypes>,
    compiler: Option<PathBuf>,
    is_cached: bool,
}

#[derive(Clone)]
enum Prototypes {
    Text(String),
    File(PathBuf),
}

/// The options of `mapcall.compile`.
pub(super) struct CodeOptions<'a, 'py> {
    pub(super) flags: Option<&'a Bound<'py, PyAny>>,
    pub(super) libraries: Option<&'a Bound<'py, PyAny>>,
    pub(super) include: Option<&'a Bound<'py, PyAny>>,
    pub(super) define: Option<&'a Bound<'py, PyDict>>,
    pub(super) prototypes: Option<&'a Bound<'py, PyAny>>,
    pub(super) language: Option<String>,
    pub(super) compiler: Option<PathBuf>,
    pub(super) is_cached: bool,
}

impl Code {
    /// Reads the arguments of `mapcall.compile`, and the file of the source code.
    ///
    /// # Errors
    ///
    /// `TypeError` and `ValueError` if an argument is of another type, or a text that is the name of a file;
    /// `OSError` if the file can't be read.
    pub(super) fn new(source: &Bound<'_, PyAny>, options: &CodeOptions<'_, '_>) -> PyResult<Self> {
        let (text, file) = if let Ok(text) = source.cast::<PyString>() {
            let text = text.to_str()?.to_owned();
            if is_file_name(&text) {
                let message = format!(
                    "compile: source: expected the text of C code, got {text:?}, which looks like the name of a \
                     file; give it as pathlib.Path({text:?})"
                );
                return Err(PyValueError::new_err(message));
            }
            (text, None)
        } else if let Ok(path) = source.extract::<PathBuf>() {
            (String::new(), Some(absolute(path)))
        } else {
            let name = source.get_type().name()?.to_string();
            let message = format!(
                "compile: source: expected the text of C code, or a path, got an object of type {name}"
            );
            return Err(PyTypeError::new_err(message));
        };
        let flags = match options.flags {
            Some(flags) if flags.is_instance_of::<PyString>() => {
                let shlex = flags.py().import("shlex")?;
                shlex.call_method1("split", (flags,))?.extract()?
            }
            Some(flags) => flags.extract()?,
            None => Vec::new(),
        };
        let mut libraries = Vec::new();
        for library in each(options.libraries)? {
            // A loaded library is linked by its path.
            let path = match library.extract::<PathBuf>() {
                Ok(path) => path,
                Err(error) => file_of(&library, error)?,
            };
            let is_path = path.components().count() > 1 || path.is_file();
            libraries.push(if is_path { absolute(path) } else { path });
        }
        let mut include = Vec::new();
        for directory in each(options.include)? {
            include.push(absolute(directory.extract()?));
        }
        let mut define = Vec::new();
        for (name, value) in options.define.into_iter().flatten() {
            let value = if value.is_none() {
                None
            } else {
                Some(value.str()?.to_string())
            };
            define.push((name.extract()?, value));
        }
        let mut prototypes = Vec::new();
        for given in each(options.prototypes)? {
            prototypes.push(match given.cast::<PyString>() {
                Ok(text) if text.to_str()?.contains('(') => {
                    Prototypes::Text(text.to_str()?.to_owned())
                }
                _ => Prototypes::File(absolute(given.extract()?)),
            });
        }
        let compiler = options.compiler.clone().map(|path| {
            let is_path = path.components().count() > 1;
            if is_path { absolute(path) } else { path }
        });
        let language = if let Some(name) = &options.language {
            Language::from_str(name)
                .map_err(|error| PyValueError::new_err(format!("compile: language: {error}")))?
        } else {
            let language = file.as_deref().and_then(Language::of_file);
            language.unwrap_or_default()
        };
        let mut code = Self {
            text,
            file,
            language,
            flags,
            libraries,
            include,
            define,
            prototypes,
            compiler,
            is_cached: options.is_cached,
        };
        if let Some(path) = &code.file {
            let source = SourceCode::file(path).map_err(|error| match error {
                CompileError::Io { path, source } => {
                    let message = format!("{}: {source}", path.display());
                    PyErr::from(io::Error::new(source.kind(), message))
                }
                error => PyValueError::new_err(format!("compile: source: {error}")),
            })?;
            source.text().clone_into(&mut code.text);
        }
        Ok(code)
    }

    /// Returns the source code with its options.
    ///
    /// # Errors
    ///
    /// [`CompileError`] if its file has disappeared.
    pub(super) fn source(&self) -> Result<SourceCode, CompileError> {
        let mut source = match &self.file {
            Some(path) => SourceCode::file(path)?,
            None => SourceCode::new(&*self.text),
        };
        source = source
            .language(self.language)
            .flags(&self.flags)
            .cache(self.is_cached);
        for library in &self.libraries {
            source = source.library(library);
        }
        for directory in &self.include {
            source = source.include(directory);
        }
        for (name, value) in &self.define {
            source = source.define(name, value.as_deref());
        }
        for prototypes in &self.prototypes {
            source = match prototypes {
                Prototypes::Text(text) => source.prototypes(text),
                Prototypes::File(path) => source.prototypes_file(path),
            };
        }
        if let Some(compiler) = &self.compiler {
            source = source.compiler(compiler);
        }
        Ok(source)
    }

    /// Returns the name for messages.
    pub(super) fn name(&self) -> String {
        match &self.file {
            Some(path) => path.display().to_string(),
            None => "the source code".into(),
        }
    }

    /// Returns what a pickle says of the library.
    pub(super) fn reduced<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let paths = |paths: &[PathBuf]| PyTuple::new(py, paths.iter().map(|path| path.as_os_str()));
        let prototypes = self.prototypes.iter().map(|prototypes| match prototypes {
            Prototypes::Text(text) => (true, text.as_ref()),
            Prototypes::File(path) => (false, path.as_os_str()),
        });
        let fields = (
            &self.text,
            self.file.as_ref().map(|path| path.as_os_str()),
            self.language.name(),
            PyTuple::new(py, &self.flags)?,
            paths(&self.libraries)?,
            paths(&self.include)?,
            PyTuple::new(py, &self.define)?,
            PyTuple::new(py, prototypes.collect::<Vec<_>>())?,
            self.compiler.as_ref().map(|path| path.as_os_str()),
            self.is_cached,
        );
        let compilation = Package::get(py)?.import(py, "_pickling", "Compilation")?;
        compilation.call1(fields)
    }
}

/// Returns the elements of an argument that is one name or a list of them.
fn each<'py>(argument: Option<&Bound<'py, PyAny>>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let Some(argument) = argument else {
        return Ok(Vec::new());
    };
    if argument.is_instance_of::<PyList>() || argument.is_instance_of::<PyTuple>() {
        argument.try_iter()?.collect()
    } else {
        Ok(vec![argument.clone()])
    }
}

/// Returns the file of a loaded library, or the error for an object that is none.
fn file_of(library: &Bound<'_, PyAny>, error: PyErr) -> PyResult<PathBuf> {
    match library.getattr("path") {
        Err(_) => Err(error),
        Ok(path) if path.is_none() => Err(PyValueError::new_err(
            "compile: libraries: expected libraries that are files, got one without a file; leave the process out, \
             and compile others with cache=True",
        )),
        Ok(path) => path.extract(),
    }
}

/// Returns whether a text is the name of a file and no code.
fn is_file_name(text: &str) -> bool {
    let is_code = text.contains(['\n', '{', '}', ';', '(', '#']);
    !is_code && Language::of_file(Path::new(text)).is_some()
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
