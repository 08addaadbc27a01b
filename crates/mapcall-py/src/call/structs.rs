//! `mapcall.Struct`, a C struct or union, and the attributes of its objects.

use std::ptr::NonNull;
use std::sync::Arc;

use mapcall::contract::{Rule, Scalar, target_name};
use mapcall::ctype::{BitField, CType, Record};
use numpy::PyArrayDescr;
use pyo3::exceptions::{PyAttributeError, PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use super::bits::Bits;
use super::callback::{Callback, NamedRecipient, Recipient};
use super::handle::Handle;
use super::place::Place;
use super::store::Writer;
use super::struct_object::{Struct, StructMemory, StructObject, allocate, has_pointers};
use super::{ndarray, number, pointee, structure};
use crate::errors::missing_attribute;

#[pymethods]
impl Struct {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.library.object)
    }

    /// Make a struct in memory.
    #[pyo3(signature = (**members))]
    fn __call__(
        &self,
        py: Python<'_>,
        members: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<StructObject> {
        let (array, address) = allocate(py, &self.ctype, 1)?;
        let size = self.ctype.size().unwrap_or_default();
        let memory = StructMemory::new(py, array.into_any().unbind(), address, size, false)?;
        let library = self.library.clone_ref(py);
        let object = StructObject::new(py, library, self.ctype.clone(), memory)?;
        let record = self.record()?;
        for (name, value) in members.into_iter().flatten() {
            let name: String = name.extract()?;
            if !object.set(py, record, &name, &value)? {
                // The writer has the message for a name that is unknown.
                let mut writer = Writer::new(py, &self.library, &self.name, "");
                let unknown = PyDict::new(py);
                unknown.set_item(name, value)?;
                writer.write(&self.ctype, &unknown, &mut vec![0; object.size()])?;
            }
        }
        Ok(object)
    }

    /// Return the struct at a pointer.
    ///
    /// >>> import mapcall
    /// >>> libc = mapcall.load(None)
    /// >>> localeconv = libc.function(
    /// ...     "struct lconv { char *decimal_point, *thousands_sep; }; struct lconv *localeconv(void)")
    /// >>> libc.struct("lconv").at(localeconv()).decimal_point.text()
    /// '.'
    ///
    /// Parameters
    /// ----------
    /// handle : Handle
    ///     A pointer to such a struct, or to ``void``. It stays open as long as the struct is used. In a
    ///     callback, the struct is on a copy as arrays are: see `Handle.array`.
    ///
    /// Returns
    /// -------
    /// StructObject
    ///     The struct, whose members are those in C's memory.
    ///
    /// Raises
    /// ------
    /// TypeError
    ///     If the handle is a pointer to another type.
    /// ValueError
    ///     If the handle is closed.
    fn at(&self, handle: &Bound<'_, Handle>) -> PyResult<StructObject> {
        let (py, target) = (handle.py(), handle.get().target());
        if target != "void" && target != target_name(&self.ctype) {
            return Err(PyTypeError::new_err(format!(
                "{}: expected a pointer to {0}, got a handle to {target}",
                target_name(&self.ctype)
            )));
        }
        pointee::at(handle, self.library.clone_ref(py), self.ctype.clone())
    }

    /// Make a C function pointer of a callable, for one of the members. Keep it as long as C may call it.
    ///
    /// >>> import mapcall
    /// >>> lib = mapcall.load(None)
    /// >>> _ = lib.function("struct ops { int (*add)(int a, int b); }; int abs(int j)")
    /// >>> ops = lib.struct("ops")
    /// >>> add = ops.callback("add", lambda a, b: a + b)
    /// >>> ops(add=add).add(2, 3)
    /// 5
    ///
    /// A callable that is assigned to the member of a struct object is kept alive by that object; so this
    /// method is for structs that are copied.
    ///
    /// Parameters
    /// ----------
    /// member : str
    ///     The name of a member that is a function pointer.
    /// callable : callable
    ///     It is called with a number, text or `Handle` for each argument.
    ///
    /// Returns
    /// -------
    /// Callback
    ///     The function pointer.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     If there is no such member, or if it is no function pointer.
    fn callback(&self, member: &str, callable: &Bound<'_, PyAny>) -> PyResult<Callback> {
        let record = self.record()?;
        let known = record.named_members();
        let ctype = known.iter().find(|(name, ..)| *name == member);
        let rule = ctype.and_then(|(_, ctype, ..)| Rule::of_element(ctype).ok());
        let Some(Rule::Function(wanted)) = rule else {
            return Err(PyValueError::new_err(format!(
                "{}: expected a member that is a function pointer, got {member:?}",
                self.name
            )));
        };
        let recipient = Recipient::Named(Arc::new(NamedRecipient {
            library: self.library.inner.clone(),
            function: self.name.clone(),
            parameter: member.to_owned(),
            keeper: format!("struct.callback({member:?}, ...)"),
        }));
        Callback::new(&recipient, &wanted, callable)
    }

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
    ///     If there is no such dtype: the struct has bit-fields, or a flexible array at the end.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArrayDescr>> {
        structure::dtype(py, &self.ctype)
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
    /// >>> import mapcall
    /// >>> import numpy as np
    /// >>> lib = mapcall.load(None)
    /// >>> _ = lib.function("struct flags { unsigned kind : 3; int level : 6; }; int abs(int j)")
    /// >>> flags = lib.struct("flags")
    /// >>> x = np.zeros(2, flags.dtype)
    /// >>> flags.set(x, "kind", [1, 7])
    /// >>> flags.get(x, "kind")
    /// array([1, 7], dtype=uint32)
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

impl StructObject {
    fn record(&self) -> PyResult<&Record> {
        match self.ctype.resolved() {
            CType::Record(record) => Ok(record),
            _ => Err(PyValueError::new_err(format!(
                "{} is no struct",
                self.ctype
            ))),
        }
    }

    /// Sets a member. Returns false if there is none of that name.
    fn set(
        &self,
        py: Python<'_>,
        record: &Record,
        name: &str,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let known = record.named_members();
        let Some(&(_, ctype, offset, bits)) = known.iter().find(|(known, ..)| *known == name)
        else {
            return Ok(false);
        };
        let struct_name = target_name(&self.ctype);
        if self.is_read_only() {
            return Err(PyAttributeError::new_err(format!(
                "{struct_name}: {name}: C's memory is read-only"
            )));
        }
        let mut writer = Writer::new(py, &self.library, &struct_name, name);
        let mut bytes = vec![0; ctype.size().unwrap_or_default()];
        if let Some(bits) = bits {
            // The bits beside those of the member stay.
            bytes = self.read(offset..offset + bits.bytes());
            writer.bits(ctype, bits, value, &mut bytes)?;
        } else {
            writer.write(ctype, value, &mut bytes)?;
        }
        let kept = writer.into_pointers();
        self.write(py, offset, &bytes, kept)?;
        Ok(true)
    }

    /// Returns the value of a member.
    fn get<'py>(
        &self,
        py: Python<'py>,
        (name, ctype, offset, bits): (&str, &CType, usize, Option<BitField>),
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(bits) = bits {
            let value = bits.read(&self.read(offset..offset + bits.bytes()));
            let value = match ctype.resolved() {
                CType::Bool => Scalar::Bool(value != 0),
                _ => Scalar::Int(value),
            };
            return number::to_python(py, value);
        }
        let size = ctype.size().unwrap_or_default();
        let address = self.address().as_ptr().wrapping_byte_add(offset);
        let start = self.offset + offset;
        let place = Place {
            py,
            library: &self.library,
            name,
            address: NonNull::new(address).unwrap_or(self.address()),
            is_read_only: self.is_read_only(),
            owner: self.memory.bind(py).clone().into_any(),
            kept: self.memory.get().objects(py, &(start..start + size)),
            memory: (&self.memory, start),
            enclosing: Some(&self.ctype),
        };
        place.read(ctype, &self.read(offset..offset + size))
    }
}

#[pymethods]
impl StructObject {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.library.object)?;
        visit.call(&self.memory)
    }

    fn __getattr__<'py>(this: &Bound<'py, Self>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let object = this.get();
        let known = object.record()?.named_members();
        if let Some(member) = known.into_iter().find(|(known, ..)| *known == name) {
            return object.get(this.py(), member);
        }
        let message = format!(
            "struct {} has no member '{name}'",
            target_name(&object.ctype)
        );
        Err(missing_attribute(this, name, message))
    }

    fn __setattr__(this: &Bound<'_, Self>, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let object = this.get();
        if object.set(this.py(), object.record()?, name, value)? {
            return Ok(());
        }
        let message = format!(
            "struct {} has no member '{name}'",
            target_name(&object.ctype)
        );
        Err(missing_attribute(this, name, message))
    }

    fn __delattr__(&self, name: &str) -> PyResult<()> {
        Err(PyAttributeError::new_err(format!(
            "{}: {name}: a member can't be deleted; assign None or 0",
            target_name(&self.ctype)
        )))
    }

    fn __dir__<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        let py = this.py();
        let object = py.import("builtins")?.getattr("object")?;
        let all = PyList::empty(py);
        for name in object.call_method1("__dir__", (this,))?.try_iter()? {
            all.append(name?)?;
        }
        for (name, ..) in this.get().record()?.named_members() {
            all.append(name)?;
        }
        Ok(all)
    }

    /// Return an array without axes on the struct.
    #[pyo3(signature = (dtype = None, copy = None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<&Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if has_pointers(&self.ctype) {
            return Err(PyTypeError::new_err(format!(
                "{} has pointers, which an array does not keep alive; read its members",
                target_name(&self.ctype)
            )));
        }
        ndarray::converted(self.array(py, 0)?.as_any(), dtype, copy)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let members = self.record()?.named_members();
        let members = members.into_iter().map(|member| {
            let value = self.get(py, member)?;
            Ok(format!("{}={}", member.0, value.repr()?))
        });
        let members = members.collect::<PyResult<Vec<_>>>()?;
        Ok(format!(
            "<{}: {}>",
            target_name(&self.ctype),
            members.join(", ")
        ))
    }
}
