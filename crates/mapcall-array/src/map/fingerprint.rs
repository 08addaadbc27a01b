//! The identity and state of a file, recorded to recognise it later.

use std::fs::{File, Metadata};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{MapError, Mode};
use crate::error::Result;
use crate::map::io_error;
use crate::sys;

/// Inode, creation time, length and modification time, by which a file is recognised when a reference to it
/// is resolved in another process.
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
    /// The time at which the file was created, in nanoseconds since 1970, if the file system records it. It
    /// tells a new file from a removed one, whose inode number the new file often gets.
    pub created: Option<i128>,
    /// The size in bytes.
    pub len: u64,
    /// The time of the last change of the content, in nanoseconds since 1970.
    pub modified: i128,
}

impl Fingerprint {
    /// Takes the fingerprint of an open file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`](crate::Error::Io) if the system can't read the metadata of the file.
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

    /// Checks that `found` is a fingerprint of the recorded file, whose content has not changed since.
    ///
    /// In modes `r` and `c` the modification time is compared, too. In modes `r+` and `w+` it is not, since
    /// maps in these modes change the content. A file that has grown is accepted in every mode, as data may
    /// have been appended to it.
    ///
    /// # Errors
    ///
    /// [`MapError::Changed`] if inode or creation time differ, if the file is shorter, and, in modes `r` and
    /// `c`, if the length is the same and the modification time differs.
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

/// Returns the nanoseconds from 1970 to a time, negative for a time before 1970.
fn nanoseconds(time: SystemTime) -> i128 {
    let signed = |nanoseconds: u128| i128::try_from(nanoseconds).unwrap_or(i128::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => signed(since.as_nanos()),
        Err(before) => -signed(before.duration().as_nanos()),
    }
}
