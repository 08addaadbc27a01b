//! What a call returns: the result, and the arrays that were left out.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use mapcall::contract::{Check, Number, Role, Rule, Scalar, target_name};
use mapcall::ctype::{CType, Float, Pointer};
use mapcall::function::KeepAlive;
use numpy::{PyArrayDescr, PyUntypedArray};
use pyo3::exceptions::PyValueError;
use pyo3::ffi::PyObject;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyComplex, PyFloat, PyList, PyString, PyTuple};
use smallvec::SmallVec;

use super::callback::Callback;
use super::function::Function;
use super::handle::Handle;
use super::scope::Scope;
use super::{errors, ndarray, structure};

/// What the result of a function is for Python.
///
/// Each call looks at it, so that it has a tag of its own.
#[repr(u8)]
pub(super) enum Returns {
    Void,
    Number(Number),
    /// `long double`, which a float can't hold: a scalar of NumPy's.
    Extended(Py<PyArrayDescr>),
    Text,
    Pointer(Arc<Pointer>),
    Record(Py<PyArrayDescr>),
}

/// What a `const char *` result becomes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    Str,
    Bytes,
}

impl Text {
    pub(super) fn named(name: &str) -> PyResult<Self> {
        match name {
            "str" => Ok(Self::Str),
            "bytes" => Ok(Self::Bytes),
            other => Err(PyValueError::new_err(format!(
                "text must be 'str' or 'bytes', got '{other}'"
            ))),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Str => "str",
            Self::Bytes => "bytes",
        }
    }
}

impl Returns {
    pub(super) fn new(py: Python<'_>, ctype: &CType) -> PyResult<Self> {
        let dtype = || structure::dtype(py, ctype).map(Bound::unbind);
        Ok(match Number::of(ctype) {
            Some(Number::Float(Float::LongDouble) | Number::Complex(Float::LongDouble)) => {
                Self::Extended(dtype()?)
            }
            Some(number) => Self::Number(number),
            None => match ctype.resolved() {
                CType::Pointer(pointer) if pointer.is_text() => Self::Text,
                CType::Pointer(pointer) => Self::Pointer(Arc::clone(pointer)),
                CType::Record(_) => Self::Record(dtype()?),
                _ => Self::Void,
            },
        })
    }

    /// Whether a call returns pointers: as its result, or as an array of them that is allocated.
    pub(super) fn has_pointers(&self, function: &mapcall::Function) -> bool {
        let mut outputs = function.contract().rules().iter().filter_map(Rule::array);
        matches!(self, Self::Pointer(_))
            || outputs.any(|array| array.is_output() && pointed_to(&array.ctype).is_some())
    }

    /// A destructor needs something to destroy: a pointer as result, or an array of them as output.
    pub(super) fn check_destructor(
        &self,
        function: &mapcall::Function,
        destructor: &mapcall::Function,
    ) -> PyResult<()> {
        let outputs = function.contract().rules().iter().filter_map(Rule::array);
        let outputs = outputs.filter(|array| !array.is_const);
        let mut targets: Vec<String> = outputs
            .filter_map(|array| pointed_to(&array.ctype))
            .map(|pointer| target_name(&pointer.target))
            .collect();
        if let Self::Pointer(pointer) = self {
            targets.push(target_name(&pointer.target));
        }
        if targets.iter().any(|target| destructor.destroys(target)) {
            return Ok(());
        }
        Err(PyValueError::new_err(format!(
            "{}: destructor: expected a function of one pointer to {}, got {}",
            function.name(),
            if targets.is_empty() {
                "what it returns".to_owned()
            } else {
                targets.join(" or ")
            },
            destructor.prototype(),
        )))
    }
}

pub(super) fn pointed_to(ctype: &CType) -> Option<&Pointer> {
    match ctype.resolved() {
        CType::Pointer(pointer) => Some(pointer),
        _ => None,
    }
}

/// The arguments of a call that pointers which it returns may lead into; their handles keep them alive.
pub(super) struct Retained {
    /// Arrays, texts and the like.
    objects: Option<Py<PyTuple>>,
    alive: KeepAlive,
    /// That of a handle among them which ends with its callback.
    scope: Option<Arc<Scope>>,
}

impl Retained {
    /// Those of a call: what was given, views that were made of it, and what was allocated.
    #[cold]
    pub(super) fn new<'py>(
        function: &Bound<'py, Function>,
        given: &[*mut PyObject],
        views: impl Iterator<Item = Bound<'py, PyAny>>,
        outputs: &Outputs<'py>,
    ) -> PyResult<Self> {
        let (py, this) = (function.py(), function.get());
        let mut alive = KeepAlive::default();
        let mut scope = None;
        let mut objects: Vec<Bound<'py, PyAny>> = Vec::new();
        let mut retain = |object: Bound<'py, PyAny>| {
            if !objects.iter().any(|known| known.is(&object)) {
                objects.push(object);
            }
        };
        for (rule, argument) in this.inner.contract().rules().iter().zip(given) {
            // SAFETY: null, or a live object.
            let argument = unsafe { Borrowed::from_ptr_or_opt(py, *argument) };
            let Some(argument) = argument.filter(|argument| !argument.is_none()) else {
                continue;
            };
            if let Ok(handle) = argument.cast::<Handle>() {
                alive.handle(handle.get().inner());
                scope = scope.or_else(|| handle.get().scope().cloned());
                let kept = handle.get().kept().map(|kept| kept.bind(py).iter());
                kept.into_iter().flatten().for_each(&mut retain);
                continue;
            }
            let may_be_pointed_into = match rule {
                Rule::Number(_) | Rule::Inferred(_) | Rule::Record { .. } => false,
                // The closure of any other callable is the call's own.
                Rule::Function(_) => {
                    argument.is_instance_of::<Function>() || argument.is_instance_of::<Callback>()
                }
                _ => true,
            };
            if may_be_pointed_into {
                retain(argument.to_owned());
            }
        }
        let outputs = outputs.iter().map(|(_, array)| array.as_any().clone());
        views.chain(outputs).for_each(&mut retain);
        for object in &objects {
            if let Some(bytes) = ndarray::read_only_bytes(object, this.ndarray.as_ptr().cast()) {
                alive.read_only(bytes);
            }
        }
        let objects = (!objects.is_empty()).then(|| PyTuple::new(py, objects));
        Ok(Self {
            objects: objects.transpose()?.map(Bound::unbind),
            alive,
            scope,
        })
    }
}

pub(super) type Outputs<'py> = SmallVec<[(Role, Bound<'py, PyUntypedArray>); 2]>;

/// Makes the arrays that were left out.
#[cold]
pub(super) fn allocate<'py>(
    py: Python<'py>,
    function: &Function,
    check: &mut Check<'_>,
) -> PyResult<Outputs<'py>> {
    let mut outputs = Outputs::new();
    while let Some(output) = check.output(outputs.len())
        && let Role::Parameter(position) = output.role
        && let Some(expected) = function.expected(position)
    {
        let array = ndarray::zeros(expected.dtype.bind(py), &output.shape)?;
        let address = ndarray::memory(&array).address;
        check.word(position, address.expose_provenance() as u64);
        outputs.push((output.role, array));
    }
    Ok(outputs)
}

/// An output of a batch as it is returned: the result of a single call is a number.
pub(super) fn made(role: Role, array: Bound<'_, PyUntypedArray>) -> PyResult<Bound<'_, PyAny>> {
    if role == Role::Result && ndarray::memory(&array).shape.is_empty() {
        return array.get_item(PyTuple::empty(array.py()));
    }
    Ok(array.into_any())
}

/// What there is to return: nothing, one object, or a tuple.
pub(super) fn several<'py>(
    py: Python<'py>,
    mut all: Vec<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    match all.len() {
        0 => Ok(py.None().into_bound(py)),
        1 => Ok(all.remove(0)),
        _ => Ok(PyTuple::new(py, all)?.into_any()),
    }
}

/// The result, which keeps what a pointer may lead into; None for void.
#[expect(
    clippy::inline_always,
    reason = "errors are large, and passed through memory"
)]
#[inline(always)]
pub(super) fn value<'a, 'py>(
    function: &Bound<'py, Function>,
    words: impl Fn() -> &'a [u64],
    errno: i32,
    retained: Option<&Retained>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, this) = (function.py(), function.get());
    let binding = this.binding();
    let result = match &binding.returns {
        Returns::Void => py.None().into_bound(py),
        Returns::Number(Number::Float(Float::Double)) => {
            let word = words().first().copied().unwrap_or_default();
            PyFloat::new(py, f64::from_bits(word)).into_any()
        }
        _ => any(py, this, words(), retained)?,
    };
    if binding.options.is_callable {
        return judge(this, result, errno);
    }
    Ok(result)
}

/// Shows a result to the callable that was given as `check`.
pub(super) fn judged(
    py: Python<'_>,
    function: &Function,
    words: &[u64],
    errno: i32,
) -> PyResult<()> {
    judge(function, any(py, function, words, None)?, errno).map(drop)
}

/// The outputs behind the result, if the function has one.
pub(super) fn with_outputs<'py>(
    function: &Bound<'py, Function>,
    result: Bound<'py, PyAny>,
    outputs: Outputs<'py>,
    retained: Option<&Retained>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    let mut all = Vec::with_capacity(outputs.len() + 1);
    if !matches!(function.get().binding().returns, Returns::Void) {
        all.push(result);
    }
    for (role, array) in outputs {
        if let Role::Parameter(position) = role {
            all.push(output(function, position, array, retained)?);
        }
    }
    several(py, all)
}

/// The result, unless the callable that was given as `check` says that the call failed.
#[cold]
fn judge<'py>(
    function: &Function,
    result: Bound<'py, PyAny>,
    errno: i32,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(check) = &function.binding().options.check else {
        return Ok(result);
    };
    if !check.bind(result.py()).call1((&result,))?.is_truthy()? {
        return Ok(result);
    }
    let message = format!(
        "{}: expected a result that its check takes for success, got {}; see what the library says \
         of it",
        function.inner.name(),
        result.repr()?
    );
    Err(errors::failure(
        function.inner.name(),
        &result,
        errno,
        &message,
    ))
}

pub(super) fn scalar(py: Python<'_>, value: Scalar) -> PyResult<Bound<'_, PyAny>> {
    Ok(match value {
        Scalar::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
        Scalar::Int(value) => match i64::try_from(value) {
            Ok(value) => value.into_pyobject(py)?.into_any(),
            Err(_) => value.into_pyobject(py)?.into_any(),
        },
        Scalar::Float(value) => PyFloat::new(py, value).into_any(),
        Scalar::Complex(value) => PyComplex::from_doubles(py, value.re, value.im).into_any(),
    })
}

/// The result of any type.
fn any<'py>(
    py: Python<'py>,
    this: &Function,
    words: &[u64],
    retained: Option<&Retained>,
) -> PyResult<Bound<'py, PyAny>> {
    let binding = this.binding();
    let word = words.first().copied().unwrap_or_default();
    match &binding.returns {
        Returns::Void => Ok(py.None().into_bound(py)),
        Returns::Number(number) => scalar(py, number.value(words)),
        Returns::Text => text(py, word, binding.options.text),
        Returns::Pointer(pointer) => {
            let destructor = binding.options.destructor.as_ref();
            handle(py, &this.inner, pointer, word, destructor, retained)
        }
        Returns::Extended(dtype) | Returns::Record(dtype) => item(dtype.bind(py), words),
    }
}

/// The item of a dtype that starts the words.
pub(super) fn item<'py>(
    dtype: &Bound<'py, PyArrayDescr>,
    words: &[u64],
) -> PyResult<Bound<'py, PyAny>> {
    use numpy::PyArrayDescrMethods;
    let bytes: &[u8] = bytemuck::cast_slice(words);
    let array = ndarray::zeros(dtype, &[])?;
    let memory = ndarray::memory(&array);
    let size = dtype.itemsize().min(bytes.len());
    // SAFETY: both are at least that long, and the array is new.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), memory.address, size) };
    array.get_item(PyTuple::empty(dtype.py()))
}

/// A copy of the text at an address.
pub(super) fn text(py: Python<'_>, word: u64, kind: Text) -> PyResult<Bound<'_, PyAny>> {
    let address = usize::try_from(word).unwrap_or_default();
    let text: *const c_char = ptr::with_exposed_provenance(address);
    if text.is_null() {
        return Ok(py.None().into_bound(py));
    }
    // SAFETY: a `const char *` of C is NULL or a text that ends with a NUL: so the user of `load` or of
    // the callback has promised.
    let text = unsafe { CStr::from_ptr(text) }.to_bytes();
    match kind {
        Text::Bytes => Ok(PyBytes::new(py, text).into_any()),
        Text::Str => PyString::from_bytes(py, text).map(Bound::into_any),
    }
}

/// A pointer of C's as a handle of the core's; none for NULL.
pub(super) fn pointed(
    origin: &mapcall::Function,
    pointer: &Pointer,
    word: u64,
    alive: KeepAlive,
) -> Option<mapcall::Handle> {
    let address = usize::try_from(word).unwrap_or_default();
    let address = NonNull::new(ptr::with_exposed_provenance_mut::<c_void>(address))?;
    // SAFETY: C gave it for one of that type: so the user of `load` has promised. What it may lead into
    // is kept, or lives as long as the callback that receives it.
    Some(unsafe { mapcall::Handle::returned(origin, pointer, address, alive) })
}

/// A pointer as a handle, which keeps what the pointer may lead into; None for NULL.
pub(super) fn handle<'py>(
    py: Python<'py>,
    origin: &mapcall::Function,
    pointer: &Pointer,
    word: u64,
    destructor: Option<&Py<Function>>,
    retained: Option<&Retained>,
) -> PyResult<Bound<'py, PyAny>> {
    let alive = retained.map_or_else(KeepAlive::default, |retained| retained.alive.clone());
    let Some(handle) = pointed(origin, pointer, word, alive) else {
        return Ok(py.None().into_bound(py));
    };
    let destructor = destructor
        .map(|destructor| &destructor.bind(py).get().inner)
        .filter(|function| function.destroys(handle.target()));
    let objects = retained.and_then(|retained| Some(retained.objects.as_ref()?.clone_ref(py)));
    let scope = retained.and_then(|retained| retained.scope.as_ref());
    let handle = match (destructor, scope) {
        (Some(destructor), _) => {
            let handle = handle.with_destructor(destructor);
            let handle = handle.map_err(|error| errors::call(py, &error))?;
            Handle::new(handle, pointer.target.clone(), objects)
        }
        (None, Some(scope)) => Handle::derived(handle, pointer.target.clone(), objects, scope),
        (None, None) => Handle::new(handle, pointer.target.clone(), objects),
    };
    Ok(Bound::new(py, handle)?.into_any())
}

/// An output as it is returned: an array; of pointers, a list of handles.
fn output<'py>(
    function: &Bound<'py, Function>,
    position: usize,
    array: Bound<'py, PyUntypedArray>,
    retained: Option<&Retained>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, this) = (function.py(), function.get());
    let rule = this
        .inner
        .contract()
        .rules()
        .get(position)
        .and_then(Rule::array);
    let pointer = rule
        .filter(|rule| rule.rank() == 1)
        .and_then(|rule| pointed_to(&rule.ctype));
    let Some(pointer) = pointer else {
        return Ok(array.into_any());
    };
    let words: Vec<u64> = array.call_method0(intern!(py, "tolist"))?.extract()?;
    let destructor = this.binding().options.destructor.as_ref();
    let handles = words
        .into_iter()
        .map(|word| handle(py, &this.inner, pointer, word, destructor, retained))
        .collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(py, handles)?.into_any())
}
