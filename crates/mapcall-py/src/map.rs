//! `mapcall.Map`: the base of a memmap, which owns its memory.

#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mapcall_array::map::{Advice, MapError};
use mapcall_array::{Buffer, Error, Layout};
use numpy::{PyArrayDescr, PyUntypedArray};
use pyo3::exceptions::{PyBufferError, PyIndexError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyMemoryView, PySlice, PyType, PyWeakrefReference};

use crate::bytes;
use crate::errors::{ReplacedFileWarning, to_py};
use crate::faults;
use crate::memory::{Strides, array_on, layout_in};

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

    /// Returns the range of the next bytes, at most `len`, and sets the position to its end.
    fn advance(&self, len: usize) -> PyResult<(Buffer, Range<usize>)> {
        let buffer = self.buffer()?;
        let mut state = self.state();
        let start = state.position.min(buffer.len());
        let end = start.saturating_add(len).min(buffer.len());
        state.position = end;
        Ok((buffer, start..end))
    }

    /// Returns the range of bytes that `find` searches: `start` is the position by default, and `end`
    /// the length.
    fn searched(
        &self,
        start: Option<isize>,
        end: Option<isize>,
    ) -> PyResult<(Buffer, Range<usize>)> {
        let buffer = self.buffer()?;
        let start = start.map_or(self.state().position, |start| bound(start, buffer.len()));
        let end = end.map_or(buffer.len(), |end| bound(end, buffer.len()));
        Ok((buffer, start..end))
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

/// Returns the range of bytes that an array's elements span, from the buffer's first byte.
fn range_of(buffer: &Buffer, array: &Bound<'_, PyUntypedArray>) -> PyResult<Range<usize>> {
    Ok(layout_in(buffer, array)?.bounds())
}

/// Returns a bound of a slice as an index; negative ones count from the end.
fn bound(index: isize, len: usize) -> usize {
    let len = len.cast_signed();
    let index = if index < 0 { index + len } else { index };
    index.clamp(0, len).cast_unsigned()
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

/// An index or slice of a map.
enum Index {
    One(usize),
    Slice {
        start: isize,
        step: isize,
        len: usize,
    },
}

impl Index {
    fn new(index: &Bound<'_, PyAny>, len: usize) -> PyResult<Self> {
        if let Ok(slice) = index.cast::<PySlice>() {
            let indices = slice.indices(len.cast_signed())?;
            return Ok(Self::Slice {
                start: indices.start,
                step: indices.step,
                len: indices.slicelength,
            });
        }
        let outside = || PyIndexError::new_err("mmap index out of range");
        let index = match index.extract::<isize>() {
            Ok(index) => index,
            Err(error) if error.is_instance_of::<PyOverflowError>(index.py()) => {
                return Err(outside());
            }
            Err(error) if error.is_instance_of::<PyTypeError>(index.py()) => {
                return Err(PyTypeError::new_err("mmap indices must be integers"));
            }
            Err(error) => return Err(error),
        };
        let index = if index < 0 {
            index + len.cast_signed()
        } else {
            index
        };
        let index = usize::try_from(index).map_err(|_| outside())?;
        if index < len {
            Ok(Self::One(index))
        } else {
            Err(outside())
        }
    }
}

/// Returns the indices of a slice.
fn steps(start: isize, step: isize, len: usize) -> impl Iterator<Item = usize> {
    (0..len).map(move |index| (start + index.cast_signed() * step).cast_unsigned())
}

/// The number of bytes that are prefetched between two checks for signals.
const PREFETCH_STEP: usize = 64 << 20;

#[pymethods]
impl Map {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.filename)
    }

    /// The file: a str, or a Path if it was opened by one; None if it has no name.
    ///
    /// >>> import mapcall, pathlib
    /// >>> mapcall.memmap(pathlib.Path('x.dat'), mode='w+', shape=10)._mmap.filename.name
    /// 'x.dat'
    #[getter]
    pub(crate) fn filename(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.filename
            .as_ref()
            .map(|filename| filename.clone_ref(py))
    }

    /// The requested offset in the file, in bytes.
    ///
    /// >>> import mapcall
    /// >>> map = mapcall.memmap('x.dat', mode='w+', shape=10, offset=3)._mmap
    /// >>> map.offset
    /// 3
    #[getter]
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The mode of the map: 'r', 'r+', 'w+' or 'c'; also of a closed one.
    ///
    /// >>> import mapcall
    /// >>> map = mapcall.memmap('x.dat', mode='w+', shape=10, offset=3)._mmap
    /// >>> map.mode
    /// 'w+'
    #[getter]
    pub(crate) fn mode(&self) -> PyResult<&'static str> {
        let state = self.state();
        Ok(mapped(&state.buffer)?.mode().as_str())
    }

    /// Return the offset in the file of the first element of an array on the map, in bytes.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10, offset=3)
    /// >>> x._mmap.file_offset(x[5:])
    /// 8
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     If the array does not lie in the map, or the map is closed.
    fn file_offset(&self, array: &Bound<'_, PyUntypedArray>) -> PyResult<u64> {
        let buffer = self.buffer()?;
        file_offset_of(&buffer, &layout_in(&buffer, array)?)
    }

    fn __len__(&self) -> PyResult<usize> {
        Ok(self.buffer()?.len())
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let filename = match &self.filename {
            Some(filename) => filename.bind(py).str()?.repr()?.to_string(),
            None => "None".into(),
        };
        let Ok(buffer) = self.buffer() else {
            return Ok(format!("<mapcall.Map {filename} closed>"));
        };
        let map = mapped(&buffer)?;
        let (mode, offset, length) = (map.mode(), map.file_offset(), buffer.len());
        Ok(format!(
            "<mapcall.Map {filename} mode='{mode}' {offset}:+{length}>"
        ))
    }

    /// Return the size of the file in bytes.
    ///
    /// If the file no longer has its name, it is the size when the file was mapped.
    ///
    /// >>> import mapcall
    /// >>> map = mapcall.memmap('x.dat', mode='w+', shape=10, offset=3)._mmap
    /// >>> map.size()
    /// 13
    fn size(&self) -> PyResult<u64> {
        let buffer = self.buffer()?;
        let map = mapped(&buffer)?;
        Ok(map.named_file_len().unwrap_or(map.file_len()))
    }

    /// Write changed bytes to the file: all, those of an array, or ``size`` bytes from ``offset`` on.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10)
    /// >>> x[:] = 1
    /// >>> x._mmap.flush(0, 5)
    /// >>> x._mmap.flush(array=x[5:], sync=False)
    ///
    /// Parameters
    /// ----------
    /// offset : int, default 0
    ///     The first byte of the range, counted from the start of the map.
    /// size : int, optional
    ///     The number of bytes; by default all bytes from `offset` on.
    /// array : ndarray, optional
    ///     An array on the map, whose bytes are written in place of the range.
    /// sync : bool, default True
    ///     Return when the bytes are on the disk. If False, the system writes them there later.
    /// wait : bool
    ///     The former name of `sync`.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     If the range is outside of the map, or the map is closed.
    /// OSError
    ///     If the disk fails.
    ///
    /// Warns
    /// -----
    /// ReplacedFileWarning
    ///     If the file's name leads to another file.
    #[pyo3(signature = (offset = 0, size = None, *, array = None, sync = None, wait = None))]
    fn flush(
        &self,
        py: Python<'_>,
        offset: isize,
        size: Option<isize>,
        array: Option<&Bound<'_, PyUntypedArray>>,
        sync: Option<bool>,
        wait: Option<bool>,
    ) -> PyResult<()> {
        if sync.is_some() && wait.is_some() {
            return Err(PyTypeError::new_err(
                "flush: expected sync or wait, which are one option, got both; give sync",
            ));
        }
        let buffer = self.buffer()?;
        let range = if let Some(array) = array {
            range_of(&buffer, array)?
        } else {
            let size = size.unwrap_or(buffer.len().cast_signed().saturating_sub(offset));
            let outside = || PyValueError::new_err("flush values out of range");
            let start = usize::try_from(offset).map_err(|_| outside())?;
            let size = usize::try_from(size).map_err(|_| outside())?;
            start..start.checked_add(size).ok_or_else(outside)?
        };
        let map = mapped(&buffer)?;
        py.detach(|| {
            if sync.or(wait).unwrap_or(true) {
                map.flush(range)
            } else {
                map.flush_async(range)
            }
        })
        .map_err(to_py)?;
        if !map.mode().writes_file() || !py.detach(|| map.is_replaced()) {
            return Ok(());
        }
        let path = map.path().unwrap_or(Path::new("")).display();
        let words = format!(
            "flush: {path} is another file by now: what was written is in the file that was mapped, which \
             has lost this name; open the new one to write to it"
        );
        let words = CString::new(words)?;
        // `memmap.flush` passes the array; the warning is for its caller.
        let level = if array.is_some() { 2 } else { 1 };
        PyErr::warn(py, &py.get_type::<ReplacedFileWarning>(), &words, level)
    }

    /// Pass an option to the system's ``madvise`` for all bytes, or ``length`` bytes from ``start`` on.
    ///
    /// >>> import mapcall, mmap
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10)
    /// >>> x._mmap.madvise(mmap.MADV_RANDOM)
    ///
    /// Parameters
    /// ----------
    /// option : int
    ///     One of the ``MADV_`` constants of the module mmap.
    /// start, length : int, optional
    ///     A range of bytes, which is widened to whole pages.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     If the range is outside of the map; if the option would discard changes in mode 'c'; if
    ///     ``MADV_REMOVE`` is used for bytes that share a page with others.
    /// OSError
    ///     If the system refuses the option.
    #[pyo3(signature = (option, start = 0, length = None))]
    fn madvise(&self, option: c_int, start: isize, length: Option<isize>) -> PyResult<()> {
        let buffer = self.buffer()?;
        let start = usize::try_from(start)
            .ok()
            .filter(|start| *start < buffer.len());
        let start = start.ok_or_else(|| PyValueError::new_err("madvise start out of bounds"))?;
        let length = length.map_or(Ok(buffer.len()), usize::try_from);
        let length = length.map_err(|_| PyValueError::new_err("madvise length invalid"))?;
        let end = start.saturating_add(length).min(buffer.len());
        mapped(&buffer)?.madvise(start..end, option).map_err(to_py)
    }

    /// Pass an advice, by its name, to the system for the pages of an array.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10)
    /// >>> x._mmap.advise(x[:5], 'sequential')
    fn advise(&self, array: &Bound<'_, PyUntypedArray>, advice: &str) -> PyResult<()> {
        let advice = advice
            .parse::<Advice>()
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        let buffer = self.buffer()?;
        mapped(&buffer)?
            .advise(range_of(&buffer, array)?, advice)
            .map_err(to_py)
    }

    /// Read an array into memory; KeyboardInterrupt ends it.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10)
    /// >>> x._mmap.prefetch(x)
    fn prefetch(&self, py: Python<'_>, array: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
        let buffer = self.buffer()?;
        let (map, range) = (mapped(&buffer)?, range_of(&buffer, array)?);
        for start in range.clone().step_by(PREFETCH_STEP) {
            let end = start.saturating_add(PREFETCH_STEP).min(range.end);
            py.detach(|| map.prefetch(start..end)).map_err(to_py)?;
            py.check_signals()?;
        }
        Ok(())
    }

    /// Return a byte for each page of an array: 1 if it is in memory, else 0.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10)
    /// >>> x[:] = 1
    /// >>> x._mmap.residency(x)
    /// b'\x01'
    fn residency(&self, py: Python<'_>, array: &Bound<'_, PyUntypedArray>) -> PyResult<Vec<u8>> {
        let buffer = self.buffer()?;
        let (map, range) = (mapped(&buffer)?, range_of(&buffer, array)?);
        let pages = py.detach(|| map.residency(range)).map_err(to_py)?;
        Ok(pages.into_iter().map(u8::from).collect())
    }

    /// Give the file back: what was written is in the file, which can be deleted, replaced and unmounted.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10)
    /// >>> x._mmap.close()
    /// >>> x._mmap.closed, x
    /// (True, <closed memmap 'x.dat' shape=(10,) dtype=uint8>)
    /// >>> x[0]
    /// Traceback (most recent call last):
    /// mapcall.MapFault: ... the map is closed; open the file again
    ///
    /// Each use of an array on the map raises `MapFault` from then on, with the reason 'closed', also of
    /// plain views, of memoryviews and of pointers to its memory. The addresses stay reserved until the
    /// last array is gone. To close a closed map does nothing.
    ///
    /// Parameters
    /// ----------
    /// sync : bool, default False
    ///     Write changed bytes to the disk first. Otherwise the system does so later.
    ///
    /// Raises
    /// ------
    /// OSError
    ///     If the disk fails.
    #[pyo3(signature = (*, sync = false))]
    fn close(&self, py: Python<'_>, sync: bool) -> PyResult<()> {
        let buffer = {
            let state = self.state();
            if state.is_closed {
                return Ok(());
            }
            state.buffer.clone()
        };
        let map = mapped(&buffer)?;
        if sync && map.mode().writes_file() {
            py.detach(|| map.flush(0..map.len())).map_err(to_py)?;
        }
        faults::ensure(py)?;
        // SAFETY: no Rust code has a typed view of the bytes: arrays of NumPy and C use addresses.
        py.detach(|| unsafe { map.close() }).map_err(to_py)?;
        self.state().is_closed = true;
        Ok(())
    }

    /// True if the map has been closed.
    ///
    /// >>> import mapcall
    /// >>> mapcall.memmap('x.dat', mode='w+', shape=10)._mmap.closed
    /// False
    #[getter]
    fn closed(&self) -> bool {
        self.state().is_closed
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().buffer()?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.close(py, false)
    }

    /// Change the length of the file, so that it ends ``newsize`` bytes behind the map's first one, and map
    /// these bytes.
    ///
    /// >>> import mapcall
    /// >>> map = mapcall.memmap('x.dat', mode='w+', shape=10)._mmap
    /// >>> map.resize(20)
    /// >>> len(map), map.size()
    /// (20, 20)
    ///
    /// It is for maps without arrays, as in the module mmap. `memmap.grow` and `memmap.truncate` change the
    /// length while arrays are alive.
    ///
    /// Raises
    /// ------
    /// BufferError
    ///     If an array on the map, or a view of the buffer protocol, is alive.
    /// TypeError
    ///     If the mode is 'r' or 'c'.
    /// ValueError
    ///     If the size is negative or too large, if the file has no name or another file has it, or if the
    ///     map is closed.
    /// OSError
    ///     If the system can't change the length.
    fn resize(&self, py: Python<'_>, newsize: isize) -> PyResult<()> {
        const REMEDY: &str = "grow or truncate an array on it, as in array.grow(n)";
        let buffer = self.buffer()?;
        if self.state().is_used(py) {
            return Err(PyBufferError::new_err(format!(
                "mmap can't resize with extant pointers exported.; {REMEDY}"
            )));
        }
        let map = mapped(&buffer)?;
        if !map.mode().writes_file() {
            return Err(PyTypeError::new_err(
                "mmap can't resize a readonly or copy-on-write memory map.",
            ));
        }
        let size = usize::try_from(newsize);
        let size = size.map_err(|_| PyValueError::new_err("new size out of range"))?;
        // SAFETY: no Rust code has a typed view of the bytes: arrays of NumPy and C use addresses.
        let resized = py.detach(|| unsafe { map.resized(size) }).map_err(to_py)?;
        self.state().buffer = resized.into();
        Ok(())
    }

    /// Return the bytes from the position on, at most ``n``.
    ///
    /// >>> import mapcall
    /// >>> map = mapcall.memmap('x.dat', mode='w+', shape=3)._mmap
    /// >>> map.read(2), map.read()
    /// (b'\x00\x00', b'\x00')
    #[pyo3(signature = (n = None, /))]
    fn read<'py>(&self, py: Python<'py>, n: Option<isize>) -> PyResult<Bound<'py, PyBytes>> {
        let len = n
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(usize::MAX);
        let (buffer, range) = self.advance(len)?;
        bytes::read(py, &buffer, range)
    }

    /// Return the byte at the position as an int.
    ///
    /// >>> import mapcall
    /// >>> mapcall.memmap('x.dat', mode='w+', shape=3)._mmap.read_byte()
    /// 0
    fn read_byte(&self, py: Python<'_>) -> PyResult<u8> {
        let byte = self.read(py, Some(1))?;
        let byte = byte.as_bytes().first().copied();
        byte.ok_or_else(|| PyValueError::new_err("read byte out of range"))
    }

    /// Return the bytes from the position up to the end of the line.
    ///
    /// >>> import mapcall
    /// >>> map = mapcall.memmap('x.dat', mode='w+', shape=6)._mmap
    /// >>> map[:] = b'a\nbc\nd'
    /// >>> map.readline(), map.readline(), map.readline()
    /// (b'a\n', b'bc\n', b'd')
    fn readline<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let (buffer, range) = self.searched(None, None)?;
        let start = range.start;
        let end = py.detach(|| bytes::find(&buffer, range, b"\n"));
        self.read(py, end.map(|end| (end + 1 - start).cast_signed()))
    }

    /// Set the position, and return it.
    ///
    /// ``pos`` is relative to the beginning, with ``whence=1`` to the position, with ``whence=2`` to the
    /// end.
    ///
    /// >>> import mapcall
    /// >>> map = mapcall.memmap('x.dat', mode='w+', shape=6)._mmap
    /// >>> map.seek(-2, 2)
    /// 4
    #[pyo3(signature = (pos, whence = 0, /))]
    fn seek(&self, pos: isize, whence: c_int) -> PyResult<usize> {
        let len = self.buffer()?.len();
        let mut state = self.state();
        let from = match whence {
            0 => 0,
            1 => state.position,
            2 => len,
            _ => return Err(PyValueError::new_err("unknown seek type")),
        };
        let position = from
            .checked_add_signed(pos)
            .filter(|position| *position <= len);
        state.position = position.ok_or_else(|| PyValueError::new_err("seek out of range"))?;
        Ok(state.position)
    }

    /// Return True: a map has a position that `seek` sets.
    ///
    /// >>> import mapcall
    /// >>> mapcall.memmap('x.dat', mode='w+', shape=6)._mmap.seekable()
    /// True
    #[expect(clippy::unused_self, reason = "a method, as of file objects")]
    fn seekable(&self) -> bool {
        true
    }

    /// Return the position.
    ///
    /// >>> import mapcall
    /// >>> mapcall.memmap('x.dat', mode='w+', shape=6)._mmap.tell()
    /// 0
    fn tell(&self) -> PyResult<usize> {
        self.buffer()?;
        Ok(self.state().position)
    }

    /// Overwrite the bytes from the position on, and return their number.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=6)
    /// >>> x._mmap.write(b'ab'), x.tobytes()
    /// (2, b'ab\x00\x00\x00\x00')
    #[pyo3(signature = (bytes, /))]
    fn write(&self, bytes: &Bound<'_, PyAny>) -> PyResult<usize> {
        let bytes = bytes_of(bytes)?;
        let (buffer, bytes) = (self.writeable()?, bytes.as_bytes());
        let mut state = self.state();
        if bytes.len() > buffer.len().saturating_sub(state.position) {
            return Err(PyValueError::new_err("data out of range"));
        }
        bytes::write(&buffer, state.position, bytes)?;
        state.position += bytes.len();
        Ok(bytes.len())
    }

    /// Overwrite the byte at the position.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=2)
    /// >>> x._mmap.write_byte(7)
    /// >>> x.tobytes()
    /// b'\x07\x00'
    #[pyo3(signature = (byte, /))]
    fn write_byte(&self, byte: u8) -> PyResult<()> {
        let buffer = self.writeable()?;
        let mut state = self.state();
        if state.position >= buffer.len() {
            return Err(PyValueError::new_err("write byte out of range"));
        }
        bytes::write(&buffer, state.position, &[byte])?;
        state.position += 1;
        Ok(())
    }

    /// Copy ``count`` bytes inside of the map; the ranges may overlap.
    ///
    /// >>> import mapcall
    /// >>> map = mapcall.memmap('x.dat', mode='w+', shape=4)._mmap
    /// >>> map[:] = b'abcd'
    /// >>> map.move(1, 0, 3)
    /// >>> map[:]
    /// b'aabc'
    #[pyo3(name = "move", signature = (dest, src, count, /))]
    fn move_(&self, dest: isize, src: isize, count: isize) -> PyResult<()> {
        let buffer = self.writeable()?;
        let outside = || PyValueError::new_err("source, destination, or count out of range");
        let number = |number: isize| usize::try_from(number).map_err(|_| outside());
        let (dest, src, count) = (number(dest)?, number(src)?, number(count)?);
        bytes::copy_within(&buffer, dest, src, count).map_err(|_| outside())
    }

    /// Return the index of the first ``sub`` from ``start``, or the position, on; -1 if there is none.
    ///
    /// >>> import mapcall
    /// >>> map = mapcall.memmap('x.dat', mode='w+', shape=4)._mmap
    /// >>> map[:] = b'abab'
    /// >>> map.find(b'b'), map.find(b'b', 2), map.find(b'c')
    /// (1, 3, -1)
    #[pyo3(signature = (sub, start = None, end = None, /))]
    fn find(
        &self,
        py: Python<'_>,
        sub: &Bound<'_, PyAny>,
        start: Option<isize>,
        end: Option<isize>,
    ) -> PyResult<isize> {
        let sub = bytes_of(sub)?;
        let (buffer, range) = self.searched(start, end)?;
        let sub = sub.as_bytes();
        let found = py.detach(|| bytes::find(&buffer, range, sub));
        Ok(found.map_or(-1, usize::cast_signed))
    }

    /// Return the index of the last ``sub`` from ``start``, or the position, on; -1 if there is none.
    ///
    /// >>> import mapcall
    /// >>> map = mapcall.memmap('x.dat', mode='w+', shape=4)._mmap
    /// >>> map[:] = b'abab'
    /// >>> map.rfind(b'b'), map.rfind(b'b', 0, 3)
    /// (3, 1)
    #[pyo3(signature = (sub, start = None, end = None, /))]
    fn rfind(
        &self,
        py: Python<'_>,
        sub: &Bound<'_, PyAny>,
        start: Option<isize>,
        end: Option<isize>,
    ) -> PyResult<isize> {
        let sub = bytes_of(sub)?;
        let (buffer, range) = self.searched(start, end)?;
        let sub = sub.as_bytes();
        let found = py.detach(|| bytes::rfind(&buffer, range, sub));
        Ok(found.map_or(-1, usize::cast_signed))
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let len = self.buffer()?.len();
        let index = Index::new(index, len)?;
        // The conversion of an index may run Python code, which may close the map.
        let buffer = self.buffer()?;
        let byte = |index| bytes::byte(&buffer, index);
        match index {
            Index::One(index) => Ok(byte(index)?.into_pyobject(py)?.into_any()),
            Index::Slice {
                start,
                step: 1,
                len,
            } => {
                let start = start.cast_unsigned();
                Ok(bytes::read(py, &buffer, start..start + len)?.into_any())
            }
            Index::Slice { start, step, len } => {
                let bytes = steps(start, step, len)
                    .map(byte)
                    .collect::<PyResult<Vec<u8>>>()?;
                Ok(PyBytes::new(py, &bytes).into_any())
            }
        }
    }

    fn __setitem__(&self, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let len = self.writeable()?.len();
        let (start, step, value) = match Index::new(index, len)? {
            Index::One(index) => (index.cast_signed(), 1, vec![byte_of(value)?]),
            Index::Slice { start, step, len } => {
                let value = bytes_of(value)?.as_bytes().to_vec();
                if value.len() != len {
                    return Err(PyIndexError::new_err("mmap slice assignment is wrong size"));
                }
                (start, step, value)
            }
        };
        // The conversion of an index or a value may run Python code, which may close the map.
        let buffer = self.writeable()?;
        if step == 1 {
            return bytes::write(&buffer, start.cast_unsigned(), &value);
        }
        for (index, byte) in steps(start, step, value.len()).zip(value) {
            bytes::write(&buffer, index, &[byte])?;
        }
        Ok(())
    }

    /// Iterate over the bytes; as with ``mmap.mmap``, each is a bytes of length 1.
    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let view = PyMemoryView::from(slf.as_any())?;
        let view = view.call_method1(intern!(py, "cast"), (intern!(py, "c"),))?;
        Ok(view.try_iter()?.into_any())
    }

    /// ``mmap.mmap``, for ``isinstance``. It is ``Map`` while a copy-on-write map has changes, since
    /// programs that find an ``mmap.mmap`` read the file in place of the array.
    ///
    /// >>> import mapcall, mmap
    /// >>> isinstance(mapcall.memmap('x.dat', mode='w+', shape=4)._mmap, mmap.mmap)
    /// True
    #[getter(__class__)]
    fn class<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyType>> {
        static MMAP: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        let py = slf.py();
        if let Ok(buffer) = slf.get().buffer()
            && mapped(&buffer)?
                .has_private_changes(0..buffer.len())
                .map_err(to_py)?
        {
            return Ok(slf.get_type());
        }
        Ok(MMAP.import(py, "mmap", "mmap")?.clone())
    }

    #[expect(clippy::unused_self, reason = "a method, as of every object")]
    fn __reduce__(&self) -> PyResult<Py<PyAny>> {
        Err(PyTypeError::new_err(
            "cannot pickle 'mapcall.Map' object; pickle an array on it",
        ))
    }

    /// # Safety
    ///
    /// `view` is null, or valid for writes of a `Py_buffer`.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let buffer = slf.get().buffer()?;
        let readonly = c_int::from(!buffer.is_writeable());
        let len = isize::try_from(buffer.len())?;
        // SAFETY: the caller guarantees that `view` is null or valid for writes. The pointer is valid for
        // `len` bytes as long as `slf` has the buffer: the filled view has a reference to `slf`, and
        // `close` does not drop the buffer.
        let failed = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                buffer.as_mut_ptr().cast(),
                len,
                readonly,
                flags,
            )
        };
        if failed != 0 {
            return Err(PyErr::fetch(slf.py()));
        }
        let mut state = slf.get().state();
        state.exports += 1;
        Ok(())
    }

    /// # Safety
    ///
    /// `view` is one that `__getbuffer__` has filled.
    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.state().exports -= 1;
    }
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

/// Converts the value of a byte; the exceptions are those of ``mmap.mmap``.
fn byte_of(value: &Bound<'_, PyAny>) -> PyResult<u8> {
    match value.extract::<isize>() {
        Ok(byte) => u8::try_from(byte)
            .map_err(|_| PyValueError::new_err("mmap item value must be in range(0, 256)")),
        Err(error) if error.is_instance_of::<PyTypeError>(value.py()) => {
            Err(PyTypeError::new_err("mmap item value must be an int"))
        }
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => Err(
            PyTypeError::new_err("cannot fit 'int' into an index-sized integer"),
        ),
        Err(error) => Err(error),
    }
}
