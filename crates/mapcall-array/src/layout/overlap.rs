//! The search for bytes that two elements share, of one array or of two.

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
        // Axes with two elements or more don't have the stride `isize::MIN`, so `abs` does not overflow.
        let mut axes: Dims<Axis> = self
            .axes()
            .filter(|&(size, _)| size > 1)
            .map(|(size, stride)| Axis {
                stride: stride.abs(),
                max_steps: (size - 1).cast_signed(),
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
        // With absolute strides, an element is at its array's lowest byte plus the sum of index times
        // stride. If the indices of the other array count from its highest element down, the sum over the
        // axes of both arrays is the distance of this array's element from the other's, plus a constant.
        let mut axes: Dims<(i128, i128)> = Dims::new();
        let mut reach = 0;
        for (layout, is_other) in [(self, false), (other, true)] {
            for (size, stride) in layout
                .axes()
                .filter(|&(size, stride)| size > 1 && stride != 0)
            {
                let (stride, max_steps) =
                    (i128::from(stride.unsigned_abs() as u64), (size - 1) as i128);
                if is_other {
                    reach += stride * max_steps;
                }
                match axes.iter_mut().find(|(known, _)| *known == stride) {
                    Some((_, steps)) => *steps += max_steps,
                    None => axes.push((stride, max_steps)),
                }
            }
        }
        axes.sort_unstable_by_key(|&(stride, _)| std::cmp::Reverse(stride));
        let distance = (theirs.start as i128) - (mine.start as i128) + reach;
        // Elements share a byte if this one begins less than its size before the other one, or less than
        // the other's size behind it.
        let min = distance - (self.itemsize as i128 - 1);
        let max = distance + (other.itemsize as i128 - 1);
        reaches(&axes, min, max, &mut BUDGET.clone())
    }
}

/// Returns whether some numbers of steps on `axes`, largest stride first, have a sum of `min` to `max` bytes.
fn reaches(axes: &[(i128, i128)], min: i128, max: i128, budget: &mut u32) -> bool {
    if max < 0 {
        return false;
    }
    let Some((&(stride, steps), inner)) = axes.split_first() else {
        return min <= 0;
    };
    let Some(left) = budget.checked_sub(1) else {
        return true;
    };
    *budget = left;
    let slack: i128 = inner.iter().map(|(stride, steps)| stride * steps).sum();
    let fewest = -(slack - min).div_euclid(stride);
    let highest = steps.min(max.div_euclid(stride));
    (fewest.max(0)..=highest)
        .any(|step| reaches(inner, min - step * stride, max - step * stride, budget))
}

/// The length and the absolute stride of an axis, for a search.
#[derive(Clone, Copy)]
struct Axis {
    stride: isize,
    /// The maximum number of steps between two elements.
    max_steps: isize,
}

/// A search for two elements with a distance of at most `nearest` bytes.
///
/// The distance of two elements is the sum of their differences in index times the strides. So the search is
/// for differences, not all 0, whose sum is near 0. It begins with the largest stride: the sum over the other
/// axes must compensate its difference, which leaves few differences to try, and only 0 if the stride is larger
/// than that sum can be.
struct Search {
    nearest: isize,
    budget: u32,
}

impl Search {
    /// Returns whether some differences on `axes` bring `distance` near 0. `moved` tells whether another axis
    /// has a difference already. No sum here exceeds the size of the array's bounds.
    fn meets(&mut self, axes: &[Axis], distance: isize, moved: bool) -> bool {
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
                .map(|axis| axis.stride * axis.max_steps)
                .sum::<isize>();
        // With a solution its negative is one as well, so that the first difference can be positive.
        let min = if moved { -outer.max_steps } else { 0 };
        let low = min.max(-(slack + distance).div_euclid(outer.stride));
        let high = outer
            .max_steps
            .min((slack - distance).div_euclid(outer.stride));
        (low..=high)
            .any(|steps| self.meets(inner, distance + steps * outer.stride, moved || steps != 0))
    }
}
