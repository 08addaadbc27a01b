//! Maps n-dimensional array files of any size into memory, with NumPy's dtypes, layouts and formats.
//!
//! ```
//! use mapcall_array::{DType, MapOptions, Mode, create, layout::Order};
//!
//! let directory = tempfile::tempdir()?;
//! let path = directory.path().join("x.npy");
//!
//! // SAFETY: no other code writes or shortens the temporary file.
//! let mut x = unsafe { create(&path, DType::F64, &[1000, 3], Order::C)? };
//! x.view_mut::<f64>()?.fill(0.5); // an `ndarray` view, which borrows the map
//! x.flush()?;
//!
//! // SAFETY: no other code writes or shortens the temporary file.
//! let x = unsafe { MapOptions::new().mode(Mode::Read).open(&path)? };
//! assert_eq!(x.shape(), [1000, 3]);
//! assert_eq!(x.view::<f64>()?.sum(), 1500.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Overview
//!
//! [`MapOptions`] opens files: [`MapOptions::open`] reads the header of a `.npy` file or of an array inside a
//! `.npz`, [`MapOptions::map`] takes dtype and shape of a file without a header from the caller.
//! [`create`] and [`CreateOptions`] make `.npy` files. All give an [`Array`], which is a [`Buffer`] (a
//! map, or memory) with a [`DType`] and a [`Layout`]. [`Array::view`] gives a typed `ndarray` view.
//! [`append`] and [`Appender`] add rows to a `.npy` file while other processes read it.
//!
//! # Features
//!
//! - Dtypes as NumPy reads and writes them, structured ones included.
//! - Views (ranges, transposes, shapes) share the map and know their position in the file.
//! - A map keeps no file descriptor.
//! - Flushing, paging advice, and which pages are in memory, for each view.
//! - A new file gets its name when it is complete.
//! - [`Ctypes`] gives address, shape and strides for C, with pointers that borrow the array.
//!
//! On systems other than Linux, what is not implemented for them is an error.
//!
//! # Crates in the API
//!
//! Views are those of `ndarray` 0.17, which is [re-exported](ndarray). Elements are `Pod` of `bytemuck` 1;
//! among them are `f16` of `half` 2 and `Complex` of `num-complex` 0.4. The crate has no cargo features.
//!
//! # Design
//!
//! [`dtype`], [`layout`] and [`mod@format`] are pure: they touch no memory and no file system. [`map`] opens
//! files and owns ranges of addresses. Opening a file is unsafe, because other programs may change a file
//! while it is mapped; what follows is safe.

mod array;
mod buffer;
pub mod ctypes;
pub mod dtype;
mod error;
#[doc(hidden)]
pub mod fork;
pub mod format;
pub mod guard;
pub mod layout;
pub mod literal;
pub mod map;
mod mode;
mod open;
mod sys;
mod typed;

pub use array::Array;
pub use buffer::{Backing, Buffer};
pub use ctypes::Ctypes;
pub use dtype::DType;
pub use error::{AppendError, Error, Result, ViewError};
pub use layout::Layout;
pub use map::Map;
pub use mode::Mode;
pub use ndarray;
#[doc(hidden)]
pub use open::Change;
pub use open::{
    AppendOptions, Appender, CreateOptions, MapOptions, NewFile, WrittenFile, append, create,
};
pub use typed::Element;

// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
