//! What tells a file from another one, and from itself after a change.

use std::fs::{File, Metadata};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{MapError, Mode};
use crate::error::Result;
use crate::map::io_error;
use crate::sys;

/// The facts by which a file is recognised after a reference to it has travelled.
///
/// ```
/// use mapcall_array::{Mode, map::Fingerprint};
///
/// let file = tempfile::tempfile()?;
/// let before = Fingerprint::of(&file)?;
/// file.set_len(6000)?;
/// let grown = Fingerprint::of(&file)?;
/// assert!(before.check(&grown, Mode::Read).is_ok(), "a file that has grown is the same");
/// assert!(grown.check(&before, Mode::ReadWrite).is_err(), "one that has shrunk is not");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The device number is not part of it, since it differs between hosts that share a file system.
/// Systems without inode numbers have 0 there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// The inode number.
    pub inode: u64,
    /// When the file was made, in nanoseconds since 1970, where the file system knows: a new file
    /// often gets the inode number of a removed one.
    pub created: Option<i128>,
    /// The size in bytes.
    pub len: u64,
    /// When the content was last changed, in nanoseconds since 1970.
    pub modified: i128,
}

impl Fingerprint {
    /// The fingerprint of an open file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) when the system refuses to inspect the file.
    pub fn of(file: &File) -> Result<Self> {
        let metadata = file.metadata();
        Ok(Self::new(
            &metadata.map_err(|source| io_error("inspect", None, source))?,
        ))
    }

    pub(super) fn new(metadata: &Metadata) -> Self {
        Self {
            inode: sys::inode(metadata),
            created: metadata.created().ok().map(nanoseconds),
            len: metadata.len(),
            modified: metadata.modified().map_or(0, nanoseconds),
        }
    }

    /// Whether a file that is found is the one that was recorded, and has what a map showed of it.
    ///
    /// Modes `r` and `c` see every change of the content; the others are there to change it, so
    /// that the modification time says nothing. A file that has grown has been appended to, and is
    /// accepted in every mode.
    ///
    /// # Errors
    ///
    /// [`MapError::Changed`] when inode or creation time differ, when the file has become shorter,
    /// and, in modes `r` and `c`, when one of the same size has another modification time.
    pub fn check(&self, found: &Self, mode: Mode) -> Result<(), MapError> {
        let changed = |what, expected, found| {
            Err(MapError::Changed {
                what,
                expected,
                found,
            })
        };
        if self.inode != found.inode {
            return changed("inode", self.inode.into(), found.inode.into());
        }
        if let (Some(expected), Some(found)) = (self.created, found.created)
            && expected != found
        {
            return changed("creation time", expected, found);
        }
        if found.len < self.len {
            return changed("size", self.len.into(), found.len.into());
        }
        let is_compared = matches!(mode, Mode::Read | Mode::CopyOnWrite);
        if is_compared && found.len == self.len && self.modified != found.modified {
            return changed("modification time", self.modified, found.modified);
        }
        Ok(())
    }
}

/// The nanoseconds from 1970 to a time, negative before.
fn nanoseconds(time: SystemTime) -> i128 {
    let signed = |nanoseconds: u128| i128::try_from(nanoseconds).unwrap_or(i128::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => signed(since.as_nanos()),
        Err(before) => -signed(before.duration().as_nanos()),
    }
}
