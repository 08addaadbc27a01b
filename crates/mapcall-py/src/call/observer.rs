//! The observer of a batch, which calls Python code.

use std::ops::ControlFlow;

use mapcall::CallError;
use mapcall::array::fork::Mutex;
use mapcall::batch::BatchObserver;
use pyo3::prelude::*;

use super::function::Function;
use super::progress::Progress;
use super::snapshot::Snapshots;
use super::{activation, errors, result};

/// An exception that ends a batch, and the index of the call for whose result it was raised, if it was
/// for a result.
type Raised = (Option<usize>, PyErr);

/// The observer of a batch. It handles signals, exceptions of callbacks, the callable `check` and the
/// progress report.
pub(super) struct Interpreter<'a> {
    function: &'a Function,
    progress: &'a Progress,
    /// The arrays that the calls read and write.
    arrays: &'a Snapshots,
    raised: Mutex<Option<Raised>>,
}

impl<'a> Interpreter<'a> {
    pub(super) fn new(
        function: &'a Function,
        progress: &'a Progress,
        arrays: &'a Snapshots,
    ) -> Self {
        Self {
            function,
            progress,
            arrays,
            raised: Mutex::default(),
        }
    }

    /// Keeps an exception, and ends the batch. Of several exceptions for results, that of the first call
    /// is kept, in whatever order the threads run. An exception that is not for a result replaces it.
    fn keep(&self, call: Option<usize>, result: PyResult<()>) -> ControlFlow<()> {
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                let mut raised = self.raised.lock();
                if raised.as_ref().is_none_or(|(known, _)| call < *known) {
                    let other = raised.replace((call, error));
                    // The objects of an exception may run Python code when they are dropped, which
                    // must not happen under a lock.
                    drop(raised);
                    drop(other);
                }
                ControlFlow::Break(())
            }
        }
    }

    /// Returns the exception for the error with which the batch ended.
    pub(super) fn error(self, py: Python<'_>, error: &CallError) -> PyErr {
        let raised = self.raised.lock().take();
        match (raised, error) {
            (raised, CallError::Fault { .. }) => {
                let context = raised.map(|(_, raised)| raised);
                activation::with_context(py, errors::call(py, error), context)
            }
            (Some((Some(_), raised)), CallError::Interrupted { index, .. }) => {
                errors::at(py, raised, index.as_deref())
            }
            (Some((_, raised)), _) => raised,
            (None, error) => errors::call(py, error),
        }
    }
}

impl BatchObserver for Interpreter<'_> {
    fn surround(&self, calls: &mut dyn FnMut() -> i32) -> ControlFlow<()> {
        self.keep(None, activation::running(calls).map(drop))
    }

    fn inspects(&self) -> bool {
        self.function.binding().options.is_callable
    }

    fn inspect(&self, call: usize, result: &[u64], errno: i32) -> ControlFlow<()> {
        if activation::Current::get().has_raised() {
            // `surround` keeps the exception.
            return ControlFlow::Break(());
        }
        let checked = Python::attach(|py| {
            result::check(py, self.function, result, errno)?;
            self.arrays.check(py, self.function.inner.contract())
        });
        self.keep(Some(call), checked)
    }

    fn progress(&self, done: usize, calls: usize) -> ControlFlow<()> {
        let reported = Python::attach(|py| {
            py.check_signals()?;
            self.progress.report(py, done, calls)?;
            self.arrays.check(py, self.function.inner.contract())
        });
        self.keep(None, reported)
    }
}
