//! The threads for which an asynchronous exception was set that they have not raised yet.
//!
//! A signal handler writes them, so they are atomic, and of a fixed number.

#![allow(unsafe_code)]

use std::ffi::c_long;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use mapcall_array::guard::ThreadId;
use pyo3::ffi::{self, PyObject};

/// The number of threads that can be marked at a time. For others the watcher sets the exception later.
const THREADS: usize = 64;

static MARKED: [AtomicUsize; THREADS] = [const { AtomicUsize::new(0) }; THREADS];

/// The last threads that were found to run no Python code. They have no exception to wait for.
static RELEASED: [AtomicUsize; THREADS] = [const { AtomicUsize::new(0) }; THREADS];
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The class `MapFault`, which is never freed; null before it is known.
static CLASS: AtomicPtr<PyObject> = AtomicPtr::new(ptr::null_mut());

/// Sets the class of the exceptions.
pub(super) fn set_class(class: *mut PyObject) {
    CLASS.store(class, Ordering::Release);
}

/// Sets `MapFault` as the asynchronous exception of a thread, and marks the thread. Returns whether Python
/// knows the thread; `false` as well if no more threads can be marked.
///
/// The calling thread holds the interpreter's lock. It may be in a signal handler: `PyThreadState_SetAsyncExc`
/// allocates nothing, and the lock that it takes is never held during an access to a map.
pub(super) fn set(thread: ThreadId) -> bool {
    let class = CLASS.load(Ordering::Acquire);
    if class.is_null() || !(is_marked(thread) || add(thread)) {
        return false;
    }
    // SAFETY: the thread holds the interpreter's lock, and `class` is an exception class.
    let found = unsafe { ffi::PyThreadState_SetAsyncExc(ident(thread), class) };
    if found == 0 {
        remove(thread);
    }
    found != 0
}

/// Removes the asynchronous exception of a marked thread, whose fault was raised otherwise. The calling thread
/// holds the interpreter's lock.
pub(super) fn cancel(thread: ThreadId) {
    if remove(thread) {
        // SAFETY: the thread holds the interpreter's lock; null removes the exception.
        unsafe { ffi::PyThreadState_SetAsyncExc(ident(thread), ptr::null_mut()) };
    }
}

/// Lets a thread go on that waits for its mark, although it gets no exception.
pub(super) fn release(thread: ThreadId) {
    let mut released = RELEASED.iter();
    if !released.any(|mark| mark.load(Ordering::Acquire) == thread.number()) {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        if let Some(mark) = RELEASED.get(next % THREADS) {
            mark.store(thread.number(), Ordering::Release);
        }
    }
}

/// Returns whether a thread need not wait for its exception any more.
pub(super) fn is_released(thread: ThreadId) -> bool {
    let mut released = RELEASED.iter();
    is_marked(thread) || released.any(|mark| mark.load(Ordering::Acquire) == thread.number())
}

/// Returns whether a thread is marked.
pub(super) fn is_marked(thread: ThreadId) -> bool {
    let mut marked = MARKED.iter();
    marked.any(|mark| mark.load(Ordering::Acquire) == thread.number())
}

fn add(thread: ThreadId) -> bool {
    MARKED.iter().any(|mark| {
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        mark.compare_exchange(0, thread.number(), order.0, order.1)
            .is_ok()
    })
}

/// Removes the mark of a thread; returns whether it had one.
pub(super) fn remove(thread: ThreadId) -> bool {
    MARKED.iter().any(|mark| {
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        mark.compare_exchange(thread.number(), 0, order.0, order.1)
            .is_ok()
    })
}

/// The number that Python has for a thread.
fn ident(thread: ThreadId) -> c_long {
    // The bits of an `unsigned long`, which PyO3 declares as signed.
    thread.handle().cast_signed() as c_long
}
