//! The quick check of derived numbers, layouts and outputs that are left out, against the full one.

use std::fmt::Write;

use mapcall::Prototype;
use mapcall::contract::{
    Backing, Check, Contract, HostValue, Memory, Number, Output, QuickArgument, QuickCall,
    QuickDerived, Role, Rule, Scalar,
};
use proptest::prelude::*;

/// An integer parameter: the declaration before its name, and whether it is a pointer.
const INTEGERS: [(&str, bool); 5] = [
    ("size_t ", false),
    ("int ", false),
    ("const int *", true),
    ("const signed char *", true),
    ("long *", true),
];

/// Attributes with expressions: `{0}` to `{2}` are integers of the prototype.
const CONDITIONS: [&str; 5] = [
    "[[mapcall::equals({0} + 1)]] ",
    "[[mapcall::equals({0} * {1})]] ",
    "[[mapcall::between(1, {0} + 3)]] ",
    "[[mapcall::between({0}, 9)]] ",
    "[[mapcall::equals(2)]] ",
];

const EXTENTS: [&str; 7] = [
    "{0}",
    "{1}",
    "{2}",
    "3",
    "{0} + 1",
    "{0} * {1}",
    "{1} - {2}",
];

/// An address without memory, which is compared and never read.
pub(super) const START: usize = 1 << 20;

/// An array parameter and its argument.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn on its own")]
struct Array {
    extents: Vec<usize>,
    is_const: bool,
    is_in_out: bool,
    is_restrict: bool,
    is_nullable: bool,
    is_column_major: bool,
    /// The index of the integer that is the distance between rows.
    stride: Option<usize>,
    /// The difference of each length from the right one.
    nudges: Vec<isize>,
    /// How much longer the rows are than their elements.
    pad: usize,
    /// Whether the strides are those of the declared order.
    is_in_order: bool,
    is_writeable: bool,
    /// The offset of its address, if it is not far from those of the others.
    offset: Option<usize>,
}

fn arrays() -> impl Strategy<Value = Vec<Array>> {
    let rare = || prop::bool::weighted(0.1);
    let nudge = prop_oneof![30 => Just(0_isize), 1 => Just(1)];
    let axes = prop::collection::vec((0..EXTENTS.len(), nudge), 1..3);
    let kinds = (any::<bool>(), any::<bool>(), any::<bool>(), rare());
    let pad = prop_oneof![3 => Just(0_usize), 1 => 1_usize..3];
    let layouts = (any::<bool>(), prop::option::of(0_usize..4), pad, rare());
    let places = (rare(), prop::option::weighted(0.1, 0_usize..100));
    let array = (axes, kinds, layouts, places).prop_map(|(axes, kinds, layouts, places)| {
        let (is_const, is_in_out, is_restrict, is_nullable) = kinds;
        let (is_column_major, stride, pad, is_out_of_order) = layouts;
        let (extents, nudges) = axes.into_iter().unzip();
        Array {
            extents,
            is_const,
            is_in_out: is_in_out && !is_const,
            is_restrict,
            is_nullable,
            is_column_major,
            stride,
            nudges,
            pad,
            is_in_order: !is_out_of_order,
            is_writeable: !places.0,
            offset: places.1.map(|offset| 2 * offset),
        }
    });
    prop::collection::vec(array, 1..4)
}

/// A parameter of a random prototype.
#[derive(Clone, Debug)]
enum Parameter {
    Integer {
        kind: usize,
        condition: Option<usize>,
    },
    Array(usize),
    Number,
    Text,
    Length,
}

/// What is given for a parameter.
#[derive(Clone, Copy)]
pub(super) enum Given<'a> {
    Integer(i64),
    Real(f64),
    Text(&'a [u8]),
    Array(Memory<'a>),
}

impl<'a> QuickArgument<'a, ()> for Given<'a> {
    fn number(self, number: Number) -> Option<u64> {
        match self {
            Self::Integer(value) => number.slot_of_integer(value),
            Self::Real(value) => number.slot_of_real(value),
            _ => None,
        }
    }

    fn array(self, (): &()) -> Option<Memory<'a>> {
        match self {
            Self::Array(memory) => Some(memory),
            _ => None,
        }
    }

    fn backing(self) -> Backing<'a> {
        Backing::Private
    }

    fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// What a call passes: the value of each parameter, behind its pointer if it is a number by reference, the size
/// of the arrays, and the outputs to be allocated.
pub(super) type Passed = Option<(Vec<u64>, usize, Vec<Output>)>;

/// Reads the values of numbers that are passed by reference from their copies.
pub(super) fn values(contract: &Contract, frame: &[u64]) -> Vec<u64> {
    let value = |(position, rule): (usize, &Rule)| {
        let slot = frame[contract.layout().parameter(position)];
        let is_reference = match rule {
            Rule::Inferred(inferred) => inferred.is_by_reference,
            Rule::Derived(derived) => derived.is_by_reference,
            Rule::Reference(_) => true,
            Rule::Array(array) => array.number().is_some(),
            _ => false,
        };
        if !is_reference || slot == 0 || (START..2 * START).contains(&(slot as usize)) {
            return slot;
        }
        let copy: *const u64 = std::ptr::with_exposed_provenance(slot as usize);
        // SAFETY: the slot has the address of a copy of the number.
        unsafe { copy.read() }
    };
    contract.rules().iter().enumerate().map(value).collect()
}

pub(super) fn checked(contract: &Contract, given: &[Option<Given<'_>>]) -> Passed {
    // Aligned to 16 bytes, as a frame is.
    let mut frame = vec![0_u128; contract.slots().div_ceil(2)];
    let slots: &mut [u64] = bytemuck::cast_slice_mut(&mut frame);
    let mut check = Check::new(contract, slots);
    for (position, (rule, given)) in contract.rules().iter().zip(given).enumerate() {
        let value = match *given {
            None => HostValue::Omitted,
            Some(Given::Integer(value)) => HostValue::Number(value.into()),
            Some(Given::Real(value)) => HostValue::Number(Scalar::Float(value)),
            Some(Given::Text(text)) => HostValue::Text(text),
            Some(Given::Array(memory)) => match rule.array() {
                Some(array) => HostValue::Array {
                    memory,
                    dtype: Ok(array.dtype()),
                },
                None => HostValue::Other,
            },
        };
        check.argument(Role::Parameter(position), value).ok()?;
    }
    check.finish().ok()?;
    let outputs = (0..).map_while(|index| check.output(index)).collect();
    let nbytes = check.nbytes();
    drop(check);
    let slots: &[u64] = bytemuck::cast_slice(&frame);
    Some((values(contract, slots), nbytes, outputs))
}

pub(super) fn quickly(contract: &Contract, given: &[Option<Given<'_>>]) -> Option<Passed> {
    let quick = QuickDerived::new(contract, |_| Some(()))?;
    let mut call = QuickCall::new(&quick);
    let arguments: Vec<_> = given.iter().flatten().copied().collect();
    let nbytes = call.fill(&arguments.into_iter());
    Some(nbytes.map(|nbytes| {
        let outputs = (0..).map_while(|index| call.output(index)).collect();
        (values(contract, call.slots()), nbytes, outputs)
    }))
}

/// A random prototype, and the arguments of a call.
#[derive(Clone, Debug)]
pub(super) struct Case {
    parameters: Vec<Parameter>,
    /// The parameters' order: the index of each.
    order: Vec<usize>,
    arrays: Vec<Array>,
    /// The values of the first integers; the last one only occurs as a distance between rows.
    n: [usize; 3],
    real: f64,
    /// Whether outputs are given, too.
    is_complete: bool,
}

pub(super) fn cases() -> impl Strategy<Value = Case> {
    let condition = prop::option::weighted(0.12, 0..CONDITIONS.len());
    let integers = prop::collection::vec((0..INTEGERS.len(), condition), 4);
    let others = prop::sample::subsequence(
        vec![Parameter::Number, Parameter::Text, Parameter::Length],
        0..2,
    );
    let n = prop::array::uniform3(prop_oneof![12 => 0_usize..5, 1 => 120_usize..135]);
    let real = prop_oneof![4 => (0_i32..9).prop_map(f64::from), 1 => Just(1e300)];
    let parts = (
        integers,
        arrays(),
        others,
        n,
        real,
        any::<bool>(),
        any::<prop::sample::Index>(),
    );
    parts.prop_map(|(integers, arrays, others, n, real, is_complete, first)| {
        let integers = integers.into_iter();
        let integers = integers.map(|(kind, condition)| Parameter::Integer { kind, condition });
        let parameters: Vec<_> = integers
            .chain((0..arrays.len()).map(Parameter::Array))
            .chain(others)
            .collect();
        let mut order: Vec<_> = (0..parameters.len()).collect();
        order.rotate_left(first.index(parameters.len()));
        Case {
            parameters,
            order,
            arrays,
            n,
            real,
            is_complete,
        }
    })
}

impl Case {
    /// Returns the expression for an integer: `n0` or `*n0`.
    fn integer(&self, index: usize) -> String {
        match self.parameters[index] {
            Parameter::Integer { kind, .. } if INTEGERS[kind].1 => format!("*n{index}"),
            _ => format!("n{index}"),
        }
    }

    fn expression(&self, text: &str) -> String {
        (0..3).fold(text.to_owned(), |text, index| {
            text.replace(&format!("{{{index}}}"), &self.integer(index))
        })
    }

    fn declaration(&self, which: usize) -> String {
        match self.parameters[which] {
            Parameter::Integer { kind, condition } => {
                let condition =
                    condition.map_or(String::new(), |index| self.expression(CONDITIONS[index]));
                format!("{condition}{}n{which}", INTEGERS[kind].0)
            }
            Parameter::Array(array) => {
                let rule = &self.arrays[array];
                let mut text = String::new();
                if rule.is_column_major {
                    text += "[[mapcall::column_major]] ";
                }
                if let Some(stride) = rule.stride {
                    let _ = write!(text, "[[mapcall::stride({})]] ", self.integer(stride));
                }
                let _ = write!(
                    text,
                    "{}float x{array}",
                    if rule.is_const { "const " } else { "" }
                );
                let nullable = if rule.is_nullable { "_Nullable " } else { "" };
                let restrict = if rule.is_restrict { "restrict " } else { "" };
                let _ = write!(text, "[{nullable}{restrict}");
                let extents = rule
                    .extents
                    .iter()
                    .map(|&extent| self.expression(EXTENTS[extent]));
                text + &extents.collect::<Vec<_>>().join("][") + "]"
            }
            Parameter::Number => "const float r[1]".into(),
            Parameter::Text => "const char *s".into(),
            Parameter::Length => "const char c[3]".into(),
        }
    }

    pub(super) fn prototype(&self) -> String {
        let parameters: Vec<_> = self
            .order
            .iter()
            .map(|&which| self.declaration(which))
            .collect();
        let mut text = format!("double f({})", parameters.join(", "));
        for (index, &which) in self.order.iter().enumerate() {
            if let Parameter::Array(array) = self.parameters[which]
                && self.arrays[array].is_in_out
            {
                let _ = write!(text, " __attribute__((access(read_write, {})))", index + 1);
            }
        }
        text
    }

    /// Returns the shape of an argument.
    fn shape(&self, array: &Array) -> Vec<usize> {
        let [a, b, c] = self.n;
        let lengths = [a, b, c, 3, a + 1, a * b, b.saturating_sub(c)];
        let axes = array.extents.iter().zip(&array.nudges);
        { axes }
            .map(|(&extent, &nudge)| lengths[extent].saturating_add_signed(nudge))
            .collect()
    }

    /// Returns the shape and the strides of each array.
    pub(super) fn layouts(&self) -> Vec<(Vec<usize>, Vec<isize>)> {
        let layout = |array: &Array| {
            let shape = self.shape(array);
            let strides = strides(array, &shape);
            (shape, strides)
        };
        self.arrays.iter().map(layout).collect()
    }

    /// Returns the argument of each parameter; `None` for those that are left out.
    pub(super) fn arguments<'a>(
        &self,
        contract: &Contract,
        layouts: &'a [(Vec<usize>, Vec<isize>)],
    ) -> Vec<Option<Given<'a>>> {
        let rules = contract.rules().iter().enumerate();
        let argument = |(position, rule)| {
            let is_left_out = !self.is_complete && contract.is_optional(position);
            (!is_left_out)
                .then(|| self.given(self.order[position], rule, layouts))
                .flatten()
        };
        rules.map(argument).collect()
    }

    /// Returns the argument of a parameter.
    fn given<'a>(
        &self,
        which: usize,
        rule: &Rule,
        layouts: &'a [(Vec<usize>, Vec<isize>)],
    ) -> Option<Given<'a>> {
        Some(match self.parameters[which] {
            Parameter::Integer { .. } if matches!(rule, Rule::Inferred(_) | Rule::Derived(_)) => {
                return None;
            }
            Parameter::Integer { .. } => Given::Integer(
                self.n
                    .get(which)
                    .map_or(7, |value| value.cast_signed() as i64),
            ),
            Parameter::Array(array) => {
                let (shape, strides) = &layouts[array];
                let mut step = 4;
                let mut axes = shape.iter().zip(strides).rev();
                let is_contiguous = shape.contains(&0)
                    || axes.all(|(&length, &stride)| {
                        let follows = length == 1 || stride == step;
                        step *= length.cast_signed();
                        follows
                    });
                let offset = self.arrays[array].offset.unwrap_or(array << 18);
                Given::Array(Memory {
                    address: std::ptr::without_provenance_mut(START + offset),
                    shape,
                    strides,
                    is_contiguous,
                    is_writeable: self.arrays[array].is_writeable,
                    is_shared: false,
                    backing: Backing::Private,
                })
            }
            Parameter::Number => Given::Real(self.real),
            Parameter::Text => Given::Text(b"text\0"),
            Parameter::Length => Given::Text(b"abc\0"),
        })
    }
}

/// Returns the strides of an array of a shape.
fn strides(array: &Array, shape: &[usize]) -> Vec<isize> {
    let mut axes: Vec<usize> = (0..shape.len()).rev().collect();
    if array.is_column_major == array.is_in_order {
        axes.reverse();
    }
    let mut strides = vec![0; shape.len()];
    let mut step = 4 * (1 + if shape.len() == 1 { array.pad } else { 0 });
    for axis in axes {
        strides[axis] = step.cast_signed();
        step = step * shape[axis] + 4 * array.pad;
    }
    strides
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn derived_numbers_and_layouts_are_passed_as_by_the_full_check(case in cases()) {
        let text = case.prototype();
        let Ok(contract) = Contract::new(Prototype::parse(&text).expect(&text)) else {
            return Ok(());
        };
        let layouts = case.layouts();
        let given = case.arguments(&contract, &layouts);
        let Some(quickly) = quickly(&contract, &given) else {
            return Ok(());
        };
        let checked = checked(&contract, &given);
        if quickly.is_some() {
            prop_assert_eq!(quickly, checked, "{}", text);
        } else if let Some(checked) = checked {
            // Calls that only the full check accepts: with a number that C writes, with arrays between whose
            // rows others lie, and with expressions for NULL.
            let rules = contract.rules().iter().zip(&given);
            let gives_number = { rules }.any(|(rule, given)| matches!(rule, Rule::InOut(_)) && given.is_some());
            let is_strided = case.arrays.iter().any(|array| array.pad > 0 && array.offset.is_some());
            let is_null = !case.is_complete && case.arrays.iter().any(|array| array.is_nullable);
            prop_assert!(gives_number || is_strided || is_null, "{} is declined: {:?}", text, checked);
        }
    }
}
