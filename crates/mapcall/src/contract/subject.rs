//! The facts about a parameter by which the remedy of an error is chosen.

use super::Contract;
use super::error::{Access, Element, Problem, Range, Subject};
use super::extent_rule::ExtentRule;
use super::number::Number;
use super::role::Role;
use super::rule::{ArrayRule, Inferred, PointerRule, Rule, is_char};
use crate::ctype::{CType, Float, Integer};
use crate::prototype::{Parameter, Prototype};

/// Returns the kind of the elements of a C type.
fn element_of(ctype: &CType) -> Element {
    match ctype.resolved() {
        CType::Record(_) => Element::Record,
        CType::Pointer(pointer) => match pointer.target.resolved() {
            _ if is_char(&pointer.target) => Element::Text,
            CType::Function(_) => Element::Function,
            _ if Number::of(&pointer.target).is_some() => match pointer.target.dtype() {
                Ok(dtype) => Element::Array(dtype),
                Err(_) => Element::Pointer,
            },
            _ => Element::Pointer,
        },
        _ if Number::of(ctype).is_some() => Element::Number,
        _ => Element::None,
    }
}

impl Range {
    /// Returns the values of a type; those of a length if the number is inferred.
    pub(super) fn of(number: Number, is_inferred: bool) -> Self {
        let (least, most) = match number {
            Number::Bool => ("0".to_owned(), "1".to_owned()),
            Number::Integer(integer) => {
                let (least, most) = bounds(integer);
                let longest = i128::try_from(isize::MAX).unwrap_or(i128::MAX);
                let (least, most) = if is_inferred {
                    (0, most.min(longest))
                } else {
                    (least, most)
                };
                (least.to_string(), most.to_string())
            }
            Number::Float(float) | Number::Complex(float) => {
                let most = match float {
                    Float::Float16 => "65504.0".to_owned(),
                    Float::Float => format!("{:e}", f32::MAX),
                    Float::Double | Float::LongDouble => format!("{:e}", f64::MAX),
                };
                (format!("-{most}"), most)
            }
        };
        Self {
            least,
            most,
            is_floating: matches!(number, Number::Float(_) | Number::Complex(_)),
        }
    }
}

/// Returns the smallest and the largest value of an integer type.
fn bounds(integer: Integer) -> (i128, i128) {
    let bits = integer.size() * 8;
    if integer.is_signed() {
        let most = (1_i128 << (bits - 1)) - 1;
        (-most - 1, most)
    } else {
        (0, (1_i128 << bits.min(126)) - 1)
    }
}

impl Subject {
    /// Returns the facts about the parameter, the result or the mask that a problem is about.
    pub(in crate::contract) fn new(contract: &Contract, role: Role, problem: &Problem) -> Self {
        let prototype = contract.prototype();
        let mut subject = match role {
            Role::Parameter(position) => match contract.rules().get(position) {
                Some(rule) => Self::of_parameter(contract, position, rule, problem),
                None => Self::default(),
            },
            Role::Result => contract
                .returned()
                .map_or_else(Self::default, Self::of_array),
            Role::Mask => Self {
                access: Access::Read,
                element: Element::Number,
                ..Self::default()
            },
        };
        if let Problem::Overlap { other } | Problem::Alias { other } = problem {
            let other = prototype.parameter(other).map(|(_, parameter)| parameter);
            subject.only_read = match other {
                _ if subject.access == Access::Read => Some(contract.role_name(role)),
                Some(other) if other.is_only_read() || is_value(other) => Some(other.name.clone()),
                _ => None,
            };
        }
        subject
    }

    fn of_parameter(contract: &Contract, position: usize, rule: &Rule, problem: &Problem) -> Self {
        let scalar = contract.scalar(position);
        let subject = match (rule, scalar) {
            (Rule::Number(_) | Rule::Record { .. }, Some(array)) => Self {
                range: Self::of_rule(rule).range,
                ..Self::of_array(array)
            },
            _ => Self::of_rule(rule),
        };
        let is_unmeasured = matches!(
            problem,
            Problem::Unbounded { .. } | Problem::Unmeasured | Problem::UnmeasuredBatch
        );
        let prototype = contract.prototype();
        Self {
            position: Some(position),
            is_length_free: rule
                .array()
                .is_some_and(|array| is_length_free(contract, position, array)),
            lengths: match problem {
                Problem::Unbounded {
                    shape, is_number, ..
                } => lengths(prototype, position, shape, *is_number),
                _ if is_unmeasured => lengths(prototype, position, &[], false),
                _ => Vec::new(),
            },
            ..subject
        }
    }

    /// Returns the facts that a rule alone has.
    pub(crate) fn of_rule(rule: &Rule) -> Self {
        match rule {
            Rule::Inferred(Inferred { integer, .. }) => Self {
                range: Some(Range::of(Number::Integer(*integer), true)),
                is_inferred: true,
                ..Self::default()
            },
            Rule::InOut(rule) => Self {
                range: Some(Range::of(Number::Integer(rule.inferred.integer), true)),
                is_inferred: true,
                access: Access::Output,
                element: Element::Number,
                ..Self::default()
            },
            Rule::Derived(derived) => Self {
                range: Some(Range::of(derived.number, true)),
                is_inferred: true,
                ..Self::default()
            },
            Rule::Number(number) | Rule::Reference(number) => Self {
                range: Some(Range::of(*number, false)),
                ..Self::default()
            },
            Rule::Array(array) => Self::of_array(array),
            Rule::Pointer(pointer) => Self::of_pointer(pointer),
            Rule::Text => Self {
                access: Access::Read,
                element: Element::Number,
                ..Self::default()
            },
            Rule::Record { .. } => Self {
                element: Element::Record,
                ..Self::default()
            },
            Rule::Function(_) => Self::default(),
        }
    }

    fn of_array(array: &ArrayRule) -> Self {
        Self {
            access: match (array.is_const(), array.is_output()) {
                (true, _) => Access::Read,
                (false, true) => Access::Output,
                (false, false) => Access::Written,
            },
            element: element_of(array.ctype()),
            rank: array.rank(),
            range: array.number().map(|number| Range::of(number, false)),
            ..Self::default()
        }
    }

    fn of_pointer(pointer: &PointerRule) -> Self {
        Self {
            access: if pointer.is_const {
                Access::Read
            } else {
                Access::Written
            },
            element: element_of(&pointer.ctype),
            ..Self::default()
        }
    }
}

/// Returns whether a parameter is passed by value, so that its array in a batch is only read.
fn is_value(parameter: &Parameter) -> bool {
    parameter.rank() == 0 && !matches!(parameter.ctype.resolved(), CType::Pointer(_))
}

/// Returns whether nothing but the array itself depends on the length of its last axis.
fn is_length_free(contract: &Contract, position: usize, array: &ArrayRule) -> bool {
    let Some(ExtentRule::Dimension { dimension, name }) = array.extents().last() else {
        return false;
    };
    let has = |extent: &ExtentRule| matches!(extent, ExtentRule::Dimension { dimension: other, .. } if other == dimension);
    let uses = |(other, rule): (usize, &Rule)| {
        let extents = rule.array().map_or(&[][..], ArrayRule::extents);
        let count = extents.iter().filter(|extent| has(extent)).count();
        count > usize::from(other == position)
    };
    let prototype = contract.prototype();
    let inferred = prototype.parameter(name).map(|(inferred, _)| inferred);
    let is_bare = |expression: &crate::extent::Expr| expression.parameter().is_some();
    let is_mentioned = inferred.is_some_and(|inferred| {
        let mut expressions = prototype.expressions();
        expressions.any(|value| !is_bare(value) && value.mentions(inferred))
    });
    !is_mentioned && !contract.rules().iter().enumerate().any(uses)
}

/// Returns the notations by which the prototype may give the length of a pointer, the likeliest first. `shape`
/// is that of the array that was given, empty if there is none.
fn lengths(
    prototype: &Prototype,
    position: usize,
    shape: &[usize],
    is_number: bool,
) -> Vec<String> {
    let Some(parameter) = prototype.parameters.get(position) else {
        return Vec::new();
    };
    let name = &parameter.name;
    let one = || format!("{name}[1]");
    if is_number {
        return vec![one()];
    }
    let by_value = |other: &Parameter| other.rank() == 0 && other.ctype.integer().is_some();
    let mut integers: Vec<&Parameter> = { prototype.parameters.iter() }
        .filter(|other| by_value(other))
        .collect();
    integers.sort_by_key(|other| !other.is_inferred);
    let mut lengths: Vec<String> = { integers.iter().take(2) }
        .map(|other| format!("{name}[{}]", other.name))
        .collect();
    if let [rows, columns] = integers[..]
        && !rows.is_inferred
    {
        lengths.push(format!("{name}[{}*{}]", rows.name, columns.name));
    }
    if !parameter.is_only_read() {
        lengths.push(one());
    }
    let is_known = !shape.is_empty() && shape != [1];
    if is_known && integers.is_empty() {
        let axes: Vec<String> = shape.iter().map(usize::to_string).collect();
        lengths.insert(0, format!("{name}[{}]", axes.join("][")));
    }
    if lengths.is_empty() {
        lengths.push(one());
    }
    lengths
}
