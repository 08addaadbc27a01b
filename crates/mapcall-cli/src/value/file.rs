//! The notations of files: `x.npy`, `x.npz:member`, `raw.bin:f4:1000x1000`, and ranges of them.

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

/// A file that is given as an array.
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
/// The longest beginning of the text that names something is the path, so that names may have
/// colons and brackets. The file's first bytes say what may follow: nothing behind a `.npy`, the name
/// of a member behind a `.npz`, `:DTYPE` or `:DTYPE:SHAPE` behind any other file. A range comes last.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrayFile {
    text: OsString,
    path: PathBuf,
    content: Content,
    range: Vec<Index>,
}

/// What of the file is meant.
#[derive(Clone, Debug, PartialEq)]
enum Content {
    /// What the file itself says.
    Whole(Format),
    Member(String),
    Raw {
        dtype: DType,
        /// `None`: as many as there are.
        shape: Option<Vec<usize>>,
    },
}

/// One of the arrays of a file: see [`ArrayFile::open_each`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Found {
    /// Where the array lies, in a file that says what is in it.
    pub placement: Option<Placement>,
    /// The length of the file, in bytes.
    pub file_len: u64,
    /// The array, mapped and cut to the range.
    pub array: Array,
}

/// What is wrong with a file, or with the notation.
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
    /// Nothing of that name, or nothing that may be looked at.
    #[error("expected a file, got {path:?}: {source}; check the name and the folder")]
    Missing {
        /// What was taken for the path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that can't be opened or mapped, or isn't what it should be.
    #[error(transparent)]
    Array(Box<array::Error>),
    /// A file that doesn't say what is in it.
    #[error(
        "{}: expected a .npy or .npz file, or the dtype and shape of its elements; write them behind \
         it, as in raw.bin:f4:1000x1000",
        path.display()
    )]
    Unknown {
        /// The file.
        path: PathBuf,
    },
    /// Something behind a `.npy`, which says itself what it holds.
    #[error(
        "{}: expected nothing but a range behind a .npy file, got {rest:?}; leave it out",
        path.display()
    )]
    Rest {
        /// The file.
        path: PathBuf,
        /// What stands behind it.
        rest: String,
    },
    /// Something behind the last bracket, or no last bracket.
    #[error("{}: expected a range in brackets at the end, got {rest:?}; write it as [0:1000]", path.display())]
    Brackets {
        /// The file.
        path: PathBuf,
        /// What stands there.
        rest: String,
    },
    /// A range that is none.
    #[error("{}: {source}", path.display())]
    Range {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: RangeError,
    },
    /// A range that the array doesn't have.
    #[error("{}: {source}; give a range that the array has", Path::new(text).display())]
    Index {
        /// The file with its range.
        text: OsString,
        /// What is wrong.
        source: Box<LayoutError>,
    },
    /// A dtype that is none.
    #[error("{}: {source}; write it as f4, <i2 or float64", path.display())]
    DType {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: DTypeError,
    },
    /// A shape that is none.
    #[error("{}: expected a shape as 1000x1000, got {shape:?}; write the lengths with x between", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// What was given.
        shape: String,
    },
}

impl From<array::Error> for FileError {
    fn from(error: array::Error) -> Self {
        Self::Array(Box::new(error))
    }
}

impl ArrayFile {
    /// Reads the notation, and enough of the file to understand it; nothing is mapped.
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
    /// [`FileError`].
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

    /// The file.
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

    /// The notation, as it was given.
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

    /// The format of the file; `None` if it is raw.
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

    /// Whether nothing but the path was given.
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
    /// A raw file that is shorter than its array is refused in every mode, and never grows.
    ///
    /// # Safety
    ///
    /// As [`MapOptions::map`].
    ///
    /// # Errors
    ///
    /// [`FileError::Array`] and [`FileError::Index`].
    pub unsafe fn open(&self, mode: Mode) -> Result<Array, FileError> {
        let file = map::open_regular(&self.path, mode)?;
        let placement = match &self.content {
            Content::Raw { .. } => None,
            content => Some(self.locate(&file, content)?),
        };
        // SAFETY: the caller upholds the contract of `MapOptions::map`.
        unsafe { self.map(&file, placement.as_ref(), mode) }
    }

    /// Maps the array for reading; of a `.npz` without a member, those of all members.
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
    /// `each` gets them one after the other with the name of the member, or what is wrong with one.
    ///
    /// # Safety
    ///
    /// As [`MapOptions::map`].
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
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
                // SAFETY: the caller upholds the contract of `MapOptions::map`.
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
                    // SAFETY: the caller upholds the contract of `MapOptions::map`.
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

    /// Reads the member of a `.npz` that an array is of, and compares its checksum; `false` if it has
    /// none.
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
    /// [`FileError::Array`] when the member is damaged, or the system refuses.
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

    /// Maps the array where it lies and cuts it to the range.
    ///
    /// # Safety
    ///
    /// As [`MapOptions::map`].
    unsafe fn map(
        &self,
        file: &File,
        placement: Option<&Placement>,
        mode: Mode,
    ) -> Result<Array, FileError> {
        let path = Some(&*self.path);
        let array = if let Some(placement) = placement {
            let options = MapOptions::new().mode(mode);
            // SAFETY: the caller upholds the contract of `MapOptions::map`.
            unsafe { options.map_placement(file, path, placement)? }
        } else {
            let options = match &self.content {
                Content::Raw {
                    dtype,
                    shape: Some(shape),
                } => MapOptions::new().dtype(dtype.clone()).shape(&**shape),
                Content::Raw { dtype, shape: None } => MapOptions::new().dtype(dtype.clone()),
                _ => MapOptions::new(),
            };
            // Refuses what doesn't fit, where writing would grow the file.
            let options = options.mode(Mode::Read);
            // SAFETY: the caller upholds the contract of `MapOptions::map`.
            let mut array = unsafe { options.map_file(file, path)? };
            if mode != Mode::Read {
                // SAFETY: the caller upholds the contract of `MapOptions::map`.
                array = unsafe { options.mode(mode).map_file(file, path)? };
            }
            array
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

/// The path, and what follows it.
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
    // The folder's name may have them as well.
    let in_name = |(_, rest): &(&OsStr, &str)| !rest.contains('/');
    let (path, _) = parts.take_while(in_name).last().unwrap_or(whole);
    let path = PathBuf::from(if path.is_empty() { text } else { path });
    let source = match path.metadata() {
        Err(error) => error,
        Ok(_) => io::ErrorKind::NotFound.into(),
    };
    Err(FileError::Missing { path, source })
}

/// The text before and from a byte on, which is ASCII; `None` if what follows is no text.
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

/// What of the file is meant, and which part of it.
fn content(path: &Path, file: &mut File, rest: &str) -> Result<(Content, Vec<Index>), FileError> {
    let format = sniff(file).map_err(|error| format_error(path, error.into()))?;
    match (format, rest.strip_prefix(':')) {
        (Some(Format::Npz), Some(member)) => {
            // Names may have brackets, too.
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

/// The format by the first bytes.
fn sniff(file: &mut File) -> io::Result<Option<Format>> {
    let mut start = Vec::new();
    file.take(8).read_to_end(&mut start)?;
    Ok(Format::of(&start))
}

/// `DTYPE`, perhaps `:SHAPE`, perhaps a range.
fn raw(path: &Path, text: &str) -> Result<(Content, Vec<Index>), FileError> {
    // The unit of a time stands in brackets of its own.
    let is_time = ["M8[", "m8[", "datetime64[", "timedelta64["]
        .iter()
        .any(|start| {
            text.trim_start_matches(['<', '>', '=', '|'])
                .starts_with(start)
        });
    let unit = if is_time { text.find(']') } else { None };
    let from = unit.map_or(0, |at| at + 1);
    let end = text.get(from..).and_then(|rest| rest.find([':', '[']));
    let (dtype, rest) = text.split_at(end.map_or(text.len(), |end| from + end));
    let dtype = dtype.parse().map_err(|source| FileError::DType {
        path: path.to_owned(),
        source,
    })?;
    let (shape, brackets) = match rest.strip_prefix(':') {
        None => (None, rest),
        Some(rest) => {
            let (shape, brackets) = rest.split_at(rest.find('[').unwrap_or(rest.len()));
            let lengths = shape.split('x').map(|length| {
                let is_plain = length.bytes().all(|digit| digit.is_ascii_digit());
                length.parse::<usize>().ok().filter(|_| is_plain)
            });
            let lengths: Option<Vec<usize>> = lengths.collect();
            let lengths = lengths.ok_or_else(|| FileError::Shape {
                path: path.to_owned(),
                shape: shape.to_owned(),
            })?;
            (Some(lengths), brackets)
        }
    };
    Ok((Content::Raw { dtype, shape }, in_brackets(path, brackets)?))
}

/// The range in brackets; nothing is the whole.
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
