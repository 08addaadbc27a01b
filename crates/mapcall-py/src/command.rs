//! The command `mapcall` of the Python package.

use std::ffi::OsString;

use pyo3::prelude::*;

/// Run the command and return its exit code.
///
/// >>> from mapcall import _mapcall
/// >>> _mapcall.command(["mapcall", "--version"])
/// 0
///
/// It writes to the standard output of the process. Other threads run meanwhile.
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
