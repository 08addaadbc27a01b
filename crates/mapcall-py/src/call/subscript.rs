//! The slot of `handle[0]`, by which callbacks read numbers.
//!
//! PyO3's own slot takes about as long as everything else that a callback does for its arguments.

#![allow(unsafe_code)]

use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use super::handle::Handle;
use super::pointee;

/// The slot that PyO3 made, for all other indices and values.
static ORIGINAL: OnceLock<ffi::binaryfunc> = OnceLock::new();

/// The int 0, of which CPython has one object only; null before the slot is installed.
static ZERO: AtomicPtr<PyObject> = AtomicPtr::new(ptr::null_mut());

/// Installs the slot, when the extension is initialised.
pub(super) fn install(py: Python<'_>) -> PyResult<()> {
    let class = py.get_type::<Handle>().as_type_ptr();
    // SAFETY: the pointer is that of a live type.
    let mapping = unsafe { (*class).tp_as_mapping };
    // SAFETY: null, or the slots of the type. This thread is attached, so no other one changes them.
    let Some(mapping) = (unsafe { mapping.as_mut() }) else {
        return Ok(());
    };
    let Some(original) = mapping.mp_subscript else {
        return Ok(());
    };
    let _section = mapcall::array::fork::Section::enter();
    if ORIGINAL.set(original).is_ok() {
        ZERO.store(
            0_i32.into_pyobject(py)?.into_any().into_ptr(),
            Ordering::Relaxed,
        );
        mapping.mp_subscript = Some(subscript);
    }
    Ok(())
}

unsafe extern "C" fn subscript(object: *mut PyObject, index: *mut PyObject) -> *mut PyObject {
    if index == ZERO.load(Ordering::Relaxed) {
        // SAFETY: the interpreter reads slots on attached threads only.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: the interpreter passes a live object.
        let object = unsafe { Borrowed::from_ptr(py, object) };
        // SAFETY: the slot is that of the type `Handle`, which has no subclasses.
        let handle = unsafe { object.cast_unchecked::<Handle>() };
        match pointee::lent_number(&handle) {
            Some(Ok(number)) => return number.into_ptr(),
            Some(Err(error)) => {
                error.restore(py);
                return ptr::null_mut();
            }
            None => {}
        }
    }
    match ORIGINAL.get() {
        // SAFETY: the interpreter's own arguments, passed on.
        Some(original) => unsafe { original(object, index) },
        None => ptr::null_mut(),
    }
}
