use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::StoredFile;

/// A directory that only this user can read and write.
#[derive(Debug)]
pub(crate) struct PrivateDirectory(OwnedFd);

impl PrivateDirectory {
    /// Opens the directory, which is created if it does not exist, with those above it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::PermissionDenied`] if it is a link, belongs to another user, or if others can
    /// use it; the error of the system if it can't be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || rustix::fs::open(path, flags, Mode::empty());
        let directory = match open() {
            Err(rustix::io::Errno::NOENT) => {
                use std::os::unix::fs::DirBuilderExt;
                let mut builder = std::fs::DirBuilder::new();
                builder.recursive(true).mode(0o700).create(path)?;
                open()?
            }
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&directory)?;
        let is_private = stat.st_uid == rustix::process::geteuid().as_raw()
            && Mode::from_raw_mode(stat.st_mode) & (Mode::RWXG | Mode::RWXO) == Mode::empty();
        if is_private {
            Ok(Self(directory))
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }

    /// Reads a file of at most `limit` bytes.
    pub(crate) fn read(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::openat(&self.0, name, flags, Mode::empty())?);
        let length = file.metadata()?;
        if !length.is_file() || length.len() > limit {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length.len()).unwrap_or(0));
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Replaces a file in one step, by a file that is written under a temporary name.
    pub(crate) fn replace(&self, name: &str, temporary: &str, parts: &[&[u8]]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let mut file = File::from(rustix::fs::openat(&self.0, temporary, flags, mode)?);
        let written = parts.iter().try_for_each(|part| file.write_all(part));
        let renamed = written.and_then(|()| {
            rustix::fs::renameat(&self.0, temporary, &self.0, name).map_err(io::Error::from)
        });
        if renamed.is_err() {
            let _ = self.remove(temporary);
        }
        renamed
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Sets the time of modification of a file to now.
    pub(crate) fn touch(&self, name: &str) -> io::Result<()> {
        let now = rustix::fs::Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_NOW,
        };
        let times = rustix::fs::Timestamps {
            last_access: now,
            last_modification: now,
        };
        Ok(rustix::fs::utimensat(
            &self.0,
            name,
            &times,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }

    /// Returns the files.
    pub(crate) fn files(&self) -> io::Result<Vec<StoredFile>> {
        let mut files = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let Ok(stat) = rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
                files.push(StoredFile {
                    name: OsString::from_vec(name.to_bytes().to_vec()),
                    modified: modified(&stat),
                    size: u64::try_from(stat.st_size).unwrap_or(0),
                });
            }
        }
        Ok(files)
    }
}

/// Returns the time of modification in seconds and nanoseconds, whose types depend on the system.
#[allow(clippy::useless_conversion, clippy::unnecessary_fallible_conversions)]
fn modified(stat: &rustix::fs::Stat) -> (i64, i64) {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    (i64::from(stat.st_mtime), nanoseconds)
}
