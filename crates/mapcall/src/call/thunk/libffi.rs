//! Thunks on systems where libffi makes the code of closures.
#![allow(unsafe_code)]

use std::ptr::{self, NonNull};

use libffi_sys::ffi_closure;

use super::Thunk;

pub(super) fn allocate() -> Option<Thunk> {
    let mut code = ptr::null_mut();
    // SAFETY: `code` is valid for a write of one pointer, the address of the code.
    let closure = unsafe { libffi_sys::ffi_closure_alloc(size_of::<ffi_closure>(), &raw mut code) };
    Some(Thunk {
        closure: NonNull::new(closure.cast())?,
        code: NonNull::new(code)?,
    })
}

/// Returns true: libffi made the code itself.
///
/// # Safety
///
/// No condition; it is unsafe because the function of other systems is.
pub(super) unsafe fn fits(_: NonNull<ffi_closure>) -> bool {
    true
}
