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
//! [`append`] and [`Appender`] add rows to a `.npy` file while other processes read it. [`Array::grow`],
//! [`Array::append`], [`Array::truncate`] and [`Array::refresh`] return the array of another length.
//!
//! # Features
//!
//! - Dtypes as NumPy reads and writes them, structured ones included.
//! - Views (ranges, transposes, shapes) share the map and know their position in the file.
//! - A map keeps no file descriptor.
//! - With [`guard::install`], an access to a page that is gone (the file was shortened, its disk fails or is full, or
//!   the map is closed) is a [`Fault`](guard::Fault), and does not end the process.
//! - [`Map::close`] gives the file back while arrays on the map are alive.
//! - An array grows in place if addresses are [reserved](MapOptions::reserve).
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
//! [`dtype`], [`layout`] and [`mod@format`] are pure: they touch no memory and no file system. [`convert`] casts
//! elements from one dtype to another. [`map`] opens
//! files and owns ranges of addresses. Opening a file is unsafe, because other programs may change a file
//! while it is mapped, and so are closing a map and truncating an array, which change the bytes of typed views; the
//! rest is safe. [`guard`] has a registry of all maps, which its signal handlers read without a lock. They put zeros
//! where a page is gone and log the fault, which is reported afterwards. System calls are in a private module, `sys`,
//! with one folder for each operating system. The page `docs/faults.md` of the repository describes the mechanism.

mod array;
mod buffer;
pub mod convert;
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
pub use open::{
    AppendOptions, Appender, CreateOptions, MapOptions, NewFile, WrittenFile, append, create,
};
#[doc(hidden)]
pub use open::{Change, PartialFile, is_npy_name};
pub use typed::Element;

// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
