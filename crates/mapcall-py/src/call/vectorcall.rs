//! How the interpreter calls a bound function: without a tuple, by the type's own vectorcall.

#![allow(unsafe_code)]

use std::mem::offset_of;
use std::ptr;
use std::slice;

use mapcall::contract::{Backing, Check, Memory, Number, Operand, QuickFrame};
use numpy::PyArrayDescr;
use pyo3::ffi::{self, PyObject, PyTypeObject};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smallvec::SmallVec;

use super::argument::Reader;
use super::function::{Function, Gil};
use super::keywords::BatchOptions;
use super::parse_arguments::parse_arguments;
use super::resources::CallResources;
use super::result::{self, Outputs};
use super::retained::Retained;
use super::snapshot::Snapshots;
use super::{activation, batch, errors, ndarray, number};
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
        class.tp_flags |= ffi::Py_TPFLAGS_HAVE_VECTORCALL;
        // SAFETY: a live type.
        unsafe { ffi::PyType_Modified(class) };
    }
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
        let callable = unsafe { Borrowed::from_ptr(py, callable) };
        // SAFETY: as above.
        let function: Borrowed<'_, '_, Function> = unsafe { callable.cast_unchecked() };
        // SAFETY: takes a flag from a number.
        let positional = unsafe { ffi::PyVectorcall_NARGS(count) }.cast_unsigned();
        // SAFETY: null, or a live tuple of names.
        let keywords = unsafe { Borrowed::from_ptr_or_opt(py, keywords) };
        // SAFETY: what stands for keywords is a tuple.
        let keywords = keywords.map(|names| unsafe { names.cast_unchecked::<PyTuple>() });
        let named = keywords.map_or(0, |names| names.len());
        let arguments = match positional + named {
            // There may be no address either.
            0 => &[],
            // SAFETY: there are as many live objects, the positional ones first.
            count => unsafe { slice::from_raw_parts(arguments, count) },
        };
        run(&function, arguments, positional, keywords.as_deref())
    })
}

/// One call: reads the arguments, makes outputs, runs the function, and gives what it returns.
#[inline]
fn run<'py>(
    function: &Bound<'py, Function>,
    arguments: &[*mut PyObject],
    positional: usize,
    keywords: Option<&Bound<'py, PyTuple>>,
) -> Result<Bound<'py, PyAny>, Box<PyErr>> {
    if let (None, Some(quick)) = (keywords, &function.get().quick) {
        let ndarray = function.get().ndarray.as_ptr().cast();
        let operand = |object| Argument { object, ndarray };
        let operands = arguments.iter().map(operand);
        let mut frame = QuickFrame::default();
        if let Some(nbytes) = quick.fill(&mut frame, &operands) {
            let errno = invoke(function, &mut frame, nbytes)?;
            return Ok(result(function, || quick.result(&frame), errno, None)?);
        }
    }
    // Lets PyO3 know that the thread is attached: else what is dropped would wait until it does.
    Ok(Python::attach(|_| {
        general(function, arguments, positional, keywords)
    })?)
}

/// An argument of the usual call: a live object, for as long as the call's frame is filled.
struct Argument<'a> {
    object: &'a *mut PyObject,
    ndarray: *mut PyTypeObject,
}

impl<'a> Operand<'a, Py<PyArrayDescr>> for Argument<'a> {
    #[inline]
    fn number(self, number: Number) -> Option<u64> {
        // SAFETY: a live object.
        unsafe { number::word(number, *self.object) }
    }

    #[inline]
    fn array(self, dtype: &Py<PyArrayDescr>) -> Option<Memory<'a>> {
        // SAFETY: a live object, and its memory is only compared before Python code can run.
        unsafe { ndarray::memory_of(*self.object, self.ndarray, dtype.as_ptr()) }
    }

    #[inline]
    fn backing(self) -> Backing<'a> {
        // SAFETY: it is asked of arrays alone, before Python code can run.
        unsafe { ndarray::backing_of(*self.object) }
    }
}

/// Any call.
#[inline(never)]
fn general<'py>(
    function: &Bound<'py, Function>,
    arguments: &[*mut PyObject],
    positional: usize,
    keywords: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, this) = (function.py(), function.get());
    let contract = this.inner.contract();
    let mut words = Words::new(contract.words());
    let words = words.words();
    let mut check = Check::broadcasting(contract, words);
    let mut arrays = Snapshots::default();
    let mut reader = Reader {
        py,
        function: this,
        check: &mut check,
        resources: CallResources::default(),
        arrays: &mut arrays,
        ndarray: this.ndarray.as_ptr().cast(),
    };
    let mut given: SmallVec<[*mut PyObject; 8]> =
        SmallVec::from_elem(ptr::null_mut(), contract.rules().len());
    let options = parse_arguments(py, this, arguments, positional, keywords, &mut given)?;
    let returned = match &options {
        Some(options) => batch::outputs(py, this, options, &mut given)?,
        None => None,
    };
    let parameters = contract.rules().iter().zip(this.parameters()).enumerate();
    for ((position, (rule, (_, expected))), argument) in parameters.zip(&given) {
        if argument.is_null() {
            reader.leave_out(position)?;
        } else {
            // SAFETY: an argument is a live object.
            let argument = unsafe { Borrowed::from_ptr(py, *argument) };
            reader.argument(position, rule, expected.as_ref(), &argument)?;
        }
    }
    let mut resources = reader.resources;
    if let Some(options) = &options {
        batch::push_arguments(this, &mut check, options, returned.as_ref(), &mut arrays)?;
    }
    if resources.calls_back() {
        arrays.forbid_resizing(py)?;
    }
    check
        .settle()
        .map_err(|error| errors::argument(py, &error))?;
    if check.loops().is_some() {
        let options = options.map_or_else(BatchOptions::default, |options| *options);
        let result = batch::run(
            function,
            check,
            &options,
            returned,
            &given,
            &mut arrays,
            &mut resources,
        );
        drop(resources);
        return result;
    }
    if let Some(options) = &options {
        batch::check_options(this, options)?;
    }
    let outputs = if check.leaves_out() {
        result::allocate(py, this, &mut check)?
    } else {
        Outputs::new()
    };
    // A function that waits for threads which call back must not hold what they wait for.
    let nbytes = if resources.calls_back() {
        usize::MAX
    } else {
        check.nbytes()
    };
    arrays.check(py, contract)?;
    // From here on no Python code runs before the call.
    resources.hand_over(py, &this.inner, None)?;
    let errno = invoke(function, words, nbytes)?;
    let retained = if this.binding().has_pointers {
        let views = arrays.objects(py).chain(resources.objects(py));
        let outputs = outputs.iter().map(|(_, array)| array.as_any().clone());
        Some(Retained::new(function, &given, views.chain(outputs))?)
    } else {
        None
    };
    let start = contract.trampoline().layout().result();
    let words = || words.get(start..).unwrap_or_default();
    // A text is copied while what it may lie in is still there.
    let result = result(function, words, errno, retained.as_ref())?;
    drop(resources);
    if outputs.is_empty() {
        Ok(result)
    } else {
        result::with_outputs(function, result, outputs, retained.as_ref())
    }
}

/// Runs the function on a frame that has been filled.
#[inline]
fn invoke(function: &Bound<'_, Function>, words: &mut [u64], nbytes: usize) -> PyResult<i32> {
    let (py, this) = (function.py(), function.get());
    let release = match this.gil() {
        Gil::BySize => nbytes >= Gil::RELEASED_FROM,
        Gil::Hold => false,
        Gil::Release => true,
    };
    activation::running(|| {
        if release {
            // SAFETY: as below.
            unsafe { invoke_detached(py, &this.inner, words) }
        } else {
            // SAFETY: the frame is filled as the contract asks; what it points to is kept by the
            // caller. The rest is what `load` says a user promises.
            unsafe { this.inner.invoke(words) }
        }
    })
}

/// Runs the function without the interpreter's lock, which protects nothing that it reaches.
///
/// # Safety
///
/// That of [`mapcall::Function::invoke`].
#[cold]
unsafe fn invoke_detached(py: Python<'_>, function: &mapcall::Function, words: &mut [u64]) -> i32 {
    // SAFETY: the caller's promise.
    py.detach(|| unsafe { function.invoke(words) })
}

/// What the words of a result are for Python, if it isn't a failure; there may be none to look for.
#[expect(
    clippy::inline_always,
    reason = "errors are large, and passed through memory"
)]
#[inline(always)]
fn result<'a, 'py>(
    function: &Bound<'py, Function>,
    words: impl Fn() -> &'a [u64],
    errno: i32,
    retained: Option<&Retained>,
) -> PyResult<Bound<'py, PyAny>> {
    let judged = function.get().inner.judge(words(), errno);
    judged.map_err(|error| errors::call(function.py(), &error))?;
    result::value(function, words, errno, retained)
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
    const INLINE: usize = 16;

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
