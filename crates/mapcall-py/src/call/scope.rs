//! What the handles share that one callback receives, until it returns: copies of C's memory.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::mem;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mapcall::array::Layout;
use mapcall::array::layout::Order;
use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::exceptions::{PyBufferError, PyMemoryError};
use pyo3::prelude::*;
use smallvec::SmallVec;

use super::ndarray;

/// The handles of one callback, and the copies of C's memory that their arrays lie in.
///
/// C's memory is good until the callback returns, and arrays can outlive that. So they lie in copies,
/// and what Python has written to those is written to C's memory before C runs again: when the
/// callback returns or calls a function. Handles are closed when it returns.
#[derive(Default)]
pub(super) struct Scope {
    copies: Mutex<Vec<Copied>>,
    /// Those that the callback received, and those that calls in it returned for them.
    handles: Mutex<SmallVec<[mapcall::Handle; 4]>>,
}

/// A copy of some of C's memory.
struct Copied {
    /// Its addresses in C's memory.
    addresses: Range<usize>,
    memory: Arc<Memory>,
    /// What was last read from C's memory, or written to it; `None` where that is only read.
    known: Option<Words>,
    /// The handle that leads there: closed when C has taken the memory back.
    handle: mapcall::Handle,
}

/// The memory of arrays, aligned for items of any type.
struct Memory(SmallVec<[UnsafeCell<u128>; 2]>);

type Words = SmallVec<[u128; 2]>;

// SAFETY: it is reached as the memory of any array of NumPy's: by threads that are attached to the
// interpreter, one at a time.
unsafe impl Send for Memory {}
// SAFETY: so it is reached by one thread at a time.
unsafe impl Sync for Memory {}

/// The owner of an array's memory, where that is a copy.
#[pyclass(frozen, module = "mapcall._mapcall")]
struct CopyOwner {
    _memory: Arc<Memory>,
}

impl Scope {
    /// An array of what a handle leads to.
    pub(super) fn array<'py>(
        &self,
        handle: &mapcall::Handle,
        address: NonNull<c_void>,
        is_writeable: bool,
        dtype: &Bound<'py, PyArrayDescr>,
        shape: &[usize],
    ) -> PyResult<Bound<'py, PyAny>> {
        let layout = Layout::contiguous(shape, dtype.itemsize(), Order::C)
            .map_err(|error| crate::errors::to_py(error.into()))?;
        let start = address.addr().get();
        let addresses = start..start.saturating_add(layout.nbytes());
        let (memory, offset) = self.copied(handle, is_writeable, addresses)?;
        let address = memory.address();
        let address = address.map_addr(|address| address.saturating_add(offset));
        let owner = Bound::new(dtype.py(), CopyOwner { _memory: memory })?.into_any();
        ndarray::on_memory(dtype, shape, address.cast(), is_writeable, owner)
    }

    /// An up-to-date copy of that memory, and where in it the memory starts.
    fn copied(
        &self,
        handle: &mapcall::Handle,
        is_writeable: bool,
        addresses: Range<usize>,
    ) -> PyResult<(Arc<Memory>, usize)> {
        let mut copies = self.copies();
        write_back(&mut copies);
        // Those that no array lies in any more.
        copies.retain(|copy| Arc::strong_count(&copy.memory) > 1);
        let is_whole = |copy: &Copied| {
            copy.addresses.start <= addresses.start && addresses.end <= copy.addresses.end
        };
        if let Some(copy) = copies.iter_mut().find(|copy| is_whole(copy)) {
            copy.handle = handle.clone();
            copy.read(is_writeable)?;
            let offset = addresses.start - copy.addresses.start;
            return Ok((Arc::clone(&copy.memory), offset));
        }
        let is_apart = |copy: &Copied| {
            copy.addresses.end <= addresses.start
                || addresses.end <= copy.addresses.start
                || !(is_writeable || copy.known.is_some())
        };
        if !copies.iter().all(is_apart) {
            return Err(PyBufferError::new_err(
                "array: expected memory that no other array of this callback has a part of, got \
                 some that one has; take the larger array first, or let the other one go",
            ));
        }
        let mut copy = Copied {
            memory: Arc::new(Memory::new(addresses.len())?),
            addresses,
            known: None,
            handle: handle.clone(),
        };
        copy.read(is_writeable)?;
        let memory = Arc::clone(&copy.memory);
        copies.push(copy);
        Ok((memory, 0))
    }

    /// Writes to C's memory what has changed in the copies.
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
        // The lock is released first: what a handle keeps alive may run destructors when it is dropped.
        let handles = mem::take(&mut *self.handles());
        for handle in handles {
            // It has no destructor, which could fail.
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
    let open = written.filter(|copy| !copy.handle.is_closed());
    open.for_each(Copied::write_back);
}

impl Copied {
    /// Reads C's memory anew, which may be written from now on.
    fn read(&mut self, is_writeable: bool) -> PyResult<()> {
        let origin: *const u8 = ptr::with_exposed_provenance(self.addresses.start);
        let copy = self.memory.address().as_ptr();
        // SAFETY: C's memory is good while its callback runs, the user of `array` says how much there
        // is, and the copy has as much.
        unsafe { ptr::copy_nonoverlapping(origin, copy, self.addresses.len()) };
        if is_writeable || self.known.is_some() {
            let mut known = reserved(self.memory.0.len())?;
            // SAFETY: no thread writes the words now, as this one is attached.
            known.extend(
                self.memory
                    .0
                    .iter()
                    .map(|word| unsafe { word.get().read() }),
            );
            self.known = Some(known);
        }
        Ok(())
    }

    /// Writes the bytes that have changed, and no others: C may have changed those itself.
    fn write_back(&mut self) {
        let words = self.memory.0.iter().zip(self.known.iter_mut().flatten());
        let addresses = self.addresses.clone().step_by(size_of::<u128>());
        for (start, (word, known)) in addresses.zip(words) {
            // SAFETY: no thread writes the word now, as this one is attached.
            let word = unsafe { word.get().read() };
            if word == *known {
                continue;
            }
            let bytes = word.to_ne_bytes().into_iter().zip(known.to_ne_bytes());
            for (address, (byte, known)) in (start..self.addresses.end).zip(bytes) {
                if byte != known {
                    let address: *mut u8 = ptr::with_exposed_provenance_mut(address);
                    // SAFETY: C's memory is good while its callback runs, and may be written.
                    unsafe { address.write(byte) };
                }
            }
            *known = word;
        }
    }
}

impl Memory {
    fn new(nbytes: usize) -> PyResult<Self> {
        let count = nbytes.div_ceil(size_of::<u128>());
        let mut words = reserved(count)?;
        words.resize_with(count, UnsafeCell::default);
        Ok(Self(words))
    }

    fn address(&self) -> NonNull<u8> {
        NonNull::from(self.0.as_slice()).cast()
    }
}

/// Room for so many words.
fn reserved<T>(count: usize) -> PyResult<SmallVec<[T; 2]>> {
    let mut words = SmallVec::new();
    words.try_reserve_exact(count).map_err(|_| {
        PyMemoryError::new_err(format!("array: no memory for a copy of {count} words"))
    })?;
    Ok(words)
}
