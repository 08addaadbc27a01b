//! Systems where libffi makes the code of closures.
#![allow(unsafe_code)]

use std::ptr::{self, NonNull};

use libffi_sys::ffi_closure;

use super::Thunk;

pub(super) fn allocate() -> Option<Thunk> {
    let mut code = ptr::null_mut();
    // SAFETY: libffi writes the second address to `code`.
    let closure = unsafe { libffi_sys::ffi_closure_alloc(size_of::<ffi_closure>(), &raw mut code) };
    Some(Thunk {
        closure: NonNull::new(closure.cast())?,
        code: NonNull::new(code)?,
    })
}

/// libffi's own code fits.
///
/// # Safety
///
/// None is needed; the thunks of other systems look at the closure.
pub(super) unsafe fn fits(_: NonNull<ffi_closure>) -> bool {
    true
}
