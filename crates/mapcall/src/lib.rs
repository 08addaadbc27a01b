//! C functions by their prototypes: C's types and declarations as data, and the libraries that
//! have the functions.
//!
//! ```
//! use mapcall::{CType, Prototype};
//! use mapcall::array::DType;
//!
//! let saxpy = Prototype::parse(
//!     "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);",
//! )?;
//! assert_eq!(saxpy.signature(), "(),(n)->(n)");
//!
//! let [n, _, x, y] = &saxpy.parameters[..] else { panic!() };
//! assert!(n.is_inferred && x.is_const && !y.is_const);
//! assert_eq!(x.ctype.dtype()?, DType::F32);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Prototype`] is one function with its arrays and their [`Extent`]s, [`CType`] any C type with
//! the size and alignment that it has on this machine. A [`Header`] reads a whole header, through
//! the system's preprocessor, into [`Declarations`]. A [`Library`] finds a shared library and the
//! addresses of its functions.

pub mod batch;
pub mod call;
pub mod contract;
pub mod ctype;
mod error;
pub mod extent;
pub mod function;
pub mod header;
pub mod library;
mod nearest;
mod parse;
pub mod prototype;
mod stack;
mod sys;

pub use batch::Batch;
pub use ctype::CType;
pub use error::{Place, PrototypeError, PrototypeErrorKind};
pub use extent::Extent;
pub use function::{Arg, BindError, CallError, Function, Handle, Success, Value};
pub use header::{Header, HeaderError};
pub use library::{Library, LibraryError};
pub use mapcall_array as array;
pub use prototype::{Declarations, Parameter, Prototype};

// The examples of the README and of the pages in `docs`.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rust.md")]
struct RustPage;
