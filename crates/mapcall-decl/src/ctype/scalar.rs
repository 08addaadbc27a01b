//! C's arithmetic types, with their sizes on this machine.

use core::ffi::{
    c_char, c_double, c_float, c_int, c_long, c_longlong, c_short, c_uint, c_ulong, c_ulonglong,
    c_ushort,
};

use mapcall_array::DType;

/// An integer type by its C name.
///
/// ```
/// use mapcall_decl::ctype::Integer;
///
/// assert_eq!(Integer::UShort.name(), "unsigned short");
/// assert_eq!((Integer::UShort.size(), Integer::UShort.max()), (2, 65535));
/// assert!(!Integer::UShort.contains(-1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Integer {
    /// `char`, which is signed or unsigned depending on the machine.
    Char,
    /// `signed char`
    SChar,
    /// `unsigned char`
    UChar,
    /// `short`
    Short,
    /// `unsigned short`
    UShort,
    /// `int`
    Int,
    /// `unsigned int`
    UInt,
    /// `long`
    Long,
    /// `unsigned long`
    ULong,
    /// `long long`
    LongLong,
    /// `unsigned long long`
    ULongLong,
}

impl Integer {
    /// Returns the C name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Char => "char",
            Self::SChar => "signed char",
            Self::UChar => "unsigned char",
            Self::Short => "short",
            Self::UShort => "unsigned short",
            Self::Int => "int",
            Self::UInt => "unsigned int",
            Self::Long => "long",
            Self::ULong => "unsigned long",
            Self::LongLong => "long long",
            Self::ULongLong => "unsigned long long",
        }
    }

    /// Returns `sizeof`, in bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Char | Self::SChar | Self::UChar => size_of::<c_char>(),
            Self::Short | Self::UShort => size_of::<c_short>(),
            Self::Int | Self::UInt => size_of::<c_int>(),
            Self::Long | Self::ULong => size_of::<c_long>(),
            Self::LongLong | Self::ULongLong => size_of::<c_longlong>(),
        }
    }

    /// Returns the alignment as a member of a struct, in bytes.
    #[must_use]
    pub const fn alignment(self) -> usize {
        match self {
            Self::Char | Self::SChar | Self::UChar => align_of::<c_char>(),
            Self::Short | Self::UShort => align_of::<c_ushort>(),
            Self::Int | Self::UInt => align_of::<c_uint>(),
            Self::Long | Self::ULong => align_of::<c_ulong>(),
            Self::LongLong | Self::ULongLong => align_of::<c_ulonglong>(),
        }
    }

    /// Returns the number of bits of a value, at most 64.
    ///
    /// ```
    /// assert_eq!(mapcall_decl::ctype::Integer::Short.bits(), 16);
    /// ```
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self.size() {
            1 => 8,
            2 => 16,
            4 => 32,
            _ => 64,
        }
    }

    /// Returns whether the type is signed.
    #[must_use]
    pub const fn is_signed(self) -> bool {
        match self {
            Self::Char => c_char::MIN != 0,
            Self::SChar | Self::Short | Self::Int | Self::Long | Self::LongLong => true,
            _ => false,
        }
    }

    /// Returns the smallest value.
    #[must_use]
    pub const fn min(self) -> i128 {
        if self.is_signed() {
            -1 << (8 * self.size() - 1)
        } else {
            0
        }
    }

    /// Returns the largest value.
    #[must_use]
    pub const fn max(self) -> i128 {
        if self.is_signed() {
            -1 - self.min()
        } else {
            (1 << (8 * self.size())) - 1
        }
    }

    /// Returns whether a value is in the range of the type.
    #[must_use]
    pub const fn contains(self, value: i128) -> bool {
        self.min() <= value && value <= self.max()
    }

    /// Returns the most common type of `size` bytes.
    pub(crate) const fn of_size(size: usize, signed: bool) -> Self {
        match (size, signed) {
            (1, true) => Self::SChar,
            (1, false) => Self::UChar,
            (2, true) => Self::Short,
            (2, false) => Self::UShort,
            (4, true) => Self::Int,
            (4, false) => Self::UInt,
            (_, true) if Self::Long.size() == size => Self::Long,
            (_, false) if Self::Long.size() == size => Self::ULong,
            (_, true) => Self::LongLong,
            (_, false) => Self::ULongLong,
        }
    }

    pub(super) fn dtype(self) -> DType {
        match (self.size(), self.is_signed()) {
            (1, true) => DType::I8,
            (1, false) => DType::U8,
            (2, true) => DType::I16,
            (2, false) => DType::U16,
            (4, true) => DType::I32,
            (4, false) => DType::U32,
            (_, true) => DType::I64,
            (_, false) => DType::U64,
        }
    }
}

/// A real floating type.
///
/// ```
/// use mapcall_decl::ctype::Float;
///
/// assert_eq!((Float::Float16.name(), Float::Float16.size()), ("_Float16", 2));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Float {
    /// `_Float16`
    Float16,
    /// `float`
    Float,
    /// `double`
    Double,
    /// `long double`
    LongDouble,
}

impl Float {
    /// Returns the C name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float16 => "_Float16",
            Self::Float => "float",
            Self::Double => "double",
            Self::LongDouble => "long double",
        }
    }

    /// Returns `sizeof`, in bytes.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::Float16 => size_of::<u16>(),
            Self::Float => size_of::<c_float>(),
            Self::Double => size_of::<c_double>(),
            Self::LongDouble => DType::LONGDOUBLE.itemsize(),
        }
    }

    /// Returns the alignment as a member of a struct, in bytes.
    #[must_use]
    pub fn alignment(self) -> usize {
        match self {
            Self::Float16 => align_of::<u16>(),
            Self::Float => align_of::<c_float>(),
            Self::Double => align_of::<c_double>(),
            Self::LongDouble => DType::LONGDOUBLE.alignment(),
        }
    }

    pub(super) fn dtype(self) -> DType {
        match self {
            Self::Float16 => DType::F16,
            Self::Float => DType::F32,
            Self::Double => DType::F64,
            Self::LongDouble => DType::LONGDOUBLE,
        }
    }

    pub(super) fn complex_dtype(self) -> Option<DType> {
        match self {
            Self::Float16 => None,
            Self::Float => Some(DType::C64),
            Self::Double => Some(DType::C128),
            Self::LongDouble => Some(DType::CLONGDOUBLE),
        }
    }
}
