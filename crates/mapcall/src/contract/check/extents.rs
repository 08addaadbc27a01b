//! The check of extents: those that arrays set and must agree on, and expressions of them.

use super::{ArgumentError, ArrayRule, Check, Problem, Rule};
use crate::contract::dimension::{UNSET, agrees};
use crate::contract::extent_rule::ExtentRule;
use crate::contract::number::Number;
use crate::contract::rule::{InOutRule, Inferred};
use crate::contract::scalar::Scalar;
use crate::extent::Expr;

impl<'a> Check<'a> {
    /// Sets an inferred parameter to a value that the caller gives.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] if the value is no integer that an extent can be, or if an array that was given
    /// before has set another value.
    pub(super) fn extent(
        &mut self,
        position: usize,
        inferred: Inferred,
        value: Scalar,
    ) -> Result<(), Box<ArgumentError>> {
        let slots = Number::Integer(inferred.integer).slots(value);
        slots.map_err(|problem| self.contract.refuse(position, problem))?;
        let length = match value {
            Scalar::Int(value) => isize::try_from(value)
                .ok()
                .and_then(|value| u64::try_from(value).ok()),
            Scalar::Bool(value) => Some(value.into()),
            _ => None,
        };
        let length =
            length.ok_or_else(|| self.contract.refuse(position, Problem::Range { value }))?;
        match self.dimensions.get_mut(inferred.dimension) {
            Some(known) if *known == UNSET || *known == length => *known = length,
            Some(known) => {
                let expected = *known;
                let because = self.set_by(position, inferred.dimension);
                let problem = Problem::Disagrees {
                    value,
                    expected,
                    because,
                };
                return Err(self.contract.refuse(position, problem));
            }
            None => return Err(self.contract.refuse(position, Problem::NotInferred)),
        }
        Ok(())
    }

    /// Compares the last axes of a shape with the extents from the `first` one on. Returns the size of
    /// these axes in bytes.
    #[inline]
    pub(super) fn extents(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        first: usize,
        shape: &[usize],
    ) -> Result<usize, Box<ArgumentError>> {
        let mut size = rule.itemsize();
        let known = shape.len().saturating_sub(rule.rank() - first);
        let lengths = shape.get(known..).unwrap_or_default();
        let extents = rule.extents().iter().enumerate().skip(first);
        for ((axis, extent), &length) in extents.zip(lengths) {
            // This does not overflow: the elements exist, so that their size does not exceed the
            // memory.
            size = size.wrapping_mul(length);
            let agrees = match extent {
                ExtentRule::Dimension { dimension, .. } => {
                    let known = self.dimensions.get_mut(*dimension);
                    known.is_some_and(|known| agrees(known, length as u64))
                }
                ExtentRule::Constant(value) => *value == length,
                ExtentRule::Expression(_) | ExtentRule::Unknown => {
                    self.postpone(position, axis, shape)
                }
            };
            if !agrees {
                return Err(self.wrong_length(position, rule, axis, shape));
            }
        }
        Ok(size)
    }

    /// Writes the inferred extents to their slots of the frame.
    #[inline]
    pub(super) fn finish_dimensions(&mut self) -> Result<(), Box<ArgumentError>> {
        for (inferred, &known) in self.contract.inferred.iter().zip(&*self.dimensions) {
            if known > inferred.max {
                return Err(self.unfit_dimension(inferred.position, known));
            }
            if inferred.is_by_reference {
                continue;
            }
            if let Some(slot) = self.frame.get_mut(inferred.slot) {
                *slot = known;
            }
        }
        Ok(())
    }

    #[inline]
    pub(super) fn dimension(&self, index: usize) -> Option<usize> {
        let known = self.dimensions.get(index).copied();
        known
            .and_then(|length| isize::try_from(length).ok())
            .map(isize::cast_unsigned)
    }

    /// Evaluates the extents that are expressions: compares them with the axes of the arrays that were
    /// given, and computes the shapes of the arrays that were omitted.
    #[cold]
    pub(super) fn evaluate(&mut self) -> Result<(), Box<ArgumentError>> {
        let Some(mut deferred) = self.deferred.take() else {
            return Ok(());
        };
        let values = self.integers();
        for (position, axis, shape) in &deferred.extents {
            let Some((rule, ExtentRule::Expression(expression))) =
                self.extent_rule(*position, *axis)
            else {
                continue;
            };
            let expected = self.extent_value(*position, expression, &values)?;
            // If an array may have any rank, the known extents are those of its last axes.
            let length = shape.get((shape.len() + axis).saturating_sub(rule.rank()));
            if length != Some(&expected) {
                return Err(self.disagrees(*position, rule, *axis, expected, shape));
            }
        }
        for (position, shape) in &mut deferred.outputs {
            let Some(rule) = self.contract.rules.get(*position).and_then(Rule::array) else {
                continue;
            };
            for extent in rule.extents() {
                shape.push(match extent {
                    ExtentRule::Dimension { dimension, .. } => {
                        self.dimension(*dimension).unwrap_or_default()
                    }
                    ExtentRule::Constant(value) => *value,
                    ExtentRule::Expression(expression) => {
                        self.extent_value(*position, expression, &values)?
                    }
                    ExtentRule::Unknown => return Err(self.unbounded(*position)),
                });
            }
            if rule.is_sized() {
                self.elements(*position, rule, shape)?;
            }
        }
        self.deferred = Some(deferred);
        Ok(())
    }

    fn extent_rule(&self, position: usize, axis: usize) -> Option<(&'a ArrayRule, &'a ExtentRule)> {
        let rule = self.contract.rules.get(position)?.array()?;
        Some((rule, rule.extents().get(axis)?))
    }

    pub(super) fn extent_value(
        &self,
        position: usize,
        expression: &Expr,
        values: &[Option<i128>],
    ) -> Result<usize, Box<ArgumentError>> {
        expression.evaluate(values).map_err(|error| {
            let extent = expression.to_string();
            self.contract
                .refuse(position, Problem::BadExtent { extent, error })
        })
    }

    /// Returns the values of the integer parameters, by position; `None` for inferred ones that are not
    /// known yet.
    pub(super) fn integers(&self) -> Vec<Option<i128>> {
        let rules = self.contract.rules.iter().enumerate();
        let value = |(position, rule): (usize, &Rule)| {
            let (number, slot) = match rule {
                Rule::Inferred(Inferred { dimension, .. })
                | Rule::InOut(InOutRule {
                    inferred: Inferred { dimension, .. },
                    ..
                }) => {
                    let known = self.dimensions.get(*dimension).copied();
                    return known.filter(|known| *known != UNSET).map(i128::from);
                }
                Rule::Number(number) => (*number, self.slot(position)?),
                Rule::Derived(derived) if derived.is_by_reference => {
                    (derived.number, self.reference(position)?)
                }
                Rule::Derived(derived) => (derived.number, self.slot(position)?),
                Rule::Reference(number) => (*number, self.reference(position)?),
                Rule::Array(rule) => (rule.number()?, self.reference(position)?),
                _ => return None,
            };
            number.integer(slot)
        };
        rules.map(value).collect()
    }

    /// Defers an axis whose extent is an expression until all extents are known. Returns false if the
    /// axis has no extent.
    #[cold]
    fn postpone(&mut self, position: usize, axis: usize, shape: &[usize]) -> bool {
        let is_known = matches!(
            self.extent_rule(position, axis),
            Some((_, ExtentRule::Expression(_)))
        );
        if is_known {
            let deferred = self.deferred.get_or_insert_default();
            deferred.extents.push((position, axis, shape.into()));
        }
        is_known
    }
}
