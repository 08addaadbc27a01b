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
mod plain;
mod standard;

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::parse::{self, MAX_TEXT};
use crate::prototype::Declarations;
use crate::source_map::{self, SourceMap};
use compiler::Input;
pub use error::{Attempt, HeaderError};

/// The default time limit of the preprocessor: much longer than any header takes.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// The maximum length of a header's name in bytes: the limit of systems for a path.
const MAX_NAME: usize = 4096;

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
    name: OsString,
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
            name: name.into(),
            directories: Vec::new(),
            macros: Vec::new(),
            compiler: None,
            time_limit: TIME_LIMIT,
        }
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
        let path = Path::new(&self.name);
        let input = if path.is_file() {
            Input::File(path)
        } else {
            Input::Name(
                self.name
                    .to_str()
                    .ok_or_else(|| self.name_error("is no Unicode"))?,
            )
        };
        let (text, lines) = match compiler::preprocess(self, input) {
            Ok(output) => {
                let name = self.name.to_string_lossy();
                let asked = standard::name(&name);
                source_map::separate(&String::from_utf8_lossy(&output), |file| {
                    standard::name(file).is_some_and(|name| Some(name) != asked)
                })
            }
            Err(HeaderError::NoCompiler { tried, .. }) => self.read_plain(tried)?,
            Err(error) => return Err(error),
        };
        Ok(parse::declarations(&Arc::from(text), Some(&lines)))
    }

    /// Refuses names and macros that the compiler would read as other options.
    fn check(&self) -> Result<(), HeaderError> {
        let name = self.name.as_encoded_bytes();
        if name.is_empty() {
            return Err(self.name_error("is empty"));
        }
        if name.len() > MAX_NAME {
            return Err(self.name_error("is too long"));
        }
        if !Path::new(&self.name).is_file() && name.iter().any(|byte| b"<>\n\r\0".contains(byte)) {
            return Err(self.name_error("has characters that no #include takes"));
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

    fn name_error(&self, reason: &'static str) -> HeaderError {
        let name = self.name.clone();
        HeaderError::Name { name, reason }
    }

    /// Reads the text of a header that needs no preprocessor.
    fn read_plain(&self, tried: Vec<Attempt>) -> Result<(String, SourceMap), HeaderError> {
        let name = Path::new(&self.name);
        let here = std::iter::once(name.to_owned());
        let candidates = here.chain(
            self.directories
                .iter()
                .map(|directory| directory.join(name)),
        );
        let Some(path) = candidates.into_iter().find(|path| path.is_file()) else {
            let (name, reason) = (self.name.clone(), "only it knows where that is".into());
            return Err(HeaderError::NoCompiler {
                name,
                tried,
                reason,
            });
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
            let (name, limit) = (self.name.clone(), MAX_TEXT);
            return Err(HeaderError::TooLong { name, limit });
        }
        let macros = self.macros.iter().map(|(name, _)| name.as_str());
        match plain::read(&String::from_utf8_lossy(&bytes), macros) {
            Ok(text) => Ok((text, SourceMap::of_file(&path.to_string_lossy()))),
            Err(needed) => Err(HeaderError::NoCompiler {
                name: self.name.clone(),
                tried,
                reason: format!("line {} has `{}`", needed.line, needed.text),
            }),
        }
    }

    /// Returns the compilers to try, each a program and its first arguments.
    fn compilers(&self) -> Vec<Vec<OsString>> {
        if let Some(compiler) = &self.compiler {
            return vec![vec![compiler.clone()]];
        }
        match env::var_os("CC").filter(|command| !command.is_empty()) {
            Some(command) => {
                // The text is either the path of a program, with spaces, or a program with arguments.
                let argv = command
                    .to_str()
                    .unwrap_or_default()
                    .split_ascii_whitespace();
                let argv: Vec<_> = argv.map(OsString::from).collect();
                let mut commands = vec![vec![command]];
                commands.extend((argv.len() > 1).then_some(argv));
                commands
            }
            None => ["cc", "gcc", "clang"]
                .map(|name| vec![OsStr::new(name).to_owned()])
                .into(),
        }
    }
}
