//! C functions as Python sees them.

mod activation;
mod argument;
mod batch;
mod callback;
mod errors;
mod foreign;
mod function;
mod handle;
mod library;
mod ndarray;
mod number;
mod result;
mod scope;
mod signature;
mod snapshot;
mod structure;
mod vectorcall;

pub(crate) use callback::Callback;
pub(crate) use function::{Function, get_errno};
pub(crate) use handle::Handle;
pub(crate) use library::{Library, load, rebind};
pub(crate) use signature::{Annotation, Doc, Parameter};
pub(crate) use structure::Struct;
