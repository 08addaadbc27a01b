//! The state of a thread's calls: their `errno`, the exceptions of callbacks, and their scopes.

#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::mem::offset_of;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use mapcall::array::fork;
use mapcall::call::ThreadState;
use pyo3::ffi::{self, PyObject, PyThreadState};
use pyo3::prelude::*;

use super::scope::{CallbackPointers, Scope};
use crate::exit::is_ending;

thread_local! {
    static THREAD: Thread = const {
        Thread {
            running: Cell::new(0),
            errno: Cell::new(0),
            has_raised: Cell::new(false),
            innermost: Cell::new(ptr::null()),
            detached: Cell::new(ptr::null_mut()),
        }
    };
    static FORGET: Cell<Option<Forget>> = const { Cell::new(None) };
    /// The exception of a callback, which the running call raises when it returns.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// The thread that has made the last usual call. A thread knows by its `errno` that it is this one, in less time than
/// it takes to find the values of a thread.
///
/// It is written with the interpreter's lock, but for a thread that ends, which removes itself.
static LATEST: Latest = Latest {
    errno: AtomicPtr::new(ptr::null_mut()),
    generation: AtomicUsize::new(0),
    thread: AtomicPtr::new(ptr::null_mut()),
};

struct Latest {
    /// The location of its `errno`.
    errno: AtomicPtr<c_int>,
    /// The generation of its process: after a fork, it may have ended without removing itself.
    generation: AtomicUsize,
    /// Its state, which is alive if the others are those of a living thread.
    thread: AtomicPtr<Thread>,
}

/// Removes its thread from [`LATEST`] when the thread ends.
struct Forget(NonNull<c_int>);

impl Drop for Forget {
    fn drop(&mut self) {
        let (errno, none) = (self.0.as_ptr(), ptr::null_mut());
        // Another thread may have taken its place.
        let _ = LATEST
            .errno
            .compare_exchange(errno, none, Ordering::AcqRel, Ordering::Relaxed);
    }
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
    /// The innermost running callback that has received pointers; null if there is none. It leads to the
    /// others.
    innermost: Cell<*const Invocation>,
    /// The interpreter's state of this thread while a call runs C without the interpreter's lock; else null.
    detached: Cell<*mut PyThreadState>,
}

/// The state of the calls of the thread that has got it, which its callbacks use.
#[derive(Clone, Copy)]
pub(super) struct Current(*const Thread);

impl Current {
    /// Returns the state of this thread.
    #[inline]
    pub(super) fn get() -> Self {
        Self(THREAD.with(ptr::from_ref))
    }

    fn thread(&self) -> &Thread {
        // SAFETY: the pointer, which is not `Send`, is that of this thread's value, which has no destructor.
        unsafe { &*self.0 }
    }

    /// Returns whether a callback has raised in the call that is running.
    #[inline]
    pub(super) fn has_raised(self) -> bool {
        self.thread().has_raised.get()
    }

    /// Attaches the thread to the interpreter while `work` runs; returns `None` if the interpreter has ended.
    ///
    /// In a call of this thread that has released the interpreter's lock, it takes the lock by the thread's own
    /// state, which is known. PyO3 finds it for any thread, which takes longer.
    #[inline]
    pub(super) fn attach<R>(self, work: impl FnOnce(Python<'_>) -> R) -> Option<R> {
        let state = self.thread().detached.get();
        // Other code may have attached the thread since: it called Python, which made another call.
        // SAFETY: any thread may ask at any time.
        if state.is_null() || unsafe { ffi::PyGILState_Check() } != 0 {
            return Python::try_attach(work);
        }
        if is_ending() {
            return None;
        }
        // SAFETY: the state is that of this thread, which is not attached: `detached` has released the lock, and
        // has not returned.
        unsafe { ffi::PyEval_RestoreThread(state) };
        let _attached = Attached;
        // SAFETY: the thread is attached until `_attached` is dropped.
        Some(work(unsafe { Python::assume_attached() }))
    }
}

/// An attachment of this thread, which ends when this is dropped.
struct Attached;

impl Drop for Attached {
    fn drop(&mut self) {
        // SAFETY: the thread is attached.
        unsafe { ffi::PyEval_SaveThread() };
    }
}

/// Runs C without the interpreter's lock, which callbacks on this thread take.
pub(super) fn detached<R: Send>(py: Python<'_>, run: impl FnOnce() -> R + Send) -> R {
    struct Outer(Current, *mut PyThreadState);
    impl Drop for Outer {
        fn drop(&mut self) {
            self.0.thread().detached.set(self.1);
        }
    }
    let current = Current::get();
    // SAFETY: the thread is attached.
    let state = unsafe { ffi::PyThreadState_Get() };
    let _outer = Outer(current, current.thread().detached.replace(state));
    py.detach(run)
}

/// A running callback that has received pointers.
///
/// The handles that it received lead here as long as it runs. Its scope is made when it is first needed:
/// most callbacks only read values.
pub(super) struct Invocation {
    /// The callback of the same thread in which it runs; null if there is none.
    outer: Cell<*const Self>,
    scope: OnceLock<Arc<Scope>>,
    pointers: CallbackPointers,
}

impl Invocation {
    /// Returns an invocation of a callback that keeps `pointers`.
    pub(super) fn new(pointers: &CallbackPointers) -> Self {
        Self {
            outer: Cell::new(ptr::null()),
            scope: OnceLock::new(),
            pointers: Arc::clone(pointers),
        }
    }

    /// Returns the scope of the callback's copies and handles. The thread is attached.
    pub(super) fn scope(&self) -> &Arc<Scope> {
        self.scope
            .get_or_init(|| Arc::new(Scope::new(&self.pointers)))
    }

    /// Returns the scope, if it has been needed.
    pub(super) fn known_scope(&self) -> Option<&Arc<Scope>> {
        self.scope.get()
    }

    /// Adds the callback to those that run on this thread, until the returned value is dropped.
    #[inline]
    pub(super) fn enter(&self, current: Current) -> Entered<'_> {
        self.outer.set(current.thread().innermost.replace(self));
        Entered(self, current)
    }
}

/// A callback that runs on this thread until this is dropped. Its scope ends then.
pub(super) struct Entered<'a>(&'a Invocation, Current);

impl Drop for Entered<'_> {
    #[inline]
    fn drop(&mut self) {
        self.1.thread().innermost.set(self.0.outer.get());
        if let Some(scope) = self.0.scope.get() {
            destroying(|| scope.end());
        }
    }
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

/// Makes a call, and records while it is running that it does on this thread. Keeps and returns the
/// `errno` that `call` returns.
///
/// # Errors
///
/// The exception that a callback raised in the call.
#[inline]
pub(super) fn running(call: impl FnOnce() -> i32) -> PyResult<i32> {
    Thread::current().running(call)
}

/// Makes a call as [`running`] does, on a thread that is attached and becomes the latest, so that entries make its
/// next calls.
#[inline]
pub(super) fn running_attached(_: Python<'_>, call: impl FnOnce() -> i32) -> PyResult<i32> {
    let errno = mapcall::call::errno_location();
    let thread = errno.map_or_else(Thread::current, Thread::of);
    thread.running(call)
}

/// Begins a call as [`running`] does; returns `None` if callbacks that have received pointers run on this thread, or
/// if the location of `errno` can't be found.
#[inline]
pub(super) fn begin() -> Option<Begun<'static>> {
    let errno = mapcall::call::errno_location()?;
    let thread = Thread::of(errno);
    if !thread.innermost.get().is_null() {
        return None;
    }
    thread.running.set(thread.running.get() + 1);
    Some(Begun { thread, errno })
}

/// A running call of this thread.
pub(super) struct Begun<'a> {
    thread: &'a Thread,
    /// The location of C's `errno`.
    pub(super) errno: NonNull<c_int>,
}

impl Begun<'_> {
    /// Ends the call, which has left an `errno`.
    #[inline]
    pub(super) fn end(self, errno: i32) -> Returned {
        self.thread.end(errno)
    }
}

/// Returns what entries read and write of a thread.
pub(super) fn host() -> ThreadState {
    ThreadState {
        latest_errno: (&raw const LATEST.errno).expose_provenance(),
        latest: (&raw const LATEST.thread).expose_provenance(),
        latest_generation: (&raw const LATEST.generation).expose_provenance(),
        running: offset_of!(Thread, running),
        errno: offset_of!(Thread, errno),
        has_raised: offset_of!(Thread, has_raised),
        innermost: offset_of!(Thread, innermost),
    }
}

/// What a call leaves on its thread.
#[derive(Clone, Copy)]
pub(super) struct Returned {
    errno: i32,
    /// Whether a callback has raised. The exception is taken by [`errno`](Self::errno).
    pub(super) has_raised: bool,
}

impl Returned {
    /// Returns what a call that an entry has made leaves on this thread.
    pub(super) fn by_entry(errno: i32) -> Self {
        Self {
            errno,
            has_raised: Current::get().has_raised(),
        }
    }

    /// Returns the `errno` of the call.
    ///
    /// # Errors
    ///
    /// The exception that a callback raised in the call.
    #[inline]
    pub(super) fn errno(self) -> PyResult<i32> {
        if self.has_raised {
            take_raised()?;
        }
        Ok(self.errno)
    }
}

impl Thread {
    /// Returns the state of this thread. The reference is not passed to another thread.
    #[inline]
    fn current<'a>() -> &'a Self {
        let thread = THREAD.with(ptr::from_ref);
        // SAFETY: the value belongs to this thread, which does not end in a function of this module, and has no
        // destructor.
        unsafe { &*thread }
    }

    /// Returns the state of this thread, whose `errno` is there. The interpreter's lock is held.
    #[inline]
    fn of<'a>(errno: NonNull<c_int>) -> &'a Self {
        if LATEST.errno.load(Ordering::Relaxed) == errno.as_ptr()
            && LATEST.generation.load(Ordering::Relaxed) == fork::generation()
        {
            let latest = LATEST.thread.load(Ordering::Relaxed);
            // SAFETY: no other living thread of this process has this `errno`, and threads that end remove themselves.
            // So it is the value of this thread, which has no destructor.
            return unsafe { &*latest };
        }
        Self::become_latest(errno)
    }

    /// Stores the state of this thread as that of the latest, and returns it.
    #[cold]
    fn become_latest<'a>(errno: NonNull<c_int>) -> &'a Self {
        let thread = Self::current();
        // A thread whose values are being destroyed is not stored any more.
        if FORGET
            .try_with(|forget| forget.set(Some(Forget(errno))))
            .is_ok()
        {
            // Between the two stores no thread has this `errno`.
            LATEST.errno.store(ptr::null_mut(), Ordering::Relaxed);
            LATEST
                .generation
                .store(fork::generation(), Ordering::Relaxed);
            LATEST
                .thread
                .store(ptr::from_ref(thread).cast_mut(), Ordering::Relaxed);
            LATEST.errno.store(errno.as_ptr(), Ordering::Relaxed);
        }
        thread
    }

    /// Makes a call as [`running`] does.
    #[inline]
    fn running(&self, call: impl FnOnce() -> i32) -> PyResult<i32> {
        if !self.innermost.get().is_null() {
            write_back();
        }
        self.run(call).errno()
    }

    /// Makes a call, and counts it while it is running. Keeps and returns the `errno` that `call` returns.
    #[inline]
    fn run(&self, call: impl FnOnce() -> i32) -> Returned {
        self.running.set(self.running.get() + 1);
        self.end(call())
    }

    /// Ends a call that has left an `errno`, and keeps this.
    #[inline]
    fn end(&self, errno: i32) -> Returned {
        self.running.set(self.running.get() - 1);
        self.errno.set(errno);
        Returned {
            errno,
            has_raised: self.has_raised.get(),
        }
    }
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
fn take_raised() -> PyResult<()> {
    THREAD.with(|thread| thread.has_raised.set(false));
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
            if !thread.innermost.get().is_null() {
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

/// Writes the changes of the callbacks on this thread to their copies of C's memory back to it, before
/// C runs.
#[cold]
pub(super) fn write_back() {
    let mut at = THREAD.with(|thread| thread.innermost.get());
    // SAFETY: null, or a callback that runs on this thread: each is in the list from `enter` until it is
    // dropped, and lives longer.
    while let Some(invocation) = unsafe { at.as_ref() } {
        if let Some(scope) = invocation.scope.get() {
            scope.write_back();
        }
        at = invocation.outer.get();
    }
}
