//! Outputs that go to new files, through a buffer for each thread.
//!
//! A file that is written is quicker than one that is mapped: its pages need not be faulted in one
//! by one, and go to the disk in larger pieces.

use std::borrow::Cow;
use std::ops::Range;

use mapcall_array::{Buffer, NewFile};

use super::plan::Plan;

/// What a thread gathers before it writes, in bytes: it stays in a core's cache.
const BUFFER: usize = 2 << 20;

/// A file, and the lane whose items go there.
pub(super) struct Sink<'a> {
    pub(super) file: &'a NewFile,
    pub(super) lane: usize,
    /// How many bytes an item has.
    pub(super) size: usize,
    /// Calls may leave items as they are, or look at them, so that they are 0 before.
    pub(super) is_cleared: bool,
    /// Whether what is written goes to the disk at once.
    pub(super) is_synced: bool,
    /// Whether it makes room when it is there.
    pub(super) evicts: bool,
}

/// How far behind a stretch what was written is awaited on the disk, in bytes: the disk has work until
/// then, and no more than that is in memory.
const BEHIND: usize = 32 << 20;

impl Sink<'_> {
    /// How many calls fit in a buffer.
    pub(super) fn most(&self) -> usize {
        (BUFFER / self.size.max(1)).max(1)
    }
}

/// A thread's buffers, one for each sink.
pub(super) struct Gathered<'a> {
    sinks: &'a [Sink<'a>],
    buffers: Vec<Buffer>,
    /// The batch's plan; where there are sinks, one with their lanes in the buffers.
    plan: Cow<'a, Plan>,
}

impl<'a> Gathered<'a> {
    /// Room for stretches of so many calls.
    pub(super) fn new(
        sinks: &'a [Sink<'a>],
        plan: &'a Plan,
        calls: usize,
    ) -> mapcall_array::Result<Self> {
        let buffer = |sink: &Sink<'_>| Buffer::zeroed(calls.saturating_mul(sink.size));
        Ok(Self {
            sinks,
            buffers: sinks.iter().map(buffer).collect::<Result<_, _>>()?,
            plan: Cow::Borrowed(plan),
        })
    }

    /// Before a stretch.
    pub(super) fn begin(&mut self, calls: &Range<usize>) {
        for (sink, buffer) in self.sinks.iter().zip(&self.buffers) {
            let address = buffer.as_mut_ptr();
            if sink.is_cleared {
                clear(buffer, calls.len().saturating_mul(sink.size));
            }
            // The plan counts from the first item of the file.
            let first = address.wrapping_sub(calls.start.wrapping_mul(sink.size));
            self.plan.to_mut().set_address(sink.lane, first);
        }
    }

    /// The way of the next stretch.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Behind a stretch.
    pub(super) fn end(&self, calls: &Range<usize>) -> mapcall_array::Result<()> {
        for (sink, buffer) in self.sinks.iter().zip(&self.buffers) {
            let bytes = written(buffer, calls.len().saturating_mul(sink.size));
            let start = calls.start.saturating_mul(sink.size);
            sink.file.write(start, bytes)?;
            if sink.is_synced {
                sink.file.write_back(start..start + bytes.len())?;
            }
            if sink.evicts
                && let Some(start) = start.checked_sub(BEHIND)
            {
                let end = start + bytes.len();
                sink.file.wait_for(start..end)?;
                // Pages may lie across the stretches' ends, and large ones before.
                sink.file.forget(start.saturating_sub(BUFFER)..end);
            }
        }
        Ok(())
    }
}

fn clear(buffer: &Buffer, bytes: usize) {
    // SAFETY: a buffer has its bytes, and this one is a thread's own.
    unsafe { buffer.as_mut_ptr().write_bytes(0, bytes.min(buffer.len())) };
}

fn written(buffer: &Buffer, bytes: usize) -> &[u8] {
    // SAFETY: a buffer has its bytes, zeroed when it was made; no call is running on this thread, and
    // no other one knows it.
    unsafe { std::slice::from_raw_parts(buffer.as_ptr(), bytes.min(buffer.len())) }
}
