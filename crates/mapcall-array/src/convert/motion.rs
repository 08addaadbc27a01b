//! Copies of numbers between strided memory, with their bytes in order or reversed.

#![allow(unsafe_code)]

use std::ptr;

/// A copy of numbers of one size, whose bytes may be reversed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Motion {
    size: Size,
    reverses: bool,
}

/// The size of a number.
#[derive(Clone, Copy, Debug)]
enum Size {
    One,
    Two,
    Four,
    Eight,
    /// Only `long double`.
    Sixteen,
}

/// An unsigned integer that stands for the bytes of a number.
trait Bytes: Copy {
    fn reversed(self) -> Self;
}

macro_rules! bytes {
    ($($type:ty)*) => {
        $(impl Bytes for $type {
            #[inline]
            fn reversed(self) -> Self {
                self.swap_bytes()
            }
        })*
    };
}

bytes!(u8 u16 u32 u64 u128);

/// A loop over numbers: their count, and the addresses of the first ones with the strides in bytes.
type Loop = unsafe fn(usize, (*const u8, isize), (*mut u8, isize));

impl Motion {
    /// Makes a motion of numbers of `size` bytes; `None` for a size that no number has.
    pub(super) fn new(size: usize, reverses: bool) -> Option<Self> {
        let size = match size {
            1 => Size::One,
            2 => Size::Two,
            4 => Size::Four,
            8 => Size::Eight,
            16 => Size::Sixteen,
            _ => return None,
        };
        Some(Self { size, reverses })
    }

    /// Returns the size of a number in bytes.
    pub(super) fn size(self) -> usize {
        match self.size {
            Size::One => 1,
            Size::Two => 2,
            Size::Four => 4,
            Size::Eight => 8,
            Size::Sixteen => 16,
        }
    }

    /// Returns whether bytes are reversed.
    pub(super) fn reverses(self) -> bool {
        self.reverses && !matches!(self.size, Size::One)
    }

    /// Copies `count` numbers; `from` and `to` have the address of the first one and the stride in bytes.
    ///
    /// # Safety
    ///
    /// The numbers of `from` are valid for reads, those of `to` for writes, and they share no byte. They need no
    /// alignment.
    #[inline]
    pub(super) unsafe fn run(self, count: usize, from: (*const u8, isize), to: (*mut u8, isize)) {
        let reverse: Loop = match self.size {
            _ if !self.reverses() => {
                // SAFETY: the caller guarantees that the numbers are valid and share no byte.
                return unsafe { copy(self.size(), count, from, to) };
            }
            Size::One => each::<u8, true>,
            Size::Two => each::<u16, true>,
            Size::Four => each::<u32, true>,
            Size::Eight => each::<u64, true>,
            Size::Sixteen => each::<u128, true>,
        };
        // SAFETY: the caller guarantees that the numbers, which have the size of the loop's, are valid and share no
        // byte.
        unsafe { reverse(count, from, to) };
    }
}

/// Copies `count` items of `size` bytes; `from` and `to` have the address of the first one and the stride in bytes.
///
/// # Safety
///
/// The items of `from` are valid for reads, those of `to` for writes, and they share no byte.
pub(super) unsafe fn copy(
    size: usize,
    count: usize,
    from: (*const u8, isize),
    to: (*mut u8, isize),
) {
    if from.1.cast_unsigned() == size && to.1.cast_unsigned() == size {
        // SAFETY: the items follow each other, and the caller guarantees that they are valid and share no byte.
        return unsafe { ptr::copy_nonoverlapping(from.0, to.0, size.wrapping_mul(count)) };
    }
    let copy: Loop = match size {
        1 => each::<u8, false>,
        2 => each::<u16, false>,
        4 => each::<u32, false>,
        8 => each::<u64, false>,
        16 => each::<u128, false>,
        _ => {
            // SAFETY: the caller guarantees that the items are valid and share no byte.
            return unsafe { copy_each(size, count, from, to) };
        }
    };
    // SAFETY: the caller guarantees that the items, which have the size of the loop's, are valid and share no byte.
    unsafe { copy(count, from, to) };
}

/// Copies items of any size one by one.
///
/// # Safety
///
/// The items of `from` are valid for reads, those of `to` for writes, and they share no byte.
unsafe fn copy_each(size: usize, count: usize, from: (*const u8, isize), to: (*mut u8, isize)) {
    for item in 0..count.cast_signed() {
        let source = from.0.wrapping_offset(from.1.wrapping_mul(item));
        let target = to.0.wrapping_offset(to.1.wrapping_mul(item));
        // SAFETY: the caller guarantees that the items are valid and share no byte.
        unsafe { ptr::copy_nonoverlapping(source, target, size) };
    }
}

/// Copies numbers, and reverses their bytes if `REVERSES`. The loops differ in the strides that the compiler knows.
///
/// # Safety
///
/// The numbers of `from` are valid for reads, those of `to` for writes, and they share no byte.
unsafe fn each<T: Bytes, const REVERSES: bool>(
    count: usize,
    from: (*const u8, isize),
    to: (*mut u8, isize),
) {
    let size = size_of::<T>().cast_signed();
    match (from.1 == size, to.1 == size) {
        #[cfg(target_arch = "x86_64")]
        (true, true) if REVERSES && is_x86_feature_detected!("avx2") => {
            // SAFETY: the processor has AVX2, and the caller guarantees that the numbers are valid and share no byte.
            unsafe { reverse_by_avx2::<T>(count, from.0, to.0) };
        }
        (true, true) => {
            // SAFETY: the caller guarantees that the numbers are valid and share no byte.
            unsafe { strided::<T, REVERSES>(count, (from.0, size), (to.0, size)) };
        }
        (false, true) => {
            // SAFETY: the caller guarantees that the numbers are valid and share no byte.
            unsafe { strided::<T, REVERSES>(count, from, (to.0, size)) };
        }
        (true, false) => {
            // SAFETY: the caller guarantees that the numbers are valid and share no byte.
            unsafe { strided::<T, REVERSES>(count, (from.0, size), to) };
        }
        (false, false) => {
            // SAFETY: the caller guarantees that the numbers are valid and share no byte.
            unsafe { strided::<T, REVERSES>(count, from, to) };
        }
    }
}

/// Reverses the bytes of contiguous numbers by AVX2, which shuffles 32 bytes in one instruction; SSE2, which every
/// processor has, needs several for 16.
///
/// # Safety
///
/// The processor has AVX2. The numbers of `from` are valid for reads, those of `to` for writes, and they share no byte.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn reverse_by_avx2<T: Bytes>(count: usize, from: *const u8, to: *mut u8) {
    let size = size_of::<T>().cast_signed();
    // SAFETY: the caller guarantees that the numbers are valid and share no byte.
    unsafe { strided::<T, true>(count, (from, size), (to, size)) };
}

/// Copies numbers, and reverses their bytes if `REVERSES`.
///
/// # Safety
///
/// The numbers of `from` are valid for reads, those of `to` for writes, and they share no byte.
#[expect(
    clippy::inline_always,
    reason = "the loop is compiled anew for strides that are known"
)]
#[inline(always)]
unsafe fn strided<T: Bytes, const REVERSES: bool>(
    count: usize,
    (from, from_stride): (*const u8, isize),
    (to, to_stride): (*mut u8, isize),
) {
    for item in 0..count.cast_signed() {
        let from = from.wrapping_offset(from_stride.wrapping_mul(item));
        // SAFETY: the caller guarantees that the number is valid for reads.
        let number = unsafe { from.cast::<T>().read_unaligned() };
        let number = if REVERSES { number.reversed() } else { number };
        let to = to.wrapping_offset(to_stride.wrapping_mul(item));
        // SAFETY: the caller guarantees that the address is valid for writes of a number.
        unsafe { to.cast::<T>().write_unaligned(number) };
    }
}
