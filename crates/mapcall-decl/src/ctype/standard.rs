//! The types that the standard headers of C and POSIX define.

use core::ffi::c_long;

use super::{Body, CType, Float, Integer, Record, RecordKind};

/// Returns the type of a standard name on this machine.
pub(crate) fn lookup(name: &str) -> Option<CType> {
    let (_, standard) = position(name).and_then(|at| STANDARD.get(at))?;
    Some(match *standard {
        Standard::Signed(size) => named(name, CType::Integer(Integer::of_size(size, true))),
        Standard::Unsigned(size) => named(name, CType::Integer(Integer::of_size(size, false))),
        Standard::Plain(Scalar::Bool) => CType::Bool,
        Standard::Plain(Scalar::Float16) => CType::Float(Float::Float16),
        Standard::Plain(Scalar::Float) => CType::Float(Float::Float),
        Standard::Plain(Scalar::Double) => CType::Float(Float::Double),
        Standard::Plain(Scalar::LongDouble) => CType::Float(Float::LongDouble),
        Standard::Opaque => {
            let record = Record::new(RecordKind::Struct, Some(name.into()), Body::Incomplete);
            named(name, CType::Record(record.into()))
        }
        Standard::Unsupported(reason, layout) => CType::opaque(name, reason, layout),
    })
}

/// Returns whether a name is that of a standard type.
pub(crate) fn is_known(name: &str) -> bool {
    position(name).is_some()
}

fn position(name: &str) -> Option<usize> {
    STANDARD.binary_search_by_key(&name, |(name, _)| name).ok()
}

/// Returns the standard names.
pub(crate) fn names<'a>() -> impl Iterator<Item = &'a str> {
    STANDARD.iter().map(|(name, _)| *name)
}

fn named(name: &str, ctype: CType) -> CType {
    CType::typedef(name, ctype, false)
}

#[derive(Clone, Copy)]
enum Standard {
    Signed(usize),
    Unsigned(usize),
    Plain(Scalar),
    Opaque,
    /// The reason, and the size and alignment in bytes.
    Unsupported(&'static str, Option<(usize, usize)>),
}

#[derive(Clone, Copy)]
enum Scalar {
    Bool,
    Float16,
    Float,
    Double,
    LongDouble,
}

use Standard::{Opaque, Plain, Signed, Unsigned, Unsupported};

/// The size of a pointer and of `size_t`, in bytes.
const POINTER: usize = size_of::<usize>();
const LONG: usize = size_of::<c_long>();
const WCHAR: usize = if cfg!(windows) { 2 } else { 4 };
/// The type of `wchar_t`: unsigned on ARM and on Windows, but signed on Apple's systems.
const WCHAR_TYPE: Standard = if cfg!(any(windows, target_arch = "aarch64", target_arch = "arm"))
    && !cfg!(target_vendor = "apple")
{
    Unsigned(WCHAR)
} else {
    Signed(WCHAR)
};
const FAST: usize = if cfg!(all(target_os = "linux", target_env = "gnu")) {
    POINTER
} else {
    4
};
/// `_Float64x`: the x87's format on x86, otherwise a number of 128 bits.
const FLOAT64X: Standard = if cfg!(any(target_arch = "x86", target_arch = "x86_64")) {
    Plain(Scalar::LongDouble)
} else {
    Unsupported(WIDE, Some((16, 16)))
};
const VA_LIST: &str = "C code alone can make a list of arguments";
const DECIMAL: &str = "NumPy has no decimal numbers";
const WIDE: &str = "NumPy has no numbers of that size";

/// The names and their types, sorted by name.
const STANDARD: &[(&str, Standard)] = &[
    ("FILE", Opaque),
    ("_Bool", Plain(Scalar::Bool)),
    ("_Decimal128", Unsupported(DECIMAL, Some((16, 16)))),
    ("_Decimal32", Unsupported(DECIMAL, Some((4, 4)))),
    ("_Decimal64", Unsupported(DECIMAL, Some((8, 8)))),
    ("_Float128", Unsupported(WIDE, Some((16, 16)))),
    ("_Float128x", Unsupported(WIDE, None)),
    ("_Float16", Plain(Scalar::Float16)),
    ("_Float32", Plain(Scalar::Float)),
    ("_Float32x", Plain(Scalar::Double)),
    ("_Float64", Plain(Scalar::Double)),
    ("_Float64x", FLOAT64X),
    (
        "__bf16",
        Unsupported("NumPy has no numbers of that format", Some((2, 2))),
    ),
    ("__builtin_va_list", Unsupported(VA_LIST, None)),
    ("__float128", Unsupported(WIDE, Some((16, 16)))),
    ("__float80", FLOAT64X),
    ("__fp16", Plain(Scalar::Float16)),
    ("__gnuc_va_list", Unsupported(VA_LIST, None)),
    ("__int128", Unsupported(WIDE, Some((16, 16)))),
    ("__int128_t", Unsupported(WIDE, Some((16, 16)))),
    ("__uint128_t", Unsupported(WIDE, Some((16, 16)))),
    ("bool", Plain(Scalar::Bool)),
    ("char16_t", Unsigned(2)),
    ("char32_t", Unsigned(4)),
    ("char8_t", Unsigned(1)),
    ("clock_t", Signed(LONG)),
    ("int16_t", Signed(2)),
    ("int32_t", Signed(4)),
    ("int64_t", Signed(8)),
    ("int8_t", Signed(1)),
    ("int_fast16_t", Signed(FAST)),
    ("int_fast32_t", Signed(FAST)),
    ("int_fast64_t", Signed(8)),
    ("int_fast8_t", Signed(1)),
    ("int_least16_t", Signed(2)),
    ("int_least32_t", Signed(4)),
    ("int_least64_t", Signed(8)),
    ("int_least8_t", Signed(1)),
    ("intmax_t", Signed(8)),
    ("intptr_t", Signed(POINTER)),
    ("off_t", Signed(LONG)),
    ("ptrdiff_t", Signed(POINTER)),
    ("size_t", Unsigned(POINTER)),
    ("ssize_t", Signed(POINTER)),
    ("uint16_t", Unsigned(2)),
    ("uint32_t", Unsigned(4)),
    ("uint64_t", Unsigned(8)),
    ("uint8_t", Unsigned(1)),
    ("uint_fast16_t", Unsigned(FAST)),
    ("uint_fast32_t", Unsigned(FAST)),
    ("uint_fast64_t", Unsigned(8)),
    ("uint_fast8_t", Unsigned(1)),
    ("uint_least16_t", Unsigned(2)),
    ("uint_least32_t", Unsigned(4)),
    ("uint_least64_t", Unsigned(8)),
    ("uint_least8_t", Unsigned(1)),
    ("uintmax_t", Unsigned(8)),
    ("uintptr_t", Unsigned(POINTER)),
    ("va_list", Unsupported(VA_LIST, None)),
    ("wchar_t", WCHAR_TYPE),
    ("wint_t", Unsigned(WCHAR)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found() {
        assert!(STANDARD.is_sorted_by_key(|(name, _)| name));
        for name in names() {
            assert!(lookup(name).is_some(), "{name}");
        }
        assert_eq!(lookup("size_tt"), None);
        assert_eq!(lookup("size_t").and_then(|size| size.size()), Some(POINTER));
    }
}
