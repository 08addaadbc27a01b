//! What the signal handler does: it puts zeros where a page is gone, and logs the fault.

#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fault::Reason;
use super::log::{self, Held};
use super::registry::{self, MappedFile, Slot};
use super::thread::{Claim, Reporter, ThreadId};
use crate::fork::Section;
use crate::sys::{self, Access};

/// Functions of the host language that the signal handler calls. They must be safe to call there: they take
/// no lock that the thread may hold, and touch no map.
#[derive(Clone, Copy, Debug)]
pub struct Observer {
    /// Returns whether the thread that calls it reports its own faults.
    pub knows_thread: fn() -> bool,
    /// Is called after a fault of the thread that calls it was logged, unless the thread has a
    /// [`Claim`](super::Claim).
    pub notify: fn(),
}

static OBSERVER: OnceLock<Observer> = OnceLock::new();

/// Sets the functions of the host language. Calls after the first change nothing.
pub fn set_observer(observer: Observer) {
    let _section = Section::enter();
    let _ = OBSERVER.set(observer);
}

/// The maximum number of bytes that are replaced at once by pages that may be written, which take memory.
static MAX_WRITTEN: OnceLock<usize> = OnceLock::new();

/// Reads what the handler needs to know of the system.
pub(super) fn prepare() {
    MAX_WRITTEN.get_or_init(|| (sys::total_memory() / 16).max(1 << 24));
}

/// Repairs a failed access to a map; returns `false` for any other access.
pub(super) fn repair(access: Access) -> bool {
    let Some(slot) = registry::find(access.address) else {
        return false;
    };
    // SAFETY: this thread uses the map, which gives its slot back after its last use.
    let Some(file) = (unsafe { slot.file() }) else {
        return false;
    };
    let is_writeable = file.mode.is_writeable();
    // Where the processor does not tell, pages of a writeable map are replaced by writeable ones.
    let is_write = access.is_write.unwrap_or(is_writeable);
    let is_sealed = slot.is_closed() || slot.lost() != 0 || log::is_pending_in(slot);
    if (is_write && !is_writeable) || !(access.is_missing || is_sealed) {
        return false;
    }
    let thread = ThreadId::current();
    let page = access.address / file.page * file.page;
    let gone = gone_from(slot, file);
    if access.is_missing && gone.is_some_and(|gone| page < gone) && is_first(thread, access.address)
    {
        // The file has the page by now: another process has shortened and grown it. The access is repeated; if
        // it fails again, the device can't supply the page.
        return true;
    }
    let observer = OBSERVER.get();
    let reporter = if Claim::exists() {
        Reporter::Claim
    } else if observer.is_some_and(|observer| (observer.knows_thread)()) {
        Reporter::Host
    } else {
        Reporter::Call
    };
    let Some(held) = Held::of(slot, thread) else {
        // The map itself tells that it has lost pages.
        let all = slot.addresses();
        slot.lose(&all, Reason::Truncated as u8);
        slot.set_unlogged();
        // SAFETY: the range is that of a map.
        return unsafe { sys::replace_by_zeros(all, is_write) }.is_ok();
    };
    let (area, reason) = area(slot, file, page, (access.is_missing, gone), held.before());
    let pages = if is_write {
        let size = MAX_WRITTEN.get().copied().unwrap_or(1 << 24);
        let growing = (1 << 16_usize) << held.before().0.min(30);
        part(&area, page, file.page, size.min(growing), held.before().1)
    } else {
        area.clone()
    };
    // Logged first, so that another thread that reads the zeros knows of them.
    held.add_area(&area);
    held.add(access.address, is_write, reason as u8, reporter);
    // SAFETY: the range lies in a map, and its pages have no access, or zeros that a handler put there.
    if unsafe { sys::replace_by_zeros(pages.clone(), is_write) }.is_err() {
        // The system allows no more ranges; all pages of the map are one.
        let all = slot.addresses();
        held.add_area(&all);
        // SAFETY: the range is that of a map, whose faults are reported.
        if unsafe { sys::replace_by_zeros(all, is_write) }.is_err() {
            return false;
        }
    }
    if is_write {
        let before = held.set_written(&pages);
        if !before.is_empty() && (before.end <= pages.start || pages.end <= before.start) {
            // New zeros take no memory. If this fails, the old ones stay.
            // SAFETY: the range has zeros that this handler put there.
            let _ = unsafe { sys::replace_by_zeros(before, true) };
        }
    }
    drop(held);
    if let Some(observer) = observer.filter(|_| reporter != Reporter::Claim) {
        (observer.notify)();
    }
    true
}

/// Returns the address from which on the file has no pages; `None` if its length is unknown.
fn gone_from(slot: &Slot, file: &MappedFile) -> Option<usize> {
    let from_start = file.len()?.saturating_sub(file.start);
    let pages = from_start.checked_next_multiple_of(file.page as u64)?;
    let start = slot.addresses().start;
    Some(usize::try_from(pages).map_or(usize::MAX, |len| start.saturating_add(len)))
}

/// Returns whether the last access of a thread that was repeated had another address.
fn is_first(thread: ThreadId, address: usize) -> bool {
    /// The number of entries. Threads that share one may repeat an access more often, until one of them is
    /// twice in a row the first.
    const ENTRIES: usize = 64;
    static REPEATED: [AtomicUsize; ENTRIES] = [const { AtomicUsize::new(0) }; ENTRIES];
    let entry = REPEATED.get(thread.number() % ENTRIES);
    entry.is_some_and(|entry| entry.swap(address, Ordering::AcqRel) != address)
}

/// Returns the pages that are gone along with one, and the reason if it is known.
///
/// If the length of the file is known, all pages behind it are gone. Otherwise the number of pages doubles
/// with each fault, in the direction of the accesses: a fault for each page would take too long, and pages
/// that are still there must not be hidden by the first fault.
fn area(
    slot: &Slot,
    file: &MappedFile,
    page: usize,
    (is_missing, gone): (bool, Option<usize>),
    (count, last): (u32, usize),
) -> (Range<usize>, Reason) {
    let all = slot.addresses();
    if slot.is_closed() {
        return (all, Reason::Closed);
    }
    let before = Reason::from_number(slot.lost());
    if let Some(gone) = gone.filter(|gone| *gone <= page) {
        return (gone..all.end, Reason::Truncated);
    }
    let lost = slot.lost_addresses();
    if lost.contains(&page) && lost.end == all.end {
        return (lost, before);
    }
    let size = file.page.checked_shl(count).unwrap_or(usize::MAX);
    let reason = if is_missing { Reason::Unknown } else { before };
    (part(&all, page, file.page, size, last), reason)
}

/// Returns a part of a range that begins at a page, or ends with it if the last fault was behind it.
fn part(
    all: &Range<usize>,
    page: usize,
    page_size: usize,
    size: usize,
    last: usize,
) -> Range<usize> {
    let size = size.max(page_size).next_multiple_of(page_size);
    let end = page + page_size;
    if last > page {
        end.saturating_sub(size).max(all.start)..end
    } else {
        page..page.saturating_add(size).min(all.end)
    }
}
