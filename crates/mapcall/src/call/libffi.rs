//! The engine for all functions: libffi.
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

/// libffi's description of functions of one type (`ffi_cif`), and the types that it points to.
pub(super) struct Interface {
    cif: Pinned<ffi_cif>,
    // The interface points to these.
    _parameters: Pinned<[*mut ffi_type]>,
    _types: Types,
}

// SAFETY: the descriptions are owned by the interface and are not written after `ffi_prep_cif`.
unsafe impl Send for Interface {}
// SAFETY: the descriptions are not written after `ffi_prep_cif`, so that threads only read them.
unsafe impl Sync for Interface {}

impl Interface {
    /// Describes a function; of a variadic one, `fixed` is the number of parameters before the variable
    /// arguments.
    pub(super) fn new<'a>(
        returns: (&CType, &Value),
        parameters: impl Iterator<Item = (&'a CType, &'a Value)>,
        fixed: Option<usize>,
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
        let abi = libffi_sys::ffi_abi_FFI_DEFAULT_ABI;
        let (to, types_of) = (cif.0.as_ptr(), parameters.0.as_ptr().cast());
        let fixed = fixed.and_then(|fixed| u32::try_from(fixed).ok());
        let status = match fixed.filter(|&fixed| fixed < count) {
            // SAFETY: `to` is valid for writes, `types_of` has `count` pointers to descriptions, and these and
            // `result` are static or owned by `types`, which the interface keeps as long as `cif`.
            None => unsafe { libffi_sys::ffi_prep_cif(to, abi, count, result, types_of) },
            // SAFETY: the same holds, and `fixed` is less than `count`.
            Some(fixed) => unsafe {
                libffi_sys::ffi_prep_cif_var(to, abi, fixed, count, result, types_of)
            },
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
/// - `shared` points to the shared state of a trampoline, which stays alive during the call.
/// - `function` is a C function of the trampoline's type that is sound to call with the parameters in the
///   frame.
/// - `frame` is valid for reads and writes of all slots of the trampoline's layout, is aligned to 16 bytes
///   if a value is, and holds the parameters.
pub(super) unsafe extern "C" fn call(
    function: *const c_void,
    frame: *mut u64,
    shared: *const Shared,
) {
    // SAFETY: the caller guarantees that `shared` points to the state of a trampoline that is alive.
    let Shared {
        interface, layout, ..
    } = unsafe { &*shared };
    let at = |slot: usize| frame.wrapping_add(slot).cast::<c_void>();
    let mut arguments: SmallVec<[*mut c_void; 16]> =
        layout.parameters().iter().copied().map(at).collect();
    // SAFETY: `Option` of a function pointer has the size of a pointer, null is `None`, and any other address
    // is the function that the caller guarantees.
    let function: Option<unsafe extern "C" fn()> = unsafe { mem::transmute(function) };
    // SAFETY: the caller guarantees a function of the described type and its parameters in the frame, to
    // which `arguments` points. The frame has whole slots for the result, as libffi asks for.
    unsafe {
        libffi_sys::ffi_call(
            interface.cif(),
            function,
            at(layout.result()),
            arguments.as_mut_ptr(),
        );
    }
}
