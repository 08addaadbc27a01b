//! The base class of `memmap`, whose methods that run for each slice and ufunc are C functions.
//!
//! NumPy's memmap overrides `__getitem__`, `__array_wrap__` and `__array_finalize__` in Python,
//! which makes every slice and sum slower. Here `__getitem__` and `__array_wrap__` are C functions.
//! `__array_finalize__` is not needed: a view finds its map through its base. Each of these functions,
//! and `__setitem__`, raises the faults of maps that its operation has caused.

#![allow(unsafe_code)]

use std::any::Any;
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

use mapcall::call::Accessed;
use mapcall_array::guard;
use numpy::PyUntypedArray;
use numpy::npyffi::{NpyTypes, PY_ARRAY_API, PyArrayObject, get_type_object};
use pyo3::PyTypeInfo;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject, PyTypeObject};
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::ctypes::Ctypes;
use crate::faults;
use crate::map::Map;
use crate::memory;
use crate::once::{Once, intern};

const NAME: &CStr = c"mapcall._mapcall.MappedArray";

const DOC: &CStr = c"The base class of memmap: an ndarray whose memory may be that of a map.\n\
\n\
>>> import mapcall\n\
>>> issubclass(mapcall.memmap, mapcall._mapcall.MappedArray)\n\
True\n\
\n\
As with numpy.memmap, the results of ufuncs and the copies by an index are plain ndarrays for a\n\
direct subclass, and instances of the class for a class derived from that one.";

const CTYPES_DOC: &CStr = c"The address, shape and strides of the array as ctypes objects.\n\
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
Return the result of a ufunc: a plain array or scalar, or this array if it is the output.\n\
\n\
>>> import mapcall\n\
>>> import numpy as np\n\
>>> x = mapcall.memmap('x.dat', mode='w+', shape=3)\n\
>>> type(x + 1), type(x.sum()), type(np.add(x, 1, out=x))\n\
(<class 'numpy.ndarray'>, <class 'numpy.uint64'>, <class 'mapcall.memmap'>)";

/// Returns the type, which the first call makes.
pub(crate) fn type_object(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static TYPE: Once<Py<PyType>> = Once::new();
    TYPE.get_or_try_init(py, || make_type(py))
        .map(|class| class.bind(py))
}

fn make_type(py: Python<'_>) -> PyResult<Py<PyType>> {
    // The interpreter keeps pointers to the tables as long as the type exists, which is never freed.
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
        slot(ffi::Py_mp_ass_subscript, assign_subscript as *mut c_void),
        slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        slot(0, ptr::null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: NAME.as_ptr(),
        // The size of the base class.
        basicsize: 0,
        itemsize: 0,
        flags: FLAGS,
        slots: slots.as_mut_ptr(),
    };
    let bases = PyTuple::new(py, [py.get_type::<PyUntypedArray>()])?;
    // SAFETY: `spec` and its slots are valid for the call, and the slots end with a zero. The functions
    // have the signatures of their slots. The tables of methods and attributes are never freed.
    let class = unsafe { ffi::PyType_FromSpecWithBases(&raw mut spec, bases.as_ptr()) };
    // SAFETY: the function returned a new reference, or null with an exception set.
    let class = unsafe { Bound::from_owned_ptr_or_err(py, class) }?;
    Ok(class.cast_into::<PyType>()?.unbind())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the flags used have bits 0 to 18 only"
)]
const FLAGS: c_uint =
    (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_BASETYPE | ffi::Py_TPFLAGS_HAVE_GC) as c_uint;

/// Return the map that an array is on, found through its bases; None for other memory.
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
    let mut other_owners = 0;
    loop {
        if let Ok(map) = owner.cast::<Map>() {
            // The attribute of another owner may be a map that the array's memory is no part of.
            let trusted = other_owners == 0 || map.get().holds(memory::address(array));
            return trusted.then(|| map.clone());
        }
        owner = if let Ok(array) = owner.cast::<PyUntypedArray>() {
            // SAFETY: the cast has checked that `array` is an ndarray.
            let base = unsafe { memory::base(array.as_ptr()) };
            // SAFETY: `base` is null or an object, to which the array has a reference while it is borrowed.
            unsafe { Bound::from_borrowed_ptr_or_opt(py, base) }?
        } else if other_owners < MAX_OTHER_OWNERS {
            other_owners += 1;
            // `base` is an attribute of the owners of NumPy's stride tricks, `obj` of memoryviews.
            let next = |name| owner.getattr_opt(name).ok().flatten();
            next(intern!(py, "base")).or_else(|| next(intern!(py, "obj")))?
        } else {
            return None;
        };
    }
}

/// The maximum number of owners other than arrays that are followed; their references could form a
/// cycle.
const MAX_OTHER_OWNERS: usize = 8;

/// Returns whether an array is on a map. It changes no reference count if all owners are arrays
/// and maps.
///
/// # Safety
///
/// `array` points to a live ndarray.
unsafe fn is_mapped(py: Python<'_>, array: *mut PyObject) -> bool {
    let (ndarray, map) = (ndarray_type(py), Map::type_object_raw(py));
    let mut owner = array;
    loop {
        // SAFETY: `owner` is a live ndarray: `array`, as the caller guarantees, or a base of an array that
        // the type check below has accepted.
        owner = unsafe { memory::base(owner) };
        if owner.is_null() {
            return false;
        }
        // SAFETY: `owner` is the base of a live array, which has a reference to it.
        if unsafe { ffi::Py_TYPE(owner) } == map {
            return true;
        }
        // SAFETY: `owner` is a live object, and `ndarray` a type.
        if unsafe { ffi::PyObject_TypeCheck(owner, ndarray) } == 0 {
            // SAFETY: the caller guarantees that `array` points to a live object.
            let array = unsafe { Bound::from_borrowed_ptr(py, array) };
            // SAFETY: the caller guarantees that `array` points to an ndarray.
            return map_of(unsafe { array.cast_unchecked() }).is_some();
        }
    }
}

/// Returns whether an object's class is a direct subclass of this type, as `memmap` is.
///
/// # Safety
///
/// `object` points to a live object.
unsafe fn is_exact(py: Python<'_>, object: *mut PyObject) -> bool {
    // SAFETY: the caller guarantees that `object` points to a live object.
    let class = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: an object has a reference to its type, so `class` points to a live type.
    let parent = unsafe { (*class).tp_base };
    type_object(py).is_ok_and(|class| ptr::eq(parent, class.as_type_ptr()))
}

/// Returns the type `numpy.ndarray`.
pub(crate) fn ndarray_type(py: Python<'_>) -> *mut PyTypeObject {
    // SAFETY: NumPy's table of types has an entry for `PyArray_Type`.
    unsafe { get_type_object(py, NpyTypes::PyArray_Type) }
}

/// Visits the objects to which an array has references, for the garbage collector. It frees arrays
/// that have a view of themselves as an attribute, which NumPy's own types can't.
///
/// # Safety
///
/// `array` points to a live ndarray, and `visit` may be called with objects and `argument`.
unsafe extern "C" fn traverse(
    array: *mut PyObject,
    visit: ffi::visitproc,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the caller guarantees that `array` points to a live ndarray.
    let base = unsafe { memory::base(array) };
    // SAFETY: the caller guarantees that `array` points to a live object.
    let class = unsafe { ffi::Py_TYPE(array) };
    for kept in [class.cast(), base] {
        if !kept.is_null() {
            // SAFETY: `kept` is an object to which the array has a reference, and the caller guarantees that
            // `visit` may be called with it and `argument`.
            let stop = unsafe { visit(kept, argument) };
            if stop != 0 {
                return stop;
            }
        }
    }
    0
}

/// Returns NumPy's `array[index]`; if it is a memmap that is no view of a map, as a plain ndarray.
///
/// # Safety
///
/// The caller is attached to the interpreter. `array` points to a live ndarray and `index` to a
/// live object.
unsafe extern "C" fn subscript(array: *mut PyObject, index: *mut PyObject) -> *mut PyObject {
    guarded(|py| {
        let subscript = ndarray_subscript(py)?;
        // SAFETY: the caller guarantees that `array` points to a live ndarray and `index` to an object.
        let result = unsafe { subscript(array, index) };
        // SAFETY: the function returned a new reference, or null with an exception set.
        let mut result = unsafe { Bound::from_owned_ptr_or_err(py, result) }?;
        if !guard::is_quiet() {
            let again = || {
                // SAFETY: the caller guarantees that `array` points to a live ndarray and `index` to an
                // object.
                let result = unsafe { subscript(array, index) };
                // SAFETY: the function returned a new reference, or null with an exception set.
                unsafe { Bound::from_owned_ptr_or_err(py, result) }
            };
            // SAFETY: the caller guarantees that `array` points to a live ndarray.
            result = unsafe { without_zeros(py, array, again) }?;
        }
        // SAFETY: `result` is a reference to an object.
        let is_memmap = unsafe { is_exact(py, result.as_ptr()) };
        // SAFETY: `result` is a reference to a memmap, which is an ndarray.
        if is_memmap && !unsafe { is_mapped(py, result.as_ptr()) } {
            return as_ndarray(&result);
        }
        Ok(result)
    })
}

/// NumPy's `array[index] = value`, and `del array[index]` if `value` is null.
///
/// # Safety
///
/// The caller is attached to the interpreter. `array` points to a live ndarray, `index` to a live object, and
/// `value` is null or points to one.
unsafe extern "C" fn assign_subscript(
    array: *mut PyObject,
    index: *mut PyObject,
    value: *mut PyObject,
) -> c_int {
    // SAFETY: the interpreter calls the functions of a type from attached threads only.
    let py = unsafe { Python::assume_attached() };
    let assign = || {
        let (_, assign) = ndarray_subscripts(py)?;
        let epoch = guard::epoch();
        // SAFETY: the caller guarantees that `array` points to a live ndarray, `index` to an object, and
        // `value` to one or that it is null.
        if unsafe { assign(array, index, value) } != 0 {
            return Err(PyErr::fetch(py));
        }
        if guard::is_quiet() {
            return Ok(());
        }
        // SAFETY: the caller guarantees that `array` points to a live object.
        let array = unsafe { Bound::from_borrowed_ptr(py, array) };
        // An assignment is not repeated: the value may lie in the same memory.
        check_faults(py, &[array], epoch)
    };
    let assigned = catch_unwind(AssertUnwindSafe(assign));
    match assigned.unwrap_or_else(|panic| Err(panicked(&*panic))) {
        Ok(()) => 0,
        Err(error) => {
            error.restore(py);
            -1
        }
    }
}

/// Raises the faults of an indexing operation that has just ended. If another thread's fault has put zeros
/// into the map, the pages are sealed and the operation is repeated, so that it has a fault of its own if it
/// has used them: an index may lead to pages that exist.
///
/// # Safety
///
/// `array` points to a live ndarray.
#[cold]
unsafe fn without_zeros<T>(
    py: Python<'_>,
    array: *mut PyObject,
    operation: impl Fn() -> PyResult<T>,
) -> PyResult<T> {
    /// The number of repetitions. Other threads may have faults of their own again and again.
    const MAX: usize = 8;
    // SAFETY: the caller guarantees that `array` points to a live object.
    let array = unsafe { Bound::from_borrowed_ptr(py, array) };
    // SAFETY: the caller guarantees that `array` points to an ndarray.
    let array: Bound<'_, PyUntypedArray> = unsafe { array.cast_into_unchecked() };
    let range = memory::addresses(&array);
    let own = |mapped: &[Range<usize>]| {
        let slots = [range.start as u64];
        let slots = &slots;
        faults::check(py, Accessed { mapped, slots }, 0)
    };
    for _ in 0..MAX {
        own(&[])?;
        guard::seal_zeros(range.start);
        let result = operation()?;
        own(&[])?;
        if !guard::has_zeros(range.start) {
            return Ok(result);
        }
    }
    let result = operation()?;
    own(slice::from_ref(&range))?;
    Ok(result)
}

/// Raises the faults of an operation on arrays that has just ended.
#[cold]
fn check_faults(py: Python<'_>, arrays: &[Bound<'_, PyAny>], epoch: usize) -> PyResult<()> {
    let array = |object: &Bound<'_, PyAny>| Some(memory::addresses(object.cast().ok()?));
    let mapped: Vec<Range<usize>> = arrays.iter().filter_map(array).collect();
    let accessed = Accessed {
        mapped: &mapped,
        slots: &[],
    };
    faults::check(py, accessed, epoch)
}

/// Returns the implementation of `array[index]` of the type `numpy.ndarray`.
fn ndarray_subscript(py: Python<'_>) -> PyResult<ffi::binaryfunc> {
    ndarray_subscripts(py).map(|(subscript, _)| subscript)
}

/// Returns the implementations of `array[index]` and `array[index] = value` of the type `numpy.ndarray`.
fn ndarray_subscripts(py: Python<'_>) -> PyResult<(ffi::binaryfunc, ffi::objobjargproc)> {
    static SUBSCRIPTS: Once<(ffi::binaryfunc, ffi::objobjargproc)> = Once::new();
    SUBSCRIPTS
        .get_or_try_init(py, || {
            // SAFETY: the type `numpy.ndarray` is static, so it is never freed.
            let mapping = unsafe { (*ndarray_type(py)).tp_as_mapping };
            // SAFETY: `mapping` is null or points to a table of the static type, which is never freed.
            let mapping = unsafe { mapping.as_ref() };
            mapping
                .and_then(|mapping| mapping.mp_subscript.zip(mapping.mp_ass_subscript))
                .ok_or_else(|| PyTypeError::new_err("numpy.ndarray can't be indexed"))
        })
        .copied()
}

/// Implements `__array_wrap__(array, context=None, return_scalar=False)`.
///
/// # Safety
///
/// The caller is attached to the interpreter. `this` points to a live ndarray, and `arguments` to
/// `count` pointers to live objects.
unsafe extern "C" fn array_wrap(
    this: *mut PyObject,
    arguments: *mut *mut PyObject,
    count: ffi::Py_ssize_t,
) -> *mut PyObject {
    guarded(|py| {
        let count = usize::try_from(count).unwrap_or(0);
        if !(1..=3).contains(&count) {
            return Err(PyTypeError::new_err(
                "__array_wrap__ takes an array, a context and a bool",
            ));
        }
        // SAFETY: the caller guarantees that `arguments` points to `count` pointers, and `count` is not 0.
        let arguments = unsafe { std::slice::from_raw_parts(arguments, count) };
        let argument = |index: usize| {
            let argument = arguments.get(index).copied().unwrap_or(ptr::null_mut());
            // SAFETY: `argument` is null, or one of the arguments, which are live during the call.
            unsafe { Bound::from_borrowed_ptr_or_opt(py, argument) }
        };
        // SAFETY: the caller guarantees that `this` points to a live object.
        let this = unsafe { Bound::from_borrowed_ptr(py, this) };
        let array = argument(0).ok_or_else(|| PyTypeError::new_err("an array is missing"))?;
        if !guard::is_quiet() {
            let mut arrays = vec![this.clone(), array.clone()];
            // The context of a ufunc is the ufunc, its arguments, and the number of the output.
            let context = argument(1).and_then(|context| context.get_item(1).ok());
            if let Some(arguments) =
                context.and_then(|arguments| arguments.cast_into::<PyTuple>().ok())
            {
                arrays.extend(arguments.iter());
            }
            // The operation has begun before, at an unknown epoch.
            check_faults(py, &arrays, 0)?;
        }
        if array.is(&this) {
            return Ok(array);
        }
        // SAFETY: `this` is a reference to an object.
        if !unsafe { is_exact(py, this.as_ptr()) } {
            let ndarray = py.get_type::<PyUntypedArray>();
            let context = argument(1).unwrap_or_else(|| py.None().into_bound(py));
            return ndarray.call_method1("__array_wrap__", (this, array, context));
        }
        let array = as_ndarray(&array)?;
        if argument(2).is_some_and(|scalar| scalar.is_truthy().unwrap_or(false)) {
            let array: *mut PyArrayObject = array.into_ptr().cast();
            // SAFETY: `array` points to an ndarray, and `into_ptr` has given up the reference that
            // `PyArray_Return` takes.
            let scalar = unsafe { PY_ARRAY_API.PyArray_Return(py, array) };
            // SAFETY: the function returned a new reference, or null with an exception set.
            return unsafe { Bound::from_owned_ptr_or_err(py, scalar) };
        }
        Ok(array)
    })
}

/// Returns an array itself if it is a plain ndarray, or a view of it as one.
fn as_ndarray<'py>(array: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = array.py();
    let ndarray = ndarray_type(py);
    if ptr::eq(array.get_type_ptr(), ndarray) {
        return Ok(array.clone());
    }
    // SAFETY: `array` is a reference to an object, and `ndarray` a type.
    if unsafe { ffi::PyObject_TypeCheck(array.as_ptr(), ndarray) } == 0 {
        return Err(PyTypeError::new_err("__array_wrap__ takes an array"));
    }
    // SAFETY: `array` was checked to be an ndarray, and `ndarray` is a type. A null dtype means that of
    // the array.
    let view =
        unsafe { PY_ARRAY_API.PyArray_View(py, array.as_ptr().cast(), ptr::null_mut(), ndarray) };
    // SAFETY: the function returned a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, view) }
}

/// Implements the attribute `array.ctypes`.
///
/// # Safety
///
/// The caller is attached to the interpreter, and `array` points to a live ndarray.
unsafe extern "C" fn get_ctypes(array: *mut PyObject, _: *mut c_void) -> *mut PyObject {
    guarded(|py| {
        // SAFETY: the caller guarantees that `array` points to a live object.
        let array = unsafe { Bound::from_borrowed_ptr(py, array) };
        // SAFETY: the caller guarantees that `array` points to an ndarray.
        let array = unsafe { array.cast_into_unchecked() };
        Bound::new(py, Ctypes::new(array)).map(Bound::into_any)
    })
}

/// Runs the body of a C function of a type, and turns errors and panics into exceptions.
///
/// With boxed errors, the result of `body` is returned in registers.
pub(crate) fn guarded<'py, E>(
    body: impl FnOnce(Python<'py>) -> Result<Bound<'py, PyAny>, E>,
) -> *mut PyObject
where
    Box<PyErr>: From<E>,
{
    // SAFETY: the interpreter calls the functions of a type from attached threads only.
    let py = unsafe { Python::assume_attached() };
    let raise = |error: PyErr| {
        error.restore(py);
        ptr::null_mut()
    };
    let slot = || body(py).map_or_else(|error| raise(*Box::from(error)), Bound::into_ptr);
    catch_unwind(AssertUnwindSafe(slot)).unwrap_or_else(|panic| raise(panicked(&*panic)))
}

/// Returns the exception for a panic.
pub(crate) fn panicked(panic: &(dyn Any + Send)) -> PyErr {
    let message = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "panic in mapcall".into());
    PanicException::new_err((message,))
}
