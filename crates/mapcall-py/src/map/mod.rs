//! `mapcall.Map`: the base of a memmap, which owns its memory.

#![allow(unsafe_code)]

mod index;
mod methods;
mod paging;

use std::sync::{Mutex, MutexGuard, PoisonError};

use mapcall_array::map::MapError;
use mapcall_array::{Buffer, Error, Layout};
use numpy::PyArrayDescr;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyType, PyWeakrefReference};

use crate::errors::to_py;
use crate::faults;
use crate::memory::{Strides, array_on};
use crate::once::intern;

/// A range of a file in memory, which arrays on it keep alive.
///
/// >>> import mapcall, mmap
/// >>> array = mapcall.memmap('x.dat', mode='w+', shape=(3, 4), dtype='f4')
/// >>> array[1:].T.base is array, type(array.base).__name__, len(array.base)
/// (True, 'Map', 48)
/// >>> isinstance(array.base, mmap.mmap)
/// True
///
/// Like ``numpy.memmap._mmap``, it is an instance of ``mmap.mmap`` for ``isinstance``, and it has the
/// methods of that class, so programs that search the bases of an array for an ``mmap.mmap`` find it.
/// It has no file descriptor: see `resize`. `close` gives the file back also while arrays on it are alive;
/// each use of them raises `mapcall.MapFault` then.
#[pyclass(frozen, weakref, module = "mapcall")]
pub(crate) struct Map {
    state: Mutex<State>,
    filename: Option<Py<PyAny>>,
    offset: u64,
}

/// The mutable part of a map.
struct State {
    buffer: Buffer,
    is_closed: bool,
    /// The position of `read` and `write`, in bytes from the first.
    position: usize,
    /// A weak reference to the first array on the map. All other arrays on it keep that one alive.
    array: Option<Py<PyWeakrefReference>>,
    /// The number of views of the buffer protocol that exist.
    exports: usize,
}

impl State {
    /// Returns whether an address is one of the map's bytes, or the one after the last.
    fn holds(&self, address: usize) -> bool {
        let first = self.buffer.as_ptr().addr();
        (first..=first.saturating_add(self.buffer.len())).contains(&address)
    }

    /// Returns whether an array, or a view of the buffer protocol, uses the memory.
    fn is_used(&self, py: Python<'_>) -> bool {
        let array = self.array.as_ref();
        self.exports > 0 || array.is_some_and(|array| array.bind(py).upgrade().is_some())
    }
}

/// Returns a new array of `class` on a new map of a buffer. Offsets of the layout are from the
/// buffer's first byte.
pub(crate) fn new_array<'py>(
    class: &Bound<'py, PyType>,
    buffer: &Buffer,
    filename: Option<Bound<'py, PyAny>>,
    offset: u64,
    dtype: &Bound<'py, PyArrayDescr>,
    layout: &Layout,
    strides: Strides,
) -> PyResult<Bound<'py, PyAny>> {
    faults::ensure(class.py())?;
    let state = State {
        buffer: buffer.clone(),
        is_closed: false,
        position: 0,
        array: None,
        // Counts the array until its weak reference is set: the `__array_finalize__` of a subclass may
        // close the map.
        exports: 1,
    };
    let map = Map {
        state: Mutex::new(state),
        filename: filename.map(Bound::unbind),
        offset,
    };
    let map = Bound::new(class.py(), map)?;
    let array = array_on(class, map.as_any(), dtype, layout, strides)?;
    let weak = PyWeakrefReference::new(&array)?.unbind();
    let mut state = map.get().state();
    state.array = Some(weak);
    state.exports -= 1;
    drop(state);
    Ok(array)
}

impl Map {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the memory, or an error if the map is closed.
    pub(crate) fn buffer(&self) -> PyResult<Buffer> {
        let state = self.state();
        if state.is_closed {
            return Err(PyValueError::new_err(
                "mmap closed or invalid; open the file again",
            ));
        }
        Ok(state.buffer.clone())
    }

    /// Returns whether an address is one of the map's bytes, or the one after the last.
    pub(crate) fn holds(&self, address: usize) -> bool {
        self.state().holds(address)
    }

    /// Returns the core's map if an address is one of its bytes, or the one after the last.
    ///
    /// # Safety
    ///
    /// An array on the map is alive for `'a`.
    pub(crate) unsafe fn mapped_at<'a>(&self, address: usize) -> Option<&'a mapcall_array::Map> {
        let state = self.state();
        let map: *const mapcall_array::Map = state.buffer.map()?;
        if !state.holds(address) {
            return None;
        }
        // SAFETY: `map` is a field of the buffer, which lives as long as this object; the caller guarantees
        // that an array on it is alive for `'a`.
        Some(unsafe { &*map })
    }

    /// Returns the memory, or an error if the map is closed or read-only.
    fn writeable(&self) -> PyResult<Buffer> {
        let buffer = self.buffer()?;
        if buffer.is_writeable() {
            Ok(buffer)
        } else {
            Err(PyTypeError::new_err(
                "mmap can't modify a readonly memory map.",
            ))
        }
    }
}

/// Returns the map that a buffer is on.
pub(crate) fn mapped(buffer: &Buffer) -> PyResult<&mapcall_array::Map> {
    let not_mapped = || {
        to_py(Error::Map {
            path: None,
            source: MapError::NotMapped,
        })
    };
    buffer.map().ok_or_else(not_mapped)
}

/// Returns the offset in the file of a layout's first element, in bytes.
pub(crate) fn file_offset_of(buffer: &Buffer, layout: &Layout) -> PyResult<u64> {
    Ok(mapped(buffer)?.file_offset() + u64::try_from(layout.offset())?)
}

/// Returns the bytes of an object that has the buffer protocol.
fn bytes_of<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(bytes.clone());
    }
    let view = PyMemoryView::from(object)?;
    let bytes = view.call_method0(intern!(object.py(), "tobytes"))?;
    Ok(bytes.cast_into()?)
}
