//! Whether two elements of an array share a byte.

use super::{Dims, Layout};

impl Layout {
    /// Whether two different elements may share a byte, so that writing one changes another:
    /// a broadcast array, or strides smaller than what they step over.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order};
    ///
    /// let layout = Layout::contiguous(&[3, 4], 8, Order::C)?;
    /// assert!(!layout.may_self_overlap());
    /// assert!(layout.broadcast_to(&[2, 3, 4])?.may_self_overlap());
    /// // A window of 3 that slides over 12 elements.
    /// assert!(Layout::from_strides(0, &[10, 3], &[8, 8], 8)?.may_self_overlap());
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// `false` is a proof. So is `true` for whatever slices, transposes, reshapes and broadcasts
    /// make of a contiguous array. Other strides are settled by a search of at most 10,000
    /// steps; only those made to be hard exhaust it, and then count as overlapping.
    #[must_use]
    pub fn may_self_overlap(&self) -> bool {
        if self.is_empty() || self.itemsize == 0 {
            return false;
        }
        // A stride of `isize::MIN` can't be stepped along, so each has an absolute value.
        let mut axes: Dims<Axis> = self
            .axes()
            .filter(|&(size, _)| size > 1)
            .map(|(size, stride)| Axis {
                stride: stride.abs(),
                most: (size - 1).cast_signed(),
            })
            .collect();
        axes.sort_unstable_by_key(|axis| std::cmp::Reverse(axis.stride));
        let nearest = self.itemsize.cast_signed() - 1;
        axes.last().is_some_and(|axis| axis.stride == 0)
            || Search {
                nearest,
                budget: 10_000,
            }
            .meets(&axes, 0, false)
    }
}

/// An axis as a search sees it: which way it runs does not matter.
#[derive(Clone, Copy)]
struct Axis {
    stride: isize,
    /// The most steps between two elements.
    most: isize,
}

/// Looks for two elements at most `nearest` bytes apart.
///
/// Two elements are as far apart as the sum of their differences in index times the strides, so
/// it looks for differences, not all 0, whose sum is near 0. The largest stride comes first: the
/// smaller ones must make up for it, which leaves few differences to try, and only 0 where
/// strides are larger than all that they step over.
struct Search {
    nearest: isize,
    budget: u32,
}

impl Search {
    /// Whether some differences on `axes` bring `apart` near 0; `moved` when `apart` has come
    /// from a difference already. No sum here exceeds the extent of the array.
    fn meets(&mut self, axes: &[Axis], apart: isize, moved: bool) -> bool {
        let Some((outer, inner)) = axes.split_first() else {
            return moved;
        };
        let Some(budget) = self.budget.checked_sub(1) else {
            return true;
        };
        self.budget = budget;

        let slack = self.nearest
            + inner
                .iter()
                .map(|axis| axis.stride * axis.most)
                .sum::<isize>();
        // The mirror image of a solution is one, too: the first difference is positive.
        let least = if moved { -outer.most } else { 0 };
        let low = least.max(-(slack + apart).div_euclid(outer.stride));
        let high = outer.most.min((slack - apart).div_euclid(outer.stride));
        (low..=high)
            .any(|steps| self.meets(inner, apart + steps * outer.stride, moved || steps != 0))
    }
}
