//! Runs the system's C compiler as a preprocessor.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Child;

use super::{Attempt, Header, HeaderError};
use crate::compiler::{self, Failed, Limits};
use crate::parse::MAX_TEXT;

/// The input of the preprocessor.
#[derive(Debug)]
pub(super) enum Input {
    /// A file.
    File(PathBuf),
    /// Lines that include a header each.
    Lines(String),
}

impl Input {
    /// Returns the input that reads the headers.
    ///
    /// # Errors
    ///
    /// [`HeaderError::Name`] if a name can't be written in a line of C.
    pub(super) fn new(header: &Header) -> Result<Self, HeaderError> {
        let mut lines = String::new();
        for (number, name) in header.names.iter().chain(&header.prototypes).enumerate() {
            let is_file = Path::new(name).is_file();
            if is_file && header.is_one_file() {
                return Ok(Self::File(name.into()));
            }
            if number == header.names.len() {
                write_texts(&mut lines, header);
            }
            let name = name
                .to_str()
                .ok_or_else(|| super::name_error(name, "is no Unicode"))?;
            let _ = if is_file {
                writeln!(lines, "#include \"{name}\"")
            } else {
                writeln!(lines, "#include <{name}>")
            };
        }
        if header.prototypes.is_empty() {
            write_texts(&mut lines, header);
        }
        Ok(Self::Lines(lines))
    }
}

/// Writes the texts of a header, between lines from which messages have their positions.
fn write_texts(lines: &mut String, header: &Header) {
    for (number, text) in (1..).zip(&header.texts) {
        let name = super::text_name(number);
        let _ = write!(lines, "#line 1 \"{name}\"\n{text}\n");
    }
    if !header.texts.is_empty() {
        let next = header.names.len() + 1;
        let _ = writeln!(lines, "#line {next} \"<stdin>\"");
    }
}

/// A preprocessed header.
pub(super) struct Preprocessed {
    pub(super) output: Vec<u8>,
    /// The compiler and its first arguments.
    pub(super) argv: Vec<OsString>,
    /// The directories in which the compiler has searched for headers.
    pub(super) searched: Vec<PathBuf>,
}

/// Preprocesses the header with the first compiler that can be run.
pub(super) fn preprocess(header: &Header, input: &Input) -> Result<Preprocessed, HeaderError> {
    match preprocess_with(header, input, None) {
        // Only a header that includes it needs it, and only if the compiler does not find it.
        Err(HeaderError::Refused { message, .. }) if message.contains(compiler::OWN_HEADER) => {
            let io_error = |source| HeaderError::Io {
                path: env::temp_dir(),
                source,
            };
            let directory = tempfile::tempdir().map_err(io_error)?;
            compiler::write_own_header(directory.path()).map_err(io_error)?;
            preprocess_with(header, input, Some(directory.path()))
        }
        result => result,
    }
}

fn preprocess_with(
    header: &Header,
    input: &Input,
    last: Option<&Path>,
) -> Result<Preprocessed, HeaderError> {
    let mut tried = Vec::new();
    let mut arguments = arguments(header, input);
    if let Some(last) = last {
        let option = ["-idirafter".into(), last.into()];
        arguments.splice(0..0, option);
    }
    let lines = match input {
        Input::File(_) => "",
        Input::Lines(lines) => lines,
    };
    for argv in header.compilers() {
        let name = argv.join(" ".as_ref()).to_string_lossy().into_owned();
        match compiler::start(&argv, &arguments, lines, None) {
            Ok(child) => {
                let (output, searched) = finish(header, input, &name, child)?;
                return Ok(Preprocessed {
                    output,
                    argv,
                    searched,
                });
            }
            Err(error) => tried.push(Attempt {
                command: name,
                reason: error.to_string(),
            }),
        }
    }
    Err(super::no_compiler(&header.shown(), tried, String::new()))
}

pub(super) fn arguments(header: &Header, input: &Input) -> Vec<OsString> {
    // The definitions of macros are in the output, and the directories to search in the messages.
    let mut arguments: Vec<OsString> = ["-E", "-dD", "-v", "-w", "-x", "c"].map(Into::into).into();
    arguments.push("-D__mapcall__=1".into());
    arguments.extend(compiler::search_and_define(
        &header.directories,
        &header.macros,
    ));
    arguments.push(match input {
        Input::File(path) => compiler::behind_dot(path).into(),
        Input::Lines(_) => "-".into(),
    });
    arguments
}

/// Waits for the preprocessor; returns its output, and the directories that it has searched.
fn finish(
    header: &Header,
    input: &Input,
    command: &str,
    child: Child,
) -> Result<(Vec<u8>, Vec<PathBuf>), HeaderError> {
    let name = || header.shown();
    let io_error = |source| HeaderError::Io {
        path: command.into(),
        source,
    };
    let limits = Limits::of_time(header.time_limit);
    let exited = match compiler::finish(child, limits) {
        Ok(exited) => exited,
        Err(Failed::Io(error)) => return Err(io_error(error)),
        Err(Failed::TooSlow | Failed::Stopped) => {
            return Err(HeaderError::TooSlow {
                name: name(),
                compiler: command.into(),
                limit: header.time_limit,
            });
        }
    };
    let (status, output, stderr) = (exited.status, exited.output, exited.stderr);
    if output.len() > MAX_TEXT {
        return Err(HeaderError::TooLong {
            name: name(),
            limit: MAX_TEXT,
        });
    }
    let (searched, stderr) = compiler::split_messages(&String::from_utf8_lossy(&stderr));
    let mut errors = stderr.lines().filter(|line| line.contains("error"));
    let error = errors.next();
    let is_success = match status {
        Some(status) => status.success(),
        // An incomplete last line was written by a compiler that was killed.
        None => error.is_none() && output.ends_with(b"\n"),
    };
    let first = error.or(stderr.lines().next());
    // All compilers that accept these options write line markers.
    if is_success && output.starts_with(b"# ") {
        return Ok((output, searched));
    }
    // An error in a line of the input means that the header itself does not exist.
    if matches!(input, Input::Lines(_))
        && let Some(missing) = first.and_then(|line| included_by(header, line))
    {
        let directories = header.directories.iter();
        return Err(HeaderError::NotFound {
            name: missing.clone(),
            compiler: command.into(),
            directories: directories.filter(|path| !path.is_dir()).cloned().collect(),
        });
    }
    let message = match first {
        Some(line) => line.into(),
        None if is_success => "it wrote no preprocessed text".into(),
        None => match status {
            Some(status) => format!("it ended with {status}"),
            None => "it ended before its output did".into(),
        },
    };
    Err(HeaderError::Refused {
        name: name(),
        compiler: command.into(),
        message,
        words: stderr,
    })
}

/// Returns the header that the line of the input includes which a message names.
fn included_by<'a>(header: &'a Header, message: &str) -> Option<&'a OsString> {
    let (line, _) = message.strip_prefix("<stdin>:")?.split_once(':')?;
    let line: usize = line.parse().ok()?;
    let mut names = header.names.iter().chain(&header.prototypes);
    names.nth(line.checked_sub(1)?)
}
