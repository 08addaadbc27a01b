//! Faults and their reasons.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use super::thread::ThreadId;

/// An access to a page of a map that did not exist: it read zeros, or its write was lost.
///
/// See [`guard`](crate::guard) for an example.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// The absolute path of the file; `None` if it was mapped without one.
    pub path: Option<PathBuf>,
    /// The position in the file of the first byte that was accessed.
    pub file_offset: u64,
    /// The address of that byte.
    pub address: usize,
    /// The addresses of the map.
    pub map: Range<usize>,
    /// The reason why the page did not exist.
    pub reason: Reason,
    /// Whether the access was a write.
    pub is_write: bool,
    /// The number of signals until the fault was reported. One signal may stand for many accesses to many
    /// pages.
    pub signals: u32,
    /// The thread that made the access.
    pub thread: ThreadId,
}

/// The reason of a [`Fault`].
///
/// ```
/// use mapcall_array::guard::Reason;
///
/// assert_eq!(Reason::NoSpace.to_string(), "no space");
/// # #[cfg(target_os = "linux")]
/// assert_eq!(Reason::NoSpace.errno(), Some(28));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Reason {
    /// No reason is known.
    Unknown = 0,
    /// The file has become shorter than the map.
    Truncated,
    /// The map was closed.
    Closed,
    /// The device could not read the page.
    Io,
    /// The page is a hole of the file, and the disk has no space for it.
    NoSpace,
}

impl Reason {
    pub(super) const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Truncated,
            2 => Self::Closed,
            3 => Self::Io,
            4 => Self::NoSpace,
            _ => Self::Unknown,
        }
    }

    /// Returns the name: `truncated`, `closed`, `io`, `no space` or `unknown`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Truncated => "truncated",
            Self::Closed => "closed",
            Self::Io => "io",
            Self::NoSpace => "no space",
        }
    }

    /// Returns the system's error number, for the reasons that have one.
    #[must_use]
    pub const fn errno(self) -> Option<i32> {
        match self {
            Self::Io => Some(EIO),
            Self::NoSpace => Some(ENOSPC),
            _ => None,
        }
    }
}

/// Error numbers, which are the same on all systems.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.reason {
            Reason::Unknown => "the page can't be accessed any more",
            Reason::Truncated => "the file is shorter than the map; open it again",
            Reason::Closed => "the map is closed; open the file again",
            Reason::Io => "the device can't read the page; copy what can be read",
            Reason::NoSpace => {
                "the disk has no space for the page, a hole of the file; make space and open it again"
            }
        };
        let what = if self.is_write { "wrote" } else { "read" };
        let offset = self.file_offset;
        write!(
            f,
            "{what} a page that is gone, at byte {offset} of the file: {why}"
        )
    }
}

impl std::error::Error for Fault {}
