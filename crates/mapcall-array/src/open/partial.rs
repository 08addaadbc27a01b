//! `.npy` files that several processes write before they get their names.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use super::new_file::{NewFile, WrittenFile};
use super::target::{Target, refused};
use super::unnamed::Unnamed;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::format::Header;
use crate::layout::Order;
use crate::map::{Fingerprint, MapError, Mode, io_error, map_error, open_file};
use crate::sys::Folder;

/// The alignment of the data in the file, in bytes: a page of most systems.
const ALIGN: u64 = 4096;

/// A `.npy` file with a temporary name, which several processes write before one of them gives it its name.
///
/// ```
/// use mapcall_array::{DType, Mode, PartialFile, layout::Order};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("a.npy");
/// let file = PartialFile::begin(&path, DType::U8, &[4], Order::C, 42)?;
/// assert!(!path.exists());
///
/// // Each process has a clone.
/// let mut opened = file.clone().open()?.unwrap();
/// std::io::Seek::seek(&mut opened, std::io::SeekFrom::Start(file.data_offset))?;
/// std::io::Write::write_all(&mut opened, b"abcd")?;
///
/// // SAFETY: no other code writes or shortens the temporary file.
/// let array = unsafe { file.finish(false)?.map(Mode::Read)? };
/// assert_eq!(array.view::<u8>()?[[3]], b'd');
/// assert!(file.open()?.is_none(), "it has its name");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Each step can be repeated, also by another process: [`begin`](Self::begin) with the same token finds the
/// file that it has made, and [`finish`](Self::finish) the file that has got its name. The temporary name
/// stays until `finish` or [`abandon`](Self::abandon), also if all processes are killed.
///
/// An old file of the name is unchanged until `finish`, which replaces it as [`NewFile`] does.
#[derive(Clone, Debug)]
pub struct PartialFile {
    /// The absolute path that the file will have.
    pub path: PathBuf,
    /// The absolute path that it has until then: in the folder of `path`, unless the bytes will be copied.
    pub partial: PathBuf,
    /// Whether the bytes will be copied into the old file, which no other file can replace.
    pub is_copied: bool,
    /// Whether there was an old file that the new one will replace, so that all bytes must be on the disk
    /// before [`finish`](Self::finish).
    pub replaces: bool,
    /// The offset of the data in the file, a multiple of 4096 unless the header is too long for that.
    pub data_offset: u64,
    /// The inode and creation time of the file; its length is that of header and data.
    pub fingerprint: Fingerprint,
}

impl PartialFile {
    /// Creates a file of zeros with a temporary name, and allocates its disk space; or finds the file that
    /// was made with the same token, and leaves its bytes as they are.
    ///
    /// # Errors
    ///
    /// Those of [`NewFile::create`]; [`MapError::Changed`] if the file that was made is shorter than it was.
    pub fn begin(
        path: impl AsRef<Path>,
        dtype: DType,
        shape: &[usize],
        order: Order,
        token: u128,
    ) -> Result<Self> {
        let path = path.as_ref();
        let io = |source| io_error("create", Some(path), source);
        let header = Header::new(dtype, shape, order).map_err(|source| Error::Format {
            path: path.to_path_buf(),
            source,
        })?;
        let header = header.aligned(ALIGN);
        let target = Target::find(path, true)?;
        let (file, is_copied) = NewFile::unnamed(&target, path)?;
        let replaces = target.old().is_some() && !is_copied;
        let name = OsString::from(format!(".mapcall-{token:032x}.partial"));
        // The path is made absolute, as another process has another working directory.
        let path = path::absolute(path).map_err(io)?;
        let partial = path_of(file.folder(), &path).map_err(io)?.join(&name);
        let (data_offset, end) = (header.data_offset(), header.end());

        let found = if let Some(file) = open_if_any(&partial)? {
            file
        } else {
            let file = NewFile::allocate(file, target, is_copied, &path, header)?;
            match file.name_temporarily(&name) {
                // Another process has begun the same file at the same time.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    open_file(&partial, Mode::ReadWrite)?
                }
                file => file.map_err(io)?,
            }
        };
        let mut fingerprint = Fingerprint::of(&found)?;
        if fingerprint.len != end {
            let (what, expected, found) = ("size", end.into(), fingerprint.len.into());
            let changed = MapError::Changed {
                what,
                expected,
                found,
            };
            return Err(map_error(Some(&partial), changed));
        }
        // It changes with each write.
        fingerprint.modified = 0;
        Ok(Self {
            path,
            partial,
            is_copied,
            replaces,
            data_offset,
            fingerprint,
        })
    }

    /// Opens the file for reading and writing; `None` if it has got its name.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if there is no such file: it was abandoned, or is on a disk that this machine does not
    /// have. [`MapError::Changed`] if another file has the temporary name.
    pub fn open(&self) -> Result<Option<File>> {
        match open_file(&self.partial, Mode::ReadWrite) {
            Ok(file) => {
                self.check(&file, &self.partial)?;
                Ok(Some(file))
            }
            Err(error) if is_missing(&error) => self.named()?.map_or(Err(error), |_| Ok(None)),
            Err(error) => Err(error),
        }
    }

    /// Gives the file its name. An old file of that name is replaced after this one is on the disk; or the
    /// bytes are copied into it, and the temporary file stays. With `sync`, waits until the data and the name
    /// are on the disk.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open) and [`NewFile::persist_durably`].
    pub fn finish(&self, sync: bool) -> Result<WrittenFile> {
        let io = |action| move |source| io_error(action, Some(&self.path), source);
        let (file, target) = match self.open()? {
            Some(file) => {
                if sync {
                    file.sync_data().map_err(io("sync"))?;
                }
                let target = Target::find(&self.path, true)?;
                let folder = self.partial.parent().unwrap_or(Path::new("/"));
                let folder = Arc::new(Folder::open(folder).map_err(io("create"))?);
                let name = self.partial.file_name().unwrap_or_default().to_owned();
                let file = Unnamed::adopt(file, &folder, name);
                let named = target.persist(file, self.is_copied);
                let file = named.map_err(|source| refused(&self.path, source))?;
                (file, target)
            }
            None => (
                open_file(&self.path, Mode::Read)?,
                Target::find(&self.path, true)?,
            ),
        };
        if sync {
            // The file is the old one if the bytes were copied, which no sync has written yet.
            file.sync_data().map_err(io("sync"))?;
            target.sync_name().map_err(io("sync"))?;
        }
        io::Seek::rewind(&mut &file).map_err(io("read"))?;
        let header = Header::read(BufReader::new(&file)).map_err(|source| Error::Format {
            path: self.path.clone(),
            source,
        })?;
        Ok(WrittenFile::new(file, self.path.clone(), header))
    }

    /// Removes the temporary name, if the file still has it.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system can't remove it.
    pub fn abandon(&self) -> Result<()> {
        match fs::remove_file(&self.partial) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(|source| io_error("remove", Some(&self.partial), source)),
        }
    }

    /// Opens the file by the name that it will have, if it has it.
    fn named(&self) -> Result<Option<File>> {
        let found = match open_file(&self.path, Mode::Read) {
            Err(error) if is_missing(&error) => return Ok(None),
            found => found?,
        };
        Ok(self.check(&found, &self.path).is_ok().then_some(found))
    }

    fn check(&self, file: &File, path: &Path) -> Result<()> {
        let checked = self
            .fingerprint
            .check(&Fingerprint::of(file)?, Mode::ReadWrite);
        checked.map_err(|error| map_error(Some(path), error))
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

fn open_if_any(path: &Path) -> Result<Option<File>> {
    match open_file(path, Mode::ReadWrite) {
        Err(error) if is_missing(&error) => Ok(None),
        file => file.map(Some),
    }
}

/// Returns a path of a folder: that of an absolute path in it if possible, as the links in it may lead elsewhere
/// on other machines that have the folder.
fn path_of(folder: &Folder, path: &Path) -> io::Result<PathBuf> {
    match path.parent() {
        Some(parent) if Folder::open(parent).is_ok_and(|found| found.is(folder)) => {
            Ok(parent.to_path_buf())
        }
        _ => folder.path(),
    }
}
