//! What a compiled entry checks, from the list of comparisons and derivations of a contract.

use super::derived::{Destination, Kind, QuickDerived, Step, Vector};
use crate::call::{
    EntryArgument, EntryArray, EntryCheck, EntryLayout, EntryNumber, EntryResult, Place,
};
use crate::contract::dimension::UNSET;
use crate::contract::number::Number;
use crate::ctype::Float;

/// The addresses of dtypes are those of the host language.
impl QuickDerived<usize> {
    /// Returns the check of calls with so many arguments: all, or all that are required. Returns `None` if it needs
    /// more than an entry has: expressions, texts, numbers that C reads and writes.
    pub(crate) fn entry(&self, given: usize, result: EntryResult) -> Option<EntryCheck> {
        let is_complete = given == self.steps.len();
        if !(is_complete || given == self.required) || self.numbers.is_some() {
            return None;
        }
        let is_given = |step: &Step<usize>| is_complete || step.required.is_some();
        let mut indices = Vec::new();
        let mut check = EntryCheck {
            arguments: Vec::new(),
            extents: self
                .extents
                .map(|value| (value != UNSET).then_some(value))
                .to_vec(),
            inferred: Vec::new(),
            strides: Vec::new(),
            disjoint: Vec::new(),
            outputs: Vec::new(),
            nulls: Vec::new(),
            references: self.references.to_vec(),
            result,
        };
        for (index, step) in self.steps.iter().enumerate() {
            indices.push(is_given(step).then_some(check.arguments.len()));
            match &step.kind {
                Kind::Array(vector) if is_given(step) => {
                    check.arguments.push(match vector.number {
                        // Most callers give the number.
                        Some((number, copy)) => {
                            EntryArgument::Number(EntryNumber::of(number)?, Place::Copy(copy))
                        }
                        None => EntryArgument::Array(array(vector, step.slot)?),
                    });
                }
                Kind::Array(vector) if self.outputs.contains(&index) => {
                    check.outputs.push(array(vector, step.slot)?);
                }
                Kind::Array(vector) if vector.number.is_none() => check.nulls.push(step.slot),
                Kind::Number(number, destination) => {
                    let number = EntryNumber::of(*number)?;
                    let number = EntryArgument::Number(number, place(*destination));
                    check.arguments.push(number);
                }
                Kind::Array(_) | Kind::Text | Kind::InOut(_) => return None,
            }
        }
        for stride in &self.strides {
            // The extent is set by one array only, and by no other means.
            let is_taken = |(other, _): &(usize, _)| *other == stride.extent;
            let is_axis = self.steps.iter().any(|step| match &step.kind {
                Kind::Array(vector) => vector.axes.contains(&stride.extent),
                _ => false,
            });
            let is_known = check.extents.get(stride.extent)?.is_some();
            let is_null = stride.is_nullable && !is_given(self.steps.get(stride.step)?);
            if check.strides.iter().any(is_taken) || is_axis || is_known || is_null {
                return None;
            }
            check.strides.push((stride.extent, stride.row));
        }
        let inferred = self.inferred.iter().enumerate();
        let inferred = inferred.map(|(extent, it)| (extent, it.max, it.destination.map(place)));
        check.inferred = inferred.collect();
        let index = |step: usize| indices.get(step).copied().flatten();
        let pairs = self.disjoint_pairs.iter();
        // A number by reference, whose copy is its own, is no array of the call.
        let pairs = pairs.filter_map(|&(one, other)| Some([index(one)?, index(other)?]));
        check.disjoint = pairs.collect();
        Some(check)
    }
}

fn place(destination: Destination) -> Place {
    match destination {
        Destination::Slot(slot) => Place::Slot(slot),
        Destination::Copy(copy) => Place::Copy(copy),
    }
}

impl EntryNumber {
    /// Returns the type of a number; `None` if entries do not have it.
    #[must_use]
    pub fn of(number: Number) -> Option<Self> {
        match number {
            Number::Float(Float::Float) => Some(Self::Float),
            Number::Float(Float::Double) => Some(Self::Double),
            Number::Integer(integer) if integer.bits() <= 64 => Some(Self::Integer {
                bits: integer.bits(),
                is_signed: integer.is_signed(),
            }),
            _ => None,
        }
    }
}

fn array(vector: &Vector<usize>, slot: usize) -> Option<EntryArray> {
    let (rank, itemsize) = (vector.axes.len(), vector.memory.itemsize);
    let layout = vector.layout.as_ref().map(|layout| EntryLayout {
        is_column_major: layout.is_column_major,
        stride: vector.stride,
    });
    // The strides of others may not be aligned, or have a rest.
    let is_simple = matches!(rank, 1 | 2)
        && itemsize.is_power_of_two()
        && itemsize & vector.memory.misaligned == 0;
    (layout.is_none() || is_simple).then(|| EntryArray {
        dtype: vector.dtype,
        itemsize,
        misaligned: vector.memory.misaligned,
        is_const: vector.memory.is_const,
        axes: vector.axes.to_vec(),
        layout,
        slot,
    })
}
