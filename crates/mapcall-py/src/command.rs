//! The command `mapcall`, for those who installed the Python package.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Runs the command, and gives its exit code.
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
///     The first is the program's name.
#[pyfunction]
pub(crate) fn command(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| mapcall_cli::run(arguments))
}
