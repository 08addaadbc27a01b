//! Raw files: bytes that the caller describes.

#![allow(unsafe_code)]

use std::fs::{self, File};
use std::path::Path;

use super::MapOptions;
use crate::array::Array;
use crate::dtype::DType;
use crate::error::Result;
use crate::layout::Layout;
use crate::map::{Map, MapError, Mode, Source, create_file, map_error, open_file};

impl MapOptions {
    /// Maps a raw file by its name.
    ///
    /// ```
    /// # use mapcall_array::{DType, MapOptions, Mode};
    /// let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("counts.i32");
    /// let options = MapOptions::new().mode(Mode::Write).dtype(DType::I32).shape([10, 10]);
    /// // SAFETY: nobody else changes the temporary file.
    /// let mut counts = unsafe { options.map(&path)? };
    /// counts.view_mut::<i32>()?[[4, 2]] += 1;
    /// assert_eq!(std::fs::metadata(&path)?.len(), 400);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Modes `r+` and `w+` grow the file to hold the array: sparsely, unless it is
    /// [allocated](Self::allocate). Before, `w+` makes all of its bytes zeros and cuts off those behind
    /// the array. As in NumPy, a file that these modes would leave empty gets one byte. Devices never
    /// change their length; that of a character device is unknown, so that the shape must be given.
    ///
    /// # Safety
    ///
    /// While the array or a view of it lives, nobody else may make the file shorter; and while a
    /// typed view borrows it, nobody may write those bytes, be it by another map of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Map`](crate::Error::Map) when the file and the array don't fit each other,
    /// [`Error::Layout`](crate::Error::Layout) for an absurd shape, [`Error::Io`](crate::Error::Io)
    /// when the system refuses. Nothing has been written then.
    pub unsafe fn map(&self, path: impl AsRef<Path>) -> Result<Array> {
        let path = path.as_ref();
        if self.mode != Mode::Write {
            let file = open_file(path, self.mode)?;
            // SAFETY: the caller's promise.
            return unsafe { self.map_file(&file, Some(path)) };
        }
        // What can fail does so before there is a file, or before it is emptied.
        self.extent(0, Some(path))?;
        let (file, is_new) = create_file(path)?;
        // SAFETY: the caller's promise.
        let rehearsal = unsafe { self.map_file(&file, Some(path)) };
        if is_new {
            return rehearsal.inspect_err(|_| drop(fs::remove_file(path)));
        }
        let mut source = Source::with_devices(&file, Some(path))?;
        if !source.is_regular() {
            return rehearsal;
        }
        drop(rehearsal?);
        // The file is long enough by now. It is never shorter than it was or will be, as the system kills
        // a process that uses a map of what has been cut off.
        let (_, _, end) = self.extent(source.len, Some(path))?;
        let len = end.max(1);
        source.clear(len, self.allocate)?;
        source.set_len(len)?;
        // SAFETY: the caller's promise.
        unsafe { self.map_file(&file, Some(path)) }
    }

    /// Maps an open file, which may be closed afterwards; `path` is the name to remember.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// let file = tempfile::tempfile()?; // it has no name
    /// file.set_len(6000)?;
    /// // SAFETY: nobody else changes the temporary file.
    /// let array = unsafe { MapOptions::new().map_file(&file, None)? };
    /// drop(file);
    /// assert_eq!(array.shape(), [6000]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// As in NumPy, mode `w+` does not empty a file that is already open.
    ///
    /// # Safety
    ///
    /// As [`map`](Self::map).
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map).
    pub unsafe fn map_file(&self, file: &File, path: Option<&Path>) -> Result<Array> {
        let mut source = Source::with_devices(file, path)?;
        if self.shape.is_none() && !source.has_len() {
            return Err(source.map_error(MapError::UnknownLength));
        }
        let old_len = source.len;
        let (dtype, layout, end) = self.extent(old_len, path)?;
        // SAFETY: the caller's promise.
        let map = |source: &Source<'_>| unsafe {
            Map::new(source, self.mode, self.offset, layout.nbytes())
        };
        let map = self.fit(&mut source, end).and_then(|()| map(&source));
        if map.is_err() && source.len > old_len {
            // Of two errors the first is the one to report.
            drop(source.set_len(old_len));
        }
        let map = map?;
        if !source.has_len() && !map.has_ends() {
            let (offset, nbytes) = (self.offset, layout.nbytes());
            return Err(source.map_error(MapError::BeyondDevice { offset, nbytes }));
        }
        Array::new(map.into(), dtype, layout)
    }

    /// The array's elements, its layout from its first byte on, and where in the file it ends.
    fn extent(&self, file_len: u64, path: Option<&Path>) -> Result<(DType, Layout, u64)> {
        let error = |source| map_error(path, source);
        let itemsize = self.dtype.itemsize();
        let mut shape = match &self.shape {
            Some(shape) => shape.clone(),
            None if self.mode == Mode::Write => return Err(error(MapError::ShapeRequired)),
            None => vec![self.length(file_len, itemsize).map_err(error)?],
        };
        let dtype = self.dtype.clone().expand(&mut shape);
        let layout = Layout::in_buffer(&shape, dtype.itemsize(), self.order)?;
        let (offset, nbytes) = (self.offset, layout.nbytes());
        let end = offset.checked_add(nbytes as u64);
        // The largest offset that systems take.
        let end = end.filter(|&end| i64::try_from(end).is_ok());
        let end = end
            .ok_or(MapError::Overflow { offset, nbytes })
            .map_err(error)?;
        Ok((dtype, layout, end))
    }

    /// How many elements lie between the offset and the end of the file.
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
        // A length beyond the address space is refused by the layout.
        Ok(usize::try_from(available / step).unwrap_or(usize::MAX))
    }

    /// Makes sure that the file reaches as far as the array.
    fn fit(&self, source: &mut Source<'_>, end: u64) -> Result<()> {
        let (mode, file_len) = (self.mode, source.len);
        if !source.has_len() {
            return Ok(());
        }
        if mode.writes_file() && source.is_regular() {
            let needed = end.max(1);
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
