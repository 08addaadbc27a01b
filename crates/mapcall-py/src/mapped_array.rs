//! The native base of `memmap`: the parts of an ndarray subclass that must cost nothing.
//!
//! NumPy's memmap overrides `__getitem__`, `__array_wrap__` and `__array_finalize__` in Python,
//! and every slice and sum pays for it. Here the first two are C slots, and the third is not
//! needed: a view finds its map through its base.

#![allow(unsafe_code)]

use std::any::Any;
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use numpy::PyUntypedArray;
use numpy::npyffi::{NpyTypes, PY_ARRAY_API, PyArrayObject, get_type_object};
use pyo3::PyTypeInfo;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject, PyTypeObject};
use pyo3::intern;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyTuple, PyType};

use crate::ctypes::Ctypes;
use crate::map::Map;
use crate::memory;

const NAME: &CStr = c"mapcall._mapcall.MappedArray";

const DOC: &CStr = c"The native base of memmap: an ndarray that may lie on a map.\n\
\n\
>>> import mapcall\n\
>>> issubclass(mapcall.memmap, mapcall._mapcall.MappedArray)\n\
True\n\
\n\
What a direct subclass computes, or copies by an index, is a plain ndarray; a subclass of that\n\
stays itself, as with numpy.memmap.";

const CTYPES_DOC: &CStr =
    c"The array as C sees it: its address, shape and strides as ctypes objects.\n\
\n\
>>> import ctypes, mapcall\n\
>>> x = mapcall.memmap('x.dat', mode='w+', shape=(2, 3), dtype='i4')\n\
>>> x.ctypes.data == x.__array_interface__['data'][0]\n\
True\n\
>>> x.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)).contents\n\
c_int(0)\n\
>>> list(x.ctypes.shape), list(x.ctypes.strides)\n\
([2, 3], [12, 4])\n\
\n\
See mapcall.Ctypes.";

const ARRAY_WRAP_DOC: &CStr =
    c"__array_wrap__($self, array, context=None, return_scalar=False, /)\n\
--\n\
\n\
The result of a ufunc: a plain array or scalar, or this array when it was the output.\n\
\n\
>>> import mapcall\n\
>>> import numpy as np\n\
>>> x = mapcall.memmap('x.dat', mode='w+', shape=3)\n\
>>> type(x + 1), type(x.sum()), type(np.add(x, 1, out=x))\n\
(<class 'numpy.ndarray'>, <class 'numpy.uint64'>, <class 'mapcall.memmap'>)";

/// The type, made when first asked for.
pub(crate) fn type_object(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static TYPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    TYPE.get_or_try_init(py, || make_type(py))
        .map(|class| class.bind(py))
}

fn make_type(py: Python<'_>) -> PyResult<Py<PyType>> {
    // The interpreter keeps pointers to the tables for as long as the type lives: for ever.
    let getset: &'static mut [ffi::PyGetSetDef; 2] = Box::leak(Box::new([
        ffi::PyGetSetDef {
            name: c"ctypes".as_ptr(),
            get: Some(get_ctypes),
            set: None,
            doc: CTYPES_DOC.as_ptr(),
            closure: ptr::null_mut(),
        },
        ffi::PyGetSetDef::default(),
    ]));
    let methods: &'static mut [ffi::PyMethodDef; 2] = Box::leak(Box::new([
        ffi::PyMethodDef {
            ml_name: c"__array_wrap__".as_ptr(),
            ml_meth: ffi::PyMethodDefPointer {
                PyCFunctionFast: array_wrap,
            },
            ml_flags: ffi::METH_FASTCALL,
            ml_doc: ARRAY_WRAP_DOC.as_ptr(),
        },
        ffi::PyMethodDef::zeroed(),
    ]));
    let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_tp_doc, DOC.as_ptr().cast_mut().cast()),
        slot(ffi::Py_tp_getset, getset.as_mut_ptr().cast()),
        slot(ffi::Py_tp_methods, methods.as_mut_ptr().cast()),
        slot(ffi::Py_mp_subscript, subscript as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(0, ptr::null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: NAME.as_ptr(),
        // As large as its base.
        basicsize: 0,
        itemsize: 0,
        flags: FLAGS,
        slots: slots.as_mut_ptr(),
    };
    let bases = PyTuple::new(py, [py.get_type::<PyUntypedArray>()])?;
    // SAFETY: the slots end with a zero, their functions have the slots' signatures, and the
    // tables live for ever.
    let class = unsafe { ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr()) };
    // SAFETY: a new reference, or null with an exception set.
    let class = unsafe { Bound::from_owned_ptr_or_err(py, class) }?;
    Ok(class.cast_into::<PyType>()?.unbind())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the flags used have bits 0 to 18 only"
)]
const FLAGS: c_uint =
    (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_HAVE_GC) as c_uint;

/// Returns the map that an array is on, found through its bases; None for other memory.
///
/// >>> import mapcall
/// >>> import numpy as np
/// >>> x = mapcall.memmap('x.dat', mode='w+', shape=10)
/// >>> mapcall._mapcall.map_of(np.asarray(x)[2:]) is x._mmap
/// True
#[pyfunction]
pub(crate) fn map_of<'py>(array: &Bound<'py, PyUntypedArray>) -> Option<Bound<'py, Map>> {
    let py = array.py();
    let mut owner = array.as_any().clone();
    let mut strangers = 0;
    loop {
        if let Ok(map) = owner.cast::<Map>() {
            // A stranger may name a map that its memory is no part of.
            let trusted = strangers == 0 || map.get().holds(memory::address(array));
            return trusted.then(|| map.clone());
        }
        owner = if let Ok(array) = owner.cast::<PyUntypedArray>() {
            // SAFETY: it is an ndarray.
            let base = unsafe { memory::base(array.as_ptr()) };
            // SAFETY: the array keeps its base alive.
            unsafe { Bound::from_borrowed_ptr_or_opt(py, base) }?
        } else if strangers < MOST_STRANGERS {
            strangers += 1;
            // What NumPy's stride tricks put between, and memoryviews.
            let next = |name| owner.getattr_opt(name).ok().flatten();
            next(intern!(py, "base")).or_else(|| next(intern!(py, "obj")))?
        } else {
            return None;
        };
    }
}

/// How many owners that are no arrays may lie between: they could name each other in a circle.
const MOST_STRANGERS: usize = 8;

/// Whether an array is on a map: `map_of`, but without touching a reference count where it can.
///
/// # Safety
///
/// `array` is an ndarray.
unsafe fn is_mapped(py: Python<'_>, array: *mut PyObject) -> bool {
    let (ndarray, map) = (ndarray_type(py), Map::type_object_raw(py));
    let mut owner = array;
    loop {
        // SAFETY: `owner` is an ndarray, by the caller's promise or the check below.
        owner = unsafe { memory::base(owner) };
        if owner.is_null() {
            return false;
        }
        // SAFETY: a base is a live object.
        if unsafe { ffi::Py_TYPE(owner) } == map {
            return true;
        }
        // SAFETY: as above.
        if unsafe { ffi::PyObject_TypeCheck(owner, ndarray) } == 0 {
            // SAFETY: `array` is alive.
            let array = unsafe { Bound::from_borrowed_ptr(py, array) };
            // SAFETY: it is an ndarray, by the caller's promise.
            return map_of(unsafe { array.cast_unchecked() }).is_some();
        }
    }
}

/// Whether an object is a memmap, and not of a class derived from it, which stays itself.
///
/// # Safety
///
/// `object` is a live object.
unsafe fn is_exact(py: Python<'_>, object: *mut PyObject) -> bool {
    // SAFETY: the caller's promise.
    let class = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: a type object lives while an object of it does.
    let parent = unsafe { (*class).tp_base };
    type_object(py).is_ok_and(|class| ptr::eq(parent, class.as_type_ptr()))
}

/// `numpy.ndarray`.
pub(crate) fn ndarray_type(py: Python<'_>) -> *mut PyTypeObject {
    // SAFETY: asks NumPy's table of types for one that it has.
    unsafe { get_type_object(py, NpyTypes::PyArray_Type) }
}

/// Shows the collector what an array keeps alive, so that an array that has a view of itself as an
/// attribute is collected; NumPy's own are not.
unsafe extern "C" fn traverse(
    array: *mut PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the collector shows a live ndarray.
    let base = unsafe { memory::base(array) };
    // SAFETY: as above.
    let class = unsafe { ffi::Py_TYPE(array) };
    for kept in [class.cast(), base] {
        if !kept.is_null() {
            // SAFETY: `visit` takes what the array has a reference to, and the collector's argument.
            let stop = unsafe { visit(kept, argument) };
            if stop != 0 {
                return stop;
            }
        }
    }
    0
}

/// `array[index]`: NumPy's, but a copy of a memmap's elements is a plain ndarray.
unsafe extern "C" fn subscript(array: *mut PyObject, index: *mut PyObject) -> *mut PyObject {
    guard(|py| {
        let subscript = ndarray_subscript(py)?;
        // SAFETY: the slot's own arguments, handed on.
        let result = unsafe { subscript(array, index) };
        // SAFETY: a new reference, or null with an exception set.
        let result = unsafe { Bound::from_owned_ptr_or_err(py, result) }?;
        // SAFETY: `result` is alive.
        let is_memmap = unsafe { is_exact(py, result.as_ptr()) };
        // SAFETY: a memmap is an ndarray.
        if is_memmap && !unsafe { is_mapped(py, result.as_ptr()) } {
            return as_ndarray(&result);
        }
        Ok(result)
    })
}

/// ndarray's own implementation of `array[index]`.
fn ndarray_subscript(py: Python<'_>) -> PyResult<ffi::binaryfunc> {
    static SUBSCRIPT: PyOnceLock<ffi::binaryfunc> = PyOnceLock::new();
    SUBSCRIPT
        .get_or_try_init(py, || {
            // SAFETY: ndarray's type lives for ever.
            let mapping = unsafe { (*ndarray_type(py)).tp_as_mapping };
            // SAFETY: null, or ndarray's table.
            let mapping = unsafe { mapping.as_ref() };
            mapping
                .and_then(|mapping| mapping.mp_subscript)
                .ok_or_else(|| PyTypeError::new_err("numpy.ndarray can't be indexed"))
        })
        .copied()
}

/// `__array_wrap__(array, context=None, return_scalar=False)`.
unsafe extern "C" fn array_wrap(
    this: *mut PyObject,
    arguments: *mut *mut PyObject,
    count: ffi::Py_ssize_t,
) -> *mut PyObject {
    guard(|py| {
        let count = usize::try_from(count).unwrap_or(0);
        if !(1..=3).contains(&count) {
            return Err(PyTypeError::new_err(
                "__array_wrap__ takes an array, a context and a bool",
            ));
        }
        // SAFETY: a vectorcall passes `count` live objects.
        let arguments = unsafe { std::slice::from_raw_parts(arguments, count) };
        let argument = |index: usize| {
            let argument = arguments.get(index).copied().unwrap_or(ptr::null_mut());
            // SAFETY: null, or one of the live arguments.
            unsafe { Bound::from_borrowed_ptr_or_opt(py, argument) }
        };
        // SAFETY: `self` of a method is alive.
        let this = unsafe { Bound::from_borrowed_ptr(py, this) };
        let array = argument(0).ok_or_else(|| PyTypeError::new_err("an array is missing"))?;
        if array.is(&this) {
            return Ok(array);
        }
        // SAFETY: `this` is alive.
        if !unsafe { is_exact(py, this.as_ptr()) } {
            let ndarray = py.get_type::<PyUntypedArray>();
            let context = argument(1).unwrap_or_else(|| py.None().into_bound(py));
            return ndarray.call_method1("__array_wrap__", (this, array, context));
        }
        let array = as_ndarray(&array)?;
        if argument(2).is_some_and(|scalar| scalar.is_truthy().unwrap_or(false)) {
            let array: *mut PyArrayObject = array.into_ptr().cast();
            // SAFETY: `array` is an ndarray, whose reference is handed over.
            let scalar = unsafe { PY_ARRAY_API.PyArray_Return(py, array) };
            // SAFETY: a new reference, or null with an exception set.
            return unsafe { Bound::from_owned_ptr_or_err(py, scalar) };
        }
        Ok(array)
    })
}

/// The same array as a plain ndarray.
fn as_ndarray<'py>(array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = array.py();
    let ndarray = ndarray_type(py);
    if ptr::eq(array.get_type_ptr(), ndarray) {
        return Ok(array.clone());
    }
    // SAFETY: `array` is alive.
    if unsafe { ffi::PyObject_TypeCheck(array.as_ptr(), ndarray) } == 0 {
        return Err(PyTypeError::new_err("__array_wrap__ takes an array"));
    }
    // SAFETY: `array` is an ndarray; no new dtype is asked for.
    let view =
        unsafe { PY_ARRAY_API.PyArray_View(py, array.as_ptr().cast(), ptr::null_mut(), ndarray) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, view) }
}

/// `array.ctypes`.
unsafe extern "C" fn get_ctypes(array: *mut PyObject, _: *mut c_void) -> *mut PyObject {
    guard(|py| {
        // SAFETY: `self` of a getter is alive.
        let array = unsafe { Bound::from_borrowed_ptr(py, array) };
        // SAFETY: the getter belongs to a class derived from ndarray.
        let array = unsafe { array.cast_into_unchecked() };
        Bound::new(py, Ctypes::new(array)).map(Bound::into_any)
    })
}

/// Runs the body of a slot, and turns errors and panics into exceptions.
///
/// Where the errors are boxed, what went well is returned in registers.
pub(crate) fn guard<'py, E>(
    body: impl FnOnce(Python<'py>) -> Result<Bound<'py, PyAny>, E>,
) -> *mut PyObject
where
    Box<PyErr>: From<E>,
{
    // SAFETY: the interpreter calls slots attached.
    let py = unsafe { Python::assume_attached() };
    let raise = |error: PyErr| {
        error.restore(py);
        ptr::null_mut()
    };
    let slot = || body(py).map_or_else(|error| raise(*Box::from(error)), Bound::into_ptr);
    catch_unwind(AssertUnwindSafe(slot)).unwrap_or_else(|panic| raise(panicked(&*panic)))
}

/// A panic as Python's exception.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> PyErr {
    let words = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "panic in mapcall".into());
    PanicException::new_err((words,))
}
