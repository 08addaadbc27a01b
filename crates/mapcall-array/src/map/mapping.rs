//! The mappings of files in this process, which show whether two addresses lead to the same byte of a file.

use std::fs::File;
use std::ops::Range;

use super::{Map, io_error};
use crate::error::Result;
use crate::sys;

/// A range of addresses of this process at which bytes of a file are mapped.
///
/// ```
/// use mapcall_array::MapOptions;
///
/// # let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(&file, [7; 6000])?;
/// // SAFETY: the maps are not read or written.
/// let (one, other) = unsafe { (MapOptions::new().map(&file)?, MapOptions::new().offset(8).map(&file)?) };
/// let [first, second] = [&one, &other].map(|array| array.buffer().map().unwrap());
/// # #[cfg(target_os = "linux")] {
/// let distance = first.mapping().unwrap().distance(&second.mapping().unwrap()).unwrap();
/// let moved = second.as_ptr().addr().wrapping_add_signed(distance);
/// assert_eq!(moved, first.as_ptr().addr() + 8);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping(sys::MappedRange);

impl Mapping {
    /// Asks the system for the mappings of files that overlap a range of addresses. Memory that is not
    /// mapped from a file has none.
    ///
    /// ```
    /// use mapcall_array::map::Mapping;
    ///
    /// let numbers = vec![7_u8; 6000];
    /// let range = numbers.as_ptr_range();
    /// assert!(Mapping::find(range.start.addr()..range.end.addr()).is_empty());
    /// ```
    ///
    /// Shared memory counts as a file, with or without a name. The result is empty on systems that don't
    /// list mappings.
    #[must_use]
    pub fn find(addresses: Range<usize>) -> Vec<Self> {
        let found = sys::mappings(addresses).unwrap_or_default();
        found.into_iter().map(Self).collect()
    }

    /// Returns whether writes to this mapping change the file, and so its other mappings.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.is_shared
    }

    /// Returns the number of bytes to add to an address in `other` to get the address in `self` of the same
    /// byte of the file; `None` if the two mappings have no byte of a file in common.
    #[must_use]
    pub fn distance(&self, other: &Self) -> Option<isize> {
        let (this, other) = (&self.0, &other.0);
        let is_common = this.file == other.file
            && this.offset < other.offset.saturating_add(other.len as u64)
            && other.offset < this.offset.saturating_add(this.len as u64);
        // The arithmetic is modulo 2^64, so that no difference overflows.
        let origin =
            |mapping: &sys::MappedRange| (mapping.start as u64).wrapping_sub(mapping.offset);
        let distance = origin(this).wrapping_sub(origin(other)).cast_signed();
        is_common.then(|| isize::try_from(distance).ok()).flatten()
    }
}

impl Map {
    /// Returns the range of the file that is mapped; `None` on systems that have no identity of a file.
    ///
    /// See [`Mapping`] for an example. This mapping has the device number that `fstat` returned when the file
    /// was opened. [`Mapping::find`] returns the device number of the system's list of mappings, which
    /// differs on some file systems (btrfs, overlayfs), so the two kinds must not be compared.
    #[must_use]
    pub fn mapping(&self) -> Option<Mapping> {
        sys::HAS_IDENTITY.then(|| {
            Mapping(sys::MappedRange {
                start: self.as_ptr().addr(),
                len: self.len(),
                file: self.file().identity,
                offset: self.offset,
                is_shared: self.mode() != super::Mode::CopyOnWrite,
            })
        })
    }
}

/// Returns whether a range of addresses holds bytes that are mapped from a file. The name by which the file
/// was opened and the library that mapped it do not matter.
///
/// ```
/// use mapcall_array::{MapOptions, map::is_mapped_from};
///
/// # #[cfg(target_os = "linux")] {
/// # let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(&file, [7; 6000])?;
/// // SAFETY: no other code writes or shortens the temporary file.
/// let array = unsafe { MapOptions::new().map(&file)? };
/// let start = array.as_ptr().addr();
/// assert!(is_mapped_from(file.as_file(), start..start + 6000)?);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::Io`](crate::Error::Io) if the system doesn't list mappings, or if the file can't be mapped.
pub fn is_mapped_from(file: &File, addresses: Range<usize>) -> Result<bool> {
    let failed = |source| io_error("inspect", None, source);
    // A temporary map of the file shows the device and inode numbers that the list of mappings has for it.
    let probe = memmap2::MmapOptions::new()
        .len(1)
        .map_raw_read_only(file)
        .map_err(failed)?;
    let start = probe.as_ptr().addr();
    let known = sys::mappings(start..start + 1).map_err(failed)?;
    let found = sys::mappings(addresses).map_err(failed)?;
    Ok(found
        .iter()
        .any(|one| known.iter().any(|other| one.file == other.file)))
}
