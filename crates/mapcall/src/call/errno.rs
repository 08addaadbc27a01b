//! The thread's C `errno`.
#![allow(unsafe_code)]

use std::ffi::c_int;
#[cfg(has_jit)]
use std::ffi::c_void;
use std::ptr::NonNull;

/// Returns the thread's `errno`; 0 on systems whose `errno` can't be found.
pub(crate) fn get() -> c_int {
    // SAFETY: the location is this thread's `errno`, which is valid as long as the thread lives.
    location().map_or(0, |location| unsafe { location.read() })
}

/// Sets the thread's `errno`.
pub(crate) fn set(value: c_int) {
    if let Some(location) = location() {
        // SAFETY: the location is this thread's `errno`, which is valid as long as the thread lives.
        unsafe { location.write(value) };
    }
}

#[cfg(target_os = "linux")]
#[expect(clippy::unnecessary_wraps, reason = "other systems may have none")]
#[inline]
pub(super) fn location() -> Option<NonNull<c_int>> {
    // SAFETY: the function takes no arguments and can be called at any time.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: `location` is not null: it is the address of an `int` (Linux Standard Base,
    // `__errno_location`).
    Some(unsafe { NonNull::new_unchecked(location) })
}

/// Returns the address of the function that returns the location: `int *(void)`.
#[cfg(has_jit)]
pub(super) fn function() -> usize {
    (libc::__errno_location as *const c_void).expose_provenance()
}

#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
pub(super) fn location() -> Option<NonNull<c_int>> {
    // SAFETY: the function takes no arguments and can be called at any time.
    NonNull::new(unsafe { libc::__error() })
}

#[cfg(windows)]
pub(super) fn location() -> Option<NonNull<c_int>> {
    unsafe extern "C" {
        safe fn _errno() -> *mut c_int;
    }
    NonNull::new(_errno())
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "freebsd",
    target_vendor = "apple",
    windows
)))]
pub(super) fn location() -> Option<NonNull<c_int>> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn is_that_of_the_system() {
        set(libc::ERANGE);
        assert_eq!(get(), libc::ERANGE);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(get()));
        let other = std::thread::spawn(|| {
            set(0);
            get()
        });
        assert_eq!((other.join().unwrap(), get()), (0, libc::ERANGE));
    }
}
