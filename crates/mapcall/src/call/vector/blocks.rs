//! Calls of a vector variant for consecutive blocks of lanes: one function for each width of the registers and
//! number of vector registers that are passed.
//!
//! A vector function takes integers and vectors in separate sequences of registers (System V x86-64 psABI 3.2.3;
//! AAPCS64 6.8.2). The variants of the vector function ABIs are called like functions with vectors as parameters.
//! (Those of `AArch64` save more registers, `vfabia64` 2.1, which callers need not know.) So a variant is called
//! as a function that takes all registers for integers and the first few for vectors: it ignores those that it
//! does not use.

use std::ffi::c_void;
use std::mem::{self, MaybeUninit};
use std::slice;

/// The number of vector registers for parameters.
pub(super) const VECTORS: usize = 8;

/// The number of integer registers for parameters.
pub(super) const INTEGERS: usize = if cfg!(target_arch = "aarch64") { 8 } else { 6 };

/// The size of the widest register, in bytes: AVX-512's, and the largest that SVE allows.
pub(super) const WIDEST: usize = if cfg!(target_arch = "aarch64") {
    256
} else {
    64
};

/// The size of the widest predicate register of SVE, in bytes: it has a bit for each byte of a register.
pub(super) const PREDICATE: usize = WIDEST / 8;

/// Memory for the registers of one block, which lie one behind the other.
#[repr(C, align(64))]
pub(super) struct Buffer(MaybeUninit<[u8; VECTORS * WIDEST]>);

impl Buffer {
    pub(super) fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    /// Returns the memory, with zeros for the registers of a width.
    pub(super) fn zeroed(&mut self, width: usize) -> &mut [u8] {
        let bytes = VECTORS * width.min(WIDEST);
        let address = self.as_mut_ptr();
        // SAFETY: the memory has the widest registers.
        unsafe { address.write_bytes(0, bytes) };
        // SAFETY: these bytes have just been written.
        unsafe { slice::from_raw_parts_mut(address, bytes) }
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
}

/// Sets `lanes` lanes from an offset on to one value.
pub(super) fn fill(registers: &mut [u8], offset: usize, value: &[u8], lanes: usize) {
    let bytes = registers.iter_mut().skip(offset);
    let bytes = bytes.take(lanes * value.len());
    for (byte, value) in bytes.zip(value.iter().cycle()) {
        *byte = *value;
    }
}

/// The address of a register's bytes for the next block, and the distance to those of the block behind it.
#[derive(Clone, Copy)]
pub(super) struct Register {
    pub(super) address: *mut u8,
    pub(super) step: isize,
}

impl Register {
    pub(super) fn advance(&mut self, blocks: usize) {
        let moved = self.step.wrapping_mul(blocks.cast_signed());
        self.address = self.address.wrapping_offset(moved);
    }
}

/// Consecutive calls of a variant.
pub(super) struct Blocks {
    pub(super) function: *const c_void,
    /// The values of the integer registers, and what is added to each after a call.
    pub(super) integers: [(u64, u64); INTEGERS],
    pub(super) vectors: [Register; VECTORS],
    /// The bits of SVE's first predicate register.
    #[cfg_attr(
        not(all(abi_aapcs64, target_endian = "little")),
        expect(dead_code, reason = "there is no SVE")
    )]
    pub(super) predicate: [u8; PREDICATE],
    /// Where the result is stored; `None` if the variant returns nothing.
    pub(super) result: Option<Register>,
}

/// A function that calls a variant for consecutive blocks.
///
/// # Safety
///
/// - The variant takes registers of the function's instruction set and width, the first ones of them, and is sound to
///   call with the values of each block. This processor has such registers.
/// - In each block, the address of each of these registers is valid for reads of its width, and the result's for
///   writes.
pub(super) type Caller = unsafe fn(&Blocks, usize);

impl Blocks {
    /// Moves all registers on by a number of blocks.
    pub(super) fn advance(&mut self, blocks: usize) {
        for (value, step) in &mut self.integers {
            *value = value.wrapping_add(step.wrapping_mul(blocks as u64));
        }
        for register in self.vectors.iter_mut().chain(&mut self.result) {
            register.advance(blocks);
        }
    }

    /// Sets the value of an integer register, and what is added to it after each call.
    pub(super) fn set_integer(&mut self, integer: usize, value: u64, step: u64) {
        if let Some(register) = self.integers.get_mut(integer) {
            *register = (value, step);
        }
    }

    /// Sets the memory of the registers from one on, with `bytes` in each block. The one behind those of parameters is
    /// that of the result.
    pub(super) fn place(&mut self, register: usize, address: *mut u8, bytes: usize, width: usize) {
        let registers = self.vectors.iter_mut().chain(&mut self.result);
        for (part, register) in registers.skip(register).take(bytes / width).enumerate() {
            register.address = address.wrapping_add(part * width);
            register.step = bytes.cast_signed();
        }
    }
}

/// Replaces a token by a type.
macro_rules! of {
    ($token:tt, $type:ty) => {
        $type
    };
}

/// Defines two functions that call a variant for consecutive blocks, with that many vector registers: the first for
/// variants with a result and without integer registers, which is all that libm's have.
#[cfg_attr(
    not(any(abi_system_v, abi_aapcs64)),
    expect(unused_macros, reason = "there are no variants")
)]
macro_rules! caller {
    (
        $plain:ident, $general:ident, $(#[$feature:meta])?, $abi:literal, $register:ty, $load:path, $store:path,
        ($($integer:ident)*), ($($vector:ident)*)
    ) => {
        /// Calls a variant for `count` blocks.
        ///
        /// # Safety
        ///
        /// The conditions of [`Caller`], for a variant with these registers and a result.
        $(#[$feature])?
        #[expect(improper_ctypes_definitions, reason = "the ABI passes vectors in registers that the target has here")]
        unsafe fn $plain(blocks: &Blocks, count: usize) {
            type Returning = unsafe extern $abi fn($(of!($vector, $register)),*) -> $register;
            // SAFETY: the caller guarantees that the variant returns a register.
            let function: Returning = unsafe { mem::transmute(blocks.function) };
            let (Some(mut result), [$(mut $vector,)* ..], 1..) = (blocks.result, blocks.vectors, count)
            else {
                return;
            };
            // The next registers are loaded before a result is stored: a load just behind a store waits for it if the low
            // bits of their addresses are alike.
            let mut loaded = ($(
                // SAFETY: the caller guarantees that the register's bytes can be read.
                unsafe { $load($vector.address.cast_const().cast()) },
            )*);
            for left in (0..count).rev() {
                let value = {
                    let ($($vector,)*) = loaded;
                    // SAFETY: the caller guarantees that the variant may be called with these values.
                    unsafe { function($($vector),*) }
                };
                if left > 0 {
                    $($vector.advance(1);)*
                    loaded = ($(
                        // SAFETY: the caller guarantees that the register's bytes can be read.
                        unsafe { $load($vector.address.cast_const().cast()) },
                    )*);
                }
                // SAFETY: the caller guarantees that the result's bytes can be written.
                unsafe { $store(result.address.cast(), value) };
                result.advance(1);
            }
        }

        /// Calls a variant for `count` blocks.
        ///
        /// # Safety
        ///
        /// The conditions of [`Caller`], for a variant with these registers.
        $(#[$feature])?
        #[expect(improper_ctypes_definitions, reason = "the ABI passes vectors in registers that the target has here")]
        unsafe fn $general(blocks: &Blocks, count: usize) {
            type Returning =
                unsafe extern $abi fn($(of!($integer, u64),)* $(of!($vector, $register)),*) -> $register;
            type Void = unsafe extern $abi fn($(of!($integer, u64),)* $(of!($vector, $register)),*);
            let [$(mut $vector,)* ..] = blocks.vectors;
            let mut integers = blocks.integers;
            let mut result = blocks.result;
            for _ in 0..count {
                let [$($integer),*] = integers.map(|(value, _)| value);
                {
                    $(
                        // SAFETY: the caller guarantees that the register's bytes can be read.
                        let $vector = unsafe { $load($vector.address.cast_const().cast()) };
                    )*
                    if let Some(result) = &mut result {
                        // SAFETY: the caller guarantees that the variant returns a register.
                        let function: Returning = unsafe { mem::transmute(blocks.function) };
                        // SAFETY: the caller guarantees that the variant may be called with these values.
                        let value = unsafe { function($($integer,)* $($vector),*) };
                        // SAFETY: the caller guarantees that the result's bytes can be written.
                        unsafe { $store(result.address.cast(), value) };
                        result.advance(1);
                    } else {
                        // SAFETY: the caller guarantees that the variant returns nothing.
                        let function: Void = unsafe { mem::transmute(blocks.function) };
                        // SAFETY: the caller guarantees that the variant may be called with these values.
                        unsafe { function($($integer,)* $($vector),*) };
                    }
                }
                $($vector.advance(1);)*
                for (value, step) in &mut integers {
                    *value = value.wrapping_add(*step);
                }
            }
        }
    };
}

/// Defines the functions for all numbers of vector registers, of one width.
#[cfg_attr(
    not(any(abi_system_v, abi_aapcs64)),
    expect(unused_macros, reason = "there are no variants")
)]
macro_rules! callers {
    (
        $module:ident, $(#[$feature:meta])?, $abi:literal, $register:ty, $load:path, $store:path, $integers:tt
    ) => {
        mod $module {
            use super::{Blocks, Caller, VECTORS, mem, $register, $load, $store};

            caller!(one, general_one, $(#[$feature])?, $abi, $register, $load, $store, $integers, (a));
            caller!(two, general_two, $(#[$feature])?, $abi, $register, $load, $store, $integers, (a b));
            caller!(three, general_three, $(#[$feature])?, $abi, $register, $load, $store, $integers, (a b c));
            caller!(four, general_four, $(#[$feature])?, $abi, $register, $load, $store, $integers, (a b c d));
            caller!(
                eight, general_eight, $(#[$feature])?, $abi, $register, $load, $store, $integers,
                (a b c d e f g h)
            );

            /// Returns the function that passes at least that number of vector registers, without integers if the
            /// variant has a result and takes none.
            pub(super) fn caller(vectors: usize, is_plain: bool) -> Option<Caller> {
                let (plain, general): (Caller, Caller) = match vectors {
                    0 | 1 => (one, general_one),
                    2 => (two, general_two),
                    3 => (three, general_three),
                    4 => (four, general_four),
                    5..=VECTORS => (eight, general_eight),
                    _ => return None,
                };
                Some(if is_plain { plain } else { general })
            }
        }
    };
}

#[cfg(abi_system_v)]
mod x86_64 {
    use std::arch::x86_64::{
        __m128i, __m256i, __m512i, _mm_loadu_si128, _mm_storeu_si128, _mm256_loadu_si256,
        _mm256_storeu_si256, _mm512_loadu_si512, _mm512_storeu_si512,
    };

    use super::{Blocks, Caller, VECTORS, mem};

    callers!(
        of_128_bits, , "sysv64", __m128i, _mm_loadu_si128, _mm_storeu_si128, (i j k l m n)
    );
    callers!(
        of_256_bits, #[target_feature(enable = "avx")], "sysv64", __m256i, _mm256_loadu_si256,
        _mm256_storeu_si256, (i j k l m n)
    );
    callers!(
        of_512_bits, #[target_feature(enable = "avx512f")], "sysv64", __m512i, _mm512_loadu_si512,
        _mm512_storeu_si512, (i j k l m n)
    );

    pub(in crate::call::vector) fn caller(
        width: usize,
        vectors: usize,
        is_plain: bool,
    ) -> Option<Caller> {
        match width {
            16 => of_128_bits::caller(vectors, is_plain),
            32 => of_256_bits::caller(vectors, is_plain),
            64 => of_512_bits::caller(vectors, is_plain),
            _ => None,
        }
    }
}
#[cfg(abi_system_v)]
pub(super) use x86_64::caller;

#[cfg(abi_aapcs64)]
mod aarch64 {
    use std::arch::aarch64::{uint8x16_t, vld1q_u8, vst1q_u8};

    use super::{Blocks, Caller, VECTORS, mem};

    callers!(of_128_bits, , "C", uint8x16_t, vld1q_u8, vst1q_u8, (i j k l m n o p));

    pub(in crate::call::vector) fn caller(
        width: usize,
        vectors: usize,
        is_plain: bool,
    ) -> Option<Caller> {
        (width == 16)
            .then(|| of_128_bits::caller(vectors, is_plain))
            .flatten()
    }
}
#[cfg(abi_aapcs64)]
pub(super) use aarch64::caller;

/// Returns nothing: no variants are called on this system.
#[cfg(not(any(abi_system_v, abi_aapcs64)))]
pub(super) fn caller(_: usize, _: usize, _: bool) -> Option<Caller> {
    None
}
