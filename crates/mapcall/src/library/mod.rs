//! Shared libraries: finding and loading them, what they export, and where a function is.
//!
//! ```
//! use mapcall::Library;
//!
//! // SAFETY: the C library's own initialisers may run at any time.
//! let libm = unsafe { Library::open("m")? };
//! assert!(libm.symbols()?.contains(&"cos".to_owned()));
//!
//! // SAFETY: the resolvers of libm's indirect functions may run at any time, too.
//! let cos = unsafe { libm.symbol("cos")? };
//! // SAFETY: this is the type of `cos`, and `libm` keeps its code loaded.
//! let cos: extern "C" fn(f64) -> f64 = unsafe { std::mem::transmute(cos) };
//! assert_eq!(cos(0.0), 1.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![allow(unsafe_code)]

mod error;
mod exports;
mod loaded;
mod sys;

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

/// How many names a misspelt one gets.
const SUGGESTIONS: usize = 3;

/// A loaded library.
///
/// ```
/// use mapcall::Library;
///
/// // SAFETY: the C library's own initialisers may run at any time.
/// let (short, full) = unsafe { (Library::open("m")?, Library::open("libm.so.6")?) };
/// assert_eq!(short, full);
/// assert!(full.path().unwrap().is_absolute());
/// # Ok::<(), mapcall::LibraryError>(())
/// ```
///
/// Loading a library again, under any of its names and from any thread, gives the same handle as
/// long as one is alive: what the loader takes for one library compares equal. A clone is cheap.
/// The library stays loaded while a clone lives, and the last one to go unloads it (if nothing else
/// in the process has loaded it as well).
#[derive(Clone)]
pub struct Library {
    loaded: Arc<Loaded>,
}

impl Library {
    /// Keeps all libraries that are loaded now until the process ends: for a program that is about to
    /// let go of what it has, while threads of those libraries still run.
    ///
    /// ```
    /// use mapcall::Library;
    ///
    /// // SAFETY: the C library's own initialisers may run at any time.
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
    /// // SAFETY: nothing is loaded.
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
    /// What is tried, until the loader takes one:
    ///
    /// - A name with a separator (`./libkern.so`) is a path: only that file.
    /// - A file name (`libm.so.6`, `libkern.so`; on macOS `.dylib`, on Windows `.dll`): what the
    ///   loader finds.
    /// - A bare name (`m`, `z`, `openblas`): first the file name made of it (`libm.so`), as the
    ///   loader finds it. On Linux then `libm.so` and its versions (`libm.so.6`), the highest
    ///   first, in the directories of `LD_LIBRARY_PATH`, in the loader's cache, and in its standard
    ///   directories. So machines without the files of development have it, and a linker script of
    ///   that name is passed over.
    ///
    /// All its undefined symbols are bound at once, and its own stay out of others' sight
    /// (`RTLD_NOW | RTLD_LOCAL`).
    ///
    /// # Safety
    ///
    /// Loading runs the library's initialisers, and unloading its terminators: they must be sound
    /// to run in this process, on the thread that opens and that which drops the last clone. The
    /// library's file is not written while it is loaded.
    ///
    /// # Errors
    ///
    /// [`LibraryError::NotFound`] with all that was tried, and what the loader said to each;
    /// [`LibraryError::EmptyName`], [`LibraryError::NulInName`].
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
            // SAFETY: the caller's promise.
            match unsafe { Handle::open(&candidate) } {
                Ok(handle) => {
                    let path = sys::path(&handle, &candidate);
                    return Ok(Self {
                        loaded: loaded::share(handle, path),
                    });
                }
                Err(error) => tried.push(Attempt::new(candidate, &error)),
            }
        }
        let name = name.to_owned();
        Err(LibraryError::NotFound { name, tried })
    }

    /// The process itself: the program and the libraries that it was started with.
    ///
    /// ```
    /// use mapcall::Library;
    ///
    /// let process = Library::process()?;
    /// assert_eq!((process.path(), process.to_string().as_str()), (None, "the process"));
    /// // SAFETY: the resolvers of the C library may run at any time.
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
            loaded: loaded::share(handle, None),
        })
    }

    /// The library's file, absolute and without symbolic links; `None` for the process, and where
    /// the system doesn't tell.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.loaded.path()
    }

    /// The names of the exported functions, sorted, each once.
    ///
    /// ```
    /// use mapcall::Library;
    ///
    /// // SAFETY: the C library's own initialisers may run at any time.
    /// let libm = unsafe { Library::open("m")? };
    /// let symbols = libm.symbols()?;
    /// assert!(symbols.is_sorted() && symbols.contains(&"hypot".to_owned()));
    /// assert!(!symbols.contains(&"signgam".to_owned()), "a variable");
    /// # Ok::<(), mapcall::LibraryError>(())
    /// ```
    ///
    /// They are read from the library's file, on each call. Versions of symbols are not part of
    /// their names, and a symbol of which only old versions are left, for programs already linked,
    /// is not listed: [`symbol`](Self::symbol) doesn't find it either. What a library only imports
    /// is not its own and is left out, though `symbol` finds it on most systems.
    ///
    /// For the process it is what the program and all libraries in it export, also those that were
    /// loaded privately, in which `symbol` doesn't look; on systems other than Linux, the program's.
    ///
    /// # Errors
    ///
    /// [`LibraryError::NoFile`] where the file is not known, [`LibraryError::Io`] if it can't be
    /// read, and [`LibraryError::Format`] if it is none that this system loads.
    pub fn symbols(&self) -> Result<Vec<String>, LibraryError> {
        let names = if self.loaded.is_process() {
            let images = sys::images().map_err(|source| LibraryError::Io {
                path: "/proc/self/maps".into(),
                source,
            })?;
            // A file may have been deleted or replaced since it was loaded.
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

    /// The address of a function or variable.
    ///
    /// ```
    /// use mapcall::{Library, LibraryError};
    ///
    /// // SAFETY: the C library's own initialisers may run at any time.
    /// let libm = unsafe { Library::open("m")? };
    /// // SAFETY: the resolvers of libm's indirect functions may run at any time, too.
    /// match unsafe { libm.symbol("hypott") } {
    ///     Err(LibraryError::NoSymbol { nearest, .. }) => assert_eq!(nearest[0], "hypot"),
    ///     other => panic!("{other:?}"),
    /// }
    /// # Ok::<(), LibraryError>(())
    /// ```
    ///
    /// It is good for as long as a clone of the library lives. The loader looks into the library
    /// and, on most systems, into those that it depends on.
    ///
    /// # Safety
    ///
    /// Where the symbol is an indirect function (GNU `ifunc`), the library's code that selects one
    /// runs now: it must be sound to run.
    ///
    /// # Errors
    ///
    /// [`LibraryError::NoSymbol`] with the exported functions whose names are nearest,
    /// [`LibraryError::NullSymbol`], [`LibraryError::NulInSymbol`].
    pub unsafe fn symbol(&self, name: &str) -> Result<NonNull<c_void>, LibraryError> {
        let symbol = name.to_owned();
        if name.contains('\0') {
            return Err(LibraryError::NulInSymbol { symbol });
        }
        let library = || self.to_string();
        // SAFETY: the caller's promise.
        match unsafe { self.loaded.handle().symbol(name) } {
            Ok(address) => NonNull::new(address).ok_or_else(|| LibraryError::NullSymbol {
                library: library(),
                symbol,
            }),
            Err(_) => Err(LibraryError::NoSymbol {
                library: library(),
                symbol,
                // SAFETY: the caller's promise.
                nearest: unsafe { self.nearest(name) },
            }),
        }
    }

    /// The exported functions that a misspelt name may mean.
    ///
    /// # Safety
    ///
    /// As [`symbol`](Self::symbol).
    unsafe fn nearest(&self, name: &str) -> Vec<String> {
        // The error to report is the missing symbol, not why there are no suggestions.
        let symbols = self.symbols().unwrap_or_default();
        let found = |name: &&str| {
            // SAFETY: the caller's promise.
            unsafe { self.loaded.handle().symbol(name) }.is_ok_and(|address| !address.is_null())
        };
        let nearest = nearest(name, symbols.iter().map(String::as_str))
            .into_iter()
            .filter(found);
        nearest.take(SUGGESTIONS).map(str::to_owned).collect()
    }
}

/// The names to give the loader, in their order; found only when they are asked for.
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
