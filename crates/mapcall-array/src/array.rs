//! The n-dimensional array: a buffer, a dtype and a layout.

use std::ops::Range;

use crate::buffer::Buffer;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{Index, Layout, LayoutError, Order};
use crate::map::{Advice, Map, MapError};

/// An n-dimensional array of any dtype, on a map, on the heap or on foreign memory.
///
/// ```
/// use mapcall_array::{Array, DType, layout::{Index, Order}};
///
/// let mut array = Array::zeros(DType::I32, &[3, 4], Order::C)?;
/// array.view_mut::<i32>()?[[2, 1]] = 5;
///
/// let column = array.slice(&[Index::from(..), Index::from(1)])?;
/// assert_eq!((column.ndim(), column.shape(), column.strides()), (1, &[3][..], &[16][..]));
/// assert_eq!((column.dtype(), column.layout().offset()), (&DType::I32, 4));
/// assert_eq!(column.view::<i32>()?.sum(), 5);
/// assert!(!column.buffer().is_unique()); // `array` has it too
/// # Ok::<(), mapcall_array::Error>(())
/// ```
///
/// Slicing, transposing, reshaping and broadcasting make views, which share the buffer and keep it alive.
#[derive(Clone, Debug)]
pub struct Array {
    buffer: Buffer,
    dtype: DType,
    layout: Layout,
}

impl Array {
    /// Makes an array on a buffer; the layout's offset counts from the buffer's first byte.
    ///
    /// ```
    /// use mapcall_array::{Array, Buffer, DType, layout::Layout};
    ///
    /// // The right channel of 100 stereo samples.
    /// let right = Layout::from_strides(2, &[100], &[4], 2)?;
    /// let array = Array::new(Buffer::zeroed(400)?, DType::I16, right)?;
    /// assert_eq!(array.view::<i16>()?.len(), 100);
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if the layout reaches past the end of the buffer, or if its item size is not that
    /// of the dtype.
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

    /// Makes an array of zeros on the heap.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::Order};
    /// let image = Array::zeros(DType::U8, &[480, 640, 3], Order::C)?;
    /// assert_eq!(image.strides(), [1920, 3, 1]);
    /// assert!(image.view::<u8>()?.iter().all(|&byte| byte == 0));
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if the size of the array in bytes overflows; [`Error::OutOfMemory`] if the
    /// allocation fails.
    pub fn zeros(dtype: DType, shape: &[usize], order: Order) -> Result<Self> {
        let layout = Layout::contiguous(shape, dtype.itemsize(), order)?;
        Self::new(Buffer::zeroed(layout.nbytes())?, dtype, layout)
    }

    /// Returns the dtype of the elements.
    #[must_use]
    pub fn dtype(&self) -> &DType {
        &self.dtype
    }

    /// Returns the offset, shape and strides of the elements in the buffer.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Returns the buffer, which owns the bytes.
    #[must_use]
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Returns the number of elements along each axis.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        self.layout.shape()
    }

    /// Returns the step in bytes from an element to the next one along each axis.
    #[must_use]
    pub fn strides(&self) -> &[isize] {
        self.layout.strides()
    }

    /// Returns the number of axes.
    #[must_use]
    pub fn ndim(&self) -> usize {
        self.layout.ndim()
    }

    /// Returns the address of the element `[0, 0, ..]`, which is never null.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::{Order, index}};
    /// let array = Array::zeros(DType::F64, &[3, 4], Order::C)?;
    /// let backwards = array.slice(&index![..; -1])?;
    /// assert_eq!(backwards.as_ptr().addr() - array.as_ptr().addr(), 64);
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.as_mut_ptr()
    }

    /// Returns the address of the element `[0, 0, ..]`. Code may write through it only if
    /// [`Array::is_writeable`] returns `true`.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::Order};
    /// let array = Array::zeros(DType::I32, &[3], Order::C)?;
    /// // SAFETY: the element is writeable and aligned, and no reference to it exists.
    /// unsafe { array.as_mut_ptr().cast::<i32>().write(5) };
    /// assert_eq!(array.view::<i32>()?[[0]], 5);
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    #[must_use]
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.buffer.as_mut_ptr().wrapping_add(self.layout.offset())
    }

    /// Returns whether the elements may be written.
    ///
    /// ```
    /// # use mapcall_array::{MapOptions, Mode};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let mut array = unsafe { MapOptions::new().mode(Mode::Read).map(&file)? };
    /// assert!(!array.is_writeable() && array.view_mut::<u8>().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_writeable(&self) -> bool {
        self.buffer.is_writeable()
    }

    /// Returns whether the address of every element is a multiple of the alignment of the dtype (NumPy's
    /// `ALIGNED`).
    ///
    /// ```
    /// # use mapcall_array::{Array, Buffer, DType, layout::{Layout, Order}};
    /// let layout = Layout::contiguous(&[3], 8, Order::C)?.with_offset(4)?;
    /// let array = Array::new(Buffer::zeroed(28)?, DType::F64, layout)?;
    /// assert!(!array.is_aligned());
    /// assert!(array.view::<f64>().is_err() && array.view::<[u8; 8]>().is_ok());
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    #[must_use]
    pub fn is_aligned(&self) -> bool {
        self.layout
            .is_aligned(self.buffer.as_ptr().addr(), self.dtype.alignment())
    }

    /// Returns a view of a part of the array, by NumPy's basic indexing.
    ///
    /// ```
    /// use mapcall_array::layout::index;
    /// # use mapcall_array::{Array, DType, layout::Order};
    ///
    /// let array = Array::zeros(DType::F64, &[10, 6], Order::C)?;
    /// let corner = array.slice(&index![-2.., ..; 3])?; // a[-2:, ::3]
    /// assert_eq!((corner.shape(), corner.strides()), (&[2, 2][..], &[48, 24][..]));
    /// assert!(array.slice(&index![10]).is_err());
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if an index is out of bounds or there are more indices than axes.
    pub fn slice(&self, indices: &[Index]) -> Result<Self> {
        Ok(self.with_layout(self.layout.slice(indices)?))
    }

    /// Returns a view with the axes in reverse order.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::Order};
    /// let array = Array::zeros(DType::F64, &[3, 4], Order::C)?;
    /// let turned = array.transpose();
    /// assert_eq!((turned.shape(), turned.strides()), (&[4, 3][..], &[8, 32][..]));
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    #[must_use]
    pub fn transpose(&self) -> Self {
        self.with_layout(self.layout.transpose())
    }

    /// Returns a view with the axes in another order.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::Order};
    /// let image = Array::zeros(DType::U8, &[480, 640, 3], Order::C)?;
    /// let channels_first = image.permute(&[2, 0, 1])?;
    /// assert_eq!(channels_first.shape(), [3, 480, 640]);
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if `axes` is not a permutation of the array's axes.
    pub fn permute(&self, axes: &[isize]) -> Result<Self> {
        Ok(self.with_layout(self.layout.permute(axes)?))
    }

    /// Returns a view with another shape; one length may be -1. The elements are never copied.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::Order};
    /// let array = Array::zeros(DType::F64, &[4, 6], Order::C)?;
    /// assert_eq!(array.reshape(&[-1, 3], Order::C)?.shape(), [8, 3]);
    /// assert!(array.transpose().reshape(&[24], Order::C).is_err(), "needs a copy");
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if the number of elements differs, or if no strides describe the new shape without
    /// a copy.
    pub fn reshape(&self, shape: &[isize], order: Order) -> Result<Self> {
        Ok(self.with_layout(self.layout.reshape(shape, order)?))
    }

    /// Returns a view that repeats the elements along new axes and along axes of length 1.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::Order};
    /// let row = Array::zeros(DType::F64, &[3], Order::C)?;
    /// let rows = row.broadcast_to(&[1000, 3])?;
    /// assert_eq!(rows.strides(), [0, 8]);
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Layout`] if an axis has a length that is neither 1 nor the length in `shape`.
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

    /// Returns the byte offset of the element `[0, 0, ..]` in the file; `None` if the array is not mapped
    /// from a file.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, MapOptions, layout::{Order, index}};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().offset(512).map(&file)? };
    /// assert_eq!(array.slice(&index![100..])?.file_offset(), Some(612));
    /// assert_eq!(Array::zeros(DType::U8, &[100], Order::C)?.file_offset(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn file_offset(&self) -> Option<u64> {
        let within = u64::try_from(self.layout.offset()).ok()?;
        self.buffer.map()?.file_offset().checked_add(within)
    }

    /// Writes the bytes of this array to the file, and returns when they are on the disk; a no-op for an
    /// array that is not mapped from a file.
    ///
    /// ```
    /// # use mapcall_array::{MapOptions, layout::index};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let mut array = unsafe { MapOptions::new().map(&file)? };
    /// array.view_mut::<u8>()?[[5000]] = 42;
    /// array.slice(&index![5000..])?.flush()?; // the changed part alone
    /// assert_eq!(std::fs::read(&file)?[5000], 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the system can't write the bytes to the disk.
    pub fn flush(&self) -> Result<()> {
        self.buffer
            .map()
            .map_or(Ok(()), |map| map.flush(self.layout.bounds()))
    }

    /// Starts to write the bytes of this array to the file, and returns without waiting for the disk; see
    /// [`Map::flush_async`].
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let mut array = unsafe { MapOptions::new().map(&file)? };
    /// array.view_mut::<u8>()?.fill(42);
    /// array.flush_async()?; // does not wait for the disk
    /// assert_eq!(std::fs::read(&file)?, [42; 6000]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Array::flush`].
    pub fn flush_async(&self) -> Result<()> {
        self.buffer
            .map()
            .map_or(Ok(()), |map| map.flush_async(self.layout.bounds()))
    }

    /// Advises the system how the pages of this array will be used (`madvise`).
    ///
    /// ```
    /// use mapcall_array::map::Advice;
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    ///
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// array.advise(Advice::Sequential)?;
    /// assert!(array.view::<u8>()?.iter().all(|&byte| byte == 7)); // reads it once, in order
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Map::advise`], and [`MapError::NotMapped`] if the array is not mapped from a file.
    pub fn advise(&self, advice: Advice) -> Result<()> {
        let (map, range) = self.mapped()?;
        map.advise(range, advice)
    }

    /// Reads the pages of this array into memory, and returns when all of them are there.
    ///
    /// ```
    /// # use mapcall_array::{MapOptions, layout::index};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// let part = array.slice(&index![1000..2000])?;
    /// # if cfg!(target_os = "linux") {
    /// part.prefetch()?;
    /// assert_eq!(part.residency()?, [true]); // its one page
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Map::prefetch`], and [`MapError::NotMapped`] if the array is not mapped from a file.
    pub fn prefetch(&self) -> Result<()> {
        let (map, range) = self.mapped()?;
        map.prefetch(range)
    }

    /// Returns whether each page of this array is in memory, in the order of their addresses.
    ///
    /// ```
    /// # use mapcall_array::MapOptions;
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// # if cfg!(target_os = "linux") {
    /// let pages = array.residency()?;
    /// assert!(pages.iter().all(|&page| page), "what was just written is still in memory");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Map::residency`], and [`MapError::NotMapped`] if the array is not mapped from a file.
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
