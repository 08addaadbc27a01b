//! The command `mapcall`, as a function: the program calls it, and so does the Python package.
//!
//! ```
//! assert_eq!(mapcall_cli::run(["mapcall", "symbols", "m"]), 0);
//! assert_eq!(mapcall_cli::run(["mapcall", "prototypes", "misspelt.h"]), 2);
//! ```
//!
//! Results go to the standard output; with `--json`, as one JSON object a line. Errors go to the
//! standard error output.

mod output;
mod prototypes;
mod symbols;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{Parser, Subcommand};
use mapcall::{HeaderError, LibraryError};

/// The exit code for input that can't be used, which is clap's as well.
const BAD_INPUT: u8 = 2;

/// C functions in shared libraries, by their prototypes.
#[derive(Parser)]
#[command(
    name = "mapcall",
    version,
    arg_required_else_help = true,
    after_help = "The exit code is 0 on success, and 2 if anything was wrong."
)]
struct Command {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Prototypes(prototypes::Arguments),
    Symbols(symbols::Arguments),
}

/// Why a command ends early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// Declarations that can't be read, which have been shown.
    #[error(
        "expected a header in C, got {header:?} with {count} places that are none, shown above; the \
         functions that could be read are listed"
    )]
    Unreadable { header: OsString, count: usize },
    #[error("can't write the output: {0}")]
    Output(#[from] io::Error),
}

/// Runs the command with these arguments, of which the first is the program's name; the exit code.
///
/// ```
/// assert_eq!(mapcall_cli::run(["mapcall", "--version"]), 0);
/// assert_eq!(mapcall_cli::run(["mapcall", "no-such-command"]), 2);
/// ```
///
/// The code is 0 on success, also when nobody reads the output to its end, and 2 on any error.
pub fn run<T>(arguments: impl IntoIterator<Item = T>) -> u8
where
    T: Into<OsString> + Clone,
{
    let command = match Command::try_parse_from(arguments) {
        Ok(command) => command,
        Err(error) => {
            // Where it can't be shown, the code says it.
            let _ = error.print();
            return if error.use_stderr() { BAD_INPUT } else { 0 };
        }
    };
    let done = match command.task {
        Task::Prototypes(arguments) => prototypes::run(&arguments),
        Task::Symbols(arguments) => symbols::run(&arguments),
    };
    match done {
        Ok(()) => 0,
        // `mapcall symbols m | head`
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(failure) => {
            let _ = writeln!(io::stderr(), "error: {}", one_line(&failure.to_string()));
            BAD_INPUT
        }
    }
}

/// The text with its control characters escaped: names may have any.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    line
}
