//! The loader: one file for each system, and one for those where only the loader itself is asked.

#[cfg_attr(target_os = "linux", path = "linux/mod.rs")]
#[cfg_attr(not(target_os = "linux"), path = "unsupported.rs")]
mod os;

use std::ffi::{OsStr, c_void};
use std::fs;
use std::mem::ManuallyDrop;
use std::path::{self, Path, PathBuf};

#[cfg(unix)]
use libloading::os::unix as loader;
#[cfg(windows)]
use libloading::os::windows as loader;
use mapcall_array::fork::Foreign;

pub(super) use os::{find, images, is_file_name, path};

/// What the loader gave, which is given back when this is dropped.
pub(super) struct Handle {
    /// Taken when this is dropped.
    library: ManuallyDrop<loader::Library>,
    key: usize,
    is_process: bool,
}

impl Handle {
    /// Has the loader load a library.
    ///
    /// # Safety
    ///
    /// The library's initialisers and terminators must be sound to run.
    pub(super) unsafe fn open(name: &OsStr) -> Result<Self, libloading::Error> {
        // A symbol that is missing ends the process at the first call if it isn't looked up now.
        #[cfg(unix)]
        let flags = loader::RTLD_NOW | loader::RTLD_LOCAL;
        let _section = Foreign::enter();
        // SAFETY: the caller's promise.
        #[cfg(unix)]
        let library = unsafe { loader::Library::open(Some(name), flags) };
        // SAFETY: the caller's promise.
        #[cfg(windows)]
        let library = unsafe { loader::Library::new(name) };
        Ok(Self::new(library?, false))
    }

    /// What is loaded already.
    pub(super) fn process() -> Result<Self, libloading::Error> {
        let _section = Foreign::enter();
        // SAFETY: nothing is loaded, so nothing runs.
        #[cfg(unix)]
        let library = unsafe { loader::Library::open(None::<&OsStr>, loader::RTLD_NOW) };
        #[cfg(windows)]
        let library = loader::Library::this();
        Ok(Self::new(library?, true))
    }

    fn new(library: loader::Library, is_process: bool) -> Self {
        let raw = library.into_raw();
        #[cfg(unix)]
        let key = raw.expose_provenance();
        #[cfg(windows)]
        let key = raw.cast_unsigned();
        Self {
            // SAFETY: `raw` came out of a library that is not closed.
            library: ManuallyDrop::new(unsafe { loader::Library::from_raw(raw) }),
            key,
            is_process,
        }
    }

    /// A number that all handles of this library share, and no other that is loaded.
    pub(super) fn key(&self) -> usize {
        self.key
    }

    pub(super) fn is_process(&self) -> bool {
        self.is_process
    }

    /// The address of a symbol, which may be NULL.
    ///
    /// # Safety
    ///
    /// The resolver of an indirect function must be sound to run.
    pub(super) unsafe fn symbol(&self, name: &str) -> Result<*mut c_void, libloading::Error> {
        let _section = Foreign::enter();
        // SAFETY: the caller's promise; no more is done with the symbol's type than to name it.
        let symbol = unsafe { self.library.get::<*mut c_void>(name) };
        Ok(symbol?.as_raw_ptr())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _section = Foreign::enter();
        // SAFETY: the library is not used after this.
        unsafe { ManuallyDrop::drop(&mut self.library) };
    }
}

/// The file of a name that is a path; what is known where the loader doesn't tell.
#[cfg_attr(glibc, expect(dead_code, reason = "the loader tells"))]
fn given_path(candidate: &OsStr) -> Option<PathBuf> {
    let path = Path::new(candidate);
    let is_path = path.parent().is_some_and(|parent| parent != "");
    is_path.then(|| resolve(path)).flatten()
}

/// The file itself: the working directory and links may change while the library is loaded.
fn resolve(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path)
        .or_else(|_| path::absolute(path))
        .ok()
}
