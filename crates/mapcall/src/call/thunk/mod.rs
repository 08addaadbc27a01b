//! Memory for libffi's closures, and the code at which C enters them.
//!
//! libffi's own allocator keeps a file descriptor of the library and maps code from it later. By then the
//! program may have closed the descriptor, and its number may belong to another file.
#![allow(unsafe_code)]

#[cfg(has_register_entry)]
mod registers;
#[cfg_attr(not(has_thunk_table), path = "libffi.rs")]
mod table;

use std::ffi::c_void;
use std::ptr::NonNull;

use libffi_sys::{ffi_cif, ffi_closure};
use mapcall_array::fork::Section;

#[cfg(has_register_entry)]
pub(super) use registers::{EnterBySlots, Saved, Source, sources};

/// The function that a closure runs. libffi passes it the address for the result, the addresses of the
/// arguments, and the closure's data.
pub(super) type Enter =
    unsafe extern "C" fn(*mut ffi_cif, *mut c_void, *mut *mut c_void, *mut c_void);

/// A closure of libffi, and the code at which C enters it. Both stay until the process ends.
pub(super) struct Thunk {
    closure: NonNull<ffi_closure>,
    code: NonNull<c_void>,
}

impl Thunk {
    /// Allocates a thunk; `None` if the system refuses memory.
    pub(super) fn new() -> Option<Self> {
        table::allocate()
    }

    /// Returns the address of the C function.
    pub(super) fn code(&self) -> NonNull<c_void> {
        self.code
    }

    /// Sets the function that the thunk runs and its data, and returns whether libffi accepts them.
    ///
    /// # Safety
    ///
    /// - `prepare` was not called on the thunk before, and its code is not running.
    /// - `cif` points to a prepared interface that is never written or freed from now on.
    /// - `enter` can be called with `data` at any time, from any thread, with arguments as `cif` describes.
    pub(super) unsafe fn prepare(
        &self,
        cif: *mut ffi_cif,
        enter: Enter,
        data: *mut c_void,
    ) -> bool {
        let (closure, code) = (self.closure.as_ptr(), self.code.as_ptr());
        // libffi takes a lock of its own, which a fork must not find held.
        let _section = Section::enter();
        // SAFETY: `closure` is memory for one closure that belongs to this thunk and is not in use. The caller
        // guarantees that `cif` stays valid, and that `enter` can be called with `data`.
        let status =
            unsafe { libffi_sys::ffi_prep_closure_loc(closure, cif, Some(enter), data, code) };
        // SAFETY: `closure` is initialised, and valid for reads.
        status == libffi_sys::ffi_status_FFI_OK && unsafe { table::fits(self.closure) }
    }

    /// Has the thunk, which is prepared, run another function with its data, without libffi.
    ///
    /// # Safety
    ///
    /// - C can't enter the thunk yet.
    /// - `enter` can be called with the data at any time, from any thread, if C passes arguments of a function type
    ///   that has [`sources`].
    #[cfg(has_register_entry)]
    pub(super) unsafe fn enter_by_slots(&self, enter: EnterBySlots) {
        // SAFETY: the closure is memory of this thunk. The caller guarantees the rest.
        unsafe { registers::install(self.closure.as_ptr(), enter) };
    }
}
