//! The rows of an array: what one index selects along the axis along which it grows.

use crate::error::Result;
use crate::layout::{Layout, LayoutError, Order};

/// Returns the size in bytes of an array with at least `rows` rows, for which addresses are reserved.
pub(super) fn reserved(layout: &Layout, order: Order, rows: usize) -> Result<usize, LayoutError> {
    let shape = layout.shape();
    match growth_axis(shape, order).and_then(|axis| shape.get(axis)) {
        Some(&len) if rows > len => {
            let longer = with_rows(shape, order, rows);
            Ok(Layout::in_buffer(&longer, layout.itemsize(), order)?.nbytes())
        }
        _ => Ok(layout.nbytes()),
    }
}

/// Returns the axis along which an array grows, the slowest one.
pub(super) fn growth_axis(shape: &[usize], order: Order) -> Option<usize> {
    match order {
        Order::C => (!shape.is_empty()).then_some(0),
        Order::F => shape.len().checked_sub(1),
    }
}

/// Returns a shape with another length of the axis along which the array grows.
pub(super) fn with_rows(shape: &[usize], order: Order, rows: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    if let Some(len) = growth_axis(&shape, order).and_then(|axis| shape.get_mut(axis)) {
        *len = rows;
    }
    shape
}

/// Returns the number of rows of an array of a shape and order that another array is: one row, or any number of
/// rows; `None` if it is neither.
pub(super) fn count(whole: &[usize], order: Order, shape: &[usize]) -> Option<usize> {
    let row = row_shape(whole, order);
    if *shape == *row {
        return Some(1);
    }
    let axis = growth_axis(whole, order)?;
    let mut rest = shape.to_vec();
    let count = (axis < rest.len()).then(|| rest.remove(axis))?;
    (rest == row).then_some(count)
}

/// Returns a shape without the axis along which an array grows.
pub(super) fn row_shape(whole: &[usize], order: Order) -> Vec<usize> {
    match (order, whole) {
        (Order::C, [_, row @ ..]) | (Order::F, [row @ .., _]) => row.to_vec(),
        _ => Vec::new(),
    }
}
