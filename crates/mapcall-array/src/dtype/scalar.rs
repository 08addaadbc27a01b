//! The scalar types: sizes, C alignments, byte orders and units of time.

use std::ffi::{c_int, c_long, c_longlong, c_short, c_uint, c_ulong, c_ulonglong, c_ushort};
use std::fmt;
use std::mem::{align_of, size_of};

/// The order of the bytes of a number.
///
/// ```
/// use mapcall_array::dtype::{ByteOrder, DType};
///
/// let dtype: DType = ">i4".parse()?;
/// assert_eq!(dtype.byte_order(), ByteOrder::Big);
/// assert_eq!(DType::U8.byte_order(), ByteOrder::NotApplicable);
/// # Ok::<(), mapcall_array::dtype::DTypeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first: NumPy's `<`.
    Little,
    /// Most significant byte first: NumPy's `>`.
    Big,
    /// Types without a byte order: single bytes, structured types and sub-arrays. NumPy's `|`.
    NotApplicable,
}

impl ByteOrder {
    /// This machine's order.
    ///
    /// ```
    /// # use mapcall_array::dtype::{ByteOrder, DType};
    /// assert_eq!("=i4".parse::<DType>()?.byte_order(), ByteOrder::NATIVE);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    pub const NATIVE: Self = if cfg!(target_endian = "little") {
        Self::Little
    } else {
        Self::Big
    };

    /// Returns NumPy's character: `<`, `>` or `|`.
    ///
    /// ```
    /// # use mapcall_array::dtype::ByteOrder;
    /// assert_eq!(ByteOrder::Big.as_char(), '>');
    /// ```
    #[must_use]
    pub const fn as_char(self) -> char {
        match self {
            Self::Little => '<',
            Self::Big => '>',
            Self::NotApplicable => '|',
        }
    }

    /// Returns whether it is this machine's order, or does not apply.
    ///
    /// ```
    /// # use mapcall_array::dtype::ByteOrder;
    /// assert_ne!(ByteOrder::Little.is_native(), ByteOrder::Big.is_native());
    /// assert!(ByteOrder::NotApplicable.is_native());
    /// ```
    #[must_use]
    pub const fn is_native(self) -> bool {
        match self {
            Self::Little => cfg!(target_endian = "little"),
            Self::Big => cfg!(target_endian = "big"),
            Self::NotApplicable => true,
        }
    }
}

/// A unit of `datetime64` and `timedelta64`.
///
/// ```
/// use mapcall_array::dtype::{DType, ScalarType, TimeUnit};
///
/// let dtype: DType = "M8[25s]".parse()?;
/// let unit = TimeUnit::Second;
/// assert_eq!(dtype.scalar_type(), Some(ScalarType::Datetime64 { unit, count: 25 }));
/// # Ok::<(), mapcall_array::dtype::DTypeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TimeUnit {
    /// `Y`
    Year,
    /// `M`
    Month,
    /// `W`
    Week,
    /// `D`
    Day,
    /// `h`
    Hour,
    /// `m`
    Minute,
    /// `s`
    Second,
    /// `ms`
    Millisecond,
    /// `us`
    Microsecond,
    /// `ns`
    Nanosecond,
    /// `ps`
    Picosecond,
    /// `fs`
    Femtosecond,
    /// `as`
    Attosecond,
    /// No unit: `generic`.
    Generic,
}

impl TimeUnit {
    pub(super) const ALL: [Self; 14] = [
        Self::Year,
        Self::Month,
        Self::Week,
        Self::Day,
        Self::Hour,
        Self::Minute,
        Self::Second,
        Self::Millisecond,
        Self::Microsecond,
        Self::Nanosecond,
        Self::Picosecond,
        Self::Femtosecond,
        Self::Attosecond,
        Self::Generic,
    ];

    /// Returns NumPy's abbreviation: `Y`, `M`, `W`, `D`, `h`, `m`, `s`, `ms` to `as`, `generic`.
    ///
    /// ```
    /// # use mapcall_array::dtype::TimeUnit;
    /// assert_eq!(TimeUnit::Microsecond.as_str(), "us");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Year => "Y",
            Self::Month => "M",
            Self::Week => "W",
            Self::Day => "D",
            Self::Hour => "h",
            Self::Minute => "m",
            Self::Second => "s",
            Self::Millisecond => "ms",
            Self::Microsecond => "us",
            Self::Nanosecond => "ns",
            Self::Picosecond => "ps",
            Self::Femtosecond => "fs",
            Self::Attosecond => "as",
            Self::Generic => "generic",
        }
    }
}

/// The type of one scalar, without its byte order; named as in NumPy.
///
/// ```
/// use mapcall_array::dtype::{DType, ScalarType};
///
/// assert_eq!(DType::F64.scalar_type(), Some(ScalarType::Float64));
/// assert_eq!(DType::unicode(5)?.scalar_type(), Some(ScalarType::Str(5)));
/// assert_eq!(ScalarType::Str(5).itemsize(), 20);
/// # Ok::<(), mapcall_array::dtype::DTypeError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ScalarType {
    /// One byte, 0 or 1.
    Bool,
    /// Signed, 1 byte.
    Int8,
    /// Signed, 2 bytes.
    Int16,
    /// Signed, 4 bytes.
    Int32,
    /// Signed, 8 bytes.
    Int64,
    /// Unsigned, 1 byte.
    UInt8,
    /// Unsigned, 2 bytes.
    UInt16,
    /// Unsigned, 4 bytes.
    UInt32,
    /// Unsigned, 8 bytes.
    UInt64,
    /// IEEE 754, 2 bytes.
    Float16,
    /// IEEE 754, 4 bytes.
    Float32,
    /// IEEE 754, 8 bytes.
    Float64,
    /// C's `long double`, where it is not a `double`.
    LongDouble,
    /// Two [`ScalarType::Float32`].
    Complex64,
    /// Two [`ScalarType::Float64`].
    Complex128,
    /// Two [`ScalarType::LongDouble`].
    CLongDouble,
    /// A moment: an integer of 8 bytes, in steps of `count` units since 1970.
    Datetime64 {
        /// The unit.
        unit: TimeUnit,
        /// The number of units in one step; 1 for [`TimeUnit::Generic`].
        count: u32,
    },
    /// A span of time: an integer of 8 bytes, in steps of `count` units.
    Timedelta64 {
        /// The unit.
        unit: TimeUnit,
        /// The number of units in one step; 1 for [`TimeUnit::Generic`].
        count: u32,
    },
    /// A byte string with a length in bytes, padded with NUL: `S`.
    Bytes(usize),
    /// A string with a length in code points of 4 bytes, padded with NUL: `U`.
    Str(usize),
    /// A number of bytes without a meaning: `V`.
    Void(usize),
}

impl ScalarType {
    /// Returns NumPy's name of a number's type.
    ///
    /// ```
    /// # use mapcall_array::dtype::ScalarType;
    /// assert_eq!(ScalarType::Complex64.name(), Some("complex64"));
    /// assert_eq!(ScalarType::Bytes(3).name(), None);
    /// ```
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Bool => "bool",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::UInt8 => "uint8",
            Self::UInt16 => "uint16",
            Self::UInt32 => "uint32",
            Self::UInt64 => "uint64",
            Self::Float16 => "float16",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::LongDouble => "longdouble",
            Self::Complex64 => "complex64",
            Self::Complex128 => "complex128",
            Self::CLongDouble => "clongdouble",
            _ => return None,
        })
    }

    /// Returns the size in bytes.
    ///
    /// ```
    /// # use mapcall_array::dtype::ScalarType;
    /// assert_eq!(ScalarType::Complex64.itemsize(), 8);
    /// assert_eq!(ScalarType::Str(5).itemsize(), 20);
    /// ```
    #[must_use]
    pub const fn itemsize(self) -> usize {
        match self {
            Self::Bool | Self::Int8 | Self::UInt8 => 1,
            Self::Int16 | Self::UInt16 | Self::Float16 => 2,
            Self::Int32 | Self::UInt32 | Self::Float32 => 4,
            Self::Int64
            | Self::UInt64
            | Self::Float64
            | Self::Complex64
            | Self::Datetime64 { .. }
            | Self::Timedelta64 { .. } => 8,
            Self::Complex128 => 16,
            Self::LongDouble => long_double::SIZE,
            Self::CLongDouble => 2 * long_double::SIZE,
            Self::Bytes(length) | Self::Void(length) => length,
            Self::Str(length) => length.saturating_mul(CODE_POINT),
        }
    }

    /// Returns the alignment of the C type on this machine, in bytes.
    ///
    /// ```
    /// # use mapcall_array::dtype::ScalarType;
    /// assert_eq!(ScalarType::Complex64.alignment(), align_of::<f32>());
    /// assert_eq!(ScalarType::Str(5).alignment(), align_of::<u32>());
    /// ```
    #[must_use]
    pub const fn alignment(self) -> usize {
        match self {
            Self::Bool | Self::Int8 | Self::UInt8 | Self::Bytes(_) | Self::Void(_) => 1,
            Self::Int16 | Self::UInt16 | Self::Float16 => align_of::<u16>(),
            Self::Int32 | Self::UInt32 | Self::Str(_) => align_of::<u32>(),
            Self::Int64 | Self::UInt64 => align_of::<u64>(),
            Self::Datetime64 { .. } | Self::Timedelta64 { .. } => align_of::<i64>(),
            Self::Float32 | Self::Complex64 => align_of::<f32>(),
            Self::Float64 | Self::Complex128 => align_of::<f64>(),
            Self::LongDouble | Self::CLongDouble => long_double::ALIGNMENT,
        }
    }

    /// Returns NumPy's `dtype.kind`.
    ///
    /// ```
    /// # use mapcall_array::dtype::ScalarType;
    /// assert_eq!(ScalarType::UInt16.kind_char(), 'u');
    /// assert_eq!(ScalarType::Bytes(5).kind_char(), 'S');
    /// ```
    #[must_use]
    pub const fn kind_char(self) -> char {
        match self {
            Self::Bool => 'b',
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => 'i',
            Self::UInt8 | Self::UInt16 | Self::UInt32 | Self::UInt64 => 'u',
            Self::Float16 | Self::Float32 | Self::Float64 | Self::LongDouble => 'f',
            Self::Complex64 | Self::Complex128 | Self::CLongDouble => 'c',
            Self::Datetime64 { .. } => 'M',
            Self::Timedelta64 { .. } => 'm',
            Self::Bytes(_) => 'S',
            Self::Str(_) => 'U',
            Self::Void(_) => 'V',
        }
    }

    /// Returns whether the type has a byte order.
    ///
    /// ```
    /// # use mapcall_array::dtype::ScalarType;
    /// assert!(ScalarType::Int16.has_byte_order());
    /// assert!(!ScalarType::Int8.has_byte_order());
    /// ```
    #[must_use]
    pub const fn has_byte_order(self) -> bool {
        !matches!(
            self,
            Self::Bool | Self::Int8 | Self::UInt8 | Self::Bytes(_) | Self::Void(_)
        )
    }

    /// Writes NumPy's `dtype.str`.
    pub(super) fn write_str(self, order: ByteOrder, f: &mut impl fmt::Write) -> fmt::Result {
        let size = match self {
            Self::Str(length) => length,
            other => other.itemsize(),
        };
        write!(f, "{}{}{size}", order.as_char(), self.kind_char())?;
        match self {
            Self::Datetime64 {
                unit: TimeUnit::Generic,
                ..
            }
            | Self::Timedelta64 {
                unit: TimeUnit::Generic,
                ..
            } => Ok(()),
            Self::Datetime64 { unit, count: 1 } | Self::Timedelta64 { unit, count: 1 } => {
                write!(f, "[{}]", unit.as_str())
            }
            Self::Datetime64 { unit, count } | Self::Timedelta64 { unit, count } => {
                write!(f, "[{count}{}]", unit.as_str())
            }
            _ => Ok(()),
        }
    }
}

/// The size of one code point of `U` in bytes.
pub(super) const CODE_POINT: usize = 4;

/// C's `long double`, for which Rust has no type.
pub(super) mod long_double {
    /// Whether it has another size than `double`.
    pub(crate) const IS_DISTINCT: bool = SIZE != size_of::<f64>();

    /// Its size in bytes.
    pub(crate) const SIZE: usize = LONG_DOUBLE.0;

    /// Its alignment in bytes.
    pub(crate) const ALIGNMENT: usize = LONG_DOUBLE.1;

    const LONG_DOUBLE: (usize, usize) = if cfg!(windows)
        || cfg!(target_arch = "arm")
        || cfg!(all(target_vendor = "apple", target_arch = "aarch64"))
        || cfg!(all(target_os = "android", target_arch = "x86"))
    {
        (size_of::<f64>(), align_of::<f64>())
    } else if cfg!(all(target_arch = "x86", not(target_vendor = "apple"))) {
        (12, 4)
    } else if cfg!(target_arch = "s390x") {
        (16, 8)
    } else {
        (16, 16)
    };
}

/// Returns the signed integer type of a size in bytes.
const fn signed(size: usize) -> ScalarType {
    match size {
        1 => ScalarType::Int8,
        2 => ScalarType::Int16,
        4 => ScalarType::Int32,
        _ => ScalarType::Int64,
    }
}

/// Returns the unsigned integer type of a size in bytes.
const fn unsigned(size: usize) -> ScalarType {
    match size {
        1 => ScalarType::UInt8,
        2 => ScalarType::UInt16,
        4 => ScalarType::UInt32,
        _ => ScalarType::UInt64,
    }
}

/// C's arithmetic types on this machine.
impl ScalarType {
    pub(super) const SHORT: Self = signed(size_of::<c_short>());
    pub(super) const INT: Self = signed(size_of::<c_int>());
    pub(super) const LONG: Self = signed(size_of::<c_long>());
    pub(super) const LONGLONG: Self = signed(size_of::<c_longlong>());
    pub(super) const INTP: Self = signed(size_of::<isize>());
    pub(super) const USHORT: Self = unsigned(size_of::<c_ushort>());
    pub(super) const UINT: Self = unsigned(size_of::<c_uint>());
    pub(super) const ULONG: Self = unsigned(size_of::<c_ulong>());
    pub(super) const ULONGLONG: Self = unsigned(size_of::<c_ulonglong>());
    pub(super) const UINTP: Self = unsigned(size_of::<usize>());
    pub(super) const LONGDOUBLE: Self = if long_double::IS_DISTINCT {
        Self::LongDouble
    } else {
        Self::Float64
    };
    pub(super) const CLONGDOUBLE: Self = if long_double::IS_DISTINCT {
        Self::CLongDouble
    } else {
        Self::Complex128
    };
}
