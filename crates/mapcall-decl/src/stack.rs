//! Runs code that needs a known amount of stack, which may be more than the current thread has left.

use std::io;

use mapcall_array::fork;

/// Runs a function that needs `bytes` bytes of stack: on this thread if they are left, otherwise on a new one.
///
/// # Errors
///
/// The error of the system if it can't start such a thread.
pub fn with<R: Send>(bytes: usize, work: impl FnOnce() -> R + Send) -> io::Result<R> {
    if stacker::remaining_stack().is_some_and(|left| left >= bytes) {
        return Ok(work());
    }
    fork::run_with_stack(bytes, work)
}
