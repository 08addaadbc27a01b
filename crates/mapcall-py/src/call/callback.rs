//! Python's callables as C functions, and what they raise.

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mapcall::call::{Closure, FrameLayout};
use mapcall::contract::{Number, Problem, Remedy};
use mapcall::ctype::{CType, Function as FunctionType};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::handle::Handle;
use super::result::{self, Text};
use super::{ndarray, number, structure};
use crate::mapped_array::panicked;

thread_local! {
    static THREAD: Thread = const {
        Thread {
            running: Cell::new(0),
            errno: Cell::new(0),
            has_raised: Cell::new(false),
        }
    };
    /// What a callback raised; the call that is running will raise it.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// What a thread knows of its calls. Every call asks for it, so it has nothing to drop: that would
/// have to be looked after.
struct Thread {
    /// How many calls are running, one inside the other.
    running: Cell<usize>,
    /// That of the last call.
    errno: Cell<i32>,
    /// Whether there is something in `RAISED`.
    has_raised: Cell<bool>,
}

/// The errno of this thread's last call.
pub(super) fn errno() -> i32 {
    THREAD.with(|thread| thread.errno.get())
}

/// Whether a callback has raised in the call that is running.
pub(super) fn has_raised() -> bool {
    THREAD.with(|thread| thread.has_raised.get())
}

/// Makes a call: notes that it is running on this thread, and what its errno is; then raises what a
/// callback has raised in it.
#[inline]
pub(super) fn running(call: impl FnOnce() -> i32) -> PyResult<i32> {
    THREAD.with(|thread| {
        thread.running.set(thread.running.get() + 1);
        let errno = call();
        thread.running.set(thread.running.get() - 1);
        thread.errno.set(errno);
        if thread.has_raised.get() {
            raise(thread)?;
        }
        Ok(errno)
    })
}

#[cold]
fn raise(thread: &Thread) -> PyResult<()> {
    thread.has_raised.set(false);
    RAISED.take().map_or(Ok(()), Err)
}

/// A callable as a C function pointer, good as long as this object lives.
///
/// >>> import mapcall
/// >>> signal = mapcall.load(None).function(
/// ...     "typedef void (*handler)(int number); handler signal(int number, handler act)")
/// >>> signal.callback("act", print)
/// <mapcall.Callback: void (int)>
///
/// Made by `Function.callback`.
#[pyclass(frozen, module = "mapcall", weakref)]
pub(crate) struct Callback {
    closure: Closure,
    wanted: Arc<FunctionType>,
    callable: Arc<Py<PyAny>>,
}

impl Callback {
    pub(super) fn new(
        origin: &mapcall::Function,
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
            closure: make(origin, wanted, &callable)?,
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

/// A C function that calls a callable, for one call.
pub(super) fn closure(
    origin: &mapcall::Function,
    wanted: &Arc<FunctionType>,
    callable: &Bound<'_, PyAny>,
) -> PyResult<Closure> {
    make(origin, wanted, &Arc::new(callable.clone().unbind()))
}

fn make(
    origin: &mapcall::Function,
    wanted: &Arc<FunctionType>,
    callable: &Arc<Py<PyAny>>,
) -> PyResult<Closure> {
    let body = Body {
        origin: origin.clone(),
        function: Arc::clone(wanted),
        callable: Arc::clone(callable),
    };
    let run = move |layout: &FrameLayout, frame: &mut [u64]| body.run(layout, frame);
    Closure::new(&wanted.returns, &wanted.parameters, Box::new(run))
        .map_err(|error| PyValueError::new_err(error.to_string()))
}

/// What C calls.
struct Body {
    origin: mapcall::Function,
    function: Arc<FunctionType>,
    callable: Arc<Py<PyAny>>,
}

impl Body {
    /// Runs the callable; if it raises, C gets zero, and whoever called C the exception.
    fn run(&self, layout: &FrameLayout, frame: &mut [u64]) {
        if has_raised() {
            // The call is lost already: nothing more of Python's runs in it.
            return;
        }
        let ran = Python::try_attach(|py| {
            let call = AssertUnwindSafe(|| self.call(py, layout, frame));
            let called = catch_unwind(call).unwrap_or_else(|panic| Err(panicked(&*panic)));
            called.map_err(|error| {
                if let Some(result) = frame.get_mut(layout.result()..) {
                    result.fill(0);
                }
                self.raise(py, error);
            })
        });
        // Without an interpreter there is nobody to tell.
        let _ = ran;
    }

    fn raise(&self, py: Python<'_>, error: PyErr) {
        THREAD.with(|thread| {
            if thread.running.get() == 0 {
                // A thread of C's own: no call of ours is there to raise it.
                error.write_unraisable(py, Some(self.callable.bind(py)));
                return;
            }
            thread.has_raised.set(true);
            RAISED.set(Some(error));
        });
    }

    fn call(&self, py: Python<'_>, layout: &FrameLayout, frame: &mut [u64]) -> PyResult<()> {
        let parameters = self.function.parameters.iter().enumerate();
        let arguments = parameters
            .map(|(index, ctype)| {
                let words = frame.get(layout.parameter(index)..).unwrap_or_default();
                self.argument(py, ctype, words)
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

    /// What C passes, for Python.
    fn argument<'py>(
        &self,
        py: Python<'py>,
        ctype: &CType,
        words: &[u64],
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(number) = Number::of(ctype) {
            if number.is_extended() {
                return result::item(&structure::dtype(py, ctype)?, words);
            }
            return result::scalar(py, number.value(words));
        }
        let word = words.first().copied().unwrap_or_default();
        if let CType::Pointer(pointer) = ctype.resolved() {
            if pointer.is_text() {
                return result::text(py, word, Text::Str);
            }
            result::handle(py, &self.origin, pointer, word, None, None)
        } else {
            result::item(&structure::dtype(py, ctype)?, words)
        }
    }

    /// What Python returns, for C.
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
                number::Number::Scalar(value) => kind
                    .words(value)
                    .map(|words| words.to_vec())
                    .map_err(|problem| wrong(problem, kind.to_string())),
                number::Number::Huge(found) => {
                    let remedy = Remedy::Words(format!("return a value that {kind} has"));
                    Err(wrong(Problem::Type { found, remedy }, kind.to_string()))
                }
                number::Number::None => Err(wrong(unfit(result)?, kind.to_string())),
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

fn unfit(result: &Bound<'_, PyAny>) -> PyResult<Problem> {
    Ok(Problem::Type {
        found: result.get_type().name()?.to_string(),
        remedy: Remedy::Words("return one".into()),
    })
}
