//! Random operations on an array, one after the other: each view is that of NumPy.

use mapcall_array::layout::{Index, Layout, LayoutError, Order, Slice, index};
use proptest::prelude::*;
use serde_json::Value;

use super::{Item, item, oracle, order, order_name, overlaps, small_shape, tuple};

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
}
