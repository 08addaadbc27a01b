//! The conditions for numbers: that one equals an expression, or lies between two. They hold for the numbers that a
//! caller gives, and for those that C passes to a callback.

use super::number::Number;
use super::scalar::Scalar;
use crate::ctype::CType;
use crate::prototype::Parameter;

/// The number of a parameter that is one, or that is a pointer to a `const` one.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConditionedNumber {
    pub(super) number: Number,
    pub(super) is_by_reference: bool,
}

impl ConditionedNumber {
    /// Returns the number of a parameter; `None` for other parameters.
    pub(super) fn of(parameter: &Parameter) -> Option<Self> {
        let (number, is_by_reference) = match by_value(parameter) {
            Some(number) => (number, false),
            None => (by_reference(parameter)?, true),
        };
        Some(Self {
            number,
            is_by_reference,
        })
    }

    /// Returns the number of a parameter that equals an expression.
    ///
    /// # Errors
    ///
    /// The reason why the parameter can't have the annotation, and a remedy.
    pub(super) fn that_equals(parameter: &Parameter) -> Result<Self, String> {
        Self::of(parameter)
            .filter(|found| matches!(found.number, Number::Integer(_) | Number::Bool))
            .ok_or_else(|| {
                format!(
                    "expected an integer, or a pointer to a const one, for `equals`, got \
                     `{parameter}`; leave `equals` out"
                )
            })
    }

    /// Returns the number of a parameter with bounds.
    ///
    /// # Errors
    ///
    /// The reason why the parameter can't have the annotation, and a remedy.
    pub(super) fn with_bounds(parameter: &Parameter) -> Result<Self, String> {
        Self::of(parameter)
            .filter(|found| !matches!(found.number, Number::Complex(_)))
            .ok_or_else(|| {
                format!(
                    "expected a real number, or a pointer to a const one, for `between`, got \
                     `{parameter}`; leave `between` out"
                )
            })
    }
}

fn by_value(parameter: &Parameter) -> Option<Number> {
    Number::of(&parameter.ctype).filter(|_| parameter.rank() == 0)
}

/// Returns the number that a parameter leads to, if it is a pointer or an array of one element that is only read.
pub(super) fn by_reference(parameter: &Parameter) -> Option<Number> {
    if !parameter.is_only_read() {
        return None;
    }
    match parameter.ctype.resolved() {
        CType::Pointer(pointer) if parameter.rank() == 0 => Number::of(&pointer.target),
        _ if parameter.target_integer().is_some() => Number::of(&parameter.ctype),
        _ => None,
    }
}

/// Returns whether a number is at least `low` and at most `high`.
pub(super) fn is_within(value: Scalar, low: i128, high: i128) -> bool {
    match value {
        Scalar::Int(value) => (low..=high).contains(&value),
        #[expect(clippy::cast_precision_loss, reason = "rounds to the nearest")]
        Scalar::Float(value) => (low as f64..=high as f64).contains(&value),
        _ => true,
    }
}
