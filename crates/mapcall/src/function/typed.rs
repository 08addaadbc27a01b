//! Bound functions as Rust function pointers.

use std::any::type_name;
use std::ffi::c_void;
use std::mem;

use num_complex::Complex;

use super::Function;
use crate::contract::Number;
use crate::ctype::{CType, Float};

use sealed::Sealed;

/// The trait that prevents implementations outside this module.
mod sealed {
    pub trait Sealed {}
}

/// A Rust type that is passed by value in the same way as a C type.
///
/// ```
/// use mapcall::function::CValue;
/// use mapcall::Prototype;
///
/// let f = Prototype::parse("long f(unsigned short n, const double *x)")?;
/// assert!(u16::is(&f.parameters[0].ctype) && !i16::is(&f.parameters[0].ctype));
/// assert!(<*const f64>::is(&f.parameters[1].ctype));
/// # Ok::<(), mapcall::PrototypeError>(())
/// ```
///
/// No other crate can implement it.
///
/// # Safety
///
/// Values of the type are passed and returned as those of each C type for which `is` returns true.
pub unsafe trait CValue: Sealed {
    /// Returns whether it is passed in the same way as `ctype`.
    fn is(ctype: &CType) -> bool;
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        // SAFETY: `is` returns true only for C types of the same kind, size and sign, which the ABI of C
        // passes in the same way.
        unsafe impl CValue for $type {
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
        // SAFETY: `is` returns true only for C types of the same kind, size and sign, which the ABI of C
        // passes in the same way.
        unsafe impl CValue for $type {
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

impl Sealed for () {}

// SAFETY: `is` returns true for `void` only, so that no value is passed.
unsafe impl CValue for () {
    fn is(ctype: &CType) -> bool {
        ctype.resolved() == &CType::Void
    }
}

impl<T> Sealed for *mut T {}
impl<T> Sealed for *const T {}

/// A pointer to memory that the function may write.
// SAFETY: on all supported targets, C passes all pointers to data alike.
unsafe impl<T: CTarget> CValue for *mut T {
    fn is(ctype: &CType) -> bool {
        matches!(ctype.resolved(), CType::Pointer(pointer) if T::is_target(&pointer.target))
    }
}

/// A pointer to memory that the function only reads.
// SAFETY: on all supported targets, C passes all pointers to data alike.
unsafe impl<T: CTarget> CValue for *const T {
    fn is(ctype: &CType) -> bool {
        matches!(
            ctype.resolved(),
            CType::Pointer(pointer) if pointer.is_const && T::is_target(&pointer.target)
        )
    }
}

/// A Rust type that a pointer may point to: numbers, pointers, and `c_void` for any type.
///
/// ```
/// use mapcall::function::CTarget;
/// use mapcall::ctype::{CType, Float};
///
/// assert!(f32::is_target(&CType::Float(Float::Float)));
/// assert!(!f32::is_target(&CType::Float(Float::Double)));
/// ```
///
/// No other crate can implement it.
///
/// # Safety
///
/// A value of the type has the layout in memory of each C type for which `is_target` returns true.
pub unsafe trait CTarget: Sealed {
    /// Returns whether a pointer to this is a pointer to `ctype`.
    fn is_target(ctype: &CType) -> bool;
}

impl Sealed for c_void {}

// SAFETY: no Rust code reads a `c_void`, so that its layout does not matter.
unsafe impl CTarget for c_void {
    fn is_target(_: &CType) -> bool {
        true
    }
}

macro_rules! targets {
    ($($type:ty),*) => {$(
        impl Sealed for $type {}

        // SAFETY: `is_target` returns true only for C types of the same kind, size and sign.
        unsafe impl CTarget for $type {
            fn is_target(ctype: &CType) -> bool {
                <$type as CValue>::is(ctype)
            }
        }
    )*};
}

targets!(
    bool, i8, i16, i32, i64, isize, u8, u16, u32, u64, usize, f32, f64
);

impl<T> Sealed for Complex<T> {}

// SAFETY: `Complex` is `repr(C)` with the real part first, as C's complex types (C11 6.2.5p13).
unsafe impl CTarget for Complex<f32> {
    fn is_target(ctype: &CType) -> bool {
        matches!(Number::of(ctype), Some(Number::Complex(Float::Float)))
    }
}

// SAFETY: `Complex` is `repr(C)` with the real part first, as C's complex types (C11 6.2.5p13).
unsafe impl CTarget for Complex<f64> {
    fn is_target(ctype: &CType) -> bool {
        matches!(Number::of(ctype), Some(Number::Complex(Float::Double)))
    }
}

// SAFETY: on all supported targets, all pointers to data have the same representation.
unsafe impl<T> CTarget for *mut T
where
    *mut T: CValue,
{
    fn is_target(ctype: &CType) -> bool {
        <*mut T as CValue>::is(ctype)
    }
}

// SAFETY: on all supported targets, all pointers to data have the same representation.
unsafe impl<T> CTarget for *const T
where
    *const T: CValue,
{
    fn is_target(ctype: &CType) -> bool {
        <*const T as CValue>::is(ctype)
    }
}

/// A number, or nothing: a type of arguments and results that leads into no memory.
///
/// ```
/// fn takes_numbers<T: mapcall::function::CNumber>() {}
/// takes_numbers::<f64>();
/// ```
///
/// No other crate can implement it.
///
/// # Safety
///
/// C code may be given any value of the type.
pub unsafe trait CNumber: CValue {}

macro_rules! plain {
    ($($type:ty),*) => {$(
        // SAFETY: a number or `()`, of which all values are valid in C.
        unsafe impl CNumber for $type {}
    )*};
}

plain!(
    (),
    bool,
    i8,
    i16,
    i32,
    i64,
    isize,
    u8,
    u16,
    u32,
    u64,
    usize,
    f32,
    f64
);

/// A type of Rust function pointers, which can be compared with a prototype.
///
/// ```
/// use mapcall::function::{CFunction, Mismatch};
/// use mapcall::CType;
///
/// let found = <extern "C" fn(i32)>::mismatch(&[], &CType::Void);
/// assert_eq!(found, Some(Mismatch::Count(1)));
/// ```
///
/// `extern "C" fn` takes and returns only numbers, since calling it is safe; one with pointers is an
/// `unsafe extern "C" fn`. No other crate can implement it.
///
/// # Safety
///
/// The type is that of a function pointer, and `mismatch` compares its result and all its parameters.
pub unsafe trait CFunction: Copy + Sealed {
    /// Returns the first parameter that differs, by its position, or the result.
    fn mismatch(parameters: &[CType], returns: &CType) -> Option<Mismatch>;
}

/// A difference between a Rust type and a prototype: see [`CFunction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
        impl<R: $bound, $($name: $bound),*> Sealed for $type {}

        // SAFETY: the type is that of a function pointer, and `mismatch` compares its result and each
        // parameter.
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

/// The error for a Rust function type that differs from the prototype.
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
#[error("{function}: {prefix}expected {expected}, got {found}; {remedy}")]
pub struct TypedError {
    /// The name of the function.
    pub function: String,
    /// The name of the parameter with a colon, or an empty string.
    prefix: String,
    /// The C type in the prototype.
    pub expected: String,
    /// The Rust type that was given.
    pub found: String,
    remedy: String,
}

impl Function {
    /// Returns the function as a Rust function pointer of type `F`, which is compared with the
    /// prototype.
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
    /// Types are compared as they are passed: integers by size and sign, floats exactly. A `*const` is
    /// accepted only where the prototype has `const`, and `c_void` for any target. Because the pointer
    /// may outlive this function, the library is never unloaded afterwards.
    ///
    /// A prototype with fixed parameters may describe a variadic function. On x86-64, the callers of such a
    /// function set the register AL, which Rust does not do for this type; so the pointer then leads to a few
    /// compiled instructions that set it. Where calls are not compiled (see the feature `jit`), it leads to
    /// the function itself, and must not be used to pass floating-point numbers to a variadic function.
    ///
    /// # Errors
    ///
    /// [`TypedError`] with the first difference, if a parameter or the result differs.
    pub fn typed<F: CFunction>(&self) -> Result<F, TypedError> {
        let prototype = self.prototype();
        let parameters = prototype.passed_types();
        if let Some(mismatch) = F::mismatch(&parameters, &prototype.returns) {
            return Err(self.mismatched(mismatch, &parameters));
        }
        let function = self.address().as_ptr();
        let address = self.trampoline().callable(function);
        // SAFETY: `F` is a function pointer whose types are those of the prototype. The caller of
        // `Library::bind` guaranteed that the code at the address has them.
        let pointer = unsafe { mem::transmute_copy::<_, F>(&address) };
        mem::forget(self.library().clone());
        Ok(pointer)
    }

    fn mismatched(&self, mismatch: Mismatch, parameters: &[CType]) -> TypedError {
        let (name, ctype, found) = match mismatch {
            Mismatch::Count(found) => {
                let s = if parameters.len() == 1 { "" } else { "s" };
                return TypedError {
                    function: self.name().to_owned(),
                    prefix: String::new(),
                    expected: format!("{} parameter{s}", parameters.len()),
                    found: found.to_string(),
                    remedy: "write the Rust type of each".into(),
                };
            }
            Mismatch::Parameter(position, found) => {
                let ctype = parameters.get(position).unwrap_or(&CType::Void);
                (self.contract().name(position), ctype, found)
            }
            Mismatch::Returns(found) => ("result", &self.prototype().returns, found),
        };
        TypedError {
            function: self.name().to_owned(),
            prefix: format!("{name}: "),
            expected: format!("`{ctype}`"),
            found: found.to_owned(),
            remedy: format!("write the Rust type of `{ctype}`"),
        }
    }
}
