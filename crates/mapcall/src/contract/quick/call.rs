//! The quick check of calls in which more than lengths has to be derived: numbers by reference, numbers that
//! equal an expression, leading dimensions, column order, texts, and outputs that are left out.

use mapcall_array::layout::Dims;

use super::derived::{
    ARRAYS, COPIES, Destination, EXTENTS, Kind, Numbers, QuickDerived, RANK, Source, Step, Stride,
    Values,
};
use super::{QuickArgument, may_alias};
use crate::call::SmallFrame;
use crate::contract::condition::is_within;
use crate::contract::convert::check_text;
use crate::contract::dimension::{UNSET, agrees};
use crate::contract::memory::overlap;
use crate::contract::output::Output;
use crate::contract::role::Role;
use crate::contract::scalar::Scalar;
use crate::extent::ExtentError;

/// A call by a [`QuickDerived`]: its frame, and what is known of its arguments.
///
/// See [`QuickDerived`] for an example.
#[derive(Debug)]
pub struct QuickCall<'q, D> {
    quick: &'q QuickDerived<D>,
    frame: SmallFrame,
    copies: [u64; COPIES],
    extents: [u64; EXTENTS],
    /// The size of each array in bytes, with what lies between its rows; 0 for one that is left out.
    sizes: [u64; ARRAYS],
    /// Whether no argument is left out.
    is_complete: bool,
}

/// An output that was left out: see [`Output`].
#[derive(Clone, Copy, Debug)]
pub struct LeftOut {
    /// The position of its parameter.
    pub position: usize,
    lengths: [usize; RANK],
    rank: usize,
    /// Whether the first axis is the one that moves fastest.
    pub is_column_major: bool,
    /// The value of its elements, if they are no zeros.
    pub fill: Option<u64>,
}

impl LeftOut {
    /// Returns the lengths of the axes.
    #[must_use]
    #[inline]
    pub fn shape(&self) -> &[usize] {
        self.lengths.get(..self.rank).unwrap_or_default()
    }
}

impl<'q, D> QuickCall<'q, D> {
    /// Starts a call. [`fill`](Self::fill) is called once.
    #[must_use]
    #[inline]
    pub fn new(quick: &'q QuickDerived<D>) -> Self {
        Self {
            quick,
            frame: SmallFrame::default(),
            copies: [0; COPIES],
            extents: quick.extents,
            sizes: [0; ARRAYS],
            is_complete: false,
        }
    }

    /// Fills the frame with the arguments: all, or all that are required. Returns the size of their arrays in
    /// bytes; `None` if the call needs the full check.
    #[inline]
    pub fn fill<'a, A: QuickArgument<'a, D>>(
        &mut self,
        arguments: &(impl ExactSizeIterator<Item = A> + Clone),
    ) -> Option<usize> {
        let quick = self.quick;
        self.is_complete = arguments.len() == quick.steps.len();
        if !(self.is_complete || arguments.len() == quick.required) {
            return None;
        }
        let mut nbytes = 0_usize;
        let mut given = arguments.clone();
        for step in &quick.steps {
            if self.is_omitted(step) {
                continue;
            }
            let argument = given.next()?;
            let slot = if let Kind::Array(vector) = &step.kind {
                if let Some(memory) = argument.array(&vector.dtype) {
                    let address = memory.address.expose_provenance();
                    let size = vector.size(&memory, address, &mut self.extents)?;
                    // The rows of an array with a layout need not follow each other.
                    let reach = match vector.layout {
                        Some(_) if !quick.disjoint_pairs.is_empty() => {
                            memory.addresses(vector.memory.itemsize).len()
                        }
                        _ => size,
                    };
                    *self.sizes.get_mut(vector.index)? = reach as u64;
                    // The sum wraps only on 32-bit systems, if large arrays overlap.
                    nbytes = nbytes.wrapping_add(size);
                    address as u64
                } else if vector.takes_text {
                    let text = argument.text()?;
                    let size = vector.text_size(text, &mut self.extents)?;
                    *self.sizes.get_mut(vector.index)? = size;
                    text.as_ptr().expose_provenance() as u64
                } else {
                    let (number, copy) = vector.number?;
                    self.pass(Destination::Copy(copy), argument.number(number)?)?;
                    continue;
                }
            } else {
                match &step.kind {
                    Kind::Number(number, destination) => {
                        self.pass(*destination, argument.number(*number)?)?;
                        continue;
                    }
                    Kind::Text => {
                        let text = check_text(argument.text()?).ok()?;
                        text.as_ptr().expose_provenance() as u64
                    }
                    Kind::Array(_) | Kind::InOut(_) => return None,
                }
            };
            self.pass(Destination::Slot(step.slot), slot)?;
        }
        match &quick.numbers {
            Some(numbers) => self.finish_numbers(numbers)?,
            None => self.set_strides(0)?,
        }
        self.check_strides()?;
        self.finish_extents()?;
        self.are_disjoint(arguments)?.then_some(nbytes)
    }

    /// Returns an output that was left out, by its index; `None` beyond the last one.
    #[must_use]
    pub fn output(&self, index: usize) -> Option<Output> {
        let output = self.left_out(index)?;
        Some(Output {
            role: Role::Parameter(output.position),
            shape: output.shape().into(),
            order: Dims::new(),
            is_column_major: output.is_column_major,
            fill: output.fill,
        })
    }

    /// Returns an output that was left out, by its index, in a form that needs no allocation; `None` beyond the last
    /// one.
    #[must_use]
    #[inline]
    pub fn left_out(&self, index: usize) -> Option<LeftOut> {
        let step = self
            .quick
            .outputs
            .get(index)
            .filter(|_| !self.is_complete)?;
        let step = self.quick.steps.get(*step)?;
        let mut output = LeftOut {
            position: step.position,
            lengths: [1; RANK],
            rank: 1,
            is_column_major: false,
            fill: None,
        };
        match &step.kind {
            Kind::Array(vector) => {
                output.rank = vector.axes.len();
                for (length, &axis) in output.lengths.iter_mut().zip(&vector.axes) {
                    *length = usize::try_from(*self.extents.get(axis)?).ok()?;
                }
                let layout = vector.layout.as_ref();
                output.is_column_major = layout.is_some_and(|layout| layout.is_column_major);
            }
            Kind::InOut(extent) => output.fill = self.extents.get(*extent).copied(),
            _ => return None,
        }
        Some(output)
    }

    /// Sets the address of an allocated output, by its index; `None` if it needs the full check.
    #[inline]
    pub fn place(&mut self, index: usize, address: *mut u8) -> Option<()> {
        let step = self.quick.steps.get(*self.quick.outputs.get(index)?)?;
        let address = address.expose_provenance();
        if let Kind::Array(vector) = &step.kind
            && address & vector.memory.misaligned != 0
        {
            return None;
        }
        self.pass(Destination::Slot(step.slot), address as u64)
    }

    /// Returns the slots of the frame, with the addresses of the copies of numbers: the call must not be moved
    /// while C uses them.
    #[inline]
    pub fn slots(&mut self) -> &mut [u64] {
        for &(slot, copy) in &self.quick.references {
            if let (Some(slot), Some(copy)) = (self.frame.0.get_mut(slot), self.copies.get_mut(copy))
                // An array may have been given in place of the number.
                && *slot == 0
            {
                *slot = std::ptr::from_mut(copy).expose_provenance() as u64;
            }
        }
        &mut self.frame.0
    }

    /// Returns the slots of the result in the frame of a finished call.
    #[must_use]
    #[inline]
    pub fn result(&self) -> &[u64] {
        self.frame.0.get(self.quick.result..).unwrap_or_default()
    }

    #[inline]
    fn is_omitted(&self, step: &Step<D>) -> bool {
        !self.is_complete && step.required.is_none()
    }

    /// Passes a value.
    #[inline]
    fn pass(&mut self, destination: Destination, value: u64) -> Option<()> {
        let place = match destination {
            Destination::Slot(slot) => self.frame.0.get_mut(slot)?,
            Destination::Copy(copy) => self.copies.get_mut(copy)?,
        };
        *place = value;
        Some(())
    }

    /// Returns the value at a destination.
    #[inline]
    fn passed(&self, destination: Destination) -> Option<u64> {
        match destination {
            Destination::Slot(slot) => self.frame.0.get(slot).copied(),
            Destination::Copy(copy) => self.copies.get(copy).copied(),
        }
    }

    /// Sets the distances between rows that no array has set to the length of the longest row, so that the
    /// rows of outputs that are left out follow each other. `unknown` has the bits of the extents whose
    /// expressions have no value yet.
    #[inline]
    fn set_strides(&mut self, unknown: u32) -> Option<()> {
        if self.quick.strides.is_empty() {
            return Some(());
        }
        let known = self.extents;
        for stride in &self.quick.strides {
            if *known.get(stride.extent)? != UNSET || self.is_null(stride)? {
                continue;
            }
            let is_unknown = stride.row.is_some_and(|row| unknown & (1 << row) != 0);
            let Some(row) = row_of(stride, &known).filter(|_| !is_unknown) else {
                continue;
            };
            let extent = self.extents.get_mut(stride.extent)?;
            if *extent == UNSET || *extent < row {
                *extent = row;
            }
        }
        Some(())
    }

    /// Compares the distances between rows with the lengths of the rows.
    #[inline]
    fn check_strides(&self) -> Option<()> {
        for stride in &self.quick.strides {
            if self.is_null(stride)? {
                continue;
            }
            let (row, distance) = (
                row_of(stride, &self.extents)?,
                *self.extents.get(stride.extent)?,
            );
            let is_omitted = self.is_omitted(self.quick.steps.get(stride.step)?);
            if distance < row || (is_omitted && distance != row) {
                return None;
            }
        }
        Some(())
    }

    /// Returns whether NULL is passed for an array with a stride.
    #[inline]
    fn is_null(&self, stride: &Stride) -> Option<bool> {
        Some(stride.is_nullable && self.is_omitted(self.quick.steps.get(stride.step)?))
    }

    /// Passes the inferred numbers.
    #[inline]
    fn finish_extents(&mut self) -> Option<()> {
        let quick = self.quick;
        for (index, inferred) in quick.inferred.iter().enumerate() {
            let extent = *self.extents.get(index)?;
            if extent > inferred.max {
                return None;
            }
            if let Some(destination) = inferred.destination {
                self.pass(destination, extent)?;
            }
        }
        Some(())
    }

    /// Returns whether no two arrays share a byte where they must not; `None` if it is not known.
    #[inline]
    fn are_disjoint<'a, A: QuickArgument<'a, D>>(
        &self,
        arguments: &(impl ExactSizeIterator<Item = A> + Clone),
    ) -> Option<bool> {
        for &(one, other) in &self.quick.disjoint_pairs {
            let (first, second) = (self.range(one)?, self.range(other)?);
            if overlap(first, second) {
                return Some(false);
            }
            // No bytes are shared with an array that has none, or that is left out.
            if first.1 == 0 || second.1 == 0 {
                continue;
            }
            let argument = |step: usize| {
                let required = self.quick.steps.get(step)?.required;
                arguments
                    .clone()
                    .nth(if self.is_complete { step } else { required? })
            };
            if may_alias(argument(one)?, || argument(other))? {
                return None;
            }
        }
        Some(true)
    }

    /// Returns the address and the size in bytes of the array of a step.
    #[inline]
    fn range(&self, step: usize) -> Option<(u64, u64)> {
        let step = self.quick.steps.get(step)?;
        let Kind::Array(vector) = &step.kind else {
            return None;
        };
        Some((
            *self.frame.0.get(step.slot)?,
            *self.sizes.get(vector.index)?,
        ))
    }

    /// Completes the numbers that equal expressions, and verifies all conditions that are expressions.
    fn finish_numbers(&mut self, numbers: &Numbers) -> Option<()> {
        let mut values: Values = [None; SmallFrame::SLOTS];
        self.read_values(numbers, &mut values)?;
        // The distance between the rows of an array that was left out depends on its extents, which may
        // be derived; a derived number may depend on such a distance.
        let unknown = self.derive(numbers, &mut values, false)?;
        self.set_strides(unknown)?;
        self.read_values(numbers, &mut values)?;
        self.derive(numbers, &mut values, true)?;
        for (position, source, [least, most]) in &numbers.bounded {
            let known = values.get(*position).copied().flatten();
            let value = match (known, *source) {
                (Some(value), _) => Scalar::Int(value),
                (None, Source::Number(number, place)) => number.value(&[self.passed(place)?]),
                (None, Source::Extent(_)) => return None,
            };
            if !is_within(value, least.value(&values).ok()?, most.value(&values).ok()?) {
                return None;
            }
        }
        Some(())
    }

    /// Reads the values that are known.
    fn read_values(&self, numbers: &Numbers, values: &mut Values) -> Option<()> {
        for (position, source) in &numbers.sources {
            let value = match *source {
                Source::Extent(extent) => {
                    let extent = *self.extents.get(extent)?;
                    (extent != UNSET).then(|| extent.into())
                }
                Source::Number(number, destination) => number.integer(self.passed(destination)?),
            };
            *values.get_mut(*position)? = value;
        }
        Some(())
    }

    /// Sets the numbers and extents that equal an expression. If not `is_last`, those are left out whose
    /// expression needs a value that is not known yet. Returns the bits of the extents that are left out.
    fn derive(&mut self, numbers: &Numbers, values: &mut Values, is_last: bool) -> Option<u32> {
        for (position, expression, source) in &numbers.equal {
            let value = match expression.value(&*values) {
                Err(ExtentError::Missing { .. }) if !is_last => continue,
                value => value.ok()?,
            };
            match *source {
                Source::Extent(extent) => self.set_extent(extent, value)?,
                Source::Number(number, destination) => {
                    let slots = number.slots(Scalar::Int(value)).ok()?;
                    self.pass(destination, slots[0])?;
                }
            }
            *values.get_mut(*position)? = Some(value);
        }
        let mut unknown = 0;
        for (extent, expression) in &numbers.extents {
            match expression.value(&*values) {
                Err(ExtentError::Missing { .. }) if !is_last => unknown |= 1 << extent,
                value => self.set_extent(*extent, value.ok()?)?,
            }
        }
        Some(unknown)
    }

    /// Compares an extent with the value of its expression, or sets it.
    fn set_extent(&mut self, extent: usize, value: i128) -> Option<()> {
        let value = isize::try_from(value)
            .ok()
            .and_then(|value| u64::try_from(value).ok())?;
        agrees(self.extents.get_mut(extent)?, value).then_some(())
    }
}

/// Returns the length of a row, which is at least 1; `None` if it is not known.
#[inline]
fn row_of(stride: &Stride, extents: &[u64; EXTENTS]) -> Option<u64> {
    match stride.row {
        None => Some(1),
        Some(row) => match *extents.get(row)? {
            UNSET => None,
            row => Some(row.max(1)),
        },
    }
}
