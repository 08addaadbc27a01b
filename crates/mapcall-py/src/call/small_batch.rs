//! Small batches: those whose arguments and calls need neither the general check nor a plan.

#![allow(unsafe_code)]

use std::time::Duration;

use mapcall::CallError;
use mapcall::array::guard;
use mapcall::batch::{Simd, SmallBatches};
use mapcall::contract::{QuickOutput, Role, Rule};
use numpy::{PyArrayDescr, PyUntypedArray};
use pyo3::ffi::PyObject;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use smallvec::SmallVec;

use super::function::{Function, Gil, MadeSmallBatches};
use super::keywords::simd_of;
use super::quick_argument::{Argument, has_closed};
use super::{activation, errors, ndarray, result};
use crate::faults::Detached;

/// The longest time that calls are expected to take with the interpreter's lock held. Releasing it takes as long as a
/// small batch, and waiting for it again may take longer.
const HELD: Duration = Duration::from_micros(50);

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
    let time = small.time(&this.inner, batch.calls(), simd);
    if !is_filled
        || time.is_none()
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
        .loops(&this.inner, &batch, simd)
        .filter(|_| batch.is_placed())
    else {
        return Ok(None);
    };
    let holds_gil = this.gil() == Gil::Hold || time.is_some_and(|time| time <= HELD);
    let mut outcome = Ok(());
    let returned = activation::running(|| {
        let mut run = || {
            // SAFETY: the check has accepted the arguments, which the caller of the function keeps alive, and the
            // outputs are in `outputs`. The loops are those of the batch. By the docs of `load`, its user guarantees
            // the prototype, and that no other thread writes the arrays during the batch.
            unsafe { loops.run(&this.inner, &mut batch) }
        };
        let (errno, made) = if holds_gil {
            run()
        } else {
            let _detached = Detached::new();
            activation::detached(py, run)
        };
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
