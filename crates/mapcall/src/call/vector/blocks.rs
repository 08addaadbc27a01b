//! Calls of a vector variant for consecutive blocks of lanes: one function for each width of the registers and
//! number of vector registers that are passed.
//!
//! A vector function takes integers and vectors in separate sequences of registers (System V x86-64 psABI 3.2.3;
//! AAPCS64 6.8.2). The variants of the vector function ABIs are called like functions with vectors as parameters.
//! (Those of `AArch64` save more registers, `vfabia64` 2.1, which callers need not know.) So a variant is called
//! as a function that takes all registers for integers and the first few for vectors: it ignores those that it
//! does not use.

use std::ffi::c_void;
use std::mem;
use std::ptr;

use smallvec::SmallVec;

/// The number of vector registers for parameters.
pub(super) const VECTORS: usize = 8;

/// The number of integer registers for parameters.
pub(super) const INTEGERS: usize = if cfg!(target_arch = "aarch64") { 8 } else { 6 };

/// The size of the widest register, in bytes.
const WIDEST: usize = 64;

/// Memory for the lanes of a block, whose registers lie one behind the other.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Buffer([u8; VECTORS * WIDEST]);

impl Buffer {
    pub(super) fn new() -> Self {
        Self([0; VECTORS * WIDEST])
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    /// Sets the first lanes from an offset on to one value.
    pub(super) fn fill(&mut self, offset: usize, value: &[u8], lanes: usize) {
        let bytes = self.0.iter_mut().skip(offset).take(lanes * value.len());
        for (byte, value) in bytes.zip(value.iter().cycle()) {
            *byte = *value;
        }
    }
}

/// The address of a register's bytes for the next block, and the distance to those of the block behind it.
#[derive(Clone, Copy)]
pub(super) struct Register {
    pub(super) address: *mut u8,
    pub(super) step: isize,
}

/// Values in memory at regular distances, which are copied to or from the lanes of a buffer.
#[derive(Clone, Copy)]
pub(super) struct Lanes {
    /// The address of the value of the first lane of the next block.
    pub(super) address: *mut u8,
    /// The distance between two lanes, in bytes.
    pub(super) stride: isize,
    /// The size of a value: 1, 2, 4 or 8 bytes. If it is 0, the lanes are the addresses themselves.
    pub(super) size: usize,
    /// The number of lanes.
    pub(super) count: usize,
    /// The number of lanes in use: the others are copies of the first one.
    pub(super) used: usize,
    /// The address of the first lane in the buffer.
    pub(super) buffer: *mut u8,
}

/// Consecutive calls of a variant.
pub(super) struct Blocks {
    pub(super) function: *const c_void,
    /// The values of the integer registers, and what is added to each after a call.
    pub(super) integers: [(u64, u64); INTEGERS],
    pub(super) vectors: [Register; VECTORS],
    /// Where the result is stored; `None` if the variant returns nothing.
    pub(super) result: Option<Register>,
    /// The values that are copied to buffers before each call.
    pub(super) gathered: SmallVec<[Lanes; 4]>,
    /// The values that are copied from the result's buffer after each call.
    pub(super) scattered: Option<Lanes>,
}

/// A function that makes calls of consecutive blocks.
type Caller = unsafe fn(&mut Blocks, usize);

impl Blocks {
    /// Calls the variant for `count` blocks.
    ///
    /// # Safety
    ///
    /// - The variant takes registers of `width` bytes, the first `vectors` of them at most, and is sound to call
    ///   with the values of each block. This processor has such registers.
    /// - In each block, the address of each of these registers is valid for reads of `width` bytes, and the
    ///   result's for writes; the values of all lanes are valid for reads, or writes if they are scattered.
    pub(super) unsafe fn run(&mut self, width: usize, vectors: usize, count: usize) {
        let Some(caller) = caller(width, vectors) else {
            return;
        };
        // SAFETY: the caller guarantees that the processor has registers of this width, and that the function
        // and the memory of all blocks are valid.
        unsafe { caller(self, count) };
    }

    /// Copies the values of the next block to the buffers.
    ///
    /// # Safety
    ///
    /// The addresses of all lanes are valid for reads of their values.
    unsafe fn gather(&mut self) {
        for lanes in &mut self.gathered {
            // SAFETY: the caller guarantees that the values can be read, and the buffer has all lanes.
            unsafe { lanes.gather() };
            lanes.advance();
        }
    }

    /// Copies the values of the block from the result's buffer.
    ///
    /// # Safety
    ///
    /// The addresses of all lanes are valid for writes of their values.
    unsafe fn scatter(&mut self) {
        if let Some(lanes) = &mut self.scattered {
            // SAFETY: the caller guarantees that the values can be written, and the buffer has all lanes.
            unsafe { lanes.scatter() };
            lanes.advance();
        }
    }
}

impl Blocks {
    /// Sets the value of an integer register, and what is added to it after each call.
    pub(super) fn set_integer(&mut self, integer: usize, value: u64, step: u64) {
        if let Some(register) = self.integers.get_mut(integer) {
            *register = (value, step);
        }
    }

    /// Sets the registers from one on to be read from contiguous values, `bytes` in each block.
    pub(super) fn read_directly(
        &mut self,
        register: usize,
        address: *mut u8,
        bytes: usize,
        width: usize,
    ) {
        let registers = self.vectors.iter_mut().skip(register);
        for (part, register) in registers.take(bytes / width).enumerate() {
            register.address = address.wrapping_add(part * width);
            register.step = bytes.cast_signed();
        }
    }
}

impl Lanes {
    fn advance(&mut self) {
        let moved = self.stride.wrapping_mul(self.count.cast_signed());
        self.address = self.address.wrapping_offset(moved);
    }

    /// Returns the address of a lane's value in memory.
    fn lane(&self, lane: usize) -> *mut u8 {
        let moved = self.stride.wrapping_mul(lane.cast_signed());
        self.address.wrapping_offset(moved)
    }

    /// Copies the values to the buffer.
    ///
    /// # Safety
    ///
    /// The addresses of the lanes are valid for reads of their values, and the buffer for writes of all.
    pub(super) unsafe fn gather(&self) {
        for lane in 0..self.count {
            let from = self.lane(if lane < self.used { lane } else { 0 });
            if self.size == 0 {
                let address = from.expose_provenance() as u64;
                let to = self.buffer.wrapping_add(lane * size_of::<u64>());
                // SAFETY: the caller guarantees that the buffer has all lanes, each of 8 bytes.
                unsafe { to.cast::<u64>().write_unaligned(address) };
            } else {
                let to = self.buffer.wrapping_add(lane * self.size);
                // SAFETY: the caller guarantees that the lane can be read, and that the buffer has all lanes.
                unsafe { copy(from, to, self.size) };
            }
        }
    }

    /// Copies the values from the buffer.
    ///
    /// # Safety
    ///
    /// The addresses of the lanes are valid for writes of their values, and the buffer for reads of all.
    unsafe fn scatter(&self) {
        for lane in 0..self.used {
            let from = self.buffer.wrapping_add(lane * self.size);
            // SAFETY: the caller guarantees that the lane can be written, and that the buffer has all lanes.
            unsafe { copy(from, self.lane(lane), self.size) };
        }
    }
}

/// Copies a value of 1, 2, 4 or 8 bytes.
///
/// # Safety
///
/// `from` is valid for reads of `size` bytes, and `to` for writes. They don't overlap.
#[inline]
unsafe fn copy(from: *const u8, to: *mut u8, size: usize) {
    match size {
        // SAFETY: the caller guarantees that 8 bytes can be read and written.
        8 => unsafe { ptr::copy_nonoverlapping(from, to, 8) },
        // SAFETY: the caller guarantees that 4 bytes can be read and written.
        4 => unsafe { ptr::copy_nonoverlapping(from, to, 4) },
        // SAFETY: the caller guarantees that `size` bytes can be read and written.
        _ => unsafe { ptr::copy_nonoverlapping(from, to, size) },
    }
}

/// Replaces a token by a type.
macro_rules! of {
    ($token:tt, $type:ty) => {
        $type
    };
}

/// Defines a function that calls a variant for consecutive blocks, with the integer registers and vector registers
/// of these numbers.
#[cfg_attr(
    not(any(abi_system_v, abi_aapcs64)),
    expect(unused_macros, reason = "there are no variants")
)]
macro_rules! caller {
    (
        $name:ident, $(#[$feature:meta])?, $abi:literal, $register:ty, $load:path, $store:path,
        ($($integer:ident)*), ($($vector:ident)*)
    ) => {
        /// Calls a variant for `count` blocks.
        ///
        /// # Safety
        ///
        /// The conditions of [`Blocks::run`], for a variant with these registers.
        $(#[$feature])?
        #[expect(improper_ctypes_definitions, reason = "the ABI passes vectors in registers that the target has here")]
        unsafe fn $name(blocks: &mut Blocks, count: usize) {
            type Returning =
                unsafe extern $abi fn($(of!($integer, u64),)* $(of!($vector, $register)),*) -> $register;
            type Void = unsafe extern $abi fn($(of!($integer, u64),)* $(of!($vector, $register)),*);
            const VECTORS: usize = [$(stringify!($vector)),*].len();

            // In local variables, which the compiler keeps in registers.
            let function = blocks.function;
            let mut vectors = [Register { address: ptr::null_mut(), step: 0 }; VECTORS];
            for (vector, register) in vectors.iter_mut().zip(&blocks.vectors) {
                *vector = *register;
            }
            let steps = blocks.integers.map(|(_, step)| step);
            let has_steps = steps.iter().any(|step| *step != 0);
            let has_lanes = !blocks.gathered.is_empty();
            let mut integers = blocks.integers.map(|(value, _)| value);
            let mut result = blocks.result;
            for _ in 0..count {
                if has_lanes {
                    // SAFETY: the caller guarantees that the values of all lanes can be read.
                    unsafe { blocks.gather() };
                }
                let mut registers = vectors.iter();
                $(
                    let address = registers.next().map_or(ptr::null(), |register| register.address.cast_const());
                    // SAFETY: the caller guarantees that the register's bytes can be read.
                    let $vector = unsafe { $load(address.cast()) };
                )*
                let [$($integer),*] = integers;
                if let Some(result) = &mut result {
                    // SAFETY: the caller guarantees that the variant returns a register.
                    let function: Returning = unsafe { mem::transmute(function) };
                    // SAFETY: the caller guarantees that the variant may be called with these values.
                    let value = unsafe { function($($integer,)* $($vector),*) };
                    // SAFETY: the caller guarantees that the result's bytes can be written.
                    unsafe { $store(result.address.cast(), value) };
                    result.address = result.address.wrapping_offset(result.step);
                    if blocks.scattered.is_some() {
                        // SAFETY: the caller guarantees that the results of all lanes can be written.
                        unsafe { blocks.scatter() };
                    }
                } else {
                    // SAFETY: the caller guarantees that the variant returns nothing.
                    let function: Void = unsafe { mem::transmute(function) };
                    // SAFETY: the caller guarantees that the variant may be called with these values.
                    unsafe { function($($integer,)* $($vector),*) };
                }
                for vector in &mut vectors {
                    vector.address = vector.address.wrapping_offset(vector.step);
                }
                if has_steps {
                    for (value, step) in integers.iter_mut().zip(&steps) {
                        *value = value.wrapping_add(*step);
                    }
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
            use super::{Blocks, Caller, Register, VECTORS, mem, ptr, $register, $load, $store};

            caller!(one, $(#[$feature])?, $abi, $register, $load, $store, $integers, (a));
            caller!(two, $(#[$feature])?, $abi, $register, $load, $store, $integers, (a b));
            caller!(three, $(#[$feature])?, $abi, $register, $load, $store, $integers, (a b c));
            caller!(four, $(#[$feature])?, $abi, $register, $load, $store, $integers, (a b c d));
            caller!(eight, $(#[$feature])?, $abi, $register, $load, $store, $integers, (a b c d e f g h));

            /// Returns the function that passes at least that number of vector registers.
            pub(super) fn caller(vectors: usize) -> Option<Caller> {
                Some(match vectors {
                    0 | 1 => one,
                    2 => two,
                    3 => three,
                    4 => four,
                    5..=VECTORS => eight,
                    _ => return None,
                })
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

    use super::{Blocks, Caller, Register, VECTORS, mem, ptr};

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

    pub(super) fn caller(width: usize, vectors: usize) -> Option<Caller> {
        match width {
            16 => of_128_bits::caller(vectors),
            32 => of_256_bits::caller(vectors),
            64 => of_512_bits::caller(vectors),
            _ => None,
        }
    }
}
#[cfg(abi_system_v)]
use x86_64::caller;

#[cfg(abi_aapcs64)]
mod aarch64 {
    use std::arch::aarch64::{uint8x16_t, vld1q_u8, vst1q_u8};

    use super::{Blocks, Caller, Register, VECTORS, mem, ptr};

    callers!(of_128_bits, , "C", uint8x16_t, vld1q_u8, vst1q_u8, (i j k l m n o p));

    pub(super) fn caller(width: usize, vectors: usize) -> Option<Caller> {
        (width == 16)
            .then(|| of_128_bits::caller(vectors))
            .flatten()
    }
}
#[cfg(abi_aapcs64)]
use aarch64::caller;

/// Returns nothing: no variants are called on this system.
#[cfg(not(any(abi_system_v, abi_aapcs64)))]
fn caller(_: usize, _: usize) -> Option<Caller> {
    None
}
