//! Memory for libffi's closures, and the code by which C enters them.
//!
//! libffi's own allocator keeps a descriptor of the library and maps code through it again later:
//! by then the program may have closed it, and opened something else.
#![allow(unsafe_code)]

#[cfg_attr(not(has_thunk_table), path = "libffi.rs")]
mod table;

use std::ffi::c_void;
use std::ptr::NonNull;

use libffi_sys::{ffi_cif, ffi_closure};
use mapcall_array::fork::Section;

/// What a closure runs: libffi calls it with the address for the result, those of the arguments,
/// and the data that belongs to the closure.
pub(super) type Enter =
    unsafe extern "C" fn(*mut ffi_cif, *mut c_void, *mut *mut c_void, *mut c_void);

/// A closure of libffi, and the code by which C enters it. Both stay until the process ends.
pub(super) struct Thunk {
    closure: NonNull<ffi_closure>,
    code: NonNull<c_void>,
}

impl Thunk {
    /// A thunk that was never used; `None` if the system has no memory for more.
    pub(super) fn new() -> Option<Self> {
        table::allocate()
    }

    /// The C function.
    pub(super) fn code(&self) -> NonNull<c_void> {
        self.code
    }

    /// Says what the thunk runs, with which data; whether libffi can do that.
    ///
    /// # Safety
    ///
    /// The thunk is new. From now on `cif` stays as it is, and `enter` can be called with `data`.
    pub(super) unsafe fn prepare(
        &self,
        cif: *mut ffi_cif,
        enter: Enter,
        data: *mut c_void,
    ) -> bool {
        let (closure, code) = (self.closure.as_ptr(), self.code.as_ptr());
        // libffi has a lock for what trampolines run.
        let _section = Section::enter();
        // SAFETY: the closure is the thunk's own, and new; the rest is what the caller promises.
        let status =
            unsafe { libffi_sys::ffi_prep_closure_loc(closure, cif, Some(enter), data, code) };
        // SAFETY: as above.
        status == libffi_sys::ffi_status_FFI_OK && unsafe { table::fits(self.closure) }
    }
}
