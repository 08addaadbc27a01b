//! Handlers that the system calls when the process forks, the same on every Unix.
#![allow(unsafe_code)]

/// A handler, called on the thread that forks.
type Handler = extern "C" fn();

/// Registers handlers that run before each fork, and after it in the parent and in the child
/// (`pthread_atfork`); returns `false` if the system has no memory for them.
#[cfg(unix)]
pub(super) fn at_fork(prepare: Handler, parent: Handler, child: Handler) -> bool {
    let [prepare, parent, child] = [prepare, parent, child].map(|handler| {
        let handler: unsafe extern "C" fn() = handler;
        Some(handler)
    });
    // SAFETY: the handlers are functions of a program or of a Python extension module, and neither is
    // unloaded before the process ends.
    unsafe { libc::pthread_atfork(prepare, parent, child) == 0 }
}

/// Does nothing and returns `true`, as this system has no `fork`.
#[cfg(not(unix))]
pub(super) fn at_fork(_: Handler, _: Handler, _: Handler) -> bool {
    true
}
