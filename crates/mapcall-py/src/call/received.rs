//! The Python objects of what C passes to a callback.
//!
//! Objects that the callable has kept no reference to are used again by the next call, so that most calls
//! allocate nothing.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use mapcall::array::Layout;
use mapcall::call::FrameLayout;
use mapcall::contract::{
    Number, Received, ReceivedArray, ReceivedError, ReceivedNumbers, ReceivedParameters,
};
use mapcall::ctype::{CType, Float, Function as FunctionType, Pointer};
use mapcall::function::KeepAlive;
use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::exceptions::PyValueError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyList};
use smallvec::SmallVec;

use super::activation::Invocation;
use super::function::Function;
use super::handle::{self, Handle, LentParameter};
use super::returns::type_name;
use super::text::{self, Text};
use super::{ndarray, number, scope, structure};

/// The parameters of a callback, with what their conversion needs.
pub(super) struct Parameters {
    rules: ReceivedParameters,
    library: mapcall::Library,
    text: Text,
    converted: Box<[Parameter]>,
    /// Whether pointers are among them.
    has_pointers: bool,
}

struct Parameter {
    /// What the handles of a pointer have in common.
    lent: Option<Arc<LentParameter>>,
    /// The dtype of an array, and whether it is only read.
    array: Option<(Py<PyArrayDescr>, bool)>,
    /// Whether the next call may use the array again, if nothing else has a reference to it.
    has_reusable_array: bool,
    /// The object of the last call, if nothing else has a reference to it; else null. Only attached threads
    /// access it.
    spare: AtomicPtr<PyObject>,
}

impl Drop for Parameter {
    fn drop(&mut self) {
        // When the interpreter has ended, its objects have, too.
        let _ = Python::try_attach(|py| drop(self.take_spare(py)));
    }
}

impl Parameter {
    /// Takes the object of the last call.
    fn take_spare<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        let spare = self.spare.load(Ordering::Relaxed);
        self.spare.store(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: null, or an owned reference, which is taken over: no other thread is attached.
        unsafe { Bound::from_owned_ptr_or_opt(py, spare) }
    }
}

impl Parameters {
    /// Returns the parameters of a callback of a library.
    ///
    /// # Errors
    ///
    /// `ValueError` if NumPy has no dtype for a type, or if a parameter can't have its annotation.
    pub(super) fn new(
        py: Python<'_>,
        function: &FunctionType,
        library: &mapcall::Library,
        text: Text,
    ) -> PyResult<Self> {
        let rules = ReceivedParameters::new(function).map_err(PyValueError::new_err)?;
        let lent = |pointer: &Arc<Pointer>| Arc::new(LentParameter::new(library, pointer));
        let types = function.parameters.iter();
        let parameters = rules.rules().iter().zip(types).map(|(rule, ctype)| {
            let (lent, array) = match (rule, ctype.resolved()) {
                (Received::Pointer(pointer), _) => (Some(lent(pointer)), None),
                (Received::Text, CType::Pointer(pointer)) if text == Text::Handle => {
                    (Some(lent(pointer)), None)
                }
                (Received::Array(array), _) if !(array.is_text || is_pointer(&array.item)) => {
                    let dtype = structure::dtype(py, &array.item)?.unbind();
                    (None, Some((dtype, array.is_const)))
                }
                _ => (None, None),
            };
            let is_contiguous = matches!(rule, Received::Array(array) if array.is_contiguous());
            let is_const = array.as_ref().is_some_and(|(_, is_const)| *is_const);
            Ok(Parameter {
                lent,
                array,
                has_reusable_array: is_const && is_contiguous,
                spare: AtomicPtr::default(),
            })
        });
        let parameters = parameters.collect::<PyResult<Box<[Parameter]>>>()?;
        Ok(Self {
            has_pointers: rules.rules().iter().any(|rule| match rule {
                Received::Pointer(_) | Received::Array(_) => true,
                Received::Text => text == Text::Handle,
                _ => false,
            }),
            rules,
            library: library.clone(),
            text,
            converted: parameters,
        })
    }

    /// Returns whether pointers are among them, so that calls need an [`Invocation`].
    pub(super) fn have_pointers(&self) -> bool {
        self.has_pointers
    }
}

/// The arguments of a callable. When they are dropped, the handles among them are closed.
pub(super) struct Arguments<'a, 'py> {
    /// Owned references, behind a free place for the callee (`PY_VECTORCALL_ARGUMENTS_OFFSET`).
    objects: SmallVec<[*mut PyObject; 8]>,
    parameters: &'a Parameters,
    py: Python<'py>,
}

impl<'a, 'py> Arguments<'a, 'py> {
    /// Makes the arguments of a call, of which none has been received.
    #[inline]
    pub(super) fn new(py: Python<'py>, parameters: &'a Parameters) -> Self {
        let mut objects = SmallVec::new();
        objects.push(ptr::null_mut());
        Self {
            objects,
            parameters,
            py,
        }
    }

    /// Converts the arguments in a frame.
    ///
    /// # Errors
    ///
    /// `ValueError` for arguments that the prototype excludes, and exceptions of the conversions.
    ///
    /// # Safety
    ///
    /// The frame has the arguments of a call by C, of the function type of the parameters. This object is dropped
    /// before the callback leaves `invocation`.
    #[inline]
    pub(super) unsafe fn receive(
        &mut self,
        (layout, frame): (&FrameLayout, &[u64]),
        invocation: &Invocation,
    ) -> PyResult<()> {
        let parameters = self.parameters;
        let numbers;
        let receiver = Receiver {
            py: self.py,
            parameters,
            numbers: if parameters.rules.have_numbers() {
                // SAFETY: the caller guarantees the frame. The user of `load` guarantees that the prototype is
                // right, so that a pointer to a number is NULL or leads to one.
                let known = unsafe { parameters.rules.numbers(layout, frame) };
                numbers = known.map_err(|error| excluded(&error))?;
                Some(&numbers)
            } else {
                None
            },
            invocation,
        };
        let rules = parameters.rules.rules().iter();
        for (index, (rule, parameter)) in rules.zip(&parameters.converted).enumerate() {
            let slots = frame.get(layout.parameter(index)..).unwrap_or_default();
            let slot = slots.first().copied().unwrap_or_default();
            let object = match (&parameter.lent, handle::address(slot)) {
                // SAFETY: the caller guarantees that the loan ends in time.
                (Some(lent), Some(address)) => unsafe {
                    receiver.pointer(lent, parameter, address)
                },
                // SAFETY: the slots are those of the parameter, and the caller guarantees the rest.
                _ => unsafe { receiver.argument(rule, parameter, slots) },
            }?;
            self.objects.push(object.into_ptr());
        }
        Ok(())
    }

    /// Calls a callable.
    ///
    /// # Errors
    ///
    /// The exception that it raises.
    pub(super) fn call(&mut self, callable: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let count = self.objects.len() - 1;
        let first = self.objects.as_mut_ptr().wrapping_add(1);
        // SAFETY: `first` points to `count` references to live objects, and the element before them belongs to
        // this object, so that the callee may use it meanwhile.
        let result = unsafe {
            ffi::PyObject_Vectorcall(
                callable.as_ptr(),
                first,
                count | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                ptr::null_mut(),
            )
        };
        // SAFETY: the function returned a new reference, or null with an exception set.
        unsafe { Bound::from_owned_ptr_or_err(self.py, result) }
    }
}

impl Drop for Arguments<'_, '_> {
    #[inline]
    fn drop(&mut self) {
        let objects = self.objects.iter().skip(1);
        for (&object, parameter) in objects.zip(&self.parameters.converted) {
            // SAFETY: each element but the first is an owned reference, which is taken over.
            let object = unsafe { Bound::from_owned_ptr(self.py, object) };
            let is_reusable = if parameter.lent.is_some() {
                match object.cast_exact::<Handle>() {
                    Ok(handle) => handle.get().end_loan(),
                    Err(_) => false,
                }
            } else {
                parameter.has_reusable_array
            };
            let is_reusable = is_reusable && !has_weak_references(&object);
            // SAFETY: `object` is a live object.
            if is_reusable && unsafe { ffi::Py_REFCNT(object.as_ptr()) } == 1 {
                // A callback that ran in this one may have left an object.
                drop(parameter.take_spare(self.py));
                parameter.spare.store(object.into_ptr(), Ordering::Relaxed);
            }
        }
    }
}

/// Returns whether weak references to an object exist.
fn has_weak_references(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: the type of a live object is alive.
    let offset = unsafe { (*object.get_type_ptr()).tp_weaklistoffset };
    let Ok(offset @ 1..) = usize::try_from(offset) else {
        return false;
    };
    let list = object
        .as_ptr()
        .wrapping_byte_add(offset)
        .cast::<*mut PyObject>();
    // SAFETY: objects of the type have the head of their list of weak references at this offset.
    !unsafe { list.read() }.is_null()
}

/// Makes the exception for arguments of C that the prototype excludes.
#[cold]
fn excluded(error: &ReceivedError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

fn is_pointer(ctype: &CType) -> bool {
    matches!(ctype.resolved(), CType::Pointer(_))
}

/// Converts one argument.
struct Receiver<'a, 'py> {
    py: Python<'py>,
    parameters: &'a Parameters,
    /// The integers that extents and strides name; `None` if they name none.
    numbers: Option<&'a ReceivedNumbers>,
    invocation: &'a Invocation,
}

impl<'py> Receiver<'_, 'py> {
    /// Converts an argument that no handle is made of, or NULL.
    ///
    /// # Safety
    ///
    /// The slots are those of the parameter in a frame that C has filled.
    unsafe fn argument(
        &self,
        rule: &Received,
        parameter: &Parameter,
        slots: &[u64],
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let slot = slots.first().copied().unwrap_or_default();
        match rule {
            Received::Number(Number::Float(Float::Double)) => {
                Ok(PyFloat::new(py, f64::from_bits(slot)).into_any())
            }
            Received::Number(number) => number::to_python(py, number.value(slots)),
            Received::Item(ctype) => ndarray::item(&structure::dtype(py, ctype)?, slots),
            Received::Text if self.parameters.text != Text::Handle => {
                text::copy(py, slot, self.parameters.text)
            }
            Received::Function(function, ctype) => self.function(function, ctype, slot),
            _ => {
                let Some(address) = handle::address(slot) else {
                    return Ok(py.None().into_bound(py));
                };
                match rule {
                    Received::Array(array) => self.array(array, parameter, address),
                    // Handles have been made of pointers.
                    _ => Ok(py.None().into_bound(py)),
                }
            }
        }
    }

    fn function(
        &self,
        function: &FunctionType,
        ctype: &CType,
        slot: u64,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let Some(address) = handle::address(slot) else {
            return Ok(py.None().into_bound(py));
        };
        let name = type_name(ctype).unwrap_or_else(|| "function".into());
        let none = py.None().into_bound(py);
        let library = (&none, &self.parameters.library);
        let function = Function::of_pointer(library, &name, function, address, None)?;
        Ok(function.into_any())
    }

    /// Returns the handle of a pointer.
    ///
    /// # Safety
    ///
    /// `end_loan` is called for the handle before the callback leaves the invocation.
    #[inline]
    unsafe fn pointer(
        &self,
        lent: &Arc<LentParameter>,
        parameter: &Parameter,
        address: NonNull<c_void>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(spare) = parameter.take_spare(self.py)
            && let Ok(handle) = spare.cast_exact::<Handle>()
        {
            // SAFETY: the caller guarantees that the loan ends in time.
            unsafe { handle.get().lend_again(address, self.invocation) };
            return Ok(spare);
        }
        // SAFETY: the caller guarantees that the loan ends in time.
        let handle = unsafe { Handle::lent(lent, address, self.invocation) };
        Ok(Bound::new(self.py, handle)?.into_any())
    }

    /// Returns an array with extents: a copy, which is written back if C's memory may be written. Texts are str
    /// or bytes, and arrays of pointers lists.
    fn array(
        &self,
        array: &ReceivedArray,
        parameter: &Parameter,
        address: NonNull<c_void>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let none = ReceivedNumbers::default();
        let numbers = self.numbers.unwrap_or(&none);
        let shape = array.shape(numbers).map_err(|error| excluded(&error))?;
        if let (true, &[length]) = (array.is_text, &shape[..]) {
            // SAFETY: the user of `load` guarantees that the prototype is right, so that there are as many
            // characters.
            return unsafe { text::copy_of_length(py, address, length, self.parameters.text) };
        }
        if let (CType::Pointer(_), &[length]) = (array.item.resolved(), &shape[..]) {
            let strides = array.strides(numbers, &shape);
            let strides = strides.map_err(|error| excluded(&error))?;
            let step = strides.first().copied().unwrap_or_default();
            return self.list(&array.item, address, (length, step));
        }
        let Some((dtype, is_const)) = &parameter.array else {
            return Ok(py.None().into_bound(py));
        };
        let dtype = dtype.bind(py);
        if let Some(spare) = parameter.take_spare(py) {
            // SAFETY: `spare` was made below, in C order and read-only, and has no other reference. By the prototype,
            // the memory has as many items.
            if unsafe { scope::refill(&spare, dtype, &shape, address) } {
                return Ok(spare);
            }
        }
        let layout = if array.is_contiguous() {
            ndarray::c_order(dtype, &shape)?
        } else {
            let strides = array.strides(numbers, &shape);
            let strides = strides.map_err(|error| excluded(&error))?;
            let layout = Layout::from_strides(0, &shape, &strides, dtype.itemsize());
            layout.map_err(|error| crate::errors::to_py(error.into()))?
        };
        if *is_const {
            // SAFETY: by the prototype, the memory has as many items in this layout.
            return unsafe { scope::read_only_copy(dtype, &layout, address) };
        }
        let scope = self.invocation.scope();
        scope.array(None, address, true, dtype, &layout)
    }

    /// Returns the list of an array of pointers, which are `step` bytes apart.
    fn list(
        &self,
        item: &CType,
        address: NonNull<c_void>,
        (length, step): (usize, isize),
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let list = PyList::empty(py);
        let rule = Received::of(item);
        for index in 0..length {
            let offset = index.cast_signed().wrapping_mul(step);
            let at = address
                .cast::<usize>()
                .as_ptr()
                .wrapping_byte_offset(offset);
            // SAFETY: the user of `load` guarantees that the prototype is right, so that there are as many
            // pointers.
            let slot = unsafe { at.read_unaligned() } as u64;
            let object = match (&rule, item.resolved(), handle::address(slot)) {
                (_, _, None) => py.None().into_bound(py),
                (Received::Text, ..) if self.parameters.text != Text::Handle => {
                    text::copy(py, slot, self.parameters.text)?
                }
                (Received::Function(function, ctype), ..) => {
                    self.function(function, ctype, slot)?
                }
                (_, CType::Pointer(pointer), Some(address)) => {
                    let library = &self.parameters.library;
                    let inner = handle::at_address(library, pointer, address, KeepAlive::default());
                    let (target, scope) = (pointer.target.clone(), self.invocation.scope());
                    Bound::new(py, Handle::in_scope(inner, target, None, scope))?.into_any()
                }
                _ => py.None().into_bound(py),
            };
            list.append(object)?;
        }
        Ok(list.into_any())
    }
}
