//! Views with another shape over the same elements in the same order.

use super::{Dims, Layout, LayoutError, Order, check_size, packed_strides};

impl Layout {
    /// Returns the layout of the same elements in another shape, in `order` and without a copy:
    /// `a.reshape(shape, order=order, copy=False)`. One length may be negative, and is computed from the
    /// others.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, LayoutError, Order};
    ///
    /// let layout = Layout::contiguous(&[4, 6], 8, Order::C)?;
    /// assert_eq!(layout.reshape(&[2, -1, 3], Order::C)?.strides(), [96, 24, 8]);
    /// assert!(matches!(
    ///     layout.transpose().reshape(&[24], Order::C),
    ///     Err(LayoutError::NeedsCopy { .. })
    /// ));
    /// assert_eq!(
    ///     layout.reshape(&[5, 5], Order::C).unwrap_err().to_string(),
    ///     "can't reshape an array of 24 elements into shape (5, 5)"
    /// );
    /// # Ok::<(), LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LayoutError::NeedsCopy`] if no strides visit the elements in that order;
    /// [`LayoutError::ReshapeSize`] if the number of elements differs; [`LayoutError::UnknownDimensions`] if
    /// more than one length is negative; [`LayoutError::TooManyAxes`] if there are more than 64; and
    /// [`LayoutError::TooBig`] for a shape without elements whose other lengths are too large.
    pub fn reshape(&self, shape: &[isize], order: Order) -> Result<Self, LayoutError> {
        let unchanged = shape.len() == self.ndim()
            && shape
                .iter()
                .zip(self.shape())
                .all(|(new, old)| *new == old.cast_signed());
        if unchanged {
            return Ok(self.clone());
        }
        let shape = self.resolve_shape(shape)?;
        check_size(&shape, self.itemsize)?;

        let contiguous = match order {
            Order::C => self.is_c_contiguous(),
            Order::F => self.is_f_contiguous(),
        };
        let strides = if contiguous {
            packed_strides(&shape, self.itemsize.cast_signed(), order).0
        } else {
            self.strides_for(&shape, order)
                .ok_or_else(|| LayoutError::NeedsCopy {
                    from: self.shape.clone(),
                    to: shape.clone(),
                })?
        };
        Ok(Self {
            offset: self.offset,
            shape,
            strides,
            itemsize: self.itemsize,
        })
    }

    /// Computes a negative length, and checks that the number of elements does not change.
    fn resolve_shape(&self, shape: &[isize]) -> Result<Dims<usize>, LayoutError> {
        let wrong_size = || LayoutError::ReshapeSize {
            size: self.size(),
            shape: shape.into(),
        };
        let mut known = 1_usize;
        let mut unknown = 0;
        for &size in shape {
            match usize::try_from(size) {
                Ok(size) => known = known.checked_mul(size).ok_or_else(wrong_size)?,
                Err(_) => unknown += 1,
            }
        }
        let missing = match unknown {
            0 if known == self.size() => 1,
            1 if known != 0 && self.size().is_multiple_of(known) => self.size() / known,
            0 | 1 => return Err(wrong_size()),
            _ => {
                return Err(LayoutError::UnknownDimensions {
                    shape: shape.into(),
                });
            }
        };
        Ok(shape
            .iter()
            .map(|&size| usize::try_from(size).unwrap_or(missing))
            .collect())
    }

    /// Returns the strides that visit the elements of a strided array in `order` with the new shape; `None`
    /// if there are no such strides.
    ///
    /// Old and new axes are split into the shortest groups with equal numbers of elements. In each group, the
    /// old axes must have a constant step between elements, which gives the strides of the new axes.
    fn strides_for(&self, shape: &[usize], order: Order) -> Option<Dims<isize>> {
        let old: Dims<(usize, isize)> = self.axes().filter(|&(size, _)| size != 1).collect();
        let (mut old, mut new) = (&old[..], shape);
        let mut strides = Dims::new();
        let mut next = self.itemsize.cast_signed();
        while !old.is_empty() && !new.is_empty() {
            let (old_run, new_run) = shortest_runs(old, new)?;
            let (old_axes, old_rest) = old.split_at_checked(old_run)?;
            let (new_sizes, new_rest) = new.split_at_checked(new_run)?;
            let (run, after) = packed_strides(new_sizes, even_step(old_axes, order)?, order);
            next = match order {
                Order::F => after,
                Order::C => *run.last()?,
            };
            strides.extend(run);
            (old, new) = (old_rest, new_rest);
        }
        // The remaining axes have length 1; NumPy gives them the last stride.
        strides.extend(new.iter().map(|_| next));
        Some(strides)
    }
}

/// Returns the numbers of the first axes on both sides that have the same number of elements.
fn shortest_runs(old: &[(usize, isize)], new: &[usize]) -> Option<(usize, usize)> {
    let (mut old_run, mut new_run) = (1, 1);
    let (mut old_size, mut new_size) = (old.first()?.0, *new.first()?);
    // Neither exceeds the number of elements.
    while old_size != new_size {
        if old_size < new_size {
            old_size *= old.get(old_run)?.0;
            old_run += 1;
        } else {
            new_size *= new.get(new_run)?;
            new_run += 1;
        }
    }
    Some((old_run, new_run))
}

/// Returns the step in bytes between elements in `order`, if it is constant over all axes.
fn even_step(axes: &[(usize, isize)], order: Order) -> Option<isize> {
    let even = axes.iter().zip(axes.iter().skip(1)).all(|(&left, &right)| {
        let ((size, inner), (_, outer)) = match order {
            Order::C => (right, left),
            Order::F => (left, right),
        };
        inner.checked_mul(size.cast_signed()) == Some(outer)
    });
    let fastest = match order {
        Order::C => axes.last(),
        Order::F => axes.first(),
    };
    fastest.filter(|_| even).map(|&(_, stride)| stride)
}
