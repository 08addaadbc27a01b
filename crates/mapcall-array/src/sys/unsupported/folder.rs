//! Names in folders, and the replacement of a file by another one.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use super::open;

/// The absolute path of a folder.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

/// The file and the name that a path resolves to.
#[derive(Debug)]
pub(crate) struct ResolvedPath {
    /// The folder and the name in it, with all symbolic links resolved.
    pub(crate) name: Option<(Arc<Folder>, OsString)>,
    /// The existing file, open for reading and writing.
    pub(crate) file: Option<File>,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        fs::read_dir(path)?;
        path::absolute(path).map(Self)
    }

    /// Returns whether a file has the name; whether it is the open file is not known on this system.
    pub(crate) fn has(&self, name: &OsStr, _: &File) -> io::Result<bool> {
        self.0.join(name).try_exists()
    }

    /// Returns whether two folders are the same.
    pub(crate) fn is(&self, other: &Self) -> bool {
        matches!(
            (fs::canonicalize(&self.0), fs::canonicalize(&other.0)),
            (Ok(one), Ok(other)) if one == other
        )
    }

    /// Returns a path of the folder.
    #[expect(clippy::unnecessary_wraps, reason = "other systems ask the kernel")]
    pub(crate) fn path(&self) -> io::Result<PathBuf> {
        Ok(self.0.clone())
    }

    /// Returns an error, as every file has a name on this system.
    #[expect(clippy::unused_self, reason = "other systems have such files")]
    pub(crate) fn create_nameless(&self) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Creates a file; no file may have the name yet.
    pub(crate) fn create(&self, name: &OsStr) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        options.open(self.0.join(name))
    }

    #[expect(clippy::unused_self, reason = "other systems have such files")]
    pub(crate) fn link(&self, _: &File, _: &OsStr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Renames a file; no file may have the new name yet. An empty file takes the new name, and is then
    /// replaced.
    pub(crate) fn rename_to_free(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        drop(self.create(to)?);
        self.rename(from, to).inspect_err(|_| drop(self.remove(to)))
    }

    /// Renames a file; a file that has the new name is replaced.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    /// Returns `true`; if the file can't be replaced, renaming fails.
    #[expect(clippy::unused_self, reason = "other systems know before")]
    pub(crate) fn may_replace(&self, _: &OsStr) -> bool {
        true
    }

    /// Does nothing; on this system, names are synced with their files.
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "other systems wait for them"
    )]
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Resolves a path.
pub(crate) fn find(path: &Path) -> io::Result<ResolvedPath> {
    let path = followed(path);
    let mut options = OpenOptions::new();
    let file = match open(options.read(true).write(true), &path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        file => Some(file?),
    };
    let name = path.file_name().ok_or(io::ErrorKind::NotFound)?.to_owned();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => Folder::open(folder)?,
        _ => Folder::open(Path::new("."))?,
    };
    let name = Some((Arc::new(folder), name));
    Ok(ResolvedPath { name, file })
}

/// Resolves the symbolic links of a path, also if their target does not exist yet.
fn followed(path: &Path) -> PathBuf {
    const MAX_LINKS: usize = 40;
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        let Ok(link) = fs::read_link(&path) else {
            break;
        };
        path = path.parent().unwrap_or(Path::new("")).join(link);
    }
    path
}

/// Returns `false`, as no identity of a file is known on this system.
pub(crate) fn is_same_file(_: &File, _: &File) -> bool {
    false
}

/// Returns `false`, as the number of hard links is not known on this system.
pub(crate) fn has_other_names(_: &File) -> io::Result<bool> {
    Ok(false)
}

/// Copies the permissions of a file to a new one; other attributes are not known on this system.
pub(crate) fn copy_attributes(old: &File, new: &File) -> io::Result<()> {
    new.set_permissions(old.metadata()?.permissions())
}

pub(crate) fn drop_set_id(_: &File) -> io::Result<()> {
    Ok(())
}
