//! Memory maps of files: modes, flushing and paging.
//!
//! ```
//! use mapcall_array::{MapOptions, Mode, map::Advice};
//!
//! # let file = tempfile::NamedTempFile::new()?;
//! std::fs::write(&file, [7; 6000])?;
//! // SAFETY: no other code writes or shortens the temporary file.
//! let mut array = unsafe { MapOptions::new().mode(Mode::ReadWrite).map(&file)? };
//! array.advise(Advice::Random)?;
//! array.view_mut::<u8>()?[[5000]] = 42;
//! array.flush()?;
//! assert_eq!(std::fs::read(&file)?[5000], 42);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`MapOptions`](crate::MapOptions) opens a file as an array on a [`Map`].

#![allow(unsafe_code)]

mod closing;
mod eviction;
mod fingerprint;
mod mapping;
mod names;
mod paging;
mod source;

use std::fmt;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{self, Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::error::{Error, Result};
use crate::guard::{MappedFile, Registration};
use crate::sys::{self, Region};

pub use crate::error::MapError;
pub use crate::mode::Mode;
pub use crate::sys::Advice;
pub use eviction::{PageEvictor, available_memory};
pub use fingerprint::Fingerprint;
pub use mapping::{Mapping, is_mapped_from};
pub use paging::page_size;
pub use source::open_regular;
pub(crate) use source::{Source, create_file, io_error, map_error, open_file, write_zeros};

/// A memory map of a range of a file.
///
/// ```
/// use mapcall_array::{MapOptions, Mode};
///
/// let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(&file, [7; 6000])?;
/// // SAFETY: no other code writes or shortens the temporary file.
/// let array = unsafe { MapOptions::new().mode(Mode::Read).offset(4999).map(&file)? };
/// let map = array.buffer().map().unwrap();
/// assert_eq!((map.file_offset(), map.len(), map.mode()), (4999, 1001, Mode::Read));
/// assert!(map.as_ptr() == array.as_ptr() && !map.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The range of addresses is mapped until the map is dropped. The map keeps no file descriptor.
/// [`close`](Self::close) gives the file back earlier.
pub struct Map {
    // Fields are dropped in this order: the range is unregistered before it is unmapped.
    registration: Registration,
    region: Region,
    len: AtomicUsize,
    offset: u64,
    file_len: AtomicU64,
    container: Container,
}

/// The kind of file that an array is mapped from, which decides how it grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    /// A file without a header.
    Raw,
    /// A `.npy` file.
    Npy,
    /// A member of a `.npz` file.
    Member,
}

impl Map {
    /// Maps `len` bytes of a file from byte `offset` on, which need not be a multiple of the page size. With
    /// `reserve`, addresses for as many bytes are reserved, so that the map can grow.
    ///
    /// # Safety
    ///
    /// No code may make the file shorter while the array or a view of it exists, and no other code may write
    /// the bytes of a typed view while it exists: see [`MapOptions::map`](crate::MapOptions::map).
    pub(crate) unsafe fn new(
        source: &Source<'_>,
        mode: Mode,
        offset: u64,
        (len, reserve): (usize, usize),
        container: Container,
    ) -> Result<Self> {
        let region = Region::map(source.file, mode, source.page, offset, len, reserve)
            .map_err(|error| source.io_error("map", error))?;
        // The path is made absolute, as the working directory may change before it is used again.
        let path = source.path.and_then(|path| path::absolute(path).ok());
        let addresses = region.addresses_of(len);
        let lead = region.as_mut_ptr().addr() - addresses.start;
        let registration = Registration::new(
            addresses,
            path,
            source.identity,
            mode,
            region.page(),
            offset - lead as u64,
        );
        Ok(Self {
            registration,
            region,
            len: AtomicUsize::new(len),
            offset,
            file_len: AtomicU64::new(source.len),
            container,
        })
    }

    /// Maps the bytes behind the map up to `len` as well, at the addresses that follow. Returns `false` if they
    /// are not reserved, or if a new map is needed for other reasons.
    pub(crate) fn extend(&self, source: &Source<'_>, len: usize) -> Result<bool> {
        // A private map has pages that differ from the file, and sealed pages stay without access.
        let is_shared = self.mode() != Mode::CopyOnWrite;
        if !is_shared || self.is_closed() || self.registration.lost().is_some() {
            return Ok(false);
        }
        let old = self.len();
        if len > old {
            if len > self.region.capacity() {
                return Ok(false);
            }
            self.region
                .extend(source.file, self.offset, old, len)
                .map_err(|error| source.io_error("map", error))?;
            self.registration.set_end(self.region.addresses_of(len).end);
            // Another thread may have extended the map further.
            self.len.fetch_max(len, Ordering::AcqRel);
        }
        self.file_len.fetch_max(source.len, Ordering::AcqRel);
        Ok(true)
    }

    /// Opens the file again by its path, with the access that a mode needs.
    ///
    /// # Errors
    ///
    /// [`MapError::NoName`] if the file was mapped without a path, [`MapError::Replaced`] if another file has
    /// the path.
    pub(crate) fn reopen(&self, mode: Mode) -> Result<fs::File> {
        let path = self.path().ok_or_else(|| self.error(MapError::NoName))?;
        let file = open_file(path, mode)?;
        if Source::new(&file, Some(path))?.identity != self.file().identity {
            return Err(self.error(MapError::Replaced));
        }
        Ok(file)
    }

    pub(crate) fn container(&self) -> Container {
        self.container
    }

    /// Returns the number of bytes for which addresses are reserved.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// assert!(array.buffer().map().unwrap().capacity() >= 6000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.region.capacity()
    }

    fn file(&self) -> &MappedFile {
        self.registration.file()
    }

    /// Returns whether the first and the last byte can be read. The length of a character device is unknown,
    /// so that a map may reach past its end.
    pub(crate) fn has_ends(&self) -> bool {
        let last = self.len().checked_sub(1);
        last.is_none_or(|last| [0, last].iter().all(|&at| self.region.is_readable(at)))
    }

    /// Returns the address of the first byte.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.as_mut_ptr()
    }

    /// Returns the address of the first byte. Code may write through it only if [`Mode::is_writeable`].
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// let map = array.buffer().map().unwrap();
    /// // SAFETY: the map is writeable and has 6000 bytes, and no reference to them exists.
    /// unsafe { map.as_mut_ptr().write_bytes(42, map.len()) };
    /// assert_eq!(std::fs::read(&file)?, [42; 6000]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.region.as_mut_ptr()
    }

    /// Returns the number of mapped bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Returns whether no byte is mapped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the mode in which the file was opened.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.file().mode
    }

    /// Returns the offset in bytes of the first mapped byte in the file.
    #[must_use]
    pub fn file_offset(&self) -> u64 {
        self.offset
    }

    /// Returns the length of the file in bytes when it was mapped, after it had grown to hold the array.
    ///
    /// ```
    /// # use mapcall_array::{DType, MapOptions};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// let options = MapOptions::new().dtype(DType::F64).offset(16).shape([100]);
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { options.map(&file)? }; // grows the empty file
    /// let map = array.buffer().map().unwrap();
    /// assert_eq!((map.len(), map.file_len()), (800, 816));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.file_len.load(Ordering::Acquire)
    }

    /// Returns the absolute path of the file; `None` if the file was mapped without a path.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// assert_eq!(array.buffer().map().unwrap().path(), Some(file.path()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.file().path.as_deref()
    }

    /// Returns the present length in bytes of the file; `None` if its path no longer leads to the mapped
    /// file, and for a device.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no code shortens the temporary file, and no typed view of it exists.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// let map = array.buffer().map().unwrap();
    /// file.as_file().set_len(8000)?;
    /// assert_eq!((map.file_len(), map.named_file_len()), (6000, Some(8000)));
    /// std::fs::remove_file(&file)?;
    /// assert_eq!(map.named_file_len(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn named_file_len(&self) -> Option<u64> {
        self.file().len()
    }

    /// Returns the fingerprint of the file; `None` if its path no longer leads to the mapped file, and for a
    /// device.
    ///
    /// ```
    /// # use mapcall_array::{MapOptions, Mode, map::Fingerprint};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no code shortens the temporary file, and no typed view of it exists.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// let recorded = array.buffer().map().unwrap().fingerprint().unwrap();
    /// assert!(recorded.check(&Fingerprint::of(file.as_file())?, Mode::Read).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let metadata = fs::metadata(self.file().path.as_ref()?).ok()?;
        let is_it = metadata.is_file() && sys::identity(&metadata) == self.file().identity;
        is_it.then(|| Fingerprint::new(&metadata))
    }

    /// Returns whether the path leads to another file than the mapped one. Writes to the map then change a
    /// file that has no name any more, or has another name.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("x.u8");
    /// std::fs::write(&path, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&path)? };
    /// let map = array.buffer().map().unwrap();
    /// assert!(!map.is_replaced());
    /// # let other = dir.path().join("other");
    /// std::fs::write(&other, [8; 6000])?;
    /// std::fs::rename(&other, &path)?;
    /// assert!(map.is_replaced());
    /// std::fs::remove_file(&path)?;
    /// assert!(!map.is_replaced(), "no file has the path");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The result is `false` if no file has the path any more, and if the file was mapped without a path.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        let metadata = |path: &PathBuf| fs::metadata(path).ok();
        let named = self.file().path.as_ref().and_then(metadata);
        named.is_some_and(|named| sys::identity(&named) != self.file().identity)
    }

    /// Returns whether a range of bytes may differ from the file because a copy-on-write map was written to.
    ///
    /// ```
    /// # use mapcall_array::{MapOptions, Mode};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let mut array = unsafe { MapOptions::new().mode(Mode::CopyOnWrite).map(&file)? };
    /// array.view_mut::<u8>()?[[3]] = 42;
    /// assert!(array.buffer().map().unwrap().has_private_changes(0..100)?);
    /// assert_eq!(std::fs::read(&file)?[3], 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The result is `true` for a copy-on-write map on systems that don't tell.
    ///
    /// # Errors
    ///
    /// [`MapError::OutOfRange`] if the range is not inside the map.
    pub fn has_private_changes(&self, range: Range<usize>) -> Result<bool> {
        let range = self.inside(range)?;
        if range.is_empty() || self.mode() != Mode::CopyOnWrite {
            return Ok(false);
        }
        Ok(self.region.has_private_pages(range).unwrap_or(true))
    }

    /// Writes a range of bytes to the file, and returns when they are on the disk.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let mut array = unsafe { MapOptions::new().map(&file)? };
    /// array.view_mut::<u8>()?[[5000]] = 42;
    /// array.buffer().map().unwrap().flush(5000..5001)?;
    /// assert_eq!(std::fs::read(&file)?[5000], 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A no-op in modes `r` and `c`, in which the map never changes the file. The bytes go to the file that
    /// was mapped, even if its path leads to another file now: see [`is_replaced`](Self::is_replaced).
    ///
    /// # Errors
    ///
    /// [`MapError::OutOfRange`] if the range is not inside the map; [`Error::Io`] if the system can't write
    /// the bytes to the disk.
    pub fn flush(&self, range: Range<usize>) -> Result<()> {
        self.flush_with(range, true)
    }

    /// Starts to write a range of bytes to the file, and returns without waiting for the disk.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// let map = array.buffer().map().unwrap();
    /// map.flush_async(0..6000)?;
    /// assert!(map.flush_async(0..6001).is_err(), "outside the map");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Linux writes dirty pages on its own schedule (`MS_ASYNC` only checks the range); other systems start
    /// to write.
    ///
    /// # Errors
    ///
    /// Those of [`Map::flush`].
    pub fn flush_async(&self, range: Range<usize>) -> Result<()> {
        self.flush_with(range, false)
    }

    fn flush_with(&self, range: Range<usize>, waits: bool) -> Result<()> {
        let range = self.inside(range)?;
        if range.is_empty() || !self.mode().writes_file() {
            return Ok(());
        }
        let flushed = self.region.flush(range, waits);
        flushed.map_err(|source| self.io("flush", source))
    }

    /// Checks that the map is open and that a range of bytes lies inside it, and returns the range.
    fn inside(&self, range: Range<usize>) -> Result<Range<usize>> {
        if self.is_closed() {
            return Err(self.error(MapError::Closed));
        }
        if range.start <= range.end && range.end <= self.len() {
            return Ok(range);
        }
        let Range { start, end } = range;
        Err(self.error(MapError::OutOfRange {
            start,
            end,
            len: self.len(),
        }))
    }

    pub(crate) fn io(&self, action: &'static str, source: io::Error) -> Error {
        Error::Io {
            action,
            path: self.file().path.clone(),
            source,
        }
    }

    pub(crate) fn error(&self, source: MapError) -> Error {
        Error::Map {
            path: self.file().path.clone(),
            source,
        }
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("path", &self.path())
            .field("mode", &self.mode())
            .field("file_offset", &self.offset)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
