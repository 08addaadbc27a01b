use crate::guard::Reason;
use crate::mode::Mode;

/// The reason why a range of a file can't be mapped, or why an operation on a map is refused.
///
/// ```
/// use mapcall_array::{DType, Error, MapOptions, map::MapError};
///
/// # let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(&file, [0; 12])?;
/// // SAFETY: no other code writes or shortens the temporary file.
/// let error = unsafe { MapOptions::new().dtype(DType::F64).map(&file) }.unwrap_err();
/// let expected = MapError::NotMultiple { available: 12, itemsize: 8 };
/// assert!(matches!(error, Error::Map { source, .. } if source == expected));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The file is not the one of which a [`Fingerprint`](crate::map::Fingerprint) was taken.
    #[error("expected a file of {what} {expected}, got one of {what} {found}")]
    Changed {
        /// The property that differs: `inode`, `creation time`, `size` or `modification time`.
        what: &'static str,
        /// Its value in the fingerprint: a number, bytes, or nanoseconds since 1970.
        expected: i128,
        /// Its value for the file.
        found: i128,
    },
    /// A mode that does not exist.
    #[error(
        "mode must be one of r, c, r+, w+, readonly, copyonwrite, readwrite, write (got {mode:?})"
    )]
    UnknownMode {
        /// The given text.
        mode: String,
    },
    /// The shape was not given for mode `w+`; a new file has no length to infer it from.
    #[error("shape must be given if mode is w+")]
    ShapeRequired,
    /// The shape can't be inferred, as any number of elements of size 0 fits the file.
    #[error("can't infer the shape from a dtype of item size 0; give the shape")]
    ZeroItemsize,
    /// The number of bytes behind the offset is not a multiple of the item size.
    #[error(
        "{available} bytes of data are not a multiple of the item size {itemsize}; give the shape, or another offset or dtype"
    )]
    NotMultiple {
        /// The bytes from the offset to the end of the file.
        available: u64,
        /// The item size of the dtype.
        itemsize: usize,
    },
    /// The array would begin behind the end of the file.
    #[error(
        "offset {offset} lies beyond the end of the file, at {file_len}; give an offset in the file"
    )]
    OffsetPastEnd {
        /// The offset asked for, in bytes.
        offset: u64,
        /// The length of the file, in bytes.
        file_len: u64,
    },
    /// The file ends before the array does, and the mode may not grow it.
    #[error(
        "the array needs the file to be {needed} bytes long, but it has {file_len}, and mode {mode} can't grow it; give a smaller shape, or another dtype or offset"
    )]
    TooShort {
        /// The end of the array in the file, in bytes.
        needed: u64,
        /// The length of the file, in bytes.
        file_len: u64,
        /// The mode of the map.
        mode: Mode,
    },
    /// The file ends before the array does, and the options do not grow it.
    #[error(
        "the array needs the file to be {needed} bytes long, but it has {file_len}; give another shape, dtype or offset"
    )]
    NotGrown {
        /// The end of the array in the file, in bytes.
        needed: u64,
        /// The length of the file, in bytes.
        file_len: u64,
    },
    /// The file is empty, and the mode may not grow it.
    #[error(
        "can't map an empty file in mode {mode}; write it first, or make a new one with create()"
    )]
    EmptyFile {
        /// The mode of the map.
        mode: Mode,
    },
    /// The end of the array is larger than the largest file offset.
    #[error("an array of {nbytes} bytes at offset {offset} ends beyond any file")]
    Overflow {
        /// The offset asked for, in bytes.
        offset: u64,
        /// The size of the array, in bytes.
        nbytes: usize,
    },
    /// The file is neither a regular file nor a device that may be mapped here.
    #[error("expected a regular file, got a {kind}{}", device_remedy(kind))]
    NotRegular {
        /// The kind of the file: `directory`, `pipe`, `socket`, `block device`, `character device`.
        kind: &'static str,
    },
    /// A file of the name exists, and `overwrite` is not set.
    #[error("the file exists; choose another name, or set `overwrite` to replace it")]
    Exists,
    /// The array reaches past the end of a device.
    #[error("the device has no {nbytes} bytes at offset {offset}; give another offset or shape")]
    BeyondDevice {
        /// The offset asked for, in bytes.
        offset: u64,
        /// The size of the array, in bytes.
        nbytes: usize,
    },
    /// The shape was not given for a character device, whose length is unknown.
    #[error("a character device does not tell its length; give the shape")]
    UnknownLength,
    /// [`MapOptions::open`](crate::MapOptions::open) was called in mode `w+`; [`create`](crate::create) makes
    /// a new `.npy` file.
    #[error("mode w+ would overwrite the file; make a new one with create()")]
    OpenForCreation,
    /// A member of a `.npz` was opened in a mode that writes to the file, which would make its checksum
    /// wrong.
    #[error(
        "expected mode r or c for member {member:?} of a .npz, got {mode}: writing in place leaves the \
         archive with a wrong checksum, and other readers refuse it then; save the array as a .npy file \
         to write to it"
    )]
    WritesMember {
        /// The member.
        member: String,
        /// The mode of the map.
        mode: Mode,
    },
    /// The array is not mapped from a file.
    #[error(
        "the array is no part of a map: it was copied, or computed; use the array that was opened"
    )]
    NotMapped,
    /// The advice would drop pages of a copy-on-write map, and with them the changes.
    #[error("the advice would discard what was written to a copy-on-write map")]
    WouldDiscard,
    /// The option removes whole pages, and the first or the last page has bytes outside of the range.
    #[error(
        "bytes {start}..{end} are no whole pages, and the option would remove what else the pages hold"
    )]
    PartOfPage {
        /// The first byte of the range.
        start: usize,
        /// One past the last byte of the range.
        end: usize,
    },
    /// An advice that does not exist.
    #[error(
        "advice must be one of normal, random, sequential, willneed, dontneed, hugepage \
         (got {advice:?})"
    )]
    UnknownAdvice {
        /// The given text.
        advice: String,
    },
    /// The map was closed.
    #[error("the map is closed; open the file again")]
    Closed,
    /// A map can be closed while arrays on it exist only if accesses to it are guarded.
    #[error(
        "arrays on the map exist, and no guard is installed; drop them, or call guard::install()"
    )]
    NoGuard,
    /// The file was mapped without a path, by which it would be opened again.
    #[error("the file was mapped without a path; map it by its path")]
    NoName,
    /// Another file has the path by now.
    #[error("another file has the path by now; open that one")]
    Replaced,
    /// The array is not the whole array of its file, so it can't grow or be cut.
    #[error(
        "expected the whole array of the file, got a part or a view of it with other axes; use the array that was opened"
    )]
    NotWhole,
    /// A member of a `.npz` file, which can't change its length.
    #[error(
        "expected an array in a file of its own, got a member of a .npz; save it as a .npy file"
    )]
    MemberLength,
    /// An array of more rows than the new length.
    #[error(
        "expected at least {len} rows, the present length, got {rows}; give a larger number, or truncate the array"
    )]
    Shorter {
        /// The present number of rows.
        len: usize,
        /// The number that was given.
        rows: usize,
    },
    /// An array of fewer rows than the new length.
    #[error(
        "expected at most {len} rows, the present length, got {rows}; give a smaller number, or grow the array"
    )]
    Longer {
        /// The present number of rows.
        len: usize,
        /// The number that was given.
        rows: usize,
    },
    /// A map that does not write to its file.
    #[error(
        "expected mode r+, got {mode}, which can't change the length of the file; open it in mode r+"
    )]
    ReadOnly {
        /// The mode of the map.
        mode: Mode,
    },
    /// A page of the map was gone when it was accessed, and has no access since.
    #[error("a page of the map was gone when it was accessed ({reason}); open the file again")]
    Lost {
        /// The reason of the last fault.
        reason: Reason,
    },
    /// A byte range that is not inside the map.
    #[error("bytes {start}..{end} lie outside the map of {len} bytes")]
    OutOfRange {
        /// The first byte of the range.
        start: usize,
        /// One past the last byte of the range.
        end: usize,
        /// The length of the map.
        len: usize,
    },
}

/// Returns the remedy of [`MapError::NotRegular`], for the message.
fn device_remedy(kind: &str) -> &'static str {
    if kind.ends_with("device") {
        "; map a device as raw data, by its dtype and shape"
    } else {
        ""
    }
}
