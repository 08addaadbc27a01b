//! The objects that the Python package defines and the extension uses.
//!
//! The package passes them to the extension when it is imported, with a function that imports those of its
//! modules that few programs need; the extension never imports the package by itself.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::once::Once;

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
    /// `mapcall.MapFault`.
    pub(crate) map_fault: Py<PyType>,
    /// `mapcall.memmap`, the class of the arrays on files that a batch has written.
    pub(crate) memmap: Py<PyType>,
    /// The function that wraps the functions of `faulthandler`.
    pub(crate) wrap_faulthandler: Py<PyAny>,
    /// The function that returns a module of the package for its name, and imports it if it is not imported.
    import_module: Py<PyAny>,
}

static PACKAGE: Once<Package> = Once::new();

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

    /// Returns a class or a function of a module that is imported when it is first needed, so that
    /// `import mapcall` does not take its time.
    #[cold]
    pub(crate) fn import<'py>(
        &self,
        py: Python<'py>,
        module: &str,
        name: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.import_module.bind(py).call1((module,))?.getattr(name)
    }
}

/// Set the objects of the package. Calls after the first change nothing.
#[pyfunction]
#[pyo3(name = "_initialise", signature = (
    *, argument_error, call_error, library_error, prototype_error, compile_error, compile_warning,
    diagnostic, map_fault, memmap, wrap_faulthandler, import_module
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
    map_fault: Py<PyType>,
    memmap: Py<PyType>,
    wrap_faulthandler: Py<PyAny>,
    import_module: Py<PyAny>,
) {
    PACKAGE.get_or_init(py, || Package {
        argument_error,
        call_error,
        library_error,
        prototype_error,
        compile_error,
        compile_warning,
        diagnostic,
        map_fault,
        memmap,
        wrap_faulthandler,
        import_module,
    });
}
