//! The command `mapcall`: calls C functions over array files from the shell.
//!
//! This crate is the command as a function, [`run`], which the program calls, and the Python package, too.
//!
//! ```
//! let directory = tempfile::tempdir()?;
//! let (x, y) = (directory.path().join("x.f64"), directory.path().join("y.npy"));
//! std::fs::write(&x, 0.5_f64.to_ne_bytes().repeat(1000))?;
//!
//! // mapcall call m 'double cos(double x)' x=x.f64:f8 -o y.npy --threads 2
//! let x = format!("x={}:f8", x.display());
//! let output = y.display().to_string();
//! let arguments = ["mapcall", "call", "m", "double cos(double x)", &x, "-o", &output, "--threads", "2"];
//! assert_eq!(mapcall_cli::run(arguments, None), 0);
//! assert!(y.exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Overview
//!
//! `call` calls a function, `compile` makes a library of C code, `info` describes array files, `prototypes`, `constants` and `symbols` list what
//! headers and libraries have, `demo` measures calls over a file of 1 GiB, `completions` and `man` write the
//! completions for shells and the manual.
//!
//! # Features
//!
//! Results go to the standard output; with `--json`, as one JSON object per line. Errors go to the standard
//! error output, in one line, and set the exit code. Ctrl-C leaves no partial file.
//!
//! # Design
//!
//! Each subcommand is a module; the crate `mapcall` calls the functions. [`value`] parses the arguments of a
//! call; [`cluster`] describes a batch to the program that runs it on a cluster.

mod bar;
mod call;
pub mod cluster;
mod compile;
mod completions;
mod constants;
mod demo;
mod info;
mod interrupt;
mod man;
mod output;
mod prototypes;
mod show;
mod symbols;
mod units;
pub mod value;

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};

use clap::builder::Styles;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use cluster::{Cluster, ClusterError};
use mapcall::array;
use mapcall::contract::ArgumentError;
use mapcall::declarations::ConstantError;
use mapcall::{CallError, CompileError, HeaderError, LibraryError};
use value::ValueError;
use value::file::FileError;

/// The exit code for invalid input, which is also that of clap.
const BAD_INPUT: u8 = 2;
/// The exit code if a called function reports a failure.
const FAILED: u8 = 1;
/// The number that shells add to the number of a signal for the exit code.
const SIGNALLED: u8 = 128;

/// The exit codes and their meanings, for `--help` and the manual page.
const EXIT_CODES: [(&str, &str); 5] = [
    (
        "0",
        "success, also if the reader of the output closes it early",
    ),
    ("1", "a function that was called reported a failure"),
    (
        "2",
        "bad input; one line on the standard error output has the remedy",
    ),
    ("130", "interrupted"),
    ("143", "terminated by SIGTERM"),
];

/// Call C functions in shared libraries on array files, by their prototypes.
#[derive(Parser)]
#[command(
    name = "mapcall",
    version,
    arg_required_else_help = true,
    after_help = exit_codes()
)]
struct Command {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Call(Box<call::Arguments>),
    Compile(compile::Arguments),
    Info(info::Arguments),
    Prototypes(prototypes::Arguments),
    Constants(constants::Arguments),
    Symbols(symbols::Arguments),
    Demo(demo::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

fn exit_codes() -> String {
    let lines = EXIT_CODES.map(|(code, meaning)| format!("\n  {code:<4} {meaning}"));
    format!("Exit codes:{}", lines.concat())
}

/// Returns the definition of the command for clap.
fn command() -> clap::Command {
    Command::command()
}

/// The reason why a command fails.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Source code that the compiler refuses; its messages have been shown.
    #[error("expected code that {compiler} takes, got {count} errors, shown above")]
    NotCompiled { compiler: String, count: usize },
    #[error(
        "the user's cache folder can't be used, or is turned off, so the library has no file; name one with -o"
    )]
    NoCache,
    #[error(transparent)]
    Constant(#[from] ConstantError),
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// Files that can't be used; the other files have been shown.
    #[error("{}", .0.iter().map(FileError::to_string).collect::<Vec<_>>().join("; "))]
    Files(Vec<FileError>),
    #[error("expected a subcommand, got {name:?}; the manual has pages for {names}")]
    NoCommand { name: String, names: String },
    /// A header with declarations that can't be parsed; their errors have been shown.
    #[error(
        "expected a header in C, got {header:?} with {count} places that are none, shown above; the \
         functions that could be read are listed"
    )]
    Unreadable { header: OsString, count: usize },
    #[error(transparent)]
    Function(#[from] call::FunctionError),
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error(transparent)]
    Argument(#[from] Box<ArgumentError>),
    /// An argument that is refused, with the remedy for the command.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    OutputFile(#[from] call::OutputError),
    /// A call that was refused or failed.
    #[error("{}", call_error(.0))]
    Call(#[from] CallError),
    /// A file that can't be written.
    #[error("{}{}", .0, space_for(.0))]
    Array(#[from] array::Error),
    #[error(transparent)]
    Dask(#[from] call::DaskError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Demo(#[from] demo::DemoError),
    /// The command was ended by SIGINT or SIGTERM.
    #[error("{left}")]
    Interrupted {
        signal: u8,
        /// The message, with the files that are missing or incomplete.
        left: String,
    },
    #[error("can't write the output: {0}")]
    Output(#[from] io::Error),
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::Files(vec![error])
    }
}

impl Failure {
    /// Returns the exit code.
    fn code(&self) -> u8 {
        match self {
            Self::Call(CallError::Status { .. }) | Self::Cluster(ClusterError::Status(_)) => FAILED,
            Self::Interrupted { signal, .. } => SIGNALLED.saturating_add(*signal),
            _ => BAD_INPUT,
        }
    }
}

/// Returns the message of an error of a call.
fn call_error(error: &CallError) -> String {
    match error {
        CallError::Array { source, .. } => format!("{error}{}", space_for(source)),
        _ => error.to_string(),
    }
}

/// Returns the remedy for an error of a file or of memory.
fn space_for(error: &array::Error) -> &'static str {
    match error {
        array::Error::Io { source, .. } => match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                "; free some space, or choose another disk"
            }
            io::ErrorKind::FileTooLarge => "; raise the limit, or choose another file system",
            io::ErrorKind::NotFound => "; check the name of the folder",
            io::ErrorKind::PermissionDenied => "; choose another folder, or ask for the right",
            _ => "",
        },
        array::Error::OutOfMemory { .. } => "; write it to a file",
        _ => "",
    }
}

/// Runs the command with arguments, the first of which is the program's name, and returns the exit code.
///
/// ```
/// assert_eq!(mapcall_cli::run(["mapcall", "--version"], None), 0);
/// assert_eq!(mapcall_cli::run(["mapcall", "no-such-command"], None), 2);
/// ```
///
/// `cluster` makes the calls of `call --dask`; without one, that option is an error.
///
/// The exit code is 0 on success, also if the reader of the output closes it early; 1 if a called function
/// reports a failure; 130 after Ctrl-C; and 2 on any other error.
pub fn run<T>(arguments: impl IntoIterator<Item = T>, cluster: Option<&dyn Cluster>) -> u8
where
    T: Into<OsString> + Clone,
{
    let command = match Command::try_parse_from(arguments) {
        Ok(command) => command,
        Err(error) if !error.use_stderr() => {
            // If the text can't be written, the exit code is the only report.
            let _ = error.print();
            return 0;
        }
        Err(error) => {
            if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                let _ = error.print();
            } else {
                complain(usage(&error));
            }
            return BAD_INPUT;
        }
    };
    // A file that becomes shorter is an error of the call then. On systems without a guard, the process dies.
    let _ = mapcall::array::guard::install();
    let done = match command.task {
        Task::Call(arguments) => call::run(&arguments, cluster),
        Task::Compile(arguments) => compile::run(&arguments),
        Task::Info(arguments) => info::run(&arguments),
        Task::Prototypes(arguments) => prototypes::run(&arguments),
        Task::Constants(arguments) => constants::run(&arguments),
        Task::Symbols(arguments) => symbols::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Completions(arguments) => completions::run(&arguments),
        Task::Man(arguments) => man::run(&arguments),
    };
    let Err(failure) = done else {
        return 0;
    };
    match &failure {
        // The reader has closed the pipe, as in `mapcall symbols m | head`.
        Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return 0,
        Failure::Files(errors) => errors.iter().for_each(complain),
        failure => complain(failure),
    }
    failure.code()
}

/// Writes an error to the standard error output, on one line.
fn complain(error: impl Display) {
    let style = Styles::styled();
    let style = style.get_error();
    let message = one_line(&error.to_string());
    // If the error can't be written, the exit code is the only report.
    let _ = writeln!(anstream::stderr(), "{style}error:{style:#} {message}");
}

/// Returns clap's error for invalid arguments, with its paragraphs joined on one line.
fn usage(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph.split('\n').map(str::trim).collect();
        lines.join(" ").trim().to_owned()
    });
    let paragraphs: Vec<String> = paragraphs.filter(|text| !text.is_empty()).collect();
    let line = paragraphs.join("; ");
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

/// Escapes the control characters of a text, as file names may have any.
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
