//! `mapcall.compile`: a library that is made of source code.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use mapcall::CompileError;
use mapcall::source::{Diagnostic, Severity};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::errors;
use super::library::Library;
use super::source_code::{Code, CodeOptions};
use crate::errors::refuse_unknown;
use crate::package::Package;

/// Compile C code, and load the library.
///
/// >>> import mapcall
/// >>> import numpy as np
/// >>> lib = mapcall.compile("""
/// ...     void cumulate(int n, const double x[n], double sum[n])
/// ...     {
/// ...         double s = 0;
/// ...         for (int i = 0; i < n; i++)
/// ...             sum[i] = s += x[i];
/// ...     }
/// ... """)
/// >>> lib.cumulate(np.array([1.0, 2.0, 4.0]))
/// array([1., 3., 7.])
///
/// The prototypes are those of the code, with the lengths of arrays, so that nothing is written twice. The
/// types of ``stdint.h`` and ``stddef.h``, ``double complex`` and its like, and the words of ``mapcall.h`` are
/// there without being included.
///
/// Parameters
/// ----------
/// source : str or PathLike
///     The code as text, or the path of its file.
/// flags : str or sequence of str, optional
///     Options of the compiler, such as ``"-O3 -march=native -fopenmp"``, behind ``-O2``.
/// libraries : str, PathLike or Library, or sequence of them, optional
///     The libraries that the code uses: bare names (``"openblas"``), file names (``"libz.so.1"``), paths, or
///     loaded libraries. The C library and libm are linked always.
/// include : str or PathLike, or sequence of them, optional
///     Directories in which headers are looked for.
/// define : dict of str to object, optional
///     Macros and their values; None for a macro without a value.
/// prototypes : str or PathLike, or sequence of them, optional
///     Prototypes in C: those of functions in C++ (``extern "C"``) and Fortran (``bind(C)``), whose code has
///     none, or such that say more than the C code, with which they must agree. A str with a parenthesis is
///     their text, any other one the path of a file.
/// language : {'c', 'c++', 'fortran'}, optional
///     The language. The default is that of the file's suffix, otherwise C.
/// compiler : str or PathLike, optional
///     The compiler, which must take GCC's options. The default is the command in the environment variable
///     ``CC`` (``CXX``, ``FC``), otherwise ``cc`` (``c++``, ``gfortran``).
/// cache : bool, default True
///     Whether the library is kept in the user's cache folder (``$XDG_CACHE_HOME/mapcall``, otherwise
///     ``~/.cache/mapcall``), and taken from there while the code, the options, the compiler and all files
///     that it has read are the same. The environment variable ``MAPCALL_HEADER_CACHE=0`` turns this off, too.
///
/// Returns
/// -------
/// Library
///     The library, whose attributes are the functions that it exports, and the constants of the code. It is
///     pickled as the code with its options: another process takes it from the cache, or compiles it.
///
/// Raises
/// ------
/// CompileError
///     If the compiler refuses the code; the message has the lines. Also if there is no compiler.
/// PrototypeError
///     When a function is used whose prototype can't be read or called.
///
/// Warns
/// -----
/// CompileWarning
///     For each warning of the compiler.
///
/// Notes
/// -----
/// The same code with the same options is one library in a process, with one set of static variables.
/// Ctrl-C stops the compiler, and leaves nothing.
#[pyfunction]
#[pyo3(
    signature = (
        source, *, flags = None, libraries = None, include = None, define = None, prototypes = None,
        language = None, compiler = None, cache = true, **unknown
    ),
    text_signature = "(source, *, flags=None, libraries=None, include=None, define=None, \
                      prototypes=None, language=None, compiler=None, cache=True)"
)]
#[expect(clippy::too_many_arguments, reason = "each is a keyword in Python")]
pub(crate) fn compile(
    py: Python<'_>,
    source: &Bound<'_, PyAny>,
    flags: Option<&Bound<'_, PyAny>>,
    libraries: Option<&Bound<'_, PyAny>>,
    include: Option<&Bound<'_, PyAny>>,
    define: Option<&Bound<'_, PyDict>>,
    prototypes: Option<&Bound<'_, PyAny>>,
    language: Option<String>,
    compiler: Option<PathBuf>,
    cache: bool,
    unknown: Option<&Bound<'_, PyDict>>,
) -> PyResult<Library> {
    const KEYWORDS: [&str; 9] = [
        "source",
        "flags",
        "libraries",
        "include",
        "define",
        "prototypes",
        "language",
        "compiler",
        "cache",
    ];
    refuse_unknown("compile", &KEYWORDS, unknown)?;
    let code = Code::new(
        source,
        &CodeOptions {
            flags,
            libraries,
            include,
            define,
            prototypes,
            language,
            compiler,
            is_cached: cache,
        },
    )?;
    // The lock is taken by attached threads only.
    let interrupt = Arc::new(Mutex::new(None));
    let source = code.source().map_err(|error| compile_error(py, &error))?;
    let source = source.stop_if({
        let interrupt = Arc::clone(&interrupt);
        move || {
            let check = |py: Python<'_>| py.check_signals();
            let raised = Python::attach(check).err();
            let is_raised = raised.is_some();
            if is_raised {
                *interrupt.lock().unwrap_or_else(PoisonError::into_inner) = raised;
            }
            is_raised
        }
    });
    // SAFETY: the user of `compile` is responsible that the code is sound, as with a library that is loaded.
    let compiled = py.detach(|| unsafe { mapcall::compile(source) });
    let compiled = compiled.map_err(|error| {
        let raised = interrupt
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        raised.unwrap_or_else(|| compile_error(py, &error))
    })?;
    let warning = Package::get(py)?.compile_warning.bind(py);
    for diagnostic in compiled.warnings() {
        let message = CString::new(diagnostic.to_string().replace('\0', " ")).unwrap_or_default();
        PyErr::warn(py, warning, &message, 1)?;
    }
    Ok(Library::of_code(
        compiled.library().clone(),
        compiled.declarations().clone(),
        code,
    ))
}

/// Makes a `CompileError`, with the first error as its reason.
fn compile_error(py: Python<'_>, error: &CompileError) -> PyErr {
    let is_error = |diagnostic: &&Diagnostic| diagnostic.severity == Severity::Error;
    let first = error.diagnostics().iter().find(is_error);
    errors::make(
        py,
        |package| &package.compile_error,
        &error.to_string(),
        |value| {
            let class = Package::get(py)?.diagnostic.bind(py);
            let mut all = Vec::new();
            for diagnostic in error.diagnostics() {
                let severity = diagnostic.severity.name();
                let (message, file) = (&diagnostic.message, &diagnostic.file);
                let position = (diagnostic.line, diagnostic.column);
                all.push(class.call1((severity, message, file, position.0, position.1))?);
            }
            value.setattr("diagnostics", all)?;
            let Some(first) = first else {
                return value.setattr("reason", error.to_string());
            };
            value.setattr("reason", &first.message)?;
            value.setattr("remedy", first.remedy().unwrap_or_default())?;
            value.setattr("file", &first.file)?;
            value.setattr("line", first.line)?;
            value.setattr("column", first.column)?;
            if let CompileError::Refused {
                compiler, output, ..
            } = error
            {
                value.setattr("compiler", compiler)?;
                value.setattr("output", output)?;
            }
            Ok(())
        },
    )
}
