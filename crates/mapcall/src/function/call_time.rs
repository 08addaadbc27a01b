//! The time that a call takes, by which the batches are found that are short.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The time that a call of a batch took, in picoseconds; [`UNKNOWN`] before a batch has measured it.
#[derive(Debug)]
pub(crate) struct CallTime(AtomicU64);

/// The value of a time that is not known: longer than all others.
const UNKNOWN: u64 = u64::MAX;

impl CallTime {
    pub(super) fn unknown() -> Self {
        Self(AtomicU64::new(UNKNOWN))
    }

    #[inline]
    pub(super) fn is_known(&self) -> bool {
        self.0.load(Ordering::Relaxed) != UNKNOWN
    }

    /// Returns the time that a number of calls are expected to take, in nanoseconds; the maximum or nearly so if it is
    /// not known.
    #[inline]
    pub(crate) fn of_calls(&self, calls: usize) -> u64 {
        let time = self.0.load(Ordering::Relaxed);
        time.saturating_mul(calls as u64) / 1000
    }

    /// Stores the time that a number of calls have taken.
    pub(crate) fn set(&self, time: Duration, calls: usize) {
        let time = time.as_nanos().saturating_mul(1000) / calls.max(1) as u128;
        let time = u64::try_from(time).unwrap_or(UNKNOWN);
        self.0.store(time.max(1), Ordering::Relaxed);
    }

    /// Has the next batch measure the time.
    #[cold]
    pub(crate) fn forget(&self) {
        self.0.store(UNKNOWN, Ordering::Relaxed);
    }
}
