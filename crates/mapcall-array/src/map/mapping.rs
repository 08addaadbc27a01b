//! Which bytes of which file lie at an address: two maps of a file have the same bytes at two
//! addresses.

use std::fs::File;
use std::ops::Range;

use super::{Map, io_error};
use crate::error::Result;
use crate::sys;

/// Bytes of a file at a range of addresses of this process.
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
    /// The mappings that a range of addresses lies in, as the system knows them; none for memory that
    /// is no file's.
    ///
    /// ```
    /// use mapcall_array::map::Mapping;
    ///
    /// let numbers = vec![7_u8; 6000];
    /// let range = numbers.as_ptr_range();
    /// assert!(Mapping::find(range.start.addr()..range.end.addr()).is_empty());
    /// ```
    ///
    /// Shared memory is a file too, with or without a name. Where the system doesn't tell, there are
    /// none.
    #[must_use]
    pub fn find(addresses: Range<usize>) -> Vec<Self> {
        let found = sys::mappings(addresses).unwrap_or_default();
        found.into_iter().map(Self).collect()
    }

    /// Whether what is written here reaches the file, and so its other mappings.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.is_shared
    }

    /// How far an address in the other mapping has to be moved to become the one here of the same byte
    /// of the file; `None` where the two have no byte of a file in common.
    #[must_use]
    pub fn distance(&self, other: &Self) -> Option<isize> {
        let (this, other) = (&self.0, &other.0);
        let is_common = this.file == other.file
            && this.offset < other.offset.saturating_add(other.len as u64)
            && other.offset < this.offset.saturating_add(this.len as u64);
        // Modulo 2^64, so that no difference is too large.
        let origin =
            |mapping: &sys::MappedRange| (mapping.start as u64).wrapping_sub(mapping.offset);
        let distance = origin(this).wrapping_sub(origin(other)).cast_signed();
        is_common.then(|| isize::try_from(distance).ok()).flatten()
    }
}

impl Map {
    /// Where the map's bytes are in the file; `None` where the system doesn't tell files apart.
    ///
    /// See [`Mapping`] for an example. Maps of one file are recognised by what is known of them since
    /// they were opened. [`Mapping::find`] asks the system, which may number files otherwise: the
    /// two must not be compared.
    #[must_use]
    pub fn mapping(&self) -> Option<Mapping> {
        sys::TELLS_FILES_APART.then(|| {
            Mapping(sys::MappedRange {
                start: self.as_ptr().addr(),
                len: self.len(),
                file: self.identity,
                offset: self.offset,
                is_shared: self.mode != super::Mode::CopyOnWrite,
            })
        })
    }
}

/// Whether a range of addresses holds bytes that are mapped from a file, by whatever name it was
/// opened, and by whom.
///
/// ```
/// use mapcall_array::{MapOptions, map::is_mapped_from};
///
/// # #[cfg(target_os = "linux")] {
/// # let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(&file, [7; 6000])?;
/// // SAFETY: nobody else changes the temporary file.
/// let array = unsafe { MapOptions::new().map(&file)? };
/// let start = array.as_ptr().addr();
/// assert!(is_mapped_from(file.as_file(), start..start + 6000)?);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::Io`](crate::Error::Io) when the system doesn't tell, or the file can't be mapped.
pub fn is_mapped_from(file: &File, addresses: Range<usize>) -> Result<bool> {
    let failed = |source| io_error("inspect", None, source);
    // A map of its own shows how the system numbers the file among mappings.
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
