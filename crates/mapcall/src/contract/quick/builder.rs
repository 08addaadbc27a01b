//! Makes the list of comparisons and derivations of a contract, when a function is bound.

use super::derived::{
    ARRAYS, COPIES, Destination, EXTENTS, Inferred, Kind, Numbers, QuickDerived, RANK, Source,
    Step, Stride, Vector,
};
use super::fits_slot;
use crate::call::SmallFrame;
use crate::contract::Contract;
use crate::contract::derived::row_axis;
use crate::contract::dimension::UNSET;
use crate::contract::extent_rule::ExtentRule;
use crate::contract::number::Number;
use crate::contract::rule::{ArrayRule, Rule};

impl<D> QuickDerived<D> {
    /// Makes the list for a contract, with the dtypes of its arrays by position; `None` if the contract
    /// needs the full check.
    pub fn new(contract: &Contract, dtype: impl Fn(usize) -> Option<D>) -> Option<Self> {
        let (layout, rules) = (&contract.layout, &contract.rules);
        let is_small = layout.slots() <= SmallFrame::SLOTS && rules.len() <= SmallFrame::SLOTS;
        if !(is_small
            && contract.inferred.len() <= EXTENTS
            && fits_slot(&contract.prototype.returns))
        {
            return None;
        }
        let mut builder = Builder::new(contract);
        for (position, rule) in rules.iter().enumerate() {
            builder.push(position, rule, &dtype)?;
        }
        builder.finish()
    }
}

/// The parts of a list that is made.
struct Builder<'c, D> {
    contract: &'c Contract,
    steps: Vec<Step<D>>,
    required: usize,
    arrays: usize,
    /// The extents, and their number so far.
    extents: ([u64; EXTENTS], usize),
    strides: Vec<Stride>,
    references: Vec<(usize, usize)>,
    numbers: Numbers,
    /// The place of each number, by position.
    destinations: Vec<Option<Destination>>,
}

impl<'c, D> Builder<'c, D> {
    fn new(contract: &'c Contract) -> Self {
        Self {
            contract,
            steps: Vec::new(),
            required: 0,
            arrays: 0,
            extents: ([UNSET; EXTENTS], contract.inferred.len()),
            strides: Vec::new(),
            references: Vec::new(),
            numbers: Numbers::default(),
            destinations: vec![None; contract.rules.len()],
        }
    }

    /// Adds a parameter; `None` if it needs the full check.
    fn push(
        &mut self,
        position: usize,
        rule: &Rule,
        dtype: impl Fn(usize) -> Option<D>,
    ) -> Option<()> {
        let kind = match rule {
            Rule::Inferred(inferred) => {
                self.destine(position, inferred.is_by_reference)?;
                self.source(position, Source::Extent(inferred.dimension));
                return Some(());
            }
            Rule::Derived(derived) => {
                self.destine(position, derived.is_by_reference)?;
                return Some(());
            }
            Rule::InOut(rule) => {
                let extent = rule.inferred.dimension;
                self.source(position, Source::Extent(extent));
                Kind::InOut(extent)
            }
            Rule::Number(number) | Rule::Reference(number) if number.count() == 1 => {
                let destination = self.destine(position, matches!(rule, Rule::Reference(_)))?;
                self.source(position, Source::Number(*number, destination));
                Kind::Number(*number, destination)
            }
            Rule::Text => Kind::Text,
            Rule::Array(rule) if !rule.is_sized() => {
                Kind::Array(self.vector(position, rule, dtype(position)?)?)
            }
            _ => return None,
        };
        let is_required = !self.contract.is_optional(position);
        if !(is_required || matches!(kind, Kind::Array(_) | Kind::InOut(_))) {
            return None;
        }
        self.steps.push(Step {
            position,
            slot: self.contract.layout.parameter(position),
            required: is_required.then_some(self.required),
            kind,
        });
        self.required += usize::from(is_required);
        Some(())
    }

    /// Adds the source of a value for expressions.
    fn source(&mut self, position: usize, source: Source) {
        self.numbers.sources.push((position, source));
    }

    fn finish(mut self) -> Option<QuickDerived<D>> {
        let (contract, steps) = (self.contract, &self.steps);
        let positions = steps.iter().map(|step| step.position);
        if self.arrays > ARRAYS || !positions.eq(contract.arguments.iter().copied()) {
            return None;
        }
        let step = |position: usize| steps.iter().position(|step| step.position == position);
        let pairs = contract.disjoint_pairs.iter();
        let pairs = pairs.map(|&(one, other)| Some((step(one)?, step(other)?)));
        let disjoint_pairs = pairs.collect::<Option<_>>()?;
        let outputs = steps.iter().enumerate();
        let outputs = outputs.filter(|(_, step)| match &step.kind {
            Kind::Array(vector) => step.required.is_none() && !vector.is_nullable,
            Kind::InOut(_) => true,
            _ => false,
        });
        let outputs = outputs.map(|(step, _)| step).collect();
        self.numbers.derive(contract, &self.destinations)?;
        let dimensions = contract.inferred.iter();
        let inferred = dimensions.map(|dimension| Inferred {
            max: dimension.max,
            destination: self.destinations.get(dimension.position).copied().flatten(),
        });
        Some(QuickDerived {
            disjoint_pairs,
            outputs,
            inferred: inferred.collect(),
            steps: self.steps.into(),
            required: self.required,
            extents: self.extents.0,
            strides: self.strides.into(),
            references: self.references.into(),
            numbers: (!self.numbers.is_empty()).then(|| self.numbers.into()),
            result: contract.layout.result(),
        })
    }

    /// Returns the index of the copy of a number that is passed by reference.
    fn reference(&mut self, position: usize) -> Option<usize> {
        let copy = self.references.len();
        self.references
            .push((self.contract.layout.parameter(position), copy));
        (copy < COPIES).then_some(copy)
    }

    /// Sets and returns the place of a number.
    fn destine(&mut self, position: usize, is_by_reference: bool) -> Option<Destination> {
        let destination = if is_by_reference {
            Destination::Copy(self.reference(position)?)
        } else {
            Destination::Slot(self.contract.layout.parameter(position))
        };
        *self.destinations.get_mut(position)? = Some(destination);
        Some(destination)
    }

    /// Returns the index of a new extent.
    fn push_extent(&mut self, value: u64) -> Option<usize> {
        let (values, count) = &mut self.extents;
        let index = *count;
        *values.get_mut(index)? = value;
        *count += 1;
        Some(index)
    }

    /// Returns the index of an extent.
    fn extent(&mut self, extent: &ExtentRule) -> Option<usize> {
        match extent {
            ExtentRule::Dimension { dimension, .. } => Some(*dimension),
            ExtentRule::Constant(value) if *value as u64 == UNSET => None,
            ExtentRule::Constant(value) => self.push_extent(*value as u64),
            ExtentRule::Expression(expression) => {
                let index = self.push_extent(UNSET)?;
                self.numbers.extents.push((index, expression.clone()));
                Some(index)
            }
            ExtentRule::Unknown => None,
        }
    }

    fn vector(&mut self, position: usize, rule: &ArrayRule, dtype: D) -> Option<Vector<D>> {
        let axes = rule.extents().iter().map(|extent| self.extent(extent));
        let axes: Box<[usize]> = axes.collect::<Option<_>>()?;
        (axes.len() <= RANK).then_some(())?;
        let stride = match rule.stride() {
            Some(stride) => Some(self.extent(stride)?),
            None => None,
        };
        let number: Option<Number> = rule.number().filter(|number| number.count() == 1);
        let number = match number {
            Some(number) => Some((number, self.reference(position)?)),
            None => None,
        };
        self.strides.extend(stride.map(|extent| Stride {
            extent,
            row: row_axis(rule).and_then(|axis| axes.get(axis).copied()),
            step: self.steps.len(),
            is_nullable: rule.is_nullable(),
        }));
        let index = self.arrays;
        self.arrays += 1;
        Some(Vector {
            dtype,
            memory: rule.memory,
            layout: rule.layout.as_deref().cloned(),
            axes,
            stride,
            index,
            is_nullable: rule.is_nullable(),
            takes_text: rule.takes_text(),
            number,
        })
    }
}

impl Numbers {
    /// Adds the numbers that equal expressions or have bounds; `None` if one of them is not known.
    fn derive(&mut self, contract: &Contract, destinations: &[Option<Destination>]) -> Option<()> {
        let mut derived = Vec::new();
        for (position, expression) in &contract.derived.equal {
            let source = match contract.rules.get(*position)? {
                Rule::Derived(derived) => Source::Number(
                    derived.number,
                    destinations.get(*position).copied().flatten()?,
                ),
                Rule::Inferred(inferred) => Source::Extent(inferred.dimension),
                Rule::InOut(rule) => Source::Extent(rule.inferred.dimension),
                _ => return None,
            };
            derived.push((*position, source));
            self.equal.push((*position, expression.clone(), source));
        }
        for (position, bounds) in &contract.derived.bounded {
            let mut sources = self.sources.iter().chain(&derived);
            let (_, source) = sources.find(|(other, _)| other == position)?;
            self.bounded.push((*position, *source, bounds.clone()));
        }
        Some(())
    }

    fn is_empty(&self) -> bool {
        self.equal.is_empty() && self.extents.is_empty() && self.bounded.is_empty()
    }
}
