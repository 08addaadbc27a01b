//! Compares layouts with NumPy and with a naive enumeration of elements, and tries hostile numbers.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::unwrap_used
)]

use std::collections::HashSet;

use mapcall_array::layout::{
    Index, Layout, LayoutError, MAX_NDIM, Order, Slice, broadcast_shapes, index,
};
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

/// The array with which a chain of operations starts.
#[derive(Clone, Debug)]
enum Start {
    Contiguous(Vec<usize>, Order),
    /// An array with any strides within a buffer of the given length.
    Strided {
        length: usize,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<isize>,
    },
}

fn start(itemsize: usize) -> impl Strategy<Value = Start> {
    let strided = (
        small_shape(),
        prop::collection::vec(-40_isize..40, 5),
        0_usize..20,
    )
        .prop_map(move |(shape, mut strides, spare)| {
            strides.truncate(shape.len());
            let reach = |wanted: fn(isize) -> bool| -> usize {
                let axes = shape
                    .iter()
                    .zip(&strides)
                    .filter(|(_, stride)| wanted(**stride));
                axes.map(|(size, stride)| size.saturating_sub(1) * stride.unsigned_abs())
                    .sum()
            };
            let offset = spare + reach(|stride| stride < 0);
            let length = offset + reach(|stride| stride > 0) + itemsize + spare;
            Start::Strided {
                length,
                offset,
                shape,
                strides,
            }
        });
    prop_oneof![
        (small_shape(), order()).prop_map(|(shape, order)| Start::Contiguous(shape, order)),
        strided,
    ]
}

/// Random numbers from which an operation is made when its array is known.
struct Dice(std::vec::IntoIter<u16>);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.0.next().unwrap_or(0)) % limit
    }

    fn between(&mut self, low: isize, high: isize) -> isize {
        low + self.below((high - low + 1) as usize) as isize
    }

    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == times - 1
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Slice(Vec<Index>),
    Transpose,
    Permute(Vec<isize>),
    SwapAxes(isize, isize),
    Squeeze,
    ExpandDims(isize),
    Reshape(Vec<isize>, Order),
    BroadcastTo(Vec<usize>),
}

impl Operation {
    fn roll(dice: &mut Dice, layout: &Layout) -> Self {
        let ndim = layout.ndim() as isize;
        match dice.below(12) {
            0..4 => Self::Slice(roll_indices(dice, layout)),
            4 => Self::Transpose,
            5 => {
                let mut axes: Vec<isize> = (0..ndim).collect();
                for i in (1..axes.len()).rev() {
                    axes.swap(i, dice.below(i + 1));
                }
                axes.iter_mut()
                    .filter(|_| dice.once_in(3))
                    .for_each(|axis| *axis -= ndim);
                if dice.once_in(6) {
                    axes.push(dice.between(-5, 5));
                    axes.swap_remove(0);
                }
                Self::Permute(axes)
            }
            6 => Self::SwapAxes(dice.between(-ndim - 1, ndim), dice.between(-ndim, ndim)),
            7 => Self::Squeeze,
            8 => Self::ExpandDims(dice.between(-ndim - 2, ndim + 1)),
            9 | 10 => {
                let order = if dice.once_in(2) { Order::F } else { Order::C };
                Self::Reshape(roll_shape(dice, layout), order)
            }
            _ => {
                let added = (0..dice.below(3)).map(|_| 1).collect::<Vec<_>>();
                let mut shape = [&added, layout.shape()].concat();
                for size in &mut shape {
                    if *size == 1 && dice.once_in(2) || dice.once_in(12) {
                        *size = [2, 3, 1, 0][dice.below(4)];
                    }
                }
                if dice.once_in(12) {
                    shape.pop();
                }
                Self::BroadcastTo(shape)
            }
        }
    }

    fn apply(&self, layout: &Layout) -> Result<Layout, LayoutError> {
        match self {
            Self::Slice(indices) => layout.slice(indices),
            Self::Transpose => Ok(layout.transpose()),
            Self::Permute(axes) => layout.permute(axes),
            Self::SwapAxes(a, b) => layout.swapaxes(*a, *b),
            Self::Squeeze => Ok(layout.squeeze()),
            Self::ExpandDims(axis) => layout.expand_dims(*axis),
            Self::Reshape(shape, order) => layout.reshape(shape, *order),
            Self::BroadcastTo(shape) => layout.broadcast_to(shape),
        }
    }

    fn python(&self) -> String {
        match self {
            Self::Slice(indices) => {
                let indices: Vec<String> = indices.iter().map(index_in_python).collect();
                format!("lambda a: a[{}]", tuple(&indices))
            }
            Self::Transpose => "lambda a: a.T".into(),
            Self::Permute(axes) => format!("lambda a: a.transpose({})", tuple(axes)),
            Self::SwapAxes(a, b) => format!("lambda a: a.swapaxes({a}, {b})"),
            Self::Squeeze => "lambda a: a.squeeze()".into(),
            Self::ExpandDims(axis) => format!("lambda a: np.expand_dims(a, {axis})"),
            Self::Reshape(shape, order) => format!(
                "lambda a: np.reshape(a, {}, order={}, copy=False)",
                tuple(shape),
                order_name(*order)
            ),
            Self::BroadcastTo(shape) => format!("lambda a: np.broadcast_to(a, {})", tuple(shape)),
        }
    }
}

fn index_in_python(index: &Index) -> String {
    let text = |position: Option<isize>| position.map_or("None".into(), |p| p.to_string());
    match index {
        Index::At(position) => position.to_string(),
        Index::Slice(s) => format!("slice({}, {}, {})", text(s.start), text(s.stop), s.step),
        Index::NewAxis => "None".into(),
        Index::Ellipsis => "...".into(),
        _ => unreachable!("{index:?}"),
    }
}

fn roll_indices(dice: &mut Dice, layout: &Layout) -> Vec<Index> {
    let mut indices = Vec::new();
    for &size in layout.shape() {
        let size = size as isize;
        if dice.once_in(5) {
            indices.push(Index::NewAxis);
        }
        indices.push(match dice.below(8) {
            0 if dice.once_in(6) => Index::At(dice.between(-size - 2, size + 1)),
            0 | 1 if size > 0 => Index::At(dice.between(-size, size - 1)),
            2 => index![..][0],
            _ => {
                let mut position = || match dice.below(12) {
                    0..4 => None,
                    4 => Some(isize::MIN),
                    5 => Some(isize::MAX),
                    _ => Some(dice.between(-size - 2, size + 2)),
                };
                let (start, stop) = (position(), position());
                let steps = [
                    1,
                    -1,
                    1,
                    2,
                    -2,
                    3,
                    -3,
                    1,
                    7,
                    isize::MIN,
                    isize::MAX,
                    1 << 61,
                    0,
                ];
                Index::Slice(Slice {
                    start,
                    stop,
                    step: steps[dice.below(steps.len())],
                })
            }
        });
        if dice.once_in(9) {
            break;
        }
    }
    if dice.once_in(20) {
        indices.push(index![-1, 0, ..][dice.below(3)]);
    }
    // With an ellipsis, NumPy returns an array instead of a scalar.
    let at = dice.below(indices.len() + 1);
    if at < indices.len() && dice.once_in(2) {
        indices[at] = Index::Ellipsis;
    } else {
        indices.insert(at, Index::Ellipsis);
    }
    if dice.once_in(20) {
        indices.push(Index::Ellipsis);
    }
    indices
}

/// Returns a shape that usually has the same number of elements, and often needs no copy.
fn roll_shape(dice: &mut Dice, layout: &Layout) -> Vec<isize> {
    let mut shape = vec![1];
    for &size in layout.shape() {
        let mut size = size as isize;
        while size != 1 {
            let factor = (2..=size).find(|factor| size % factor == 0).unwrap_or(0);
            size = if factor == 0 { 1 } else { size / factor };
            if dice.once_in(2) {
                shape.push(factor);
            } else {
                *shape.last_mut().unwrap() *= factor;
            }
        }
        if dice.once_in(5) {
            shape.push(1);
        }
    }
    if dice.once_in(2) {
        shape.retain(|&size| size != 1);
    }
    let at = dice.below(shape.len().max(1));
    if let Some(size) = shape.get_mut(at) {
        match dice.below(12) {
            0..3 => *size = -1,
            3 => *size = dice.between(-3, 4),
            _ => {}
        }
    }
    if dice.once_in(20) {
        shape.push(-1);
    }
    shape
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

/// Compares a layout with NumPy's view; the offset of a view without elements differs on purpose.
fn assert_same(layout: &Layout, view: &Value, start: usize, alignment: usize, offset: usize) {
    let numbers = |key: &str| -> Vec<i64> {
        view[key]
            .as_array()
            .unwrap()
            .iter()
            .map(|number| number.as_i64().unwrap())
            .collect()
    };
    let shape: Vec<i64> = layout.shape().iter().map(|&size| size as i64).collect();
    let strides: Vec<i64> = layout
        .strides()
        .iter()
        .map(|&stride| stride as i64)
        .collect();
    assert_eq!(shape, numbers("shape"));
    assert_eq!(strides, numbers("strides"));
    assert_eq!(layout.offset(), offset);
    assert_eq!(layout.is_c_contiguous(), view["c"]);
    assert_eq!(layout.is_f_contiguous(), view["f"]);
    assert_eq!(layout.is_aligned(start, alignment), view["aligned"]);
    if layout.is_empty() {
        assert_eq!(layout.bounds(), offset..offset);
    } else {
        let bounds = layout.bounds();
        assert_eq!(
            (bounds.start as u64, bounds.end as u64),
            (
                view["low"].as_u64().unwrap(),
                view["high"].as_u64().unwrap()
            )
        );
    }
}

fn assert_chain(item: Item, start: &Start, rolls: Vec<Vec<u16>>) -> Result<(), TestCaseError> {
    let Item(dtype, itemsize, alignment) = item;
    let (first, call) = match start {
        Start::Contiguous(shape, order) => (
            Layout::contiguous(shape, itemsize, *order).unwrap(),
            format!(
                "contiguous({}, {dtype}, {}, ",
                tuple(shape),
                order_name(*order)
            ),
        ),
        Start::Strided {
            length,
            offset,
            shape,
            strides,
        } => (
            Layout::from_strides(*offset, shape, strides, itemsize).unwrap(),
            format!(
                "strided({length}, {offset}, {}, {}, {dtype}, ",
                tuple(shape),
                tuple(strides)
            ),
        ),
    };
    let mut layout = first.clone();
    let mut steps = Vec::new();
    for roll in rolls {
        let operation = Operation::roll(&mut Dice(roll.into_iter()), &layout);
        let result = operation.apply(&layout);
        if let Ok(view) = &result {
            layout = view.clone();
        }
        steps.push((operation, result));
    }

    let operations: Vec<String> = steps
        .iter()
        .map(|(operation, _)| operation.python())
        .collect();
    let answer = oracle(&format!("{call}[{}])", operations.join(", ")));
    let answer = answer.map_err(TestCaseError::fail)?;
    let address = answer["start"].as_u64().unwrap() as usize;
    let views = answer["views"].as_array().unwrap();
    assert_same(&first, &views[0], address, alignment, first.offset());

    let mut layout = first;
    for ((operation, result), numpy) in steps.iter().zip(&views[1..]) {
        match (result, numpy.as_str()) {
            (Ok(view), None) => {
                let offset = match numpy["offset"].as_u64() {
                    Some(offset) if !layout.is_empty() => offset as usize,
                    _ => layout.offset(),
                };
                assert_same(view, numpy, address, alignment, offset);
                // A view does not reach beyond the bounds of its array.
                prop_assert!(view.bounds().start >= layout.bounds().start);
                prop_assert!(view.bounds().end <= layout.bounds().end);
                if view.nbytes() <= 4096 {
                    prop_assert_eq!(view.may_self_overlap(), overlaps(view), "{:?}", view);
                }
                layout = view.clone();
            }
            (Err(error), Some(message)) => {
                let needs_copy = matches!(error, LayoutError::NeedsCopy { .. });
                prop_assert_eq!(
                    needs_copy,
                    message.contains("Unable to avoid"),
                    "{}",
                    message
                );
            }
            _ => prop_assert!(
                false,
                "{operation:?} of {layout:?}: {result:?}, NumPy: {numpy}"
            ),
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn views_are_numpys(
        (item, start) in item().prop_flat_map(|item| (Just(item), start(item.1))),
        rolls in prop::collection::vec(prop::collection::vec(any::<u16>(), 0..60), 1..=6),
    ) {
        assert_chain(item, &start, rolls)?;
    }

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
