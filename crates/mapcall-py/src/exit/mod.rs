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

/// Threads of C go on while the interpreter lets go of its objects, and use the code of libraries.
#[pyfunction]
fn keep_libraries() {
    mapcall::Library::keep_all_loaded();
}

/// Whether the interpreter has begun to let go of its objects, or is gone.
pub(crate) fn is_ending() -> bool {
    // SAFETY: any thread may ask at any time.
    unsafe { ffi::Py_IsInitialized() == 0 }
}
