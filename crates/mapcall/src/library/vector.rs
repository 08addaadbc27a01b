//! The vector variants that a library exports.

use std::path::Path;
use std::ptr::NonNull;

use super::{Library, LibraryError, sys};
use crate::call::VectorName;
use std::ffi::c_void;

/// The library that has the vector variants of libm's functions, on systems with the GNU C library.
const LIBMVEC: &str = "libmvec.so.1";

/// A vector variant and its code, which stays loaded as long as this lives.
#[derive(Clone, Debug)]
pub(crate) struct VectorVariant {
    pub(crate) name: VectorName,
    pub(crate) address: NonNull<c_void>,
    _library: Library,
}

// SAFETY: the type has only the address of code; only unsafe functions call it.
unsafe impl Send for VectorVariant {}
// SAFETY: the type has no interior mutability, and reads no memory at the address.
unsafe impl Sync for VectorVariant {}

impl Library {
    /// Returns the names of the vector variants of the library's functions, those of the widest registers first.
    ///
    /// ```
    /// use mapcall::Library;
    ///
    /// // SAFETY: libm's initialisers and terminators are sound to run, and its file is not written.
    /// let libm = unsafe { Library::open("m")? };
    /// let variants = libm.vector_variants()?;
    /// # if cfg!(all(target_arch = "x86_64", glibc)) {
    /// let cos = variants.iter().find(|variant| variant.function() == "cos").unwrap();
    /// assert_eq!((cos.symbol(), cos.lanes()), ("_ZGVeN8v_cos", Some(8)));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// They are read from the library's file in each call. Those of libm's functions are in libmvec, which is loaded
    /// for it.
    ///
    /// # Errors
    ///
    /// Those of [`symbols`](Self::symbols).
    pub fn vector_variants(&self) -> Result<Vec<VectorName>, LibraryError> {
        let mut names = variants(self)?;
        if let Some(companion) = self.companion() {
            names.extend(variants(&companion)?);
        }
        names.sort_by_key(VectorName::preference);
        Ok(names)
    }

    /// Finds the vector variants of the function at an address, which the library or one that it depends on exports
    /// under this name.
    ///
    /// # Safety
    ///
    /// The resolvers of the variants are sound to run, if they are indirect functions.
    pub(crate) unsafe fn variants_of(
        &self,
        function: &str,
        address: NonNull<c_void>,
    ) -> Vec<VectorVariant> {
        // A function that was found through the process or a dependency is in another file.
        let owner = sys::file_of(address).filter(|path| self.path() != Some(path));
        // SAFETY: the library is loaded already, so that no initialiser runs.
        let owner = owner.and_then(|path| unsafe { Self::open(path) }.ok());
        let owner = owner.unwrap_or_else(|| self.clone());
        let companion = owner.companion();
        let mut found = Vec::new();
        for library in [Some(owner), companion].into_iter().flatten() {
            // Without a list there are no variants to call.
            let names = variants(&library).unwrap_or_default();
            for name in names.into_iter().filter(|name| name.function() == function) {
                // SAFETY: the caller guarantees that the resolvers are sound to run.
                if let Ok(address) = unsafe { library.symbol(name.symbol()) } {
                    found.push(VectorVariant {
                        name,
                        address,
                        _library: library.clone(),
                    });
                }
            }
        }
        found
    }

    /// Returns the library that has the vector variants of this one's functions.
    fn companion(&self) -> Option<Self> {
        let name = self.path().and_then(Path::file_name)?.to_str()?;
        if !(cfg!(glibc) && (name.starts_with("libm.so") || name.starts_with("libm-"))) {
            return None;
        }
        // SAFETY: libmvec has no initialisers but those of the C library, and its file is written as rarely as that of
        // libm, which is loaded.
        unsafe { Self::open(LIBMVEC) }.ok()
    }
}

fn variants(library: &Library) -> Result<Vec<VectorName>, LibraryError> {
    let symbols = library.symbols()?;
    Ok(symbols
        .iter()
        .filter_map(|symbol| VectorName::parse(symbol))
        .collect())
}
