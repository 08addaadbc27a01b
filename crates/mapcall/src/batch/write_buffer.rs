//! Buffers for outputs that are written to new files.
//!
//! Writing to a file is faster than writing to a map of it: pages are not faulted in one by one, and
//! go to the disk in larger pieces. If several threads make calls, each writes its own buffers: the
//! system lets one thread at a time write to a file, and the others make calls meanwhile. If one thread
//! makes calls, it sends its buffers to a [`FileWriter`] on a second thread.

#![allow(unsafe_code)]

use std::borrow::Cow;
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use mapcall_array::layout::Dims;
use mapcall_array::{Buffer, NewFile};

use super::plan::Plan;

/// The size of a buffer, in bytes: it stays in a core's cache.
const BUFFER: usize = 2 << 20;

/// How the items that calls write differ from the bytes of the file.
pub(super) struct ItemWriter {
    /// The size of an element, in bytes.
    pub(super) itemsize: usize,
    /// The lengths of the axes of an item that C writes in Fortran order and that the file has in C order.
    pub(super) transposed: Option<Dims<usize>>,
    /// The value of all elements before the calls, if it is not 0.
    pub(super) fill: Option<u64>,
}

impl ItemWriter {
    /// Writes the value that the elements have before the calls.
    fn fill(&self, bytes: &mut [u8]) {
        let Some(value) = self.fill else {
            return;
        };
        let value = value.to_le_bytes();
        for element in bytes.chunks_exact_mut(self.itemsize.max(1)) {
            for (to, from) in element.iter_mut().zip(value) {
                *to = from;
            }
        }
    }

    /// Changes the order of the elements of each item of `size` bytes to that of the file.
    fn transpose(&self, items: &mut [u8], size: usize) -> mapcall_array::Result<()> {
        let Some(shape) = self.transposed.as_deref().filter(|_| size > 0) else {
            return Ok(());
        };
        let mut copy = Buffer::zeroed(size)?;
        let copy = bytes_of(&mut copy, size);
        // The length and the stride in bytes of each axis, and the index of the element.
        let mut axes: Dims<(usize, usize, usize)> = Dims::new();
        let mut stride = self.itemsize;
        for &length in shape {
            axes.push((length, stride, 0));
            stride = stride.saturating_mul(length);
        }
        for item in items.chunks_exact_mut(size) {
            copy.copy_from_slice(item);
            let mut start = 0;
            for to in item.chunks_exact_mut(self.itemsize.max(1)) {
                if let Some(from) = copy.get(start..start + to.len()) {
                    to.copy_from_slice(from);
                }
                for (length, stride, index) in axes.iter_mut().rev() {
                    *index += 1;
                    start += *stride;
                    if index < length {
                        break;
                    }
                    start -= *index * *stride;
                    *index = 0;
                }
            }
        }
        Ok(())
    }
}

/// A file that an output of the batch is written to.
pub(super) struct FileOutput<'a> {
    pub(super) file: &'a NewFile,
    pub(super) item: &'a ItemWriter,
    /// The index of the operand in the plan.
    pub(super) pointer: usize,
    /// The number of bytes that one call writes.
    pub(super) size: usize,
    /// Whether the buffer is zeroed before the calls, as they may read it or leave parts unwritten.
    pub(super) is_cleared: bool,
    /// Whether written bytes are sent to the disk immediately.
    pub(super) is_synced: bool,
    /// Whether pages are dropped from memory when they are on the disk.
    pub(super) evicts: bool,
}

/// The distance from the end of a chunk to the bytes that are waited for and dropped, in bytes. Until
/// then the disk has work, and no more than that is in memory.
const BEHIND: usize = 32 << 20;

impl FileOutput<'_> {
    /// Returns the number of calls whose output fits in one buffer.
    pub(super) fn max_calls(&self) -> usize {
        (BUFFER / self.size.max(1)).max(1)
    }
}

/// A thread's buffers, one for each output.
type Buffers = Vec<Buffer>;

/// The buffers of a thread, and what happens to them when a chunk is complete.
pub(super) struct WriteBuffer<'a> {
    outputs: &'a [FileOutput<'a>],
    buffers: Buffers,
    /// The writer thread, or `None` if this thread writes its own buffers.
    writer: Option<WriterThread>,
}

/// The connection to a [`FileWriter`] on another thread.
pub(super) struct WriterThread {
    full: Sender<(Range<usize>, Buffers)>,
    empty: Receiver<Buffers>,
    /// Buffers to use before the writer has returned the first ones.
    spare: Vec<Buffers>,
}

/// Writes the buffers that another thread fills.
pub(super) struct FileWriter<'a> {
    outputs: &'a [FileOutput<'a>],
    full: Receiver<(Range<usize>, Buffers)>,
    empty: Sender<Buffers>,
}

impl<'a> FileWriter<'a> {
    /// Makes a writer and the connection to it.
    pub(super) fn new(outputs: &'a [FileOutput<'a>]) -> (Self, WriterThread) {
        let (to_writer, full) = mpsc::channel();
        let (to_thread, empty) = mpsc::channel();
        let writer = Self {
            outputs,
            full,
            empty: to_thread,
        };
        let writer_thread = WriterThread {
            full: to_writer,
            empty,
            spare: Vec::new(),
        };
        (writer, writer_thread)
    }

    /// Writes buffers until the other thread has sent its last one, or `is_over` is set.
    pub(super) fn run(self, is_over: &AtomicBool) -> mapcall_array::Result<()> {
        while let Some((calls, mut buffers)) = receive(&self.full) {
            if is_over.load(Ordering::Relaxed) {
                break;
            }
            write(self.outputs, &mut buffers, &calls)?;
            // The other thread may have ended, and need no buffers.
            let _ = self.empty.send(buffers);
        }
        Ok(())
    }
}

impl<'a> WriteBuffer<'a> {
    /// The number of sets of buffers besides the one that is being filled: one that is being written, and
    /// one more so that the two threads need not run in step.
    const SPARE: usize = 2;

    /// Allocates buffers for chunks of at most `calls` calls.
    pub(super) fn new(
        outputs: &'a [FileOutput<'a>],
        calls: usize,
        mut writer: Option<WriterThread>,
    ) -> mapcall_array::Result<Self> {
        let buffer = |output: &FileOutput<'_>| Buffer::zeroed(calls.saturating_mul(output.size));
        let buffers = || outputs.iter().map(buffer).collect::<Result<Buffers, _>>();
        if let Some(writer) = &mut writer {
            for _ in 0..Self::SPARE {
                writer.spare.push(buffers()?);
            }
        }
        Ok(Self {
            outputs,
            buffers: buffers()?,
            writer,
        })
    }

    /// Prepares the buffers for a chunk, and sets their addresses in `plan`.
    pub(super) fn begin(&mut self, calls: &Range<usize>, plan: &mut Cow<'_, Plan>) {
        for (output, buffer) in self.outputs.iter().zip(&mut self.buffers) {
            let address = buffer.as_mut_ptr();
            if output.is_cleared {
                clear(buffer, calls.len().saturating_mul(output.size));
            }
            if output.item.fill.is_some() {
                let bytes = calls.len().saturating_mul(output.size);
                output.item.fill(bytes_of(buffer, bytes));
            }
            // The plan counts from the first item of the file.
            let first = address.wrapping_sub(calls.start.wrapping_mul(output.size));
            plan.to_mut().set_address(output.pointer, first);
        }
    }

    /// Writes the buffers of a chunk whose calls are made, or sends them to the writer.
    pub(super) fn end(&mut self, calls: Range<usize>) -> mapcall_array::Result<()> {
        let Some(writer) = &mut self.writer else {
            return write(self.outputs, &mut self.buffers, &calls);
        };
        let empty = writer.spare.pop().or_else(|| receive(&writer.empty));
        // A writer that has failed is gone, and has stored its error.
        if let Some(empty) = empty {
            let full = mem::replace(&mut self.buffers, empty);
            let _ = writer.full.send((calls, full));
        }
        Ok(())
    }
}

/// Receives the next value, or `None` if the other side is gone. Both sides take about the same time, so
/// the value comes soon: polling costs less than to sleep and be woken.
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

/// Writes the outputs of a range of calls to their files.
fn write(
    outputs: &[FileOutput<'_>],
    buffers: &mut [Buffer],
    calls: &Range<usize>,
) -> mapcall_array::Result<()> {
    for (output, buffer) in outputs.iter().zip(buffers) {
        let bytes = bytes_of(buffer, calls.len().saturating_mul(output.size));
        output.item.transpose(bytes, output.size)?;
        let start = calls.start.saturating_mul(output.size);
        output.file.write(start, bytes)?;
        if output.is_synced {
            output.file.write_back(start..start + bytes.len())?;
        }
        if output.evicts
            && let Some(start) = start.checked_sub(BEHIND)
        {
            let end = start + bytes.len();
            output.file.wait_for(start..end)?;
            // Pages may cross the ends of chunks, and large pages may begin before them.
            output.file.forget(start.saturating_sub(BUFFER)..end);
        }
    }
    Ok(())
}

fn clear(buffer: &Buffer, bytes: usize) {
    // SAFETY: the range is inside the buffer, which only this thread uses.
    unsafe { buffer.as_mut_ptr().write_bytes(0, bytes.min(buffer.len())) };
}

fn bytes_of(buffer: &mut Buffer, bytes: usize) -> &mut [u8] {
    // SAFETY: the range is inside the buffer, which was zeroed when it was made. No call writes to it now, no other
    // thread has its address, and the buffer is borrowed as long as the slice lives.
    unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr(), bytes.min(buffer.len())) }
}
