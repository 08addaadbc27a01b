//! The errors of dtypes.

use super::{MAX_DEPTH, MAX_ITEMSIZE, MAX_SUBARRAY_RANK};
use crate::literal::repr::excerpt;

/// A dtype that can't be read, built or written.
///
/// ```
/// use mapcall_array::dtype::{DType, DTypeError};
///
/// let error = "<i3".parse::<DType>().unwrap_err();
/// assert!(matches!(error, DTypeError::Syntax { position: 2, .. }));
/// assert_eq!(
///     error.to_string(),
///     "dtype \"<i3\", byte 2: expected an itemsize that 'i' has: 1, 2, 4 or 8"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DTypeError {
    /// A text that names no dtype.
    #[error("dtype {:?}, byte {position}: expected {expected}", excerpt(text))]
    Syntax {
        /// The whole text.
        text: String,
        /// The offset of the error in the bytes of `text`.
        position: usize,
        /// A description of the expected syntax.
        expected: &'static str,
    },
    /// Python objects.
    #[error(
        "dtype {:?}: expected plain data, got Python objects, whose addresses mean nothing \
         outside of their process; convert the array to a dtype of fixed size and save it again",
        excerpt(text)
    )]
    Object {
        /// The text.
        text: String,
    },
    /// A `long double` that has another size on this machine.
    #[error(
        "dtype {:?}: expected the {platform} bytes that it has on this machine (C's long \
         double), got {itemsize}; convert the array to float64 or complex128 where it was made",
        excerpt(text)
    )]
    LongDouble {
        /// The text.
        text: String,
        /// The size that the text asks for, in bytes.
        itemsize: usize,
        /// The size here, in bytes.
        platform: usize,
    },
    /// A part of a `.npy` descriptor that is no dtype.
    #[error("dtype descriptor: expected {expected}, got {found}")]
    Descr {
        /// A description of the expected literal.
        expected: &'static str,
        /// A description of the literal that was found.
        found: &'static str,
    },
    /// A field whose type has an error.
    #[error("field {name:?}: {source}")]
    Field {
        /// The field.
        name: String,
        /// The error of the field's type.
        source: Box<DTypeError>,
    },
    /// A name or title that two fields share.
    #[error(
        "expected field names and titles that all differ, got {name:?} more than once; rename one"
    )]
    DuplicateField {
        /// The name or title.
        name: String,
    },
    /// A size of more bytes than NumPy's `int` holds.
    #[error(
        "expected an itemsize of at most {MAX_ITEMSIZE} bytes (a C int, as in NumPy), got {bytes}"
    )]
    TooLarge {
        /// The size that was asked for; `usize::MAX` stands for anything from there on.
        bytes: usize,
    },
    /// An offset in an aligned structured dtype that is not a multiple of the field's alignment.
    #[error(
        "field {name:?}: expected an offset that its alignment {alignment} divides, got {offset}"
    )]
    MisalignedOffset {
        /// The field.
        name: String,
        /// Its offset in bytes.
        offset: usize,
        /// Its alignment in bytes.
        alignment: usize,
    },
    /// An itemsize smaller than the fields.
    #[error(
        "expected an itemsize of at least the {required} bytes that the fields take, got {itemsize}"
    )]
    ItemsizeTooSmall {
        /// The given itemsize in bytes.
        itemsize: usize,
        /// The size of the fields in bytes.
        required: usize,
    },
    /// An itemsize of an aligned structured dtype that breaks the alignment of the next item.
    #[error("expected an itemsize that the alignment {alignment} divides, got {itemsize}")]
    MisalignedItemsize {
        /// The given itemsize in bytes.
        itemsize: usize,
        /// The alignment in bytes.
        alignment: usize,
    },
    /// A sub-array with too many dimensions.
    #[error("expected a sub-array of at most {MAX_SUBARRAY_RANK} dimensions, got {rank}")]
    SubarrayRank {
        /// The number of dimensions.
        rank: usize,
    },
    /// A sub-array with a negative dimension.
    #[error("expected sub-array dimensions from 0 to {MAX_ITEMSIZE}, got {dimension}")]
    NegativeDimension {
        /// The dimension.
        dimension: i128,
    },
    /// A sub-array of items that have no size.
    #[error("expected sub-array items with a size, got {base}; write the length, as in 'S8'")]
    UnsizedSubarray {
        /// The dtype of the items.
        base: String,
    },
    /// Structured dtypes and sub-arrays that are nested too deeply.
    #[error("expected dtypes nested at most {MAX_DEPTH} deep; flatten the structure")]
    TooDeep,
    /// A datetime unit whose multiplier NumPy can't hold.
    #[error("expected a multiplier of the time unit that fits a C int, got {count}")]
    TimeCount {
        /// The multiplier.
        count: u64,
    },
    /// Fields that a `.npy` descriptor can't express.
    #[error(
        "field {name:?}: expected an offset of {end} or more, where the field before it ends, got \
         {offset}; a .npy descriptor can't express overlapping or out-of-order fields"
    )]
    NotExpressible {
        /// The field.
        name: String,
        /// Its offset in bytes.
        offset: usize,
        /// The end of the fields before it, in bytes.
        end: usize,
    },
}

impl DTypeError {
    /// Adds the name of a field to its type's error; [`TooDeep`](Self::TooDeep) stays as it is, because the
    /// path would be too long.
    pub(super) fn in_field(self, name: &str) -> Self {
        if self == Self::TooDeep {
            return self;
        }
        Self::Field {
            name: name.to_owned(),
            source: Box::new(self),
        }
    }
}
