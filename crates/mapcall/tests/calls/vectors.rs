//! The quick check of numbers and vectors of one length, against the full one.

use std::fmt::Write;

use mapcall::Prototype;
use mapcall::contract::{Contract, Memory, QuickVectors, ShortFrame};
use proptest::prelude::*;

use super::properties;
use super::quick::{Given, checked};

/// Types of numbers.
const NUMBERS: [&str; 4] = ["float", "double", "int", "unsigned char"];

/// Types of elements, with their sizes.
const ELEMENTS: [(&str, usize); 3] = [("char", 1), ("float", 4), ("double", 8)];

/// An array parameter and its argument.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is drawn on its own")]
pub(super) struct Vector {
    pub(super) element: usize,
    is_const: bool,
    is_restrict: bool,
    /// The difference of its length from the others'.
    nudge: usize,
    is_matrix: bool,
    is_contiguous: bool,
    is_writeable: bool,
    /// The offset of its address from those of others that have one.
    offset: Option<usize>,
}

fn vectors() -> impl Strategy<Value = Vec<Vector>> {
    let rare = || prop::bool::weighted(0.05);
    let vector = (
        0..ELEMENTS.len(),
        any::<bool>(),
        any::<bool>(),
        prop_oneof![20 => Just(0_usize), 1 => Just(1)],
        (rare(), rare(), rare()),
        prop::option::weighted(0.3, 0_usize..60),
    );
    let vector = vector.prop_map(
        |(element, is_const, is_restrict, nudge, flags, offset)| Vector {
            element,
            is_const,
            is_restrict,
            nudge,
            is_matrix: flags.0,
            is_contiguous: !flags.1,
            is_writeable: !flags.2,
            offset,
        },
    );
    prop::collection::vec(vector, 0..4)
}

/// Arguments for a random prototype of numbers and vectors of one length.
#[derive(Clone, Debug)]
pub(super) struct Arguments {
    pub(super) vectors: Vec<Vector>,
    /// The kind of each number, and its value.
    pub(super) numbers: Vec<(usize, i64)>,
    pub(super) length: usize,
    /// Whether the length has a narrow type.
    is_narrow: bool,
    /// Whether the length is the first parameter.
    pub(super) is_first: bool,
}

pub(super) fn arguments() -> impl Strategy<Value = Arguments> {
    let number = (0..NUMBERS.len(), prop_oneof![-9_i64..300, Just(1 << 40)]);
    let parts = (
        vectors(),
        prop::collection::vec(number, 0..3),
        prop_oneof![Just(0_usize), 2..9_usize, Just(200)],
        (any::<bool>(), any::<bool>()),
    );
    parts.prop_map(|(vectors, numbers, length, flags)| Arguments {
        vectors,
        numbers,
        length,
        is_narrow: flags.0,
        is_first: flags.1,
    })
}

impl Arguments {
    /// Returns the prototype, whose length is inferred if there are vectors.
    pub(super) fn prototype(&self) -> String {
        let mut declared = Vec::new();
        for (index, (kind, _)) in self.numbers.iter().enumerate() {
            declared.push(format!("{} a{index}", NUMBERS[*kind]));
        }
        for (index, vector) in self.vectors.iter().enumerate() {
            let mut text = String::from(if vector.is_const { "const " } else { "" });
            let restrict = if vector.is_restrict { "restrict " } else { "" };
            let _ = write!(text, "{} x{index}[{restrict}n]", ELEMENTS[vector.element].0);
            declared.push(text);
        }
        if let Some(position) = self.length_position() {
            let n = if self.is_narrow {
                "signed char n"
            } else {
                "size_t n"
            };
            declared.insert(position, n.into());
        }
        if declared.is_empty() {
            declared.push("void".into());
        }
        format!("double f({})", declared.join(", "))
    }

    /// Returns the position of the length; `None` without vectors.
    fn length_position(&self) -> Option<usize> {
        let last = self.numbers.len() + self.vectors.len();
        let position = if self.is_first { 0 } else { last };
        (!self.vectors.is_empty()).then_some(position)
    }

    pub(super) fn shapes(&self) -> Vec<Vec<usize>> {
        let vectors = self.vectors.iter();
        let shape = |vector: &Vector| {
            if vector.is_matrix {
                vec![1, self.length]
            } else {
                vec![self.length + vector.nudge]
            }
        };
        vectors.map(shape).collect()
    }

    pub(super) fn strides(&self) -> Vec<Vec<isize>> {
        let vectors = self.vectors.iter().zip(self.shapes());
        let strides = |(vector, shape): (&Vector, Vec<usize>)| {
            let step = ELEMENTS[vector.element].1 * if vector.is_contiguous { 1 } else { 2 };
            vec![step.cast_signed(); shape.len()]
        };
        vectors.map(strides).collect()
    }

    /// Returns what is given for each parameter but the length: `number` makes the numbers of a type and a value.
    pub(super) fn given<'a>(
        &self,
        shapes: &'a [Vec<usize>],
        strides: &'a [Vec<isize>],
        number: impl Fn(&str, i64) -> Given<'a>,
    ) -> Vec<Given<'a>> {
        let vectors = self.vectors.iter().enumerate();
        let arrays = vectors.map(|(index, vector)| {
            let address = vector.offset.unwrap_or(4096 * (index + 1));
            Given::Array(Memory {
                is_contiguous: vector.is_contiguous,
                is_writeable: vector.is_writeable,
                ..properties::memory(address, &shapes[index], &strides[index])
            })
        });
        let numbers = self.numbers.iter();
        let numbers = numbers.map(|(kind, value)| number(NUMBERS[*kind], *value));
        numbers.chain(arrays).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn vectors_of_one_length_are_taken_as_by_the_check(arguments in arguments()) {
        let text = arguments.prototype();
        let (shapes, strides) = (arguments.shapes(), arguments.strides());
        let operands = arguments.given(&shapes, &strides, |kind, value| match (kind, value) {
            // The quick check leaves integers to the other that may have to be rounded.
            ("float" | "double", 300..) => Given::Real(1e300),
            ("float" | "double", ..0) => Given::Real(f64::NAN),
            _ => Given::Integer(value),
        });
        let mut given: Vec<_> = operands.iter().copied().map(Some).collect();
        if let Some(position) = arguments.length_position() {
            given.insert(position, None);
        }

        let contract = Contract::new(Prototype::parse(&text).unwrap()).unwrap();
        let quick = QuickVectors::new(&contract, |_| Some(())).unwrap();
        let mut frame = ShortFrame::default();
        let nbytes = quick.fill(&mut frame, &operands.into_iter());
        let slots = frame.0[..contract.rules().len()].to_vec();
        let quickly = nbytes.map(|nbytes| (slots, nbytes, Vec::new()));
        prop_assert_eq!(quickly, checked(&contract, &given), "{}", text);
    }
}

#[test]
fn other_contracts_have_another_check() {
    for text in [
        "void f(int n, int m, float x[n], float y[m])",
        "void f(int n, float x[n][n])",
        "void f(float x[3])",
        "void f(int n, float x[n + 1])",
        "size_t f(const char *s)",
        "void f(int a, int b, int c, int d, int e, int f, int g, int h, int i)",
    ] {
        let contract = Contract::new(Prototype::parse(text).unwrap()).unwrap();
        assert!(
            QuickVectors::new(&contract, |_| Some(())).is_none(),
            "{text}"
        );
    }
}
