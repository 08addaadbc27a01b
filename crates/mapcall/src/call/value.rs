//! The values that are passed: what the engines need to know of a C type.

use std::sync::Arc;

use super::CallTypeError;
use crate::ctype::{CType, Float, Record};

/// A value that is passed to a function or returned by it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) kind: Kind,
    /// In bytes.
    pub(super) size: usize,
    /// In bytes.
    pub(super) alignment: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// No value, the result of a `void` function.
    Void,
    /// Integers, enumerations, `_Bool` and pointers.
    Integer {
        is_signed: bool,
    },
    Float(Float),
    Complex(Float),
    Record(Arc<Record>),
}

impl Value {
    /// Returns the value of a result, which may be `void`.
    pub(super) fn returned(ctype: &CType) -> Result<Self, CallTypeError> {
        if matches!(ctype.resolved(), CType::Void) {
            return Ok(Self {
                kind: Kind::Void,
                size: 0,
                alignment: 1,
            });
        }
        Self::of(ctype)
    }

    /// Returns the value of a parameter.
    pub(super) fn of(ctype: &CType) -> Result<Self, CallTypeError> {
        let by_value = |reason: &str| CallTypeError::ByValue {
            ctype: ctype.to_string(),
            reason: reason.into(),
        };
        let kind = match ctype.resolved() {
            CType::Bool | CType::Pointer(_) => Kind::Integer { is_signed: false },
            CType::Integer(integer) => Kind::Integer {
                is_signed: integer.is_signed(),
            },
            CType::Enum(enumeration) => Kind::Integer {
                is_signed: enumeration.underlying.is_signed(),
            },
            CType::Float(float) => Kind::Float(*float),
            CType::Complex(float) => Kind::Complex(*float),
            CType::Record(record) => match record.only_by_pointer() {
                Some(reason) => return Err(by_value(reason)),
                None => Kind::Record(Arc::clone(record)),
            },
            CType::Unsupported(unsupported) => {
                return Err(CallTypeError::ByValue {
                    ctype: unsupported.name.clone(),
                    reason: unsupported.reason.clone(),
                });
            }
            // `void`, arrays and functions.
            _ => return Err(no_value(ctype)),
        };
        // An alignment that a typedef gives doesn't change how a value is passed.
        match (ctype.size(), ctype.resolved().alignment()) {
            (Some(0), _) => Err(by_value("it is empty")),
            (_, Some(alignment)) if alignment > 16 => Err(by_value(&format!(
                "its alignment is {alignment} bytes, more than the stack's 16"
            ))),
            (Some(size), Some(alignment)) => Ok(Self {
                kind,
                size,
                alignment,
            }),
            _ => Err(no_value(ctype)),
        }
    }

    /// Returns the number of slots that the value takes in a frame.
    pub(super) fn slots(&self) -> usize {
        self.size.div_ceil(size_of::<u64>())
    }

    /// Extends an integer to its whole slot, with its sign if it is signed; the bits above its type are
    /// ignored.
    pub(super) fn extend(&self, slot: u64) -> u64 {
        let unused = 64_u32.saturating_sub(u32::try_from(8 * self.size).unwrap_or(64));
        match self.kind {
            Kind::Integer { is_signed: true } => {
                ((slot << unused).cast_signed() >> unused).cast_unsigned()
            }
            Kind::Integer { is_signed: false } => slot << unused >> unused,
            _ => slot,
        }
    }
}

fn no_value(ctype: &CType) -> CallTypeError {
    CallTypeError::NoValue {
        ctype: ctype.to_string(),
    }
}
