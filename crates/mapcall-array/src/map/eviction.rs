//! Page eviction behind a sequential scan of a map that is larger than memory.

use std::fs::File;

use super::{Advice, Map};
use crate::sys;

/// The size of one eviction in bytes: large enough that the system calls take little of the scan's time,
/// and small against the memory of any machine.
const PIECE: usize = 16 << 20;

/// The number of bytes before each piece that are evicted again: at the first time they were still being
/// written to the disk, and the system keeps such pages.
const BEHIND: u64 = 2 * PIECE as u64;

/// Evicts the pages of a map that a sequential scan has passed.
///
/// ```
/// use mapcall_array::MapOptions;
/// # let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(&file, vec![7; 40 << 20])?;
/// // SAFETY: no other code writes or shortens the temporary file.
/// let array = unsafe { MapOptions::new().map(&file)? };
/// let mut evictor = array.buffer().map().unwrap().evictor(0, false);
/// let sum: u64 = array.view::<u8>()?.iter().map(|&byte| u64::from(byte)).sum();
/// evictor.pass(40 << 20);
/// assert_eq!((sum, evictor.passed()), (7 * (40 << 20), 32 << 20));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The pages leave the memory of this process in pieces of 16 MiB (`MADV_DONTNEED`); the file keeps their
/// content. With `evicts`, [`Map::evictor`] also starts to write changed pages to the disk
/// (`sync_file_range`) and removes the pages from the system's cache (`POSIX_FADV_DONTNEED`), so that the
/// cache has room for the pages ahead. On a system without these calls the result of the scan is the
/// same, but the memory that it uses is not bounded.
#[derive(Debug)]
pub struct PageEvictor<'a> {
    map: &'a Map,
    /// The file whose pages are removed from the system's cache; opened here, as a map keeps no descriptor.
    /// `None` if the cache keeps them.
    file: Option<File>,
    /// The byte of the map at which the scan began.
    start: usize,
    /// The byte of the map up to which the pages have been evicted.
    passed: usize,
}

impl Map {
    /// Begins a scan at a byte of the map. With `evicts`, the pages also leave the system's cache, not only
    /// the memory of this process.
    #[must_use]
    pub fn evictor(&self, start: usize, evicts: bool) -> PageEvictor<'_> {
        let file = || {
            let file = File::open(self.path()?).ok()?;
            let metadata = file.metadata().ok()?;
            (sys::identity(&metadata) == self.file().identity).then_some(file)
        };
        PageEvictor {
            map: self,
            file: if evicts { file() } else { None },
            start,
            passed: start,
        }
    }
}

impl PageEvictor<'_> {
    /// Evicts the whole pieces before byte `end` of the map, which the scan won't read again soon.
    pub fn pass(&mut self, end: usize) {
        // A piece that the scan has passed only in part stays until the scan has passed all of it.
        let end = end.min(self.map.len()) / PIECE * PIECE;
        if end <= self.passed || !self.map.discards_safely() {
            return;
        }
        let range = self.passed..end;
        self.passed = end;
        let (offset, len) = (
            self.map.file_offset() + range.start as u64,
            range.len() as u64,
        );
        // These calls change no data, so their errors are ignored.
        let _ = self.map.advise(range, Advice::DontNeed);
        if let Some(file) = &self.file {
            if self.map.mode().writes_file() {
                let _ = sys::write_back(file, offset, len);
            }
            let first = self.map.file_offset() + self.start as u64;
            // The system keeps pages that are still being written to the disk, so the range includes the
            // pieces before, too.
            let start = first.max(offset.saturating_sub(BEHIND));
            sys::forget(file, start, offset + len - start);
        }
    }

    /// Returns the byte of the map up to which the pages have been evicted.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.passed
    }
}

/// Returns the number of bytes of memory that are available for data; `None` where the system doesn't tell.
///
/// Cached pages count as available. The limit of the process's control group applies if it is lower.
#[must_use]
pub fn available_memory() -> Option<u64> {
    sys::available_memory()
}
