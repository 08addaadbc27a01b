//! The errors of files.

use std::error::Error;
use std::fmt;
use std::io;

use crate::dtype::DTypeError;
use crate::layout::LayoutError;
use crate::literal::LiteralError;
use crate::literal::repr::PyShape;

/// A file that violates its format, or that can't be mapped.
///
/// ```
/// use mapcall_array::format::{FormatError, Header};
///
/// let error = Header::read(&b"\x93NUMPY\x09\x00"[..]).unwrap_err();
/// assert!(matches!(error, FormatError::UnknownVersion { major: 9, minor: 0 }));
/// assert_eq!(
///     error.to_string(),
///     "expected .npy format version 1.0, 2.0 or 3.0, got 9.0; save the array again with numpy.save"
/// );
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// An error of the system.
    #[error("can't read the file: {0}")]
    Io(#[from] io::Error),

    /// A file that is neither a `.npy` nor a `.npz`.
    #[error(
        "expected a .npy file, which begins with \\x93NUMPY, or a .npz file, which begins with PK, \
         got {}; map raw data by giving their dtype and shape", Start(.found)
    )]
    UnknownFormat {
        /// The first bytes, at most 8.
        found: Vec<u8>,
    },
    /// An unknown version of the `.npy` format.
    #[error(
        "expected .npy format version 1.0, 2.0 or 3.0, got {major}.{minor}; save the array again \
         with numpy.save"
    )]
    UnknownVersion {
        /// The major version.
        major: u8,
        /// The minor version.
        minor: u8,
    },
    /// The file ends within the header.
    #[error(
        "the .npy header takes {needed} bytes, but there are only {have}; the file was cut short"
    )]
    Truncated {
        /// The number of bytes up to the end of the header, or of its part that is known.
        needed: u64,
        /// The number of bytes in the file.
        have: u64,
    },
    /// A header longer than the maximum that is read, or that its version can have.
    #[error(
        "expected a .npy header of at most {limit} bytes, got {len}; use fewer or shorter fields"
    )]
    HeaderTooLong {
        /// The length of the header, in bytes.
        len: u64,
        /// The maximum, in bytes.
        limit: u64,
    },
    /// A header without room for the length of an axis that grows.
    #[error(
        "the .npy header has room for {room} digits of the length of axis {axis}, but {len} has more; \
         save the array again with numpy.save, whose headers have room to grow, and append to that file"
    )]
    NoRoom {
        /// The axis.
        axis: usize,
        /// Its length.
        len: usize,
        /// The number of bytes that are free for the length.
        room: usize,
    },
    /// An array without axes, which can't grow.
    #[error(
        "expected an array with an axis to grow along, got shape (); append to a file with rows"
    )]
    NoGrowthAxis,
    /// A header of version 3.0 that is not UTF-8.
    #[error("the .npy header should be UTF-8 in version 3.0, but is not at byte {at}")]
    NotUtf8 {
        /// The offset of the first invalid byte from the start of the literal.
        at: usize,
    },
    /// A name that can't be written in a header of this version.
    #[error(
        "a .npy header of version {major}.{minor} is Latin-1 and can't hold {found:?}; use version 3.0"
    )]
    NotLatin1 {
        /// The first character that doesn't fit.
        found: char,
        /// The major version.
        major: u8,
        /// The minor version.
        minor: u8,
    },
    /// A header that is not a Python literal.
    #[error("the .npy header should be a Python literal (code in it is never run): {0}")]
    Literal(#[from] LiteralError),
    /// A header that is a literal but not a dict.
    #[error(
        "the .npy header should be a dict with the keys 'descr', 'fortran_order' and 'shape', \
         but is {found}"
    )]
    NotADict {
        /// The literal, perhaps shortened.
        found: String,
    },
    /// A required key is missing in the header.
    #[error("the .npy header lacks the key '{key}'; save the array again with numpy.save")]
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// A key occurs twice in the header.
    #[error("the .npy header has the key {key} twice, and only one can be right")]
    DuplicateKey {
        /// The key as a literal.
        key: String,
    },
    /// An unknown key in the header.
    #[error(
        "the .npy header has the unknown key {key}; expected only 'descr', 'fortran_order' and 'shape'"
    )]
    UnexpectedKey {
        /// The key as a literal, perhaps shortened.
        key: String,
    },
    /// A `fortran_order` that is not a bool.
    #[error("'fortran_order' in the .npy header should be True or False, but is {found}")]
    BadOrder {
        /// The literal, perhaps shortened.
        found: String,
    },
    /// A `shape` that is not a tuple of integers.
    #[error("'shape' in the .npy header should be a tuple of integers, but is {found}")]
    BadShape {
        /// The literal, perhaps shortened.
        found: String,
    },
    /// An axis of negative length.
    #[error("axis {axis} in the .npy header should have a length of 0 or more, but has {length}")]
    NegativeLength {
        /// The axis.
        axis: usize,
        /// Its length.
        length: i128,
    },
    /// An axis longer than this machine's address space.
    #[error(
        "axis {axis} in the .npy header has length {length}, more than memory can be addressed"
    )]
    HugeLength {
        /// The axis.
        axis: usize,
        /// Its length.
        length: i128,
    },
    /// A shape that no array can have.
    #[error(transparent)]
    Layout(Box<LayoutError>),
    /// A `descr` that is not a dtype, or one that can't be mapped; or a dtype that no header can express.
    #[error("'descr' of the .npy header: {0}")]
    DType(#[from] DTypeError),
    /// Fewer data than the header's shape and dtype need.
    #[error(
        "the .npy header of {header} bytes promises shape {} with items of {itemsize} bytes, {needed} \
         bytes in all, but there are only {have}; the file was cut short or is not fully written",
        PyShape(.shape)
    )]
    DataTruncated {
        /// The number of bytes of header and data.
        needed: u64,
        /// The number of bytes in the file or member.
        have: u64,
        /// The number of bytes of the header.
        header: u64,
        /// The shape.
        shape: Vec<usize>,
        /// The size of an item in bytes.
        itemsize: usize,
    },

    /// A member of a `.npy` file was asked for, which has none.
    #[error("a .npy file has no members, but {member:?} was asked for; leave the member out")]
    MemberOfNpy {
        /// The name that was given.
        member: String,
    },
    /// A zip directory that can't be read.
    #[error("the directory of the .npz can't be read: {source}; the file was cut short or damaged")]
    BadDirectory {
        /// The error of the reader of zip archives.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A zip directory whose number of entries differs from the number in its end record.
    #[error(
        "the directory of the .npz should list {claimed} members, but lists {have}; the file is damaged"
    )]
    MemberCount {
        /// The number in the end record.
        claimed: u64,
        /// The number of entries in the directory.
        have: u64,
    },
    /// No member has that name.
    #[error("the .npz has no member {member:?}; it has {}", Names(.names))]
    NoSuchMember {
        /// The name that was given.
        member: String,
        /// The names of the members, in the order of the archive.
        names: Vec<String>,
    },
    /// No name was given, and the archive has not exactly one array.
    #[error("expected the name of a member of the .npz, which has {}", Names(.names))]
    WhichMember {
        /// The names of the members, in the order of the archive.
        names: Vec<String>,
    },
    /// A compressed member.
    #[error(
        "member {member:?} of the .npz is compressed (zip method {method}), so it can't be mapped; \
         save it with numpy.savez instead of numpy.savez_compressed, or read it with numpy.load"
    )]
    Compressed {
        /// The member.
        member: String,
        /// The number of the method in the zip format: 8 is deflate.
        method: u16,
    },
    /// An encrypted member.
    #[error(
        "member {member:?} of the .npz is encrypted, so it can't be mapped; extract it and save it \
         with numpy.savez"
    )]
    Encrypted {
        /// The member.
        member: String,
    },
    /// An archive whose records of a member contradict each other.
    #[error("member {member:?} of the .npz has {what}; the archive is damaged or forged")]
    BadMember {
        /// The member.
        member: String,
        /// The contradiction, such as "two names".
        what: &'static str,
    },
    /// Two members that share bytes.
    #[error(
        "members {member:?} and {other:?} of the .npz overlap; the archive is damaged or forged"
    )]
    MemberOverlap {
        /// The member that was asked for.
        member: String,
        /// The one that shares bytes with it.
        other: String,
    },
    /// A member that reaches into the directory.
    #[error(
        "member {member:?} of the .npz ends at byte {end}, but only {limit} bytes stand before the \
         directory; the file was cut short or damaged"
    )]
    MemberTruncated {
        /// The member.
        member: String,
        /// The offset of its end.
        end: u64,
        /// The offset of the directory.
        limit: u64,
    },
    /// A member whose bytes have another checksum than the one in the directory.
    #[error(
        "member {member:?} of the .npz is damaged: its CRC-32 should be {expected:08x}, but is \
         {found:08x}; restore the file from a copy"
    )]
    Damaged {
        /// The member.
        member: String,
        /// The checksum in the directory.
        expected: u32,
        /// The checksum of the bytes.
        found: u32,
    },
    /// A member that is not a `.npy`, or one with a bad header.
    #[error("member {member:?} of the .npz: {source}")]
    Member {
        /// The member.
        member: String,
        /// The error of the member.
        source: Box<FormatError>,
    },
}

impl From<LayoutError> for FormatError {
    fn from(error: LayoutError) -> Self {
        Self::Layout(Box::new(error))
    }
}

/// The first bytes of a file, for a message.
struct Start<'a>(&'a [u8]);

impl fmt::Display for Start<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("an empty file"),
            bytes => write!(f, "{}", bytes.escape_ascii()),
        }
    }
}

/// The names of members, for a message: at most ten.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX: usize = 10;
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (i, name) in self.0.iter().take(MAX).enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{name:?}")?;
        }
        match self.0.len().saturating_sub(MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}
