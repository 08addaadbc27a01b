//! What a function returns.

use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};

use mapcall_array::DType;
use num_complex::Complex;

use super::{CallError, Function, Handle, KeepAlive};
use crate::contract::{Number, Scalar};
use crate::ctype::CType;

/// The result of a call.
///
/// ```
/// use mapcall::{Library, Value};
///
/// let process = Library::process()?;
/// // SAFETY: this is the prototype of `abs`.
/// let abs = unsafe { process.function("int abs(int j)")? };
/// let value = abs.call(&mut [(-3).into()])?;
/// assert_eq!((value.to_i128(), value.to_f64()), (Some(3), None));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Value {
    /// Nothing.
    Void,
    /// A number.
    Scalar(Scalar),
    /// A copy of the text that a `const char *` points to; `None` for NULL.
    Text(Option<CString>),
    /// A pointer; `None` for NULL.
    Pointer(Option<Handle>),
    /// A struct or union.
    Record {
        /// What it is.
        dtype: DType,
        /// Its bytes.
        bytes: Box<[u8]>,
    },
}

impl Value {
    /// The result of `function` in the words that it left; a pointer keeps what it may lead into.
    pub(super) fn read(
        function: &Function,
        words: &[u64],
        keep_alive: impl FnOnce() -> KeepAlive,
    ) -> Self {
        let returns = &function.prototype().returns;
        if let Some(number) = Number::of(returns) {
            return Self::Scalar(number.value(words));
        }
        let word = words.first().copied().unwrap_or_default();
        match returns.resolved() {
            CType::Pointer(pointer) => {
                if pointer.is_text() {
                    // SAFETY: a `const char *` result is NULL or a text that ends with a NUL: part
                    // of the promise made when the function was bound.
                    return Self::Text(unsafe { text(word) });
                }
                let address = usize::try_from(word).unwrap_or_default();
                let address = NonNull::new(ptr::with_exposed_provenance_mut(address));
                // SAFETY: the function returned it as a pointer to the target, into what it was given
                // or into memory of its library: part of the promise made when it was bound.
                Self::Pointer(address.map(|address| unsafe {
                    Handle::returned(function, pointer, address, keep_alive())
                }))
            }
            CType::Record(_) => match returns.dtype() {
                Ok(dtype) => {
                    let bytes = bytemuck::cast_slice(words).get(..dtype.itemsize());
                    let bytes = bytes.unwrap_or_default().into();
                    Self::Record { dtype, bytes }
                }
                Err(_) => Self::Void,
            },
            _ => Self::Void,
        }
    }

    /// A real number.
    #[must_use]
    pub fn to_f64(&self) -> Option<f64> {
        match self {
            Self::Scalar(Scalar::Float(value)) => Some(*value),
            _ => None,
        }
    }

    /// An integer.
    #[must_use]
    pub fn to_i128(&self) -> Option<i128> {
        match self {
            Self::Scalar(Scalar::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// True or false.
    #[must_use]
    pub fn to_bool(&self) -> Option<bool> {
        match self {
            Self::Scalar(Scalar::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    /// A complex number.
    #[must_use]
    pub fn to_complex(&self) -> Option<Complex<f64>> {
        match self {
            Self::Scalar(Scalar::Complex(value)) => Some(*value),
            _ => None,
        }
    }

    /// A text.
    #[must_use]
    pub fn text(&self) -> Option<&CStr> {
        match self {
            Self::Text(text) => text.as_deref(),
            _ => None,
        }
    }

    /// A pointer that isn't NULL.
    #[must_use]
    pub fn into_handle(self) -> Option<Handle> {
        match self {
            Self::Pointer(handle) => handle,
            _ => None,
        }
    }
}

impl Handle {
    /// Ends its life: runs the destructor, if there is one, and gives what that returned.
    ///
    /// Closing a closed handle does nothing. While a call in another thread uses the handle, the
    /// destructor waits for the end of that call, and `close` for nothing.
    ///
    /// # Errors
    ///
    /// [`CallError`] when the destructor says that it failed; the handle is closed all the same.
    pub fn close(&self) -> Result<Option<Value>, CallError> {
        self.close_by(Function::destroy).transpose()
    }
}

/// Returns a copy of a text.
///
/// # Safety
///
/// The address is NULL or that of a text that ends with a NUL.
unsafe fn text(address: u64) -> Option<CString> {
    let address = ptr::with_exposed_provenance::<c_char>(usize::try_from(address).ok()?);
    if address.is_null() {
        return None;
    }
    // SAFETY: the caller guarantees that the address is that of a text which ends with a NUL.
    Some(unsafe { CStr::from_ptr(address) }.to_owned())
}
