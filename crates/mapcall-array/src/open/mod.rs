//! Opening files as arrays: the builder, and what it opens.

mod npy;
mod raw;

use crate::dtype::DType;
use crate::layout::Order;
use crate::map::Mode;

pub use npy::create;

/// How to open a file as an array: `numpy.memmap`'s arguments, as chained setters.
///
/// ```
/// use mapcall_array::{DType, MapOptions, Mode};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("squares.f64");
/// let options = MapOptions::new().dtype(DType::F64).shape([3, 4]);
///
/// // SAFETY: nobody else changes the temporary file.
/// let mut array = unsafe { options.clone().mode(Mode::Write).map(&path)? };
/// array.view_mut::<f64>()?[[1, 2]] = 36.0;
/// array.flush()?;
///
/// // SAFETY: as above.
/// let again = unsafe { options.mode(Mode::Read).map(&path)? };
/// assert_eq!(again.view::<f64>()?[[1, 2]], 36.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The setters are those of a raw file; [`open`](Self::open) reads dtype, shape, order and offset
/// from the header of a `.npy` file or of a `.npz` member instead.
#[derive(Clone, Debug)]
pub struct MapOptions {
    mode: Mode,
    member: Option<String>,
    offset: u64,
    dtype: DType,
    shape: Option<Vec<usize>>,
    order: Order,
}

impl Default for MapOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl MapOptions {
    /// Bytes, the whole file, for reading and writing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            mode: Mode::default(),
            member: None,
            offset: 0,
            dtype: DType::U8,
            shape: None,
            order: Order::C,
        }
    }

    /// How the file is opened.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Where in the file the array begins, in bytes; any number, not only a multiple of the page.
    #[must_use]
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = offset;
        self
    }

    /// What an element is.
    #[must_use]
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// How many elements along each axis; without it, one axis with all that the file has.
    #[must_use]
    pub fn shape(mut self, shape: impl Into<Vec<usize>>) -> Self {
        self.shape = Some(shape.into());
        self
    }

    /// Which axis varies fastest: the last ([`Order::C`]) or the first ([`Order::F`]).
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Which array of a `.npz` file [`open`](Self::open) takes, with or without its `.npy`.
    #[must_use]
    pub fn member(mut self, member: impl Into<String>) -> Self {
        self.member = Some(member.into());
        self
    }
}
