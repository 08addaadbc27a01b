//! Faults of maps as Python exceptions.
//!
//! A fault is raised where its effect would be seen: at the end of a call, and of the operations that the
//! type of the array takes part in ([`check`]). For any other access, such as that of a plain view, the
//! signal handler notifies the interpreter ([`notify`]), which raises the exception before the thread runs
//! much further.

mod exception;
mod install;
mod main_thread;
mod marks;
mod notify;
#[cfg_attr(not(target_os = "linux"), path = "no_watcher.rs")]
mod watcher;

pub(crate) use exception::{check, fault, take_fault};
pub(crate) use install::{ensure, prepare, without_guard};
pub(crate) use main_thread::Detached;
