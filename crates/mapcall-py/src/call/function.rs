//! `mapcall.Function`: a C function with its prototype.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32};

use mapcall::batch::{Simd, SmallBatches};
use mapcall::contract::{
    ArrayRule, Contract, Number, Quick, QuickDerived, QuickVectors, Role, Rule,
};
use mapcall::ctype::Function as FunctionType;
use mapcall::{BindError, Prototype, Success};
use numpy::{PyArrayDescr, PyUntypedArray};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple, PyType};

use super::errors;
use super::expected::Expected;
use super::returns::Returns;
use super::text::Text;
use crate::once::Once;

/// A C function bound to its prototype, which is called as a Python function.
///
/// >>> import mapcall
/// >>> import numpy as np
/// >>> frexp = mapcall.load("m").function("double frexp(double x, int exponent[1])")
/// >>> frexp
/// frexp(x: float, exponent: int32[1] in/out) -> float
/// >>> frexp(12.0)
/// (0.75, array([4], dtype=int32))
/// >>> exponent = np.zeros(1, "i4")
/// >>> frexp(12.0, exponent), exponent
/// (0.75, array([4], dtype=int32))
///
/// Made by `Library.function`. Arguments are given in the prototype's order, by position or by name.
/// Lengths that are inferred from the arrays (`n` in ``size_t n, float x[n]``) are left out, or given
/// by name. An array that C may write (it is not ``const``) may be left out if its lengths are known:
/// it is allocated, filled with zeros, and returned after the result.
///
/// Given arrays with more axes than the prototype has brackets, the function works as a generalized
/// ufunc of NumPy: the last axes of an argument, one for each pair of brackets, are its core
/// dimensions, and the axes before them are loop dimensions, which broadcast against each other. C is
/// called once for each index of the loop dimensions. Such a call is a batch; its results are arrays:
///
/// >>> cos = mapcall.load("m").function("double cos(double x)")
/// >>> cos(np.zeros((2, 3)))
/// array([[1., 1., 1.],
///        [1., 1., 1.]])
/// >>> hypot = mapcall.load("m").function("double hypot(double x, double y)")
/// >>> hypot(np.array([[3.0], [5.0]]), np.array([4.0, 12.0]))
/// array([[ 5.        , 12.36931688],
///        [ 6.40312424, 13.        ]])
/// >>> frexp(np.array([12.0, 0.5]))                    # loop dimensions (2,), core dimensions (1,)
/// (array([0.75, 0.5 ]), array([[4],
///        [0]], dtype=int32))
///
/// Parameters
/// ----------
/// *args, **kwargs
///     The arguments of the C function: numbers, arrays, texts, handles, callables, None. A name that
///     Python does not take as a keyword gets an underscore (``lambda_``). The following options may be
///     written with an underscore, too (``out_``), which is needed if a parameter has the option's name.
/// out : ndarray, path, or tuple of them, optional
///     The destinations of the outputs of a batch: the result, then the arrays that are left out. In
///     a tuple, None stands for an array that is allocated. A path, which ends in ``.npy``, is that of a
///     new file, which is written in the course of the batch and returned as a `memmap`. It gets its name when all calls
///     have been made, and replaces a file of that name once its content is on the disk. If a file
///     can't be replaced, the results are copied into it.
/// where : ndarray of bool, optional
///     In a batch, C is called only where it is True. It broadcasts against the loop dimensions.
///     Elsewhere outputs keep their values, or are 0 if they are allocated.
/// threads : int, default 1
///     The number of threads that a batch runs on; 0 for one on each core. The results are the same.
///     Many C functions are not safe to be called from several threads.
/// simd : bool or 'auto', default False
///     Whether a batch is made by a vector variant of the function, which computes several items at once:
///     those that compilers make for ``#pragma omp declare simd``, and those of the GNU C library for libm.
///     Results may differ in the last bits. True raises if no variant can make the calls, 'auto' makes them one by one
///     then.
/// stream : bool, optional
///     Whether pages of maps are dropped from memory once a batch has processed them. By default they
///     are if the files are larger than the memory that is free.
/// sync : bool, default False
///     Return when new files are on the disk. If False, a power failure may leave a new name without
///     its content, but never a name that another file had before.
/// progress : bool or callable, optional
///     If True, a batch of more than a second shows a progress bar. A callable is called a few times
///     a second with the number of calls that have been made and the number of all calls.
/// convert : bool, optional
///     Whether arrays that do not fit are converted: their byte order, alignment, strides, and dtype by the rule
///     `same_kind` of `numpy.can_cast`. What C writes is converted back. A batch converts the arrays of some calls at
///     once, in a buffer that stays in the cache; a single call converts whole arrays. The default is the option of
///     `Library.function`.
///
/// Returns
/// -------
/// result : number, str, bytes, ndarray, Handle, None or tuple
///     The result, unless it is void, or a status that is 0 (``check="zero"``), then the arrays that were left out: None without any, the value
///     itself if it is the only one, else a tuple. In a batch, each is an array whose shape is that of
///     the loop dimensions followed by the core dimensions.
///
/// Raises
/// ------
/// ArgumentError
///     If an argument does not fit the prototype, or an option does not fit the call. C has not been
///     called.
/// CallError
///     If the result means failure by the option `check` of `Library.function`. In a batch, ``index``
///     is the index of the call in the loop dimensions.
///
/// See Also
/// --------
/// Library.function : Bind a function.
/// numpy.ufunc : The options `out` and `where`, and broadcasting.
///
/// Notes
/// -----
/// Nothing is copied or converted, except with ``convert=True``. Only the core dimensions must be contiguous. An array that C
/// writes must have all loop dimensions, and shares memory with no other argument, except that it may
/// be an input as well (``out=x``). Functions that return text or pointers have no batches.
///
/// A masked array is refused if one of its elements is masked, since C would use the masked value.
///
/// The interpreter's lock is released during a batch, unless the function is bound with ``gil="hold"``, or its calls
/// are expected to take no more than 50 us together, by the time that calls of the last batch took.
/// Ctrl-C, an exception of a callback, of `progress` or of `check`, and a `CallError` end a batch;
/// arrays are written in part then.
///
/// If Python code that runs while arguments are read (an ``__index__``, say) changes an array among
/// them, the call is refused. While C runs, NumPy refuses to resize the arrays of a call that takes a
/// callable. Giving an array other memory in other ways (``__setstate__``, or
/// ``resize(refcheck=False)`` in another thread) is an error, as it is for NumPy's own functions.
///
/// Examples
/// --------
/// >>> x = np.array([1.0, -4.0, 9.0])
/// >>> sqrt = mapcall.load("m").function("double sqrt(double x)")
/// >>> sqrt(x, out=x, where=x > 0, threads=2)
/// array([ 1., -4.,  3.])
/// >>> sqrt(np.ones(1000), progress=lambda done, calls: print(done, "of", calls))[-1]
/// 1000 of 1000
/// np.float64(1.0)
#[pyclass(frozen, module = "mapcall", weakref)]
pub(crate) struct Function {
    /// The function that the interpreter calls by the vectorcall protocol: see `vectorcall.rs`.
    /// The interpreter reads it as a pointer, with its lock.
    pub(super) vectorcall: AtomicPtr<c_void>,
    pub(super) inner: mapcall::Function,
    /// Whether calls accept arrays for pointers without an extent.
    pub(super) is_unchecked: bool,
    /// `numpy.ndarray`: its address is compared with the types of arguments.
    pub(super) ndarray: Py<PyType>,
    /// The contract of the usual call: of numbers, and vectors of one length.
    pub(super) usual: Option<QuickVectors<Py<PyArrayDescr>>>,
    /// The contract of the quick path, if the prototype is simple enough for it.
    pub(super) quick: Option<Quick<Py<PyArrayDescr>>>,
    /// The size of a call's arrays in bytes below which the interpreter's lock is held.
    pub(super) held_below: usize,
    /// The address of the C function.
    pub(super) address: usize,
    pub(super) plain_result: PlainResult,
    /// The number of quick calls until the entry is compiled. It is counted with the interpreter's lock.
    pub(super) calls_before_compiling: AtomicU32,
    /// The contract of the quick path for calls in which more than lengths is derived.
    pub(super) quick_derived: Option<Box<QuickDerived<Py<PyArrayDescr>>>>,
    /// What small batches need; made when the first of them is seen. `None` if the function has none.
    small_batches: Once<MadeSmallBatches>,
    pub(super) binding: Py<Binding>,
}

/// The number of quick calls after which the entry of a function is compiled. Compiling takes as long as the entry
/// saves in so many calls.
const CALLS_BEFORE_COMPILING: u32 = 100_000;

/// What the small batches of a function need; `None` if it has none.
pub(super) type MadeSmallBatches = Option<Box<SmallBatches<Py<PyArrayDescr>>>>;

/// The data of a bound function for Python, shared with its `unchecked` function.
///
/// It is a Python object, so that the garbage collector traverses its references once.
#[pyclass(frozen, module = "mapcall._mapcall")]
pub(crate) struct Binding {
    /// The `Library`, which the function keeps alive; None for a function pointer that a callback received.
    /// Its Rust type is not named here, as its module imports this one.
    pub(super) library: Py<PyAny>,
    pub(super) origin: Origin,
    pub(super) options: Options,
    pub(super) returns: Returns,
    /// Whether a call returns pointers, of which handles are made.
    pub(super) has_pointers: bool,
    /// The objects that the code of a function pointer may belong to, such as a `Callback`.
    pub(super) kept: Option<Py<PyTuple>>,
    /// The name of each parameter, and the dtype of an array or struct.
    parameters: Box<[(Py<PyString>, Option<Expected>)]>,
    scalars: Once<Scalars>,
}

impl Binding {
    /// Makes the binding of a function of the core.
    ///
    /// # Errors
    ///
    /// `ValueError` if the destructor among the options can't destroy what the function returns, or if
    /// NumPy has no dtype for one of its types.
    pub(super) fn new(
        py: Python<'_>,
        library: Py<PyAny>,
        inner: &mapcall::Function,
        origin: Origin,
        options: Options,
    ) -> PyResult<Self> {
        let returns = if inner.contract().is_status() {
            Returns::Void
        } else {
            Returns::new(py, &inner.prototype().returns, options.text)?
        };
        if let Some(destructor) = &options.destructor {
            returns.check_destructor(inner, destructor.function(py))?;
        }
        let rules = inner.contract().rules().iter().enumerate();
        let parameter = |(position, rule): (usize, &Rule)| {
            let name = PyString::intern(py, inner.contract().name(position)).unbind();
            let expected = match rule {
                Rule::Record { dtype, .. } => Some(dtype),
                rule if rule.array().is_some() => rule.array().map(ArrayRule::dtype),
                rule => rule.pointer().and_then(|pointer| pointer.dtype.as_ref()),
            };
            let expected = expected.map(|dtype| Expected::new(py, dtype));
            Ok((name, expected.transpose()?))
        };
        let parameters = rules.map(parameter).collect::<PyResult<_>>()?;
        Ok(Self {
            library,
            origin,
            options,
            has_pointers: returns.has_pointers(inner),
            kept: None,
            returns,
            parameters,
            scalars: Once::new(),
        })
    }

    /// Returns the dtype of a parameter's array or struct.
    #[inline]
    pub(super) fn expected(&self, position: usize) -> Option<&Expected> {
        self.parameters.get(position)?.1.as_ref()
    }
}

/// The dtypes of the arrays that a batch takes and returns in place of scalars. They are made at the
/// first batch.
struct Scalars {
    /// The dtype of each parameter that is a scalar; `None` for other parameters.
    parameters: Box<[Option<Expected>]>,
    result: Option<Expected>,
}

impl Scalars {
    fn new(py: Python<'_>, contract: &Contract) -> PyResult<Self> {
        let expected =
            |rule: Option<&ArrayRule>| rule.map(|rule| Expected::new(py, rule.dtype())).transpose();
        let positions = 0..contract.rules().len();
        Ok(Self {
            parameters: positions
                .map(|position| expected(contract.scalar(position)))
                .collect::<PyResult<_>>()?,
            result: expected(contract.returned())?,
        })
    }
}

/// The source of the prototype, for pickling.
pub(super) enum Origin {
    /// A text, with the type definitions that it needs.
    Text(String),
    /// The library's header.
    Header,
    /// A function pointer, whose address is that of this process only.
    Address,
}

/// The options with which a function is bound.
pub(super) struct Options {
    /// The condition of success: its name, or a callable.
    pub(super) check: Option<Py<PyAny>>,
    /// Whether `check` is a callable, which is called with each result.
    pub(super) is_callable: bool,
    pub(super) gil: Gil,
    pub(super) text: Text,
    pub(super) destructor: Option<Destructor>,
    pub(super) engine: Option<mapcall::call::Engine>,
    /// Whether batches are made by a vector variant, if the call does not say.
    pub(super) simd: Simd,
    /// Whether arrays that do not fit are converted.
    pub(super) converts: bool,
}

/// The destructor of the handles that a function returns.
pub(super) enum Destructor {
    /// A C function that takes the pointer alone.
    Function(Py<Function>),
    /// A callable that is given the handle.
    Callable(Py<PyAny>),
}

impl Destructor {
    /// Returns the function if it is one, and not a callable.
    pub(super) fn function<'a>(&'a self, py: Python<'a>) -> Option<&'a mapcall::Function> {
        match self {
            Self::Function(function) => Some(&function.bind(py).get().inner),
            Self::Callable(_) => None,
        }
    }

    /// Returns the Python object.
    pub(super) fn object(&self) -> &Py<PyAny> {
        match self {
            Self::Function(function) => function.as_any(),
            Self::Callable(callable) => callable,
        }
    }
}

/// The rule by which the interpreter's lock is released during a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Gil {
    BySize,
    Hold,
    Release,
}

impl Gil {
    /// The minimum number of bytes of arrays for which the lock is released. Releasing takes about 55
    /// ns: 0.5 % of the 11 us that `saxpy` takes on as many bytes in the cache.
    pub(super) const RELEASED_FROM: usize = 1 << 19;

    /// Returns the number of bytes of arrays below which the lock is held.
    fn held_below(self) -> usize {
        match self {
            Self::BySize => Self::RELEASED_FROM,
            Self::Hold => usize::MAX,
            Self::Release => 0,
        }
    }
}

impl Options {
    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self {
            check: self.check.as_ref().map(|check| check.clone_ref(py)),
            is_callable: self.is_callable,
            gil: self.gil,
            text: self.text,
            destructor: self.destructor.as_ref().map(|destructor| match destructor {
                Destructor::Function(function) => Destructor::Function(function.clone_ref(py)),
                Destructor::Callable(callable) => Destructor::Callable(callable.clone_ref(py)),
            }),
            engine: self.engine,
            simd: self.simd,
            converts: self.converts,
        }
    }

    pub(super) fn new(
        check: Option<Bound<'_, PyAny>>,
        gil: Option<&str>,
        text: &str,
        destructor: Option<Bound<'_, PyAny>>,
        engine: Option<&str>,
    ) -> PyResult<Self> {
        let destructor = destructor.map(|destructor| match destructor.cast_into::<Function>() {
            Ok(function) => Ok(Destructor::Function(function.unbind())),
            Err(error) => match error.into_inner() {
                callable if callable.is_callable() => Ok(Destructor::Callable(callable.unbind())),
                other => Err(PyTypeError::new_err(format!(
                    "destructor must be a Function or another callable, got {}",
                    other.repr()?
                ))),
            },
        });
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
            destructor: destructor.transpose()?,
            engine: match engine {
                None => None,
                Some("cranelift") => Some(mapcall::call::Engine::Cranelift),
                Some("libffi") => Some(mapcall::call::Engine::Libffi),
                Some(other) => {
                    return Err(wrong("engine", "None, 'cranelift' or 'libffi'", other));
                }
            },
            simd: Simd::Off,
            converts: false,
        })
    }

    /// Returns the condition of success that the core checks.
    ///
    /// # Errors
    ///
    /// `ValueError` if `check` is neither None, a known name nor a callable.
    pub(super) fn success(&self, py: Python<'_>) -> PyResult<Success> {
        let Some(check) = self.check.as_ref().filter(|_| !self.is_callable) else {
            return Ok(Success::Any);
        };
        let check = check.bind(py);
        Ok(match check.extract::<&str>() {
            Ok("zero") => Success::Zero,
            Ok("nonzero") => Success::Nonzero,
            Ok("nonnull" | "null") => Success::Nonnull,
            Ok("errno") => Success::NoErrno,
            _ => {
                return Err(PyValueError::new_err(format!(
                    "check must be None, 'zero', 'nonzero', 'nonnull', 'errno' or a callable, got {}",
                    check.repr()?
                )));
            }
        })
    }
}

/// The results that need no check and no look at the binding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum PlainResult {
    /// No result, and no condition of success: None.
    None,
    /// A number without a condition of success.
    Number(Number),
    /// Any other result.
    Any,
}

impl PlainResult {
    fn new(inner: &mapcall::Function, binding: &Binding) -> Self {
        let is_checked = inner.success() != Success::Any || binding.options.is_callable;
        match binding.returns {
            Returns::Void if !is_checked => Self::None,
            Returns::Number(number) if !is_checked => Self::Number(number),
            _ => Self::Any,
        }
    }
}

/// The vectorcall entries of functions. The module that has them imports this one.
pub(super) struct Entries {
    /// That of functions with a `QuickVectors`, for the usual call.
    pub(super) usual: ffi::vectorcallfunc,
    pub(super) any: ffi::vectorcallfunc,
    /// The function that ends calls of compiled entries.
    pub(super) end: EndCall,
    /// Enables vectorcall for the type of a function.
    pub(super) enable: fn(&Bound<'_, Function>),
}

/// The type of a function that ends the call of a compiled entry: see `FunctionObject::end` of the core.
pub(super) type EndCall = unsafe extern "C" fn(
    *mut ffi::PyObject,
    *const *mut ffi::PyObject,
    usize,
    *const u64,
    *const *mut ffi::PyObject,
    c_int,
) -> *mut ffi::PyObject;

static ENTRIES: OnceLock<Entries> = OnceLock::new();

/// Returns the vectorcall entries of functions; `None` before the extension is initialised.
pub(super) fn entries() -> Option<&'static Entries> {
    ENTRIES.get()
}

/// Stores the vectorcall entries of functions, when the extension is initialised.
pub(super) fn install(entries: Entries) {
    let _section = mapcall::array::fork::Section::enter();
    ENTRIES.get_or_init(|| entries);
}

impl Function {
    /// Makes the Python object of a function.
    pub(super) fn object(
        py: Python<'_>,
        inner: mapcall::Function,
        is_unchecked: bool,
        binding: Py<Binding>,
    ) -> PyResult<Bound<'_, Self>> {
        let entries =
            entries().ok_or_else(|| PyRuntimeError::new_err("mapcall is not initialised"))?;
        // Handles keep the arguments alive, and the quick path does not collect them.
        let has_quick = !matches!(
            binding.get().returns,
            Returns::Pointer(_) | Returns::Function(..) | Returns::Struct(_)
        );
        let dtype = |position| Some(binding.get().expected(position)?.dtype.clone_ref(py));
        let contract = Some(inner.contract());
        let quick = contract.filter(|_| has_quick);
        let quick = quick.and_then(|contract| Quick::new(contract, dtype));
        let derived = contract.filter(|contract| {
            let may_leave_out = contract
                .arguments()
                .iter()
                .any(|&position| contract.is_optional(position));
            (quick.is_none() || may_leave_out) && !binding.get().has_pointers
        });
        let derived = derived.and_then(|contract| QuickDerived::new(contract, dtype));
        let gil = binding.get().options.gil;
        // A call that releases the lock takes longer than its check.
        let usual = contract.filter(|_| has_quick && gil != Gil::Release);
        let usual = usual.and_then(|contract| QuickVectors::new(contract, dtype));
        let function = Bound::new(
            py,
            Self {
                vectorcall: AtomicPtr::new(match usual {
                    Some(_) => entries.usual as *mut c_void,
                    None => entries.any as *mut c_void,
                }),
                usual,
                held_below: gil.held_below(),
                address: inner.address().as_ptr().expose_provenance(),
                calls_before_compiling: AtomicU32::new(CALLS_BEFORE_COMPILING),
                plain_result: PlainResult::new(&inner, binding.get()),
                quick,
                quick_derived: derived.map(Box::new),
                inner,
                is_unchecked,
                ndarray: py.get_type::<PyUntypedArray>().unbind(),
                small_batches: Once::new(),
                binding,
            },
        )?;
        (entries.enable)(&function);
        Ok(function)
    }

    /// Makes the function that a function pointer leads to. `library` is the `Library` object, or None, and
    /// `kept` are objects that the code may belong to.
    ///
    /// # Errors
    ///
    /// `PrototypeError` if a type can't be passed.
    pub(super) fn of_pointer<'py>(
        (library, inner): (&Bound<'py, PyAny>, &mapcall::Library),
        name: &str,
        function: &FunctionType,
        address: NonNull<c_void>,
        kept: Option<Py<PyTuple>>,
    ) -> PyResult<Bound<'py, Self>> {
        let py = library.py();
        let prototype = Prototype::of_function(name, function);
        // SAFETY: the user of `load` guarantees that the prototypes and structs of the library are right, so
        // the pointer leads to a function of the type.
        let bound = unsafe { inner.bind_address(prototype, address) };
        let bound = bound.map_err(|error: BindError| errors::bind(py, &error))?;
        let options = Options::new(None, None, "str", None, None)?;
        let library = library.clone().unbind();
        let mut binding = Binding::new(py, library, &bound, Origin::Address, options)?;
        binding.kept = kept;
        Self::object(py, bound, false, Py::new(py, binding)?)
    }

    /// Returns the dtype of a parameter's array or struct.
    #[inline]
    pub(super) fn expected(&self, position: usize) -> Option<&Expected> {
        self.binding().expected(position)
    }

    /// Returns the dtype of the array that a batch takes or returns in place of a scalar.
    pub(super) fn scalar(&self, py: Python<'_>, role: Role) -> PyResult<Option<&Expected>> {
        let scalars = &self.binding().scalars;
        let scalars = scalars.get_or_try_init(py, || Scalars::new(py, self.inner.contract()))?;
        Ok(match role {
            Role::Parameter(position) => scalars.parameters.get(position).and_then(Option::as_ref),
            Role::Result => scalars.result.as_ref(),
            Role::Mask => None,
        })
    }

    /// Returns what small batches need, which `make` makes; `None` if the function has none.
    #[inline]
    pub(super) fn small_batches(
        &self,
        py: Python<'_>,
        make: fn(Python<'_>, &Self) -> PyResult<MadeSmallBatches>,
    ) -> PyResult<Option<&SmallBatches<Py<PyArrayDescr>>>> {
        let small = self.small_batches.get_or_try_init(py, || make(py, self))?;
        Ok(small.as_deref())
    }

    /// Returns, for each parameter, its name and the dtype of an array or struct.
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
