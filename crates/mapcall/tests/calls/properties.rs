//! The checks against naive ones.

use std::collections::BTreeSet;
use std::fmt::Write;

use mapcall::Prototype;
use mapcall::call::SmallFrame;
use mapcall::contract::{
    ArrayRule, Backing, Check, Contract, HostValue, Memory, Number, Quick, QuickArgument, Role,
    Rule,
};
use proptest::prelude::*;

const TYPES: [(&str, usize); 3] = [
    ("size_t", usize::MAX),
    ("int", i32::MAX as usize),
    ("signed char", 127),
];

/// The extent of an axis.
#[derive(Clone, Copy, Debug)]
enum Extent {
    Name(usize),
    Constant(usize),
    Product(usize, usize),
    Next(usize),
    Eighth(usize),
    Difference(usize, usize),
    Quotient(usize, usize),
}

impl Extent {
    fn text(self) -> String {
        match self {
            Self::Name(i) => format!("n{i}"),
            Self::Constant(value) => value.to_string(),
            Self::Product(i, j) => format!("n{i} * n{j}"),
            Self::Next(i) => format!("n{i} + 1"),
            Self::Eighth(i) => format!("(n{i}+7)/8"),
            Self::Difference(i, j) => format!("n{i} - n{j}"),
            Self::Quotient(i, j) => format!("n{i} / n{j}"),
        }
    }

    /// Its value, if there is one.
    fn value(self, n: [usize; 3]) -> Option<usize> {
        match self {
            Self::Name(i) => Some(n[i]),
            Self::Constant(value) => Some(value),
            Self::Product(i, j) => Some(n[i] * n[j]),
            Self::Next(i) => Some(n[i] + 1),
            Self::Eighth(i) => Some(n[i].div_ceil(8)),
            Self::Difference(i, j) => n[i].checked_sub(n[j]),
            Self::Quotient(i, j) => n[i].checked_div(n[j]),
        }
    }
}

fn extent() -> impl Strategy<Value = Extent> {
    let name = || 0_usize..3;
    prop_oneof![
        6 => name().prop_map(Extent::Name),
        2 => (0_usize..4).prop_map(Extent::Constant),
        1 => (name(), name()).prop_map(|(i, j)| Extent::Product(i, j)),
        1 => name().prop_map(Extent::Next),
        1 => name().prop_map(Extent::Eighth),
        1 => (name(), name()).prop_map(|(i, j)| Extent::Difference(i, j)),
        1 => (name(), name()).prop_map(|(i, j)| Extent::Quotient(i, j)),
    ]
}

/// An array: its extents, how its shape differs from the right one, and whether it is left out.
type Axes = Vec<(Extent, isize)>;

fn arrays() -> impl Strategy<Value = Vec<(Axes, bool)>> {
    let nudge = prop_oneof![30 => Just(0_isize), 1 => Just(1), 1 => Just(-1)];
    let axes = prop::collection::vec((extent(), nudge), 1..4);
    prop::collection::vec((axes, prop::bool::weighted(0.2)), 1..5)
}

/// An address without memory, which is compared and never read.
const START: usize = 1 << 20;

pub(super) fn memory<'a>(start: usize, shape: &'a [usize], strides: &'a [isize]) -> Memory<'a> {
    Memory {
        address: std::ptr::without_provenance_mut(START + start),
        shape,
        strides,
        is_contiguous: true,
        is_writeable: true,
        is_shared: false,
        backing: Backing::Private,
    }
}

/// An array of the dtype that a rule asks for.
fn array<'a>(rule: &'a ArrayRule, memory: Memory<'a>) -> HostValue<'a> {
    let dtype = Ok(rule.dtype());
    HostValue::Array { memory, dtype }
}

/// What a call is worth: the inferred values and the shapes of the outputs.
type Settled = Option<(Vec<usize>, Vec<Vec<usize>>)>;

/// By the definition: a value for each name such that all shapes are the extents' values.
fn naive(
    arrays: &[(Axes, bool)],
    shapes: &[Vec<usize>],
    given: [usize; 3],
    types: [usize; 3],
    bare: &[usize],
) -> Settled {
    let mut n = given;
    for &name in bare {
        let mut told = BTreeSet::new();
        for ((axes, left_out), shape) in arrays.iter().zip(shapes) {
            for ((extent, _), &length) in axes.iter().zip(shape) {
                if !left_out && matches!(extent, Extent::Name(i) if *i == name) {
                    told.insert(length);
                }
            }
        }
        match (told.len(), told.first()) {
            (1, Some(&length)) if length <= TYPES[types[name]].1 => n[name] = length,
            _ => return None,
        }
    }
    let mut outputs = Vec::new();
    for ((axes, left_out), shape) in arrays.iter().zip(shapes) {
        let values = axes.iter().map(|(extent, _)| extent.value(n));
        let values = values.collect::<Option<Vec<_>>>()?;
        if *left_out {
            outputs.push(values);
        } else if values != *shape {
            return None;
        }
    }
    Some((bare.iter().map(|&name| n[name]).collect(), outputs))
}

fn checked(
    contract: &Contract,
    shapes: &[Vec<usize>],
    left_out: &[bool],
    given: [usize; 3],
) -> Settled {
    let mut frame = vec![0; contract.slots()];
    let mut check = Check::new(contract, &mut frame);
    for (position, rule) in contract.rules().iter().enumerate() {
        let strides = [0; 4];
        let value = match rule {
            Rule::Number(_) => HostValue::Number(given[position].into()),
            Rule::Array(rule) if !left_out[position - 3] => {
                let shape = &shapes[position - 3];
                array(rule, memory(0, shape, &strides[..shape.len()]))
            }
            _ => HostValue::Omitted,
        };
        check.argument(Role::Parameter(position), value).ok()?;
    }
    check.finish().ok()?;
    let outputs = (0..).map_while(|index| check.output(index));
    let outputs = outputs.map(|output| output.shape.to_vec()).collect();
    let slots = contract.rules().iter().zip(&frame);
    let inferred = slots.filter(|(rule, _)| matches!(rule, Rule::Inferred(_)));
    Some((
        inferred
            .map(|(_, &slot)| usize::try_from(slot).unwrap())
            .collect(),
        outputs,
    ))
}

/// What is given for a parameter.
#[derive(Clone, Copy)]
enum Given<'a> {
    Slot(u64),
    Array(Memory<'a>),
}

impl<'a> QuickArgument<'a, ()> for Given<'a> {
    fn number(self, _: Number) -> Option<u64> {
        match self {
            Self::Slot(slot) => Some(slot),
            Self::Array(_) => None,
        }
    }

    fn array(self, (): &()) -> Option<Memory<'a>> {
        match self {
            Self::Slot(_) => None,
            Self::Array(memory) => Some(memory),
        }
    }

    fn backing(self) -> Backing<'a> {
        Backing::Private
    }

    fn text(self) -> Option<&'a [u8]> {
        None
    }
}

/// The inferred values by the quick way, if the contract has one.
fn quickly(contract: &Contract, shapes: &[Vec<usize>], given: [usize; 3]) -> Option<Settled> {
    let quick = Quick::new(contract, |_| Some(()))?;
    let strides = [0; 4];
    let rules = contract.rules().iter().enumerate();
    let operands = rules.filter_map(|(position, rule)| match rule {
        Rule::Inferred(_) => None,
        Rule::Number(number) => {
            let value = i64::try_from(given[position]).unwrap();
            Some(Given::Slot(number.slot_of_integer(value).unwrap()))
        }
        _ => {
            let shape = &shapes[position - 3];
            Some(Given::Array(memory(0, shape, &strides[..shape.len()])))
        }
    });
    let operands: Vec<_> = operands.collect();
    let mut frame = SmallFrame::default();
    let bytes = quick.fill(&mut frame, &operands.into_iter());
    Some(bytes.map(|_| {
        let slots = contract.rules().iter().zip(&frame.0);
        let inferred = slots.filter(|(rule, _)| matches!(rule, Rule::Inferred(_)));
        let inferred = inferred.map(|(_, &slot)| usize::try_from(slot).unwrap());
        (inferred.collect(), Vec::new())
    }))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_quick_check_accepts_what_the_check_accepts(
        arrays in prop::collection::vec(
            prop::collection::vec(
                (prop_oneof![4 => (0_usize..3).prop_map(Extent::Name), 1 => (0_usize..6).prop_map(Extent::Constant)], prop_oneof![15 => Just(0_isize), 1 => Just(1)]),
                1..3,
            ),
            1..5,
        ),
        n in prop::array::uniform3(prop_oneof![8 => 0_usize..6, 1 => 120_usize..140]),
        types in prop::array::uniform3(0_usize..3),
    ) {
        let mut text = String::from("double f(");
        for (i, &which) in types.iter().enumerate() {
            let _ = write!(text, "{} n{i}, ", TYPES[which].0);
        }
        for (i, axes) in arrays.iter().enumerate() {
            let _ = write!(text, "{}float x{i}", if i == 0 { "" } else { ", " });
            for (extent, _) in axes {
                let _ = write!(text, "[{}]", extent.text());
            }
        }
        text.push(')');
        let given = [0, 1, 2].map(|i| n[i].min(TYPES[types[i]].1));
        let shape = |axes: &Axes| -> Vec<usize> {
            let length = |(extent, nudge): &(Extent, isize)| {
                extent.value(n).unwrap_or(0).saturating_add_signed(*nudge)
            };
            axes.iter().map(length).collect()
        };
        let shapes: Vec<_> = arrays.iter().map(shape).collect();
        let contract = Contract::new(Prototype::parse(&text).unwrap()).unwrap();
        if let Some(quickly) = quickly(&contract, &shapes, given) {
            let checked = checked(&contract, &shapes, &vec![false; shapes.len()], given);
            prop_assert_eq!(quickly, checked, "{}", text);
        }
    }

    #[test]
    fn shapes_are_taken_exactly_if_they_fit(
        arrays in arrays(),
        n in prop::array::uniform3(prop_oneof![8 => 0_usize..6, 1 => 120_usize..140]),
        types in prop::array::uniform3(0_usize..3),
    ) {
        let mut text = String::from("void f(");
        for (i, &which) in types.iter().enumerate() {
            let _ = write!(text, "{} n{i}, ", TYPES[which].0);
        }
        for (i, (axes, _)) in arrays.iter().enumerate() {
            let _ = write!(text, "{}float x{i}", if i == 0 { "" } else { ", " });
            for (extent, _) in axes {
                let _ = write!(text, "[{}]", extent.text());
            }
        }
        text.push(')');
        let bare: BTreeSet<_> = arrays
            .iter()
            .flat_map(|(axes, _)| axes)
            .filter_map(|(extent, _)| match extent {
                Extent::Name(i) => Some(*i),
                _ => None,
            })
            .collect();
        let bare: Vec<_> = bare.into_iter().collect();
        // What isn't inferred is given, and its type has it.
        let given = [0, 1, 2].map(|i| n[i].min(TYPES[types[i]].1));
        let n = [0, 1, 2].map(|i| if bare.contains(&i) { n[i] } else { given[i] });
        let shape = |(axes, _): &(Axes, bool)| -> Vec<usize> {
            let length = |(extent, nudge): &(Extent, isize)| {
                extent.value(n).unwrap_or(0).saturating_add_signed(*nudge)
            };
            axes.iter().map(length).collect()
        };
        let shapes: Vec<_> = arrays.iter().map(shape).collect();
        let left_out: Vec<_> = arrays.iter().map(|(_, left_out)| *left_out).collect();

        let contract = Contract::new(Prototype::parse(&text).unwrap()).unwrap();
        let expected = naive(&arrays, &shapes, given, types, &bare);
        prop_assert_eq!(checked(&contract, &shapes, &left_out, given), expected, "{}", text);
    }

    #[test]
    fn restrict_arrays_are_apart_byte_by_byte(
        arrays in prop::collection::vec((any::<bool>(), any::<bool>(), 0_usize..40, 0_usize..16), 2..6),
    ) {
        let parameters: Vec<_> = arrays
            .iter()
            .enumerate()
            .map(|(i, (is_const, is_restrict, _, length))| {
                let (constant, restrict) =
                    (if *is_const { "const " } else { "" }, if *is_restrict { "restrict " } else { "" });
                format!("{constant}char x{i}[{restrict}{length}]")
            })
            .collect();
        let text = format!("void f({})", parameters.join(", "));
        let contract = Contract::new(Prototype::parse(&text).unwrap()).unwrap();
        let mut frame = vec![0; contract.slots()];
        let mut check = Check::new(&contract, &mut frame);
        for (position, (_, _, start, length)) in arrays.iter().enumerate() {
            let rule = contract.rules()[position].array().unwrap();
            let shape = [*length];
            let value = array(rule, memory(*start, &shape, &[1]));
            check.argument(Role::Parameter(position), value).unwrap();
        }
        let bytes = |(_, _, start, length): &(bool, bool, usize, usize)| -> BTreeSet<_> {
            (*start..start + length).collect()
        };
        let clashes = |(i, one): (usize, &(bool, bool, usize, usize))| {
            arrays[i + 1..].iter().any(|other| {
                (one.1 || other.1) && !(one.0 && other.0) && !bytes(one).is_disjoint(&bytes(other))
            })
        };
        let clash = arrays.iter().enumerate().any(clashes);
        prop_assert_eq!(check.finish().is_err(), clash, "{}", text);
        if let Some(quick) = Quick::new(&contract, |_| Some(())) {
            let shapes: Vec<_> = arrays.iter().map(|(_, _, _, length)| [*length]).collect();
            let given = arrays.iter().zip(&shapes);
            let given = given.map(|((_, _, start, _), shape)| memory(*start, shape, &[1]));
            let taken = quick.fill(&mut SmallFrame::default(), &given);
            prop_assert_eq!(taken.is_none(), clash, "{}", text);
        }
        let total: usize = arrays.iter().map(|(_, _, _, length)| length).sum();
        prop_assert_eq!(check.nbytes(), total);
    }
}
