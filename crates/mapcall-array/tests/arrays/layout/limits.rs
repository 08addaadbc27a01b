//! Numbers near the limits of sizes, offsets and axes: an error or the right result, and never a panic.

use mapcall_array::layout::{
    Index, Layout, LayoutError, MAX_NDIM, Order, Slice, broadcast_shapes, index,
};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::{Item, item, oracle, order, order_name, tuple};

fn hostile_size() -> impl Strategy<Value = usize> {
    prop_oneof![
        select(vec![
            0,
            1,
            2,
            3,
            1 << 31,
            1 << 32,
            1 << 61,
            1 << 62,
            isize::MAX as usize,
            1 << 63,
            usize::MAX - 1,
            usize::MAX,
        ]),
        any::<usize>(),
        0_usize..100,
    ]
}

fn hostile_number() -> impl Strategy<Value = isize> {
    prop_oneof![
        hostile_size().prop_map(|size| size as isize),
        hostile_size().prop_map(|size| (size as isize).wrapping_neg()),
    ]
}

fn hostile_index() -> impl Strategy<Value = Index> {
    let position = || prop::option::of(hostile_number());
    prop_oneof![
        hostile_number().prop_map(Index::At),
        (position(), position(), hostile_number())
            .prop_map(|(start, stop, step)| Index::Slice(Slice { start, stop, step })),
        Just(Index::NewAxis),
        Just(Index::Ellipsis),
    ]
}

/// Returns the product, unless it exceeds `isize::MAX`.
fn exact_product(factors: impl Iterator<Item = usize>) -> Option<u128> {
    factors
        .filter(|&factor| factor != 0)
        .try_fold(1_u128, |product, factor| {
            product.checked_mul(factor as u128)
        })
        .filter(|&product| product <= isize::MAX as u128)
}

/// Computes the bounds of a layout whose size is in range, by arithmetic that can't overflow.
fn exact_bounds(
    offset: usize,
    shape: &[usize],
    strides: &[isize],
    itemsize: usize,
) -> (i128, i128) {
    let (mut low, mut high) = (offset as i128, offset as i128);
    if !shape.contains(&0) {
        for (&size, &stride) in shape.iter().zip(strides) {
            let reach = (size - 1) as i128 * stride as i128;
            low += reach.min(0);
            high += reach.max(0);
        }
        high += itemsize as i128;
    }
    (low, high)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Numbers near the limits give an error or the right result, and never a panic.
    #[test]
    fn hostile_numbers_are_errors(
        axes in prop::collection::vec((hostile_size(), hostile_number()), 0..5),
        offset in hostile_size(),
        itemsize in hostile_size(),
        indices in prop::collection::vec(hostile_index(), 0..6),
        numbers in prop::collection::vec(hostile_number(), 0..5),
        sizes in prop::collection::vec(hostile_size(), 0..5),
        order in order(),
    ) {
        let (shape, strides): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
        let in_range = exact_product(shape.iter().copied().chain([itemsize])).is_some();

        let contiguous = Layout::contiguous(&shape, itemsize, order);
        prop_assert_eq!(contiguous.is_ok(), in_range);
        let layout = Layout::from_strides(offset, &shape, &strides, itemsize);
        let (low, high) = if in_range {
            exact_bounds(offset, &shape, &strides, itemsize)
        } else {
            (-1, 0)
        };
        prop_assert_eq!(layout.is_ok(), low >= 0 && high <= isize::MAX as i128);

        for layout in [contiguous, layout].into_iter().flatten() {
            let bounds = layout.bounds();
            let exact = exact_bounds(layout.offset(), layout.shape(), layout.strides(), itemsize);
            prop_assert_eq!((bounds.start as i128, bounds.end as i128), exact);
            prop_assert!(layout.fits_in(bounds.end).is_ok());
            prop_assert!(bounds.end == 0 || layout.fits_in(bounds.end - 1).is_err());
            let _ = layout.is_aligned(offset, 8);
            let _ = layout.may_self_overlap();
            let (low, high) = exact_bounds(offset, layout.shape(), layout.strides(), itemsize);
            let moved = layout.clone().with_offset(offset);
            prop_assert_eq!(moved.is_ok(), low >= 0 && high <= isize::MAX as i128);

            let at: Vec<isize> = layout.shape().iter().map(|&size| (size as isize) - 1).collect();
            let views = [
                layout.slice(&indices),
                layout.slice(&index![..; -1]),
                layout.slice(&index![..; isize::MIN, Index::NewAxis]),
                layout.slice(&index![1..; isize::MAX]),
                layout.slice(&index![0..0]),
                layout.index(&numbers),
                layout.index(&at),
                Ok(layout.transpose()),
                Ok(layout.squeeze()),
                layout.permute(&numbers),
                layout.swapaxes(offset as isize, 0),
                layout.expand_dims(-1),
                layout.expand_dims(offset as isize),
                layout.reshape(&numbers, order),
                layout.reshape(&[-1], order),
                layout.reshape(&[1, -1, 1], order),
                layout.broadcast_to(&sizes),
                layout.broadcast_to(&[&sizes[..], layout.shape()].concat()),
            ];
            for view in views.into_iter().flatten() {
                // The parts of a view pass the checks of a new layout, and it does not reach beyond its array.
                let again = Layout::from_strides(
                    view.offset(), view.shape(), view.strides(), view.itemsize(),
                );
                prop_assert_eq!(again.as_ref(), Ok(&view));
                prop_assert!(bounds.start <= view.bounds().start);
                prop_assert!(view.bounds().end <= bounds.end);
                prop_assert_eq!(
                    Some(view.size() as u128 * view.itemsize() as u128),
                    if view.is_empty() { Some(0) } else {
                        exact_product(view.shape().iter().copied())
                            .map(|size| size * view.itemsize() as u128)
                    }
                );
                let _ = view.is_c_contiguous();
                let _ = view.is_f_contiguous();
                let _ = view.may_self_overlap();
            }
        }
        let _ = broadcast_shapes(&[&shape, &sizes]);
    }

    /// Compares the limits with NumPy's, without allocating the memory.
    #[test]
    fn huge_shapes_are_refused_as_by_numpy(
        mut shape in prop::collection::vec(
            select(vec![1_usize, 2, 3, 1 << 20, 1 << 31, 1 << 40, 1 << 61, 1 << 62]), 0..4,
        ),
        at in any::<prop::sample::Index>(),
        item in item(),
        order in order(),
    ) {
        let Item(dtype, itemsize, _) = item;
        let scalar = Layout::contiguous(&[], itemsize, Order::C).unwrap();
        let views = oracle(&format!("np.broadcast_to(np.zeros((), {dtype}), {}).nbytes", tuple(&shape)));
        match (scalar.broadcast_to(&shape), views) {
            (Ok(view), Ok(views)) => prop_assert_eq!(Value::from(view.nbytes()), views),
            (Err(LayoutError::TooBig { .. }), Err(_)) => {}
            (ours, views) => prop_assert!(false, "{ours:?}, NumPy: {views:?}"),
        }

        shape.insert(at.index(shape.len() + 1), 0);
        let name = order_name(order);
        let views = oracle(&format!("np.empty({}, {dtype}, {name}).strides", tuple(&shape)));
        match (Layout::contiguous(&shape, itemsize, order), views) {
            (Ok(layout), Ok(views)) => prop_assert_eq!(Value::from(layout.strides()), views),
            (Err(LayoutError::TooBig { .. }), Err(_)) => {}
            (ours, views) => prop_assert!(false, "{ours:?}, NumPy: {views:?}"),
        }

        let none = Layout::contiguous(&[0], itemsize, Order::C).unwrap();
        let sizes: Vec<isize> = shape.iter().map(|&size| size as isize).collect();
        let views = oracle(&format!(
            "np.empty(0, {dtype}).reshape({}, order={name}).strides", tuple(&shape)
        ));
        match (none.reshape(&sizes, order), views) {
            (Ok(layout), Ok(views)) => prop_assert_eq!(Value::from(layout.strides()), views),
            (Err(_), Err(_)) => {}
            (ours, views) => prop_assert!(false, "{ours:?}, NumPy: {views:?}"),
        }
    }
}

#[test]
fn at_most_64_axes() {
    let ones = [1; MAX_NDIM + 1];
    let max = Layout::contiguous(&ones[1..], 8, Order::C).unwrap();
    let results = [
        Layout::contiguous(&ones, 8, Order::C),
        Layout::from_strides(0, &ones, &[0; MAX_NDIM + 1], 8),
        max.slice(&[Index::NewAxis]),
        max.expand_dims(0),
        max.reshape(&[1; MAX_NDIM + 1], Order::C),
        max.broadcast_to(&ones),
    ];
    for result in results {
        assert_eq!(result, Err(LayoutError::TooManyAxes { ndim: 65 }));
    }
    assert_eq!(
        broadcast_shapes(&[&ones, &[]]),
        Err(LayoutError::TooManyAxes { ndim: 65 })
    );
    assert_eq!(
        max.slice(&[Index::NewAxis, Index::At(0)]).unwrap().ndim(),
        MAX_NDIM
    );
}
