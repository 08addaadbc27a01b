use std::io;
use std::path::Path;

use super::StoredFile;

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

    pub(crate) fn files(&self) -> io::Result<Vec<StoredFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
