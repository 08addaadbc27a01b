//! What the system is told about pages, and what it tells.

use std::ops::Range;

use super::Map;
use crate::error::{MapError, Result};
use crate::sys::{self, Advice};

/// The bytes of a page: what residency is told of, and what advice is widened to.
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
    /// // SAFETY: nobody else changes the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// array.buffer().map().unwrap().advise(0..6000, Advice::DontNeed)?; // gives the memory back
    /// assert_eq!(array.view::<u8>()?[[3]], 7); // and takes it again
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError::WouldDiscard`] for [`Advice::DontNeed`] on a copy-on-write map, whose changes
    /// would be lost; [`MapError::OutOfRange`]; [`Error::Io`](crate::Error::Io) when the system
    /// does not know the advice.
    pub fn advise(&self, range: Range<usize>, advice: Advice) -> Result<()> {
        let range = self.check(range)?;
        if advice == Advice::DontNeed && !self.discards_safely() {
            return Err(self.error(MapError::WouldDiscard));
        }
        if range.is_empty() {
            return Ok(());
        }
        sys::advise(&self.raw, self.pages(range), advice)
            .map_err(|source| self.io("advise on", source))
    }

    /// Passes an option of the system's `madvise` on to it, for a range widened to whole pages.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: nobody else changes the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// # #[cfg(target_os = "linux")]
    /// array.buffer().map().unwrap().madvise(0..6000, libc::MADV_DONTDUMP)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError::WouldDiscard`] for an option that drops the pages of a copy-on-write map;
    /// [`MapError::PartOfPage`] for one that removes them from the file, when they hold other bytes of
    /// the file, too; [`MapError::OutOfRange`]; [`Error::Io`](crate::Error::Io) when the system
    /// refuses the option.
    pub fn madvise(&self, range: Range<usize>, option: i32) -> Result<()> {
        let Range { start, end } = range;
        let range = self.check(range)?;
        if sys::removes(option, !self.discards_safely()) {
            if !self.discards_safely() {
                return Err(self.error(MapError::WouldDiscard));
            }
            let is_page = |address: usize| address.is_multiple_of(self.page);
            // Behind the end of the file the last page has nothing.
            let is_end = end == self.len() && self.offset + end as u64 == self.file_len;
            let first = self.as_ptr().addr();
            if !is_page(first + start) || !(is_page(first + end) || is_end) {
                return Err(self.error(MapError::PartOfPage { start, end }));
            }
        }
        if range.is_empty() {
            return Ok(());
        }
        sys::madvise(&self.raw, self.pages(range), option)
            .map_err(|source| self.io("advise on", source))
    }

    /// The pages that a range of `raw` lies on, where they are larger than the system's.
    fn pages(&self, range: Range<usize>) -> Range<usize> {
        if self.page == sys::page_size() {
            return range;
        }
        range.start / self.page * self.page..range.end.next_multiple_of(self.page)
    }

    /// Brings a range of bytes into memory, and returns when they are there.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: nobody else changes the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// let map = array.buffer().map().unwrap();
    /// # if cfg!(target_os = "linux") {
    /// map.prefetch(0..1000)?;
    /// assert_eq!(map.residency(0..1000)?, [true]);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A caller that must stay responsive prefetches in pieces.
    ///
    /// # Errors
    ///
    /// [`MapError::OutOfRange`]; [`Error::Io`](crate::Error::Io) when the file can't be read, or
    /// has become shorter than the map.
    pub fn prefetch(&self, range: Range<usize>) -> Result<()> {
        let range = self.check(range)?;
        if range.is_empty() {
            return Ok(());
        }
        sys::prefetch(&self.raw, range).map_err(|source| self.io("read ahead", source))
    }

    /// Which pages of a range of bytes are in memory, in order: a page that holds any of them
    /// counts.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: nobody else changes the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// let map = array.buffer().map().unwrap();
    /// # if cfg!(target_os = "linux") {
    /// assert_eq!(map.residency(10..20)?, [true]); // one page, just written
    /// assert_eq!(map.residency(10..10)?, []);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Linux tells a process only about files that it owns or may write; of others it says that
    /// every page is there: see [`Map::knows_residency`].
    ///
    /// # Errors
    ///
    /// [`MapError::OutOfRange`]; [`Error::Io`](crate::Error::Io) where the system can't tell.
    pub fn residency(&self, range: Range<usize>) -> Result<Vec<bool>> {
        let range = self.check(range)?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        sys::residency(&self.raw, range).map_err(|source| self.io("inspect", source))
    }

    /// Whether [`Map::residency`] says which pages are in memory, and not only that all are.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: nobody else changes the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// let map = array.buffer().map().unwrap();
    /// # if cfg!(target_os = "linux") {
    /// assert!(map.knows_residency(), "it is our own file");
    /// std::fs::remove_file(&file)?;
    /// assert!(!map.knows_residency(), "whose is it?");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// It asks by the file's name: a file that no longer has it counts as unknown.
    #[must_use]
    pub fn knows_residency(&self) -> bool {
        self.named_file_len().is_some() && self.path().is_some_and(sys::tells_residency)
    }

    /// Whether dropping pages loses nothing: the file has what they hold.
    pub(super) fn discards_safely(&self) -> bool {
        self.mode != super::Mode::CopyOnWrite
    }
}
