//! The state of a thread's calls: their `errno`, the exceptions of callbacks, and their scopes.

#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ptr;
use std::sync::Arc;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use super::scope::Scope;

thread_local! {
    static THREAD: Thread = const {
        Thread {
            running: Cell::new(0),
            errno: Cell::new(0),
            has_raised: Cell::new(false),
            scopes: Cell::new(0),
        }
    };
    /// The exception of a callback, which the running call raises when it returns.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
    /// The scopes of the running callbacks, the innermost last.
    static SCOPES: RefCell<Vec<Arc<Scope>>> = const { RefCell::new(Vec::new()) };
}

/// The state of a thread's calls. Every call reads it, so it has no destructor: each access to a
/// thread-local value with one checks whether the destructor has run.
struct Thread {
    /// The number of running calls, each in a callback of the one before.
    running: Cell<usize>,
    /// The `errno` of the last call.
    errno: Cell<i32>,
    /// Whether `RAISED` has an exception.
    has_raised: Cell<bool>,
    /// The number of scopes in `SCOPES`.
    scopes: Cell<usize>,
}

/// Return the ``errno`` of this thread's last call through mapcall.
///
/// >>> import mapcall
/// >>> chdir = mapcall.load(None).function("int chdir(const char *path)")
/// >>> chdir("/nowhere"), mapcall.get_errno()
/// (-1, 2)
///
/// Returns
/// -------
/// int
///     The number, one of those in the module `errno`. It is set to 0 before each call.
#[pyfunction]
pub(crate) fn get_errno() -> i32 {
    THREAD.with(|thread| thread.errno.get())
}

/// Sets the `errno` that `get_errno` returns on this thread.
pub(super) fn set_errno(errno: i32) {
    THREAD.with(|thread| thread.errno.set(errno));
}

/// Whether a callback has raised in the call that is running.
pub(super) fn has_raised() -> bool {
    THREAD.with(|thread| thread.has_raised.get())
}

/// Makes a call, and records while it is running that it does on this thread. Keeps and returns the
/// `errno` that `call` returns.
///
/// # Errors
///
/// The exception that a callback raised in the call.
#[inline]
pub(super) fn running(call: impl FnOnce() -> i32) -> PyResult<i32> {
    let thread = THREAD.with(ptr::from_ref);
    // SAFETY: the value belongs to this thread, which does not end in this function, and has no destructor.
    let thread = unsafe { &*thread };
    if thread.scopes.get() > 0 {
        write_back();
    }
    thread.running.set(thread.running.get() + 1);
    let errno = call();
    thread.running.set(thread.running.get() - 1);
    thread.errno.set(errno);
    if thread.has_raised.get() {
        take_raised(thread)?;
    }
    Ok(errno)
}

/// Returns an exception with another one, that of a callback in the same call, as its context.
#[cold]
pub(super) fn with_context(py: Python<'_>, error: PyErr, context: Option<PyErr>) -> PyErr {
    if let Some(context) = context {
        // If the attribute can't be set, the exception is raised without it.
        let _ = error.value(py).setattr("__context__", context.value(py));
    }
    error
}

/// Returns the exception of a callback as an error, if there is one.
#[cold]
fn take_raised(thread: &Thread) -> PyResult<()> {
    thread.has_raised.set(false);
    RAISED.take().map_or(Ok(()), Err)
}

/// Raises an exception in the call that is running on this thread. If there is none, as on a thread
/// that C created, passes it to `sys.unraisablehook` with the callable.
pub(super) fn raise(py: Python<'_>, error: PyErr, callable: Option<&Bound<'_, PyAny>>) {
    let unraisable = THREAD.with(|thread| {
        if thread.running.get() == 0 {
            return Some(error);
        }
        thread.has_raised.set(true);
        RAISED.set(Some(error));
        None
    });
    if let Some(error) = unraisable {
        error.write_unraisable(py, callable);
    }
}

/// Returns whether a call is running on this thread.
pub(super) fn is_running() -> bool {
    THREAD.with(|thread| thread.running.get() > 0)
}

/// Runs destructors outside of any call of a function, such as those of objects that Python
/// deallocates. The thread is attached to the interpreter.
///
/// An exception of their callbacks does not belong to the call that may be running on the thread, so
/// it is passed to `sys.unraisablehook`. An exception that is pending stays pending.
pub(super) fn destroying(destroy: impl FnOnce()) {
    let _saved = SavedState::new();
    destroy();
}

/// The saved state of a thread's calls and its pending exception, which `drop` restores.
struct SavedState {
    running: usize,
    raised: Option<PyErr>,
    /// The type, value and traceback of the pending exception; null if there is none.
    pending: [*mut PyObject; 3],
}

#[allow(
    deprecated,
    reason = "the functions that replace them are new in Python 3.12"
)]
impl SavedState {
    fn new() -> Self {
        THREAD.with(|thread| {
            if thread.scopes.get() > 0 {
                write_back();
            }
            let mut pending = [ptr::null_mut(); 3];
            let [class, value, traceback] = &mut pending;
            // SAFETY: the thread is attached, and the three pointers are valid for writes.
            unsafe { ffi::PyErr_Fetch(class, value, traceback) };
            Self {
                running: thread.running.take(),
                raised: thread.has_raised.take().then(|| RAISED.take()).flatten(),
                pending,
            }
        })
    }
}

#[allow(
    deprecated,
    reason = "the functions that replace them are new in Python 3.12"
)]
impl Drop for SavedState {
    fn drop(&mut self) {
        let [class, value, traceback] = self.pending;
        // SAFETY: the thread is attached. The pointers are null, or the references that `PyErr_Fetch`
        // returned, which are given up here.
        unsafe { ffi::PyErr_Restore(class, value, traceback) };
        THREAD.with(|thread| {
            thread.running.set(self.running);
            thread.has_raised.set(self.raised.is_some());
            if let Some(raised) = self.raised.take() {
                RAISED.set(Some(raised));
            }
        });
    }
}

/// Adds the scope of a callback that runs on this thread.
pub(super) fn enter(scope: Arc<Scope>) {
    SCOPES.with_borrow_mut(|scopes| scopes.push(scope));
    THREAD.with(|thread| thread.scopes.set(thread.scopes.get() + 1));
}

/// Removes the scope that was added last, when its callback returns.
pub(super) fn leave() {
    THREAD.with(|thread| thread.scopes.set(thread.scopes.get().saturating_sub(1)));
    SCOPES.with_borrow_mut(Vec::pop);
}

/// Writes the changes of the callbacks on this thread to their copies of C's memory back to it, before
/// C runs.
#[cold]
pub(super) fn write_back() {
    SCOPES.with_borrow(|scopes| scopes.iter().for_each(|scope| scope.write_back()));
}
