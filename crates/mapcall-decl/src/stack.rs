//! Room on the stack, for code whose need is known and larger than what small threads have.

use std::io;
use std::panic;
use std::thread;

/// Does work that needs so many bytes of stack: here if they are left, else on a thread of its own.
///
/// # Errors
///
/// That of the system, if it gives no such thread.
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
