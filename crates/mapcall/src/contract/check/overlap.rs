//! The check that arrays of one call do not overlap where they must not.

use super::{ArgumentError, Check, Problem, Role};
use crate::contract::memory::overlap;

impl Check<'_> {
    /// Refuses arrays that overlap where `restrict` forbids it.
    #[inline]
    pub(super) fn refuse_overlap(&self) -> Result<(), Box<ArgumentError>> {
        for &(one, other) in &self.contract.disjoint_pairs {
            if self.overlap(one, other) {
                let other = self.contract.name(other).to_owned();
                return Err(self.contract.refuse(one, Problem::Overlap { other }));
            }
        }
        Ok(())
    }

    /// Returns whether two arrays share a byte, at the same address or at different ones.
    #[inline]
    pub(super) fn overlap(&self, one: usize, other: usize) -> bool {
        let distances = self
            .aliases
            .distances(self.written(one), self.written(other));
        distances
            .into_iter()
            .any(|distance| self.overlap_at(one, other, distance))
    }

    /// Returns the role of a parameter, and whether the function writes its array.
    fn written(&self, position: usize) -> (Role, bool) {
        let parameter = self.contract.prototype.parameters.get(position);
        let is_const = parameter.is_some_and(crate::Parameter::is_only_read);
        (Role::Parameter(position), !is_const)
    }

    /// Returns whether two arrays share a byte once the other one has been moved.
    #[inline]
    fn overlap_at(&self, one: usize, other: usize, distance: isize) -> bool {
        if self.deferred.is_some()
            && let (Some(one), Some(other)) = (self.operand(one), self.operand(other))
        {
            return one.may_share(&other.moved(distance));
        }
        let span =
            |position: usize| Some((self.slot(position)?, self.sizes.get(position).copied()?));
        let (Some(one), Some((other, size))) = (span(one), span(other)) else {
            // Without working space, the sizes are unknown.
            return true;
        };
        overlap(one, (other.wrapping_add_signed(distance as i64), size))
    }
}
