//! NumPy's basic indexing: integers, slices, new axes and the ellipsis.

use std::ops::{Range, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

use super::{Dims, Layout, LayoutError, MAX_NDIM};

/// One entry of an index such as `a[0, 1:3, None, ...]`.
///
/// ```
/// use mapcall_array::layout::{Index, Slice};
///
/// assert_eq!(Index::from(-1), Index::At(-1));
/// assert_eq!(Index::from(1..3), Index::Slice(Slice { start: Some(1), stop: Some(3), step: 1 }));
/// ```
///
/// It is made from integers, ranges and [`Slice`]s, most simply by [`index!`](crate::index!).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Index {
    /// Selects one element of an axis, and removes the axis. A negative index counts from the end.
    At(isize),
    /// Selects a range of an axis.
    Slice(Slice),
    /// Inserts an axis of length 1.
    NewAxis,
    /// The ellipsis: selects all axes that the other indices leave.
    Ellipsis,
}

/// Part of an axis: NumPy's `start:stop:step`.
///
/// ```
/// use mapcall_array::layout::{Layout, Order, Slice};
///
/// let line = Layout::contiguous(&[10], 8, Order::C)?;
/// let odd = line.slice(&[Slice::from(1..).step(2).into()])?;
/// assert_eq!((odd.shape(), odd.strides(), odd.offset()), (&[5][..], &[16][..], 8));
/// let backwards = line.slice(&[Slice::from(..).step(-1).into()])?;
/// assert_eq!((backwards.strides(), backwards.offset()), (&[-8][..], 72));
/// # Ok::<(), mapcall_array::layout::LayoutError>(())
/// ```
///
/// Negative positions count from the end, and positions past either end are clipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// The first position; `None` is the start of the axis, or its end if the step is negative.
    pub start: Option<isize>,
    /// The position before which the slice ends; `None` is the end of the axis, or its start if the step is
    /// negative.
    pub stop: Option<isize>,
    /// The step from one position to the next; not 0.
    pub step: isize,
}

/// The positions that a slice selects on an axis of known length.
struct Run {
    start: isize,
    step: isize,
    size: usize,
}

impl Slice {
    /// Returns the same slice with another step.
    ///
    /// ```
    /// # use mapcall_array::layout::{Layout, Order, Slice};
    /// let line = Layout::contiguous(&[10], 8, Order::C)?;
    /// let every_third = Slice::from(1..9).step(3); // 1:9:3
    /// assert_eq!(line.slice(&[every_third.into()])?.shape(), [3]);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    #[must_use]
    pub fn step(self, step: isize) -> Self {
        Self { step, ..self }
    }

    /// Returns the positions on an axis of `size` elements, which is at most `isize::MAX`.
    fn resolve(self, size: usize) -> Result<Run, LayoutError> {
        if self.step == 0 {
            return Err(LayoutError::ZeroStep);
        }
        let size = size.cast_signed();
        // As in Python, the step is limited so that it can be negated.
        let step = self.step.max(-isize::MAX);
        let (first, last) = if step > 0 { (0, size) } else { (size - 1, -1) };
        let clip = |position: isize| {
            let position = if position < 0 {
                position + size
            } else {
                position
            };
            position.clamp(first.min(last), first.max(last))
        };
        let start = self.start.map_or(first, clip);
        let end = self.stop.map_or(last, clip);
        let span = if step > 0 { end - start } else { start - end };
        if span <= 0 {
            // As in NumPy, an empty slice keeps the offset of the start of the axis.
            return Ok(Run {
                start: 0,
                step: 1,
                size: 0,
            });
        }
        let size = span.cast_unsigned().div_ceil(step.unsigned_abs());
        Ok(Run { start, step, size })
    }
}

impl Default for Slice {
    /// Returns the slice of a whole axis.
    fn default() -> Self {
        Self {
            start: None,
            stop: None,
            step: 1,
        }
    }
}

impl From<RangeFull> for Slice {
    fn from(_: RangeFull) -> Self {
        Self::default()
    }
}

impl From<Range<isize>> for Slice {
    fn from(range: Range<isize>) -> Self {
        Self {
            start: Some(range.start),
            stop: Some(range.end),
            step: 1,
        }
    }
}

impl From<RangeFrom<isize>> for Slice {
    fn from(range: RangeFrom<isize>) -> Self {
        Self {
            start: Some(range.start),
            ..Self::default()
        }
    }
}

impl From<RangeTo<isize>> for Slice {
    fn from(range: RangeTo<isize>) -> Self {
        Self {
            stop: Some(range.end),
            ..Self::default()
        }
    }
}

impl From<RangeToInclusive<isize>> for Slice {
    fn from(range: RangeToInclusive<isize>) -> Self {
        Self {
            stop: past(range.end),
            ..Self::default()
        }
    }
}

impl From<RangeInclusive<isize>> for Slice {
    fn from(range: RangeInclusive<isize>) -> Self {
        Self {
            start: Some(*range.start()),
            stop: past(*range.end()),
            step: 1,
        }
    }
}

/// Returns the `stop` of a slice that includes `last`; `None`, the end of the axis, for -1, its last position.
fn past(last: isize) -> Option<isize> {
    last.checked_add(1).filter(|&stop| stop != 0)
}

impl From<isize> for Index {
    fn from(position: isize) -> Self {
        Self::At(position)
    }
}

macro_rules! index_from_slice {
    ($($range:ty),*) => {$(
        impl From<$range> for Index {
            fn from(range: $range) -> Self {
                Self::Slice(range.into())
            }
        }
    )*};
}

index_from_slice!(
    Slice,
    RangeFull,
    Range<isize>,
    RangeFrom<isize>,
    RangeTo<isize>,
    RangeInclusive<isize>,
    RangeToInclusive<isize>
);

/// Makes an array of [`Index`]es from integers, ranges and indices; `; step` may follow a range.
///
/// ```
/// use mapcall_array::layout::{Index, Layout, Order, index};
///
/// let layout = Layout::contiguous(&[4, 6, 5], 8, Order::C)?;
/// let view = layout.slice(&index![-1, 1..5; 2, Index::NewAxis, ..])?; // a[-1, 1:5:2, None, :]
/// assert_eq!((view.shape(), view.strides()), (&[2, 1, 5][..], &[80, 0, 8][..]));
/// # Ok::<(), mapcall_array::layout::LayoutError>(())
/// ```
#[macro_export]
macro_rules! index {
    (@axis $range:expr; $step:expr) => {
        $crate::layout::Index::from($crate::layout::Slice::from($range).step($step))
    };
    (@axis $index:expr) => {
        $crate::layout::Index::from($index)
    };
    ($($index:expr $(; $step:expr)?),* $(,)?) => {
        [$($crate::index!(@axis $index $(; $step)?)),*] as [$crate::layout::Index; _]
    };
}

impl Layout {
    /// Returns the layout of a view by NumPy's basic indexing: `a[indices]`.
    ///
    /// ```
    /// use mapcall_array::layout::{Index, Layout, Order, index};
    ///
    /// let layout = Layout::contiguous(&[3, 4, 5], 1, Order::C)?;
    /// let view = layout.slice(&index![1, Index::Ellipsis, 10..; -2])?; // a[1, ..., 10::-2]
    /// assert_eq!((view.shape(), view.strides()), (&[4, 3][..], &[5, -2][..]));
    /// assert_eq!(view.offset(), 24);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// Axes after the last index are selected as a whole.
    ///
    /// # Errors
    ///
    /// [`LayoutError::IndexOutOfBounds`] for an integer past either end, [`LayoutError::TooManyIndices`] if
    /// there are more indices than axes, [`LayoutError::SecondEllipsis`] and [`LayoutError::ZeroStep`] for
    /// such indices, and [`LayoutError::TooManyAxes`] if new axes make more than 64.
    pub fn slice(&self, indices: &[Index]) -> Result<Self, LayoutError> {
        let taking = indices
            .iter()
            .filter(|i| matches!(i, Index::At(_) | Index::Slice(_)))
            .count();
        let too_many = || LayoutError::TooManyIndices {
            ndim: self.ndim(),
            indices: taking,
        };
        let mut untaken = Some(self.ndim().checked_sub(taking).ok_or_else(too_many)?);

        let mut rest = self.axes().enumerate();
        let mut view = self.at(self.offset);
        for &index in indices {
            match index {
                Index::NewAxis => view.push_axis(1, 0),
                Index::Ellipsis => {
                    let whole = untaken.take().ok_or(LayoutError::SecondEllipsis)?;
                    for (_, (size, stride)) in rest.by_ref().take(whole) {
                        view.push_axis(size, stride);
                    }
                }
                Index::At(index) => {
                    let (axis, (size, stride)) = rest.next().ok_or_else(too_many)?;
                    view.offset =
                        self.step_along(view.offset, stride, position(index, axis, size)?);
                }
                Index::Slice(slice) => {
                    let (_, (size, stride)) = rest.next().ok_or_else(too_many)?;
                    let run = slice.resolve(size)?;
                    view.offset = self.step_along(view.offset, stride, run.start);
                    // The product wraps only for strides that are never used: of axes of length 0 or 1, or of
                    // an array without elements.
                    view.push_axis(run.size, stride.wrapping_mul(run.step));
                }
            }
        }
        for (_, (size, stride)) in rest {
            view.push_axis(size, stride);
        }
        match view.ndim() {
            ndim if ndim > MAX_NDIM => Err(LayoutError::TooManyAxes { ndim }),
            _ => Ok(view),
        }
    }

    /// Returns the view at an integer for each of the first axes: `a[i, j]`. It is 0-dimensional if every
    /// axis has one. Negative integers count from the end.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// let layout = Layout::contiguous(&[3, 4], 8, Order::C)?;
    /// let row = layout.index(&[-1])?;
    /// assert_eq!((row.shape(), row.offset()), (&[4][..], 64));
    /// let element = layout.index(&[-1, 0])?;
    /// assert_eq!((element.ndim(), element.offset()), (0, 64));
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LayoutError::IndexOutOfBounds`] for an integer past either end, [`LayoutError::TooManyIndices`] if
    /// there are more indices than axes.
    pub fn index(&self, indices: &[isize]) -> Result<Self, LayoutError> {
        let mut view = self.at(self.offset_of_first(indices)?);
        for (size, stride) in self.axes().skip(indices.len()) {
            view.push_axis(size, stride);
        }
        Ok(view)
    }

    /// Returns the offset in bytes of the element `a[i, j, ..]` from the start of the buffer.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// let layout = Layout::contiguous(&[3, 4], 8, Order::C)?;
    /// assert_eq!(layout.offset_of(&[1, -1])?, 56);
    /// assert!(layout.offset_of(&[1]).is_err());
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LayoutError::IndexOutOfBounds`] for an integer past either end, [`LayoutError::TooManyIndices`] or
    /// [`LayoutError::TooFewIndices`] if there is not one index for each axis.
    pub fn offset_of(&self, indices: &[isize]) -> Result<usize, LayoutError> {
        if indices.len() < self.ndim() {
            let (ndim, indices) = (self.ndim(), indices.len());
            return Err(LayoutError::TooFewIndices { ndim, indices });
        }
        self.offset_of_first(indices)
    }

    fn offset_of_first(&self, indices: &[isize]) -> Result<usize, LayoutError> {
        if indices.len() > self.ndim() {
            let (ndim, indices) = (self.ndim(), indices.len());
            return Err(LayoutError::TooManyIndices { ndim, indices });
        }
        let mut offset = self.offset;
        for (axis, ((size, stride), &index)) in self.axes().zip(indices).enumerate() {
            offset = self.step_along(offset, stride, position(index, axis, size)?);
        }
        Ok(offset)
    }

    /// Returns a 0-dimensional layout, to which axes are pushed.
    fn at(&self, offset: usize) -> Self {
        Self {
            offset,
            shape: Dims::new(),
            strides: Dims::new(),
            itemsize: self.itemsize,
        }
    }

    /// Returns the offset of the element `position` steps along an axis from the one at `offset`; in an array
    /// without elements, `offset` itself.
    fn step_along(&self, offset: usize, stride: isize, position: isize) -> usize {
        if self.is_empty() {
            return offset;
        }
        // This does not wrap: both are elements of this layout, whose bounds don't overflow.
        offset.wrapping_add_signed(stride.wrapping_mul(position))
    }
}

/// Converts an index that may be negative to a position from the start of the axis.
fn position(index: isize, axis: usize, size: usize) -> Result<isize, LayoutError> {
    let length = size.cast_signed();
    let position = if index < 0 { index + length } else { index };
    if (0..length).contains(&position) {
        Ok(position)
    } else {
        Err(LayoutError::IndexOutOfBounds { index, axis, size })
    }
}
