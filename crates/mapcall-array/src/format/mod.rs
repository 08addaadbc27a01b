//! File formats with a header: `.npy`, and members of `.npz` that are not compressed.
//!
//! [`locate`] finds the array's dtype, shape and position in a file. Nothing is mapped and no data is read.
//!
//! ```
//! use std::io::{Cursor, Write};
//! use mapcall_array::DType;
//! use mapcall_array::format::{self, Header};
//! use mapcall_array::layout::Order;
//!
//! let mut file = Cursor::new(Vec::new());
//! file.write_all(&Header::new(DType::F64, &[3, 2], Order::F)?.to_bytes()?)?;
//! file.write_all(&[0; 48])?;
//!
//! let placement = format::locate(&mut file, None)?;
//! assert_eq!(placement.offset(), 128);
//! assert_eq!(placement.header().dtype(), &DType::F64);
//! assert_eq!(placement.header().shape(), [3, 2]);
//! assert_eq!(placement.header().order(), Order::F);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limits
//!
//! - Everything in a file is checked. A malformed header, a shape that overflows, a contradictory directory
//!   and data that end before the array does are errors. Memory of a size that a file gives is allocated
//!   only once that much of the file has been read.
//! - Data behind the array are ignored, as in NumPy: several arrays may follow each other.

/// The set-up of examples, of which only the last line is shown.
macro_rules! example_npz {
    () => {
        "# use std::io::{Cursor, Write};
# use mapcall_array::{DType, format::Header, layout::Order};
# let mut zip = rawzip::ZipArchiveWriter::new(Cursor::new(Vec::new()));
# for name in [\"x.npy\", \"y.npy\"] {
#     let (mut entry, config) = zip.new_file(name).start()?;
#     let mut member = config.wrap(&mut entry);
#     member.write_all(&Header::new(DType::F64, &[3], Order::C)?.to_bytes()?)?;
#     member.write_all(&[0; 24])?;
#     let (_, descriptor) = member.finish()?;
#     entry.finish(descriptor)?;
# }
# let mut file = zip.finish()?;
// `file` is a .npz with the arrays `x` and `y`, three float64 each."
    };
}

mod error;
mod npy;
pub mod npz;

use std::fmt;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

pub use self::error::FormatError;
pub use self::npy::{GrowingHeader, Header};

/// The number of bytes read at once, enough for the header of almost every file.
const CHUNK: u64 = 4096;

/// A file format with a header.
///
/// ```
/// use mapcall_array::format::Format;
///
/// assert_eq!(Format::of(b"\x93NUMPY\x01\x00"), Some(Format::Npy));
/// assert_eq!(Format::of(b"\x89HDF\r\n"), None);
/// assert_eq!(Format::Npz.to_string(), "npz");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// `.npy`: one array.
    Npy,
    /// `.npz`: a zip archive of `.npy` files.
    Npz,
}

impl Format {
    /// Returns the format of a file by its first 6 bytes.
    ///
    /// ```
    #[doc = example_npz!()]
    /// # use mapcall_array::format::Format;
    /// assert_eq!(Format::of(file.get_ref()), Some(Format::Npz));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn of(start: &[u8]) -> Option<Self> {
        if npz::is_npz(start) {
            Some(Self::Npz)
        } else if npy::is_npy(start) {
            Some(Self::Npy)
        } else {
            None
        }
    }

    /// Returns the usual extension of file names: `npy` or `npz`.
    ///
    /// ```
    /// # use mapcall_array::format::Format;
    /// assert_eq!(Format::Npy.as_str(), "npy");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Npy => "npy",
            Self::Npz => "npz",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The header and the position of an array in a file.
///
/// ```
#[doc = example_npz!()]
/// use mapcall_array::format;
///
/// let placement = format::locate(&mut file, Some("y"))?;
/// assert_eq!((placement.header().shape(), placement.member()), (&[3][..], Some("y")));
/// assert!(placement.offset() > 128); // behind `x`
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Placement {
    header: Header,
    offset: u64,
    member: Option<npz::Member>,
}

impl Placement {
    /// Returns the header: the array's dtype, shape and order.
    ///
    /// ```
    #[doc = example_npz!()]
    /// # use mapcall_array::format;
    /// assert_eq!(format::locate(&mut file, Some("x"))?.header().shape(), [3]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the number of bytes from the start of the file to the first element.
    ///
    /// ```
    /// # use std::io::Cursor;
    /// # use mapcall_array::{DType, format::{self, Header}, layout::Order};
    /// # let header = Header::new(DType::F64, &[3], Order::C)?.to_bytes()?;
    /// # let mut file = Cursor::new([&header[..], &[0; 24]].concat());
    /// let placement = format::locate(&mut file, None)?;
    /// assert_eq!(placement.offset(), placement.header().data_offset());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the name of the member of the `.npz`, without `.npy`; `None` for a `.npy` file.
    ///
    /// ```
    #[doc = example_npz!()]
    /// # use mapcall_array::format;
    /// assert_eq!(format::locate(&mut file, Some("x.npy"))?.member(), Some("x"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn member(&self) -> Option<&str> {
        self.member.as_ref().map(npz::Member::name)
    }

    /// Reads a member of a `.npz` and compares its checksum; does nothing for a `.npy` file, which has none.
    ///
    /// ```
    #[doc = example_npz!()]
    /// use mapcall_array::format::{self, FormatError};
    ///
    /// let placement = format::locate(&mut file, Some("x"))?;
    /// placement.verify(&mut file)?;
    ///
    /// file.get_mut()[placement.offset() as usize] ^= 1;
    /// assert!(matches!(placement.verify(&mut file), Err(FormatError::Damaged { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`npz::Member::verify`].
    pub fn verify(&self, file: impl Read + Seek) -> Result<(), FormatError> {
        self.member
            .as_ref()
            .map_or(Ok(()), |member| member.verify(file))
    }
}

/// Finds the array of a `.npy` file, or of a member of a `.npz` file, and checks that it lies
/// within the file.
///
/// ```
#[doc = example_npz!()]
/// use mapcall_array::format::{self, FormatError};
///
/// assert_eq!(format::locate(&mut file, Some("y"))?.header().shape(), [3]);
///
/// let error = format::locate(&mut Cursor::new(b"\x89HDF\r\n"), None).unwrap_err();
/// assert!(matches!(error, FormatError::UnknownFormat { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The format is recognised by the first bytes. The file is read from its start, whatever its current
/// position. `member` is the name in the `.npz`, with or without `.npy`; it may be left out if there is only
/// one.
///
/// # Errors
///
/// Every [`FormatError`] except [`FormatError::NotLatin1`], which is for writing.
pub fn locate(
    file: &mut (impl Read + Seek),
    member: Option<&str>,
) -> Result<Placement, FormatError> {
    let len = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let start = read_up_to(&mut *file, len.min(CHUNK))?;
    let format = Format::of(&start);
    if format == Some(Format::Npz) {
        let member = npz::Archive::read(&mut *file)?.find(member)?;
        return locate_member(file, member);
    }
    if let Some(member) = member
        && format == Some(Format::Npy)
    {
        return Err(FormatError::MemberOfNpy {
            member: member.to_owned(),
        });
    }
    let header = complete(Header::read(start.chain(&mut *file)), len).or_else(|_| {
        // Another process may have been appending rows between the reads.
        file.rewind()?;
        let header = Header::read(BufReader::new(&mut *file));
        complete(header, file.seek(SeekFrom::End(0))?)
    })?;
    Ok(Placement {
        offset: header.data_offset(),
        header,
        member: None,
    })
}

/// Checks that a file of `len` bytes holds the array of a header.
fn complete(header: Result<Header, FormatError>, len: u64) -> Result<Header, FormatError> {
    let header = header?;
    header.check_len(len)?;
    Ok(header)
}

/// A member of a `.npz` file: see [`members`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Listed {
    /// The name, without `.npy`.
    pub name: String,
    /// The position of its array, or the reason why it can't be mapped.
    pub placement: Result<Placement, FormatError>,
}

/// Finds the arrays of all members of a `.npz` file, in the order of the archive.
///
/// ```
#[doc = example_npz!()]
/// use mapcall_array::format;
///
/// for member in format::members(&mut file)? {
///     assert_eq!(member.placement?.header().shape(), [3], "{}", member.name);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Of members with the same name only the last is listed, which is the one that [`locate`] finds.
/// The directory is read once, however many members there are.
///
/// # Errors
///
/// Those of [`npz::Archive::read`]. Errors of one member are in its [`Listed`].
pub fn members(file: &mut (impl Read + Seek)) -> Result<Vec<Listed>, FormatError> {
    let found = npz::Archive::read(&mut *file)?.find_all();
    let listed = found.into_iter().map(|(name, member)| Listed {
        name,
        placement: member.and_then(|member| locate_member(&mut *file, member)),
    });
    Ok(listed.collect())
}

/// Reads the header of a member.
fn locate_member(
    file: &mut (impl Read + Seek),
    member: npz::Member,
) -> Result<Placement, FormatError> {
    file.seek(SeekFrom::Start(member.offset()))?;
    let capacity = usize::try_from(member.len().min(CHUNK)).unwrap_or_default();
    let header = Header::read(BufReader::with_capacity(capacity, file.take(member.len())))
        .and_then(|header| header.check_len(member.len()).map(|()| header))
        .map_err(|source| FormatError::Member {
            member: member.name().to_owned(),
            source: Box::new(source),
        })?;
    let offset = member
        .offset()
        .checked_add(header.data_offset())
        .ok_or(io::ErrorKind::InvalidInput)
        .map_err(io::Error::from)?;
    Ok(Placement {
        offset,
        header,
        member: Some(member),
    })
}

/// Reads up to `len` bytes, fewer at the end of the file. Memory is allocated for the bytes that are read, not
/// for `len`.
fn read_up_to(reader: impl Read, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(len.min(CHUNK)).unwrap_or_default());
    reader.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}
