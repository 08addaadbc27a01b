//! The installation of the guard, and its life together with other handlers.

use std::ffi::c_int;
use std::io;

use mapcall_array::guard;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::exception::report_faults;
use super::{main_thread, marks, notify, watcher};
use crate::once::Once;
use crate::package::Package;

/// Set the Python handler by which the main thread reports its faults, if this is the main thread.
///
/// The signal is never sent. It is one that no one else uses: ``signal.getsignal`` of SIGBUS and SIGSEGV
/// stays as it is.
#[pyfunction]
#[pyo3(name = "_prepare_guard")]
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    static REPORT: Once<Py<PyAny>> = Once::new();
    if main_thread::has_signal() || !cfg!(target_os = "linux") {
        return Ok(());
    }
    let report = REPORT.get_or_try_init(py, || {
        let report = wrap_pyfunction!(report_faults, py)?;
        Ok::<_, PyErr>(report.into_any().unbind())
    })?;
    // The module `signal` makes enums of the numbers, which takes longer than this.
    let signal = py.import("_signal")?;
    let (unused, last) = (signal.getattr("SIG_DFL")?, signal.getattr("SIGRTMAX")?);
    let (first, last): (c_int, c_int) = (signal.getattr("SIGRTMIN")?.extract()?, last.extract()?);
    for number in (first..=last).rev() {
        if !signal.call_method1("getsignal", (number,))?.eq(&unused)? {
            continue;
        }
        match signal.call_method1("signal", (number, report)) {
            Ok(_) => main_thread::set_signal(number),
            // This is not the main thread.
            Err(error) if error.is_instance_of::<PyValueError>(py) => {}
            Err(error) => return Err(error),
        }
        break;
    }
    Ok(())
}

/// Installs the guard, if a map is opened for the first time, or if another library has replaced its
/// handlers.
pub(crate) fn ensure(py: Python<'_>) -> PyResult<()> {
    if guard::is_installed() {
        return Ok(());
    }
    install(py)
}

#[cold]
fn install(py: Python<'_>) -> PyResult<()> {
    static WRAPPED: Once<()> = Once::new();
    let package = Package::get(py)?;
    prepare(py)?;
    marks::set_class(package.map_fault.as_ptr());
    watcher::prepare();
    guard::set_observer(notify::OBSERVER);
    match guard::install() {
        Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(()),
        installed => installed?,
    }
    WRAPPED.get_or_try_init(py, || {
        let wrap = package.wrap_faulthandler.bind(py);
        wrap.call0().map(drop)
    })?;
    Ok(())
}

/// Call a function while the guard's handlers are removed: `faulthandler.enable` and `faulthandler.disable`,
/// which set and remove handlers of the same signals.
#[pyfunction]
#[pyo3(name = "_without_guard", signature = (function, args, kwargs))]
pub(crate) fn without_guard<'py>(
    function: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    guard::remove()?;
    let result = function.call(args, Some(kwargs));
    guard::install()?;
    result
}
