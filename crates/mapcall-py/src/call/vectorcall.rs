//! The call of a bound function, by the vectorcall protocol (PEP 590).

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::ops::Range;
use std::ptr;
use std::slice;

use mapcall::array::guard;
use mapcall::call::{Accessed, Frame, SmallFrame};
use mapcall::contract::{Check, QuickCall, QuickDerived};
use numpy::PyArrayDescr;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smallvec::SmallVec;

use super::activation::Returned;
use super::argument::Reader;
use super::batch::BatchCall;
use super::conversion::Conversion;
use super::function::{Function, Gil};
use super::keywords::BatchOptions;
use super::parse_arguments::parse_arguments;
use super::quick_argument::{Argument, has_closed};
use super::result::{self, Outputs};
use super::retained::Retained;
use super::returns::Returns;
use super::snapshot::Snapshots;
use super::variable::Variable;
use super::variadic::{self, Variant};
use super::{activation, entry, errors, lazy, ndarray, small_batch, user_data};
use crate::faults::{self, Detached};
use crate::mapped_array::guarded;
use crate::memory;

/// The vectorcall entry of `Function`: calls `function(*args, **kwargs)`.
pub(super) unsafe extern "C" fn vectorcall(
    callable: *mut PyObject,
    arguments: *const *mut PyObject,
    count: usize,
    keywords: *mut PyObject,
) -> *mut PyObject {
    guarded(|py| {
        // SAFETY: the interpreter calls the entry of a live `Function`.
        let callable = unsafe { Borrowed::from_ptr(py, callable) };
        // SAFETY: only instances of `Function` have this entry.
        let function: Borrowed<'_, '_, Function> = unsafe { callable.cast_unchecked() };
        // SAFETY: the function only clears a bit of the number.
        let positional = unsafe { ffi::PyVectorcall_NARGS(count) }.cast_unsigned();
        // SAFETY: by the vectorcall protocol, the pointer is null or that of a live object.
        let keywords = unsafe { Borrowed::from_ptr_or_opt(py, keywords) };
        // SAFETY: by the vectorcall protocol, the object is a tuple.
        let keywords = keywords.map(|names| unsafe { names.cast_unchecked::<PyTuple>() });
        let named = keywords.map_or(0, |names| names.len());
        let arguments = match positional + named {
            // The address may be null.
            0 => &[],
            // SAFETY: by the vectorcall protocol, the array has `count` pointers to live objects.
            count => unsafe { slice::from_raw_parts(arguments, count) },
        };
        run(&function, arguments, positional, keywords.as_deref())
    })
}

/// Makes one call: reads the arguments, runs the function and converts its result.
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
        let mut frame = SmallFrame::default();
        let epoch = guard::epoch();
        if let Some(nbytes) = quick.fill(&mut frame, &operands)
            && (epoch == 0 || !has_closed(operands))
        {
            entry::count(function, arguments.len());
            let errno = invoke(function, arguments, &mut frame.0, (nbytes, epoch))?;
            return Ok(result(function, || quick.result(&frame), errno, None)?);
        }
    }
    if let (None, Some(quick)) = (keywords, &function.get().quick_derived)
        && let Some(result) = derived(function, quick, arguments)?
    {
        return Ok(result);
    }
    if let Some(result) = small_batch::call(function, arguments, keywords)? {
        return Ok(result);
    }
    // PyO3 must know that the thread is attached; otherwise it releases dropped references later.
    Ok(Python::attach(|_| {
        general(function, arguments, positional, keywords)
    })?)
}

/// Makes one call by the quick path for calls in which more than lengths is derived; returns `None` if it needs
/// the general path.
#[inline(never)]
fn derived<'py>(
    function: &Bound<'py, Function>,
    quick: &QuickDerived<Py<PyArrayDescr>>,
    arguments: &[*mut PyObject],
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (py, this) = (function.py(), function.get());
    let ndarray = this.ndarray.as_ptr().cast();
    let operands = arguments.iter().map(|object| Argument { object, ndarray });
    let mut call = QuickCall::new(quick);
    let epoch = guard::epoch();
    let Some(nbytes) = call.fill(&operands) else {
        return Ok(None);
    };
    if epoch != 0 && has_closed(operands) {
        return Ok(None);
    }
    // No Python code runs from here on before the call: arrays of plain numbers are made without any.
    let mut all = SmallVec::<[_; 4]>::new();
    while let Some(output) = call.left_out(all.len())
        && let Some(expected) = this.expected(output.position)
    {
        let dtype = expected.dtype.bind(py);
        let array = ndarray::zeros(dtype, output.shape(), output.is_column_major)?;
        if let Some(value) = output.fill {
            ndarray::fill(&array, value)?;
        }
        if call.place(all.len(), ndarray::data(&array)).is_none() {
            return Ok(None);
        }
        all.push(array.into_any());
    }
    entry::count(function, arguments.len());
    let errno = invoke(function, arguments, call.slots(), (nbytes, epoch))?;
    with_outputs(function, || call.result(), errno, all).map(Some)
}

/// Returns the result of a call and the outputs that were left out.
fn with_outputs<'a, 'py>(
    function: &Bound<'py, Function>,
    slots: impl Fn() -> &'a [u64],
    errno: i32,
    mut all: SmallVec<[Bound<'py, PyAny>; 4]>,
) -> PyResult<Bound<'py, PyAny>> {
    let result = result(function, slots, errno, None)?;
    if all.is_empty() || !matches!(function.get().binding().returns, Returns::Void) {
        all.insert(0, result);
    }
    result::none_one_or_tuple(function.py(), all)
}

/// Ends a call that a compiled entry has made: see [`FunctionObject::end`](mapcall::call::FunctionObject).
///
/// # Safety
///
/// `callable` points to a live `Function`, `arguments` to `count` live arguments, and `slots` to the frame of the call.
/// `outputs` points to new references to arrays, which this function takes, and null. The thread is attached to the
/// interpreter.
pub(super) unsafe extern "C" fn end_entry(
    callable: *mut PyObject,
    arguments: *const *mut PyObject,
    count: usize,
    slots: *const u64,
    outputs: *const *mut PyObject,
    errno: c_int,
) -> *mut PyObject {
    guarded(|py| -> Result<_, Box<PyErr>> {
        // SAFETY: the caller guarantees that the pointer is that of a live object.
        let callable = unsafe { Borrowed::from_ptr(py, callable) };
        // SAFETY: the caller guarantees that the object is a `Function`.
        let function: Borrowed<'_, '_, Function> = unsafe { callable.cast_unchecked() };
        let mut all = SmallVec::new();
        for index in 0.. {
            // SAFETY: null follows the objects, and is not passed.
            let place = unsafe { outputs.add(index) };
            // SAFETY: the place is that of an object, or of null behind the last one.
            let object = unsafe { *place };
            // SAFETY: null, or a new reference that the caller gives up.
            match unsafe { Bound::from_owned_ptr_or_opt(py, object) } {
                Some(object) => all.push(object),
                None => break,
            }
        }
        let arguments = match count {
            // The address may be null.
            0 => &[],
            // SAFETY: the caller guarantees pointers to the live arguments.
            count => unsafe { slice::from_raw_parts(arguments, count) },
        };
        let layout = function.get().inner.trampoline().layout();
        // SAFETY: the caller guarantees a frame of the function's calls.
        let slots = unsafe { slice::from_raw_parts(slots, layout.slots()) };
        let returned = Returned::by_entry(errno).errno();
        // No fault was to be reported before the call, so that its epoch is 0.
        let errno = or_fault(&function, arguments, (slots, 0), returned)?;
        let result = slots.get(layout.result()..).unwrap_or_default();
        Ok(with_outputs(&function, || result, errno, all)?)
    })
}

/// Makes a call that the quick path does not take.
#[inline(never)]
fn general<'py>(
    function: &Bound<'py, Function>,
    arguments: &[*mut PyObject],
    positional: usize,
    keywords: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, this) = (function.py(), function.get());
    if let Some(result) = lazy::take_over(function, arguments, positional, keywords)? {
        return Ok(result);
    }
    let contract = this.inner.contract();
    if positional > contract.arguments().len() && contract.prototype().is_variadic {
        return with_variant(function, arguments, positional, keywords);
    }
    let mut given: SmallVec<[*mut PyObject; 8]> =
        SmallVec::from_elem(ptr::null_mut(), contract.rules().len());
    let options = parse_arguments(py, this, arguments, positional, keywords, &mut given)?;
    let _user_data = user_data::forward(py, this, &mut given)?;
    let converts = BatchOptions::converts(options.as_deref(), this.binding().options.converts)?;
    let mut frame = Frame::new(contract.slots());
    let check = Check::broadcasting(contract, frame.slots()).unchecked(this.is_unchecked);
    let mut check = check.converting(converts);
    let mut arrays = Snapshots::default();
    let mut reader = Reader::new(py, this, &mut check, &mut arrays);
    let batch = match options {
        Some(options) => Some(BatchCall::arrange(py, this, *options, &mut given)?),
        None => None,
    };
    let parameters = contract.rules().iter().zip(this.parameters()).enumerate();
    for ((position, (rule, (_, expected))), argument) in parameters.zip(&given) {
        if argument.is_null() {
            reader.omit(position)?;
        } else {
            // SAFETY: the caller of the function has a reference to its argument.
            let argument = unsafe { Borrowed::from_ptr(py, *argument) };
            if let Ok(variable) = argument.cast::<Variable>() {
                let value = variable.get().argument(py, rule)?;
                reader.argument(position, rule, expected.as_ref(), &value)?;
                reader.resources.add_object(value);
                continue;
            }
            reader.argument(position, rule, expected.as_ref(), &argument)?;
        }
    }
    if let Some(batch) = &batch {
        batch.read(&mut reader)?;
    }
    let mut resources = reader.resources;
    if resources.calls_back() {
        arrays.forbid_resizing(py)?;
    }
    check
        .finish()
        .map_err(|error| errors::argument(py, &error))?;
    if check.broadcast().is_some() {
        let batch = match batch {
            Some(batch) => batch,
            None => BatchCall::arrange(py, this, BatchOptions::default(), &mut given)?,
        };
        let result = batch.run(function, check, &given, &mut arrays, &mut resources);
        drop(resources);
        return result;
    }
    if let Some(batch) = &batch {
        batch.check_options(this)?;
    }
    let outputs = if check.leaves_out() {
        result::allocate(py, this, &mut check)?
    } else {
        Outputs::new()
    };
    // Release the interpreter's lock: the function may wait for threads that call back, which wait for
    // the lock.
    let nbytes = if resources.calls_back() {
        usize::MAX
    } else {
        check.nbytes()
    };
    let conversion = Conversion::new(py, this, &check)?;
    arrays.check(py, contract)?;
    if !resources.is_empty() {
        // A fault in an array of a list or struct is the call's, too.
        given.extend(arrays.pointers());
    }
    // From here on no Python code runs before the call.
    if let Some(conversion) = &conversion {
        conversion.load(py, frame.slots())?;
    }
    resources.hand_over(py, &this.inner, None)?;
    let errno = invoke(function, &given, frame.slots(), (nbytes, guard::epoch()))?;
    if let Some(conversion) = &conversion {
        conversion.store(py)?;
    }
    let retained = if this.binding().has_pointers {
        let views = arrays.objects(py).chain(resources.objects(py));
        let outputs = outputs.iter().map(|(_, array)| array.as_any().clone());
        Some(Retained::new(function, &given, views.chain(outputs))?)
    } else {
        None
    };
    let start = contract.layout().result();
    let slots = frame.slots();
    let slots = || slots.get(start..).unwrap_or_default();
    // Before `resources` is dropped: a text that is copied may lie in the memory of its objects.
    let result = result(function, slots, errno, retained.as_ref())?;
    drop(resources);
    if outputs.is_empty() {
        Ok(result)
    } else {
        result::with_outputs(function, result, outputs, retained.as_ref())
    }
}

/// Makes a call with variable arguments, by the variant of the function that has parameters for them.
#[cold]
fn with_variant<'py>(
    function: &Bound<'py, Function>,
    arguments: &[*mut PyObject],
    positional: usize,
    keywords: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    let fixed = function.get().inner.contract().arguments().len();
    let (positional, named) = arguments.split_at_checked(positional).unwrap_or_default();
    let (fixed, added) = positional.split_at_checked(fixed).unwrap_or_default();
    let object = |&argument: &*mut PyObject| {
        // SAFETY: the caller of the function has a reference to its argument.
        unsafe { Bound::from_borrowed_ptr(py, argument) }
    };
    let added: Vec<_> = added.iter().map(object).collect();
    let Variant { function, added } = variadic::variant(function, &added)?;
    let added = added.iter().map(Bound::as_ptr);
    let arguments: Vec<_> = fixed.iter().copied().chain(added).collect();
    let positional = arguments.len();
    let arguments: Vec<_> = arguments.into_iter().chain(named.iter().copied()).collect();
    general(&function, &arguments, positional, keywords)
}

/// Runs the function on a filled frame: `nbytes` is the size of its arrays in bytes, and `epoch` the guard's.
#[expect(
    clippy::inline_always,
    reason = "errors are large, and passed through memory"
)]
#[inline(always)]
fn invoke(
    function: &Bound<'_, Function>,
    given: &[*mut PyObject],
    slots: &mut [u64],
    (nbytes, epoch): (usize, usize),
) -> PyResult<i32> {
    let (py, this) = (function.py(), function.get());
    let release = match this.gil() {
        Gil::BySize => nbytes >= Gil::RELEASED_FROM,
        Gil::Hold => false,
        Gil::Release => true,
    };
    let returned = activation::running_attached(py, || {
        if release {
            // SAFETY: the check has accepted the frame, and the caller keeps the memory alive that it
            // points to. By the docs of `load`, its user guarantees the prototype.
            unsafe { invoke_detached(py, &this.inner, slots) }
        } else {
            // SAFETY: the check has accepted the frame, and the caller keeps the memory alive that it
            // points to. By the docs of `load`, its user guarantees the prototype.
            unsafe { this.inner.invoke(slots) }
        }
    });
    or_fault(function, given, (slots, epoch), returned)
}

/// Returns what a call has returned, unless a fault is to be reported.
///
/// # Errors
///
/// The fault, with the exception of a callback as context; or this exception.
#[inline]
pub(super) fn or_fault(
    function: &Bound<'_, Function>,
    given: &[*mut PyObject],
    (slots, epoch): (&[u64], usize),
    returned: PyResult<i32>,
) -> PyResult<i32> {
    if guard::is_quiet() {
        returned
    } else {
        with_faults(function, given, (slots, epoch), returned)
    }
}

/// Raises the faults of a call, with the exception of a callback as context; returns what the call has
/// returned if there are none.
#[cold]
fn with_faults(
    function: &Bound<'_, Function>,
    given: &[*mut PyObject],
    (slots, epoch): (&[u64], usize),
    returned: PyResult<i32>,
) -> PyResult<i32> {
    let (py, ndarray) = (function.py(), function.get().ndarray.as_ptr().cast());
    let addresses = |object: &*mut PyObject| {
        // SAFETY: null, or an argument, to which the caller of the function has a reference.
        let object = unsafe { Borrowed::from_ptr_or_opt(py, *object) }?;
        ndarray::as_array(&object, ndarray).map(memory::addresses)
    };
    let mapped: SmallVec<[Range<usize>; 4]> = given.iter().filter_map(addresses).collect();
    let accessed = Accessed {
        mapped: &mapped,
        slots,
    };
    match faults::check(py, accessed, epoch) {
        Ok(()) => returned,
        Err(fault) => Err(activation::with_context(py, fault, returned.err())),
    }
}

/// Runs the function without the interpreter's lock.
///
/// # Safety
///
/// The frame is filled by the check of the function's contract, and the memory that it points to lives
/// until this function returns.
#[cold]
unsafe fn invoke_detached(py: Python<'_>, function: &mapcall::Function, slots: &mut [u64]) -> i32 {
    let _detached = Detached::new();
    // SAFETY: the caller guarantees that the frame is filled and that its memory lives.
    activation::detached(py, || unsafe { function.invoke(slots) })
}

/// Checks the result for a failure and converts it. `slots` returns its slots; there are none for void.
#[expect(
    clippy::inline_always,
    reason = "errors are large, and passed through memory"
)]
#[inline(always)]
pub(super) fn result<'a, 'py>(
    function: &Bound<'py, Function>,
    slots: impl Fn() -> &'a [u64],
    errno: i32,
    retained: Option<&Retained>,
) -> PyResult<Bound<'py, PyAny>> {
    let checked = function.get().inner.check_result(slots(), errno);
    checked.map_err(|error| errors::call(function.py(), &error))?;
    result::value(function, slots, retained)
}
