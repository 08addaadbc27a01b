//! Array files of any size as memory maps, with NumPy's dtypes, layouts and file formats.

mod array;
mod buffer;
pub mod ctypes;
pub mod dtype;
mod error;
#[doc(hidden)]
pub mod fork;
pub mod format;
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
pub use error::{Error, Result, ViewError};
pub use layout::Layout;
pub use map::Map;
pub use mode::Mode;
pub use open::{CreateOptions, MapOptions, NewFile, WrittenFile, create};
pub use typed::Element;
