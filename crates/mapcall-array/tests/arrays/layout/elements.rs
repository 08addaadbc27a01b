//! Properties of layouts against NumPy, and against their definitions by the offsets of all elements.

use std::collections::HashSet;

use mapcall_array::layout::{Index, Layout, LayoutError, Order, broadcast_shapes};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::{Item, element_offsets, item, oracle, order, order_name, overlaps, small_shape, tuple};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// `np.ndarray(shape, dtype, buffer, offset, strides)` also checks that the array fits in the buffer.
    #[test]
    fn fits_as_in_numpy(
        item in item(),
        axes in prop::collection::vec((select(vec![0_usize, 1, 2, 3, 3]), -20_isize..20), 0..4),
        offset in 0_usize..80,
        // NumPy does not check an empty buffer.
        length in 1_usize..120,
    ) {
        let Item(dtype, itemsize, _) = item;
        let (shape, strides): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
        let fits = Layout::from_strides(offset, &shape, &strides, itemsize)
            .and_then(|layout| layout.fits_in(length));
        let (shape, strides) = (tuple(&shape), tuple(&strides));
        let views = oracle(&format!("strided({length}, {offset}, {shape}, {strides}, {dtype}, [])"));
        prop_assert_eq!(fits.is_ok(), views.is_ok(), "{:?} {:?}", fits, views);
    }

    /// Compares with the definition: the address of every element is a multiple of the alignment.
    #[test]
    fn aligned_is_every_element_aligned(
        axes in prop::collection::vec((1_usize..4, -32_isize..32), 0..4),
        address in 0_usize..64,
        log_alignment in 0_u32..6,
    ) {
        let (shape, strides): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
        let layout = Layout::from_strides(400, &shape, &strides, 1).unwrap();
        let alignment = 1_usize << log_alignment;
        let every = element_offsets(&layout)
            .iter()
            .all(|offset| (address as i128 + offset) % alignment as i128 == 0);
        prop_assert_eq!(layout.is_aligned(address, alignment), every);
        prop_assert!(!layout.is_aligned(address, 0));
    }

    #[test]
    fn overlap_is_exact_for_small_strides(
        axes in prop::collection::vec((0_usize..5, -30_isize..30), 0..5),
        itemsize in 0_usize..6,
    ) {
        let (shape, strides): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
        let layout = Layout::from_strides(1000, &shape, &strides, itemsize).unwrap();
        prop_assert_eq!(layout.may_self_overlap(), overlaps(&layout));
    }

    #[test]
    fn no_overlap_is_a_proof(
        axes in prop::collection::vec((1_usize..24, -5000_isize..5000), 0..4),
        itemsize in 1_usize..9,
    ) {
        let (shape, strides): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
        let layout = Layout::from_strides(1_000_000, &shape, &strides, itemsize).unwrap();
        prop_assert!(layout.may_self_overlap() || !overlaps(&layout));
    }

    #[test]
    fn sharing_is_exact_for_small_strides(
        one in prop::collection::vec((0_usize..5, -30_isize..30), 0..4),
        other in prop::collection::vec((0_usize..5, -30_isize..30), 0..4),
        itemsizes in (0_usize..6, 0_usize..6),
        apart in 0_usize..60,
    ) {
        let layout = |axes: Vec<(usize, isize)>, offset, itemsize| {
            let (shape, strides): (Vec<_>, Vec<_>) = axes.into_iter().unzip();
            Layout::from_strides(offset, &shape, &strides, itemsize).unwrap()
        };
        let one = layout(one, 1000, itemsizes.0);
        let other = layout(other, 970 + apart, itemsizes.1);
        let [mine, theirs] = [&one, &other].map(|layout| {
            let size = layout.itemsize() as i128;
            let starts = element_offsets(layout);
            let bytes = starts.iter().flat_map(|start| *start..start + size);
            bytes.collect::<HashSet<_>>()
        });
        let shares = !mine.is_disjoint(&theirs);
        prop_assert_eq!(one.may_share(&other), shares);
        prop_assert_eq!(other.may_share(&one), shares);
    }

    #[test]
    fn index_and_offset_of_agree_with_slice(
        shape in small_shape(),
        order in order(),
        indices in prop::collection::vec(-7_isize..7, 0..6),
    ) {
        let layout = Layout::contiguous(&shape, 4, order).unwrap().with_offset(16).unwrap();
        let entries: Vec<Index> = indices.iter().map(|&i| Index::At(i)).collect();
        prop_assert_eq!(layout.index(&indices), layout.slice(&entries));
        match layout.offset_of(&indices) {
            Ok(offset) => {
                prop_assert_eq!(indices.len(), shape.len());
                prop_assert_eq!(layout.index(&indices).unwrap().offset(), offset);
            }
            Err(LayoutError::TooFewIndices { .. }) => prop_assert!(indices.len() < shape.len()),
            Err(error) => prop_assert_eq!(layout.slice(&entries), Err(error)),
        }
    }

    #[test]
    fn broadcast_shapes_is_numpys(
        shapes in prop::collection::vec(
            prop::collection::vec(select(vec![0_usize, 1, 1, 1, 2, 3, 3]), 0..4), 0..5,
        ),
    ) {
        let arguments: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
        let tuples: Vec<String> = shapes.iter().map(|shape| tuple(shape)).collect();
        let views = oracle(&format!("np.broadcast_shapes({})", tuples.join(", ")));
        match (broadcast_shapes(&arguments), views) {
            (Ok(shape), Ok(views)) => prop_assert_eq!(Value::from(shape.to_vec()), views),
            (Err(LayoutError::BroadcastMismatch { first, second, .. }), Err(views)) => {
                let pair = format!("between arg {first} with");
                prop_assert!(views.contains(&pair), "{}: {}", pair, views);
                let other = format!("and arg {second} with");
                prop_assert!(views.contains(&other), "{}: {}", other, views);
            }
            (ours, views) => prop_assert!(false, "{ours:?}, NumPy: {views:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Also for axes of length 1 and 0.
    #[test]
    fn layouts_in_a_buffer_are_numpys(
        shape in prop::collection::vec(0_usize..4, 0..5),
        item in item(),
        order in order(),
    ) {
        let Item(dtype, itemsize, _) = item;
        let views = oracle(&format!(
            "np.ndarray({}, {dtype}, np.zeros(4096, 'u1'), order={}).strides",
            tuple(&shape),
            order_name(order),
        ));
        let layout = Layout::in_buffer(&shape, itemsize, order).unwrap();
        prop_assert_eq!(Value::from(layout.strides()), views.unwrap());
        let other = if order == Order::C { Order::F } else { Order::C };
        let is_same = Layout::in_buffer(&shape, itemsize, other).unwrap() == layout;
        let expected = if is_same { Order::C } else { order };
        prop_assert_eq!(layout.order(), Some(expected));
    }
}
