//! The handles of one callback, and the copies of C's memory that their arrays are on.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use mapcall::array::Layout;
use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::exceptions::{PyBufferError, PyMemoryError};
use pyo3::prelude::*;
use smallvec::SmallVec;

use super::kept::KeptObjects;
use super::ndarray;

/// The handles of one callback, and the copies of C's memory that their arrays are on.
///
/// C's memory is valid until the callback returns, and arrays may live longer, so arrays are on
/// copies. Changes of the copies are written to C's memory before C runs again: when the callback
/// returns or calls a function. Handles are closed when it returns.
#[derive(Default)]
pub(super) struct Scope {
    copies: Mutex<Vec<Copied>>,
    /// The handles that the callback received, and those that calls in it returned for them.
    handles: Mutex<SmallVec<[mapcall::Handle; 4]>>,
    pointers: CallbackPointers,
}

/// What a callback keeps alive: the objects that pointers in C's memory lead to which the callable has assigned.
pub(super) type CallbackPointers = Arc<OnceLock<Py<KeptObjects>>>;

/// A copy of a range of C's memory.
struct Copied {
    /// The addresses of the range.
    addresses: Range<usize>,
    memory: Arc<Memory>,
    /// The content that was last read from C's memory, or written to it; `None` if it is only read.
    known: Option<Blocks>,
    /// A handle to the range: C's memory is no longer valid once it is closed. `None` if the memory is valid
    /// until the callback returns.
    handle: Option<mapcall::Handle>,
}

/// The memory of arrays, in blocks of 16 bytes, which are aligned for items of any type.
struct Memory(SmallVec<[UnsafeCell<u128>; 2]>);

type Blocks = SmallVec<[u128; 2]>;

// SAFETY: Rust code and Python code read and write the blocks through raw pointers, on threads that
// are attached to the interpreter, of which one runs at a time.
unsafe impl Send for Memory {}
// SAFETY: Rust code and Python code read and write the blocks through raw pointers, on threads that
// are attached to the interpreter, of which one runs at a time.
unsafe impl Sync for Memory {}

/// The base object of an array on a copy.
#[pyclass(frozen, module = "mapcall._mapcall")]
struct CopyOwner {
    memory: Arc<Memory>,
}

impl Scope {
    /// Returns the scope of a callback that keeps `pointers`.
    pub(super) fn new(pointers: &CallbackPointers) -> Self {
        Self {
            pointers: Arc::clone(pointers),
            ..Self::default()
        }
    }

    /// Returns what the callback keeps alive.
    pub(super) fn pointers(&self) -> &OnceLock<Py<KeptObjects>> {
        &self.pointers
    }

    /// Returns an array on an up-to-date copy of C's memory, to which a handle points if there is one. The layout
    /// begins at byte 0, and has no negative strides.
    pub(super) fn array<'py>(
        &self,
        handle: Option<&mapcall::Handle>,
        address: NonNull<c_void>,
        is_writeable: bool,
        dtype: &Bound<'py, PyArrayDescr>,
        layout: &Layout,
    ) -> PyResult<Bound<'py, PyAny>> {
        let start = address.addr().get();
        let addresses = start..start.saturating_add(layout.bounds().end);
        let (memory, offset) = self.copied(handle, is_writeable, addresses)?;
        let address = memory.address();
        let address = address.map_addr(|address| address.saturating_add(offset));
        let owner = Bound::new(dtype.py(), CopyOwner { memory })?.into_any();
        ndarray::with_layout(dtype, layout, address.cast(), is_writeable, owner)
    }

    /// Returns an up-to-date copy that contains the addresses, and their offset in it in bytes.
    fn copied(
        &self,
        handle: Option<&mapcall::Handle>,
        is_writeable: bool,
        addresses: Range<usize>,
    ) -> PyResult<(Arc<Memory>, usize)> {
        let mut copies = self.copies();
        write_back(&mut copies);
        // Copies that no array is on any more are dropped.
        copies.retain(|copy| Arc::strong_count(&copy.memory) > 1);
        let is_whole = |copy: &Copied| {
            copy.addresses.start <= addresses.start && addresses.end <= copy.addresses.end
        };
        if let Some(copy) = copies.iter_mut().find(|copy| is_whole(copy)) {
            copy.handle = handle.cloned();
            copy.read(is_writeable)?;
            let offset = addresses.start - copy.addresses.start;
            return Ok((Arc::clone(&copy.memory), offset));
        }
        let is_disjoint = |copy: &Copied| {
            copy.addresses.end <= addresses.start
                || addresses.end <= copy.addresses.start
                || !(is_writeable || copy.known.is_some())
        };
        if !copies.iter().all(is_disjoint) {
            return Err(PyBufferError::new_err(
                "array: expected memory that no other array of this callback has a part of, got \
                 some that one has; take the larger array first, or let the other one go",
            ));
        }
        let mut copy = Copied {
            memory: Arc::new(Memory::new(addresses.len())?),
            addresses,
            known: None,
            handle: handle.cloned(),
        };
        copy.read(is_writeable)?;
        let memory = Arc::clone(&copy.memory);
        copies.push(copy);
        Ok((memory, 0))
    }

    /// Writes the changes of the copies to C's memory.
    pub(super) fn write_back(&self) {
        write_back(&mut self.copies());
    }

    /// Adds a handle to close when the callback returns.
    pub(super) fn add(&self, handle: mapcall::Handle) {
        self.handles().push(handle);
    }

    /// Writes the copies back and closes the handles that were added: the callback returns.
    pub(super) fn end(&self) {
        self.write_back();
        // C's memory may end now.
        self.copies().clear();
        // The lock is released first: destructors may run when the objects that a handle keeps alive are
        // dropped.
        let handles = mem::take(&mut *self.handles());
        for handle in handles {
            // The handles of a callback have no destructor, so this can't fail.
            let _ = handle.close();
        }
    }

    fn handles(&self) -> MutexGuard<'_, SmallVec<[mapcall::Handle; 4]>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copies(&self) -> MutexGuard<'_, Vec<Copied>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_back(copies: &mut [Copied]) {
    let written = copies.iter_mut().filter(|copy| copy.known.is_some());
    let is_open = |copy: &&mut Copied| { &copy.handle }.as_ref().is_none_or(|it| !it.is_closed());
    let open = written.filter(is_open);
    open.for_each(Copied::write_back);
}

impl Copied {
    /// Reads C's memory again, and records the content if Python may change it.
    fn read(&mut self, is_writeable: bool) -> PyResult<()> {
        let origin: *const u8 = ptr::with_exposed_provenance(self.addresses.start);
        let copy = self.memory.address().as_ptr();
        // SAFETY: C's memory is valid while the callback runs, for as many bytes as the user of
        // `Handle.array` guarantees. `copy` is the start of new memory of at least as many bytes.
        unsafe { ptr::copy_nonoverlapping(origin, copy, self.addresses.len()) };
        if is_writeable || self.known.is_some() {
            let mut known = reserved(self.memory.0.len())?;
            // SAFETY: only attached threads write the blocks, and this thread is attached.
            known.extend(
                self.memory
                    .0
                    .iter()
                    .map(|block| unsafe { block.get().read() }),
            );
            self.known = Some(known);
        }
        Ok(())
    }

    /// Writes the bytes that Python has changed. The others may have been changed by C.
    fn write_back(&mut self) {
        let blocks = self.memory.0.iter().zip(self.known.iter_mut().flatten());
        let addresses = self.addresses.clone().step_by(size_of::<u128>());
        for (start, (block, known)) in addresses.zip(blocks) {
            // SAFETY: only attached threads write the blocks, and this thread is attached.
            let block = unsafe { block.get().read() };
            if block == *known {
                continue;
            }
            let bytes = block.to_ne_bytes().into_iter().zip(known.to_ne_bytes());
            for (address, (byte, known)) in (start..self.addresses.end).zip(bytes) {
                if byte != known {
                    let address: *mut u8 = ptr::with_exposed_provenance_mut(address);
                    // SAFETY: the caller has checked that the handle is open, so the callback runs and
                    // C's memory is valid; `known` is set for memory that may be written only.
                    unsafe { address.write(byte) };
                }
            }
            *known = block;
        }
    }
}

impl Memory {
    fn new(nbytes: usize) -> PyResult<Self> {
        let count = nbytes.div_ceil(size_of::<u128>());
        let mut blocks = reserved(count)?;
        blocks.resize_with(count, UnsafeCell::default);
        Ok(Self(blocks))
    }

    fn address(&self) -> NonNull<u8> {
        NonNull::from(self.0.as_slice()).cast()
    }
}

/// Returns a read-only array on a copy of C's memory. The layout begins at byte 0, and has no negative strides.
///
/// # Safety
///
/// The memory at `address` has the items of the layout.
pub(super) unsafe fn read_only_copy<'py>(
    dtype: &Bound<'py, PyArrayDescr>,
    layout: &Layout,
    address: NonNull<c_void>,
) -> PyResult<Bound<'py, PyAny>> {
    let nbytes = layout.bounds().end;
    // Few blocks are in the allocation of the `Arc` itself, so the address is that after it.
    let memory = Arc::new(Memory::new(nbytes)?);
    let to = memory.address();
    // SAFETY: the caller guarantees that the first and the last of the bytes can be read, and so can those between,
    // as C's array is one object; `to` is the start of new memory of at least as many.
    unsafe { ptr::copy_nonoverlapping(address.as_ptr().cast(), to.as_ptr(), nbytes) };
    let owner = Bound::new(dtype.py(), CopyOwner { memory })?.into_any();
    ndarray::with_layout(dtype, layout, to.cast(), false, owner)
}

/// Copies other memory of C into the memory of an array that [`read_only_copy`] made, and returns whether it
/// could: the array still has the dtype and the shape.
///
/// # Safety
///
/// No other reference to the array exists. The memory at `address` has as many items as the shape.
pub(super) unsafe fn refill(
    array: &Bound<'_, PyAny>,
    dtype: &Bound<'_, PyArrayDescr>,
    shape: &[usize],
    address: NonNull<c_void>,
) -> bool {
    // SAFETY: the caller guarantees that it is such an array.
    let Some((data, base)) = (unsafe { ndarray::unchanged_view(array, dtype, shape) }) else {
        return false;
    };
    let Ok(owner) = base.cast_exact::<CopyOwner>() else {
        return false;
    };
    let to = owner.get().memory.address();
    let nbytes = shape.iter().product::<usize>() * dtype.itemsize();
    // Python code may have given the array other memory.
    if data != to.as_ptr() || nbytes > size_of_val(&*owner.get().memory.0) {
        return false;
    }
    // SAFETY: the caller guarantees that as many bytes can be read, and that nothing else uses the array, whose
    // memory has at least as many.
    unsafe { ptr::copy_nonoverlapping(address.as_ptr().cast(), to.as_ptr(), nbytes) };
    true
}

/// Returns an empty vector with capacity for `count` blocks.
fn reserved<T>(count: usize) -> PyResult<SmallVec<[T; 2]>> {
    let mut blocks = SmallVec::new();
    blocks.try_reserve_exact(count).map_err(|_| {
        PyMemoryError::new_err(format!("array: no memory for a copy of {count} words"))
    })?;
    Ok(blocks)
}
