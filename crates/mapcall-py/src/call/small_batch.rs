//! Small batches: those whose arguments and calls need neither the general check nor a plan.

#![allow(unsafe_code)]

use mapcall::CallError;
use mapcall::array::guard;
use mapcall::batch::SmallBatches;
use mapcall::contract::{QuickOutput, Role, Rule};
use numpy::{PyArrayDescr, PyUntypedArray};
use pyo3::ffi::PyObject;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smallvec::SmallVec;

use super::function::{Function, Gil, MadeSmallBatches};
use super::quick_argument::{Argument, has_closed};
use super::{activation, errors, ndarray, result};

/// Makes a batch if it is a small one; returns `None` if it needs the general path.
///
/// The interpreter's lock is held, as in a call of small arrays. The function is called for calls with a keyword,
/// too: the option `out` of a batch.
///
/// # Errors
///
/// The exceptions of the general path: `CallError` if the result of a call is a failure, `MapFault` if a page of a
/// map is gone, and that of a callback.
#[inline(never)]
pub(super) fn call<'py>(
    function: &Bound<'py, Function>,
    arguments: &[*mut PyObject],
    keywords: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (py, this) = (function.py(), function.get());
    if !this.inner.is_timed() {
        return Ok(None);
    }
    let Some(small) = this.small_batches(py, make)? else {
        return Ok(None);
    };
    let (arguments, out) = match keywords {
        None => (arguments, None),
        Some(names) => match (arguments.split_last(), names_out(this, names)) {
            (Some((out, arguments)), true) => (arguments, Some(out)),
            _ => return Ok(None),
        },
    };
    let ndarray = this.ndarray.as_ptr().cast();
    let operand = |object| Argument { object, ndarray };
    let mut batch = small.begin();
    let epoch = guard::epoch();
    let is_filled = batch
        .fill(&arguments.iter().map(operand), out.map(operand))
        .is_some();
    if !is_filled
        || !small.are_short(&this.inner, batch.calls())
        || (epoch != 0 && has_closed(arguments.iter().chain(out).map(operand)))
    {
        return Ok(None);
    }
    // No Python code runs from here on before the calls: arrays of plain numbers are made without any.
    let mut outputs = SmallVec::<[Bound<'py, PyAny>; 4]>::new();
    while let Some(output) = batch.output() {
        let array = allocate(py, &output)?;
        if batch.place(&output, ndarray::data(&array)).is_none() {
            return Ok(None);
        }
        outputs.push(array.into_any());
    }
    let Some(loops) = small
        .loops(&this.inner, &batch)
        .filter(|_| batch.is_placed())
    else {
        return Ok(None);
    };
    let mut outcome = Ok(());
    let returned = activation::running(|| {
        // SAFETY: the check has accepted the arguments, which the caller of the function keeps alive, and the
        // outputs are in `outputs`. The loops are those of the batch. By the docs of `load`, its user guarantees the prototype, and that no other
        // thread writes the arrays during the batch.
        let (errno, made) = unsafe { loops.run(&this.inner, &mut batch) };
        outcome = made;
        errno
    });
    if outcome.is_err() || returned.is_err() {
        return Err(failure(py, outcome, returned.err()));
    }
    if let Some(out) = out {
        // SAFETY: the caller of the function has a reference to the argument.
        outputs.push(unsafe { Bound::from_borrowed_ptr(py, *out) });
    }
    result::none_one_or_tuple(py, outputs).map(Some)
}

/// Makes the small batches of a function; `None` if all its batches need the general path.
fn make(py: Python<'_>, function: &Function) -> PyResult<MadeSmallBatches> {
    let binding = function.binding();
    if binding.options.is_callable || binding.has_pointers || function.gil() == Gil::Release {
        return Ok(None);
    }
    // The dtypes of scalars are made here.
    function.scalar(py, Role::Result)?;
    let rules = function.inner.contract().rules();
    let dtype = |role| {
        let expected = match role {
            Role::Parameter(position) if rules.get(position).and_then(Rule::array).is_some() => {
                function.expected(position)
            }
            role => function.scalar(py, role).ok()?,
        };
        Some(expected?.dtype.clone_ref(py))
    };
    let small = SmallBatches::new(&function.inner, binding.options.simd, dtype);
    Ok(small.map(Box::new))
}

/// Returns whether the only keyword of a call is the option `out`, as source code has it.
#[inline]
fn names_out(function: &Function, names: &Bound<'_, PyTuple>) -> bool {
    // SAFETY: the tuple of keywords is not empty, and has references to its items while it is alive.
    let name = unsafe { pyo3::ffi::PyTuple_GET_ITEM(names.as_ptr(), 0) };
    let out = intern!(names.py(), "out");
    let mut parameters = function.parameters().iter();
    names.len() == 1
        && name == out.as_ptr()
        && !parameters.any(|(parameter, _)| parameter.as_ptr() == out.as_ptr())
}

/// Allocates an output. The elements of a result are not set before the calls set them.
#[inline]
fn allocate<'py>(
    py: Python<'py>,
    output: &QuickOutput<'_, Py<PyArrayDescr>>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let dtype = output.dtype.bind(py);
    match output.role {
        Role::Result => ndarray::empty(dtype, &output.shape),
        _ => ndarray::zeros(dtype, &output.shape, false),
    }
}

/// Returns the exception of a batch that has failed, or of a callback in it.
#[cold]
fn failure(py: Python<'_>, outcome: Result<(), CallError>, raised: Option<PyErr>) -> PyErr {
    match (outcome, raised) {
        (Err(error @ CallError::Fault { .. }), raised) => {
            activation::with_context(py, errors::call(py, &error), raised)
        }
        (_, Some(raised)) => raised,
        (Err(error), None) => errors::call(py, &error),
        (Ok(()), None) => pyo3::exceptions::PySystemError::new_err("the batch has not failed"),
    }
}
