//! Headers: the functions and types of a C library, as its own header declares them.
//!
//! ```
//! use mapcall_decl::Header;
//!
//! let math = Header::new("math.h").read()?;
//! let hypot = math.functions().iter().find(|function| function.name == "hypot").unwrap();
//! assert_eq!(hypot.prototype.as_ref().unwrap().signature(), "(),()->()");
//! # Ok::<(), mapcall_decl::HeaderError>(())
//! ```

mod compiler;
mod error;
pub(crate) mod evaluate;
mod plain;
mod standard;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::compiler::{Entry, Question, Request};
use crate::declarations::{Declarations, Macros, Source};
use crate::parse::MAX_TEXT;
use crate::source_map::{self, Separated, SourceMap};
use compiler::Input;
pub use error::{Attempt, HeaderError};
use evaluate::Evaluator;

/// The default time limit of the preprocessor: much longer than any header takes.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The maximum length of a header's name in bytes: the limit of systems for a path.
const MAX_NAME: usize = 4096;

/// The maximum number of headers that are read together.
const MAX_NAMES: usize = 256;

/// A header to read, with the options of the preprocessor.
///
/// ```
/// use mapcall_decl::Header;
/// # let directory = tempfile::tempdir()?;
/// # std::fs::write(directory.path().join("kern.h"), "
/// # #include <stddef.h>
/// # void scale(size_t n, real x[n]);
/// # int report(va_list list);
/// # ")?;
///
/// let kern = Header::new("kern.h")
///     .include(directory.path())
///     .define("real", Some("float"))
///     .read()?;
/// let [scale, report] = kern.functions() else { panic!() };
/// assert_eq!(scale.prototype.as_ref().unwrap().to_string(), "void scale(size_t n, float x[n])");
/// assert!(report.unsupported().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The functions of a header are those that it declares, and those of all headers that it includes. The
/// functions of the standard headers of C and POSIX (`stdio.h`, `sys/types.h`), and of the headers that these
/// include, are left out, unless a standard header is requested itself. Types and enumerators of all headers
/// are known.
#[derive(Clone, Debug)]
pub struct Header {
    names: Vec<OsString>,
    /// The texts that are read behind the headers.
    texts: Vec<String>,
    /// The files of prototypes that override those of the headers, as absolute paths.
    prototypes: Vec<OsString>,
    is_cached: bool,
    directories: Vec<PathBuf>,
    macros: Vec<(String, Option<String>)>,
    compiler: Option<OsString>,
    time_limit: Duration,
}

impl Header {
    /// Returns a header by its path, or by its name in `#include <...>`.
    ///
    /// As for C's `#include "..."`, a file in the current directory is preferred to one that the compiler
    /// finds.
    pub fn new(name: impl Into<OsString>) -> Self {
        Self {
            names: vec![name.into()],
            texts: Vec::new(),
            prototypes: Vec::new(),
            is_cached: true,
            directories: Vec::new(),
            macros: Vec::new(),
            compiler: None,
            time_limit: TIME_LIMIT,
        }
    }

    /// Adds a header that is read after those added before, as in a C file that includes them in this order.
    ///
    /// ```
    /// use mapcall_decl::Header;
    ///
    /// let both = Header::new("math.h").and("string.h").read()?;
    /// assert!(both.function("hypot").is_some() && both.function("memcpy").is_some());
    /// # Ok::<(), mapcall_decl::HeaderError>(())
    /// ```
    #[must_use]
    pub fn and(mut self, name: impl Into<OsString>) -> Self {
        self.names.push(name.into());
        self
    }

    /// Returns a header that is no file, by its text.
    ///
    /// ```
    /// use mapcall_decl::Header;
    ///
    /// let header = Header::of_text("#include <stddef.h>\nvoid scale(size_t n, float x[n]);\nint f(va_list);");
    /// let declarations = header.read()?;
    /// assert_eq!(declarations.functions()[0].name, "scale");
    /// # Ok::<(), mapcall_decl::HeaderError>(())
    /// ```
    ///
    /// Messages call it `<header_text>`.
    pub fn of_text(text: impl Into<String>) -> Self {
        Self {
            names: Vec::new(),
            texts: vec![text.into()],
            ..Self::new("")
        }
    }

    /// Adds a text that is read behind the headers and the texts that were added before.
    ///
    /// ```
    /// use mapcall_decl::Header;
    ///
    /// let both = Header::new("stdlib.h").text("double norm(div_t x);").read()?;
    /// assert!(both.function("norm").unwrap().prototype.is_ok());
    /// # Ok::<(), mapcall_decl::HeaderError>(())
    /// ```
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.texts.push(text.into());
        self
    }

    /// Adds a file of prototypes that say more of functions than the headers do, such as the lengths of arrays.
    /// It is read after the headers; a function that it declares has its prototype, which must agree with that
    /// of the header.
    ///
    /// ```
    /// use mapcall_decl::Header;
    ///
    /// let directory = tempfile::tempdir()?;
    /// let file = directory.path().join("string.contracts.h");
    /// std::fs::write(&file, "void *memset(void *__sized_by(n) s, int c, size_t n);")?;
    /// let string = Header::new("string.h").prototypes(file).read()?;
    /// let memset = string.function("memset").unwrap().prototype?;
    /// assert_eq!(memset.parameters[0].to_string(), "void s[n]");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn prototypes(mut self, path: impl Into<PathBuf>) -> Self {
        let path = source_map::included_as(path.into());
        self.prototypes.push(path.into());
        self
    }

    /// Sets whether what is read is kept in the user's cache folder, and taken from there; the default is
    /// true.
    ///
    /// ```
    /// use mapcall_decl::Header;
    ///
    /// let math = Header::new("math.h").cache(false).read()?;
    /// assert!(math.function("hypot").is_some());
    /// # Ok::<(), mapcall_decl::HeaderError>(())
    /// ```
    ///
    /// See [`read`](Self::read).
    #[must_use]
    pub fn cache(mut self, is_cached: bool) -> Self {
        self.is_cached = is_cached;
        self
    }

    /// Adds a directory to search for headers: before the system's directories, and after those added before.
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

    /// Sets the compiler that preprocesses the header, which must accept GCC's options.
    #[must_use]
    pub fn compiler(mut self, program: impl Into<OsString>) -> Self {
        self.compiler = Some(program.into());
        self
    }

    /// Sets the time after which the compiler is killed; 60 seconds by default.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Reads the header.
    ///
    /// ```
    /// use mapcall_decl::{Header, HeaderError};
    ///
    /// let error = Header::new("misspelt.h").read().unwrap_err();
    /// assert!(matches!(error, HeaderError::NotFound { .. }));
    /// ```
    ///
    /// The system's C compiler preprocesses it: the command in the environment variable `CC` (a program and
    /// its arguments, split at spaces, without a shell), otherwise `cc`, `gcc` or `clang`.
    ///
    /// The output of the compiler is kept in the folder `mapcall` of the user's cache folder
    /// (`$XDG_CACHE_HOME`, otherwise `~/.cache`), with the values of constants that were evaluated. It is used
    /// again while the request, the compiler and the contents of all files that were read are the same, and no
    /// header has appeared that the compiler would find before one of them. Not noticed are: a header that
    /// `__has_include` did not find, and files and environment variables that only a wrapper around the
    /// compiler reads. At most 64 MiB are kept. The environment variable `MAPCALL_HEADER_CACHE=0` turns this
    /// off, as [`cache`](Self::cache) does.
    ///
    /// Without a compiler, the text of the header is parsed directly, if no part of it needs a preprocessor.
    /// It may have include guards, parts for C++ only, includes of standard headers, whose common types are
    /// known, and macros that it does not use itself.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] if the header does not exist or can't be preprocessed. Declarations that can't be
    /// parsed are in [`Declarations::errors`], with their [`Position`](crate::Position).
    pub fn read(&self) -> Result<Declarations, HeaderError> {
        self.check()?;
        let input = Input::new(self)?;
        let cache = self.is_cached.then(|| self.request(&input)).flatten();
        if let Some(entry) = cache.as_ref().and_then(Request::load) {
            let separated = self.separate(&entry.output);
            return Ok(self.declarations(separated, entry.argv, cache));
        }
        let start = SystemTime::now();
        match compiler::preprocess(self, &input) {
            Ok(found) => {
                let output = String::from_utf8_lossy(&found.output);
                let separated = self.separate(&output);
                if let Some(cache) = &cache {
                    let entry = Entry {
                        output: output.into_owned(),
                        argv: found.argv.clone(),
                        library: None,
                    };
                    cache.store(&entry, &found.searched, &separated.files, start);
                }
                Ok(self.declarations(separated, found.argv, cache))
            }
            Err(HeaderError::NoCompiler { tried, .. }) => self.read_plain(tried),
            Err(error) => Err(error),
        }
    }

    /// Returns the request of the header to the cache; `None` if there is no cache for it.
    fn request(&self, input: &Input) -> Option<Request> {
        let is_relative_file = |name: &&OsString| {
            let path = Path::new(name);
            path.is_relative() && path.is_file()
        };
        let mut directories = self.directories.iter();
        let arguments = compiler::arguments(self, input);
        let names = self.names.iter().chain(&self.prototypes);
        Request::new(Question {
            commands: self.compilers(),
            arguments: &arguments,
            input: match input {
                Input::Lines(lines) => lines,
                Input::File(_) => "",
            },
            facts: &names
                .map(|name| name.as_encoded_bytes())
                .collect::<Vec<_>>(),
            is_relative: !self.texts.is_empty()
                || self.names.iter().any(|name| is_relative_file(&name))
                || directories.any(|path| path.is_relative()),
            directories: &self.directories,
        })
    }

    fn separate(&self, output: &str) -> Separated {
        let names: Vec<_> = self
            .names
            .iter()
            .map(|name| name.to_string_lossy())
            .collect();
        let asked: Vec<_> = names
            .iter()
            .filter_map(|name| standard::name(name))
            .collect();
        let mut separated = source_map::separate(output, |file| {
            standard::name(file).is_some_and(|name| !asked.contains(&name))
        });
        let prototypes = self.prototypes.iter().map(|name| name.to_string_lossy());
        separated.map.override_by(prototypes.collect());
        separated
    }

    fn declarations(
        &self,
        separated: Separated,
        argv: Vec<OsString>,
        cache: Option<Request>,
    ) -> Declarations {
        let evaluator = Evaluator {
            argv,
            time_limit: self.time_limit,
            cache,
        };
        evaluator.declarations(separated, None)
    }

    /// Returns whether only one name is given.
    fn is_one_file(&self) -> bool {
        self.names.len() == 1 && self.texts.is_empty() && self.prototypes.is_empty()
    }

    /// Returns the names for messages.
    fn shown(&self) -> OsString {
        let texts = (1..=self.texts.len()).map(|number| text_name(number).into());
        let parts: Vec<OsString> = self.names.iter().cloned().chain(texts).collect();
        parts.join(", ".as_ref())
    }

    /// Refuses names and macros that the compiler would read as other options.
    fn check(&self) -> Result<(), HeaderError> {
        if self.texts.iter().map(String::len).sum::<usize>() > MAX_TEXT {
            return Err(HeaderError::TooLong {
                name: self.shown(),
                limit: MAX_TEXT,
            });
        }
        for header in self.names.iter().chain(&self.prototypes) {
            let name = header.as_encoded_bytes();
            let refuse = |reason| Err(name_error(header, reason));
            if name.is_empty() {
                return refuse("is empty");
            }
            if name.len() > MAX_NAME {
                return refuse("is too long");
            }
            let is_alone = self.is_one_file();
            let is_file = Path::new(header).is_file();
            let is_refused = |byte| match (is_file, byte) {
                (_, b'\n' | b'\r' | 0) => !is_file || !is_alone,
                (true, b'"') => !is_alone,
                (false, b'<' | b'>') => true,
                _ => false,
            };
            if name.iter().copied().any(is_refused) {
                return refuse("has characters that no #include takes");
            }
        }
        if self.names.len() + self.texts.len() > MAX_NAMES {
            let name = self.names.last().cloned().unwrap_or_default();
            return Err(name_error(&name, "is one of too many"));
        }
        for (name, value) in &self.macros {
            let is_identifier = name.bytes().enumerate().all(|(at, byte)| {
                byte == b'_' || byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit()
            });
            let is_line = value
                .as_ref()
                .is_none_or(|value| !value.contains(['\n', '\r', '\0']));
            if name.is_empty() || !is_identifier || !is_line {
                let (name, value) = (name.clone(), value.clone());
                return Err(HeaderError::Macro { name, value });
            }
        }
        Ok(())
    }

    /// Reads the text of a header that needs no preprocessor.
    fn read_plain(&self, tried: Vec<Attempt>) -> Result<Declarations, HeaderError> {
        let name = match (&self.names[..], &self.texts[..], &self.prototypes[..]) {
            ([name], [], []) => name,
            ([], [text], []) => return self.parse_plain(text, &text_name(1), tried),
            _ => {
                let reason = "several headers need it".into();
                return Err(no_compiler(&self.shown(), tried, reason));
            }
        };
        let here = std::iter::once(PathBuf::from(name));
        let directories = self.directories.iter();
        let mut candidates = here.chain(directories.map(|directory| directory.join(name)));
        let Some(path) = candidates.find(|path| path.is_file()) else {
            let reason = "only it knows where that is".into();
            return Err(no_compiler(name, tried, reason));
        };
        let io_error = |source: io::Error| HeaderError::Io {
            path: path.clone(),
            source,
        };
        let mut bytes = Vec::new();
        let limit = u64::try_from(MAX_TEXT).unwrap_or(u64::MAX);
        let file = File::open(&path).map_err(io_error)?;
        let length = file
            .take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(io_error)?;
        if length > MAX_TEXT {
            let (name, limit) = (name.clone(), MAX_TEXT);
            return Err(HeaderError::TooLong { name, limit });
        }
        let text = String::from_utf8_lossy(&bytes);
        self.parse_plain(&text, &path.to_string_lossy(), tried)
    }

    /// Reads the text of a file that needs no preprocessor.
    fn parse_plain(
        &self,
        text: &str,
        file: &str,
        tried: Vec<Attempt>,
    ) -> Result<Declarations, HeaderError> {
        let macros = self.macros.iter().map(|(name, _)| name.as_str());
        match plain::read(text, macros) {
            Ok(plain) => {
                let source = Source {
                    map: Some(SourceMap::of_file(file)),
                    macros: Macros::new(&plain.directives),
                    evaluator: None,
                    exported: None,
                };
                Ok(Declarations::new(Arc::from(plain.text), source))
            }
            Err(needed) => {
                let reason = format!("line {} has `{}`", needed.line, needed.text);
                Err(no_compiler(&self.shown(), tried, reason))
            }
        }
    }

    /// Returns the compilers to try, each a program and its first arguments.
    fn compilers(&self) -> Vec<Vec<OsString>> {
        compilers(self.compiler.as_ref())
    }
}

/// Returns the name of a text in messages, by its number.
fn text_name(number: usize) -> String {
    match number {
        1 => "<header_text>".into(),
        number => format!("<header_text {number}>"),
    }
}

/// Returns the C compilers to try, of which the given one is the only one.
pub(crate) fn compilers(given: Option<&OsString>) -> Vec<Vec<OsString>> {
    crate::compiler::commands(given, "CC", &["cc", "gcc", "clang"])
}

fn name_error(name: &OsStr, reason: &'static str) -> HeaderError {
    let name = name.to_owned();
    HeaderError::Name { name, reason }
}

fn no_compiler(name: &OsStr, tried: Vec<Attempt>, reason: String) -> HeaderError {
    let name = name.to_owned();
    HeaderError::NoCompiler {
        name,
        tried,
        reason,
    }
}
