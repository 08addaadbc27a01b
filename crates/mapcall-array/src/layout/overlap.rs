//! Whether two elements, of one array or of two, share a byte.

use super::{Dims, Layout};

/// The maximum number of steps of a search for shared bytes.
const BUDGET: u32 = 10_000;

impl Layout {
    /// Returns whether two different elements may have a byte in common, so that writing one changes another:
    /// in a broadcast array, or with strides smaller than the items they step over.
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
    /// `false` is always exact. `true` is exact for all views of a contiguous array. For other strides, a
    /// search of at most 10,000 steps decides; if it reaches this limit, as it can for specially chosen
    /// strides, the result is `true`.
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
                budget: BUDGET,
            }
            .meets(&axes, 0, false)
    }

    /// Returns whether an element of this array may have a byte in common with an element of another array in
    /// the same buffer.
    ///
    /// ```
    /// use mapcall_array::layout::{Layout, Order, index};
    ///
    /// let whole = Layout::contiguous(&[10, 10], 8, Order::C)?;
    /// let [even, odd] = [0, 1].map(|first| whole.slice(&index![.., first..; 2]).unwrap());
    /// let left = whole.slice(&index![.., ..6])?;
    /// assert!(!even.may_share(&odd));
    /// assert!(left.may_share(&odd));
    /// # Ok::<(), mapcall_array::layout::LayoutError>(())
    /// ```
    ///
    /// As for [`may_self_overlap`](Self::may_self_overlap), `false` is exact, and `true` may be wrong only
    /// for specially chosen strides.
    #[must_use]
    pub fn may_share(&self, other: &Self) -> bool {
        if self.nbytes() == 0 || other.nbytes() == 0 {
            return false;
        }
        let (mine, theirs) = (self.bounds(), other.bounds());
        if mine.end <= theirs.start || theirs.end <= mine.start {
            return false;
        }
        // Counted from its lowest byte each array runs forwards. An index of the other one that
        // counts backwards from its highest element lets both be added: the sum of all steps is
        // the distance of this array's element from the other's, up to a constant.
        let mut axes: Dims<(i128, i128)> = Dims::new();
        let mut reach = 0;
        for (layout, is_other) in [(self, false), (other, true)] {
            for (size, stride) in layout
                .axes()
                .filter(|&(size, stride)| size > 1 && stride != 0)
            {
                let (stride, most) = (i128::from(stride.unsigned_abs() as u64), (size - 1) as i128);
                if is_other {
                    reach += stride * most;
                }
                match axes.iter_mut().find(|(known, _)| *known == stride) {
                    Some((_, steps)) => *steps += most,
                    None => axes.push((stride, most)),
                }
            }
        }
        axes.sort_unstable_by_key(|&(stride, _)| std::cmp::Reverse(stride));
        let apart = (theirs.start as i128) - (mine.start as i128) + reach;
        // This element's first byte is less than an element before or behind the other's.
        let least = apart - (self.itemsize as i128 - 1);
        let most = apart + (other.itemsize as i128 - 1);
        reaches(&axes, least, most, &mut BUDGET.clone())
    }
}

/// Returns whether some steps on `axes`, largest stride first, have a sum from `least` to `most`.
fn reaches(axes: &[(i128, i128)], least: i128, most: i128, budget: &mut u32) -> bool {
    if most < 0 {
        return false;
    }
    let Some((&(stride, steps), inner)) = axes.split_first() else {
        return least <= 0;
    };
    let Some(left) = budget.checked_sub(1) else {
        return true;
    };
    *budget = left;
    let slack: i128 = inner.iter().map(|(stride, steps)| stride * steps).sum();
    let fewest = -(slack - least).div_euclid(stride);
    let highest = steps.min(most.div_euclid(stride));
    (fewest.max(0)..=highest)
        .any(|step| reaches(inner, least - step * stride, most - step * stride, budget))
}

/// The length and the absolute stride of an axis, for a search.
#[derive(Clone, Copy)]
struct Axis {
    stride: isize,
    /// The maximum number of steps between two elements.
    most: isize,
}

/// A search for two elements at most `nearest` bytes apart.
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
