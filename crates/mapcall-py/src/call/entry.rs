//! The compiled entries of functions that are called often.
//!
//! The interpreter calls a function at the address that its object has. At first this is that of a function which all
//! share (`vectorcall`), and which compares the arguments with a list. After many usual calls it is code that was
//! compiled for the prototype, which makes the same comparisons and leaves all else to the shared one.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use mapcall::call::{EntryResult, FunctionObject, Host, HostResults, IntegerObject, RealObject};
use numpy::PyArrayDescr;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use super::function::{Function, PlainResult};
use super::{activation, ndarray};

/// The function that ends a call of an entry: see [`FunctionObject::end`].
pub(super) type End =
    unsafe extern "C" fn(*mut PyObject, *const *mut PyObject, *const u64, c_int) -> *mut PyObject;

/// Counts a usual call of a function, and compiles its entry when it is called often. `general` makes the calls that
/// the entry does not make.
#[inline]
pub(super) fn count(function: &Bound<'_, Function>, general: ffi::vectorcallfunc, end: End) {
    let left = &function.get().calls_before_compiling;
    // No other thread has the interpreter's lock.
    let calls = left.load(Ordering::Relaxed);
    left.store(calls.wrapping_sub(1), Ordering::Relaxed);
    if calls == 0 {
        compile(function, general, end);
    }
}

/// Compiles the entry of a function, which the interpreter calls from now on. If it can't be compiled, the function
/// stays as it is.
#[cold]
#[inline(never)]
fn compile(function: &Bound<'_, Function>, general: ffi::vectorcallfunc, end: End) {
    let this = function.get();
    let Some(usual) = &this.usual else {
        return;
    };
    let dtype = |dtype: &Py<PyArrayDescr>| dtype.as_ptr().expose_provenance();
    let result = match this.plain_result {
        PlainResult::None => EntryResult::None,
        PlainResult::Number(number) => EntryResult::of(number),
        PlainResult::Any => EntryResult::Other,
    };
    let host = host(function, general, end);
    if let Some(entry) = this.inner.compile_entry(usual, dtype, result, &host) {
        this.vectorcall.store(entry.as_ptr(), Ordering::Relaxed);
    }
}

/// Returns what entries know of Python.
fn host(function: &Bound<'_, Function>, general: ffi::vectorcallfunc, end: End) -> Host {
    let py = function.py();
    let this: *const Function = function.get();
    let contents = this.addr() - function.as_ptr().addr();
    let address = |function: *const c_void| function.expose_provenance();
    // From 3.12 on, None counts no references.
    let has_references = py.version_info() < (3, 12);
    let class = offset_of!(PyObject, ob_type);
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
            end: address(end as *const c_void),
        },
        thread: activation::host(),
        results: HostResults {
            none: py.None().as_ptr().expose_provenance(),
            // The number of references is the field before the class.
            references: has_references.then(|| class - size_of::<ffi::Py_ssize_t>()),
            real: address(ffi::PyFloat_FromDouble as *const c_void),
            signed: address(ffi::PyLong_FromLongLong as *const c_void),
            unsigned: address(ffi::PyLong_FromUnsignedLongLong as *const c_void),
        },
    }
}
