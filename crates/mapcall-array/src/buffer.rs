//! The owner of the bytes of an array.
//!
//! [`Buffer`] covers maps of files, heap memory and memory of other libraries, so that [`Array`] is one type
//! for all of them. Views share the buffer by reference count.
//!
//! [`Array`]: crate::Array

#![allow(unsafe_code)]

use std::alloc::{self, Layout as Allocation};
use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{self, Ordering};

use crate::error::{Error, Result};
use crate::map::Map;

/// The alignment of heap buffers in bytes: a cache line, which is enough for every dtype and for SIMD
/// vectors of 512 bits.
const HEAP_ALIGNMENT: usize = 64;

/// A shared, reference-counted range of bytes.
///
/// ```
/// use mapcall_array::Buffer;
///
/// let buffer = Buffer::zeroed(24)?;
/// let view = buffer.clone();
/// assert_eq!((view.as_ptr(), view.len()), (buffer.as_ptr(), 24));
/// assert!(view.is_writeable() && !view.is_empty() && !view.is_unique());
/// # Ok::<(), mapcall_array::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Buffer(Arc<Owner>);

#[derive(Debug)]
enum Owner {
    Map(Map),
    Heap(Heap),
    Foreign(Foreign),
}

impl Buffer {
    /// Allocates zeroed memory on the heap, aligned to 64 bytes.
    ///
    /// ```
    /// # use mapcall_array::Buffer;
    /// let buffer = Buffer::zeroed(1 << 20)?;
    /// assert_eq!(buffer.as_ptr().addr() % 64, 0);
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::OutOfMemory`] if the allocation of `len` bytes fails.
    pub fn zeroed(len: usize) -> Result<Self> {
        Ok(Self(Arc::new(Owner::Heap(Heap::zeroed(len)?))))
    }

    /// Wraps memory that another object owns. The buffer keeps `owner` until the last array on the buffer is
    /// dropped.
    ///
    /// ```
    /// use mapcall_array::{Array, Buffer, DType, layout::{Layout, Order}};
    /// # use std::ptr::NonNull;
    ///
    /// let mut samples = vec![1_i16, 2, 3];
    /// let ptr = NonNull::from(samples.as_mut_slice()).cast();
    /// // SAFETY: the buffer owns the vector, whose elements do not move; no other code uses them.
    /// let buffer = unsafe { Buffer::foreign(ptr, 6, true, samples) };
    /// let array = Array::new(buffer, DType::I16, Layout::contiguous(&[3], 2, Order::C)?)?;
    /// assert_eq!(array.view::<i16>()?.sum(), 6);
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    ///
    /// # Safety
    ///
    /// Until `owner` is dropped, `ptr` must be valid for reads of `len` initialised bytes, and for writes if
    /// `writeable`. While a typed view of the bytes exists, no code outside the view may write them.
    pub unsafe fn foreign(
        ptr: NonNull<u8>,
        len: usize,
        writeable: bool,
        owner: impl Any + Send + Sync,
    ) -> Self {
        Self(Arc::new(Owner::Foreign(Foreign {
            ptr,
            len,
            writeable,
            _owner: Box::new(owner),
        })))
    }

    /// Returns the address of the first byte, which is never null. The address of an empty buffer must not
    /// be dereferenced.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::{Order, index}};
    /// let array = Array::zeros(DType::U8, &[100], Order::C)?;
    /// let tail = array.slice(&index![60..])?;
    /// assert_eq!(tail.buffer().as_ptr(), array.as_ptr());
    /// assert_ne!(tail.as_ptr(), array.as_ptr());
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    #[must_use]
    pub fn as_ptr(&self) -> *const u8 {
        self.as_mut_ptr()
    }

    /// Returns the address of the first byte. Code may write through it only if [`Buffer::is_writeable`]
    /// returns `true`.
    ///
    /// ```
    /// # use mapcall_array::Buffer;
    /// let buffer = Buffer::zeroed(24)?;
    /// // SAFETY: the buffer is writeable and has 24 bytes, and no reference to them exists.
    /// unsafe { buffer.as_mut_ptr().write_bytes(0xff, 24) };
    /// // SAFETY: byte 23 is the last of the 24 bytes.
    /// assert_eq!(unsafe { buffer.as_ptr().add(23).read() }, 0xff);
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    #[must_use]
    pub fn as_mut_ptr(&self) -> *mut u8 {
        match &*self.0 {
            Owner::Map(map) => map.as_mut_ptr(),
            Owner::Heap(heap) => heap.ptr.as_ptr(),
            Owner::Foreign(foreign) => foreign.ptr.as_ptr(),
        }
    }

    /// Returns the number of bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        match &*self.0 {
            Owner::Map(map) => map.len(),
            Owner::Heap(heap) => heap.allocation.size(),
            Owner::Foreign(foreign) => foreign.len,
        }
    }

    /// Returns whether the buffer has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether the bytes may be written.
    ///
    /// ```
    /// # use mapcall_array::{MapOptions, Mode};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().mode(Mode::Read).map(&file)? };
    /// assert!(!array.buffer().is_writeable());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_writeable(&self) -> bool {
        match &*self.0 {
            Owner::Map(map) => map.mode().is_writeable(),
            Owner::Heap(_) => true,
            Owner::Foreign(foreign) => foreign.writeable,
        }
    }

    /// Returns whether no other array or view shares this buffer.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::Order};
    /// let array = Array::zeros(DType::U8, &[2, 3], Order::C)?;
    /// let turned = array.transpose();
    /// assert!(!array.buffer().is_unique());
    /// drop(turned);
    /// assert!(array.buffer().is_unique());
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    #[must_use]
    pub fn is_unique(&self) -> bool {
        let unique = Arc::strong_count(&self.0) == 1;
        // Pairs with the release decrement of the count by another thread that has dropped its array: its
        // accesses to the bytes happen before those of this thread, as in `Arc::get_mut`.
        atomic::fence(Ordering::Acquire);
        unique
    }

    /// Returns the map if the bytes are mapped from a file.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, MapOptions, layout::Order};
    /// # let file = tempfile::NamedTempFile::new()?;
    /// std::fs::write(&file, [7; 6000])?;
    /// // SAFETY: no other code writes or shortens the temporary file.
    /// let array = unsafe { MapOptions::new().map(&file)? };
    /// assert_eq!(array.buffer().map().unwrap().file_len(), 6000);
    /// assert!(Array::zeros(DType::U8, &[6000], Order::C)?.buffer().map().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn map(&self) -> Option<&Map> {
        match &*self.0 {
            Owner::Map(map) => Some(map),
            _ => None,
        }
    }
}

impl Buffer {
    /// Returns whether other addresses may lead to the same bytes.
    ///
    /// ```
    /// # use mapcall_array::{Backing, Buffer};
    /// assert!(matches!(Buffer::zeroed(24)?.backing(), Backing::Private));
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    #[must_use]
    pub fn backing(&self) -> Backing<'_> {
        match &*self.0 {
            Owner::Map(map) => Backing::Map(map),
            Owner::Heap(_) => Backing::Private,
            Owner::Foreign(_) => Backing::Unknown,
        }
    }
}

/// The kind of memory behind an array, which decides whether other addresses may lead to the same bytes.
///
/// ```
/// use mapcall_array::{Backing, MapOptions};
///
/// # let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(&file, [7; 6000])?;
/// // SAFETY: no other code writes or shortens the temporary file.
/// let array = unsafe { MapOptions::new().map(&file)? };
/// assert!(matches!(array.buffer().backing(), Backing::Map(_)));
/// assert!(!array.buffer().backing().may_alias(&Backing::Private));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Backing<'a> {
    /// Heap memory of this crate, which has one address only.
    Private,
    /// A map of a file, which may be mapped at other addresses, too.
    Map(&'a Map),
    /// Memory of another library, which may be mapped at other addresses, too.
    Unknown,
}

impl Backing<'_> {
    /// Returns whether the memory is that of a closed map, which can't be accessed.
    #[must_use]
    #[inline]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Map(map) if map.is_closed())
    }

    /// Returns whether two arrays may have bytes in common at different addresses.
    #[must_use]
    #[inline]
    pub fn may_alias(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Private, _) | (_, Self::Private) => false,
            (Self::Map(one), Self::Map(other)) => {
                let mappings = one.mapping().zip(other.mapping());
                mappings.is_some_and(|(one, other)| {
                    one.distance(&other).is_some_and(|distance| distance != 0)
                })
            }
            _ => true,
        }
    }
}

impl From<Map> for Buffer {
    fn from(map: Map) -> Self {
        Self(Arc::new(Owner::Map(map)))
    }
}

/// Heap memory that this crate has allocated.
struct Heap {
    ptr: NonNull<u8>,
    allocation: Allocation,
}

impl Heap {
    fn zeroed(len: usize) -> Result<Self> {
        let out_of_memory = || Error::OutOfMemory { bytes: len };
        let allocation =
            Allocation::from_size_align(len, HEAP_ALIGNMENT).map_err(|_| out_of_memory())?;
        if len == 0 {
            let ptr = NonNull::<Aligned>::dangling().cast();
            return Ok(Self { ptr, allocation });
        }
        // SAFETY: the size of `allocation` is not zero.
        let ptr = unsafe { alloc::alloc_zeroed(allocation) };
        let ptr = NonNull::new(ptr).ok_or_else(out_of_memory)?;
        Ok(Self { ptr, allocation })
    }
}

/// A type with an alignment of 64 bytes, which gives an empty buffer an aligned dangling address.
#[repr(align(64))]
struct Aligned;

impl Drop for Heap {
    fn drop(&mut self) {
        if self.allocation.size() > 0 {
            // SAFETY: `ptr` came from `alloc_zeroed` with this same layout and is freed once.
            unsafe { alloc::dealloc(self.ptr.as_ptr(), self.allocation) }
        }
    }
}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap")
            .field("len", &self.allocation.size())
            .finish_non_exhaustive()
    }
}

// SAFETY: only this value has the allocation, which any thread may read, write and free. Views read it
// through `&Array` and write it through `&mut Array` with a unique buffer.
unsafe impl Send for Heap {}
// SAFETY: `&Heap` gives only the address and the size; no method reads or writes the bytes.
unsafe impl Sync for Heap {}

/// Memory of another object, which is kept alive here.
struct Foreign {
    ptr: NonNull<u8>,
    len: usize,
    writeable: bool,
    _owner: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foreign")
            .field("len", &self.len)
            .field("writeable", &self.writeable)
            .finish_non_exhaustive()
    }
}

// SAFETY: the owner is `Send`, and the memory is valid until the owner is dropped, which the contract of
// `Buffer::foreign` requires.
unsafe impl Send for Foreign {}
// SAFETY: the owner is `Sync`, and `&Foreign` gives only the address and the length.
unsafe impl Sync for Foreign {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_is_aligned_and_zero() {
        for len in [0, 1, 63, 64, 4097] {
            let buffer = Buffer::zeroed(len).unwrap();
            assert_eq!(buffer.as_ptr().addr() % HEAP_ALIGNMENT, 0);
            // SAFETY: `len` bytes are owned by `buffer` and initialised.
            let bytes = unsafe { std::slice::from_raw_parts(buffer.as_ptr(), len) };
            assert!(bytes.iter().all(|&byte| byte == 0));
        }
    }

    #[test]
    fn absurd_size_is_an_error() {
        for len in [usize::MAX, isize::MAX as usize, 1 << 60] {
            assert!(
                matches!(Buffer::zeroed(len), Err(Error::OutOfMemory { bytes }) if bytes == len)
            );
        }
    }

    #[test]
    fn foreign_keeps_its_owner() {
        let owner = Arc::new(vec![1_u8, 2, 3]);
        let ptr = NonNull::new(owner.as_ptr().cast_mut()).unwrap();
        // SAFETY: the vector lives in `owner` and is only read.
        let buffer = unsafe { Buffer::foreign(ptr, 3, false, Arc::clone(&owner)) };
        assert_eq!(Arc::strong_count(&owner), 2);
        assert!(!buffer.is_writeable());
        drop(buffer);
        assert_eq!(Arc::strong_count(&owner), 1);
    }
}
