//! The check of numbers that follow from others: those that equal an expression, those with bounds, leading
//! dimensions, and those that are passed by reference.

use super::{ArgumentError, ArrayRule, Check, HostValue, Problem, Rule};
use crate::contract::condition::is_within;
use crate::contract::convert::convert_number;
use crate::contract::derived::row_axis;
use crate::contract::dimension::UNSET;
use crate::contract::extent_rule::ExtentRule;
use crate::contract::number::Number;
use crate::contract::scalar::Scalar;
use crate::extent::{Expr, ExtentError};

/// The values of the integer parameters, by position.
type Values = [Option<i128>];

impl Check<'_> {
    /// Stores the value that the caller gives for a number that equals an expression, which is compared
    /// with it when all arguments are given.
    pub(super) fn given(
        &mut self,
        position: usize,
        number: Number,
        value: Scalar,
    ) -> Result<(), Box<ArgumentError>> {
        let slots = number.slots(value);
        let [slot, ..] = slots.map_err(|problem| self.contract.refuse(position, problem))?;
        if let Some(value) = number.integer(slot) {
            let deferred = self.deferred.get_or_insert_default();
            deferred.given.push((position, value));
        }
        Ok(())
    }

    /// Passes a number by reference: the function gets the address of a copy.
    pub(super) fn number_by_reference(
        &mut self,
        position: usize,
        number: Number,
        value: HostValue<'_>,
    ) -> Result<(), Box<ArgumentError>> {
        let mut slots = [0; 4];
        convert_number(number, value, &mut slots)
            .map_err(|problem| self.contract.refuse(position, problem))?;
        self.pass_by_reference(position, number, slots);
        Ok(())
    }

    /// Copies the slots of a number, and passes the address of the copy.
    fn pass_by_reference(&mut self, position: usize, number: Number, slots: [u64; 4]) {
        let start = self.contract.derived.reference(position);
        let copy = start.and_then(|start| self.references.get_mut(start..));
        let Some(copy) = copy.and_then(|copy| copy.get_mut(..number.count())) else {
            return;
        };
        for (slot, value) in copy.iter_mut().zip(slots) {
            *slot = value;
        }
        let address = copy.as_mut_ptr().expose_provenance();
        self.set(position, address as u64);
    }

    /// Returns the first slot of the copy of a number that is passed by reference.
    pub(super) fn reference(&self, position: usize) -> Option<u64> {
        let start = self.contract.derived.reference(position)?;
        self.references.get(start).copied()
    }

    /// Completes the numbers that follow from others, and verifies their conditions.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] if an expression has no value, if a value that was given differs from it, if a number
    /// is outside of its bounds, or if arrays disagree on the distance between their rows.
    #[cold]
    pub(super) fn finish_numbers(&mut self) -> Result<(), Box<ArgumentError>> {
        let contract = self.contract;
        let mut values = self.integers();
        for (position, _) in &contract.derived.equal {
            if let (Some(Rule::Derived(_)), Some(value)) =
                (contract.rules.get(*position), values.get_mut(*position))
            {
                *value = None;
            }
        }
        // The distance between the rows of an array that was left out depends on its extents, which may
        // be derived; a derived number may depend on such a distance.
        self.derive(&mut values, false)?;
        self.set_strides(&mut values);
        self.derive(&mut values, true)?;
        self.check_strides(&values)?;
        self.check_bounds(&values)
    }

    /// Passes the inferred numbers whose address the function gets. Their values have been checked.
    pub(super) fn pass_references(&mut self) {
        for inferred in &self.contract.inferred {
            let Some(Rule::Inferred(rule)) = self.contract.rules.get(inferred.position) else {
                continue;
            };
            if let (true, Some(&known)) =
                (rule.is_by_reference, self.dimensions.get(rule.dimension))
            {
                let number = Number::Integer(rule.integer);
                self.pass_by_reference(inferred.position, number, [known, 0, 0, 0]);
            }
        }
    }

    /// Sets the numbers that equal an expression. If not `is_last`, those are left out whose expression needs
    /// a value that is not known yet.
    fn derive(&mut self, values: &mut Values, is_last: bool) -> Result<(), Box<ArgumentError>> {
        let contract = self.contract;
        for (position, expression) in &contract.derived.equal {
            let position = *position;
            let value = match expression.value(values) {
                Err(ExtentError::Missing { .. }) if !is_last => continue,
                value => value,
            };
            let refuse = |error| {
                let extent = expression.to_string();
                contract.refuse(position, Problem::BadExtent { extent, error })
            };
            let value = value.map_err(refuse)?;
            let wrong = |given: i128| {
                let problem = Problem::Equals {
                    value: Scalar::Int(given),
                    expected: value,
                    expression: expression.to_string(),
                };
                contract.refuse(position, problem)
            };
            match contract.rules.get(position) {
                Some(Rule::Derived(derived)) => {
                    let slots = derived.number.slots(Scalar::Int(value));
                    let ctype = match derived.number {
                        Number::Integer(integer) => integer.name(),
                        _ => "_Bool",
                    };
                    let slots = slots.map_err(|_| refuse(ExtentError::Cast { value, ctype }))?;
                    let given = self.deferred.iter().flat_map(|deferred| &deferred.given);
                    let mut given = given.filter(|(other, _)| *other == position);
                    if let Some(&(_, given)) = given.find(|(_, given)| *given != value) {
                        return Err(wrong(given));
                    }
                    if derived.is_by_reference {
                        self.pass_by_reference(position, derived.number, slots);
                    } else {
                        self.set(position, slots[0]);
                    }
                }
                Some(Rule::Inferred(_) | Rule::InOut(_)) => {
                    match values.get(position).copied().flatten() {
                        Some(known) if known != value => return Err(wrong(known)),
                        Some(_) => {}
                        None => {
                            let length = expression.evaluate(values).map_err(refuse)?;
                            self.set_dimension(position, length as u64);
                        }
                    }
                }
                _ => {}
            }
            if let Some(known) = values.get_mut(position) {
                *known = Some(value);
            }
        }
        Ok(())
    }

    fn set_dimension(&mut self, position: usize, length: u64) {
        let mut inferred = self.contract.inferred.iter();
        let dimension = inferred.position(|inferred| inferred.position == position);
        if let Some(known) = dimension.and_then(|index| self.dimensions.get_mut(index)) {
            *known = length;
        }
    }

    /// Sets the distances between rows that no array has set: to the length of the longest row, so that the
    /// rows of arrays that are allocated follow each other.
    fn set_strides(&mut self, values: &mut Values) {
        let contract = self.contract;
        let mut rows = vec![None; contract.inferred.len()];
        for (position, rule, stride) in self.strided() {
            let row = self.row(position, rule, values);
            if let (ExtentRule::Dimension { dimension, .. }, Some(row)) = (stride, row)
                && let Some(longest) = rows.get_mut(*dimension)
            {
                *longest = (*longest).max(Some(row.max(1)));
            }
        }
        for ((inferred, known), row) in contract
            .inferred
            .iter()
            .zip(&mut *self.dimensions)
            .zip(rows)
        {
            if let (UNSET, Some(row)) = (*known, row) {
                *known = row as u64;
                if let Some(value) = values.get_mut(inferred.position) {
                    *value = i128::try_from(row).ok();
                }
            }
        }
    }

    /// Returns the arrays with a stride that are not NULL.
    fn strided(&self) -> impl Iterator<Item = (usize, &'_ ArrayRule, &'_ ExtentRule)> {
        let contract = self.contract;
        let arrays = contract.derived.strided.iter().filter_map(|&position| {
            let rule = contract.rules.get(position)?.array()?;
            Some((position, rule, rule.stride()?))
        });
        arrays.filter(|(position, rule, _)| !(rule.is_nullable() && self.is_omitted(*position)))
    }

    /// Returns the length of a row of an array, in elements; 1 for a vector. `None` if its extent has no
    /// value, which is an error later.
    fn row(&self, position: usize, rule: &ArrayRule, values: &Values) -> Option<usize> {
        let Some(axis) = row_axis(rule) else {
            return Some(1);
        };
        let extent = rule.extents().get(axis)?;
        self.length(position, extent, values).ok().flatten()
    }

    /// Returns the value of an extent; `None` for one that is not known.
    fn length(
        &self,
        position: usize,
        extent: &ExtentRule,
        values: &Values,
    ) -> Result<Option<usize>, Box<ArgumentError>> {
        Ok(match extent {
            ExtentRule::Dimension { dimension, .. } => self.dimension(*dimension),
            ExtentRule::Constant(value) => Some(*value),
            ExtentRule::Expression(expression) => {
                Some(self.extent_value(position, expression, values)?)
            }
            ExtentRule::Unknown => None,
        })
    }

    /// Verifies that the rows of all arrays are as far apart as the prototype says.
    fn check_strides(&self, values: &Values) -> Result<(), Box<ArgumentError>> {
        for (position, rule, stride) in self.strided() {
            let Some(expected) = self.length(position, stride, values)? else {
                continue;
            };
            let Some(row) = self.row(position, rule, values) else {
                continue;
            };
            let wrong = |found| {
                let because = match stride {
                    ExtentRule::Dimension { dimension, .. } => self.set_by(position, *dimension),
                    _ => None,
                };
                let stride = stride.to_string();
                let problem = Problem::Stride {
                    stride,
                    expected,
                    because,
                    found,
                };
                self.contract.refuse(position, problem)
            };
            if expected < row.max(1) {
                return Err(wrong(Some(row.max(1))));
            }
            if self.is_omitted(position) {
                if expected != row.max(1) {
                    return Err(wrong(None));
                }
                continue;
            }
            let strides = self.deferred.iter().flat_map(|deferred| &deferred.strides);
            let mut found = strides.filter(|(other, _)| *other == position);
            if let Some(&(_, found)) = found.find(|(_, found)| *found != expected) {
                return Err(wrong(Some(found)));
            }
        }
        Ok(())
    }

    fn check_bounds(&self, values: &Values) -> Result<(), Box<ArgumentError>> {
        let contract = self.contract;
        for (position, bounds) in &contract.derived.bounded {
            let position = *position;
            let bound = |bound: &Expr| {
                bound.value(values).map_err(|error| {
                    let extent = bound.to_string();
                    contract.refuse(position, Problem::BadExtent { extent, error })
                })
            };
            let [least, most] = bounds;
            let (low, high) = (bound(least)?, bound(most)?);
            let known = values.get(position).copied().flatten();
            let Some(value) = known.map(Scalar::Int).or_else(|| self.real(position)) else {
                continue;
            };
            if !is_within(value, low, high) {
                let text = |bound: &Expr, value: i128| match bound {
                    Expr::Constant(_) => value.to_string(),
                    bound => format!("{bound} = {value}"),
                };
                let problem = Problem::Bounds {
                    value,
                    least: text(least, low),
                    most: text(most, high),
                };
                return Err(contract.refuse(position, problem));
            }
        }
        Ok(())
    }

    /// Returns the value of a floating number.
    fn real(&self, position: usize) -> Option<Scalar> {
        match self.contract.rules.get(position)? {
            Rule::Number(number) => {
                let start = self.start(position)?;
                Some(number.value(self.frame.get(start..)?))
            }
            Rule::Reference(number) => {
                let start = self.contract.derived.reference(position)?;
                Some(number.value(self.references.get(start..)?))
            }
            _ => None,
        }
    }
}
