//! `mapcall.Struct`: a C struct or union for Python.

use mapcall::ctype::CType;
use numpy::PyArrayDescr;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::bits::Bits;
use crate::convert;

/// A C struct or union with the layout of the C compiler.
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
/// `Library.struct` returns it.
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

/// Returns NumPy's dtype for a C type.
pub(super) fn dtype<'py>(py: Python<'py>, ctype: &CType) -> PyResult<Bound<'py, PyArrayDescr>> {
    let dtype = ctype
        .dtype()
        .map_err(|error| PyValueError::new_err(error.to_string()))?;
    convert::to_numpy(py, &dtype)
}

#[pymethods]
impl Struct {
    /// The name of the struct.
    ///
    /// >>> import mapcall
    /// >>> mapcall.load(None, header="stdlib.h").struct("div_t").name
    /// 'div_t'
    #[getter]
    fn name(&self) -> &str {
        &self.name
    }

    /// The dtype whose items have the layout of the struct.
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
    ///     If there is no such dtype, as of a struct with a flexible array at the end.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArrayDescr>> {
        dtype(py, &self.ctype)
    }

    /// The size in bytes; None if it isn't known.
    ///
    /// >>> import mapcall
    /// >>> mapcall.load(None, header="stdlib.h").struct("div_t").size
    /// 8
    #[getter]
    fn size(&self) -> Option<usize> {
        self.ctype.size()
    }

    /// The alignment in bytes; None if it isn't known.
    ///
    /// >>> import mapcall
    /// >>> mapcall.load(None, header="stdlib.h").struct("div_t").alignment
    /// 4
    #[getter]
    fn alignment(&self) -> Option<usize> {
        self.ctype.alignment()
    }

    /// Return the values of a bit-field.
    ///
    /// >>> import mapcall
    /// >>> import numpy as np
    /// >>> lib = mapcall.load(None)
    /// >>> _ = lib.function("struct flags { unsigned kind : 3; int level : 6; }; int abs(int j)")
    /// >>> flags = lib.struct("flags")
    /// >>> flags.dtype
    /// dtype([('kind:3 level:6', '<u4')], align=True)
    /// >>> x = np.zeros(3, flags.dtype)
    /// >>> flags.set(x, "level", [1, -2, 3])
    /// >>> flags.get(x, "level")
    /// array([ 1, -2,  3], dtype=int32)
    ///
    /// Bit-fields that share storage are one field of the dtype, named after all of them.
    ///
    /// Parameters
    /// ----------
    /// records : ndarray or void
    ///     Structs, an array of the struct's `dtype` or an item of one.
    /// name : str
    ///     The name of the bit-field.
    ///
    /// Returns
    /// -------
    /// ndarray or scalar
    ///     The values, of the type of the bit-field and the shape of the records.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     If there is no such bit-field, or if the records have another dtype.
    fn get<'py>(&self, records: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        Bits::new((&self.name, &self.ctype), records, name)?.get()
    }

    /// Set the values of a bit-field. The other bits of its storage stay.
    ///
    /// Parameters
    /// ----------
    /// records : ndarray or void
    ///     Structs, a writeable array of the struct's `dtype` or an item of one.
    /// name : str
    ///     The name of the bit-field.
    /// values : array_like of int
    ///     The values, which broadcast to the shape of the records.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     If there is no such bit-field, or if the records have another dtype or are read-only.
    /// TypeError
    ///     If the values are no integers.
    /// OverflowError
    ///     If a value has more bits than the bit-field; then no record is changed.
    fn set<'py>(
        &self,
        records: &Bound<'py, PyAny>,
        name: &str,
        values: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        Bits::new((&self.name, &self.ctype), records, name)?.set(values)
    }

    fn __repr__(&self) -> String {
        format!("<mapcall.Struct: {}>", self.ctype)
    }
}
