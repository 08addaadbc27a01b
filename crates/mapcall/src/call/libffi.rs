//! The engine that calls any function: libffi.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::mem;

use libffi_sys::{ffi_cif, ffi_type};
use smallvec::SmallVec;

use super::abi;
use super::ffi_types::{Pinned, Types};
use super::value::Value;
use super::{CallTypeError, Shared};
use crate::ctype::CType;

/// How libffi calls functions of one type.
pub(super) struct Interface {
    cif: Pinned<ffi_cif>,
    // The interface points to these.
    _parameters: Pinned<[*mut ffi_type]>,
    _types: Types,
}

// SAFETY: nothing is written to the descriptions once they are made.
unsafe impl Send for Interface {}
// SAFETY: as above.
unsafe impl Sync for Interface {}

impl Interface {
    pub(super) fn new<'a>(
        returns: (&CType, &Value),
        parameters: impl Iterator<Item = (&'a CType, &'a Value)>,
    ) -> Result<Self, CallTypeError> {
        let mut types = Types::default();
        let mut describe = |(ctype, value): (&CType, &Value)| {
            abi::describe(value, &mut types).map_err(|reason| by_value(ctype, reason))
        };
        let result = describe(returns)?;
        let parameters = parameters.map(describe).collect::<Result<Box<[_]>, _>>()?;
        let count = u32::try_from(parameters.len()).unwrap_or(u32::MAX);
        let parameters = Pinned::new(parameters);
        let cif = Pinned::new(Box::new(ffi_cif::default()));
        // SAFETY: all that the interface points to lives as long as it, and the descriptions are
        // as libffi documents them.
        let status = unsafe {
            libffi_sys::ffi_prep_cif(
                cif.0.as_ptr(),
                libffi_sys::ffi_abi_FFI_DEFAULT_ABI,
                count,
                result,
                parameters.0.as_ptr().cast(),
            )
        };
        if status != libffi_sys::ffi_status_FFI_OK {
            return Err(by_value(returns.0, "libffi has no such function"));
        }
        Ok(Self {
            cif,
            _parameters: parameters,
            _types: types,
        })
    }

    pub(super) fn cif(&self) -> *mut ffi_cif {
        self.cif.0.as_ptr()
    }
}

fn by_value(ctype: &CType, reason: &str) -> CallTypeError {
    CallTypeError::ByValue {
        ctype: ctype.to_string(),
        reason: reason.into(),
    }
}

/// Calls a function through libffi.
///
/// # Safety
///
/// The same as for [`Trampoline::call`](super::Trampoline::call); `shared` is a trampoline's.
pub(super) unsafe extern "C" fn call(
    function: *const c_void,
    frame: *mut u64,
    shared: *const Shared,
) {
    // SAFETY: the caller's promise.
    let Shared {
        interface, layout, ..
    } = unsafe { &*shared };
    let at = |word: usize| frame.wrapping_add(word).cast::<c_void>();
    let mut arguments: SmallVec<[*mut c_void; 16]> =
        layout.parameters().iter().copied().map(at).collect();
    // SAFETY: an address of a function is a function pointer, or none when it is null.
    let function: Option<unsafe extern "C" fn()> = unsafe { mem::transmute(function) };
    // SAFETY: the caller's promise: a function of the described type, and its arguments; the
    // frame has room for the result, in whole words.
    unsafe {
        libffi_sys::ffi_call(
            interface.cif(),
            function,
            at(layout.result()),
            arguments.as_mut_ptr(),
        );
    }
}
