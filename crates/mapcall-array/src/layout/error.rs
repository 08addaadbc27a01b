//! The errors of layouts.

use std::fmt;

use super::{Dims, MAX_NDIM};

/// The reason why a layout can't be made, indexed or reshaped.
///
/// ```
/// use mapcall_array::layout::{Layout, LayoutError, Order, index};
///
/// let layout = Layout::contiguous(&[3, 4], 8, Order::C)?;
/// let error = layout.slice(&index![5]).unwrap_err();
/// assert_eq!(error.to_string(), "index 5 is out of bounds for axis 0 with size 3");
/// assert_eq!(error, LayoutError::IndexOutOfBounds { index: 5, axis: 0, size: 3 });
/// # Ok::<(), LayoutError>(())
/// ```
///
/// The messages are similar to NumPy's; the fields have the values in them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// More axes than NumPy has.
    #[error("an array can have at most {MAX_NDIM} axes, this one would have {ndim}")]
    TooManyAxes {
        /// The given number of axes.
        ndim: usize,
    },
    /// More bytes than can be addressed, counting axes of length 0 as 1, as NumPy does.
    #[error(
        "an array of shape {} with items of {itemsize} bytes is too big: it must fit in {} bytes",
        Tuple(shape),
        isize::MAX
    )]
    TooBig {
        /// The shape asked for.
        shape: Dims<usize>,
        /// The size of an item in bytes.
        itemsize: usize,
    },
    /// The numbers of lengths and of strides differ.
    #[error(
        "shape has {shape} axes but strides has {strides}; give one stride, in bytes, per axis"
    )]
    StridesMismatch {
        /// The length of the shape.
        shape: usize,
        /// The length of the strides.
        strides: usize,
    },
    /// An element is before the start of the buffer, or its offset overflows.
    #[error(
        "shape {} with strides {} and items of {itemsize} bytes, starting at byte {offset}, reaches \
         below byte 0 or above byte {}; change the offset or the strides",
        Tuple(shape),
        Tuple(strides),
        isize::MAX
    )]
    Unaddressable {
        /// Bytes from the start of the buffer to the first element.
        offset: usize,
        /// The shape asked for.
        shape: Dims<usize>,
        /// The strides asked for, in bytes.
        strides: Dims<isize>,
        /// The size of an item in bytes.
        itemsize: usize,
    },
    /// The layout and the dtype have items of different sizes.
    #[error("the layout has items of {layout} bytes, but those of the dtype have {dtype}")]
    ItemsizeMismatch {
        /// The size of an item of the layout, in bytes.
        layout: usize,
        /// The size of an item of the dtype, in bytes.
        dtype: usize,
    },
    /// The buffer ends before the array does.
    #[error("buffer is too small for the array: {needed} bytes are needed, it has {len}")]
    BufferTooSmall {
        /// The number of bytes that the array needs.
        needed: usize,
        /// The number of bytes in the buffer.
        len: usize,
    },
    /// An index past either end of its axis.
    #[error("index {index} is out of bounds for axis {axis} with size {size}")]
    IndexOutOfBounds {
        /// The index as given.
        index: isize,
        /// The axis that it selects from.
        axis: usize,
        /// The length of that axis.
        size: usize,
    },
    /// More indices than axes.
    #[error("too many indices for array: array is {ndim}-dimensional, but {indices} were indexed")]
    TooManyIndices {
        /// The number of axes.
        ndim: usize,
        /// The number of indices that take an axis.
        indices: usize,
    },
    /// Fewer indices than axes, where one element was asked for.
    #[error(
        "too few indices for one element: array is {ndim}-dimensional, but {indices} were indexed"
    )]
    TooFewIndices {
        /// The number of axes.
        ndim: usize,
        /// The number of indices.
        indices: usize,
    },
    /// The index has a second ellipsis.
    #[error("an index can only have a single ellipsis")]
    SecondEllipsis,
    /// The step of a slice is 0.
    #[error("slice step can't be zero; leave it out or use 1 for every element")]
    ZeroStep,
    /// An axis that the array does not have.
    #[error("axis {axis} is out of bounds for array of dimension {ndim}")]
    AxisOutOfBounds {
        /// The axis as given; negative ones count from the last.
        axis: isize,
        /// The number of axes.
        ndim: usize,
    },
    /// A permutation with another number of axes than the array.
    #[error("axes don't match array: {axes} were given for {ndim} dimensions")]
    AxesMismatch {
        /// The number of axes named.
        axes: usize,
        /// The number of axes.
        ndim: usize,
    },
    /// A permutation that names an axis twice.
    #[error("repeated axis {axis} in transpose")]
    RepeatedAxis {
        /// The axis, counted from the first.
        axis: usize,
    },
    /// A new shape with another number of elements.
    #[error(
        "can't reshape an array of {size} elements into shape {}",
        Tuple(shape)
    )]
    ReshapeSize {
        /// The number of elements.
        size: usize,
        /// The shape asked for.
        shape: Dims<isize>,
    },
    /// The new shape has more than one negative length.
    #[error("can only specify one unknown dimension (-1), not {}", Tuple(shape))]
    UnknownDimensions {
        /// The shape asked for.
        shape: Dims<isize>,
    },
    /// The new shape needs a copy, as no strides describe it.
    #[error(
        "can't reshape from shape {} to {} without a copy; copy the array into contiguous memory first",
        Tuple(from),
        Tuple(to)
    )]
    NeedsCopy {
        /// The shape of the array.
        from: Dims<usize>,
        /// The shape asked for.
        to: Dims<usize>,
    },
    /// The shape can't be broadcast to the requested one.
    #[error(
        "can't broadcast shape {} to {}: aligned at the last, each axis must be equal or 1",
        Tuple(from),
        Tuple(to)
    )]
    BroadcastTo {
        /// The shape of the array.
        from: Dims<usize>,
        /// The shape asked for.
        to: Dims<usize>,
    },
    /// Shapes that don't broadcast with each other.
    #[error(
        "shape mismatch: shapes can't be broadcast to a single shape; mismatch is between \
         argument {first} with shape {} and argument {second} with shape {}",
        Tuple(first_shape),
        Tuple(second_shape)
    )]
    BroadcastMismatch {
        /// The index of the first shape in the argument list.
        first: usize,
        /// That shape.
        first_shape: Dims<usize>,
        /// The index of the second shape in the argument list.
        second: usize,
        /// That shape.
        second_shape: Dims<usize>,
    },
}

/// Writes values as a Python tuple: `()`, `(5,)`, `(5, 2)`.
struct Tuple<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Tuple<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [only] => write!(f, "({only},)"),
            all => {
                f.write_str("(")?;
                for (i, value) in all.iter().enumerate() {
                    let separator = if i == 0 { "" } else { ", " };
                    write!(f, "{separator}{value}")?;
                }
                f.write_str(")")
            }
        }
    }
}
