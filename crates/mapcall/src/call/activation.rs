//! What surrounds calls of C on a thread.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ops::Range;
use std::ptr::NonNull;

use mapcall_array::guard::{self, Fault, Reporter, ThreadId};

use super::errno;

/// Makes calls of C on this thread, whose `errno` is 0 before the first one. Returns the `errno` that the
/// calls leave; 0 on systems whose `errno` can't be found.
///
/// Calls may be nested: a callback of C may make calls of its own.
#[inline]
pub(crate) fn run(calls: impl FnOnce()) -> c_int {
    let Some(location) = errno::location() else {
        calls();
        return 0;
    };
    // SAFETY: the location is that of this thread.
    unsafe { run_at(location, calls) }
}

/// Makes calls as [`run`] does, with the location of `errno`.
///
/// # Safety
///
/// `location` is what [`errno::location`] returns on this thread.
#[inline]
pub(crate) unsafe fn run_at(location: NonNull<c_int>, calls: impl FnOnce()) -> c_int {
    // SAFETY: the location is this thread's `errno`, which is valid as long as the thread lives.
    unsafe { location.write(0) };
    calls();
    // SAFETY: the location is this thread's `errno`, which is valid as long as the thread lives.
    unsafe { location.read() }
}

/// The memory of calls, by which a fault of another thread is known to be theirs.
#[derive(Clone, Copy, Debug)]
pub struct Accessed<'a> {
    /// The addresses of the arrays that lie in maps, or in memory of unknown origin.
    pub mapped: &'a [Range<usize>],
    /// The slots of a frame, which may have other addresses.
    pub slots: &'a [u64],
}

impl Accessed<'_> {
    /// Returns whether the calls may access a map.
    fn uses(&self, map: &Range<usize>) -> bool {
        let slots = map.start as u64..map.end as u64;
        let mut mapped = self.mapped.iter();
        mapped.any(|array| array.start < map.end && map.start < array.end)
            || self.slots.iter().any(|slot| slots.contains(slot))
    }
}

/// Takes the faults of maps that the calls of this thread have caused, and returns the first.
#[inline]
pub(crate) fn take_fault(accessed: Accessed<'_>) -> Option<Box<Fault>> {
    if guard::is_quiet() {
        return None;
    }
    take_faults(accessed).into_iter().next().map(Box::new)
}

/// Takes the faults of maps that the calls of this thread have caused. A fault of a thread that reports none
/// itself, such as one that C has started, belongs to the calls that may access the map.
#[cold]
#[must_use]
pub fn take_faults(accessed: Accessed<'_>) -> Vec<Fault> {
    let here = ThreadId::current();
    guard::take(|pending| {
        pending.thread == here
            || (pending.reporter == Reporter::Call && accessed.uses(&pending.map))
    })
}

/// Returns a fault if calls that began at an epoch of the guard may have read zeros in one of the ranges, which
/// were there because of a fault of another thread.
#[must_use]
pub fn zeros_read(epoch: usize, ranges: impl IntoIterator<Item = Range<usize>>) -> Option<Fault> {
    if guard::is_quiet() {
        return None;
    }
    let mut ranges = ranges.into_iter();
    ranges.find_map(|range| guard::gone_since(epoch, &range))
}
