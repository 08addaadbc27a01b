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
    let after = |made| -> SmallVec<[StridedPointer; 4]> {
        pointers.iter().map(|pointer| pointer.after(made)).collect()
    };
    let mut made = 0;
    while made < count {
        // SAFETY: the caller guarantees the frame and the pointers.
        made += unsafe { vector_calls.run(frame.as_ptr(), &after(made), count - made) };
        let by_one = vector_calls.left_out(count - made);
        // SAFETY: the caller guarantees the frame and the pointers.
        unsafe { calls.run(address, frame.as_mut_ptr(), &after(made), by_one) };
        made += by_one;
    }
    // No result stops the calls of functions that are called by vector variants.
    made
}
