//! The memory layout of structured types and sub-arrays.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};

use super::{ByteOrder, DType, DTypeError, MAX_DEPTH, MAX_SUBARRAY_RANK, check_itemsize};

/// A field of a structured dtype.
///
/// ```
/// use mapcall_array::dtype::{DType, Field};
///
/// let dtype = DType::structured([("x", DType::F32), ("y", DType::F32)])?;
/// assert_eq!(dtype.field("y"), Some(&Field::new("y", DType::F32).at(4)));
/// # Ok::<(), mapcall_array::dtype::DTypeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// The name.
    pub name: String,
    /// A second name, by which NumPy finds the field as well.
    pub title: Option<String>,
    /// The type.
    pub dtype: DType,
    /// The offset of the field in an element, in bytes.
    pub offset: usize,
}

impl Field {
    /// Makes a field without a title, at offset 0.
    ///
    /// ```
    /// # use mapcall_array::dtype::{DType, Field};
    /// let field = Field::new("x", DType::F32);
    /// assert_eq!((field.name.as_str(), field.title, field.offset), ("x", None, 0));
    /// ```
    #[must_use]
    pub fn new(name: impl Into<String>, dtype: DType) -> Self {
        Self {
            name: name.into(),
            title: None,
            dtype,
            offset: 0,
        }
    }

    /// Sets the title.
    ///
    /// ```
    /// # use mapcall_array::dtype::{DType, Field};
    /// let dtype = DType::structured([Field::new("a", DType::U8).with_title("alpha")])?;
    /// assert_eq!(dtype.to_descr()?, "[(('alpha', 'a'), '|u1')]");
    /// assert_eq!(dtype.field("alpha"), dtype.field("a"));
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn with_title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Sets the offset, in bytes.
    ///
    /// ```
    /// # use mapcall_array::dtype::{DType, Field};
    /// let fields = [Field::new("whole", DType::U32), Field::new("part", DType::U16).at(2)];
    /// let dtype = DType::structured_with_offsets(fields, None, false)?;
    /// assert_eq!(dtype.itemsize(), 4);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    #[must_use]
    pub fn at(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// Returns the end of the field in an element, in bytes. It does not overflow for a field of a `DType`.
    pub(super) fn end(&self) -> usize {
        self.offset.saturating_add(self.dtype.itemsize())
    }
}

impl<N: Into<String>> From<(N, DType)> for Field {
    fn from((name, dtype): (N, DType)) -> Self {
        Self::new(name, dtype)
    }
}

/// The fields of a structured type, and its size, alignment and depth.
pub(super) struct Structured {
    fields: Box<[Field]>,
    itemsize: usize,
    alignment: usize,
    aligned: bool,
    native: bool,
    depth: usize,
}

impl Structured {
    /// Computes the offsets of fields that follow each other.
    pub(super) fn in_order(
        fields: impl Iterator<Item = Field>,
        aligned: bool,
    ) -> Result<Self, DTypeError> {
        let mut end = 0;
        let fields = fields.enumerate().map(|(index, mut field)| {
            if field.name.is_empty() {
                field.name = format!("f{index}");
            }
            let alignment = if aligned { field.dtype.alignment() } else { 1 };
            field.offset = round_up(end, alignment)?;
            end = check_itemsize(field.end())?;
            Ok(field)
        });
        let fields = fields.collect::<Result<_, _>>()?;
        Self::with_offsets(fields, None, aligned)
    }

    /// Makes a type of fields with their offsets.
    pub(super) fn with_offsets(
        fields: Vec<Field>,
        itemsize: Option<usize>,
        aligned: bool,
    ) -> Result<Self, DTypeError> {
        let mut seen = HashSet::new();
        for name in fields
            .iter()
            .flat_map(|field| [Some(&field.name), field.title.as_ref()])
        {
            if let Some(name) = name
                && !seen.insert(name.as_str())
            {
                return Err(DTypeError::DuplicateField { name: name.clone() });
            }
        }
        let mut required = 0;
        let mut alignment = 1;
        for field in &fields {
            let end = check_itemsize(field.end()).map_err(|error| error.in_field(&field.name))?;
            required = required.max(end);
            if aligned {
                alignment = alignment.max(field.dtype.alignment());
                check_offset(field)?;
            }
        }
        let required = round_up(required, alignment)?;
        let itemsize = check_itemsize(itemsize.unwrap_or(required))?;
        if itemsize < required {
            return Err(DTypeError::ItemsizeTooSmall { itemsize, required });
        }
        if !itemsize.is_multiple_of(alignment) {
            return Err(DTypeError::MisalignedItemsize {
                itemsize,
                alignment,
            });
        }
        Ok(Self {
            depth: nest(fields.iter().map(|field| field.dtype.depth()).max())?,
            native: fields.iter().all(|field| field.dtype.is_native()),
            fields: fields.into_boxed_slice(),
            itemsize,
            alignment,
            aligned,
        })
    }

    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub(super) fn itemsize(&self) -> usize {
        self.itemsize
    }

    pub(super) fn alignment(&self) -> usize {
        self.alignment
    }

    pub(super) fn is_aligned(&self) -> bool {
        self.aligned
    }

    pub(super) fn is_native(&self) -> bool {
        self.native
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Returns the same fields in another byte order; the offsets don't change.
    pub(super) fn newbyteorder(&self, order: ByteOrder) -> Self {
        let fields: Box<[Field]> = self
            .fields
            .iter()
            .map(|field| Field {
                dtype: field.dtype.newbyteorder(order),
                ..field.clone()
            })
            .collect();
        let native = fields.iter().all(|field| field.dtype.is_native());
        Self {
            fields,
            native,
            ..*self
        }
    }
}

/// As in NumPy, types are equal if their fields and sizes are, whether or not the offsets were computed with
/// alignment.
impl PartialEq for Structured {
    fn eq(&self, other: &Self) -> bool {
        self.itemsize == other.itemsize && self.fields == other.fields
    }
}

impl Eq for Structured {}

impl Hash for Structured {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.itemsize.hash(state);
        self.fields.hash(state);
    }
}

/// A sub-array: elements of one type in a fixed shape, in C order.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Subarray {
    base: DType,
    shape: Box<[usize]>,
    itemsize: usize,
    depth: usize,
}

impl Subarray {
    /// Makes a sub-array of a base that has a size, and a shape that is not empty.
    pub(super) fn new(base: DType, shape: &[usize]) -> Result<Self, DTypeError> {
        if shape.len() > MAX_SUBARRAY_RANK {
            return Err(DTypeError::SubarrayRank { rank: shape.len() });
        }
        for &dimension in shape {
            check_itemsize(dimension)?;
        }
        let mut items: usize = 1;
        for &dimension in shape {
            items = items.saturating_mul(dimension);
            // As in NumPy, the product may be too large before a dimension of 0, but not behind one.
            if items == 0 {
                break;
            }
        }
        // NumPy also stores the number of items in a C `int`, which matters for items of size 0.
        let itemsize = check_itemsize(items)?.saturating_mul(base.itemsize());
        Ok(Self {
            itemsize: check_itemsize(itemsize)?,
            depth: nest(Some(base.depth()))?,
            shape: shape.into(),
            base,
        })
    }

    pub(super) fn base(&self) -> &DType {
        &self.base
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub(super) fn itemsize(&self) -> usize {
        self.itemsize
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    pub(super) fn newbyteorder(&self, order: ByteOrder) -> Self {
        Self {
            base: self.base.newbyteorder(order),
            shape: self.shape.clone(),
            ..*self
        }
    }
}

fn check_offset(field: &Field) -> Result<(), DTypeError> {
    let (offset, alignment) = (field.offset, field.dtype.alignment());
    if offset.is_multiple_of(alignment) {
        return Ok(());
    }
    Err(DTypeError::MisalignedOffset {
        name: field.name.clone(),
        offset,
        alignment,
    })
}

fn round_up(offset: usize, alignment: usize) -> Result<usize, DTypeError> {
    check_itemsize(
        offset
            .checked_next_multiple_of(alignment)
            .unwrap_or(usize::MAX),
    )
}

/// Returns the depth of a type whose parts have this maximum depth.
fn nest(parts: Option<usize>) -> Result<usize, DTypeError> {
    let depth = parts.unwrap_or(0).saturating_add(1);
    if depth > MAX_DEPTH {
        Err(DTypeError::TooDeep)
    } else {
        Ok(depth)
    }
}
