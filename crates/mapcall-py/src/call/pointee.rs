//! The value that a handle points to.

#![allow(unsafe_code)]

use std::borrow::Cow;
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::slice;

use mapcall::call::scalar_slots;
use mapcall::contract::{Number, target_name};
use mapcall::ctype::{CType, Pointer};
use mapcall::function::KeepAlive;
use numpy::PyUntypedArray;
use pyo3::exceptions::{PyIndexError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyInt, PyTuple};

use super::function::Function;
use super::handle::{self, Handle};
use super::returns::{function_pointed_to, type_name};
use super::store::Writer;
use super::struct_object::{
    LibraryReference, StructMemory, StructObject, keep_pointers, only_declared,
};
use super::{ndarray, number, structure};
use crate::once::intern;

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
    let (ctype, address) = (&*known_type(handle), in_use.address());
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
    let ctype = &*known_type(handle);
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
    let library = library(handle);
    let target = handle.get().target();
    let mut writer = Writer::new(py, &library, target, "[0]");
    let mut bytes = vec![0; size];
    writer.write(ctype, value, &mut bytes)?;
    let kept = writer.into_pointers();
    let (start, pointers) = (in_use.address().addr().get(), handle.get().pointers(py)?);
    let old = keep_pointers(py, &pointers, &(start..start + size), kept)?;
    if let Some(scope) = &pointer.scope {
        scope.write_back();
    }
    let to = in_use.address().as_ptr().cast::<u8>();
    // SAFETY: the handle is open, and its memory may be written. The user of `load` guarantees that the
    // prototype is right, so that it has a value of the type; `bytes` is memory of Rust.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, size) };
    // Python code and destructors may run.
    drop(old);
    Ok(())
}

/// Returns the struct at a pointer: a part of the memory of another struct, or one whose pointers are kept by the
/// handle.
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
    let address = handle.get().open()?.address().addr().get();
    if let Some((memory, offset)) = memory_of(handle, address, ctype.size().unwrap_or_default()) {
        return Ok(StructObject {
            library,
            ctype,
            memory,
            offset,
        });
    }
    let dtype = structure::dtype(py, &ctype)?;
    let array = handle.call_method1(intern!(py, "array"), (PyTuple::empty(py), dtype))?;
    let array = array.cast_into::<PyUntypedArray>()?;
    let memory = ndarray::memory(&array);
    let (at, is_read_only) = (memory.address.cast(), !memory.is_writeable);
    let Some(at) = NonNull::new(at) else {
        return Err(PyValueError::new_err("expected a pointer, got NULL"));
    };
    let kept = (address, handle.get().pointers(py)?);
    let memory = StructMemory::sharing(array.into_any().unbind(), at, is_read_only, kept);
    StructObject::new(py, library, ctype, memory)
}

/// Returns the memory of Python that a handle leads into, and the offset there; `None` if it is none that the handle
/// keeps alive, or if the handle may only read it.
fn memory_of(
    handle: &Bound<'_, Handle>,
    address: usize,
    size: usize,
) -> Option<(Py<StructMemory>, usize)> {
    let py = handle.py();
    let is_read_only = handle.get().readonly();
    let kept = handle.get().kept()?.bind(py);
    let mut found = kept.iter().filter_map(|object| {
        let memory = match object.cast::<StructObject>() {
            Ok(object) => object.get().memory.clone_ref(py),
            Err(_) => object.cast_into::<StructMemory>().ok()?.unbind(),
        };
        let offset = memory.get().offset_of(address, size)?;
        (memory.get().is_read_only() == is_read_only).then_some((memory, offset))
    });
    found.next()
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
    let py = handle.py();
    let object = handle.get().pointer().library.as_ref();
    LibraryReference {
        object: object.map_or_else(|| py.None(), |object| object.clone_ref(py)),
        inner: handle.get().inner().library().clone(),
    }
}

/// Returns the type that a handle leads to. A struct whose type only declares it, such as the next one of a list, is
/// the one that the library has defined by now.
pub(super) fn known_type<'a>(handle: &'a Bound<'_, Handle>) -> Cow<'a, CType> {
    let ctype = &handle.get().pointer().ctype;
    match only_declared(ctype) {
        Some(_) => Cow::Owned(library(handle).completed(handle.py(), ctype)),
        None => Cow::Borrowed(ctype),
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
    let size = size_of::<usize>();
    let pointers = owner.get().pointers(py)?;
    let start = owner.get().open()?.address().addr().get();
    let mut kept = pointers.get().objects(py, &(start..start + size));
    kept.push(owner.clone().into_any());
    let kept = PyTuple::new(py, kept)?.unbind();
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
        None => Handle::new(inner, target, Some(kept)).sharing(Some(pointers)),
    };
    Ok(Bound::new(py, handle.of_library(library.object))?.into_any())
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
