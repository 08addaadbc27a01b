//! The value that a caller gives for a parameter, as the host language describes it.

use std::ffi::c_void;

use mapcall_array::DType;

use super::memory::Memory;
use super::scalar::Scalar;
use crate::ctype::{CType, Function};
use crate::prototype::{Ownership, Prototype};

/// A value of the host language, as a [`Check`](super::Check) takes it.
///
/// A host language (Rust, Python, the command) only describes what it holds. What the value means for a
/// parameter, and whether it is accepted, is decided by the parameter's [`Rule`](super::Rule).
///
/// ```
/// use mapcall::contract::{HostValue, Scalar};
///
/// assert_eq!(HostValue::Number(Scalar::Int(3)).kind(), "an integer");
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum HostValue<'a> {
    /// No argument: the parameter is an output, or inferred.
    Omitted,
    /// Python's `None`: [`Omitted`](Self::Omitted) for an array, otherwise the null pointer.
    None,
    /// The null pointer.
    Null,
    /// A number.
    Number(Scalar),
    /// An integer or a floating number that [`Scalar`] can't hold, as text for messages.
    HugeNumber(&'a str),
    /// A `long double` or a `long double _Complex`, in the slots of a frame.
    LongDouble(&'a [u64]),
    /// An array.
    Array {
        /// Its memory.
        memory: Memory<'a>,
        /// Its dtype; the host language's name of one without a counterpart in [`DType`].
        dtype: Result<&'a DType, &'a str>,
    },
    /// A new file, which an output of a batch is written to.
    File,
    /// A text with the NUL at its end.
    Text(&'a [u8]),
    /// A handle to an object of C.
    Handle(HandleValue<'a>),
    /// A pointer made by another library, to memory of unknown size and lifetime.
    Pointer(*const c_void),
    /// A pointer made by another library, with the type of what it points to.
    TypedPointer(TypedPointer<'a>),
    /// A function.
    Function {
        /// Its type.
        function: FunctionValue<'a>,
        /// The address of its code.
        address: *const c_void,
    },
    /// A struct or union.
    Record {
        /// Its dtype; the host language's name of one without a counterpart in [`DType`].
        dtype: Result<&'a DType, &'a str>,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// A struct or union in memory that the caller owns, to be passed by its address.
    Struct {
        /// Its C type.
        ctype: &'a CType,
        /// Its address.
        address: *const c_void,
        /// Whether C may only read it.
        is_read_only: bool,
    },
    /// An array of pointers of unknown extent, with NULL at its end.
    List(*const usize),
    /// An object of any other kind.
    Other,
}

/// A handle: see [`HostValue::Handle`].
#[derive(Clone, Copy, Debug)]
pub struct HandleValue<'a> {
    /// The pointer.
    pub address: *const c_void,
    /// The name of the type that it points to.
    pub target: &'a str,
    /// Whether C may only read the memory.
    pub is_read_only: bool,
    /// Whether the memory belongs to an argument of an earlier call, which may have been freed.
    pub is_borrowed: bool,
    /// The owner of the object after the call.
    pub ownership: Ownership,
}

/// A pointer of another library to memory of unknown size: see [`HostValue::TypedPointer`].
#[derive(Clone, Copy, Debug)]
pub struct TypedPointer<'a> {
    /// The pointer.
    pub address: *const c_void,
    /// The name of the type that it points to: the tag of a struct, otherwise the C type.
    pub target: &'a str,
    /// The dtype of the target; the host language's name of one without a counterpart in [`DType`]. `None` if
    /// the type is only a name: `void`, an incomplete struct, a pointer.
    pub dtype: Option<Result<&'a DType, &'a str>>,
    /// Whether C may only read the memory.
    pub is_read_only: bool,
}

/// The type of a function that a caller gives: see [`HostValue::Function`].
#[derive(Clone, Copy, Debug)]
pub enum FunctionValue<'a> {
    /// A bound function, by its prototype.
    Bound(&'a Prototype),
    /// A closure, by its function type.
    Closure(&'a std::sync::Arc<Function>),
    /// A function pointer of another library, by the prototype that follows from its types there.
    Foreign(&'a Prototype),
    /// A function pointer of another library, by a signature that is not C as it stands there.
    Unreadable(&'a str),
    /// A function pointer of another library, which does not tell its type.
    Unknown,
}

impl HostValue<'_> {
    /// Returns the name of the kind of value for messages, with its article.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Omitted | Self::None => "nothing",
            Self::Null => "NULL",
            Self::Number(Scalar::Bool(_)) => "a bool",
            Self::Number(Scalar::Int(_)) => "an integer",
            Self::Number(_) | Self::HugeNumber(_) | Self::LongDouble(_) => "a number",
            Self::Array { .. } => "an array",
            Self::File => "a file",
            Self::Text(_) => "a text",
            Self::Handle(_) => "a handle",
            Self::Pointer(_) | Self::TypedPointer(_) => "a pointer",
            Self::Function { .. } => "a function",
            Self::Record { .. } | Self::Struct { .. } => "a struct",
            Self::List(_) => "a list",
            Self::Other => "an object",
        }
    }
}
