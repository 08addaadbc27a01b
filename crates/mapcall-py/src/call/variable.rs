//! `mapcall.Variable`: a variable that a library exports.

use mapcall::contract::{Number, Rule};
use mapcall::ctype::CType;
use mapcall::prototype::Variable as Declared;
use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::ndarray;
use super::place::Place;
use super::store::Writer;
use super::struct_object::{LibraryReference, StructMemory, StructObject, has_pointers};
use crate::convert;

/// A variable that a library exports.
///
/// >>> import mapcall
/// >>> libc = mapcall.load(None)
/// >>> opterr = libc.variable("int opterr")
/// >>> opterr.value = 0
/// >>> int(opterr)
/// 0
/// >>> opterr.value = 1
/// >>> opterr.value
/// 1
///
/// `Library.variable` returns it, and so do the attributes of a library with a header. It is an argument by
/// its value. The library stays loaded while the variable or an array on it is in use.
///
/// As in C, another thread may change a variable at any time.
#[pyclass(frozen, module = "mapcall", weakref)]
pub(crate) struct Variable {
    library: LibraryReference,
    inner: mapcall::Variable,
    /// The memory of the variable, and what its pointers lead to.
    memory: Py<StructMemory>,
}

impl Variable {
    pub(super) fn new(
        py: Python<'_>,
        library: LibraryReference,
        inner: mapcall::Variable,
    ) -> PyResult<Self> {
        let owner = library.object.clone_ref(py);
        let is_const = inner.declaration().is_const;
        let size = inner.declaration().ctype.size().unwrap_or_default();
        let memory = StructMemory::new(py, owner, inner.address(), size, is_const)?;
        Ok(Self {
            library,
            inner,
            memory: Py::new(py, memory)?,
        })
    }

    /// Returns whether it is the variable of a declaration.
    pub(super) fn is_of(&self, declared: &Declared) -> bool {
        self.inner.declaration() == declared
    }

    fn size(&self) -> PyResult<usize> {
        self.inner.declaration().ctype.size().ok_or_else(|| {
            PyTypeError::new_err(format!(
                "{}: its size is not known; read it with array(shape)",
                self.inner.declaration().name
            ))
        })
    }

    /// Returns the variable as a struct, by which its bytes are read and written.
    fn object(&self, py: Python<'_>) -> StructObject {
        StructObject {
            library: self.library.clone_ref(py),
            ctype: self.inner.declaration().ctype.clone(),
            memory: self.memory.clone_ref(py),
            offset: 0,
        }
    }

    fn place<'a, 'py>(&'a self, py: Python<'py>, size: usize) -> Place<'a, 'py> {
        Place {
            py,
            library: &self.library,
            name: &self.inner.declaration().name,
            address: self.inner.address(),
            is_read_only: self.inner.declaration().is_const,
            owner: self.memory.bind(py).clone().into_any(),
            kept: self.memory.get().objects(py, &(0..size)),
            memory: (&self.memory, 0),
            enclosing: None,
        }
    }

    /// Returns the value as an argument for a parameter; a number for an array parameter is an array of length
    /// 1, which C reads or writes.
    pub(super) fn argument<'py>(
        &self,
        py: Python<'py>,
        rule: &Rule,
    ) -> PyResult<Bound<'py, PyAny>> {
        let is_number = Number::of(&self.inner.declaration().ctype).is_some();
        match rule {
            Rule::Array(_) | Rule::Pointer(_) if is_number => self
                .place(py, 0)
                .array(&self.inner.declaration().ctype, &[1]),
            _ => self.get(py),
        }
    }

    /// Returns the value as a Python object.
    pub(super) fn get<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let size = self.size()?;
        let bytes = self.object(py).read(0..size);
        self.place(py, size)
            .read(&self.inner.declaration().ctype, &bytes)
    }
}

#[pymethods]
impl Variable {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.library.object)?;
        visit.call(&self.memory)
    }

    /// The name in C.
    ///
    /// >>> import mapcall
    /// >>> mapcall.load(None).variable("int opterr").name
    /// 'opterr'
    #[getter]
    fn name(&self) -> &str {
        &self.inner.declaration().name
    }

    /// The C type.
    ///
    /// >>> import mapcall
    /// >>> mapcall.load(None).variable("char *optarg").type
    /// 'char *'
    #[getter]
    fn r#type(&self) -> String {
        self.inner.declaration().ctype.to_string()
    }

    /// The value: a number; a `Handle` for a pointer, or None for NULL; a `Function` for a function pointer; a
    /// `StructObject`; an array on an array's memory.
    ///
    /// >>> import mapcall
    /// >>> libc = mapcall.load(None)
    /// >>> libc.variable("char *const *environ").value
    /// <mapcall.Handle: char * at ...>
    ///
    /// A pointer that is assigned keeps its object alive as long as the `Library` is in use, until another
    /// value is assigned.
    ///
    /// Raises
    /// ------
    /// AttributeError
    ///     If a value is assigned to a constant.
    /// ArgumentError
    ///     If the type does not have the value.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.get(py)
    }

    #[setter]
    fn set_value(&self, py: Python<'_>, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let Declared { name, ctype, .. } = self.inner.declaration();
        if self.inner.declaration().is_const {
            let message = format!("{name} is const and can't be assigned to");
            return Err(PyAttributeError::new_err(message));
        }
        let mut bytes = vec![0; self.size()?];
        let mut writer = Writer::new(py, &self.library, name, "");
        writer.write(ctype, value, &mut bytes)?;
        let kept = writer.into_pointers();
        self.object(py).write(py, 0, &bytes, kept)
    }

    /// Return an array on the variable's memory, which keeps the library loaded; it is read-only if the
    /// variable is const.
    ///
    /// >>> import mapcall
    /// >>> libc = mapcall.load(None)
    /// >>> libc.variable("int opterr").array()
    /// array(..., dtype=int32)
    ///
    /// Parameters
    /// ----------
    /// shape : int or tuple of int, optional
    ///     The number of elements on each axis; by default those of the declaration. It is needed for an array
    ///     that is declared without a length, and can't be checked then.
    ///
    /// Returns
    /// -------
    /// ndarray
    ///     The array.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     If the variable has fewer elements, or if there is no dtype for its type.
    #[pyo3(signature = (shape = None))]
    fn array<'py>(
        &self,
        py: Python<'py>,
        shape: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut item = self.inner.declaration().ctype.resolved();
        let mut known = Some(Vec::new());
        while let CType::Array(array) = item {
            match (array.length, &mut known) {
                (Some(length), Some(known)) => known.push(length),
                _ => known = None,
            }
            item = array.item.resolved();
        }
        let name = &self.inner.declaration().name;
        let count = |shape: &[usize]| shape.iter().try_fold(1_usize, |n, &m| n.checked_mul(m));
        let shape = match (shape, &known) {
            (Some(shape), _) => convert::shape(shape)?.unwrap_or_default(),
            (None, Some(known)) => known.clone(),
            (None, None) => {
                let message = format!("{name}: its length is not declared; give a shape");
                return Err(PyValueError::new_err(message));
            }
        };
        if let Some(known) = &known
            && count(&shape).is_none_or(|wanted| Some(wanted) > count(known))
        {
            return Err(PyValueError::new_err(format!(
                "{name}: expected a shape of at most {} elements, got {shape:?}",
                count(known).unwrap_or_default()
            )));
        }
        self.place(py, 0).array(item, &shape)
    }

    /// Return an array on the variable's memory.
    #[pyo3(signature = (dtype = None, copy = None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<&Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if has_pointers(&self.inner.declaration().ctype) {
            return Err(PyTypeError::new_err(format!(
                "{} has pointers, which an array does not keep alive; read its value",
                self.inner.declaration().name
            )));
        }
        ndarray::converted(self.array(py, None)?.as_any(), dtype, copy)
    }

    fn __int__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let int = py.import("builtins")?.getattr("int")?;
        int.call1((self.get(py)?,))
    }

    fn __float__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let float = py.import("builtins")?.getattr("float")?;
        float.call1((self.get(py)?,))
    }

    fn __index__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let operator = py.import("operator")?;
        operator.call_method1("index", (self.get(py)?,))
    }

    fn __repr__(&self) -> String {
        let Declared { name, ctype, .. } = self.inner.declaration();
        format!("<mapcall.Variable: {}>", ctype.declare(name))
    }
}
