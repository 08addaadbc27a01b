//! The one number that every call reads: whether anything is wrong with any map.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of faults that were not reported yet, and of maps that are closed or have pages without access.
static TROUBLES: AtomicUsize = AtomicUsize::new(0);

/// Adds to the number. A signal handler may call this.
pub(super) fn add(count: usize) {
    TROUBLES.fetch_add(count, Ordering::AcqRel);
}

pub(super) fn subtract(count: usize) {
    TROUBLES.fetch_sub(count, Ordering::AcqRel);
}

/// Returns whether no fault is to be reported, and no map is closed or has pages without access.
#[doc(hidden)]
#[must_use]
#[inline]
pub fn is_quiet() -> bool {
    TROUBLES.load(Ordering::Acquire) == 0
}

/// Returns the address of the number that is 0 when [`is_quiet`] returns true, for compiled code.
#[doc(hidden)]
#[must_use]
pub fn troubles() -> usize {
    (&raw const TROUBLES).expose_provenance()
}
