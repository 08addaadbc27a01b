//! The arguments of the quick paths of a call.

#![allow(unsafe_code)]

use mapcall::contract::{Backing, Memory, Number, QuickArgument, QuickVector};
use mapcall::ctype::Float;
use numpy::PyArrayDescr;
use numpy::npyffi::{NPY_ARRAY_C_CONTIGUOUS, NPY_ARRAY_OWNDATA, NPY_ARRAY_WRITEABLE};
use pyo3::ffi::{PyObject, PyTypeObject};
use pyo3::prelude::*;

use super::{ndarray, number, text};

/// An argument of the quick path: a live object while the frame is filled.
#[derive(Clone, Copy)]
pub(super) struct Argument<'a> {
    pub(super) object: &'a *mut PyObject,
    pub(super) ndarray: *mut PyTypeObject,
}

impl<'a> QuickArgument<'a, Py<PyArrayDescr>> for Argument<'a> {
    const CONTIGUOUS: u32 = NPY_ARRAY_C_CONTIGUOUS.cast_unsigned();
    const WRITEABLE: u32 = NPY_ARRAY_WRITEABLE.cast_unsigned();
    const PRIVATE: u32 = NPY_ARRAY_OWNDATA.cast_unsigned();

    #[inline]
    fn number(self, number: Number) -> Option<u64> {
        // SAFETY: the caller of the function has a reference to its argument.
        unsafe { number::slot(number, *self.object) }
    }

    #[inline]
    fn real(self, float: Float) -> Option<u64> {
        // SAFETY: the caller of the function has a reference to its argument.
        match unsafe { number::float(*self.object) } {
            Some(value) => Number::Float(float).slot_of_real(value),
            None => self.number(Number::Float(float)),
        }
    }

    #[inline]
    fn vector(self, dtype: &Py<PyArrayDescr>) -> Option<QuickVector> {
        // SAFETY: the caller of the function has a reference to its argument.
        unsafe { ndarray::vector_of(*self.object, self.ndarray, dtype.as_ptr()) }
    }

    #[inline]
    fn array(self, dtype: &Py<PyArrayDescr>) -> Option<Memory<'a>> {
        // SAFETY: the caller of the function has a reference to its argument, and the memory is not
        // used after Python code can run.
        unsafe { ndarray::memory_of(*self.object, self.ndarray, dtype.as_ptr()) }
    }

    #[inline]
    fn backing(self) -> Backing<'a> {
        // SAFETY: the quick path calls this for arrays only, and before Python code can run.
        unsafe { ndarray::backing_of(*self.object) }
    }

    #[inline]
    fn text(self) -> Option<&'a [u8]> {
        // SAFETY: the caller of the function has a reference to its argument.
        unsafe { text::plain(*self.object) }
    }
}

/// Returns whether an argument is an array on a closed map, which the full check refuses.
#[cold]
pub(super) fn has_closed<'a>(arguments: impl Iterator<Item = Argument<'a>>) -> bool {
    let mut arrays = arguments.filter(|argument| {
        // SAFETY: the caller of the function has a reference to its argument, and `ndarray` is the type
        // `numpy.ndarray`.
        unsafe { ndarray::is_array(*argument.object, argument.ndarray) }
    });
    arrays.any(|array| array.backing().is_closed())
}
