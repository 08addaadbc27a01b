//! Opening raw files: the builder.

use std::fs::{self, File};
use std::path::Path;

use super::source::{Source, create_file, map_error, open_file};
use super::{Map, MapError, Mode};
use crate::array::Array;
use crate::dtype::DType;
use crate::error::Result;
use crate::layout::{Layout, Order};

/// How to open a file as an array: `numpy.memmap`'s arguments, as chained setters.
///
/// ```
/// use mapcall_array::{DType, MapOptions, Mode};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("squares.f64");
/// let options = MapOptions::new().dtype(DType::F64).shape([3, 4]);
///
/// // SAFETY: nobody else changes the temporary file.
/// let mut array = unsafe { options.clone().mode(Mode::Write).map(&path)? };
/// array.view_mut::<f64>()?[[1, 2]] = 36.0;
/// array.flush()?;
///
/// // SAFETY: as above.
/// let again = unsafe { options.mode(Mode::Read).map(&path)? };
/// assert_eq!(again.view::<f64>()?[[1, 2]], 36.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The setters are those of a raw file; [`open`](Self::open) reads dtype, shape, order and offset
/// from the header of a `.npy` file or of a `.npz` member instead.
#[derive(Clone, Debug)]
pub struct MapOptions {
    pub(crate) mode: Mode,
    pub(crate) member: Option<String>,
    offset: u64,
    dtype: DType,
    shape: Option<Vec<usize>>,
    order: Order,
}

impl Default for MapOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl MapOptions {
    /// Bytes, the whole file, for reading and writing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            mode: Mode::default(),
            member: None,
            offset: 0,
            dtype: DType::U8,
            shape: None,
            order: Order::C,
        }
    }

    /// How the file is opened.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Where in the file the array begins, in bytes; any number, not only a multiple of the page.
    #[must_use]
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// What an element is.
    #[must_use]
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// How many elements along each axis; without it, one axis with all that the file has.
    #[must_use]
    pub fn shape(mut self, shape: impl Into<Vec<usize>>) -> Self {
        self.shape = Some(shape.into());
        self
    }

    /// Which axis varies fastest: the last ([`Order::C`]) or the first ([`Order::F`]).
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Which array of a `.npz` file [`open`](Self::open) takes, with or without its `.npy`.
    #[must_use]
    pub fn member(mut self, member: impl Into<String>) -> Self {
        self.member = Some(member.into());
        self
    }

    /// Maps a raw file by its name.
    ///
    /// Modes `r+` and `w+` grow the file, sparsely, to hold the array; `w+` empties it first.
    /// As in NumPy, a file that these modes would leave empty gets one byte.
    ///
    /// # Safety
    ///
    /// While the array or a view of it lives, nobody else may make the file shorter; and while a
    /// typed view borrows it, nobody may write those bytes, be it by another map of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Map`](crate::Error::Map) when the file and the array don't fit each other, [`Error::Layout`](crate::Error::Layout)
    /// for an absurd shape, [`Error::Io`](crate::Error::Io) when the system refuses. Nothing has been written then.
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
        drop(rehearsal?);
        Source::new(&file, Some(path))?.set_len(0)?;
        // SAFETY: the caller's promise.
        unsafe { self.map_file(&file, Some(path)) }
    }

    /// Maps an open file, which may be closed afterwards; `path` is the name to remember.
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
        let mut source = Source::new(file, path)?;
        let old_len = source.len;
        let (layout, end) = self.extent(old_len, path)?;
        self.fit(&mut source, end)?;
        // SAFETY: the caller's promise.
        let map = unsafe { Map::new(&source, self.mode, self.offset, layout.nbytes()) };
        if map.is_err() && source.len > old_len {
            // Of two errors the first is the one to report.
            drop(source.set_len(old_len));
        }
        Array::new(map?.into(), self.dtype.clone(), layout)
    }

    /// The array's layout from its first byte on, and where in the file it ends.
    fn extent(&self, file_len: u64, path: Option<&Path>) -> Result<(Layout, u64)> {
        let error = |source| map_error(path, source);
        let itemsize = self.dtype.itemsize();
        let inferred;
        let shape = match &self.shape {
            Some(shape) => shape.as_slice(),
            None if self.mode == Mode::Write => return Err(error(MapError::ShapeRequired)),
            None => {
                inferred = [self.length(file_len, itemsize).map_err(error)?];
                &inferred
            }
        };
        let layout = Layout::contiguous(shape, itemsize, self.order)?;
        let (offset, nbytes) = (self.offset, layout.nbytes());
        let end = offset.checked_add(nbytes as u64);
        // The largest offset that systems take.
        let end = end.filter(|&end| i64::try_from(end).is_ok());
        let end = end
            .ok_or(MapError::Overflow { offset, nbytes })
            .map_err(error)?;
        Ok((layout, end))
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
        if mode.writes_file() {
            let needed = end.max(1);
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
