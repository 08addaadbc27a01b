//! Threads that may start and end while another thread forks.
//!
//! The standard library keeps a list of its threads' stacks behind a lock, which each thread takes when it
//! starts and when it ends. If the process forks meanwhile, the lock stays locked in the child, where the
//! next thread waits for it for ever. The threads here are POSIX threads without the standard library's
//! part; the C library resets its own locks in the child (POSIX `fork`, `pthread_create`).

#![allow(unsafe_code)]

use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Receiver};
use std::{io, mem, thread};

type Work<'a> = Box<dyn FnOnce() + Send + 'a>;

/// A handle to wait for a thread. Dropping it lets the thread run on (it is detached).
#[derive(Debug)]
pub struct JoinHandle<T> {
    thread: os::Thread,
    outcome: Receiver<thread::Result<T>>,
}

impl<T> JoinHandle<T> {
    /// Waits until the thread has ended. In a child of a fork, where the thread does not exist, this may
    /// wait for ever: see [`generation`](super::generation).
    ///
    /// # Errors
    ///
    /// The payload of the panic if the thread panicked.
    pub fn join(self) -> thread::Result<T> {
        self.thread.join();
        self.outcome
            .recv()
            .unwrap_or_else(|error| Err(Box::new(error)))
    }
}

/// Starts a thread.
///
/// ```
/// use mapcall_array::fork;
///
/// let thread = fork::spawn(|| 6 * 7)?;
/// assert_eq!(thread.join().unwrap(), 42);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The system's error if it has no resources for a thread.
pub fn spawn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    // SAFETY: `work` is `'static`, so it borrows nothing.
    unsafe { spawn_unchecked(None, work) }
}

/// Runs a function on a thread with a stack of `bytes` bytes, and waits for it. A panic of the function
/// continues on the calling thread.
///
/// ```
/// use mapcall_array::fork;
///
/// let numbers = [1, 2, 3];
/// let sum = fork::run_with_stack(8 << 20, || numbers.iter().sum::<i32>())?;
/// assert_eq!(sum, 6);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
///
/// The system's error if it has no memory for the stack.
pub fn run_with_stack<T: Send>(bytes: usize, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    // SAFETY: the thread is joined before this function returns, and so before the end of all borrows.
    let thread = unsafe { spawn_unchecked(Some(bytes), work) }?;
    Ok(thread
        .join()
        .unwrap_or_else(|payload| panic::resume_unwind(payload)))
}

/// Starts a thread whose function may borrow, with a stack of `stack` bytes, or of 2 MiB.
///
/// # Errors
///
/// The system's error if it has no resources for a thread.
///
/// # Safety
///
/// In the process that starts the thread, the thread is joined before the end of all borrows of `work`.
pub unsafe fn spawn_unchecked<'a, T: Send + 'a>(
    stack: Option<usize>,
    work: impl FnOnce() -> T + Send + 'a,
) -> io::Result<JoinHandle<T>> {
    let (sender, outcome) = mpsc::sync_channel(1);
    let work: Work<'a> = Box::new(move || {
        let outcome = panic::catch_unwind(AssertUnwindSafe(work));
        // The handle may have been dropped.
        let _ = sender.send(outcome);
    });
    // SAFETY: only the lifetime changes; the caller joins the thread before the borrows end.
    let work: Work<'static> = unsafe { mem::transmute::<Work<'a>, Work<'static>>(work) };
    let thread = os::Thread::spawn(stack, work)?;
    Ok(JoinHandle { thread, outcome })
}

#[cfg(unix)]
mod os {
    use std::ffi::c_void;
    use std::mem::{self, MaybeUninit};
    use std::{io, ptr};

    use super::Work;

    /// The size of a stack if none is given, in bytes: that of the standard library's threads.
    const STACK: usize = 2 << 20;

    #[derive(Debug)]
    pub(super) struct Thread(libc::pthread_t);

    impl Thread {
        pub(super) fn spawn(stack: Option<usize>, work: Work<'static>) -> io::Result<Self> {
            let size = stack
                .unwrap_or(STACK)
                .max(libc::PTHREAD_STACK_MIN)
                .next_multiple_of(rustix::param::page_size());
            let mut attributes = MaybeUninit::uninit();
            // SAFETY: the pointer is valid for writes of the attributes.
            check(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) })?;
            // SAFETY: the attributes were initialised above.
            let sized =
                check(unsafe { libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), size) });
            let mut thread = MaybeUninit::uninit();
            let created = sized.and_then(|()| {
                let work = Box::into_raw(Box::new(work));
                // SAFETY: the attributes are initialised, `thread` is valid for a write of the thread's
                // identifier, and `start` takes the pointer of a boxed `Work`.
                let created = check(unsafe {
                    libc::pthread_create(
                        thread.as_mut_ptr(),
                        attributes.as_ptr(),
                        start,
                        work.cast(),
                    )
                });
                if created.is_err() {
                    // SAFETY: no thread was started, so the pointer from `into_raw` is used only here.
                    drop(unsafe { Box::from_raw(work) });
                }
                created
            });
            // SAFETY: the attributes were initialised above, and are not used after this.
            unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
            created?;
            // SAFETY: `pthread_create` succeeded, and has written the identifier.
            Ok(Self(unsafe { thread.assume_init() }))
        }

        pub(super) fn join(self) {
            // SAFETY: the thread is joined or detached once, as `self` is consumed here without a drop.
            unsafe { libc::pthread_join(self.0, ptr::null_mut()) };
            mem::forget(self);
        }
    }

    impl Drop for Thread {
        fn drop(&mut self) {
            // SAFETY: the thread was not joined, as `join` forgets the value, and is detached once.
            unsafe { libc::pthread_detach(self.0) };
        }
    }

    extern "C" fn start(work: *mut c_void) -> *mut c_void {
        // SAFETY: the pointer came from `into_raw` in `spawn`, which passed it to this thread only.
        let work = unsafe { Box::from_raw(work.cast::<Work<'static>>()) };
        // The function catches its own panics.
        work();
        ptr::null_mut()
    }

    fn check(error: i32) -> io::Result<()> {
        match error {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

#[cfg(not(unix))]
mod os {
    use std::{io, thread};

    use super::Work;

    #[derive(Debug)]
    pub(super) struct Thread(thread::JoinHandle<()>);

    impl Thread {
        pub(super) fn spawn(stack: Option<usize>, work: Work<'static>) -> io::Result<Self> {
            let builder = thread::Builder::new();
            let builder = match stack {
                Some(bytes) => builder.stack_size(bytes),
                None => builder,
            };
            builder.spawn(work).map(Self)
        }

        pub(super) fn join(self) {
            // The work catches its own panics.
            let _ = self.0.join();
        }
    }
}
