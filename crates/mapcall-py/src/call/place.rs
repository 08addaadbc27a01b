//! The conversion of values in C's memory to Python objects: members of structs, and variables.

use std::ffi::c_void;
use std::ptr::NonNull;

use mapcall::call::scalar_slots;
use mapcall::contract::Number;
use mapcall::ctype::CType;
use mapcall::function::KeepAlive;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};

use super::function::Function;
use super::handle::{self, Handle};
use super::returns::{function_pointed_to, type_name};
use super::struct_object::{
    LibraryReference, StructMemory, StructObject, has_pointers, only_declared,
};
use super::{ndarray, number, structure};

/// A value in the memory of C.
pub(super) struct Place<'a, 'py> {
    pub(super) py: Python<'py>,
    pub(super) library: &'a LibraryReference,
    /// The name of the member or variable.
    pub(super) name: &'a str,
    pub(super) address: NonNull<c_void>,
    pub(super) is_read_only: bool,
    /// The object that owns the memory.
    pub(super) owner: Bound<'py, PyAny>,
    /// The objects that pointers in the memory lead to.
    pub(super) kept: Vec<Bound<'py, PyAny>>,
    /// The memory of the struct that the value is a member of, and its offset there.
    pub(super) memory: (&'a Py<StructMemory>, usize),
    /// The type of that struct; `None` for a variable.
    pub(super) enclosing: Option<&'a CType>,
}

impl<'py> Place<'_, 'py> {
    /// Converts the value to a Python object. `bytes` is a copy of it.
    ///
    /// # Errors
    ///
    /// `ValueError` if there is no dtype for its type.
    pub(super) fn read(&self, ctype: &CType, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        match ctype.resolved() {
            CType::Pointer(_) => self.pointer(ctype, bytes),
            CType::Record(_) => self.record(ctype),
            CType::Array(array) if has_pointers(&array.item) => {
                let size = array.item.size().unwrap_or_default().max(1);
                let elements = bytes.chunks_exact(size).enumerate();
                let elements = elements.map(|(index, bytes)| {
                    let address = self.address.as_ptr().wrapping_byte_add(index * size);
                    let place = Place {
                        address: NonNull::new(address).unwrap_or(self.address),
                        owner: self.owner.clone(),
                        kept: self.kept.clone(),
                        memory: (self.memory.0, self.memory.1 + index * size),
                        ..*self
                    };
                    place.read(&array.item, bytes)
                });
                let elements = elements.collect::<PyResult<Vec<_>>>()?;
                Ok(PyList::new(py, elements)?.into_any())
            }
            CType::Array(_) => self.array(ctype, &[]),
            _ => {
                let slots = scalar_slots(bytes);
                match Number::of(ctype) {
                    Some(number) if !number.is_extended() => {
                        number::to_python(py, number.value(&slots))
                    }
                    _ => ndarray::item(&structure::dtype(py, ctype)?, &slots),
                }
            }
        }
    }

    /// Returns an array on values of the type in memory.
    pub(super) fn array(&self, ctype: &CType, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
        let dtype = structure::dtype(self.py, ctype)?;
        let (owner, is_writeable) = (self.owner.clone(), !self.is_read_only);
        ndarray::on_memory(&dtype, shape, self.address, is_writeable, owner)
    }

    fn record(&self, ctype: &CType) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let (memory, offset) = self.memory;
        let object = StructObject {
            library: self.library.clone_ref(py),
            ctype: ctype.clone(),
            memory: memory.clone_ref(py),
            offset,
        };
        Ok(Bound::new(py, object)?.into_any())
    }

    fn pointer(&self, ctype: &CType, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let [slot, ..] = scalar_slots(bytes);
        let CType::Pointer(pointer) = ctype.resolved() else {
            return Ok(py.None().into_bound(py));
        };
        let Some(address) = handle::address(slot) else {
            return Ok(py.None().into_bound(py));
        };
        let mut kept = self.kept.clone();
        kept.push(self.owner.clone());
        let kept = PyTuple::new(py, kept)?.unbind();
        let library = &self.library.inner;
        if let Some(function) = function_pointed_to(pointer) {
            let library = (self.library.object.bind(py), library);
            let named = type_name(ctype);
            let name = named.as_deref().unwrap_or(self.name);
            let function = Function::of_pointer(library, name, &function, address, Some(kept))?;
            return Ok(function.into_any());
        }
        let inner = handle::at_address(library, pointer, address, KeepAlive::default());
        let target = self.completed(&pointer.target);
        let pointers = self.memory.0.get().kept().clone_ref(py);
        let handle = Handle::new(inner, target, Some(kept)).sharing(Some(pointers));
        let handle = handle.of_library(self.library.object.clone_ref(py));
        Ok(Bound::new(py, handle)?.into_any())
    }

    /// Returns the type that a pointer leads to. The library of a callback's handle is not known, but a struct that is
    /// declared in its own definition is.
    fn completed(&self, target: &CType) -> CType {
        let target = self.library.completed(self.py, target);
        let Some(declared) = only_declared(&target) else {
            return target;
        };
        let enclosing = self
            .enclosing
            .filter(|enclosing| match enclosing.resolved() {
                CType::Record(own) => (own.kind, &own.tag) == (declared.kind, &declared.tag),
                _ => false,
            });
        enclosing.unwrap_or(&target).clone()
    }
}
