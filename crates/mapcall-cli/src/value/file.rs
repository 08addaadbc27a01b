//! The notations of files: `x.npy`, `x.npz:member`, `raw.bin:>f4:1000x1000@2880`, and ranges of them.

#![allow(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use mapcall::array::dtype::DTypeError;
use mapcall::array::format::npz::Archive;
use mapcall::array::format::{self, Format, FormatError, Placement};
use mapcall::array::layout::{Index, LayoutError};
use mapcall::array::{self, Array, DType, MapOptions, Mode, map};

use super::range::{RangeError, range};

/// An array in a file, as the user has written it.
///
/// ```
/// use mapcall::array::{DType, Mode};
/// use mapcall_cli::value::file::ArrayFile;
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("raw.bin");
/// std::fs::write(&path, [0; 48])?;
/// let file = ArrayFile::parse(format!("{}:f4:3x4[::2, 1]", path.display()).as_ref())?;
/// // SAFETY: no other code writes or shortens the temporary file.
/// let array = unsafe { file.open(Mode::Read)? };
/// assert_eq!((array.dtype(), array.shape(), array.strides()), (&DType::F32, &[2][..], &[32][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The path is the longest prefix of the text that is the name of an existing file, so that names may have
/// colons and brackets. The first bytes of the file determine the notation after the path: nothing for a
/// `.npy`, `:MEMBER` for a `.npz`, `:DTYPE` or `:DTYPE:SHAPE` for any other file, with `@OFFSET` behind it if a header
/// of that many bytes comes first. One length of the shape may be -1: the array reaches to the end of the file. A range
/// may follow.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrayFile {
    text: OsString,
    path: PathBuf,
    content: Content,
    range: Vec<Index>,
}

/// The part of a file that holds the array.
#[derive(Clone, Debug, PartialEq)]
enum Content {
    /// The array of a `.npy`, or all arrays of a `.npz`.
    Whole(Format),
    Member(String),
    Raw {
        dtype: DType,
        /// The shape; `None` for one axis with all elements of the file.
        shape: Option<Vec<usize>>,
        /// The axis of the shape whose length is inferred from that of the file.
        inferred: Option<usize>,
        /// The number of bytes before the first element.
        offset: u64,
    },
}

/// One of the arrays of a file: see [`ArrayFile::open_each`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Found {
    /// The position and header of the array; `None` in a raw file.
    pub placement: Option<Placement>,
    /// The length of the file, in bytes.
    pub file_len: u64,
    /// The array, mapped and cut to the range.
    pub array: Array,
}

/// The reason why a file or the notation of a file is refused.
///
/// ```
/// use mapcall_cli::value::file::{ArrayFile, FileError};
///
/// let error = ArrayFile::parse("no such.npy[0:10]".as_ref()).unwrap_err();
/// assert!(matches!(&error, FileError::Missing { path, .. } if path.ends_with("no such.npy")));
/// assert!(error.to_string().starts_with("expected a file, got \"no such.npy\": "));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// No file has this name, or the file can't be opened.
    #[error("expected a file, got {path:?}: {source}; check the name and the folder")]
    Missing {
        /// The text that was taken as the path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file that can't be opened or mapped, or that violates its format.
    #[error(transparent)]
    Array(Box<array::Error>),
    /// A raw file without a dtype behind it.
    #[error(
        "{}: expected a .npy or .npz file, or the dtype and shape of its elements; write them behind \
         it, as in raw.bin:f4:1000x1000, with @2880 for a header of so many bytes",
        path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// Text other than a range behind a `.npy`, whose header has dtype and shape.
    #[error(
        "{}: expected nothing but a range behind a .npy file, got {rest:?}; leave it out",
        path.display()
    )]
    Rest {
        /// The file.
        path: PathBuf,
        /// The text behind the file.
        rest: String,
    },
    /// Text behind the closing bracket, or no closing bracket.
    #[error("{}: expected a range in brackets at the end, got {rest:?}; write it as [0:1000]", path.display())]
    Brackets {
        /// The file.
        path: PathBuf,
        /// The text.
        rest: String,
    },
    /// A range that can't be parsed.
    #[error("{}: {source}", path.display())]
    Range {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: RangeError,
    },
    /// A range that is out of bounds of the array.
    #[error("{}: {source}; give a range that the array has", Path::new(text).display())]
    Index {
        /// The file with its range.
        text: OsString,
        /// The reason.
        source: Box<LayoutError>,
    },
    /// A dtype that can't be parsed.
    #[error("{}: {source}; write it as f4, <i2 or float64", path.display())]
    DType {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: DTypeError,
    },
    /// An offset that can't be parsed.
    #[error(
        "{}: expected the offset of the first element in bytes, got {offset:?}; write it as raw.bin:f4:1000x1000@2880",
        path.display()
    )]
    Offset {
        /// The file.
        path: PathBuf,
        /// The given text.
        offset: String,
    },
    /// A shape that can't be parsed.
    #[error(
        "{}: expected a shape as 1000x1000, got {shape:?}; write the lengths with x between, at most one of them as -1",
        path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The given text.
        shape: String,
    },
}

impl From<array::Error> for FileError {
    fn from(error: array::Error) -> Self {
        Self::Array(Box::new(error))
    }
}

impl ArrayFile {
    /// Parses the notation, and reads the first bytes of the file to find its format. No array is mapped.
    ///
    /// ```
    /// use mapcall_cli::value::file::{ArrayFile, FileError};
    ///
    /// let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [0; 48])?;
    /// let text = format!("{}:f4:3by4", file.path().display());
    /// assert!(matches!(ArrayFile::parse(text.as_ref()), Err(FileError::Shape { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`FileError`] if the file does not exist, or if the text behind its name is not valid.
    pub fn parse(text: &OsStr) -> Result<Self, FileError> {
        let (path, rest) = split(text)?;
        let mut file = map::open_regular(&path, Mode::Read)?;
        let (content, range) = content(&path, &mut file, &rest)?;
        Ok(Self {
            text: text.to_owned(),
            path,
            content,
            range,
        })
    }

    /// Returns the path of the file.
    ///
    /// ```
    /// # use mapcall_cli::value::file::ArrayFile;
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("a:b.bin");
    /// # std::fs::write(&path, [0; 48])?;
    /// let file = ArrayFile::parse(format!("{}:f4[3:]", path.display()).as_ref())?;
    /// assert_eq!(file.path(), path);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the notation as the user has written it.
    ///
    /// ```
    /// # use mapcall_cli::value::file::ArrayFile;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # std::fs::write(&file, [0; 48])?;
    /// let text = format!("{}:f4", file.path().display());
    /// assert_eq!(ArrayFile::parse(text.as_ref())?.text(), text.as_str());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn text(&self) -> &OsStr {
        &self.text
    }

    /// Returns the format of the file; `None` for a raw file.
    ///
    /// ```
    /// # use mapcall_cli::value::file::ArrayFile;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # std::fs::write(&file, [0; 48])?;
    /// let text = format!("{}:f4", file.path().display());
    /// assert_eq!(ArrayFile::parse(text.as_ref())?.format(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn format(&self) -> Option<Format> {
        match &self.content {
            Content::Whole(format) => Some(*format),
            Content::Member(_) => Some(Format::Npz),
            Content::Raw { .. } => None,
        }
    }

    /// Returns whether the notation is only a path.
    ///
    /// ```
    /// # use mapcall_cli::value::file::ArrayFile;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # std::fs::write(&file, [0; 48])?;
    /// let text = format!("{}:f4", file.path().display());
    /// assert!(!ArrayFile::parse(text.as_ref())?.is_whole());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self.content, Content::Whole(_)) && self.range.is_empty()
    }

    /// Maps the array.
    ///
    /// ```
    /// use mapcall::array::{DType, Mode, create, layout::Order};
    /// use mapcall_cli::value::file::ArrayFile;
    ///
    /// let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("x.npy");
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// drop(unsafe { create(&path, DType::F64, &[1000], Order::C)? });
    /// let file = ArrayFile::parse(format!("{}[500:]", path.display()).as_ref())?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let mut array = unsafe { file.open(Mode::ReadWrite)? };
    /// array.view_mut::<f64>()?.fill(0.5);
    /// assert_eq!((array.shape(), array.file_offset()), (&[500][..], Some(4128)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// In every mode, a raw file that is shorter than its array is an error; the file never grows.
    ///
    /// # Safety
    ///
    /// No code may make the file shorter while the array or a view of it exists, and no other code may write
    /// the bytes of a typed view while it exists: see [`MapOptions::map`].
    ///
    /// # Errors
    ///
    /// [`FileError::Array`] if the file can't be mapped, [`FileError::Index`] if the range is out of bounds.
    pub unsafe fn open(&self, mode: Mode) -> Result<Array, FileError> {
        let file = map::open_regular(&self.path, mode)?;
        let placement = match &self.content {
            Content::Raw { .. } => None,
            content => Some(self.locate(&file, content)?),
        };
        // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
        // a typed view.
        unsafe { self.map(&file, placement.as_ref(), mode) }
    }

    /// Maps the array for reading; for a `.npz` without a member, maps the arrays of all members.
    ///
    /// ```
    /// use mapcall_cli::value::file::ArrayFile;
    ///
    /// let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [0; 48])?;
    /// let text = format!("{}:f4", file.path().display());
    /// ArrayFile::parse(text.as_ref())?;
    /// let mut sizes = Vec::new();
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// unsafe {
    ///     ArrayFile::parse(text.as_ref())?.open_each(|name, found| {
    ///         assert_eq!(name, None);
    ///         sizes.push(found.map(|found| found.array.layout().size()));
    ///     })?;
    /// }
    /// assert!(matches!(sizes[..], [Ok(12)]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// `each` is called for each array, with the name of the member, and the array or the error.
    ///
    /// # Safety
    ///
    /// No code may make the file shorter while the array or a view of it exists, and no other code may write
    /// the bytes of a typed view while it exists: see [`MapOptions::map`].
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), for a file that is not a `.npz`; errors of members go to `each`.
    pub unsafe fn open_each(
        &self,
        mut each: impl FnMut(Option<&str>, Result<Found, FileError>),
    ) -> Result<(), FileError> {
        let mut file = map::open_regular(&self.path, Mode::Read)?;
        let file_len = length(&file, &self.path)?;
        let listed = match &self.content {
            Content::Whole(Format::Npz) => {
                let members =
                    format::members(&mut file).map_err(|error| self.format_error(error))?;
                let member = |member: format::Listed| (Some(member.name), member.placement);
                members.into_iter().map(member).collect()
            }
            Content::Raw { .. } => {
                // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
                // a typed view.
                let array = unsafe { self.map(&file, None, Mode::Read)? };
                each(
                    None,
                    Ok(Found {
                        placement: None,
                        file_len,
                        array,
                    }),
                );
                return Ok(());
            }
            content => {
                let placement = self.locate(&file, content)?;
                vec![(placement.member().map(str::to_owned), Ok(placement))]
            }
        };
        for (name, placement) in listed {
            let found = placement
                .map_err(|error| self.format_error(error))
                .and_then(|placement| {
                    // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
                    // a typed view.
                    let array = unsafe { self.map(&file, Some(&placement), Mode::Read)? };
                    Ok(Found {
                        placement: Some(placement),
                        file_len,
                        array,
                    })
                });
            each(name.as_deref(), found);
        }
        Ok(())
    }

    /// Reads the member of a `.npz` that holds an array, and compares its checksum; returns `false` if the
    /// array is not in a `.npz`.
    ///
    /// ```
    /// use mapcall_cli::value::file::ArrayFile;
    ///
    /// let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [0; 48])?;
    /// let file = ArrayFile::parse(format!("{}:f4", file.path().display()).as_ref())?;
    /// let mut checked = None;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// unsafe { file.open_each(|_, found| checked = Some(file.verify(&found.unwrap())))? };
    /// assert!(matches!(checked, Some(Ok(false))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`FileError::Array`] if the member is damaged or can't be read.
    pub fn verify(&self, found: &Found) -> Result<bool, FileError> {
        match &found.placement {
            Some(placement) if placement.member().is_some() => {
                let file = map::open_regular(&self.path, Mode::Read)?;
                let verified = placement.verify(&file);
                verified.map_err(|error| self.format_error(error))?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn locate(&self, mut file: &File, content: &Content) -> Result<Placement, FileError> {
        let member = match content {
            Content::Member(member) => Some(&**member),
            _ => None,
        };
        format::locate(&mut file, member).map_err(|error| self.format_error(error))
    }

    fn format_error(&self, source: FormatError) -> FileError {
        format_error(&self.path, source)
    }

    /// Maps the array, and applies the range to it.
    ///
    /// # Safety
    ///
    /// No code may make the file shorter while the array or a view of it exists, and no other code may write
    /// the bytes of a typed view while it exists: see [`MapOptions::map`].
    unsafe fn map(
        &self,
        file: &File,
        placement: Option<&Placement>,
        mode: Mode,
    ) -> Result<Array, FileError> {
        let path = Some(&*self.path);
        let array = if let Some(placement) = placement {
            let options = MapOptions::new().mode(mode);
            // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
            // a typed view.
            unsafe { options.map_placement(file, path, placement)? }
        } else {
            let mut options = MapOptions::new().mode(mode).grow(false);
            if let Content::Raw {
                dtype,
                shape,
                inferred,
                offset,
            } = &self.content
            {
                options = options.dtype(dtype.clone()).offset(*offset);
                if let Some(shape) = shape {
                    options = options.shape(&**shape);
                }
                if let Some(axis) = inferred {
                    options = options.infer_axis(*axis);
                }
            }
            // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
            // a typed view.
            unsafe { options.map_file(file, path)? }
        };
        if self.range.is_empty() {
            return Ok(array);
        }
        array.slice(&self.range).map_err(|error| match error {
            array::Error::Layout(source) => FileError::Index {
                text: self.text.clone(),
                source: Box::new(source),
            },
            error => error.into(),
        })
    }
}

fn format_error(path: &Path, source: FormatError) -> FileError {
    array::Error::Format {
        path: path.to_owned(),
        source,
    }
    .into()
}

fn length(file: &File, path: &Path) -> Result<u64, FileError> {
    let length = file.metadata().map(|metadata| metadata.len());
    length.map_err(|source| FileError::Missing {
        path: path.to_owned(),
        source,
    })
}

/// Splits the text into the path and the rest.
fn split(text: &OsStr) -> Result<(PathBuf, String), FileError> {
    let bytes = text.as_encoded_bytes();
    let cuts = bytes.iter().enumerate().rev();
    let cuts = cuts.filter(|(_, byte)| matches!(byte, b':' | b'['));
    let parts = cuts.filter_map(|(at, _)| cut(text, at));
    let whole = (text, "");
    let found = std::iter::once(whole)
        .chain(parts.clone())
        .find(|(path, _)| Path::new(path).exists());
    if let Some((path, rest)) = found {
        return Ok((path.into(), rest.to_owned()));
    }
    // The name of the folder may have colons and brackets as well.
    let in_name = |(_, rest): &(&OsStr, &str)| !rest.contains('/');
    let (path, _) = parts.take_while(in_name).last().unwrap_or(whole);
    let path = PathBuf::from(if path.is_empty() { text } else { path });
    let source = match path.metadata() {
        Err(error) => error,
        Ok(_) => io::ErrorKind::NotFound.into(),
    };
    Err(FileError::Missing { path, source })
}

/// Splits a text at a byte, which is ASCII; `None` if the second part is not valid Unicode.
#[cfg(unix)]
fn cut(text: &OsStr, at: usize) -> Option<(&OsStr, &str)> {
    use std::os::unix::ffi::OsStrExt;

    let (path, rest) = text.as_bytes().split_at_checked(at)?;
    Some((OsStr::from_bytes(path), std::str::from_utf8(rest).ok()?))
}

#[cfg(not(unix))]
fn cut(text: &OsStr, at: usize) -> Option<(&OsStr, &str)> {
    let (path, rest) = text.to_str()?.split_at_checked(at)?;
    Some((OsStr::new(path), rest))
}

/// Parses the rest of the text: the part of the file that holds the array, and the range.
fn content(path: &Path, file: &mut File, rest: &str) -> Result<(Content, Vec<Index>), FileError> {
    let format = sniff(file).map_err(|error| format_error(path, error.into()))?;
    match (format, rest.strip_prefix(':')) {
        (Some(Format::Npz), Some(member)) => {
            // The name of a member may have brackets, too.
            let at = match member.rfind('[') {
                Some(at) if !has_member(path, file, member)? => at,
                _ => member.len(),
            };
            let (member, brackets) = member.split_at(at);
            let range = in_brackets(path, brackets)?;
            Ok((Content::Member(member.to_owned()), range))
        }
        (Some(_), Some(_)) => Err(FileError::Rest {
            path: path.to_owned(),
            rest: rest.to_owned(),
        }),
        (Some(format), None) => Ok((Content::Whole(format), in_brackets(path, rest)?)),
        (None, Some(rest)) => raw(path, rest),
        (None, None) => Err(FileError::Unknown {
            path: path.to_owned(),
        }),
    }
}

fn has_member(path: &Path, file: &mut File, member: &str) -> Result<bool, FileError> {
    let archive = Archive::read(file).map_err(|error| format_error(path, error))?;
    let stem = member.strip_suffix(".npy").unwrap_or(member);
    Ok(archive.names().any(|name| name == member || name == stem))
}

/// Returns the format of a file by its first bytes; `None` for a raw file.
fn sniff(file: &mut File) -> io::Result<Option<Format>> {
    let mut start = Vec::new();
    file.take(8).read_to_end(&mut start)?;
    Ok(Format::of(&start))
}

/// Parses `DTYPE`, an optional `:SHAPE`, an optional `@OFFSET` and an optional range.
fn raw(path: &Path, text: &str) -> Result<(Content, Vec<Index>), FileError> {
    // The units of `datetime64` and `timedelta64` are in brackets, which are not a range.
    let is_time = ["M8[", "m8[", "datetime64[", "timedelta64["]
        .iter()
        .any(|start| {
            text.trim_start_matches(['<', '>', '=', '|'])
                .starts_with(start)
        });
    let unit = if is_time { text.find(']') } else { None };
    let from = unit.map_or(0, |at| at + 1);
    let end = text.get(from..).and_then(|rest| rest.find([':', '[', '@']));
    let (dtype, rest) = text.split_at(end.map_or(text.len(), |end| from + end));
    let dtype = dtype.parse().map_err(|source| FileError::DType {
        path: path.to_owned(),
        source,
    })?;
    let mut inferred = None;
    let (shape, rest) = match rest.strip_prefix(':') {
        None => (None, rest),
        Some(rest) => {
            let (shape, rest) = rest.split_at(rest.find(['[', '@']).unwrap_or(rest.len()));
            let lengths = shape.split('x').enumerate().map(|(axis, length)| {
                if length == "-1" && inferred.is_none() {
                    inferred = Some(axis);
                    return Some(0);
                }
                number(length)
            });
            let lengths: Option<Vec<usize>> = lengths.collect();
            let lengths = lengths.ok_or_else(|| FileError::Shape {
                path: path.to_owned(),
                shape: shape.to_owned(),
            })?;
            (Some(lengths), rest)
        }
    };
    let (offset, brackets) = match rest.strip_prefix('@') {
        None => (0, rest),
        Some(rest) => {
            let (text, brackets) = rest.split_at(rest.find('[').unwrap_or(rest.len()));
            let offset = number(text).ok_or_else(|| FileError::Offset {
                path: path.to_owned(),
                offset: text.to_owned(),
            })?;
            (offset, brackets)
        }
    };
    let content = Content::Raw {
        dtype,
        shape,
        inferred,
        offset,
    };
    Ok((content, in_brackets(path, brackets)?))
}

/// Parses a number of digits alone.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let is_plain = text.bytes().all(|digit| digit.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

/// Parses a range in brackets; an empty text is the whole array.
fn in_brackets(path: &Path, text: &str) -> Result<Vec<Index>, FileError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let inside = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let inside = inside.ok_or_else(|| FileError::Brackets {
        path: path.to_owned(),
        rest: text.to_owned(),
    })?;
    range(inside).map_err(|source| FileError::Range {
        path: path.to_owned(),
        source,
    })
}
