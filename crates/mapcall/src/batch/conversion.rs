//! Operands whose items are converted for the calls of a batch, in buffers that stay in a core's cache.
//!
//! Each thread converts the items of a chunk into buffers of its own, makes the calls on these, and converts what they
//! have written back. An operand that is repeated along the batch is converted once, before the first call, if its
//! items are few.

#![allow(unsafe_code)]

use std::ops::{ControlFlow, Range};
use std::ptr;
use std::sync::Arc;

use mapcall_array::layout::Dims;
use mapcall_array::{Buffer, Result};
use smallvec::{SmallVec, smallvec};

use super::plan::{MovingOperands, Plan};
use crate::call::OperandKind;
use crate::contract::{BroadcastPlan, Contract, Conversion, Operand, Role};

/// The size of a thread's buffer for an operand, in bytes. One item is converted at once if it is larger.
const BUFFER: usize = 256 << 10;

/// The largest size of the items of a repeated operand that are converted once, in bytes. More items are converted
/// chunk by chunk, each time that they are repeated.
const REPEATED: usize = 16 << 20;

/// Calls by their numbers, in runs.
type Calls = SmallVec<[Range<usize>; 1]>;

/// The copies of operands that were converted before the first call. The plan has their addresses.
pub(super) type Copies = Vec<Buffer>;

/// The operands whose items are converted chunk by chunk.
pub(super) struct Conversions {
    operands: Vec<ConvertedOperand>,
    /// The plan of the calls, with operands in buffers in the place of those that are converted.
    plan: Plan,
}

/// An operand whose items are converted chunk by chunk.
struct ConvertedOperand {
    conversion: Arc<Conversion>,
    /// The index of its pointer in the plan of the calls.
    pointer: usize,
    role: Role,
    /// The iteration over its items outside.
    items: Plan,
    /// The number of consecutive calls that get the same item.
    repeats: usize,
}

/// A thread's buffers, one for each converted operand.
pub(super) struct ConversionBuffers<'a> {
    conversions: &'a Conversions,
    buffers: Vec<ItemBuffer>,
}

/// The buffer of a converted operand.
struct ItemBuffer {
    memory: Buffer,
    /// The items that are in the buffer. The first one is at its start.
    items: Range<usize>,
}

/// Returns the strides inside along the axes of a batch: 0 along those that `is_repeated`.
fn strides_inside(
    broadcast: &BroadcastPlan,
    size: usize,
    mut is_repeated: impl FnMut(usize) -> bool,
) -> Dims<isize> {
    let shape = broadcast.shape();
    let mut strides = Dims::from_elem(0, shape.len());
    let mut step = size;
    for &axis in broadcast.order_of_axes().iter().rev() {
        let length = shape.get(axis).copied().unwrap_or(1);
        if is_repeated(axis) {
            continue;
        }
        if let Some(stride) = strides.get_mut(axis) {
            *stride = step.cast_signed();
        }
        step = step.wrapping_mul(length);
    }
    strides
}

/// Converts the operands that are repeated along the batch and that are small, or the same in each call. Sets their
/// addresses in the plan and in the frame. `report` is called every few milliseconds; returns `None` if it ends the
/// batch.
///
/// # Safety
///
/// The memory of the operands is valid for reads, and no other code writes it meanwhile.
pub(super) unsafe fn convert_repeated(
    contract: &Contract,
    broadcast: &mut BroadcastPlan,
    frame: &mut [u64],
    report: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Option<Copies>> {
    let mut copies = Copies::new();
    let calls = broadcast.calls();
    for index in 0..broadcast.operands().len() {
        let Some(operand) = broadcast.operands().get(index) else {
            break;
        };
        let Some(conversion) = operand.conversion.clone() else {
            continue;
        };
        let items = Plan::of(broadcast, operand).without_repeats();
        let is_constant = operand.strides.iter().all(|&stride| stride == 0);
        let bytes = items.calls().saturating_mul(conversion.size());
        let is_small = items.calls() < calls && bytes <= REPEATED;
        if conversion.stores() || !(is_constant || is_small) {
            // An array that is written has an item for each call.
            if let Some(operand) = broadcast.operands_mut().get_mut(index)
                && operand.kind == OperandKind::Constant
            {
                operand.kind = OperandKind::Pointer;
            }
            continue;
        }
        let strides = strides_inside(broadcast, conversion.size(), |axis| {
            operand.strides.get(axis).is_none_or(|&stride| stride == 0)
        });
        let copy = Buffer::zeroed(bytes)?;
        let visited = items.for_each_run(0..items.calls(), |run| {
            let Some(pointer) = run.pointers.first() else {
                return ControlFlow::Continue(());
            };
            for item in 0..run.count {
                let inside = (run.first + item).wrapping_mul(conversion.size());
                let inside = copy.as_mut_ptr().wrapping_add(inside);
                let outside = pointer.after(item).address;
                // SAFETY: the caller guarantees that the items are valid for reads. The copy has room for all of
                // them, and nothing else has its address.
                unsafe { conversion.load_in_pieces(outside, inside, report) }?;
            }
            ControlFlow::Continue(())
        });
        if visited.is_break() {
            return Ok(None);
        }
        let address = copy.as_mut_ptr();
        copies.push(copy);
        let Some(operand) = broadcast.operands_mut().get_mut(index) else {
            break;
        };
        operand.put_inside(address, strides);
        if operand.kind == OperandKind::Constant
            && let Role::Parameter(position) = operand.role
            && let Some(slot) = contract.layout().parameters().get(position)
            && let Some(slot) = frame.get_mut(*slot)
        {
            *slot = address.expose_provenance() as u64;
        }
    }
    Ok(Some(copies))
}

impl Conversions {
    /// Plans the conversion of the operands that are left after [`convert_repeated`]; `None` if there are none.
    pub(super) fn new(broadcast: &BroadcastPlan, moving: &MovingOperands<'_>) -> Option<Self> {
        let mut operands = Vec::new();
        let mut inside: SmallVec<[Operand; 4]> = SmallVec::new();
        for (pointer, &operand) in moving.operands.iter().enumerate() {
            let mut copy = operand.clone();
            if let Some(conversion) = &operand.conversion {
                let (items, repeats) = Plan::of(broadcast, operand).split_repeats();
                let mut is_fastest = true;
                let strides = strides_inside(broadcast, conversion.size(), |axis| {
                    let is_long = broadcast
                        .shape()
                        .get(axis)
                        .is_some_and(|&length| length != 1);
                    let is_repeated = operand.strides.get(axis).is_none_or(|&stride| stride == 0);
                    is_fastest &= is_repeated || !is_long;
                    is_fastest
                });
                copy.put_inside(ptr::null_mut(), strides);
                operands.push(ConvertedOperand {
                    conversion: Arc::clone(conversion),
                    pointer,
                    role: operand.role,
                    items,
                    repeats,
                });
            }
            inside.push(copy);
        }
        if operands.is_empty() {
            return None;
        }
        let moving = MovingOperands {
            operands: inside.iter().collect(),
            mask: moving.mask,
        };
        let plan = Plan::new(broadcast, &moving);
        Some(Self { operands, plan })
    }

    /// Returns the plan of the calls, with operands in buffers in the place of those that are converted.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns the largest number of calls whose items fit in the buffers.
    pub(super) fn max_calls(&self) -> usize {
        let calls = self.operands.iter().map(|operand| {
            let items = BUFFER / operand.conversion.size().max(1);
            items.max(1).saturating_mul(operand.repeats)
        });
        calls.min().unwrap_or(usize::MAX)
    }
}

impl ConvertedOperand {
    /// Returns the numbers of the items that some calls get.
    fn items(&self, calls: &Range<usize>) -> Range<usize> {
        calls.start / self.repeats..calls.end.div_ceil(self.repeats)
    }

    /// Passes the addresses of some items to `visit`, in runs of a constant stride: those outside, and the offset
    /// of the first inside, in bytes.
    fn for_each(
        &self,
        items: Range<usize>,
        first: usize,
        mut visit: impl FnMut(usize, (*mut u8, isize), usize),
    ) {
        let visited = self.items.for_each_run(items, |run| -> ControlFlow<()> {
            if let Some(pointer) = run.pointers.first() {
                let inside = (run.first - first).wrapping_mul(self.conversion.size());
                visit(run.count, (pointer.address, pointer.stride), inside);
            }
            ControlFlow::Continue(())
        });
        debug_assert!(visited.is_continue(), "all runs are visited");
    }
}

impl<'a> ConversionBuffers<'a> {
    /// Allocates buffers for chunks of at most `calls` calls.
    pub(super) fn new(conversions: &'a Conversions, calls: usize) -> Result<Self> {
        let buffer = |operand: &ConvertedOperand| {
            // A chunk may begin and end within the repetitions of an item.
            let items = calls.div_ceil(operand.repeats).saturating_add(1);
            let items = items.min(operand.items.calls());
            Ok(ItemBuffer {
                memory: Buffer::zeroed(items.saturating_mul(operand.conversion.size()))?,
                items: 0..0,
            })
        };
        let buffers = conversions.operands.iter().map(buffer);
        Ok(Self {
            conversions,
            buffers: buffers.collect::<Result<_>>()?,
        })
    }

    /// Converts the items of a chunk for its calls, and sets the addresses of the buffers in `plan`.
    ///
    /// # Safety
    ///
    /// The items of these calls are valid for reads, and no other code writes them meanwhile.
    pub(super) unsafe fn load(&mut self, calls: &Range<usize>, plan: &mut Plan) {
        let selected = selected(plan, calls);
        for (operand, buffer) in self.conversions.operands.iter().zip(&mut self.buffers) {
            let items = operand.items(calls);
            let conversion = &operand.conversion;
            let is_held = buffer.items.start <= items.start && items.end <= buffer.items.end;
            // Calls may have written to the buffer, and those that the mask leaves out have no item there.
            if !is_held || conversion.stores() || plan.has_mask() {
                buffer.items = items;
                let first = buffer.items.start;
                let memory = buffer.memory.as_mut_ptr();
                for calls in selected.iter().filter(|_| conversion.loads()) {
                    operand.for_each(operand.items(calls), first, |count, outside, inside| {
                        let (address, stride) = outside;
                        let inside = memory.wrapping_add(inside);
                        // SAFETY: the caller guarantees that the items are valid for reads. The buffer has room for
                        // those of a chunk, and only this thread uses it.
                        unsafe {
                            conversion.load(count, (address.cast_const(), stride), inside);
                        }
                    });
                }
            }
            let before = buffer.items.start.wrapping_mul(conversion.size());
            let address = buffer.memory.as_mut_ptr().wrapping_sub(before);
            plan.set_address(operand.pointer, address);
        }
    }

    /// Converts what the calls of a chunk have written. `returned` are the calls whose results were stored, which
    /// are the first ones of `made`.
    ///
    /// # Safety
    ///
    /// The items of these calls are valid for writes, and no other code accesses them meanwhile.
    pub(super) unsafe fn store(&self, made: &Range<usize>, returned: &Range<usize>, plan: &Plan) {
        let stored = self.conversions.operands.iter().zip(&self.buffers);
        for (operand, buffer) in stored.filter(|(operand, _)| operand.conversion.stores()) {
            let calls = if operand.role == Role::Result {
                returned
            } else {
                made
            };
            let memory = buffer.memory.as_ptr();
            for calls in selected(plan, calls) {
                operand.for_each(calls, buffer.items.start, |count, outside, inside| {
                    let inside = memory.wrapping_add(inside);
                    // SAFETY: the caller guarantees that the items are valid for writes. The buffer has the items
                    // of the chunk, and only this thread uses it.
                    unsafe { operand.conversion.store(count, outside, inside) };
                });
            }
        }
    }
}

/// Returns the calls that the mask of a plan selects.
fn selected(plan: &Plan, calls: &Range<usize>) -> Calls {
    if !plan.has_mask() {
        return smallvec![calls.clone()];
    }
    let mut selected = Calls::new();
    let visited = plan.for_each_run(calls.clone(), |run| -> ControlFlow<()> {
        let Some(mask) = run.mask else {
            return ControlFlow::Continue(());
        };
        for item in 0..run.count {
            // SAFETY: the mask has a byte for each call.
            let byte = unsafe { mask.after(item).address.read() };
            let call = run.first + item;
            match selected.last_mut() {
                _ if byte == 0 => {}
                Some(last) if last.end == call => last.end += 1,
                _ => selected.push(call..call + 1),
            }
        }
        ControlFlow::Continue(())
    });
    debug_assert!(visited.is_continue(), "all runs are visited");
    selected
}
