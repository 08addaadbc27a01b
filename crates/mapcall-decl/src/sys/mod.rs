//! System calls that the crate needs outside of loading libraries.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "unsupported.rs")]
mod os;

pub(crate) use os::thread_time;
