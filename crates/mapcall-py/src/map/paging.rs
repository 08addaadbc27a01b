//! The pages of a map: writing them to the file, and advice about them to the system.

use std::ffi::{CString, c_int};
use std::ops::Range;
use std::path::Path;

use mapcall_array::Buffer;
use mapcall_array::map::Advice;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::mapped;
use crate::errors::{ReplacedFileWarning, to_py};

/// The number of bytes that are prefetched between two checks for signals.
const PREFETCH_STEP: usize = 64 << 20;

/// Returns the range of `size` bytes from `offset` on; of all bytes from there on if the size is `None`.
///
/// # Errors
///
/// `ValueError` if a number is negative or the end too large.
pub(super) fn range(buffer: &Buffer, offset: isize, size: Option<isize>) -> PyResult<Range<usize>> {
    let size = size.unwrap_or(buffer.len().cast_signed().saturating_sub(offset));
    let outside = || PyValueError::new_err("flush values out of range");
    let start = usize::try_from(offset).map_err(|_| outside())?;
    let size = usize::try_from(size).map_err(|_| outside())?;
    Ok(start..start.checked_add(size).ok_or_else(outside)?)
}

/// Writes changed bytes to the file, and waits for the disk if `is_sync`. If the file's name leads to another file,
/// it warns the caller at `level` of the stack.
///
/// # Errors
///
/// `ValueError` if the range is outside of the map, `OSError` if the disk fails.
pub(super) fn flush(
    py: Python<'_>,
    buffer: &Buffer,
    range: Range<usize>,
    is_sync: bool,
    level: i32,
) -> PyResult<()> {
    let map = mapped(buffer)?;
    py.detach(|| {
        if is_sync {
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
    PyErr::warn(py, &py.get_type::<ReplacedFileWarning>(), &words, level)
}

/// Passes an option to the system's `madvise` for `length` bytes from `start` on; for all from there on if the length
/// is `None`.
///
/// # Errors
///
/// `ValueError` if the range is outside of the map or the map refuses the option, `OSError` if the system does.
pub(super) fn madvise(
    buffer: &Buffer,
    option: c_int,
    start: isize,
    length: Option<isize>,
) -> PyResult<()> {
    let start = usize::try_from(start)
        .ok()
        .filter(|start| *start < buffer.len());
    let start = start.ok_or_else(|| PyValueError::new_err("madvise start out of bounds"))?;
    let length = length.map_or(Ok(buffer.len()), usize::try_from);
    let length = length.map_err(|_| PyValueError::new_err("madvise length invalid"))?;
    let end = start.saturating_add(length).min(buffer.len());
    mapped(buffer)?.madvise(start..end, option).map_err(to_py)
}

/// Passes an advice, by its name, to the system for a range of bytes.
///
/// # Errors
///
/// `ValueError` if there is no such advice, `OSError` if the system refuses it.
pub(super) fn advise(buffer: &Buffer, range: Range<usize>, advice: &str) -> PyResult<()> {
    let advice = advice
        .parse::<Advice>()
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    mapped(buffer)?.advise(range, advice).map_err(to_py)
}

/// Reads a range of bytes into memory.
///
/// # Errors
///
/// `KeyboardInterrupt` or another exception of a signal's handler, `OSError` if the file can't be read.
pub(super) fn prefetch(py: Python<'_>, buffer: &Buffer, range: Range<usize>) -> PyResult<()> {
    let map = mapped(buffer)?;
    for start in range.clone().step_by(PREFETCH_STEP) {
        let end = start.saturating_add(PREFETCH_STEP).min(range.end);
        py.detach(|| map.prefetch(start..end)).map_err(to_py)?;
        py.check_signals()?;
    }
    Ok(())
}
