//! The errors of compiling source code.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Diagnostic, Language, Severity};
use crate::header::Attempt;

/// The maximum number of errors that a message shows.
const MAX_SHOWN: usize = 5;

/// A source code that can't be compiled.
///
/// ```
/// use mapcall_decl::source::SourceCode;
///
/// let error = SourceCode::new("int f(void)\n{\n    return 2 +;\n}").build().unwrap_err();
/// assert_eq!(error.to_string(), "\
/// error: expected expression before ';' token
///   |
/// 3 |     return 2 +;
///   |               ^");
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The compiler or the linker refuses the source code.
    #[error("{}", Shown(diagnostics, text))]
    Refused {
        /// The messages of the compiler. At least one is an error.
        diagnostics: Vec<Diagnostic>,
        /// The text of the source code.
        text: Arc<str>,
        /// The compiler's command.
        compiler: String,
        /// The first 64 KiB of the compiler's standard error output.
        output: String,
    },
    /// No compiler was found.
    #[error("expected a {language} compiler, found none (tried {tried}); {remedy}",
        language = .language.name(), tried = Attempt::list(.tried), remedy = .language.installation())]
    NoCompiler {
        /// The language.
        language: Language,
        /// The commands that were tried, in this order.
        tried: Vec<Attempt>,
    },
    /// An option that would change what is made.
    #[error(
        "expected options of the compiler that make another library, got {flag:?}; leave it out of `flags`"
    )]
    Flag {
        /// The option.
        flag: String,
    },
    /// An empty name of a library, or one with a control character.
    #[error(
        "expected the name or the path of a library, got {name:?}; write it as in \"m\" or \"./libkern.so\""
    )]
    LibraryName {
        /// The name that was given.
        name: String,
    },
    /// A macro whose name is no identifier, or whose value has several lines.
    #[error(
        "expected a macro's name, and a value on one line, got {definition:?}; write NAME or NAME=VALUE"
    )]
    Macro {
        /// The definition that was given.
        definition: String,
    },
    /// The text is longer than the limit.
    #[error(
        "the text has more than {limit} bytes; compile it by a build system, and load the library"
    )]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The compiler has not exited within the time limit.
    #[error(
        "{compiler} took longer than {limit:?}, and was stopped; ask for fewer optimisations, or compile it by a build system"
    )]
    TooSlow {
        /// The compiler's command.
        compiler: String,
        /// The limit.
        limit: Duration,
    },
    /// The compiler was stopped: see [`SourceCode::stop_if`](super::SourceCode::stop_if).
    #[error("the compiler was stopped")]
    Stopped,
    /// A file that can't be read or written.
    #[error("can't use {}: {source}", path.display())]
    Io {
        /// The file, or the compiler.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The loader refuses the library that was compiled.
    #[error("expected a library that the loader takes, but {0}")]
    Load(Box<dyn std::error::Error + Send + Sync>),
}

impl CompileError {
    /// Returns the errors, warnings and notes of the compiler.
    #[must_use]
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Refused { diagnostics, .. } => diagnostics,
            _ => &[],
        }
    }
}

/// The errors of a text, each with its line.
struct Shown<'a>(&'a [Diagnostic], &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(diagnostics, text) = self;
        let is_error = |diagnostic: &&Diagnostic| diagnostic.severity == Severity::Error;
        let errors = diagnostics.iter().filter(is_error);
        let count = errors.clone().count();
        for (at, error) in errors.take(MAX_SHOWN).enumerate() {
            let end = if at == 0 { "" } else { "\n" };
            write!(f, "{end}{}", error.render(text))?;
        }
        match count.saturating_sub(MAX_SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n... and {more} more"),
        }
    }
}
