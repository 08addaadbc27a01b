//! What can go wrong, with the facts as fields.

mod map;
mod view;

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use crate::dtype::DTypeError;
use crate::format::FormatError;
use crate::layout::LayoutError;
pub use map::MapError;
pub use view::ViewError;

/// The result of a fallible operation on arrays.
///
/// ```
/// use mapcall_array::{Array, Result};
///
/// fn total(array: &Array) -> Result<f64> {
///     Ok(array.view::<f64>()?.sum())
/// }
/// # let array = Array::zeros(mapcall_array::DType::F64, &[3], Default::default())?;
/// # assert_eq!(total(&array)?, 0.0);
/// # Ok::<(), mapcall_array::Error>(())
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
///
/// ```
/// use mapcall_array::{Buffer, Error};
///
/// let error = Buffer::zeroed(usize::MAX).unwrap_err();
/// assert!(matches!(error, Error::OutOfMemory { bytes: usize::MAX }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A dtype that can't be read or built.
    #[error(transparent)]
    DType(#[from] DTypeError),
    /// A shape, an index or strides that don't fit.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A file that is not what its format says.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A range of a file that can't be mapped, or a map that can't do what was asked.
    #[error("{}: {source}", name(path.as_ref()))]
    Map {
        /// The file, when it has a name.
        path: Option<PathBuf>,
        /// Why.
        source: MapError,
    },
    /// An array that can't be seen as elements of a Rust type.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The system refused.
    #[error("can't {action} {}: {source}", name(path.as_ref()))]
    Io {
        /// What was being done, as a verb: `open`, `map`, `grow`.
        action: &'static str,
        /// The file, when it has a name.
        path: Option<PathBuf>,
        /// What the system said.
        source: io::Error,
    },
    /// Memory that can't be had.
    #[error("can't allocate {bytes} bytes")]
    OutOfMemory {
        /// How much was asked for.
        bytes: usize,
    },
}

fn name(path: Option<&PathBuf>) -> Cow<'_, str> {
    path.map_or("the file".into(), |path| path.to_string_lossy())
}
