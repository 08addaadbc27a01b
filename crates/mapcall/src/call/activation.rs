//! What surrounds calls of C on a thread.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ops::Range;

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
    // SAFETY: the location is this thread's `errno`, which is valid as long as the thread lives.
    unsafe { location.write(0) };
    calls();
    // SAFETY: the location is this thread's `errno`, which is valid as long as the thread lives.
    unsafe { location.read() }
}

/// Takes the faults of maps that the calls of this thread have caused, and returns the first.
#[inline]
pub(crate) fn take_fault(uses: impl Fn(&Range<usize>) -> bool) -> Option<Box<Fault>> {
    if guard::is_pending() {
        take_faults(&uses).into_iter().next().map(Box::new)
    } else {
        None
    }
}

/// Takes the faults of maps that the calls of this thread have caused. A fault of a thread that reports none
/// itself, such as one that C has started, belongs to the calls if `uses` returns `true` for the addresses of
/// the map.
#[cold]
pub fn take_faults(uses: &dyn Fn(&Range<usize>) -> bool) -> Vec<Fault> {
    let here = ThreadId::current();
    guard::take(|pending| {
        pending.thread == here || (pending.reporter == Reporter::Call && uses(&pending.map))
    })
}

/// Returns whether a slot of a frame has an address in a range.
#[must_use]
pub fn has_address(slots: &[u64], range: &Range<usize>) -> bool {
    let range = range.start as u64..range.end as u64;
    slots.iter().any(|slot| range.contains(slot))
}
