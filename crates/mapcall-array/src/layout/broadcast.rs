//! Broadcasting by NumPy's rules.

use super::{Dims, Layout, LayoutError, check_size};

impl Layout {
    /// Returns the layout broadcast to a larger shape, with strides of 0: `np.broadcast_to(a, shape)`.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// let row = Layout::contiguous(&[3], 8, Order::C)?;
    /// let view = row.broadcast_to(&[1000, 3])?;
    /// assert_eq!((view.strides(), view.bounds()), (&[0, 8][..], 0..24));
    /// assert_eq!(
    ///     row.broadcast_to(&[4]).unwrap_err().to_string(),
    ///     "can't broadcast shape (3,) to (4,): aligned at the last, each axis must be equal or 1"
    /// );
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LayoutError::BroadcastTo`] if an axis has a length that is neither 1 nor the length in `shape`;
    /// [`LayoutError::TooManyAxes`] and [`LayoutError::TooBig`] for such a `shape`.
    pub fn broadcast_to(&self, shape: &[usize]) -> Result<Self, LayoutError> {
        check_size(shape, self.itemsize)?;
        let mismatch = || LayoutError::BroadcastTo {
            from: self.shape.clone(),
            to: shape.into(),
        };
        let added = shape.len().checked_sub(self.ndim()).ok_or_else(mismatch)?;
        let mut strides: Dims<isize> = (0..added).map(|_| 0).collect();
        for ((old, stride), &new) in self.axes().zip(shape.iter().skip(added)) {
            match old {
                1 => strides.push(0),
                _ if old == new => strides.push(stride),
                _ => return Err(mismatch()),
            }
        }
        Ok(Self {
            offset: self.offset,
            shape: shape.into(),
            strides,
            itemsize: self.itemsize,
        })
    }
}

/// Returns the shape to which all shapes broadcast: `np.broadcast_shapes(*shapes)`.
///
/// ```
/// use mapcall_array::layout::broadcast_shapes;
///
/// assert_eq!(broadcast_shapes(&[&[5, 1, 3], &[4, 1], &[]])?[..], [5, 4, 3]);
/// assert!(broadcast_shapes(&[&[3], &[4]]).is_err());
/// # Ok::<(), mapcall_array::layout::LayoutError>(())
/// ```
///
/// # Errors
///
/// [`LayoutError::BroadcastMismatch`] with the first two shapes that differ, on the first axis where any do;
/// [`LayoutError::TooManyAxes`] and [`LayoutError::TooBig`] for such a result.
pub fn broadcast_shapes(shapes: &[&[usize]]) -> Result<Dims<usize>, LayoutError> {
    let ndim = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut broadcast = Dims::new();
    // The shapes are aligned at the last axis, and compared from the first axis on.
    for from_last in (0..ndim).rev() {
        let (mut length, mut first) = (1, 0);
        for (second, shape) in shapes.iter().enumerate() {
            match shape.iter().rev().nth(from_last) {
                None | Some(1) => {}
                Some(&size) if length == 1 => (length, first) = (size, second),
                Some(&size) if length == size => {}
                Some(_) => {
                    return Err(LayoutError::BroadcastMismatch {
                        first,
                        first_shape: shapes.get(first).copied().unwrap_or_default().into(),
                        second,
                        second_shape: (*shape).into(),
                    });
                }
            }
        }
        broadcast.push(length);
    }
    check_size(&broadcast, 1)?;
    Ok(broadcast)
}
