//! What a remedy must know of the parameter that an error is about.

use crate::contract::extent_rule::ExtentRule;
use crate::contract::number::Number;
use crate::contract::role::Role;
use crate::contract::rule::{ArrayRule, Inferred, PointerRule, Rule, is_char};
use crate::contract::{Contract, Problem};
use crate::ctype::CType;
use crate::prototype::{Parameter, Prototype};
use mapcall_array::DType;

/// The facts about a parameter by which the remedy of an error is chosen.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::{Access, Contract, Problem};
///
/// let contract = Contract::new(Prototype::parse("void f(int n, const int x[n], int y[n])")?)?;
/// let access = |position| contract.refuse(position, Problem::ReadOnly).subject.access;
/// assert_eq!([0, 1, 2].map(access), [Access::None, Access::Read, Access::Output]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Subject {
    /// The position of the parameter; `None` for other subjects.
    pub position: Option<usize>,
    /// How the function uses the memory of the argument.
    pub access: Access,
    /// The kind of the elements in that memory.
    pub element: Element,
    /// The number of axes of an array.
    pub rank: usize,
    /// The type of a number.
    pub number: Option<Number>,
    /// Whether the number may be left out.
    pub is_inferred: bool,
    /// Whether no other parameter depends on the length of the last axis.
    pub is_length_free: bool,
    /// The notations by which the prototype may give the length of a pointer, such as `x[n]`.
    pub lengths: Vec<String>,
    /// The argument that is only read, for a problem with two that share memory.
    pub only_read: Option<String>,
    /// Whether a call that converts arrays takes the argument: see
    /// [`Function::with_conversion`](crate::Function::with_conversion).
    pub can_convert: bool,
    /// The names of the parameters.
    pub names: Vec<String>,
    /// The number of outputs of the function.
    pub outputs: usize,
}

/// How a function uses the memory of an argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// The argument is a value, or its use is not known.
    #[default]
    None,
    /// The function only reads it.
    Read,
    /// The function may write it.
    Written,
    /// The function may write it, and it may be left out: it is allocated and returned then.
    Output,
}

/// The kind of the elements that a parameter leads to.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Element {
    /// Elements of no C type, or of an unknown one.
    #[default]
    None,
    /// Numbers.
    Number,
    /// Structs or unions.
    Record,
    /// Pointers to characters.
    Text,
    /// Pointers to numbers of the dtype.
    Array(DType),
    /// Pointers to functions.
    Function,
    /// Pointers to other objects.
    Pointer,
}

impl Access {
    /// Returns whether the function may write the memory.
    #[must_use]
    pub fn is_written(self) -> bool {
        matches!(self, Self::Written | Self::Output)
    }
}

impl Element {
    fn of(ctype: &CType) -> Self {
        match ctype.resolved() {
            CType::Record(_) => Self::Record,
            CType::Pointer(pointer) => match pointer.target.resolved() {
                _ if is_char(&pointer.target) => Self::Text,
                CType::Function(_) => Self::Function,
                _ if Number::of(&pointer.target).is_some() => match pointer.target.dtype() {
                    Ok(dtype) => Self::Array(dtype),
                    Err(_) => Self::Pointer,
                },
                _ => Self::Pointer,
            },
            _ if Number::of(ctype).is_some() => Self::Number,
            _ => Self::None,
        }
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
                number: Self::of_rule(rule).number,
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
    pub(in crate::contract) fn of_rule(rule: &Rule) -> Self {
        match rule {
            Rule::Inferred(Inferred { integer, .. }) => Self {
                number: Some(Number::Integer(*integer)),
                is_inferred: true,
                ..Self::default()
            },
            Rule::InOut(rule) => Self {
                number: Some(Number::Integer(rule.inferred.integer)),
                is_inferred: true,
                access: Access::Output,
                element: Element::Number,
                ..Self::default()
            },
            Rule::Derived(derived) => Self {
                number: Some(derived.number),
                is_inferred: true,
                ..Self::default()
            },
            Rule::Number(number) | Rule::Reference(number) => Self {
                number: Some(*number),
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
            element: Element::of(array.ctype()),
            rank: array.rank(),
            number: array.number(),
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
            element: Element::of(&pointer.ctype),
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
