//! The Python objects that a call returns: its result, and the arrays that were left out.

use mapcall::contract::{Check, Number, Role, Rule};
use mapcall::ctype::{Float, Function as FunctionType, Pointer};
use mapcall::function::KeepAlive;
use numpy::PyUntypedArray;
use pyo3::prelude::*;
use pyo3::types::{PyFloat, PyList, PyTuple};
use smallvec::SmallVec;

use super::function::{Destructor, Function};
use super::handle::{self, Handle};
use super::kept::Kept;
use super::retained::Retained;
use super::returns::{Returns, function_pointed_to, pointed_to, type_name};
use super::struct_object::{self, LibraryReference, StructMemory, StructObject};
use super::{activation, errors, ndarray, number, text};
use crate::once::intern;

/// The arrays that are allocated for a call, in the order in which they are returned.
pub(super) type Outputs<'py> = SmallVec<[(Role, Bound<'py, PyUntypedArray>); 2]>;

/// Allocates the arrays that were left out.
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
        let array = ndarray::ordered_zeros(expected.dtype.bind(py), &output)?;
        let placed = check.place(position, ndarray::memory(&array).address);
        placed.map_err(|error| errors::argument(py, &error))?;
        outputs.push((output.role, array));
    }
    Ok(outputs)
}

/// Returns an allocated output of a batch as an object: the result of a single call is a number.
pub(super) fn batch_output(
    role: Role,
    array: Bound<'_, PyUntypedArray>,
) -> PyResult<Bound<'_, PyAny>> {
    if role == Role::Result && ndarray::memory(&array).shape.is_empty() {
        return array.get_item(PyTuple::empty(array.py()));
    }
    Ok(array.into_any())
}

/// Returns None for no object, the object if it is the only one, else a tuple of all.
pub(super) fn none_one_or_tuple<'py>(
    py: Python<'py>,
    mut all: SmallVec<[Bound<'py, PyAny>; 4]>,
) -> PyResult<Bound<'py, PyAny>> {
    if all.len() > 1 {
        return Ok(PyTuple::new(py, all)?.into_any());
    }
    Ok(all.pop().unwrap_or_else(|| py.None().into_bound(py)))
}

/// Converts the result of a call; None for void. A handle keeps `retained` alive.
///
/// # Errors
///
/// The exception that the callable `check` raises.
#[expect(
    clippy::inline_always,
    reason = "errors are large, and passed through memory"
)]
#[inline(always)]
pub(super) fn value<'a, 'py>(
    function: &Bound<'py, Function>,
    slots: impl Fn() -> &'a [u64],
    retained: Option<&Retained>,
) -> PyResult<Bound<'py, PyAny>> {
    let (py, this) = (function.py(), function.get());
    let binding = this.binding();
    let result = match &binding.returns {
        Returns::Void => py.None().into_bound(py),
        Returns::Number(Number::Float(Float::Double)) => {
            let slot = slots().first().copied().unwrap_or_default();
            PyFloat::new(py, f64::from_bits(slot)).into_any()
        }
        _ => any(py, this, slots(), retained)?,
    };
    if binding.options.is_callable {
        apply_check(this, &result)?;
    }
    Ok(result)
}

/// Calls the callable `check` with the result of one call of a batch. `get_errno` returns the `errno`
/// of that call meanwhile.
///
/// # Errors
///
/// The exception that it raises.
pub(super) fn check(
    py: Python<'_>,
    function: &Function,
    slots: &[u64],
    errno: i32,
) -> PyResult<()> {
    activation::set_errno(errno);
    apply_check(function, &any(py, function, slots, None)?)
}

/// Returns the result, if the function has one, followed by the outputs.
pub(super) fn with_outputs<'py>(
    function: &Bound<'py, Function>,
    result: Bound<'py, PyAny>,
    outputs: Outputs<'py>,
    retained: Option<&Retained>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    let mut all = SmallVec::new();
    if !matches!(function.get().binding().returns, Returns::Void) {
        all.push(result);
    }
    for (role, array) in outputs {
        if let Role::Parameter(position) = role {
            all.push(output(function, position, array, retained)?);
        }
    }
    none_one_or_tuple(py, all)
}

/// Calls the callable `check` with the result of a call. Its return value is ignored.
///
/// # Errors
///
/// The exception that it raises.
#[cold]
fn apply_check(function: &Function, result: &Bound<'_, PyAny>) -> PyResult<()> {
    match &function.binding().options.check {
        Some(check) => check.bind(result.py()).call1((result,)).map(drop),
        None => Ok(()),
    }
}

/// Converts a result of any type.
fn any<'py>(
    py: Python<'py>,
    this: &Function,
    slots: &[u64],
    retained: Option<&Retained>,
) -> PyResult<Bound<'py, PyAny>> {
    let binding = this.binding();
    let slot = slots.first().copied().unwrap_or_default();
    match &binding.returns {
        Returns::Void => Ok(py.None().into_bound(py)),
        Returns::Number(number) => number::to_python(py, number.value(slots)),
        Returns::Text => text::copy(py, slot, binding.options.text),
        Returns::Pointer(pointer) => pointer_to_handle(py, this, pointer, slot, retained),
        Returns::Function(function, name) => {
            pointer_to_function(py, this, (function, name.as_deref()), slot, retained)
        }
        Returns::Struct(_) if retained.is_none_or(|retained| retained.scope.is_none()) => {
            struct_object(py, this, slots, retained)
        }
        Returns::Extended(dtype) | Returns::Record(dtype) | Returns::Struct(dtype) => {
            ndarray::item(dtype.bind(py), slots)
        }
    }
}

/// Makes a struct object of a struct with pointers. It keeps `retained` alive, which these may lead into.
#[cold]
fn struct_object<'py>(
    py: Python<'py>,
    this: &Function,
    slots: &[u64],
    retained: Option<&Retained>,
) -> PyResult<Bound<'py, PyAny>> {
    let ctype = this.inner.prototype().returns.clone();
    let library = LibraryReference {
        object: this.binding().library.clone_ref(py),
        inner: this.inner.library().clone(),
    };
    let (array, address) = struct_object::allocate(py, &ctype, 1)?;
    let size = ctype.size().unwrap_or_default();
    let memory = StructMemory::new(py, array.into_any().unbind(), address, size, false)?;
    let object = StructObject::new(py, library, ctype, memory)?;
    let mut kept = Kept::default();
    if let Some(objects) = retained.and_then(|retained| retained.objects.as_ref()) {
        kept.objects.push(objects.clone_ref(py).into_any());
    }
    let bytes = bytemuck::cast_slice::<u64, u8>(slots).get(..size);
    object.write(py, 0, bytes.unwrap_or_default(), vec![(0..size, kept)])?;
    Ok(Bound::new(py, object)?.into_any())
}

/// Makes a callable function of a function pointer; None for NULL. It keeps `retained` alive, since the code
/// may be that of a callback among the arguments.
#[cold]
fn pointer_to_function<'py>(
    py: Python<'py>,
    this: &Function,
    (function, name): (&FunctionType, Option<&str>),
    address: u64,
    retained: Option<&Retained>,
) -> PyResult<Bound<'py, PyAny>> {
    let Some(address) = handle::address(address) else {
        return Ok(py.None().into_bound(py));
    };
    let library = this.binding().library.bind(py);
    let objects = retained.and_then(|retained| Some(retained.objects.as_ref()?.clone_ref(py)));
    let name = name.unwrap_or_else(|| this.inner.name());
    let library = (library, this.inner.library());
    Ok(Function::of_pointer(library, name, function, address, objects)?.into_any())
}

/// Makes a handle of a pointer; None for NULL. The handle keeps `retained` alive.
fn pointer_to_handle<'py>(
    py: Python<'py>,
    this: &Function,
    pointer: &Pointer,
    address: u64,
    retained: Option<&Retained>,
) -> PyResult<Bound<'py, PyAny>> {
    let alive = retained.map_or_else(KeepAlive::default, |retained| retained.alive.clone());
    let Some(handle) = handle::from_pointer(&this.inner, pointer, address, alive) else {
        return Ok(py.None().into_bound(py));
    };
    let target = pointer.target.clone();
    let objects = retained.and_then(|retained| Some(retained.objects.as_ref()?.clone_ref(py)));
    let scope = retained.and_then(|retained| retained.scope.as_ref());
    let destructor = match &this.binding().options.destructor {
        Some(Destructor::Callable(callable)) => {
            let handle = Handle::destroyed_by(handle, target, objects, callable.clone_ref(py));
            let handle = handle.of_library(this.binding().library.clone_ref(py));
            return Ok(Bound::new(py, handle)?.into_any());
        }
        Some(Destructor::Function(function)) => Some(&function.get().inner),
        None => this.inner.destructor(),
    };
    let destructor = destructor.filter(|function| function.destroys(handle.target()));
    let handle = match (destructor, scope) {
        (Some(destructor), _) => {
            let handle = handle.with_destructor(destructor);
            let handle = handle.map_err(|error| errors::call(py, &error))?;
            Handle::new(handle, target, objects).owning()
        }
        (None, Some(scope)) => Handle::in_scope(handle, target, objects, scope),
        (None, None) => {
            let pointers = retained.and_then(|retained| retained.pointers.as_ref());
            let pointers = pointers.map(|pointers| pointers.clone_ref(py));
            Handle::new(handle, target, objects).sharing(pointers)
        }
    };
    let handle = handle.of_library(this.binding().library.clone_ref(py));
    Ok(Bound::new(py, handle)?.into_any())
}

/// Converts an allocated output. An array of pointers becomes a list of handles; any other array stays
/// unchanged.
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
        .and_then(|rule| pointed_to(rule.ctype()));
    let Some(pointer) = pointer else {
        return Ok(array.into_any());
    };
    let addresses: Vec<u64> = array.call_method0(intern!(py, "tolist"))?.extract()?;
    let function = function_pointed_to(pointer);
    let name = rule.and_then(|rule| type_name(rule.ctype()));
    let handles = addresses
        .into_iter()
        .map(|address| match &function {
            Some(function) => {
                let function = (&**function, name.as_deref());
                pointer_to_function(py, this, function, address, retained)
            }
            None => pointer_to_handle(py, this, pointer, address, retained),
        })
        .collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(py, handles)?.into_any())
}
