//! How many calls are made at a stretch.

use std::time::Duration;

/// What a stretch takes: nothing is waited for longer, neither a signal nor another thread's end.
const STRETCH: Duration = Duration::from_millis(4);

/// What the lanes of a stretch have together, so that it stays in a core's cache.
pub(super) const BYTES: usize = 4 << 20;

/// How much longer a stretch may be than the one before: the first calls may be quick by chance.
const GROWTH: usize = 16;

/// The length of the next stretch, by what the last one took.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    next: usize,
    most: usize,
}

impl Pace {
    /// `bytes` is what one call walks over; no stretch is longer than `most` calls.
    pub(super) fn new(bytes: usize, most: usize) -> Self {
        Self {
            next: 1,
            most: (BYTES / bytes.max(1)).min(most).max(1),
        }
    }

    pub(super) fn next(&self) -> usize {
        self.next
    }

    /// The longest stretch that there will be.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// That many calls took so long.
    pub(super) fn took(&mut self, calls: usize, time: Duration) {
        let fits = STRETCH.as_nanos() * calls as u128 / time.as_nanos().max(1);
        let fits = usize::try_from(fits).unwrap_or(usize::MAX);
        self.next = fits.min(calls.saturating_mul(GROWTH)).clamp(1, self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_clock() {
        let mut pace = Pace::new(16, usize::MAX);
        assert_eq!(pace.next(), 1);
        pace.took(1, Duration::from_nanos(10));
        assert_eq!(pace.next(), 16);
        pace.took(16, Duration::from_secs(1));
        assert_eq!(pace.next(), 1, "a call of 62 ms");
        pace.took(1 << 17, Duration::from_micros(400));
        assert_eq!(pace.next(), 1 << 18, "no more than the cache holds");
        let mut pace = Pace::new(1 << 30, 7);
        pace.took(7, Duration::ZERO);
        assert_eq!(pace.next(), 1);
    }
}
