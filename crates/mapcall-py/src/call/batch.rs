//! Batches: calls of a function for each item of its arrays.

#![allow(unsafe_code)]

use std::path::PathBuf;
use std::ptr;

use mapcall::CallError;
use mapcall::array::{Buffer, Mode, WrittenFile};
use mapcall::batch::{PreparedBatch, Simd};
use mapcall::contract::{Check, Output, Problem, Role, Rule};
use numpy::PyUntypedArray;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTuple};
use smallvec::SmallVec;

use super::argument::Reader;
use super::function::{Function, Gil};
use super::keywords::{self, BatchOptions};
use super::observer::Interpreter;
use super::progress::Progress;
use super::resources::CallResources;
use super::result::{self, Outputs};
use super::returns::pointed_to;
use super::snapshot::Snapshots;
use super::{activation, errors, foreign, ndarray};
use crate::faults::Detached;
use crate::once::intern;
use crate::open;
use crate::source::Named;

/// A batch call: its options, and the destinations of its outputs.
///
/// Its methods are the stages of a batch: see [`PreparedBatch`].
pub(super) struct BatchCall<'py> {
    options: BatchOptions<'py>,
    /// The outputs that the call returns, in that order.
    returned: SmallVec<[(Role, Destination<'py>); 2]>,
}

/// The destination of an output.
enum Destination<'py> {
    /// An array that is allocated for the call.
    Allocated,
    /// An array of the option `out`.
    Array(Bound<'py, PyAny>),
    /// A new file with a path of the option `out`.
    File(PathBuf),
}

impl<'py> BatchCall<'py> {
    /// Assigns the destinations of the option `out` to the outputs without an argument, which the call
    /// returns. Adds the arrays of the option to the arguments in `given`.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if `out` has another number of outputs.
    pub(super) fn arrange(
        py: Python<'py>,
        function: &Function,
        options: BatchOptions<'py>,
        given: &mut [*mut PyObject],
    ) -> PyResult<Self> {
        let contract = function.inner.contract();
        let is_in_out = |position: usize| {
            let rule = contract.rules().get(position);
            matches!(rule, Some(Rule::InOut(_)))
        };
        let is_returned = |role: &&Role| match role {
            // Its argument is the value that C reads.
            Role::Parameter(position) if is_in_out(*position) => true,
            Role::Parameter(position) => {
                let object = given.get(*position).copied().unwrap_or(ptr::null_mut());
                // SAFETY: null, or an argument, to which the caller of the function has a reference.
                let object = unsafe { Borrowed::from_ptr_or_opt(py, object) };
                object.is_none_or(|object| object.is_none())
            }
            Role::Result | Role::Mask => true,
        };
        let outputs = contract.outputs().iter().filter(is_returned);
        let mut returned: SmallVec<_> = outputs
            .map(|role| (*role, Destination::Allocated))
            .collect();
        let out: Vec<Bound<'py, PyAny>> = match &options.out {
            None => {
                return Ok(Self { options, returned });
            }
            Some(out) => match out.cast::<PyTuple>() {
                Ok(several) => several.iter().collect(),
                Err(_) => vec![out.clone()],
            },
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
            let is_array = ndarray::as_array(&object, function.ndarray.as_ptr().cast()).is_some();
            if !is_array && errors::is_path(&object)? {
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
        Ok(Self { options, returned })
    }

    /// Reads the array of the option `out` for the results, and that of the option `where`.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if one is no array, or has a dtype or shape that the batch does not accept.
    pub(super) fn read(&self, reader: &mut Reader<'_, '_, 'py>) -> PyResult<()> {
        if self.options.out.is_some() {
            reader.check.insist_on_batch();
        }
        if let Some((Role::Result, Destination::Array(object))) = self.returned.first() {
            let expected = reader.function.scalar(reader.py, Role::Result)?;
            reader.array(Role::Result, expected, object)?;
        }
        let Some(mask) = &self.options.mask else {
            return Ok(());
        };
        if mask.is_instance_of::<PyBool>() || foreign::is_scalar(mask)? {
            let numpy = reader.py.import(intern!(reader.py, "numpy"))?;
            let mask = numpy.call_method1(intern!(reader.py, "asarray"), (mask,))?;
            return reader.array(Role::Mask, None, &mask);
        }
        reader.array(Role::Mask, None, mask)
    }

    /// Checks the options that a single call ignores.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if `threads`, `simd` or `progress` has no valid value.
    pub(super) fn check_options(&self, function: &Function) -> PyResult<()> {
        self.threads(function)?;
        self.simd(function)?;
        self.progress(function).map(drop)
    }

    fn simd(&self, function: &Function) -> PyResult<Simd> {
        let default = function.binding().options.simd;
        self.options.simd(function.inner.contract(), default)
    }

    fn threads(&self, function: &Function) -> PyResult<usize> {
        let holds_gil = function.gil() == Gil::Hold;
        self.options.threads(function.inner.contract(), holds_gil)
    }

    fn progress(&self, function: &Function) -> PyResult<Progress> {
        let function = &function.inner;
        Progress::new(
            function.contract(),
            function.name(),
            self.options.progress.as_ref(),
        )
    }

    /// Runs the batch, whose arguments are checked, and returns its outputs.
    pub(super) fn run(
        self,
        function: &Bound<'py, Function>,
        check: Check<'_>,
        given: &[*mut PyObject],
        arrays: &mut Snapshots,
        resources: &mut CallResources,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (function.py(), function.get());
        // Done here, because the calls may be made on other threads, on which no callback runs.
        activation::write_back();
        let contract = this.inner.contract();
        let options = mapcall::batch::BatchOptions {
            threads: self.threads(this)?,
            stream: self.options.stream()?,
            is_synced: self.options.is_synced()?,
            simd: self.simd(this)?,
        };
        let progress = self.progress(this)?;
        let Some(mut batch) = PreparedBatch::new(&this.inner, check) else {
            return Ok(py.None().into_bound(py));
        };
        let outputs = batch.outputs().to_vec();
        for output in &outputs {
            check_output(py, this, output)?;
        }
        let mut allocated = Outputs::new();
        for output in &outputs {
            let mut destinations = self.returned.iter();
            match destinations.find(|(role, _)| *role == output.role) {
                Some((_, Destination::File(path))) => {
                    let created = py.detach(|| batch.create_file(output, path));
                    created.map_err(|error| errors::call(py, &error))?;
                }
                _ => allocated.push((output.role, allocate(py, this, output, &mut batch)?)),
            }
        }
        let maps = if options.stream.may_evict(batch.nbytes()) {
            self.maps(py, this, given)
        } else {
            Vec::new()
        };
        if progress.is_reported() || this.binding().options.is_callable {
            arrays.forbid_resizing(py)?;
        }
        arrays.check(py, contract)?;
        let observer = Interpreter::new(this, &progress, arrays);
        resources.hand_over(py, &this.inner, Some(batch.broadcast()))?;
        let run = || {
            // SAFETY: the check has accepted the arguments, the caller keeps them alive, and the outputs
            // are in `allocated` and in files of `batch`. By the docs of `load`, its user guarantees
            // the prototype, and that no other thread writes the arrays during the batch.
            unsafe { batch.run(&options, &maps, &observer) }
        };
        let outcome = if this.gil() == Gil::Hold {
            run()
        } else {
            let _detached = Detached::new();
            py.detach(run)
        };
        let calls = batch.broadcast().shape().iter().product();
        progress.close(py, outcome.is_ok().then_some(calls))?;
        outcome.map_err(|error| match error {
            CallError::Simd(error) => keywords::no_variant(py, contract, &error),
            error => observer.error(py, &error),
        })?;
        let written = py
            .detach(|| batch.finish(&options))
            .map_err(|error| errors::call(py, &error))?;
        self.results(py, allocated, &written)
    }

    /// Returns the outputs of a finished batch: None, the only one, or a tuple.
    fn results(
        self,
        py: Python<'py>,
        allocated: Outputs<'py>,
        written: &[(Role, WrittenFile)],
    ) -> PyResult<Bound<'py, PyAny>> {
        let mut allocated = allocated.into_iter();
        let mut all = SmallVec::new();
        for (role, destination) in self.returned {
            all.push(match destination {
                Destination::Array(object) => object,
                Destination::File(path) => {
                    let Some((_, file)) = written.iter().find(|(written, _)| *written == role)
                    else {
                        continue;
                    };
                    open::written(py, file, &path, Mode::ReadWrite)?
                }
                Destination::Allocated => match allocated.next() {
                    Some((_, array)) => result::batch_output(role, array)?,
                    None => continue,
                },
            });
        }
        result::none_one_or_tuple(py, all)
    }

    /// Returns the buffers of the arrays that lie in maps.
    fn maps(
        &self,
        py: Python<'_>,
        function: &Function,
        given: &[*mut PyObject],
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
        let result = match self.returned.first() {
            Some((Role::Result, Destination::Array(object))) => buffer(object),
            _ => None,
        };
        let result = result.map(|buffer| (Role::Result, buffer));
        let mask = self.options.mask.as_ref();
        let mask = mask.and_then(|object| Some((Role::Mask, buffer(object)?)));
        given
            .iter()
            .enumerate()
            .filter_map(argument)
            .chain(result)
            .chain(mask)
            .collect()
    }
}

/// Refuses an output that is an array of pointers: the array could neither keep alive the objects that
/// they lead into, nor run their destructors.
fn check_output(py: Python<'_>, function: &Function, output: &Output) -> PyResult<()> {
    let contract = function.inner.contract();
    if let Role::Parameter(position) = output.role
        && let Some(rule) = contract.rules().get(position).and_then(Rule::array)
        && pointed_to(rule.ctype()).is_some()
    {
        let returns = rule.ctype().to_string();
        let error = contract.refuse(position, Problem::Unbatched { returns });
        return Err(errors::argument(py, &error));
    }
    Ok(())
}

/// Allocates an output.
fn allocate<'py>(
    py: Python<'py>,
    function: &Function,
    output: &Output,
    batch: &mut PreparedBatch<'_>,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let expected = match output.role {
        Role::Parameter(position) => function.expected(position),
        role => function.scalar(py, role)?,
    };
    let dtype = match expected {
        Some(expected) => expected.dtype.bind(py).clone(),
        None => numpy::dtype::<u8>(py),
    };
    let array = ndarray::ordered_zeros(&dtype, output)?;
    let memory = ndarray::memory(&array);
    let placed = batch.place(output, memory.address, memory.strides);
    placed.map_err(|error| errors::call(py, &error))?;
    Ok(array)
}
