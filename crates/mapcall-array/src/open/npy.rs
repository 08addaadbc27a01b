//! Opening files that say what is in them.

#![allow(unsafe_code)]

use std::path::Path;

use super::MapOptions;
use crate::array::Array;
use crate::error::{Error, Result};
use crate::format::{self, Header};
use crate::map::{Map, MapError, Mode, Source, map_error, open_file};

impl MapOptions {
    /// Maps a `.npy` file, or an uncompressed member of a `.npz` file, by its header.
    ///
    /// ```
    /// use mapcall_array::{DType, MapOptions, Mode, create, layout::Order};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("zeros.npy");
    /// // SAFETY: nobody else changes the temporary file.
    /// unsafe { create(&path, DType::F32, &[100, 200], Order::C)? };
    ///
    /// // SAFETY: as above.
    /// let array = unsafe { MapOptions::new().mode(Mode::Read).open(&path)? };
    /// assert_eq!(array.shape(), [100, 200]);
    /// assert_eq!(array.file_offset(), Some(128));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Of the setters, [`mode`](Self::mode) and [`member`](Self::member) count. Members stand where
    /// the archive has put them, mostly unaligned: see [`Array::is_aligned`].
    ///
    /// # Safety
    ///
    /// As [`map`](Self::map).
    ///
    /// # Errors
    ///
    /// [`Error::Format`] when the file is not what it should be, [`Error::Io`] when the system
    /// refuses, [`MapError::OpenForCreation`] in mode `w+`.
    pub unsafe fn open(&self, path: impl AsRef<Path>) -> Result<Array> {
        let path = path.as_ref();
        if self.mode == Mode::Write {
            return Err(map_error(Some(path), MapError::OpenForCreation));
        }
        let file = open_file(path, self.mode)?;
        let source = Source::new(&file, Some(path))?;
        let placement =
            format::locate(&mut &file, self.member.as_deref()).map_err(|source| Error::Format {
                path: path.to_path_buf(),
                source,
            })?;
        // SAFETY: the caller's promise.
        unsafe { map_placed(&source, self.mode, placement.header(), placement.offset()) }
    }
}

/// Maps the array that a header describes.
///
/// # Safety
///
/// As [`MapOptions::map`].
pub(super) unsafe fn map_placed(
    source: &Source<'_>,
    mode: Mode,
    header: &Header,
    offset: u64,
) -> Result<Array> {
    // SAFETY: the caller's promise.
    let map = unsafe { Map::new(source, mode, offset, header.nbytes()) }?;
    Array::new(map.into(), header.dtype().clone(), header.layout().clone())
}
