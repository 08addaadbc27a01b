//! Runs code that needs a known amount of stack, which may be more than small threads have.

use std::io;
use std::panic;
use std::thread;

/// Runs work that needs `bytes` bytes of stack: on this thread if they are left, otherwise on a new thread.
///
/// # Errors
///
/// The error of the system if it can't start such a thread.
pub fn with<R: Send>(bytes: usize, work: impl FnOnce() -> R + Send) -> io::Result<R> {
    if stacker::remaining_stack().is_some_and(|left| left >= bytes) {
        return Ok(work());
    }
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(bytes);
        let thread = builder.spawn_scoped(scope, work)?;
        Ok(thread
            .join()
            .unwrap_or_else(|payload| panic::resume_unwind(payload)))
    })
}
