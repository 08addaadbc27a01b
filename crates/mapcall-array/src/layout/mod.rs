//! The offset, shape and strides of an n-dimensional array in a buffer.
//!
//! A [`Layout`] is NumPy's offset, shape and strides without the memory. Views (slices, transposes, reshapes,
//! broadcasts) are computed from layouts alone, and have the same strides as in NumPy.
//!
//! ```
//! use mapcall_array::layout::{Layout, Order, index};
//!
//! // Every other row of a 4×6 array of 8-byte items, columns backwards.
//! let layout = Layout::contiguous(&[4, 6], 8, Order::C)?;
//! let view = layout.slice(&index![..; 2, ..; -1])?;
//! assert_eq!((view.shape(), view.strides()), (&[2, 6][..], &[96, -8][..]));
//! assert_eq!((view.offset(), view.bounds()), (40, 0..144));
//! # Ok::<(), mapcall_array::layout::LayoutError>(())
//! ```
//!
//! # Limits
//!
//! - The bounds of a layout don't overflow: [`Layout::from_strides`] checks them, and no view reaches beyond
//!   the bounds of its layout. So if a layout fits in a buffer ([`Layout::fits_in`]), its views do as well.
//! - As in NumPy, the product of the itemsize and of all lengths, those of 0 left out, is at most
//!   `isize::MAX`, and there are at most [`MAX_NDIM`] axes.
//! - A view of a layout without elements has the offset of that layout. NumPy moves the data pointer, which
//!   must not be dereferenced either.

mod axes;
mod broadcast;
mod dims;
mod error;
mod index;
mod overlap;
mod reshape;

use std::ops::Range;

pub use self::broadcast::broadcast_shapes;
pub use self::dims::{Dims, IntoIter};
pub use self::error::LayoutError;
pub use self::index::{Index, Slice};
#[doc(inline)]
pub use crate::index;

/// The maximum number of axes of an array, as in NumPy 2.
///
/// ```
/// use mapcall_array::layout::{Layout, MAX_NDIM, Order};
///
/// assert!(Layout::contiguous(&[1; MAX_NDIM], 8, Order::C).is_ok());
/// assert!(Layout::contiguous(&[1; MAX_NDIM + 1], 8, Order::C).is_err());
/// ```
pub const MAX_NDIM: usize = 64;

/// The order of elements in memory, by the axis that varies fastest.
///
/// ```
/// use mapcall_array::layout::{Layout, Order};
///
/// assert_eq!(Layout::contiguous(&[2, 3], 8, Order::C)?.strides(), [24, 8]);
/// assert_eq!(Layout::contiguous(&[2, 3], 8, Order::F)?.strides(), [8, 16]);
/// # Ok::<(), mapcall_array::layout::LayoutError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// The last axis, as in C.
    #[default]
    C,
    /// The first axis, as in Fortran.
    F,
}

/// The offset, shape and strides of an array relative to the start of a buffer.
///
/// ```
/// use mapcall_array::layout::{Layout, Order};
///
/// let layout = Layout::contiguous(&[2, 3], 8, Order::C)?.with_offset(128)?;
/// assert_eq!((layout.ndim(), layout.shape(), layout.strides()), (2, &[2, 3][..], &[24, 8][..]));
/// assert_eq!((layout.size(), layout.itemsize(), layout.nbytes()), (6, 8, 48));
/// assert_eq!((layout.offset(), layout.bounds()), (128, 128..176));
/// assert!(layout.fits_in(175).is_err());
/// # Ok::<(), mapcall_array::layout::LayoutError>(())
/// ```
///
/// Element `[i, j, ..]` is the `itemsize` bytes from byte
/// `offset + i * strides[0] + j * strides[1] + ..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    // Invariant: `check_size(shape, itemsize)` and `checked_bounds()` succeed, and
    // `shape` and `strides` are equally long.
    offset: usize,
    shape: Dims<usize>,
    strides: Dims<isize>,
    itemsize: usize,
}

impl Layout {
    /// Returns the layout of a contiguous array that starts at byte 0.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// assert_eq!(Layout::contiguous(&[4, 5, 2], 4, Order::F)?.strides(), [4, 16, 80]);
    /// // NumPy's choice for an array without elements.
    /// assert_eq!(Layout::contiguous(&[0, 3], 8, Order::C)?.strides(), [0, 0]);
    /// assert!(Layout::contiguous(&[0, usize::MAX], 8, Order::C).is_err());
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LayoutError::TooManyAxes`] if there are more than 64 axes, [`LayoutError::TooBig`] if the size in bytes
    /// exceeds `isize::MAX`.
    pub fn contiguous(shape: &[usize], itemsize: usize, order: Order) -> Result<Self, LayoutError> {
        let step = if shape.contains(&0) { 0 } else { itemsize };
        Self::packed(shape, itemsize, step, order)
    }

    /// Returns the layout of a contiguous array on existing memory that starts at byte 0, like
    /// `numpy.ndarray(buffer=...)` and `numpy.memmap`.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// // The second stride is the leading dimension of BLAS, although the axis has length 1.
    /// assert_eq!(Layout::in_buffer(&[5, 1], 8, Order::F)?.strides(), [8, 40]);
    /// // It differs from `contiguous` only for arrays without elements.
    /// assert_eq!(Layout::in_buffer(&[0, 3], 8, Order::C)?.strides(), [24, 8]);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Layout::contiguous`].
    pub fn in_buffer(shape: &[usize], itemsize: usize, order: Order) -> Result<Self, LayoutError> {
        Self::packed(shape, itemsize, itemsize, order)
    }

    /// Returns a contiguous layout whose fastest axis has the stride `step`.
    fn packed(
        shape: &[usize],
        itemsize: usize,
        step: usize,
        order: Order,
    ) -> Result<Self, LayoutError> {
        check_size(shape, itemsize)?;
        let (strides, _) = packed_strides(shape, step.cast_signed(), order);
        Ok(Self {
            offset: 0,
            shape: shape.into(),
            strides,
            itemsize,
        })
    }

    /// Returns the layout of an array with its first element at byte `offset` and the given strides, in bytes.
    ///
    /// ```
    /// use mapcall_array::layout::Layout;
    ///
    /// let reversed = Layout::from_strides(16, &[3], &[-8], 8)?;
    /// assert_eq!(reversed.bounds(), 0..24);
    /// assert!(Layout::from_strides(8, &[3], &[-8], 8).is_err());
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LayoutError::StridesMismatch`] if `shape` and `strides` have different lengths; those of
    /// [`Layout::contiguous`]; [`LayoutError::Unaddressable`] if an element would lie below byte 0 or end
    /// above byte `isize::MAX`.
    pub fn from_strides(
        offset: usize,
        shape: &[usize],
        strides: &[isize],
        itemsize: usize,
    ) -> Result<Self, LayoutError> {
        if shape.len() != strides.len() {
            let (shape, strides) = (shape.len(), strides.len());
            return Err(LayoutError::StridesMismatch { shape, strides });
        }
        check_size(shape, itemsize)?;
        Self {
            offset,
            shape: shape.into(),
            strides: strides.into(),
            itemsize,
        }
        .checked()
    }

    /// Returns the same layout with its first element at byte `offset`.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// let after_header = Layout::contiguous(&[10], 4, Order::C)?.with_offset(128)?;
    /// assert_eq!(after_header.bounds(), 128..168);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LayoutError::Unaddressable`] if an element would lie below byte 0 or end above byte `isize::MAX`.
    pub fn with_offset(self, offset: usize) -> Result<Self, LayoutError> {
        Self { offset, ..self }.checked()
    }

    /// Returns the number of axes.
    ///
    /// ```
    /// # use mapcall_array::layout::{Layout, Order};
    /// let layout = Layout::contiguous(&[2, 3], 8, Order::C)?;
    /// assert_eq!(layout.ndim(), 2);
    /// assert_eq!(layout.index(&[0])?.ndim(), 1);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    #[must_use]
    pub fn ndim(&self) -> usize {
        self.shape.len()
    }

    /// Returns the length of each axis.
    ///
    /// ```
    /// # use mapcall_array::layout::{Layout, Order};
    /// let layout = Layout::contiguous(&[2, 3], 8, Order::C)?;
    /// assert_eq!(layout.shape(), [2, 3]);
    /// assert_eq!(layout.index(&[0])?.shape(), [3]);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the step in bytes from one element to the next along each axis. The stride of an axis of
    /// length 1, and all strides of an array without elements, are never used.
    ///
    /// ```
    /// # use mapcall_array::layout::{Layout, Order};
    /// let layout = Layout::contiguous(&[2, 3], 8, Order::C)?;
    /// assert_eq!(layout.strides(), [24, 8]);
    /// assert_eq!(layout.transpose().strides(), [8, 24]);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    #[must_use]
    pub fn strides(&self) -> &[isize] {
        &self.strides
    }

    /// Returns the size of an element in bytes.
    ///
    /// ```
    /// # use mapcall_array::layout::{Layout, Order};
    /// let layout = Layout::contiguous(&[2, 3], 8, Order::C)?;
    /// assert_eq!(layout.itemsize(), 8);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    #[must_use]
    pub fn itemsize(&self) -> usize {
        self.itemsize
    }

    /// Returns the offset in bytes of the element `[0, 0, ..]` from the start of the buffer.
    ///
    /// ```
    /// # use mapcall_array::layout::{Layout, Order};
    /// let layout = Layout::contiguous(&[2, 3], 8, Order::C)?;
    /// assert_eq!(layout.offset(), 0);
    /// assert_eq!(layout.index(&[1])?.offset(), 24);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Returns the number of elements.
    ///
    /// ```
    /// # use mapcall_array::layout::{Layout, Order};
    /// let layout = Layout::contiguous(&[2, 3], 8, Order::C)?;
    /// assert_eq!(layout.size(), 6);
    /// assert_eq!(layout.index(&[0, 0])?.size(), 1);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    #[must_use]
    pub fn size(&self) -> usize {
        if self.is_empty() {
            0
        } else {
            self.shape.iter().product()
        }
    }

    /// Returns the number of elements times their size in bytes, as NumPy's `nbytes`.
    ///
    /// ```
    /// # use mapcall_array::layout::{Layout, Order};
    /// let layout = Layout::contiguous(&[2, 3], 8, Order::C)?;
    /// assert_eq!(layout.nbytes(), 48);
    /// assert_eq!(layout.broadcast_to(&[10, 2, 3])?.nbytes(), 480);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    #[must_use]
    pub fn nbytes(&self) -> usize {
        self.size() * self.itemsize
    }

    /// Returns whether the array has no elements, because an axis has length 0.
    ///
    /// ```
    /// # use mapcall_array::layout::{Layout, Order};
    /// assert!(Layout::contiguous(&[4, 0], 8, Order::C)?.is_empty());
    /// assert!(!Layout::contiguous(&[], 8, Order::C)?.is_empty()); // one element
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Returns the range from the lowest byte of any element to one past the highest, relative to the start
    /// of the buffer; an empty range at the offset if the array has no elements.
    ///
    /// ```
    /// use mapcall_array::layout::Layout;
    ///
    /// let layout = Layout::from_strides(80, &[2, 3], &[-48, 16], 8)?;
    /// assert_eq!(layout.bounds(), 32..120);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    #[must_use]
    pub fn bounds(&self) -> Range<usize> {
        let (mut low, mut high) = (self.offset, self.offset);
        if !self.is_empty() {
            for (size, stride) in self.axes() {
                // The invariant of `Layout` excludes an overflow here.
                let reach = (size - 1) * stride.unsigned_abs();
                if stride < 0 {
                    low -= reach;
                } else {
                    high += reach;
                }
            }
            high += self.itemsize;
        }
        low..high
    }

    /// Checks that a buffer of `len` bytes holds the array.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// let layout = Layout::contiguous(&[3, 3], 8, Order::C)?;
    /// assert!(layout.fits_in(72).is_ok());
    /// assert_eq!(
    ///     layout.fits_in(64).unwrap_err().to_string(),
    ///     "buffer is too small for the array: 72 bytes are needed, it has 64"
    /// );
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`LayoutError::BufferTooSmall`] if an element, or the offset of an array without elements, lies past
    /// the end of the buffer.
    pub fn fits_in(&self, len: usize) -> Result<(), LayoutError> {
        let needed = self.bounds().end;
        if needed > len {
            Err(LayoutError::BufferTooSmall { needed, len })
        } else {
            Ok(())
        }
    }

    /// Returns whether the elements follow each other without gaps in C order: NumPy's `C_CONTIGUOUS`.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// let layout = Layout::contiguous(&[4, 6], 8, Order::C)?;
    /// assert!(layout.is_c_contiguous() && !layout.is_f_contiguous());
    /// assert!(layout.transpose().is_f_contiguous());
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// The strides of axes of length 1 are ignored, and an array without elements is contiguous in both
    /// orders.
    #[must_use]
    pub fn is_c_contiguous(&self) -> bool {
        self.is_empty() || follow_each_other(self.axes().rev(), self.itemsize)
    }

    /// Returns whether the elements follow each other without gaps in Fortran order: NumPy's `F_CONTIGUOUS`,
    /// with the rules of [`Layout::is_c_contiguous`].
    ///
    /// ```
    /// # use mapcall_array::layout::{Layout, Order};
    /// let layout = Layout::contiguous(&[2, 3], 8, Order::F)?;
    /// assert!(layout.is_f_contiguous() && !layout.is_c_contiguous());
    /// assert!(Layout::contiguous(&[6], 8, Order::C)?.is_f_contiguous());
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    #[must_use]
    pub fn is_f_contiguous(&self) -> bool {
        self.is_empty() || follow_each_other(self.axes(), self.itemsize)
    }

    /// Returns the order in which the elements follow each other without gaps. For an array that is
    /// contiguous in both orders it is the one whose strides it has, also of axes of length 1.
    ///
    /// ```
    /// # use mapcall_array::layout::{Layout, Order};
    /// assert_eq!(Layout::contiguous(&[5, 1], 8, Order::C)?.order(), Some(Order::C));
    /// assert_eq!(Layout::contiguous(&[5, 1], 8, Order::F)?.order(), Some(Order::F));
    /// assert_eq!(Layout::from_strides(0, &[5], &[16], 8)?.order(), None);
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    #[must_use]
    pub fn order(&self) -> Option<Order> {
        let is_packed = |order| {
            let (strides, _) = packed_strides(&self.shape, self.itemsize.cast_signed(), order);
            strides == self.strides
        };
        match (self.is_c_contiguous(), self.is_f_contiguous()) {
            (true, true) if is_packed(Order::F) && !is_packed(Order::C) => Some(Order::F),
            (true, _) => Some(Order::C),
            (false, true) => Some(Order::F),
            (false, false) => None,
        }
    }

    /// Returns whether the address of every element is a multiple of `alignment` (a power of two) if the
    /// buffer starts at `address`: NumPy's `ALIGNED`.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// let layout = Layout::contiguous(&[3], 8, Order::C)?.with_offset(4)?;
    /// assert!(!layout.is_aligned(0x1000, 8));
    /// assert!(layout.is_aligned(0x1004, 8));
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// The strides of axes of length 1 are ignored, and an array without elements is aligned. An `alignment`
    /// of 0 means "can't be aligned", as in NumPy.
    #[must_use]
    pub fn is_aligned(&self, address: usize, alignment: usize) -> bool {
        let Some(low_bits) = alignment.checked_sub(1) else {
            return false;
        };
        let bits = self
            .axes()
            .filter(|&(size, _)| size > 1)
            .fold(address.wrapping_add(self.offset), |bits, (_, stride)| {
                bits | stride.cast_unsigned()
            });
        self.is_empty() || bits & low_bits == 0
    }

    /// Returns length and stride of each axis.
    fn axes(&self) -> impl DoubleEndedIterator<Item = (usize, isize)> + ExactSizeIterator + Clone {
        self.shape.iter().copied().zip(self.strides.iter().copied())
    }

    /// Appends an axis.
    fn push_axis(&mut self, size: usize, stride: isize) {
        self.shape.push(size);
        self.strides.push(stride);
    }

    fn checked(self) -> Result<Self, LayoutError> {
        match self.checked_bounds() {
            Some(_) => Ok(self),
            None => Err(LayoutError::Unaddressable {
                offset: self.offset,
                shape: self.shape,
                strides: self.strides,
                itemsize: self.itemsize,
            }),
        }
    }

    /// Computes [`Layout::bounds`] of a layout that was not checked; `None` if they overflow.
    fn checked_bounds(&self) -> Option<Range<usize>> {
        let (mut low, mut high) = (self.offset, self.offset);
        if !self.is_empty() {
            for (size, stride) in self.axes() {
                let reach = (size - 1).checked_mul(stride.unsigned_abs())?;
                if stride < 0 {
                    low = low.checked_sub(reach)?;
                } else {
                    high = high.checked_add(reach)?;
                }
            }
            high = high.checked_add(self.itemsize)?;
        }
        isize::try_from(high).ok()?;
        Some(low..high)
    }
}

/// Checks NumPy's limits: the number of axes, and the size in bytes, for which lengths of 0 are left out.
///
/// Items of 0 bytes count as 1, so that the number of elements is always in range, too.
fn check_size(shape: &[usize], itemsize: usize) -> Result<(), LayoutError> {
    if shape.len() > MAX_NDIM {
        return Err(LayoutError::TooManyAxes { ndim: shape.len() });
    }
    shape
        .iter()
        .filter(|&&size| size != 0)
        .try_fold(itemsize.max(1), |bytes, &size| bytes.checked_mul(size))
        .filter(|&bytes| isize::try_from(bytes).is_ok())
        .map(|_| ())
        .ok_or_else(|| LayoutError::TooBig {
            shape: shape.into(),
            itemsize,
        })
}

/// Returns the strides of contiguous axes, with `step` bytes from one element to the next, and the stride of
/// another axis that is slower than all of them. Lengths of 0 count as 1.
fn packed_strides(shape: &[usize], step: isize, order: Order) -> (Dims<isize>, isize) {
    let mut next = step;
    let mut stride = |&size: &usize| {
        let stride = next;
        // The product wraps only before axes of length 1, whose stride is never used.
        next = next.wrapping_mul(size.max(1).cast_signed());
        stride
    };
    let strides = match order {
        Order::F => shape.iter().map(stride).collect(),
        Order::C => {
            let mut strides: Dims<isize> = shape.iter().rev().map(&mut stride).collect();
            strides.reverse();
            strides
        }
    };
    (strides, next)
}

/// Returns whether axes, the fastest first, are contiguous; only for arrays with elements.
fn follow_each_other(axes: impl Iterator<Item = (usize, isize)>, itemsize: usize) -> bool {
    let mut expected = itemsize.cast_signed();
    axes.filter(|&(size, _)| size != 1).all(|(size, stride)| {
        let follows = stride == expected;
        // This does not overflow, as the product of all lengths and the item size does not.
        expected *= size.cast_signed();
        follows
    })
}
