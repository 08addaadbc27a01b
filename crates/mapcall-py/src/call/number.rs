//! Conversion of the numbers of Python and NumPy to those of C, and back.

#![allow(unsafe_code)]

use mapcall::contract::{HostValue, Number, Scalar};
use num_complex::Complex;
use numpy::PyUntypedArray;
use pyo3::exceptions::PyOverflowError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyComplex, PyComplexMethods, PyFloat, PyInt, PyTuple};

use super::ndarray;
use crate::once::{Once, intern};

/// The numeric value of an object.
pub(super) enum PythonNumber {
    /// A number of the core.
    Scalar(Scalar),
    /// A number that the core has no scalar for, as a text for messages: an integer of more than 128
    /// bits, or a `long double` beyond the largest double.
    Huge(String),
    /// The object is no number.
    None,
}

impl PythonNumber {
    /// Describes it for the check of a call.
    pub(super) fn value(&self) -> HostValue<'_> {
        match self {
            Self::Scalar(value) => HostValue::Number(*value),
            Self::Huge(found) => HostValue::HugeNumber(found),
            Self::None => HostValue::Other,
        }
    }
}

/// Returns the value of a plain float; `None` for any other object.
///
/// # Safety
///
/// `object` points to a live object.
#[inline]
pub(super) unsafe fn float(object: *mut PyObject) -> Option<f64> {
    // SAFETY: the caller guarantees that `object` points to a live object.
    let is_float = unsafe { ffi::PyFloat_CheckExact(object) } != 0;
    // SAFETY: `object` points to a live object, whose type is float.
    is_float.then(|| unsafe { ffi::PyFloat_AS_DOUBLE(object) })
}

/// Returns the slot for a plain float or int that the parameter's type can represent; `None` for any
/// other object.
///
/// # Safety
///
/// `object` points to a live object.
#[inline]
pub(super) unsafe fn slot(kind: Number, object: *mut PyObject) -> Option<u64> {
    // SAFETY: the caller guarantees that `object` points to a live object.
    if let Some(value) = unsafe { float(object) } {
        return kind.slot_of_real(value);
    }
    // SAFETY: the caller guarantees that `object` points to a live object.
    if unsafe { ffi::PyLong_CheckExact(object) } != 0 {
        let mut overflow = 0;
        // SAFETY: `object` points to a live object, whose type is int.
        let value = unsafe { ffi::PyLong_AsLongLongAndOverflow(object, &raw mut overflow) };
        return if overflow == 0 {
            kind.slot_of_integer(value)
        } else {
            None
        };
    }
    None
}

/// Reads a number of Python or NumPy, or an array without axes.
///
/// The value is exact: a number that would have to be rounded, and a text, are no numbers here.
pub(super) fn read(object: &Bound<'_, PyAny>) -> PyResult<PythonNumber> {
    let scalar = |scalar| Ok(PythonNumber::Scalar(scalar));
    if let Ok(truth) = object.cast::<PyBool>() {
        return scalar(Scalar::Bool(truth.is_true()));
    }
    if object.is_instance_of::<PyInt>() {
        return integer(object);
    }
    if let Ok(value) = object.cast::<PyFloat>() {
        return scalar(Scalar::Float(value.value()));
    }
    if let Ok(value) = object.cast::<PyComplex>() {
        return scalar(Scalar::Complex(Complex::new(value.real(), value.imag())));
    }
    let py = object.py();
    // Its value may be masked.
    if object.is_instance_of::<PyUntypedArray>() && ndarray::is_masked(object)? {
        return Ok(PythonNumber::None);
    }
    let is_numpy = object.is_instance(numpy_generic(py)?)?
        || object.cast::<PyUntypedArray>().is_ok_and(|array| {
            use numpy::PyUntypedArrayMethods;
            array.ndim() == 0
        });
    if is_numpy {
        let kind: char = object
            .getattr(intern!(py, "dtype"))?
            .getattr(intern!(py, "kind"))?
            .extract()?;
        return match kind {
            'b' => scalar(Scalar::Bool(object.is_truthy()?)),
            'i' | 'u' => integer(&object.call_method0(intern!(py, "__index__"))?),
            'f' => {
                let value = object.call_method0(intern!(py, "__float__"))?.extract()?;
                if overflows(value, object)? {
                    return huge(object);
                }
                scalar(Scalar::Float(value))
            }
            'c' => {
                let value = object.call_method0(intern!(py, "__complex__"))?;
                let value = value.cast::<PyComplex>()?;
                let (re, im) = (value.real(), value.imag());
                if overflows(re, &object.getattr(intern!(py, "real"))?)?
                    || overflows(im, &object.getattr(intern!(py, "imag"))?)?
                {
                    return huge(object);
                }
                scalar(Scalar::Complex(Complex::new(re, im)))
            }
            _ => Ok(PythonNumber::None),
        };
    }
    if object.cast::<PyUntypedArray>().is_err()
        && let Some(index) = object.getattr_opt(intern!(py, "__index__"))?
    {
        return integer(&index.call0()?);
    }
    Ok(PythonNumber::None)
}

/// Converts a number of the core to a bool, int, float or complex.
pub(super) fn to_python(py: Python<'_>, value: Scalar) -> PyResult<Bound<'_, PyAny>> {
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

/// Returns whether the conversion of a finite NumPy number to double gave infinity.
fn overflows(double: f64, number: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(double.is_infinite() && !number.eq(double)?)
}

fn huge(object: &Bound<'_, PyAny>) -> PyResult<PythonNumber> {
    Ok(PythonNumber::Huge(object.str()?.to_string()))
}

fn integer(object: &Bound<'_, PyAny>) -> PyResult<PythonNumber> {
    match object.extract::<i128>() {
        Ok(value) => Ok(PythonNumber::Scalar(Scalar::Int(value))),
        Err(error) if error.is_instance_of::<PyOverflowError>(object.py()) => {
            let bits = object.call_method0(intern!(object.py(), "bit_length"))?;
            Ok(PythonNumber::Huge(format!("an integer of {bits} bits")))
        }
        Err(error) => Err(error),
    }
}

fn numpy_generic(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static GENERIC: Once<Py<PyAny>> = Once::new();
    GENERIC
        .get_or_try_init(py, || Ok(py.import("numpy")?.getattr("generic")?.unbind()))
        .map(|generic| generic.bind(py))
}

/// Returns the slots for a `numpy.longdouble`, also in an array without axes, if `kind` is `long double`
/// or its complex; `None` for any other object or type.
pub(super) fn extended(object: &Bound<'_, PyAny>, kind: Number) -> PyResult<Option<Vec<u64>>> {
    if !kind.is_extended() {
        return Ok(None);
    }
    let py = object.py();
    let numpy = py.import(intern!(py, "numpy"))?;
    let real = numpy.getattr(intern!(py, "longdouble"))?;
    let complex = numpy.getattr(intern!(py, "clongdouble"))?;
    let mut object = object.clone();
    if object.is_instance_of::<PyUntypedArray>() {
        object = object.get_item(PyTuple::empty(py))?;
    }
    let class = match kind {
        Number::Complex(_) if object.is_instance(&real)? => {
            object = complex.call1((object,))?;
            complex
        }
        Number::Complex(_) => complex,
        _ => real,
    };
    if !object.is_instance(&class)? {
        return Ok(None);
    }
    // The method of the NumPy class: that of a derived class may return other bytes.
    let bytes = class.call_method1(intern!(py, "tobytes"), (object,))?;
    let bytes: Vec<u8> = bytes.extract()?;
    let slots = bytes.chunks(size_of::<u64>()).map(|chunk| {
        let mut slot = [0; size_of::<u64>()];
        for (to, from) in slot.iter_mut().zip(chunk) {
            *to = *from;
        }
        u64::from_ne_bytes(slot)
    });
    Ok(Some(slots.collect()))
}
