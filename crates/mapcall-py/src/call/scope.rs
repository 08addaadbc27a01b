//! What the handles share that one callback receives, until it returns: copies of C's memory.

#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::iter;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mapcall::array::Layout;
use mapcall::array::layout::Order;
use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;

use super::ndarray;

/// The copies of C's memory that the arrays of a callback's handles lie in.
///
/// C's memory is good until the callback returns, and arrays can outlive that. So they lie in copies,
/// and what Python has written to those is written to C's memory before C runs again: when the
/// callback returns or calls a function.
#[derive(Default)]
pub(super) struct Scope(Mutex<Vec<Copied>>);

/// A copy of some of C's memory.
struct Copied {
    /// Its addresses in C's memory.
    addresses: Range<usize>,
    memory: Arc<Memory>,
    /// What C's memory held when it was last read or written; `None` where C has it `const`.
    known: Option<Box<[u8]>>,
    /// The handle that leads there: closed when C has taken the memory back.
    handle: mapcall::Handle,
}

/// Memory for arrays, aligned for items of any type.
struct Memory(Box<[UnsafeCell<u128>]>);

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
        is_const: bool,
        address: NonNull<c_void>,
        dtype: &Bound<'py, PyArrayDescr>,
        shape: &[usize],
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = dtype.py();
        let layout = Layout::contiguous(shape, dtype.itemsize(), Order::C)
            .map_err(|error| crate::errors::to_py(error.into()))?;
        let start = address.addr().get();
        let addresses = start..start.saturating_add(layout.nbytes());
        self.write_back();
        let (memory, offset) = self.copied(handle, is_const, addresses)?;
        let address = memory
            .address()
            .map_addr(|address| address.saturating_add(offset));
        let owner = Bound::new(py, CopyOwner { _memory: memory })?.into_any();
        ndarray::on_memory(dtype, shape, address.cast(), !is_const, owner)
    }

    /// The copy of that memory, and where in it the memory starts.
    fn copied(
        &self,
        handle: &mapcall::Handle,
        is_const: bool,
        addresses: Range<usize>,
    ) -> PyResult<(Arc<Memory>, usize)> {
        let mut copies = self.copies();
        // Without an array, and written back.
        copies.retain(|copy| Arc::strong_count(&copy.memory) > 1);
        let is_whole = |copy: &Copied| {
            copy.addresses.start <= addresses.start && addresses.end <= copy.addresses.end
        };
        if let Some(copy) = copies.iter_mut().find(|copy| is_whole(copy)) {
            copy.handle = handle.clone();
            copy.read(!is_const);
            return Ok((
                Arc::clone(&copy.memory),
                addresses.start - copy.addresses.start,
            ));
        }
        let is_apart = |copy: &Copied| {
            copy.addresses.end <= addresses.start
                || addresses.end <= copy.addresses.start
                || (is_const && copy.known.is_none())
        };
        if !copies.iter().all(is_apart) {
            return Err(PyBufferError::new_err(
                "array: expected memory that no other array of this callback has a part of, got \
                 some that one has; take the larger array first, or let the other one go",
            ));
        }
        let mut copy = Copied {
            memory: Arc::new(Memory::new(addresses.len())),
            addresses,
            known: None,
            handle: handle.clone(),
        };
        copy.read(!is_const);
        let memory = Arc::clone(&copy.memory);
        copies.push(copy);
        Ok((memory, 0))
    }

    /// Writes to C's memory what has changed in the copies.
    pub(super) fn write_back(&self) {
        let mut copies = self.copies();
        let open = copies.iter_mut().filter(|copy| !copy.handle.is_closed());
        open.for_each(Copied::write_back);
    }

    fn copies(&self) -> MutexGuard<'_, Vec<Copied>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copied {
    /// Reads C's memory anew, which will perhaps be written.
    fn read(&mut self, is_written: bool) {
        let length = self.addresses.len();
        let origin: *const u8 = ptr::with_exposed_provenance(self.addresses.start);
        let copy = self.memory.address().as_ptr();
        // SAFETY: C's memory is good while its callback runs, the user of `array` says how much there
        // is, and the copy has as much.
        unsafe { ptr::copy_nonoverlapping(origin, copy, length) };
        if is_written || self.known.is_some() {
            let mut known = vec![0; length].into_boxed_slice();
            // SAFETY: both have that length.
            unsafe { ptr::copy_nonoverlapping(copy, known.as_mut_ptr(), length) };
            self.known = Some(known);
        }
    }

    /// Writes the bytes that have changed, and no others: C may have changed those itself.
    fn write_back(&mut self) {
        let copy = self.memory.address().as_ptr();
        let origin: *mut u8 = ptr::with_exposed_provenance_mut(self.addresses.start);
        for (index, known) in self.known.iter_mut().flatten().enumerate() {
            // SAFETY: the copy is as long as what is known of it.
            let byte = unsafe { copy.wrapping_add(index).read() };
            if byte != *known {
                *known = byte;
                // SAFETY: C's memory is good while its callback runs, and not `const`.
                unsafe { origin.wrapping_add(index).write(byte) };
            }
        }
    }
}

impl Memory {
    fn new(length: usize) -> Self {
        // At least one, so that arrays without items have an address, too.
        let words = length.div_ceil(size_of::<u128>()).max(1);
        Self(iter::repeat_with(UnsafeCell::default).take(words).collect())
    }

    fn address(&self) -> NonNull<u8> {
        NonNull::from(&*self.0).cast()
    }
}
