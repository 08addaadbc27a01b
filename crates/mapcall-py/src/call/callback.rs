//! Python callables as C functions.

#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mapcall::call::{CallTypeError, Closure, ClosurePool, FrameLayout, Late, Purpose};
use mapcall::contract::{ArgumentError, FunctionValue, HostValue, Problem, Remedy, Rule};
use mapcall::ctype::{CType, Function as FunctionType};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::activation::{Current, Invocation};
use super::expected;
use super::function::Function;
use super::handle::Handle;
use super::received::{Arguments, Parameters};
use super::scope::CallbackPointers;
use super::text::Text;
use super::{activation, errors, foreign_function, ndarray, number};
use crate::exit::is_ending;
use crate::mapped_array::panicked;

/// A C function pointer that calls a callable, valid as long as this object lives.
///
/// >>> import mapcall
/// >>> signal = mapcall.load(None).function(
/// ...     "typedef void (*handler)(int number); handler signal(int number, handler act)")
/// >>> signal.callback("act", print)
/// <mapcall.Callback: void (int)>
///
/// Made by `Function.callback`. Handles that the callable receives are closed when it returns.
#[pyclass(frozen, module = "mapcall", weakref)]
pub(crate) struct Callback {
    closure: Closure,
    wanted: Arc<FunctionType>,
    callable: Arc<Py<PyAny>>,
    pointers: CallbackPointers,
}

impl Callback {
    pub(super) fn new(
        recipient: &Recipient,
        wanted: &Arc<FunctionType>,
        callable: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        if !callable.is_callable() {
            let found = callable.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "expected a callable, got {found}"
            )));
        }
        let (py, callable) = (callable.py(), Arc::new(callable.clone().unbind()));
        let pointers = CallbackPointers::default();
        Ok(Self {
            closure: make(py, recipient, wanted, (&callable, &pointers))?,
            wanted: Arc::clone(wanted),
            callable,
            pointers,
        })
    }

    fn ctype(&self) -> String {
        CType::Function(Arc::clone(&self.wanted)).to_string()
    }
}

/// The recipient of a callback, by which messages name it.
#[derive(Clone)]
pub(super) enum Recipient {
    /// The parameter of a function, which converts C's texts to a type.
    Parameter(mapcall::Function, usize, Text),
    /// Another place in the memory of a library, such as a member of a struct.
    Named(Arc<NamedRecipient>),
}

/// See [`Recipient`].
pub(super) struct NamedRecipient {
    pub(super) library: mapcall::Library,
    /// The name of the function or struct.
    pub(super) function: String,
    /// The name of the member.
    pub(super) parameter: String,
    /// What keeps a callback alive.
    pub(super) keeper: String,
}

impl Recipient {
    fn library(&self) -> &mapcall::Library {
        match self {
            Self::Parameter(function, ..) => function.library(),
            Self::Named(named) => &named.library,
        }
    }

    /// Returns the type that C's texts are converted to.
    fn text(&self) -> Text {
        match self {
            Self::Parameter(_, _, text) => *text,
            Self::Named(_) => Text::Str,
        }
    }

    fn purpose(&self) -> Purpose<'_> {
        match self {
            Self::Parameter(function, position, _) => Purpose {
                address: function.address().addr().get(),
                function: function.name(),
                parameter: function.contract().name(*position),
            },
            Self::Named(named) => Purpose {
                address: 0,
                function: &named.function,
                parameter: &named.parameter,
            },
        }
    }

    /// Returns the object that keeps a callback alive, for messages.
    fn keeper(&self) -> String {
        match self {
            Self::Parameter(..) => {
                let Purpose {
                    function,
                    parameter,
                    ..
                } = self.purpose();
                format!("{function}.callback({parameter:?}, ...)")
            }
            Self::Named(named) => named.keeper.clone(),
        }
    }

    /// Makes the error for an argument or result of a callback.
    fn refuse(&self, parameter: &str, expected: String, problem: Problem) -> ArgumentError {
        let function = self.purpose().function.to_owned();
        ArgumentError::new(function, parameter.to_owned(), expected, problem)
    }
}

/// Returns the value of a bound function or a `Callback` for the check of a call; `None` for any other
/// object.
pub(super) fn function_value<'a>(object: &'a Bound<'_, PyAny>) -> Option<HostValue<'a>> {
    if let Ok(function) = object.cast::<Function>() {
        let function = &function.get().inner;
        return Some(HostValue::Function {
            function: FunctionValue::Bound(function.prototype()),
            address: function.address().as_ptr(),
        });
    }
    let callback = object.cast::<Callback>().ok()?.get();
    Some(HostValue::Function {
        function: FunctionValue::Closure(&callback.wanted),
        address: callback.closure.address(),
    })
}

#[pymethods]
impl Callback {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(self.pointers.get())?;
        visit.call(&*self.callable)
    }

    /// The address of the C function, as an int.
    ///
    /// >>> import ctypes, mapcall
    /// >>> bsearch = mapcall.load(None).function(
    /// ...     "void *bsearch(const void *key, const void *base, size_t n, size_t size,"
    /// ...     "              int (*compare)(int, int))")
    /// >>> larger = bsearch.callback("compare", max)
    /// >>> ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)(larger.address)(3, 4)
    /// 4
    #[getter(address)]
    fn py_address(&self) -> usize {
        self.closure.address().addr()
    }

    /// The C function as a ctypes function, which keeps this object alive.
    ///
    /// >>> import mapcall
    /// >>> bsearch = mapcall.load(None).function(
    /// ...     "void *bsearch(const void *key, const void *base, size_t n, size_t size,"
    /// ...     "              int (*compare)(int, int))")
    /// >>> bsearch.callback("compare", max).ctypes(3, 4)
    /// 4
    ///
    /// Raises
    /// ------
    /// TypeError
    ///     If ctypes has no class for a type.
    #[getter]
    fn ctypes<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let callback = this.get();
        let address = callback.py_address();
        let types = (&callback.wanted.returns, &callback.wanted.parameters[..]);
        foreign_function::to_ctypes(this.as_any(), "callback", address, types)
    }

    fn __repr__(&self) -> String {
        format!("<mapcall.Callback: {}>", self.ctype())
    }
}

/// Makes a C function that calls a callable, for one call.
pub(super) fn closure(
    recipient: &Recipient,
    wanted: &Arc<FunctionType>,
    callable: &Bound<'_, PyAny>,
) -> PyResult<Closure> {
    make(
        callable.py(),
        recipient,
        wanted,
        (
            &Arc::new(callable.clone().unbind()),
            &CallbackPointers::default(),
        ),
    )
}

fn make(
    py: Python<'_>,
    recipient: &Recipient,
    wanted: &Arc<FunctionType>,
    (callable, pointers): (&Arc<Py<PyAny>>, &CallbackPointers),
) -> PyResult<Closure> {
    let body = Body {
        parameters: Parameters::new(py, wanted, recipient.library(), recipient.text())?,
        recipient: recipient.clone(),
        result: Rule::of_result(&wanted.returns),
        callable: Arc::clone(callable),
        pointers: Arc::clone(pointers),
    };
    let run = move |layout: &FrameLayout, frame: &mut [u64]| body.run(layout, frame);
    pool(recipient, wanted)
        .and_then(|pool| pool.closure(Box::new(run)))
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Returns the pool of closures for a recipient. C may keep a closure and call it after its end, which `late`
/// reports.
fn pool(
    recipient: &Recipient,
    wanted: &FunctionType,
) -> Result<&'static ClosurePool, CallTypeError> {
    let purpose = recipient.purpose();
    ClosurePool::get(purpose, &wanted.returns, &wanted.parameters, || -> Late {
        let remedy = format!("keep {} as long as C may call it", recipient.keeper());
        let problem = Problem::Type {
            found: "one that has ended".into(),
            remedy: Remedy::Words(remedy),
        };
        let expected = "a callable that is there when C calls it".into();
        let error = recipient.refuse(purpose.parameter, expected, problem);
        // The library may call a closure until the process ends, so it stays loaded.
        let library = recipient.library().clone();
        Box::new(move |is_first| {
            let _ = &library;
            late(&error, is_first);
        })
    })
}

/// Reports that C has called a closure after its end.
fn late(error: &ArgumentError, is_first: bool) {
    // Not reported if the running call raises another exception already, or if it is not the first
    // report and C calls on a thread of its own, perhaps for ever.
    let current = Current::get();
    if current.has_raised() || !(is_first || activation::is_running()) || is_ending() {
        return;
    }
    // Nothing can be reported when the interpreter has ended.
    let _ = current.attach(|py| activation::raise(py, errors::argument(py, error), None));
}

/// The body of a closure.
struct Body {
    parameters: Parameters,
    recipient: Recipient,
    /// The rule of the callable's result; `None` for void.
    result: Option<Rule>,
    callable: Arc<Py<PyAny>>,
    pointers: CallbackPointers,
}

impl Body {
    /// Runs the callable. If it raises an exception, C gets zero, and the call that runs C raises the
    /// exception.
    fn run(&self, layout: &FrameLayout, frame: &mut [u64]) {
        let current = Current::get();
        if current.has_raised() {
            // The running call will raise an exception, so that it runs no more Python code.
            return;
        }
        let ran = current.attach(|py| {
            let call = AssertUnwindSafe(|| self.call(py, current, layout, frame));
            let called = catch_unwind(call).unwrap_or_else(|panic| Err(panicked(&*panic)));
            called.map_err(|error| {
                if let Some(result) = frame.get_mut(layout.result()..) {
                    result.fill(0);
                }
                activation::raise(py, error, Some(self.callable.bind(py)));
            })
        });
        // Nothing can be reported when the interpreter has ended.
        let _ = ran;
    }

    #[inline]
    fn call(
        &self,
        py: Python<'_>,
        current: Current,
        layout: &FrameLayout,
        frame: &mut [u64],
    ) -> PyResult<()> {
        let invocation = Invocation::new(&self.pointers);
        let enter = || invocation.enter(current);
        let _entered = self.parameters.have_pointers().then(enter);
        let mut arguments = Arguments::new(py, &self.parameters);
        // SAFETY: the closure was made for the function type of the parameters. `arguments` is dropped before
        // `_entered`.
        unsafe { arguments.receive((layout, frame), &invocation) }?;
        let result = arguments.call(self.callable.bind(py))?;
        let slots = frame.get_mut(layout.result()..).unwrap_or_default();
        if let Some(Rule::Number(number)) = &self.result {
            // SAFETY: `result` is a live object.
            let slot = unsafe { number::slot(*number, result.as_ptr()) };
            if let (Some(slot), Some(to)) = (slot, slots.first_mut()) {
                *to = slot;
                return Ok(());
            }
        }
        self.convert_result(&result, slots)
    }

    /// Converts the result of the callable to slots of the frame.
    fn convert_result(&self, result: &Bound<'_, PyAny>, slots: &mut [u64]) -> PyResult<()> {
        let Some(rule) = &self.result else {
            return Ok(());
        };
        let convert = |value: HostValue<'_>, slots: &mut [u64]| {
            rule.convert(value, false, slots)
                .map_err(|problem| self.wrong_result(rule, problem, value, result))
        };
        match rule {
            Rule::Number(number) => {
                if let Some(value) = number::extended(result, *number)? {
                    return convert(HostValue::LongDouble(&value), slots);
                }
                convert(number::read(result)?.value(), slots)
            }
            Rule::Record { .. } => match ndarray::copy_of_item(result)? {
                Some((dtype, bytes)) => {
                    let dtype = expected::convert(None, &dtype);
                    let dtype = expected::borrowed(&dtype);
                    let bytes = &bytes;
                    convert(HostValue::Record { dtype, bytes }, slots)
                }
                None => convert(HostValue::Other, slots),
            },
            _ if result.is_none() => convert(HostValue::None, slots),
            _ => {
                if let Ok(handle) = result.cast::<Handle>() {
                    let handle = handle.get();
                    let in_use = handle.in_use().ok_or_else(|| {
                        let found = handle.target().to_owned();
                        let problem = Problem::Closed { found };
                        self.wrong_result(rule, problem, HostValue::Other, result)
                    })?;
                    return convert(in_use.value(), slots);
                }
                if let Some(function) = foreign_function::read(result)? {
                    return convert(function.value(), slots);
                }
                convert(function_value(result).unwrap_or(HostValue::Other), slots)
            }
        }
    }

    /// Returns the exception for a result that can't be converted to the C type.
    #[cold]
    fn wrong_result(
        &self,
        rule: &Rule,
        problem: Problem,
        value: HostValue<'_>,
        result: &Bound<'_, PyAny>,
    ) -> PyErr {
        let expected = match rule {
            Rule::Pointer(_) => format!("{rule}, as a handle or None"),
            rule => rule.to_string(),
        };
        let mut error = self
            .recipient
            .refuse("callback's result", expected, problem);
        if let Problem::Type { found, remedy } = &mut error.problem {
            if matches!(value, HostValue::Other | HostValue::None) {
                match errors::what(result) {
                    Ok(what) => *found = what,
                    Err(error) => return error,
                }
            }
            let advice = remedy.to_string();
            let advice = match advice.strip_prefix("give ") {
                Some(advice) => format!("return {advice}"),
                None => "return one".into(),
            };
            *remedy = Remedy::Words(advice);
        }
        errors::argument(result.py(), &error)
    }
}
