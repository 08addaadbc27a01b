//! The engine that calls any function: libffi.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::mem;
use std::ptr::{self, NonNull};

use libffi_sys::{ffi_cif, ffi_type};
use smallvec::SmallVec;

use super::abi;
use super::value::Value;
use super::{CallTypeError, Shared};
use crate::ctype::{CType, Float};

/// A value in memory that C points to.
struct Pinned<T: ?Sized>(NonNull<T>);

impl<T: ?Sized> Pinned<T> {
    fn new(value: Box<T>) -> Self {
        Self(NonNull::from(Box::leak(value)))
    }
}

impl<T: ?Sized> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came out of a box and is given back once.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Descriptions of types, which libffi points to.
#[derive(Default)]
pub(super) struct Types {
    types: Vec<Pinned<ffi_type>>,
    elements: Vec<Pinned<[*mut ffi_type]>>,
}

impl Types {
    #[cfg_attr(
        all(not(test), target_arch = "x86_64", target_pointer_width = "64", unix),
        expect(dead_code, reason = "there all values are words")
    )]
    pub(super) fn integer(size: usize, is_signed: bool) -> *mut ffi_type {
        match (size, is_signed) {
            (1, false) => &raw mut libffi_sys::ffi_type_uint8,
            (1, true) => &raw mut libffi_sys::ffi_type_sint8,
            (2, false) => &raw mut libffi_sys::ffi_type_uint16,
            (2, true) => &raw mut libffi_sys::ffi_type_sint16,
            (4, false) => &raw mut libffi_sys::ffi_type_uint32,
            (4, true) => &raw mut libffi_sys::ffi_type_sint32,
            (_, false) => &raw mut libffi_sys::ffi_type_uint64,
            (_, true) => &raw mut libffi_sys::ffi_type_sint64,
        }
    }

    /// Any but `_Float16`, which libffi doesn't have.
    pub(super) fn float(float: Float) -> *mut ffi_type {
        match float {
            Float::Float16 | Float::Float => &raw mut libffi_sys::ffi_type_float,
            Float::LongDouble if float.size() > Float::Double.size() => {
                &raw mut libffi_sys::ffi_type_longdouble
            }
            Float::Double | Float::LongDouble => &raw mut libffi_sys::ffi_type_double,
        }
    }

    pub(super) fn complex(&mut self, float: Float) -> *mut ffi_type {
        let (size, alignment) = (2 * float.size(), float.alignment());
        let part = vec![Self::float(float)];
        self.add(libffi_sys::FFI_TYPE_COMPLEX, size, alignment, part)
    }

    /// A `long double` with less than its alignment.
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64", unix))]
    pub(super) fn long_double(&mut self, alignment: usize) -> *mut ffi_type {
        let size = Float::LongDouble.size();
        self.add(libffi_sys::FFI_TYPE_LONGDOUBLE, size, alignment, Vec::new())
    }

    /// libffi lays out no record whose size it is told.
    pub(super) fn record(
        &mut self,
        size: usize,
        alignment: usize,
        elements: Vec<*mut ffi_type>,
    ) -> *mut ffi_type {
        self.add(libffi_sys::FFI_TYPE_STRUCT, size, alignment, elements)
    }

    fn add(
        &mut self,
        kind: u16,
        size: usize,
        alignment: usize,
        mut elements: Vec<*mut ffi_type>,
    ) -> *mut ffi_type {
        elements.push(ptr::null_mut());
        let elements = Pinned::new(elements.into_boxed_slice());
        let described = Pinned::new(Box::new(ffi_type {
            size,
            alignment: u16::try_from(alignment).unwrap_or(u16::MAX),
            type_: kind,
            elements: elements.0.as_ptr().cast(),
        }));
        let address = described.0.as_ptr();
        self.elements.push(elements);
        self.types.push(described);
        address
    }
}

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
