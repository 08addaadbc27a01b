//! Files that are about to be mapped: their kind, length and identity.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use super::{MapError, Mode};
use crate::error::{Error, Result};
use crate::sys::{self, FileKind};

/// An open file that can be mapped: a regular file or a device.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a File,
    pub(crate) path: Option<&'a Path>,
    /// The length in bytes; 0 if it is unknown.
    pub(crate) len: u64,
    pub(crate) identity: sys::Identity,
    kind: FileKind,
    /// The size in bytes of a page of the file in memory.
    pub(crate) page: usize,
}

impl<'a> Source<'a> {
    /// Reads the metadata of a file, and refuses a file that is not a regular one.
    pub(crate) fn new(file: &'a File, path: Option<&'a Path>) -> Result<Self> {
        let source = Self::with_devices(file, path)?;
        let kind = match source.kind {
            FileKind::Regular => return Ok(source),
            FileKind::BlockDevice => "block device",
            FileKind::CharacterDevice => "character device",
            FileKind::Other(kind) => kind,
        };
        Err(map_error(path, MapError::NotRegular { kind }))
    }

    /// Like [`new`](Self::new), but accepts devices as well.
    pub(crate) fn with_devices(file: &'a File, path: Option<&'a Path>) -> Result<Self> {
        let inspected = |source| io_error("inspect", path, source);
        let metadata = file.metadata().map_err(inspected)?;
        let kind = sys::kind(metadata.file_type());
        let len = match kind {
            FileKind::Regular => metadata.len(),
            FileKind::BlockDevice => {
                let mut device = file;
                device.seek(SeekFrom::End(0)).map_err(inspected)?
            }
            FileKind::CharacterDevice => 0,
            FileKind::Other(kind) => return Err(map_error(path, MapError::NotRegular { kind })),
        };
        Ok(Self {
            file,
            path,
            len,
            identity: sys::identity(&metadata),
            kind,
            page: sys::page_size_of(file, &metadata),
        })
    }

    /// Returns whether the file is a regular one, whose length can be changed.
    pub(crate) fn is_regular(&self) -> bool {
        self.kind == FileKind::Regular
    }

    /// Returns whether the length of the file is known.
    pub(crate) fn has_len(&self) -> bool {
        self.kind != FileKind::CharacterDevice
    }

    /// Changes the file's length. Added bytes are a hole, which reads as zeros and takes no disk space.
    pub(crate) fn set_len(&mut self, len: u64) -> Result<()> {
        self.file
            .set_len(len)
            .map_err(|source| self.io_error("resize", source))?;
        self.len = len;
        Ok(())
    }

    /// Allocates the disk space for a range of the file.
    pub(crate) fn reserve(&self, start: u64, end: u64) -> Result<()> {
        let reserved = match sys::reserve(self.file, start, end) {
            Ok(false) => Err(sys::unsupported()),
            reserved => reserved.map(drop),
        };
        reserved.map_err(|source| self.io_error("allocate", source))
    }

    /// Sets the first `len` bytes to zero. The file never becomes shorter on the way, so that other maps of
    /// these bytes stay valid. Their disk space is kept if `keeps_space`; otherwise it is freed if the file
    /// system can do so.
    pub(crate) fn clear(&self, len: u64, keeps_space: bool) -> Result<()> {
        let cleared = match sys::clear(self.file, len, keeps_space) {
            Ok(false) => write_zeros(self.file, 0, len),
            cleared => cleared.map(drop),
        };
        cleared.map_err(|source| self.io_error("clear", source))
    }

    pub(crate) fn io_error(&self, action: &'static str, source: io::Error) -> Error {
        io_error(action, self.path, source)
    }

    pub(crate) fn map_error(&self, source: MapError) -> Error {
        map_error(self.path, source)
    }
}

/// Opens an existing regular file with the access that a mode needs, without truncating it.
///
/// ```
/// use mapcall_array::{MapOptions, Mode, map};
///
/// # let named = tempfile::NamedTempFile::new()?;
/// # let path = named.path();
/// std::fs::write(path, [7; 6000])?;
/// let file = map::open_regular(path, Mode::Read)?;
/// // SAFETY: no other code writes or shortens the temporary file.
/// let array = unsafe { MapOptions::new().mode(Mode::Read).map_file(&file, Some(path))? };
/// assert_eq!(array.shape(), [6000]);
///
/// let error = map::open_regular(std::env::temp_dir(), Mode::Read).unwrap_err();
/// assert!(error.to_string().contains("expected a regular file"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A named pipe is refused at once; the call does not wait for its other end.
///
/// # Errors
///
/// [`MapError::NotRegular`] if the file is not a regular one; [`Error::Io`] if the system can't open it.
pub fn open_regular(path: impl AsRef<Path>, mode: Mode) -> Result<File> {
    let path = path.as_ref();
    let file = open_file(path, mode)?;
    Source::new(&file, Some(path))?;
    Ok(file)
}

/// Opens an existing file with the access that a mode needs, without truncating it.
pub(crate) fn open_file(path: &Path, mode: Mode) -> Result<File> {
    let mut options = OpenOptions::new();
    sys::open(options.read(true).write(mode.writes_file()), path)
        .map_err(|source| io_error("open", Some(path), source))
}

/// Opens a file for writing, without truncating it, or creates it; returns whether it was created.
pub(crate) fn create_file(path: &Path) -> Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.clone().create_new(true).open(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // The path may be a symbolic link whose target does not exist yet, so `create` is set.
            let file = sys::open(options.create(true), path);
            let file = file.map_err(|source| io_error("open", Some(path), source))?;
            Ok((file, false))
        }
        Err(source) => Err(io_error("create", Some(path), source)),
    }
}

/// Writes zeros to the bytes from `start` to `end` of a file.
pub(crate) fn write_zeros(file: &File, start: u64, end: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut offset = start;
    while offset < end {
        let count = usize::try_from(end - offset).map_or(ZEROS.len(), |rest| rest.min(ZEROS.len()));
        sys::write_at(file, ZEROS.get(..count).unwrap_or_default(), offset)?;
        offset += count as u64;
    }
    Ok(())
}

pub(crate) fn io_error(action: &'static str, path: Option<&Path>, source: io::Error) -> Error {
    Error::Io {
        action,
        path: path.map(Path::to_path_buf),
        source,
    }
}

pub(crate) fn map_error(path: Option<&Path>, source: MapError) -> Error {
    Error::Map {
        path: path.map(Path::to_path_buf),
        source,
    }
}
