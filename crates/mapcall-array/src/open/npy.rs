//! Files that say what is in them: opening and creating.

#![allow(unsafe_code)]

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::MapOptions;
use super::unnamed::Unnamed;
use crate::array::Array;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::format::{self, Header, Placement};
use crate::layout::{Layout, Order};
use crate::map::{Map, MapError, Mode, Source, io_error, map_error, open_file};
use crate::sys;

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

/// Makes a `.npy` file of zeros and maps it for writing (mode `w+`).
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
/// The disk space is allocated first, where the file system can; and the file gets its name only
/// when it is whole, so that a file of that name stays untouched when something fails.
///
/// # Safety
///
/// As [`MapOptions::map`].
///
/// # Errors
///
/// [`Error::Format`] for a dtype that a header can't express, [`Error::Layout`] for an absurd
/// shape, [`Error::Io`] when the system refuses or the disk is full.
pub unsafe fn create(
    path: impl AsRef<Path>,
    dtype: DType,
    shape: &[usize],
    order: Order,
) -> Result<Array> {
    let file = NewFile::create(path, dtype, shape, order)?;
    // SAFETY: the caller's promise.
    let array = unsafe { file.map() }?;
    file.persist()?;
    Ok(array)
}

/// A `.npy` file that is being written, and gets its name when it is whole.
///
/// ```
/// use mapcall_array::{DType, MapOptions, NewFile, layout::Order};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("a.npy");
/// let file = NewFile::create(&path, DType::U8, &[1000], Order::C)?;
/// file.write(0, &[1; 600])?;
/// file.write(600, &[2; 400])?;
/// assert!(!path.exists());
/// file.persist()?;
/// // SAFETY: nobody else changes the temporary file.
/// let array = unsafe { MapOptions::new().open(&path)? };
/// assert_eq!(array.view::<u8>()?[[600]], 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Its disk space is allocated first, where the file system can. Dropped before, it leaves nothing;
/// neither does a process that is killed, where the file system knows files without names. A file that
/// had the name stays untouched until another one takes it.
#[derive(Debug)]
pub struct NewFile {
    file: Unnamed,
    target: PathBuf,
    path: PathBuf,
    header: Header,
}

impl NewFile {
    /// Begins a file of zeros.
    ///
    /// # Errors
    ///
    /// As [`create`].
    pub fn create(
        path: impl AsRef<Path>,
        dtype: DType,
        shape: &[usize],
        order: Order,
    ) -> Result<Self> {
        let path = path.as_ref();
        let format = |source| Error::Format {
            path: path.to_path_buf(),
            source,
        };
        let io = |action| move |source| io_error(action, Some(path), source);
        let header = Header::new(dtype, shape, order).map_err(format)?;
        let bytes = header.to_bytes().map_err(format)?;

        let (target, permissions) = target(path)?;
        if target.as_os_str().is_empty() {
            // The system says best that there is no such file.
            fs::metadata(&target).map_err(io("create"))?;
        }
        // It stays there if the process goes to another folder meanwhile.
        let target = std::path::absolute(target).map_err(io("create"))?;
        let file = Unnamed::create(&target).map_err(io("create"))?;
        if let Some(permissions) = permissions {
            let set = file.file().set_permissions(permissions);
            set.map_err(io("create"))?;
        }
        file.file().write_all(&bytes).map_err(io("write"))?;
        sys::allocate(file.file(), header.end()).map_err(io("allocate"))?;
        Ok(Self {
            file,
            target,
            path: path.to_path_buf(),
            header,
        })
    }

    /// The name that it will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where its elements lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        self.header.layout()
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

    /// Maps it for writing, as [`create`] does.
    ///
    /// # Safety
    ///
    /// As [`MapOptions::map`].
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses.
    pub unsafe fn map(&self) -> Result<Array> {
        let source = Source::new(self.file.file(), Some(&self.path))?;
        // SAFETY: the caller's promise.
        unsafe {
            map_placed(
                &source,
                Mode::Write,
                &self.header,
                self.header.data_offset(),
            )
        }
    }

    /// Gives the file its name.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses.
    pub fn persist(self) -> Result<()> {
        let Self {
            file, target, path, ..
        } = self;
        let named = file.persist(&target);
        named.map_err(|source| io_error("create", Some(&path), source))
    }

    /// Gives the file its name, and waits until data and name are on the disk.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the system refuses; the file may have its name then.
    pub fn persist_durably(self) -> Result<()> {
        self.sync()?;
        let (path, folder) = (self.path.clone(), self.target.parent().map(PathBuf::from));
        self.persist()?;
        folder
            .map_or(Ok(()), |folder| sys::sync_folder(&folder))
            .map_err(|source| io_error("sync", Some(&path), source))
    }

    /// Whether another one is to have the same name.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        let place = |file: &Self| {
            let folder = fs::canonicalize(file.target.parent()?).ok()?;
            Some((folder, file.target.file_name()?.to_owned()))
        };
        place(self).is_some_and(|mine| place(other) == Some(mine))
    }
}

/// The file that a new one replaces, behind any links, and the permissions of one that is there.
fn target(path: &Path) -> Result<(PathBuf, Option<Permissions>)> {
    let target = followed(path);
    // What could not be overwritten is not to be replaced either.
    let file = match open_file(&target, Mode::ReadWrite) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok((target, None));
        }
        file => file?,
    };
    let source = Source::new(&file, Some(&target))?;
    let metadata = file
        .metadata()
        .map_err(|error| source.io_error("inspect", error))?;
    let permissions = metadata.permissions();
    Ok((target, Some(permissions)))
}

/// Where a name leads, also when nothing is there yet.
fn followed(path: &Path) -> PathBuf {
    // As many links as Linux follows; opening what remains of a longer chain gives the error.
    const MOST_LINKS: usize = 40;
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        let Ok(link) = fs::read_link(&path) else {
            break;
        };
        path = path.parent().unwrap_or(Path::new("")).join(link);
    }
    path
}

/// Maps the array that a header describes.
///
/// # Safety
///
/// As [`MapOptions::map`].
unsafe fn map_placed(
    source: &Source<'_>,
    mode: Mode,
    header: &Header,
    offset: u64,
) -> Result<Array> {
    // SAFETY: the caller's promise.
    let map = unsafe { Map::new(source, mode, offset, header.nbytes()) }?;
    Array::new(map.into(), header.dtype().clone(), header.layout().clone())
}
