//! Runs the system's C compiler as a preprocessor, without a shell and with limits of time and output.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mapcall_array::fork::{self, Section};

use super::{Attempt, Header, HeaderError};
use crate::parse::MAX_TEXT;

/// The maximum number of bytes of a compiler's standard error output that are kept.
const MAX_STDERR: usize = 64 << 10;

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
        Err(HeaderError::Refused { message, .. }) if message.contains(OWN_HEADER) => {
            let directory = OwnHeader::new()?;
            preprocess_with(header, input, Some(&directory.0))
        }
        result => result,
    }
}

/// The header of mapcall's notations.
const OWN_HEADER: &str = "mapcall.h";

/// A directory with [`OWN_HEADER`], which is removed when this is dropped.
struct OwnHeader(PathBuf);

impl OwnHeader {
    fn new() -> Result<Self, HeaderError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let name = format!(
            "mapcall-{}-{}",
            process::id(),
            now.unwrap_or_default().as_nanos()
        );
        let path = env::temp_dir().join(name);
        let io_error = |source| HeaderError::Io {
            path: path.clone(),
            source,
        };
        // It fails if there is such a directory.
        fs::create_dir(&path).map_err(io_error)?;
        let directory = Self(path.clone());
        fs::write(path.join(OWN_HEADER), crate::MAPCALL_H).map_err(io_error)?;
        Ok(directory)
    }
}

impl Drop for OwnHeader {
    fn drop(&mut self) {
        // A file that stays in the folder for temporary files does no harm.
        let _ = fs::remove_dir_all(&self.0);
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
        match start(&argv, &arguments, lines) {
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
    for directory in &header.directories {
        arguments.extend(["-I".into(), behind_dot(directory).into()]);
    }
    for (name, value) in &header.macros {
        let definition = match value {
            Some(value) => format!("-D{name}={value}"),
            None => format!("-D{name}"),
        };
        arguments.push(definition.into());
    }
    arguments.push(match input {
        Input::File(path) => behind_dot(path).into(),
        Input::Lines(_) => "-".into(),
    });
    arguments
}

/// Returns the path behind `./`, so that it is not read as an option, or as GCC's `=` for the sysroot.
pub(super) fn behind_dot(path: &Path) -> PathBuf {
    Path::new(".").join(path)
}

fn start(argv: &[OsString], arguments: &[OsString], input: &str) -> io::Result<Child> {
    let (program, first) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(first).args(arguments);
    own_group(&mut command);
    // Another thread's fork at this moment would give its child the other ends of the pipes.
    let section = Section::enter();
    let mut child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        if input.len() <= PIPE {
            // The text fits in the pipe, so the write does not block. If it fails, the compiler reports why it
            // exited.
            let _ = stdin.write_all(input.as_bytes());
        } else {
            let input = input.to_owned();
            let written = fork::spawn(move || {
                let _ = stdin.write_all(input.as_bytes());
            });
            if let Err(error) = written {
                kill(&mut child);
                return Err(error);
            }
        }
    }
    drop(section);
    Ok(child)
}

/// The number of bytes that every pipe takes without a reader (POSIX, `PIPE_BUF` on Linux).
const PIPE: usize = 4096;

/// Compiles a text to an object file; returns the messages of the compiler if it refuses the text.
///
/// # Errors
///
/// The reason in one line if the compiler can't be run, or takes too long.
pub(super) fn compile(
    argv: &[OsString],
    arguments: &[OsString],
    input: &str,
    limit: Duration,
) -> Result<Result<(), String>, String> {
    let mut child = start(argv, arguments, input).map_err(|error| error.to_string())?;
    let end = run(&mut child, limit);
    if !matches!(end, Ok(Some(_))) {
        kill(&mut child);
    }
    let end = end.map_err(|error| error.to_string())?;
    let (status, _, stderr) = end.ok_or_else(|| format!("it took longer than {limit:?}"))?;
    let messages = String::from_utf8_lossy(&stderr).into_owned();
    Ok(match status {
        Some(status) if !status.success() => Err(messages),
        _ => Ok(()),
    })
}

/// Waits for the preprocessor; returns its output, and the directories that it has searched.
fn finish(
    header: &Header,
    input: &Input,
    compiler: &str,
    mut child: Child,
) -> Result<(Vec<u8>, Vec<PathBuf>), HeaderError> {
    let name = || header.shown();
    let io_error = |source| HeaderError::Io {
        path: compiler.into(),
        source,
    };
    let (status, output, stderr) = match run(&mut child, header.time_limit) {
        Ok(Some(end)) => end,
        Ok(None) => {
            kill(&mut child);
            return Err(HeaderError::TooSlow {
                name: name(),
                compiler: compiler.into(),
                limit: header.time_limit,
            });
        }
        Err(error) => {
            kill(&mut child);
            return Err(io_error(error));
        }
    };
    if output.len() > MAX_TEXT {
        kill(&mut child);
        return Err(HeaderError::TooLong {
            name: name(),
            limit: MAX_TEXT,
        });
    }
    let (searched, stderr) = split_messages(&String::from_utf8_lossy(&stderr));
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
            compiler: compiler.into(),
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
        compiler: compiler.into(),
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

/// Returns the directories that `-v` lists, and the other messages.
fn split_messages(stderr: &str) -> (Vec<PathBuf>, String) {
    const END: &str = "End of search list.";
    let Some((list, rest)) = stderr.split_once(END) else {
        return (Vec::new(), stderr.to_owned());
    };
    let list = list.split_once("#include \"...\" search starts here:");
    let (_, list) = list.unwrap_or_default();
    let directories = list.lines().filter_map(|line| line.strip_prefix(' '));
    let is_message = |line: &&str| {
        let variables = ["COMPILER_PATH=", "LIBRARY_PATH=", "COLLECT_GCC_OPTIONS="];
        !line.is_empty() && !variables.iter().any(|name| line.starts_with(name))
    };
    let rest: Vec<_> = rest.lines().filter(is_message).collect();
    (directories.map(PathBuf::from).collect(), rest.join("\n"))
}

/// The exit status of a compiler, `None` if the system has discarded it, and the bytes that the compiler
/// wrote to its standard output and standard error.
type End = (Option<ExitStatus>, Vec<u8>, Vec<u8>);

/// Waits until the compiler has exited; returns `None` if it has not exited within the time limit.
fn run(child: &mut Child, limit: Duration) -> io::Result<Option<End>> {
    let start = Instant::now();
    let left = || limit.saturating_sub(start.elapsed());
    let output = collect(child.stdout.take(), MAX_TEXT + 1, false)?;
    let stderr = collect(child.stderr.take(), MAX_STDERR, true)?;
    let output = match output.recv_timeout(left()) {
        Ok(output) => output?,
        Err(RecvTimeoutError::Timeout) => return Ok(None),
        Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
    };
    if output.len() > MAX_TEXT {
        return Ok(Some((None, output, Vec::new())));
    }
    let stderr = match stderr.recv_timeout(left()) {
        Ok(stderr) => stderr?,
        Err(RecvTimeoutError::Timeout) => return Ok(None),
        Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
    };
    // The compiler has closed its outputs, so it exits soon.
    let status = loop {
        match child.try_wait() {
            Ok(None) if left().is_zero() => return Ok(None),
            Ok(None) => thread::sleep(Duration::from_millis(1)),
            Ok(status) => break status,
            Err(error) if has_been_waited_for(&error) => break None,
            Err(error) => return Err(error),
        }
    };
    Ok(Some((status, output, stderr)))
}

/// Returns whether the exit status of a child is lost, because this process ignores `SIGCHLD`, or because
/// a handler of `SIGCHLD` waits for every child.
#[cfg(unix)]
fn has_been_waited_for(error: &io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::CHILD)
}

#[cfg(not(unix))]
fn has_been_waited_for(_: &io::Error) -> bool {
    false
}

/// Reads a pipe on a separate thread, so that the compiler does not block on one full pipe while the other
/// is read.
fn collect(
    pipe: Option<impl Read + Send + 'static>,
    limit: usize,
    drain: bool,
) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let mut pipe = pipe.ok_or(io::ErrorKind::BrokenPipe)?;
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    fork::spawn(move || {
        let mut bytes = Vec::new();
        let mut read = pipe.by_ref().take(limit).read_to_end(&mut bytes);
        if drain && read.is_ok() {
            read = io::copy(&mut pipe, &mut io::sink()).map(|_| bytes.len());
        }
        // Sending fails if the receiver was dropped at the time limit; the output is not needed then.
        let _ = sender.send(read.map(|_| bytes));
    })?;
    Ok(receiver)
}

/// Starts the command in a new process group, so that a compiler driver and its subprocesses can be killed
/// together.
#[cfg(unix)]
fn own_group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
fn own_group(_: &mut Command) {}

fn kill(child: &mut Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
        let pid = Pid::from_child(child);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // The system does not reuse the process id before the child has been waited for.
        if waitid(WaitId::Pid(pid), options).is_ok() {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}
