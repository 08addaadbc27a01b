//! `mapcall.Struct`: a C struct for Python.

use mapcall::ctype::CType;
use numpy::PyArrayDescr;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::convert;

/// A C struct or union, with the layout that the C compiler of this machine gives it.
///
/// >>> import mapcall
/// >>> import numpy as np
/// >>> lib = mapcall.load(None)
/// >>> _ = lib.function("typedef struct { int quot, rem; } div_t; div_t div(int numer, int denom)")
/// >>> lib.struct("div_t").dtype
/// dtype([('quot', '<i4'), ('rem', '<i4')], align=True)
/// >>> np.zeros(3, lib.struct("div_t").dtype)["rem"]
/// array([0, 0, 0], dtype=int32)
///
/// Made by `Library.struct`.
#[pyclass(frozen, module = "mapcall")]
pub(crate) struct Struct {
    name: String,
    ctype: CType,
}

impl Struct {
    pub(super) fn new(name: &str, ctype: CType) -> Self {
        Self {
            name: name.to_owned(),
            ctype,
        }
    }
}

/// NumPy's dtype for a C type.
pub(super) fn dtype<'py>(py: Python<'py>, ctype: &CType) -> PyResult<Bound<'py, PyArrayDescr>> {
    let dtype = ctype
        .dtype()
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    convert::to_numpy(py, &dtype)
}

#[pymethods]
impl Struct {
    /// The tag or typedef name by which it was found.
    ///
    /// >>> import mapcall
    /// >>> mapcall.load(None, header="stdlib.h").struct("div_t").name
    /// 'div_t'
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// The structured dtype whose elements have the layout of the struct.
    ///
    /// >>> import mapcall
    /// >>> lib = mapcall.load(None)
    /// >>> _ = lib.function("struct pair { char tag; double x; }; int abs(int j)")
    /// >>> lib.struct("pair").dtype
    /// dtype([('tag', 'i1'), ('x', '<f8')], align=True)
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     If NumPy has none: the struct has bit-fields, or a flexible array member.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArrayDescr>> {
        dtype(py, &self.ctype)
    }

    /// The size in bytes; None if the type is incomplete.
    ///
    /// >>> import mapcall
    /// >>> mapcall.load(None, header="stdlib.h").struct("div_t").size
    /// 8
    #[getter]
    fn size(&self) -> Option<usize> {
        self.ctype.size()
    }

    /// The alignment in bytes; None if the type is incomplete.
    ///
    /// >>> import mapcall
    /// >>> mapcall.load(None, header="stdlib.h").struct("div_t").alignment
    /// 4
    #[getter]
    fn alignment(&self) -> Option<usize> {
        self.ctype.alignment()
    }

    fn __repr__(&self) -> String {
        format!("<mapcall.Struct: {}>", self.ctype)
    }
}
