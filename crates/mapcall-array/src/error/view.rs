use crate::dtype::{DType, DTypeError};

/// The reason why an array can't be viewed as elements of a Rust type.
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
    /// The elements have another dtype.
    #[error("expected elements of dtype {expected}, but the array has {found}")]
    WrongDType {
        /// The dtype of the Rust type.
        expected: DType,
        /// The dtype of the array.
        found: DType,
    },
    /// The elements have the other byte order.
    #[error("dtype {dtype} is not in native byte order; view the bytes as [u8; {}] and swap them", dtype.itemsize())]
    ByteOrder {
        /// The dtype of the array.
        dtype: DType,
    },
    /// The address of an element is not a multiple of the alignment of the type.
    #[error(
        "address {address:#x} with strides {strides:?} is not aligned to {alignment} bytes; copy the array, or view it as bytes"
    )]
    Unaligned {
        /// The address of the first element.
        address: usize,
        /// The strides, in bytes.
        strides: Vec<isize>,
        /// The alignment of the type, in bytes.
        alignment: usize,
    },
    /// A stride is not a multiple of the item size.
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
    /// Another array or view shares the buffer, and would see the writes.
    #[error("another array or view shares the memory; drop it first")]
    Shared,
    /// Two elements may have bytes in common.
    #[error("elements of the array overlap each other, so they can't be borrowed for writing")]
    Overlap,
}
