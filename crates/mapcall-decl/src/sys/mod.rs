//! System calls: the processor time of a thread.

#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(not(unix), path = "unsupported.rs")]
mod os;

pub(crate) use os::thread_time;
