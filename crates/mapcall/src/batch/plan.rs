//! The iteration of a batch: its axes, merged where the strides allow, in runs of constant strides.

#![allow(unsafe_code)]

use std::ops::{ControlFlow, Range};

use mapcall_array::layout::Dims;
use smallvec::SmallVec;

use crate::call::{OperandKind, StridedPointer};
use crate::contract::{BroadcastPlan, Contract, Operand, Role};

/// The order of the calls of a batch, and the addresses of their operands.
///
/// The calls of a batch are numbered in the order in which they are made by one thread.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The lengths of the merged axes, the slowest first; none has the length 1.
    axes: Dims<usize>,
    /// The address of each moving operand for the first call, and its strides along the axes.
    pointers: SmallVec<[PlannedOperand; 4]>,
    /// Whether the last of the pointers is that of the mask.
    has_mask: bool,
    calls: usize,
    /// The batch's axes before they were merged, in the order of the calls.
    order: Dims<usize>,
    shape: Dims<usize>,
}

#[derive(Clone, Debug)]
struct PlannedOperand {
    address: *mut u8,
    strides: Dims<isize>,
}

// SAFETY: the methods of the plan compute addresses and do not access the memory there.
unsafe impl Send for Plan {}
// SAFETY: a plan has no interior mutability, and its methods do not access the memory at its addresses.
unsafe impl Sync for Plan {}

/// Consecutive calls with constant strides.
pub(crate) struct Run<'a> {
    /// The pointers of a [`CallLoop`](crate::call::CallLoop), at the first call.
    pub(crate) pointers: &'a [StridedPointer],
    /// The mask, a byte for each call.
    pub(crate) mask: Option<StridedPointer>,
    /// The number of the first call.
    pub(crate) first: usize,
    /// The number of calls.
    pub(crate) count: usize,
}

/// The operands that move from call to call, in the order of a [`CallLoop`](crate::call::CallLoop)'s
/// pointers: parameters, then the result; and the mask.
pub(crate) struct MovingOperands<'a> {
    pub(crate) operands: SmallVec<[&'a Operand; 4]>,
    pub(crate) mask: Option<&'a Operand>,
}

impl<'a> MovingOperands<'a> {
    pub(crate) fn new(contract: &Contract, broadcast: &'a BroadcastPlan) -> Self {
        let of = |role| {
            broadcast
                .operands()
                .iter()
                .find(move |operand| operand.role == role)
        };
        let parameters = 0..contract.rules().len();
        let parameters = parameters.filter_map(|position| of(Role::Parameter(position)));
        let moving = parameters.filter(|operand| operand.kind != OperandKind::Constant);
        Self {
            operands: moving.chain(of(Role::Result)).collect(),
            mask: of(Role::Mask),
        }
    }
}

impl Plan {
    pub(crate) fn new(broadcast: &BroadcastPlan, moving: &MovingOperands<'_>) -> Self {
        let operands: SmallVec<[&Operand; 4]> =
            moving.operands.iter().copied().chain(moving.mask).collect();
        let shape = broadcast.shape();
        let mut plan = Self {
            axes: Dims::new(),
            pointers: operands
                .iter()
                .map(|operand| PlannedOperand {
                    address: operand.address,
                    strides: Dims::new(),
                })
                .collect(),
            has_mask: moving.mask.is_some(),
            calls: broadcast.calls(),
            order: broadcast.order_of_axes().into(),
            shape: shape.into(),
        };
        for &axis in broadcast.order_of_axes() {
            let length = shape.get(axis).copied().unwrap_or(1);
            let strides = operands
                .iter()
                .map(|operand| operand.strides.get(axis).copied().unwrap_or(0));
            if length != 1 {
                plan.push(length, &strides.collect::<SmallVec<[isize; 4]>>());
            }
        }
        plan
    }

    /// Returns the plan of calls in C order along axes, whose pointers move by one stride from call to call.
    pub(crate) fn of_run(pointers: &[StridedPointer], calls: usize, shape: &[usize]) -> Self {
        let planned = |pointer: &StridedPointer| PlannedOperand {
            address: pointer.address,
            strides: [pointer.stride].into_iter().collect(),
        };
        Self {
            axes: [calls].into_iter().collect(),
            pointers: pointers.iter().map(planned).collect(),
            has_mask: false,
            calls,
            order: (0..shape.len()).collect(),
            shape: shape.into(),
        }
    }

    /// Plans the iteration over the items of one operand.
    pub(crate) fn of(broadcast: &BroadcastPlan, operand: &Operand) -> Self {
        let operands = [operand].into_iter().collect();
        let mask = None;
        Self::new(broadcast, &MovingOperands { operands, mask })
    }

    /// Returns the plan of one operand without the axes along which it is repeated.
    pub(crate) fn without_repeats(&self) -> Self {
        let strides = self.pointers.first().map(|pointer| &*pointer.strides);
        let strides = strides.unwrap_or_default();
        let mut plan = Self {
            axes: Dims::new(),
            calls: 1,
            ..self.clone()
        };
        for pointer in &mut plan.pointers {
            pointer.strides = Dims::new();
        }
        for (&length, &stride) in self.axes.iter().zip(strides) {
            if stride != 0 {
                plan.push(length, &[stride]);
                plan.calls *= length;
            }
        }
        plan
    }

    /// Returns the plan of one operand without its fastest axis if it is repeated along that, and the number of
    /// consecutive calls that get the same item.
    pub(crate) fn split_repeats(mut self) -> (Self, usize) {
        let mut repeats = 1;
        if let Some(pointer) = self.pointers.first_mut()
            && let (Some((0, strides)), Some((&length, axes))) =
                (pointer.strides.split_last(), self.axes.split_last())
        {
            pointer.strides = strides.into();
            self.axes = axes.into();
            repeats = length.max(1);
        }
        self.calls /= repeats;
        (self, repeats)
    }

    /// Returns whether a mask selects the calls that are made.
    pub(crate) fn has_mask(&self) -> bool {
        self.has_mask
    }

    /// Adds an axis behind the others. It is merged with the last one if the operands are contiguous across
    /// the two.
    fn push(&mut self, length: usize, strides: &[isize]) {
        let follows = |(pointer, &inner): (&PlannedOperand, &isize)| {
            pointer
                .strides
                .last()
                .is_some_and(|&outer| outer == inner.wrapping_mul(length.cast_signed()))
        };
        let merges = !self.axes.is_empty() && self.pointers.iter().zip(strides).all(follows);
        if merges && let Some(last) = self.axes.last_mut() {
            *last *= length;
            for (pointer, &stride) in self.pointers.iter_mut().zip(strides) {
                if let Some(last) = pointer.strides.last_mut() {
                    *last = stride;
                }
            }
        } else {
            self.axes.push(length);
            for (pointer, &stride) in self.pointers.iter_mut().zip(strides) {
                pointer.strides.push(stride);
            }
        }
    }

    /// Returns the number of calls.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// Returns the address below which no later call reads or writes a pointer's memory, once the
    /// calls before `call` are made; `None` for pointers that do not only move forwards.
    pub(crate) fn passed(&self, pointer: usize, call: usize) -> Option<usize> {
        let pointer = self.pointers.get(pointer)?;
        let reach = |(&stride, &length): (&isize, &usize)| {
            stride.saturating_mul(length.saturating_sub(1).cast_signed())
        };
        let (mut left, mut inner_calls) = (call, self.calls.max(1));
        let (mut offset, mut moves_forwards) = (0_isize, false);
        for (axis, (&stride, &length)) in pointer.strides.iter().zip(&self.axes).enumerate() {
            let inner = pointer.strides.iter().zip(&self.axes).skip(axis + 1);
            let span = inner
                .map(reach)
                .map(isize::abs)
                .fold(0, isize::saturating_add);
            // The items along this axis must not lie between those of later calls.
            if stride <= span {
                let rest = pointer.strides.iter().zip(&self.axes).skip(axis);
                let back: isize = rest.map(reach).filter(|reach| *reach < 0).sum();
                offset = offset.wrapping_add(back);
                break;
            }
            moves_forwards = true;
            inner_calls /= length.max(1);
            let steps = left / inner_calls.max(1);
            left -= steps.saturating_mul(inner_calls);
            offset = offset.wrapping_add(stride.wrapping_mul(steps.cast_signed()));
        }
        moves_forwards.then(|| pointer.address.addr().wrapping_add_signed(offset))
    }

    /// Returns the ranges of addresses of the operands of some calls; no operand of a call has more than `size`
    /// bytes.
    pub(crate) fn ranges(&self, calls: &Range<usize>, size: usize) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        let visited = self.for_each_run(calls.clone(), |run| -> ControlFlow<()> {
            let last = run.count.saturating_sub(1);
            ranges.extend(run.pointers.iter().map(|pointer| {
                let (one, other) = (pointer.address.addr(), pointer.after(last).address.addr());
                one.min(other)..one.max(other).saturating_add(size)
            }));
            ControlFlow::Continue(())
        });
        debug_assert!(visited.is_continue(), "all runs are visited");
        ranges
    }

    /// Returns the first of some calls one of whose operands begins at an address, or is the last one to
    /// begin before it.
    pub(crate) fn call_at(&self, calls: &Range<usize>, address: usize) -> Option<usize> {
        let mut nearest: Option<(usize, usize)> = None;
        let visited = self.for_each_run(calls.clone(), |run| -> ControlFlow<()> {
            for pointer in run.pointers.iter().filter(|pointer| pointer.stride != 0) {
                let distance = address.wrapping_sub(pointer.address.addr()).cast_signed();
                let call = distance.div_euclid(pointer.stride.abs()) * pointer.stride.signum();
                let call = call.clamp(0, run.count.saturating_sub(1).cast_signed());
                let begin = pointer.after(call.cast_unsigned()).address.addr();
                let call = run.first + call.cast_unsigned();
                if let Some(behind) = address.checked_sub(begin)
                    && nearest.is_none_or(|(known, _)| behind < known)
                {
                    nearest = Some((behind, call));
                }
            }
            ControlFlow::Continue(())
        });
        debug_assert!(visited.is_continue(), "all runs are visited");
        nearest.map(|(_, call)| call)
    }

    /// Sets the address of a pointer for the first call.
    pub(crate) fn set_address(&mut self, pointer: usize, address: *mut u8) {
        if let Some(pointer) = self.pointers.get_mut(pointer) {
            pointer.address = address;
        }
    }

    /// Returns the index of a call along the axes of the batch.
    pub(crate) fn index_of(&self, mut call: usize) -> Vec<usize> {
        let mut index = vec![0; self.shape.len()];
        for &axis in self.order.iter().rev() {
            let length = self.shape.get(axis).copied().unwrap_or(1).max(1);
            if let Some(coordinate) = index.get_mut(axis) {
                *coordinate = call % length;
            }
            call /= length;
        }
        index
    }

    /// Passes some of the calls to `visit` in order, as runs along the fastest axis.
    pub(crate) fn for_each_run<B>(
        &self,
        calls: Range<usize>,
        mut visit: impl FnMut(Run<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let (inner, outer) = match self.axes.split_last() {
            Some((&inner, outer)) => (inner, outer),
            None => (1, &[][..]),
        };
        let mut first = calls.start;
        let mut index = unravel(first / inner.max(1), outer);
        let mut skipped = first % inner.max(1);
        let mut pointers: SmallVec<[StridedPointer; 4]> = SmallVec::new();
        while first < calls.end {
            let at = |pointer: &PlannedOperand| {
                let offset = pointer.strides.iter().zip(&index).fold(
                    0_isize,
                    |offset, (&stride, &index)| {
                        offset.wrapping_add(stride.wrapping_mul(index.cast_signed()))
                    },
                );
                let stride = pointer.strides.last().copied().unwrap_or(0);
                let offset = offset.wrapping_add(stride.wrapping_mul(skipped.cast_signed()));
                StridedPointer {
                    address: pointer.address.wrapping_offset(offset),
                    stride,
                }
            };
            pointers.clear();
            pointers.extend(self.pointers.iter().map(at));
            let mask = if self.has_mask { pointers.pop() } else { None };
            let count = (inner - skipped).min(calls.end - first);
            visit(Run {
                pointers: &pointers,
                mask,
                first,
                count,
            })?;
            first += count;
            skipped = 0;
            // Increment the index of the outer axes, the fastest axis first.
            for (coordinate, &length) in index.iter_mut().zip(outer).rev() {
                *coordinate += 1;
                if *coordinate < length {
                    break;
                }
                *coordinate = 0;
            }
        }
        ControlFlow::Continue(())
    }
}

/// Returns the index of an item of the outer axes.
fn unravel(mut item: usize, outer: &[usize]) -> Dims<usize> {
    let mut index: Dims<usize> = outer.iter().map(|_| 0).collect();
    for (coordinate, &length) in index.iter_mut().zip(outer).rev() {
        *coordinate = item % length.max(1);
        item /= length.max(1);
    }
    index
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(axes: &[usize], strides: &[isize]) -> Plan {
        let address = std::ptr::without_provenance_mut(1 << 40);
        Plan {
            axes: axes.into(),
            pointers: [PlannedOperand {
                address,
                strides: strides.into(),
            }]
            .into_iter()
            .collect(),
            has_mask: false,
            calls: axes.iter().product(),
            order: (0..axes.len()).collect(),
            shape: axes.into(),
        }
    }

    /// Returns the address of each call, in order.
    fn addresses(plan: &Plan) -> Vec<usize> {
        let mut all = Vec::new();
        let visited = plan.for_each_run(0..plan.calls(), |run| {
            for pointer in run.pointers {
                let steps = (0..run.count.cast_signed()).map(|step| step * pointer.stride);
                all.extend(steps.map(|offset| pointer.address.addr().wrapping_add_signed(offset)));
            }
            ControlFlow::<()>::Continue(())
        });
        assert!(visited.is_continue());
        all
    }

    proptest! {
        #[test]
        fn no_later_call_uses_memory_below_passed(
            axes in prop::collection::vec((1_usize..5, -40_isize..200), 1..4)
        ) {
            let (lengths, strides): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
            let plan = plan(&lengths, &strides);
            let addresses = addresses(&plan);
            let mut before = 0;
            for call in 0..plan.calls() {
                let Some(passed) = plan.passed(0, call) else {
                    prop_assert!(strides[0] <= 0 || lengths.len() > 1);
                    continue;
                };
                let needed = addresses.iter().skip(call).min().copied();
                prop_assert!(Some(passed) <= needed, "call {call}: {passed} of {addresses:?}");
                prop_assert!(before <= passed, "it never goes back");
                before = passed;
            }
        }
    }

    #[test]
    fn passed_is_exact_for_consecutive_rows() {
        // Two long rows with a gap between them: the address changes with each call, not only with
        // each row.
        let plan = plan(&[2, 1000], &[8192, 8]);
        let start = plan.passed(0, 0).unwrap_or_default();
        assert_eq!(plan.passed(0, 999), Some(start + 999 * 8));
        assert_eq!(plan.passed(0, 1001), Some(start + 8192 + 8));
    }
}
