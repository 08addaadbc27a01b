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
    #[inline]
    pub(super) fn leading(
        &self,
        memory: &Memory<'_>,
        itemsize: usize,
    ) -> Result<Option<usize>, WrongLayout> {
        let mut rows = Rows {
            has_distance: self.stride.is_some(),
            itemsize,
            step: itemsize,
            leading: None,
        };
        if let (&[length, other], &[stride, other_stride]) = (memory.shape, memory.strides) {
            // Most are matrices.
            if length == 0 || other == 0 {
                return Ok(None);
            }
            if self.is_column_major {
                rows.axis(false, length, stride)?;
                rows.axis(true, other, other_stride)?;
            } else {
                rows.axis(false, other, other_stride)?;
                rows.axis(true, length, stride)?;
            }
            return Ok(rows.leading);
        }
        self.leading_of_axes(memory.shape, memory.strides, rows)
    }

    /// Returns the distance from one row to the next of an array of any rank.
    #[inline(never)]
    fn leading_of_axes(
        &self,
        shape: &[usize],
        strides: &[isize],
        mut rows: Rows,
    ) -> Result<Option<usize>, WrongLayout> {
        if shape.contains(&0) {
            return Ok(None);
        }
        let rank = shape.len();
        // The fastest axis first.
        for index in 0..rank {
            let axis = if self.is_column_major {
                index
            } else {
                rank - 1 - index
            };
            let length = shape.get(axis).copied().unwrap_or(1);
            let stride = strides.get(axis).copied().unwrap_or(0);
            // Rows follow each other along the second axis, and the elements of a vector along its only one.
            rows.axis(index > 0 || rank == 1, length, stride)?;
        }
        Ok(rows.leading)
    }
}

/// The distance from one row to the next, and the stride that the next axis must have, in bytes.
struct Rows {
    /// Whether the distance is a value of the prototype. If not, rows are contiguous.
    has_distance: bool,
    itemsize: usize,
    step: usize,
    leading: Option<usize>,
}

impl Rows {
    /// Adds an axis, the fastest first. `may_lead` is set for axes along which rows may follow each other.
    #[inline]
    fn axis(&mut self, may_lead: bool, length: usize, stride: isize) -> Result<(), WrongLayout> {
        if length == 1 {
            return Ok(());
        }
        if self.has_distance && may_lead && self.leading.is_none() {
            let distance = usize::try_from(stride).map_err(|_| WrongLayout)?;
            if distance < self.step {
                return Err(WrongLayout);
            }
            self.leading = Some(elements(distance, self.itemsize).ok_or(WrongLayout)?);
            self.step = distance;
        } else if stride.cast_unsigned() != self.step {
            return Err(WrongLayout);
        }
        self.step = self.step.wrapping_mul(length);
        Ok(())
    }
}

/// Returns the number of elements in a number of bytes; `None` if there is a rest. A division takes longer than all
/// other checks of an array, and most sizes are powers of two.
#[inline]
fn elements(bytes: usize, itemsize: usize) -> Option<usize> {
    if itemsize.is_power_of_two() {
        (bytes & (itemsize - 1) == 0).then(|| bytes >> itemsize.trailing_zeros())
    } else if bytes.is_multiple_of(itemsize) {
        bytes.checked_div(itemsize)
    } else {
        None
    }
}
