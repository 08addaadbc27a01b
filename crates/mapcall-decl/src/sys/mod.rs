//! System calls: the directory of a cache.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "unsupported.rs")]
mod os;

use std::ffi::OsString;

pub(crate) use os::PrivateDirectory;

/// A file of the directory.
#[derive(Debug)]
pub(crate) struct StoredFile {
    pub(crate) name: OsString,
    /// The time of modification in seconds and nanoseconds.
    pub(crate) modified: (i64, i64),
    /// The size in bytes.
    pub(crate) size: u64,
}
