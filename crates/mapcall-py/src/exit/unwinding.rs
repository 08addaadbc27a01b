//! Threads that the interpreter ends by unwinding their stacks.
//!
//! CPython before 3.14 ends each daemon thread that asks for the interpreter's lock while the
//! interpreter exits, by `pthread_exit`, which with glibc unwinds the thread's stack. Frames of Rust
//! can't be unwound so: the process would abort. Such a thread is stopped for ever instead, as
//! CPython 3.14 does.
//!
//! The unwinder asks a frame's personality routine before it touches the frame. Rust has one for all
//! frames, whose address each library holds in one place; here that of another one is put there.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::thread;
use std::time::Duration;

/// What the unwinder calls for each frame that has something to do (Itanium C++ ABI: Exception
/// Handling, 1.6.2 and 2.5.2).
type Personality =
    unsafe extern "C" fn(c_int, c_int, u64, exception: *mut c_void, context: *mut c_void) -> c_int;

/// The action's flag for an unwinding that no frame may end (`_UA_FORCE_UNWIND`).
const FORCE_UNWIND: c_int = 8;

unsafe extern "C" {
    /// Where the unwind tables of this library's Rust code have the address of the personality.
    #[link_name = "DW.ref.rust_eh_personality"]
    static PERSONALITY: AtomicPtr<c_void>;
}

/// The personality of the standard library.
static ORIGINAL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Has threads that the interpreter ends stop before a frame of Rust is unwound.
pub(super) fn stop_at_rust() {
    // SAFETY: the symbol is a pointer in writable data, which the unwinder only reads.
    let place = unsafe { &PERSONALITY };
    let ours = personality as *mut c_void;
    let original = place.load(Ordering::Relaxed);
    if original != ours {
        ORIGINAL.store(original, Ordering::Relaxed);
        place.store(ours, Ordering::Release);
    }
}

unsafe extern "C" fn personality(
    version: c_int,
    actions: c_int,
    class: u64,
    exception: *mut c_void,
    context: *mut c_void,
) -> c_int {
    if actions & FORCE_UNWIND != 0 {
        // The interpreter ends threads a moment before it says that it isn't initialized any more.
        for _ in 0..100 {
            while super::is_ending() {
                thread::park();
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    // SAFETY: it is the address of a personality, stored before the unwinder could come here.
    let original: Personality = unsafe { mem::transmute(ORIGINAL.load(Ordering::Acquire)) };
    // SAFETY: the unwinder's own arguments, handed on.
    unsafe { original(version, actions, class, exception, context) }
}
