//! A C type as a value that is passed: all that the engines need to know of it.

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
    /// No value: what a `void` function returns.
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

    pub(super) fn of(ctype: &CType) -> Result<Self, CallTypeError> {
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
            CType::Record(record) => Kind::Record(Arc::clone(record)),
            CType::Unsupported(unsupported) => {
                return Err(CallTypeError::ByValue {
                    ctype: unsupported.name.clone(),
                    reason: unsupported.reason.clone(),
                });
            }
            // `void`, arrays and functions.
            _ => return Err(no_value(ctype)),
        };
        match (ctype.size(), ctype.alignment()) {
            (Some(0), _) => Err(CallTypeError::ByValue {
                ctype: ctype.to_string(),
                reason: "it is empty".into(),
            }),
            (_, Some(alignment)) if alignment > 16 => Err(CallTypeError::ByValue {
                ctype: ctype.to_string(),
                reason: format!("its alignment is {alignment} bytes, more than the stack's 16"),
            }),
            (Some(size), Some(alignment)) => Ok(Self {
                kind,
                size,
                alignment,
            }),
            _ => Err(no_value(ctype)),
        }
    }

    /// The number of slots that it takes in a frame.
    pub(super) fn slots(&self) -> usize {
        self.size.div_ceil(size_of::<u64>())
    }

    /// The word of an integer whose bytes above its type mean nothing yet.
    pub(super) fn extend(&self, word: u64) -> u64 {
        let unused = 64_u32.saturating_sub(u32::try_from(8 * self.size).unwrap_or(64));
        match self.kind {
            Kind::Integer { is_signed: true } => {
                ((word << unused).cast_signed() >> unused).cast_unsigned()
            }
            Kind::Integer { is_signed: false } => word << unused >> unused,
            _ => word,
        }
    }
}

fn no_value(ctype: &CType) -> CallTypeError {
    CallTypeError::NoValue {
        ctype: ctype.to_string(),
    }
}
