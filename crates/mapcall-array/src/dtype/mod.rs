//! NumPy's dtypes: the type of the elements of an array.
//!
//! ```
//! use mapcall_array::dtype::{ByteOrder, DType};
//!
//! let dtype: DType = ">u2".parse()?;
//! assert_eq!(dtype, DType::U16.newbyteorder(ByteOrder::Big));
//!
//! let record = DType::structured_aligned([("id", dtype), ("mass", "<f4".parse()?)])?;
//! assert_eq!(record.to_descr()?, "[('id', '>u2'), ('', '|V2'), ('mass', '<f4')]");
//! # Ok::<(), mapcall_array::dtype::DTypeError>(())
//! ```
//!
//! [`DType`] parses and prints NumPy's type strings and the descriptors of `.npy` headers, and computes the
//! layout of structured types as NumPy does. NumPy can have every [`DType`].

mod descr;
mod error;
mod list;
mod parse;
mod scalar;
mod structured;

use std::sync::Arc;

pub use error::DTypeError;
pub use scalar::{ByteOrder, ScalarType, TimeUnit};
pub use structured::Field;
use structured::{Structured, Subarray};

/// The maximum itemsize in bytes: NumPy stores it in a C `int`.
const MAX_ITEMSIZE: usize = i32::MAX.unsigned_abs() as usize;

/// The maximum number of dimensions of a sub-array, as in NumPy.
const MAX_SUBARRAY_RANK: usize = 64;

/// The maximum depth of nested dtypes, so that no file can overflow the stack.
const MAX_DEPTH: usize = 64;

/// The type of the elements of an array: NumPy's `dtype`.
///
/// ```
/// use mapcall_array::dtype::DType;
///
/// let price: DType = "<f8".parse()?;
/// assert_eq!((price.itemsize(), price.alignment()), (8, align_of::<f64>()));
///
/// let tick = DType::structured([("symbol", DType::bytes(4)?), ("price", price)])?;
/// assert_eq!(tick.itemsize(), 12);
/// assert_eq!(tick.field("price").map(|field| field.offset), Some(4));
/// assert_eq!(tick.to_string(), "[('symbol', '|S4'), ('price', '<f8')]");
/// # Ok::<(), mapcall_array::dtype::DTypeError>(())
/// ```
///
/// Cloning is cheap. Two dtypes are equal if their fields, offsets and itemsizes are. As in NumPy, it makes
/// no difference whether the offsets of a structured dtype were computed with alignment.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct DType(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Scalar(ScalarType, ByteOrder),
    Structured(Arc<Structured>),
    Subarray(Arc<Subarray>),
}

/// Scalars in this machine's byte order.
///
/// ```
/// # use mapcall_array::dtype::DType;
/// assert_eq!("float32".parse(), Ok(DType::F32));
/// assert_eq!("longdouble".parse(), Ok(DType::LONGDOUBLE));
/// ```
impl DType {
    /// One byte, 0 or 1.
    pub const BOOL: Self = Self::native(ScalarType::Bool);
    /// `int8`
    pub const I8: Self = Self::native(ScalarType::Int8);
    /// `int16`
    pub const I16: Self = Self::native(ScalarType::Int16);
    /// `int32`
    pub const I32: Self = Self::native(ScalarType::Int32);
    /// `int64`
    pub const I64: Self = Self::native(ScalarType::Int64);
    /// `uint8`
    pub const U8: Self = Self::native(ScalarType::UInt8);
    /// `uint16`
    pub const U16: Self = Self::native(ScalarType::UInt16);
    /// `uint32`
    pub const U32: Self = Self::native(ScalarType::UInt32);
    /// `uint64`
    pub const U64: Self = Self::native(ScalarType::UInt64);
    /// `float16`
    pub const F16: Self = Self::native(ScalarType::Float16);
    /// `float32`
    pub const F32: Self = Self::native(ScalarType::Float32);
    /// `float64`
    pub const F64: Self = Self::native(ScalarType::Float64);
    /// `longdouble`; equal to [`DType::F64`] where C's `long double` is a `double`.
    pub const LONGDOUBLE: Self = Self::native(ScalarType::LONGDOUBLE);
    /// `complex64`
    pub const C64: Self = Self::native(ScalarType::Complex64);
    /// `complex128`
    pub const C128: Self = Self::native(ScalarType::Complex128);
    /// `clongdouble`; equal to [`DType::C128`] where C's `long double` is a `double`.
    pub const CLONGDOUBLE: Self = Self::native(ScalarType::CLONGDOUBLE);

    const fn native(scalar: ScalarType) -> Self {
        Self::scalar(scalar, ByteOrder::NATIVE)
    }

    const fn scalar(scalar: ScalarType, order: ByteOrder) -> Self {
        let order = if scalar.has_byte_order() {
            order
        } else {
            ByteOrder::NotApplicable
        };
        Self(Repr::Scalar(scalar, order))
    }

    /// Returns the type of byte strings of `length` bytes: `S`.
    ///
    /// ```
    /// use mapcall_array::dtype::DType;
    ///
    /// assert_eq!(DType::bytes(10)?, "S10".parse()?);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DTypeError::TooLarge`] if the size exceeds 2³¹ − 1 bytes.
    pub fn bytes(length: usize) -> Result<Self, DTypeError> {
        check_itemsize(length)?;
        Ok(Self::native(ScalarType::Bytes(length)))
    }

    /// Returns the type of strings of `length` code points of 4 bytes: `U`.
    ///
    /// ```
    /// use mapcall_array::dtype::DType;
    ///
    /// assert_eq!(DType::unicode(10)?.itemsize(), 40);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DTypeError::TooLarge`] if the size exceeds 2³¹ − 1 bytes.
    pub fn unicode(length: usize) -> Result<Self, DTypeError> {
        check_itemsize(length.saturating_mul(scalar::CODE_POINT))?;
        Ok(Self::native(ScalarType::Str(length)))
    }

    /// Returns the type of `length` bytes without a meaning: `V`.
    ///
    /// ```
    /// use mapcall_array::dtype::DType;
    ///
    /// assert_eq!(DType::void(7)?.to_string(), "|V7");
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DTypeError::TooLarge`] if the size exceeds 2³¹ − 1 bytes.
    pub fn void(length: usize) -> Result<Self, DTypeError> {
        check_itemsize(length)?;
        Ok(Self::native(ScalarType::Void(length)))
    }

    /// Returns the type of moments in steps of `count` units: `datetime64`.
    ///
    /// ```
    /// use mapcall_array::dtype::{DType, TimeUnit};
    ///
    /// assert_eq!(DType::datetime64(TimeUnit::Second, 25)?, "M8[25s]".parse()?);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DTypeError::TimeCount`] if `count` doesn't fit a C `int`.
    pub fn datetime64(unit: TimeUnit, count: u32) -> Result<Self, DTypeError> {
        let count = time_count(unit, count)?;
        Ok(Self::native(ScalarType::Datetime64 { unit, count }))
    }

    /// Returns the type of time spans in steps of `count` units: `timedelta64`.
    ///
    /// ```
    /// use mapcall_array::dtype::{DType, TimeUnit};
    ///
    /// assert_eq!(DType::timedelta64(TimeUnit::Nanosecond, 1)?, "m8[ns]".parse()?);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DTypeError::TimeCount`] if `count` doesn't fit a C `int`.
    pub fn timedelta64(unit: TimeUnit, count: u32) -> Result<Self, DTypeError> {
        let count = time_count(unit, count)?;
        Ok(Self::native(ScalarType::Timedelta64 { unit, count }))
    }
}

/// Types made of others.
impl DType {
    /// Returns a structured type with the fields one after the other, without gaps: `np.dtype(fields)`.
    ///
    /// ```
    /// use mapcall_array::dtype::{DType, Field};
    ///
    /// let dtype = DType::structured([
    ///     Field::new("id", DType::U8),
    ///     Field::new("mass", DType::F64).with_title("kg"),
    /// ])?;
    /// assert_eq!((dtype.itemsize(), dtype.alignment()), (9, 1));
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    ///
    /// The offsets in the given fields are ignored; an empty name becomes `f0`, `f1` and so on, by the
    /// field's index.
    ///
    /// # Errors
    ///
    /// [`DTypeError::DuplicateField`] if two names or titles are equal, [`DTypeError::TooLarge`] if the size
    /// exceeds 2³¹ − 1 bytes, and [`DTypeError::TooDeep`] if types are nested more than 64 deep.
    pub fn structured<F: Into<Field>>(
        fields: impl IntoIterator<Item = F>,
    ) -> Result<Self, DTypeError> {
        Structured::in_order(fields.into_iter().map(Into::into), false).map(Self::from)
    }

    /// Returns a structured type with the offsets of a C struct: `np.dtype(fields, align=True)`.
    ///
    /// ```
    /// use mapcall_array::dtype::DType;
    ///
    /// let dtype = DType::structured_aligned([("id", DType::U8), ("mass", DType::F32)])?;
    /// assert_eq!((dtype.itemsize(), dtype.alignment()), (8, 4));
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`DType::structured`].
    pub fn structured_aligned<F: Into<Field>>(
        fields: impl IntoIterator<Item = F>,
    ) -> Result<Self, DTypeError> {
        Structured::in_order(fields.into_iter().map(Into::into), true).map(Self::from)
    }

    /// Returns a structured type with given offsets: `np.dtype({'names': …, 'offsets': …, 'itemsize': …})`.
    ///
    /// ```
    /// use mapcall_array::dtype::{DType, Field};
    ///
    /// let fields = [Field::new("im", DType::F32).at(4), Field::new("re", DType::F32).at(0)];
    /// let dtype = DType::structured_with_offsets(fields, Some(16), false)?;
    /// assert_eq!(dtype.itemsize(), 16);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    ///
    /// Fields may overlap and come in any order. Without an `itemsize` it is the largest end of a field,
    /// rounded up to the alignment if `aligned`.
    ///
    /// # Errors
    ///
    /// Those of [`DType::structured`]; [`DTypeError::ItemsizeTooSmall`] if a field ends behind the itemsize;
    /// if `aligned`, [`DTypeError::MisalignedOffset`] and [`DTypeError::MisalignedItemsize`] for an offset or
    /// itemsize that is not a multiple of the alignment.
    pub fn structured_with_offsets<F: Into<Field>>(
        fields: impl IntoIterator<Item = F>,
        itemsize: Option<usize>,
        aligned: bool,
    ) -> Result<Self, DTypeError> {
        let fields = fields.into_iter().map(Into::into).collect();
        Structured::with_offsets(fields, itemsize, aligned).map(Self::from)
    }

    /// Returns the type of elements that are small arrays: `np.dtype((base, shape))`.
    ///
    /// ```
    /// use mapcall_array::dtype::DType;
    ///
    /// let matrix = DType::subarray(DType::F64, &[3, 3])?;
    /// assert_eq!(matrix.itemsize(), 72);
    /// assert_eq!((matrix.base(), matrix.shape()), (&DType::F64, &[3, 3][..]));
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    ///
    /// The small arrays are in C order. An empty shape gives `base` itself.
    ///
    /// # Errors
    ///
    /// [`DTypeError::SubarrayRank`] if there are more than 64 dimensions, [`DTypeError::TooLarge`] if the size
    /// exceeds 2³¹ − 1 bytes, [`DTypeError::TooDeep`] if types are nested more than 64 deep, and
    /// [`DTypeError::UnsizedSubarray`] if `base` has size 0 and is not structured.
    pub fn subarray(base: Self, shape: &[usize]) -> Result<Self, DTypeError> {
        if base.is_unsized() {
            return Err(DTypeError::UnsizedSubarray {
                base: base.to_string(),
            });
        }
        if shape.is_empty() {
            return Ok(base);
        }
        Subarray::new(base, shape).map(|subarray| Self(Repr::Subarray(Arc::new(subarray))))
    }
}

/// Properties.
impl DType {
    /// Returns the size of one element in bytes.
    ///
    /// ```
    /// # use mapcall_array::dtype::DType;
    /// let tick = DType::structured([("symbol", DType::bytes(4)?), ("price", DType::F64)])?;
    /// assert_eq!(tick.itemsize(), 12);
    /// assert_eq!(DType::unicode(4)?.itemsize(), 16);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn itemsize(&self) -> usize {
        match &self.0 {
            Repr::Scalar(scalar, _) => scalar.itemsize(),
            Repr::Structured(structured) => structured.itemsize(),
            Repr::Subarray(subarray) => subarray.itemsize(),
        }
    }

    /// Returns the alignment in bytes that C code needs for the address of an element; never 0.
    ///
    /// ```
    /// # use mapcall_array::dtype::DType;
    /// let fields = [("id", DType::U8), ("mass", DType::F32)];
    /// assert_eq!(DType::structured(fields.clone())?.alignment(), 1);
    /// assert_eq!(DType::structured_aligned(fields)?.alignment(), align_of::<f32>());
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    ///
    /// A scalar has the alignment of its C type, a packed structured type 1, an aligned one the largest of
    /// its fields, and a sub-array that of its base.
    #[must_use]
    pub fn alignment(&self) -> usize {
        match &self.0 {
            Repr::Scalar(scalar, _) => scalar.alignment(),
            Repr::Structured(structured) => structured.alignment(),
            Repr::Subarray(subarray) => subarray.base().alignment(),
        }
    }

    /// Returns the byte order of a scalar; [`ByteOrder::NotApplicable`] for structured types and sub-arrays.
    ///
    /// ```
    /// # use mapcall_array::dtype::{ByteOrder, DType};
    /// assert_eq!(">i4".parse::<DType>()?.byte_order(), ByteOrder::Big);
    /// assert_eq!(DType::I32.byte_order(), ByteOrder::NATIVE);
    /// assert_eq!(DType::I8.byte_order(), ByteOrder::NotApplicable);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn byte_order(&self) -> ByteOrder {
        match &self.0 {
            Repr::Scalar(_, order) => *order,
            Repr::Structured(_) | Repr::Subarray(_) => ByteOrder::NotApplicable,
        }
    }

    /// Returns whether every number in it has this machine's byte order.
    ///
    /// ```
    /// # use mapcall_array::dtype::DType;
    /// let mixed = DType::structured([("a", "<i4".parse()?), ("b", ">i4".parse::<DType>()?)])?;
    /// assert!(!mixed.is_native());
    /// assert!(mixed.to_native().is_native());
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    ///
    /// NumPy's `isnative` is true for every sub-array; here it depends on the base.
    #[must_use]
    pub fn is_native(&self) -> bool {
        match &self.0 {
            Repr::Scalar(_, order) => order.is_native(),
            Repr::Structured(structured) => structured.is_native(),
            Repr::Subarray(subarray) => subarray.base().is_native(),
        }
    }

    /// Returns the scalar's type; `None` for structured types and sub-arrays.
    ///
    /// ```
    /// # use mapcall_array::dtype::{DType, ScalarType};
    /// assert_eq!(">f8".parse::<DType>()?.scalar_type(), Some(ScalarType::Float64));
    /// assert_eq!(DType::subarray(DType::F64, &[3])?.scalar_type(), None);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn scalar_type(&self) -> Option<ScalarType> {
        match &self.0 {
            Repr::Scalar(scalar, _) => Some(*scalar),
            Repr::Structured(_) | Repr::Subarray(_) => None,
        }
    }

    /// Returns NumPy's `dtype.kind`, one of `biufcMmSUV`.
    ///
    /// ```
    /// # use mapcall_array::dtype::DType;
    /// assert_eq!(DType::C64.kind_char(), 'c');
    /// assert_eq!(DType::structured([("x", DType::C64)])?.kind_char(), 'V');
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn kind_char(&self) -> char {
        self.scalar_type().map_or('V', ScalarType::kind_char)
    }

    /// Returns the fields in the order of their definition; `None` if the type is not structured.
    ///
    /// ```
    /// # use mapcall_array::dtype::DType;
    /// let point = DType::structured([("x", DType::F32), ("y", DType::F32)])?;
    /// let offsets = point.fields().map(|fields| [fields[0].offset, fields[1].offset]);
    /// assert_eq!(offsets, Some([0, 4]));
    /// assert_eq!(DType::F32.fields(), None);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn fields(&self) -> Option<&[Field]> {
        match &self.0 {
            Repr::Structured(structured) => Some(structured.fields()),
            Repr::Scalar(..) | Repr::Subarray(_) => None,
        }
    }

    /// Returns the field with a name or title.
    ///
    /// ```
    /// # use mapcall_array::dtype::{DType, Field};
    /// let dtype = DType::structured([Field::new("m", DType::F64).with_title("mass")])?;
    /// assert_eq!(dtype.field("m").map(|field| &field.dtype), Some(&DType::F64));
    /// assert_eq!(dtype.field("mass"), dtype.field("m"));
    /// assert_eq!(dtype.field("x"), None);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields()?
            .iter()
            .find(|field| field.name == name || field.title.as_deref() == Some(name))
    }

    /// Returns the base and the shape of a sub-array: NumPy's `dtype.subdtype`.
    ///
    /// ```
    /// # use mapcall_array::dtype::DType;
    /// let matrix = DType::subarray(DType::F64, &[3, 3])?;
    /// assert_eq!(matrix.subdtype(), Some((&DType::F64, &[3, 3][..])));
    /// assert_eq!(DType::F64.subdtype(), None);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn subdtype(&self) -> Option<(&Self, &[usize])> {
        match &self.0 {
            Repr::Subarray(subarray) => Some((subarray.base(), subarray.shape())),
            Repr::Scalar(..) | Repr::Structured(_) => None,
        }
    }

    /// Returns the base of a sub-array, and the type itself for anything else.
    ///
    /// ```
    /// # use mapcall_array::dtype::DType;
    /// assert_eq!(DType::subarray(DType::F64, &[3, 3])?.base(), &DType::F64);
    /// assert_eq!(DType::F64.base(), &DType::F64);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn base(&self) -> &Self {
        self.subdtype().map_or(self, |(base, _)| base)
    }

    /// Returns NumPy's name for a number in native byte order, such as `float32`; for others the same text as
    /// `Display`.
    ///
    /// ```
    /// # use mapcall_array::dtype::DType;
    /// assert_eq!(DType::F32.name(), "float32");
    /// assert_eq!(">f4".parse::<DType>()?.name(), ">f4");
    /// assert_eq!(DType::bytes(3)?.name(), "|S3");
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> String {
        let name = self
            .scalar_type()
            .filter(|_| self.is_native())
            .and_then(ScalarType::name);
        name.map_or_else(|| self.to_string(), str::to_owned)
    }

    /// Returns the shape of a sub-array, which is empty for anything else.
    ///
    /// ```
    /// # use mapcall_array::dtype::DType;
    /// assert_eq!(DType::subarray(DType::F64, &[3, 3])?.shape(), [3, 3]);
    /// assert!(DType::F64.shape().is_empty());
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        self.subdtype().map_or(&[], |(_, shape)| shape)
    }

    /// Appends the dimensions of a sub-array to `shape`, as NumPy does for every array, and returns the dtype
    /// of the elements.
    pub(crate) fn expand(mut self, shape: &mut Vec<usize>) -> Self {
        while let Some((base, axes)) = self.subdtype() {
            shape.extend(axes);
            self = base.clone();
        }
        self
    }

    /// Returns whether it is a structured type with the alignment of a C struct, or a sub-array of one.
    ///
    /// ```
    /// # use mapcall_array::dtype::DType;
    /// let fields = [("id", DType::U8), ("mass", DType::F32)];
    /// assert!(DType::structured_aligned(fields.clone())?.is_aligned_struct());
    /// assert!(!DType::structured(fields)?.is_aligned_struct());
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn is_aligned_struct(&self) -> bool {
        match &self.0 {
            Repr::Scalar(..) => false,
            Repr::Structured(structured) => structured.is_aligned(),
            Repr::Subarray(subarray) => subarray.base().is_aligned_struct(),
        }
    }

    /// Returns the same type with every number in it in another byte order.
    ///
    /// ```
    /// use mapcall_array::dtype::{ByteOrder, DType};
    ///
    /// assert_eq!(DType::F32.newbyteorder(ByteOrder::Big).to_string(), ">f4");
    /// ```
    ///
    /// [`ByteOrder::NotApplicable`] changes nothing, as in NumPy.
    #[must_use]
    pub fn newbyteorder(&self, order: ByteOrder) -> Self {
        if order == ByteOrder::NotApplicable {
            return self.clone();
        }
        match &self.0 {
            Repr::Scalar(scalar, _) => Self::scalar(*scalar, order),
            Repr::Structured(structured) => structured.newbyteorder(order).into(),
            Repr::Subarray(subarray) => {
                Self(Repr::Subarray(Arc::new(subarray.newbyteorder(order))))
            }
        }
    }

    /// Returns the same type with every number in it in this machine's byte order.
    ///
    /// ```
    /// # use mapcall_array::dtype::DType;
    /// assert_eq!(">f8".parse::<DType>()?.to_native(), DType::F64);
    /// assert_eq!("<f8".parse::<DType>()?.to_native(), DType::F64);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn to_native(&self) -> Self {
        if self.is_native() {
            self.clone()
        } else {
            self.newbyteorder(ByteOrder::NATIVE)
        }
    }

    /// Returns whether it is a type without a length, such as `S`.
    fn is_unsized(&self) -> bool {
        self.itemsize() == 0 && self.fields().is_none()
    }

    /// Returns the number of nested structured types and sub-arrays.
    fn depth(&self) -> usize {
        match &self.0 {
            Repr::Scalar(..) => 0,
            Repr::Structured(structured) => structured.depth(),
            Repr::Subarray(subarray) => subarray.depth(),
        }
    }
}

impl From<Structured> for DType {
    fn from(structured: Structured) -> Self {
        Self(Repr::Structured(Arc::new(structured)))
    }
}

fn check_itemsize(bytes: usize) -> Result<usize, DTypeError> {
    if bytes > MAX_ITEMSIZE {
        Err(DTypeError::TooLarge { bytes })
    } else {
        Ok(bytes)
    }
}

/// Checks the multiplier of a time unit, which is a C `int`; without a unit it is 1.
fn time_count(unit: TimeUnit, count: u32) -> Result<u32, DTypeError> {
    match unit {
        TimeUnit::Generic => Ok(1),
        _ if count > i32::MAX.unsigned_abs() => Err(DTypeError::TimeCount {
            count: u64::from(count),
        }),
        _ => Ok(count),
    }
}
