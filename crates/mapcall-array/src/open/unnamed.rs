//! Files that have no name until they are whole.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use tempfile::{Builder, NamedTempFile};

use crate::sys;

/// A new file in the folder of its later name, with the permissions of any new file.
///
/// Dropped, it is gone.
#[derive(Debug)]
pub(super) enum Unnamed {
    /// Without any name: it is gone with the process, too, even one that is killed.
    Nameless(File),
    /// Under a hidden name, where the system or the file system knows only files with names.
    Hidden(NamedTempFile),
}

impl Unnamed {
    pub(super) fn create(target: &Path) -> io::Result<Self> {
        // Whatever else is wrong with the folder, the other way says so.
        sys::create_nameless(folder(target))
            .map(Self::Nameless)
            .or_else(|_| Self::create_hidden(target))
    }

    fn create_hidden(target: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        // Those of a temporary file would be for its owner alone.
        let hidden = hidden().make_in(folder(target), |path| options.open(path))?;
        Ok(Self::Hidden(hidden))
    }

    pub(super) fn file(&self) -> &File {
        match self {
            Self::Nameless(file) => file,
            Self::Hidden(file) => file.as_file(),
        }
    }

    /// Gives it the name that it was made for, which another file may have until then.
    pub(super) fn persist(self, target: &Path) -> io::Result<()> {
        match self {
            // No link takes the name of another file, but a file that has a name can.
            Self::Nameless(file) => hidden()
                .make_in(folder(target), |path| sys::name(&file, path))?
                .persist(target)
                .map(drop)?,
            Self::Hidden(file) => file.persist(target).map(drop)?,
        }
        Ok(())
    }
}

fn folder(target: &Path) -> &Path {
    target.parent().unwrap_or(Path::new("."))
}

fn hidden() -> Builder<'static, 'static> {
    let mut builder = Builder::new();
    builder.prefix(".mapcall-").suffix(".partial");
    builder
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

    use std::fs;
    use std::io::Write;

    use super::*;

    type Create = fn(&Path) -> io::Result<Unnamed>;

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn both_ways_name_it_when_it_is_whole() {
        for create in [Unnamed::create as Create, Unnamed::create_hidden] {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("a");
            for text in ["first", "second"] {
                let before = names(folder.path());
                drop(create(&target).unwrap());
                assert_eq!(names(folder.path()), before, "dropped, it is gone");

                let file = create(&target).unwrap();
                let hidden = matches!(file, Unnamed::Hidden(_));
                assert_eq!(names(folder.path()), before + usize::from(hidden));
                file.file().write_all(text.as_bytes()).unwrap();
                file.persist(&target).unwrap();
                assert_eq!(fs::read_to_string(&target).unwrap(), text);
                assert_eq!(names(folder.path()), 1);
            }
            // A new file's permissions are the same, however it comes to be.
            let plain = folder.path().join("plain");
            let permissions = File::create(&plain)
                .unwrap()
                .metadata()
                .unwrap()
                .permissions();
            assert_eq!(fs::metadata(&target).unwrap().permissions(), permissions);
        }
    }

    #[test]
    fn a_folder_that_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let error = Unnamed::create(&folder.path().join("none/a")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_name_that_a_folder_has() {
        for create in [Unnamed::create as Create, Unnamed::create_hidden] {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("a");
            fs::create_dir(&target).unwrap();
            create(&target).unwrap().persist(&target).unwrap_err();
            assert_eq!(names(folder.path()), 1, "nothing but the folder");
        }
    }
}
