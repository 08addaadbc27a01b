use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Returns the time since the first call, as no call for the processor time of a thread is used on this
/// system.
pub(crate) fn thread_time() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// A directory that only this user can read and write, which can't be had on this system.
#[derive(Debug)]
pub(crate) struct PrivateDirectory(());

impl PrivateDirectory {
    /// Refuses.
    pub(crate) fn open(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn read(&self, _: &str, _: u64) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn replace(&self, _: &str, _: &str, _: &[&[u8]]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn touch(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn files(&self) -> io::Result<Vec<(OsString, (i64, i64), u64)>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
