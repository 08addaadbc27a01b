//! Arrays that follow the length of their file: growing, appending, cutting and refreshing.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use super::append::{Appender, check_dtype, count_rows, in_order, is_same};
use super::npy::{Placed, map_placed};
use super::rows::{growth_axis, with_rows};
use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::format::{FormatError, Header};
use crate::layout::{Layout, LayoutError, Order};
use crate::map::{Container, Map, MapError, Mode, Source};
use crate::sys;

impl Array {
    /// Extends the array, and its file, to `rows` rows; the new ones are zeros. Returns the array of the new
    /// length.
    ///
    /// ```
    /// use mapcall_array::{DType, create, layout::Order};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let path = dir.path().join("x.npy");
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let x = unsafe { create(&path, DType::F64, &[10, 3], Order::C)? };
    /// let longer = x.grow(20)?;
    /// assert_eq!((x.shape(), longer.shape()), (&[10, 3][..], &[20, 3][..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A row is what one index along the first axis selects, or along the last in Fortran order. This array
    /// stays as it is. If addresses are [reserved](crate::MapOptions::reserve), the new array lies at the same
    /// ones; otherwise it is on a new map of the file. The header of a `.npy` file is written after the rows:
    /// see [`Appender`].
    ///
    /// # Errors
    ///
    /// - [`MapError::Shorter`] if the file has more rows;
    /// - [`MapError::ReadOnly`] in the modes `r` and `c`, [`MapError::NotMapped`] for an array that is not
    ///   mapped, [`MapError::NotWhole`] for a part of the file's array, [`MapError::MemberLength`] for a member
    ///   of a `.npz`;
    /// - [`MapError::NoName`], [`MapError::Replaced`] if the path does not lead to the file;
    /// - the errors of [`Appender::grow`] for a `.npy` file, and [`Error::Io`] for others.
    pub fn grow(&self, rows: usize) -> Result<Self> {
        self.change_len(&Change::Grow(rows), false)
    }

    /// Extends the array, and its file, by the rows of another array. Returns the array of the new length.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, create, layout::Order};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("x.npy");
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let x = unsafe { create(&path, DType::F64, &[10, 3], Order::C)? };
    /// let longer = x.append(&Array::zeros(DType::F64, &[5, 3], Order::C)?)?;
    /// assert_eq!(longer.shape(), [15, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The rows are those of [`Appender::append`]: any number of rows, or one. They come behind the last row of
    /// the file, also if another process has appended some meanwhile.
    ///
    /// # Errors
    ///
    /// Those of [`grow`](Self::grow); [`AppendError`](crate::AppendError) if the rows have another dtype or
    /// shape.
    pub fn append(&self, rows: &Self) -> Result<Self> {
        self.change_len(&Change::Append(rows), false)
    }

    /// Cuts the array, and its file, to its first `rows` rows. Returns the array of the new length.
    ///
    /// ```
    /// # use mapcall_array::{DType, create, layout::Order};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("x.npy");
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let x = unsafe { create(&path, DType::F64, &[1000, 3], Order::C)? };
    /// // SAFETY: no typed view of the array exists.
    /// let shorter = unsafe { x.truncate(10)? };
    /// assert_eq!(shorter.shape(), [10, 3]);
    /// assert_eq!(std::fs::metadata(&path)?.len(), 128 + 10 * 3 * 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// This array keeps its shape, and each access to a page behind the end of the file is a fault: see
    /// [`guard`](crate::guard). The rest of the page in which the file ends reads as zeros.
    ///
    /// # Safety
    ///
    /// No typed view of the removed rows exists, in this process or another one.
    ///
    /// # Errors
    ///
    /// [`MapError::Longer`] if the file has fewer rows; otherwise those of [`grow`](Self::grow).
    pub unsafe fn truncate(&self, rows: usize) -> Result<Self> {
        self.change_len(&Change::Truncate(rows), false)
    }

    /// Returns the array of the file's present length: this array if it has not changed.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, MapOptions, Mode, append, create, layout::Order};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("x.npy");
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// drop(unsafe { create(&path, DType::F64, &[10, 3], Order::C)? });
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let x = unsafe { MapOptions::new().mode(Mode::Read).open(&path)? };
    /// append(&path, &Array::zeros(DType::F64, &[5, 3], Order::C)?)?;
    /// assert_eq!(x.refresh()?.shape(), [15, 3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The new array lies at the same addresses if it is shorter, or if addresses are
    /// [reserved](crate::MapOptions::reserve). A file without a header has the rows that are complete.
    ///
    /// # Errors
    ///
    /// [`MapError::NotMapped`], [`MapError::NotWhole`], [`MapError::MemberLength`], [`MapError::NoName`] and
    /// [`MapError::Replaced`] on the conditions of [`grow`](Self::grow); [`MapError::Closed`] for a closed map;
    /// [`Error::Format`] if the header of a `.npy` file has another dtype or rows of another shape by now;
    /// [`Error::Io`] if the file can't be opened.
    pub fn refresh(&self) -> Result<Self> {
        let whole = Whole::new(self)?;
        let map = whole.map;
        if map.ends_at(self.layout().nbytes()) {
            return Ok(self.clone());
        }
        let file = map.reopen(map.mode())?;
        let source = Source::new(&file, map.path())?;
        let rows = match map.container() {
            Container::Npy => whole.rows_in_header(&source)?,
            _ => whole.rows_in_file(source.len),
        };
        whole.with_rows(&source, rows)
    }

    /// Changes the length as [`grow`](Self::grow), [`append`](Self::append) and [`truncate`](Self::truncate) do,
    /// and waits for the disk if `sync`.
    #[doc(hidden)]
    pub fn change_len(&self, change: &Change<'_>, sync: bool) -> Result<Self> {
        let whole = Whole::new(self)?;
        let map = whole.map;
        if !map.mode().writes_file() {
            return Err(map.error(MapError::ReadOnly { mode: map.mode() }));
        }
        let file = map.reopen(Mode::ReadWrite)?;
        let rows = match map.container() {
            Container::Npy => whole.change_npy(change, sync)?,
            _ => whole.change_raw(&file, change, sync)?,
        };
        whole.with_rows(&Source::new(&file, map.path())?, rows)
    }
}

impl Map {
    /// Changes the length of the file so that it ends `len` bytes behind the first mapped one, and maps these
    /// bytes, as `mmap.resize` does in Python.
    ///
    /// ```
    /// # use mapcall_array::{Buffer, MapOptions};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// // SAFETY: no typed view exists.
    /// let map = unsafe { array.buffer().map().unwrap().resized(8000)? };
    /// assert_eq!((map.len(), std::fs::metadata(&file)?.len()), (8000, 8000));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Safety
    ///
    /// If the file becomes shorter, no typed view of the removed bytes exists, in this process or another one.
    ///
    /// # Errors
    ///
    /// [`MapError::ReadOnly`] in the modes `r` and `c`, [`MapError::NoName`] and [`MapError::Replaced`] if the
    /// path does not lead to the file, [`MapError::Overflow`] if it can't be that long, [`Error::Io`] if the
    /// system can't change its length or map it.
    pub unsafe fn resized(&self, len: usize) -> Result<Self> {
        if !self.mode().writes_file() {
            return Err(self.error(MapError::ReadOnly { mode: self.mode() }));
        }
        let file = self.reopen(Mode::ReadWrite)?;
        let mut source = Source::new(&file, self.path())?;
        let (old, offset) = (source.len, self.file_offset());
        let end = offset
            .checked_add(len as u64)
            .filter(|&end| i64::try_from(end).is_ok());
        let end = end.ok_or_else(|| {
            self.error(MapError::Overflow {
                offset,
                nbytes: len,
            })
        })?;
        source.set_len(end)?;
        // SAFETY: the caller guarantees that no typed view of removed bytes exists.
        let map = unsafe { Self::new(&source, self.mode(), offset, (len, len), self.container()) };
        if map.is_err() && old < end {
            // An error of this call is ignored, as the error of the map is reported.
            drop(source.set_len(old));
        }
        map
    }
}

/// A change of the length of an array.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// Rows of zeros are added until there are as many.
    Grow(usize),
    /// The rows of an array are added.
    Append(&'a Array),
    /// All rows but the first ones are removed.
    Truncate(usize),
}

/// An array that begins where its file's array does, and has whole rows of it.
struct Whole<'a> {
    array: &'a Array,
    map: &'a Map,
    order: Order,
}

impl<'a> Whole<'a> {
    fn new(array: &'a Array) -> Result<Self> {
        let map = array.buffer().map().ok_or(Error::Map {
            path: None,
            source: MapError::NotMapped,
        })?;
        if map.is_closed() {
            return Err(map.error(MapError::Closed));
        }
        if map.container() == Container::Member {
            return Err(map.error(MapError::MemberLength));
        }
        let layout = array.layout();
        let order = layout
            .order()
            .filter(|_| layout.offset() == 0 && layout.ndim() > 0);
        let order = order.ok_or_else(|| map.error(MapError::NotWhole))?;
        Ok(Self { array, map, order })
    }

    fn dtype(&self) -> &DType {
        self.array.dtype()
    }

    /// Returns the shape with another number of rows.
    fn shape(&self, rows: usize) -> Vec<usize> {
        with_rows(self.array.shape(), self.order, rows)
    }

    /// Returns the size of a row in bytes.
    fn row_nbytes(&self) -> usize {
        let one = self.shape(1).into_iter();
        one.fold(self.dtype().itemsize(), usize::saturating_mul)
    }

    /// Returns the number of complete rows in a file without a header.
    fn rows_in_file(&self, len: u64) -> usize {
        let available = len.saturating_sub(self.map.file_offset());
        let rows = available.checked_div(self.row_nbytes() as u64);
        usize::try_from(rows.unwrap_or(0)).unwrap_or(usize::MAX)
    }

    /// Returns the number of rows that the header of a `.npy` file says.
    fn rows_in_header(&self, source: &Source<'_>) -> Result<usize> {
        let format = |error| self.format_error(error);
        let header = Header::read(BufReader::new(source.file)).map_err(format)?;
        self.check(&header)?;
        // Rows may have been appended since the length was read, before the header was.
        let len = source
            .file
            .metadata()
            .map_err(|error| source.io_error("inspect", error))?;
        header.check_len(len.len()).map_err(format)?;
        let axis = growth_axis(header.shape(), self.order);
        Ok(axis
            .and_then(|axis| header.shape().get(axis).copied())
            .unwrap_or(0))
    }

    /// Checks that the array has the rows of the file's header.
    fn check(&self, header: &Header) -> Result<()> {
        let row = |shape: &[usize], order| with_rows(shape, order, 0);
        let order = if header.shape().len() < 2 {
            self.order
        } else {
            header.order()
        };
        let is_same = is_same(self.dtype(), header.dtype())
            && header.data_offset() == self.map.file_offset()
            && order == self.order_of(header)
            && row(header.shape(), order) == row(self.array.shape(), order);
        if is_same {
            Ok(())
        } else {
            Err(self.map.error(MapError::NotWhole))
        }
    }

    /// Returns the order of the array, which may be both; that of the header then.
    fn order_of(&self, header: &Header) -> Order {
        let layout = self.array.layout();
        let is_both = layout.is_c_contiguous() && layout.is_f_contiguous();
        if is_both { header.order() } else { self.order }
    }

    /// Changes the length of a `.npy` file; returns the number of rows.
    fn change_npy(&self, change: &Change<'_>, sync: bool) -> Result<usize> {
        let path = self
            .map
            .path()
            .ok_or_else(|| self.map.error(MapError::NoName))?;
        let mut appender = Appender::options().sync(sync).open(path)?;
        self.check(appender.header())?;
        match change {
            Change::Grow(rows) => appender.grow(*rows)?,
            Change::Append(rows) => appender.append(rows)?,
            Change::Truncate(rows) => appender.truncate(*rows)?,
        }
        Ok(appender.len())
    }

    /// Changes the length of a file without a header; returns the number of rows.
    fn change_raw(&self, file: &File, change: &Change<'_>, sync: bool) -> Result<usize> {
        let io = |action| move |error| self.map.io(action, error);
        let len = file.metadata().map_err(io("inspect"))?.len();
        let old = self.rows_in_file(len);
        let end = |rows: usize| {
            let layout = Layout::in_buffer(&self.shape(rows), self.dtype().itemsize(), self.order)?;
            Ok::<_, LayoutError>(self.map.file_offset() + layout.nbytes() as u64)
        };
        let rows = match *change {
            Change::Grow(rows) if rows < old => {
                return Err(self.map.error(MapError::Shorter { len: old, rows }));
            }
            Change::Truncate(rows) if rows > old => {
                return Err(self.map.error(MapError::Longer { len: old, rows }));
            }
            Change::Grow(rows) | Change::Truncate(rows) => {
                let (whole, stop) = (end(old.min(rows))?, end(rows)?);
                if whole < len {
                    // An incomplete row of another writer must not become a part of the first new one.
                    file.set_len(whole).map_err(io("resize"))?;
                }
                file.set_len(stop).map_err(io("resize"))?;
                rows
            }
            Change::Append(rows) => {
                let (bytes, count) = self.rows_of(rows)?;
                let (start, stop) = (end(old)?, end(old.saturating_add(count))?);
                let nbytes = usize::try_from(stop - start).unwrap_or(usize::MAX);
                // SAFETY: `bytes` is contiguous, and has the bytes of `count` rows.
                let written = unsafe { sys::write_from(file, bytes.as_ptr(), nbytes, start) };
                if let Err(error) = written {
                    // The file gets the length that it had. An error of this call is ignored, as the first error
                    // is reported.
                    drop(file.set_len(len));
                    return Err(self.map.io("append to", error));
                }
                old + count
            }
        };
        if sync {
            file.sync_data().map_err(io("sync"))?;
        }
        Ok(rows)
    }

    /// Returns the path for errors that name one; an empty one if the file was mapped without a path.
    fn path(&self) -> PathBuf {
        self.map.path().map(Path::to_path_buf).unwrap_or_default()
    }

    fn format_error(&self, source: FormatError) -> Error {
        let path = self.path();
        Error::Format { path, source }
    }

    /// Returns rows in the order of the array, and their number.
    fn rows_of(&self, rows: &Array) -> Result<(Array, usize)> {
        let refused = |source| {
            let path = self.path();
            Error::Append { path, source }
        };
        check_dtype(self.dtype(), rows.dtype()).map_err(refused)?;
        let count = count_rows(self.array.shape(), self.order, rows.shape()).map_err(refused)?;
        Ok((in_order(rows, self.order)?, count))
    }

    /// Returns the array of a number of rows, which the file has.
    fn with_rows(&self, source: &Source<'_>, rows: usize) -> Result<Array> {
        let (map, dtype) = (self.map, self.dtype());
        let shape = self.shape(rows);
        if shape == self.array.shape() && !map.has_lost_pages() {
            return Ok(self.array.clone());
        }
        let layout = Layout::in_buffer(&shape, dtype.itemsize(), self.order)?;
        let is_shorter = layout.nbytes() <= self.array.layout().nbytes();
        if !map.has_lost_pages() && is_shorter || map.extend(source, layout.nbytes())? {
            return Array::new(self.array.buffer().clone(), dtype.clone(), layout);
        }
        let mode = match map.mode() {
            Mode::Write => Mode::ReadWrite,
            mode => mode,
        };
        let header = Header::new(dtype.clone(), &shape, self.order);
        let header = header.map_err(|error| self.format_error(error))?;
        let placed = Placed {
            header: &header,
            offset: map.file_offset(),
            container: map.container(),
            reserve: 0,
        };
        // SAFETY: the code that opened the map has guaranteed it for the file: no code shortens it while arrays on it
        // exist, or writes the bytes of a typed view.
        unsafe { map_placed(source, mode, &placed) }
    }
}
