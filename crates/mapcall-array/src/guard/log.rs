//! The log of faults that were not reported yet, which a signal handler writes without a lock.

#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering};

use super::quiet;
use super::registry::Slot;
use super::thread::{Reporter, ThreadId};
use crate::fork;

/// The number of entries. There is one for each thread and map with a fault that was not reported.
const ENTRIES: usize = 256;

/// The number of areas of an entry. As each is twice as large as the one before, they cover any map.
const AREAS: usize = 48;

static LOG: [Entry; ENTRIES] = [const { Entry::new() }; ENTRIES];

/// The number of entries that are in use, and of faults of maps that were dropped since.
static PENDING: AtomicUsize = AtomicUsize::new(0);

const FREE: u32 = 0;
/// A handler, or a report, is changing the entry.
const HELD: u32 = 1;
const LOGGED: u32 = 2;

/// The faults of one thread in one map.
#[derive(Debug)]
pub(super) struct Entry {
    state: AtomicU32,
    thread: (AtomicUsize, AtomicUsize),
    reporter: AtomicU8,
    /// The number of forks before the first fault, by which those of the parent are told from a child's own.
    generation: AtomicUsize,
    slot: AtomicPtr<Slot>,
    version: AtomicUsize,
    /// The address of the first fault.
    address: AtomicUsize,
    is_write: AtomicBool,
    /// The reason of the first fault; 0 if it is not known yet.
    reason: AtomicU8,
    /// The address of the last fault.
    last: AtomicUsize,
    /// The number of faults.
    count: AtomicU32,
    /// The pages for the last write, which take memory.
    written: (AtomicUsize, AtomicUsize),
    /// The ranges of pages that were replaced by zeros.
    areas: [(AtomicUsize, AtomicUsize); AREAS],
    areas_used: AtomicUsize,
}

/// The facts of an entry.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) thread: ThreadId,
    pub(super) reporter: Reporter,
    pub(super) generation: usize,
    pub(super) slot: &'static Slot,
    pub(super) version: usize,
    pub(super) address: usize,
    pub(super) is_write: bool,
    pub(super) signals: u32,
    pub(super) reason: u8,
}

impl Entry {
    const fn new() -> Self {
        Self {
            state: AtomicU32::new(FREE),
            thread: (AtomicUsize::new(0), AtomicUsize::new(0)),
            reporter: AtomicU8::new(0),
            generation: AtomicUsize::new(0),
            slot: AtomicPtr::new(ptr::null_mut()),
            version: AtomicUsize::new(0),
            address: AtomicUsize::new(0),
            is_write: AtomicBool::new(false),
            reason: AtomicU8::new(0),
            last: AtomicUsize::new(0),
            count: AtomicU32::new(0),
            written: (AtomicUsize::new(0), AtomicUsize::new(0)),
            areas: [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; AREAS],
            areas_used: AtomicUsize::new(0),
        }
    }

    fn hold(&self, from: u32) -> bool {
        let held = self
            .state
            .compare_exchange(from, HELD, Ordering::AcqRel, Ordering::Relaxed);
        held.is_ok()
    }

    fn is_of(&self, slot: &Slot) -> bool {
        ptr::eq(self.slot.load(Ordering::Acquire), slot)
            && self.version.load(Ordering::Acquire) == slot.version()
    }

    fn record(&self) -> Option<Record> {
        let slot: *const Slot = self.slot.load(Ordering::Acquire);
        Some(Record {
            thread: ThreadId::new(
                self.thread.0.load(Ordering::Acquire),
                self.thread.1.load(Ordering::Acquire),
            ),
            reporter: Reporter::from_number(self.reporter.load(Ordering::Acquire)),
            generation: self.generation.load(Ordering::Acquire),
            // SAFETY: the pointer is null or that of a slot, and slots are never freed.
            slot: unsafe { slot.as_ref() }?,
            version: self.version.load(Ordering::Acquire),
            address: self.address.load(Ordering::Acquire),
            is_write: self.is_write.load(Ordering::Acquire),
            signals: self.count.load(Ordering::Acquire),
            reason: self.reason.load(Ordering::Acquire),
        })
    }

    pub(super) fn set_reporter(&self, reporter: Reporter) {
        self.reporter.store(reporter as u8, Ordering::Release);
    }

    /// Removes the ranges of pages, which were sealed.
    pub(super) fn clear_areas(&self) {
        self.areas_used.store(0, Ordering::Release);
    }

    /// Returns the ranges of pages that were replaced by zeros.
    pub(super) fn areas(&self) -> impl Iterator<Item = Range<usize>> {
        let used = self.areas_used.load(Ordering::Acquire);
        let areas = self.areas.iter().take(used);
        areas.map(|(start, end)| start.load(Ordering::Acquire)..end.load(Ordering::Acquire))
    }
}

/// An entry that a handler holds.
pub(super) struct Held(&'static Entry);

impl Held {
    /// Returns the entry for the faults of this thread in a map, or a new one; `None` if the log is full.
    pub(super) fn of(slot: &'static Slot, thread: ThreadId) -> Option<Self> {
        let is_own = |entry: &&Entry| {
            entry.thread.0.load(Ordering::Acquire) == thread.number() && entry.is_of(slot)
        };
        if let Some(entry) = LOG.iter().find(|entry| is_own(entry) && entry.hold(LOGGED)) {
            return Some(Self(entry));
        }
        let entry = LOG.iter().find(|entry| entry.hold(FREE))?;
        entry.thread.0.store(thread.number(), Ordering::Release);
        entry.thread.1.store(thread.handle(), Ordering::Release);
        // The map was registered under a lock of `fork`, so this only reads a number.
        entry
            .generation
            .store(fork::generation(), Ordering::Release);
        entry
            .slot
            .store(ptr::from_ref(slot).cast_mut(), Ordering::Release);
        entry.version.store(slot.version(), Ordering::Release);
        entry.count.store(0, Ordering::Release);
        entry.areas_used.store(0, Ordering::Release);
        entry.written.0.store(0, Ordering::Release);
        entry.written.1.store(0, Ordering::Release);
        count(1, 0);
        Some(Self(entry))
    }

    /// Adds a fault. Only the facts of the first one are kept.
    pub(super) fn add(&self, address: usize, is_write: bool, reason: u8, reporter: Reporter) {
        let Self(entry) = self;
        if entry.count.fetch_add(1, Ordering::AcqRel) == 0 {
            entry.address.store(address, Ordering::Release);
            entry.is_write.store(is_write, Ordering::Release);
            entry.reason.store(reason, Ordering::Release);
            entry.reporter.store(reporter as u8, Ordering::Release);
        }
        entry.last.store(address, Ordering::Release);
    }

    /// Returns the number of faults, and the address of the last one; 0 for a new entry.
    pub(super) fn before(&self) -> (u32, usize) {
        match self.0.count.load(Ordering::Acquire) {
            0 => (0, 0),
            count => (count, self.0.last.load(Ordering::Acquire)),
        }
    }

    /// Adds a range of pages that were replaced by zeros.
    pub(super) fn add_area(&self, area: &Range<usize>) {
        let Self(entry) = self;
        let is_part = |known: Range<usize>| known.start <= area.start && area.end <= known.end;
        if entry.areas().any(is_part) {
            return;
        }
        let used = entry.areas_used.load(Ordering::Acquire);
        if let Some((start, end)) = entry.areas.get(used) {
            start.store(area.start, Ordering::Release);
            end.store(area.end, Ordering::Release);
            entry.areas_used.store(used + 1, Ordering::Release);
        } else if let Some((start, end)) = entry.areas.last() {
            start.fetch_min(area.start, Ordering::AcqRel);
            end.fetch_max(area.end, Ordering::AcqRel);
        }
    }

    /// Sets the pages for the last write, and returns those for the one before.
    pub(super) fn set_written(&self, pages: &Range<usize>) -> Range<usize> {
        let (start, end) = &self.0.written;
        start.swap(pages.start, Ordering::AcqRel)..end.swap(pages.end, Ordering::AcqRel)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.state.store(LOGGED, Ordering::Release);
    }
}

/// Returns whether any fault was not reported yet.
#[inline]
pub(super) fn is_pending() -> bool {
    PENDING.load(Ordering::Relaxed) != 0
}

/// Returns the record of a fault in a map that was not reported yet, and whose zeros lie in a range of
/// addresses; its address is the first of them.
pub(super) fn find_in(slot: &Slot, range: &Range<usize>) -> Option<Record> {
    let is_used = |entry: &&Entry| entry.state.load(Ordering::Acquire) != FREE;
    let mut entries = LOG.iter().filter(is_used).filter(|entry| entry.is_of(slot));
    entries.find_map(|entry| {
        let mut areas = entry.areas();
        let area = areas.find(|area| area.start < range.end && range.start < area.end)?;
        let address = area.start.max(range.start);
        Some(Record {
            address,
            ..entry.record()?
        })
    })
}

/// Returns whether a fault in a map was not reported yet.
pub(super) fn is_pending_in(slot: &Slot) -> bool {
    let is_used = |entry: &&Entry| entry.state.load(Ordering::Acquire) != FREE;
    LOG.iter().filter(is_used).any(|entry| entry.is_of(slot))
}

/// Calls `report` for each entry and removes those for which it returns `true`. The caller holds the lock of
/// the registry.
pub(super) fn retain_unreported(mut report: impl FnMut(&Record, &Entry) -> bool) {
    for entry in LOG.iter().filter(|entry| entry.hold(LOGGED)) {
        let is_reported = entry.record().is_none_or(|record| report(&record, entry));
        if is_reported {
            entry.slot.store(ptr::null_mut(), Ordering::Release);
            entry.state.store(FREE, Ordering::Release);
            count(0, 1);
        } else {
            entry.state.store(LOGGED, Ordering::Release);
        }
    }
}

/// Counts faults that are to be reported, and faults that were. Some are kept elsewhere until then.
pub(super) fn count(added: usize, removed: usize) {
    PENDING.fetch_add(added, Ordering::AcqRel);
    quiet::add(added);
    PENDING.fetch_sub(removed, Ordering::AcqRel);
    quiet::subtract(removed);
}
