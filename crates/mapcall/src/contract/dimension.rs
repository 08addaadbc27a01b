//! The inferred extents of a call.

/// An extent that no array has set yet. No array has as many elements.
pub(super) const UNSET: u64 = u64::MAX;

/// An inferred parameter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dimension {
    pub(super) position: usize,
    /// The slot of the frame in which it is passed.
    pub(super) slot: usize,
    /// Whether the function gets the address of a copy, or of an output that holds it at first.
    pub(super) is_by_reference: bool,
    /// The largest value that both the parameter's type and the length of an array can have.
    pub(super) max: u64,
}

/// Returns whether an extent equals a length. An extent that is not set yet is set to it.
#[inline]
pub(super) fn agrees(extent: &mut u64, length: u64) -> bool {
    if *extent == UNSET {
        *extent = length;
    }
    *extent == length
}
