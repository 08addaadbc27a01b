//! Small batches: those whose arguments and calls need neither the general check nor a plan.

#![allow(unsafe_code)]

use std::ops::ControlFlow;
use std::time::Duration;

use mapcall::CallError;
use mapcall::array::guard;
use mapcall::batch::{Simd, SmallBatches, SmallLoops};
use mapcall::contract::{QuickOutput, Role, Rule};
use numpy::{PyArrayDescr, PyUntypedArray};
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smallvec::SmallVec;

use super::function::{Function, Gil, MadeSmallBatches};
use super::keywords::simd_of;
use super::quick_argument::{Argument, has_closed};
use super::snapshot::{Snapshot, Snapshots};
use super::{activation, errors, ndarray, result};
use crate::faults::Detached;
use crate::once::intern;

/// The longest time that calls are expected to take with the interpreter's lock held. Releasing it takes as long as a
/// small batch, and waiting for it again may take longer.
const HELD: Duration = SmallLoops::UNINTERRUPTED;

/// Makes a batch if it is a small one; returns `None` if it needs the general path.
///
/// The interpreter's lock is held if the calls are expected to be short, as in a call of small arrays. The function is
/// called for calls with keywords, too: the options `out` and `simd` of a batch.
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
    let Some(Given {
        arguments,
        out,
        simd,
    }) = Given::read(this, arguments, keywords)
    else {
        return Ok(None);
    };
    let ndarray = this.ndarray.as_ptr().cast();
    let operand = |object| Argument { object, ndarray };
    let mut batch = small.begin();
    let epoch = guard::epoch();
    let is_filled = batch
        .fill(&arguments.iter().map(operand), out.map(operand))
        .is_some();
    let Some(time) = small.time(&this.inner, batch.calls(), simd) else {
        return Ok(None);
    };
    if !is_filled || (epoch != 0 && has_closed(arguments.iter().chain(out).map(operand))) {
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
        .loops(&this.inner, &batch, simd)
        .filter(|_| batch.is_placed())
    else {
        return Ok(None);
    };
    let is_short = time <= HELD;
    let arrays = if is_short {
        Snapshots::default()
    } else {
        snapshots(py, this, arguments, out)?
    };
    let mut interrupt = None;
    let mut outcome = Ok(());
    let returned = activation::running(|| {
        // Called by this thread, if the calls take longer than expected.
        let report = || {
            let checked = Python::attach(|py| {
                py.check_signals()?;
                arrays.check(py, this.inner.contract())
            });
            interrupt = checked.err();
            match interrupt {
                None => ControlFlow::Continue(()),
                Some(_) => ControlFlow::Break(()),
            }
        };
        let run = || {
            // SAFETY: the check has accepted the arguments, which the caller of the function keeps alive, and the
            // outputs are in `outputs`. The loops are those of the batch. By the docs of `load`, its user guarantees
            // the prototype, and that no other thread writes the arrays during the batch.
            unsafe { loops.run(&this.inner, &mut batch, time, report) }
        };
        let (errno, made) = if is_short || this.gil() == Gil::Hold {
            run()
        } else {
            let _detached = Detached::new();
            activation::detached(py, run)
        };
        outcome = made;
        errno
    });
    if outcome.is_err() || returned.is_err() {
        return Err(failure(py, outcome, returned.err().or(interrupt)));
    }
    if let Some(out) = out {
        // SAFETY: the caller of the function has a reference to the argument.
        outputs.push(unsafe { Bound::from_borrowed_ptr(py, *out) });
    }
    result::none_one_or_tuple(py, outputs).map(Some)
}

/// Returns copies of the fields of the arrays that were given, none of which can have a mask.
fn snapshots(
    py: Python<'_>,
    function: &Function,
    arguments: &[*mut PyObject],
    out: Option<&*mut PyObject>,
) -> PyResult<Snapshots> {
    let contract = function.inner.contract();
    let is_complete = arguments.len() == contract.arguments().len();
    let is_given = |position: usize| is_complete || !contract.is_optional(position);
    let positions = contract.arguments().iter().copied();
    let given = positions.filter(|&position| is_given(position));
    let mut outputs = contract.outputs().iter().copied();
    let omitted =
        outputs.find(|role| !matches!(role, Role::Parameter(position) if is_given(*position)));
    let roles = given.map(Role::Parameter).chain(omitted);
    let mut arrays = Snapshots::default();
    for (role, object) in roles.zip(arguments.iter().chain(out)) {
        // SAFETY: the caller of the function has a reference to its argument.
        let object = unsafe { Borrowed::from_ptr(py, *object) };
        if let Some(array) = ndarray::as_array(&object, function.ndarray.as_ptr().cast()) {
            arrays.push(role, Snapshot::of(array)?);
        }
    }
    Ok(arrays)
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
    let small = SmallBatches::new(&function.inner, dtype);
    Ok(small.map(Box::new))
}

/// The arguments of a call, and the options that a small batch takes.
struct Given<'a> {
    arguments: &'a [*mut PyObject],
    out: Option<&'a *mut PyObject>,
    simd: Simd,
}

impl<'a> Given<'a> {
    /// Separates the arguments from the options; returns `None` if the call has other keywords.
    #[inline]
    fn read(
        function: &Function,
        given: &'a [*mut PyObject],
        keywords: Option<&Bound<'_, PyTuple>>,
    ) -> Option<Self> {
        let mut read = Self {
            arguments: given,
            out: None,
            simd: function.binding().options.simd,
        };
        let Some(keywords) = keywords else {
            return Some(read);
        };
        let (py, count) = (keywords.py(), keywords.len());
        let (arguments, values) = given.split_at_checked(given.len().checked_sub(count)?)?;
        read.arguments = arguments;
        let options = [intern!(py, "out").as_ptr(), intern!(py, "simd").as_ptr()];
        // The interpreter has no keyword twice.
        for (name, value) in keywords.iter_borrowed().zip(values) {
            // The names of source code are interned, as are those of parameters.
            let option = options.iter().position(|option| *option == name.as_ptr())?;
            let mut parameters = function.parameters().iter();
            if parameters.any(|(parameter, _)| parameter.as_ptr() == name.as_ptr()) {
                return None;
            }
            if option == 0 {
                read.out = Some(value);
            } else {
                // SAFETY: the caller of the function has a reference to the argument.
                let value = unsafe { Borrowed::from_ptr(py, *value) };
                read.simd = simd_of(&value)?;
            }
        }
        Some(read)
    }
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
