//! C functions as Python objects, and their calls.
//!
//! The modules from the ground up; each imports only those before it:
//!
//! - arrays, numbers, texts and errors: `ndarray`, `number`, `structure`, `text`, `errors`, `foreign`,
//!   `c_value`, `snapshot`;
//! - the state of callbacks: `scope`, `activation`;
//! - a bound function and its options: `expected`, `returns`, `function`, `keywords`;
//! - pointers, functions of other libraries and callbacks: `handle`, `foreign_function`, `received`,
//!   `callback`;
//! - values in C's memory: `struct_object`, `store`, `c_member`, `place`, `pointee`, `subscript`,
//!   `structs`, `variable`, `handle_methods`;
//! - the parts of a call: `parse_arguments`, `user_data`, `resources`, `argument`, `c_argument`, `retained`,
//!   `result`;
//! - the variable arguments of a call: `variadic`;
//! - batches: `progress`, `observer`, `batch`; the quick path of calls, and of small batches: `quick_argument`,
//!   `small_batch`; calls with lazy arrays: `lazy`;
//! - the call: `vectorcall`; the usual call, and its code for functions that are called often: `entry`, `usual_call`;
//! - what Python shows of a function: `signature`, `methods`, `header_source`, `library`, `library_methods`,
//!   `load_library`;
//! - libraries of source code: `source_code`, which `library` knows, and `compiled`.

mod activation;
mod argument;
mod batch;
mod bits;
mod c_argument;
mod c_member;
mod c_value;
mod callback;
mod compiled;
mod conversion;
mod entry;
mod errors;
mod expected;
mod foreign;
mod foreign_function;
mod function;
mod handle;
mod handle_methods;
mod header_source;
mod kept;
mod keywords;
mod lazy;
mod library;
mod library_methods;
mod load_library;
mod methods;
mod ndarray;
mod number;
mod observer;
mod parse_arguments;
mod place;
mod pointee;
mod progress;
mod quick_argument;
mod received;
mod remedies;
mod resources;
mod result;
mod retained;
mod returns;
mod scope;
mod signature;
mod small_batch;
mod snapshot;
mod source_code;
mod spelling;
mod store;
mod struct_object;
mod structs;
mod structure;
mod subscript;
mod text;
mod user_data;
mod usual_call;
mod variable;
mod variadic;
mod vectorcall;

pub(crate) use activation::get_errno;
pub(crate) use callback::Callback;
pub(crate) use compiled::compile;
pub(crate) use function::Function;
pub(crate) use handle::Handle;
pub(crate) use keywords::{keyword_of, option_names};
pub(crate) use lazy::{classes as lazy_classes, describe_call};
pub(crate) use library::Library;
pub(crate) use library_methods::rebind;
pub(crate) use load_library::load;
pub(crate) use signature::{Annotation, Doc, Parameter};
pub(crate) use struct_object::{Struct, StructObject};
pub(crate) use variable::Variable;

/// Prepares the types of functions and handles, when the extension is initialised.
///
/// # Errors
///
/// Those of making an int.
pub(crate) fn install(py: pyo3::Python<'_>) -> pyo3::PyResult<()> {
    usual_call::install();
    handle::enable_finalizer(py);
    subscript::install(py)
}
