//! Batches: calls of a function for each item of its arrays.

#![allow(unsafe_code)]

use std::path::PathBuf;

use mapcall::array::Buffer;
use mapcall::batch::{self, BatchRequest};
use mapcall::contract::{BroadcastPlan, Check, Memory, Output, Problem, Remedy, Role, Rule};
use numpy::PyUntypedArray;
use pyo3::ffi::PyObject;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyString, PyTuple};
use smallvec::SmallVec;

use super::function::{Function, Gil};
use super::keywords::BatchOptions;
use super::observer::Interpreter;
use super::progress::Progress;
use super::resources::CallResources;
use super::result::{self, Outputs};
use super::returns::pointed_to;
use super::snapshot::{Snapshot, Snapshots};
use super::{activation, errors, foreign, ndarray};
use crate::open;
use crate::source::Named;

/// The outputs that a call returns, in that order, with their destinations.
pub(super) type Returned<'py> = SmallVec<[(Role, Destination<'py>); 2]>;

/// The destination of an output.
pub(super) enum Destination<'py> {
    /// An array that is allocated for the call.
    Allocated,
    /// An array that `out` gives.
    Array(Bound<'py, PyAny>),
    /// A new file, whose path `out` gives.
    File(PathBuf),
}

/// Returns the outputs without an argument: a call returns those.
fn left_out<'py>(py: Python<'py>, function: &Function, given: &[*mut PyObject]) -> Returned<'py> {
    let contract = function.inner.contract();
    let is_left_out = |object: &*mut PyObject| {
        // SAFETY: null, or an argument, to which the caller of the function has a reference.
        let object = unsafe { Borrowed::from_ptr_or_opt(py, *object) };
        object.is_none_or(|object| object.is_none())
    };
    let rules = contract.rules().iter().zip(given).enumerate();
    let parameters = rules.filter_map(|(position, (rule, object))| {
        let is_output = rule
            .array()
            .is_some_and(mapcall::contract::ArrayRule::is_output);
        (is_output && is_left_out(object)).then_some(Role::Parameter(position))
    });
    let result = contract.returned().map(|_| Role::Result);
    let all = result.into_iter().chain(parameters);
    all.map(|role| (role, Destination::Allocated)).collect()
}

/// Adds the arrays of the option `out` to the arguments in `given`. Returns the outputs that the call
/// returns, if `out` is given.
///
/// # Errors
///
/// `ArgumentError` if `out` has another number of outputs.
pub(super) fn outputs<'py>(
    py: Python<'py>,
    function: &Function,
    options: &BatchOptions<'py>,
    given: &mut [*mut PyObject],
) -> PyResult<Option<Returned<'py>>> {
    let Some(out) = &options.out else {
        return Ok(None);
    };
    let contract = function.inner.contract();
    let mut returned = left_out(py, function, given);
    let out: Vec<Bound<'py, PyAny>> = match out.cast::<PyTuple>() {
        Ok(several) => several.iter().collect(),
        Err(_) => vec![out.clone()],
    };
    if out.len() != returned.len() {
        let problem = Problem::Outputs {
            expected: returned.len(),
            found: out.len(),
        };
        return Err(errors::argument(py, &contract.refuse_all(problem)));
    }
    for ((role, destination), object) in returned.iter_mut().zip(out) {
        if object.is_none() {
            continue;
        }
        let is_path = || {
            Ok::<_, PyErr>(
                object.is_instance_of::<PyString>()
                    || object.is_instance_of::<PyBytes>()
                    || object.get_type().hasattr(intern!(py, "__fspath__"))?,
            )
        };
        let is_array = ndarray::as_array(&object, function.ndarray.as_ptr().cast()).is_some();
        if !is_array && is_path()? {
            let path = Named::new(&object)?.path;
            // Absolute, as the process may change its working directory during the batch.
            *destination = Destination::File(std::path::absolute(&path).unwrap_or(path));
            continue;
        }
        if let Role::Parameter(position) = *role
            && let Some(argument) = given.get_mut(position)
        {
            *argument = object.as_ptr();
        }
        *destination = Destination::Array(object);
    }
    Ok(Some(returned))
}

/// Pushes the arrays of the options `out` and `where` to a check.
///
/// # Errors
///
/// `ArgumentError` if one has another dtype or shape than it must have, or is no array.
pub(super) fn push_arguments<'py>(
    function: &Function,
    check: &mut Check<'_>,
    options: &BatchOptions<'py>,
    returned: Option<&Returned<'py>>,
    arrays: &mut Snapshots,
) -> PyResult<()> {
    if returned.is_some() {
        check.insist_on_batch();
    }
    if let Some((Role::Result, Destination::Array(object))) = returned.and_then(|all| all.first()) {
        let py = object.py();
        let array = array(function, Role::Result, object)?;
        let array = Snapshot::new(function.inner.contract(), Role::Result, &array)?;
        if let Some(expected) = function.item(py, Role::Result)?
            && let Err(problem) = expected.check(array.dtype(py))
        {
            let error = function.inner.contract().refuse_role(Role::Result, problem);
            return Err(errors::argument(py, &error));
        }
        let checked = check.result(array.memory(py));
        checked.map_err(|error| errors::argument(py, &error))?;
        arrays.push(Role::Result, array);
    }
    if let Some(mask) = &options.mask {
        let array = self::mask(function, mask)?;
        check.mask(array.memory(mask.py()));
        arrays.push(Role::Mask, array);
    }
    Ok(())
}

/// Returns an object as an array of NumPy's, without a copy.
///
/// # Errors
///
/// `ArgumentError` if it is none and does not share its memory as one.
fn array<'py>(
    function: &Function,
    role: Role,
    object: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    if let Some(array) = ndarray::as_array(object, function.ndarray.as_ptr().cast()) {
        return Ok(array.clone());
    }
    let contract = function.inner.contract();
    if let Some(array) = foreign::view(contract, role, object)? {
        return Ok(array);
    }
    let dtype = match role {
        Role::Mask => mapcall::array::DType::BOOL,
        _ => contract
            .returned()
            .map_or(mapcall::array::DType::F64, |rule| rule.dtype.clone()),
    };
    let problem = errors::unfit(object, Remedy::MakeArray(dtype))?;
    Err(errors::argument(
        object.py(),
        &contract.refuse_role(role, problem),
    ))
}

/// Returns the array of the option `where`, which may also be one bool.
fn mask(function: &Function, object: &Bound<'_, PyAny>) -> PyResult<Snapshot> {
    let py = object.py();
    let is_truth = object.is_instance_of::<PyBool>() || foreign::is_scalar(object)?;
    let array = if is_truth {
        let numpy = py.import(intern!(py, "numpy"))?;
        numpy
            .call_method1(intern!(py, "asarray"), (object,))?
            .cast_into::<PyUntypedArray>()?
    } else {
        array(function, Role::Mask, object)?
    };
    let contract = function.inner.contract();
    let array = Snapshot::new(contract, Role::Mask, &array)?;
    let dtype = array.dtype(py);
    if dtype.is(numpy::dtype::<bool>(py)) {
        return Ok(array);
    }
    let problem = Problem::ForeignDType {
        expected: mapcall::array::DType::BOOL,
        found: dtype.to_string(),
    };
    Err(errors::argument(
        py,
        &contract.refuse_role(Role::Mask, problem),
    ))
}

/// Checks the options that a single call ignores.
///
/// # Errors
///
/// `ArgumentError` if `threads` or `progress` has no valid value.
pub(super) fn check_options(function: &Function, options: &BatchOptions<'_>) -> PyResult<()> {
    threads(function, options)?;
    progress(function, options).map(drop)
}

fn threads(function: &Function, options: &BatchOptions<'_>) -> PyResult<usize> {
    options.threads(function.inner.contract(), function.gil() == Gil::Hold)
}

fn progress(function: &Function, options: &BatchOptions<'_>) -> PyResult<Progress> {
    let function = &function.inner;
    Progress::new(
        function.contract(),
        function.name(),
        options.progress.as_ref(),
    )
}

/// Runs a batch whose arguments are checked, and returns its outputs.
pub(super) fn run<'py>(
    function: &Bound<'py, Function>,
    check: Check<'_>,
    options: &BatchOptions<'py>,
    returned: Option<Returned<'py>>,
    given: &[*mut PyObject],
    arrays: &mut Snapshots,
    resources: &mut CallResources,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, this) = (function.py(), function.get());
    // Here, as the calls may be made on other threads, which have no callbacks running.
    activation::write_back();
    let returned = returned.unwrap_or_else(|| left_out(py, this, given));
    let contract = this.inner.contract();
    let threads = threads(this, options)?;
    let is_synced = options.is_synced()?;
    let progress = progress(this, options)?;
    let (stream, nbytes) = (options.stream()?, check.nbytes());
    let outputs: Vec<Output> = (0..).map_while(|index| check.output(index)).collect();
    for output in &outputs {
        check_output(py, this, output)?;
    }
    let Some((mut broadcast, frame)) = check.into_batch() else {
        return Ok(py.None().into_bound(py));
    };
    let (mut allocated, mut files) = (Outputs::new(), Vec::new());
    for output in &outputs {
        let mut destinations = returned.iter();
        match destinations.find(|(role, _)| *role == output.role) {
            Some((_, Destination::File(path))) => {
                let created = py.detach(|| output.file(contract, &mut broadcast, path, &mut files));
                created.map_err(|error| errors::call(py, &error))?;
            }
            _ => allocated.push((output.role, allocate(this, py, output, &mut broadcast)?)),
        }
    }
    let maps = if stream.looks_at(nbytes) {
        maps(py, this, given, &returned, options.mask.as_ref())
    } else {
        Vec::new()
    };
    if progress.is_reported() || this.binding().options.is_callable {
        arrays.forbid_resizing(py)?;
    }
    arrays.check(py, contract)?;
    let observer = Interpreter::new(this, &progress, arrays);
    let work = BatchRequest {
        broadcast: &broadcast,
        frame,
        maps: &maps,
        stream,
        files: &files,
        is_synced,
        threads,
        observer: &observer,
    };
    resources.hand_over(py, &this.inner, Some(&broadcast))?;
    let outcome = if this.gil() == Gil::Hold {
        // SAFETY: the check has accepted the arguments, the caller keeps them alive, and the outputs
        // are in `allocated` and `files`. By the docs of `load`, its user sees to it that no other
        // thread writes them during the batch.
        unsafe { this.inner.run_batch(&work) }
    } else {
        // SAFETY: as in the other branch.
        py.detach(|| unsafe { this.inner.run_batch(&work) })
    };
    progress.close(
        py,
        outcome.is_ok().then(|| broadcast.shape().iter().product()),
    )?;
    let written = match outcome {
        Ok(()) if files.is_empty() => Vec::new(),
        Ok(()) => py
            .detach(|| batch::finish(contract, files, is_synced))
            .map_err(|error| errors::call(py, &error))?,
        Err(error) => return Err(observer.error(py, &error)),
    };
    let mut allocated = allocated.into_iter();
    let mut all = Vec::with_capacity(returned.len());
    for (role, destination) in returned {
        all.push(match destination {
            Destination::Array(object) => object,
            Destination::File(path) => {
                let Some((_, file)) = written.iter().find(|(written, _)| *written == role) else {
                    continue;
                };
                open::written(py, file, &path)?
            }
            Destination::Allocated => match allocated.next() {
                Some((_, array)) => result::batch_output(role, array)?,
                None => continue,
            },
        });
    }
    result::none_one_or_tuple(py, all)
}

/// Refuses an output that is an array of pointers: it could not keep alive what they lead into, nor
/// run their destructor.
fn check_output(py: Python<'_>, function: &Function, output: &Output) -> PyResult<()> {
    let contract = function.inner.contract();
    if let Role::Parameter(position) = output.role
        && let Some(rule) = contract.rules().get(position).and_then(Rule::array)
        && pointed_to(&rule.ctype).is_some()
    {
        let returns = rule.ctype.to_string();
        let error = contract.refuse(position, Problem::Unbatched { returns });
        return Err(errors::argument(py, &error));
    }
    Ok(())
}

/// Returns the maps that the arrays lie in.
fn maps(
    py: Python<'_>,
    function: &Function,
    given: &[*mut PyObject],
    returned: &Returned<'_>,
    mask: Option<&Bound<'_, PyAny>>,
) -> Vec<(Role, Buffer)> {
    let ndarray = function.ndarray.as_ptr().cast();
    let buffer = |object: &Bound<'_, PyAny>| {
        let map = crate::mapped_array::map_of(ndarray::as_array(object, ndarray)?)?;
        map.get().buffer().ok()
    };
    let argument = |(position, object): (usize, &*mut PyObject)| {
        // SAFETY: null, or an argument, to which the caller of the function has a reference.
        let object = unsafe { Borrowed::from_ptr_or_opt(py, *object) };
        Some((Role::Parameter(position), buffer(&*object?)?))
    };
    let result = match returned.first() {
        Some((Role::Result, Destination::Array(object))) => buffer(object),
        _ => None,
    };
    let result = result.map(|buffer| (Role::Result, buffer));
    let mask = mask.and_then(|object| Some((Role::Mask, buffer(object)?)));
    given
        .iter()
        .enumerate()
        .filter_map(argument)
        .chain(result)
        .chain(mask)
        .collect()
}

/// Allocates an output.
fn allocate<'py>(
    function: &Function,
    py: Python<'py>,
    output: &Output,
    broadcast: &mut BroadcastPlan,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let expected = match output.role {
        Role::Parameter(position) => function.expected(position),
        role => function.item(py, role)?,
    };
    let dtype = match expected {
        Some(expected) => expected.dtype.bind(py).clone(),
        None => numpy::dtype::<u8>(py),
    };
    let array = ndarray::ordered_zeros(&dtype, output)?;
    let Memory {
        address,
        shape,
        strides,
        ..
    } = ndarray::memory(&array);
    let (core, ndim) = (
        shape.get(broadcast.shape().len()..).unwrap_or_default(),
        broadcast.shape().len(),
    );
    let size = core.iter().product::<usize>() * ndarray::itemsize(&array);
    let strides = strides.get(..ndim).unwrap_or_default();
    broadcast.place(
        function.inner.contract(),
        output.role,
        address,
        strides,
        size,
    );
    Ok(array)
}
