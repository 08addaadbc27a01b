//! The dtype that an array must have.

use std::borrow::Cow;

use mapcall::array::DType;
use numpy::PyArrayDescr;
use pyo3::prelude::*;

use super::ndarray;
use crate::convert;

/// The dtype that a C type asks of an array's elements.
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

/// Converts the dtype of an array to one of the core. The usual one, which is `expected`, is only
/// compared.
///
/// # Errors
///
/// NumPy's name of a dtype that the core does not have.
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

/// A converted dtype as the check takes it.
pub(super) fn borrowed<'a>(
    dtype: &'a Result<Cow<'_, DType>, String>,
) -> Result<&'a DType, &'a str> {
    dtype.as_deref().map_err(String::as_str)
}
