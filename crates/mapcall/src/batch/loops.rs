//! Consecutive calls by compiled loops.

#![allow(unsafe_code)]

use smallvec::SmallVec;

use crate::call::{CallLoop, StridedPointer, VectorLoop};
use crate::function::Function;

/// Makes consecutive calls, as many as it can by the loop of a vector variant if there is one. Returns the number
/// of calls before the first one whose result stops the loop.
///
/// # Safety
///
/// The loops are those of the function for these pointers. The frame has all slots of the layout, with those of
/// constant operands set, and the pointers are valid for the reads and writes of `count` calls, during which no
/// other code uses that memory.
#[inline]
pub(super) unsafe fn make_calls(
    function: &Function,
    (calls, vector_calls): (&CallLoop, Option<&VectorLoop>),
    pointers: &[StridedPointer],
    count: usize,
    frame: &mut [u64],
) -> usize {
    let address = function.address().as_ptr();
    let Some(vector_calls) = vector_calls else {
        // SAFETY: the caller guarantees the frame and the pointers.
        return unsafe { calls.run(address, frame.as_mut_ptr(), pointers, count) };
    };
    // SAFETY: the caller guarantees the frame and the pointers.
    let made = unsafe { vector_calls.run(frame.as_ptr(), pointers, count) };
    if made < count {
        let moved = |pointer: &StridedPointer| pointer.after(made);
        let rest: SmallVec<[StridedPointer; 4]> = pointers.iter().map(moved).collect();
        // SAFETY: the caller guarantees the frame and the pointers.
        unsafe { calls.run(address, frame.as_mut_ptr(), &rest, count - made) };
    }
    // No result stops the calls of functions that are called by vector variants.
    count
}
