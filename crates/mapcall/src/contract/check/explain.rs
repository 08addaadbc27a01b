//! The errors of the check: why an argument is refused.

use super::{ArgumentError, ArrayRule, Check, Problem, Role};
use crate::contract::dimension::UNSET;
use crate::contract::extent_rule::ExtentRule;
use crate::contract::memory::Memory;
use crate::contract::scalar::Scalar;

impl Check<'_> {
    /// Returns the error for an extent that no array sets, or that exceeds its parameter's type.
    #[cold]
    pub(super) fn unfit_dimension(&self, position: usize, known: u64) -> Box<ArgumentError> {
        let problem = if known == UNSET {
            Problem::NotInferred
        } else {
            let value = Scalar::from(known);
            Problem::Range { value }
        };
        self.contract.refuse(position, problem)
    }

    /// Returns the error for an axis of another length than its extent.
    #[cold]
    pub(super) fn wrong_length(
        &self,
        position: usize,
        rule: &ArrayRule,
        axis: usize,
        shape: &[usize],
    ) -> Box<ArgumentError> {
        let expected = match rule.extents().get(axis) {
            Some(ExtentRule::Dimension { dimension, .. }) => self.dimension(*dimension),
            Some(ExtentRule::Constant(value)) => Some(*value),
            _ => None,
        };
        match expected {
            Some(expected) => self.disagrees(position, rule, axis, expected, shape),
            None => self.unbounded(position),
        }
    }

    /// Returns the error for an array without a known extent.
    #[cold]
    pub(super) fn unbounded(&self, position: usize) -> Box<ArgumentError> {
        let found = "an array".into();
        self.contract.refuse(position, Problem::Unbounded { found })
    }

    /// Returns the error for an array whose memory the rule does not accept.
    #[cold]
    pub(super) fn unfit(
        &self,
        role: Role,
        rule: &ArrayRule,
        memory: Memory<'_>,
    ) -> Box<ArgumentError> {
        let shape = memory.shape.to_vec();
        let problem = if matches!(role, Role::Parameter(position) if self.contract.scalar(position).is_none())
            && shape.len() != rule.rank()
        {
            Problem::Rank {
                expected: rule.rank(),
                shape,
            }
        } else if !memory.is_contiguous && rule.rank() > 0 {
            Problem::NotContiguous {
                shape,
                strides: memory.strides.to_vec(),
            }
        } else if memory.is_writeable || rule.is_const() {
            Problem::Unaligned {
                address: memory.address.addr(),
                alignment: rule.alignment(),
            }
        } else {
            Problem::ReadOnly
        };
        self.contract.refuse_role(role, problem)
    }

    /// Returns the error for an axis whose extent has another value.
    #[cold]
    pub(super) fn disagrees(
        &self,
        position: usize,
        rule: &ArrayRule,
        axis: usize,
        expected: usize,
        shape: &[usize],
    ) -> Box<ArgumentError> {
        let extent = rule.extents().get(axis);
        let because = match extent {
            Some(ExtentRule::Dimension { dimension, .. }) => self.set_by(position, *dimension),
            _ => None,
        };
        let problem = Problem::Extent {
            axis,
            extent: extent.map_or_else(String::new, ExtentRule::to_string),
            expected,
            because,
            shape: shape.to_vec(),
        };
        self.contract.refuse(position, problem)
    }

    /// Returns the name of the array that set an extent: the first array before `position` that was
    /// given and has the extent, or the distance between rows.
    pub(super) fn set_by(&self, position: usize, dimension: usize) -> Option<String> {
        let has_dimension = |extent: &ExtentRule| matches!(extent, ExtentRule::Dimension { dimension: other, .. } if *other == dimension);
        let before = self.contract.rules.iter().enumerate().take(position);
        before
            .filter(|(_, rule)| {
                rule.array().is_some_and(|rule| {
                    let mut extents = rule.extents().iter().chain(rule.stride());
                    extents.any(has_dimension)
                })
            })
            .find(|(other, _)| !self.is_omitted(*other))
            .map(|(other, _)| self.contract.name(other).to_owned())
    }
}
