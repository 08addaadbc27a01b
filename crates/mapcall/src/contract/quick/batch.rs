//! The quick check of a batch whose arrays are contiguous, or have one axis, and have one shape.

use mapcall_array::layout::Dims;

use super::{QuickArgument, may_alias};
use crate::call::{OperandKind, SmallFrame, StridedPointer};
use crate::contract::Contract;
use crate::contract::dimension::{Dimension, UNSET, agrees};
use crate::contract::extent_rule::ExtentRule;
use crate::contract::memory::{Memory, overlap};
use crate::contract::number::Number;
use crate::contract::role::Role;
use crate::contract::rule::{ArrayRule, MemoryRule, Rule};
use crate::ctype::CType;

/// The maximum number of extents: the inferred ones and constants.
const EXTENTS: usize = 8;

/// The maximum number of operands: the arguments and the result.
const OPERANDS: usize = 8;

/// The contract of batches as a list of comparisons.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::{Backing, Contract, Memory, QuickBatch, QuickBatchCall, Role};
///
/// let contract = Contract::new(Prototype::parse("double sum(const double x[3])")?)?;
/// let quick = QuickBatch::new(&contract, |_| Some(())).unwrap();
/// let x = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
/// let memory = Memory {
///     address: x.as_ptr().cast_mut().cast(),
///     shape: &[2, 3],
///     strides: &[24, 8],
///     is_contiguous: true,
///     is_writeable: false,
///     is_shared: false,
///     backing: Backing::Private,
/// };
/// let mut call = QuickBatchCall::new(&quick);
/// call.fill(&[memory].into_iter(), None).unwrap();
/// assert_eq!(call.calls(), 2);
///
/// // The results have to be allocated.
/// let output = call.output().unwrap();
/// assert_eq!((output.role, output.shape.as_slice()), (Role::Result, &[2][..]));
/// let mut sums = [0.0; 2];
/// call.place(&output, sums.as_mut_ptr().cast()).unwrap();
/// assert!(call.output().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `D` is the type of an array's dtype in the host language.
#[derive(Clone, Debug)]
pub struct QuickBatch<D> {
    /// One step for each argument, in their order.
    steps: Box<[Step<D>]>,
    /// The number of arguments that can't be left out.
    required: usize,
    /// The extents before the first array is read: the inferred ones, unset, then constants.
    extents: [u64; EXTENTS],
    inferred: Box<[Dimension]>,
    /// The arrays for the results; `None` if the function returns nothing.
    result: Option<Items<D>>,
    /// The slot of the result.
    result_slot: usize,
    /// The number of all parameters.
    parameters: usize,
}

/// The check of one argument.
#[derive(Clone, Debug)]
struct Step<D> {
    position: usize,
    /// The slot of the frame that it is passed in.
    slot: usize,
    /// Whether it can't be left out.
    is_required: bool,
    /// Whether an array is allocated if it is left out.
    is_output: bool,
    /// The type of the numbers that it takes.
    number: Option<Number>,
    /// The arrays that it takes.
    items: Option<Items<D>>,
    /// The bits of the steps whose arrays must not share a byte with this one.
    disjoint: u32,
}

/// The rule of arrays with an item for each call.
#[derive(Clone, Debug)]
struct Items<D> {
    dtype: D,
    memory: MemoryRule,
    /// The index of the extent of each core axis.
    axes: Box<[usize]>,
}

/// An output that has to be allocated for a [`QuickBatchCall`]: a contiguous array.
#[derive(Clone, Debug)]
pub struct QuickOutput<'q, D> {
    /// The parameter, or the result, that the output is for.
    pub role: Role,
    /// The dtype.
    pub dtype: &'q D,
    /// The lengths of the axes, those of the batch first.
    pub shape: Dims<usize>,
    index: usize,
    /// The size of an item, in bytes.
    size: usize,
    misaligned: usize,
}

/// The arguments of a batch by a [`QuickBatch`], which has an example.
#[derive(Debug)]
pub struct QuickBatchCall<'q, D> {
    quick: &'q QuickBatch<D>,
    frame: SmallFrame,
    extents: [u64; EXTENTS],
    /// The lengths of the batch's axes; `None` before an array has them.
    shape: Option<Dims<usize>>,
    calls: usize,
    /// The operands, by their steps. The result follows them.
    operands: [Placed; OPERANDS],
    /// The bits of the operands that have an item for each call.
    moving: u32,
    /// The bits of the arrays that were given.
    arrays: u32,
    /// The bits of the arrays that were given and that C writes.
    written: u32,
    /// The bits of the outputs without an array.
    omitted: u32,
}

/// The memory of an operand.
#[derive(Clone, Copy, Debug)]
struct Placed {
    /// The pointer to the item of the first call.
    pointer: StridedPointer,
    /// The size of an item, in bytes.
    size: usize,
    /// The lowest address, and the number of bytes up to the end of the highest item.
    span: (u64, u64),
}

impl Placed {
    const NOWHERE: Self = Self {
        pointer: StridedPointer {
            address: std::ptr::null_mut(),
            stride: 0,
        },
        size: 0,
        span: (0, 0),
    };
}

impl<D> QuickBatch<D> {
    /// Makes the list for a contract, with the dtypes of the arrays for its parameters and its result; `None` if
    /// all batches need the full check.
    pub fn new(contract: &Contract, dtype: impl Fn(Role) -> Option<D>) -> Option<Self> {
        let layout = &contract.layout;
        let dimensions = contract.inferred.len();
        let is_small = layout.slots() <= SmallFrame::SLOTS
            && dimensions <= EXTENTS
            && contract.arguments.len() < OPERANDS;
        let prototype = &contract.prototype;
        if contract.derived.is_needed
            || contract.is_unbatched()
            || prototype.is_variadic
            || !is_small
        {
            return None;
        }
        let mut extents = [UNSET; EXTENTS];
        let mut constants = extents.iter_mut().enumerate().skip(dimensions);
        let mut steps = Vec::new();
        for (position, rule) in contract.rules.iter().enumerate() {
            let role = Role::Parameter(position);
            let scalar = contract.scalar(position);
            let (number, items) = match rule {
                Rule::Inferred(_) => continue,
                Rule::Number(number) => {
                    (Some(*number).filter(|number| number.count() == 1), scalar)
                }
                Rule::Record { .. } => (None, scalar),
                Rule::Array(rule) => (None, Some(rule)),
                _ => return None,
            };
            let items = match items {
                Some(rule) => Some(Items::new(rule, dtype(role)?, &mut constants)?),
                None => None,
            };
            let is_nullable = contract.is_nullable(position);
            steps.push(Step {
                position,
                slot: layout.parameter(position),
                is_required: !contract.is_optional(position),
                is_output: contract.output_index(role).is_some() && !is_nullable,
                number,
                items,
                disjoint: 0,
            });
        }
        let taken = steps.iter().map(|step| step.position);
        if !taken.eq(contract.arguments.iter().copied()) {
            return None;
        }
        let positions: Vec<usize> = steps.iter().map(|step| step.position).collect();
        for step in &mut steps {
            let one = Role::Parameter(step.position);
            let others = positions.iter().zip(0_u32..);
            let others = others
                .filter(|(other, _)| contract.must_be_disjoint(one, Role::Parameter(**other)));
            step.disjoint = others.map(|(_, index)| 1 << index).sum();
        }
        let result = match contract.returned() {
            Some(rule) => Some(Items::new(rule, dtype(Role::Result)?, &mut constants)?),
            None => None,
        };
        Some(Self {
            required: steps.iter().filter(|step| step.is_required).count(),
            steps: steps.into(),
            extents,
            inferred: contract.inferred.clone(),
            result,
            result_slot: layout.result(),
            parameters: contract.rules.len(),
        })
    }

    /// Returns the arrays that an operand takes.
    #[inline]
    fn items(&self, index: usize) -> Option<&Items<D>> {
        match self.steps.get(index) {
            Some(step) => step.items.as_ref(),
            None => self.result.as_ref(),
        }
    }
}

impl<D> Items<D> {
    fn new<'e>(
        rule: &ArrayRule,
        dtype: D,
        constants: &mut impl Iterator<Item = (usize, &'e mut u64)>,
    ) -> Option<Self> {
        // The handles of pointers in an array are made by the full path.
        if matches!(rule.ctype().resolved(), CType::Pointer(_)) {
            return None;
        }
        let axis = |extent: &ExtentRule| match extent {
            ExtentRule::Dimension { dimension, .. } => Some(*dimension),
            ExtentRule::Constant(value) => {
                let (index, extent) = constants.next()?;
                *extent = *value as u64;
                Some(index)
            }
            ExtentRule::Expression(_) | ExtentRule::Unknown => None,
        };
        Some(Self {
            dtype,
            memory: rule.memory,
            axes: rule.extents().iter().map(axis).collect::<Option<_>>()?,
        })
    }
}

impl<'q, D> QuickBatchCall<'q, D> {
    /// Starts a batch. [`fill`](Self::fill) is called once.
    #[must_use]
    #[inline]
    pub fn new(quick: &'q QuickBatch<D>) -> Self {
        Self {
            quick,
            frame: SmallFrame::default(),
            extents: quick.extents,
            shape: None,
            calls: 0,
            operands: [Placed::NOWHERE; OPERANDS],
            moving: 0,
            arrays: 0,
            written: 0,
            omitted: 0,
        }
    }

    /// Reads the arguments: all, or all that are required. `out` is the array for the only output without an
    /// argument. Returns `None` if the call is no batch, or needs the full check.
    pub fn fill<'a, A: QuickArgument<'a, D>>(
        &mut self,
        arguments: &(impl ExactSizeIterator<Item = A> + Clone),
        out: Option<A>,
    ) -> Option<()> {
        let quick = self.quick;
        let is_complete = arguments.len() == quick.steps.len();
        if !(is_complete || arguments.len() == quick.required) {
            return None;
        }
        let mut rest = arguments.clone();
        for (index, step) in quick.steps.iter().enumerate() {
            if !(is_complete || step.is_required) {
                if !step.is_output {
                    return None;
                }
                self.omitted |= 1 << index;
                continue;
            }
            let argument = rest.next()?;
            if let Some(number) = step.number
                && let Some(value) = argument.number(number)
            {
                *self.frame.0.get_mut(step.slot)? = value;
                continue;
            }
            let items = step.items.as_ref()?;
            let memory = argument.array(&items.dtype)?;
            self.read(index, items, &memory)?;
        }
        if quick.result.is_some() {
            self.omitted |= 1 << quick.steps.len();
        }
        if let Some(out) = out {
            let index = self.omitted.trailing_zeros() as usize;
            if self.omitted.count_ones() != 1 {
                return None;
            }
            let items = quick.items(index)?;
            self.read(index, items, &out.array(&items.dtype)?)?;
            self.omitted = 0;
        }
        self.shape.as_ref()?;
        for (inferred, &extent) in quick.inferred.iter().zip(&self.extents) {
            if extent > inferred.max {
                return None;
            }
            *self.frame.0.get_mut(inferred.slot)? = extent;
        }
        if self.written == 0 {
            return Some(());
        }
        self.share_nothing(|index| {
            let step = quick.steps.get(index);
            match step.filter(|step| is_complete || step.is_required) {
                None => out,
                Some(_) if is_complete => arguments.clone().nth(index),
                Some(_) => {
                    let before = quick.steps.iter().take(index);
                    let given = before.filter(|step| step.is_required).count();
                    arguments.clone().nth(given)
                }
            }
        })
    }

    /// Reads an array.
    #[inline]
    fn read(&mut self, index: usize, items: &Items<D>, memory: &Memory<'_>) -> Option<()> {
        let rule = &items.memory;
        let address = memory.address.expose_provenance();
        if !rule.accepts_scalars(memory, address) {
            return None;
        }
        let axes = memory.shape.len().checked_sub(items.axes.len())?;
        let (shape, core) = memory.shape.split_at_checked(axes)?;
        let mut size = rule.itemsize;
        for (&axis, &length) in items.axes.iter().zip(core) {
            if !agrees(self.extents.get_mut(axis)?, length as u64) {
                return None;
            }
            // This does not overflow: the elements exist.
            size = size.wrapping_mul(length);
        }
        // Without bytes, strides mean nothing. The array of one item for all calls is only read, and no number.
        let is_fixed = shape.is_empty();
        if size == 0 || (is_fixed && (core.is_empty() || !rule.is_const)) {
            return None;
        }
        let stride = match (shape, memory.strides) {
            _ if memory.is_contiguous => size.cast_signed(),
            ([_], &[stride]) => {
                let is_separate = rule.is_const || stride.unsigned_abs() >= size;
                if stride.cast_unsigned() & rule.misaligned != 0 || !is_separate {
                    return None;
                }
                stride
            }
            _ => return None,
        };
        let bit = 1 << index;
        let mut moved = 0;
        if is_fixed {
            let slot = self.quick.steps.get(index)?.slot;
            *self.frame.0.get_mut(slot)? = address as u64;
        } else {
            match &self.shape {
                None => {
                    self.calls = shape.iter().product();
                    self.shape = Some(Dims::from_slice(shape));
                }
                Some(known) if known.as_slice() == shape => {}
                Some(_) => return None,
            }
            moved = stride.wrapping_mul(self.calls.checked_sub(1)?.cast_signed());
            self.moving |= bit;
        }
        self.arrays |= bit;
        if !rule.is_const {
            self.written |= bit;
        }
        let lowest = address.wrapping_add_signed(moved.min(0));
        *self.operands.get_mut(index)? = Placed {
            pointer: StridedPointer {
                address: memory.address,
                stride,
            },
            size,
            span: (
                lowest as u64,
                (moved.unsigned_abs().wrapping_add(size)) as u64,
            ),
        };
        Some(())
    }

    /// Checks that no call writes memory that another one uses: an array that is written shares no byte with
    /// another one, unless both have the same bytes in each call.
    #[inline]
    fn share_nothing<'a, A: QuickArgument<'a, D>>(
        &self,
        argument: impl Fn(usize) -> Option<A>,
    ) -> Option<()> {
        for (index, one) in self.operands.iter().enumerate() {
            if self.written & (1 << index) == 0 {
                continue;
            }
            let disjoint = self.quick.steps.get(index).map_or(0, |step| step.disjoint);
            for (other_index, other) in self.operands.iter().enumerate() {
                let bit = 1 << other_index;
                if other_index == index || self.arrays & bit == 0 {
                    continue;
                }
                let is_same = one.pointer.address == other.pointer.address
                    && one.pointer.stride == other.pointer.stride
                    && one.size == other.size
                    && self.moving & bit != 0;
                if overlap(one.span, other.span) && (!is_same || disjoint & bit != 0) {
                    return None;
                }
                if may_alias(argument(index)?, || argument(other_index))? {
                    return None;
                }
            }
        }
        Some(())
    }

    /// Returns the number of calls.
    #[must_use]
    #[inline]
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Returns the next output that has to be allocated, in the order in which they are returned; `None` if all
    /// outputs have their memory, or if the length of an axis is not known.
    #[must_use]
    #[inline]
    pub fn output(&self) -> Option<QuickOutput<'q, D>> {
        let quick = self.quick;
        let result = quick.steps.len();
        let index = match self.omitted {
            0 => return None,
            omitted if omitted & (1 << result) != 0 => result,
            omitted => omitted.trailing_zeros() as usize,
        };
        let items = quick.items(index)?;
        let mut shape = self.shape.clone()?;
        let mut size = items.memory.itemsize;
        for &axis in &items.axes {
            let length = usize::try_from(*self.extents.get(axis)?).ok()?;
            size = size.checked_mul(length)?;
            shape.push(length);
        }
        let position = quick.steps.get(index).map(|step| step.position);
        Some(QuickOutput {
            role: position.map_or(Role::Result, Role::Parameter),
            dtype: &items.dtype,
            shape,
            index,
            size,
            misaligned: items.memory.misaligned,
        })
    }

    /// Sets the address of an output that has been allocated; `None` if its alignment needs the full check.
    #[inline]
    pub fn place(&mut self, output: &QuickOutput<'q, D>, address: *mut u8) -> Option<()> {
        let start = address.expose_provenance();
        if start & output.misaligned != 0 {
            return None;
        }
        *self.operands.get_mut(output.index)? = Placed {
            pointer: StridedPointer {
                address,
                stride: output.size.cast_signed(),
            },
            size: output.size,
            span: (start as u64, output.size.wrapping_mul(self.calls) as u64),
        };
        self.moving |= 1 << output.index;
        self.omitted &= !(1 << output.index);
        Some(())
    }

    /// Returns whether all outputs have their memory.
    #[must_use]
    #[inline]
    pub fn is_placed(&self) -> bool {
        self.omitted == 0
    }

    /// Returns the lengths of the batch's axes.
    pub(crate) fn shape(&self) -> &[usize] {
        self.shape.as_deref().unwrap_or_default()
    }

    /// Returns a number that differs for batches with other loops.
    #[inline]
    pub(crate) fn moving(&self) -> u32 {
        self.moving
    }

    /// Returns the kind of each parameter in the loop of calls, and whether the result is stored.
    pub(crate) fn kinds(&self) -> (impl Iterator<Item = OperandKind>, bool) {
        let kind = |position| {
            let mut steps = self.quick.steps.iter().enumerate();
            let step = steps.find(|(_, step)| step.position == position);
            match step.filter(|(index, _)| self.moving & (1 << index) != 0) {
                None => OperandKind::Constant,
                Some((_, step))
                    if step
                        .items
                        .as_ref()
                        .is_some_and(|items| items.axes.is_empty()) =>
                {
                    OperandKind::Strided
                }
                Some(_) => OperandKind::Pointer,
            }
        };
        let kinds = (0..self.quick.parameters).map(kind);
        (kinds, self.quick.result.is_some())
    }

    /// Returns the slots of the frame, and the pointers of the loop of calls with their number.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&mut [u64], [StridedPointer; OPERANDS], usize) {
        let mut pointers = [Placed::NOWHERE.pointer; OPERANDS];
        let mut count = 0;
        for (index, operand) in self.operands.iter().enumerate() {
            if self.moving & (1 << index) != 0
                && let Some(pointer) = pointers.get_mut(count)
            {
                *pointer = operand.pointer;
                count += 1;
            }
        }
        (&mut self.frame.0, pointers, count)
    }

    /// Returns the addresses of the operands.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let spans = self.operands.iter().map(|operand| operand.span);
        spans
            .filter(|(_, size)| *size > 0)
            .filter_map(|(start, size)| {
                let start = usize::try_from(start).ok()?;
                Some(start..start.saturating_add(usize::try_from(size).ok()?))
            })
    }

    /// Returns the slots of the result in the frame.
    pub(crate) fn result(&self) -> &[u64] {
        self.frame
            .0
            .get(self.quick.result_slot..)
            .unwrap_or_default()
    }
}
