//! Numbers that a caller gives.

use std::fmt;

use half::f16;
use num_complex::Complex;

/// A number that a caller gives for a parameter.
///
/// ```
/// use mapcall::contract::Scalar;
///
/// assert_eq!(Scalar::from(3_u8), Scalar::Int(3));
/// assert_eq!(Scalar::from(0.5_f32), Scalar::Float(0.5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i128),
    /// A real number.
    Float(f64),
    /// A complex number.
    Complex(Complex<f64>),
}

macro_rules! scalars {
    ($($variant:ident: $($type:ty),+;)+) => {$($(
        impl From<$type> for Scalar {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )+)+};
}

scalars! {
    Bool: bool;
    Int: i8, i16, i32, i64, u8, u16, u32, u64;
    Float: f16, f32, f64;
    Complex: Complex<f64>;
}

impl From<usize> for Scalar {
    fn from(value: usize) -> Self {
        // Lossless on all targets, which have pointers of at most 64 bits.
        Self::Int(i128::try_from(value).unwrap_or(i128::MAX))
    }
}

impl From<isize> for Scalar {
    fn from(value: isize) -> Self {
        Self::Int(i128::try_from(value).unwrap_or(i128::MAX))
    }
}

impl From<Complex<f32>> for Scalar {
    fn from(value: Complex<f32>) -> Self {
        Self::Complex(Complex::new(value.re.into(), value.im.into()))
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            // As in Python and C: 2.0, not 2.
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Complex(value) => value.fmt(f),
        }
    }
}
