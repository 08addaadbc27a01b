use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use super::open;

/// A folder by its path.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Place {
    /// The folder and the name in it, behind all links.
    pub(crate) name: Option<(Arc<Folder>, OsString)>,
    /// The file that is there, open for reading and writing.
    pub(crate) file: Option<File>,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        fs::read_dir(path)?;
        path::absolute(path).map(Self)
    }

    /// Whether a name is that of an open file: nothing tells files apart.
    pub(crate) fn has(&self, name: &OsStr, _: &File) -> io::Result<bool> {
        self.0.join(name).try_exists()
    }

    /// Whether two are one folder.
    pub(crate) fn is(&self, other: &Self) -> bool {
        matches!(
            (fs::canonicalize(&self.0), fs::canonicalize(&other.0)),
            (Ok(one), Ok(other)) if one == other
        )
    }

    /// Every file has a name.
    #[expect(clippy::unused_self, reason = "other systems have such files")]
    pub(crate) fn create_nameless(&self) -> io::Result<File> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Makes a file by a name that no file has.
    pub(crate) fn create(&self, name: &OsStr) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        options.open(self.0.join(name))
    }

    #[expect(clippy::unused_self, reason = "other systems have such files")]
    pub(crate) fn link(&self, _: &File, _: &OsStr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Changes a name to one that no file has, which is taken first.
    pub(crate) fn rename_to_free(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        drop(self.create(to)?);
        self.rename(from, to).inspect_err(|_| drop(self.remove(to)))
    }

    /// Changes a name to one that another file may have, which loses it.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    /// Renaming says so itself.
    #[expect(clippy::unused_self, reason = "other systems know before")]
    pub(crate) fn may_replace(&self, _: &OsStr) -> bool {
        true
    }

    /// Names go to the disk with their files.
    #[expect(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "other systems wait for them"
    )]
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Finds where a path leads.
pub(crate) fn find(path: &Path) -> io::Result<Place> {
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
    Ok(Place { name, file })
}

/// Where a name leads, also when nothing is there yet.
fn followed(path: &Path) -> PathBuf {
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

/// Nothing tells files apart.
pub(crate) fn is_same_file(_: &File, _: &File) -> bool {
    false
}

/// Other names of a file are not known.
pub(crate) fn has_other_names(_: &File) -> io::Result<bool> {
    Ok(false)
}

/// Of what a file has beside its content, its permissions are all that is known.
pub(crate) fn copy_attributes(old: &File, new: &File) -> io::Result<()> {
    new.set_permissions(old.metadata()?.permissions())
}

pub(crate) fn drop_set_id(_: &File) -> io::Result<()> {
    Ok(())
}
