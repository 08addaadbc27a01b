//! The n-dimensional array: a buffer, what its elements are, and where they lie.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::ctypes::Ctypes;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{Index, Layout, LayoutError, Order};
use crate::map::{Advice, Map, MapError};

/// An n-dimensional array of any dtype, on a map, on the heap or on foreign memory.
///
/// Cutting and turning it makes views, which share the buffer and keep it alive.
///
/// ```
/// use mapcall_array::{Array, DType, layout::{Index, Order}};
///
/// let mut array = Array::zeros(DType::I32, &[3, 4], Order::C)?;
/// array.view_mut::<i32>()?[[2, 1]] = 5;
///
/// let column = array.slice(&[Index::from(..), Index::from(1)])?;
/// assert_eq!((column.shape(), column.strides()), (&[3][..], &[16][..]));
/// assert_eq!(column.view::<i32>()?.sum(), 5);
/// # Ok::<(), mapcall_array::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Array {
    buffer: Buffer,
    dtype: DType,
    layout: Layout,
}

impl Array {
    /// An array on a buffer; the layout's offset counts from the buffer's first byte.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] when the layout leaves the buffer or has another item size than the dtype.
    pub fn new(buffer: Buffer, dtype: DType, layout: Layout) -> Result<Self> {
        if layout.itemsize() != dtype.itemsize() {
            return Err(LayoutError::ItemsizeMismatch {
                layout: layout.itemsize(),
                dtype: dtype.itemsize(),
            }
            .into());
        }
        layout.fits_in(buffer.len())?;
        Ok(Self {
            buffer,
            dtype,
            layout,
        })
    }

    /// A new array of zeros on the heap.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] for an absurd shape, [`Error::OutOfMemory`].
    pub fn zeros(dtype: DType, shape: &[usize], order: Order) -> Result<Self> {
        let layout = Layout::contiguous(shape, dtype.itemsize(), order)?;
        Self::new(Buffer::zeroed(layout.nbytes())?, dtype, layout)
    }

    /// What an element is.
    #[must_use]
    pub fn dtype(&self) -> &DType {
        &self.dtype
    }

    /// Where the elements lie in the buffer.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// What owns the bytes.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// How many elements along each axis.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        self.layout.shape()
    }

    /// How many bytes from an element to the next one along each axis.
    #[must_use]
    pub fn strides(&self) -> &[isize] {
        self.layout.strides()
    }

    /// The number of axes.
    #[must_use]
    pub fn ndim(&self) -> usize {
        self.layout.ndim()
    }

    /// The address of the element `[0, 0, ..]`; never null.
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.as_mut_ptr()
    }

    /// The address of the element `[0, 0, ..]`, for writing through when [`Array::is_writeable`].
    #[must_use]
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.buffer.as_mut_ptr().wrapping_add(self.layout.offset())
    }

    /// Whether the elements may be written.
    #[must_use]
    pub fn is_writeable(&self) -> bool {
        self.buffer.is_writeable()
    }

    /// Whether every element stands where the dtype wants it (NumPy's `ALIGNED`).
    #[must_use]
    pub fn is_aligned(&self) -> bool {
        self.layout
            .is_aligned(self.buffer.as_ptr().addr(), self.dtype.alignment())
    }

    /// A part of the array, by NumPy's basic indexing.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] when an index is out of bounds or there are too many.
    pub fn slice(&self, indices: &[Index]) -> Result<Self> {
        Ok(self.with_layout(self.layout.slice(indices)?))
    }

    /// The same elements with the axes in reverse order.
    #[must_use]
    pub fn transpose(&self) -> Self {
        self.with_layout(self.layout.transpose())
    }

    /// The same elements with the axes in another order.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] when `axes` is no permutation of the array's axes.
    pub fn permute(&self, axes: &[isize]) -> Result<Self> {
        Ok(self.with_layout(self.layout.permute(axes)?))
    }

    /// The same elements in another shape, where that needs no copy; one length may be -1.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] when the number of elements differs or a copy would be needed.
    pub fn reshape(&self, shape: &[isize], order: Order) -> Result<Self> {
        Ok(self.with_layout(self.layout.reshape(shape, order)?))
    }

    /// The same elements repeated along new axes and axes of length 1.
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] when an axis has another length.
    pub fn broadcast_to(&self, shape: &[usize]) -> Result<Self> {
        Ok(self.with_layout(self.layout.broadcast_to(shape)?))
    }

    fn with_layout(&self, layout: Layout) -> Self {
        Self {
            buffer: self.buffer.clone(),
            dtype: self.dtype.clone(),
            layout,
        }
    }

    /// The array as C sees it.
    #[must_use]
    pub fn ctypes(&self) -> Ctypes<'_> {
        Ctypes::new(self)
    }

    /// Where in its file the element `[0, 0, ..]` stands, in bytes; `None` for other memory.
    #[must_use]
    pub fn file_offset(&self) -> Option<u64> {
        let within = u64::try_from(self.layout.offset()).ok()?;
        self.buffer.map()?.file_offset().checked_add(within)
    }

    /// Writes this array's own bytes to the file, and returns when they are on the disk; a no-op
    /// for an array that is no part of a file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the disk fails.
    pub fn flush(&self) -> Result<()> {
        self.buffer
            .map()
            .map_or(Ok(()), |map| map.flush(self.layout.bounds()))
    }

    /// Asks for this array's own bytes to be written, and returns at once; see
    /// [`Map::flush_async`].
    ///
    /// # Errors
    ///
    /// As [`Array::flush`].
    pub fn flush_async(&self) -> Result<()> {
        self.buffer
            .map()
            .map_or(Ok(()), |map| map.flush_async(self.layout.bounds()))
    }

    /// Tells the system how the pages of this array will be used.
    ///
    /// # Errors
    ///
    /// As [`Map::advise`], and [`MapError::NotMapped`] for an array that is no part of a file.
    pub fn advise(&self, advice: Advice) -> Result<()> {
        let (map, range) = self.mapped()?;
        map.advise(range, advice)
    }

    /// Brings this array into memory, and returns when it is there.
    ///
    /// # Errors
    ///
    /// As [`Map::prefetch`], and [`MapError::NotMapped`] for an array that is no part of a file.
    pub fn prefetch(&self) -> Result<()> {
        let (map, range) = self.mapped()?;
        map.prefetch(range)
    }

    /// Which of this array's pages are in memory, in order.
    ///
    /// # Errors
    ///
    /// As [`Map::residency`], and [`MapError::NotMapped`] for an array that is no part of a file.
    pub fn residency(&self) -> Result<Vec<bool>> {
        let (map, range) = self.mapped()?;
        map.residency(range)
    }

    fn mapped(&self) -> Result<(&Map, Range<usize>)> {
        let map = self.buffer.map();
        let map = map.ok_or(Error::Map {
            path: None,
            source: MapError::NotMapped,
        })?;
        Ok((map, self.layout.bounds()))
    }
}
