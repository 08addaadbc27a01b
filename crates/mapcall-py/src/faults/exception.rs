//! `MapFault`: the exception of a fault.

use mapcall::call::{self, Accessed};
use mapcall_array::guard::{self, Fault, Reporter, ThreadId};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::{main_thread, marks};
use crate::package::Package;

/// Raises the faults of an operation that has just ended: those of this thread, and of threads that Python
/// does not know if the operation may have accessed the map. If it began at an epoch of the guard since when
/// pages of its arrays are gone, it may have read zeros that are there because of another thread's fault, which
/// is raised as well.
///
/// # Errors
///
/// `MapFault` if there are any.
#[inline]
pub(crate) fn check(py: Python<'_>, accessed: Accessed<'_>, epoch: usize) -> PyResult<()> {
    if guard::is_quiet() {
        Ok(())
    } else {
        raise(py, accessed, epoch)
    }
}

#[cold]
fn raise(py: Python<'_>, accessed: Accessed<'_>, epoch: usize) -> PyResult<()> {
    let mut faults = call::take_faults(accessed);
    if faults.is_empty() {
        faults.extend(call::zeros_read(epoch, accessed.mapped.iter().cloned()));
    }
    raise_first(py, &faults)
}

fn raise_first(py: Python<'_>, faults: &[Fault]) -> PyResult<()> {
    marks::cancel(ThreadId::current());
    match faults {
        [] => Ok(()),
        [first, others @ ..] => Err(with_others(py, fault(py, first), others)),
    }
}

/// Returns the exception of a fault.
#[cold]
pub(crate) fn fault(py: Python<'_>, fault: &Fault) -> PyErr {
    let made = Package::get(py).and_then(|package| {
        let (message, fields) = facts(py, fault)?;
        package.map_fault.bind(py).call((message,), Some(&fields))
    });
    made.map_or_else(|error| error, PyErr::from_value)
}

/// Returns the message of a fault, and its fields.
fn facts<'py>(py: Python<'py>, fault: &Fault) -> PyResult<(String, Bound<'py, PyDict>)> {
    let fields = PyDict::new(py);
    let path = fault.path.as_ref();
    fields.set_item("filename", path.map(|path| path.as_os_str()))?;
    fields.set_item("file_offset", fault.file_offset)?;
    fields.set_item("reason", fault.reason.as_str())?;
    fields.set_item("errno", fault.reason.errno())?;
    fields.set_item("signals", fault.signals)?;
    Ok((named(fault), fields))
}

/// Returns the message of a fault, after the name of its file.
fn named(fault: &Fault) -> String {
    match &fault.path {
        Some(path) => format!("{}: {fault}", path.display()),
        None => fault.to_string(),
    }
}

/// Adds a note for each fault that is reported along with another one.
fn with_others(py: Python<'_>, error: PyErr, others: &[Fault]) -> PyErr {
    for note in notes(others) {
        // If the note can't be added, the exception is raised without it.
        let _ = error.value(py).call_method1("add_note", (note,));
    }
    error
}

fn notes(others: &[Fault]) -> impl Iterator<Item = String> {
    others
        .iter()
        .map(|other| format!("another page: {}", named(other)))
}

/// Return the message, the fields and the notes of this thread's fault that was not reported yet, or None.
///
/// `MapFault` calls this if it is made without arguments, as the interpreter makes an exception that
/// another thread has set.
#[pyfunction]
#[pyo3(name = "_take_fault")]
pub(crate) fn take_fault(py: Python<'_>) -> PyResult<Option<Bound<'_, PyTuple>>> {
    let here = ThreadId::current();
    marks::remove(here);
    let faults = guard::take(|pending| pending.thread == here);
    let [first, others @ ..] = faults.as_slice() else {
        return Ok(None);
    };
    let (message, fields) = facts(py, first)?;
    let notes = PyList::new(py, notes(others).collect::<Vec<_>>())?;
    let message = message.into_pyobject(py)?.into_any();
    PyTuple::new(py, [message, fields.into_any(), notes.into_any()]).map(Some)
}

/// Raise the faults that belong to the main thread: its own, and those of threads that Python does not know
/// while no call runs that could have started them.
///
/// It is the handler of a signal that is never sent: the handler of SIGBUS and SIGSEGV has the interpreter
/// call it.
#[pyfunction]
#[pyo3(name = "_report_faults", signature = (*_signal))]
pub(crate) fn report_faults(py: Python<'_>, _signal: &Bound<'_, PyTuple>) -> PyResult<()> {
    let here = ThreadId::current();
    let faults = guard::take(|pending| {
        pending.thread == here
            || (pending.reporter == Reporter::Call && main_thread::is_no_call_detached())
    });
    raise_first(py, &faults)
}
