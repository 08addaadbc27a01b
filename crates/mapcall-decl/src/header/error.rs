//! The errors of reading a header.

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
    /// An invalid name of a header.
    #[error(
        "expected a header's path or name, got {name:?}, which {reason}; write it as in \"zlib.h\""
    )]
    Name {
        /// The name that was given.
        name: OsString,
        /// The reason.
        reason: &'static str,
    },
    /// An invalid macro.
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
    /// The header is no existing file, and the compiler does not find it.
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
        /// The given include directories that don't exist.
        directories: Vec<PathBuf>,
    },
    /// No compiler was found, and the header needs a preprocessor.
    #[error(
        "expected a C compiler to preprocess {name:?}, found none (tried {}), and without it the \
         header can't be read: {reason}; install one, or set CC to its command",
        Attempt::list(tried)
    )]
    NoCompiler {
        /// The header.
        name: OsString,
        /// The commands that were tried, in this order.
        tried: Vec<Attempt>,
        /// The reason why the header needs a preprocessor.
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
        /// The first 64 KiB of the compiler's standard error output.
        words: String,
    },
    /// The preprocessed text is longer than the limit.
    #[error("{name:?} has more than {limit} bytes; read a header that includes less")]
    TooLong {
        /// The header.
        name: OsString,
        /// The limit for the preprocessed text, in bytes.
        limit: usize,
    },
    /// The compiler has not exited within the time limit.
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
        /// The error of the system.
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
#[non_exhaustive]
pub struct Attempt {
    /// The command.
    pub command: String,
    /// The error of the system.
    pub reason: String,
}

impl Attempt {
    /// Returns the text of attempts for messages.
    pub(crate) fn list(tried: &[Self]) -> String {
        let attempts = tried
            .iter()
            .map(|attempt| format!("{}: {}", attempt.command, attempt.reason));
        attempts.collect::<Vec<_>>().join(", ")
    }
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
