//! The memory, dtypes and masks of NumPy's arrays, for the checks of arguments.

#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::ops::Range;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use mapcall::array::layout::Order;
use mapcall::array::{DType, Layout};
use mapcall::call::ArrayObject;
use mapcall::contract::{Backing, Memory, Output, QuickVector};
use numpy::npyffi::{
    NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_OWNDATA, NPY_ARRAY_WRITEABLE, PY_ARRAY_API, PyArray_Descr,
    PyArrayObject, PyArrayObject_fields, npy_intp,
};
use numpy::{PyArrayDescr, PyUntypedArray};
use pyo3::PyTypeInfo;
use pyo3::exceptions::PyMemoryError;
use pyo3::ffi::{self, PyObject, PyTypeObject};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::map::Map;
use crate::mapped_array::{guarded, ndarray_type};
use crate::once::intern;

/// Returns whether an object is an instance of ndarray or of a class derived from it.
///
/// # Safety
///
/// `object` points to a live object, and `ndarray` is the type `numpy.ndarray`.
#[inline]
pub(super) unsafe fn is_array(object: *mut PyObject, ndarray: *mut PyTypeObject) -> bool {
    // SAFETY: the caller guarantees that `object` points to a live object.
    let class = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: `class` is the type of a live object, and `ndarray` a static type: both are live.
    class == ndarray || unsafe { ffi::PyType_IsSubtype(class, ndarray) } != 0
}

/// The version tags of some classes derived from ndarray that have no mask. The interpreter gives a
/// type a new tag whenever its attributes change; 0 means no tag.
static UNMASKED: [AtomicU32; 4] = [const { AtomicU32::new(0) }; 4];

/// Returns whether `class` is ndarray, or a class whose tag is in [`UNMASKED`].
///
/// # Safety
///
/// `class` points to a live type, and `ndarray` is the type `numpy.ndarray`.
#[inline]
unsafe fn is_unmasked(class: *mut PyTypeObject, ndarray: *mut PyTypeObject) -> bool {
    if class == ndarray {
        return true;
    }
    // SAFETY: the caller guarantees that `class` points to a live type.
    is_known_unmasked(unsafe { (*class).tp_version_tag })
}

/// Returns whether a version tag is in [`UNMASKED`].
#[cold]
#[inline(never)]
fn is_known_unmasked(tag: u32) -> bool {
    tag != 0
        && UNMASKED
            .iter()
            .any(|known| known.load(Ordering::Relaxed) == tag)
}

/// Returns what entries read of arrays.
pub(super) fn host(py: Python<'_>) -> ArrayObject {
    let address = |class: *mut PyTypeObject| class.expose_provenance();
    let [first, ..] = &UNMASKED;
    ArrayObject {
        class: address(ndarray_type(py)),
        version: offset_of!(PyTypeObject, tp_version_tag),
        other_version: ptr::from_ref(first).expose_provenance(),
        dtype: offset_of!(PyArrayObject, fields.descr),
        ndim: offset_of!(PyArrayObject, fields.nd),
        flags: offset_of!(PyArrayObject, fields.flags),
        is_contiguous: NPY_ARRAY_C_CONTIGUOUS.cast_unsigned(),
        is_writeable: NPY_ARRAY_WRITEABLE.cast_unsigned(),
        is_private: NPY_ARRAY_OWNDATA.cast_unsigned(),
        address: offset_of!(PyArrayObject, fields.data),
        shape: offset_of!(PyArrayObject, fields.dimensions),
        strides: offset_of!(PyArrayObject, fields.strides),
        zeros: (zeros_for_entry as *const c_void).expose_provenance(),
    }
}

/// Returns whether an object's class has a mask, as the masked arrays of NumPy and astropy have.
#[inline]
pub(super) fn may_have_mask(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    // SAFETY: the first pointer is the type of a live object, the second the type `numpy.ndarray`.
    if unsafe { is_unmasked(object.get_type_ptr(), ndarray_type(object.py())) } {
        return Ok(false);
    }
    class_has_mask(object)
}

#[cold]
fn class_has_mask(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let (py, class) = (object.py(), object.get_type());
    let has_mask = class.hasattr(intern!(py, "mask"))? && class.hasattr(intern!(py, "filled"))?;
    if !has_mask && object.is_instance_of::<PyUntypedArray>() {
        // SAFETY: `class` is a reference to a type.
        let tag = unsafe { (*class.as_type_ptr()).tp_version_tag };
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        if let Some(entry) = UNMASKED.get(next % UNMASKED.len()) {
            entry.store(tag, Ordering::Relaxed);
        }
    }
    Ok(has_mask)
}

/// Returns whether an element of an object is masked, or a field of one.
#[inline]
pub(super) fn is_masked(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(may_have_mask(object)? && mask_is_set(object)?)
}

#[cold]
fn mask_is_set(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = object.py();
    let mask = object.getattr(intern!(py, "mask"))?;
    let mask = py.import("numpy")?.call_method1("asarray", (mask,))?;
    // Its dtype is bool, or has a bool for each field.
    let bytes = mask.call_method0("tobytes")?.cast_into::<PyBytes>()?;
    Ok(bytes.as_bytes().iter().any(|&byte| byte != 0))
}

/// Casts an object to an array; returns `None` if it is none.
#[inline]
pub(super) fn as_array<'a, 'py>(
    object: &'a Bound<'py, PyAny>,
    ndarray: *mut PyTypeObject,
) -> Option<&'a Bound<'py, PyUntypedArray>> {
    // SAFETY: `object` is a reference to an object, and `ndarray` the type `numpy.ndarray`.
    if unsafe { is_array(object.as_ptr(), ndarray) } {
        // SAFETY: `is_array` returned true: it is an instance of ndarray or of a class derived from it.
        Some(unsafe { object.cast_unchecked() })
    } else {
        None
    }
}

/// Returns the dtype of an array as a borrowed reference.
#[inline]
pub(super) fn descr(array: &Bound<'_, PyUntypedArray>) -> *mut PyArray_Descr {
    let object: *mut PyArrayObject = array.as_ptr().cast();
    // SAFETY: `array` is a reference to an ndarray, whose struct starts with this one.
    unsafe { (*object).fields.descr }
}

/// Returns the address of an array's first element.
#[inline]
pub(super) fn data(array: &Bound<'_, PyUntypedArray>) -> *mut u8 {
    let object: *mut PyArrayObject = array.as_ptr().cast();
    // SAFETY: `array` is a reference to an ndarray, whose struct starts with this one.
    unsafe { (*object).fields.data }.cast()
}

/// Returns the memory of an array. Its shape and strides are invalid once Python code runs, which may
/// reshape the array in place.
#[inline]
pub(super) fn memory<'a>(array: &'a Bound<'_, PyUntypedArray>) -> Memory<'a> {
    // SAFETY: `array` is a reference to an ndarray, which is alive while it is borrowed.
    let backing = unsafe { backing_of(array.as_ptr()) };
    // SAFETY: `array` is a reference to an ndarray, which is alive while it is borrowed. No Python code
    // runs while callers use the memory.
    unsafe { memory_at(array.as_ptr().cast(), backing) }
}

/// Returns the address and the size in bytes of the array whose memory a view is on; `None` if the
/// array is no view of another.
pub(super) fn owner(array: &Bound<'_, PyUntypedArray>) -> Option<(usize, usize)> {
    let ndarray = ndarray_type(array.py());
    let mut owner = None;
    loop {
        let last = owner.as_ref().unwrap_or(array);
        // SAFETY: `last` is a reference to an ndarray.
        let base = unsafe { crate::memory::base(last.as_ptr()) };
        // SAFETY: `base` is null or points to a live object, to which the array has a reference.
        let base = unsafe { Bound::from_borrowed_ptr_or_opt(array.py(), base) };
        match base.as_ref().and_then(|base| as_array(base, ndarray)) {
            Some(base) => owner = Some(base.clone()),
            None => break,
        }
    }
    let owner = owner?;
    let memory = memory(&owner);
    let nbytes = memory
        .shape
        .iter()
        .fold(itemsize(&owner), |size, &length| size.wrapping_mul(length));
    Some((memory.address.addr(), nbytes))
}

/// Returns the memory of an array whose dtype is the object `dtype`, with an unknown backing; `None`
/// for any other object, and for classes that may have a mask.
///
/// # Safety
///
/// `object` points to an object that is alive for `'a`, during which no Python code runs. `ndarray` is
/// the type `numpy.ndarray`.
#[inline]
pub(super) unsafe fn memory_of<'a>(
    object: *mut PyObject,
    ndarray: *mut PyTypeObject,
    dtype: *mut PyObject,
) -> Option<Memory<'a>> {
    // SAFETY: the caller guarantees a live object, and the type `numpy.ndarray`.
    let array = unsafe { array_of(object, ndarray, dtype) }?;
    // SAFETY: `array` points to an ndarray. The caller guarantees that it is alive for `'a`, and that no
    // Python code, which could reshape it, runs meanwhile.
    Some(unsafe { memory_at(array, Backing::Unknown) })
}

/// Returns the memory of an array with one axis whose dtype is the object `dtype`; `None` for any other object, and
/// for classes that may have a mask. Its flags are NumPy's.
///
/// # Safety
///
/// `object` points to a live object, and `ndarray` is the type `numpy.ndarray`.
#[inline]
pub(super) unsafe fn vector_of(
    object: *mut PyObject,
    ndarray: *mut PyTypeObject,
    dtype: *mut PyObject,
) -> Option<QuickVector> {
    // SAFETY: the caller guarantees a live object, and the type `numpy.ndarray`.
    let array = unsafe { array_of(object, ndarray, dtype) }?;
    // SAFETY: `array` points to a live ndarray.
    let fields = unsafe { &(*array).fields };
    if fields.nd != 1 {
        return None;
    }
    Some(QuickVector {
        address: fields.data.expose_provenance(),
        // SAFETY: `dimensions` of an ndarray points to `nd` lengths.
        length: unsafe { *fields.dimensions }.cast_unsigned(),
        flags: fields.flags.cast_unsigned(),
    })
}

/// Returns an array whose dtype is the object `dtype`; `None` for any other object, and for classes that may have a
/// mask.
///
/// # Safety
///
/// `object` points to a live object, and `ndarray` is the type `numpy.ndarray`.
#[inline]
unsafe fn array_of(
    object: *mut PyObject,
    ndarray: *mut PyTypeObject,
    dtype: *mut PyObject,
) -> Option<*mut PyArrayObject> {
    // SAFETY: the caller guarantees that `object` points to a live object.
    let class = unsafe { ffi::Py_TYPE(object) };
    // SAFETY: `class` is the type of a live object, and the caller guarantees that `ndarray` is
    // `numpy.ndarray`.
    if !unsafe { is_unmasked(class, ndarray) } {
        return None;
    }
    let array: *mut PyArrayObject = object.cast();
    // SAFETY: `is_unmasked` returns true for ndarray and classes derived from it only, so `array` points
    // to a live ndarray.
    let descr = unsafe { (*array).fields.descr };
    (descr.cast() == dtype).then_some(array)
}

/// Returns the memory of an array.
///
/// # Safety
///
/// `array` points to an ndarray that is alive and keeps its shape while the returned value is used.
#[inline]
unsafe fn memory_at(array: *mut PyArrayObject, backing: Backing<'_>) -> Memory<'_> {
    // SAFETY: the caller guarantees that `array` points to a live ndarray.
    let fields = unsafe { &(*array).fields };
    let ndim = usize::try_from(fields.nd).unwrap_or(0);
    let (shape, strides): (&[usize], &[isize]) = if ndim == 0 {
        (&[], &[])
    } else {
        (
            // SAFETY: `dimensions` of an ndarray points to `nd` lengths, which are not negative; the
            // caller guarantees that the array keeps them.
            unsafe { slice::from_raw_parts(fields.dimensions.cast(), ndim) },
            // SAFETY: `strides` of an ndarray points to `nd` strides; the caller guarantees that the
            // array keeps them.
            unsafe { slice::from_raw_parts(fields.strides, ndim) },
        )
    };
    Memory {
        address: fields.data.cast(),
        shape,
        strides,
        is_contiguous: fields.flags & NPY_ARRAY_C_CONTIGUOUS != 0,
        is_writeable: fields.flags & NPY_ARRAY_WRITEABLE != 0,
        is_shared: false,
        backing,
    }
}

/// Returns the addresses of a read-only array or of a text; `None` for any other object.
pub(super) fn read_only_bytes(
    object: &Bound<'_, PyAny>,
    ndarray: *mut PyTypeObject,
) -> Option<Range<usize>> {
    let of = |bytes: &[u8]| {
        let bytes = bytes.as_ptr_range();
        // The NUL that ends the text belongs to it.
        bytes.start.addr()..bytes.end.addr() + 1
    };
    if let Some(array) = as_array(object, ndarray) {
        let memory = memory(array);
        let start = memory.address.addr();
        let nbytes = memory.shape.iter().product::<usize>() * itemsize(array);
        (!memory.is_writeable).then(|| start..start.saturating_add(nbytes))
    } else if let Ok(text) = object.cast::<PyBytes>() {
        Some(of(text.as_bytes()))
    } else {
        let text = object.cast::<PyString>().ok()?.to_str().ok()?;
        Some(of(text.as_bytes()))
    }
}

/// Returns the backing of an array's memory, by which the core knows whether the memory may have other
/// addresses too.
///
/// # Safety
///
/// `array` points to an ndarray that is alive and keeps its base for `'a`. The thread is attached to
/// the interpreter.
#[inline]
pub(super) unsafe fn backing_of<'a>(array: *mut PyObject) -> Backing<'a> {
    let array: *mut PyArrayObject = array.cast();
    // SAFETY: the caller guarantees that `array` points to a live ndarray.
    let fields = unsafe { &(*array).fields };
    if fields.flags & NPY_ARRAY_OWNDATA != 0 {
        return Backing::Private;
    }
    // SAFETY: the caller guarantees that the array, whose struct `fields` is a part of, is alive and
    // keeps its base for `'a`, and that the thread is attached.
    unsafe { backing_of_view(fields) }
}

/// Returns the backing of an array whose memory belongs to its base.
///
/// # Safety
///
/// `view` is a part of an ndarray that is alive and keeps its base for `'a`. The thread is attached to
/// the interpreter.
unsafe fn backing_of_view<'a>(view: &PyArrayObject_fields) -> Backing<'a> {
    // SAFETY: the caller guarantees that the thread is attached.
    let py = unsafe { Python::assume_attached() };
    let (ndarray, map) = (ndarray_type(py), Map::type_object_raw(py));
    let mut owner = view.base;
    while !owner.is_null() {
        // SAFETY: `owner` is the base of a live array, which has a reference to it.
        let class = unsafe { ffi::Py_TYPE(owner) };
        if class == map {
            // SAFETY: `owner` points to a live object.
            let owner = unsafe { Borrowed::from_ptr(py, owner) };
            // SAFETY: its type is `Map`.
            let owner: Borrowed<'_, '_, Map> = unsafe { owner.cast_unchecked() };
            let owner: *const Map = owner.get();
            // SAFETY: the array keeps a reference to the object for `'a`, and `Map` is frozen: there is no
            // mutable reference to it.
            let owner = unsafe { &*owner };
            // SAFETY: the caller guarantees that `view`, an array on the map, is alive for `'a`.
            let map = unsafe { owner.mapped_at(view.data.addr()) };
            return map.map_or(Backing::Unknown, Backing::Map);
        }
        // SAFETY: `owner` points to a live object, and `ndarray` is the type `numpy.ndarray`.
        if !unsafe { is_array(owner, ndarray) } {
            let is_bytes =
                class == &raw mut ffi::PyBytes_Type || class == &raw mut ffi::PyByteArray_Type;
            return if is_bytes {
                Backing::Private
            } else {
                Backing::Unknown
            };
        }
        let array: *mut PyArrayObject = owner.cast();
        // SAFETY: `is_array` returned true, so `array` points to a live ndarray.
        let fields = unsafe { &(*array).fields };
        if fields.flags & NPY_ARRAY_OWNDATA != 0 {
            return Backing::Private;
        }
        owner = fields.base;
    }
    Backing::Unknown
}

/// Returns whether two dtypes of numbers or structs are equivalent, such as those of `long` and
/// `long long` of the same size.
///
/// NumPy compares them, since the core does not compare the overlapping fields of unions.
pub(super) fn is_same(one: &Bound<'_, PyArrayDescr>, other: &Bound<'_, PyArrayDescr>) -> bool {
    use numpy::PyArrayDescrMethods;
    let is_plain =
        |descr: &Bound<'_, PyArrayDescr>| b"biufc".contains(&descr.kind()) || descr.has_fields();
    is_plain(one) && is_plain(other) && one.is_equiv_to(other)
}

/// Returns a new array of zeros, in Fortran order if `is_column_major`. The dtype has no Python objects.
pub(super) fn zeros<'py>(
    dtype: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
    is_column_major: bool,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = dtype.py();
    let too_large = || PyMemoryError::new_err(format!("can't make an array of shape {shape:?}"));
    if shape
        .iter()
        .any(|&length| length > isize::MAX.cast_unsigned())
    {
        return Err(too_large());
    }
    let dims: *const npy_intp = shape.as_ptr().cast();
    let ndim = c_int::try_from(shape.len()).map_err(|_| too_large())?;
    let descr: *mut PyArray_Descr = dtype.clone().into_ptr().cast();
    // SAFETY: `dims` points to `ndim` lengths, which fit an `npy_intp` and which NumPy only reads, and `into_ptr` has
    // given up the reference to the dtype that `PyArray_Zeros` takes.
    let array = unsafe {
        PY_ARRAY_API.PyArray_Zeros(py, ndim, dims.cast_mut(), descr, is_column_major.into())
    };
    // SAFETY: the function returned a new reference, or null with an exception set.
    let array: Bound<'py, PyAny> = unsafe { Bound::from_owned_ptr_or_err(py, array) }?;
    // SAFETY: `PyArray_Zeros` returns an ndarray.
    Ok(unsafe { array.cast_into_unchecked() })
}

/// Returns a new array of zeros as [`zeros`] does; null with an exception set if there is no memory.
///
/// # Safety
///
/// `dtype` points to a live dtype without Python objects, and `shape` to `ndim` lengths. The thread is attached to the
/// interpreter.
unsafe extern "C" fn zeros_for_entry(
    dtype: *mut PyObject,
    shape: *const usize,
    ndim: usize,
    is_column_major: usize,
) -> *mut PyObject {
    guarded(|py| {
        // SAFETY: the caller guarantees a live dtype.
        let dtype = unsafe { Borrowed::from_ptr(py, dtype) };
        // SAFETY: the caller guarantees that the object is a dtype.
        let dtype: Borrowed<'_, '_, PyArrayDescr> = unsafe { dtype.cast_unchecked() };
        // SAFETY: the caller guarantees `ndim` lengths.
        let shape = unsafe { slice::from_raw_parts(shape, ndim) };
        zeros(&dtype, shape, is_column_major != 0).map(Bound::into_any)
    })
}

/// Returns a new array whose elements are not set, in C order. The dtype has no Python objects.
pub(super) fn empty<'py>(
    dtype: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = dtype.py();
    let descr: *mut PyArray_Descr = dtype.clone().into_ptr().cast();
    // SAFETY: the lengths are those of an array's axes, so that each is an `npy_intp` and the number of axes an
    // `int`; the function only reads them. `into_ptr` has given up the reference to the dtype that it takes.
    let array = unsafe {
        PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            ndarray_type(py),
            descr,
            c_int::try_from(shape.len()).unwrap_or(c_int::MAX),
            shape.as_ptr().cast::<npy_intp>().cast_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
        )
    };
    // SAFETY: the function returned a new reference, or null with an exception set.
    let array: Bound<'py, PyAny> = unsafe { Bound::from_owned_ptr_or_err(py, array) }?;
    // SAFETY: `PyArray_NewFromDescr` returns an ndarray.
    Ok(unsafe { array.cast_into_unchecked() })
}

/// Returns a new array of zeros for an output, or of the value that C reads, with the axes in the output's
/// order in memory.
pub(super) fn ordered_zeros<'py>(
    dtype: &Bound<'py, PyArrayDescr>,
    output: &Output,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let array = if output.order.is_empty() {
        zeros(dtype, &output.shape, output.is_column_major)?
    } else {
        let (lengths, axes) = output.in_memory();
        let array = zeros(dtype, &lengths, false)?;
        if output.is_in_order() {
            array
        } else {
            let axes = (axes.to_vec(),);
            let array = array.call_method1(intern!(dtype.py(), "transpose"), axes)?;
            array.cast_into::<PyUntypedArray>()?
        }
    };
    if let Some(value) = output.fill {
        fill(&array, value)?;
    }
    Ok(array)
}

/// Sets the elements of a new array of integers.
#[cold]
pub(super) fn fill(array: &Bound<'_, PyUntypedArray>, value: u64) -> PyResult<()> {
    array
        .call_method1(intern!(array.py(), "fill"), (value,))
        .map(drop)
}

/// Returns the size of an array's element in bytes.
pub(super) fn itemsize(array: &Bound<'_, PyUntypedArray>) -> usize {
    use numpy::PyArrayDescrMethods;
    dtype_of(array).itemsize()
}

/// Returns the dtype of an array as an object.
pub(super) fn dtype_of<'py>(array: &Bound<'py, PyUntypedArray>) -> Bound<'py, PyArrayDescr> {
    let descr: *mut PyObject = descr(array).cast();
    // SAFETY: `descr` is the dtype of a live array, which has a reference to it.
    let descr = unsafe { Bound::from_borrowed_ptr(array.py(), descr) };
    // SAFETY: the field `descr` of an array is an instance of `numpy.dtype`.
    unsafe { descr.cast_into_unchecked() }
}

/// Converts a dtype to the core's.
///
/// # Errors
///
/// NumPy's name of the dtype, if the core has no such dtype.
pub(super) fn core_dtype(dtype: &Bound<'_, PyArrayDescr>) -> Result<DType, String> {
    crate::convert::from_numpy(dtype).map_err(|_| dtype.to_string())
}

/// Returns what `numpy.array` makes of an array, for the method `__array__` of an object.
pub(super) fn converted<'py>(
    array: &Bound<'py, PyAny>,
    dtype: Option<&Bound<'py, PyAny>>,
    copy: Option<bool>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = array.py();
    let options = PyDict::new(py);
    options.set_item("dtype", dtype)?;
    options.set_item("copy", copy)?;
    py.import(intern!(py, "numpy"))?
        .call_method(intern!(py, "array"), (array,), Some(&options))
}

/// Returns an array on memory that `owner` keeps alive.
///
/// The memory at `address` has as many items as the shape, as the user of `Handle.array` guarantees.
pub(super) fn on_memory<'py>(
    dtype: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
    address: std::ptr::NonNull<std::ffi::c_void>,
    is_writeable: bool,
    owner: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let layout = c_order(dtype, shape)?;
    with_layout(dtype, &layout, address, is_writeable, owner)
}

/// Returns the layout of an array of a shape in C order.
pub(super) fn c_order(dtype: &Bound<'_, PyArrayDescr>, shape: &[usize]) -> PyResult<Layout> {
    use numpy::PyArrayDescrMethods;
    let layout = Layout::contiguous(shape, dtype.itemsize(), Order::C);
    layout.map_err(|error| crate::errors::to_py(error.into()))
}

/// Returns an array with a layout on memory that `owner` keeps alive.
///
/// The memory at `address` has the items of the layout, as the user of `Handle.array` or of the prototype guarantees.
pub(super) fn with_layout<'py>(
    dtype: &Bound<'py, PyArrayDescr>,
    layout: &Layout,
    address: std::ptr::NonNull<std::ffi::c_void>,
    is_writeable: bool,
    owner: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = dtype.py();
    let mut dims: Vec<npy_intp> = layout
        .shape()
        .iter()
        .map(|length| length.cast_signed())
        .collect();
    let ndim = c_int::try_from(dims.len()).map_err(|_| PyMemoryError::new_err("too many axes"))?;
    let descr: *mut PyArray_Descr = dtype.clone().into_ptr().cast();
    let flags = if is_writeable { NPY_ARRAY_WRITEABLE } else { 0 };
    // NumPy computes those of C order itself, and reads others only.
    let strides: *const npy_intp = if layout.is_c_contiguous() {
        std::ptr::null()
    } else {
        layout.strides().as_ptr()
    };
    // SAFETY: `dims` has `ndim` lengths, `strides` is null or has as many strides, and `into_ptr` has given up the
    // reference to the dtype that the function takes. The caller guarantees that `address` is valid for the items
    // of the layout while `owner` is alive.
    let array = unsafe {
        PY_ARRAY_API.PyArray_NewFromDescr(
            py,
            ndarray_type(py),
            descr,
            ndim,
            dims.as_mut_ptr(),
            strides.cast_mut(),
            address.as_ptr(),
            flags,
            std::ptr::null_mut(),
        )
    };
    // SAFETY: the function returned a new reference, or null with an exception set.
    let array: Bound<'py, PyAny> = unsafe { Bound::from_owned_ptr_or_err(py, array) }?;
    // SAFETY: `array` is a new ndarray without a base, and `into_ptr` has given up the reference to the
    // owner that the function takes.
    let failed =
        unsafe { PY_ARRAY_API.PyArray_SetBaseObject(py, array.as_ptr().cast(), owner.into_ptr()) };
    if failed == 0 {
        Ok(array)
    } else {
        Err(PyErr::fetch(py))
    }
}

/// Returns the address and the base of a read-only view that Python code has not changed in place: it has the
/// dtype and the shape, is contiguous, and has no weak references. `None` for any other array.
///
/// # Safety
///
/// The object is an ndarray.
pub(super) unsafe fn unchanged_view<'a, 'py>(
    array: &'a Bound<'py, PyAny>,
    dtype: &Bound<'py, PyArrayDescr>,
    shape: &[usize],
) -> Option<(*mut u8, Borrowed<'a, 'py, PyAny>)> {
    const FLAGS: c_int = NPY_ARRAY_OWNDATA | NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_WRITEABLE;
    let object: *mut PyArrayObject = array.as_ptr().cast();
    // SAFETY: the caller guarantees that it is an ndarray, whose struct starts with this one.
    let fields = unsafe { &(*object).fields };
    // SAFETY: the array is alive, and no Python code runs while the value is used.
    let known = unsafe { memory_at(object, Backing::Unknown) };
    let is_unchanged = fields.descr.cast() == dtype.as_ptr()
        && fields.flags & FLAGS == NPY_ARRAY_C_CONTIGUOUS
        && fields.weakreflist.is_null()
        && known.shape == shape;
    // SAFETY: null, or an object that the array has a reference to.
    let base = unsafe { Borrowed::from_ptr_or_opt(array.py(), fields.base) };
    base.filter(|_| is_unchanged)
        .map(|base| (fields.data.cast(), base))
}

/// Makes a scalar of NumPy's from the slots of a value of its dtype.
pub(super) fn item<'py>(
    dtype: &Bound<'py, PyArrayDescr>,
    slots: &[u64],
) -> PyResult<Bound<'py, PyAny>> {
    use numpy::PyArrayDescrMethods;
    let bytes: &[u8] = bytemuck::cast_slice(slots);
    let array = zeros(dtype, &[], false)?;
    let memory = memory(&array);
    let size = dtype.itemsize().min(bytes.len());
    // SAFETY: `bytes` and the item of the array are at least `size` bytes long, and the array is new,
    // so they don't overlap.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), memory.address, size) };
    array.get_item(PyTuple::empty(dtype.py()))
}

/// Returns the array without axes for a `numpy.void`, as items of structured arrays are; `None` for any
/// other object.
pub(super) fn of_void<'py>(
    object: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyUntypedArray>>> {
    let py = object.py();
    let numpy = py.import(intern!(py, "numpy"))?;
    if !object.is_instance(&numpy.getattr(intern!(py, "void"))?)? {
        return Ok(None);
    }
    let array = numpy.call_method1(intern!(py, "asarray"), (object,))?;
    Ok(Some(array.cast_into::<PyUntypedArray>()?))
}

/// Returns the dtype and a copy of the bytes of one item; `None` if the object is no such item.
pub(super) fn copy_of_item<'py>(
    object: &Bound<'py, PyAny>,
) -> PyResult<Option<(Bound<'py, PyArrayDescr>, Vec<u8>)>> {
    if is_masked(object)? {
        return Ok(None);
    }
    let py = object.py();
    // A copy, which no other code can change.
    let array = py
        .import(intern!(py, "numpy"))?
        .call_method1(intern!(py, "array"), (object,))?;
    let array = array.cast_into::<PyUntypedArray>()?;
    let memory = memory(&array);
    if !memory.shape.is_empty() {
        return Ok(None);
    }
    // SAFETY: an array without axes has one item of its dtype.
    let bytes = unsafe { slice::from_raw_parts(memory.address, itemsize(&array)) };
    Ok(Some((dtype_of(&array), bytes.to_vec())))
}
