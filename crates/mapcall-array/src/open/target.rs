//! The file that a new one becomes: none yet, one that is replaced, or one that is written in place.

use std::env;
use std::fs::File;
use std::io::{self, Seek};
use std::path::Path;
use std::sync::Arc;

use super::unnamed::Unnamed;
use crate::error::{Error, Result};
use crate::map::{MapError, Source, io_error, map_error};
use crate::sys::{self, Folder, Place};

/// Where a new file goes.
#[derive(Debug)]
pub(super) struct Target {
    place: Place,
    overwrites: bool,
}

impl Target {
    /// Finds where a path leads. A file that is there must be a regular one that may be written, and that
    /// is to be overwritten.
    pub(super) fn find(path: &Path, overwrites: bool) -> Result<Self> {
        let place = sys::find(path).map_err(|source| io_error("create", Some(path), source))?;
        if let Some(file) = &place.file {
            Source::new(file, Some(path))?;
            if !overwrites {
                return Err(map_error(Some(path), MapError::Exists));
            }
        }
        Ok(Self { place, overwrites })
    }

    /// The file that is there.
    pub(super) fn old(&self) -> Option<&File> {
        self.place.file.as_ref()
    }

    /// Begins a file that can take the name, and has all that the old one has beside its content; `None`
    /// where there can be no such file, so that the old one is to be written in place.
    pub(super) fn begin(&self) -> io::Result<Option<Unnamed>> {
        let Some((folder, name)) = &self.place.name else {
            return Ok(None);
        };
        let Some(old) = &self.place.file else {
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

    /// Takes the disk space for what is to be copied into the old one. Where the file system can't, the
    /// copy may fail, and leave a mixture.
    pub(super) fn reserve(&self, len: u64) -> io::Result<()> {
        let Some(old) = self.old() else {
            return Ok(());
        };
        let modified = old.metadata()?.modified()?;
        sys::reserve(old, 0, len)?;
        // No byte has changed. Only the owner may say so.
        drop(old.set_modified(modified));
        Ok(())
    }

    /// Begins a file for what is to be copied into the old one: in its folder, or where files without
    /// a place of their own belong.
    pub(super) fn begin_copy(&self) -> io::Result<Unnamed> {
        let beside = self.place.name.as_ref();
        match beside.map(|(folder, _)| Unnamed::create(folder)) {
            Some(Ok(file)) => Ok(file),
            _ => Unnamed::create(&Arc::new(Folder::open(&env::temp_dir())?)),
        }
    }

    /// Gives a file its name, or copies it into the old one, if that has the name and is to be written in
    /// place or can't be replaced. Returns the file that the path leads to.
    pub(super) fn persist(&self, mut file: Unnamed, is_copied: bool) -> io::Result<File> {
        let Some((folder, name)) = &self.place.name else {
            return self.copy(&file);
        };
        let is_old = |old| folder.has(name, old);
        let has_old = self.old().map_or(Ok(false), is_old)?;
        if is_copied && has_old {
            return self.copy(&file);
        }
        match file.persist(folder, name, self.overwrites) {
            Ok(()) => Ok(file.into_file()),
            // The folder's permissions may have changed since.
            Err(_) if has_old => self.copy(&file),
            Err(error) => Err(error),
        }
    }

    /// Copies a file into the old one.
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

    /// Waits until the name is on the disk.
    pub(super) fn sync_name(&self) -> io::Result<()> {
        let name = self.place.name.as_ref();
        name.map_or(Ok(()), |(folder, _)| folder.sync())
    }

    /// Whether another one is the same file, or will be.
    pub(super) fn is(&self, other: &Self) -> bool {
        let is_file = match (&self.place.file, &other.place.file) {
            (Some(file), Some(other)) => sys::is_same_file(file, other),
            _ => false,
        };
        let is_name = match (&self.place.name, &other.place.name) {
            (Some((folder, name)), Some((other, other_name))) => {
                name == other_name && folder.is(other)
            }
            _ => false,
        };
        is_name || is_file
    }
}

/// The error of a file that took the name meanwhile.
pub(super) fn refused(path: &Path, source: io::Error) -> Error {
    if source.kind() == io::ErrorKind::AlreadyExists {
        return map_error(Some(path), MapError::Exists);
    }
    io_error("create", Some(path), source)
}
