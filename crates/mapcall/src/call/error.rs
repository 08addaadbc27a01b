//! The error of functions that can't be called by their C types.

use super::Engine;

/// The reason why a function of these C types can't be called, or made for C to call.
///
/// ```
/// use mapcall::CType;
/// use mapcall::call::{CallTypeError, Trampoline};
///
/// let error = Trampoline::new(&CType::Void, [&CType::Void]).unwrap_err();
/// assert!(matches!(error, CallTypeError::NoValue { .. }));
/// assert_eq!(error.to_string(), "`void` can't be passed: it has no value; pass a pointer to it");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallTypeError {
    /// `void`, a function, an array or an incomplete type as a value.
    #[error("`{ctype}` can't be passed: it has no value; pass a pointer to it")]
    NoValue {
        /// The type, in C.
        ctype: String,
    },
    /// A value that this machine's calling convention, as far as it is implemented, does not pass.
    #[error("`{ctype}` can't be passed by value: {reason}; pass a pointer to it")]
    ByValue {
        /// The type, in C.
        ctype: String,
        /// Why not.
        reason: String,
    },
    /// Values that are too large for a call's frame.
    #[error(
        "expected parameters and result of at most {limit} bytes, got more; pass pointers to the large ones"
    )]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// An engine that was asked for and can't call functions of this type.
    #[error("{engine:?} can't call a function of this type here; leave the choice of engine open")]
    Engine {
        /// The engine.
        engine: Engine,
    },
    /// The system gives no memory for the code of a closure.
    #[error("the system gives no executable memory for a callback; allow it for this process")]
    NoMemory,
}
