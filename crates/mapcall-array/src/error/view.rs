use crate::dtype::{DType, DTypeError};

/// Why an array can't be seen as elements of a Rust type.
///
/// ```
/// use mapcall_array::{Error, ViewError};
/// # use mapcall_array::{Array, DType, layout::Order};
///
/// let array = Array::zeros(DType::F32, &[3], Order::C)?;
/// let error = array.view::<f64>().unwrap_err();
/// assert!(matches!(error, Error::View(ViewError::WrongDType { .. })));
/// # Ok::<(), mapcall_array::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The Rust type has no dtype.
    #[error(transparent)]
    DType(#[from] DTypeError),
    /// The elements are something else.
    #[error("expected elements of dtype {expected}, but the array has {found}")]
    WrongDType {
        /// What the Rust type stands for.
        expected: DType,
        /// What the array has.
        found: DType,
    },
    /// The elements have the other byte order.
    #[error("dtype {dtype} is not in native byte order; view the bytes as [u8; {}] and swap them", dtype.itemsize())]
    ByteOrder {
        /// What the array has.
        dtype: DType,
    },
    /// An element does not stand where its type must.
    #[error(
        "address {address:#x} with strides {strides:?} is not aligned to {alignment} bytes; copy the array, or view it as bytes"
    )]
    Unaligned {
        /// The address of the first element.
        address: usize,
        /// The strides, in bytes.
        strides: Vec<isize>,
        /// What the type needs.
        alignment: usize,
    },
    /// The elements don't stand a whole number of elements apart.
    #[error(
        "the stride of {stride} bytes along axis {axis} is no multiple of the item size {itemsize}"
    )]
    Stride {
        /// The axis.
        axis: usize,
        /// Its stride, in bytes.
        stride: isize,
        /// The item size.
        itemsize: usize,
    },
    /// The array may not be written.
    #[error("the array is read-only; open the file in mode r+ or c")]
    ReadOnly,
    /// Another array or view could see the writes.
    #[error("another array or view shares the memory; drop it first")]
    Shared,
    /// Two indices could name the same bytes.
    #[error("elements of the array overlap each other, so they can't be borrowed for writing")]
    Overlap,
}
