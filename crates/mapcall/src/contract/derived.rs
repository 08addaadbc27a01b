//! The numbers of a prototype that follow from others: lengths that equal an expression, bounds, leading
//! dimensions, and numbers that are passed by reference.

use super::UnsupportedPrototype;
use super::number::Number;
use super::rule::{ArrayRule, Rule};
use crate::extent::Expr;
use crate::prototype::Prototype;

/// The conditions for the numbers of a prototype.
#[derive(Clone, Debug, Default)]
pub(super) struct DerivedNumbers {
    /// The numbers that equal an expression: each follows those that its expression names.
    pub(super) equal: Box<[(usize, Expr)]>,
    /// The numbers with bounds.
    pub(super) bounded: Box<[(usize, [Expr; 2])]>,
    /// The arrays with a stride, by position.
    pub(super) strided: Box<[usize]>,
    /// For each parameter the first slot of its copy, if a number may be passed by reference for it.
    references: Box<[Option<usize>]>,
    /// The number of slots for copies.
    slots: usize,
    /// Whether any number is passed in another way than by value, or is subject to a condition, or an array
    /// has a layout of its own.
    pub(super) is_needed: bool,
}

impl DerivedNumbers {
    /// Derives the conditions of a prototype.
    ///
    /// # Errors
    ///
    /// [`UnsupportedPrototype`] if numbers follow from each other in a circle.
    pub(super) fn new(prototype: &Prototype, rules: &[Rule]) -> Result<Self, UnsupportedPrototype> {
        let parameters = || prototype.parameters.iter().enumerate();
        let bounded = parameters()
            .filter_map(|(position, parameter)| Some((position, *parameter.between.clone()?)));
        let has_stride = |rule: &Rule| rule.array().is_some_and(|rule| rule.stride().is_some());
        let strided = rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| has_stride(rule));
        let strided: Box<[usize]> = strided.map(|(position, _)| position).collect();
        let mut slots = 0_usize;
        let references = rules.iter().map(|rule| {
            let number = referenced(rule)?;
            // A `long double` is aligned to two slots.
            let start = slots.next_multiple_of(2);
            slots = start + number.count();
            Some(start)
        });
        let references = references.collect();
        let bounded: Box<[_]> = bounded.collect();
        let equal = in_order(prototype)?;
        let is_by_reference = |rule: &Rule| match rule {
            Rule::Inferred(inferred) => inferred.is_by_reference,
            Rule::Reference(_) | Rule::Derived(_) | Rule::InOut(_) => true,
            Rule::Array(rule) => rule.layout.is_some() || rule.is_sized(),
            _ => false,
        };
        Ok(Self {
            is_needed: !bounded.is_empty()
                || !equal.is_empty()
                || rules.iter().any(is_by_reference),
            equal,
            bounded,
            strided,
            references,
            slots,
        })
    }

    /// Returns the number of slots for copies of numbers that are passed by reference. They begin at an
    /// address that is a multiple of 16 if the slots before them do.
    #[inline]
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Returns the first slot of the copy of a number that is passed by reference.
    pub(super) fn reference(&self, position: usize) -> Option<usize> {
        self.references.get(position).copied().flatten()
    }
}

/// Returns the axis along which the elements of a row follow each other, in an array with a stride; `None` for
/// a vector, whose rows are its elements.
pub(super) fn row_axis(rule: &ArrayRule) -> Option<usize> {
    let last = rule.rank().checked_sub(1).filter(|&last| last > 0)?;
    Some(if rule.is_column_major() { 0 } else { last })
}

/// Returns the type of a number of which a copy may be passed by reference.
fn referenced(rule: &Rule) -> Option<Number> {
    match rule {
        Rule::Inferred(inferred) if inferred.is_by_reference => {
            Some(Number::Integer(inferred.integer))
        }
        Rule::Derived(derived) if derived.is_by_reference => Some(derived.number),
        Rule::Reference(number) => Some(*number),
        Rule::Array(array) => array.number(),
        Rule::Pointer(pointer) => pointer.number(),
        _ => None,
    }
}

/// Returns the numbers that equal an expression, each behind those that its expression names.
fn in_order(prototype: &Prototype) -> Result<Box<[(usize, Expr)]>, UnsupportedPrototype> {
    let parameters = prototype.parameters.iter().enumerate();
    let mut pending: Vec<(usize, Expr)> = parameters
        .filter_map(|(position, parameter)| Some((position, parameter.equals.clone()?)))
        .collect();
    let mut ordered = Vec::with_capacity(pending.len());
    while !pending.is_empty() {
        let is_ready = |(_, value): &(usize, Expr)| {
            !pending
                .iter()
                .any(|(position, _)| value.mentions(*position))
        };
        let (ready, rest): (Vec<_>, Vec<_>) =
            pending.iter().cloned().partition(|number| is_ready(number));
        if let (true, Some((position, _))) = (ready.is_empty(), rest.first()) {
            let parameter = prototype.parameters.get(*position);
            return Err(UnsupportedPrototype {
                function: prototype.name.clone(),
                parameter: parameter.map(|parameter| parameter.name.clone()),
                reason: "expected a value that does not follow from itself, got `equals` in a \
                         circle; leave it out of one parameter"
                    .into(),
            });
        }
        ordered.extend(ready);
        pending = rest;
    }
    Ok(ordered.into())
}
