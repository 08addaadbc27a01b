//! The value that a handle points to.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::slice;

use mapcall::call::scalar_slots;
use mapcall::contract::{Number, target_name};
use mapcall::ctype::{CType, Pointer};
use mapcall::function::KeepAlive;
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyTuple};

use super::callback::Callback;
use super::function::Function;
use super::handle::{self, Handle};
use super::returns::{function_pointed_to, type_name};
use super::store::Writer;
use super::struct_object::{LibraryReference, StructMemory, StructObject, has_pointers};
use super::{errors, ndarray, number, structure};

/// Returns the value that a handle points to.
///
/// # Errors
///
/// `IndexError` if the index is not 0, `TypeError` if the type has no values, `ValueError` if the handle is
/// closed.
pub(super) fn get<'py>(
    handle: &Bound<'py, Handle>,
    index: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = handle.py();
    check_index(handle, index)?;
    if let Some(number) = lent_number(handle) {
        return number;
    }
    let in_use = handle.get().open()?;
    let pointer = handle.get().pointer();
    if let Some(scope) = &pointer.scope {
        scope.write_back();
    }
    let (ctype, address) = (&pointer.ctype, in_use.address());
    match ctype.resolved() {
        CType::Record(_) if ctype.size().is_some() => {
            let library = library(handle);
            Ok(Bound::new(py, at(handle, library, ctype.clone())?)?.into_any())
        }
        CType::Pointer(target) => {
            // SAFETY: the handle is open. The user of `load` guarantees that the prototype is right, so that it
            // leads to a pointer.
            let target_address = unsafe { address.cast::<usize>().read_unaligned() };
            pointer_in(handle, ctype, target, target_address)
        }
        _ => match Number::of(ctype) {
            Some(number) if number.is_extended() => {
                // SAFETY: the handle is open, and leads to a value of the type by the prototype.
                let slots = unsafe { slots_at(ctype, address) };
                ndarray::item(&structure::dtype(py, ctype)?, &slots)
            }
            // SAFETY: the handle is open, and leads to a value of the type by the prototype.
            Some(number) => unsafe { number_at(py, number, ctype, address) },
            None => Err(no_value(handle)),
        },
    }
}

/// Returns the number that a pointer leads to which a running callback has received; `None` for any other handle.
#[inline]
pub(super) fn lent_number<'py>(handle: &Bound<'py, Handle>) -> Option<PyResult<Bound<'py, PyAny>>> {
    let (address, parameter) = handle.get().lent_value()?;
    let (number, ctype) = (parameter.number?, &parameter.pointer.target);
    // SAFETY: C's memory is valid while the callback runs. The user of `load` guarantees that the prototype is
    // right, so that it has a value of the type.
    Some(unsafe { number_at(handle.py(), number, ctype, address) })
}

/// Sets the value that a handle points to.
///
/// # Errors
///
/// Those of [`get`]; `ValueError` if C's memory is read-only, and `ArgumentError` or `TypeError` if the type
/// does not take the value.
pub(super) fn set<'py>(
    handle: &Bound<'py, Handle>,
    index: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = handle.py();
    check_index(handle, index)?;
    let in_use = handle.get().open()?;
    let pointer = handle.get().pointer();
    let ctype = &pointer.ctype;
    if pointer.inner.is_read_only() {
        return Err(PyValueError::new_err(format!(
            "expected a handle to memory that may be written, got one to const {}",
            handle.get().target()
        )));
    }
    let size = match (ctype.resolved(), ctype.size()) {
        (CType::Function(_), _) | (_, None) => return Err(no_value(handle)),
        (_, Some(size)) => size,
    };
    let is_kept_elsewhere = match ctype.resolved() {
        CType::Pointer(_) => {
            value.is_none()
                || value.is_instance_of::<Handle>()
                || value.is_instance_of::<Function>()
                || value.is_instance_of::<Callback>()
        }
        _ => !has_pointers(ctype),
    };
    if !is_kept_elsewhere {
        return Err(PyTypeError::new_err(format!(
            "expected a handle, a function, a Callback or None for {ctype}, got {}: nothing would keep its \
             memory alive",
            errors::what(value)?
        )));
    }
    let library = library(handle);
    let target = handle.get().target();
    let mut writer = Writer::new(py, &library, target, "[0]");
    let mut bytes = vec![0; size];
    writer.write(ctype, value, &mut bytes)?;
    if let Some(scope) = &pointer.scope {
        scope.write_back();
    }
    let to = in_use.address().as_ptr().cast::<u8>();
    // SAFETY: the handle is open, and its memory may be written. The user of `load` guarantees that the
    // prototype is right, so that it has a value of the type; `bytes` is memory of Rust.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, size) };
    Ok(())
}

/// Returns the struct at a pointer.
///
/// # Errors
///
/// `ValueError` if the handle is closed.
pub(super) fn at(
    handle: &Bound<'_, Handle>,
    library: LibraryReference,
    ctype: CType,
) -> PyResult<StructObject> {
    let py = handle.py();
    let dtype = structure::dtype(py, &ctype)?;
    let array = handle.call_method1(intern!(py, "array"), (PyTuple::empty(py), dtype))?;
    let array = array.cast_into::<PyUntypedArray>()?;
    let memory = ndarray::memory(&array);
    let (address, is_read_only) = (memory.address.cast(), !memory.is_writeable);
    let Some(address) = NonNull::new(address) else {
        return Err(PyValueError::new_err("expected a pointer, got NULL"));
    };
    let memory = StructMemory::new(array.into_any().unbind(), address, is_read_only);
    StructObject::new(py, library, ctype, memory)
}

/// Checks that an index is 0.
fn check_index(handle: &Bound<'_, Handle>, index: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(number) = index.cast_exact::<PyInt>()
        && matches!(number.extract::<i64>(), Ok(0))
    {
        return Ok(());
    }
    Err(wrong_index(handle, index))
}

#[cold]
fn wrong_index(handle: &Bound<'_, Handle>, index: &Bound<'_, PyAny>) -> PyErr {
    let target = handle.get().target();
    let found = index.repr().map(|found| found.to_string());
    PyIndexError::new_err(format!(
        "expected the index 0 of a handle to {target}, got {}; C does not tell how many items there are: \
         take array(n), and the item of it",
        found.unwrap_or_default()
    ))
}

#[cold]
fn no_value(handle: &Bound<'_, Handle>) -> PyErr {
    let target = handle.get().target();
    PyTypeError::new_err(format!(
        "expected a handle to a type with values, got one to {target}; write the type in the prototype \
         (`double *p`, or a struct with its definition), or take array((), \"f8\")"
    ))
}

fn library(handle: &Bound<'_, Handle>) -> LibraryReference {
    LibraryReference {
        object: handle.py().None(),
        inner: handle.get().inner().library().clone(),
    }
}

/// Returns the object for a pointer that stands in the memory of a handle.
fn pointer_in<'py>(
    owner: &Bound<'py, Handle>,
    ctype: &CType,
    pointer: &Pointer,
    address: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let py = owner.py();
    let Some(address) = handle::address(address as u64) else {
        return Ok(py.None().into_bound(py));
    };
    let library = library(owner);
    let kept = PyTuple::new(py, [owner])?.unbind();
    if let Some(function) = function_pointed_to(pointer) {
        let name = type_name(ctype).unwrap_or_else(|| target_name(ctype).into());
        let library = (library.object.bind(py), &library.inner);
        let function = Function::of_pointer(library, &name, &function, address, Some(kept))?;
        return Ok(function.into_any());
    }
    let inner = handle::at_address(&library.inner, pointer, address, KeepAlive::default());
    let target = pointer.target.clone();
    let handle = match owner.get().scope() {
        Some(scope) => Handle::in_scope(inner, target, None, scope),
        None => Handle::new(inner, target, Some(kept)),
    };
    Ok(Bound::new(py, handle)?.into_any())
}

/// Returns the number at an address.
///
/// # Safety
///
/// The address is that of a value of the type, which is an arithmetic type.
#[inline]
unsafe fn number_at<'py>(
    py: Python<'py>,
    number: Number,
    ctype: &CType,
    address: NonNull<c_void>,
) -> PyResult<Bound<'py, PyAny>> {
    use mapcall::ctype::Float;
    if number == Number::Float(Float::Double) {
        // SAFETY: the caller guarantees that it is the address of a `double`.
        let value = unsafe { address.cast::<f64>().read_unaligned() };
        return Ok(PyFloat::new(py, value).into_any());
    }
    // SAFETY: the caller guarantees that it is the address of a value of the type.
    let slots = unsafe { slots_at(ctype, address) };
    number::to_python(py, number.value(&slots))
}

/// Returns the slots of the number at an address.
///
/// # Safety
///
/// The address is that of a value of the type, which is an arithmetic type.
#[inline]
unsafe fn slots_at(ctype: &CType, address: NonNull<c_void>) -> [u64; 4] {
    let size = ctype.size().unwrap_or_default();
    // SAFETY: the caller guarantees that the value, which has `size` bytes, can be read.
    scalar_slots(unsafe { slice::from_raw_parts(address.as_ptr().cast::<u8>(), size) })
}
