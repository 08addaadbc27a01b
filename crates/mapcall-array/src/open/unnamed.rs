//! Files that have no name until they are complete.

use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::Arc;

use crate::sys::Folder;

/// A new file in the folder of its later name, with the default permissions of new files.
///
/// Dropping it deletes the file. A file without any name (`O_TMPFILE`) is also deleted when the process is
/// killed.
#[derive(Debug)]
pub(super) struct Unnamed {
    file: File,
    folder: Arc<Folder>,
    /// The temporary name, if the system or the file system has no files without names.
    hidden: Option<HiddenName>,
}

impl Unnamed {
    pub(super) fn create(folder: &Arc<Folder>) -> io::Result<Self> {
        match folder.create_nameless() {
            Ok(file) => Ok(Self {
                file,
                folder: Arc::clone(folder),
                hidden: None,
            }),
            // If the folder itself is the reason, `create_hidden` fails with that error, too.
            Err(_) => Self::create_hidden(folder),
        }
    }

    fn create_hidden(folder: &Arc<Folder>) -> io::Result<Self> {
        let (file, hidden) = HiddenName::make(folder, |name| folder.create(name))?;
        Ok(Self {
            file,
            folder: Arc::clone(folder),
            hidden: Some(hidden),
        })
    }

    /// Takes over a file that has a temporary name. Dropping the value doesn't remove it.
    pub(super) fn adopt(file: File, folder: &Arc<Folder>, name: OsString) -> Self {
        let hidden = HiddenName {
            folder: Arc::clone(folder),
            name,
            is_kept: true,
        };
        Self {
            file,
            folder: Arc::clone(folder),
            hidden: Some(hidden),
        }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Returns the folder in which the file was created.
    pub(super) fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    /// Gives the file a name in the folder in which it was created. An existing file of that name is replaced
    /// if `overwrites`, and is an error otherwise.
    pub(super) fn persist(
        &mut self,
        folder: &Arc<Folder>,
        name: &OsStr,
        overwrites: bool,
    ) -> io::Result<()> {
        // A free name is taken with one system call, so that a killed process leaves no temporary name.
        let named = match &self.hidden {
            None => folder.link(&self.file, name),
            Some(hidden) => folder.rename_to_free(&hidden.name, name),
        };
        match named {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && overwrites => {}
            named => {
                named?;
                if let Some(hidden) = self.hidden.take() {
                    hidden.forget();
                }
                return Ok(());
            }
        }
        // The data is synced before the rename, so that after a power failure the name leads to a complete
        // file.
        self.file.sync_data()?;
        let hidden = match self.hidden.take() {
            Some(hidden) => hidden,
            // `linkat` can't replace an existing name, but `rename` can, and it needs a file with a name.
            None => HiddenName::make(folder, |name| folder.link(&self.file, name))?.1,
        };
        folder.rename(&hidden.name, name)?;
        hidden.forget();
        Ok(())
    }

    pub(super) fn into_file(self) -> File {
        self.file
    }
}

/// A temporary name of a file; dropping it removes the name.
#[derive(Debug)]
struct HiddenName {
    folder: Arc<Folder>,
    name: OsString,
    is_kept: bool,
}

impl HiddenName {
    /// Calls `make` with random names until it succeeds with a name that no file has.
    fn make<T>(
        folder: &Arc<Folder>,
        make: impl Fn(&OsStr) -> io::Result<T>,
    ) -> io::Result<(T, Self)> {
        loop {
            let random = RandomState::new().build_hasher().finish();
            let name = OsString::from(format!(".mapcall-{random:016x}.partial"));
            match make(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => {
                    let hidden = Self {
                        folder: Arc::clone(folder),
                        name,
                        is_kept: false,
                    };
                    return Ok((result?, hidden));
                }
            }
        }
    }

    /// Drops the value without removing the name, after the file has been renamed.
    fn forget(mut self) {
        self.is_kept = true;
    }
}

impl Drop for HiddenName {
    fn drop(&mut self) {
        if !self.is_kept {
            // `drop` can't report an error, so a file that can't be removed stays.
            drop(self.folder.remove(&self.name));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use super::*;

    type Create = fn(&Arc<Folder>) -> io::Result<Unnamed>;

    const CREATE: [Create; 2] = [Unnamed::create, Unnamed::create_hidden];

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    fn open(folder: &Path) -> Arc<Folder> {
        Arc::new(Folder::open(folder).unwrap())
    }

    #[test]
    fn both_kinds_get_their_name_when_they_are_complete() {
        for create in CREATE {
            let directory = tempfile::tempdir().unwrap();
            let (path, folder) = (directory.path(), open(directory.path()));
            let target = path.join("a");
            for text in ["first", "second"] {
                let before = names(path);
                drop(create(&folder).unwrap());
                assert_eq!(names(path), before, "dropped, it is gone");

                let mut file = create(&folder).unwrap();
                let is_hidden = file.hidden.is_some();
                assert_eq!(names(path), before + usize::from(is_hidden));
                file.file().write_all(text.as_bytes()).unwrap();
                file.persist(&folder, OsStr::new("a"), true).unwrap();
                assert_eq!(fs::read_to_string(&target).unwrap(), text);
                assert_eq!(names(path), 1);
            }
            // A new file has the same permissions as one made by `File::create`.
            let plain = File::create(path.join("plain")).unwrap();
            let permissions = plain.metadata().unwrap().permissions();
            assert_eq!(fs::metadata(&target).unwrap().permissions(), permissions);
        }
    }

    #[test]
    fn a_name_that_is_taken() {
        for create in CREATE {
            let directory = tempfile::tempdir().unwrap();
            let folder = open(directory.path());
            let target = directory.path().join("a");
            fs::write(&target, "before").unwrap();
            let mut file = create(&folder).unwrap();
            let error = file.persist(&folder, OsStr::new("a"), false).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            drop(file);
            assert_eq!(fs::read_to_string(&target).unwrap(), "before");
            assert_eq!(names(directory.path()), 1);
        }
    }

    #[test]
    fn a_name_that_a_folder_has() {
        for create in CREATE {
            let directory = tempfile::tempdir().unwrap();
            let folder = open(directory.path());
            fs::create_dir(directory.path().join("a")).unwrap();
            let mut file = create(&folder).unwrap();
            file.persist(&folder, OsStr::new("a"), true).unwrap_err();
            drop(file);
            assert_eq!(names(directory.path()), 1, "nothing but the folder");
        }
    }
}
