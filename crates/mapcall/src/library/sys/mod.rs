//! The system's loader: one folder for each supported system, and a file for all others, where only the
//! loader's own search is used.

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

pub(super) use os::{file_of, find, images, is_file_name, path};

/// The loader's handle of a library, closed when this is dropped.
pub(super) struct Handle {
    /// Dropped in `drop`, inside a section.
    library: ManuallyDrop<loader::Library>,
    key: usize,
    is_process: bool,
}

impl Handle {
    /// Loads a library.
    ///
    /// # Safety
    ///
    /// The library's initialisers are sound to run on this thread, and its terminators on the one that drops
    /// the last handle.
    pub(super) unsafe fn open(name: &OsStr) -> Result<Self, libloading::Error> {
        // Without `RTLD_NOW`, the first call of a function that is missing ends the process.
        #[cfg(unix)]
        let flags = loader::RTLD_NOW | loader::RTLD_LOCAL;
        let _section = Foreign::enter();
        // SAFETY: the caller guarantees that the library's initialisers and terminators are sound to run.
        #[cfg(unix)]
        let library = unsafe { loader::Library::open(Some(name), flags) };
        // SAFETY: the caller guarantees that the library's initialisers and terminators are sound to run.
        #[cfg(windows)]
        let library = unsafe { loader::Library::new(name) };
        Ok(Self::new(library?, false))
    }

    /// Returns the handle of the process itself.
    pub(super) fn process() -> Result<Self, libloading::Error> {
        let _section = Foreign::enter();
        // SAFETY: no library is loaded, so that no initialiser runs.
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
            // SAFETY: `into_raw` returned `raw` without closing the library, and `raw` is used once.
            library: ManuallyDrop::new(unsafe { loader::Library::from_raw(raw) }),
            key,
            is_process,
        }
    }

    /// Returns a number that is the same for all handles of this library, and different for any other loaded
    /// one.
    pub(super) fn key(&self) -> usize {
        self.key
    }

    pub(super) fn is_process(&self) -> bool {
        self.is_process
    }

    /// Returns the address of a symbol, which may be null.
    ///
    /// # Safety
    ///
    /// If the symbol is an indirect function (GNU `ifunc`), its resolver is sound to run.
    pub(super) unsafe fn symbol(&self, name: &str) -> Result<*mut c_void, libloading::Error> {
        let _section = Foreign::enter();
        // SAFETY: the caller guarantees that the resolver is sound to run. The symbol is never used as a
        // `*mut c_void`: only its address is returned.
        let symbol = unsafe { self.library.get::<*mut c_void>(name) };
        Ok(symbol?.as_raw_ptr())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _section = Foreign::enter();
        // SAFETY: the library is dropped only here, and not used after this.
        unsafe { ManuallyDrop::drop(&mut self.library) };
    }
}

/// Returns the file of a name that is a path, for systems where the loader doesn't give the file.
#[cfg_attr(glibc, expect(dead_code, reason = "the loader gives the file"))]
fn given_path(candidate: &OsStr) -> Option<PathBuf> {
    let path = Path::new(candidate);
    let is_path = path.parent().is_some_and(|parent| parent != "");
    is_path.then(|| resolve(path)).flatten()
}

/// Returns the absolute path of a file, without symbolic links: the working directory and links may change
/// while the library is loaded.
fn resolve(path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path)
        .or_else(|_| path::absolute(path))
        .ok()
}
