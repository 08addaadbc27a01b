//! Conversion of C strings to Python's str and bytes.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};
use std::slice;

use pyo3::exceptions::PyValueError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

/// The Python type of a C string, which is the option `text` of a function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    Str,
    Bytes,
    /// A `Handle`: nothing is read.
    Handle,
}

impl Text {
    /// Returns the type with a name.
    ///
    /// # Errors
    ///
    /// `ValueError` if there is no type of that name.
    pub(super) fn named(name: &str) -> PyResult<Self> {
        match name {
            "str" => Ok(Self::Str),
            "bytes" => Ok(Self::Bytes),
            "handle" => Ok(Self::Handle),
            other => Err(PyValueError::new_err(format!(
                "text must be 'str', 'bytes' or 'handle', got '{other}'"
            ))),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Str => "str",
            Self::Bytes => "bytes",
            Self::Handle => "handle",
        }
    }
}

/// Copies the C string at an address; returns None for NULL.
///
/// # Errors
///
/// `UnicodeDecodeError` if the type is str and the string is not UTF-8.
pub(super) fn copy(py: Python<'_>, address: u64, kind: Text) -> PyResult<Bound<'_, PyAny>> {
    let address = usize::try_from(address).unwrap_or_default();
    let text: *const c_char = ptr::with_exposed_provenance(address);
    if text.is_null() {
        return Ok(py.None().into_bound(py));
    }
    // SAFETY: the address is a pointer to characters that a C function returned or passed to a
    // callback, and not NULL. The user of `load` guarantees that the prototype is right, so it points to
    // a string that ends with a NUL.
    converted(py, unsafe { CStr::from_ptr(text) }.to_bytes(), kind)
}

/// Copies characters of a known number at an address, whatever is among them.
///
/// # Errors
///
/// `UnicodeDecodeError` if the type is str and the characters are not UTF-8.
///
/// # Safety
///
/// The address is that of as many characters.
pub(super) unsafe fn copy_of_length(
    py: Python<'_>,
    address: NonNull<c_void>,
    length: usize,
    kind: Text,
) -> PyResult<Bound<'_, PyAny>> {
    // SAFETY: the caller guarantees that as many characters can be read.
    let text = unsafe { slice::from_raw_parts(address.as_ptr().cast(), length) };
    converted(py, text, kind)
}

fn converted<'py>(py: Python<'py>, text: &[u8], kind: Text) -> PyResult<Bound<'py, PyAny>> {
    match kind {
        Text::Str => PyString::from_bytes(py, text).map(Bound::into_any),
        Text::Bytes | Text::Handle => Ok(PyBytes::new(py, text).into_any()),
    }
}

/// Returns the bytes of a `str` of ASCII characters or of a `bytes`, with the NUL behind them; `None` for any
/// other object.
///
/// # Safety
///
/// `object` points to an object that is alive for `'a`.
#[inline]
pub(super) unsafe fn plain<'a>(object: *mut PyObject) -> Option<&'a [u8]> {
    let mut length = 0;
    // SAFETY: the caller guarantees that `object` points to a live object.
    let text = if unsafe { ffi::PyUnicode_Check(object) } != 0 {
        // SAFETY: `object` points to a live `str`.
        if unsafe { ffi::PyUnicode_IS_COMPACT_ASCII(object) } == 0 {
            return None;
        }
        // SAFETY: `object` points to a live `str`. For one in ASCII the function returns the address of its
        // characters.
        unsafe { ffi::PyUnicode_AsUTF8AndSize(object, &raw mut length) }
    } else {
        // SAFETY: the caller guarantees that `object` points to a live object.
        if unsafe { ffi::PyBytes_Check(object) } == 0 {
            return None;
        }
        // SAFETY: `object` points to a live `bytes`.
        length = unsafe { ffi::PyBytes_Size(object) };
        // SAFETY: `object` points to a live `bytes`.
        unsafe { ffi::PyBytes_AS_STRING(object) }
    };
    let length = usize::try_from(length).ok().filter(|_| !text.is_null())?;
    // SAFETY: a NUL stands behind the bytes of a `bytes` object (`PyBytes_AsString`) and behind the UTF-8 of
    // a `str` (`PyUnicode_AsUTF8AndSize`), which live as long as the object.
    Some(unsafe { slice::from_raw_parts(text.cast(), length + 1) })
}
