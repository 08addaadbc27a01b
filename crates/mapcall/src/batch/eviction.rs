//! Page eviction: pages of maps that all calls have processed are dropped from memory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use mapcall_array::Buffer;
use mapcall_array::map::{PageEvictor, available_memory};
use smallvec::SmallVec;

use super::plan::Plan;
use crate::contract::{Operand, Role};

/// The condition on which a batch drops pages from memory that it has processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stream {
    /// If its files are larger than the available memory.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The distance by which a thread may be ahead of the slowest one, in bytes that calls read and write: the
/// pages between them can't be dropped.
const AHEAD: usize = 64 << 20;

/// The progress of each thread, and the maps whose pages are dropped.
pub(super) struct Eviction<'a> {
    /// The first call of each thread's chunk.
    starts: SmallVec<[AtomicUsize; 4]>,
    /// The number of calls by which a thread may be ahead of another.
    ahead: usize,
    evicted: Mutex<SmallVec<[EvictedMap<'a>; 4]>>,
    is_streamed: bool,
    evicts: bool,
}

/// An operand that lies in a map.
struct EvictedMap<'a> {
    /// The index of the operand's pointer.
    pointer: usize,
    /// The address of the map's first byte.
    start: usize,
    evictor: PageEvictor<'a>,
}

impl<'a> Eviction<'a> {
    /// Prepares the eviction for a batch. `operands` are the moving ones, of which the mask is the
    /// last; `maps` has the buffers in maps, and `files` is the size of the new files in bytes.
    pub(super) fn new(
        stream: Stream,
        plan: &Plan,
        operands: &[&Operand],
        maps: &'a [(Role, Buffer)],
        files: usize,
    ) -> Self {
        // A batch may use only a part of a large map.
        let used_bytes = |(role, buffer): &(Role, Buffer)| {
            let operand = operands.iter().find(|operand| operand.role == *role);
            let items = operand.map(|operand| operand.size.saturating_mul(plan.calls()));
            items.map_or(0, |items| items.min(buffer.len()))
        };
        let bytes = maps
            .iter()
            .map(used_bytes)
            .fold(files, usize::saturating_add);
        let exceeds = || available_memory().is_some_and(|available| bytes as u64 > available);
        let (is_streamed, evicts) = match stream {
            // The system call for the available memory takes longer than the calls over a small map.
            stream if !stream.may_evict(bytes) => (false, false),
            Stream::Auto | Stream::Never => {
                let exceeds = exceeds();
                (exceeds, exceeds)
            }
            Stream::Always => (true, exceeds()),
        };
        let evicted_map = |(pointer, operand): (usize, &&Operand)| {
            let (_, buffer) = maps.iter().find(|(role, _)| *role == operand.role)?;
            let map = buffer.map()?;
            // A copy was made of an operand that is converted once.
            let addresses = map.as_ptr().addr()..map.as_ptr().addr() + map.len();
            addresses.contains(&operand.address.addr()).then_some(())?;
            let start = plan.passed(pointer, 0)?.wrapping_sub(map.as_ptr().addr());
            Some(EvictedMap {
                pointer,
                start: map.as_ptr().addr(),
                evictor: map.evictor(start, evicts),
            })
        };
        let evicted = operands
            .iter()
            .enumerate()
            .filter(|_| is_streamed)
            .filter_map(evicted_map)
            .collect();
        Self {
            starts: SmallVec::new(),
            ahead: usize::MAX,
            evicted: Mutex::new(evicted),
            is_streamed,
            evicts,
        }
    }

    /// Allocates the progress of `threads` threads. Each call reads and writes `bytes` bytes, and each
    /// chunk at most `chunk` bytes.
    pub(super) fn expect(&mut self, threads: usize, bytes: usize, chunk: usize) {
        if self.is_streamed {
            self.starts = (0..threads).map(|_| AtomicUsize::new(0)).collect();
            // Each thread processes one chunk, and may take another.
            let all = chunk.saturating_mul(2 * threads);
            self.ahead = AHEAD.max(all) / bytes.max(1);
        }
    }

    /// Returns whether written bytes are synced to the disk immediately, so that their pages can be
    /// dropped.
    pub(super) fn evicts(&self) -> bool {
        self.evicts
    }

    /// Notes that a thread continues at a call.
    pub(super) fn begin(&self, thread: usize, call: usize) {
        if let Some(start) = self.starts.get(thread) {
            start.store(call, Ordering::Release);
        }
    }

    /// Returns the number of calls, from the first one on, that have all been made; `None` without
    /// streaming.
    fn passed(&self) -> Option<usize> {
        let starts = self.starts.iter();
        starts.map(|start| start.load(Ordering::Acquire)).min()
    }

    /// Returns whether a thread that continues at a call is too far ahead of the slowest.
    ///
    /// `passed` is the number of calls that have all been made as far as the thread knows. The progress of the other
    /// threads, which they change all the time, is read only if it says that the thread is ahead.
    pub(super) fn is_ahead(&self, call: usize, passed: &mut usize) -> bool {
        let is_ahead = |passed: usize| call.saturating_sub(passed) > self.ahead;
        if is_ahead(*passed) {
            *passed = self.passed().unwrap_or(usize::MAX);
        }
        is_ahead(*passed)
    }

    /// Drops the pages before the calls that any thread still has to make.
    pub(super) fn end(&self, plan: &Plan) {
        if !self.is_streamed {
            return;
        }
        // If another thread is dropping pages now, this one need not.
        let Ok(mut evicted) = self.evicted.try_lock() else {
            return;
        };
        let Some(passed) = self.passed() else {
            return;
        };
        for map in evicted.iter_mut() {
            if let Some(address) = plan.passed(map.pointer, passed) {
                map.evictor.pass(address.saturating_sub(map.start));
            }
        }
    }
}

/// The total size of files below which streaming is not considered, in bytes.
const SMALL: usize = 64 << 20;

impl Stream {
    /// Returns whether a batch whose arrays have `bytes` bytes together may drop pages of maps.
    ///
    /// ```
    /// use mapcall::batch::Stream;
    ///
    /// assert!(Stream::Always.may_evict(10) && !Stream::Auto.may_evict(10));
    /// ```
    #[must_use]
    pub fn may_evict(self, bytes: usize) -> bool {
        match self {
            Self::Auto => bytes >= SMALL,
            Self::Always => true,
            Self::Never => false,
        }
    }
}
