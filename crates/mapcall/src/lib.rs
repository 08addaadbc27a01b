//! Calls any C function over arrays and array files, given nothing but its prototype.
//!
//! ```
//! use mapcall::array::{DType, MapOptions, Mode, create, layout::Order};
//! use mapcall::{Arg, Library};
//!
//! let directory = tempfile::tempdir()?;
//! let (x, y) = (directory.path().join("x.npy"), directory.path().join("y.npy"));
//!
//! // SAFETY: no other program changes the files in the temporary directory.
//! let mut x = unsafe { create(&x, DType::F64, &[1000], Order::C)? };
//! x.view_mut::<f64>()?.fill(0.5);
//!
//! // SAFETY: loading libm runs no code that depends on the state of this program.
//! let libm = unsafe { Library::open("m")? };
//! // SAFETY: this is the prototype of `cos`, which any thread may call.
//! let cos = unsafe { libm.function("double cos(double x)")? };
//!
//! // One call for each element, on two threads, from one file to another.
//! let mut outputs = [Arg::from(y.as_path())];
//! cos.map(&[Arg::from(&x)], &mut outputs).threads(2).run()?;
//!
//! // SAFETY: as above.
//! let y = unsafe { MapOptions::new().mode(Mode::Read).open(&y)? };
//! assert_eq!(y.view::<f64>()?[[999]], 0.5_f64.cos());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Overview
//!
//! 1. A [`Library`] finds a shared library and its symbols.
//! 2. [`Library::function`] binds a [`Function`] by its prototype. That the prototype is the function's own is
//!    the caller's promise, so binding is unsafe; calls are safe.
//! 3. [`Function::call`] checks its arguments, each an [`Arg`], and calls the function once.
//!    [`Function::map`] calls it for each element or row of its arguments, as a generalized ufunc of NumPy
//!    does; the result is a [`Batch`] that is to be run.
//! 4. Array files are opened by [`array`](mod@array), which is the crate `mapcall-array`.
//!
//! # Features
//!
//! - A prototype's brackets say how long an array is. In
//!   `void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])`, `n` is inferred from the
//!   arrays, which must agree.
//! - An argument is refused if its dtype, shape, memory layout or value is not what the prototype says, or if it
//!   overlaps another one that is `restrict`. Nothing is converted or copied silently.
//! - Arrays that C writes may be left out; they are allocated.
//! - A pointer that C returns is a [`Handle`], which keeps the arguments that it may point into alive.
//! - If a page of a mapped file is gone, because the file was shortened or its map closed, a call or a batch returns
//!   [`CallError::Fault`], once [`array::guard::install`] was called.
//! - A batch runs in compiled broadcast, on one thread or several, over files that may be larger than memory.
//! - A [`Header`] reads a C header into [`Declarations`], through the system's preprocessor.
//! - [`compile`] makes a library of C code, and knows its prototypes.
//!
//! # Cargo features
//!
//! - `jit` (default): calls are compiled by Cranelift on Linux, for x86-64 and `AArch64`. Without it, as on
//!   other systems, libffi makes all calls, which is slower and needs no executable memory.
//! - `headers` (default): [`Header`] and [`compile`], which run the system's compiler.
//!
//! # Crates in the API
//!
//! [`Arg`] takes arrays and views of `ndarray` 0.17, and [`Array::view`](array::Array::view) returns its views;
//! the crate is [re-exported](ndarray). Numbers may be `f16` of `half` 2 and `Complex` of `num-complex` 0.4.
//!
//! # Design
//!
//! A text is parsed into a [`Prototype`] of [`CType`]s. A hidden module, `contract`, turns the prototype into
//! one rule for each parameter, and checks calls by them. Another one, `call`, compiles code that calls an
//! address with a block of 64-bit slots, or asks libffi to. [`function`] joins the two, and [`batch`] repeats
//! calls. The page `docs/design.md` of the repository has the reasons.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(feature = "headers"), allow(rustdoc::broken_intra_doc_links))]

pub mod batch;
// For the crates of this project: their items may change in any version.
#[doc(hidden)]
pub mod call;
#[cfg(feature = "headers")]
mod compile;
#[doc(hidden)]
pub mod contract;
pub mod function;
pub mod library;

pub use batch::Batch;
pub use call::Engine;
#[cfg(feature = "headers")]
pub use compile::{Compiled, compile};
pub use contract::{ArgumentError, Problem, Remedy, Scalar, UnsupportedPrototype};
pub use function::{
    Arg, BindError, CallError, Function, Handle, SimdError, SimdRefusal, Struct, Success, Value,
    Variable,
};
pub use library::{Library, LibraryError};
pub use mapcall_array as array;
pub use mapcall_array::ndarray;
#[doc(hidden)]
pub use mapcall_decl::nearest;
pub use mapcall_decl::{
    CType, Declarations, Extent, MAPCALL_H, Parameter, Position, Prototype, PrototypeError,
    PrototypeErrorKind, ctype, declarations, extent, prototype,
};
#[cfg(feature = "headers")]
pub use mapcall_decl::{CompileError, Header, HeaderError, SourceCode, header, source};

// The examples of the README and of the pages in `docs`.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rust.md")]
struct RustPage;
#[cfg(all(doctest, feature = "headers"))]
#[doc = include_str!("../../../docs/compile.md")]
struct CompilePage;
