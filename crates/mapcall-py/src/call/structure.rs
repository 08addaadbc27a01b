//! The dtypes of C types in NumPy.

use mapcall::ctype::CType;
use numpy::PyArrayDescr;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::convert;

/// Returns NumPy's dtype for a C type.
pub(super) fn dtype<'py>(py: Python<'py>, ctype: &CType) -> PyResult<Bound<'py, PyArrayDescr>> {
    let dtype = ctype
        .dtype()
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    convert::to_numpy(py, &dtype)
}
