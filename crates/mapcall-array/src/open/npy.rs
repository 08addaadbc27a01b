//! Maps `.npy` files and uncompressed members of `.npz` files, by their headers.

#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use super::MapOptions;
use super::rows::reserved;
use crate::array::Array;
use crate::error::{Error, Result};
use crate::format::{self, Header, Placement};
use crate::map::{Container, Map, MapError, Mode, Source, map_error, open_file};

impl MapOptions {
    /// Maps a `.npy` file, or an uncompressed member of a `.npz` file; the header gives dtype, shape and
    /// order.
    ///
    /// ```
    /// use mapcall_array::{DType, MapOptions, Mode, create, layout::Order};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("zeros.npy");
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// unsafe { create(&path, DType::F32, &[100, 200], Order::C)? };
    ///
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().mode(Mode::Read).open(&path)? };
    /// assert_eq!(array.shape(), [100, 200]);
    /// assert_eq!(array.file_offset(), Some(128));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Only the setters [`mode`](Self::mode), [`member`](Self::member) and [`verify`](Self::verify) have an
    /// effect. The data of a member is mostly unaligned, as archives do not align their members: see
    /// [`Array::is_aligned`]. Members can be mapped in the modes `r` and `c` only, since writes would make
    /// the checksums in the archive wrong.
    ///
    /// # Safety
    ///
    /// No code may make the file shorter while the array or a view of it exists, and no other code may write
    /// the bytes of a typed view while it exists: see [`map`](Self::map).
    ///
    /// # Errors
    ///
    /// [`Error::Format`] if the file is not a valid `.npy` or `.npz` file, [`Error::Io`] if the system can't
    /// open or map the file, [`MapError::OpenForCreation`] in mode `w+`, [`MapError::WritesMember`] for a
    /// member in mode `r+`.
    pub unsafe fn open(&self, path: impl AsRef<Path>) -> Result<Array> {
        let path = path.as_ref();
        if self.mode == Mode::Write {
            return Err(map_error(Some(path), MapError::OpenForCreation));
        }
        let file = open_file(path, self.mode)?;
        let mut source = Source::new(&file, Some(path))?;
        let format = |source| Error::Format {
            path: path.to_path_buf(),
            source,
        };
        let placement = format::locate(&mut &file, self.member.as_deref()).map_err(format)?;
        self.check_member(Some(path), &placement)?;
        if placement.member().is_none() && placement.header().end() > source.len {
            // Another process has appended rows since the length was read.
            source = Source::new(&file, Some(path))?;
        }
        if self.verify {
            placement.verify(&file).map_err(format)?;
        }
        // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
        // a typed view.
        unsafe { map_placed(&source, self.mode, &placed(&placement, self.reserve)) }
    }

    /// Maps an array that [`format::locate`] has found in an open file. Only the setter [`mode`](Self::mode)
    /// has an effect.
    ///
    /// ```
    /// use std::fs::File;
    /// use mapcall_array::{DType, MapOptions, Mode, create, format, layout::Order};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("zeros.npy");
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// unsafe { create(&path, DType::F32, &[3], Order::C)? };
    ///
    /// let mut file = File::open(&path)?;
    /// let placement = format::locate(&mut file, None)?;
    /// let options = MapOptions::new().mode(Mode::Read);
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { options.map_placement(&file, Some(&path), &placement)? };
    /// assert_eq!(array.shape(), [3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Safety
    ///
    /// No code may make the file shorter while the array or a view of it exists, and no other code may write
    /// the bytes of a typed view while it exists: see [`map`](Self::map).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system can't map the file, [`MapError::WritesMember`] for a member in the modes
    /// that write to the file.
    pub unsafe fn map_placement(
        &self,
        file: &File,
        path: Option<&Path>,
        placement: &Placement,
    ) -> Result<Array> {
        self.check_member(path, placement)?;
        let source = Source::new(file, path)?;
        // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
        // a typed view.
        unsafe { map_placed(&source, self.mode, &placed(placement, self.reserve)) }
    }

    /// Refuses to map a member of a `.npz` for writing, as its checksum would be wrong after a write.
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

/// An array in a file: its header, its position, and the number of rows to reserve addresses for.
pub(super) struct Placed<'a> {
    pub(super) header: &'a Header,
    pub(super) offset: u64,
    pub(super) container: Container,
    pub(super) reserve: usize,
}

fn placed(placement: &Placement, reserve: usize) -> Placed<'_> {
    let container = match placement.member() {
        Some(_) => Container::Member,
        None => Container::Npy,
    };
    Placed {
        header: placement.header(),
        offset: placement.offset(),
        container,
        reserve,
    }
}

/// Maps the array that a header describes.
///
/// # Safety
///
/// No code may make the file shorter while the array or a view of it exists, and no other code may write
/// the bytes of a typed view while it exists: see [`MapOptions::map`].
pub(super) unsafe fn map_placed(
    source: &Source<'_>,
    mode: Mode,
    placed: &Placed<'_>,
) -> Result<Array> {
    let header = placed.header;
    let reserve = reserved(header.layout(), header.order(), placed.reserve)?;
    let sizes = (header.nbytes(), reserve);
    // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
    // a typed view.
    let map = unsafe { Map::new(source, mode, placed.offset, sizes, placed.container) }?;
    Array::new(map.into(), header.dtype().clone(), header.layout().clone())
}
