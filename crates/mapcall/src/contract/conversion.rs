//! The conversion of an array whose elements or layout are not those of its parameter.

#![allow(unsafe_code)]

use std::ops::ControlFlow;

use mapcall_array::convert::Cast;
use mapcall_array::layout::Dims;

/// How the items of an operand, each the array of one call, are converted to those that C takes, and back.
///
/// The items outside are those of the caller's array, with any strides; the items inside are contiguous, follow each
/// other, and have the dtype of the parameter.
#[derive(Clone, Debug)]
pub(crate) struct Conversion {
    /// The conversion of elements for C; `None` if C does not read them.
    pub(super) load: Option<Cast>,
    /// The conversion of elements that C has written; `None` if it only reads them.
    pub(super) store: Option<Cast>,
    /// The lengths of the axes of an item.
    pub(super) shape: Dims<usize>,
    /// The strides of an item outside, in bytes.
    pub(super) outside: Dims<isize>,
    /// The strides of an item inside, in bytes.
    pub(super) inside: Dims<isize>,
    /// The size of an item inside, in bytes.
    pub(super) size: usize,
}

impl Conversion {
    /// Returns the size of an item inside, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Returns whether C reads the items.
    pub(crate) fn loads(&self) -> bool {
        self.load.is_some()
    }

    /// Returns whether C writes the items.
    pub(crate) fn stores(&self) -> bool {
        self.store.is_some()
    }

    /// Converts items for C: `outside` has the address of the first item and the stride from item to item, in bytes,
    /// and `inside` the address that the first one is written to.
    ///
    /// # Safety
    ///
    /// - Each item outside is valid for reads, and `inside` is valid for writes of `count` items of
    ///   [`size`](Self::size) bytes, which share no byte with those outside.
    /// - No other code writes the items outside, or accesses those inside, meanwhile.
    pub(crate) unsafe fn load(
        &self,
        count: usize,
        (outside, stride): (*const u8, isize),
        inside: *mut u8,
    ) {
        if let Some(cast) = &self.load {
            let (shape, outer, inner) = self.axes(count, stride);
            // SAFETY: the axes are those of the items, which the caller guarantees to be valid.
            unsafe { cast.run(&shape, (outside, &outer), (inside, &inner)) };
        }
    }

    /// Converts items that C has written: `outside` and `inside` are as for [`load`](Self::load).
    ///
    /// # Safety
    ///
    /// - `inside` is valid for reads of `count` items of [`size`](Self::size) bytes, and each item outside is valid
    ///   for writes and shares no byte with those inside.
    /// - No other code accesses the items outside, or writes those inside, meanwhile.
    pub(crate) unsafe fn store(
        &self,
        count: usize,
        (outside, stride): (*mut u8, isize),
        inside: *const u8,
    ) {
        if let Some(cast) = &self.store {
            let (shape, outer, inner) = self.axes(count, stride);
            // SAFETY: the axes are those of the items, which the caller guarantees to be valid.
            unsafe { cast.run(&shape, (inside, &inner), (outside, &outer)) };
        }
    }

    /// Converts one item for C as [`load`](Self::load) does, in pieces, before each of which `report` is called.
    ///
    /// # Errors
    ///
    /// What `report` returns to end it.
    ///
    /// # Safety
    ///
    /// Those of [`load`](Self::load) for one item.
    pub(crate) unsafe fn load_in_pieces<B>(
        &self,
        outside: *const u8,
        inside: *mut u8,
        report: &mut dyn FnMut() -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        const PIECE: usize = 4 << 20;
        let Some(cast) = &self.load else {
            return ControlFlow::Continue(());
        };
        let axis = self.shape.iter().position(|&length| length != 1);
        let axis = axis.unwrap_or_default();
        let length = self.shape.get(axis).copied().unwrap_or(1);
        let row = self.size.checked_div(length).unwrap_or_default();
        let rows = PIECE
            .checked_div(row)
            .unwrap_or(length)
            .clamp(1, length.max(1));
        let stride = |strides: &[isize]| strides.get(axis).copied().unwrap_or_default();
        let mut shape = self.shape.clone();
        for first in (0..length).step_by(rows) {
            report()?;
            if let Some(length) = shape.get_mut(axis) {
                *length = rows.min(*length - first);
            }
            let steps = first.cast_signed();
            let outside = outside.wrapping_offset(stride(&self.outside).wrapping_mul(steps));
            let inside = inside.wrapping_offset(stride(&self.inside).wrapping_mul(steps));
            // SAFETY: these are rows of the item, which the caller guarantees to be valid.
            unsafe { cast.run(&shape, (outside, &self.outside), (inside, &self.inside)) };
            if let (Some(shape), Some(&length)) = (shape.get_mut(axis), self.shape.get(axis)) {
                *shape = length;
            }
        }
        ControlFlow::Continue(())
    }

    /// Returns the shape of some items, and their strides outside and inside.
    fn axes(&self, count: usize, stride: isize) -> (Dims<usize>, Dims<isize>, Dims<isize>) {
        let strides = |first: isize, item: &[isize]| {
            let all = [first].into_iter().chain(item.iter().copied());
            all.collect::<Dims<isize>>()
        };
        let shape = [count].into_iter().chain(self.shape.iter().copied());
        (
            shape.collect(),
            strides(stride, &self.outside),
            strides(self.size.cast_signed(), &self.inside),
        )
    }
}
