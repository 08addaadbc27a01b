//! Walking through a map that is larger than memory.

use std::fs::File;

use super::{Advice, Map};
use crate::sys;

/// What is dropped at once, in bytes: enough to cost nothing, little enough to matter to nobody.
const PIECE: usize = 16 << 20;

/// The pages that a walk through a map has passed, and lets go.
///
/// ```
/// use mapcall_array::MapOptions;
/// # let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(&file, vec![7; 40 << 20])?;
/// // SAFETY: nobody else changes the temporary file.
/// let array = unsafe { MapOptions::new().map(&file)? };
/// let mut behind = array.buffer().map().unwrap().walk(0, false);
/// let sum: u64 = array.view::<u8>()?.iter().map(|&byte| u64::from(byte)).sum();
/// behind.pass(40 << 20);
/// assert_eq!((sum, behind.passed()), (7 * (40 << 20), 32 << 20));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// They leave this process's memory, in pieces of 16 MiB; the file keeps their content. A walk that
/// evicts also starts to write back what was written, and tells the system that the file's
/// pages won't be needed, so that those behind make room for those before. Nothing is lost when the
/// system knows none of this: then memory isn't bounded.
#[derive(Debug)]
pub struct Behind<'a> {
    map: &'a Map,
    /// The file, where pages are evicted; a map has no descriptor of its own.
    file: Option<File>,
    /// Up to where the pages are gone.
    passed: usize,
}

impl Map {
    /// Begins a walk at a byte of the map; one that evicts empties the system's cache, too.
    #[must_use]
    pub fn walk(&self, start: usize, evicts: bool) -> Behind<'_> {
        let file = || {
            let file = File::open(self.path()?).ok()?;
            let metadata = file.metadata().ok()?;
            (sys::identity(&metadata) == self.identity).then_some(file)
        };
        Behind {
            map: self,
            file: if evicts { file() } else { None },
            passed: start,
        }
    }
}

impl Behind<'_> {
    /// Nothing before that byte of the map is needed soon.
    pub fn pass(&mut self, end: usize) {
        // What lies in two pieces waits for the second one.
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
        // Where the system refuses one of these, the result is the same.
        let _ = self.map.advise(range, Advice::DontNeed);
        if let Some(file) = &self.file {
            if self.map.mode().writes_file() {
                let _ = sys::write_back(file, offset, len);
            }
            sys::forget(file, offset, len);
        }
    }

    /// Up to where its pages are gone.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.passed
    }
}

/// How much memory is free for data, in bytes; `None` where the system doesn't tell.
///
/// What is cached counts as free, and a limit of the process's control group counts.
#[must_use]
pub fn available_memory() -> Option<u64> {
    sys::available_memory()
}
