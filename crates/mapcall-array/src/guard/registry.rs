//! The registry of mapped ranges, which a signal handler reads without a lock.
//!
//! A slot holds one range. Slots are made in chunks that are never freed, so a handler can read them at any
//! time; a map takes a free slot when it is made, and gives it back before its addresses are unmapped.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::ops::Range;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, Ordering};

use super::quiet;
use crate::fork::{Mutex, MutexGuard};
use crate::mode::Mode;
use crate::sys;

/// The facts of a mapped file that a fault handler and a report need.
#[derive(Debug)]
pub(crate) struct MappedFile {
    /// The absolute path.
    pub(crate) path: Option<PathBuf>,
    /// The path for calls of the system.
    pub(super) name: Option<CString>,
    pub(crate) identity: sys::Identity,
    pub(crate) mode: Mode,
    /// The size in bytes of a page of the file.
    pub(super) page: usize,
    /// The position in the file of the first page of the range.
    pub(super) start: u64,
}

impl MappedFile {
    /// Returns the present length of the file; `None` if its path no longer leads to it, and for a device. A
    /// signal handler may call this.
    pub(crate) fn len(&self) -> Option<u64> {
        sys::named_len(self.name.as_deref()?, self.identity)
    }
}

/// A range of addresses at which a file is mapped.
#[derive(Debug)]
pub(super) struct Slot {
    /// The first address; 0 if the slot is free. It is set last.
    start: AtomicUsize,
    end: AtomicUsize,
    /// The number of times that the slot was taken, which tells its ranges from each other.
    version: AtomicUsize,
    file: AtomicPtr<MappedFile>,
    is_closed: AtomicBool,
    /// The addresses between which pages have no access since a fault was reported; [`usize::MAX`] and 0 if
    /// there are none.
    lost_from: AtomicUsize,
    lost_until: AtomicUsize,
    /// Whether the map is closed, or has pages without access.
    is_sealed: AtomicBool,
    /// Whether a handler has put zeros at all addresses without an entry in the log, which was full.
    is_unlogged: AtomicBool,
    /// The reason of the last fault that was reported, as a [`Reason`](super::Reason); 0 for none.
    lost: AtomicU8,
}

impl Slot {
    const fn new() -> Self {
        Self {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            version: AtomicUsize::new(0),
            file: AtomicPtr::new(ptr::null_mut()),
            is_closed: AtomicBool::new(false),
            lost_from: AtomicUsize::new(usize::MAX),
            lost_until: AtomicUsize::new(0),
            is_sealed: AtomicBool::new(false),
            is_unlogged: AtomicBool::new(false),
            lost: AtomicU8::new(0),
        }
    }

    /// Returns the addresses; an empty range at 0 if the slot is free.
    pub(super) fn addresses(&self) -> Range<usize> {
        let start = self.start.load(Ordering::Acquire);
        let end = self.end.load(Ordering::Acquire);
        start..if start == 0 { 0 } else { end }
    }

    pub(super) fn version(&self) -> usize {
        self.version.load(Ordering::Acquire)
    }

    /// Returns the facts of the file.
    ///
    /// # Safety
    ///
    /// The slot is taken, and not given back while the reference is used: the caller holds the lock of the
    /// registry, or is a handler on a thread that uses the range.
    pub(super) unsafe fn file<'a>(&self) -> Option<&'a MappedFile> {
        let file = self.file.load(Ordering::Acquire);
        // SAFETY: `file` is null or points to facts that are freed when the slot is given back, which the
        // caller guarantees not to happen.
        unsafe { file.as_ref() }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    /// Records that the map is closed.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.count();
    }

    /// Counts the map among those that are closed or have pages without access.
    fn count(&self) {
        SEALS.fetch_add(1, Ordering::AcqRel);
        if !self.is_sealed.swap(true, Ordering::AcqRel) {
            quiet::add(1);
        }
    }

    /// Records that zeros are at all addresses, although the log has no entry for them.
    pub(super) fn set_unlogged(&self) {
        self.is_unlogged.store(true, Ordering::Release);
        UNLOGGED.store(true, Ordering::Release);
    }

    /// Sets the end of the range, which has grown; it never becomes smaller.
    pub(super) fn set_end(&self, end: usize) {
        self.end.fetch_max(end, Ordering::AcqRel);
    }

    /// Returns the addresses between which pages have no access since a fault was reported.
    pub(super) fn lost_addresses(&self) -> Range<usize> {
        self.lost_from.load(Ordering::Acquire)..self.lost_until.load(Ordering::Acquire)
    }

    pub(super) fn lost(&self) -> u8 {
        self.lost.load(Ordering::Acquire)
    }

    /// Records that pages have no access any more.
    pub(super) fn lose(&self, pages: &Range<usize>, reason: u8) {
        self.lost.store(reason, Ordering::Release);
        self.lost_from.fetch_min(pages.start, Ordering::AcqRel);
        self.lost_until.fetch_max(pages.end, Ordering::AcqRel);
        self.count();
    }
}

/// The number of times that pages lost their access.
static SEALS: AtomicUsize = AtomicUsize::new(1);

/// Returns a number that changes whenever pages lose their access; never 0.
pub(super) fn epoch() -> usize {
    SEALS.load(Ordering::Acquire)
}

/// Whether a slot may have zeros that the log has no entry for.
static UNLOGGED: AtomicBool = AtomicBool::new(false);

/// Takes the slots with zeros that the log has no entry for.
pub(super) fn take_unlogged() -> impl Iterator<Item = &'static Slot> {
    let some = UNLOGGED.swap(false, Ordering::AcqRel);
    let unlogged = |slot: &&Slot| slot.is_unlogged.swap(false, Ordering::AcqRel);
    some.then(slots).into_iter().flatten().filter(unlogged)
}

/// The number of slots of the first chunk; each chunk has twice as many as the one before.
const FIRST: usize = 64;

/// The number of chunks, which is enough for 2^37 maps.
const CHUNKS: usize = 32;

static SLOTS: [AtomicPtr<Slot>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];

/// The number of slots that were ever taken, which are the first ones.
static USED: AtomicUsize = AtomicUsize::new(0);

static FREE: Mutex<Vec<&'static Slot>> = Mutex::new(Vec::new());

/// The lock of the registry: while it is held, no slot is taken or given back.
pub(super) struct Locked(MutexGuard<'static, Vec<&'static Slot>>);

impl Locked {
    pub(super) fn new() -> Self {
        Self(FREE.lock())
    }
}

/// Returns the slot of the range that holds an address. A signal handler may call this.
pub(super) fn find(address: usize) -> Option<&'static Slot> {
    slots().find(|slot| slot.addresses().contains(&address))
}

/// Returns the slots that were ever taken.
fn slots() -> impl Iterator<Item = &'static Slot> {
    let mut rest = USED.load(Ordering::Acquire);
    let chunks = SLOTS.iter().enumerate().map(move |(index, chunk)| {
        let len = rest.min(FIRST << index);
        rest -= len;
        let chunk = chunk.load(Ordering::Acquire);
        if chunk.is_null() {
            return [].as_slice();
        }
        // SAFETY: a chunk has `FIRST << index` slots and is never freed.
        unsafe { std::slice::from_raw_parts(chunk, len) }
    });
    chunks.take_while(|chunk| !chunk.is_empty()).flatten()
}

/// Returns a free slot that was never taken.
fn fresh() -> Option<&'static Slot> {
    let used = USED.load(Ordering::Acquire);
    let (mut index, mut at) = (0, used);
    while at >= FIRST << index {
        at -= FIRST << index;
        index += 1;
    }
    let chunk = SLOTS.get(index)?;
    if at == 0 {
        let slots: Box<[Slot]> = std::iter::repeat_with(Slot::new)
            .take(FIRST << index)
            .collect();
        let slots: &'static mut [Slot] = Box::leak(slots);
        chunk.store(slots.as_mut_ptr(), Ordering::Release);
    }
    // SAFETY: the chunk has more than `at` slots, and is never freed.
    let slot = unsafe { &*chunk.load(Ordering::Acquire).wrapping_add(at) };
    USED.store(used + 1, Ordering::Release);
    Some(slot)
}

impl Locked {
    /// Takes a free slot for a range of addresses.
    ///
    /// # Safety
    ///
    /// `file` is valid until the slot is given back.
    pub(super) unsafe fn take(
        &mut self,
        addresses: Range<usize>,
        file: *const MappedFile,
    ) -> &'static Slot {
        let slot = match self.0.pop().or_else(fresh) {
            Some(slot) => slot,
            // No process has that many maps.
            None => Box::leak(Box::new(Slot::new())),
        };
        slot.end.store(addresses.end, Ordering::Release);
        slot.file.store(file.cast_mut(), Ordering::Release);
        slot.is_closed.store(false, Ordering::Release);
        slot.is_unlogged.store(false, Ordering::Release);
        slot.lost_from.store(usize::MAX, Ordering::Release);
        slot.lost_until.store(0, Ordering::Release);
        slot.lost.store(0, Ordering::Release);
        slot.version.fetch_add(1, Ordering::AcqRel);
        slot.start.store(addresses.start, Ordering::Release);
        slot
    }

    pub(super) fn give_back(&mut self, slot: &'static Slot) {
        slot.start.store(0, Ordering::Release);
        slot.file.store(ptr::null_mut(), Ordering::Release);
        if slot.is_sealed.swap(false, Ordering::AcqRel) {
            quiet::subtract(1);
        }
        self.0.push(slot);
    }
}
