//! Formats elements of arrays as text and as JSON.

#![allow(unsafe_code)]

use std::fmt;

use half::f16;
use mapcall::array::dtype::ScalarType;
use mapcall::array::layout::Index;
use mapcall::array::{Array, DType};
use mapcall::contract::Scalar;
use num_complex::Complex;
use serde::{Serialize, Serializer};

/// The number of elements above which only the first and last items of each axis are shown, as in NumPy.
const MAX_SHOWN_ELEMENTS: usize = 1000;
/// The number of items that are shown at each end of an axis.
const EDGE: usize = 3;

/// One element of an array, as a value that can be shown.
pub(crate) enum Element {
    Bool(bool),
    Int(i128),
    /// A number that is shown with the fewest digits that identify it among the values of its type, and with a
    /// point.
    Single(f32),
    Double(f64),
    ComplexSingle(Complex<f32>),
    Complex(Complex<f64>),
    Text(String),
    Fields(Vec<(String, Element)>),
    List(Vec<Element>),
    /// The bytes of an element whose dtype has no notation.
    Bytes(Vec<u8>),
}

impl Element {
    /// Returns a number as an element of a dtype, which determines the digits that are shown.
    pub(crate) fn of(value: Scalar, dtype: Option<&DType>) -> Self {
        let kind = dtype.and_then(DType::scalar_type);
        match value {
            Scalar::Bool(value) => Self::Bool(value),
            Scalar::Int(value) => Self::Int(value),
            Scalar::Float(value) => match kind {
                Some(ScalarType::Float32 | ScalarType::Float16) => Self::Single(single(value)),
                _ => Self::Double(value),
            },
            Scalar::Complex(value) => match kind {
                Some(ScalarType::Complex64) => {
                    Self::ComplexSingle(Complex::new(single(value.re), single(value.im)))
                }
                _ => Self::Complex(value),
            },
        }
    }

    /// Reads an element from its bytes.
    pub(crate) fn read(dtype: &DType, bytes: &[u8]) -> Self {
        if let Some(fields) = dtype.fields() {
            let field = |field: &mapcall::array::dtype::Field| {
                let end = field.offset.saturating_add(field.dtype.itemsize());
                let bytes = bytes.get(field.offset..end).unwrap_or_default();
                (field.name.clone(), Self::read(&field.dtype, bytes))
            };
            return Self::Fields(fields.iter().map(field).collect());
        }
        if let Some((base, _)) = dtype.subdtype() {
            let items = bytes.chunks_exact(base.itemsize().max(1));
            return Self::List(items.map(|bytes| Self::read(base, bytes)).collect());
        }
        Self::number(dtype, bytes).unwrap_or_else(|| Self::Bytes(bytes.to_owned()))
    }

    /// Rounds to eight digits, as NumPy does for the elements of arrays.
    fn rounded(self) -> Self {
        match self {
            Self::Double(value) => Self::Double(rounded(value)),
            Self::Complex(Complex { re, im }) => {
                Self::Complex(Complex::new(rounded(re), rounded(im)))
            }
            other => other,
        }
    }

    fn number(dtype: &DType, bytes: &[u8]) -> Option<Self> {
        macro_rules! read {
            ($type:ty) => {
                <$type>::from_ne_bytes(bytes.try_into().ok()?)
            };
        }
        let halves = || bytes.split_at_checked(bytes.len() / 2);
        Some(match dtype.scalar_type()? {
            ScalarType::Bool => Self::Bool(read!(u8) != 0),
            ScalarType::Int8 => Self::Int(read!(i8).into()),
            ScalarType::Int16 => Self::Int(read!(i16).into()),
            ScalarType::Int32 => Self::Int(read!(i32).into()),
            ScalarType::Int64 => Self::Int(read!(i64).into()),
            ScalarType::UInt8 => Self::Int(read!(u8).into()),
            ScalarType::UInt16 => Self::Int(read!(u16).into()),
            ScalarType::UInt32 => Self::Int(read!(u32).into()),
            ScalarType::UInt64 => Self::Int(read!(u64).into()),
            ScalarType::Float16 => Self::Single(read!(f16).to_f32()),
            ScalarType::Float32 => Self::Single(read!(f32)),
            ScalarType::Float64 => Self::Double(read!(f64)),
            ScalarType::Complex64 => {
                let (re, im) = halves()?;
                let part = |bytes: &[u8]| Some(f32::from_ne_bytes(bytes.try_into().ok()?));
                Self::ComplexSingle(Complex::new(part(re)?, part(im)?))
            }
            ScalarType::Complex128 => {
                let (re, im) = halves()?;
                let part = |bytes: &[u8]| Some(f64::from_ne_bytes(bytes.try_into().ok()?));
                Self::Complex(Complex::new(part(re)?, part(im)?))
            }
            ScalarType::Bytes(_) => {
                let end = bytes.iter().rposition(|&byte| byte != 0);
                let text = bytes.get(..end.map_or(0, |end| end + 1))?;
                Self::Text(String::from_utf8_lossy(text).into_owned())
            }
            _ => return None,
        })
    }
}

/// Rounds a number to eight digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.7e}").parse().unwrap_or(value)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "it was one before C's value was read"
)]
fn single(value: f64) -> f32 {
    value as f32
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(value) => value.fmt(f),
            Self::Single(value) => real(f, f64::from(*value), &format!("{value:?}")),
            Self::Double(value) => real(f, *value, &format!("{value:?}")),
            Self::ComplexSingle(Complex { re, im }) => write!(f, "{re:?}{im:+?}j"),
            Self::Complex(Complex { re, im }) => write!(f, "{re:?}{im:+?}j"),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Fields(fields) => {
                let fields: Vec<String> =
                    fields.iter().map(|(_, value)| value.to_string()).collect();
                write!(f, "({})", fields.join(", "))
            }
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::to_string).collect();
                write!(f, "[{}]", items.join(" "))
            }
            Self::Bytes(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// Writes a number as Python does, with `nan` for NaN.
fn real(f: &mut fmt::Formatter<'_>, value: f64, digits: &str) -> fmt::Result {
    f.write_str(if value.is_nan() { "nan" } else { digits })
}

/// Writes a number as JSON. NaN and the infinities, which JSON does not have, are strings with their names in
/// JavaScript.
fn json_real<S: Serializer>(
    serializer: S,
    value: f64,
    finite: impl FnOnce(S) -> Result<S::Ok, S::Error>,
) -> Result<S::Ok, S::Error> {
    if value.is_nan() {
        serializer.serialize_str("NaN")
    } else if value == f64::INFINITY {
        serializer.serialize_str("Infinity")
    } else if value == f64::NEG_INFINITY {
        serializer.serialize_str("-Infinity")
    } else {
        finite(serializer)
    }
}

impl Serialize for Element {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i128(*value),
            Self::Single(value) => json_real(serializer, f64::from(*value), |serializer| {
                serializer.serialize_f32(*value)
            }),
            Self::Double(value) => json_real(serializer, *value, |serializer| {
                serializer.serialize_f64(*value)
            }),
            Self::ComplexSingle(Complex { re, im }) => {
                [Self::Single(*re), Self::Single(*im)].serialize(serializer)
            }
            Self::Complex(Complex { re, im }) => {
                [Self::Double(*re), Self::Double(*im)].serialize(serializer)
            }
            Self::Text(text) => serializer.serialize_str(text),
            Self::Fields(fields) => {
                serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
            }
            Self::List(items) => serializer.collect_seq(items),
            Self::Bytes(_) => serializer.collect_str(self),
        }
    }
}

/// An array that is serialised as nested lists.
pub(crate) struct Nested<'a>(pub(crate) &'a Array);

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.shape().first() {
            None => element(self.0).serialize(serializer),
            Some(&length) => {
                let items = (0..length).filter_map(|index| item(self.0, index));
                serializer.collect_seq(items.map(Whole))
            }
        }
    }
}

struct Whole(Array);

impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Nested(&self.0).serialize(serializer)
    }
}

/// Formats an array nearly like NumPy: only the ends of large arrays, and numbers with eight digits.
pub(crate) fn text(array: &Array) -> String {
    let is_whole = array.layout().size() <= MAX_SHOWN_ELEMENTS;
    let mut texts = Vec::new();
    gather(array, is_whole, &mut texts);
    align(&mut texts);
    let mut written = String::new();
    nest(array.shape(), is_whole, 1, &mut texts.iter(), &mut written);
    written
}

/// Pads all texts to the same width, with aligned decimal points.
fn align(texts: &mut [String]) {
    let around = |text: &str| {
        let point = text.find('.').unwrap_or(text.len());
        let (left, right) = text.split_at(point);
        (left.chars().count(), right.chars().count())
    };
    let widths = texts.iter().map(|text| around(text));
    let (before, behind) = widths.fold((0, 0), |(before, behind), (left, right)| {
        (before.max(left), behind.max(right))
    });
    for text in texts {
        let (left, right) = around(text);
        *text = [
            &" ".repeat(before - left),
            &**text,
            &" ".repeat(behind - right),
        ]
        .concat();
    }
}

/// Returns the indices along an axis that are shown; `None` stands for the indices that are left out.
fn shown(length: usize, is_whole: bool) -> impl Iterator<Item = Option<usize>> {
    let is_cut = !is_whole && length > 2 * EDGE;
    let head = if is_cut { EDGE } else { length };
    let tail = if is_cut { length - EDGE } else { length };
    (0..head)
        .map(Some)
        .chain(is_cut.then_some(None))
        .chain((tail..length).map(Some))
}

/// Collects the texts of all elements that are shown, in C order.
fn gather(array: &Array, is_whole: bool, texts: &mut Vec<String>) {
    match array.shape().first() {
        None => texts.push(element(array).rounded().to_string()),
        Some(&length) => {
            for index in shown(length, is_whole).flatten() {
                if let Some(item) = item(array, index) {
                    gather(&item, is_whole, texts);
                }
            }
        }
    }
}

fn nest<'a>(
    shape: &[usize],
    is_whole: bool,
    level: usize,
    texts: &mut impl Iterator<Item = &'a String>,
    written: &mut String,
) {
    let Some((&length, inner)) = shape.split_first() else {
        written.push_str(texts.next().map_or("", |text| text));
        return;
    };
    written.push('[');
    for (place, index) in shown(length, is_whole).enumerate() {
        if place > 0 {
            if inner.is_empty() {
                written.push(' ');
            } else {
                written.push('\n');
                written.push_str(&" ".repeat(level));
            }
        }
        match index {
            Some(_) => nest(inner, is_whole, level + 1, texts, written),
            None => written.push_str("..."),
        }
    }
    written.push(']');
}

fn item(array: &Array, index: usize) -> Option<Array> {
    let index = isize::try_from(index).ok()?;
    array.slice(&[Index::At(index)]).ok()
}

/// Reads the element of an array without axes.
fn element(array: &Array) -> Element {
    let dtype = array.dtype();
    // SAFETY: an array without axes has one element, of `itemsize` bytes. All calls have returned, so no code
    // writes it.
    let bytes = unsafe { std::slice::from_raw_parts(array.as_ptr(), dtype.itemsize()) };
    Element::read(dtype, bytes)
}

#[cfg(test)]
mod tests {
    use mapcall::array::layout::Order;

    use super::*;

    fn array(shape: &[usize]) -> Array {
        let mut array = Array::zeros(DType::F64, shape, Order::C).unwrap();
        let mut next = 0.0;
        for value in &mut array.view_mut::<f64>().unwrap() {
            *value = next;
            next += 0.5;
        }
        array
    }

    #[test]
    fn texts() {
        assert_eq!(text(&array(&[])), "0.0");
        assert_eq!(text(&array(&[3])), "[0.0 0.5 1.0]");
        assert_eq!(text(&array(&[0, 3])), "[]");
        assert_eq!(
            text(&array(&[2, 12])).lines().next_back(),
            Some(" [ 6.0  6.5  7.0  7.5  8.0  8.5  9.0  9.5 10.0 10.5 11.0 11.5]]")
        );
        assert_eq!(
            text(&array(&[1001])),
            "[  0.0   0.5   1.0 ... 499.0 499.5 500.0]"
        );
        assert_eq!(text(&array(&[1001, 2])).lines().nth(3), Some(" ..."));
    }

    #[test]
    fn json() {
        let json = |array: &Array| serde_json::to_string(&Nested(array)).unwrap();
        assert_eq!(json(&array(&[2, 2])), "[[0.0,0.5],[1.0,1.5]]");
        assert_eq!(json(&array(&[])), "0.0");
        assert_eq!(json(&array(&[0])), "[]");
    }

    #[test]
    fn elements() {
        let read = |dtype: &DType, bytes: &[u8]| {
            let element = Element::read(dtype, bytes);
            (
                element.to_string(),
                serde_json::to_string(&element).unwrap(),
            )
        };
        let pair = |text: &str, json: &str| (text.to_owned(), json.to_owned());
        assert_eq!(
            read(&DType::F32, &0.1_f32.to_ne_bytes()),
            pair("0.1", "0.1")
        );
        assert_eq!(
            read(&DType::F64, &f64::NAN.to_ne_bytes()),
            pair("nan", "\"NaN\"")
        );
        assert_eq!(
            read(&DType::F64, &f64::NEG_INFINITY.to_ne_bytes()),
            pair("-inf", "\"-Infinity\"")
        );
        assert_eq!(
            read(&DType::U64, &u64::MAX.to_ne_bytes()),
            pair("18446744073709551615", "18446744073709551615")
        );
        assert_eq!(read(&DType::BOOL, &[2]), pair("True", "true"));
        let dtype = DType::structured([("quot", DType::I32), ("rem", DType::I32)]).unwrap();
        let bytes = [3_i32.to_ne_bytes(), (-1_i32).to_ne_bytes()].concat();
        assert_eq!(
            read(&dtype, &bytes),
            pair("(3, -1)", "{\"quot\":3,\"rem\":-1}")
        );
        let mut bytes = [1.0_f32.to_ne_bytes(), (-2.0_f32).to_ne_bytes()].concat();
        assert_eq!(read(&DType::C64, &bytes), pair("1.0-2.0j", "[1.0,-2.0]"));
        bytes.pop();
        assert_eq!(
            read(&DType::C64, &bytes),
            pair("0x0000803f000000", "\"0x0000803f000000\"")
        );
    }
}
