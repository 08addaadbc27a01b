//! `mapcall.Map`: what a memmap's base is, and what owns its memory.

#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::ops::Range;
use std::path::Path;

use mapcall_array::map::{Advice, MapError};
use mapcall_array::{Buffer, Error, Layout};
use numpy::PyUntypedArray;
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::errors::{ReplacedFileWarning, to_py};
use crate::memory::layout_in;

/// A range of a file in memory; it lives as long as an array on it does.
///
/// >>> import mapcall
/// >>> array = mapcall.memmap('x.dat', mode='w+', shape=(3, 4), dtype='f4')
/// >>> array[1:].T.base is array, type(array.base).__name__, len(array.base)
/// (True, 'Map', 48)
///
/// It has what packages use of the ``mmap.mmap`` that ``numpy.memmap._mmap`` is: its length, the
/// buffer protocol, ``flush``, ``madvise`` and ``size``. It has no descriptor.
#[pyclass(frozen, weakref, module = "mapcall")]
pub(crate) struct Map {
    buffer: Buffer,
    filename: Option<Py<PyAny>>,
    offset: u64,
}

impl Map {
    pub(crate) fn new(buffer: Buffer, filename: Option<Py<PyAny>>, offset: u64) -> Self {
        Self {
            buffer,
            filename,
            offset,
        }
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    pub(crate) fn map(&self) -> PyResult<&mapcall_array::Map> {
        let not_mapped = || {
            to_py(Error::Map {
                path: None,
                source: MapError::NotMapped,
            })
        };
        self.buffer.map().ok_or_else(not_mapped)
    }

    /// Whether an address is one of the map's bytes, or the one behind them.
    pub(crate) fn holds(&self, address: usize) -> bool {
        let first = self.buffer.as_ptr().addr();
        (first..=first.saturating_add(self.buffer.len())).contains(&address)
    }

    /// Where in the file a layout in the map begins.
    pub(crate) fn file_offset_of(&self, layout: &Layout) -> PyResult<u64> {
        Ok(self.map()?.file_offset() + u64::try_from(layout.offset())?)
    }

    /// The bytes that an array touches, counted from the map's first.
    fn range_of(&self, array: &Bound<'_, PyUntypedArray>) -> PyResult<Range<usize>> {
        Ok(layout_in(&self.buffer, array)?.bounds())
    }
}

/// How much is read ahead between two looks at pending signals.
const PREFETCH_STEP: usize = 64 << 20;

#[pymethods]
impl Map {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.filename)
    }

    /// The file: a str, a Path when it was opened by one, None when it has no name.
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

    /// The offset in the file that was asked for, in bytes.
    ///
    /// >>> import mapcall
    /// >>> map = mapcall.memmap('x.dat', mode='w+', shape=10, offset=3)._mmap
    /// >>> map.offset
    /// 3
    #[getter]
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// How the file was opened: 'r', 'r+', 'w+' or 'c'.
    ///
    /// >>> import mapcall
    /// >>> map = mapcall.memmap('x.dat', mode='w+', shape=10, offset=3)._mmap
    /// >>> map.mode
    /// 'w+'
    #[getter]
    pub(crate) fn mode(&self) -> PyResult<&'static str> {
        Ok(self.map()?.mode().as_str())
    }

    /// Where in the file the first element of an array on the map stands, in bytes.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10, offset=3)
    /// >>> x._mmap.file_offset(x[5:])
    /// 8
    fn file_offset(&self, array: &Bound<'_, PyUntypedArray>) -> PyResult<u64> {
        self.file_offset_of(&layout_in(&self.buffer, array)?)
    }

    fn __len__(&self) -> usize {
        self.buffer.len()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let filename = match &self.filename {
            Some(filename) => filename.bind(py).str()?.repr()?.to_string(),
            None => "None".into(),
        };
        let (offset, length) = (self.map()?.file_offset(), self.buffer.len());
        Ok(format!(
            "<mapcall.Map {filename} mode='{}' {offset}:+{length}>",
            self.mode()?
        ))
    }

    /// The size of the file when it was opened, in bytes.
    ///
    /// >>> import mapcall
    /// >>> map = mapcall.memmap('x.dat', mode='w+', shape=10, offset=3)._mmap
    /// >>> map.size()
    /// 13
    fn size(&self) -> PyResult<u64> {
        Ok(self.map()?.file_len())
    }

    /// Writes changed bytes to the file: all, an array's own, or ``size`` from ``offset`` on.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10)
    /// >>> x[:] = 1
    /// >>> x._mmap.flush(0, 5)
    /// >>> x._mmap.flush(array=x[5:], wait=False)
    ///
    /// It warns when the file's name leads to another file.
    #[pyo3(signature = (offset = 0, size = None, *, array = None, wait = true))]
    fn flush(
        &self,
        py: Python<'_>,
        offset: usize,
        size: Option<usize>,
        array: Option<&Bound<'_, PyUntypedArray>>,
        wait: bool,
    ) -> PyResult<()> {
        let range = match array {
            Some(array) => self.range_of(array)?,
            None => self.range(offset, size)?,
        };
        let map = self.map()?;
        py.detach(|| {
            if wait {
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
        // The caller of `memmap.flush`, which gives the array.
        let level = if array.is_some() { 2 } else { 1 };
        PyErr::warn(py, &py.get_type::<ReplacedFileWarning>(), &words, level)
    }

    /// Advises the system about pages, as ``mmap.madvise``: all, or ``length`` from ``start`` on.
    ///
    /// >>> import mapcall, mmap
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10)
    /// >>> x._mmap.madvise(mmap.MADV_RANDOM)
    #[pyo3(signature = (option, start = 0, length = None))]
    fn madvise(&self, option: c_int, start: usize, length: Option<usize>) -> PyResult<()> {
        let advice = known_advice(option)?;
        self.map()?
            .advise(self.range(start, length)?, advice)
            .map_err(to_py)
    }

    /// Advises the system about the pages of an array, by the advice's name.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10)
    /// >>> x._mmap.advise(x[:5], 'sequential')
    fn advise(&self, array: &Bound<'_, PyUntypedArray>, advice: &str) -> PyResult<()> {
        let advice = advice
            .parse::<Advice>()
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        self.map()?
            .advise(self.range_of(array)?, advice)
            .map_err(to_py)
    }

    /// Brings an array into memory; an interrupt stops it.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10)
    /// >>> x._mmap.prefetch(x)
    fn prefetch(&self, py: Python<'_>, array: &Bound<'_, PyUntypedArray>) -> PyResult<()> {
        let (map, range) = (self.map()?, self.range_of(array)?);
        for start in range.clone().step_by(PREFETCH_STEP) {
            let end = start.saturating_add(PREFETCH_STEP).min(range.end);
            py.detach(|| map.prefetch(start..end)).map_err(to_py)?;
            py.check_signals()?;
        }
        Ok(())
    }

    /// Which of an array's pages are in memory, as bytes of 0 and 1.
    ///
    /// >>> import mapcall
    /// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10)
    /// >>> x[:] = 1
    /// >>> x._mmap.residency(x)
    /// b'\x01'
    fn residency(&self, py: Python<'_>, array: &Bound<'_, PyUntypedArray>) -> PyResult<Vec<u8>> {
        let (map, range) = (self.map()?, self.range_of(array)?);
        let pages = py.detach(|| map.residency(range)).map_err(to_py)?;
        Ok(pages.into_iter().map(u8::from).collect())
    }

    /// # Safety
    ///
    /// `view` is the buffer protocol's, valid or null.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let buffer = slf.get().buffer();
        let readonly = c_int::from(!buffer.is_writeable());
        let len = isize::try_from(buffer.len())?;
        // SAFETY: the bytes live as long as `slf`, which the view keeps.
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
        if failed == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}

impl Map {
    fn range(&self, start: usize, len: Option<usize>) -> PyResult<Range<usize>> {
        let end = match len {
            Some(len) => start.checked_add(len),
            None => Some(self.buffer.len().max(start)),
        };
        let end = end.ok_or_else(|| PyValueError::new_err("offset and size overflow"))?;
        Ok(start..end)
    }
}

/// The advice that one of the module mmap's `MADV_` constants means, on Linux and macOS.
fn known_advice(option: c_int) -> PyResult<Advice> {
    match option {
        0 => Ok(Advice::Normal),
        1 => Ok(Advice::Random),
        2 => Ok(Advice::Sequential),
        3 => Ok(Advice::WillNeed),
        4 => Ok(Advice::DontNeed),
        14 => Ok(Advice::HugePage),
        _ => Err(PyValueError::new_err(format!(
            "madvise option {option} is not supported; take MADV_NORMAL, MADV_RANDOM, \
             MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED or MADV_HUGEPAGE"
        ))),
    }
}
