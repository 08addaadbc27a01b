//! Entries of bound functions: compiled calls of a host language.

use std::ffi::c_void;
use std::ptr::NonNull;

use super::Function;
use crate::call::{EntryResult, Host};
use crate::contract::QuickDerived;

impl Function {
    /// Compiles the entry that makes calls with so many arguments: all, or all that are required. `dtype` returns the
    /// address of the host language's dtype of a parameter's array, by position.
    ///
    /// Returns `None` if this system can't compile it, or if the contract needs checks that entries do not have.
    #[doc(hidden)]
    #[must_use]
    pub fn compile_entry(
        &self,
        given: usize,
        dtype: impl Fn(usize) -> Option<usize>,
        result: EntryResult,
        host: &Host,
    ) -> Option<NonNull<c_void>> {
        let derived = QuickDerived::new(self.contract(), dtype)?;
        let check = derived.entry(given, result)?;
        self.trampoline().entry(check, host)
    }
}
