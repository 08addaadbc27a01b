//! Maps raw files, whose dtype, shape and offset the caller gives.

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::path::Path;

use super::MapOptions;
use super::rows::reserved;
use crate::array::Array;
use crate::dtype::DType;
use crate::error::Result;
use crate::layout::Layout;
use crate::map::{Container, Map, MapError, Mode, Source, create_file, map_error, open_file};

impl MapOptions {
    /// Maps a raw file by its path.
    ///
    /// ```
    /// # use mapcall_array::{DType, MapOptions, Mode};
    /// let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("counts.i32");
    /// let options = MapOptions::new().mode(Mode::Write).dtype(DType::I32).shape([10, 10]);
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let mut counts = unsafe { options.map(&path)? };
    /// counts.view_mut::<i32>()?[[4, 2]] += 1;
    /// assert_eq!(std::fs::metadata(&path)?.len(), 400);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Modes `r+` and `w+` grow the file to hold the array. The new bytes are holes, unless
    /// [`allocate`](Self::allocate) is set. Mode `w+` also sets all bytes of an existing file to zero, and
    /// truncates it to the end of the array. As in NumPy, a file that these modes would leave empty gets one
    /// byte. The length of a device never changes. The length of a character device is unknown, so that the
    /// shape must be given.
    ///
    /// # Safety
    ///
    /// While a typed view borrows the array, no code may make the file shorter, and no other code may write the
    /// bytes of the view, neither in this process (for example through another map of the file) nor in another
    /// one. While the array lives, no code may make the file shorter unless
    /// [`guard::install`](crate::guard::install) was called: otherwise an access behind the new end kills the
    /// process.
    ///
    /// # Errors
    ///
    /// [`Error::Map`](crate::Error::Map) if the file is too short for the array or can't be mapped in this
    /// mode, [`Error::Layout`](crate::Error::Layout) if the size of the array in bytes overflows,
    /// [`Error::Io`](crate::Error::Io) if the system can't open, resize or map the file. After an error the
    /// content of the file is as before.
    pub unsafe fn map(&self, path: impl AsRef<Path>) -> Result<Array> {
        let path = path.as_ref();
        if self.mode != Mode::Write {
            let file = open_file(path, self.mode)?;
            // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
            // a typed view.
            return unsafe { self.map_file(&file, Some(path)) };
        }
        // All checks run before the file is created or cleared: first those of the arguments, then the map.
        self.extent(0, Some(path))?;
        let (file, is_new) = create_file(path)?;
        // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
        // a typed view.
        let rehearsal = unsafe { self.map_file(&file, Some(path)) };
        if is_new {
            return rehearsal.inspect_err(|_| drop(fs::remove_file(path)));
        }
        let mut source = Source::with_devices(&file, Some(path))?;
        if !source.is_regular() {
            return rehearsal;
        }
        drop(rehearsal?);
        // The file is long enough now. It is cleared before it is truncated, and it never becomes shorter
        // than the array, as other maps of the file may be in use, and a mapped page behind the end of a file can't
        // be read (SIGBUS).
        let (_, _, end) = self.extent(source.len, Some(path))?;
        let len = end.max(1);
        source.clear(len, self.allocate)?;
        source.set_len(len)?;
        // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
        // a typed view.
        unsafe { self.map_file(&file, Some(path)) }
    }

    /// Maps an open file, which may be closed afterwards; [`Map::path`] returns `path`, made absolute.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// let file = tempfile::tempfile()?; // it has no name
    /// file.set_len(6000)?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map_file(&file, None)? };
    /// drop(file);
    /// assert_eq!(array.shape(), [6000]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// As in NumPy, mode `w+` does not clear a file that is already open.
    ///
    /// # Safety
    ///
    /// No code may make the file shorter while the array or a view of it exists, and no other code may write
    /// the bytes of a typed view while it exists: see [`map`](Self::map).
    ///
    /// # Errors
    ///
    /// Those of [`map`](Self::map).
    pub unsafe fn map_file(&self, file: &File, path: Option<&Path>) -> Result<Array> {
        let mut source = Source::with_devices(file, path)?;
        if (self.shape.is_none() || self.inferred_axis.is_some()) && !source.has_len() {
            return Err(source.map_error(MapError::UnknownLength));
        }
        let old_len = source.len;
        let (dtype, layout, end) = self.extent(old_len, path)?;
        let reserve = reserved(&layout, self.order, self.reserve)?;
        let sizes = (layout.nbytes(), reserve);
        // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
        // a typed view.
        let map = |source: &Source<'_>| unsafe {
            Map::new(source, self.mode, self.offset, sizes, Container::Raw)
        };
        let map = self.fit(&mut source, end).and_then(|()| map(&source));
        if map.is_err() && source.len > old_len {
            // An error of this call is ignored, as the error of the map is reported.
            drop(source.set_len(old_len));
        }
        let map = map?;
        if !source.has_len() && !map.has_ends() {
            let (offset, nbytes) = (self.offset, layout.nbytes());
            return Err(source.map_error(MapError::BeyondDevice { offset, nbytes }));
        }
        Array::new(map.into(), dtype, layout)
    }

    /// Returns the dtype of the array, its layout, and the offset of its end in the file in bytes.
    fn extent(&self, file_len: u64, path: Option<&Path>) -> Result<(DType, Layout, u64)> {
        let error = |source| map_error(path, source);
        let itemsize = self.dtype.itemsize();
        let mut shape = match &self.shape {
            Some(shape) => shape.clone(),
            None if self.mode == Mode::Write => return Err(error(MapError::ShapeRequired)),
            None => vec![self.length(file_len, itemsize).map_err(error)?],
        };
        if let Some(axis) = self.inferred_axis
            && shape.len() > axis
        {
            if self.mode == Mode::Write {
                return Err(error(MapError::ShapeRequired));
            }
            let others = shape.iter().enumerate().filter(|(other, _)| *other != axis);
            let row = others.fold(itemsize, |row, (_, length)| row.saturating_mul(*length));
            let inferred = self.length(file_len, row).map_err(error)?;
            if let Some(length) = shape.get_mut(axis) {
                *length = inferred;
            }
        }
        let dtype = self.dtype.clone().expand(&mut shape);
        let layout = Layout::in_buffer(&shape, dtype.itemsize(), self.order)?;
        let (offset, nbytes) = (self.offset, layout.nbytes());
        let end = offset.checked_add(nbytes as u64);
        // Systems take offsets up to `i64::MAX`.
        let end = end.filter(|&end| i64::try_from(end).is_ok());
        let end = end
            .ok_or(MapError::Overflow { offset, nbytes })
            .map_err(error)?;
        Ok((dtype, layout, end))
    }

    /// Returns the number of items of `itemsize` bytes between the offset and the end of the file.
    fn length(&self, file_len: u64, itemsize: usize) -> Result<usize, MapError> {
        let offset = self.offset;
        let available = file_len
            .checked_sub(offset)
            .ok_or(MapError::OffsetPastEnd { offset, file_len })?;
        let step = u64::try_from(itemsize).unwrap_or(u64::MAX);
        if step == 0 {
            return Err(MapError::ZeroItemsize);
        }
        if available % step != 0 {
            return Err(MapError::NotMultiple {
                available,
                itemsize,
            });
        }
        // The layout refuses a length that is too large for the address space.
        Ok(usize::try_from(available / step).unwrap_or(usize::MAX))
    }

    /// Grows the file to the end of the array in modes `r+` and `w+`; in other modes, checks that it is long
    /// enough.
    fn fit(&self, source: &mut Source<'_>, end: u64) -> Result<()> {
        let (mode, file_len) = (self.mode, source.len);
        if !source.has_len() {
            return Ok(());
        }
        if mode.writes_file() && source.is_regular() {
            let needed = if self.grow { end.max(1) } else { end };
            if file_len < needed && !self.grow {
                return Err(source.map_error(MapError::NotGrown { needed, file_len }));
            }
            if file_len == 0 && !self.grow {
                return Err(source.map_error(MapError::EmptyFile { mode }));
            }
            if self.allocate {
                source.reserve(self.offset, end)?;
            }
            return if file_len < needed {
                source.set_len(needed)
            } else {
                Ok(())
            };
        }
        if file_len < end {
            return Err(source.map_error(MapError::TooShort {
                needed: end,
                file_len,
                mode,
            }));
        }
        if file_len == 0 {
            return Err(source.map_error(MapError::EmptyFile { mode }));
        }
        Ok(())
    }
}
