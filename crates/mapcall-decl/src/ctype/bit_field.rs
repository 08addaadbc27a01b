//! Bit-fields, and the storage that they share.

use std::ops::Range;

use mapcall_array::DType;
use mapcall_array::dtype::Field;

use super::{CType, Integer};

/// The bits of a bit-field.
///
/// ```
/// use mapcall_decl::ctype::{Body, CType};
/// use mapcall_decl::Declarations;
///
/// let header = Declarations::parse("struct flags { unsigned kind : 3; int level : 6; };");
/// let CType::Record(flags) = &header.structs()["flags"] else { panic!() };
/// let Body::Complete { members, size, .. } = &flags.body else { panic!() };
/// let level = members[1].bits.unwrap();
/// assert_eq!((*size, members[1].offset, level.start, level.width), (4, 0, 3, 6));
/// // The value of `level` is that of bits 3 to 8 of the two bytes.
/// assert_eq!(level.read(&[0b1111_0000, 0b1]), -2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BitField {
    /// The first bit in the byte at the member's offset, from the lowest one; less than 8.
    pub start: u32,
    /// The number of bits, at most 64.
    pub width: u32,
    /// Whether the values are signed.
    pub is_signed: bool,
}

impl BitField {
    /// Returns the number of bytes that the bits are in, at most 9.
    #[must_use]
    pub fn bytes(&self) -> usize {
        usize::try_from((self.start + self.width).div_ceil(8)).unwrap_or_default()
    }

    /// Returns the smallest and the largest value.
    #[must_use]
    pub fn range(&self) -> (i128, i128) {
        if self.is_signed {
            let half = 1 << (self.width - 1);
            (-half, half - 1)
        } else {
            (0, (1 << self.width) - 1)
        }
    }

    /// Returns the value in the bytes at the member's offset.
    #[must_use]
    pub fn read(&self, bytes: &[u8]) -> i128 {
        let number = bytes.iter().take(self.bytes()).rev();
        let number = number.fold(0_i128, |number, byte| number << 8 | i128::from(*byte));
        let unused = i128::BITS - self.width;
        let top = (number >> self.start) << unused;
        if self.is_signed {
            top >> unused
        } else {
            (top.cast_unsigned() >> unused).cast_signed()
        }
    }

    /// Stores the low bits of a value in the bytes at the member's offset; their other bits stay.
    pub fn write(&self, bytes: &mut [u8], value: i128) {
        let mask = ((1_u128 << self.width) - 1) << self.start;
        let value = (value.cast_unsigned() << self.start) & mask;
        let new = value.to_le_bytes().into_iter().zip(mask.to_le_bytes());
        for (byte, (value, mask)) in bytes.iter_mut().take(self.bytes()).zip(new) {
            *byte = *byte & !mask | value;
        }
    }
}

/// A bit-field by its place in the dtype of its record.
///
/// ```
/// use mapcall_decl::ctype::CType;
/// use mapcall_decl::Declarations;
///
/// let header = Declarations::parse("struct flags { char tag; unsigned kind : 3, level : 6; };");
/// let CType::Record(flags) = &header.structs()["flags"] else { panic!() };
/// let level = flags.bit_field("level").unwrap();
/// assert_eq!((level.field.as_str(), level.offset, level.bits.start), ("kind:3 level:6", 0, 3));
/// assert!(flags.bit_field("tag").is_none());
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoredBits {
    /// The name of the field.
    pub field: String,
    /// The offset of the byte with the first bit in the field, in bytes.
    pub offset: usize,
    /// The bits in the bytes from there.
    pub bits: BitField,
    /// The type of the bit-field.
    pub ctype: CType,
}

/// A member, as far as the storage of bit-fields depends on it.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) ctype: &'a CType,
    /// In bytes.
    pub(super) offset: usize,
    pub(super) bits: Option<BitField>,
}

/// Bytes that bit-fields share: the storage of their types, as far as no other member is in it.
pub(super) struct Storage<'a> {
    /// The position of the first bit-field among the members.
    pub(super) first: usize,
    parts: Vec<Part<'a>>,
    range: Range<usize>,
}

impl Storage<'_> {
    /// Returns the names of the bit-fields with their widths, as in C: `a:3 b:5`.
    fn name(&self) -> String {
        let named = self.parts.iter().filter_map(|part| {
            let (name, bits) = (part.name?, part.bits?);
            Some(format!("{name}:{}", bits.width))
        });
        named.collect::<Vec<_>>().join(" ")
    }

    /// Returns the field of a dtype: an unsigned integer, or bytes if there is none of that size. `None` if no
    /// bit-field in it has a name.
    pub(super) fn field(&self) -> Option<Field> {
        let name = self.name();
        let dtype = match self.range.len() {
            size @ (1 | 2 | 4 | 8) => Integer::of_size(size, false).dtype(),
            size => DType::void(size).ok()?,
        };
        (!name.is_empty()).then(|| Field::new(name, dtype).at(self.range.start))
    }

    /// Returns the bit-field of a name.
    pub(super) fn find(&self, name: &str) -> Option<StoredBits> {
        let part = self.parts.iter().find(|part| part.name == Some(name))?;
        Some(StoredBits {
            field: self.name(),
            offset: part.offset - self.range.start,
            bits: part.bits?,
            ctype: part.ctype.clone(),
        })
    }
}

/// Returns the storage of all bit-fields of a record of some size, in order.
pub(super) fn storage<'a>(is_union: bool, parts: &[Part<'a>], size: usize) -> Vec<Storage<'a>> {
    let mut all: Vec<Storage<'a>> = Vec::new();
    // The end of the last member that is no bit-field.
    let mut start = 0;
    for (index, part) in parts.iter().enumerate() {
        let Some(bits) = part.bits else {
            start = part.offset.saturating_add(part.ctype.size().unwrap_or(0));
            continue;
        };
        let free = if is_union {
            0..size
        } else {
            let mut behind = parts.iter().skip(index);
            let next = behind.find(|part| part.bits.is_none());
            start..next.map_or(size, |part| part.offset)
        };
        let start = free.start;
        let range = storage_of(part.ctype, part.offset, bits.bytes(), free);
        match all.last_mut() {
            Some(last)
                if !is_union && range.start < last.range.end && last.range.start >= start =>
            {
                last.range.start = last.range.start.min(range.start);
                last.range.end = last.range.end.max(range.end);
                last.parts.push(*part);
            }
            _ => all.push(Storage {
                first: index,
                parts: vec![*part],
                range,
            }),
        }
    }
    all
}

/// Returns the bytes of the largest integer, up to the size of a type, that has the bytes of a bit-field and lies
/// within `free`; the bytes themselves if there is none.
fn storage_of(ctype: &CType, offset: usize, bytes: usize, free: Range<usize>) -> Range<usize> {
    let exact = offset..offset.saturating_add(bytes);
    let mut size = ctype.size().unwrap_or(0);
    while size > 0 {
        let start = offset / size * size;
        let end = start.saturating_add(size);
        if end >= exact.end && start >= free.start && end <= free.end {
            return start..end;
        }
        size /= 2;
    }
    exact
}
