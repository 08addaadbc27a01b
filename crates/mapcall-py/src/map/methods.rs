//! The methods of `Map` in Python: those of ``mmap.mmap``, and those of arrays on the map.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ops::Range;

use mapcall_array::Buffer;
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyType};

use super::{Map, bytes_of, file_offset_of, index, mapped, paging};
use crate::bytes;
use crate::errors::to_py;
use crate::faults;
use crate::memory::layout_in;
use crate::once::{Once, intern};

impl Map {
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

    /// Returns the index of bytes that `find` finds between two bounds; -1 if there are none.
    fn search(
        &self,
        py: Python<'_>,
        sub: &Bound<'_, PyAny>,
        (start, end): (Option<isize>, Option<isize>),
        find: fn(&Buffer, Range<usize>, &[u8]) -> Option<usize>,
    ) -> PyResult<isize> {
        let sub = bytes_of(sub)?;
        let (buffer, range) = self.searched(start, end)?;
        let sub = sub.as_bytes();
        let found = py.detach(|| find(&buffer, range, sub));
        Ok(found.map_or(-1, usize::cast_signed))
    }
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
        let range = match array {
            Some(array) => range_of(&buffer, array)?,
            None => paging::range(&buffer, offset, size)?,
        };
        // `memmap.flush` passes the array; the warning is for its caller.
        let level = if array.is_some() { 2 } else { 1 };
        paging::flush(py, &buffer, range, sync.or(wait).unwrap_or(true), level)
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
        paging::madvise(&self.buffer()?, option, start, length)
    }

    /// Pass an advice, by its name, to the system for the pages of an array.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10)
    /// >>> x._mmap.advise(x[:5], 'sequential')
    fn advise(&self, array: &Bound<'_, PyUntypedArray>, advice: &str) -> PyResult<()> {
        let buffer = self.buffer()?;
        paging::advise(&buffer, range_of(&buffer, array)?, advice)
    }

    /// Read an array into memory; KeyboardInterrupt ends it.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10)
    /// >>> x._mmap.prefetch(x)
    fn prefetch(&self, py: Python<'_>, array: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
        let buffer = self.buffer()?;
        paging::prefetch(py, &buffer, range_of(&buffer, array)?)
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
        self.search(py, sub, (start, end), bytes::find)
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
        self.search(py, sub, (start, end), bytes::rfind)
    }

    fn __getitem__<'py>(
        &self,
        py: Python<'py>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        index::get(self, py, index)
    }

    fn __setitem__(&self, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        index::set(self, index, value)
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
        static MMAP: Once<Py<PyType>> = Once::new();
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
