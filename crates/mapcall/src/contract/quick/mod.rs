//! The quick checks of usual calls.
//!
//! The full [`Check`](super::Check) of a call takes longer than a small kernel. So a prototype is also
//! kept as a flat list of comparisons, which accepts a call or declines it. A call that it declines is
//! checked in full. Both share the predicates for memory (`MemoryRule`), layouts (`ArrayLayout`), extents
//! (`agrees`), overlap and numbers.
//!
//! [`QuickVectors`] takes calls with all arguments, which are numbers and vectors of one length; [`Quick`] also
//! those with arrays of other simple extents.
//! [`QuickDerived`] takes those in which more has to be derived: numbers by reference, numbers that follow
//! from others, layouts, and outputs that are left out. [`QuickBatch`] takes small batches.

mod batch;
mod builder;
mod call;
mod derived;
mod entry;
mod plain;
mod vectors;

pub use batch::{QuickBatch, QuickBatchCall, QuickOutput};
pub use call::{LeftOut, QuickCall};
pub use derived::QuickDerived;
pub use plain::Quick;
pub use vectors::{QuickVector, QuickVectors, ShortFrame};

use mapcall_array::Backing;

use super::memory::Memory;
use super::number::Number;
use crate::ctype::{CType, Float};

/// An argument of the host language, for [`Quick::fill`] and [`QuickCall::fill`]. Its methods return `None` for
/// an object of another kind.
pub trait QuickArgument<'a, D>: Copy {
    /// Returns the slot of a number, by [`Number::slot_of_real`] or [`Number::slot_of_integer`].
    fn number(self, number: Number) -> Option<u64>;

    /// Returns the slot of a number for a `float` or `double`.
    #[inline]
    fn real(self, float: Float) -> Option<u64> {
        self.number(Number::Float(float))
    }

    /// Returns the memory of an array of that dtype; `backing` is not read.
    fn array(self, dtype: &D) -> Option<Memory<'a>>;

    /// The bit of [`QuickVector::flags`] for elements that follow each other.
    const CONTIGUOUS: u32 = 1;

    /// The bit of [`QuickVector::flags`] for memory that may be written to.
    const WRITEABLE: u32 = 2;

    /// The bit of [`QuickVector::flags`] for memory that has no other addresses: [`backing`](Self::backing) returns
    /// `Private`. It may be unset for any array.
    const PRIVATE: u32 = 4;

    /// Returns an array with one axis of that dtype.
    #[inline]
    fn vector(self, dtype: &D) -> Option<QuickVector> {
        let memory = self.array(dtype)?;
        let [length] = *memory.shape else {
            return None;
        };
        let bit = |is_set: bool, bit| if is_set { bit } else { 0 };
        Some(QuickVector {
            address: memory.address.expose_provenance(),
            length,
            flags: bit(memory.is_contiguous, Self::CONTIGUOUS)
                | bit(memory.is_writeable, Self::WRITEABLE)
                | bit(matches!(self.backing(), Backing::Private), Self::PRIVATE),
        })
    }

    /// Returns the backing of an array.
    fn backing(self) -> Backing<'a>;

    /// Returns the bytes of a text, with the NUL behind them.
    fn text(self) -> Option<&'a [u8]>;
}

impl<'a> QuickArgument<'a, ()> for Memory<'a> {
    #[inline]
    fn number(self, _: Number) -> Option<u64> {
        None
    }

    #[inline]
    fn array(self, (): &()) -> Option<Memory<'a>> {
        Some(self)
    }

    #[inline]
    fn backing(self) -> Backing<'a> {
        self.backing
    }

    #[inline]
    fn text(self) -> Option<&'a [u8]> {
        None
    }
}

/// Returns whether two arrays may have bytes in common at different addresses; `None` without a second one.
#[inline]
fn may_alias<'a, D, A: QuickArgument<'a, D>>(
    one: A,
    other: impl FnOnce() -> Option<A>,
) -> Option<bool> {
    let one = one.backing();
    Some(!matches!(one, Backing::Private) && one.may_alias(&other()?.backing()))
}

/// Returns whether a result takes at most one slot.
fn fits_slot(returns: &CType) -> bool {
    match Number::of(returns) {
        Some(number) => number.count() == 1,
        None => matches!(returns.resolved(), CType::Void | CType::Pointer(_)),
    }
}
