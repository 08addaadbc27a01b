//! The dtype that an array must have.

use mapcall::array::DType;
use mapcall::contract::{Problem, check_dtype};
use mapcall::ctype::CType;
use numpy::PyArrayDescr;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::ndarray;
use crate::convert;

/// The dtype that a C type asks of an array's elements.
pub(super) struct Expected {
    /// NumPy's dtype for the C type.
    pub(super) dtype: Py<PyArrayDescr>,
    ctype: CType,
    core: DType,
    /// Another dtype that the check has accepted: that of the first array which had it.
    other: PyOnceLock<Py<PyArrayDescr>>,
}

impl Expected {
    pub(super) fn new(py: Python<'_>, ctype: &CType, dtype: &DType) -> PyResult<Self> {
        Ok(Self {
            dtype: convert::to_numpy(py, dtype)?.unbind(),
            ctype: ctype.clone(),
            core: dtype.clone(),
            other: PyOnceLock::new(),
        })
    }

    /// Checks the dtype of an array.
    ///
    /// # Errors
    ///
    /// The [`Problem`] with it, if its elements are not those of the C type.
    #[inline]
    pub(super) fn check(&self, dtype: &Bound<'_, PyArrayDescr>) -> Result<(), Problem> {
        if dtype.is(&self.dtype) {
            return Ok(());
        }
        self.check_unusual(dtype)
    }

    /// Checks a dtype that is another object than the usual one.
    #[cold]
    fn check_unusual(&self, dtype: &Bound<'_, PyArrayDescr>) -> Result<(), Problem> {
        let py = dtype.py();
        let is_known = self.other.get(py).is_some_and(|other| other.is(dtype));
        if is_known || ndarray::is_same(self.dtype.bind(py), dtype) {
            return Ok(());
        }
        match ndarray::core_dtype(dtype) {
            Ok(found) => check_dtype(&self.ctype, &self.core, &found)?,
            Err(found) => {
                let expected = self.core.clone();
                return Err(Problem::ForeignDType { expected, found });
            }
        }
        let _ = self.other.set(py, dtype.clone().unbind());
        Ok(())
    }
}
