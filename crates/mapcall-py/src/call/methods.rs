//! The binding of a `Function`, and its methods in Python.

use std::hash::{DefaultHasher, Hash, Hasher};

use mapcall::batch::Simd;
use mapcall::contract::Rule;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::callback::{Callback, Recipient};
use super::function::{Binding, Destructor, Function, Gil, Options, Origin};
use super::signature::{self, Parameter};
use super::{errors, foreign_function};
use crate::errors::missing_attribute;
use crate::package::Package;

/// Binds a function of a library with options. `kept` are objects that its code may belong to.
///
/// # Errors
///
/// `ValueError` if an option does not fit the prototype, `PrototypeError` if the engine can't make the
/// call.
pub(super) fn bind<'py>(
    library: &Bound<'py, PyAny>,
    inner: mapcall::Function,
    (origin, kept): (Origin, Option<Py<PyTuple>>),
    options: Options,
) -> PyResult<Bound<'py, Function>> {
    let py = library.py();
    // Without `check`, the prototype tells whether NULL is a failure.
    let success = match options.check {
        Some(_) => options.success(py)?,
        None => inner.success(),
    };
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
    let mut binding = Binding::new(py, library.clone().unbind(), &inner, origin, options)?;
    binding.kept = kept;
    Function::object(py, inner, false, Py::new(py, binding)?)
}

#[pymethods]
impl Binding {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.options.check)?;
        if let Some(destructor) = &self.options.destructor {
            visit.call(destructor.object())?;
        }
        visit.call(&self.kept)?;
        visit.call(&self.library)
    }
}

#[pymethods]
impl Function {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.ndarray)?;
        visit.call(&self.binding)
    }

    /// Call the function.
    #[pyo3(signature = (*args, **kwargs))]
    fn __call__<'py>(
        this: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        // By the vectorcall entry of the type. This method exists for code that looks `__call__` up.
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

    /// The parameters, in the prototype's order; those that are inferred are among them.
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

    /// The core dimensions of the inputs and outputs, in the notation of NumPy's generalized ufuncs.
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
    fn library(&self, py: Python<'_>) -> Py<PyAny> {
        self.binding().library.clone_ref(py)
    }

    /// The address of the function, as an int.
    ///
    /// >>> import ctypes, mapcall
    /// >>> abs_ = mapcall.load(None).function("int abs(int j)")
    /// >>> ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(abs_.address)(-3)
    /// 3
    ///
    /// It is valid as long as the function or its library exists.
    #[getter]
    fn address(&self) -> usize {
        self.inner.address().as_ptr().addr()
    }

    /// The function as a ctypes function with `argtypes` and `restype`, which keeps the library loaded.
    ///
    /// >>> import mapcall
    /// >>> cos = mapcall.load("m").function("double cos(double x)")
    /// >>> cos.ctypes(0.0), cos.ctypes.argtypes
    /// (1.0, (<class 'ctypes.c_double'>,))
    ///
    /// numba calls it in compiled code, and ``scipy.LowLevelCallable(f.ctypes)`` gives it to SciPy. Such
    /// calls are not checked.
    ///
    /// Raises
    /// ------
    /// TypeError
    ///     If ctypes has no class for a type, such as a struct by value.
    #[getter]
    fn ctypes<'py>(this: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let function = this.get();
        let prototype = function.inner.prototype();
        let types = (&prototype.returns, &prototype.passed_types()[..]);
        let name = function.inner.name();
        foreign_function::to_ctypes(this.as_any(), name, function.address(), types)
    }

    /// The engine that makes the call: 'cranelift', code that Cranelift has compiled, or 'libffi'.
    ///
    /// >>> import mapcall
    /// >>> lib = mapcall.load("m")
    /// >>> lib.function("double cos(double x)", engine="libffi").engine
    /// 'libffi'
    #[getter]
    fn engine(&self) -> &'static str {
        match self.inner.trampoline().engine() {
            mapcall::call::Engine::Cranelift => "cranelift",
            _ => "libffi",
        }
    }

    /// The same function, which also takes arrays and numbers for pointers without a length (``T *x``).
    ///
    /// >>> import mapcall
    /// >>> import numpy as np
    /// >>> modf = mapcall.load("m").function("double modf(double x, double *whole)")
    /// >>> whole = np.zeros(1)
    /// >>> modf.unchecked(2.75, whole), float(whole[0])
    /// (0.75, 2.0)
    ///
    /// The function is called once, with the address of the array's first element, whatever the array's
    /// axes and strides; ``T *x`` and ``T x[]`` are the same. A ``const T *x`` takes a number, too: C gets
    /// the address of a copy. A handle is taken for an array with a length, which is then given by name.
    ///
    /// Not checked: how much memory the function reads or writes from there on, and whether it knows the
    /// order and the strides of the array. Dtype, byte order, alignment, writeability and ``restrict`` are
    /// checked as in any call. In a batch, such a parameter must be ``const``.
    #[getter]
    fn unchecked<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, Self>> {
        Function::object(py, self.inner.clone(), true, self.binding.clone_ref(py))
    }

    /// Make a C function pointer of a callable, for one of the parameters. Keep it as long as C may
    /// call it.
    ///
    /// >>> import mapcall
    /// >>> import numpy as np
    /// >>> qsort = mapcall.load(None).function(
    /// ...     "void qsort(void *base, size_t n, size_t size,"
    /// ...     "           int (*compare)(const void *, const void *))")
    /// >>> def compare(a, b):
    /// ...     return int(a.array((), "i4") - b.array((), "i4"))
    /// >>> order = qsort.callback("compare", compare)
    /// >>> x = np.array([3, 1, 2], "i4")
    /// >>> qsort(x, 3, 4, order)
    /// >>> x
    /// array([1, 2, 3], dtype=int32)
    ///
    /// Parameters
    /// ----------
    /// parameter : str
    ///     The name of a parameter that is a function pointer.
    /// callable : callable
    ///     It is called with a number, text or `Handle` for each argument.
    ///
    /// Returns
    /// -------
    /// Callback
    ///     The function pointer, to be given for the parameter.
    ///
    /// Raises
    /// ------
    /// ArgumentError
    ///     If there is no parameter of that name, or the callable does not fit it.
    /// ValueError
    ///     If the parameter is no function pointer.
    ///
    /// Notes
    /// -----
    /// A callable that is given to a function directly is valid for that call only. If C calls it later,
    /// or calls a pointer whose `Callback` has died, C gets zero. The call that is running in that thread
    /// raises ArgumentError; without one, `sys.unraisablehook` gets it, once. The library that got a
    /// callable stays loaded until the process ends.
    fn callback(&self, parameter: &str, callable: &Bound<'_, PyAny>) -> PyResult<Callback> {
        let py = callable.py();
        let contract = self.inner.contract();
        let position = contract
            .prototype()
            .parameter(parameter)
            .map(|(position, _)| position);
        match position.and_then(|position| Some((position, contract.rules().get(position)?))) {
            Some((position, Rule::Function(wanted))) => {
                let recipient =
                    Recipient::Parameter(self.inner.clone(), position, self.binding().options.text);
                Callback::new(&recipient, wanted, callable)
            }
            Some(_) => Err(PyValueError::new_err(format!(
                "{}: {parameter} is no function pointer",
                self.inner.name()
            ))),
            None => Err(errors::argument(
                py,
                &contract.refuse_all(contract.unknown(parameter, &[])),
            )),
        }
    }

    #[getter]
    fn __signature__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        signature::inspect(py, &self.inner)
    }

    fn __getattr__(this: &Bound<'_, Self>, name: &str) -> PyResult<Py<PyAny>> {
        let message = format!("'mapcall.Function' object has no attribute '{name}'");
        Err(missing_attribute(this, name, message))
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
        let destructor = options.destructor.as_ref().map(Destructor::object);
        keywords.set_item("destructor", destructor)?;
        keywords.set_item("engine", options.engine.map(|_| self.engine()))?;
        // Left out by default, so that older versions read the pickle.
        match options.simd {
            Simd::Auto => keywords.set_item("simd", "auto")?,
            Simd::Required => keywords.set_item("simd", true)?,
            _ => {}
        }
        keywords.set_item("convert", options.converts)?;
        let text = match &self.binding().origin {
            Origin::Text(text) => Some(text.as_str()),
            Origin::Header => None,
            Origin::Address => {
                return Err(PyTypeError::new_err(format!(
                    "{}: a function pointer can't be pickled, as its address is that of this process",
                    self.inner.name()
                )));
            }
        };
        // It is `crate::call::rebind`, as the object that pickles name.
        let rebind = Package::get(py)?.import(py, "_pickling", "rebind")?;
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
