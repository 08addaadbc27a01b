//! The layout of an array that is not simply contiguous in C order: column-major, or with a leading
//! dimension.

use mapcall_array::layout::Dims;

use super::extent_rule::ExtentRule;
use super::memory::Memory;
use crate::prototype::Parameter;

/// The layout that a parameter asks for by `column_major` and `stride`. `E` is the expression of the stride.
#[derive(Clone, Debug)]
pub(super) struct ArrayLayout<E = ExtentRule> {
    /// Whether the first axis is the one that moves fastest.
    pub(super) is_column_major: bool,
    /// The distance from one row (column, if it is column-major) to the next, in elements.
    pub(super) stride: Option<E>,
}

/// An array whose strides are not those of a layout.
#[derive(Debug)]
pub(super) struct WrongLayout;

/// Rows that are longer than the distance between them.
#[derive(Debug, PartialEq)]
pub(super) struct OverlappingRows {
    /// The number of elements in a row.
    pub(super) length: usize,
}

impl<E> ArrayLayout<E> {
    /// Returns the layout that a parameter asks for; `None` if it asks for none but the usual one, contiguous in C
    /// order.
    pub(super) fn of(parameter: &Parameter, stride: Option<E>) -> Option<Self> {
        let is_column_major = parameter.is_column_major && parameter.rank() != 1;
        (is_column_major || stride.is_some()).then_some(Self {
            is_column_major,
            stride,
        })
    }

    /// Returns the reason why a parameter that is no array with known extents can't have a layout.
    #[cold]
    pub(super) fn refuse(parameter: &Parameter) -> String {
        format!(
            "expected an array with known extents for `stride` and `column_major`, got \
             `{parameter}`; write all extents"
        )
    }

    /// Returns the strides in bytes of an array of a shape whose rows are `leading` elements apart, or follow each
    /// other without gaps: the inverse of [`leading`](Self::leading).
    ///
    /// # Errors
    ///
    /// [`OverlappingRows`] if the distance is less than the length of a row.
    pub(super) fn strides(
        &self,
        shape: &[usize],
        itemsize: usize,
        leading: Option<usize>,
    ) -> Result<Dims<isize>, OverlappingRows> {
        let rank = shape.len();
        let mut strides = Dims::from_elem(0, rank);
        // The fastest axis first. A product that saturates is the stride of an array larger than memory.
        let mut step = 1_usize;
        for index in 0..rank {
            let axis = self.axis(index, rank);
            let may_lead = index == 1 || rank == 1;
            if let Some(leading) = leading.filter(|_| may_lead) {
                let length = step.max(1);
                if leading < length {
                    return Err(OverlappingRows { length });
                }
                step = leading;
            }
            if let Some(stride) = strides.get_mut(axis) {
                *stride = isize::try_from(step.saturating_mul(itemsize)).unwrap_or(isize::MAX);
            }
            step = step.saturating_mul(shape.get(axis).copied().unwrap_or(1));
        }
        Ok(strides)
    }

    /// Returns the axis at an index in the order of memory, the fastest first.
    fn axis(&self, index: usize, rank: usize) -> usize {
        if self.is_column_major {
            index
        } else {
            rank - 1 - index
        }
    }

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
            let axis = self.axis(index, rank);
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

#[cfg(test)]
mod tests {
    use mapcall_array::Backing;

    use super::*;

    #[test]
    fn strides_are_the_inverse_of_the_distance() {
        let shapes: [&[usize]; 6] = [&[4], &[2, 3], &[3, 1], &[1, 3], &[2, 3, 4], &[3, 2, 1]];
        for shape in shapes {
            for (is_column_major, leading) in [
                (false, None),
                (true, None),
                (false, Some(7)),
                (true, Some(7)),
            ] {
                let layout = ArrayLayout {
                    is_column_major,
                    stride: leading,
                };
                let strides = layout.strides(shape, 8, leading).unwrap();
                let memory = Memory {
                    address: std::ptr::null_mut(),
                    shape,
                    strides: strides.as_slice(),
                    is_contiguous: false,
                    is_writeable: true,
                    is_shared: false,
                    backing: Backing::Unknown,
                };
                let found = layout.leading(&memory, 8).unwrap();
                // An array with one row does not tell the distance to the next.
                assert!(found.is_none() || found == leading, "{shape:?} {leading:?}");
                let elements: usize = shape.iter().product();
                let reach = |axis: usize| (shape[axis] - 1) * strides[axis].unsigned_abs();
                let last: usize = (0..shape.len()).map(reach).sum();
                if leading.is_none() {
                    assert_eq!(last + 8, 8 * elements);
                }
            }
        }
        let layout = ArrayLayout {
            is_column_major: false,
            stride: Some(2),
        };
        let overlapping = layout.strides(&[2, 3], 8, Some(2)).unwrap_err();
        assert_eq!(overlapping, OverlappingRows { length: 3 });
        assert!(layout.strides(&[2], 8, Some(0)).is_err());
    }
}
