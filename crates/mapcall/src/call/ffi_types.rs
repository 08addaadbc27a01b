//! Descriptions of C types for libffi (libffi's manual, "Types").
#![allow(unsafe_code)]

use std::ptr::{self, NonNull};

use libffi_sys::ffi_type;

use crate::ctype::Float;

/// A value on the heap that C points to. It is freed when this is dropped.
pub(super) struct Pinned<T: ?Sized>(pub(super) NonNull<T>);

impl<T: ?Sized> Pinned<T> {
    pub(super) fn new(value: Box<T>) -> Self {
        Self(NonNull::from(Box::leak(value)))
    }
}

impl<T: ?Sized> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from `Box::leak` in `new` and is freed only here.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// The owner of descriptions that libffi points to.
#[derive(Default)]
pub(super) struct Types {
    types: Vec<Pinned<ffi_type>>,
    elements: Vec<Pinned<[*mut ffi_type]>>,
}

impl Types {
    #[cfg_attr(
        all(not(test), abi_system_v),
        expect(dead_code, reason = "there all values are described by eightbytes")
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

    /// Returns the description of a floating-point type. libffi has none for `_Float16`.
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

    /// Returns the description of a `long double` of smaller alignment.
    #[cfg(abi_system_v)]
    pub(super) fn long_double(&mut self, alignment: usize) -> *mut ffi_type {
        let size = Float::LongDouble.size();
        self.add(libffi_sys::FFI_TYPE_LONGDOUBLE, size, alignment, Vec::new())
    }

    /// Returns the description of a struct. As its size is given, libffi computes no offsets.
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
