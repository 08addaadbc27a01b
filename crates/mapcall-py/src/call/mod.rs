//! C functions as Python objects, and their calls.
//!
//! The modules from the ground up; each imports only those before it:
//!
//! - arrays, numbers, texts and errors: `ndarray`, `number`, `structure`, `text`, `errors`, `foreign`,
//!   `snapshot`;
//! - the state of callbacks: `scope`, `activation`;
//! - a bound function and its options: `expected`, `returns`, `function`, `keywords`;
//! - pointers and callbacks: `handle`, `callback`;
//! - the parts of a call: `parse_arguments`, `resources`, `argument`, `retained`, `result`;
//! - batches: `progress`, `observer`, `batch`; calls with lazy arrays: `lazy`;
//! - the call and what Python shows of a function: `vectorcall`, `signature`, `methods`, `library`.

mod activation;
mod argument;
mod batch;
mod bits;
mod callback;
mod errors;
mod expected;
mod foreign;
mod function;
mod handle;
mod keywords;
mod lazy;
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
pub(crate) use lazy::{classes as lazy_classes, describe_call};
pub(crate) use library::{Library, load, rebind};
pub(crate) use signature::{Annotation, Doc, Parameter};
pub(crate) use structure::Struct;
