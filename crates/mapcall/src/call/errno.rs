//! The thread's C `errno`.
#![allow(unsafe_code)]

use std::ffi::c_int;

/// The thread's `errno`, as C sees it.
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

#[cfg(any(target_os = "linux", target_os = "emscripten", target_os = "redox"))]
fn place() -> Option<*mut c_int> {
    // SAFETY: it takes nothing and gives an address.
    Some(unsafe { libc::__errno_location() })
}

#[cfg(any(target_vendor = "apple", target_os = "freebsd"))]
fn place() -> Option<*mut c_int> {
    // SAFETY: it takes nothing and gives an address.
    Some(unsafe { libc::__error() })
}

#[cfg(windows)]
fn place() -> Option<*mut c_int> {
    unsafe extern "C" {
        safe fn _errno() -> *mut c_int;
    }
    Some(_errno())
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "emscripten",
    target_os = "redox",
    target_os = "freebsd",
    target_vendor = "apple",
    windows
)))]
fn place() -> Option<*mut c_int> {
    None
}

#[cfg(test)]
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
