//! The errors of this crate.

mod append;
mod map;
mod view;

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use crate::dtype::DTypeError;
use crate::format::FormatError;
use crate::guard::Fault;
use crate::layout::LayoutError;
pub use append::AppendError;
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
    /// A file that is not a valid `.npy` or `.npz` file.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: FormatError,
    },
    /// A range of a file that can't be mapped, or an operation on a map that is refused.
    #[error("{}: {source}", name(path.as_ref()))]
    Map {
        /// The file, when it has a name.
        path: Option<PathBuf>,
        /// The reason.
        source: MapError,
    },
    /// Rows that can't be appended to a file.
    #[error("{}: {source}", path.display())]
    Append {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: AppendError,
    },
    /// An array that can't be viewed as elements of a Rust type.
    #[error(transparent)]
    View(#[from] ViewError),
    /// An error of the operating system.
    #[error("can't {action} {}: {source}", name(path.as_ref()))]
    Io {
        /// The operation as a verb: `open`, `map`, `resize`.
        action: &'static str,
        /// The file, when it has a name.
        path: Option<PathBuf>,
        /// The error of the system.
        source: io::Error,
    },
    /// An access to a page of a map that is gone.
    #[error("{}: {_0}", name(_0.path.as_ref()))]
    Fault(#[from] Box<Fault>),
    /// A failed allocation of memory.
    #[error("can't allocate {bytes} bytes")]
    OutOfMemory {
        /// The size of the allocation.
        bytes: usize,
    },
}

fn name(path: Option<&PathBuf>) -> Cow<'_, str> {
    path.map_or("the file".into(), |path| path.to_string_lossy())
}
