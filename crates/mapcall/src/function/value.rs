//! The results of calls.

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::{self, NonNull};

use mapcall_array::DType;
use num_complex::Complex;

use super::{CallError, Function, Handle, KeepAlive};
use crate::call::scalar_slots;
use crate::contract::{Number, Scalar};
use crate::ctype::{CType, Pointer};

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
        /// The dtype.
        dtype: DType,
        /// The bytes.
        bytes: Box<[u8]>,
    },
}

impl Value {
    /// Converts the slots of a result of `function`. The handle of a pointer keeps the arguments alive
    /// that `keep_alive` returns.
    pub(super) fn read(
        function: &Function,
        slots: &[u64],
        keep_alive: impl FnOnce() -> KeepAlive,
    ) -> Self {
        Self::of_slots(&function.prototype().returns, slots, |pointer, address| {
            // SAFETY: the function returned it as a pointer to the target, as the caller of `Library::bind`
            // guaranteed. If it leads into an argument, the handle keeps that alive.
            let handle = unsafe { Handle::returned(function, pointer, address, keep_alive()) };
            match function.destructor() {
                Some(destructor) if destructor.destroys(handle.target()) => {
                    handle.with_destructor(destructor).unwrap_or(handle)
                }
                _ => handle,
            }
        })
    }

    /// Converts the bytes of a value in memory. `handle` makes the handle of a pointer.
    pub(super) fn of_bytes(
        ctype: &CType,
        bytes: &[u8],
        handle: impl FnOnce(&Pointer, NonNull<c_void>) -> Handle,
    ) -> Self {
        match ctype.resolved() {
            CType::Record(_) => Self::record(ctype, bytes),
            _ => Self::of_slots(ctype, &scalar_slots(bytes), handle),
        }
    }

    /// Converts the slots of a value of a type. `handle` makes the handle of a pointer.
    fn of_slots(
        returns: &CType,
        slots: &[u64],
        handle: impl FnOnce(&Pointer, NonNull<c_void>) -> Handle,
    ) -> Self {
        if let Some(number) = Number::of(returns) {
            return Self::Scalar(number.value(slots));
        }
        let slot = slots.first().copied().unwrap_or_default();
        match returns.resolved() {
            CType::Pointer(pointer) => {
                if pointer.is_text() {
                    // SAFETY: the caller of `Library::bind` or `Library::variable` guaranteed the type, so that a
                    // `const char *` is NULL or a text that ends with a NUL.
                    return Self::Text(unsafe { text(slot) });
                }
                let address = usize::try_from(slot).unwrap_or_default();
                let address = NonNull::new(ptr::with_exposed_provenance_mut(address));
                Self::Pointer(address.map(|address| handle(pointer, address)))
            }
            CType::Record(_) => Self::record(returns, bytemuck::cast_slice(slots)),
            _ => Self::Void,
        }
    }

    /// Returns a struct or union from its bytes, which more may follow; nothing if it has no dtype.
    fn record(ctype: &CType, bytes: &[u8]) -> Self {
        match ctype.dtype() {
            Ok(dtype) => {
                let bytes = bytes.get(..dtype.itemsize()).unwrap_or_default().into();
                Self::Record { dtype, bytes }
            }
            Err(_) => Self::Void,
        }
    }

    /// Returns the value as a real number; `None` if it is none.
    #[must_use]
    pub fn to_f64(&self) -> Option<f64> {
        match self {
            Self::Scalar(Scalar::Float(value)) => Some(*value),
            _ => None,
        }
    }

    /// Returns the value as an integer; `None` if it is none.
    #[must_use]
    pub fn to_i128(&self) -> Option<i128> {
        match self {
            Self::Scalar(Scalar::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// Returns the value as a bool; `None` if it is none.
    #[must_use]
    pub fn to_bool(&self) -> Option<bool> {
        match self {
            Self::Scalar(Scalar::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    /// Returns the value as a complex number; `None` if it is none.
    #[must_use]
    pub fn to_complex(&self) -> Option<Complex<f64>> {
        match self {
            Self::Scalar(Scalar::Complex(value)) => Some(*value),
            _ => None,
        }
    }

    /// Returns the text; `None` if there is none.
    #[must_use]
    pub fn text(&self) -> Option<&CStr> {
        match self {
            Self::Text(text) => text.as_deref(),
            _ => None,
        }
    }

    /// Returns the handle; `None` for NULL and for other values.
    #[must_use]
    pub fn into_handle(self) -> Option<Handle> {
        match self {
            Self::Pointer(handle) => handle,
            _ => None,
        }
    }
}

impl Handle {
    /// Closes the handle: calls the destructor, if there is one, and returns its result.
    ///
    /// Closing a closed handle does nothing. If a call in another thread uses the handle, `close`
    /// returns `None` at once, and the destructor is called when that call ends.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the result of the destructor is a failure. The handle is closed then as well.
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
