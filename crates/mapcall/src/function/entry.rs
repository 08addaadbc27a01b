//! Entries of bound functions: compiled calls of a host language.

use std::ffi::c_void;
use std::ptr::NonNull;

use super::Function;
use crate::call::{EntryArgument, EntryCheck, EntryResult, Host};
use crate::contract::{Number, QuickKind, QuickVectors};
use crate::ctype::Float;

impl EntryResult {
    /// Returns the result for a function that returns a number.
    #[must_use]
    pub fn of(number: Number) -> Self {
        match number {
            Number::Float(Float::Float) => Self::Float,
            Number::Float(Float::Double) => Self::Double,
            Number::Integer(integer) if integer.bits() <= 64 => Self::Integer {
                bits: integer.bits(),
                is_signed: integer.is_signed(),
            },
            _ => Self::Other,
        }
    }
}

impl Function {
    /// Compiles the entry that makes the calls which `quick`, made of the function's contract, accepts. `dtype` returns
    /// the address of a dtype of the host language.
    ///
    /// Returns `None` if this system can't compile it, or for numbers that entries do not read.
    #[doc(hidden)]
    #[must_use]
    pub fn compile_entry<D>(
        &self,
        quick: &QuickVectors<D>,
        dtype: impl Fn(&D) -> usize,
        result: EntryResult,
        host: &Host,
    ) -> Option<NonNull<c_void>> {
        let argument = |kind: &QuickKind<D>| match kind {
            QuickKind::Vector {
                dtype: expected,
                misaligned,
                is_const,
            } => Some(EntryArgument::Vector {
                dtype: dtype(expected),
                misaligned: *misaligned,
                flags: if *is_const {
                    host.array.is_contiguous
                } else {
                    host.array.is_contiguous | host.array.is_writeable
                },
            }),
            QuickKind::Float => Some(EntryArgument::Float),
            QuickKind::Number(Number::Float(Float::Double)) => Some(EntryArgument::Double),
            QuickKind::Number(Number::Integer(integer)) if integer.bits() <= 64 => {
                Some(EntryArgument::Integer {
                    bits: integer.bits(),
                    is_signed: integer.is_signed(),
                })
            }
            QuickKind::Number(_) => None,
        };
        let arguments = quick.steps.iter();
        let arguments = arguments.map(|step| Some((argument(&step.kind)?, step.slot)));
        let pairs = quick.disjoint_pairs.iter();
        let check = EntryCheck {
            arguments: arguments.collect::<Option<_>>()?,
            length: quick.length,
            disjoint: pairs
                .map(|pair| pair.map(|place| (place.slot, place.itemsize)))
                .collect(),
            itemsizes: quick.itemsizes,
            result,
        };
        self.trampoline().entry(check, host)
    }
}
