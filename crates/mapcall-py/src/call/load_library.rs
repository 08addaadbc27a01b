//! The function `load`.

#![allow(unsafe_code)]

use std::path::PathBuf;

use mapcall::Declarations;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::errors;
use super::header_source::{self, HeaderSource};
use super::library::Library;
use crate::errors::refuse_unknown;

/// Load a shared library.
///
/// >>> import mapcall
/// >>> libm = mapcall.load("m")
/// >>> cos = libm.function("double cos(double x)")
/// >>> cos(0.0)
/// 1.0
/// >>> mapcall.load("m", header="math.h").hypot(3, 4)
/// 5.0
///
/// Parameters
/// ----------
/// library : str, PathLike or None
///     A path, a file name that the loader finds (``libm.so.6``), a bare name (``m``, ``openblas``),
///     or None for the running process, which has the C library.
/// header : str or PathLike, or sequence of them, optional
///     The C header of the library, as a path or as in ``#include <...>``; several are read in order, as
///     by one C file. The system's C compiler preprocesses them. Their functions and constants become
///     attributes of the library, and prototypes may use their types.
/// header_text : str or sequence of str, optional
///     Text in place of a header, or behind the headers: declarations in C, which the compiler preprocesses as it
///     does a header's. Errors name its lines.
/// prototypes : str or PathLike, or sequence of them, optional
///     A file of prototypes that say more than the headers do, such as the lengths of arrays: a
///     function that it declares has its prototype, which must agree with that of the header.
/// include : sequence of PathLike, optional
///     Directories in which headers are looked for.
/// define : dict of str to object, optional
///     Macros and their values; None for a macro without a value.
/// header_cache : bool, default True
///     Whether the preprocessed header is kept in the user's cache folder (``$XDG_CACHE_HOME/mapcall``,
///     otherwise ``~/.cache/mapcall``) and taken from there, if the compiler and the contents of all
///     files that it read are still the same. The environment variable ``MAPCALL_HEADER_CACHE=0`` turns
///     this off, too.
///
/// Returns
/// -------
/// Library
///     The library, which stays loaded while it or one of its functions is in use.
///
/// Raises
/// ------
/// LibraryError
///     If the library can't be loaded; the message has the names that were tried and the error of the
///     loader.
/// PrototypeError
///     If the header can't be read.
///
/// Notes
/// -----
/// Calls are checked against the prototype, but the prototype can't be checked: its types, lengths,
/// ``const`` and ``restrict`` must be those of the C function. A wrong one may crash the process.
#[pyfunction]
#[pyo3(
    signature = (
        library, header = None, *, header_text = None, prototypes = None, include = None,
        define = None, header_cache = true, **unknown
    ),
    text_signature = "(library, header=None, *, header_text=None, prototypes=None, include=None, \
                      define=None, header_cache=True)"
)]
#[expect(clippy::too_many_arguments, reason = "each is a keyword in Python")]
pub(crate) fn load(
    py: Python<'_>,
    library: Option<PathBuf>,
    header: Option<&Bound<'_, PyAny>>,
    header_text: Option<&Bound<'_, PyAny>>,
    prototypes: Option<&Bound<'_, PyAny>>,
    include: Option<Vec<PathBuf>>,
    define: Option<&Bound<'_, PyDict>>,
    header_cache: bool,
    unknown: Option<&Bound<'_, PyDict>>,
) -> PyResult<Library> {
    const KEYWORDS: [&str; 7] = [
        "library",
        "header",
        "header_text",
        "prototypes",
        "include",
        "define",
        "header_cache",
    ];
    refuse_unknown("load", &KEYWORDS, unknown)?;
    let inner = match &library {
        // SAFETY: the user of `load` asks to load the library, and is responsible that its initialisers
        // and terminators are sound to run.
        Some(name) => py.detach(|| unsafe { mapcall::Library::open(name) }),
        None => mapcall::Library::process(),
    };
    let inner = inner.map_err(|error| errors::library(py, &error))?;
    let mut defined = Vec::new();
    for (name, value) in define.into_iter().flatten() {
        let value = if value.is_none() {
            None
        } else {
            Some(value.str()?.to_string())
        };
        defined.push((name.extract::<String>()?, value));
    }
    let names = |given: Option<&Bound<'_, PyAny>>| given.map(header_source::names).transpose();
    let texts = header_text.map(header_source::texts).transpose()?;
    let source = HeaderSource {
        names: names(header)?.unwrap_or_default(),
        texts: texts.unwrap_or_default(),
        prototypes: names(prototypes)?.unwrap_or_default(),
        include: include.unwrap_or_default(),
        define: defined,
    };
    if source.is_empty() {
        return Ok(Library::new(inner, None, Declarations::default()));
    }
    let read = py.detach(|| source.header().cache(header_cache).read());
    let declarations = read.map_err(|error| errors::unsupported(py, &error.to_string()))?;
    Ok(Library::new(inner, Some(source), declarations))
}
