//! The destination of a new file: a free name, a file that is replaced, or a file that is written in resolved.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Seek};
use std::path::Path;
use std::sync::Arc;

use super::unnamed::Unnamed;
use crate::error::{Error, Result};
use crate::map::{MapError, Source, io_error, map_error};
use crate::sys::{self, Folder, ResolvedPath};

/// Returns whether a path ends in `.npy`, or is a link to a file whose name does.
///
/// ```
/// use std::path::Path;
///
/// assert!(mapcall_array::is_npy_name(Path::new("x.npy")));
/// assert!(!mapcall_array::is_npy_name(Path::new("x.raw")));
/// ```
#[must_use]
pub fn is_npy_name(path: &Path) -> bool {
    let is_npy = |path: &Path| path.extension() == Some(OsStr::new("npy"));
    let target = || fs::canonicalize(path).or_else(|_| fs::read_link(path));
    is_npy(path) || target().is_ok_and(|target| is_npy(&target))
}

/// The destination of a new file.
#[derive(Debug)]
pub(super) struct Target {
    resolved: ResolvedPath,
    overwrites: bool,
}

impl Target {
    /// Resolves a path. An existing file must be a regular file that this process may write, and `overwrites`
    /// must be set.
    pub(super) fn find(path: &Path, overwrites: bool) -> Result<Self> {
        let resolved = sys::find(path).map_err(|source| io_error("create", Some(path), source))?;
        if let Some(file) = &resolved.file {
            Source::new(file, Some(path))?;
            if !overwrites {
                return Err(map_error(Some(path), MapError::Exists));
            }
        }
        Ok(Self {
            resolved,
            overwrites,
        })
    }

    /// Returns the existing file.
    pub(super) fn old(&self) -> Option<&File> {
        self.resolved.file.as_ref()
    }

    /// Creates an unnamed file that can replace the old one, with the owner, permissions and attributes of
    /// the old one; `None` if there can be no such file, so that the old one must be written in resolved.
    pub(super) fn begin(&self) -> io::Result<Option<Unnamed>> {
        let Some((folder, name)) = &self.resolved.name else {
            return Ok(None);
        };
        let Some(old) = &self.resolved.file else {
            return Unnamed::create(folder).map(Some);
        };
        if sys::has_other_names(old)? || !folder.may_replace(name) {
            return Ok(None);
        }
        let file = match Unnamed::create(folder) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            file => file?,
        };
        let is_alike = sys::copy_attributes(old, file.file()).is_ok();
        Ok(is_alike.then_some(file))
    }

    /// Allocates the disk space for a copy into the old file. If the file system has no `fallocate`, the disk
    /// may be full in the middle of the copy, and the old file then has both old and new bytes.
    pub(super) fn reserve(&self, len: u64) -> io::Result<()> {
        let Some(old) = self.old() else {
            return Ok(());
        };
        let modified = old.metadata()?.modified()?;
        sys::reserve(old, 0, len)?;
        // `fallocate` changes the modification time although no byte has changed; only the owner can reset
        // it.
        drop(old.set_modified(modified));
        Ok(())
    }

    /// Creates an unnamed file for the bytes to be copied into the old file: in the folder of the old file,
    /// or, if that fails, in the system's folder for temporary files.
    pub(super) fn begin_copy(&self) -> io::Result<Unnamed> {
        let beside = self.resolved.name.as_ref();
        match beside.map(|(folder, _)| Unnamed::create(folder)) {
            Some(Ok(file)) => Ok(file),
            _ => Unnamed::create(&Arc::new(Folder::open(&env::temp_dir())?)),
        }
    }

    /// Gives a file its name, and returns it. If the old file still has the name, and `is_copied` is set or
    /// the old file can't be replaced, copies the bytes into the old file, and returns the old file.
    pub(super) fn persist(&self, mut file: Unnamed, is_copied: bool) -> io::Result<File> {
        let Some((folder, name)) = &self.resolved.name else {
            return self.copy(&file);
        };
        let is_old = |old| folder.has(name, old);
        let has_old = self.old().map_or(Ok(false), is_old)?;
        if is_copied && has_old {
            return self.copy(&file);
        }
        match file.persist(folder, name, self.overwrites) {
            Ok(()) => Ok(file.into_file()),
            // Another process has removed the temporary name: the file is not wanted any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            // The permissions of the folder may have changed since `begin`.
            Err(_) if has_old => self.copy(&file),
            Err(error) => Err(error),
        }
    }

    /// Copies the bytes of a file into the old file, and returns the old file.
    fn copy(&self, file: &Unnamed) -> io::Result<File> {
        let old = self.old().ok_or(io::ErrorKind::NotFound)?;
        let (mut from, mut to) = (file.file(), old);
        sys::drop_set_id(old)?;
        from.rewind()?;
        to.rewind()?;
        let len = io::copy(&mut from, &mut to)?;
        old.set_len(len)?;
        old.try_clone()
    }

    /// Waits until the name in the folder is on the disk.
    pub(super) fn sync_name(&self) -> io::Result<()> {
        let name = self.resolved.name.as_ref();
        name.map_or(Ok(()), |(folder, _)| folder.sync())
    }

    /// Returns whether two targets are the same existing file, or the same name in the same folder.
    pub(super) fn is(&self, other: &Self) -> bool {
        let is_file = match (&self.resolved.file, &other.resolved.file) {
            (Some(file), Some(other)) => sys::is_same_file(file, other),
            _ => false,
        };
        let is_name = match (&self.resolved.name, &other.resolved.name) {
            (Some((folder, name)), Some((other, other_name))) => {
                name == other_name && folder.is(other)
            }
            _ => false,
        };
        is_name || is_file
    }
}

/// Returns the error of a failed `persist`: [`MapError::Exists`] if another process has created a file of the
/// name.
pub(super) fn refused(path: &Path, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::AlreadyExists {
        return map_error(Some(path), MapError::Exists);
    }
    io_error("create", Some(path), source)
}
