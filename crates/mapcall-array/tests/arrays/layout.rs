//! Compares layouts with NumPy and with a naive enumeration of elements, and tries hostile numbers.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::unwrap_used
)]

mod elements;
mod limits;
mod views;

use std::collections::HashSet;

use mapcall_array::layout::{Index, Layout, Order, broadcast_shapes, index};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

/// Python code for [`oracle`]: it applies operations to an array, one after the other, and returns the
/// properties of each view in NumPy. For an operation that raises, it returns the exception, and continues with
/// the same array.
const CHAIN: &str = r#"
def describe(a, start):
    low, high = np.lib.array_utils.byte_bounds(a)
    return {
        "shape": a.shape,
        "strides": a.strides,
        "offset": a.__array_interface__["data"][0] - start,
        "low": low - start,
        "high": high - start,
        "c": a.flags.c_contiguous,
        "f": a.flags.f_contiguous,
        "aligned": a.flags.aligned,
    }

def chain(a, start, operations):
    views = [describe(a, start)]
    for operation in operations:
        try:
            a = operation(a)
            views.append(describe(a, start))
        except Exception as error:
            views.append(f"{type(error).__name__}: {error}")
    return {"start": start, "views": views}

def contiguous(shape, dtype, order, operations):
    a = np.zeros(shape, dtype, order)
    return chain(a, a.__array_interface__["data"][0], operations)

def strided(length, offset, shape, strides, dtype, operations):
    memory = np.zeros(length, "u1")
    a = np.ndarray(shape, dtype, memory, offset, strides)
    return chain(a, memory.__array_interface__["data"][0], operations)
"#;

fn oracle(expression: &str) -> Result<Value, String> {
    let definitions = Value::from(CHAIN);
    crate::common::numpy(&format!(
        "(exec({definitions}, globals()), {expression})[1]"
    ))
}

/// Returns a Python tuple.
fn tuple<T: ToString>(values: &[T]) -> String {
    format!(
        "({})",
        values
            .iter()
            .map(|value| value.to_string() + ",")
            .collect::<String>()
    )
}

fn order_name(order: Order) -> &'static str {
    match order {
        Order::C => "'C'",
        Order::F => "'F'",
    }
}

/// A dtype with its itemsize and alignment.
#[derive(Clone, Copy, Debug)]
struct Item(&'static str, usize, usize);

fn item() -> impl Strategy<Value = Item> {
    select(vec![
        Item("'u1'", 1, 1),
        Item("'i2'", 2, 2),
        Item("'f4'", 4, 4),
        Item("'f8'", 8, 8),
        Item("'c16'", 16, 8),
        Item("'V3'", 3, 1),
        Item("[('x', 'i2'), ('y', 'i4')]", 6, 1),
        Item("np.dtype('i2,i2,i2', align=True)", 6, 2),
    ])
}

fn order() -> impl Strategy<Value = Order> {
    select(vec![Order::C, Order::F])
}

fn small_shape() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(select(vec![0, 1, 1, 2, 2, 3, 4, 6, 8]), 0..5).prop_map(|mut shape| {
        // Arrays without elements are less frequent than half of the cases.
        if shape.len() > 2 {
            shape
                .iter_mut()
                .skip(1)
                .for_each(|size| *size = (*size).max(1));
        }
        shape
    })
}

/// Returns the offset of each element, in C order.
fn element_offsets(layout: &Layout) -> Vec<i128> {
    let mut offsets = vec![layout.offset() as i128];
    for (&size, &stride) in layout.shape().iter().zip(layout.strides()) {
        offsets = offsets
            .iter()
            .flat_map(|offset| (0..size).map(move |i| offset + i as i128 * stride as i128))
            .collect();
    }
    offsets
}

fn overlaps(layout: &Layout) -> bool {
    let mut seen = HashSet::new();
    let width = layout.itemsize() as i128;
    !element_offsets(layout)
        .iter()
        .flat_map(|&at| at..at + width)
        .all(|byte| seen.insert(byte))
}

/// Compares the messages that are the same as NumPy's.
#[test]
fn errors_have_the_messages_of_numpy() {
    let layout = Layout::contiguous(&[3, 4], 8, Order::C).unwrap();
    let cases = [
        (layout.slice(&index![5]), "a[5]"),
        (layout.slice(&index![.., -5]), "a[:, -5]"),
        (layout.slice(&index![0, 0, 0]), "a[0, 0, 0]"),
        (layout.index(&[0, 0, 0]), "a[0, 0, 0]"),
        (layout.permute(&[0, 2]), "a.transpose(0, 2)"),
        (layout.swapaxes(-3, 0), "np.swapaxes(a, -3, 0)"),
        (layout.expand_dims(3), "np.expand_dims(a, 3)"),
    ];
    for (result, python) in cases {
        let error = result.unwrap_err().to_string();
        let views =
            crate::common::numpy(&format!("(a := np.zeros((3, 4)), {python})")).unwrap_err();
        assert!(views.ends_with(&error), "{error} | {views}");
    }
}

#[test]
fn errors_carry_facts() {
    let layout = Layout::contiguous(&[3, 4], 8, Order::C).unwrap();
    let cases = [
        (
            layout.reshape(&[5, 2], Order::C),
            "can't reshape an array of 12 elements into shape (5, 2)",
        ),
        (
            layout.reshape(&[-1, 5], Order::C),
            "can't reshape an array of 12 elements into shape (-1, 5)",
        ),
        (
            layout.reshape(&[-1, -1], Order::C),
            "can only specify one unknown dimension (-1), not (-1, -1)",
        ),
        (
            layout.reshape(&[12], Order::F),
            "can't reshape from shape (3, 4) to (12,) without a copy; \
             copy the array into contiguous memory first",
        ),
        (
            layout.broadcast_to(&[]),
            "can't broadcast shape (3, 4) to (): aligned at the last, each axis must be equal or 1",
        ),
        (
            layout.slice(&index![..; 0]),
            "slice step can't be zero; leave it out or use 1 for every element",
        ),
        (
            layout.slice(&[Index::Ellipsis, Index::Ellipsis]),
            "an index can only have a single ellipsis",
        ),
        (
            layout.permute(&[0]),
            "axes don't match array: 1 were given for 2 dimensions",
        ),
        (layout.permute(&[1, -1]), "repeated axis 1 in transpose"),
        (
            Layout::from_strides(0, &[2], &[-1], 8),
            "shape (2,) with strides (-1,) and items of 8 bytes, starting at byte 0, reaches below \
             byte 0 or above byte 9223372036854775807; change the offset or the strides",
        ),
        (
            Layout::from_strides(0, &[2], &[], 8),
            "shape has 1 axes but strides has 0; give one stride, in bytes, per axis",
        ),
        (
            Layout::contiguous(&[1 << 40, 1 << 40], 8, Order::C),
            "an array of shape (1099511627776, 1099511627776) with items of 8 bytes is too big: \
             it must fit in 9223372036854775807 bytes",
        ),
    ];
    for (result, text) in cases {
        assert_eq!(result.unwrap_err().to_string(), text);
    }
    assert_eq!(
        layout.offset_of(&[1]).unwrap_err().to_string(),
        "too few indices for one element: array is 2-dimensional, but 1 were indexed"
    );
    assert_eq!(
        broadcast_shapes(&[&[1], &[2, 3], &[4]])
            .unwrap_err()
            .to_string(),
        "shape mismatch: shapes can't be broadcast to a single shape; mismatch is between \
         argument 1 with shape (2, 3) and argument 2 with shape (4,)"
    );
}

#[test]
fn inclusive_ranges_reach_the_last() {
    let line = Layout::contiguous(&[10], 1, Order::C).unwrap();
    let sizes = [
        (index![2..=4], 3),
        (index![..=-1], 10),
        (index![-3..=-1], 3),
        (index![..=-2], 9),
        (index![..=isize::MAX], 10),
        (index![0..=0], 1),
    ];
    for (indices, size) in sizes {
        assert_eq!(line.slice(&indices).unwrap().size(), size, "{indices:?}");
    }
}

/// A view without elements has the offset of its array, which is in the buffer.
#[test]
fn views_of_nothing_stay() {
    let layout = Layout::contiguous(&[0, 5], 8, Order::C)
        .unwrap()
        .with_offset(128)
        .unwrap();
    let layout = layout.reshape(&[0, 1000], Order::C).unwrap();
    let view = layout.slice(&index![.., 500..]).unwrap();
    assert_eq!((view.shape(), view.offset()), (&[0, 500][..], 128));
    assert!(view.fits_in(128).is_ok());
    assert!(layout.fits_in(127).is_err());
    assert!(layout.slice(&index![.., 1000]).is_err());
}
