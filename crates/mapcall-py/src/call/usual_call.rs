//! The usual call of a bound function: with numbers, and vectors of one length.

#![allow(unsafe_code)]

use std::mem::offset_of;
use std::slice;

use mapcall::array::guard;
use mapcall::contract::{Number, ShortFrame};
use mapcall::ctype::Float;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use super::activation::{self, Returned};
use super::entry;
use super::function::{self, Entries, Function, PlainResult};
use super::quick_argument::Argument;
use super::vectorcall::{end_entry, or_fault, result, vectorcall};
use crate::mapped_array::guarded;

/// Stores the entries of calls, when the extension is initialised.
pub(crate) fn install() {
    let entries = Entries {
        usual: usual_vectorcall,
        any: vectorcall,
        end: end_entry,
        enable,
    };
    function::install(entries);
}

/// Enables vectorcall for the type of a function: sets the offset of `vectorcall` in its instances.
///
/// PyO3 has no option for it.
fn enable(function: &Bound<'_, Function>) {
    let contents: *const Function = function.get();
    let object = function.as_ptr().addr();
    let offset = contents.addr() - object + offset_of!(Function, vectorcall);
    let class = function.get_type_ptr();
    // SAFETY: the pointer is that of the type of a live object. No other thread changes the type,
    // because this one is attached.
    let class = unsafe { &mut *class };
    if class.tp_vectorcall_offset == 0 {
        class.tp_vectorcall_offset = ffi::Py_ssize_t::try_from(offset).unwrap_or_default();
        class.tp_call = Some(ffi::PyVectorcall_Call);
        class.tp_flags |= ffi::Py_TPFLAGS_HAVE_VECTORCALL;
        // SAFETY: `class` is the type of a live object.
        unsafe { ffi::PyType_Modified(class) };
    }
}

/// The vectorcall entry of a `Function` with a [`QuickVectors`](mapcall::contract::QuickVectors): makes the usual call,
/// and leaves all others to [`vectorcall`].
///
/// Each fact that it needs of the function has been found when the function was bound.
unsafe extern "C" fn usual_vectorcall(
    callable: *mut PyObject,
    arguments: *const *mut PyObject,
    count: usize,
    keywords: *mut PyObject,
) -> *mut PyObject {
    let result = if keywords.is_null() && guard::is_quiet() {
        // SAFETY: the interpreter calls the entry of a live `Function` by the vectorcall protocol, without
        // arguments by name.
        unsafe { usual(callable, arguments, count) }
    } else {
        None
    };
    match result {
        Some(result) => result,
        // SAFETY: the arguments are those that the interpreter has given.
        None => unsafe { unusual_vectorcall(callable, arguments, count, keywords) },
    }
}

/// Makes a call that is not usual. It is cold, so that the compiler arranges the code of usual calls without jumps:
/// these take more time than the comparisons.
///
/// # Safety
///
/// Those of the vectorcall protocol for a `Function`.
#[cold]
#[inline(never)]
unsafe fn unusual_vectorcall(
    callable: *mut PyObject,
    arguments: *const *mut PyObject,
    count: usize,
    keywords: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the caller guarantees that the arguments are those of the vectorcall protocol.
    unsafe { vectorcall(callable, arguments, count, keywords) }
}

/// Makes a usual call: with numbers and arrays that the quick check accepts, with the interpreter's lock, and in no
/// callback. Returns the new reference to the result, or null with an exception set; `None` before any call if
/// this call needs [`vectorcall`].
///
/// # Safety
///
/// `callable` points to a live `Function`, and `arguments` to `count` pointers to live objects, where the bit
/// `PY_VECTORCALL_ARGUMENTS_OFFSET` of `count` may be set. The thread is attached to the interpreter.
#[expect(
    clippy::inline_always,
    reason = "it has one caller, and takes less time than a call"
)]
#[inline(always)]
unsafe fn usual(
    callable: *mut PyObject,
    arguments: *const *mut PyObject,
    count: usize,
) -> Option<*mut PyObject> {
    // SAFETY: the caller guarantees that the thread is attached.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the caller guarantees that the pointer is that of a live object.
    let callable = unsafe { Borrowed::from_ptr(py, callable) };
    // SAFETY: the caller guarantees that the object is a `Function`.
    let function: Borrowed<'_, '_, Function> = unsafe { callable.cast_unchecked() };
    let this = function.get();
    let usual = this.usual.as_ref()?;
    // SAFETY: the function only clears a bit of the number.
    let count = unsafe { ffi::PyVectorcall_NARGS(count) }.cast_unsigned();
    // Without arguments the address may be null.
    if arguments.is_null() {
        return None;
    }
    // SAFETY: the caller guarantees `count` pointers to live objects.
    let arguments = unsafe { slice::from_raw_parts(arguments, count) };
    let ndarray = this.ndarray.as_ptr().cast();
    let operands = arguments
        .iter()
        .map(move |object| Argument { object, ndarray });
    let mut frame = ShortFrame::default();
    if usual.fill(&mut frame, &operands)? >= this.held_below {
        return None;
    }
    let call = activation::begin()?;
    entry::count(&function, arguments.len());
    // SAFETY: the check has accepted the frame, and the caller keeps the arguments alive, to whose memory
    // it points. By the docs of `load`, its user guarantees the prototype. The location is that of this thread.
    let errno = unsafe { this.inner.invoke_at(&mut frame.0, call.errno) };
    let returned = call.end(errno);
    if returned.has_raised || !guard::is_quiet() {
        return Some(end(&function, arguments, &frame, returned));
    }
    Some(match this.plain_result {
        PlainResult::None => py.None().into_ptr(),
        PlainResult::Number(Number::Float(Float::Double)) => {
            // SAFETY: the thread is attached.
            unsafe { ffi::PyFloat_FromDouble(f64::from_bits(usual.result(&frame))) }
        }
        _ => end(&function, arguments, &frame, returned),
    })
}

/// Ends a usual call: raises what happened in it, or checks and converts its result. Returns a new reference, or
/// null with an exception set.
#[inline(never)]
fn end(
    function: &Bound<'_, Function>,
    arguments: &[*mut PyObject],
    frame: &ShortFrame,
    returned: Returned,
) -> *mut PyObject {
    guarded(|_| -> Result<_, Box<PyErr>> {
        // No fault was to be reported before the call, so that its epoch is 0.
        let errno = or_fault(function, arguments, (&frame.0, 0), returned.errno())?;
        let usual = function.get().usual.as_ref();
        let slot = [usual.map_or(0, |usual| usual.result(frame))];
        Ok(result(function, || &slot, errno, None)?)
    })
}
