//! The thread's C `errno`.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ptr::NonNull;

/// What a call leaves in the thread's `errno`, which is 0 before it.
#[inline]
pub(crate) fn after(call: impl FnOnce()) -> c_int {
    let Some(place) = place() else {
        call();
        return 0;
    };
    // SAFETY: the place is the thread's own, and lives as long as the thread.
    unsafe { place.write(0) };
    call();
    // SAFETY: as above.
    unsafe { place.read() }
}

/// The thread's `errno`, as C sees it; 0 where it isn't known how to find it.
pub(crate) fn get() -> c_int {
    // SAFETY: the place is the thread's own, and lives as long as the thread.
    place().map_or(0, |place| unsafe { place.read() })
}

/// Sets the thread's `errno`.
pub(crate) fn set(value: c_int) {
    if let Some(place) = place() {
        // SAFETY: the place is the thread's own, and lives as long as the thread.
        unsafe { place.write(value) };
    }
}

#[cfg(target_os = "linux")]
#[expect(clippy::unnecessary_wraps, reason = "other systems may have none")]
#[inline]
pub(super) fn place() -> Option<NonNull<c_int>> {
    // SAFETY: it takes nothing and gives an address.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: every thread has one.
    Some(unsafe { NonNull::new_unchecked(place) })
}

#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
pub(super) fn place() -> Option<NonNull<c_int>> {
    // SAFETY: it takes nothing and gives an address.
    NonNull::new(unsafe { libc::__error() })
}

#[cfg(windows)]
pub(super) fn place() -> Option<NonNull<c_int>> {
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
pub(super) fn place() -> Option<NonNull<c_int>> {
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
