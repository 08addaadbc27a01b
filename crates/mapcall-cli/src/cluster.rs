//! The interface to a cluster of Dask, on which `mapcall call --dask` runs a batch.
//!
//! The command parses and checks the arguments, and describes the batch. The program that calls
//! [`run`](crate::run) may bring a [`Cluster`], which makes the calls; the Python package does.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use mapcall::array::{Array, DType};
use mapcall::batch::Simd;
use mapcall::contract::Scalar;

/// A cluster that makes the calls of a batch.
///
/// ```
/// use mapcall_cli::cluster::{Cluster, ClusterBatch, ClusterError, Progress};
///
/// struct Refusing;
///
/// impl Cluster for Refusing {
///     fn run(&self, batch: &ClusterBatch<'_>, _: Progress) -> Result<Vec<Vec<u8>>, ClusterError> {
///         Err(ClusterError::Refused(format!("{} does not answer", batch.address)))
///     }
/// }
///
/// let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(&file, [0; 48])?;
/// let x = format!("x={}:f8", file.path().display());
/// let arguments = ["mapcall", "call", "m", "double cos(double x)", &x, "--dask", "tcp://127.0.0.1:1"];
/// assert_eq!(mapcall_cli::run(arguments, Some(&Refusing)), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Cluster {
    /// Makes the calls of a batch, and returns the elements of each output of [`Target::Memory`], in the order
    /// of the outputs, in C order.
    ///
    /// It handles SIGINT and SIGTERM. After an error there is no new file under the name of an output.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Status`] if the result of a call is a failure, [`ClusterError::Interrupted`] after a
    /// signal, [`ClusterError::Refused`] if the batch can't be run.
    fn run(
        &self,
        batch: &ClusterBatch<'_>,
        progress: Progress,
    ) -> Result<Vec<Vec<u8>>, ClusterError>;
}

/// A function that is called with the number of finished blocks of calls, and with the number of all.
pub type Progress = Box<dyn Fn(usize, usize) + Send + Sync>;

/// The description of a batch, whose arguments are checked by the prototype.
///
/// See [`Cluster`] for an example.
#[derive(Debug)]
#[non_exhaustive]
pub struct ClusterBatch<'a> {
    /// The address of the scheduler, or `local` for a cluster of this machine that is started for the batch.
    pub address: &'a str,
    /// The library, as the user has given it.
    pub library: &'a OsStr,
    /// The headers whose types the prototype may use.
    pub headers: &'a [OsString],
    /// The files of prototypes that say more than the headers do.
    pub prototypes: &'a [PathBuf],
    /// The directories of headers.
    pub include: &'a [PathBuf],
    /// The macros for the header, each as `NAME` or `NAME=VALUE`.
    pub define: &'a [String],
    /// The prototype in C, or the name of a function that the header declares.
    pub prototype: &'a str,
    /// The condition of success: `zero`, `nonzero`, `nonnull` or `errno`.
    pub check: Option<&'static str>,
    /// The arguments that are given, with the parameters' names.
    pub arguments: Vec<(&'a str, ClusterArgument<'a>)>,
    /// The array that determines which calls are made.
    pub mask: Option<&'a Array>,
    /// All outputs: the result of the function if it has one, then the parameters in their order.
    pub outputs: Vec<Target<'a>>,
    /// The number of threads with which a worker makes the calls of a block.
    pub threads: usize,
    /// Whether the calls are made by a vector variant of the function.
    pub simd: Simd,
    /// Whether to wait until the files are on the disk.
    pub is_synced: bool,
    /// Whether calls convert arrays that do not fit.
    pub converts: bool,
}

/// A value of a parameter.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClusterArgument<'a> {
    /// `NULL`.
    Null,
    /// A number.
    Scalar(Scalar),
    /// The bytes of a text.
    Text(&'a [u8]),
    /// An array in a file. It may be unaligned.
    Array(&'a Array),
}

/// The destination of an output.
#[derive(Debug)]
#[non_exhaustive]
pub enum Target<'a> {
    /// A new `.npy` file.
    File(&'a Path),
    /// The memory of the command, which shows the output.
    Memory {
        /// The dtype of an element.
        dtype: DType,
        /// The lengths of the axes.
        shape: Vec<usize>,
    },
    /// None: the results are statuses, which are only checked.
    Ignored,
}

/// The reason why a batch has failed on a cluster. Messages are one line, with a remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The result of a call is a failure; the message is that of [`mapcall::CallError::Status`].
    #[error("{0}")]
    Status(String),
    /// The process has received a signal of this number.
    #[error("interrupted by signal {0}")]
    Interrupted(u8),
    /// There is no such cluster, or the batch can't be run on it.
    #[error("{0}")]
    Refused(String),
}
