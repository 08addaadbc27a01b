//! The axes of a batch, merged where memory allows, and the way through them.

use std::ops::{ControlFlow, Range};

use mapcall_array::layout::Dims;
use smallvec::SmallVec;

use crate::call::{Feed, Lane};
use crate::contract::{Contract, Loops, Role, Track};

/// The way of a batch through memory.
///
/// The calls of a batch are numbered in the order in which they are made by one thread.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The lengths of the merged axes, the slowest first; none has the length 1.
    axes: Dims<usize>,
    /// Where the lanes start, and how far they move along each of the axes.
    lanes: SmallVec<[Way; 4]>,
    /// The mask's is the last of the lanes.
    has_mask: bool,
    calls: usize,
    /// The batch's axes before they were merged, in the order of the walk.
    order: Dims<usize>,
    shape: Dims<usize>,
}

#[derive(Clone, Debug)]
struct Way {
    address: *mut u8,
    strides: Dims<isize>,
}

// SAFETY: addresses are only numbers here; what lies there is for whoever makes the calls to know.
unsafe impl Send for Plan {}
// SAFETY: as above.
unsafe impl Sync for Plan {}

/// Calls that follow each other at even strides.
pub(crate) struct Run<'a> {
    /// The lanes of a [`Loop`](crate::call::Loop), at the first call.
    pub(crate) lanes: &'a [Lane],
    /// Which of them are made, a byte for each.
    pub(crate) mask: Option<Lane>,
    /// The number of the first call.
    pub(crate) first: usize,
    /// How many calls.
    pub(crate) count: usize,
}

/// The tracks in the order of a loop's lanes: the parameters that move, then the result; and the mask.
pub(crate) fn lanes<'a>(
    contract: &Contract,
    loops: &'a Loops,
) -> (SmallVec<[&'a Track; 4]>, Option<&'a Track>) {
    let of = |role| loops.tracks().iter().find(move |track| track.role == role);
    let parameters = 0..contract.rules().len();
    let parameters = parameters.filter_map(|position| of(Role::Parameter(position)));
    let moving = parameters.filter(|track| track.feed != Feed::Fixed);
    (moving.chain(of(Role::Result)).collect(), of(Role::Mask))
}

impl Plan {
    pub(crate) fn new(contract: &Contract, loops: &Loops) -> Self {
        let (lanes, mask) = lanes(contract, loops);
        let tracks: SmallVec<[&Track; 4]> = lanes.into_iter().chain(mask).collect();
        let shape = loops.shape();
        let mut plan = Self {
            axes: Dims::new(),
            lanes: tracks
                .iter()
                .map(|track| Way {
                    address: track.address,
                    strides: Dims::new(),
                })
                .collect(),
            has_mask: mask.is_some(),
            calls: loops.calls(),
            order: loops.order_of_axes().into(),
            shape: shape.into(),
        };
        for &axis in loops.order_of_axes() {
            let length = shape.get(axis).copied().unwrap_or(1);
            let strides = tracks
                .iter()
                .map(|track| track.strides.get(axis).copied().unwrap_or(0));
            if length != 1 {
                plan.push(length, &strides.collect::<SmallVec<[isize; 4]>>());
            }
        }
        plan
    }

    /// Adds an axis behind the others; one that goes on where the last one's next step would be is
    /// one with it.
    fn push(&mut self, length: usize, strides: &[isize]) {
        let follows = |(lane, &inner): (&Way, &isize)| {
            lane.strides
                .last()
                .is_some_and(|&outer| outer == inner.wrapping_mul(length.cast_signed()))
        };
        let merges = !self.axes.is_empty() && self.lanes.iter().zip(strides).all(follows);
        if merges && let Some(last) = self.axes.last_mut() {
            *last *= length;
            for (lane, &stride) in self.lanes.iter_mut().zip(strides) {
                if let Some(last) = lane.strides.last_mut() {
                    *last = stride;
                }
            }
        } else {
            self.axes.push(length);
            for (lane, &stride) in self.lanes.iter_mut().zip(strides) {
                lane.strides.push(stride);
            }
        }
    }

    /// How many calls there are.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// The address below which nothing of a lane is needed once the calls before that one are made;
    /// `None` for lanes that go backwards, or to and fro.
    pub(crate) fn passed(&self, lane: usize, call: usize) -> Option<usize> {
        let lane = self.lanes.get(lane)?;
        let (&outer, inner) = lane.strides.split_first()?;
        let steps = inner.iter().zip(self.axes.iter().skip(1));
        let reach = |(&stride, &length): (&isize, &usize)| {
            stride.saturating_mul((length - 1).cast_signed())
        };
        let back: isize = steps.clone().map(reach).filter(|reach| *reach < 0).sum();
        let span: isize = steps
            .map(reach)
            .map(isize::abs)
            .fold(0, isize::saturating_add);
        let inner_calls: usize = self.axes.iter().skip(1).product();
        // Its items mustn't lie between those of calls that come later.
        (outer > span).then_some(())?;
        let steps = call / inner_calls.max(1);
        let offset = outer.wrapping_mul(steps.cast_signed()).wrapping_add(back);
        Some(lane.address.addr().wrapping_add_signed(offset))
    }

    /// Lets a lane start somewhere else.
    pub(crate) fn set_address(&mut self, lane: usize, address: *mut u8) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.address = address;
        }
    }

    /// Where a call stands in the batch.
    pub(crate) fn index_of(&self, mut call: usize) -> Vec<usize> {
        let mut index = vec![0; self.shape.len()];
        for &axis in self.order.iter().rev() {
            let length = self.shape.get(axis).copied().unwrap_or(1).max(1);
            if let Some(place) = index.get_mut(axis) {
                *place = call % length;
            }
            call /= length;
        }
        index
    }

    /// Goes through some of the calls in order, as runs along the fastest axis.
    pub(crate) fn walk<B>(
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
        let mut lanes: SmallVec<[Lane; 4]> = SmallVec::new();
        while first < calls.end {
            let at = |lane: &Way| {
                let offset =
                    lane.strides
                        .iter()
                        .zip(&index)
                        .fold(0_isize, |offset, (&stride, &index)| {
                            offset.wrapping_add(stride.wrapping_mul(index.cast_signed()))
                        });
                let stride = lane.strides.last().copied().unwrap_or(0);
                let offset = offset.wrapping_add(stride.wrapping_mul(skipped.cast_signed()));
                Lane {
                    address: lane.address.wrapping_offset(offset),
                    stride,
                }
            };
            lanes.clear();
            lanes.extend(self.lanes.iter().map(at));
            let mask = if self.has_mask { lanes.pop() } else { None };
            let count = (inner - skipped).min(calls.end - first);
            visit(Run {
                lanes: &lanes,
                mask,
                first,
                count,
            })?;
            first += count;
            skipped = 0;
            // The next step of the outer axes, the fastest first.
            for (place, &length) in index.iter_mut().zip(outer).rev() {
                *place += 1;
                if *place < length {
                    break;
                }
                *place = 0;
            }
        }
        ControlFlow::Continue(())
    }
}

/// The index of an item of the outer axes.
fn unravel(mut item: usize, outer: &[usize]) -> Dims<usize> {
    let mut index: Dims<usize> = outer.iter().map(|_| 0).collect();
    for (place, &length) in index.iter_mut().zip(outer).rev() {
        *place = item % length.max(1);
        item /= length.max(1);
    }
    index
}
