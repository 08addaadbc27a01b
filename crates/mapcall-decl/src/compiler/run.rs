//! Runs a compiler without a shell and with limits of time and output.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use mapcall_array::fork::{self, Section};

use crate::parse::MAX_TEXT;

/// The maximum number of bytes of a compiler's standard error output that are kept.
const MAX_STDERR: usize = 64 << 10;

/// The number of bytes that every pipe takes without a reader (POSIX, `PIPE_BUF` on Linux).
const PIPE: usize = 4096;

/// The time between two questions whether the compiler is to be stopped.
const POLL: Duration = Duration::from_millis(20);

/// What ends a compiler before its work is done.
#[derive(Clone, Copy)]
pub(crate) struct Limits<'a> {
    pub(crate) time: Duration,
    /// Returns whether the compiler is to be stopped. It is called every few milliseconds.
    pub(crate) stop: &'a dyn Fn() -> bool,
}

impl Limits<'_> {
    pub(crate) fn of_time(time: Duration) -> Self {
        Self {
            time,
            stop: &|| false,
        }
    }
}

/// What a compiler that has exited has written.
pub(crate) struct Exited {
    /// `None` if the system has discarded the status, or if the output is longer than the limit.
    pub(crate) status: Option<ExitStatus>,
    /// At most one byte more than [`MAX_TEXT`].
    pub(crate) output: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// The reason why a compiler has not exited. It has been killed.
#[derive(Debug)]
pub(crate) enum Failed {
    TooSlow,
    Stopped,
    Io(io::Error),
}

/// Starts a compiler. Its temporary files go to the directory `temporary`, if there is one.
pub(crate) fn start(
    argv: &[OsString],
    arguments: &[OsString],
    input: &str,
    temporary: Option<&Path>,
) -> io::Result<Child> {
    let (program, first) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(first).args(arguments);
    if let Some(temporary) = temporary {
        command.env("TMPDIR", temporary);
    }
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

/// Waits until a compiler has exited; kills it if it exceeds a limit.
pub(crate) fn finish(mut child: Child, limits: Limits<'_>) -> Result<Exited, Failed> {
    let exited = run(&mut child, limits);
    // A child whose status the system has discarded has exited; its process id may be another's.
    let has_exited = |exited: &Exited| exited.output.len() <= MAX_TEXT;
    if !exited.as_ref().is_ok_and(has_exited) {
        kill(&mut child);
    }
    exited
}

fn run(child: &mut Child, limits: Limits<'_>) -> Result<Exited, Failed> {
    let clock = Clock {
        start: Instant::now(),
        limits,
    };
    let output = collect(child.stdout.take(), MAX_TEXT + 1, false)?;
    let stderr = collect(child.stderr.take(), MAX_STDERR, true)?;
    let output = clock.receive(&output)?;
    if output.len() > MAX_TEXT {
        return Ok(Exited {
            status: None,
            output,
            stderr: Vec::new(),
        });
    }
    let stderr = clock.receive(&stderr)?;
    // The compiler has closed its outputs, so it exits soon.
    let status = loop {
        match child.try_wait() {
            Ok(None) => {
                clock.check()?;
                thread::sleep(Duration::from_millis(1));
            }
            Ok(status) => break status,
            Err(error) if has_been_waited_for(&error) => break None,
            Err(error) => return Err(Failed::Io(error)),
        }
    };
    Ok(Exited {
        status,
        output,
        stderr,
    })
}

/// The time that a compiler has run.
struct Clock<'a> {
    start: Instant,
    limits: Limits<'a>,
}

impl Clock<'_> {
    fn left(&self) -> Duration {
        self.limits.time.saturating_sub(self.start.elapsed())
    }

    fn check(&self) -> Result<(), Failed> {
        if (self.limits.stop)() {
            Err(Failed::Stopped)
        } else if self.left().is_zero() {
            Err(Failed::TooSlow)
        } else {
            Ok(())
        }
    }

    /// Waits for what has been read of a pipe.
    fn receive(&self, pipe: &Receiver<io::Result<Vec<u8>>>) -> Result<Vec<u8>, Failed> {
        loop {
            match pipe.recv_timeout(self.left().min(POLL)) {
                Ok(bytes) => return Ok(bytes?),
                Err(RecvTimeoutError::Timeout) => self.check()?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failed::Io(io::ErrorKind::BrokenPipe.into()));
                }
            }
        }
    }
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
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
