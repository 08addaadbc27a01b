//! Address, shape and strides of an array for C: NumPy's `ctypes` attribute.
//!
//! ```
//! use std::ffi::c_void;
//! use mapcall_array::{Array, DType, ctypes::Pointer, layout::Order};
//!
//! let array = Array::zeros(DType::F64, &[3, 4], Order::C)?;
//! let pointer: Pointer<'_, c_void> = array.ctypes().as_parameter();
//! assert_eq!(pointer.as_ptr().addr(), array.ctypes().data());
//! # Ok::<(), mapcall_array::Error>(())
//! ```

use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;

use crate::array::Array;
use crate::layout::Dims;

/// An array's address, shape and strides as C types.
///
/// ```
/// use std::ffi::c_int;
/// use mapcall_array::{Array, DType, layout::Order};
///
/// let array = Array::zeros(DType::F64, &[3, 4], Order::C)?;
/// let c = array.ctypes();
/// assert_eq!(c.data(), array.as_ptr().addr());
/// assert_eq!(c.shape_as::<c_int>()?.as_slice(), [3, 4]);
/// assert_eq!(c.strides_as::<i16>()?.as_slice(), [32, 8]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Pointers borrow the array, so one that outlives it does not compile:
///
/// ```compile_fail,E0597
/// # use mapcall_array::{Array, DType, layout::Order};
/// let pointer = {
///     let array = Array::zeros(DType::F64, &[3], Order::C).unwrap();
///     array.ctypes().data_as::<f64>()
/// };
/// println!("{pointer:?}");
/// ```
///
/// A pointer that is used after the array was written to does not compile either:
///
/// ```compile_fail,E0502
/// # use mapcall_array::{Array, DType, layout::Order};
/// let mut array = Array::zeros(DType::F64, &[3], Order::C).unwrap();
/// let pointer = array.ctypes().data_as::<f64>();
/// array.view_mut::<f64>().unwrap().fill(1.0);
/// println!("{pointer:?}");
/// ```
///
/// The pointers are for reading. For a C function that writes, borrow the array with
/// [`view_mut`](Array::view_mut), and pass that view's `as_mut_ptr`.
#[derive(Clone, Copy, Debug)]
pub struct Ctypes<'a> {
    array: &'a Array,
}

impl Array {
    /// Returns the address, shape and strides of the array for C.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::Order};
    /// let array = Array::zeros(DType::F64, &[3, 4], Order::C)?;
    /// assert_eq!(array.ctypes().data(), array.as_ptr().addr());
    /// assert_eq!(array.ctypes().strides(), [32, 8]);
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    #[must_use]
    pub fn ctypes(&self) -> Ctypes<'_> {
        Ctypes { array: self }
    }
}

impl<'a> Ctypes<'a> {
    /// Returns the address of the element `[0, 0, ..]`, which is never 0. The element may be unaligned, not
    /// in native byte order or not writeable.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::{Order, index}};
    /// let array = Array::zeros(DType::F64, &[3, 4], Order::C)?;
    /// let row = array.slice(&index![2])?;
    /// assert_eq!(row.ctypes().data() - array.ctypes().data(), 64);
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    #[must_use]
    pub fn data(&self) -> usize {
        self.array.as_ptr().addr()
    }

    /// Returns the lengths of the axes as C's `intptr_t` (NumPy's `c_intp`).
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::Order};
    /// let array = Array::zeros(DType::F64, &[3, 4], Order::C)?;
    /// assert_eq!(array.ctypes().shape()?.as_slice(), [3, 4]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Narrowing`], which no shape of an array in memory causes.
    pub fn shape(&self) -> Result<Dims<isize>, Narrowing> {
        self.shape_as()
    }

    /// Returns the strides of the axes in bytes, as C's `intptr_t` (NumPy's `c_intp`).
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::Order};
    /// let array = Array::zeros(DType::F64, &[3, 4], Order::F)?;
    /// assert_eq!(array.ctypes().strides(), [8, 24]);
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    #[must_use]
    pub fn strides(&self) -> &'a [isize] {
        self.array.strides()
    }

    /// Returns the address of the element `[0, 0, ..]` as a C pointer.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::Order};
    /// let mut array = Array::zeros(DType::F64, &[3, 4], Order::C)?;
    /// array.view_mut::<f64>()?.fill(2.5);
    /// let first = array.ctypes().data_as::<f64>();
    /// // SAFETY: the array is alive and aligned, and no code writes it.
    /// assert_eq!(unsafe { first.as_ptr().read() }, 2.5);
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    #[must_use]
    pub fn data_as<T>(&self) -> Pointer<'a, T> {
        Pointer {
            ptr: self.array.as_ptr().cast(),
            array: PhantomData,
        }
    }

    /// Returns the lengths of the axes as another integer type.
    ///
    /// ```
    /// # use std::ffi::c_int;
    /// # use mapcall_array::{Array, DType, layout::Order};
    /// let array = Array::zeros(DType::F32, &[480, 640], Order::C)?;
    /// assert_eq!(array.ctypes().shape_as::<c_int>()?.as_slice(), [480, 640]);
    /// assert!(array.ctypes().shape_as::<u8>().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Narrowing`] if a value does not fit the type.
    pub fn shape_as<I: TryFrom<usize>>(&self) -> Result<Dims<I>, Narrowing> {
        narrow("shape", self.array.shape())
    }

    /// Returns the strides of the axes in bytes, as another integer type.
    ///
    /// ```
    /// # use std::ffi::c_long;
    /// # use mapcall_array::{Array, DType, layout::{Order, index}};
    /// let array = Array::zeros(DType::F64, &[3, 4], Order::C)?;
    /// let backwards = array.slice(&index![..; -1])?;
    /// assert_eq!(backwards.ctypes().strides_as::<c_long>()?.as_slice(), [-32, 8]);
    /// assert!(backwards.ctypes().strides_as::<usize>().is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Narrowing`] if a value does not fit the type.
    pub fn strides_as<I: TryFrom<isize>>(&self) -> Result<Dims<I>, Narrowing> {
        narrow("strides", self.array.strides())
    }

    /// Returns the address as C's `void *`, which converts to every object pointer in C.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::Order};
    /// # use std::ffi::c_void;
    /// unsafe extern "C" {
    ///     fn memchr(bytes: *const c_void, byte: i32, n: usize) -> *const c_void;
    /// }
    ///
    /// let mut array = Array::zeros(DType::U8, &[100], Order::C)?;
    /// array.view_mut::<u8>()?[[42]] = 7;
    /// let bytes = array.ctypes().as_parameter();
    /// // SAFETY: the array has 100 bytes.
    /// let found = unsafe { memchr(bytes.as_ptr(), 7, 100) };
    /// assert_eq!(found.addr() - bytes.as_ptr().addr(), 42);
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    #[must_use]
    pub fn as_parameter(&self) -> Pointer<'a, c_void> {
        self.data_as()
    }
}

fn narrow<N: Copy + Into<Wide>, I: TryFrom<N>>(
    what: &'static str,
    values: &[N],
) -> Result<Dims<I>, Narrowing> {
    let narrow = |(axis, &value): (usize, &N)| {
        I::try_from(value).map_err(|_| Narrowing {
            what,
            axis,
            value: value.into().0,
            target: std::any::type_name::<I>(),
        })
    };
    values.iter().enumerate().map(narrow).collect()
}

/// A length or a stride as `i128`, in which [`Narrowing`] stores both.
struct Wide(i128);

impl From<usize> for Wide {
    fn from(value: usize) -> Self {
        Self(i128::try_from(value).unwrap_or(i128::MAX))
    }
}

impl From<isize> for Wide {
    fn from(value: isize) -> Self {
        Self(i128::try_from(value).unwrap_or(i128::MIN))
    }
}

/// A length or stride that does not fit the integer type asked for.
///
/// ```
/// # use mapcall_array::{Array, DType, layout::Order};
/// let array = Array::zeros(DType::U8, &[2, 200], Order::C)?;
/// let error = array.ctypes().shape_as::<i8>().unwrap_err();
/// assert_eq!((error.what, error.axis, error.value, error.target), ("shape", 1, 200, "i8"));
/// # Ok::<(), mapcall_array::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}[{axis}] is {value}, which does not fit {target}; take a wider type")]
#[non_exhaustive]
pub struct Narrowing {
    /// `shape` or `strides`.
    pub what: &'static str,
    /// The axis.
    pub axis: usize,
    /// The value that does not fit.
    pub value: i128,
    /// The type that it does not fit.
    pub target: &'static str,
}

/// A C pointer to an array's first element, which borrows the array.
///
/// ```
/// use std::ffi::c_void;
/// use mapcall_array::{Array, DType, ctypes::Pointer, layout::Order};
///
/// unsafe extern "C" {
///     fn memcmp(a: Pointer<'_, c_void>, b: Pointer<'_, c_void>, n: usize) -> i32;
/// }
///
/// let a = Array::zeros(DType::F64, &[8], Order::C)?;
/// let b = Array::zeros(DType::I64, &[8], Order::C)?;
/// // SAFETY: both arrays have 64 bytes.
/// let order = unsafe { memcmp(a.ctypes().as_parameter(), b.ctypes().as_parameter(), 64) };
/// assert_eq!(order, 0);
/// # Ok::<(), mapcall_array::Error>(())
/// ```
///
/// It has the same ABI as `*const T`, so that a C function can be declared with this parameter type.
#[repr(transparent)]
pub struct Pointer<'a, T> {
    ptr: *const T,
    array: PhantomData<&'a Array>,
}

impl<T> Pointer<'_, T> {
    /// Returns the raw pointer, which is valid while the array lives.
    ///
    /// ```
    /// # use mapcall_array::{Array, DType, layout::Order};
    /// let mut array = Array::zeros(DType::F32, &[3], Order::C)?;
    /// array.view_mut::<f32>()?[[1]] = 0.5;
    /// let pointer = array.ctypes().data_as::<f32>();
    /// // SAFETY: the array is alive, aligned and contiguous, and no code writes it.
    /// let elements = unsafe { std::slice::from_raw_parts(pointer.as_ptr(), 3) };
    /// assert_eq!(elements, [0.0, 0.5, 0.0]);
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    #[must_use]
    pub fn as_ptr(self) -> *const T {
        self.ptr
    }
}

impl<T> Clone for Pointer<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Pointer<'_, T> {}

impl<T> fmt::Debug for Pointer<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ptr.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::DType;
    use crate::layout::{Index, Order};

    #[test]
    fn a_value_that_does_not_fit_is_an_error() {
        let array = Array::zeros(DType::F64, &[2, 200], Order::C).unwrap();
        let error = array.ctypes().shape_as::<i8>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "shape[1] is 200, which does not fit i8; take a wider type"
        );
        assert_eq!((error.axis, error.value), (1, 200));

        let reversed = array.slice(&[Index::from(..), Index::from(..)]).unwrap();
        let reversed = reversed.slice(&crate::layout::index![..; -1]).unwrap();
        assert_eq!(
            reversed.ctypes().strides_as::<i32>().unwrap().as_slice(),
            [-1600, 8]
        );
        let error = reversed.ctypes().strides_as::<u32>().unwrap_err();
        assert_eq!((error.what, error.axis, error.value), ("strides", 0, -1600));
    }

    #[test]
    fn a_pointer_is_the_address_of_the_first_element() {
        let mut array = Array::zeros(DType::I32, &[3, 4], Order::C).unwrap();
        array.view_mut::<i32>().unwrap()[[2, 1]] = 7;
        let last = array.slice(&[Index::At(2), Index::from(1..)]).unwrap();
        let pointer = last.ctypes().data_as::<i32>();
        assert_eq!(pointer.as_ptr().addr(), last.ctypes().data());
        assert_eq!(
            last.ctypes().as_parameter().as_ptr().cast(),
            pointer.as_ptr()
        );
        assert_eq!(last.ctypes().shape().unwrap().as_slice(), [3]);
        assert_eq!(last.view::<i32>().unwrap()[[0]], 7);
        let scalar = array.slice(&[Index::At(0), Index::At(0)]).unwrap();
        assert!(scalar.ctypes().shape().unwrap().is_empty());
    }
}
