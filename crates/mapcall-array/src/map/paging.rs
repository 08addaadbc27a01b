//! Advice to the system about the pages of a map, prefetching, and queries for the pages in memory.

use std::ops::Range;

use super::Map;
use crate::error::{MapError, Result};
use crate::sys::{self, Advice};

/// Returns the size of a page in bytes: the unit of [`Map::residency`] and of [`Map::advise`].
///
/// ```
/// use mapcall_array::map::page_size;
///
/// assert!(page_size().is_power_of_two());
/// ```
#[must_use]
pub fn page_size() -> usize {
    sys::page_size()
}

impl Map {
    /// Advises the system about a range of bytes, widened to whole pages.
    ///
    /// ```
    /// use mapcall_array::map::Advice;
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    ///
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// array.buffer().map().unwrap().advise(0..6000, Advice::DontNeed)?; // drops the pages
    /// assert_eq!(array.view::<u8>()?[[3]], 7); // reads the page again
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError::WouldDiscard`] for [`Advice::DontNeed`] on a copy-on-write map, whose changes
    /// would be lost; [`MapError::OutOfRange`] if the range is not inside the map;
    /// [`Error::Io`](crate::Error::Io) if the system does not know the advice.
    pub fn advise(&self, range: Range<usize>, advice: Advice) -> Result<()> {
        let range = self.inside(range)?;
        if advice == Advice::DontNeed && !self.discards_safely() {
            return Err(self.error(MapError::WouldDiscard));
        }
        if range.is_empty() {
            return Ok(());
        }
        self.region
            .advise(range, advice)
            .map_err(|source| self.io("advise on", source))
    }

    /// Calls the system's `madvise` with one of its own options, for a range widened to whole pages.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// # #[cfg(target_os = "linux")]
    /// array.buffer().map().unwrap().madvise(0..6000, libc::MADV_DONTDUMP)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError::WouldDiscard`] for an option that drops the pages of a copy-on-write map;
    /// [`MapError::PartOfPage`] for one that removes them from the file, if they hold other bytes of the file
    /// as well; [`MapError::OutOfRange`] if the range is not inside the map; [`Error::Io`](crate::Error::Io)
    /// if the system refuses the option.
    pub fn madvise(&self, range: Range<usize>, option: i32) -> Result<()> {
        let Range { start, end } = range;
        let range = self.inside(range)?;
        if sys::removes(option, !self.discards_safely()) {
            if !self.discards_safely() {
                return Err(self.error(MapError::WouldDiscard));
            }
            let is_page = |address: usize| address.is_multiple_of(self.region.page());
            // The rest of the last page, behind the end of the file, has no bytes of the file.
            let is_end = end == self.len() && self.offset + end as u64 == self.file_len();
            let first = self.as_ptr().addr();
            if !is_page(first + start) || !(is_page(first + end) || is_end) {
                return Err(self.error(MapError::PartOfPage { start, end }));
            }
        }
        if range.is_empty() {
            return Ok(());
        }
        self.region
            .madvise(range, option)
            .map_err(|source| self.io("advise on", source))
    }

    /// Reads a range of bytes into memory, and returns when all of them are there.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// let map = array.buffer().map().unwrap();
    /// # if cfg!(target_os = "linux") {
    /// map.prefetch(0..1000)?;
    /// assert_eq!(map.residency(0..1000)?, [true]);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The call can't be interrupted; a caller that must stay responsive prefetches small ranges, one after
    /// the other.
    ///
    /// # Errors
    ///
    /// [`MapError::OutOfRange`] if the range is not inside the map; [`Error::Io`](crate::Error::Io) if the
    /// file can't be read, or has become shorter than the map.
    pub fn prefetch(&self, range: Range<usize>) -> Result<()> {
        let range = self.inside(range)?;
        if range.is_empty() {
            return Ok(());
        }
        self.region
            .prefetch(range)
            .map_err(|source| self.io("read ahead", source))
    }

    /// Returns whether each page is in memory, in the order of the addresses, for all pages that hold a byte
    /// of the range.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// let map = array.buffer().map().unwrap();
    /// # if cfg!(target_os = "linux") {
    /// assert_eq!(map.residency(10..20)?, [true]); // one page, just written
    /// assert_eq!(map.residency(10..10)?, []);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Linux answers truly only for files that the process owns or may write; for other files the answer is
    /// that every page is in memory: see [`Map::knows_residency`].
    ///
    /// # Errors
    ///
    /// [`MapError::OutOfRange`] if the range is not inside the map; [`Error::Io`](crate::Error::Io) if the
    /// system can't tell.
    pub fn residency(&self, range: Range<usize>) -> Result<Vec<bool>> {
        let range = self.inside(range)?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        self.region
            .residency(range)
            .map_err(|source| self.io("inspect", source))
    }

    /// Returns whether the system answers [`Map::residency`] truly, and does not report every page as being
    /// in memory.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// let map = array.buffer().map().unwrap();
    /// # if cfg!(target_os = "linux") {
    /// assert!(map.knows_residency(), "this process owns the file");
    /// std::fs::remove_file(&file)?;
    /// assert!(!map.knows_residency(), "its owner is unknown");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The owner is found by the path of the file: the result is `false` if the path no longer leads to the
    /// mapped file.
    #[must_use]
    pub fn knows_residency(&self) -> bool {
        self.named_file_len().is_some() && self.path().is_some_and(sys::reports_residency)
    }

    /// Returns whether pages may be dropped without loss, because the file has their content.
    pub(super) fn discards_safely(&self) -> bool {
        self.mode() != super::Mode::CopyOnWrite
    }
}
