//! The dtype that an array must have.

use std::borrow::Cow;

use mapcall::array::DType;
use numpy::PyArrayDescr;
use pyo3::prelude::*;

use super::ndarray;
use crate::convert;

/// The dtype that the elements of an array must have for a C type.
pub(super) struct Expected {
    /// NumPy's dtype for the C type.
    pub(super) dtype: Py<PyArrayDescr>,
    core: DType,
}

impl Expected {
    pub(super) fn new(py: Python<'_>, dtype: &DType) -> PyResult<Self> {
        Ok(Self {
            dtype: convert::to_numpy(py, dtype)?.unbind(),
            core: dtype.clone(),
        })
    }
}

/// Converts the dtype of an array to one of the core. If it is that of `expected`, the conversion is
/// saved.
///
/// # Errors
///
/// The name in NumPy of a dtype that the core does not have.
#[inline]
pub(super) fn convert<'a>(
    expected: Option<&'a Expected>,
    dtype: &Bound<'_, PyArrayDescr>,
) -> Result<Cow<'a, DType>, String> {
    match expected {
        Some(expected)
            if dtype.is(&expected.dtype)
                || ndarray::is_same(expected.dtype.bind(dtype.py()), dtype) =>
        {
            Ok(Cow::Borrowed(&expected.core))
        }
        _ => ndarray::core_dtype(dtype).map(Cow::Owned),
    }
}

/// Returns a converted dtype as the argument of a check.
pub(super) fn borrowed<'a>(
    dtype: &'a Result<Cow<'_, DType>, String>,
) -> Result<&'a DType, &'a str> {
    dtype.as_deref().map_err(String::as_str)
}
