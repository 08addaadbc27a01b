//! System calls: the processor time of a thread, and the directory of a cache.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "unsupported.rs")]
mod os;

#[cfg(feature = "headers")]
pub(crate) use os::PrivateDirectory;
pub(crate) use os::thread_time;
