use std::path::PathBuf;

use crate::dtype::DType;
use crate::literal::repr::PyShape;

/// The reason why rows can't be appended to a file.
///
/// ```
/// use mapcall_array::{AppendError, Appender, Error};
///
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("log.npy");
/// let log = Appender::options().dtype("f8".parse()?).row_shape([3]).open(&path)?;
/// let error = Appender::open(&path).unwrap_err();
/// assert!(matches!(error, Error::Append { source: AppendError::Locked, .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Another [`Appender`](crate::Appender) has the file open, in this process or another one.
    #[error("another appender has the file open; close that one first, or append by that one")]
    Locked,
    /// The file has another dtype than the one that was given.
    #[error(
        "expected dtype {expected}, which the file has, got {found}; give that dtype, or another file"
    )]
    OtherDType {
        /// The dtype of the file.
        expected: DType,
        /// The dtype that was given.
        found: DType,
    },
    /// The rows of the file have another shape than the one that was given.
    #[error(
        "expected rows of shape {}, which the file has, got {}; give that shape, or another file",
        PyShape(.expected), PyShape(.found)
    )]
    OtherRowShape {
        /// The shape of a row of the file.
        expected: Vec<usize>,
        /// The shape that was given.
        found: Vec<usize>,
    },
    /// An array that is neither a row nor an array of rows.
    #[error(
        "expected one row of shape {row}, or any number of rows, an array of {} axes that grows along axis \
         {axis}, got shape {}; reshape the array",
        .row.len() + 1, PyShape(.found), row = PyShape(.row)
    )]
    NoRows {
        /// The shape of a row of the file.
        row: Vec<usize>,
        /// The axis along which the file grows.
        axis: usize,
        /// The shape of the array.
        found: Vec<usize>,
    },
    /// An array without axes, from which the shape of a row for a new file can't be taken.
    #[error(
        "expected an array of rows for a new file, got shape (); give an array with one more axis"
    )]
    NoRowShape,
    /// The name of a new file that does not end in `.npy`, the format in which it would be written.
    #[error("expected the name of a new file to end in .npy; write {name:?}")]
    Suffix {
        /// The name with that ending.
        name: PathBuf,
    },
    /// A number of bytes that is no number of whole rows.
    #[error("expected whole rows of {row} bytes, got {len} bytes; give a multiple")]
    PartOfRow {
        /// The size of a row in bytes.
        row: usize,
        /// The number of bytes that were given.
        len: usize,
    },
    /// A `.npz` archive.
    #[error("expected a .npy file, got a .npz archive, whose members can't grow; give a .npy file")]
    Npz,
    /// Another array stands behind the array in the file.
    #[error(
        "expected a file with one array, got another .npy header behind it, at byte {offset}; \
         append to a file of its own, or cut this one to {offset} bytes if only its first array is needed"
    )]
    AnotherArray {
        /// The offset of the other array in the file, in bytes.
        offset: u64,
    },
    /// The appender was opened before a fork, by the parent of this process.
    #[error(
        "expected the process that opened the appender, got a forked child of it; append by the parent, \
         or open the file in the child alone"
    )]
    Forked,
}
