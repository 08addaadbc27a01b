//! Type strings: `<f4`, `S10`, `M8[25s]`, `float32`.

use std::str::FromStr;

use super::list;
use super::scalar::{ScalarType as S, long_double};
use super::{ByteOrder, DType, DTypeError, TimeUnit};

/// Parses the texts that `np.dtype(text)` accepts.
///
/// ```
/// use mapcall_array::dtype::DType;
///
/// assert_eq!("|b1".parse(), Ok(DType::BOOL));
/// assert_eq!("=i8".parse(), Ok(DType::I64));
/// assert_eq!("float32".parse(), Ok(DType::F32));
/// assert_eq!("M8[D/24]".parse::<DType>()?.to_string(), "<M8[h]");
/// assert_eq!("i4, 3>f4".parse::<DType>()?.to_string(), "[('f0', '<i4'), ('f1', '>f4', (3,))]");
/// # Ok::<(), mapcall_array::dtype::DTypeError>(())
/// ```
///
/// A text is an optional byte order (`<`, `>`, `=`, `|`) and a kind with its size, a C type code
/// (`?bBhHiIlLqQnNpPefdgFDGcSUVmM`) or a time with its unit; or NumPy's name of a type. Several of them,
/// separated by commas, are the fields `f0`, `f1`, ... of a structured type. A number, or several in
/// brackets, before one of them makes it a sub-array.
impl FromStr for DType {
    type Err = DTypeError;

    fn from_str(text: &str) -> Result<Self, DTypeError> {
        if list::is_list(text) {
            return list::read(text);
        }
        let source = Source(text);
        let code = source.code();
        let order = match text.as_bytes().first() {
            Some(b'<') => ByteOrder::Little,
            Some(b'>') => ByteOrder::Big,
            _ => ByteOrder::NATIVE,
        };
        let dtype = if let Some(metadata) = strip_any(code, ["M8", "datetime64"]) {
            let (unit, count) = source.time_unit(metadata)?;
            Self::datetime64(unit, count)?
        } else if let Some(metadata) = strip_any(code, ["m8", "timedelta64"]) {
            let (unit, count) = source.time_unit(metadata)?;
            Self::timedelta64(unit, count)?
        } else {
            let mut chars = code.chars();
            match (chars.next(), chars.as_str()) {
                (Some(char), "") => Self::native(source.type_char(char)?),
                (Some(kind), size) => match strtol(size) {
                    Some((size, "")) => source.sized(kind, size)?,
                    _ => Self::native(source.name()?),
                },
                (None, _) => return Err(source.not_understood()),
            }
        };
        Ok(dtype.newbyteorder(order))
    }
}

/// The whole text, which errors quote.
#[derive(Clone, Copy)]
struct Source<'a>(&'a str);

impl<'a> Source<'a> {
    /// Returns the text behind the byte order.
    fn code(self) -> &'a str {
        self.0.strip_prefix(['<', '>', '=', '|']).unwrap_or(self.0)
    }

    /// Returns the error at the position where `rest`, the end of the text, begins.
    fn error(self, rest: &str, expected: &'static str) -> DTypeError {
        let position = self.0.len().saturating_sub(rest.len());
        DTypeError::Syntax {
            text: self.0.to_owned(),
            position,
            expected,
        }
    }

    fn not_understood(self) -> DTypeError {
        self.error(
            self.code(),
            "a type such as 'f8', '<i4', 'S10', 'M8[ns]' or 'float32'",
        )
    }

    fn object(self) -> DTypeError {
        DTypeError::Object {
            text: self.0.to_owned(),
        }
    }

    /// Returns the type of a C type code.
    fn type_char(self, char: char) -> Result<S, DTypeError> {
        Ok(match char {
            '?' => S::Bool,
            'b' => S::Int8,
            'B' => S::UInt8,
            'h' => S::SHORT,
            'H' => S::USHORT,
            'i' => S::INT,
            'I' => S::UINT,
            'l' => S::LONG,
            'L' => S::ULONG,
            'q' => S::LONGLONG,
            'Q' => S::ULONGLONG,
            'n' | 'p' => S::INTP,
            'N' | 'P' => S::UINTP,
            'e' => S::Float16,
            'f' => S::Float32,
            'd' => S::Float64,
            'g' => S::LONGDOUBLE,
            'F' => S::Complex64,
            'D' => S::Complex128,
            'G' => S::CLONGDOUBLE,
            'c' => S::Bytes(1),
            'S' => S::Bytes(0),
            'U' => S::Str(0),
            'V' => S::Void(0),
            'M' => S::Datetime64 {
                unit: TimeUnit::Generic,
                count: 1,
            },
            'm' => S::Timedelta64 {
                unit: TimeUnit::Generic,
                count: 1,
            },
            'O' => return Err(self.object()),
            _ => return self.name(),
        })
    }

    /// Returns the type of a kind and a size, which is in bytes, for `U` in code points.
    fn sized(self, kind: char, size: i64) -> Result<DType, DTypeError> {
        let Ok(length) = usize::try_from(size) else {
            return Err(self.not_understood());
        };
        let scalar = match (kind, length) {
            ('S' | 'a', _) => return DType::bytes(length),
            ('U', _) => return DType::unicode(length),
            ('V', _) => return DType::void(length),
            ('b', 1) => S::Bool,
            ('i', 1) => S::Int8,
            ('i', 2) => S::Int16,
            ('i', 4) => S::Int32,
            ('i', 8) => S::Int64,
            ('u', 1) => S::UInt8,
            ('u', 2) => S::UInt16,
            ('u', 4) => S::UInt32,
            ('u', 8) => S::UInt64,
            ('f', 2) => S::Float16,
            ('f', 4) => S::Float32,
            ('f', 8) => S::Float64,
            ('f', 12 | 16) => return self.long_double(S::LONGDOUBLE, length),
            ('c', 8) => S::Complex64,
            ('c', 16) => S::Complex128,
            ('c', 24 | 32) => return self.long_double(S::CLONGDOUBLE, length),
            // `M8` was read before; `M+8` is accepted by C's `strtol`.
            ('M' | 'm', 8) => self.type_char(kind)?,
            ('O', 4 | 8) => return Err(self.object()),
            _ => return Err(self.bad_size(kind)),
        };
        Ok(DType::native(scalar))
    }

    fn bad_size(self, kind: char) -> DTypeError {
        let expected = match kind {
            'b' => "the itemsize that 'b' has: 1",
            'i' => "an itemsize that 'i' has: 1, 2, 4 or 8",
            'u' => "an itemsize that 'u' has: 1, 2, 4 or 8",
            'f' => "an itemsize that 'f' has: 2, 4, 8 or a long double's",
            'c' => "an itemsize that 'c' has: 8, 16 or twice a long double's",
            _ => return self.not_understood(),
        };
        self.error(self.code().get(1..).unwrap_or_default(), expected)
    }

    /// Returns a type made of `long double`s if it has that size on this machine.
    fn long_double(self, here: S, itemsize: usize) -> Result<DType, DTypeError> {
        let platform = here.itemsize();
        if long_double::IS_DISTINCT && itemsize == platform {
            return Ok(DType::native(here));
        }
        Err(DTypeError::LongDouble {
            text: self.0.to_owned(),
            itemsize,
            platform,
        })
    }

    /// Returns the type that NumPy calls by this name; a byte order before a name is an error.
    fn name(self) -> Result<S, DTypeError> {
        let long_double = |here, itemsize| self.long_double(here, itemsize).map(|_| here);
        Ok(match self.0 {
            "bool" | "bool_" => S::Bool,
            "int8" | "byte" => S::Int8,
            "int16" => S::Int16,
            "int32" => S::Int32,
            "int64" => S::Int64,
            "uint8" | "ubyte" => S::UInt8,
            "uint16" => S::UInt16,
            "uint32" => S::UInt32,
            "uint64" => S::UInt64,
            "short" => S::SHORT,
            "intc" => S::INT,
            "long" => S::LONG,
            "longlong" => S::LONGLONG,
            "int" | "int_" | "intp" => S::INTP,
            "ushort" => S::USHORT,
            "uintc" => S::UINT,
            "ulong" => S::ULONG,
            "ulonglong" => S::ULONGLONG,
            "uint" | "uintp" => S::UINTP,
            "float16" | "half" => S::Float16,
            "float32" | "single" => S::Float32,
            "float64" | "double" | "float" => S::Float64,
            "longdouble" => S::LONGDOUBLE,
            "float96" => long_double(S::LONGDOUBLE, 12)?,
            "float128" => long_double(S::LONGDOUBLE, 16)?,
            "complex64" | "csingle" => S::Complex64,
            "complex128" | "cdouble" | "complex" => S::Complex128,
            "clongdouble" => S::CLONGDOUBLE,
            "complex192" => long_double(S::CLONGDOUBLE, 24)?,
            "complex256" => long_double(S::CLONGDOUBLE, 32)?,
            "bytes" | "bytes_" | "a" => S::Bytes(0),
            "str" | "str_" | "unicode" => S::Str(0),
            "void" => S::Void(0),
            "object" | "object_" => return Err(self.object()),
            _ => return Err(self.not_understood()),
        })
    }

    /// Reads the text behind `M8`: nothing, or `[`, a multiplier, a unit, `/` and a divisor, `]`.
    fn time_unit(self, metadata: &str) -> Result<(TimeUnit, u32), DTypeError> {
        if metadata.is_empty() {
            return Ok((TimeUnit::Generic, 1));
        }
        let Some(inside) = metadata.strip_prefix('[') else {
            return Err(self.error(metadata, "a unit in brackets, such as [ns]"));
        };
        let (count, rest) = strtol(inside).unwrap_or((1, inside));
        let Some(count) = u32::try_from(count)
            .ok()
            .filter(|count| i32::try_from(*count).is_ok())
        else {
            return Err(self.error(inside, "a multiplier of the unit from 0 to 2147483647"));
        };
        let end = rest.find(['/', ']']).unwrap_or(rest.len());
        let (name, tail) = rest.split_at(end);
        let unit = TimeUnit::ALL.into_iter().find(|unit| unit.as_str() == name);
        let unit = match name {
            // The Greek letter mu, which NumPy accepts.
            "\u{3bc}s" => Some(TimeUnit::Microsecond),
            _ => unit,
        };
        let Some(unit) = unit else {
            let units = "a unit: Y, M, W, D, h, m, s, ms, us, ns, ps, fs, as or generic";
            return Err(self.error(rest, units));
        };
        let divisor = tail.strip_prefix('/');
        let (divisor, close) = match divisor {
            None => (1, tail),
            Some(text) => strtol(text).ok_or_else(|| self.error(text, "a divisor of the unit"))?,
        };
        if close != "]" {
            return Err(self.error(close, "']' and the end"));
        }
        let finer = divide(unit, count, divisor);
        finer.ok_or_else(|| self.error(tail, "a divisor that leaves whole steps of a finer unit"))
    }
}

fn strip_any<'a>(text: &'a str, prefixes: [&str; 2]) -> Option<&'a str> {
    prefixes
        .into_iter()
        .find_map(|prefix| text.strip_prefix(prefix))
}

/// Returns a fraction of a unit as a multiple of a finer one, by NumPy's table.
fn divide(unit: TimeUnit, count: u32, divisor: i64) -> Option<(TimeUnit, u32)> {
    use TimeUnit as T;

    if divisor == 1 {
        return Some((unit, count));
    }
    let divisor = u32::try_from(divisor).ok().filter(|divisor| *divisor > 0)?;
    let finer: &[(u32, TimeUnit)] = match unit {
        T::Year => &[(12, T::Month), (52, T::Week), (365, T::Day)],
        T::Month => &[(4, T::Week), (30, T::Day), (720, T::Hour)],
        T::Week => &[(7, T::Day), (168, T::Hour), (10_080, T::Minute)],
        T::Day => &[(24, T::Hour), (1440, T::Minute), (86_400, T::Second)],
        T::Hour => &[(60, T::Minute), (3600, T::Second)],
        T::Minute => &[(60, T::Second), (60_000, T::Millisecond)],
        T::Second => &[(1000, T::Millisecond), (1_000_000, T::Microsecond)],
        T::Millisecond => &[(1000, T::Microsecond), (1_000_000, T::Nanosecond)],
        T::Microsecond => &[(1000, T::Nanosecond), (1_000_000, T::Picosecond)],
        T::Nanosecond => &[(1000, T::Picosecond), (1_000_000, T::Femtosecond)],
        T::Picosecond => &[(1000, T::Femtosecond), (1_000_000, T::Attosecond)],
        T::Femtosecond => &[(1000, T::Attosecond)],
        T::Attosecond | T::Generic => &[],
    };
    let &(steps, unit) = finer
        .iter()
        .find(|(steps, _)| steps.is_multiple_of(divisor))?;
    let count = count.checked_mul(steps / divisor)?;
    i32::try_from(count).is_ok().then_some((unit, count))
}

/// Reads leading white space, a sign and digits, like C's `strtol`; returns the number, clamped to 64 bits,
/// and the text behind it.
fn strtol(text: &str) -> Option<(i64, &str)> {
    let number = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let digits = number.strip_prefix(['+', '-']).unwrap_or(number);
    let end = digits
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    if digits.is_empty() {
        return None;
    }
    let magnitude = digits.parse().unwrap_or(i64::MAX);
    Some((
        if number.starts_with('-') {
            -magnitude
        } else {
            magnitude
        },
        rest,
    ))
}
