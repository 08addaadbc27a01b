//! The memory of an array that a caller gives.

use std::ops::Range;

use mapcall_array::Backing;

/// The memory of an array: see [`Check`](super::Check).
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    /// The address of the first element.
    pub address: *mut u8,
    /// The lengths of the axes.
    pub shape: &'a [usize],
    /// The strides of the axes, in bytes.
    pub strides: &'a [isize],
    /// Whether the elements follow each other in C order.
    pub is_contiguous: bool,
    /// Whether it may be written to.
    pub is_writeable: bool,
    /// Whether other code of the program may reach it while the function writes it.
    pub is_shared: bool,
    /// The kind of memory behind the addresses: whether the same bytes may have other addresses as
    /// well.
    pub backing: Backing<'a>,
}

impl Memory<'_> {
    /// Returns whether the array has no elements. No address of it is used, so that any alignment will do.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// Returns the range from the lowest address of its bytes to the highest.
    pub(super) fn addresses(&self, itemsize: usize) -> Range<usize> {
        let (mut start, mut end) = (self.address.addr(), self.address.addr());
        if self.is_empty() {
            return start..end;
        }
        for (&length, stride) in self.shape.iter().zip(self.strides) {
            let reach = stride.wrapping_mul(length.saturating_sub(1).cast_signed());
            if reach < 0 {
                start = start.saturating_add_signed(reach);
            } else {
                end = end.saturating_add_signed(reach);
            }
        }
        start..end.saturating_add(itemsize)
    }

    /// Returns whether all elements are aligned if the first one is. `misaligned` are the bits that must be 0
    /// in an address.
    #[inline]
    pub(super) fn has_aligned_strides(&self, misaligned: usize) -> bool {
        let mut axes = self.shape.iter().zip(self.strides);
        axes.all(|(&length, stride)| length == 1 || stride.cast_unsigned() & misaligned == 0)
            || self.is_empty()
    }

    /// Returns the memory for the first call of a batch: without the first axes.
    pub(super) fn item(self, axes: usize, itemsize: usize) -> Self {
        let shape = self.shape.get(axes..).unwrap_or_default();
        let strides = self.strides.get(axes..).unwrap_or_default();
        let is_contiguous = || {
            let mut step = itemsize;
            shape.contains(&0)
                || shape.iter().zip(strides).rev().all(|(&length, stride)| {
                    let follows = length == 1 || stride.cast_unsigned() == step;
                    step = step.wrapping_mul(length);
                    follows
                })
        };
        Self {
            is_contiguous: self.is_contiguous || is_contiguous(),
            shape,
            strides,
            ..self
        }
    }
}

/// Returns whether two ranges of memory, each an address and a size in bytes, share a byte.
#[inline]
pub(super) fn overlap((start, size): (u64, u64), (other, other_size): (u64, u64)) -> bool {
    // A range of memory ends before the last address.
    start < other.wrapping_add(other_size)
        && other < start.wrapping_add(size)
        && size > 0
        && other_size > 0
}
