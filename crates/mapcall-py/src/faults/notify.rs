//! What the signal handler tells the interpreter.

#![allow(unsafe_code)]

use mapcall_array::guard::{Observer, ThreadId};
use pyo3::ffi::{self, PyThreadState};

use super::main_thread::{interrupt_main, is_main};
use super::{marks, watcher};

pub(super) const OBSERVER: Observer = Observer {
    knows_thread,
    notify,
};

/// Returns whether Python knows this thread. The signal handler calls this.
fn knows_thread() -> bool {
    !own_state().is_null()
}

fn own_state() -> *mut PyThreadState {
    // SAFETY: any thread may call this: it reads a thread-specific value.
    unsafe { ffi::PyGILState_GetThisThreadState() }
}

/// Has the interpreter raise this thread's fault. The signal handler calls this.
fn notify() {
    let (own, here) = (own_state(), ThreadId::current());
    if (own.is_null() || is_main(here)) && interrupt_main() {
        return;
    }
    // SAFETY: any thread may call this: it reads which thread holds the lock.
    let holder = unsafe { ffi::compat::PyThreadState_GetUnchecked() };
    if !own.is_null() && own == holder {
        marks::set(here);
    }
    // The watcher sees if the thread ends before it has raised the exception.
    if watcher::wake() && !own.is_null() && own != holder {
        watcher::wait_for_mark(here);
    }
}
