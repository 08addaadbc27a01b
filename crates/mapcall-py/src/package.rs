//! The objects that the Python package defines and the extension uses.
//!
//! The package passes them to the extension when it is imported; the extension never imports the
//! package.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// Exceptions, classes and functions of the package `mapcall`.
pub(crate) struct Package {
    /// `mapcall.ArgumentError`.
    pub(crate) argument_error: Py<PyType>,
    /// `mapcall.CallError`.
    pub(crate) call_error: Py<PyType>,
    /// `mapcall.LibraryError`.
    pub(crate) library_error: Py<PyType>,
    /// `mapcall.PrototypeError`.
    pub(crate) prototype_error: Py<PyType>,
    /// `mapcall.CompileError`.
    pub(crate) compile_error: Py<PyType>,
    /// `mapcall.CompileWarning`.
    pub(crate) compile_warning: Py<PyType>,
    /// `mapcall.Diagnostic`: a message of a compiler.
    pub(crate) diagnostic: Py<PyType>,
    /// The class of what a pickle says of a library that was compiled.
    pub(crate) compilation: Py<PyType>,
    /// `mapcall.MapFault`.
    pub(crate) map_fault: Py<PyType>,
    /// `mapcall.memmap`, the class of the arrays on files that a batch has written.
    pub(crate) memmap: Py<PyType>,
    /// The progress bar of `progress=True`: a class whose instances are called with the number of
    /// finished calls and that of all calls, and closed.
    pub(crate) progress_bar: Py<PyType>,
    /// The function that returns the digest of a library's file for its path.
    pub(crate) digest: Py<PyAny>,
    /// The function that loads a pickled library.
    pub(crate) reload: Py<PyAny>,
    /// The function that binds a pickled function: [`rebind`](crate::call::rebind), as the object that
    /// pickles name.
    pub(crate) rebind: Py<PyAny>,
    /// The function that wraps the functions of `faulthandler`.
    pub(crate) wrap_faulthandler: Py<PyAny>,
}

static PACKAGE: PyOnceLock<Package> = PyOnceLock::new();

impl Package {
    /// Returns the objects that the package has passed to [`initialise`].
    ///
    /// # Errors
    ///
    /// `RuntimeError` before the package has been imported.
    #[cold]
    pub(crate) fn get(py: Python<'_>) -> PyResult<&Self> {
        PACKAGE.get(py).ok_or_else(|| {
            PyRuntimeError::new_err("expected an extension with its package; import mapcall")
        })
    }
}

/// Set the objects of the package. Calls after the first change nothing.
#[pyfunction]
#[pyo3(name = "_initialise", signature = (
    *, argument_error, call_error, library_error, prototype_error, compile_error, compile_warning,
    diagnostic, compilation, map_fault, memmap, progress_bar,
    digest, reload, rebind, wrap_faulthandler
))]
#[expect(
    clippy::too_many_arguments,
    reason = "each is an object of its own, given by name"
)]
pub(crate) fn initialise(
    py: Python<'_>,
    argument_error: Py<PyType>,
    call_error: Py<PyType>,
    library_error: Py<PyType>,
    prototype_error: Py<PyType>,
    compile_error: Py<PyType>,
    compile_warning: Py<PyType>,
    diagnostic: Py<PyType>,
    compilation: Py<PyType>,
    map_fault: Py<PyType>,
    memmap: Py<PyType>,
    progress_bar: Py<PyType>,
    digest: Py<PyAny>,
    reload: Py<PyAny>,
    rebind: Py<PyAny>,
    wrap_faulthandler: Py<PyAny>,
) {
    PACKAGE.get_or_init(py, || Package {
        argument_error,
        call_error,
        library_error,
        prototype_error,
        compile_error,
        compile_warning,
        diagnostic,
        compilation,
        map_fault,
        memmap,
        progress_bar,
        digest,
        reload,
        rebind,
        wrap_faulthandler,
    });
}
