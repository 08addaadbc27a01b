//! The errors of the check: why an argument is refused.

use super::{ArgumentError, ArrayRule, Check, Problem, Role};
use crate::contract::dimension::UNSET;
use crate::contract::extent_rule::ExtentRule;
use crate::contract::memory::Memory;

impl Check<'_> {
    /// Returns the error for an extent that no array sets, or that exceeds its parameter's type.
    #[cold]
    pub(super) fn unfit_dimension(&self, position: usize, known: u64) -> Box<ArgumentError> {
        let problem = if known == UNSET {
            Problem::NotInferred
        } else {
            let mut inferred = self.contract.inferred.iter();
            let inferred = inferred.find(|inferred| inferred.position == position);
            Problem::TooLong {
                length: known,
                most: inferred.map_or(0, |inferred| inferred.max),
            }
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
        let problem = Problem::Unbounded {
            found: "an array".into(),
            shape: Vec::new(),
            is_number: false,
        };
        self.contract.refuse(position, problem)
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
            self.rank(rule, &memory)
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
            reshaped: self.merged(rule, shape),
            shape: shape.to_vec(),
        };
        self.contract.refuse(position, problem)
    }

    /// Returns the problem with the number of axes of an array.
    #[cold]
    pub(super) fn rank(&self, rule: &ArrayRule, memory: &Memory<'_>) -> Problem {
        let is_in_place = memory.is_contiguous || rule.is_const();
        Problem::Rank {
            expected: rule.rank(),
            shape: memory.shape.to_vec(),
            reshaped: self
                .divided(rule, memory.shape)
                .filter(|_| is_in_place && !rule.is_column_major()),
        }
    }

    /// Returns the shape of an array's core axes, into which an array with fewer axes can be divided.
    fn divided(&self, rule: &ArrayRule, shape: &[usize]) -> Option<Vec<usize>> {
        if shape.len() >= rule.rank() {
            return None;
        }
        let mut lengths = self.lengths(rule);
        let count: usize = shape.iter().product();
        let known = product(lengths.iter().flatten())?;
        if known == 0 || !count.is_multiple_of(known) {
            return None;
        }
        let mut rest = count / known;
        for (axis, length) in lengths.iter_mut().enumerate().rev() {
            let is_inferred =
                matches!(rule.extents().get(axis), Some(ExtentRule::Dimension { .. }));
            match length {
                Some(_) => {}
                None if !is_inferred => return None,
                None => *length = Some(std::mem::replace(&mut rest, 1)),
            }
        }
        let has_twice = rule.extents().iter().enumerate().any(|(axis, extent)| {
            let before = rule.extents().get(..axis).unwrap_or_default();
            matches!(extent, ExtentRule::Dimension { .. }) && before.contains(extent)
        });
        let shape: Vec<usize> = lengths.into_iter().flatten().collect();
        (rest == 1 && !has_twice && product(&shape) == Some(count)).then_some(shape)
    }

    /// Returns the shape of an array that fits if its last axes are merged or divided; `None` if there is none.
    fn merged(&self, rule: &ArrayRule, shape: &[usize]) -> Option<Vec<usize>> {
        let core = self
            .lengths(rule)
            .into_iter()
            .collect::<Option<Vec<usize>>>()?;
        let count = product(&core)?;
        let starts = (0..shape.len()).rev();
        let mut starts = starts.filter(|&start| {
            let last = shape.get(start..).unwrap_or_default();
            product(last) == Some(count) && last != core && count > 0
        });
        let start = starts.next()?;
        let before = shape.get(..start)?;
        (!rule.is_column_major()).then(|| before.iter().copied().chain(core).collect())
    }

    /// Returns the lengths of an array's core axes; `None` for those that are not known.
    fn lengths(&self, rule: &ArrayRule) -> Vec<Option<usize>> {
        let values = self.integers();
        let length = |extent: &ExtentRule| match extent {
            ExtentRule::Dimension { dimension, .. } => self.dimension(*dimension),
            ExtentRule::Constant(value) => Some(*value),
            ExtentRule::Expression(expression) => expression.evaluate(&values).ok(),
            ExtentRule::Unknown => None,
        };
        rule.extents().iter().map(length).collect()
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

/// Returns the product of lengths, which come from several arrays; `None` if it is too large for any array.
fn product<'a>(lengths: impl IntoIterator<Item = &'a usize>) -> Option<usize> {
    let mut lengths = lengths.into_iter();
    lengths.try_fold(1_usize, |count, &length| count.checked_mul(length))
}
