//! Takes faults out of the log: finds their reasons, and seals the pages again.

#![allow(unsafe_code)]

use std::ops::Range;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fault::{Fault, Reason};
use super::log::{self, Entry, Record};
use super::quiet;
use super::registry::{self, Locked, MappedFile, Slot};
use super::thread::{Reporter, ThreadId};
use crate::fork::{self, Mutex};
use crate::sys;

/// A fault that was not reported yet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Pending {
    /// The thread that made the access.
    pub thread: ThreadId,
    /// The code that reports the fault.
    pub reporter: Reporter,
    /// The addresses of the map.
    pub map: Range<usize>,
}

/// The faults of maps that were dropped before the faults were reported.
static KEPT: Mutex<Vec<(Pending, Fault)>> = Mutex::new(Vec::new());

/// Takes the faults that are `wanted` out of the log, in no order. Their pages have no access from then on,
/// so that each later access is a fault of its own.
pub fn take(mut wanted: impl FnMut(&Pending) -> bool) -> Vec<Fault> {
    let _locked = Locked::new();
    forget_other_threads();
    let mut faults: Vec<Fault> = Vec::new();
    log::retain_unreported(|record, entry| {
        let is_wanted = wanted(&pending(record));
        if is_wanted && let Some(fault) = resolve(record, entry) {
            let mut known = faults.iter_mut();
            let same = known.find(|known| (known.thread, &known.map) == (fault.thread, &fault.map));
            match same {
                // The thread has a second entry if the first was just being read.
                Some(same) => same.signals += fault.signals,
                None => faults.push(fault),
            }
        }
        is_wanted
    });
    for slot in registry::take_unlogged() {
        // If the system has no memory for it, the pages keep their zeros.
        // SAFETY: the range is that of a map, which is not dropped while the registry is locked.
        let _ = unsafe { sys::seal(slot.addresses()) };
    }
    let mut kept = KEPT.lock();
    let before = kept.len();
    kept.retain(|(pending, fault)| {
        let is_wanted = wanted(pending);
        if is_wanted {
            faults.push(fault.clone());
        }
        !is_wanted
    });
    log::count(0, before - kept.len());
    faults
}

/// Leaves the faults of a thread, which the host language can't raise in it, to the call that was given the map.
pub fn leave_to_call(thread: ThreadId) {
    let _locked = Locked::new();
    log::retain_unreported(|record, entry| {
        if record.thread == thread {
            entry.set_reporter(Reporter::Call);
        }
        false
    });
}

/// Returns the faults that are not reported yet.
#[must_use]
pub fn pending_faults() -> Vec<Pending> {
    let mut found = Vec::new();
    // Nothing is taken.
    take(|pending| {
        found.push(pending.clone());
        false
    });
    found
}

/// Keeps the faults of a map that is dropped. The caller holds the lock of the registry.
pub(super) fn keep(is_dropped: impl Fn(&Record) -> bool) {
    forget_other_threads();
    let mut kept = KEPT.lock();
    let before = kept.len();
    log::retain_unreported(|record, entry| {
        let is_dropped = is_dropped(record);
        if is_dropped {
            kept.extend(resolve(record, entry).map(|fault| (pending(record), fault)));
        }
        is_dropped
    });
    log::count(kept.len() - before, 0);
}

/// In a forked child, removes the faults of before the fork of threads that exist in the parent only.
fn forget_other_threads() {
    static GENERATION: AtomicUsize = AtomicUsize::new(0);
    let generation = fork::generation();
    if GENERATION.swap(generation, Ordering::AcqRel) == generation {
        return;
    }
    let here = ThreadId::current();
    log::retain_unreported(|record, entry| {
        let is_other = record.thread != here && record.generation != generation;
        if is_other {
            resolve(record, entry);
        }
        is_other
    });
    let mut kept = KEPT.lock();
    let before = kept.len();
    kept.retain(|(pending, _)| pending.thread == here);
    log::count(0, before - kept.len());
}

fn pending(record: &Record) -> Pending {
    Pending {
        thread: record.thread,
        reporter: record.reporter,
        map: record.slot.addresses(),
    }
}

/// Seals the pages of an entry, and returns its fault; `None` if the map was dropped.
fn resolve(record: &Record, entry: &Entry) -> Option<Fault> {
    let slot = record.slot;
    if slot.version() != record.version || slot.addresses().is_empty() {
        return None;
    }
    // SAFETY: the callers of `take`, `keep` and `seal_zeros` hold the lock of the registry.
    let file = unsafe { slot.file() }?;
    let fault = describe(record, slot, file);
    for area in entry.areas() {
        slot.lose(&area, fault.reason as u8);
        // If the system has no memory for it, the pages keep their zeros.
        // SAFETY: the area is a part of the map, which is not dropped while the registry is locked, and no
        // reference is made to pages that may vanish.
        let _ = unsafe { sys::seal(area) };
    }
    entry.clear_areas();
    Some(fault)
}

/// Returns the fault of a record.
fn describe(record: &Record, slot: &Slot, file: &MappedFile) -> Fault {
    let map = slot.addresses();
    let file_offset = file.start + record.address.saturating_sub(map.start) as u64;
    let reason = match Reason::from_number(record.reason) {
        Reason::Unknown => reason(file, file_offset, record.is_write),
        known => known,
    };
    Fault {
        path: file.path.clone(),
        file_offset,
        address: record.address,
        map,
        reason,
        is_write: record.is_write,
        signals: record.signals,
        thread: record.thread,
    }
}

/// Seals the pages of faults in the map of an address, which stay to be reported: other threads then have
/// faults of their own, and do not read the zeros.
pub fn seal_zeros(address: usize) {
    let _locked = Locked::new();
    let Some(slot) = registry::find(address) else {
        return;
    };
    log::retain_unreported(|record, entry| {
        if ptr::eq(record.slot, slot) {
            resolve(record, entry);
        }
        false
    });
}

/// Returns whether the map of an address has a fault that was not reported yet.
#[must_use]
pub fn has_zeros(address: usize) -> bool {
    registry::find(address).is_some_and(log::is_pending_in)
}

/// Returns a fault if an operation that began at an epoch may have read zeros of another thread's fault in a
/// range: zeros are there now, or pages have lost their access since. Pages that had none before have given the
/// operation a fault of its own.
///
/// The result is `None` for memory that is not mapped here.
#[must_use]
pub fn gone_since(epoch: usize, range: &Range<usize>) -> Option<Fault> {
    if quiet::is_quiet() || range.is_empty() {
        return None;
    }
    if epoch == registry::epoch() && !has_zeros(range.start) {
        return None;
    }
    let _locked = Locked::new();
    let slot = registry::find(range.start)?;
    // SAFETY: the lock of the registry is held.
    let file = unsafe { slot.file() }?;
    let lost = slot.lost_addresses();
    let record = |address, reason| Record {
        thread: ThreadId::current(),
        reporter: Reporter::Host,
        generation: fork::generation(),
        slot,
        version: slot.version(),
        address,
        is_write: false,
        signals: 0,
        reason,
    };
    let found = if slot.is_closed() {
        record(range.start, Reason::Closed as u8)
    } else if lost.start < range.end && range.start < lost.end {
        record(range.start.max(lost.start), slot.lost())
    } else {
        let other = log::find_in(slot, range)?;
        record(other.address, other.reason)
    };
    Some(describe(&found, slot, file))
}

/// Finds the reason of a fault by the state of the file.
fn reason(file: &MappedFile, offset: u64, is_write: bool) -> Reason {
    let Some(len) = file.len() else {
        // The file has lost its name. Nothing can be asked about it, and a shorter file is the usual reason.
        return Reason::Truncated;
    };
    if offset >= len {
        return Reason::Truncated;
    }
    let path = file.path.as_deref();
    let is_hole = path.is_some_and(|path| sys::is_hole(path, offset));
    let is_full = path.is_some_and(|path| sys::is_full(path, file.page));
    // Some file systems in memory need space to read a hole, too.
    if is_write && (is_hole || is_full) || is_hole && is_full {
        Reason::NoSpace
    } else if path.is_some_and(|path| sys::can_read(path, offset)) {
        // The file was shorter, and has grown since.
        Reason::Truncated
    } else {
        Reason::Io
    }
}
