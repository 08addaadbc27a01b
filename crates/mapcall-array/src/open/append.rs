//! Appends rows to `.npy` files that other processes may read meanwhile.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{self, Path, PathBuf};
use std::ptr;

use super::new_file::NewFile;
use super::rows;
use super::target::is_npy_name;
use crate::array::Array;
use crate::dtype::DType;
use crate::error::{AppendError, Error, Result};
use crate::fork;
use crate::format::{Format, FormatError, GrowingHeader, Header};
use crate::layout::Order;
use crate::map::{MapError, Mode, Source, io_error, map_error, open_file};
use crate::sys;

/// Appends rows to a `.npy` file; creates the file if there is none.
///
/// ```
/// use mapcall_array::{Array, DType, MapOptions, Mode, append, layout::Order};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("log.npy");
/// let mut rows = Array::zeros(DType::F64, &[2, 3], Order::C)?;
/// rows.view_mut::<f64>()?.fill(1.5);
/// append(&path, &rows)?; // creates the file
/// append(&path, &rows)?;
///
/// // SAFETY: no other code shortens the temporary file, and none writes the bytes of the view.
/// let log = unsafe { MapOptions::new().mode(Mode::Read).open(&path)? };
/// assert_eq!((log.shape(), log.view::<f64>()?.sum()), (&[4, 3][..], 18.0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A new file has the dtype of `rows`, and grows along the first axis: its rows have the shape of `rows`
/// without the first axis. [`Appender`] describes the rows that an existing file takes, and the guarantees. It
/// is faster for several calls.
///
/// # Errors
///
/// Those of [`AppendOptions::open`] and [`Appender::append`]; [`AppendError::NoRowShape`] if there is no file
/// and `rows` has no axes.
pub fn append(path: impl AsRef<Path>, rows: &Array) -> Result<()> {
    let path = path.as_ref();
    let mut appender = match Appender::open(path) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let no_shape = || append_error(path, AppendError::NoRowShape);
            let (_, row) = rows.shape().split_first().ok_or_else(no_shape)?;
            let options = Appender::options().dtype(rows.dtype().clone());
            options.row_shape(row).open(path)
        }
        opened => opened,
    }?;
    appender.append(rows)
}

/// The options to open an [`Appender`]: the dtype and the shape of rows, and whether rows are synced.
///
/// ```
/// use mapcall_array::{Appender, DType, Error};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("log.npy");
/// let options = Appender::options().dtype(DType::F64).row_shape([3]);
/// drop(options.open(&path)?); // creates the file
/// drop(options.open(&path)?);
///
/// let error = options.row_shape([4]).open(&path).unwrap_err();
/// assert!(matches!(error, Error::Append { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct AppendOptions {
    dtype: Option<DType>,
    row_shape: Option<Vec<usize>>,
    sync: bool,
}

impl AppendOptions {
    /// Sets the dtype, which an existing file must have, and which a new file gets.
    #[must_use]
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = Some(dtype);
        self
    }

    /// Sets the shape of a row, which an existing file must have, and which a new file gets; `[]`, a single
    /// element, by default for a new file.
    #[must_use]
    pub fn row_shape(mut self, shape: impl Into<Vec<usize>>) -> Self {
        self.row_shape = Some(shape.into());
        self
    }

    /// Sets whether [`Appender::append`] returns when the rows are on the disk.
    ///
    /// The rows are on the disk before the header is written, so that after a power failure the file has its
    /// old or its new length. A new file is on the disk with its name when [`open`](Self::open) returns.
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// Opens a `.npy` file to append to it; creates it without rows, in C order, if there is none and
    /// [`dtype`](Self::dtype) is set.
    ///
    /// # Errors
    ///
    /// - [`AppendError::Locked`] if another appender has the file open;
    /// - [`AppendError::OtherDType`], [`AppendError::OtherRowShape`] if the file differs from the options;
    /// - [`AppendError::Suffix`] if the file would be created, and its name does not end in `.npy`;
    /// - [`AppendError::Npz`] for a `.npz`, [`AppendError::AnotherArray`] if the file has a second array;
    /// - [`Error::Format`] if the file is not a valid `.npy` file, is shorter than its header says, has no axis
    ///   to grow along, or has no room in its header;
    /// - [`MapError::NotRegular`] for pipes and devices;
    /// - [`Error::Io`] if the system can't open, lock or create the file, or if there is none and no dtype is
    ///   given.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Appender> {
        let path = path.as_ref();
        match (self.open_existing(path), &self.dtype) {
            (Err(Error::Io { source, .. }), Some(dtype))
                if source.kind() == io::ErrorKind::NotFound =>
            {
                match self.create(path, dtype) {
                    // Another process has created the file meanwhile.
                    Err(Error::Map {
                        source: MapError::Exists,
                        ..
                    }) => self.open_existing(path),
                    created => created,
                }
            }
            (opened, _) => opened,
        }
    }

    fn open_existing(&self, path: &Path) -> Result<Appender> {
        let file = open_file(path, Mode::ReadWrite)?;
        Source::new(&file, Some(path))?;
        lock(&file, path)?;
        let format = |source| format_error(path, source);
        // The length is read behind the lock: it may have been changed by the owner before.
        let len = Source::new(&file, Some(path))?.len;
        let mut start = Vec::new();
        let mut reader = BufReader::new(&file);
        let read = reader.by_ref().take(8).read_to_end(&mut start);
        read.map_err(|source| io_error("read", Some(path), source))?;
        if Format::of(&start) == Some(Format::Npz) {
            return Err(append_error(path, AppendError::Npz));
        }
        let header = Header::read(start.chain(reader)).map_err(format)?;
        header.check_len(len).map_err(format)?;
        self.check(&header, path)?;
        let end = header.end();
        let offset = header.data_offset();
        let header = GrowingHeader::new(header).map_err(format)?;
        let (mut found, mut behind) = (Vec::new(), Vec::new());
        let read_at = |start, len, bytes: &mut Vec<u8>| {
            let mut file = &file;
            file.seek(io::SeekFrom::Start(start))?;
            file.take(len).read_to_end(bytes)
        };
        read_at(0, offset, &mut found)
            .and_then(|_| read_at(end, 8, &mut behind))
            .map_err(|source| io_error("read", Some(path), source))?;
        if Format::of(&behind) == Some(Format::Npy) {
            return Err(append_error(
                path,
                AppendError::AnotherArray { offset: end },
            ));
        }
        Ok(Appender {
            file,
            path: path::absolute(path).map_err(|source| io_error("open", Some(path), source))?,
            header,
            in_file: found,
            sync: self.sync,
            generation: fork::generation(),
        })
    }

    /// Checks that a file has the dtype and the shape of rows that were given.
    fn check(&self, header: &Header, path: &Path) -> Result<()> {
        let row = rows::row_shape(header.shape(), header.order());
        let mut given = self.row_shape.clone().unwrap_or_else(|| row.clone());
        if let Some(dtype) = &self.dtype {
            let dtype = match self.row_shape {
                Some(_) => dtype.clone().expand(&mut given),
                None => dtype.clone(),
            };
            check_dtype(header.dtype(), &dtype).map_err(|error| append_error(path, error))?;
        }
        if given != row {
            let (expected, found) = (row, given);
            return Err(append_error(
                path,
                AppendError::OtherRowShape { expected, found },
            ));
        }
        Ok(())
    }

    fn create(&self, path: &Path, dtype: &DType) -> Result<Appender> {
        if !is_npy_name(path) {
            let name = path.with_extension("npy");
            return Err(append_error(path, AppendError::Suffix { name }));
        }
        let format = |source| format_error(path, source);
        let mut shape = vec![0];
        shape.extend(self.row_shape.iter().flatten());
        let header = Header::new(dtype.clone(), &shape, Order::C).map_err(format)?;
        let header = GrowingHeader::new(header).map_err(format)?;
        let file = NewFile::create_new(path, header.header().clone(), header.bytes())?;
        // The file is locked before another process can open it by its name.
        lock(file.file(), path)?;
        let file = if self.sync {
            file.persist_durably()
        } else {
            file.persist()
        };
        let (file, path) = file?.into_parts();
        Ok(Appender {
            file,
            path,
            in_file: header.bytes().to_vec(),
            header,
            sync: self.sync,
            generation: fork::generation(),
        })
    }
}

/// A `.npy` file that grows by rows, while other processes may read it.
///
/// ```
/// use mapcall_array::{Appender, Array, DType, layout::Order};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("log.npy");
/// let mut log = Appender::options().dtype(DType::U8).row_shape([3]).open(&path)?;
/// log.append(&Array::zeros(DType::U8, &[3], Order::C)?)?; // one row
/// log.append(&Array::zeros(DType::U8, &[2, 3], Order::C)?)?; // two rows
/// log.append_bytes(b"abcdef")?; // two more
/// assert_eq!(log.len(), 5);
/// assert!(std::fs::read(&path)?.ends_with(b"\0abcdef"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The array grows along its slowest axis: the first in C order, the last in Fortran order. A row is what one
/// index along this axis selects.
///
/// # Guarantees
///
/// - Each call writes the rows behind the array, and then the header, in place. So processes that open the
///   file find the old or the new length, with all its rows. Maps that exist already keep their length.
/// - If the process is killed at any moment, the file has the old or the new length. Rows whose header was not
///   written yet are behind the array, where readers ignore them; the next appender overwrites them.
/// - If the power fails, the same holds with [`AppendOptions::sync`]. Without it, the system may write the
///   header before the rows; [`sync`](Self::sync) waits until both are on the disk.
/// - After an error, such as a full disk, the file has the length that it had, and the appender can be used
///   further.
/// - There is one appender for a file at a time (`flock`). The lock is advisory: it does not prevent other
///   programs from writing to the file.
///
/// Dropping the appender closes the file. Nothing is left to be written then.
#[derive(Debug)]
pub struct Appender {
    file: File,
    path: PathBuf,
    header: GrowingHeader,
    /// The bytes of the header in the file.
    in_file: Vec<u8>,
    sync: bool,
    /// The generation of the process that has opened the file.
    generation: usize,
}

impl Appender {
    /// Opens an existing `.npy` file to append to it.
    ///
    /// ```
    /// # use mapcall_array::{Appender, Array, DType, append, layout::Order};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log.npy");
    /// append(&path, &Array::zeros(DType::F64, &[10, 3], Order::C)?)?;
    /// let log = Appender::open(&path)?;
    /// assert_eq!((log.len(), log.row_shape()), (10, vec![3]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`AppendOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::options().open(path)
    }

    /// Returns the default options: the dtype and the shape of rows of an existing file, without sync.
    ///
    /// See [`AppendOptions`] for an example.
    #[must_use]
    pub fn options() -> AppendOptions {
        AppendOptions::default()
    }

    /// Appends one row, an array of the shape of a row; or any number of rows, an array with the additional
    /// axis along which the file grows.
    ///
    /// See [`Appender`] for an example. Rows that are not contiguous in the order of the file are copied first.
    ///
    /// # Errors
    ///
    /// [`AppendError::OtherDType`] if the array has another dtype than the file, [`AppendError::NoRows`] if it
    /// has another shape; those of [`append_bytes`](Self::append_bytes).
    pub fn append(&mut self, rows: &Array) -> Result<()> {
        let header = self.header.header();
        check_dtype(header.dtype(), rows.dtype())
            .map_err(|error| append_error(&self.path, error))?;
        let count = self.count(rows.shape())?;
        let rows = in_order(rows, header.order())?;
        // SAFETY: the array is contiguous, so that the elements of `count` rows are the bytes from `as_ptr` on,
        // and its buffer is alive during the call.
        unsafe { self.append_from(rows.as_ptr(), count) }
    }

    /// Appends rows as bytes, in the order of the file.
    ///
    /// See [`Appender`] for an example.
    ///
    /// # Errors
    ///
    /// - [`AppendError::PartOfRow`] if the bytes are not whole rows;
    /// - [`AppendError::Forked`] in a forked child of the process that opened the file;
    /// - [`FormatError::NoRoom`] if the header has no room for the new length;
    /// - [`Error::Io`] if the system can't write or sync the file.
    ///
    /// The file has the same rows as before then.
    pub fn append_bytes(&mut self, rows: &[u8]) -> Result<()> {
        let (len, row) = (rows.len(), self.row_nbytes());
        if len != 0 && len.checked_rem(row) != Some(0) {
            return Err(append_error(
                &self.path,
                AppendError::PartOfRow { row, len },
            ));
        }
        // SAFETY: the slice has the bytes of this number of rows.
        unsafe { self.append_from(rows.as_ptr(), len.checked_div(row).unwrap_or(0)) }
    }

    /// Appends `count` rows from memory that other threads may write.
    ///
    /// # Safety
    ///
    /// `rows` points to the bytes of `count` rows, in the order of the file, which stay allocated during the
    /// call.
    ///
    /// # Errors
    ///
    /// Those of [`append_bytes`](Self::append_bytes).
    #[doc(hidden)]
    pub unsafe fn append_from(&mut self, rows: *const u8, count: usize) -> Result<()> {
        if count == 0 && fork::generation() == self.generation {
            return Ok(());
        }
        let (old, start) = (self.header.len(), self.header.header().end());
        self.set_header_len(old.saturating_add(count))?;
        // The layout of the new length has been checked, so this is no overflow.
        let nbytes = count * self.row_nbytes();
        // SAFETY: the caller guarantees that the rows are allocated.
        let written = unsafe { sys::write_from(&self.file, rows, nbytes, start) };
        if let Err(source) = written.and_then(|()| self.sync_if_asked()) {
            self.cut(old, start);
            return Err(io_error("append to", Some(&self.path), source));
        }
        self.write_header("append to", old, start)
    }

    /// Appends rows of zeros until there are `len`. Their disk space is allocated if the file system can.
    ///
    /// ```
    /// # use mapcall_array::{Appender, DType};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log.npy");
    /// let mut log = Appender::options().dtype(DType::U8).open(&path)?;
    /// log.append_bytes(b"abc")?;
    /// log.grow(5)?;
    /// assert!(std::fs::read(&path)?.ends_with(b"abc\0\0"));
    /// log.truncate(2)?;
    /// assert!(std::fs::read(&path)?.ends_with(b"ab"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError::Shorter`] if the array has more rows; otherwise those of
    /// [`append_bytes`](Self::append_bytes).
    pub fn grow(&mut self, len: usize) -> Result<()> {
        let (old, start) = (self.len(), self.header.header().end());
        if len < old {
            let source = MapError::Shorter {
                len: old,
                rows: len,
            };
            return Err(map_error(Some(&self.path), source));
        }
        self.set_header_len(len)?;
        let end = self.header.header().end();
        // What stands behind the array, of a writer that was killed, must not become a part of it.
        let made = self
            .file
            .set_len(start)
            .and_then(|()| sys::reserve(&self.file, start, end))
            .and_then(|_| self.file.set_len(end))
            .and_then(|()| self.sync_if_asked());
        if let Err(source) = made {
            self.cut(old, start);
            return Err(io_error("grow", Some(&self.path), source));
        }
        self.write_header("grow", old, start)
    }

    /// Removes all rows but the first `len`: the header first, then the rows.
    ///
    /// See [`grow`](Self::grow) for an example. Other processes that have mapped the removed rows get a fault at
    /// their next access.
    ///
    /// # Errors
    ///
    /// [`MapError::Longer`] if the array has fewer rows; [`AppendError::Forked`] in a forked child of the
    /// process that opened the file; [`Error::Io`] if the system can't write or cut the file.
    pub fn truncate(&mut self, len: usize) -> Result<()> {
        let (old, start) = (self.len(), self.header.header().end());
        if len > old {
            let source = MapError::Longer {
                len: old,
                rows: len,
            };
            return Err(map_error(Some(&self.path), source));
        }
        self.set_header_len(len)?;
        let written = sys::write_at(&self.file, self.header.bytes(), 0);
        if let Err(source) = written.and_then(|()| self.sync_if_asked()) {
            drop(sys::write_at(&self.file, &self.in_file, 0));
            self.cut(old, start);
            return Err(io_error("truncate", Some(&self.path), source));
        }
        self.in_file.clear();
        self.in_file.extend_from_slice(self.header.bytes());
        let cut = self.file.set_len(self.header.header().end());
        let cut = cut.and_then(|()| self.sync_if_asked());
        cut.map_err(|source| io_error("truncate", Some(&self.path), source))
    }

    /// Sets the length in the header, which is not written yet.
    fn set_header_len(&mut self, len: usize) -> Result<()> {
        if fork::generation() != self.generation {
            return Err(append_error(&self.path, AppendError::Forked));
        }
        let set = self.header.set_len(len);
        set.map_err(|source| format_error(&self.path, source))
    }

    /// Writes the header, after the rows. If that fails, the file has the `old` rows, up to `start`.
    fn write_header(&mut self, action: &'static str, old: usize, start: u64) -> Result<()> {
        let written = sys::write_at(&self.file, self.header.bytes(), 0);
        if let Err(source) = written.and_then(|()| self.sync_if_asked()) {
            // If the header can't be restored, it may have the new length, and the rows must stay.
            if sys::write_at(&self.file, &self.in_file, 0).is_ok() {
                self.cut(old, start);
            }
            return Err(io_error(action, Some(&self.path), source));
        }
        self.in_file.clear();
        self.in_file.extend_from_slice(self.header.bytes());
        Ok(())
    }

    fn sync_if_asked(&self) -> io::Result<()> {
        if self.sync {
            return self.file.sync_data();
        }
        Ok(())
    }

    /// Cuts the file at `end`, the end of its `len` rows, after rows could not be appended.
    fn cut(&mut self, len: usize, end: u64) {
        // The header had this length before, so it has room for it.
        drop(self.header.set_len(len));
        // An error is ignored: readers ignore what stands behind the array.
        drop(self.file.set_len(end));
    }

    /// Waits until all rows and the header are on the disk.
    ///
    /// ```
    /// # use mapcall_array::{Appender, DType};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("log.npy");
    /// let mut log = Appender::options().dtype(DType::U8).open(&path)?;
    /// log.append_bytes(b"abcdef")?;
    /// log.sync()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system can't write them.
    pub fn sync(&self) -> Result<()> {
        let synced = self.file.sync_data();
        synced.map_err(|source| io_error("sync", Some(&self.path), source))
    }

    /// Returns the number of rows that an array of this shape is.
    ///
    /// # Errors
    ///
    /// [`AppendError::NoRows`] if it is neither a row of this file nor an array of rows.
    #[doc(hidden)]
    pub fn count(&self, shape: &[usize]) -> Result<usize> {
        let header = self.header.header();
        let count = count_rows(header.shape(), header.order(), shape);
        count.map_err(|error| append_error(&self.path, error))
    }

    /// Returns the header of the file.
    pub(super) fn header(&self) -> &Header {
        self.header.header()
    }

    /// Returns the absolute path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the dtype of the file.
    #[must_use]
    pub fn dtype(&self) -> &DType {
        self.header.header().dtype()
    }

    /// Returns the order of the file: rows are appended along the first axis in C order, and along the last
    /// axis in Fortran order.
    #[must_use]
    pub fn order(&self) -> Order {
        self.header.header().order()
    }

    /// Returns the shape of a row.
    #[must_use]
    pub fn row_shape(&self) -> Vec<usize> {
        self.header.row_shape()
    }

    /// Returns the size of a row in bytes.
    fn row_nbytes(&self) -> usize {
        let shape = self.row_shape();
        shape
            .into_iter()
            .fold(self.dtype().itemsize(), usize::saturating_mul)
    }

    /// Returns the number of rows in the file.
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.len()
    }

    /// Returns whether the file has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        // A forked child has the same lock. If the parent closed the file only, the child would keep the lock.
        if fork::generation() == self.generation {
            sys::unlock(&self.file);
        }
    }
}

fn lock(file: &File, path: &Path) -> Result<()> {
    let locked = sys::try_lock(file).map_err(|source| io_error("lock", Some(path), source))?;
    if locked {
        return Ok(());
    }
    Err(append_error(path, AppendError::Locked))
}

/// Returns whether two dtypes have the same descriptor in a file.
pub(super) fn is_same(one: &DType, other: &DType) -> bool {
    one == other || matches!((one.to_descr(), other.to_descr()), (Ok(a), Ok(b)) if a == b)
}

/// Checks that rows have the dtype of a file.
pub(super) fn check_dtype(expected: &DType, found: &DType) -> Result<(), AppendError> {
    if is_same(expected, found) {
        return Ok(());
    }
    let (expected, found) = (expected.clone(), found.clone());
    Err(AppendError::OtherDType { expected, found })
}

/// Returns the number of rows of an array `whole` that an array of a shape is.
pub(super) fn count_rows(
    whole: &[usize],
    order: Order,
    shape: &[usize],
) -> Result<usize, AppendError> {
    rows::count(whole, order, shape).ok_or_else(|| AppendError::NoRows {
        row: rows::row_shape(whole, order),
        axis: rows::growth_axis(whole, order).unwrap_or(0),
        found: shape.to_vec(),
    })
}

/// Returns an array itself if it is contiguous in an order, and otherwise a copy that is.
pub(super) fn in_order(array: &Array, order: Order) -> Result<Array> {
    let is_contiguous = match order {
        Order::C => array.layout().is_c_contiguous(),
        Order::F => array.layout().is_f_contiguous(),
    };
    if is_contiguous {
        Ok(array.clone())
    } else {
        packed(array, order)
    }
}

/// Returns a copy of an array that is contiguous in an order.
fn packed(array: &Array, order: Order) -> Result<Array> {
    let copy = Array::zeros(array.dtype().clone(), array.shape(), order)?;
    let (itemsize, strides) = (array.dtype().itemsize(), array.strides());
    let mut index = vec![0_usize; array.ndim()];
    let (mut from, mut to) = (array.as_ptr(), copy.as_mut_ptr());
    for _ in 0..array.layout().size() {
        // SAFETY: `from` points to the element `index` of `array`, and `to` to that of the copy; both have
        // `itemsize` bytes. The copy is new memory.
        unsafe { ptr::copy_nonoverlapping(from, to, itemsize) };
        to = to.wrapping_add(itemsize);
        let axes = 0..index.len();
        let step = |axis: usize| {
            let (at, length, stride) = (
                index.get_mut(axis)?,
                *array.shape().get(axis)?,
                *strides.get(axis)?,
            );
            *at += 1;
            from = from.wrapping_offset(stride);
            if *at < length {
                return Some(());
            }
            from = from.wrapping_offset(stride.wrapping_mul(length.cast_signed()).wrapping_neg());
            *at = 0;
            None
        };
        match order {
            Order::C => axes.rev().find_map(step),
            Order::F => axes.into_iter().find_map(step),
        };
    }
    Ok(copy)
}

fn append_error(path: &Path, source: AppendError) -> Error {
    Error::Append {
        path: path.to_path_buf(),
        source,
    }
}

fn format_error(path: &Path, source: FormatError) -> Error {
    Error::Format {
        path: path.to_path_buf(),
        source,
    }
}
