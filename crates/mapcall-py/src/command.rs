//! The command `mapcall` of the Python package.

use std::ffi::OsString;

use mapcall::batch::Simd;
use mapcall::contract::Scalar;
use mapcall_array::Array;
use mapcall_cli::cluster::{
    Cluster, ClusterArgument, ClusterBatch, ClusterError, Progress, Target,
};
use pyo3::exceptions::{PyKeyboardInterrupt, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCFunction, PyComplex, PyDict, PyList, PyTuple};

use crate::once::intern;
use crate::open;
use crate::package::Package;

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
/// run_on_cluster : callable, optional
///     The function that makes the calls of ``mapcall call --dask``: see `mapcall.dask._command.run`.
///
/// Returns
/// -------
/// int
///     The exit code.
#[pyfunction]
#[pyo3(signature = (arguments, run_on_cluster = None))]
pub(crate) fn command(
    py: Python<'_>,
    arguments: Vec<OsString>,
    run_on_cluster: Option<Py<PyAny>>,
) -> u8 {
    py.detach(|| {
        let cluster = run_on_cluster.map(PythonCluster);
        let cluster = cluster.as_ref().map(|cluster| cluster as &dyn Cluster);
        mapcall_cli::run(arguments, cluster)
    })
}

/// The module of the command alone: its import needs neither NumPy nor the package, and makes no types.
///
/// It is in the file of the extension, so that the package has the code of the command once.
#[pyo3::pymodule(gil_used = true)]
mod _command {
    #[pymodule_export]
    use super::command;
}

/// A cluster on which a Python function runs batches.
struct PythonCluster(Py<PyAny>);

impl Cluster for PythonCluster {
    fn run(
        &self,
        batch: &ClusterBatch<'_>,
        progress: Progress,
    ) -> Result<Vec<Vec<u8>>, ClusterError> {
        Python::attach(|py| {
            // The command starts without the package, which defines the class of arrays in files.
            let called = (py.import("mapcall"))
                .and_then(|_| described(py, batch, progress))
                .and_then(|keywords| self.0.bind(py).call((), Some(&keywords)))
                .and_then(|outputs| outputs.extract());
            called.map_err(|error| failure(py, &error))
        })
    }
}

/// Returns the keyword arguments for the function.
fn described<'py>(
    py: Python<'py>,
    batch: &ClusterBatch<'_>,
    progress: Progress,
) -> PyResult<Bound<'py, PyDict>> {
    let arguments = PyDict::new(py);
    for (name, argument) in &batch.arguments {
        arguments.set_item(name, value(py, argument)?)?;
    }
    let outputs = PyList::empty(py);
    for target in &batch.outputs {
        match target {
            Target::File(path) => outputs.append(path.as_os_str())?,
            Target::Memory { .. } => outputs.append(true)?,
            _ => outputs.append(py.None())?,
        }
    }
    let define = PyDict::new(py);
    for definition in batch.define {
        match definition.split_once('=') {
            Some((name, value)) => define.set_item(name, value)?,
            None => define.set_item(definition, py.None())?,
        }
    }
    let include = batch.include.iter().map(|path| path.as_os_str());
    let prototypes = batch.prototypes.iter().map(|path| path.as_os_str());
    let report = PyCFunction::new_closure(py, None, None, move |arguments, _| {
        let (done, blocks): (usize, usize) = arguments.extract()?;
        progress(done, blocks);
        Ok::<_, PyErr>(())
    })?;
    let keywords = PyDict::new(py);
    keywords.set_item("address", batch.address)?;
    keywords.set_item("library", batch.library)?;
    keywords.set_item("headers", batch.headers)?;
    keywords.set_item("prototypes", PyList::new(py, prototypes)?)?;
    keywords.set_item("include", PyList::new(py, include)?)?;
    keywords.set_item("define", define)?;
    keywords.set_item("prototype", batch.prototype)?;
    keywords.set_item("check", batch.check)?;
    keywords.set_item("arguments", arguments)?;
    keywords.set_item(
        "where",
        batch.mask.map(|mask| file_array(py, mask)).transpose()?,
    )?;
    keywords.set_item("outputs", outputs)?;
    keywords.set_item("threads", batch.threads)?;
    let simd = match batch.simd {
        Simd::Auto => "auto".into_pyobject(py)?.into_any(),
        simd => (simd == Simd::Required)
            .into_pyobject(py)?
            .to_owned()
            .into_any(),
    };
    keywords.set_item("simd", simd)?;
    keywords.set_item("sync", batch.is_synced)?;
    keywords.set_item("convert", batch.converts)?;
    keywords.set_item("progress", report)?;
    Ok(keywords)
}

/// Returns an argument as the object that a bound function takes.
fn value<'py>(py: Python<'py>, argument: &ClusterArgument<'_>) -> PyResult<Bound<'py, PyAny>> {
    match argument {
        ClusterArgument::Null => Ok(py.None().into_bound(py)),
        ClusterArgument::Scalar(scalar) => Ok(match *scalar {
            Scalar::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
            Scalar::Int(value) => value.into_pyobject(py)?.into_any(),
            Scalar::Float(value) => value.into_pyobject(py)?.into_any(),
            Scalar::Complex(value) => PyComplex::from_doubles(py, value.re, value.im).into_any(),
        }),
        ClusterArgument::Text(text) => Ok(PyBytes::new(py, text).into_any()),
        ClusterArgument::Array(array) => file_array(py, array),
        _ => Err(PyValueError::new_err("expected a value that Python has")),
    }
}

/// Returns an array in a file as a memmap.
fn file_array<'py>(py: Python<'py>, array: &Array) -> PyResult<Bound<'py, PyAny>> {
    let path = array.buffer().map().and_then(|map| map.path());
    let path = path.ok_or_else(|| PyValueError::new_err("expected an array in a file"))?;
    open::mapped(py, array, path)
}

/// Returns the error of the command for an exception.
fn failure(py: Python<'_>, error: &PyErr) -> ClusterError {
    let value = error.value(py);
    if error.is_instance_of::<PyKeyboardInterrupt>(py) {
        let arguments = value.getattr(intern!(py, "args"));
        let signal = arguments.and_then(|arguments| arguments.cast_into::<PyTuple>()?.get_item(0));
        let signal = signal.and_then(|signal| signal.extract());
        return ClusterError::Interrupted(signal.unwrap_or(SIGINT));
    }
    let message = value
        .str()
        .map_or_else(|_| error.to_string(), |text| text.to_string());
    match Package::get(py) {
        Ok(package) if error.matches(py, &package.call_error).unwrap_or(false) => {
            ClusterError::Status(message)
        }
        _ => ClusterError::Refused(message),
    }
}

/// The number of the signal of Ctrl-C.
const SIGINT: u8 = 2;
