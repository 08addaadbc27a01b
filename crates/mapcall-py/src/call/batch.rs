//! Batches: what a call takes beside the prototype's arguments, and how it goes on meanwhile.

#![allow(unsafe_code)]

use std::ops::ControlFlow;
use std::path::PathBuf;

use mapcall::CallError;
use mapcall::array::Buffer;
use mapcall::array::fork::Mutex;
use mapcall::batch::{self, Host, Stream, Work};
use mapcall::contract::{Check, Loops, Memory, Output, Problem, Remedy, Role, Rule};
use numpy::PyUntypedArray;
use pyo3::ffi::PyObject;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyInt, PyString, PyTuple};
use smallvec::SmallVec;

use super::function::{Function, Gil};
use super::resources::CallResources;
use super::result::{self, Outputs};
use super::returns::pointed_to;
use super::snapshot::{Snapshot, Snapshots};
use super::{activation, errors, foreign, ndarray};
use crate::open;
use crate::package::Package;
use crate::source::Named;

/// The keywords that no parameter has, in the order of `inspect.signature`, with their defaults.
pub(super) const KEYWORDS: [&str; 6] = ["out", "where", "threads", "stream", "sync", "progress"];

/// How a call is made, beyond its arguments.
#[derive(Default)]
pub(super) struct Manner<'py> {
    out: Option<Bound<'py, PyAny>>,
    mask: Option<Bound<'py, PyAny>>,
    threads: Option<Bound<'py, PyAny>>,
    stream: Option<Bound<'py, PyAny>>,
    sync: Option<Bound<'py, PyAny>>,
    progress: Option<Bound<'py, PyAny>>,
}

impl<'py> Manner<'py> {
    /// Takes a keyword that is no parameter; whether there is such.
    pub(super) fn set(
        manner: &mut Option<Box<Self>>,
        name: &str,
        value: &Bound<'py, PyAny>,
    ) -> bool {
        if !KEYWORDS.contains(&name) {
            return false;
        }
        let manner = manner.get_or_insert_default();
        let place = match name {
            "out" => &mut manner.out,
            "where" => &mut manner.mask,
            "threads" => &mut manner.threads,
            "stream" => &mut manner.stream,
            "sync" => &mut manner.sync,
            _ => &mut manner.progress,
        };
        *place = Some(value.clone()).filter(|value| !value.is_none());
        true
    }

    fn stream(&self) -> PyResult<Stream> {
        Ok(match &self.stream {
            None => Stream::Auto,
            Some(stream) if stream.is_truthy()? => Stream::Always,
            Some(_) => Stream::Never,
        })
    }

    fn threads(&self, function: &Function) -> PyResult<usize> {
        let Some(threads) = &self.threads else {
            return Ok(1);
        };
        let found = if threads.is_instance_of::<PyInt>() {
            threads.repr()?.to_string()
        } else {
            errors::what(threads)?
        };
        let refuse = |expected: &str, remedy: &str| {
            let problem = Problem::Type {
                found: found.clone(),
                remedy: Remedy::Words(remedy.into()),
            };
            refuse(threads.py(), function, "threads", expected, problem)
        };
        let count = threads
            .extract::<usize>()
            .map_err(|_| refuse("a number of threads", "give 1, or 0 for every core"))?;
        if count != 1 && function.gil() == Gil::Hold {
            let expected = "1, as the function is bound with gil='hold'";
            return Err(refuse(expected, "bind it without gil"));
        }
        Ok(count)
    }

    /// What a single call ignores must be good all the same.
    pub(super) fn check(&self, function: &Function) -> PyResult<()> {
        self.threads(function)?;
        Progress::new(function, self.progress.as_ref()).map(drop)
    }
}

/// An error about one of the keywords.
#[cold]
fn refuse(
    py: Python<'_>,
    function: &Function,
    keyword: &str,
    expected: &str,
    problem: Problem,
) -> PyErr {
    let mut error = function.inner.contract().refuse_all(problem);
    error.parameter = keyword.into();
    error.expected = expected.into();
    errors::argument(py, &error)
}

/// The outputs that a call returns, in order: what each is, and where it goes.
pub(super) type Returned<'py> = SmallVec<[(Role, Out<'py>); 2]>;

/// Where an output goes.
pub(super) enum Out<'py> {
    /// To an array that is made.
    Made,
    /// To one that is given.
    Array(Bound<'py, PyAny>),
    /// To a new file.
    File(PathBuf),
}

/// The outputs that a call returns: those that no argument is given for.
fn left_out<'py>(py: Python<'py>, function: &Function, given: &[*mut PyObject]) -> Returned<'py> {
    let contract = function.inner.contract();
    let is_left_out = |object: &*mut PyObject| {
        // SAFETY: null, or a live object.
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
    all.map(|role| (role, Out::Made)).collect()
}

/// Puts what `out=` gives among the arguments; with it, the outputs that are returned.
pub(super) fn outputs<'py>(
    py: Python<'py>,
    function: &Function,
    manner: &Manner<'py>,
    given: &mut [*mut PyObject],
) -> PyResult<Option<Returned<'py>>> {
    let Some(out) = &manner.out else {
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
    for ((role, place), object) in returned.iter_mut().zip(out) {
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
            // It stays there if the process goes to another folder meanwhile.
            *place = Out::File(std::path::absolute(&path).unwrap_or(path));
            continue;
        }
        if let Role::Parameter(position) = *role
            && let Some(argument) = given.get_mut(position)
        {
            *argument = object.as_ptr();
        }
        *place = Out::Array(object);
    }
    Ok(Some(returned))
}

/// Tells a check where the results go and which calls are made.
pub(super) fn tell<'py>(
    function: &Function,
    check: &mut Check<'_>,
    manner: &Manner<'py>,
    returned: Option<&Returned<'py>>,
    arrays: &mut Snapshots,
) -> PyResult<()> {
    if returned.is_some() {
        check.insist_on_batch();
    }
    if let Some((Role::Result, Out::Array(object))) = returned.and_then(|all| all.first()) {
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
    if let Some(mask) = &manner.mask {
        let array = self::mask(function, mask)?;
        check.mask(array.memory(mask.py()));
        arrays.push(Role::Mask, array);
    }
    Ok(())
}

/// An array of NumPy's, or what can be seen as one.
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

/// The array of `where=`.
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

/// Runs a batch whose arguments are settled, and gives what it returns.
pub(super) fn run<'py>(
    function: &Bound<'py, Function>,
    check: Check<'_>,
    manner: &Manner<'py>,
    returned: Option<Returned<'py>>,
    given: &[*mut PyObject],
    arrays: &mut Snapshots,
    resources: &mut CallResources,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, this) = (function.py(), function.get());
    // Other threads may make the calls.
    activation::write_back();
    let returned = returned.unwrap_or_else(|| left_out(py, this, given));
    let contract = this.inner.contract();
    let threads = manner.threads(this)?;
    let is_synced = manner.sync.as_ref().map_or(Ok(false), Bound::is_truthy)?;
    let progress = Progress::new(this, manner.progress.as_ref())?;
    let (stream, nbytes) = (manner.stream()?, check.nbytes());
    let outputs: Vec<Output> = (0..).map_while(|index| check.output(index)).collect();
    for output in &outputs {
        check_output(py, this, output)?;
    }
    let Some((mut loops, frame)) = check.into_batch() else {
        return Ok(py.None().into_bound(py));
    };
    let (mut made, mut files) = (Outputs::new(), Vec::new());
    for output in &outputs {
        let mut places = returned.iter();
        match places.find(|(role, _)| *role == output.role) {
            Some((_, Out::File(path))) => {
                let made = py.detach(|| output.file(contract, &mut loops, path, &mut files));
                made.map_err(|error| errors::call(py, &error))?;
            }
            _ => made.push((output.role, place(this, py, output, &mut loops)?)),
        }
    }
    let maps = if stream.looks_at(nbytes) {
        maps(py, this, given, &returned, manner.mask.as_ref())
    } else {
        Vec::new()
    };
    if progress.report.is_some() || this.binding().options.is_callable {
        arrays.forbid_resizing(py)?;
    }
    arrays.check(py, contract)?;
    let host = Interpreter {
        function: this,
        progress: &progress,
        arrays,
        raised: Mutex::default(),
    };
    let work = Work {
        loops: &loops,
        frame,
        maps: &maps,
        stream,
        files: &files,
        is_synced,
        threads,
        host: &host,
    };
    resources.hand_over(py, &this.inner, Some(&loops))?;
    let outcome = if this.gil() == Gil::Hold {
        // SAFETY: as below.
        unsafe { this.inner.run_batch(&work) }
    } else {
        // SAFETY: the arguments are as the contract asks and kept by the caller, the outputs are in
        // `made`. That nobody else writes them meanwhile is what `load` says a user promises.
        py.detach(|| unsafe { this.inner.run_batch(&work) })
    };
    progress.close(py, outcome.is_ok().then(|| loops.shape().iter().product()))?;
    let written = match outcome {
        Ok(()) if files.is_empty() => Vec::new(),
        Ok(()) => py
            .detach(|| batch::finish(contract, files, is_synced))
            .map_err(|error| errors::call(py, &error))?,
        Err(error) => return Err(host.error(py, &error)),
    };
    let mut made = made.into_iter();
    let mut all = Vec::with_capacity(returned.len());
    for (role, place) in returned {
        all.push(match place {
            Out::Array(object) => object,
            Out::File(path) => {
                let Some((_, file)) = written.iter().find(|(written, _)| *written == role) else {
                    continue;
                };
                open::written(py, file, &path)?
            }
            Out::Made => match made.next() {
                Some((_, array)) => result::batch_output(role, array)?,
                None => continue,
            },
        });
    }
    result::none_one_or_tuple(py, all)
}

/// An array of pointers would forget whose they are and what ends them.
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

/// The maps that arrays lie in.
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
        // SAFETY: null, or a live object.
        let object = unsafe { Borrowed::from_ptr_or_opt(py, *object) };
        Some((Role::Parameter(position), buffer(&*object?)?))
    };
    let result = match returned.first() {
        Some((Role::Result, Out::Array(object))) => buffer(object),
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

/// Makes an output.
fn place<'py>(
    function: &Function,
    py: Python<'py>,
    output: &Output,
    loops: &mut Loops,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let expected = match output.role {
        Role::Parameter(position) => function.expected(position),
        whose => function.item(py, whose)?,
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
        shape.get(loops.shape().len()..).unwrap_or_default(),
        loops.shape().len(),
    );
    let size = core.iter().product::<usize>() * ndarray::itemsize(&array);
    let strides = strides.get(..ndim).unwrap_or_default();
    loops.place(
        function.inner.contract(),
        output.role,
        address,
        strides,
        size,
    );
    Ok(array)
}

/// Who is told how far a batch is.
struct Progress {
    report: Option<Py<PyAny>>,
    /// It is a bar of ours.
    is_bar: bool,
}

impl Progress {
    fn new(function: &Function, progress: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let none = Self {
            report: None,
            is_bar: false,
        };
        let Some(progress) = progress else {
            return Ok(none);
        };
        let py = progress.py();
        if let Ok(wanted) = progress.cast::<PyBool>() {
            if !wanted.is_true() {
                return Ok(none);
            }
            let bar = Package::get(py)?.progress_bar.bind(py);
            let bar = bar.call1((function.inner.name(),))?;
            return Ok(Self {
                report: Some(bar.unbind()),
                is_bar: true,
            });
        }
        if !progress.is_callable() {
            let problem = Problem::Type {
                found: errors::what(progress)?,
                remedy: Remedy::Words("give a function of the calls made and of all calls".into()),
            };
            let expected = "True or a callable";
            return Err(refuse(py, function, "progress", expected, problem));
        }
        Ok(Self {
            report: Some(progress.clone().unbind()),
            is_bar: false,
        })
    }

    fn report(&self, py: Python<'_>, done: usize, calls: usize) -> PyResult<()> {
        match &self.report {
            Some(report) => report.bind(py).call1((done, calls)).map(drop),
            None => Ok(()),
        }
    }

    /// The batch is over; all its calls have been made if they are told.
    fn close(&self, py: Python<'_>, calls: Option<usize>) -> PyResult<()> {
        if let Some(calls) = calls {
            self.report(py, calls, calls)?;
        }
        if self.is_bar
            && let Some(bar) = &self.report
        {
            bar.bind(py).call_method0(intern!(py, "close"))?;
        }
        Ok(())
    }
}

/// The interpreter while a batch runs: its signals, what callbacks raise, and a `check` of Python's.
struct Interpreter<'a> {
    function: &'a Function,
    progress: &'a Progress,
    /// What the calls read and write.
    arrays: &'a Snapshots,
    /// What ends the batch, with the number of the call whose result did.
    raised: Mutex<Option<(Option<usize>, PyErr)>>,
}

impl Interpreter<'_> {
    /// Keeps an exception, and ends the batch. Of those that calls' results raise it is the first
    /// call's, whichever thread was quicker; any other one goes before them.
    fn keep(&self, call: Option<usize>, result: PyResult<()>) -> ControlFlow<()> {
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                let mut raised = self.raised.lock();
                if raised.as_ref().is_none_or(|(known, _)| call < *known) {
                    let other = raised.replace((call, error));
                    // What an exception holds may run Python when it ends, which no lock may cover.
                    drop(raised);
                    drop(other);
                }
                ControlFlow::Break(())
            }
        }
    }

    /// What a batch raises that ended so.
    fn error(self, py: Python<'_>, error: &CallError) -> PyErr {
        let raised = self.raised.lock().take();
        match (raised, error) {
            (Some((Some(_), raised)), CallError::Interrupted { index, .. }) => {
                errors::at(py, raised, index.as_deref())
            }
            (Some((_, raised)), _) => raised,
            (None, error) => errors::call(py, error),
        }
    }
}

impl Host for Interpreter<'_> {
    fn around(&self, calls: &mut dyn FnMut() -> i32) -> ControlFlow<()> {
        self.keep(None, activation::running(calls).map(drop))
    }

    fn is_judge(&self) -> bool {
        self.function.binding().options.is_callable
    }

    fn judge(&self, call: usize, result: &[u64], errno: i32) -> ControlFlow<()> {
        if activation::has_raised() {
            // `around` will keep it.
            return ControlFlow::Break(());
        }
        let judged = Python::attach(|py| {
            result::check(py, self.function, result, errno)?;
            self.arrays.check(py, self.function.inner.contract())
        });
        self.keep(Some(call), judged)
    }

    fn pulse(&self, done: usize, calls: usize) -> ControlFlow<()> {
        let told = Python::attach(|py| {
            py.check_signals()?;
            self.progress.report(py, done, calls)?;
            self.arrays.check(py, self.function.inner.contract())
        });
        self.keep(None, told)
    }
}
