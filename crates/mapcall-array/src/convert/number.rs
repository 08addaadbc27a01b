//! The casts of numbers, as NumPy makes them, over contiguous memory in native byte order.

#![allow(unsafe_code)]

use half::f16;
use half::slice::HalfFloatSliceExt;
use num_traits::AsPrimitive;

use crate::dtype::ScalarType;

/// The cast of contiguous numbers of one type to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kernel(unsafe fn(*const u8, *mut u8, usize));

/// A number that can be cast to another type.
trait CastTo<T>: Copy {
    fn cast_to(self) -> T;
}

/// A bool, which may have any byte.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Bool(u8);

macro_rules! casts {
    ($from:ty => $($to:ty)*) => {
        $(impl CastTo<$to> for $from {
            #[inline]
            fn cast_to(self) -> $to {
                self.as_()
            }
        })*
    };
}

macro_rules! kinds {
    ($($from:ty)*) => {
        $(casts! { $from => i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 })*
    };
}

kinds! { i8 i16 i32 i64 u8 u16 u32 u64 }
casts! { f32 => f64 }
casts! { f64 => f32 }

impl<T: Copy + 'static> CastTo<T> for Bool
where
    u8: AsPrimitive<T>,
{
    #[inline]
    fn cast_to(self) -> T {
        u8::from(self.0 != 0).as_()
    }
}

impl Kernel {
    /// Returns the kernel of a cast between real numbers; `None` if NumPy's rule `same_kind` forbids it.
    pub(super) fn new(from: ScalarType, to: ScalarType) -> Option<Self> {
        use ScalarType as S;
        macro_rules! to {
            ($from:ty; $($scalar:ident $to:ty),* ; half $half:expr) => {
                match to {
                    $(S::$scalar => contiguous::<$from, $to> as unsafe fn(*const u8, *mut u8, usize),)*
                    S::Float16 => $half,
                    _ => return None,
                }
            };
        }
        macro_rules! unsigned {
            ($from:ty) => {
                to!(
                    $from; UInt8 u8, UInt16 u16, UInt32 u32, UInt64 u64, Int8 i8, Int16 i16, Int32 i32,
                    Int64 i64, Float32 f32, Float64 f64; half to_half::<$from>
                )
            };
        }
        macro_rules! signed {
            ($from:ty) => {
                to!(
                    $from; Int8 i8, Int16 i16, Int32 i32, Int64 i64, Float32 f32, Float64 f64;
                    half to_half::<$from>
                )
            };
        }
        Some(Self(match from {
            S::Bool => unsigned!(Bool),
            S::UInt8 => unsigned!(u8),
            S::UInt16 => unsigned!(u16),
            S::UInt32 => unsigned!(u32),
            S::UInt64 => unsigned!(u64),
            S::Int8 => signed!(i8),
            S::Int16 => signed!(i16),
            S::Int32 => signed!(i32),
            S::Int64 => signed!(i64),
            S::Float32 => match to {
                S::Float32 => contiguous::<f32, f32>,
                S::Float64 => contiguous::<f32, f64>,
                S::Float16 => to_half::<f32>,
                _ => return None,
            },
            S::Float64 => match to {
                S::Float64 => contiguous::<f64, f64>,
                S::Float32 => contiguous::<f64, f32>,
                S::Float16 => blocks::<f64, f16>,
                _ => return None,
            },
            S::Float16 => match to {
                S::Float32 => blocks::<f16, f32>,
                S::Float64 => blocks::<f16, f64>,
                _ => return None,
            },
            _ => return None,
        }))
    }

    /// Casts `count` numbers.
    ///
    /// # Safety
    ///
    /// `from` is valid for reads of `count` numbers, `to` for writes of as many, and they share no byte. They need
    /// no alignment.
    pub(super) unsafe fn run(self, from: *const u8, to: *mut u8, count: usize) {
        // SAFETY: the caller guarantees the conditions, which are those of all kernels.
        unsafe { (self.0)(from, to, count) };
    }
}

casts! { f32 => f32 }
casts! { f64 => f64 }

/// Casts numbers one by one, in a loop that compilers vectorize.
///
/// # Safety
///
/// Those of [`Kernel::run`].
unsafe fn contiguous<S: CastTo<T>, T>(from: *const u8, to: *mut u8, count: usize) {
    let (from, to) = (from.cast::<S>(), to.cast::<T>());
    for item in 0..count {
        // SAFETY: the caller guarantees that `from` has `count` numbers.
        let number = unsafe { from.wrapping_add(item).read_unaligned() };
        // SAFETY: the caller guarantees that `to` has room for `count` numbers.
        unsafe { to.wrapping_add(item).write_unaligned(number.cast_to()) };
    }
}

/// The number of halves that are converted at once.
const HALVES: usize = 64;

/// Converts slices of one length, by the processor's instructions for float16 if it has them.
trait Convert<T>: Copy + Default {
    fn convert(from: &[Self], to: &mut [T]);
}

impl Convert<f32> for f16 {
    fn convert(from: &[Self], to: &mut [f32]) {
        from.convert_to_f32_slice(to);
    }
}

impl Convert<f64> for f16 {
    fn convert(from: &[Self], to: &mut [f64]) {
        from.convert_to_f64_slice(to);
    }
}

impl Convert<f16> for f32 {
    fn convert(from: &[Self], to: &mut [f16]) {
        to.convert_from_f32_slice(from);
    }
}

impl Convert<f16> for f64 {
    fn convert(from: &[Self], to: &mut [f16]) {
        let mut singles = [0.0; HALVES];
        for (from, single) in from.iter().zip(&mut singles) {
            *single = to_odd(*from);
        }
        to.convert_from_f32_slice(&singles);
    }
}

/// Converts to float32 by rounding to odd, after which rounding to float16 gives the nearest to the float64
/// (Boldo and Melquiond, "When double rounding is odd", 2005). `half` would drop the low half of its bits.
fn to_odd(number: f64) -> f32 {
    let single: f32 = number.as_();
    let back = f64::from(single);
    if back.to_bits() == number.to_bits() || number.is_nan() {
        return single;
    }
    let towards_zero = u32::from(back.abs() > number.abs());
    f32::from_bits((single.to_bits() - towards_zero) | 1)
}

/// Casts numbers to or from float16.
///
/// # Safety
///
/// Those of [`Kernel::run`].
unsafe fn blocks<S: Convert<T>, T: Copy + Default>(from: *const u8, to: *mut u8, count: usize) {
    let (from, to) = (from.cast::<S>(), to.cast::<T>());
    let mut start = 0;
    while start < count {
        let length = HALVES.min(count - start);
        let (mut source, mut target) = ([S::default(); HALVES], [T::default(); HALVES]);
        let numbers = from.wrapping_add(start).cast::<u8>();
        let bytes = length * size_of::<S>();
        // SAFETY: the caller guarantees that `from` has `length` more numbers, for which `source` has room.
        unsafe { numbers.copy_to_nonoverlapping(source.as_mut_ptr().cast(), bytes) };
        S::convert(&source, &mut target);
        let numbers = to.wrapping_add(start).cast::<u8>();
        let bytes = length * size_of::<T>();
        // SAFETY: the caller guarantees that `to` has room for `length` more numbers, which `target` has.
        unsafe { numbers.copy_from_nonoverlapping(target.as_ptr().cast(), bytes) };
        start += length;
    }
}

/// Casts numbers to float16 by way of float32, as NumPy does for integers.
///
/// # Safety
///
/// Those of [`Kernel::run`].
unsafe fn to_half<S: CastTo<f32>>(from: *const u8, to: *mut u8, count: usize) {
    let mut start = 0;
    while start < count {
        let length = HALVES.min(count - start);
        let mut singles = [0.0_f32; HALVES];
        let numbers = from.wrapping_add(start.wrapping_mul(size_of::<S>()));
        let block = singles.as_mut_ptr().cast::<u8>();
        // SAFETY: the caller guarantees that `from` has `length` more numbers, for which `singles` has room.
        unsafe { contiguous::<S, f32>(numbers, block, length) };
        let halves = to.wrapping_add(start.wrapping_mul(size_of::<f16>()));
        // SAFETY: `singles` has `length` numbers, and the caller guarantees that `to` has room for as many.
        unsafe { blocks::<f32, f16>(block.cast_const(), halves, length) };
        start += length;
    }
}
