//! Compiled vectorcall functions (PEP 590), the entries, of bound functions that are called often.
//!
//! The interpreter calls a function at the address that its object has. At first this is that of a function which all
//! share (`vectorcall`), and which compares the arguments with a list. After many usual calls it is code that was
//! compiled for the prototype, which makes the same comparisons and leaves all else to the shared one.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::mem::offset_of;
use std::sync::atomic::Ordering;
use std::{ptr, slice};

use mapcall::call::{
    EntryNumber, EntryResult, FunctionObject, Host, HostResults, IntegerObject, RealObject,
};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use super::function::{self, Entries, Function, PlainResult};
use super::{activation, ndarray};

/// Counts a usual call of a function with so many arguments, and compiles its entry when it is called often.
#[inline]
pub(super) fn count(function: &Bound<'_, Function>, given: usize) {
    let left = &function.get().calls_before_compiling;
    // No other thread has the interpreter's lock.
    let calls = left.load(Ordering::Relaxed);
    left.store(calls.wrapping_sub(1), Ordering::Relaxed);
    if calls == 0 {
        compile(function, given);
    }
}

/// Compiles the entry of a function, which the interpreter calls from now on. If it can't be compiled, the function
/// stays as it is.
#[cold]
#[inline(never)]
fn compile(function: &Bound<'_, Function>, given: usize) {
    let this = function.get();
    let Some(entries) = function::entries() else {
        return;
    };
    let dtype = |position| {
        let expected = this.expected(position)?;
        Some(expected.dtype.as_ptr().expose_provenance())
    };
    let result = match this.plain_result {
        PlainResult::None => EntryResult::None,
        PlainResult::Number(number) => {
            EntryNumber::of(number).map_or(EntryResult::Other, EntryResult::Number)
        }
        PlainResult::Any => EntryResult::Other,
    };
    let host = host(function, entries);
    if let Some(entry) = this.inner.compile_entry(given, dtype, result, &host) {
        this.vectorcall.store(entry.as_ptr(), Ordering::Relaxed);
    }
}

/// Returns what entries know of Python.
fn host(function: &Bound<'_, Function>, entries: &Entries) -> Host {
    let py = function.py();
    let this = function.get();
    let contents = ptr::from_ref(this).addr() - function.as_ptr().addr();
    let address = |function: *const c_void| function.expose_provenance();
    // From 3.12 on, None counts no references.
    let has_references = py.version_info() < (3, 12);
    let class = offset_of!(PyObject, ob_type);
    let general = match this.usual {
        Some(_) => entries.usual,
        None => entries.any,
    };
    Host {
        class,
        real: RealObject {
            class: (&raw const ffi::PyFloat_Type).expose_provenance(),
            value: offset_of!(ffi::PyFloatObject, ob_fval),
        },
        integer: IntegerObject {
            class: (&raw const ffi::PyLong_Type).expose_provenance(),
            read: address(ffi::PyLong_AsLongLongAndOverflow as *const c_void),
        },
        array: ndarray::host(py),
        function: FunctionObject {
            address: contents + offset_of!(Function, address),
            held_below: contents + offset_of!(Function, held_below),
            count: !(ffi::PY_VECTORCALL_ARGUMENTS_OFFSET as u64),
            general: address(general as *const c_void),
            end: address(entries.end as *const c_void),
        },
        thread: activation::host(),
        results: HostResults {
            none: py.None().as_ptr().expose_provenance(),
            // The number of references is the field before the class.
            references: has_references.then(|| class - size_of::<ffi::Py_ssize_t>()),
            real: address(ffi::PyFloat_FromDouble as *const c_void),
            signed: address(ffi::PyLong_FromLongLong as *const c_void),
            unsigned: address(ffi::PyLong_FromUnsignedLongLong as *const c_void),
            tuple: address(tuple as *const c_void),
        },
    }
}

/// Returns a tuple of objects; null if one is null or there is no memory.
///
/// # Safety
///
/// `objects` points to `count` new references, which this function takes, or null with an exception set. The thread
/// is attached to the interpreter.
unsafe extern "C" fn tuple(objects: *const *mut PyObject, count: usize) -> *mut PyObject {
    // SAFETY: the caller guarantees `count` pointers.
    let objects = unsafe { slice::from_raw_parts(objects, count) };
    let size = ffi::Py_ssize_t::try_from(count).unwrap_or(0);
    let tuple = if objects.contains(&ptr::null_mut()) {
        ptr::null_mut()
    } else {
        // SAFETY: the thread is attached.
        unsafe { ffi::PyTuple_New(size) }
    };
    for (&object, index) in objects.iter().zip(0..) {
        if tuple.is_null() {
            // SAFETY: null, or a reference that the caller gives up.
            unsafe { ffi::Py_XDECREF(object) };
        } else {
            // SAFETY: the tuple is new and has `count` items; it takes the reference.
            unsafe { ffi::PyTuple_SET_ITEM(tuple, index, object) };
        }
    }
    tuple
}
