//! Making `.npy` files.

#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{self, Path, PathBuf};

use super::npy::map_placed;
use super::target::{Target, refused};
use super::unnamed::Unnamed;
use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::format::Header;
use crate::layout::{Layout, Order};
use crate::map::{Mode, Source, io_error, write_zeros};
use crate::sys;

/// Makes a `.npy` file of zeros by a name that no file has, and maps it for writing (mode `w+`).
///
/// ```
/// use mapcall_array::{DType, create, layout::Order};
///
/// let dir = tempfile::tempdir()?;
/// // SAFETY: nobody else changes the temporary file.
/// let mut array = unsafe { create(dir.path().join("a.npy"), DType::I16, &[1000], Order::C)? };
/// array.view_mut::<i16>()?.fill(-1);
/// array.flush()?;
/// assert_eq!(std::fs::metadata(dir.path().join("a.npy"))?.len(), 128 + 2000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`CreateOptions`] replaces a file that exists, and says what is promised.
///
/// # Safety
///
/// As [`MapOptions::map`](crate::MapOptions::map).
///
/// # Errors
///
/// As [`CreateOptions::create`].
pub unsafe fn create(
    path: impl AsRef<Path>,
    dtype: DType,
    shape: &[usize],
    order: Order,
) -> Result<Array> {
    // SAFETY: the caller's promise is the same.
    unsafe { CreateOptions::new(dtype, shape).order(order).create(path) }
}

/// What a new `.npy` file holds, and whether it may replace another one.
///
/// ```
/// use mapcall_array::{CreateOptions, DType, Error, map::MapError};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("a.npy");
/// let options = CreateOptions::new(DType::F64, [10, 3]);
/// // SAFETY: nobody else changes the temporary file.
/// drop(unsafe { options.create(&path)? });
///
/// // SAFETY: nobody else changes the temporary file.
/// let error = unsafe { options.create(&path) }.unwrap_err();
/// assert!(matches!(error, Error::Map { source: MapError::Exists, .. }));
/// // SAFETY: nobody else changes the temporary file.
/// let array = unsafe { options.overwrite(true).create(&path)? };
/// assert_eq!(array.shape(), [10, 3]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CreateOptions {
    dtype: DType,
    shape: Vec<usize>,
    order: Order,
    overwrite: bool,
}

impl CreateOptions {
    /// An array in C order, in a file that replaces no other one.
    ///
    /// See [`CreateOptions`] for an example.
    #[must_use]
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            dtype,
            shape: shape.into(),
            order: Order::C,
            overwrite: false,
        }
    }

    /// Which axis varies fastest: the last ([`Order::C`]) or the first ([`Order::F`]).
    ///
    /// ```
    /// # use mapcall_array::{CreateOptions, DType, layout::Order};
    /// # let dir = tempfile::tempdir()?;
    /// let options = CreateOptions::new(DType::U8, [2, 3]).order(Order::F);
    /// // SAFETY: nobody else changes the temporary file.
    /// let array = unsafe { options.create(dir.path().join("a.npy"))? };
    /// assert_eq!(array.strides(), [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Whether a file that has the name is replaced; without it, that is an error.
    ///
    /// The new file keeps the old one's owner, group, permissions, ACL, extended attributes and flags,
    /// but no set-id bits. Where it can't, the old one is written in place: when it has several hard links,
    /// or belongs to another user, or the folder permits no new file or no rename.
    ///
    /// See [`CreateOptions`] for an example.
    #[must_use]
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Makes a `.npy` file of zeros, and maps it for writing (mode `w+`).
    ///
    /// See [`CreateOptions`] for an example.
    ///
    /// The disk space is taken first. The file gets its name when it is whole, so that a file of that name
    /// stays untouched when something fails; and the disk has it before the name of a file that is
    /// replaced leads to it, so that one of both is there after a power failure. A new name may not be on
    /// the disk yet. What is written through the map is on the disk after
    /// [`flush`](Array::flush).
    ///
    /// A file that is written in place is zeroed without becoming shorter than the old or the new array.
    /// It has neither of both when the process is killed or the power fails meanwhile.
    ///
    /// # Safety
    ///
    /// As [`MapOptions::map`](crate::MapOptions::map).
    ///
    /// # Errors
    ///
    /// [`MapError::Exists`](crate::map::MapError::Exists) for a name that a file has, unless it may be
    /// [overwritten](Self::overwrite); [`Error::Format`] for a dtype that a header can't express,
    /// [`Error::Layout`] for a shape beyond any memory, [`Error::Io`] when the system refuses or the disk
    /// is full.
    pub unsafe fn create(&self, path: impl AsRef<Path>) -> Result<Array> {
        let path = path.as_ref();
        let header = self.header(path)?;
        let target = Target::find(path, self.overwrite)?;
        let begun = target.begin();
        let Some(file) = begun.map_err(|source| io_error("create", Some(path), source))? else {
            // SAFETY: the caller's promise is the same.
            return unsafe { create_in_place(&target, path, &header) };
        };
        let file = NewFile::begin(file, target, path, header)?;
        // What can fail does so before another file loses its name.
        let source = Source::new(file.file.file(), Some(path))?;
        // SAFETY: the caller's promise is the same.
        drop(unsafe { map_new(&source, &file.header) }?);
        // SAFETY: the caller's promise is the same.
        unsafe { file.persist()?.map(Mode::Write) }
    }

    fn header(&self, path: &Path) -> Result<Header> {
        let header = Header::new(self.dtype.clone(), &self.shape, self.order);
        header.map_err(|source| Error::Format {
            path: path.to_path_buf(),
            source,
        })
    }
}

/// Makes the file that is there an array of zeros, and maps it.
///
/// # Safety
///
/// As [`CreateOptions::create`].
unsafe fn create_in_place(target: &Target, path: &Path, header: &Header) -> Result<Array> {
    let Some(old) = target.old() else {
        return Err(refused(path, io::ErrorKind::NotFound.into()));
    };
    let mut source = Source::new(old, Some(path))?;
    let (old_len, end) = (source.len, header.end());
    let bytes = header_bytes(header, path)?;
    let made = (|| {
        // What can fail does so before a byte is lost.
        take_space(old, old_len, end).map_err(|error| source.io_error("allocate", error))?;
        if old_len < end {
            source.set_len(end)?;
        }
        // SAFETY: the caller's promise is the same.
        unsafe { map_new(&source, header) }
    })();
    if made.is_err() && Source::new(old, Some(path)).is_ok_and(|now| now.len > old_len) {
        // Of two errors the first is the one to report.
        drop(source.set_len(old_len));
    }
    let array = made?;
    let io = |action| move |error| io_error(action, Some(path), error);
    sys::drop_set_id(old).map_err(io("write"))?;
    source.clear(end, true)?;
    sys::write_at(old, &bytes, 0).map_err(io("write"))?;
    source.set_len(end)?;
    Ok(array)
}

/// Maps a new file for writing.
///
/// # Safety
///
/// As [`CreateOptions::create`].
unsafe fn map_new(source: &Source<'_>, header: &Header) -> Result<Array> {
    // SAFETY: the caller's promise is the same.
    unsafe { map_placed(source, Mode::Write, header, header.data_offset()) }
}

fn header_bytes(header: &Header, path: &Path) -> Result<Vec<u8>> {
    header.to_bytes().map_err(|source| Error::Format {
        path: path.to_path_buf(),
        source,
    })
}

/// Takes the disk space of a file up to `end`. Where the file system can only be made to by writing, zeros
/// are written from `old_len` on.
fn take_space(file: &File, old_len: u64, end: u64) -> io::Result<()> {
    if sys::reserve(file, 0, end)? {
        return Ok(());
    }
    write_zeros(file, old_len, end)?;
    // Some find the disk full only then.
    file.sync_data()
}

/// A `.npy` file that is being written, and gets its name when it is whole.
///
/// ```
/// use mapcall_array::{DType, Mode, NewFile, layout::Order};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("a.npy");
/// let file = NewFile::create(&path, DType::U8, &[1000], Order::C)?;
/// file.write(0, &[1; 600])?;
/// file.write(600, &[2; 400])?;
/// assert!(!path.exists());
/// let written = file.persist()?;
/// // SAFETY: nobody else changes the temporary file.
/// let array = unsafe { written.map(Mode::Read)? };
/// assert_eq!(array.view::<u8>()?[[600]], 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Its disk space is taken first. Dropped before, it leaves nothing; neither does a process that is
/// killed, where the file system knows files without names. A file that had the name stays untouched
/// until this one takes it.
#[derive(Debug)]
pub struct NewFile {
    file: Unnamed,
    target: Target,
    is_copied: bool,
    path: PathBuf,
    header: Header,
}

impl NewFile {
    /// Begins a file of zeros, which will replace a file that has the name, as
    /// [`CreateOptions::overwrite`] says. What has to be written in place is copied there by
    /// [`persist`](Self::persist).
    ///
    /// # Errors
    ///
    /// As [`CreateOptions::create`].
    pub fn create(
        path: impl AsRef<Path>,
        dtype: DType,
        shape: &[usize],
        order: Order,
    ) -> Result<Self> {
        let path = path.as_ref();
        let io = |action| move |source| io_error(action, Some(path), source);
        let header = CreateOptions::new(dtype, shape).order(order).header(path)?;
        let target = Target::find(path, true)?;
        if let Some(file) = target.begin().map_err(io("create"))? {
            return Self::begin(file, target, path, header);
        }
        let reserved = target.reserve(header.end());
        reserved.map_err(io("allocate"))?;
        let file = target.begin_copy().map_err(io("create"))?;
        let mut file = Self::begin(file, target, path, header)?;
        file.is_copied = true;
        Ok(file)
    }

    fn begin(file: Unnamed, target: Target, path: &Path, header: Header) -> Result<Self> {
        let io = |action| move |source| io_error(action, Some(path), source);
        let (bytes, end) = (header_bytes(&header, path)?, header.end());
        take_space(file.file(), 0, end).map_err(io("allocate"))?;
        file.file().set_len(end).map_err(io("allocate"))?;
        file.file().write_all(&bytes).map_err(io("write"))?;
        Ok(Self {
            file,
            target,
            is_copied: false,
            // The process may go to another folder meanwhile.
            path: path::absolute(path).map_err(io("create"))?,
            header,
        })
    }

    /// The name that it will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file that has the name so far.
    ///
    /// ```
    /// # use mapcall_array::{DType, NewFile, layout::Order};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("a.npy");
    /// assert!(NewFile::create(&path, DType::U8, &[4], Order::C)?.old().is_none());
    /// std::fs::write(&path, "old")?;
    /// let file = NewFile::create(&path, DType::U8, &[4], Order::C)?;
    /// assert_eq!(file.old().unwrap().metadata()?.len(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn old(&self) -> Option<&File> {
        self.target.old()
    }

    /// Where its elements lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        self.header.layout()
    }

    /// Whether it must be on the disk before it gets its name, as another file has that name.
    ///
    /// ```
    /// # use mapcall_array::{DType, NewFile, layout::Order};
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("a.npy");
    /// let file = NewFile::create(&path, DType::U8, &[1000], Order::C)?;
    /// assert!(!file.syncs());
    /// file.persist()?;
    /// assert!(NewFile::create(&path, DType::U8, &[1000], Order::C)?.syncs());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn syncs(&self) -> bool {
        self.target.old().is_some() && !self.is_copied
    }

    /// Writes elements, from a byte of the data on. Several threads may write at once.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses, or the bytes reach past the data's end.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let io = |source| io_error("write", Some(&self.path), source);
        let end = offset.checked_add(bytes.len());
        if end.is_none_or(|end| end > self.header.nbytes()) {
            return Err(io(io::ErrorKind::InvalidInput.into()));
        }
        let offset = self.header.data_offset() + offset as u64;
        sys::write_at(self.file.file(), bytes, offset).map_err(io)
    }

    /// Asks the system to write a range of the data to the disk, and doesn't wait for it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses.
    pub fn write_back(&self, range: Range<usize>) -> Result<()> {
        let start = self.header.data_offset() + range.start as u64;
        sys::write_back(self.file.file(), start, range.len() as u64)
            .map_err(|source| io_error("write back", Some(&self.path), source))
    }

    /// Waits until a range of the data is on the disk, which may not yet know that it is the file's:
    /// that takes [`sync`](Self::sync), which then has little to do.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses.
    pub fn wait_for(&self, range: Range<usize>) -> Result<()> {
        let start = self.header.data_offset() + range.start as u64;
        sys::wait_for(self.file.file(), start, range.len() as u64)
            .map_err(|source| io_error("write back", Some(&self.path), source))
    }

    /// Tells the system that a range of the data won't be needed soon, so that what of it is on the disk
    /// makes room for other files.
    pub fn forget(&self, range: Range<usize>) {
        let start = self.header.data_offset() + range.start as u64;
        sys::forget(self.file.file(), start, range.len() as u64);
    }

    /// Waits until the data is on the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses.
    pub fn sync(&self) -> Result<()> {
        let synced = self.file.file().sync_data();
        synced.map_err(|source| io_error("sync", Some(&self.path), source))
    }

    /// Gives the file its name. A file that has the name is replaced once this one is on the disk; where
    /// it can't be replaced, this one is copied into it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses. A file that was to be written in place may then have some of
    /// the new bytes.
    pub fn persist(self) -> Result<WrittenFile> {
        self.persist_with(|_, _| Ok(()))
    }

    /// Gives the file its name, and waits until data and name are on the disk.
    ///
    /// # Errors
    ///
    /// As [`persist`](Self::persist); the file may have its name then.
    pub fn persist_durably(self) -> Result<WrittenFile> {
        if !self.is_copied {
            self.sync()?;
        }
        self.persist_with(|file, target| {
            // That of a copy, too.
            file.sync_data()?;
            target.sync_name()
        })
    }

    fn persist_with(
        self,
        sync: impl FnOnce(&File, &Target) -> io::Result<()>,
    ) -> Result<WrittenFile> {
        let Self {
            file,
            target,
            is_copied,
            path,
            header,
        } = self;
        let named = target.persist(file, is_copied);
        let file = named.map_err(|source| refused(&path, source))?;
        sync(&file, &target).map_err(|source| io_error("sync", Some(&path), source))?;
        Ok(WrittenFile { file, path, header })
    }

    /// Whether another one is to be the same file.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        self.target.is(&other.target)
    }
}

/// A `.npy` file that has been written, still open: the very file, whichever has its name by now.
///
/// See [`NewFile`] for an example.
#[derive(Debug)]
pub struct WrittenFile {
    file: File,
    path: PathBuf,
    header: Header,
}

impl WrittenFile {
    /// Maps it.
    ///
    /// # Safety
    ///
    /// As [`MapOptions::map`](crate::MapOptions::map).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses.
    pub unsafe fn map(&self, mode: Mode) -> Result<Array> {
        let source = Source::new(&self.file, Some(&self.path))?;
        // SAFETY: the caller's promise is the same.
        unsafe { map_placed(&source, mode, &self.header, self.header.data_offset()) }
    }
}
