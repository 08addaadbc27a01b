//! System calls: the directory of a cache.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "unsupported.rs")]
mod os;

pub(crate) use os::PrivateDirectory;
