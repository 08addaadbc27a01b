//! The command `mapcall`, for those who installed the Python package.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the command, and returns its exit code.
///
/// >>> from mapcall import _mapcall
/// >>> _mapcall.command(["mapcall", "--version"])
/// 0
///
/// It writes to the process's own standard output. Other threads run meanwhile.
///
/// Parameters
/// ----------
/// arguments : sequence of str
///     The arguments, after the name of the program.
///
/// Returns
/// -------
/// int
///     The exit code.
#[pyfunction]
pub(crate) fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| mapcall_cli::run(arguments))
}
