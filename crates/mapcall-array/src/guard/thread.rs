//! The threads that faults belong to.

use std::cell::Cell;
use std::marker::PhantomData;

use crate::sys;

/// A thread of this process.
///
/// ```
/// use mapcall_array::guard::ThreadId;
///
/// let other = std::thread::spawn(ThreadId::current).join().unwrap();
/// assert_ne!(ThreadId::current(), other);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ThreadId {
    /// The system's number of the thread, which is not used again soon after the thread has ended.
    number: usize,
    /// The handle of the thread (`pthread_self`), which another thread may have once this one has ended.
    handle: usize,
}

impl PartialEq for ThreadId {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for ThreadId {}

impl ThreadId {
    /// Returns the thread that calls this. A signal handler may call it.
    #[must_use]
    pub fn current() -> Self {
        let (number, handle) = sys::thread();
        Self { number, handle }
    }

    /// Returns the system's number of the thread, as `threading.get_native_id` in Python.
    #[must_use]
    pub const fn number(self) -> usize {
        self.number
    }

    /// Returns the handle of the thread, as `threading.get_ident` in Python.
    #[must_use]
    pub const fn handle(self) -> usize {
        self.handle
    }

    /// Returns whether the thread has not ended.
    #[must_use]
    pub fn is_alive(self) -> bool {
        sys::is_thread(self.number)
    }

    pub(super) const fn new(number: usize, handle: usize) -> Self {
        Self { number, handle }
    }
}

/// The code that reports a thread's faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reporter {
    /// The host language, which knows the thread.
    Host = 0,
    /// The holder of the thread's [`Claim`].
    Claim,
    /// The call that was given the map: the thread was started by C.
    Call,
}

impl Reporter {
    pub(super) const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Claim,
            2 => Self::Call,
            _ => Self::Host,
        }
    }
}

thread_local! {
    /// The number of claims of this thread.
    static CLAIMS: Cell<u32> = const { Cell::new(0) };
}

/// States that this thread reports its own faults until this is dropped, as the threads of a batch do. The
/// faults of other threads that the host does not know belong to the call that was given the map.
#[derive(Debug)]
pub struct Claim(PhantomData<*const ()>);

impl Claim {
    /// Begins a claim.
    #[must_use]
    pub fn new() -> Self {
        CLAIMS.set(CLAIMS.get() + 1);
        Self(PhantomData)
    }

    /// Returns whether this thread has a claim. A signal handler may call this.
    pub(super) fn exists() -> bool {
        CLAIMS.get() > 0
    }
}

impl Default for Claim {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMS.set(CLAIMS.get() - 1);
    }
}
