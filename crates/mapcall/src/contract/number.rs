//! The conversion of numbers to C's arithmetic types and back. A number that the type does not have
//! is refused.

use std::fmt;

use half::f16;
use num_complex::Complex;
use rustc_apfloat::ieee::{Double, Half, Quad, X87DoubleExtended};
use rustc_apfloat::{Float as _, FloatConvert as _, Status};

use super::error::Problem;
use super::scalar::Scalar;
use crate::ctype::{CType, Float, Integer};

/// An arithmetic type of a parameter or result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// `_Bool`
    Bool,
    /// An integer or an enumeration.
    Integer(Integer),
    /// A real floating type.
    Float(Float),
    /// A complex type.
    Complex(Float),
}

impl Number {
    /// Returns the arithmetic type of a C type; `None` if it is no arithmetic type.
    #[must_use]
    pub fn of(ctype: &CType) -> Option<Self> {
        Some(match ctype.resolved() {
            CType::Bool => Self::Bool,
            CType::Integer(integer) => Self::Integer(*integer),
            CType::Enum(enumeration) => Self::Integer(enumeration.underlying),
            CType::Float(float) => Self::Float(*float),
            CType::Complex(float) => Self::Complex(*float),
            _ => return None,
        })
    }

    /// Returns whether it is `long double` or `long double _Complex`, whose values no type of Rust can
    /// hold.
    #[must_use]
    #[inline]
    pub fn is_extended(self) -> bool {
        matches!(
            self,
            Self::Float(Float::LongDouble) | Self::Complex(Float::LongDouble)
        )
    }

    /// Returns the number of slots that a value takes.
    #[inline]
    pub(super) fn count(self) -> usize {
        match self {
            Self::Complex(Float::LongDouble) => 4,
            Self::Complex(Float::Double) | Self::Float(Float::LongDouble) => 2,
            _ => 1,
        }
    }

    /// Returns the slots of a value, for a frame.
    ///
    /// ```
    /// use mapcall::contract::Number;
    /// use mapcall::ctype::{Float, Integer};
    ///
    /// assert_eq!(Number::Integer(Integer::Short).slots((-1).into())?[0], u64::MAX);
    /// assert!(Number::Integer(Integer::Short).slots(32768.into()).is_err(), "no silent wrap");
    /// assert!(Number::Integer(Integer::Int).slots(2.0.into()).is_err(), "no float to int");
    /// assert_eq!(Number::Float(Float::Float).slots(0.5.into())?[0], u64::from(0.5_f32.to_bits()));
    /// # Ok::<(), mapcall::contract::Problem>(())
    /// ```
    ///
    /// An integer is converted to a floating type only if the type has its value. A floating number is
    /// rounded to the nearest value of a smaller type, as in C; one that would become infinite is
    /// refused.
    ///
    /// # Errors
    ///
    /// [`Problem::Range`] if the type does not have the value; [`Problem::Kind`] for a number of
    /// another kind, such as a floating number for an integer type.
    #[inline]
    pub fn slots(self, value: Scalar) -> Result<[u64; 4], Problem> {
        let one = |slot| [slot, 0, 0, 0];
        Ok(match self {
            Self::Bool => match value {
                Scalar::Bool(value) => one(value.into()),
                Scalar::Int(value @ (0 | 1)) => one(u64::from(value == 1)),
                Scalar::Int(_) => return Err(Problem::Range { value }),
                _ => return Err(Problem::Kind { value }),
            },
            Self::Integer(integer) => match value {
                Scalar::Bool(value) => one(value.into()),
                Scalar::Int(whole) => {
                    one(integer_slot(integer, whole).ok_or(Problem::Range { value })?)
                }
                _ => return Err(Problem::Kind { value }),
            },
            Self::Float(float) => {
                let [low, high] = real(float, value)?;
                [low, high, 0, 0]
            }
            Self::Complex(float) => {
                let (re, im) = match value {
                    Scalar::Complex(value) => (Scalar::Float(value.re), Scalar::Float(value.im)),
                    real => (real, Scalar::Float(0.0)),
                };
                let out_of_range = |_| Problem::Range { value };
                let ([a, b], [c, d]) = (
                    real(float, re).map_err(out_of_range)?,
                    real(float, im).map_err(out_of_range)?,
                );
                match float {
                    Float::LongDouble => [a, b, c, d],
                    Float::Double => [a, c, 0, 0],
                    Float::Float => one(a | c << 32),
                    Float::Float16 => one(a | c << 16),
                }
            }
        })
    }

    /// Returns the slot of a floating number of the most usual types; `None` for numbers and types that
    /// need [`slots`](Self::slots).
    #[must_use]
    #[inline]
    pub fn slot_of_real(self, value: f64) -> Option<u64> {
        match self {
            Self::Float(Float::Double) => Some(value.to_bits()),
            Self::Float(Float::Float) => {
                #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest")]
                let nearest = value as f32;
                if nearest.is_finite() {
                    Some(nearest.to_bits().into())
                } else {
                    not_finite(value, nearest)
                }
            }
            _ => None,
        }
    }

    /// Returns the slot of an integer; `None` for integers and types that need [`slots`](Self::slots).
    /// Every floating type has all values of 16-bit integers.
    #[must_use]
    #[inline]
    pub fn slot_of_integer(self, value: i64) -> Option<u64> {
        match self {
            Self::Integer(integer) => {
                let unused = 64 - integer.bits();
                let slot = value.cast_unsigned();
                let back = if integer.is_signed() {
                    slot.cast_signed() << unused >> unused
                } else {
                    (slot << unused >> unused).cast_signed()
                };
                (back == value && (integer.is_signed() || value >= 0)).then_some(slot)
            }
            Self::Float(_) => self.slot_of_real(f64::from(i16::try_from(value).ok()?)),
            _ => None,
        }
    }

    /// Returns the value of the slots of a result.
    #[must_use]
    #[inline]
    pub fn value(self, slots: &[u64]) -> Scalar {
        let slot = |index: usize| slots.get(index).copied().unwrap_or_default();
        match self {
            Self::Bool => Scalar::Bool(slot(0) & 0xff != 0),
            Self::Integer(integer) => Scalar::Int(integer_value(integer, slot(0))),
            Self::Float(float) => Scalar::Float(real_value(float, [slot(0), slot(1)])),
            Self::Complex(float) => {
                let parts = match float {
                    Float::LongDouble => [[slot(0), slot(1)], [slot(2), slot(3)]],
                    Float::Double => [[slot(0), 0], [slot(1), 0]],
                    Float::Float => [[slot(0), 0], [slot(0) >> 32, 0]],
                    Float::Float16 => [[slot(0), 0], [slot(0) >> 16, 0]],
                };
                let [re, im] = parts.map(|slots| real_value(float, slots));
                Scalar::Complex(Complex::new(re, im))
            }
        }
    }
}

/// Returns the slot of a `float` that is infinite or no number; `None` if it stands for a finite value.
#[cold]
fn not_finite(value: f64, nearest: f32) -> Option<u64> {
    (!value.is_finite()).then(|| nearest.to_bits().into())
}

impl Number {
    /// Returns the integer in a slot, 0 or 1 for a bool; `None` for other types.
    #[inline]
    pub(super) fn integer(self, slot: u64) -> Option<i128> {
        match self {
            Self::Integer(integer) => Some(integer_value(integer, slot)),
            Self::Bool => Some(integer_value(Integer::UChar, slot)),
            _ => None,
        }
    }
}

impl fmt::Display for Number {
    /// Writes the C type.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("_Bool"),
            Self::Integer(integer) => f.write_str(integer.name()),
            Self::Float(float) => f.write_str(float.name()),
            Self::Complex(float) => write!(f, "{} _Complex", float.name()),
        }
    }
}

/// Returns the slot of an integer, sign- or zero-extended; `None` if the type doesn't have it.
#[inline]
fn integer_slot(integer: Integer, value: i128) -> Option<u64> {
    let slot = if integer.is_signed() {
        i64::try_from(value).ok()?.cast_unsigned()
    } else {
        u64::try_from(value).ok()?
    };
    integer.contains(value).then_some(slot)
}

/// Returns the integer in a slot's low bytes.
#[inline]
pub(crate) fn integer_value(integer: Integer, slot: u64) -> i128 {
    let unused = 64 - integer.bits();
    if integer.is_signed() {
        i128::from(slot.cast_signed() << unused >> unused)
    } else {
        i128::from(slot << unused >> unused)
    }
}

#[inline]
fn real(float: Float, value: Scalar) -> Result<[u64; 2], Problem> {
    let number = match value {
        Scalar::Float(number) => number,
        Scalar::Int(whole) => match (float, exact(whole)) {
            // `long double` has integers that no double has.
            (Float::LongDouble, None) => {
                return extended_integer(whole).ok_or(Problem::Range { value });
            }
            (_, number) => number.ok_or(Problem::Range { value })?,
        },
        Scalar::Bool(truth) => f64::from(u8::from(truth)),
        Scalar::Complex(_) => return Err(Problem::Kind { value }),
    };
    let is_whole = !matches!(value, Scalar::Float(_));
    let (slot, nearest) = match float {
        Float::LongDouble => return Ok(extended(number)),
        Float::Double => (number.to_bits(), number),
        Float::Float => {
            #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest")]
            let nearest = number as f32;
            (nearest.to_bits().into(), nearest.into())
        }
        Float::Float16 => {
            let nearest = nearest_half(number);
            (nearest.to_bits().into(), nearest.into())
        }
    };
    let is_same = nearest.to_bits() == number.to_bits();
    if (nearest.is_infinite() && number.is_finite()) || (is_whole && !is_same) {
        return Err(Problem::Range { value });
    }
    Ok([slot, 0])
}

/// Returns the double that equals an integer; `None` if there is none.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "checked by the conversion back"
)]
fn exact(whole: i128) -> Option<f64> {
    let number = whole as f64;
    (number as i128 == whole && whole != i128::MAX).then_some(number)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits hold the value"
)]
fn real_value(float: Float, slots: [u64; 2]) -> f64 {
    match float {
        Float::Float16 => f16::from_bits(slots[0] as u16).into(),
        Float::Float => f32::from_bits(slots[0] as u32).into(),
        Float::Double => f64::from_bits(slots[0]),
        Float::LongDouble => nearest_double(slots),
    }
}

/// Returns the half nearest to a double. The conversion of the crate `half` drops bits before it
/// rounds.
#[expect(clippy::cast_possible_truncation, reason = "16 bits")]
fn nearest_half(number: f64) -> f16 {
    let number = Double::from_bits(number.to_bits().into());
    let nearest: Half = number.convert(&mut false).value;
    f16::from_bits(nearest.to_bits() as u16)
}

/// Returns the slots of an integer as `long double`; `None` if `long double` doesn't have it.
fn extended_integer(whole: i128) -> Option<[u64; 2]> {
    let (status, bits) = match Float::LongDouble.size() {
        8 => {
            let number = Double::from_i128(whole);
            (number.status, number.value.to_bits())
        }
        _ if cfg!(x87_long_double) => {
            let number = X87DoubleExtended::from_i128(whole);
            (number.status, number.value.to_bits())
        }
        _ => {
            let number = Quad::from_i128(whole);
            (number.status, number.value.to_bits())
        }
    };
    (status == Status::OK).then(|| split(bits))
}

/// Returns the slots of a double as `long double`, which is x87's 80-bit format, IEEE's binary128 or a
/// double.
fn extended(number: f64) -> [u64; 2] {
    let number = Double::from_bits(number.to_bits().into());
    let mut loses = false;
    split(match Float::LongDouble.size() {
        8 => number.to_bits(),
        _ if cfg!(x87_long_double) => {
            let value: X87DoubleExtended = number.convert(&mut loses).value;
            value.to_bits()
        }
        _ => {
            let value: Quad = number.convert(&mut loses).value;
            value.to_bits()
        }
    })
}

/// Returns the double nearest to a `long double`.
fn nearest_double([low, high]: [u64; 2]) -> f64 {
    let bits = u128::from(high) << 64 | u128::from(low);
    let mut loses = false;
    let double = match Float::LongDouble.size() {
        8 => Double::from_bits(low.into()),
        _ if cfg!(x87_long_double) => {
            // The bytes behind the 80 bits are padding.
            let bits = bits & ((1 << 80) - 1);
            X87DoubleExtended::from_bits(bits).convert(&mut loses).value
        }
        _ => Quad::from_bits(bits).convert(&mut loses).value,
    };
    f64::from_bits(split(double.to_bits())[0])
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves")]
fn split(bits: u128) -> [u64; 2] {
    [bits as u64, (bits >> 64) as u64]
}
