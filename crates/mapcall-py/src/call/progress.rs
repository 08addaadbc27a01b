//! The progress report of a batch: the option `progress`.

use mapcall::contract::{Contract, Problem, Remedy};
use pyo3::prelude::*;
use pyo3::types::PyBool;

use super::{errors, keywords};
use crate::once::intern;
use crate::package::Package;

/// The callable that is called with the number of finished calls and of all calls, if there is one.
pub(super) struct Progress {
    report: Option<Py<PyAny>>,
    /// Whether it is the package's own progress bar, which is closed at the end.
    is_bar: bool,
}

impl Progress {
    /// Converts the option.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if it is neither a bool nor a callable.
    pub(super) fn new(
        contract: &Contract,
        function: &str,
        progress: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let none = Self {
            report: None,
            is_bar: false,
        };
        let Some(progress) = progress else {
            return Ok(none);
        };
        let py = progress.py();
        if let Ok(wanted) = progress.cast::<PyBool>() {
            if !wanted.is_true() {
                return Ok(none);
            }
            let bar = Package::get(py)?.import(py, "_progress", "Bar")?;
            let bar = bar.call1((function,))?;
            return Ok(Self {
                report: Some(bar.unbind()),
                is_bar: true,
            });
        }
        if !progress.is_callable() {
            let problem = Problem::Type {
                found: errors::what(progress)?,
                remedy: Remedy::Words("give a function of the calls made and of all calls".into()),
            };
            let expected = "True or a callable";
            return Err(keywords::refuse(
                py, contract, "progress", expected, problem,
            ));
        }
        Ok(Self {
            report: Some(progress.clone().unbind()),
            is_bar: false,
        })
    }

    /// Returns whether a callable is called while the batch runs.
    pub(super) fn is_reported(&self) -> bool {
        self.report.is_some()
    }

    /// Reports that `done` of `calls` calls are finished.
    pub(super) fn report(&self, py: Python<'_>, done: usize, calls: usize) -> PyResult<()> {
        match &self.report {
            Some(report) => report.bind(py).call1((done, calls)).map(drop),
            None => Ok(()),
        }
    }

    /// Ends the report. `calls` is the number of all calls if they are finished, else `None`.
    pub(super) fn close(&self, py: Python<'_>, calls: Option<usize>) -> PyResult<()> {
        if let Some(calls) = calls {
            self.report(py, calls, calls)?;
        }
        if self.is_bar
            && let Some(bar) = &self.report
        {
            bar.bind(py).call_method0(intern!(py, "close"))?;
        }
        Ok(())
    }
}
