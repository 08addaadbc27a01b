//! Items and slices of a map's bytes, with the exceptions of ``mmap.mmap``.

use pyo3::exceptions::{PyIndexError, PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PySlice};

use super::{Map, bytes_of};
use crate::bytes;

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

/// Returns a byte as an int, or those of a slice.
///
/// # Errors
///
/// `IndexError` if the index is outside of the map, `TypeError` if it is no integer, `ValueError` if the map is closed.
pub(super) fn get<'py>(
    map: &Map,
    py: Python<'py>,
    index: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let len = map.buffer()?.len();
    let index = Index::new(index, len)?;
    // The conversion of an index may run Python code, which may close the map.
    let buffer = map.buffer()?;
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

/// Overwrites a byte, or those of a slice.
///
/// # Errors
///
/// Those of [`get`]; `TypeError` if the map is read-only, and `IndexError` if the value has another length than the
/// slice.
pub(super) fn set(map: &Map, index: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let len = map.writeable()?.len();
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
    let buffer = map.writeable()?;
    if step == 1 {
        return bytes::write(&buffer, start.cast_unsigned(), &value);
    }
    for (index, byte) in steps(start, step, value.len()).zip(value) {
        bytes::write(&buffer, index, &[byte])?;
    }
    Ok(())
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
