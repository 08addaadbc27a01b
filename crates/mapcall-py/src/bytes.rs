//! Bytes of a map, which other threads and processes may write meanwhile: copied, never borrowed.

#![allow(unsafe_code)]

use std::ops::Range;

use mapcall_array::Buffer;
use memchr::memmem;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// How much is copied at once in order to search it.
const CHUNK: usize = 1 << 18;

/// Copies the bytes from one on; whether there are as many.
fn copy_out(buffer: &Buffer, start: usize, into: &mut [u8]) -> bool {
    let end = start.checked_add(into.len());
    if end.is_none_or(|end| end > buffer.len()) {
        return false;
    }
    let source = buffer.as_ptr().wrapping_add(start);
    // SAFETY: the source was checked to lie in the buffer, which is borrowed; `into` is exclusively
    // borrowed memory, and the buffer's bytes are never lent as references.
    unsafe { source.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
    true
}

/// A range of bytes as a new object.
pub(crate) fn read<'py>(
    py: Python<'py>,
    buffer: &Buffer,
    range: Range<usize>,
) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, range.len(), |into| {
        if copy_out(buffer, range.start, into) {
            Ok(())
        } else {
            Err(outside())
        }
    })
}

/// One byte.
pub(crate) fn byte(buffer: &Buffer, index: usize) -> PyResult<u8> {
    let mut byte = [0];
    if copy_out(buffer, index, &mut byte) {
        Ok(byte[0])
    } else {
        Err(outside())
    }
}

/// Overwrites bytes of a writeable buffer.
pub(crate) fn write(buffer: &Buffer, start: usize, bytes: &[u8]) -> PyResult<()> {
    let end = start.checked_add(bytes.len());
    if !buffer.is_writeable() || end.is_none_or(|end| end > buffer.len()) {
        return Err(outside());
    }
    let target = buffer.as_mut_ptr().wrapping_add(start);
    // SAFETY: the target was checked to lie in the buffer, which is borrowed and writeable; `bytes` is
    // memory of another object, since the buffer's own are never lent as references.
    unsafe { target.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    Ok(())
}

/// Copies `len` bytes of a writeable buffer from `source` to `target`, which may overlap.
pub(crate) fn copy_within(
    buffer: &Buffer,
    target: usize,
    source: usize,
    len: usize,
) -> PyResult<()> {
    let is_inside = |start: usize| {
        start
            .checked_add(len)
            .is_some_and(|end| end <= buffer.len())
    };
    if !buffer.is_writeable() || !is_inside(source) || !is_inside(target) {
        return Err(outside());
    }
    let (from, to) = (
        buffer.as_ptr().wrapping_add(source),
        buffer.as_mut_ptr().wrapping_add(target),
    );
    // SAFETY: both ranges were checked to lie in the buffer, which is borrowed and writeable.
    unsafe { to.copy_from(from, len) };
    Ok(())
}

/// Where `pattern` first stands in a range of bytes.
pub(crate) fn find(buffer: &Buffer, range: Range<usize>, pattern: &[u8]) -> Option<usize> {
    let finder = memmem::Finder::new(pattern);
    let overlap = pattern.len().saturating_sub(1);
    let (mut chunk, mut start) = (Vec::new(), range.start);
    loop {
        let end = range.end.min(start.saturating_add(CHUNK + overlap));
        chunk.resize(end.checked_sub(start)?, 0);
        if !copy_out(buffer, start, &mut chunk) {
            return None;
        }
        if let Some(found) = finder.find(&chunk) {
            return Some(start + found);
        }
        if end == range.end {
            return None;
        }
        start = end - overlap;
    }
}

/// Where `pattern` last stands in a range of bytes.
pub(crate) fn rfind(buffer: &Buffer, range: Range<usize>, pattern: &[u8]) -> Option<usize> {
    let finder = memmem::FinderRev::new(pattern);
    let overlap = pattern.len().saturating_sub(1);
    let (mut chunk, mut end) = (Vec::new(), range.end);
    loop {
        let start = range.start.max(end.saturating_sub(CHUNK + overlap));
        chunk.resize(end.checked_sub(start)?, 0);
        if !copy_out(buffer, start, &mut chunk) {
            return None;
        }
        if let Some(found) = finder.rfind(&chunk) {
            return Some(start + found);
        }
        if start == range.start {
            return None;
        }
        end = start + overlap;
    }
}

fn outside() -> PyErr {
    PyIndexError::new_err("the bytes do not lie in the map, or it is read-only")
}
