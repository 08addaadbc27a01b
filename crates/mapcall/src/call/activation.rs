//! What surrounds calls of C on a thread.
#![allow(unsafe_code)]

use std::ffi::c_int;

use super::errno;

/// Makes calls of C on this thread, whose `errno` is 0 before the first one. Returns the `errno` that the
/// calls leave; 0 on systems whose `errno` can't be found.
///
/// Calls may be nested: a callback of C may make calls of its own.
#[inline]
pub(crate) fn run(calls: impl FnOnce()) -> c_int {
    let Some(location) = errno::location() else {
        calls();
        return 0;
    };
    // SAFETY: the location is this thread's `errno`, which is valid as long as the thread lives.
    unsafe { location.write(0) };
    calls();
    // SAFETY: the location is this thread's `errno`, which is valid as long as the thread lives.
    unsafe { location.read() }
}
