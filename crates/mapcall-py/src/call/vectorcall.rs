//! How the interpreter calls a bound function: without a tuple, by the type's own vectorcall.

#![allow(unsafe_code)]

use std::mem::offset_of;
use std::slice;

use mapcall::contract::Check;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smallvec::SmallVec;

use super::argument::{Kept, Reader};
use super::callback;
use super::function::{Function, Gil};
use super::{errors, result};
use crate::mapped_array::guard;

/// Makes instances of `Function` answer vectorcalls: tells their type where each has its entry.
///
/// PyO3 has no way to say so when it makes the type.
pub(super) fn enable(function: &Bound<'_, Function>) {
    let contents: *const Function = function.get();
    let object = function.as_ptr().addr();
    let offset = contents.addr() - object + offset_of!(Function, vectorcall);
    let class = function.get_type_ptr();
    // SAFETY: the type of a live object, which nobody else changes while this thread is attached.
    let class = unsafe { &mut *class };
    if class.tp_vectorcall_offset == 0 {
        class.tp_vectorcall_offset = ffi::Py_ssize_t::try_from(offset).unwrap_or_default();
        class.tp_call = Some(ffi::PyVectorcall_Call);
        set_flag(class);
        // SAFETY: a live type.
        unsafe { ffi::PyType_Modified(class) };
    }
}

fn set_flag(class: &mut ffi::PyTypeObject) {
    class.tp_flags |= ffi::Py_TPFLAGS_HAVE_VECTORCALL;
}

/// `function(*args, **kwargs)`.
pub(super) unsafe extern "C" fn vectorcall(
    callable: *mut PyObject,
    arguments: *const *mut PyObject,
    count: usize,
    keywords: *mut PyObject,
) -> *mut PyObject {
    guard(|py| {
        // SAFETY: the interpreter calls the entry of a live `Function`.
        let callable = unsafe { Bound::from_borrowed_ptr(py, callable) };
        // SAFETY: as above.
        let function: &Bound<'_, Function> = unsafe { callable.cast_unchecked() };
        // SAFETY: takes a flag from a number.
        let positional = unsafe { ffi::PyVectorcall_NARGS(count) }.cast_unsigned();
        // SAFETY: null, or a live tuple of names.
        let keywords = unsafe { Bound::from_borrowed_ptr_or_opt(py, keywords) };
        // SAFETY: what stands for keywords is a tuple.
        let keywords: Option<Bound<'_, PyTuple>> = keywords.map(|names| unsafe { names.cast_into_unchecked() });
        let named = keywords.as_ref().map_or(0, PyTupleMethods::len);
        let arguments = if arguments.is_null() {
            &[]
        } else {
            // SAFETY: there are as many live objects, the positional ones first.
            unsafe { slice::from_raw_parts(arguments, positional + named) }
        };
        run(function, arguments, positional, keywords.as_ref())
    })
}

/// One call: reads the arguments, makes outputs, runs the function, and gives what it returns.
#[inline]
fn run<'py>(
    function: &Bound<'py, Function>,
    arguments: &[*mut PyObject],
    positional: usize,
    keywords: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, this) = (function.py(), function.get());
    let contract = this.inner.contract();
    let rules = contract.rules();
    let mut frame = Words::new(contract.words());
    let mut check = Check::new(contract, frame.words());
    let mut reader = Reader {
        py,
        function: this,
        check: &mut check,
        kept: Kept::default(),
        ndarray: this.ndarray.as_ptr().cast(),
    };
    let object = |pointer: &*mut PyObject| {
        // SAFETY: an argument is a live object.
        unsafe { Bound::from_borrowed_ptr(py, *pointer) }
    };
    if keywords.is_none() && positional == contract.arguments().len() {
        // The usual call: everything by position.
        for (&position, argument) in contract.arguments().iter().zip(arguments) {
            if let Some(rule) = rules.get(position) {
                reader.argument(position, rule, &object(argument))?;
            }
        }
    } else {
        let given = this.arrange(py, arguments, positional, keywords)?;
        for (position, (rule, argument)) in rules.iter().zip(&given).enumerate() {
            if argument.is_null() {
                reader.leave_out(position)?;
            } else {
                reader.argument(position, rule, &object(argument))?;
            }
        }
    }
    let kept = reader.kept;
    check.settle().map_err(|error| errors::argument(py, &error))?;
    let outputs = if check.output(0).is_some() {
        result::allocate(py, this, &mut check)?
    } else {
        SmallVec::new()
    };
    let release = match this.gil() {
        Gil::BySize => check.nbytes() >= Gil::RELEASED_FROM,
        Gil::Hold => false,
        Gil::Release => true,
    };
    let running = callback::Running::enter();
    let words = frame.words();
    let errno = if release {
        // SAFETY: as below; the interpreter's lock protects nothing that the function reaches.
        py.detach(|| unsafe { this.inner.invoke(words) })
    } else {
        // SAFETY: the frame is filled as the contract asks; what it points to is kept by the caller,
        // by `kept` and by `outputs`. The rest is what `load` says a user promises.
        unsafe { this.inner.invoke(words) }
    };
    running.leave(errno)?;
    drop(kept);
    let layout = contract.trampoline().layout();
    let words = frame.words().get(layout.result()..).unwrap_or_default();
    this.inner
        .judge(words, errno)
        .map_err(|error| errors::call(py, &error, errno))?;
    result::returned(function, words, outputs, errno)
}

/// The words of a frame, 16-byte aligned as C's largest scalars.
struct Words {
    inline: Inline,
    heap: Vec<u128>,
    length: usize,
}

#[repr(align(16))]
struct Inline([u64; Words::INLINE]);

impl Words {
    const INLINE: usize = 24;

    #[inline]
    fn new(length: usize) -> Self {
        let heap = if length > Self::INLINE {
            vec![0; length.div_ceil(2)]
        } else {
            Vec::new()
        };
        Self {
            inline: Inline([0; Self::INLINE]),
            heap,
            length,
        }
    }

    #[inline]
    fn words(&mut self) -> &mut [u64] {
        let words: &mut [u64] = if self.length > Self::INLINE {
            bytemuck::cast_slice_mut(&mut self.heap)
        } else {
            &mut self.inline.0
        };
        words.get_mut(..self.length).unwrap_or_default()
    }
}
