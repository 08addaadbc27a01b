//! Bound functions as Rust's own function pointers.

use std::any::type_name;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::Deref;

use num_complex::Complex;

use super::Function;
use crate::contract::Number;
use crate::ctype::{CType, Float};

/// A Rust type that is passed as a C type is.
pub trait CValue {
    /// Whether it is passed as `ctype` is.
    fn is(ctype: &CType) -> bool;
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl CValue for $type {
            fn is(ctype: &CType) -> bool {
                ctype.integer().is_some_and(|integer| {
                    integer.size() == size_of::<$type>()
                        && integer.is_signed() == (<$type>::MIN != 0)
                })
            }
        }
    )*};
}

integers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);

macro_rules! numbers {
    ($($type:ty => $pattern:pat),* $(,)?) => {$(
        impl CValue for $type {
            fn is(ctype: &CType) -> bool {
                matches!(Number::of(ctype), Some($pattern))
            }
        }
    )*};
}

numbers! {
    bool => Number::Bool,
    f32 => Number::Float(Float::Float),
    f64 => Number::Float(Float::Double),
}

impl CValue for () {
    fn is(ctype: &CType) -> bool {
        ctype.resolved() == &CType::Void
    }
}

/// A pointer that the function may write through.
impl<T: CTarget> CValue for *mut T {
    fn is(ctype: &CType) -> bool {
        matches!(ctype.resolved(), CType::Pointer(pointer) if T::is_target(&pointer.target))
    }
}

/// A pointer that the function only reads through.
impl<T: CTarget> CValue for *const T {
    fn is(ctype: &CType) -> bool {
        matches!(
            ctype.resolved(),
            CType::Pointer(pointer) if pointer.is_const && T::is_target(&pointer.target)
        )
    }
}

/// What a pointer may point to: numbers, pointers, and `c_void` for anything.
pub trait CTarget {
    /// Whether a pointer to this is a pointer to `ctype`.
    fn is_target(ctype: &CType) -> bool;
}

impl CTarget for c_void {
    fn is_target(_: &CType) -> bool {
        true
    }
}

macro_rules! targets {
    ($($type:ty),*) => {$(
        impl CTarget for $type {
            fn is_target(ctype: &CType) -> bool {
                <$type as CValue>::is(ctype)
            }
        }
    )*};
}

targets!(bool, i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, f32, f64);

impl CTarget for Complex<f32> {
    fn is_target(ctype: &CType) -> bool {
        matches!(Number::of(ctype), Some(Number::Complex(Float::Float)))
    }
}

impl CTarget for Complex<f64> {
    fn is_target(ctype: &CType) -> bool {
        matches!(Number::of(ctype), Some(Number::Complex(Float::Double)))
    }
}

impl<T> CTarget for *mut T
where
    *mut T: CValue,
{
    fn is_target(ctype: &CType) -> bool {
        <*mut T as CValue>::is(ctype)
    }
}

impl<T> CTarget for *const T
where
    *const T: CValue,
{
    fn is_target(ctype: &CType) -> bool {
        <*const T as CValue>::is(ctype)
    }
}

/// A number: what a function takes and gives without reaching into memory.
pub trait CNumber: CValue {}

macro_rules! plain {
    ($($type:ty),*) => {$(impl CNumber for $type {})*};
}

plain!((), bool, i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, f32, f64);

/// A type of Rust functions that C functions can have.
///
/// `extern "C" fn` takes and returns only numbers, since calling it is safe; one with pointers is an
/// `unsafe extern "C" fn`.
///
/// # Safety
///
/// The type is that of a function pointer, and `mismatch` compares all of it.
pub unsafe trait CFunction: Copy {
    /// The first parameter that differs, by its position, or the result.
    fn mismatch(parameters: &[CType], returns: &CType) -> Option<Mismatch>;
}

/// Where a Rust type differs from a prototype.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The number of parameters.
    Count(usize),
    /// A parameter, by its position, and its Rust type.
    Parameter(usize, &'static str),
    /// The result, and its Rust type.
    Returns(&'static str),
}

macro_rules! functions {
    ($($name:ident)*) => {
        functions!(@one CNumber [extern "C" fn($($name),*) -> R] $($name)*);
        functions!(@one CValue [unsafe extern "C" fn($($name),*) -> R] $($name)*);
    };
    (@one $bound:ident [$type:ty] $($name:ident)*) => {
        // SAFETY: a function pointer, whose every type is compared.
        unsafe impl<R: $bound, $($name: $bound),*> CFunction for $type {
            #[allow(unused_mut, unused_variables, reason = "there may be no parameters")]
            fn mismatch(parameters: &[CType], returns: &CType) -> Option<Mismatch> {
                let names: &[(fn(&CType) -> bool, &'static str)] =
                    &[$(($name::is, type_name::<$name>())),*];
                if names.len() != parameters.len() {
                    return Some(Mismatch::Count(names.len()));
                }
                let mut pairs = names.iter().zip(parameters).enumerate();
                let wrong = pairs.find(|(_, ((is, _), ctype))| !is(ctype));
                if let Some((position, ((_, name), _))) = wrong {
                    return Some(Mismatch::Parameter(position, name));
                }
                (!R::is(returns)).then(|| Mismatch::Returns(type_name::<R>()))
            }
        }
    };
}

functions!();
functions!(A);
functions!(A B);
functions!(A B C);
functions!(A B C D);
functions!(A B C D E);
functions!(A B C D E F);
functions!(A B C D E F G);
functions!(A B C D E F G H);
functions!(A B C D E F G H I);
functions!(A B C D E F G H I J);
functions!(A B C D E F G H I J K);
functions!(A B C D E F G H I J K L);

/// A Rust function type that is not that of the prototype.
///
/// ```
/// use mapcall::Library;
///
/// // SAFETY: the C library's own initialisers may run at any time.
/// let libm = unsafe { Library::open("m")? };
/// // SAFETY: this is the prototype of `cosf`.
/// let cosf = unsafe { libm.function("float cosf(float x)")? };
/// let error = cosf.typed::<extern "C" fn(f64) -> f32>().unwrap_err();
/// assert_eq!(error.to_string(), "cosf: x: expected `float`, got f64; write the Rust type of `float`");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{function}: {place}expected {expected}, got {found}; {remedy}")]
pub struct TypedError {
    /// The function.
    pub function: String,
    /// The parameter with a colon, or nothing.
    place: String,
    /// What the prototype says.
    pub expected: String,
    /// What the Rust type says.
    pub found: String,
    remedy: String,
}

/// A function as a Rust function pointer, which can't outlive it.
#[derive(Clone, Copy, Debug)]
pub struct Typed<'f, F> {
    pointer: F,
    life: PhantomData<&'f Function>,
}

impl<F> Deref for Typed<'_, F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.pointer
    }
}

impl Function {
    /// The function as a Rust function pointer of type `F`, which is compared with the prototype.
    ///
    /// ```
    /// use mapcall::Library;
    ///
    /// // SAFETY: the C library's own initialisers may run at any time.
    /// let libm = unsafe { Library::open("m")? };
    /// // SAFETY: these are the prototypes of `cos` and `modf`.
    /// let (cos, modf) = unsafe {
    ///     (
    ///         libm.function("double cos(double x)")?,
    ///         libm.function("double modf(double x, double whole[1])")?,
    ///     )
    /// };
    /// let cos = cos.typed::<extern "C" fn(f64) -> f64>()?;
    /// assert_eq!(cos(0.0), 1.0);
    ///
    /// let modf = modf.typed::<unsafe extern "C" fn(f64, *mut f64) -> f64>()?;
    /// let mut whole = 0.0;
    /// // SAFETY: `whole` has room for one number.
    /// assert_eq!((unsafe { modf(2.75, &mut whole) }, whole), (0.75, 2.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Types are compared as they are passed: size and sign of integers, floats exactly, `*const`
    /// only where the prototype has `const`, `c_void` for any target.
    ///
    /// # Errors
    ///
    /// [`TypedError`] with the first difference.
    pub fn typed<F: CFunction>(&self) -> Result<Typed<'_, F>, TypedError> {
        let prototype = self.prototype();
        let parameters = prototype.passed_types();
        if let Some(mismatch) = F::mismatch(&parameters, &prototype.returns) {
            return Err(self.mismatched(mismatch, &parameters));
        }
        let address = self.address();
        // SAFETY: `F` is a function pointer of the prototype's types, which the code at the address
        // has by the promise made when it was bound.
        let pointer = unsafe { std::mem::transmute_copy::<_, F>(&address) };
        Ok(Typed {
            pointer,
            life: PhantomData,
        })
    }

    fn mismatched(&self, mismatch: Mismatch, parameters: &[CType]) -> TypedError {
        let (place, expected, found) = match mismatch {
            Mismatch::Count(found) => (
                String::new(),
                format!("{} parameters", parameters.len()),
                found.to_string(),
            ),
            Mismatch::Parameter(position, found) => (
                format!("{}: ", self.contract().name(position)),
                format!("`{}`", parameters.get(position).unwrap_or(&CType::Void)),
                found.to_owned(),
            ),
            Mismatch::Returns(found) => (
                "result: ".into(),
                format!("`{}`", self.prototype().returns),
                found.to_owned(),
            ),
        };
        TypedError {
            function: self.name().to_owned(),
            place,
            remedy: format!("write the Rust type of {expected}"),
            expected,
            found,
        }
    }
}
