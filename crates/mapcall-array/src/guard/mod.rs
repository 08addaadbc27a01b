//! Faults of maps: an access to a page that is gone becomes an error, and does not kill the process.
//!
//! ```
//! use mapcall_array::{MapOptions, Mode, guard::{self, Reason}};
//!
//! # #[cfg(target_os = "linux")] {
//! guard::install()?;
//! # let file = tempfile::NamedTempFile::new()?;
//! std::fs::write(&file, [7; 6000])?;
//! // SAFETY: no typed view of the array exists while the file becomes shorter.
//! let array = unsafe { MapOptions::new().mode(Mode::Read).map(&file)? };
//! file.as_file().set_len(0)?;
//! // SAFETY: byte 5000 belongs to the map.
//! let byte = unsafe { array.as_ptr().add(5000).read_volatile() };
//! assert_eq!(byte, 0);
//! let faults = array.buffer().map().unwrap().faults();
//! assert_eq!((faults[0].reason, faults[0].file_offset), (Reason::Truncated, 5000));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The system raises SIGBUS for an access to a page that the file does not have any more, and SIGSEGV for an
//! access to a page of a closed map. Both kill the process by default. [`install`] sets handlers that act on
//! the addresses of maps only: they put a page of zeros at the address, log a [`Fault`], and let the access
//! be repeated. Signals of other addresses go to the handlers that were installed before.
//!
//! The fault becomes an error where its effect would be seen: at the end of a call or a batch item; for
//! other accesses the program asks [`Map::check`](crate::Map::check). When a fault is reported, its pages
//! lose all access, so that each later access is a fault of its own.
//!
//! Programs opt in by [`install`]; the Python package does when it opens its first map.

mod fault;
mod log;
mod quiet;
mod registration;
mod registry;
mod repair;
mod report;
mod thread;

use std::io;

use crate::fork::Section;
use crate::sys;

pub use fault::{Fault, Reason};
#[doc(hidden)]
pub use quiet::{is_quiet, troubles};
pub(crate) use registration::Registration;
pub(crate) use registry::MappedFile;
#[doc(hidden)]
pub use repair::{Observer, set_observer};
#[doc(hidden)]
pub use report::{Pending, gone_since, has_zeros, leave_to_call, pending_faults, seal_zeros, take};
pub use thread::ThreadId;
#[doc(hidden)]
pub use thread::{Claim, Reporter};

/// Installs the handlers for SIGBUS and SIGSEGV, or lays them over handlers that were installed since.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use mapcall_array::guard;
///
/// guard::install()?;
/// assert!(guard::is_installed());
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// The handlers use the thread's alternate stack if it has one. They stay until the process ends.
///
/// # Errors
///
/// [`io::ErrorKind::Unsupported`] on systems other than Linux.
pub fn install() -> io::Result<()> {
    // A fork by another thread would leave cells locked in the child.
    let _section = Section::enter();
    repair::prepare();
    sys::install_handlers(repair::repair)
}

/// Returns whether the handlers are the current ones. Another library may have replaced them.
///
/// See [`install`] for an example.
#[must_use]
pub fn is_installed() -> bool {
    sys::has_handlers()
}

/// Removes the handlers where they are the current ones: the actions for the two signals are those of before.
#[doc(hidden)]
pub fn remove() -> io::Result<()> {
    sys::remove_handlers()
}

/// Returns whether a fault was not reported yet.
#[doc(hidden)]
#[must_use]
#[inline]
pub fn is_pending() -> bool {
    log::is_pending()
}

/// Returns a number before an operation, by which [`gone_since`] knows afterwards whether pages lost their
/// access meanwhile; 0 if no map had a fault or was closed.
#[doc(hidden)]
#[must_use]
#[inline]
pub fn epoch() -> usize {
    if is_quiet() { 0 } else { registry::epoch() }
}
