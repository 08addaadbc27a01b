//! The number of consecutive calls that a thread makes at once.

use std::time::Duration;

/// The time that a chunk should take. A thread looks for signals and for the end of other threads only
/// between chunks.
const CHUNK_TIME: Duration = Duration::from_millis(4);

/// The largest size of the memory that a chunk reads and writes, in bytes: it stays in a core's cache.
pub(super) const BYTES: usize = 4 << 20;

/// The largest factor between the lengths of two consecutive chunks, as the first calls can be fast by
/// chance.
const GROWTH: usize = 16;

/// Chooses the number of calls of the next chunk from the time that the last one took.
#[derive(Clone, Debug)]
pub(super) struct ChunkSizer {
    next: usize,
    max: usize,
}

impl ChunkSizer {
    /// Makes a sizer for calls that each read and write `bytes` bytes. No chunk has more than `max`
    /// calls.
    pub(super) fn new(bytes: usize, max: usize) -> Self {
        Self {
            next: 1,
            max: (BYTES / bytes.max(1)).min(max).max(1),
        }
    }

    pub(super) fn next(&self) -> usize {
        self.next
    }

    /// Returns the largest number of calls that a chunk can have.
    pub(super) fn max(&self) -> usize {
        self.max
    }

    /// Notes that the last chunk had `calls` calls and took `time`.
    pub(super) fn took(&mut self, calls: usize, time: Duration) {
        let fits = CHUNK_TIME.as_nanos() * calls as u128 / time.as_nanos().max(1);
        let fits = usize::try_from(fits).unwrap_or(usize::MAX);
        self.next = fits.min(calls.saturating_mul(GROWTH)).clamp(1, self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_clock() {
        let mut chunk_sizer = ChunkSizer::new(16, usize::MAX);
        assert_eq!(chunk_sizer.next(), 1);
        chunk_sizer.took(1, Duration::from_nanos(10));
        assert_eq!(chunk_sizer.next(), 16);
        chunk_sizer.took(16, Duration::from_secs(1));
        assert_eq!(chunk_sizer.next(), 1, "a call of 62 ms");
        chunk_sizer.took(1 << 17, Duration::from_micros(400));
        assert_eq!(chunk_sizer.next(), 1 << 18, "no more than the cache holds");
        let mut chunk_sizer = ChunkSizer::new(1 << 30, 7);
        chunk_sizer.took(7, Duration::ZERO);
        assert_eq!(chunk_sizer.next(), 1);
    }
}
