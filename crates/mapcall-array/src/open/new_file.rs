//! Creates `.npy` files.

#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use super::npy::{Placed, map_placed};
use super::target::{Target, refused};
use super::unnamed::Unnamed;
use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::format::Header;
use crate::layout::{Layout, Order};
use crate::map::{Container, Mode, Source, io_error, write_zeros};
use crate::sys;

/// Creates a `.npy` file of zeros, and maps it for writing (mode `w+`); no file may have the path yet.
///
/// ```
/// use mapcall_array::{DType, create, layout::Order};
///
/// let dir = tempfile::tempdir()?;
/// // SAFETY: no other code writes or shortens the temporary file.
/// let mut array = unsafe { create(dir.path().join("a.npy"), DType::I16, &[1000], Order::C)? };
/// array.view_mut::<i16>()?.fill(-1);
/// array.flush()?;
/// assert_eq!(std::fs::metadata(dir.path().join("a.npy"))?.len(), 128 + 2000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`CreateOptions`] can replace an existing file. [`CreateOptions::create`] describes what happens when an
/// error occurs, the process is killed or the power fails.
///
/// # Safety
///
/// No code may make the file shorter while the array or a view of it exists, and no other code may write
/// the bytes of a typed view while it exists: see [`MapOptions::map`](crate::MapOptions::map).
///
/// # Errors
///
/// Those of [`CreateOptions::create`].
pub unsafe fn create(
    path: impl AsRef<Path>,
    dtype: DType,
    shape: &[usize],
    order: Order,
) -> Result<Array> {
    // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
    // a typed view.
    unsafe { CreateOptions::new(dtype, shape).order(order).create(path) }
}

/// The options to create a `.npy` file: dtype, shape and order, and whether it may replace another file.
///
/// ```
/// use mapcall_array::{CreateOptions, DType, Error, map::MapError};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("a.npy");
/// let options = CreateOptions::new(DType::F64, [10, 3]);
/// // SAFETY: no other code writes or shortens the temporary file.
/// drop(unsafe { options.create(&path)? });
///
/// // SAFETY: no other code writes or shortens the temporary file.
/// let error = unsafe { options.create(&path) }.unwrap_err();
/// assert!(matches!(error, Error::Map { source: MapError::Exists, .. }));
/// // SAFETY: no other code writes or shortens the temporary file.
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
    reserve: usize,
}

impl CreateOptions {
    /// Returns options for an array in C order, whose file must not replace another one.
    ///
    /// See [`CreateOptions`] for an example.
    #[must_use]
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            dtype,
            shape: shape.into(),
            order: Order::C,
            overwrite: false,
            reserve: 0,
        }
    }

    /// Sets which axis varies fastest: the last ([`Order::C`]) or the first ([`Order::F`]).
    ///
    /// ```
    /// # use mapcall_array::{CreateOptions, DType, layout::Order};
    /// # let dir = tempfile::tempdir()?;
    /// let options = CreateOptions::new(DType::U8, [2, 3]).order(Order::F);
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { options.create(dir.path().join("a.npy"))? };
    /// assert_eq!(array.strides(), [1, 2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Sets whether an existing file is replaced. By default, an existing file is an error.
    ///
    /// The new file gets the owner, group, permissions, ACL, extended attributes and flags of the old file,
    /// but no set-user-ID or set-group-ID bits. The old file is written in place if it has several hard
    /// links, if it belongs to another user, or if its folder permits no new file or no rename.
    ///
    /// See [`CreateOptions`] for an example.
    #[must_use]
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Sets the number of rows for which addresses are reserved: see
    /// [`MapOptions::reserve`](crate::MapOptions::reserve).
    #[must_use]
    pub fn reserve(mut self, rows: usize) -> Self {
        self.reserve = rows;
        self
    }

    /// Creates a `.npy` file of zeros, and maps it for writing (mode `w+`).
    ///
    /// See [`CreateOptions`] for an example.
    ///
    /// The disk space is allocated first. The file gets its name when it is complete, so that after an error
    /// an old file of that name is unchanged. Before it replaces an old file, the new file is synced to the
    /// disk, so that after a power failure the name leads to the old or to the new file, and both are
    /// complete. The name itself is not synced. Elements written through the map are on the disk after
    /// [`flush`](Array::flush).
    ///
    /// A file that is written in place is zeroed without becoming shorter than the old or the new array. If
    /// the process is killed or the power fails meanwhile, the file is neither the old nor the new array.
    ///
    /// # Safety
    ///
    /// No code may make the file shorter while the array or a view of it exists, and no other code may write
    /// the bytes of a typed view while it exists: see [`MapOptions::map`](crate::MapOptions::map).
    ///
    /// # Errors
    ///
    /// [`MapError::Exists`](crate::map::MapError::Exists) if a file has the path and
    /// [`overwrite`](Self::overwrite) is not set; [`Error::Format`] if a `.npy` header can't express the
    /// dtype or if the size of the array in bytes overflows; [`Error::Io`] if the disk is full or the system
    /// can't create the file.
    pub unsafe fn create(&self, path: impl AsRef<Path>) -> Result<Array> {
        let path = path.as_ref();
        let header = self.header(path)?;
        let target = Target::find(path, self.overwrite)?;
        let begun = target.begin();
        let Some(file) = begun.map_err(|source| io_error("create", Some(path), source))? else {
            // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
            // a typed view.
            return unsafe { create_in_place(&target, path, &header, self.reserve) };
        };
        let file = NewFile::begin(file, target, path, header)?;
        // The file is mapped once before it gets its name, so that an error of the map leaves the old file.
        let source = Source::new(file.file.file(), Some(path))?;
        // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
        // a typed view.
        drop(unsafe { map_new(&source, Mode::Write, &file.header, self.reserve) }?);
        // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
        // a typed view.
        unsafe { file.persist()?.map_reserving(Mode::Write, self.reserve) }
    }

    fn header(&self, path: &Path) -> Result<Header> {
        let header = Header::new(self.dtype.clone(), &self.shape, self.order);
        header.map_err(|source| Error::Format {
            path: path.to_path_buf(),
            source,
        })
    }
}

/// Overwrites the existing file in place with an array of zeros, and maps it.
///
/// # Safety
///
/// No code may make the file shorter while the array or a view of it exists, and no other code may write
/// the bytes of a typed view while it exists: see [`CreateOptions::create`].
unsafe fn create_in_place(
    target: &Target,
    path: &Path,
    header: &Header,
    reserve: usize,
) -> Result<Array> {
    let Some(old) = target.old() else {
        return Err(refused(path, io::ErrorKind::NotFound.into()));
    };
    let mut source = Source::new(old, Some(path))?;
    let (old_len, end) = (source.len, header.end());
    let bytes = header_bytes(header, path)?;
    let made = (|| {
        // All calls that may fail for lack of space or memory run before the first byte is overwritten.
        take_space(old, old_len, end).map_err(|error| source.io_error("allocate", error))?;
        if old_len < end {
            source.set_len(end)?;
        }
        // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
        // a typed view.
        unsafe { map_new(&source, Mode::Write, header, reserve) }
    })();
    if made.is_err() && Source::new(old, Some(path)).is_ok_and(|now| now.len > old_len) {
        // An error of this call is ignored, as the first error is reported.
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

/// Maps a new file.
///
/// # Safety
///
/// No code may make the file shorter while the array or a view of it exists, and no other code may write
/// the bytes of a typed view while it exists: see [`CreateOptions::create`].
unsafe fn map_new(
    source: &Source<'_>,
    mode: Mode,
    header: &Header,
    reserve: usize,
) -> Result<Array> {
    let placed = Placed {
        header,
        offset: header.data_offset(),
        container: Container::Npy,
        reserve,
    };
    // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
    // a typed view.
    unsafe { map_placed(source, mode, &placed) }
}

fn header_bytes(header: &Header, path: &Path) -> Result<Vec<u8>> {
    header.to_bytes().map_err(|source| Error::Format {
        path: path.to_path_buf(),
        source,
    })
}

/// Allocates the disk space of a file up to `end`. On a file system without `fallocate`, zeros are written
/// from `old_len` on.
fn take_space(file: &File, old_len: u64, end: u64) -> io::Result<()> {
    if sys::reserve(file, 0, end)? {
        return Ok(());
    }
    write_zeros(file, old_len, end)?;
    // Some file systems report a full disk only when the data is synced.
    file.sync_data()
}

/// A `.npy` file that is being written, and gets its name when it is complete.
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
/// // SAFETY: no other code writes or shortens the temporary file.
/// let array = unsafe { written.map(Mode::Read)? };
/// assert_eq!(array.view::<u8>()?[[600]], 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Its disk space is allocated first. If it is dropped before [`persist`](Self::persist), no file remains. If
/// the process is killed, no file remains on file systems with unnamed files (`O_TMPFILE`). An old file of
/// the same name is unchanged until `persist`.
#[derive(Debug)]
pub struct NewFile {
    file: Unnamed,
    target: Target,
    is_copied: bool,
    path: PathBuf,
    header: Header,
}

impl NewFile {
    /// Creates a file of zeros without a name. [`persist`](Self::persist) replaces an existing file of the
    /// name, or copies the new bytes into it in the cases listed at [`CreateOptions::overwrite`].
    ///
    /// # Errors
    ///
    /// Those of [`CreateOptions::create`].
    pub fn create(
        path: impl AsRef<Path>,
        dtype: DType,
        shape: &[usize],
        order: Order,
    ) -> Result<Self> {
        let path = path.as_ref();
        let header = CreateOptions::new(dtype, shape).order(order).header(path)?;
        let target = Target::find(path, true)?;
        let (file, is_copied) = Self::unnamed(&target, path)?;
        Self::allocate(file, target, is_copied, path, header)
    }

    /// Creates an empty file without a name; returns also whether its bytes will be copied into the old file,
    /// which no other file can replace.
    pub(super) fn unnamed(target: &Target, path: &Path) -> Result<(Unnamed, bool)> {
        let io = |source| io_error("create", Some(path), source);
        match target.begin().map_err(io)? {
            Some(file) => Ok((file, false)),
            None => Ok((target.begin_copy().map_err(io)?, true)),
        }
    }

    /// Allocates the disk space of a file from [`unnamed`](Self::unnamed), and writes the header.
    pub(super) fn allocate(
        file: Unnamed,
        target: Target,
        is_copied: bool,
        path: &Path,
        header: Header,
    ) -> Result<Self> {
        if is_copied {
            let reserved = target.reserve(header.end());
            reserved.map_err(|source| io_error("allocate", Some(path), source))?;
        }
        let mut file = Self::begin(file, target, path, header)?;
        file.is_copied = is_copied;
        Ok(file)
    }

    /// Gives the file a temporary name in the folder in which it was created, and returns it. Dropping it
    /// doesn't remove the name.
    pub(super) fn name_temporarily(mut self, name: &OsStr) -> io::Result<File> {
        let folder = Arc::clone(self.file.folder());
        self.file.persist(&folder, name, false)?;
        Ok(self.file.into_file())
    }

    /// Creates a file like [`create`](Self::create), but with a header that need not be NumPy's, and does
    /// not replace a file: [`persist`](Self::persist) fails with [`MapError::Exists`] if there is one.
    ///
    /// [`MapError::Exists`]: crate::map::MapError::Exists
    pub(super) fn create_new(path: &Path, header: Header, bytes: &[u8]) -> Result<Self> {
        let io = |source| io_error("create", Some(path), source);
        let target = Target::find(path, false)?;
        let file = target.begin().map_err(io)?;
        let file = file.ok_or_else(|| refused(path, io::ErrorKind::NotFound.into()))?;
        let file = Self::begin(file, target, path, header)?;
        sys::write_at(file.file.file(), bytes, 0).map_err(io)?;
        Ok(file)
    }

    /// Returns the open file.
    pub(super) fn file(&self) -> &File {
        self.file.file()
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
            // The path is made absolute, as the working directory may change before it is used again.
            path: path::absolute(path).map_err(io("create"))?,
            header,
        })
    }

    /// Returns the absolute path that the file will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the existing file that has the path until [`persist`](Self::persist).
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

    /// Returns the layout of the elements.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        self.header.layout()
    }

    /// Returns whether [`persist`](Self::persist) syncs the data to the disk, because the file replaces
    /// another one.
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

    /// Writes bytes of the array's data from byte `offset` of the data on. Several threads may write at once.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the bytes reach past the end of the data, or if the system can't write them.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let io = |source| io_error("write", Some(&self.path), source);
        let end = offset.checked_add(bytes.len());
        if end.is_none_or(|end| end > self.header.nbytes()) {
            return Err(io(io::ErrorKind::InvalidInput.into()));
        }
        let offset = self.header.data_offset() + offset as u64;
        sys::write_at(self.file.file(), bytes, offset).map_err(io)
    }

    /// Starts to write a range of the data to the disk, and returns without waiting for it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system can't write the range.
    pub fn write_back(&self, range: Range<usize>) -> Result<()> {
        let start = self.header.data_offset() + range.start as u64;
        sys::write_back(self.file.file(), start, range.len() as u64)
            .map_err(|source| io_error("write back", Some(&self.path), source))
    }

    /// Waits until the bytes of a range of the data are on the disk. The metadata of the file may still be in
    /// memory only, so that [`sync`](Self::sync) is needed, too; it then has few bytes to write.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system can't write the range.
    pub fn wait_for(&self, range: Range<usize>) -> Result<()> {
        let start = self.header.data_offset() + range.start as u64;
        sys::wait_for(self.file.file(), start, range.len() as u64)
            .map_err(|source| io_error("write back", Some(&self.path), source))
    }

    /// Advises the system to remove a range of the data from its cache (`POSIX_FADV_DONTNEED`). Bytes that
    /// are not on the disk yet stay in the cache.
    pub fn forget(&self, range: Range<usize>) {
        let start = self.header.data_offset() + range.start as u64;
        sys::forget(self.file.file(), start, range.len() as u64);
    }

    /// Waits until all data is on the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system can't write the data.
    pub fn sync(&self) -> Result<()> {
        let synced = self.file.file().sync_data();
        synced.map_err(|source| io_error("sync", Some(&self.path), source))
    }

    /// Gives the file its name. An old file of that name is replaced after this one is on the disk. If the
    /// old file can't be replaced, the new bytes are copied into it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system can't sync, rename or copy the file. After an error of the copy, the old
    /// file may have some of the new bytes.
    pub fn persist(self) -> Result<WrittenFile> {
        self.persist_with(|_, _| Ok(()))
    }

    /// Gives the file its name, and waits until the data and the name are on the disk.
    ///
    /// # Errors
    ///
    /// Those of [`persist`](Self::persist). After an error of the last sync, the file has its name already.
    pub fn persist_durably(self) -> Result<WrittenFile> {
        if !self.is_copied {
            self.sync()?;
        }
        self.persist_with(|file, target| {
            // The file is the old one if the bytes were copied, which no sync has written yet.
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

    /// Returns whether this file and another one will be the same file after [`persist`](Self::persist).
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        self.target.is(&other.target)
    }
}

/// A `.npy` file that has been written and is still open. It stays the same file even if another file gets
/// its name.
///
/// See [`NewFile`] for an example.
#[derive(Debug)]
pub struct WrittenFile {
    file: File,
    path: PathBuf,
    header: Header,
}

impl WrittenFile {
    pub(super) fn new(file: File, path: PathBuf, header: Header) -> Self {
        Self { file, path, header }
    }

    /// Returns the open file and its absolute path.
    pub(super) fn into_parts(self) -> (File, PathBuf) {
        (self.file, self.path)
    }

    /// Maps the array.
    ///
    /// # Safety
    ///
    /// No code may make the file shorter while the array or a view of it exists, and no other code may write
    /// the bytes of a typed view while it exists: see [`MapOptions::map`](crate::MapOptions::map).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system can't map the file.
    pub unsafe fn map(&self, mode: Mode) -> Result<Array> {
        // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
        // a typed view.
        unsafe { self.map_reserving(mode, 0) }
    }

    /// Like [`map`](Self::map), with addresses reserved for a number of rows.
    ///
    /// # Safety
    ///
    /// The conditions of [`map`](Self::map).
    unsafe fn map_reserving(&self, mode: Mode, reserve: usize) -> Result<Array> {
        let source = Source::new(&self.file, Some(&self.path))?;
        // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
        // a typed view.
        unsafe { map_new(&source, mode, &self.header, reserve) }
    }
}
