//! Copies of a map's bytes. Other threads and processes may write them at any time, so no
//! reference to them is ever made.

#![allow(unsafe_code)]

use std::ops::Range;

use mapcall_array::Buffer;
use memchr::memmem;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The number of bytes that a search copies at once.
const CHUNK: usize = 1 << 18;

/// Copies the bytes of `buffer` from `start` on until `into` is full. Returns false, and copies
/// nothing, if the buffer has fewer.
fn copy_out(buffer: &Buffer, start: usize, into: &mut [u8]) -> bool {
    let end = start.checked_add(into.len());
    if end.is_none_or(|end| end > buffer.len()) {
        return false;
    }
    let source = buffer.as_ptr().wrapping_add(start);
    // SAFETY: `start..end` was checked to lie in the buffer, whose memory is valid while it is
    // borrowed. `into` is exclusively borrowed, and no reference to bytes of a buffer exists, so the
    // two don't overlap.
    unsafe { source.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
    true
}

/// Returns a range of bytes as a new object.
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

/// Returns the byte at `index`.
pub(crate) fn byte(buffer: &Buffer, index: usize) -> PyResult<u8> {
    let mut byte = [0];
    if copy_out(buffer, index, &mut byte) {
        Ok(byte[0])
    } else {
        Err(outside())
    }
}

/// Overwrites the bytes of a writeable buffer from `start` on with `bytes`.
pub(crate) fn write(buffer: &Buffer, start: usize, bytes: &[u8]) -> PyResult<()> {
    let end = start.checked_add(bytes.len());
    if !buffer.is_writeable() || end.is_none_or(|end| end > buffer.len()) {
        return Err(outside());
    }
    let target = buffer.as_mut_ptr().wrapping_add(start);
    // SAFETY: `start..end` was checked to lie in the buffer, which is borrowed and writeable. No
    // reference to bytes of a buffer exists, so `bytes` is other memory.
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
    // SAFETY: both ranges were checked to lie in the buffer, which is borrowed and writeable; `copy`
    // allows them to overlap.
    unsafe { to.copy_from(from, len) };
    Ok(())
}

/// Returns the index of the first occurrence of `pattern` in a range of bytes.
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

/// Returns the index of the last occurrence of `pattern` in a range of bytes.
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
