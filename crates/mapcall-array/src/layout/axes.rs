//! Views with the axes in another order, or with axes of length 1 added or removed.

use super::{Dims, Layout, LayoutError, Order};

impl Layout {
    /// Returns the layout with the axes in reverse order: `a.T`.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// let layout = Layout::contiguous(&[2, 3, 4], 1, Order::C)?.transpose();
    /// assert_eq!((layout.shape(), layout.strides()), (&[4, 3, 2][..], &[1, 4, 12][..]));
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    #[must_use]
    pub fn transpose(&self) -> Self {
        let mut view = self.clone();
        view.shape.reverse();
        view.strides.reverse();
        view
    }

    /// Returns the layout with the axes in the given order: `a.transpose(axes)`. Negative axes count from the
    /// last.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// let layout = Layout::contiguous(&[2, 3, 4], 1, Order::C)?.permute(&[1, -1, 0])?;
    /// assert_eq!((layout.shape(), layout.strides()), (&[3, 4, 2][..], &[4, 1, 12][..]));
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LayoutError::AxesMismatch`], [`LayoutError::AxisOutOfBounds`] or [`LayoutError::RepeatedAxis`] if
    /// `axes` does not name each axis once.
    pub fn permute(&self, axes: &[isize]) -> Result<Self, LayoutError> {
        let ndim = self.ndim();
        if axes.len() != ndim {
            return Err(LayoutError::AxesMismatch {
                axes: axes.len(),
                ndim,
            });
        }
        let mut order: Dims<usize> = Dims::new();
        for &given in axes {
            let named = normalize_axis(given, ndim)?;
            if order.contains(&named) {
                return Err(LayoutError::RepeatedAxis { axis: named });
            }
            order.push(named);
        }
        Ok(self.select(&order))
    }

    /// Returns the layout with two axes exchanged. Negative axes count from the last.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// let layout = Layout::contiguous(&[2, 3, 4], 1, Order::C)?.swapaxes(0, -1)?;
    /// assert_eq!(layout.shape(), [4, 3, 2]);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LayoutError::AxisOutOfBounds`] if an axis does not exist.
    pub fn swapaxes(&self, a: isize, b: isize) -> Result<Self, LayoutError> {
        let ndim = self.ndim();
        let (a, b) = (normalize_axis(a, ndim)?, normalize_axis(b, ndim)?);
        let mut axes: Dims<usize> = (0..ndim).collect();
        axes.swap(a, b);
        Ok(self.select(&axes))
    }

    /// Returns the layout without the axes of length 1.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// let layout = Layout::contiguous(&[1, 3, 1], 8, Order::C)?.squeeze();
    /// assert_eq!(layout.shape(), [3]);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    #[must_use]
    pub fn squeeze(&self) -> Self {
        let axes: Dims<usize> = self
            .axes()
            .enumerate()
            .filter(|&(_, (size, _))| size != 1)
            .map(|(i, _)| i)
            .collect();
        self.select(&axes)
    }

    /// Returns the layout with a new axis of length 1 at position `axis` of the result; a negative position
    /// counts from the last axis of the result.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// let layout = Layout::contiguous(&[2, 3], 8, Order::C)?;
    /// assert_eq!(layout.expand_dims(-1)?.shape(), [2, 3, 1]);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LayoutError::AxisOutOfBounds`] if `axis` is not a position in the result,
    /// [`LayoutError::TooManyAxes`] if the layout has 64 axes already.
    pub fn expand_dims(&self, axis: isize) -> Result<Self, LayoutError> {
        let at = normalize_axis(axis, self.ndim() + 1)?;
        let mut shape: Dims<isize> = self.shape.iter().map(|size| size.cast_signed()).collect();
        shape.insert(at, 1);
        // A reshape gives the stride that NumPy gives, and a new axis of length 1 never needs a copy.
        self.reshape(&shape, Order::C)
    }

    /// Returns the layout with only these axes, which must exist; all other axes must have length 1.
    fn select(&self, axes: &[usize]) -> Self {
        Self {
            offset: self.offset,
            shape: axes
                .iter()
                .filter_map(|&axis| self.shape.get(axis).copied())
                .collect(),
            strides: axes
                .iter()
                .filter_map(|&axis| self.strides.get(axis).copied())
                .collect(),
            itemsize: self.itemsize,
        }
    }
}

/// Converts an axis that may be negative to a position from the first axis.
fn normalize_axis(axis: isize, ndim: usize) -> Result<usize, LayoutError> {
    let from_first = if axis < 0 {
        ndim.checked_add_signed(axis)
    } else {
        Some(axis.cast_unsigned())
    };
    from_first
        .filter(|&axis| axis < ndim)
        .ok_or(LayoutError::AxisOutOfBounds { axis, ndim })
}
