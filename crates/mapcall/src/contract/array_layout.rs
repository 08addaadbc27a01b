//! The layout of an array that is not simply contiguous in C order: column-major, or with a leading
//! dimension.

use super::extent_rule::ExtentRule;
use super::memory::Memory;

/// The layout that a parameter asks for by `column_major` and `stride`.
#[derive(Clone, Debug)]
pub(super) struct ArrayLayout {
    /// Whether the first axis is the one that moves fastest.
    pub(super) is_column_major: bool,
    /// The distance from one row (column, if it is column-major) to the next, in elements.
    pub(super) stride: Option<ExtentRule>,
}

/// An array whose strides are not those of a layout.
#[derive(Debug)]
pub(super) struct WrongLayout;

impl ArrayLayout {
    /// Returns the distance from one row to the next, in elements; `None` if the array does not tell, as it
    /// has at most one row.
    ///
    /// Rows are contiguous, and lie in order of their addresses without overlap. Further axes are contiguous
    /// over the rows. For an array with one axis, it is the distance between its elements.
    ///
    /// # Errors
    ///
    /// [`WrongLayout`] if the strides are others.
    pub(super) fn leading(
        &self,
        memory: &Memory<'_>,
        itemsize: usize,
    ) -> Result<Option<usize>, WrongLayout> {
        if memory.shape.contains(&0) {
            return Ok(None);
        }
        let rank = memory.shape.len();
        // The fastest axis first.
        let axes = (0..rank).map(|index| {
            let axis = if self.is_column_major {
                index
            } else {
                rank - 1 - index
            };
            let length = memory.shape.get(axis).copied().unwrap_or(1);
            (length, memory.strides.get(axis).copied().unwrap_or(0))
        });
        // The axis along which rows follow each other: the only one of a vector.
        let row_axis = usize::from(rank > 1);
        let mut leading = None;
        let mut step = itemsize;
        for (index, (length, stride)) in axes.enumerate() {
            if length == 1 {
                continue;
            }
            if self.stride.is_some() && index >= row_axis && leading.is_none() {
                let distance = usize::try_from(stride).map_err(|_| WrongLayout)?;
                if distance < step || !distance.is_multiple_of(itemsize) {
                    return Err(WrongLayout);
                }
                leading = distance.checked_div(itemsize);
                step = distance;
            } else if stride.cast_unsigned() != step {
                return Err(WrongLayout);
            }
            step = step.wrapping_mul(length);
        }
        Ok(leading)
    }
}
