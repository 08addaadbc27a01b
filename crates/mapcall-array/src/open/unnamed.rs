//! Files that have no name until they are whole.

use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::sync::Arc;

use crate::sys::Folder;

/// A new file in the folder of its later name, with the permissions of any new file.
///
/// Dropped, it is gone. Without any name it is gone with the process, too, even one that is killed.
#[derive(Debug)]
pub(super) struct Unnamed {
    file: File,
    /// Where the system or the file system knows only files with names.
    hidden: Option<HiddenName>,
}

impl Unnamed {
    pub(super) fn create(folder: &Arc<Folder>) -> io::Result<Self> {
        match folder.create_nameless() {
            Ok(file) => Ok(Self { file, hidden: None }),
            // Whatever else is wrong with the folder, the other way says so.
            Err(_) => Self::create_hidden(folder),
        }
    }

    fn create_hidden(folder: &Arc<Folder>) -> io::Result<Self> {
        let (file, hidden) = HiddenName::make(folder, |name| folder.create(name))?;
        let hidden = Some(hidden);
        Ok(Self { file, hidden })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives it a name in the folder that it was made in. A file that has the name loses it, or is the
    /// reason for an error.
    pub(super) fn persist(
        &mut self,
        folder: &Arc<Folder>,
        name: &OsStr,
        overwrites: bool,
    ) -> io::Result<()> {
        // Nothing stays behind if the process is killed between two steps: there is only one.
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
        // After a power failure, the name must not lead to less than what the other file had.
        self.file.sync_data()?;
        let hidden = match self.hidden.take() {
            Some(hidden) => hidden,
            // No link takes the name of another file, but a file that has a name can.
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

/// A name that a file has until it gets its own; dropped, it is removed.
#[derive(Debug)]
struct HiddenName {
    folder: Arc<Folder>,
    name: OsString,
    is_kept: bool,
}

impl HiddenName {
    /// Makes something by a name that no file has.
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

    /// The file has its own name.
    fn forget(mut self) {
        self.is_kept = true;
    }
}

impl Drop for HiddenName {
    fn drop(&mut self) {
        if !self.is_kept {
            // What can't be removed stays: no error is left to report it with.
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
    fn both_kinds_have_a_name_when_they_are_whole() {
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
            // A new file's permissions are the same, however it comes to be.
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
