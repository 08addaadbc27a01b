//! What can go wrong with a header as a whole.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A header that can't be read.
///
/// ```
/// use mapcall_decl::{Header, HeaderError};
///
/// let error = Header::new("math.h").define("2D", None).read().unwrap_err();
/// assert!(matches!(&error, HeaderError::Macro { name, .. } if name == "2D"));
/// assert_eq!(
///     error.to_string(),
///     "expected a macro's name, and a value on one line, got \"2D\"; write NAME or NAME=VALUE"
/// );
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// What can't be a header's name.
    #[error(
        "expected a header's path or name, got {name:?}, which {reason}; write it as in \"zlib.h\""
    )]
    Name {
        /// The name that was given.
        name: OsString,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// What can't be a macro.
    #[error(
        "expected a macro's name, and a value on one line, got {}; write NAME or NAME=VALUE",
        definition(name, value.as_deref())
    )]
    Macro {
        /// The name that was given.
        name: String,
        /// The value that was given.
        value: Option<String>,
    },
    /// No file, and none that the compiler finds.
    #[error(
        "expected a header that {compiler} finds, got {name:?}{}; give its path, or the directory \
         that it is in as one to include",
        missing(directories)
    )]
    NotFound {
        /// The name that was given.
        name: OsString,
        /// The compiler's command.
        compiler: String,
        /// The directories to include that don't exist.
        directories: Vec<PathBuf>,
    },
    /// No compiler, for a header that needs one.
    #[error(
        "expected a C compiler to preprocess {name:?}, found none (tried {}), and without it the \
         header can't be read: {reason}; install one, or set CC to its command",
        list(tried)
    )]
    NoCompiler {
        /// The header.
        name: OsString,
        /// What was tried, in this order.
        tried: Vec<Attempt>,
        /// Why the header can't be read as it is.
        reason: String,
    },
    /// The compiler refuses the header.
    #[error(
        "expected a header that {compiler} takes, got {name:?}: {message}; add the directories \
         and macros that it needs"
    )]
    Refused {
        /// The header.
        name: OsString,
        /// The compiler's command.
        compiler: String,
        /// The first error.
        message: String,
        /// All that the compiler said, up to 64 KiB.
        words: String,
    },
    /// More text than is read.
    #[error("{name:?} has more than {limit} bytes; read a header that includes less")]
    TooLong {
        /// The header.
        name: OsString,
        /// The limit in bytes, for what the preprocessor writes.
        limit: usize,
    },
    /// A compiler that doesn't come to an end.
    #[error("{compiler} took longer than {limit:?} over {name:?}; try its command with -E by hand")]
    TooSlow {
        /// The header.
        name: OsString,
        /// The compiler's command.
        compiler: String,
        /// The limit.
        limit: Duration,
    },
    /// A file that can't be read.
    #[error("can't read {}: {source}", path.display())]
    Io {
        /// The header, or the compiler.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A compiler that can't be run.
///
/// ```
/// use mapcall_decl::{Header, HeaderError};
///
/// match Header::new("math.h").compiler("nocc").read() {
///     Err(HeaderError::NoCompiler { tried, .. }) => assert_eq!(tried[0].command, "nocc"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The command.
    pub command: String,
    /// What the system said.
    pub reason: String,
}

fn definition(name: &str, value: Option<&str>) -> String {
    match value {
        Some(value) => format!("{:?}", format!("{name}={value}")),
        None => format!("{name:?}"),
    }
}

fn missing(directories: &[PathBuf]) -> String {
    match directories {
        [] => String::new(),
        directories => format!(" ({directories:?} to include: no such directory)"),
    }
}

fn list(tried: &[Attempt]) -> String {
    let attempts = tried
        .iter()
        .map(|attempt| format!("{}: {}", attempt.command, attempt.reason));
    attempts.collect::<Vec<_>>().join(", ")
}
