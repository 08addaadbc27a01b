//! The conversion of the arrays of a single call, which do not fit its parameters.

#![allow(unsafe_code)]

use std::ops::Range;

use mapcall::contract::Check;
use mapcall::function::ConvertedArguments;
use pyo3::prelude::*;
use smallvec::SmallVec;

use super::errors;
use super::function::{Function, Gil};
use crate::faults::Detached;

/// The copies of arrays that a single call gets.
pub(super) struct Conversion<'a> {
    function: &'a Function,
    arguments: ConvertedArguments,
    /// The addresses of the arrays that lie in maps, or in memory of unknown origin.
    mapped: SmallVec<[Range<usize>; 4]>,
    /// Whether the arrays are large, so that the interpreter's lock is released meanwhile.
    is_detached: bool,
}

impl<'a> Conversion<'a> {
    /// Allocates the copies for a finished check; `None` if all arrays fit.
    ///
    /// # Errors
    ///
    /// `MemoryError` if there is no memory.
    pub(super) fn new(
        py: Python<'_>,
        function: &'a Function,
        check: &Check<'_>,
    ) -> PyResult<Option<Self>> {
        if check.converted().is_empty() {
            return Ok(None);
        }
        let arguments = ConvertedArguments::new(check);
        Ok(Some(Self {
            function,
            arguments: arguments.map_err(|error| crate::errors::of(py, &error))?,
            mapped: check.mapped().collect(),
            is_detached: check.nbytes() >= Gil::RELEASED_FROM && function.gil() != Gil::Hold,
        }))
    }

    /// Converts the arrays, and has the frame point to the copies.
    ///
    /// # Errors
    ///
    /// `MapFault` if a page of a map is gone.
    pub(super) fn load(&self, py: Python<'_>, slots: &mut [u64]) -> PyResult<()> {
        let mut load = || {
            let (function, mapped) = (&self.function.inner, &self.mapped);
            // SAFETY: the check has accepted the arrays, whose fields have been compared since, and the caller keeps
            // them alive. By the docs of `load`, no other thread writes them meanwhile.
            unsafe { self.arguments.load(function, mapped, slots) }
        };
        let loaded = if self.is_detached {
            let _detached = Detached::new();
            py.detach(load)
        } else {
            load()
        };
        loaded.map_err(|error| errors::call(py, &error))
    }

    /// Converts back what C has written.
    ///
    /// # Errors
    ///
    /// `MapFault` if a page of a map is gone.
    pub(super) fn store(&self, py: Python<'_>) -> PyResult<()> {
        let store = || {
            let (function, mapped) = (&self.function.inner, &self.mapped);
            // SAFETY: the check has accepted the arrays, and the caller keeps them alive. By the docs of `load`, no
            // other thread uses what the call writes.
            unsafe { self.arguments.store(function, mapped) }
        };
        let stored = if self.is_detached {
            let _detached = Detached::new();
            py.detach(store)
        } else {
            store()
        };
        stored.map_err(|error| errors::call(py, &error))
    }
}
