//! The errors of loading a library, listing its symbols and finding one.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

/// A library that can't be loaded or read, or that lacks a symbol.
///
/// ```
/// use mapcall::{Library, LibraryError};
///
/// // SAFETY: the name matches no library, so that no code runs.
/// let error = unsafe { Library::open("") }.unwrap_err();
/// assert!(matches!(error, LibraryError::EmptyName));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// No file that the name may stand for could be loaded.
    #[error(
        "expected a library that the loader takes, got {name:?}; tried {}; {}",
        list(tried),
        hint.as_deref().unwrap_or(
            "give a path with a separator, a file name such as \"libz.so.1\" or a bare name such as \"z\""
        )
    )]
    NotFound {
        /// The name that was given.
        name: OsString,
        /// The candidates that were tried, in this order.
        tried: Vec<Attempt>,
        /// What is wrong and what to do, if that is known.
        hint: Option<String>,
    },
    /// An empty name, which some loaders take for the process itself.
    #[error(
        "expected a library's path, file name or bare name, got an empty text; the process \
         itself has no name and is loaded without one"
    )]
    EmptyName,
    /// A name with a NUL, where the loader would cut it off.
    #[error("expected a library's name without NUL, got {name:?}; cut it there")]
    NulInName {
        /// The name that was given.
        name: OsString,
    },
    /// The process itself, in a program that is linked statically.
    #[error(
        "expected a program that is linked dynamically, got one whose symbols the loader can't \
         look up ({reason}); load the library by its name"
    )]
    Process {
        /// The loader's message.
        reason: String,
    },
    /// A symbol that the library doesn't have.
    #[error("expected a symbol of {library}, got {symbol:?}; {}", suggest(nearest))]
    NoSymbol {
        /// The library.
        library: String,
        /// The name that was asked for.
        symbol: String,
        /// Up to three exported functions of similar names, the nearest first.
        nearest: Vec<String>,
    },
    /// A symbol at address zero.
    #[error(
        "expected an address for the symbol {symbol:?} of {library}, got NULL: an indirect \
         function without an implementation for this machine, or a weak symbol; choose another"
    )]
    NullSymbol {
        /// The library.
        library: String,
        /// The symbol.
        symbol: String,
    },
    /// A symbol's name with a NUL.
    #[error("expected a symbol's name without NUL, got {symbol:?}; cut it there")]
    NulInSymbol {
        /// The name.
        symbol: String,
    },
    /// Symbols can't be listed, because the library's file is not known.
    #[error(
        "expected a library whose file is known, got {library}, which has none on this system; \
         load it by its path"
    )]
    NoFile {
        /// The library.
        library: String,
    },
    /// The library's file can't be read.
    #[error("can't read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The library's file is truncated, or not a shared library.
    #[error(
        "expected a shared library (ELF, Mach-O or PE) in {}, got a file that breaks off or is \
         none: {source}; build or install it again",
        path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// The error of the file's parser.
        source: Box<dyn Error + Send + Sync>,
    },
}

/// A name that the loader was given, and its reason for not loading it.
///
/// ```
/// use mapcall::{Library, LibraryError};
///
/// // SAFETY: the name matches no library, so that no code runs.
/// match unsafe { Library::open("/nowhere/libkern.so") } {
///     Err(LibraryError::NotFound { tried, .. }) => {
///         assert_eq!(tried[0].candidate, "/nowhere/libkern.so");
///         assert!(!tried[0].reason.is_empty());
///     }
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// A path, or a file name that the loader searches for.
    pub candidate: OsString,
    /// The loader's message.
    pub reason: String,
}

impl Attempt {
    pub(super) fn new(candidate: OsString, error: &libloading::Error) -> Self {
        let reason = reason(error);
        let reason = without_name(&reason, &candidate).to_owned();
        Self { candidate, reason }
    }
}

/// Returns the loader's message if it gave one, otherwise the error's own.
pub(super) fn reason(error: &libloading::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), ToString::to_string)
}

/// Removes the file's name from the start of a loader's message, because the attempt has it already.
fn without_name<'a>(reason: &'a str, candidate: &OsStr) -> &'a str {
    let name = candidate.to_string_lossy();
    reason
        .strip_prefix(&*name)
        .and_then(|reason| reason.strip_prefix(": "))
        .unwrap_or(reason)
}

fn list(tried: &[Attempt]) -> String {
    let attempts = tried
        .iter()
        .map(|attempt| format!("{} ({})", attempt.candidate.display(), attempt.reason));
    attempts.collect::<Vec<_>>().join(", ")
}

fn suggest(nearest: &[String]) -> String {
    match nearest {
        [] => "list its symbols to see what it exports".into(),
        names => format!("did you mean {}?", names.join(" or ")),
    }
}
