//! The header of a `.npy` file.
//!
//! It consists of a magic, a version, a length, and a Python dict literal with padding that aligns the data.
//! NumPy's `numpy.lib.format` specifies the format.

use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;

use super::error::FormatError;
use super::read_up_to;
use crate::dtype::DType;
use crate::layout::{Layout, Order};
use crate::literal::Value;
use crate::literal::repr::{self, PyShape};

const MAGIC: &[u8] = b"\x93NUMPY";

/// The length of magic and version, in bytes.
const PREFIX: u64 = 8;

/// The alignment of the data in the file, in bytes.
const ALIGN: usize = 64;

/// The longest header that NumPy reads without `max_header_size`, in bytes.
const NUMPY_MAX_LEN: u64 = 10_000;

/// The number of digits for which the header reserves space for the length of the axis that can grow.
const GROWTH_DIGITS: usize = 21;

/// The number of digits of the largest `usize` on 64-bit systems.
const MAX_DIGITS: usize = 20;

/// The number of bytes that the processor copies as a whole: a cache line of all processors in use.
const CACHE_LINE: usize = 64;

/// The maximum length of a header that is read or written, in bytes.
///
/// NumPy's limit is 10,000 characters, because Python's parser is not safe on longer hostile text. The parser
/// here takes linear time, so that structured dtypes of tens of thousands of fields can be read. The limit
/// bounds the memory: a parsed literal takes up to 32 times that of its text.
const MAX_LEN: u64 = 1 << 20;

/// Returns whether a file that begins with these bytes has the format `.npy`.
pub(super) fn is_npy(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// The header of a `.npy` file: the array's dtype, shape and order.
///
/// ```
/// use mapcall_array::DType;
/// use mapcall_array::format::Header;
/// use mapcall_array::layout::Order;
///
/// let bytes = Header::new(DType::F32, &[100, 3], Order::C)?.to_bytes()?;
/// assert!(bytes.starts_with(b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, "));
/// assert_eq!(bytes.len(), 128);
///
/// let header = Header::read(&bytes[..])?;
/// assert_eq!((header.dtype(), header.shape()), (&DType::F32, &[100, 3][..]));
/// assert_eq!((header.order(), header.version()), (Order::C, (1, 0)));
/// assert_eq!((header.data_offset(), header.nbytes(), header.end()), (128, 1200, 1328));
/// assert!(header.check_len(1327).is_err());
/// # Ok::<(), mapcall_array::format::FormatError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    dtype: DType,
    layout: Layout,
    order: Order,
    version: (u8, u8),
    data_offset: u64,
}

impl Header {
    /// Makes the header that `numpy.lib.format.open_memmap` writes: of the oldest version that can hold it,
    /// in the given order.
    ///
    /// ```
    /// # use mapcall_array::{DType, format::Header, layout::Order};
    /// let column = Header::new(DType::F64, &[3, 1], Order::F)?;
    /// assert_eq!((column.order(), column.layout().strides()), (Order::F, &[8, 24][..]));
    /// # Ok::<(), mapcall_array::format::FormatError>(())
    /// ```
    ///
    /// `numpy.save` writes C order for an array that is contiguous in both orders. If the dtype is a
    /// sub-array, its dimensions become axes, as in every array of NumPy.
    ///
    /// # Errors
    ///
    /// [`FormatError::Layout`] if the shape has too many axes or bytes, [`FormatError::DType`] if fields
    /// overlap or are not in the order of their offsets, [`FormatError::HeaderTooLong`] for tens of thousands
    /// of fields.
    pub fn new(dtype: DType, shape: &[usize], order: Order) -> Result<Self, FormatError> {
        let mut shape = shape.to_vec();
        let dtype = dtype.expand(&mut shape);
        let layout = Layout::in_buffer(&shape, dtype.itemsize(), order)?;
        let mut header = Self {
            dtype,
            layout,
            order,
            version: (1, 0),
            data_offset: 0,
        };
        let text = header.text()?;
        header.version = if !text.chars().all(is_latin1) {
            (3, 0)
        } else if padded_len((1, 0), text.chars().count()) > usize::from(u16::MAX) {
            (2, 0)
        } else {
            (1, 0)
        };
        header.data_offset = u64::try_from(header.encode(&text)?.len()).unwrap_or(u64::MAX);
        Ok(header)
    }

    /// Pads the header with spaces so that the data begin at a multiple of `align` bytes, such as a page. The
    /// header is unchanged if it would become longer than NumPy reads (10,000 bytes).
    ///
    /// ```
    /// # use mapcall_array::{DType, format::Header, layout::Order};
    /// let header = Header::new(DType::F64, &[3, 2], Order::C)?.aligned(4096);
    /// assert_eq!((header.data_offset(), header.to_bytes()?.len()), (4096, 4096));
    /// # Ok::<(), mapcall_array::format::FormatError>(())
    /// ```
    #[must_use]
    pub fn aligned(mut self, align: u64) -> Self {
        let padded = self.data_offset.checked_next_multiple_of(align);
        if let Some(padded) = padded.filter(|padded| *padded <= NUMPY_MAX_LEN) {
            self.data_offset = padded;
        }
        self
    }

    /// Reads a header, and leaves the reader at the first byte of the data.
    ///
    /// ```
    /// # use mapcall_array::{DType, format::Header, layout::Order};
    /// let header = Header::new(DType::U8, &[5], Order::C)?.to_bytes()?;
    /// let file = [&header[..], b"hello"].concat();
    ///
    /// let mut reader = &file[..];
    /// assert_eq!(Header::read(&mut reader)?.shape(), [5]);
    /// assert_eq!(reader, b"hello");
    /// # Ok::<(), mapcall_array::format::FormatError>(())
    /// ```
    ///
    /// Versions 1.0, 2.0 and 3.0 are read, and headers that Python 2 wrote. Reading takes three small reads,
    /// so a buffered reader is faster. [`Header::check_len`] checks that the data are complete.
    ///
    /// # Errors
    ///
    /// Every [`FormatError`] about `.npy` headers except [`FormatError::NotLatin1`], which is for writing, and
    /// [`FormatError::DataTruncated`].
    pub fn read(mut reader: impl Read) -> Result<Self, FormatError> {
        let prefix = read_up_to(&mut reader, PREFIX)?;
        let version = match prefix.strip_prefix(MAGIC) {
            Some(&[major, minor]) => (major, minor),
            Some(_) => return Err(truncated(PREFIX, prefix.len())),
            None if MAGIC.starts_with(&prefix) && !prefix.is_empty() => {
                return Err(truncated(PREFIX, prefix.len()));
            }
            None => return Err(FormatError::UnknownFormat { found: prefix }),
        };
        let size = match version {
            (1, 0) => 2,
            (2 | 3, 0) => 4,
            (major, minor) => return Err(FormatError::UnknownVersion { major, minor }),
        };
        let start = PREFIX + size;
        let len = read_up_to(&mut reader, size)?;
        let len = match *len {
            [a, b] if size == 2 => u64::from(u16::from_le_bytes([a, b])),
            [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
            _ => return Err(truncated(start, prefix.len() + len.len())),
        };
        if len > MAX_LEN {
            return Err(FormatError::HeaderTooLong {
                len,
                limit: MAX_LEN,
            });
        }
        let bytes = read_up_to(&mut reader, len)?;
        let data_offset = start + len;
        let missing = len.saturating_sub(bytes.len() as u64);
        if missing > 0 {
            return Err(FormatError::Truncated {
                needed: data_offset,
                have: data_offset - missing,
            });
        }
        let text = decode(&bytes, version)?;
        // Like NumPy, integers of Python 2 are accepted only in the versions that Python 2 wrote.
        let literal = Value::parse(&text, version.0 < 3)?;
        Self::from_literal(literal, version, data_offset)
    }

    fn from_literal(
        value: Value,
        version: (u8, u8),
        data_offset: u64,
    ) -> Result<Self, FormatError> {
        let items = match value {
            Value::Dict(items) => items,
            other => {
                return Err(FormatError::NotADict {
                    found: excerpt(&other),
                });
            }
        };
        let (mut descr, mut order, mut shape) = (None, None, None);
        for (key, value) in items {
            let found = match &key {
                Value::String(key) if key == "descr" => &mut descr,
                Value::String(key) if key == "fortran_order" => &mut order,
                Value::String(key) if key == "shape" => &mut shape,
                other => {
                    return Err(FormatError::UnexpectedKey {
                        key: excerpt(other),
                    });
                }
            };
            if found.replace(value).is_some() {
                return Err(FormatError::DuplicateKey { key: excerpt(&key) });
            }
        }
        let descr = descr.ok_or(FormatError::MissingKey { key: "descr" })?;
        let order = order.ok_or(FormatError::MissingKey {
            key: "fortran_order",
        })?;
        let shape = shape.ok_or(FormatError::MissingKey { key: "shape" })?;

        let order = match order {
            Value::Boolean(false) => Order::C,
            Value::Boolean(true) => Order::F,
            other => {
                return Err(FormatError::BadOrder {
                    found: excerpt(&other),
                });
            }
        };
        let mut shape = lengths(&shape)?;
        let dtype = DType::from_descr(&descr)?.expand(&mut shape);
        let layout = Layout::in_buffer(&shape, dtype.itemsize(), order)?;
        Ok(Self {
            dtype,
            layout,
            order,
            version,
            data_offset,
        })
    }

    /// Returns the bytes of the header in a file. They are the same as NumPy writes for this array and
    /// version, with its reserved space for an axis that grows, and with more padding if
    /// [`data_offset`](Self::data_offset) is larger.
    ///
    /// ```
    /// # use mapcall_array::{DType, format::Header, layout::Order};
    /// let short = Header::new(DType::F64, &[9], Order::C)?.to_bytes()?;
    /// let long = Header::new(DType::F64, &[1_000_000_000], Order::C)?.to_bytes()?;
    /// assert!(short.starts_with(b"\x93NUMPY\x01\x00") && short.ends_with(b" \n"));
    /// assert_eq!((short.len(), long.len()), (128, 128));
    /// # Ok::<(), mapcall_array::format::FormatError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`FormatError::HeaderTooLong`] or [`FormatError::NotLatin1`] if the version that was read can't hold
    /// it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        self.encode(&self.text()?)
    }

    /// Returns the dtype of the elements.
    ///
    /// ```
    /// # use mapcall_array::{DType, format::Header, layout::Order};
    /// # let header = Header::new(DType::F64, &[3, 2], Order::F)?;
    /// assert_eq!(header.dtype(), &DType::F64);
    /// # Ok::<(), mapcall_array::format::FormatError>(())
    /// ```
    #[must_use]
    pub fn dtype(&self) -> &DType {
        &self.dtype
    }

    /// Returns the length of each axis.
    ///
    /// ```
    /// # use mapcall_array::{DType, format::Header, layout::Order};
    /// # let header = Header::new(DType::F64, &[3, 2], Order::F)?;
    /// assert_eq!(header.shape(), [3, 2]);
    /// # Ok::<(), mapcall_array::format::FormatError>(())
    /// ```
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        self.layout.shape()
    }

    /// Returns the order in the header: the axis that varies fastest.
    ///
    /// ```
    /// # use mapcall_array::{DType, format::Header, layout::Order};
    /// # let header = Header::new(DType::F64, &[3, 2], Order::F)?;
    /// assert_eq!(header.order(), Order::F);
    /// # Ok::<(), mapcall_array::format::FormatError>(())
    /// ```
    #[must_use]
    pub fn order(&self) -> Order {
        self.order
    }

    /// Returns the layout of the elements, relative to the first byte of the data.
    ///
    /// ```
    /// # use mapcall_array::{DType, format::Header, layout::Order};
    /// # let header = Header::new(DType::F64, &[3, 2], Order::F)?;
    /// assert_eq!((header.layout().strides(), header.layout().offset()), (&[8, 24][..], 0));
    /// # Ok::<(), mapcall_array::format::FormatError>(())
    /// ```
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the version of the format, major and minor.
    ///
    /// ```
    /// # use mapcall_array::{DType, format::Header, layout::Order};
    /// let greek = DType::structured([("λ", DType::F64)])?;
    /// assert_eq!(Header::new(DType::F64, &[], Order::C)?.version(), (1, 0));
    /// assert_eq!(Header::new(greek, &[], Order::C)?.version(), (3, 0)); // UTF-8
    /// # Ok::<(), mapcall_array::format::FormatError>(())
    /// ```
    #[must_use]
    pub fn version(&self) -> (u8, u8) {
        self.version
    }

    /// Returns the number of bytes from the start of the header to the first byte of the data.
    ///
    /// ```
    /// # use mapcall_array::{DType, format::Header, layout::Order};
    /// # let header = Header::new(DType::F64, &[3, 2], Order::F)?;
    /// assert_eq!(header.data_offset(), header.to_bytes()?.len() as u64);
    /// # Ok::<(), mapcall_array::format::FormatError>(())
    /// ```
    #[must_use]
    pub fn data_offset(&self) -> u64 {
        self.data_offset
    }

    /// Returns the size of the data in bytes.
    ///
    /// ```
    /// # use mapcall_array::{DType, format::Header, layout::Order};
    /// # let header = Header::new(DType::F64, &[3, 2], Order::F)?;
    /// assert_eq!(header.nbytes(), 3 * 2 * 8);
    /// # Ok::<(), mapcall_array::format::FormatError>(())
    /// ```
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.layout.nbytes()
    }

    /// Returns the size of header and data in bytes: the length of a file that holds nothing else.
    ///
    /// ```
    /// # use mapcall_array::{DType, format::Header, layout::Order};
    /// # let header = Header::new(DType::F64, &[3, 2], Order::F)?;
    /// assert_eq!(header.end(), 128 + 48);
    /// # Ok::<(), mapcall_array::format::FormatError>(())
    /// ```
    #[must_use]
    pub fn end(&self) -> u64 {
        self.data_offset.saturating_add(self.nbytes() as u64)
    }

    /// Checks that a file, or a member of a `.npz`, of `len` bytes holds all the data.
    ///
    /// ```
    /// # use mapcall_array::{DType, format::Header, layout::Order};
    /// # let header = Header::new(DType::F64, &[3, 2], Order::F)?;
    /// assert!(header.check_len(128 + 48).is_ok());
    /// assert!(header.check_len(128 + 47).is_err());
    /// # Ok::<(), mapcall_array::format::FormatError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`FormatError::DataTruncated`] if it does not.
    pub fn check_len(&self, len: u64) -> Result<(), FormatError> {
        if self.end() <= len {
            return Ok(());
        }
        Err(FormatError::DataTruncated {
            needed: self.end(),
            have: len,
            header: self.data_offset,
            shape: self.shape().into(),
            itemsize: self.dtype.itemsize(),
        })
    }

    /// Returns the literal and the reserved space, without the padding.
    fn text(&self) -> Result<String, FormatError> {
        let growing = self.growth_axis().and_then(|axis| self.shape().get(axis));
        let room = growing.map_or(0, |length| {
            GROWTH_DIGITS.saturating_sub(length.to_string().len())
        });
        Ok(format!("{}{:room$}", self.literal()?, ""))
    }

    /// Returns the dict as a Python literal.
    fn literal(&self) -> Result<String, FormatError> {
        Ok(format!(
            "{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}",
            self.dtype.to_descr()?,
            Value::Boolean(self.order == Order::F),
            PyShape(self.shape()),
        ))
    }

    /// Returns the axis along which the array can grow in the file: the slowest one, which is the first in C
    /// order and the last in Fortran order; `None` without axes.
    fn growth_axis(&self) -> Option<usize> {
        let last = self.shape().len().checked_sub(1)?;
        Some(if self.order == Order::F { last } else { 0 })
    }

    /// Returns a text in the encoding of the version.
    fn encoded<'a>(&self, text: &'a str) -> Result<Cow<'a, [u8]>, FormatError> {
        let (major, minor) = self.version;
        if major == 3 || text.is_ascii() {
            return Ok(text.as_bytes().into());
        }
        let byte = |c: char| {
            u8::try_from(c).map_err(|_| FormatError::NotLatin1 {
                found: c,
                major,
                minor,
            })
        };
        text.chars().map(byte).collect()
    }

    fn encode(&self, text: &str) -> Result<Vec<u8>, FormatError> {
        let body = self.encoded(text)?;
        // `data_offset` is larger than needed for a header with more padding.
        let wanted = usize::try_from(self.data_offset).unwrap_or(usize::MAX);
        let len = padded_len(self.version, body.len())
            .max(wanted.saturating_sub(length_end(self.version)));
        let limit = if self.version.0 == 1 {
            u64::from(u16::MAX)
        } else {
            MAX_LEN
        };
        let too_long = || FormatError::HeaderTooLong {
            len: len as u64,
            limit,
        };
        if len as u64 > limit {
            return Err(too_long());
        }
        let mut bytes = self.prefix(len).ok_or_else(too_long)?;
        let end = bytes.len() + len;
        bytes.extend_from_slice(&body);
        bytes.resize(end - 1, b' ');
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Returns the bytes before the literal: magic, version, and the length of the rest of the header; `None`
    /// if the version can't express the length.
    fn prefix(&self, len: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(len + 12);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[self.version.0, self.version.1]);
        if self.version.0 == 1 {
            bytes.extend_from_slice(&u16::try_from(len).ok()?.to_le_bytes());
        } else {
            bytes.extend_from_slice(&u32::try_from(len).ok()?.to_le_bytes());
        }
        Some(bytes)
    }
}

/// The header of a `.npy` file whose array grows, with the bytes that overwrite it in the file.
///
/// ```
/// use mapcall_array::DType;
/// use mapcall_array::format::{GrowingHeader, Header};
/// use mapcall_array::layout::Order;
///
/// let header = Header::new(DType::F64, &[9, 3], Order::C)?;
/// let mut growing = GrowingHeader::new(header)?;
/// assert_eq!((growing.axis(), growing.len(), growing.row_shape()), (0, 9, vec![3]));
///
/// growing.set_len(10)?;
/// assert_eq!(growing.bytes().len(), 128);
/// assert_eq!(Header::read(growing.bytes())?.shape(), [10, 3]);
/// assert_eq!(growing.header().end(), 128 + 240);
/// # Ok::<(), mapcall_array::format::FormatError>(())
/// ```
///
/// The array grows along its slowest axis: the first in C order, the last in Fortran order. A row is what one
/// index along this axis selects. The bytes are as many as those of the header in the file, so that the data
/// stay where they are.
///
/// The length of the axis is right-aligned in a field of fixed width, which lies in one cache line if the
/// header has room for that. So an update of the header changes bytes of one line only, and a process that
/// reads the header meanwhile finds the old or the new length, since the processor copies a line as a whole.
/// In the headers that NumPy writes, the length often crosses the end of a line: a reader could find the first
/// digits of one length and the last digits of the other.
#[derive(Clone, Debug)]
pub struct GrowingHeader {
    header: Header,
    axis: usize,
    bytes: Vec<u8>,
    /// The bytes of `bytes` that are free for the length of the axis.
    room: Range<usize>,
    /// The literal behind the length.
    suffix: Vec<u8>,
}

impl GrowingHeader {
    /// Returns the bytes for a header that was read from a file or that will be written to one.
    ///
    /// # Errors
    ///
    /// [`FormatError::NoGrowthAxis`] if the array has no axes; [`FormatError::NoRoom`] if the dict, as this
    /// crate writes it, is longer than the header.
    pub fn new(header: Header) -> Result<Self, FormatError> {
        let axis = header.growth_axis().ok_or(FormatError::NoGrowthAxis)?;
        let len = header.shape().get(axis).copied().unwrap_or(0);
        let literal = header.literal()?;
        let digits = len.to_string();
        // The number stands behind the first parenthesis of the shape, or before the last one.
        let shape = PyShape(header.shape()).to_string();
        let behind = match header.order {
            Order::F => shape.trim_end_matches([',', ')']).len(),
            Order::C => 1 + digits.len(),
        };
        let behind = literal.len() - ", }".len() - shape.len() + behind;
        let (before, suffix) = literal.split_at_checked(behind).unwrap_or((&literal, ""));
        let before = before.strip_suffix(&digits).unwrap_or(before);
        let suffix = header.encoded(suffix)?.into_owned();

        let total = usize::try_from(header.data_offset).unwrap_or(usize::MAX);
        let mut bytes = header
            .prefix(total.saturating_sub(length_end(header.version)))
            .ok_or(FormatError::HeaderTooLong {
                len: header.data_offset,
                limit: MAX_LEN,
            })?;
        bytes.extend_from_slice(&header.encoded(before)?);
        // The last byte of the header is a newline.
        let room = bytes.len()..total.saturating_sub(suffix.len() + 1);
        let mut growing = Self {
            header,
            axis,
            bytes,
            room,
            suffix,
        };
        growing.set_len(len)?;
        Ok(growing)
    }

    /// Changes the length of the axis along which the array grows.
    ///
    /// # Errors
    ///
    /// [`FormatError::NoRoom`] if the length has more digits than the header has room for,
    /// [`FormatError::Layout`] if the array would have more bytes than can be addressed. Nothing has changed
    /// then.
    pub fn set_len(&mut self, len: usize) -> Result<(), FormatError> {
        let header = &self.header;
        let mut shape = header.shape().to_vec();
        if let Some(axis) = shape.get_mut(self.axis) {
            *axis = len;
        }
        let layout = Layout::in_buffer(&shape, header.dtype.itemsize(), header.order)?;
        let digits = len.to_string();
        let field = field(&self.room, digits.len()).ok_or_else(|| FormatError::NoRoom {
            axis: self.axis,
            len,
            room: self.room.len(),
        })?;
        self.bytes.truncate(self.room.start);
        self.bytes.resize(field.end - digits.len(), b' ');
        self.bytes.extend_from_slice(digits.as_bytes());
        self.bytes.extend_from_slice(&self.suffix);
        // The field ends in `room`, behind which the suffix and the newline fit.
        self.bytes.resize(self.room.end + self.suffix.len(), b' ');
        self.bytes.push(b'\n');
        self.header.layout = layout;
        Ok(())
    }

    /// Returns the bytes of the header in the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the header, with the present length.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the axis along which the array grows.
    #[must_use]
    pub fn axis(&self) -> usize {
        self.axis
    }

    /// Returns the length of the axis along which the array grows: the number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.shape().get(self.axis).copied().unwrap_or(0)
    }

    /// Returns whether the array has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the shape without the axis along which the array grows.
    #[must_use]
    pub fn row_shape(&self) -> Vec<usize> {
        let mut shape = self.header.shape().to_vec();
        shape.remove(self.axis);
        shape
    }
}

/// Returns the field of a number with `digits` digits in the free bytes: the larger part of them that lies in
/// one cache line, if the number fits there; `None` if it fits nowhere.
fn field(room: &Range<usize>, digits: usize) -> Option<Range<usize>> {
    let line = room.start.next_multiple_of(CACHE_LINE);
    let first = room.start..room.end.min(line);
    let second = line..room.end.min(line + CACHE_LINE);
    let part = if first.len() >= MAX_DIGITS.min(second.len()) {
        first
    } else {
        second
    };
    [part, room.clone()]
        .into_iter()
        .find(|part| part.len() >= digits)
        .map(|part| part.start..part.end.min(part.start + MAX_DIGITS))
}

/// Returns the length of a header with `body` bytes of text, without the prefix and the length field: padding
/// of at least one byte and a newline align the data to [`ALIGN`].
fn padded_len(version: (u8, u8), body: usize) -> usize {
    let start = length_end(version);
    let unpadded = start + body + 1;
    (unpadded / ALIGN + 1) * ALIGN - start
}

/// Returns the number of bytes up to the end of the length field.
fn length_end((major, _): (u8, u8)) -> usize {
    if major == 1 { 10 } else { 12 }
}

fn is_latin1(c: char) -> bool {
    u32::from(c) <= 0xff
}

/// Decodes the text of a header: UTF-8 since version 3, Latin-1 before.
fn decode(bytes: &[u8], version: (u8, u8)) -> Result<Cow<'_, str>, FormatError> {
    match str::from_utf8(bytes) {
        Ok(text) if version.0 == 3 || text.is_ascii() => Ok(text.into()),
        Err(error) if version.0 == 3 => Err(FormatError::NotUtf8 {
            at: error.valid_up_to(),
        }),
        _ => Ok(bytes.iter().copied().map(char::from).collect()),
    }
}

/// Returns the lengths of the axes in the header's `shape`.
fn lengths(shape: &Value) -> Result<Vec<usize>, FormatError> {
    let Value::Tuple(items) = shape else {
        return Err(FormatError::BadShape {
            found: excerpt(shape),
        });
    };
    let length = |(axis, item): (usize, &Value)| match item {
        Value::Integer(length @ ..0) => Err(FormatError::NegativeLength {
            axis,
            length: *length,
        }),
        Value::Integer(length) => usize::try_from(*length).map_err(|_| FormatError::HugeLength {
            axis,
            length: *length,
        }),
        _ => Err(FormatError::BadShape {
            found: excerpt(shape),
        }),
    };
    items.iter().enumerate().map(length).collect()
}

fn truncated(needed: u64, have: usize) -> FormatError {
    FormatError::Truncated {
        needed,
        have: have as u64,
    }
}

/// Returns a literal of the file, shortened for a message.
fn excerpt(value: &Value) -> String {
    repr::excerpt(&value.to_string()).into_owned()
}
