//! The main thread, which reports its own faults and those of threads that Python does not know.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use mapcall_array::guard::{self, ThreadId};
use pyo3::ffi;

/// The signal whose Python handler reports the faults of the main thread; 0 before it is set.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// The handle of the main thread.
static MAIN: AtomicUsize = AtomicUsize::new(0);

/// The number of calls and batches that run without the interpreter's lock.
static DETACHED: AtomicUsize = AtomicUsize::new(0);

/// Sets the signal whose Python handler reports the faults of this thread, the main one.
pub(super) fn set_signal(number: c_int) {
    MAIN.store(ThreadId::current().handle(), Ordering::Release);
    SIGNAL.store(number, Ordering::Release);
}

pub(super) fn has_signal() -> bool {
    SIGNAL.load(Ordering::Acquire) != 0
}

/// Has the main thread call the handler of the signal; returns `false` if none is set.
pub(super) fn interrupt_main() -> bool {
    match SIGNAL.load(Ordering::Acquire) {
        0 => false,
        // SAFETY: any thread may call this at any time, also in a signal handler.
        number => unsafe { ffi::PyErr_SetInterruptEx(number) == 0 },
    }
}

/// Returns whether a thread is the main one, and has the handler of the signal.
pub(super) fn is_main(thread: ThreadId) -> bool {
    has_signal() && MAIN.load(Ordering::Acquire) == thread.handle()
}

/// Returns whether all calls and batches that run hold the interpreter's lock.
pub(super) fn is_no_call_detached() -> bool {
    DETACHED.load(Ordering::Acquire) == 0
}

/// A call or a batch that runs without the interpreter's lock. Faults of threads that Python does not know
/// may be its own, so no other thread reports them meanwhile.
pub(crate) struct Detached(());

impl Detached {
    pub(crate) fn new() -> Self {
        DETACHED.fetch_add(1, Ordering::AcqRel);
        Self(())
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if DETACHED.fetch_sub(1, Ordering::AcqRel) == 1 && guard::is_pending() {
            // Faults that the call has left belong to the main thread.
            interrupt_main();
        }
    }
}
