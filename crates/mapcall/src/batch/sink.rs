//! Outputs that go to new files, through buffers.
//!
//! A file that is written is quicker than one that is mapped: its pages need not be faulted in one
//! by one, and go to the disk in larger pieces. Several threads write what each has gathered, as the
//! system lets one at a time write to a file while the others make calls; one thread hands it to a
//! [`Writer`] on another.

#![allow(unsafe_code)]

use std::borrow::Cow;
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

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
type Buffers = Vec<Buffer>;

/// What a thread gathers.
pub(super) struct Gathered<'a> {
    sinks: &'a [Sink<'a>],
    buffers: Buffers,
    /// The plan; where there are sinks, one with their lanes in the buffers.
    plan: Cow<'a, Plan>,
    /// Whoever writes it, if this thread doesn't.
    writer: Option<Handover>,
}

/// To a writer, and back from it.
pub(super) struct Handover {
    full: Sender<(Range<usize>, Buffers)>,
    empty: Receiver<Buffers>,
    /// Where there is room before something has come back.
    spare: Vec<Buffers>,
}

/// Writes what another thread gathers.
pub(super) struct Writer<'a> {
    sinks: &'a [Sink<'a>],
    full: Receiver<(Range<usize>, Buffers)>,
    empty: Sender<Buffers>,
}

impl<'a> Writer<'a> {
    /// A writer, and the way to it.
    pub(super) fn new(sinks: &'a [Sink<'a>]) -> (Self, Handover) {
        let (to_writer, full) = mpsc::channel();
        let (to_thread, empty) = mpsc::channel();
        let writer = Self {
            sinks,
            full,
            empty: to_thread,
        };
        let handover = Handover {
            full: to_writer,
            empty,
            spare: Vec::new(),
        };
        (writer, handover)
    }

    /// Writes until nothing more can come, or nobody wants it any more.
    pub(super) fn run(self, is_over: &AtomicBool) -> mapcall_array::Result<()> {
        while let Some((calls, buffers)) = receive(&self.full) {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            write(self.sinks, &buffers, &calls)?;
            // Whoever has made its last call needs none.
            let _ = self.empty.send(buffers);
        }
        Ok(())
    }
}

impl<'a> Gathered<'a> {
    /// How many sets of buffers a writer and a thread have beside the one that is being filled: one to be
    /// written, and one so that they need not be in step.
    const SPARE: usize = 2;

    /// Room for stretches of so many calls.
    pub(super) fn new(
        sinks: &'a [Sink<'a>],
        plan: &'a Plan,
        calls: usize,
        mut writer: Option<Handover>,
    ) -> mapcall_array::Result<Self> {
        let buffer = |sink: &Sink<'_>| Buffer::zeroed(calls.saturating_mul(sink.size));
        let buffers = || sinks.iter().map(buffer).collect::<Result<Buffers, _>>();
        if let Some(writer) = &mut writer {
            for _ in 0..Self::SPARE {
                writer.spare.push(buffers()?);
            }
        }
        Ok(Self {
            sinks,
            buffers: buffers()?,
            plan: Cow::Borrowed(plan),
            writer,
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
    pub(super) fn end(&mut self, calls: Range<usize>) -> mapcall_array::Result<()> {
        let Some(writer) = &mut self.writer else {
            return write(self.sinks, &self.buffers, &calls);
        };
        let empty = writer.spare.pop().or_else(|| receive(&writer.empty));
        // A writer that has failed says so itself.
        if let Some(empty) = empty {
            let full = mem::replace(&mut self.buffers, empty);
            let _ = writer.full.send((calls, full));
        }
        Ok(())
    }
}

/// What comes next, unless the other side is gone. Both sides take about as long, so that it comes soon:
/// to sleep and be woken costs more than to look again.
fn receive<T>(channel: &Receiver<T>) -> Option<T> {
    const SOON: Duration = Duration::from_millis(1);
    let start = Instant::now();
    while start.elapsed() < SOON {
        match channel.try_recv() {
            Ok(next) => return Some(next),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => thread::yield_now(),
        }
    }
    channel.recv().ok()
}

/// Writes the outputs of some calls.
fn write(
    sinks: &[Sink<'_>],
    buffers: &[Buffer],
    calls: &Range<usize>,
) -> mapcall_array::Result<()> {
    for (sink, buffer) in sinks.iter().zip(buffers) {
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

fn clear(buffer: &Buffer, bytes: usize) {
    // SAFETY: a buffer has its bytes, and this one is a thread's own.
    unsafe { buffer.as_mut_ptr().write_bytes(0, bytes.min(buffer.len())) };
}

fn written(buffer: &Buffer, bytes: usize) -> &[u8] {
    // SAFETY: a buffer has its bytes, zeroed when it was made; the calls that fill it are over, and no
    // other thread knows it.
    unsafe { std::slice::from_raw_parts(buffer.as_ptr(), bytes.min(buffer.len())) }
}
