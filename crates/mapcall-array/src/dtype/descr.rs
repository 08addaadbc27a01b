//! Reading and writing the descriptors of `.npy` headers.

use std::fmt::{self, Debug, Display, Formatter, Write};

use super::structured::Structured;
use super::{DType, DTypeError, Field, MAX_DEPTH, Repr, ScalarType, check_itemsize};
use crate::literal::Value;
use crate::literal::repr::{PyShape, PyStr};

impl DType {
    /// Reads the `descr` of a `.npy` header, as `numpy.lib.format.descr_to_dtype` does.
    ///
    /// ```
    /// use mapcall_array::dtype::DType;
    ///
    /// let descr = "[('a', '|i1'), ('', '|V3'), ('b', '<i4', (2,))]";
    /// let dtype = DType::from_descr(&descr.parse()?)?;
    /// assert_eq!(dtype.itemsize(), 12);
    /// assert_eq!(dtype.field("b").map(|field| field.offset), Some(4));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A string is a type; a list holds fields as tuples `(name, descr)` or `(name, descr,
    /// shape)`, where `(title, name)` may stand for the name and the name `''` before a void type
    /// or a sub-array means padding; a tuple `(descr, shape)` is a sub-array.
    ///
    /// # Errors
    ///
    /// [`DTypeError::Descr`] for anything else, [`DTypeError::Field`] if a field has an error,
    /// [`DTypeError::TooDeep`], and the errors of the types that it describes.
    pub fn from_descr(descr: &Value) -> Result<Self, DTypeError> {
        read(descr, MAX_DEPTH)
    }

    /// Writes the `descr` of a `.npy` header, as `numpy.lib.format.dtype_to_descr` does.
    ///
    /// ```
    /// use mapcall_array::dtype::DType;
    ///
    /// assert_eq!(DType::BOOL.to_descr()?, "'|b1'");
    ///
    /// let dtype = DType::structured_aligned([("it's", DType::U8), ("b", DType::U8)])?;
    /// assert_eq!(dtype.to_descr()?, r#"[("it's", '|u1'), ('b', '|u1')]"#);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    ///
    /// The text is the same as Python's `repr`, byte for byte. A sub-array gives `(descr, shape)`, where
    /// NumPy writes a void type; no array has a sub-array as its own dtype.
    ///
    /// # Errors
    ///
    /// [`DTypeError::NotExpressible`] if fields overlap or are not in the order of their offsets.
    pub fn to_descr(&self) -> Result<String, DTypeError> {
        check_expressible(self)?;
        Ok(Descr(self).to_string())
    }
}

fn read(descr: &Value, levels: usize) -> Result<DType, DTypeError> {
    let below = levels.checked_sub(1).ok_or(DTypeError::TooDeep);
    match descr {
        Value::String(text) => text.parse(),
        Value::List(fields) => read_fields(fields, below?),
        Value::Tuple(parts) => match parts.as_slice() {
            [base, shape] => read_shaped(read(base, below?)?, shape),
            _ => Err(unexpected("a tuple of a dtype and a shape", descr)),
        },
        _ => Err(unexpected("a string, a list of fields or a tuple", descr)),
    }
}

fn read_fields(descrs: &[Value], levels: usize) -> Result<DType, DTypeError> {
    let mut fields = Vec::new();
    let mut end: usize = 0;
    for descr in descrs {
        let expected = "a field as a tuple of a name, a dtype and perhaps a shape";
        let (Value::Tuple(parts) | Value::List(parts)) = descr else {
            return Err(unexpected(expected, descr));
        };
        let (name, format, shape) = match parts.as_slice() {
            [name, format] => (name, format, None),
            [name, format, shape] => (name, format, Some(shape)),
            _ => return Err(unexpected(expected, descr)),
        };
        let (title, name) = read_name(name)?;
        let dtype = read(format, levels)
            .and_then(|dtype| match shape {
                Some(shape) => read_shaped(dtype, shape),
                None => Ok(dtype),
            })
            .map_err(|error| error.in_field(name))?;
        let offset = end;
        end = check_itemsize(offset.saturating_add(dtype.itemsize()))?;
        let is_void = matches!(
            dtype.0,
            Repr::Scalar(ScalarType::Void(_), _) | Repr::Subarray(_)
        );
        if !(is_void && name.is_empty() && matches!(title, Title::Plain)) {
            let title = match title {
                Title::Text(title) => Some(title.to_owned()),
                Title::Plain | Title::None => None,
            };
            fields.push(Field {
                name: name.to_owned(),
                title,
                dtype,
                offset,
            });
        }
    }
    Structured::with_offsets(fields, Some(end), false).map(DType::from)
}

/// The title before a field's name.
enum Title<'a> {
    /// The name stands alone.
    Plain,
    /// `(None, name)`, which is never padding.
    None,
    Text(&'a str),
}

fn read_name(value: &Value) -> Result<(Title<'_>, &str), DTypeError> {
    match value {
        Value::String(name) => Ok((Title::Plain, name)),
        Value::Tuple(parts) => match parts.as_slice() {
            [Value::None, Value::String(name)] => Ok((Title::None, name)),
            [Value::String(title), Value::String(name)] => Ok((Title::Text(title), name)),
            _ => Err(unexpected(
                "a tuple of a title and a name, both strings",
                value,
            )),
        },
        _ => Err(unexpected(
            "a name, or a tuple of a title and a name",
            value,
        )),
    }
}

/// Returns the dtype of sub-arrays of a shape; for `S`, `U` and `V` without a length, an integer is their
/// length.
pub(super) fn read_shaped(base: DType, shape: &Value) -> Result<DType, DTypeError> {
    if base.is_unsized() && matches!(shape, Value::Integer(_)) {
        let length = read_dimension(shape)?;
        return match base.scalar_type() {
            Some(ScalarType::Bytes(_)) => DType::bytes(length),
            Some(ScalarType::Str(_)) => Ok(DType::unicode(length)?.newbyteorder(base.byte_order())),
            Some(ScalarType::Void(_)) => DType::void(length),
            _ => Err(DTypeError::UnsizedSubarray {
                base: base.to_string(),
            }),
        };
    }
    let shape = match shape {
        Value::Integer(_) => vec![read_dimension(shape)?],
        Value::Tuple(dimensions) => dimensions
            .iter()
            .map(read_dimension)
            .collect::<Result<_, _>>()?,
        Value::List(dimensions) if !dimensions.is_empty() => dimensions
            .iter()
            .map(read_dimension)
            .collect::<Result<_, _>>()?,
        _ => return Err(unexpected("a shape as a tuple of integers", shape)),
    };
    DType::subarray(base, &shape)
}

fn read_dimension(value: &Value) -> Result<usize, DTypeError> {
    match *value {
        Value::Integer(dimension) if dimension < 0 => {
            Err(DTypeError::NegativeDimension { dimension })
        }
        Value::Integer(dimension) => {
            check_itemsize(usize::try_from(dimension).unwrap_or(usize::MAX))
        }
        _ => Err(unexpected("an integer in a shape", value)),
    }
}

fn unexpected(expected: &'static str, found: &Value) -> DTypeError {
    let found = match found {
        Value::String(_) => "a string",
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a float",
        Value::Tuple(parts) if parts.is_empty() => "an empty tuple",
        Value::Tuple(_) => "another tuple",
        Value::List(parts) if parts.is_empty() => "an empty list",
        Value::List(_) => "another list",
        Value::Dict(_) => "a dict",
        Value::Boolean(_) => "a bool",
        Value::None => "None",
    };
    DTypeError::Descr { expected, found }
}

/// Checks that the fields, and those of nested types, are in the order of their offsets and don't overlap:
/// the list of a `.npy` header can have gaps, but no offsets.
fn check_expressible(dtype: &DType) -> Result<(), DTypeError> {
    if let Some(misplaced) = misplaced_field(dtype) {
        return Err(misplaced);
    }
    for field in dtype.fields().unwrap_or_default() {
        check_expressible(&field.dtype).map_err(|error| error.in_field(&field.name))?;
    }
    match dtype.subdtype() {
        Some((base, _)) => check_expressible(base),
        None => Ok(()),
    }
}

/// Returns the error for the first field of the dtype itself that begins before the end of the previous one.
fn misplaced_field(dtype: &DType) -> Option<DTypeError> {
    let mut end = 0;
    for field in dtype.fields()? {
        if field.offset < end {
            let name = field.name.clone();
            return Some(DTypeError::NotExpressible {
                name,
                offset: field.offset,
                end,
            });
        }
        end = field.end();
    }
    None
}

/// Prints NumPy's `dtype.str` for a scalar, and the `.npy` descriptor for anything else. Fields that a
/// descriptor can't express are printed as NumPy's `{'names': …, 'formats': …, 'offsets': …}`.
impl Display for DType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Scalar(scalar, order) => scalar.write_str(*order, f),
            Repr::Structured(_) | Repr::Subarray(_) => Display::fmt(&Descr(self), f),
        }
    }
}

impl Debug for DType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "DType({})", Descr(self))
    }
}

/// A dtype to be printed as a Python literal.
struct Descr<'a>(&'a DType);

impl Display for Descr<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.0.0 {
            Repr::Scalar(scalar, order) => {
                f.write_char('\'')?;
                scalar.write_str(*order, f)?;
                f.write_char('\'')
            }
            Repr::Subarray(subarray) => {
                write!(
                    f,
                    "({}, {})",
                    Descr(subarray.base()),
                    PyShape(subarray.shape())
                )
            }
            Repr::Structured(structured) if misplaced_field(self.0).is_some() => {
                write_dict(structured, f)
            }
            Repr::Structured(structured) => write_list(structured, f),
        }
    }
}

fn write_list(structured: &Structured, f: &mut Formatter<'_>) -> fmt::Result {
    let mut end = 0;
    let mut separator = "";
    f.write_char('[')?;
    for field in structured.fields() {
        if field.offset > end {
            write!(
                f,
                "{separator}('', '|V{}')",
                field.offset.saturating_sub(end)
            )?;
            separator = ", ";
        }
        write!(f, "{separator}(")?;
        match &field.title {
            Some(title) => write!(f, "({}, {})", PyStr(title), PyStr(&field.name))?,
            None => write!(f, "{}", PyStr(&field.name))?,
        }
        match field.dtype.subdtype() {
            Some((base, shape)) => write!(f, ", {}, {})", Descr(base), PyShape(shape))?,
            None => write!(f, ", {})", Descr(&field.dtype))?,
        }
        end = field.end();
        separator = ", ";
    }
    if structured.itemsize() > end {
        write!(
            f,
            "{separator}('', '|V{}')",
            structured.itemsize().saturating_sub(end)
        )?;
    }
    f.write_char(']')
}

fn write_dict(structured: &Structured, f: &mut Formatter<'_>) -> fmt::Result {
    let fields = structured.fields();
    f.write_str("{'names': ")?;
    write_items(f, fields, |f, field| Display::fmt(&PyStr(&field.name), f))?;
    f.write_str(", 'formats': ")?;
    write_items(f, fields, |f, field| Display::fmt(&Descr(&field.dtype), f))?;
    f.write_str(", 'offsets': ")?;
    write_items(f, fields, |f, field| Display::fmt(&field.offset, f))?;
    if fields.iter().any(|field| field.title.is_some()) {
        f.write_str(", 'titles': ")?;
        write_items(f, fields, |f, field| match &field.title {
            Some(title) => Display::fmt(&PyStr(title), f),
            None => f.write_str("None"),
        })?;
    }
    write!(f, ", 'itemsize': {}}}", structured.itemsize())
}

fn write_items(
    f: &mut Formatter<'_>,
    fields: &[Field],
    write_item: impl Fn(&mut Formatter<'_>, &Field) -> fmt::Result,
) -> fmt::Result {
    f.write_char('[')?;
    for (index, field) in fields.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { ", " })?;
        write_item(f, field)?;
    }
    f.write_char(']')
}
