//! Python's callables as C functions.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mapcall::call::{CallTypeError, Closure, ClosurePool, FrameLayout, Late, Purpose};
use mapcall::contract::{ArgumentError, Number, Problem, Remedy};
use mapcall::ctype::{CType, Function as FunctionType};
use mapcall::function::KeepAlive;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::handle::{self, Handle};
use super::number::PythonNumber;
use super::scope::Scope;
use super::text::{self, Text};
use super::{activation, errors, ndarray, number, structure};
use crate::exit::is_ending;
use crate::mapped_array::panicked;

/// A callable as a C function pointer, good as long as this object lives.
///
/// >>> import mapcall
/// >>> signal = mapcall.load(None).function(
/// ...     "typedef void (*handler)(int number); handler signal(int number, handler act)")
/// >>> signal.callback("act", print)
/// <mapcall.Callback: void (int)>
///
/// Made by `Function.callback`. What the callable receives as handles is closed when it returns.
#[pyclass(frozen, module = "mapcall", weakref)]
pub(crate) struct Callback {
    closure: Closure,
    wanted: Arc<FunctionType>,
    callable: Arc<Py<PyAny>>,
}

impl Callback {
    pub(super) fn new(
        origin: &mapcall::Function,
        position: usize,
        wanted: &Arc<FunctionType>,
        callable: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        if !callable.is_callable() {
            let found = callable.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "expected a callable, got {found}"
            )));
        }
        let callable = Arc::new(callable.clone().unbind());
        Ok(Self {
            closure: make(origin, position, wanted, &callable)?,
            wanted: Arc::clone(wanted),
            callable,
        })
    }

    pub(super) fn is_of(&self, wanted: &Arc<FunctionType>) -> bool {
        let ctype = |function: &Arc<FunctionType>| CType::Function(Arc::clone(function));
        ctype(&self.wanted).is_same(&ctype(wanted))
    }

    pub(super) fn ctype(&self) -> String {
        CType::Function(Arc::clone(&self.wanted)).to_string()
    }

    pub(super) fn address(&self) -> *const c_void {
        self.closure.address()
    }
}

#[pymethods]
impl Callback {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
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

    fn __repr__(&self) -> String {
        format!("<mapcall.Callback: {}>", self.ctype())
    }
}

/// Makes a C function that calls a callable, for one call.
pub(super) fn closure(
    origin: &mapcall::Function,
    position: usize,
    wanted: &Arc<FunctionType>,
    callable: &Bound<'_, PyAny>,
) -> PyResult<Closure> {
    make(
        origin,
        position,
        wanted,
        &Arc::new(callable.clone().unbind()),
    )
}

fn make(
    origin: &mapcall::Function,
    position: usize,
    wanted: &Arc<FunctionType>,
    callable: &Arc<Py<PyAny>>,
) -> PyResult<Closure> {
    let body = Body {
        origin: origin.clone(),
        function: Arc::clone(wanted),
        callable: Arc::clone(callable),
    };
    let run = move |layout: &FrameLayout, frame: &mut [u64]| body.run(layout, frame);
    pool(origin, position, wanted)
        .and_then(|pool| pool.closure(Box::new(run)))
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Returns the pool of closures for a parameter of a function. C may keep a closure and call it after
/// its end, which `late` reports.
fn pool(
    origin: &mapcall::Function,
    position: usize,
    wanted: &FunctionType,
) -> Result<&'static ClosurePool, CallTypeError> {
    let contract = origin.contract();
    let purpose = Purpose {
        address: origin.address().addr().get(),
        function: origin.name(),
        parameter: contract.name(position),
    };
    ClosurePool::get(purpose, &wanted.returns, &wanted.parameters, || -> Late {
        let Purpose {
            function,
            parameter,
            ..
        } = purpose;
        let remedy =
            format!("keep {function}.callback({parameter:?}, ...) as long as C may call it");
        let problem = Problem::Type {
            found: "one that has ended".into(),
            remedy: Remedy::Words(remedy),
        };
        let mut error = contract.refuse(position, problem);
        error.expected = "a callable that is there when C calls it".into();
        // The library may call a closure until the process ends, so it stays loaded.
        let library = origin.library().clone();
        Box::new(move |is_first| {
            let _ = &library;
            late(&error, is_first);
        })
    })
}

/// Reports that C has called a closure after its end.
fn late(error: &ArgumentError, is_first: bool) {
    // The running call raises another exception already; or C calls on a thread of its own, perhaps
    // for ever, where one report is enough.
    if activation::has_raised() || !(is_first || activation::is_running()) || is_ending() {
        return;
    }
    // Nothing can be reported when the interpreter has ended.
    let _ = Python::try_attach(|py| activation::raise(py, errors::argument(py, error), None));
}

/// The body of a closure.
struct Body {
    origin: mapcall::Function,
    function: Arc<FunctionType>,
    callable: Arc<Py<PyAny>>,
}

impl Body {
    /// Runs the callable. If it raises an exception, C gets zero, and the call that runs C raises the
    /// exception.
    fn run(&self, layout: &FrameLayout, frame: &mut [u64]) {
        if activation::has_raised() {
            // The call will raise an exception: no more Python code runs in it.
            return;
        }
        let ran = Python::try_attach(|py| {
            let call = AssertUnwindSafe(|| self.call(py, layout, frame));
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

    fn call(&self, py: Python<'_>, layout: &FrameLayout, frame: &mut [u64]) -> PyResult<()> {
        let mut received = Received::new(py);
        let parameters = self.function.parameters.iter().enumerate();
        let arguments = parameters
            .map(|(index, ctype)| {
                let words = frame.get(layout.parameter(index)..).unwrap_or_default();
                self.argument(&mut received, ctype, words)
            })
            .collect::<PyResult<Vec<_>>>()?;
        let result = self.callable.bind(py).call1(PyTuple::new(py, arguments)?)?;
        let words = self.result(&result)?;
        let place = frame.get_mut(layout.result()..).unwrap_or_default();
        for (to, from) in place.iter_mut().zip(words) {
            *to = from;
        }
        Ok(())
    }

    /// Converts an argument that C passes.
    fn argument<'py>(
        &self,
        received: &mut Received<'py>,
        ctype: &CType,
        words: &[u64],
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = received.py;
        if let Some(number) = Number::of(ctype) {
            if number.is_extended() {
                return ndarray::item(&structure::dtype(py, ctype)?, words);
            }
            return number::to_python(py, number.value(words));
        }
        let word = words.first().copied().unwrap_or_default();
        if let CType::Pointer(pointer) = ctype.resolved() {
            if pointer.is_text() {
                return text::copy(py, word, Text::Str);
            }
            match handle::from_pointer(&self.origin, pointer, word, KeepAlive::default()) {
                Some(handle) => received.lend(handle, &pointer.target),
                None => Ok(py.None().into_bound(py)),
            }
        } else {
            ndarray::item(&structure::dtype(py, ctype)?, words)
        }
    }

    /// Converts the result of the callable to the slots of the frame.
    fn result(&self, result: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
        let returns = &self.function.returns;
        let wrong = |problem: Problem, expected: String| {
            let mut error = self.origin.contract().refuse_all(problem);
            error.parameter = "callback's result".into();
            error.expected = expected;
            super::errors::argument(result.py(), &error)
        };
        if let Some(kind) = Number::of(returns) {
            if kind.is_extended()
                && let Some(words) = number::extended(result, kind)?
            {
                return Ok(words);
            }
            return match number::read(result)? {
                PythonNumber::Scalar(value) => kind
                    .words(value)
                    .map(|words| words.to_vec())
                    .map_err(|problem| wrong(problem, kind.to_string())),
                PythonNumber::Huge(found) => {
                    let remedy = Remedy::Words(format!("return a value that {kind} has"));
                    Err(wrong(Problem::Type { found, remedy }, kind.to_string()))
                }
                PythonNumber::None => Err(wrong(unfit(result)?, kind.to_string())),
            };
        }
        match returns.resolved() {
            CType::Void => Ok(Vec::new()),
            CType::Pointer(_) if result.is_none() => Ok(vec![0]),
            CType::Pointer(pointer) => match result.cast::<Handle>() {
                Ok(handle) => {
                    let found = handle.get().target().to_owned();
                    let wanted = mapcall::contract::target_name(&pointer.target);
                    if wanted != "void" && wanted != found {
                        return Err(wrong(Problem::Handle { found }, wanted));
                    }
                    let address = handle.get().in_use();
                    let address =
                        address.ok_or_else(|| wrong(Problem::Closed { found }, wanted))?;
                    Ok(vec![address.address().as_ptr().expose_provenance() as u64])
                }
                Err(_) => Err(wrong(unfit(result)?, "a handle or None".into())),
            },
            _ => {
                let expected = returns.to_string();
                let dtype = structure::dtype(result.py(), returns)?;
                let item = ndarray::item_bytes(result, &dtype)?;
                item.ok_or_else(|| match unfit(result) {
                    Ok(problem) => wrong(problem, expected),
                    Err(error) => error,
                })
            }
        }
    }
}

/// The handles that a callback receives. They are closed when it returns, as C owns their memory.
struct Received<'py> {
    py: Python<'py>,
    scope: Option<Arc<Scope>>,
}

impl<'py> Received<'py> {
    fn new(py: Python<'py>) -> Self {
        Self { py, scope: None }
    }

    /// Makes a handle that is closed when the callback returns.
    fn lend(&mut self, handle: mapcall::Handle, target: &CType) -> PyResult<Bound<'py, PyAny>> {
        let scope = self.scope.get_or_insert_with(|| {
            let scope = Arc::<Scope>::default();
            activation::enter(Arc::clone(&scope));
            scope
        });
        let handle = Handle::lent(handle, target.clone(), None, scope);
        Ok(Bound::new(self.py, handle)?.into_any())
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        if let Some(scope) = &self.scope {
            activation::leave();
            activation::destroying(|| scope.end());
        }
    }
}

fn unfit(result: &Bound<'_, PyAny>) -> PyResult<Problem> {
    Ok(Problem::Type {
        found: result.get_type().name()?.to_string(),
        remedy: Remedy::Words("return one".into()),
    })
}
