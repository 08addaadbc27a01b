//! A thread that sets the exceptions of threads that were without the interpreter's lock, and reports the
//! faults of threads that have ended.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::panic::catch_unwind;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mapcall_array::guard::{self, Reporter, ThreadId};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{exception, main_thread, marks};
use crate::once::intern;

/// The time between two looks at threads that have an exception to raise.
const INTERVAL: Duration = Duration::from_millis(20);

/// The number of looks after which the exception is set again: the thread may have ended without raising it,
/// although the system's thread lives.
const PATIENCE: u32 = 50;

/// The process in which the thread runs; a forked child has none.
static PROCESS: AtomicI32 = AtomicI32::new(0);

static IS_READY: AtomicBool = AtomicBool::new(false);

/// A semaphore, the only means by which a signal handler can wake a thread (POSIX.1-2017, 2.4.3).
struct Semaphore(UnsafeCell<MaybeUninit<libc::sem_t>>);

// SAFETY: the functions of semaphores may be called by several threads at once.
unsafe impl Sync for Semaphore {}

static WOKEN: Semaphore = Semaphore(UnsafeCell::new(MaybeUninit::uninit()));

/// Makes the semaphore; the calling thread holds the interpreter's lock.
pub(super) fn prepare() {
    if !IS_READY.load(Ordering::Acquire) {
        // SAFETY: the semaphore is valid for writes, and no other thread uses it yet.
        unsafe { libc::sem_init(WOKEN.0.get().cast(), 0, 0) };
        IS_READY.store(true, Ordering::Release);
    }
}

/// Wakes the thread, or starts it; returns whether it runs. The signal handler calls this.
///
/// The thread is started by the first fault that needs it, since a process with threads can't be forked
/// without a warning. `pthread_create` may be called here, although not in every handler: the handler runs
/// because of an access to a map, during which the thread is not inside the C library's allocator.
pub(super) fn wake() -> bool {
    if !IS_READY.load(Ordering::Acquire) {
        return false;
    }
    // SAFETY: the semaphore was initialised.
    unsafe { libc::sem_post(WOKEN.0.get().cast()) };
    // SAFETY: `getpid` has no arguments and always succeeds.
    let process = unsafe { libc::getpid() };
    if PROCESS.swap(process, Ordering::AcqRel) != process && !start() {
        PROCESS.store(0, Ordering::Release);
        return false;
    }
    true
}

/// Waits until the watcher has set the exception of this thread, which does not hold the interpreter's lock,
/// so that the thread raises it before it runs more Python code. The signal handler calls this.
///
/// It gives up after a while: the thread that holds the lock may wait for one that this thread holds.
pub(super) fn wait_for_mark(here: ThreadId) {
    /// The number of looks.
    const LOOKS: u32 = 2000;
    /// The time between two looks, in nanoseconds.
    const PAUSE: libc::c_long = 50_000;
    let pause = libc::timespec {
        tv_sec: 0,
        tv_nsec: PAUSE,
    };
    for _ in 0..LOOKS {
        if marks::is_released(here) {
            return;
        }
        // SAFETY: the time is valid, and a null address is allowed.
        unsafe { libc::nanosleep(&raw const pause, ptr::null_mut()) };
    }
}

/// Starts the thread, with all signals blocked.
fn start() -> bool {
    let mut all = MaybeUninit::uninit();
    // SAFETY: the mask is valid for writes.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    let mut before = MaybeUninit::uninit();
    // SAFETY: `all` was filled, and `before` is valid for writes.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let mut thread = MaybeUninit::uninit();
    // SAFETY: null attributes are the default ones; `watch` may run on any thread.
    let failed =
        unsafe { libc::pthread_create(thread.as_mut_ptr(), ptr::null(), watch, ptr::null_mut()) };
    // SAFETY: `before` was written by the call above; a null address is allowed.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    if failed != 0 {
        return false;
    }
    // SAFETY: the call has succeeded, so it has written the thread.
    let thread = unsafe { thread.assume_init() };
    // SAFETY: the thread was started as one that can be joined, and is not.
    unsafe { libc::pthread_detach(thread) };
    true
}

/// The thread: waits for faults, and sets exceptions.
extern "C" fn watch(_: *mut c_void) -> *mut c_void {
    let mut looks = 0;
    loop {
        wait((looks > 0).then_some(INTERVAL));
        if crate::exit::is_ending() {
            return ptr::null_mut();
        }
        let again = looks % PATIENCE == PATIENCE - 1;
        // A panic must not leave this function, which the C library calls.
        let left = catch_unwind(|| Python::try_attach(|py| forward(py, again)));
        match left.unwrap_or(Some(false)) {
            Some(true) => looks += 1,
            Some(false) => looks = 0,
            None => return ptr::null_mut(),
        }
    }
}

/// Waits until the thread is woken, or for some time.
fn wait(time: Option<Duration>) {
    let Some(time) = time else {
        // SAFETY: the semaphore was initialised.
        unsafe { libc::sem_wait(WOKEN.0.get().cast()) };
        return;
    };
    let until = SystemTime::now() + time;
    let until = until.duration_since(UNIX_EPOCH).unwrap_or_default();
    let until = libc::timespec {
        tv_sec: until.as_secs().try_into().unwrap_or(0),
        tv_nsec: until.subsec_nanos().into(),
    };
    // SAFETY: the semaphore was initialised, and the time is valid.
    unsafe { libc::sem_timedwait(WOKEN.0.get().cast(), &raw const until) };
}

/// Sets the exceptions of threads with faults; returns whether some have not raised theirs yet. Sets those of
/// marked threads again if `again`.
fn forward(py: Python<'_>, again: bool) -> bool {
    let mut threads: Vec<ThreadId> = Vec::new();
    let mut is_left = false;
    for pending in guard::pending_faults() {
        match pending.reporter {
            Reporter::Claim => {}
            Reporter::Host if !main_thread::is_main(pending.thread) => {
                if !threads.contains(&pending.thread) {
                    threads.push(pending.thread);
                }
            }
            Reporter::Host | Reporter::Call => {
                main_thread::interrupt_main();
            }
        }
    }
    for thread in threads {
        let runs_python = runs_python(py, thread);
        // That may have given the interpreter's lock up, and the thread may have raised its fault meanwhile.
        if !guard::pending_faults()
            .iter()
            .any(|pending| pending.thread == thread)
        {
            continue;
        }
        if !runs_python && thread.is_alive() {
            // Such as a thread of OpenMP in a loop of Cython: it would never raise the exception.
            guard::leave_to_call(thread);
            marks::release(thread);
            main_thread::interrupt_main();
            continue;
        }
        let is_alive = thread.is_alive();
        if is_alive && (marks::is_marked(thread) && !again || marks::set(thread)) {
            is_left = true;
        } else {
            marks::remove(thread);
            report_of_ended(py, thread);
        }
    }
    is_left
}

/// Returns whether a thread runs Python code; `true` if that can't be found out.
fn runs_python(py: Python<'_>, thread: ThreadId) -> bool {
    let frames = py
        .import(intern!(py, "sys"))
        .and_then(|sys| sys.call_method0(intern!(py, "_current_frames")));
    let runs = frames.and_then(|frames| frames.contains(thread.handle()));
    runs.unwrap_or(true)
}

/// Passes the faults of a thread that has ended to `threading.excepthook`.
fn report_of_ended(py: Python<'_>, thread: ThreadId) {
    for fault in guard::take(|pending| pending.thread == thread) {
        let error = exception::fault(py, &fault);
        let reported = py.import(intern!(py, "threading")).and_then(|threading| {
            let (class, value) = (
                error.get_type(py).into_any(),
                error.value(py).as_any().clone(),
            );
            let none = py.None().into_bound(py);
            let fields = PyTuple::new(py, [class, value, none.clone(), none])?;
            let facts = threading.call_method1(intern!(py, "ExceptHookArgs"), (fields,))?;
            threading.call_method1(intern!(py, "excepthook"), (facts,))
        });
        if let Err(error) = reported {
            error.write_unraisable(py, None);
        }
    }
}
