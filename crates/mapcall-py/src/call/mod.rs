//! C functions as Python sees them.

mod activation;
mod argument;
mod batch;
mod callback;
mod errors;
mod expected;
mod foreign;
mod function;
mod handle;
mod keywords;
mod library;
mod methods;
mod ndarray;
mod number;
mod observer;
mod parse_arguments;
mod progress;
mod resources;
mod result;
mod retained;
mod returns;
mod scope;
mod signature;
mod snapshot;
mod structure;
mod text;
mod vectorcall;

pub(crate) use activation::get_errno;
pub(crate) use callback::Callback;
pub(crate) use function::Function;
pub(crate) use handle::Handle;
pub(crate) use library::{Library, load, rebind};
pub(crate) use signature::{Annotation, Doc, Parameter};
pub(crate) use structure::Struct;
