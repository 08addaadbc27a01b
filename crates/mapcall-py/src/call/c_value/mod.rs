//! The values of ctypes and cffi: numbers, arrays, structs and pointers with their C types.
//!
//! The modules from the ground up: `target`, the type of elements; `ctypes` and `cffi`, which read the objects
//! of those packages. Neither package is imported: an object of theirs shows that it has been.

#![allow(unsafe_code)]

mod cffi;
mod ctypes;
mod target;

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::slice;

use mapcall::array::DType;
use mapcall::contract::HostValue;
use numpy::PyUntypedArray;
use pyo3::exceptions::PyBufferError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::{foreign, ndarray};
use crate::convert;
use crate::once::intern;
pub(super) use target::Target;

/// A value of ctypes or cffi.
pub(super) enum CValue<'py> {
    /// A number, with its memory if it has one.
    Number(Bound<'py, PyAny>, Option<CMemory<'py>>),
    /// An array or a struct.
    Memory(CMemory<'py>),
    /// A pointer.
    Pointer(CPointer<'py>),
    /// The attribute `ctypes` of an array: a pointer of no type, with the array.
    Attribute(CPointer<'py>),
    /// A text, as bytes.
    Text(Bound<'py, PyAny>),
    /// The null pointer.
    Null,
    /// A value that no parameter takes, with the reason.
    Unusable(&'static str),
}

/// The memory of an array, a struct or a number, whose size is known.
pub(super) struct CMemory<'py> {
    /// The type of an element.
    pub(super) target: Target,
    address: usize,
    /// The lengths of the axes; none for a struct or a number.
    pub(super) shape: Vec<usize>,
    is_read_only: bool,
    owner: Bound<'py, PyAny>,
}

/// A copy of a struct of ctypes or cffi: see [`CMemory::record`].
pub(super) struct RecordCopy<'a> {
    dtype: Result<&'a DType, &'a str>,
    bytes: Vec<u8>,
}

impl RecordCopy<'_> {
    /// Describes it for the check of a call.
    pub(super) fn value(&self) -> HostValue<'_> {
        HostValue::Record {
            dtype: self.dtype,
            bytes: &self.bytes,
        }
    }
}

/// A pointer to elements.
pub(super) struct CPointer<'py> {
    /// The type of what it points to.
    pub(super) target: Target,
    pub(super) address: usize,
    /// The array that the pointer was taken of.
    pub(super) array: Option<Bound<'py, PyUntypedArray>>,
    /// The lengths of the axes of the memory from the address on; `None` if they are unknown.
    pub(super) shape: Option<Vec<usize>>,
    /// The objects that keep the memory alive.
    pub(super) owner: Bound<'py, PyAny>,
    /// The expression that makes an array of the pointer and a length `n`, with `{}` for the pointer.
    pub(super) as_array: String,
}

impl<'py> CValue<'py> {
    /// Reads an object of ctypes or cffi, or one with an attribute `_as_parameter_`; returns `None` for any other
    /// object.
    ///
    /// # Errors
    ///
    /// The exceptions of the object's attributes.
    #[cold]
    pub(super) fn read(object: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        if let Some(value) = ctypes::read(object)? {
            return Ok(Some(value));
        }
        cffi::read(object)
    }

    /// Returns the address of a pointer, or of the memory of an array or a struct; `None` for other values.
    pub(super) fn address(&self) -> Option<usize> {
        match self {
            Self::Memory(memory) => Some(memory.address),
            Self::Pointer(pointer) | Self::Attribute(pointer) => Some(pointer.address),
            Self::Null => Some(0),
            Self::Number(..) | Self::Text(_) | Self::Unusable(_) => None,
        }
    }
}

impl<'py> CMemory<'py> {
    /// Returns why no array can be made of the memory; `None` if one can.
    pub(super) fn unusable(&self) -> Option<&str> {
        match &self.target.dtype {
            Some(Ok(_)) => None,
            Some(Err(reason)) => Some(reason),
            None => Some("its type is incomplete"),
        }
    }

    /// Returns an array on the memory, which keeps its owner alive. A struct or number is an array of `rank`
    /// axes of length 1.
    ///
    /// # Errors
    ///
    /// `BufferError` if the type of the elements has no dtype.
    pub(super) fn array(&self, rank: usize) -> PyResult<Bound<'py, PyUntypedArray>> {
        let ones = vec![1; rank];
        let shape = if self.shape.is_empty() {
            &ones
        } else {
            &self.shape
        };
        on_memory(
            &self.target,
            self.address,
            shape,
            self.is_read_only,
            &self.owner,
        )
    }

    /// Returns the address.
    pub(super) fn address(&self) -> usize {
        self.address
    }

    /// Returns a copy of a struct, for a type of that size. It has no bytes if it has another size.
    pub(super) fn record(&self, size: usize) -> RecordCopy<'_> {
        let dtype = match &self.target.dtype {
            Some(dtype) => dtype.as_ref().map_err(String::as_str),
            None => Err("an incomplete struct"),
        };
        let bytes = match dtype {
            Ok(dtype) if dtype.itemsize() == size => {
                let address = ptr::with_exposed_provenance::<u8>(self.address);
                // SAFETY: the memory has an element of the target's type, whose size is that of its dtype. The
                // owner keeps it alive.
                unsafe { slice::from_raw_parts(address, size) }.to_vec()
            }
            _ => Vec::new(),
        };
        RecordCopy { dtype, bytes }
    }

    /// Returns the text in an array of characters with its NUL; `None` if it is no such array, or has no NUL.
    pub(super) fn text(&self) -> Option<&[u8]> {
        if !self.target.is_char() {
            return None;
        }
        let &[length] = &self.shape[..] else {
            return None;
        };
        let address = ptr::with_exposed_provenance::<u8>(self.address);
        // SAFETY: the memory has `length` characters, and `self` has a reference to its owner. No Python code,
        // which could write it, runs before the slice has been checked.
        let bytes = unsafe { slice::from_raw_parts(address, length) };
        let end = bytes.iter().position(|&byte| byte == 0)?;
        bytes.get(..=end)
    }
}

impl<'py> CPointer<'py> {
    /// Returns an array on the memory of the pointer for an array of that rank whose extents are all 1 if `is_one`;
    /// `None` if the pointer does not say how many elements there are.
    ///
    /// # Errors
    ///
    /// `BufferError` if the type of the elements has no dtype.
    pub(super) fn elements(
        &self,
        rank: usize,
        is_one: bool,
    ) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
        if let Some(array) = &self.array {
            let memory = ndarray::memory(array);
            // A pointer to an array of several axes is one to all of its elements, and to the first.
            let (is_empty, ndim) = (memory.shape.contains(&0), memory.shape.len());
            let array = if is_one && !is_empty {
                let py = array.py();
                let first = std::iter::repeat_n(0_i32.into_pyobject(py)?.into_any(), ndim);
                let axes = std::iter::repeat_n(py.None().into_bound(py), rank);
                array.get_item(PyTuple::new(py, first.chain(axes).collect::<Vec<_>>())?)?
            } else if rank == 1 && ndim != 1 && memory.is_contiguous {
                array.call_method1("reshape", (-1,))?
            } else {
                return Ok(Some(array.clone()));
            };
            return Ok(Some(array.cast_into::<PyUntypedArray>()?));
        }
        let shape = match self.shape.as_deref() {
            // C takes a pointer to several elements for one to the first.
            Some(shape) if is_one && shape.iter().product::<usize>() > 0 => vec![1; rank],
            Some(shape) if rank == 1 => vec![shape.iter().product()],
            // A pointer to one array of several axes.
            Some([1, inner @ ..]) if rank == inner.len() => inner.to_vec(),
            Some(shape) => shape.to_vec(),
            None if is_one => vec![1; rank],
            None => return Ok(None),
        };
        on_memory(&self.target, self.address, &shape, false, &self.owner).map(Some)
    }

    /// Returns whether C may only read the memory.
    pub(super) fn is_read_only(&self) -> bool {
        let array = self.array.as_ref();
        array.is_some_and(|array| !ndarray::memory(array).is_writeable)
    }
}

fn on_memory<'py>(
    target: &Target,
    address: usize,
    shape: &[usize],
    is_read_only: bool,
    owner: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = owner.py();
    let Some(Ok(dtype)) = &target.dtype else {
        let message = format!("NumPy has no dtype for {}", target.name);
        return Err(PyBufferError::new_err(message));
    };
    let dtype = convert::to_numpy(py, dtype)?;
    let address = NonNull::new(ptr::with_exposed_provenance_mut::<c_void>(address));
    let array = ndarray::on_memory(
        &dtype,
        shape,
        address.unwrap_or(NonNull::dangling()),
        !is_read_only,
        owner.clone(),
    )?;
    Ok(array.cast_into::<PyUntypedArray>()?)
}

/// Returns the value at an address as a NumPy scalar, which has all its digits.
fn scalar_at<'py>(
    target: &Target,
    address: usize,
    owner: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let array = on_memory(target, address, &[], true, owner)?;
    array.get_item(PyTuple::empty(owner.py()))
}

/// Returns the array of an object's attribute `_arr`, as those of the attribute `ndarray.ctypes` have it.
fn array_of<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
    let array = object.getattr_opt(intern!(object.py(), "_arr"))?;
    Ok(array.and_then(|array| array.cast_into::<PyUntypedArray>().ok()))
}

fn address_of(pointer: &Bound<'_, PyAny>) -> PyResult<usize> {
    foreign::address_of(pointer)
}
