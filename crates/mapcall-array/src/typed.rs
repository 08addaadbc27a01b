//! Views of arrays with elements of a Rust type.

#![allow(unsafe_code)]

use std::{mem, ptr, slice};

use bytemuck::Pod;
use half::f16;
use ndarray::{ArrayViewD, ArrayViewMutD, Axis, IxDyn, ShapeBuilder};
use num_complex::Complex;

use crate::array::Array;
use crate::dtype::{DType, DTypeError};
use crate::error::{Result, ViewError};
use crate::layout::Dims;

/// A Rust type that can be the element of an array: every byte pattern is a valid value.
///
/// ```
/// use bytemuck::{Pod, Zeroable};
/// use mapcall_array::{Array, DType, Element, dtype::DTypeError, layout::Order};
///
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[repr(C)]
/// struct Point { x: f32, y: f32 }
///
/// impl Element for Point {
///     fn dtype() -> Result<DType, DTypeError> {
///         DType::structured([("x", DType::F32), ("y", DType::F32)])
///     }
/// }
///
/// let mut points = Array::zeros(Point::dtype()?, &[10], Order::C)?;
/// points.view_mut::<Point>()?[[3]].y = 1.5;
/// assert_eq!(points.strides(), [8]);
/// # Ok::<(), mapcall_array::Error>(())
/// ```
///
/// Implement it for `#[repr(C)]` structs, as here, with the matching dtype. It is implemented for the
/// integers, [`half::f16`], `f32`, `f64` and [`Complex`] of `f32` and `f64`. `u8` is also an element of `bool`
/// arrays (whose bytes in a file may be other than 0 and 1), and `[u8; N]` of arrays of any dtype of N bytes.
pub trait Element: Pod {
    /// Returns the dtype of the Rust type, in native byte order.
    ///
    /// ```
    /// # use mapcall_array::{DType, Element};
    /// assert_eq!(f64::dtype()?, DType::F64);
    /// assert_eq!(<[u8; 5]>::dtype()?.itemsize(), 5);
    /// # Ok::<(), mapcall_array::dtype::DTypeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DTypeError`] for a type larger than a dtype can be.
    fn dtype() -> Result<DType, DTypeError>;

    /// Checks that elements of `dtype` can be viewed as this type.
    ///
    /// ```
    /// # use mapcall_array::{DType, Element};
    /// assert!(u8::check(&DType::BOOL).is_ok());
    /// assert!(<[u8; 8]>::check(&DType::F64).is_ok());
    /// assert!(i64::check(&DType::F64).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`ViewError::WrongDType`] for another dtype, [`ViewError::ByteOrder`] for the other byte order,
    /// [`ViewError::DType`] if the Rust type has no dtype.
    fn check(dtype: &DType) -> Result<(), ViewError> {
        let expected = Self::dtype()?;
        if *dtype == expected {
            Ok(())
        } else if dtype.to_native() == expected {
            Err(ViewError::ByteOrder {
                dtype: dtype.clone(),
            })
        } else {
            Err(ViewError::WrongDType {
                expected,
                found: dtype.clone(),
            })
        }
    }
}

macro_rules! elements {
    ($($type:ty => $dtype:ident),* $(,)?) => {$(
        impl Element for $type {
            fn dtype() -> Result<DType, DTypeError> {
                Ok(DType::$dtype)
            }
        }
    )*};
}

elements! {
    i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    u16 => U16, u32 => U32, u64 => U64,
    f16 => F16, f32 => F32, f64 => F64,
    Complex<f32> => C64, Complex<f64> => C128,
}

impl Element for u8 {
    fn dtype() -> Result<DType, DTypeError> {
        Ok(DType::U8)
    }

    fn check(dtype: &DType) -> Result<(), ViewError> {
        if *dtype == DType::U8 || *dtype == DType::BOOL {
            return Ok(());
        }
        Err(ViewError::WrongDType {
            expected: DType::U8,
            found: dtype.clone(),
        })
    }
}

impl<const N: usize> Element for [u8; N] {
    fn dtype() -> Result<DType, DTypeError> {
        DType::void(N)
    }

    fn check(dtype: &DType) -> Result<(), ViewError> {
        if dtype.itemsize() == N {
            return Ok(());
        }
        Err(ViewError::WrongDType {
            expected: Self::dtype()?,
            found: dtype.clone(),
        })
    }
}

impl Array {
    /// Returns the array as an [`ndarray`] view, which borrows the array.
    ///
    /// ```
    /// use mapcall_array::{Array, DType, layout::Order};
    ///
    /// let array = Array::zeros(DType::F32, &[2, 3], Order::F)?;
    /// assert_eq!(array.view::<f32>()?.sum(), 0.0);
    /// assert!(array.view::<f64>().is_err());
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ViewError`] for a wrong dtype, byte order, alignment or stride.
    pub fn view<T: Element>(&self) -> Result<ArrayViewD<'_, T>> {
        let parts = Parts::of::<T>(self)?;
        // SAFETY: `Parts::of` found `len` aligned elements inside the buffer, which `self` keeps
        // alive, and any bytes are valid for `T: Pod`. A view for writing needs `&mut self`, which the
        // borrow of `self` excludes, and a unique buffer, so no other array has one.
        let elements = unsafe { slice::from_raw_parts(parts.first.cast_const().cast(), parts.len) };
        let shape = IxDyn(self.shape()).strides(IxDyn(&parts.strides));
        let mut view = ArrayViewD::from_shape(shape, elements).map_err(|_| ViewError::Overlap)?;
        parts
            .reversed
            .iter()
            .for_each(|&axis| view.invert_axis(Axis(axis)));
        Ok(view)
    }

    /// Returns the array as an [`ndarray`] view for writing, which borrows the array mutably.
    ///
    /// ```
    /// use mapcall_array::{Array, DType, layout::Order};
    ///
    /// let mut array = Array::zeros(DType::F64, &[4], Order::C)?;
    /// array.view_mut::<f64>()?.fill(2.5);
    ///
    /// let other = array.clone();
    /// assert!(array.view_mut::<f64>().is_err(), "`other` would see the writes");
    /// # Ok::<(), mapcall_array::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Array::view`]; [`ViewError::ReadOnly`] if the array may not be written,
    /// [`ViewError::Shared`] if another array or view shares the buffer, [`ViewError::Overlap`] if two
    /// elements may have bytes in common.
    pub fn view_mut<T: Element>(&mut self) -> Result<ArrayViewMutD<'_, T>> {
        let parts = Parts::of::<T>(self)?;
        if !self.is_writeable() {
            return Err(ViewError::ReadOnly.into());
        }
        if !self.buffer().is_unique() {
            return Err(ViewError::Shared.into());
        }
        if self.layout().may_self_overlap() {
            return Err(ViewError::Overlap.into());
        }
        // SAFETY: `Parts::of` found `len` aligned elements inside the buffer, which `self` keeps alive, and
        // any bytes are valid for `T: Pod`. The buffer is writeable and unique, and `self` is borrowed
        // mutably, so no other reference to the elements exists.
        let elements = unsafe { slice::from_raw_parts_mut(parts.first.cast(), parts.len) };
        let shape = IxDyn(self.shape()).strides(IxDyn(&parts.strides));
        let mut view =
            ArrayViewMutD::from_shape(shape, elements).map_err(|_| ViewError::Overlap)?;
        parts
            .reversed
            .iter()
            .for_each(|&axis| view.invert_axis(Axis(axis)));
        Ok(view)
    }
}

/// The address, length and strides from which `ndarray` makes a view of an array of `T`.
struct Parts {
    /// The lowest address of all elements.
    first: *mut u8,
    /// The number of elements from the lowest to the highest address, both included.
    len: usize,
    /// The strides in elements, without their signs.
    strides: Dims<usize>,
    /// The axes whose stride is negative.
    reversed: Dims<usize>,
}

impl Parts {
    fn of<T: Element>(array: &Array) -> Result<Self, ViewError> {
        T::check(array.dtype())?;
        let (itemsize, layout) = (mem::size_of::<T>(), array.layout());
        let empty = layout.size() == 0 || itemsize == 0;
        let mut strides = Dims::new();
        let mut reversed = Dims::new();
        for (axis, (&len, &stride)) in array.shape().iter().zip(array.strides()).enumerate() {
            // The stride of an axis of length 1 is never used.
            if empty || len == 1 {
                strides.push(0);
                continue;
            }
            if stride.unsigned_abs() % itemsize != 0 {
                return Err(ViewError::Stride {
                    axis,
                    stride,
                    itemsize,
                });
            }
            strides.push(stride.unsigned_abs() / itemsize);
            if stride < 0 {
                reversed.push(axis);
            }
        }
        if empty {
            let first = ptr::dangling_mut::<T>().cast();
            return Ok(Self {
                first,
                len: 0,
                strides,
                reversed,
            });
        }
        let bounds = layout.bounds();
        let first = array.buffer().as_mut_ptr().wrapping_add(bounds.start);
        // All elements are aligned if the first is: strides are multiples of the size, and the size is a
        // multiple of the alignment.
        if !first.cast::<T>().is_aligned() {
            return Err(ViewError::Unaligned {
                address: array.as_ptr().addr(),
                strides: array.strides().to_vec(),
                alignment: mem::align_of::<T>(),
            });
        }
        Ok(Self {
            first,
            len: bounds.len() / itemsize,
            strides,
            reversed,
        })
    }
}
