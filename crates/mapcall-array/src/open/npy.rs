//! Opening files that say what is in them.

#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use super::MapOptions;
use crate::array::Array;
use crate::error::{Error, Result};
use crate::format::{self, Header, Placement};
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
    /// Of the setters, [`mode`](Self::mode), [`member`](Self::member) and [`verify`](Self::verify)
    /// count. Members stand where the archive has put them, mostly unaligned: see
    /// [`Array::is_aligned`]. They can be mapped in the modes `r` and `c` only, since the archive has
    /// checksums of their bytes.
    ///
    /// # Safety
    ///
    /// As [`map`](Self::map).
    ///
    /// # Errors
    ///
    /// [`Error::Format`] when the file is not what it should be, [`Error::Io`] when the system
    /// refuses, [`MapError::OpenForCreation`] in mode `w+`, [`MapError::WritesMember`] for a member
    /// in mode `r+`.
    pub unsafe fn open(&self, path: impl AsRef<Path>) -> Result<Array> {
        let path = path.as_ref();
        if self.mode == Mode::Write {
            return Err(map_error(Some(path), MapError::OpenForCreation));
        }
        let file = open_file(path, self.mode)?;
        let source = Source::new(&file, Some(path))?;
        let format = |source| Error::Format {
            path: path.to_path_buf(),
            source,
        };
        let placement = format::locate(&mut &file, self.member.as_deref()).map_err(format)?;
        self.check_member(Some(path), &placement)?;
        if self.verify {
            placement.verify(&file).map_err(format)?;
        }
        // SAFETY: the caller's promise.
        unsafe { map_placed(&source, self.mode, placement.header(), placement.offset()) }
    }

    /// Maps an array that [`format::locate`] has found in an open file; of the setters,
    /// [`mode`](Self::mode) counts.
    ///
    /// ```
    /// use std::fs::File;
    /// use mapcall_array::{DType, MapOptions, Mode, create, format, layout::Order};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("zeros.npy");
    /// // SAFETY: nobody else changes the temporary file.
    /// unsafe { create(&path, DType::F32, &[3], Order::C)? };
    ///
    /// let mut file = File::open(&path)?;
    /// let placement = format::locate(&mut file, None)?;
    /// let options = MapOptions::new().mode(Mode::Read);
    /// // SAFETY: nobody else changes the temporary file.
    /// let array = unsafe { options.map_placement(&file, Some(&path), &placement)? };
    /// assert_eq!(array.shape(), [3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Safety
    ///
    /// As [`map`](Self::map).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses, [`MapError::WritesMember`] as for [`open`](Self::open).
    pub unsafe fn map_placement(
        &self,
        file: &File,
        path: Option<&Path>,
        placement: &Placement,
    ) -> Result<Array> {
        self.check_member(path, placement)?;
        let source = Source::new(file, path)?;
        // SAFETY: the caller's promise.
        unsafe { map_placed(&source, self.mode, placement.header(), placement.offset()) }
    }

    /// Refuses to write to a member of a `.npz`, whose checksum would be wrong then.
    fn check_member(&self, path: Option<&Path>, placement: &Placement) -> Result<()> {
        match placement.member() {
            Some(member) if self.mode.writes_file() => {
                let (member, mode) = (member.to_owned(), self.mode);
                Err(map_error(path, MapError::WritesMember { member, mode }))
            }
            _ => Ok(()),
        }
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
