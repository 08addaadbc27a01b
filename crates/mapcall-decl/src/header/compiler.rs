//! Runs the system's C compiler as a preprocessor, without a shell and with limits of time and output.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use mapcall_array::fork::{self, Section};

use super::{Attempt, Header, HeaderError};
use crate::parse::MAX_TEXT;

/// The maximum number of bytes of a compiler's standard error output that are kept.
const MAX_STDERR: usize = 64 << 10;

/// The input of the preprocessor.
#[derive(Clone, Copy)]
pub(super) enum Input<'a> {
    /// A file.
    File(&'a Path),
    /// A header of this name in the include path.
    Name(&'a str),
}

/// Preprocesses the header with the first compiler that can be run.
pub(super) fn preprocess(header: &Header, input: Input<'_>) -> Result<Vec<u8>, HeaderError> {
    let mut tried = Vec::new();
    for argv in header.compilers() {
        let name = argv.join(" ".as_ref()).to_string_lossy().into_owned();
        match start(header, input, &argv) {
            Ok(child) => return finish(header, input, &name, child),
            Err(error) => tried.push(Attempt {
                command: name,
                reason: error.to_string(),
            }),
        }
    }
    Err(HeaderError::NoCompiler {
        name: header.name.clone(),
        tried,
        reason: String::new(),
    })
}

fn start(header: &Header, input: Input<'_>, argv: &[OsString]) -> io::Result<Child> {
    let (program, first) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(first).args(["-E", "-w", "-x", "c"]);
    for directory in &header.directories {
        // Behind `./`, the path is not read as an option, or as GCC's `=` for the sysroot.
        command.arg("-I").arg(Path::new(".").join(directory));
    }
    for (name, value) in &header.macros {
        command.arg(match value {
            Some(value) => format!("-D{name}={value}"),
            None => format!("-D{name}"),
        });
    }
    match input {
        Input::File(path) => command.arg(Path::new(".").join(path)),
        Input::Name(_) => command.arg("-"),
    };
    own_group(&mut command);
    // Another thread's fork at this moment would give its child the other ends of the pipes.
    let section = Section::enter();
    let mut child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let (Some(mut stdin), Input::Name(name)) = (child.stdin.take(), input) {
        // The text fits in a pipe, so the write does not block. If it fails, the compiler reports why it
        // exited.
        let _ = stdin.write_all(format!("#include <{name}>\n").as_bytes());
    }
    drop(section);
    Ok(child)
}

fn finish(
    header: &Header,
    input: Input<'_>,
    compiler: &str,
    mut child: Child,
) -> Result<Vec<u8>, HeaderError> {
    let name = || header.name.clone();
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
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
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
        return Ok(output);
    }
    // An error in the one input line means that the header itself does not exist.
    if matches!(input, Input::Name(_)) && first.is_some_and(|line| line.starts_with("<stdin>:1:")) {
        let directories = header.directories.iter();
        return Err(HeaderError::NotFound {
            name: name(),
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
