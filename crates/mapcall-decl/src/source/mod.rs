//! Source code: a text in C, C++ or Fortran of which the system's compiler makes a shared library.
//!
//! ```
//! use mapcall_decl::SourceCode;
//!
//! let source = SourceCode::new("double twice(double x) { return 2 * x; }");
//! let library = source.build()?;
//! assert!(library.path().exists());
//! let twice = library.declarations().function("twice").unwrap();
//! assert_eq!(twice.prototype?.signature(), "()->()");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod arguments;
mod build;
mod diagnostic;
mod error;
mod language;
mod prelude;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::parse::MAX_TEXT;
use crate::source_map;
pub use build::BuiltLibrary;
pub use diagnostic::{Diagnostic, Severity};
pub use error::CompileError;
pub use language::{Language, UnknownLanguage};

/// The default time limit of the compiler.
const TIME_LIMIT: Duration = Duration::from_secs(600);

/// A text that the system's compiler makes a shared library of, with the options of the compiler.
///
/// ```
/// use mapcall_decl::SourceCode;
///
/// let library = SourceCode::new("
///     void scale(int n, double x[n], double factor)
///     {
///         for (int i = 0; i < n; i++)
///             x[i] = pow(x[i], POWER) * factor;
///     }
///     static double unused(void) { return 0; }
/// ")
/// .flags(["-O3", "-include", "math.h"])
/// .define("POWER", Some("2"))
/// .build()?;
/// let [scale] = library.declarations().functions() else { panic!() };
/// assert_eq!(scale.prototype.as_ref().unwrap().to_string(), "void scale(int n, double x[n], double factor)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The prototypes of C are those of the text, with the lengths of arrays in their brackets. The functions are
/// those that the library exports, so not those that are `static`; types and constants of the text are known,
/// too. The types of `stdint.h` and `stddef.h`, the words of `mapcall.h` and, in C, `double complex` and its
/// like are there without being included.
///
/// C++ and Fortran have no prototypes in C: give them as [`prototypes`](Self::prototypes).
#[derive(Clone)]
pub struct SourceCode {
    text: Arc<str>,
    file: Option<PathBuf>,
    language: Language,
    flags: Vec<OsString>,
    libraries: Vec<OsString>,
    directories: Vec<PathBuf>,
    macros: Vec<(String, Option<String>)>,
    prototypes: Vec<Prototypes>,
    compiler: Option<OsString>,
    is_cached: bool,
    time_limit: Duration,
    stop: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Prototypes that say more of functions than the source code.
#[derive(Clone, Debug)]
enum Prototypes {
    Text(String),
    /// A file, by its absolute path.
    File(PathBuf),
}

impl SourceCode {
    /// Returns a source code in C by its text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self {
            text: text.into(),
            file: None,
            language: Language::C,
            flags: Vec::new(),
            libraries: Vec::new(),
            directories: Vec::new(),
            macros: Vec::new(),
            prototypes: Vec::new(),
            compiler: None,
            is_cached: true,
            time_limit: TIME_LIMIT,
            stop: Arc::new(|| false),
        }
    }

    /// Reads a source code from a file, in the language of its suffix, or in C.
    ///
    /// ```
    /// use mapcall_decl::source::SourceCode;
    ///
    /// let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("kern.c");
    /// std::fs::write(&path, "int answer(void) { return 42; }")?;
    /// let library = SourceCode::file(&path)?.build()?;
    /// assert!(library.declarations().function("answer").is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`CompileError::Io`] if the file can't be read, or is no text; [`CompileError::TooLong`].
    pub fn file(path: impl AsRef<Path>) -> Result<Self, CompileError> {
        let path = path.as_ref();
        let io_error = |source| CompileError::Io {
            path: path.into(),
            source,
        };
        let mut text = String::new();
        let limit = u64::try_from(MAX_TEXT).unwrap_or(u64::MAX);
        let file = File::open(path).map_err(io_error)?;
        let length = file
            .take(limit.saturating_add(1))
            .read_to_string(&mut text)
            .map_err(io_error)?;
        if length > MAX_TEXT {
            return Err(CompileError::TooLong { limit: MAX_TEXT });
        }
        let mut source = Self::new(text);
        source.language = Language::of_file(path).unwrap_or_default();
        source.file = Some(std::path::absolute(path).map_err(io_error)?);
        Ok(source)
    }

    /// Returns the text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Sets the language.
    #[must_use]
    pub fn language(mut self, language: Language) -> Self {
        self.language = language;
        self
    }

    /// Adds options of the compiler, behind `-O2`.
    #[must_use]
    pub fn flags<T: Into<OsString>>(mut self, flags: impl IntoIterator<Item = T>) -> Self {
        self.flags.extend(flags.into_iter().map(Into::into));
        self
    }

    /// Adds a library to link: a bare name (`openblas`), a file name that the linker finds (`libz.so.1`), or a
    /// path, where the loader finds it, too.
    ///
    /// The C library and libm are linked always.
    #[must_use]
    pub fn library(mut self, library: impl Into<OsString>) -> Self {
        self.libraries.push(library.into());
        self
    }

    /// Adds a directory to search for headers.
    #[must_use]
    pub fn include(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directories.push(directory.into());
        self
    }

    /// Defines a macro, with 1 as its value if none is given.
    #[must_use]
    pub fn define(mut self, name: impl Into<String>, value: Option<&str>) -> Self {
        self.macros.push((name.into(), value.map(str::to_owned)));
        self
    }

    /// Adds a text of prototypes in C: those of C++ and Fortran, or such that say more than the C code itself,
    /// with which they must agree.
    ///
    /// ```
    /// use mapcall_decl::SourceCode;
    ///
    /// let library = SourceCode::new("void fill(float *x, int n) { for (int i = 0; i < n; i++) x[i] = 1; }")
    ///     .prototypes("void fill(float x[n], int n);")
    ///     .build()?;
    /// let fill = library.declarations().function("fill").unwrap();
    /// assert_eq!(fill.prototype?.signature(), "->(n)");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn prototypes(mut self, text: impl Into<String>) -> Self {
        self.prototypes.push(Prototypes::Text(text.into()));
        self
    }

    /// Adds a file of prototypes, as [`prototypes`](Self::prototypes) adds a text.
    #[must_use]
    pub fn prototypes_file(mut self, path: impl Into<PathBuf>) -> Self {
        let path = source_map::included_as(path.into());
        self.prototypes.push(Prototypes::File(path));
        self
    }

    /// Sets the compiler, which must accept GCC's options. By default it is the command in the environment
    /// variable `CC` (`CXX`, `FC`), otherwise the first of the usual ones that exists.
    #[must_use]
    pub fn compiler(mut self, program: impl Into<OsString>) -> Self {
        self.compiler = Some(program.into());
        self
    }

    /// Sets whether the library is kept in the user's cache folder, and taken from there; the default is true.
    #[must_use]
    pub fn cache(mut self, is_cached: bool) -> Self {
        self.is_cached = is_cached;
        self
    }

    /// Sets the time after which the compiler is stopped; 10 minutes by default.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Sets a function that is called while the compiler runs, every few milliseconds, and stops it by
    /// returning true.
    ///
    /// ```
    /// use mapcall_decl::source::{CompileError, SourceCode};
    ///
    /// let source = SourceCode::new("int f(void) { return 0; }").cache(false);
    /// let error = source.stop_if(|| true).build().unwrap_err();
    /// assert!(matches!(error, CompileError::Stopped));
    /// ```
    #[must_use]
    pub fn stop_if(mut self, stop: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.stop = Arc::new(stop);
        self
    }
}

impl From<&str> for SourceCode {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for SourceCode {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for SourceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceCode")
            .field("language", &self.language)
            .field("file", &self.file)
            .field("text", &self.text)
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}
