//! `mapcall.Function`: a C function with its prototype.

use std::hash::{DefaultHasher, Hash, Hasher};

use mapcall::Success;
use mapcall::contract::{ArrayRule, Contract, Quick, Role, Rule};
use numpy::{PyArrayDescr, PyUntypedArray};
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple, PyType};

use super::callback::Callback;
use super::expected::Expected;
use super::library::Library;
use super::returns::Returns;
use super::signature::{self, Parameter};
use super::text::Text;
use super::{errors, vectorcall};
use crate::package::Package;

/// A C function bound to its prototype: call it as a function of Python.
///
/// >>> import mapcall, numpy
/// >>> frexp = mapcall.load("m").function("double frexp(double x, int exponent[1])")
/// >>> frexp
/// frexp(x: float, exponent: int32[1] inout) -> float
/// >>> frexp(12.0)
/// (0.75, array([4], dtype=int32))
/// >>> exponent = numpy.zeros(1, "i4")
/// >>> frexp(12.0, exponent), exponent
/// (0.75, array([4], dtype=int32))
///
/// Arguments stand in the prototype's order, by position or by name, without the inferred ones
/// (`n` in ``size_t n, float x[n]``), which may be given by name. An array that the function writes
/// may be left out if its extents are known: it is allocated, zeroed, and returned behind the result.
///
/// A masked array is refused if one of its elements is masked, since C would take that for a value.
/// Python code that runs while arguments are read (an ``__index__``, say) must not change an array
/// among them: the call is refused then. While C runs, NumPy refuses to resize the arrays of a call
/// that a callable was given to; giving an array other memory in other ways (``__setstate__``, or
/// ``resize(refcheck=False)`` in another thread) is as wrong as it is for NumPy's own functions.
///
/// Batches
/// -------
/// Axes that an array has beyond its parameter's brackets are those of a batch, which broadcast by
/// the rules of NumPy's generalised ufuncs; a number's array has only such axes. The function is
/// called for each item, and what it returns are arrays:
///
/// >>> cos = mapcall.load("m").function("double cos(double x)")
/// >>> cos(numpy.zeros((2, 3)))
/// array([[1., 1., 1.],
///        [1., 1., 1.]])
/// >>> hypot = mapcall.load("m").function("double hypot(double x, double y)")
/// >>> hypot(numpy.array([[3.0], [5.0]]), numpy.array([4.0, 12.0]))
/// array([[ 5.        , 12.36931688],
///        [ 6.40312424, 13.        ]])
/// >>> frexp(numpy.array([12.0, 0.5]))
/// (array([0.75, 0.5 ]), array([[4],
///        [0]], dtype=int32))
///
/// Only the parameter's own axes must be contiguous. What calls write has an item for each of them,
/// and shares no memory with anything else, but an input of the same items: nothing is copied and
/// nothing converted. Functions that return text or pointers are called once for each item instead.
///
/// These keywords are not passed to C, unless a parameter has the name:
///
/// out : array, path, or tuple of them
///     Where the outputs go, in the order in which they are returned, with None for one that is made.
///     A path is that of a new ``.npy`` file, which is written as the batch goes on, and returned as
///     a map. It gets its name when all calls have been made, and replaces a file that has it once
///     it is on the disk. Where a file can't be replaced, the results are copied into it.
/// where : array of bool
///     Broadcasts as any other argument; where it is False nothing is called, and outputs stay as they
///     are, or 0 where they are made.
/// threads : int
///     1 by default, as C code is often not made for more; 0 for every core. The results are the same.
/// stream : bool
///     Whether maps leave memory where all calls have passed. By default they do when the files are
///     larger than what is free.
/// sync : bool
///     Whether new files are on the disk in the end. Without it, a power failure may leave a new name
///     without its content, but never a name that another file had.
/// progress : bool or callable
///     True shows a bar, if the batch takes longer than a second; a callable is told the calls that
///     have been made and all calls, some times a second.
///
/// >>> x = numpy.array([1.0, -4.0, 9.0])
/// >>> sqrt = mapcall.load("m").function("double sqrt(double x)")
/// >>> sqrt(x, out=x, where=x > 0, threads=2)
/// array([ 1., -4.,  3.])
/// >>> sqrt(numpy.ones(1000), progress=lambda done, calls: print(done, "of", calls))[-1]
/// 1000 of 1000
/// np.float64(1.0)
///
/// The interpreter's lock is released meanwhile, unless the function is bound with ``gil="hold"``.
/// Ctrl-C ends a batch, and so do an exception in a callback, in ``progress`` or in ``check``, and a
/// failure that ``check`` finds, whose `CallError` has the ``index`` of the call; outputs are written
/// in part then.
///
/// Made by `Library.function`.
#[pyclass(frozen, module = "mapcall", weakref)]
pub(crate) struct Function {
    pub(super) vectorcall: ffi::vectorcallfunc,
    pub(super) inner: mapcall::Function,
    pub(super) is_unchecked: bool,
    /// `numpy.ndarray`, at hand.
    pub(super) ndarray: Py<PyType>,
    /// The contract for the usual call, if it is simple enough.
    pub(super) quick: Option<Quick<Py<PyArrayDescr>>>,
    binding: Py<Binding>,
}

/// What a bound function has beyond the core's, shared with its `unchecked` one: an object of its own,
/// so that the garbage collector counts the references that it has once.
#[pyclass(frozen, module = "mapcall._mapcall")]
pub(crate) struct Binding {
    pub(super) library: Py<Library>,
    pub(super) origin: Origin,
    pub(super) options: Options,
    pub(super) returns: Returns,
    /// Whether handles are made of what a call returns.
    pub(super) has_pointers: bool,
    /// By position: the parameter's name, and the dtype of an array or struct.
    parameters: Box<[(Py<PyString>, Option<Expected>)]>,
    items: PyOnceLock<Items>,
}

/// What a batch has arrays of, known from the first one on.
struct Items {
    /// By position: what a scalar parameter takes.
    scalars: Box<[Option<Expected>]>,
    result: Option<Expected>,
}

impl Items {
    fn new(py: Python<'_>, contract: &Contract) -> PyResult<Self> {
        let expected = |rule: Option<&ArrayRule>| {
            rule.map(|rule| Expected::new(py, &rule.ctype, &rule.dtype))
                .transpose()
        };
        let positions = 0..contract.rules().len();
        Ok(Self {
            scalars: positions
                .map(|position| expected(contract.scalar(position)))
                .collect::<PyResult<_>>()?,
            result: expected(contract.returned())?,
        })
    }
}

/// Where the prototype came from, for pickling.
pub(super) enum Origin {
    /// A text, with the definitions that it needs.
    Text(String),
    /// The library's header.
    Header,
}

/// How a function is called, beyond its prototype.
pub(super) struct Options {
    pub(super) check: Option<Py<PyAny>>,
    /// Whether `check` is to be called with the result.
    pub(super) is_callable: bool,
    pub(super) gil: Gil,
    pub(super) text: Text,
    pub(super) destructor: Option<Py<Function>>,
    pub(super) engine: Option<mapcall::call::Engine>,
}

/// Whether the interpreter's lock is released during a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Gil {
    BySize,
    Hold,
    Release,
}

impl Gil {
    /// From so many bytes of arrays on, releasing costs under 1 % of the call: about 55 ns, where
    /// `saxpy` on as much, in the cache, takes 11 us. Half as much was at 1 %.
    pub(super) const RELEASED_FROM: usize = 1 << 19;
}

impl Options {
    pub(super) fn new(
        check: Option<Bound<'_, PyAny>>,
        gil: Option<&str>,
        text: &str,
        destructor: Option<Bound<'_, Function>>,
        engine: Option<&str>,
    ) -> PyResult<Self> {
        let wrong = |name: &str, known: &str, got: &str| {
            PyValueError::new_err(format!("{name} must be {known}, got '{got}'"))
        };
        Ok(Self {
            is_callable: check
                .as_ref()
                .is_some_and(pyo3::types::PyAnyMethods::is_callable),
            check: check.map(Bound::unbind),
            gil: match gil {
                None => Gil::BySize,
                Some("hold") => Gil::Hold,
                Some("release") => Gil::Release,
                Some(other) => return Err(wrong("gil", "None, 'hold' or 'release'", other)),
            },
            text: Text::named(text)?,
            destructor: destructor.map(Bound::unbind),
            engine: match engine {
                None => None,
                Some("cranelift") => Some(mapcall::call::Engine::Cranelift),
                Some("libffi") => Some(mapcall::call::Engine::Libffi),
                Some(other) => {
                    return Err(wrong("engine", "None, 'cranelift' or 'libffi'", other));
                }
            },
        })
    }

    fn success(&self, py: Python<'_>) -> PyResult<Success> {
        let Some(check) = self.check.as_ref().filter(|_| !self.is_callable) else {
            return Ok(Success::Any);
        };
        let check = check.bind(py);
        Ok(match check.extract::<&str>() {
            Ok("zero") => Success::Zero,
            Ok("nonzero") => Success::Nonzero,
            Ok("null") => Success::NotNull,
            Ok("errno") => Success::NoErrno,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "check must be None, 'zero', 'nonzero', 'null', 'errno' or a callable, got {}",
                    check.repr()?
                )));
            }
        })
    }
}

impl Function {
    pub(super) fn bind<'py>(
        library: &Bound<'py, Library>,
        inner: mapcall::Function,
        origin: Origin,
        options: Options,
    ) -> PyResult<Bound<'py, Self>> {
        let py = library.py();
        let success = options.success(py)?;
        if let Some(reason) = success.unfit(&inner.prototype().returns) {
            return Err(PyValueError::new_err(format!(
                "{}: check: {reason}",
                inner.name()
            )));
        }
        let mut inner = inner
            .check(success)
            .map_err(|error| errors::bind(py, &error))?;
        if let Some(engine) = options.engine {
            inner = inner
                .with_engine(engine)
                .map_err(|error| errors::bind(py, &error))?;
        }
        let returns = Returns::new(py, &inner.prototype().returns)?;
        if let Some(destructor) = &options.destructor {
            returns.check_destructor(&inner, &destructor.bind(py).get().inner)?;
        }
        let rules = inner.contract().rules().iter().enumerate();
        let parameter = |(position, rule): (usize, &Rule)| {
            let name = PyString::intern(py, inner.contract().name(position)).unbind();
            let expected = match rule {
                Rule::Array(array) => Some((&array.ctype, &array.dtype)),
                Rule::Record { ctype, dtype, .. } => Some((ctype, dtype)),
                rule => rule
                    .pointer()
                    .and_then(|pointer| Some((&pointer.ctype, pointer.dtype.as_ref()?))),
            };
            let expected = expected.map(|(ctype, dtype)| Expected::new(py, ctype, dtype));
            Ok((name, expected.transpose()?))
        };
        let parameters = rules.map(parameter).collect::<PyResult<_>>()?;
        let binding = Binding {
            library: library.clone().unbind(),
            origin,
            options,
            has_pointers: returns.has_pointers(&inner),
            returns,
            parameters,
            items: PyOnceLock::new(),
        };
        Self::object(py, inner, false, Py::new(py, binding)?)
    }

    fn object(
        py: Python<'_>,
        inner: mapcall::Function,
        is_unchecked: bool,
        binding: Py<Binding>,
    ) -> PyResult<Bound<'_, Self>> {
        // A handle keeps arguments, and the quick path has no place for them.
        let quick = match binding.get().returns {
            Returns::Pointer(_) => None,
            _ => Quick::new(inner.contract(), |position| {
                let (_, expected) = binding.get().parameters.get(position)?;
                Some(expected.as_ref()?.dtype.clone_ref(py))
            }),
        };
        let function = Bound::new(
            py,
            Self {
                quick,
                vectorcall: vectorcall::vectorcall,
                inner,
                is_unchecked,
                ndarray: py.get_type::<PyUntypedArray>().unbind(),
                binding,
            },
        )?;
        vectorcall::enable(&function);
        Ok(function)
    }

    #[inline]
    pub(super) fn expected(&self, position: usize) -> Option<&Expected> {
        self.binding().parameters.get(position)?.1.as_ref()
    }

    /// What a role of a batch takes an array of.
    pub(super) fn item(&self, py: Python<'_>, role: Role) -> PyResult<Option<&Expected>> {
        let items = &self.binding().items;
        let items = items.get_or_try_init(py, || Items::new(py, self.inner.contract()))?;
        Ok(match role {
            Role::Parameter(position) => items.scalars.get(position).and_then(Option::as_ref),
            Role::Result => items.result.as_ref(),
            Role::Mask => None,
        })
    }

    /// By position: the parameter's name, and the dtype of an array.
    #[inline]
    pub(super) fn parameters(&self) -> &[(Py<PyString>, Option<Expected>)] {
        &self.binding().parameters
    }

    #[inline]
    pub(super) fn gil(&self) -> Gil {
        self.binding().options.gil
    }

    #[inline]
    pub(super) fn binding(&self) -> &Binding {
        self.binding.get()
    }
}

#[pymethods]
impl Binding {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.options.check)?;
        visit.call(&self.options.destructor)?;
        visit.call(&self.library)
    }
}

#[pymethods]
impl Function {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.ndarray)?;
        visit.call(&self.binding)
    }

    /// Calls the function.
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        this: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // The type's own entry, which this stands for where Python asks for a method.
        this.as_any().call(args, kwargs)
    }

    /// The function's name in C.
    ///
    /// >>> import mapcall
    /// >>> mapcall.load("m").function("double cos(double x)").name
    /// 'cos'
    #[getter]
    fn name(&self) -> &str {
        self.inner.name()
    }

    #[getter]
    fn __name__(&self) -> &str {
        self.inner.name()
    }

    #[getter]
    fn __qualname__(&self) -> &str {
        self.inner.name()
    }

    /// The prototype, in C.
    ///
    /// >>> import mapcall
    /// >>> mapcall.load("m").function("double cos (double)").prototype
    /// 'double cos(double arg0)'
    #[getter]
    fn prototype(&self) -> String {
        self.inner.prototype().to_string()
    }

    /// The parameters, in the prototype's order, the inferred ones too.
    ///
    /// >>> import mapcall
    /// >>> f = mapcall.load("m").function("double frexp(double x, int exponent[1])")
    /// >>> f.parameters[1].name, f.parameters[1].dtype, f.parameters[1].extents
    /// ('exponent', dtype('int32'), ('1',))
    #[getter]
    #[pyo3(name = "parameters")]
    fn py_parameters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let parameters = self
            .inner
            .prototype()
            .parameters
            .iter()
            .zip(self.parameters());
        let parameters = parameters.map(|(parameter, (_, expected))| {
            let dtype = expected
                .as_ref()
                .map(|expected| expected.dtype.clone_ref(py));
            Parameter::new(py, parameter, dtype)
        });
        PyTuple::new(py, parameters.collect::<PyResult<Vec<_>>>()?)
    }

    /// NumPy's signature of a generalised ufunc.
    ///
    /// >>> import mapcall
    /// >>> mapcall.load("m").function("double frexp(double x, int exponent[1])").signature
    /// '()->(),(1)'
    #[getter]
    fn signature(&self) -> String {
        self.inner.prototype().signature()
    }

    /// The library that the function is in.
    ///
    /// >>> import mapcall
    /// >>> libm = mapcall.load("m")
    /// >>> libm.function("double cos(double x)").library is libm
    /// True
    #[getter]
    fn library(&self, py: Python<'_>) -> Py<Library> {
        self.binding().library.clone_ref(py)
    }

    /// What carries out the call: 'cranelift' for compiled code, or 'libffi'.
    ///
    /// >>> import mapcall
    /// >>> lib = mapcall.load("m")
    /// >>> lib.function("double cos(double x)", engine="libffi").engine
    /// 'libffi'
    #[getter]
    fn engine(&self) -> &'static str {
        match self.inner.contract().trampoline().engine() {
            mapcall::call::Engine::Cranelift => "cranelift",
            _ => "libffi",
        }
    }

    /// The same function, which also takes arrays for pointers without an extent.
    ///
    /// >>> import mapcall, numpy
    /// >>> modf = mapcall.load("m").function("double modf(double x, double *whole)")
    /// >>> whole = numpy.zeros(1)
    /// >>> modf.unchecked(2.75, whole), float(whole[0])
    /// (0.75, 2.0)
    ///
    /// The function runs once, with the address of the array's first element, whatever its axes and
    /// strides; ``T *x`` and ``T x[]`` are the same. How far it reads or writes there is the caller's
    /// affair. Dtype, byte order, alignment, writeability and ``restrict`` are checked all the same.
    /// In a batch, which arrays for other parameters make, it may only read there.
    #[getter]
    fn unchecked<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Self>> {
        Self::object(py, self.inner.clone(), true, self.binding.clone_ref(py))
    }

    /// A callable as a C function pointer for one of the parameters, to be kept as long as C may
    /// call it.
    ///
    /// >>> import mapcall, numpy
    /// >>> qsort = mapcall.load(None).function(
    /// ...     "void qsort(void *base, size_t n, size_t size,"
    /// ...     "           int (*compare)(const void *, const void *))")
    /// >>> def compare(a, b):
    /// ...     return int(a.array((), "i4") - b.array((), "i4"))
    /// >>> order = qsort.callback("compare", compare)
    /// >>> x = numpy.array([3, 1, 2], "i4")
    /// >>> qsort(x, 3, 4, order)
    /// >>> x
    /// array([1, 2, 3], dtype=int32)
    ///
    /// A callable given as it is lives for that call only. When C calls one later, or one whose callback
    /// object has died, C gets zero; the call of mapcall's that is running in that thread raises
    /// ArgumentError, and where there is none `sys.unraisablehook` hears of it, once. The library that
    /// got a callable stays loaded until the process ends.
    fn callback(&self, parameter: &str, callable: &Bound<'_, PyAny>) -> PyResult<Callback> {
        let py = callable.py();
        let contract = self.inner.contract();
        let position = contract
            .prototype()
            .parameter(parameter)
            .map(|(position, _)| position);
        match position.and_then(|position| Some((position, contract.rules().get(position)?))) {
            Some((position, Rule::Function(wanted))) => {
                Callback::new(&self.inner, position, wanted, callable)
            }
            Some(_) => Err(PyValueError::new_err(format!(
                "{}: {parameter} is no function pointer",
                self.inner.name()
            ))),
            None => Err(errors::argument(
                py,
                &contract.refuse_all(contract.unknown(parameter)),
            )),
        }
    }

    #[getter]
    fn __signature__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        signature::inspect(py, &self.inner)
    }

    fn __repr__(&self) -> String {
        let unchecked = if self.is_unchecked { "unchecked " } else { "" };
        format!("{unchecked}{}", signature::text(&self.inner))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| {
            let other = other.get();
            self.inner == other.inner && self.is_unchecked == other.is_unchecked
        })
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.inner.address(), self.is_unchecked).hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let options = &self.binding().options;
        let keywords = PyDict::new(py);
        keywords.set_item("check", options.check.as_ref())?;
        keywords.set_item(
            "gil",
            match options.gil {
                Gil::BySize => None,
                Gil::Hold => Some("hold"),
                Gil::Release => Some("release"),
            },
        )?;
        keywords.set_item("text", options.text.name())?;
        keywords.set_item("destructor", options.destructor.as_ref())?;
        keywords.set_item("engine", options.engine.map(|_| self.engine()))?;
        let text = match &self.binding().origin {
            Origin::Text(text) => Some(text.as_str()),
            Origin::Header => None,
        };
        let rebind = &Package::get(py)?.rebind;
        let library = &self.binding().library;
        let arguments = (
            library,
            self.inner.name(),
            text,
            keywords,
            self.is_unchecked,
        );
        (rebind, arguments).into_pyobject(py).map(Bound::into_any)
    }
}
