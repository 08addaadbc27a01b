//! What must hold when the interpreter exits while other threads are in the extension, or in C.

#![allow(unsafe_code)]

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod unwinding;

use pyo3::ffi;
use pyo3::prelude::*;

/// Prepares for the end of the interpreter.
pub(crate) fn install(module: &Bound<'_, PyModule>) -> PyResult<()> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    unwinding::stop_at_rust();
    let keep = wrap_pyfunction!(keep_libraries, module)?;
    let atexit = module.py().import("atexit")?;
    atexit.call_method1("register", (keep,)).map(drop)
}

/// Keep all loaded libraries loaded. C threads may run their code while the interpreter finalizes.
#[pyfunction]
fn keep_libraries() {
    mapcall::Library::keep_all_loaded();
}

/// Returns whether the interpreter is finalizing, or has been finalized.
pub(crate) fn is_ending() -> bool {
    // SAFETY: any thread may ask at any time.
    unsafe { ffi::Py_IsInitialized() == 0 }
}
