//! Shared libraries: finding and loading them, listing what they export, and the addresses of symbols.
//!
//! ```
//! use mapcall::Library;
//!
//! // SAFETY: libm's initialisers and terminators are sound to run, and its file is not written.
//! let libm = unsafe { Library::open("m")? };
//! assert!(libm.symbols()?.contains(&"cos".to_owned()));
//!
//! // SAFETY: the resolvers of libm's indirect functions are sound to run.
//! let cos = unsafe { libm.symbol("cos")? };
//! // SAFETY: `cos` has this type, and `libm` keeps its code loaded.
//! let cos: extern "C" fn(f64) -> f64 = unsafe { std::mem::transmute(cos) };
//! assert_eq!(cos(0.0), 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![allow(unsafe_code)]

mod error;
mod exports;
mod hint;
mod loaded;
mod sys;
mod vector;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString, c_void};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::iter;
use std::path::{self, Path};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::nearest::nearest;
pub use error::{Attempt, LibraryError};
use loaded::Loaded;
use sys::Handle;
pub(crate) use vector::VectorVariant;

/// The maximum number of suggestions for a misspelt name.
const SUGGESTIONS: usize = 3;

/// A loaded library.
///
/// ```
/// use mapcall::Library;
///
/// // SAFETY: libm's initialisers and terminators are sound to run, and its file is not written.
/// let (short, full) = unsafe { (Library::open("m")?, Library::open("libm.so.6")?) };
/// assert_eq!(short, full);
/// assert!(full.path().unwrap().is_absolute());
/// # Ok::<(), mapcall::LibraryError>(())
/// ```
///
/// Two `Library` values compare equal if the loader has one handle for both, under whatever names and by
/// whatever threads they were loaded. A clone is cheap. The library stays loaded while a clone lives;
/// dropping the last one unloads it, unless something else in the process has loaded it as well.
#[derive(Clone)]
pub struct Library {
    loaded: Arc<Loaded>,
}

impl Library {
    /// Keeps all libraries that are loaded now until the process ends, for a program that is about to drop
    /// its objects while threads of those libraries still run.
    ///
    /// ```
    /// use mapcall::Library;
    ///
    /// // SAFETY: libm's initialisers and terminators are sound to run, and its file is not written.
    /// let libm = unsafe { Library::open("m")? };
    /// Library::keep_all_loaded();
    /// drop(libm);
    /// # Ok::<(), mapcall::LibraryError>(())
    /// ```
    pub fn keep_all_loaded() {
        loaded::keep_all();
    }

    /// Loads a library by its path, its file name or its bare name.
    ///
    /// ```
    /// use mapcall::{Library, LibraryError};
    ///
    /// // SAFETY: the name matches no library, so that no code runs.
    /// let error = unsafe { Library::open("./misspelt.so") }.unwrap_err();
    /// assert!(matches!(&error, LibraryError::NotFound { tried, .. } if tried.len() == 1));
    /// # #[cfg(glibc)]
    /// assert_eq!(
    ///     error.to_string(),
    ///     "expected a library that the loader takes, got \"./misspelt.so\"; tried ./misspelt.so \
    ///      (cannot open shared object file: No such file or directory); give a path with a \
    ///      separator, a file name such as \"libz.so.1\" or a bare name such as \"z\""
    /// );
    /// ```
    ///
    /// The loader tries these candidates in turn, until it loads one:
    ///
    /// - For a name with a separator (`./libkern.so`), a path, only that file.
    /// - For a file name (`libm.so.6`, `libkern.so`; on macOS `.dylib`, on Windows `.dll`), the file that the
    ///   loader's own search finds.
    /// - For a bare name (`m`, `z`, `openblas`), first the file name made of it (`libm.so`), by the loader's
    ///   own search. On Linux then `libm.so` and its versions (`libm.so.6`), the highest first, in the
    ///   directories of `LD_LIBRARY_PATH`, in the loader's cache, and in its standard directories. So a
    ///   library is found without the package of its headers, which has `libm.so`, and where that file is a
    ///   linker script.
    ///
    /// All its undefined symbols are bound at once, and its own are not visible to other libraries
    /// (`RTLD_NOW | RTLD_LOCAL`).
    ///
    /// # Safety
    ///
    /// - The library's initialisers are sound to run on this thread, and its terminators on the thread that
    ///   drops the last clone.
    /// - The library's file is not written while it is loaded.
    ///
    /// # Errors
    ///
    /// [`LibraryError::NotFound`] with all candidates and the loader's message for each, if it loads none;
    /// [`LibraryError::EmptyName`] and [`LibraryError::NulInName`] for such names.
    pub unsafe fn open(name: impl AsRef<OsStr>) -> Result<Self, LibraryError> {
        let name = name.as_ref();
        if name.is_empty() {
            return Err(LibraryError::EmptyName);
        }
        if name.as_encoded_bytes().contains(&0) {
            let name = name.to_owned();
            return Err(LibraryError::NulInName { name });
        }
        let mut tried = Vec::new();
        for candidate in candidates(name) {
            // SAFETY: the caller guarantees that the library's initialisers and terminators are sound to run.
            match unsafe { Handle::open(&candidate) } {
                Ok(handle) => {
                    let path = sys::path(&handle, &candidate);
                    return Ok(Self {
                        loaded: loaded::share(handle, path, None),
                    });
                }
                Err(error) => tried.push(Attempt::new(candidate, &error)),
            }
        }
        let hint = hint::hint(name, &tried);
        let name = name.to_owned();
        Err(LibraryError::NotFound { name, tried, hint })
    }

    /// Loads a library from a path whose file is removed afterwards, so that the library has no path.
    ///
    /// # Safety
    ///
    /// The conditions of [`open`](Self::open).
    #[cfg(feature = "headers")]
    pub(crate) unsafe fn open_temporary(path: &Path) -> Result<Self, LibraryError> {
        let exports = exports::read(path)?;
        // SAFETY: the caller guarantees that the library's initialisers and terminators are sound to run.
        let handle = unsafe { Handle::open(path.as_os_str()) };
        let handle = handle.map_err(|error| LibraryError::NotFound {
            name: path.into(),
            tried: vec![Attempt::new(path.into(), &error)],
            hint: None,
        })?;
        Ok(Self {
            loaded: loaded::share(handle, None, Some(exports)),
        })
    }

    /// Returns the process itself: the program and the libraries that it was started with.
    ///
    /// ```
    /// use mapcall::Library;
    ///
    /// let process = Library::process()?;
    /// assert_eq!((process.path(), process.to_string().as_str()), (None, "the process"));
    /// // SAFETY: the resolvers of the C library's indirect functions are sound to run.
    /// unsafe { process.symbol("getenv")? };
    /// # Ok::<(), mapcall::LibraryError>(())
    /// ```
    ///
    /// On Windows it is the program alone.
    ///
    /// # Errors
    ///
    /// [`LibraryError::Process`] in a program that is linked statically.
    pub fn process() -> Result<Self, LibraryError> {
        let handle = Handle::process().map_err(|error| LibraryError::Process {
            reason: error::reason(&error),
        })?;
        Ok(Self {
            loaded: loaded::share(handle, None, None),
        })
    }

    /// Returns the library's file, absolute and without symbolic links; `None` for the process, and where
    /// the system doesn't give it.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.loaded.path()
    }

    /// Returns the names of the exported functions, sorted, each once.
    ///
    /// ```
    /// use mapcall::Library;
    ///
    /// // SAFETY: libm's initialisers and terminators are sound to run, and its file is not written.
    /// let libm = unsafe { Library::open("m")? };
    /// let symbols = libm.symbols()?;
    /// assert!(symbols.is_sorted() && symbols.contains(&"hypot".to_owned()));
    /// assert!(!symbols.contains(&"signgam".to_owned()), "a variable");
    /// # Ok::<(), mapcall::LibraryError>(())
    /// ```
    ///
    /// They are read from the library's file in each call. Versions of symbols are not part of their names.
    /// A symbol that exists only in old versions, for programs already linked, is not listed, and
    /// [`symbol`](Self::symbol) doesn't find it either. Functions of the libraries that this one depends on
    /// are not listed, though `symbol` finds them on most systems.
    ///
    /// For the process these are the exports of the program and of all libraries in it, including those
    /// loaded with `RTLD_LOCAL`, in which `symbol` doesn't search; on systems other than Linux, only the
    /// program's.
    ///
    /// # Errors
    ///
    /// [`LibraryError::NoFile`] if the file is not known, [`LibraryError::Io`] if it can't be read, and
    /// [`LibraryError::Format`] if it is not a shared library.
    pub fn symbols(&self) -> Result<Vec<String>, LibraryError> {
        if let Some(exports) = self.loaded.exports() {
            return Ok(exports.iter().cloned().collect());
        }
        let names = if self.loaded.is_process() {
            let images = sys::images().map_err(|source| LibraryError::Io {
                path: "/proc/self/maps".into(),
                source,
            })?;
            // A file that was deleted or replaced since it was loaded is left out.
            let read = images.iter().flat_map(|path| exports::read(path));
            read.flatten().collect::<BTreeSet<_>>()
        } else {
            let path = self.path().ok_or_else(|| LibraryError::NoFile {
                library: self.to_string(),
            })?;
            exports::read(path)?
        };
        Ok(names.into_iter().collect())
    }

    /// Returns the address of a function or variable.
    ///
    /// ```
    /// use mapcall::{Library, LibraryError};
    ///
    /// // SAFETY: libm's initialisers and terminators are sound to run, and its file is not written.
    /// let libm = unsafe { Library::open("m")? };
    /// // SAFETY: the resolvers of libm's indirect functions are sound to run.
    /// match unsafe { libm.symbol("hypott") } {
    ///     Err(LibraryError::NoSymbol { nearest, .. }) => assert_eq!(nearest[0], "hypot"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), LibraryError>(())
    /// ```
    ///
    /// The address is valid as long as a clone of the library lives. The loader searches the library and, on
    /// most systems, those that it depends on.
    ///
    /// # Safety
    ///
    /// If the symbol is an indirect function (GNU `ifunc`), the library's resolver, which runs now, is sound
    /// to run.
    ///
    /// # Errors
    ///
    /// [`LibraryError::NoSymbol`] with the exported functions of the nearest names, if there is no such
    /// symbol; [`LibraryError::NullSymbol`] if its address is 0; [`LibraryError::NulInSymbol`] for such a
    /// name.
    pub unsafe fn symbol(&self, name: &str) -> Result<NonNull<c_void>, LibraryError> {
        let symbol = name.to_owned();
        if name.contains('\0') {
            return Err(LibraryError::NulInSymbol { symbol });
        }
        let library = || self.to_string();
        // SAFETY: the caller guarantees that the symbol's resolver is sound to run.
        match unsafe { self.loaded.handle().symbol(name) } {
            Ok(address) => NonNull::new(address).ok_or_else(|| LibraryError::NullSymbol {
                library: library(),
                symbol,
            }),
            Err(_) => Err(LibraryError::NoSymbol {
                library: library(),
                symbol,
                // SAFETY: the caller guarantees that the library's resolvers are sound to run.
                nearest: unsafe { self.nearest(name) },
            }),
        }
    }

    /// Returns the exported functions whose names are nearest to a misspelt one.
    ///
    /// # Safety
    ///
    /// The resolvers of the library's indirect functions are sound to run.
    unsafe fn nearest(&self, name: &str) -> Vec<String> {
        // If symbols can't be listed, the missing symbol is still the error to report.
        let symbols = self.symbols().unwrap_or_default();
        let found = |name: &&str| {
            // SAFETY: the caller guarantees that the library's resolvers are sound to run.
            unsafe { self.loaded.handle().symbol(name) }.is_ok_and(|address| !address.is_null())
        };
        let nearest = nearest(name, symbols.iter().map(String::as_str))
            .into_iter()
            .filter(found);
        nearest.take(SUGGESTIONS).map(str::to_owned).collect()
    }
}

/// Returns the names to give the loader, in their order. Each is computed when the iterator reaches it.
fn candidates(name: &OsStr) -> Box<dyn Iterator<Item = OsString> + '_> {
    let is_path = name.to_string_lossy().contains(path::is_separator);
    if is_path || sys::is_file_name(name) {
        Box::new(iter::once(name.to_owned()))
    } else {
        Box::new(sys::find(name))
    }
}

impl PartialEq for Library {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.loaded, &other.loaded)
    }
}

impl Eq for Library {}

impl Hash for Library {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.loaded).hash(state);
    }
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path() {
            Some(path) => path.display().fmt(f),
            None if self.loaded.is_process() => f.write_str("the process"),
            None => f.write_str("the library"),
        }
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Library({self})")
    }
}
