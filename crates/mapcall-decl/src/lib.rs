//! C declarations as checked data: types with their size and layout, functions with the extents of
//! their arrays, and whole headers.
//!
//! ```
//! use mapcall_decl::Prototype;
//!
//! let saxpy = Prototype::parse(
//!     "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])",
//! )?;
//! let [n, a, x, y] = &saxpy.parameters[..] else { panic!() };
//! assert!(n.is_inferred && x.is_const && !y.is_const);
//! assert_eq!((a.ctype.to_string(), x.extents[0].to_string()), ("float".into(), "n".into()));
//! assert_eq!(saxpy.signature(), "(),(n)->(n)");
//! # Ok::<(), mapcall_decl::PrototypeError>(())
//! ```
//!
//! # Overview
//!
//! - [`CType`]: a C type, with its size, alignment and dtype on this machine.
//! - [`Extent`]: the length of an axis of an array parameter, an expression in other parameters.
//! - [`Prototype`]: one function, its [`Parameter`]s and its result.
//! - [`Declarations`]: the functions and structs of a preprocessed text.
//! - [`Header`]: a header by its name or path, read through the system's preprocessor.
//! - [`SourceCode`]: a text of which the system's compiler makes a shared library.
//!
//! The parser reads what GCC and Clang read: C11, C23 and GNU C. The length and the depth of a text are limited,
//! and the time is linear in its length. A [`PrototypeError`] has the position of the error in the text, and a
//! remedy.
//!
//! # Cargo features
//!
//! - `headers` (default): [`Header`] and [`SourceCode`], which run the system's compiler. Without it, [`Declarations::parse`]
//!   still takes a text that is preprocessed already.
//!
//! # Design
//!
//! The crate has no unsafe code. It loads no library and calls no function: the crate `mapcall` does.
//! Its modules are, from the ground up, [`ctype`] and [`extent`], the errors, the map from preprocessed
//! text to the files that it comes from, [`prototype`], the syntax of C, the reader of its tree,
//! [`declarations`], the runner of compilers and its cache, [`header`], and [`source`].

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(feature = "headers"), allow(rustdoc::broken_intra_doc_links))]

#[cfg(feature = "headers")]
mod compiler;
mod contradiction;
pub mod ctype;
pub mod declarations;
mod error;
mod function_type;
#[cfg(feature = "headers")]
pub mod header;
#[doc(hidden)]
pub mod nearest;
mod parse;
pub mod prototype;
#[cfg(feature = "headers")]
pub mod source;
#[cfg_attr(
    not(feature = "headers"),
    allow(dead_code, reason = "only the text of a header has one")
)]
mod source_map;
#[doc(hidden)]
pub mod stack;
mod syntax;
#[cfg(feature = "headers")]
mod sys;

/// The text of `mapcall.h`, which C headers include to carry the notations of prototypes.
///
/// ```
/// use mapcall_decl::{Header, MAPCALL_H};
///
/// // For a C compiler, as a file; `Header` finds it without.
/// let directory = tempfile::tempdir()?;
/// std::fs::write(directory.path().join("mapcall.h"), MAPCALL_H)?;
/// let header = directory.path().join("kern.h");
/// std::fs::write(&header, "
/// ##include <mapcall.h>
/// void smooth(int n, const double x[n], MAPCALL_EQUALS(n - 2) int nout, double out[nout]);
/// ")?;
/// # std::fs::remove_file(directory.path().join("mapcall.h"))?;
/// let kern = Header::new(header).read()?;
/// let smooth = kern.function("smooth").unwrap().prototype?;
/// assert_eq!(smooth.parameters[2].equals.as_ref().unwrap().to_string(), "n-2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const MAPCALL_H: &str = include_str!("../include/mapcall.h");

pub use ctype::CType;
pub use ctype::extent;
pub use declarations::Declarations;
pub use error::{Position, PrototypeError, PrototypeErrorKind};
pub use extent::Extent;
#[cfg(feature = "headers")]
pub use header::{Header, HeaderError};
pub use prototype::{Parameter, Prototype};
#[cfg(feature = "headers")]
pub use source::{CompileError, SourceCode};

// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
