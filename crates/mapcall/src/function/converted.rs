//! The arguments of a single call that are converted: copies of whole arrays.

#![allow(unsafe_code)]

use std::ops::Range;

use mapcall_array::guard::{self, Claim};
use mapcall_array::{Buffer, Result};

use super::{CallError, Function};
use crate::call::{Accessed, activation};
use crate::contract::{Check, Operand, Role};

/// Copies of the arrays of a call that do not fit, as C takes them.
#[derive(Debug, Default)]
pub struct ConvertedArguments(Vec<(Operand, Buffer)>);

impl ConvertedArguments {
    /// Allocates the copies that a finished check of a single call needs.
    ///
    /// # Errors
    ///
    /// [`Error`](mapcall_array::Error) if there is no memory.
    pub fn new(check: &Check<'_>) -> Result<Self> {
        let copy = |operand: &Operand| Ok((operand.clone(), Buffer::zeroed(operand.size)?));
        let copies = check.converted().iter().map(copy);
        Ok(Self(copies.collect::<Result<_>>()?))
    }

    /// Returns whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Converts the arrays, and sets the slots of a frame to the addresses of the copies.
    ///
    /// # Safety
    ///
    /// The arrays of the check are valid for reads, and no other code writes them meanwhile.
    ///
    /// # Errors
    ///
    /// [`CallError::Fault`] if a page of a map is gone.
    pub unsafe fn load(
        &self,
        function: &Function,
        mapped: &[Range<usize>],
        frame: &mut [u64],
    ) -> std::result::Result<(), CallError> {
        let starts = function.contract().layout().parameters();
        for (operand, copy) in &self.0 {
            if let Role::Parameter(position) = operand.role
                && let Some(slot) = starts.get(position).and_then(|&slot| frame.get_mut(slot))
            {
                *slot = copy.as_mut_ptr().expose_provenance() as u64;
            }
        }
        guarded(function, mapped, || {
            for (operand, copy) in &self.0 {
                if let Some(conversion) = &operand.conversion {
                    let outside = (operand.address.cast_const(), 0);
                    // SAFETY: the caller guarantees that the array is valid for reads. The copy has its size, and
                    // nothing else has its address yet.
                    unsafe { conversion.load(1, outside, copy.as_mut_ptr()) };
                }
            }
        })
    }

    /// Converts back what C has written.
    ///
    /// # Safety
    ///
    /// The arrays that the call writes are valid for writes, and no other code accesses them meanwhile.
    ///
    /// # Errors
    ///
    /// [`CallError::Fault`] if a page of a map is gone.
    pub unsafe fn store(
        &self,
        function: &Function,
        mapped: &[Range<usize>],
    ) -> std::result::Result<(), CallError> {
        guarded(function, mapped, || {
            for (operand, copy) in &self.0 {
                if let Some(conversion) = &operand.conversion {
                    // SAFETY: the caller guarantees that the array is valid for writes. The call has returned, so
                    // that only this thread uses the copy.
                    unsafe { conversion.store(1, (operand.address, 0), copy.as_ptr()) };
                }
            }
        })
    }
}

/// Accesses arrays on this thread; `mapped` are the addresses of those that lie in maps.
///
/// # Errors
///
/// [`CallError::Fault`] if a page of a map is gone.
pub(crate) fn guarded<R>(
    function: &Function,
    mapped: &[Range<usize>],
    access: impl FnOnce() -> R,
) -> std::result::Result<R, CallError> {
    let (claim, epoch) = (Claim::new(), guard::epoch());
    let result = access();
    drop(claim);
    let slots = &[];
    check_fault(function, Accessed { mapped, slots }, epoch)?;
    Ok(result)
}

/// Checks that accesses of this thread since an epoch of the guard had no fault.
///
/// # Errors
///
/// [`CallError::Fault`] if a page of a map is gone.
pub(super) fn check_fault(
    function: &Function,
    accessed: Accessed<'_>,
    epoch: usize,
) -> std::result::Result<(), CallError> {
    let fault = activation::take_fault(accessed);
    let mapped = accessed.mapped.iter().cloned();
    let zeros = || activation::zeros_read(epoch, mapped).map(Box::new);
    match fault.or_else(zeros) {
        None => Ok(()),
        Some(fault) => Err(CallError::Fault {
            function: function.name().to_owned(),
            index: None,
            fault,
        }),
    }
}
