//! The contract of a prototype: the rules for its arguments, which are derived once when a function is
//! bound, and checked before each call.
//!
//! ```
//! use mapcall::Prototype;
//! use mapcall::contract::{Contract, Rule};
//!
//! let contract = Contract::new(Prototype::parse(
//!     "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);",
//! )?)?;
//! assert!(matches!(contract.rules(), [Rule::Inferred(_), Rule::Number(_), Rule::Array(_), _]));
//! // `n` is not an argument: it is inferred from the arrays.
//! assert_eq!(contract.arguments(), [1, 2, 3]);
//! assert_eq!(contract.expected(2), "float32[n]");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Contract`] has a [`Rule`] for each parameter. A [`Check`] takes the caller's arguments, each as a
//! [`HostValue`], and writes the slots of the frame that is passed.

mod alias;
mod array_layout;
mod broadcast;
mod check;
mod condition;
mod conversion;
mod convert;
mod derived;
mod dimension;
mod element;
mod error;
mod extent_rule;
mod fields;
mod foreign_function;
mod host_value;
mod memory;
mod number;
mod output;
mod quick;
mod received;
mod role;
mod rule;
mod scalar;
mod subject;
mod variadic;

use std::sync::Arc;

pub use broadcast::{BroadcastPlan, Operand};
pub use check::Check;
pub(crate) use conversion::Conversion;
pub use error::{
    Access, ArgumentError, Element, Form, ListOf, Loss, Problem, Range, Remedy, Replacement,
    Results, Subject, list, write_length,
};
pub use extent_rule::ExtentRule;
pub use host_value::{FunctionValue, HandleValue, HostValue, TypedPointer};
pub use mapcall_array::Backing;
pub use memory::Memory;
pub use number::Number;
pub use output::Output;
pub use quick::{
    LeftOut, Quick, QuickArgument, QuickBatch, QuickBatchCall, QuickCall, QuickDerived,
    QuickOutput, QuickVector, QuickVectors, ShortFrame,
};
pub use received::{Received, ReceivedArray, ReceivedError, ReceivedNumbers, ReceivedParameters};
pub use role::Role;
pub use rule::{
    ArrayRule, Derived, InOutRule, Inferred, PointerRule, Rule, UnsupportedPrototype, target_name,
};
pub use scalar::Scalar;
pub use variadic::argument_type;

use crate::CType;
use crate::call::FrameLayout;
use crate::nearest::nearest;
use crate::prototype::{Nullability, Prototype};
use derived::DerivedNumbers;
use dimension::Dimension;

/// The rules for the arguments of a prototype.
///
/// See [the module](self) for an example.
#[derive(Clone, Debug)]
pub struct Contract {
    prototype: Arc<Prototype>,
    rules: Box<[Rule]>,
    arguments: Box<[usize]>,
    /// The inferred parameters, in the order of the dimensions.
    inferred: Box<[Dimension]>,
    /// The rules of arrays that a batch takes in place of scalars, with one value for each call, by
    /// position.
    scalars: Box<[Option<ArrayRule>]>,
    /// The rule of an array with one result for each call of a batch.
    returned: Option<ArrayRule>,
    /// The outputs of a batch.
    outputs: Box<[Role]>,
    /// Whether the result is a status that is 0 after each call that returns.
    is_status: bool,
    /// Pairs of arrays that must not share a byte.
    disjoint_pairs: Box<[(usize, usize)]>,
    derived: DerivedNumbers,
    layout: FrameLayout,
}

impl Contract {
    /// Derives the rules of a prototype.
    ///
    /// # Errors
    ///
    /// [`UnsupportedPrototype`] if a type can't be passed by value, or if the elements of an array
    /// have no dtype.
    pub fn new(prototype: Prototype) -> Result<Self, UnsupportedPrototype> {
        let inferred: Box<[usize]> = positions(&prototype, |parameter| parameter.is_inferred);
        let rules = prototype
            .parameters
            .iter()
            .enumerate()
            .map(|parameter| Rule::new(&prototype, parameter, &inferred))
            .collect::<Result<Box<[_]>, _>>()?;
        if let (CType::Record(_), Err(error)) =
            (prototype.returns.resolved(), prototype.returns.dtype())
        {
            return Err(UnsupportedPrototype {
                function: prototype.name,
                parameter: None,
                reason: error.to_string(),
            });
        }
        let layout = FrameLayout::new(&prototype.returns, &prototype.passed_types());
        let layout = layout.map_err(|error| UnsupportedPrototype {
            function: prototype.name.clone(),
            parameter: None,
            reason: error.to_string(),
        })?;
        let dimension = |&position: &usize| Dimension {
            position,
            slot: layout.parameter(position),
            max: max_extent(&prototype, position),
            is_by_reference: match rules.get(position) {
                Some(Rule::Inferred(inferred)) => inferred.is_by_reference,
                rule => matches!(rule, Some(Rule::InOut(_))),
            },
        };
        let returned = ArrayRule::of_scalar(&prototype.returns, false);
        Ok(Self {
            arguments: positions(&prototype, |parameter| {
                parameter.is_in_out() || !(parameter.is_inferred || parameter.equals.is_some())
            }),
            derived: DerivedNumbers::new(&prototype, &rules)?,
            disjoint_pairs: disjoint_pairs(&prototype, &rules),
            inferred: inferred.iter().map(dimension).collect(),
            scalars: scalars(&prototype, &rules),
            outputs: outputs(&prototype, returned.as_ref()),
            is_status: false,
            returned,
            prototype: Arc::new(prototype),
            rules,
            layout,
        })
    }

    /// Returns the prototype.
    #[must_use]
    pub fn prototype(&self) -> &Arc<Prototype> {
        &self.prototype
    }

    /// Returns the same contract with a result that is a status if `is_status`: it is 0 after each call that
    /// returns, so that it is no output.
    ///
    /// ```
    /// use mapcall::Prototype;
    /// use mapcall::contract::{Contract, Role};
    ///
    /// let contract = Contract::new(Prototype::parse("int f(int n, const int x[n], int y[n])")?)?;
    /// assert_eq!(contract.outputs(), [Role::Result, Role::Parameter(2)]);
    /// assert_eq!(contract.with_status(true).outputs(), [Role::Parameter(2)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_status(&self, is_status: bool) -> Self {
        let returned = ArrayRule::of_scalar(&self.prototype.returns, false);
        let returned = returned.filter(|_| !is_status);
        Self {
            outputs: outputs(&self.prototype, returned.as_ref()),
            returned,
            is_status,
            ..self.clone()
        }
    }

    /// Returns whether the result is a status: see [`with_status`](Self::with_status).
    #[must_use]
    pub fn is_status(&self) -> bool {
        self.is_status
    }

    /// Returns whether no batch can return the results, because no array can hold them.
    #[doc(hidden)]
    #[must_use]
    pub fn is_unbatched(&self) -> bool {
        let returns = self.prototype.returns.resolved();
        self.returned.is_none() && !self.is_status && *returns != CType::Void
    }

    /// Returns the rules of all parameters, in their order.
    #[must_use]
    #[inline]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the rule of an array with one value for each call of a batch, for a scalar parameter;
    /// `None` for one that is in the extent of an array, which is the same in each call.
    #[must_use]
    pub fn scalar(&self, position: usize) -> Option<&ArrayRule> {
        self.scalars.get(position)?.as_ref()
    }

    /// Returns the rule of the array that a batch returns, with one result for each call; `None` for
    /// functions that return nothing, and for results that no array can hold.
    #[must_use]
    pub fn returned(&self) -> Option<&ArrayRule> {
        self.returned.as_ref()
    }

    /// Returns the positions of the parameters that the caller gives, in order: all but those that are
    /// inferred, or that equal an expression.
    #[must_use]
    #[inline]
    pub fn arguments(&self) -> &[usize] {
        &self.arguments
    }

    /// Returns the outputs of a batch, in the order in which they are returned: the result, then the
    /// arrays that may be left out (see [`Parameter::is_output`](crate::Parameter::is_output)).
    ///
    /// ```
    /// use mapcall::Prototype;
    /// use mapcall::contract::{Contract, Role};
    ///
    /// let frexp = Prototype::parse("double frexp(double x, int exponent[1])")?;
    /// assert_eq!(Contract::new(frexp)?.outputs(), [Role::Result, Role::Parameter(1)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn outputs(&self) -> &[Role] {
        &self.outputs
    }

    /// Returns the index of an output among [`outputs`](Self::outputs).
    #[must_use]
    pub fn output_index(&self, role: Role) -> Option<usize> {
        self.outputs.iter().position(|output| *output == role)
    }

    /// Returns the rule of the array for a parameter or for the results of a batch.
    #[must_use]
    pub fn array_rule(&self, role: Role) -> Option<&ArrayRule> {
        match role {
            Role::Parameter(position) => self.rules.get(position)?.array(),
            Role::Result => self.returned(),
            Role::Mask => None,
        }
    }

    /// Checks the address of an output that has been allocated.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] if it does not have the alignment of the C type.
    pub(crate) fn check_alignment(
        &self,
        role: Role,
        address: usize,
    ) -> Result<(), Box<ArgumentError>> {
        let alignment = self.array_rule(role).map_or(1, ArrayRule::alignment);
        if address.is_multiple_of(alignment) {
            return Ok(());
        }
        Err(self.refuse_role(role, Problem::Unaligned { address, alignment }))
    }

    /// Returns the number of slots that a [`Check`] needs: those of the frame, then its working space.
    #[must_use]
    #[inline]
    pub fn slots(&self) -> usize {
        self.reference_start() + self.derived.slots()
    }

    /// Returns the first slot for the copies of numbers that are passed by reference.
    #[inline]
    fn reference_start(&self) -> usize {
        (self.layout.slots() + self.inferred.len() + self.rules.len()).next_multiple_of(2)
    }

    /// Returns whether a pointer may not be null.
    fn is_nonnull(&self, position: usize) -> bool {
        let parameter = self.prototype.parameters.get(position);
        parameter.is_some_and(|parameter| parameter.nullability == Nullability::Nonnull)
    }

    /// Returns whether a parameter takes NULL if it has no argument.
    ///
    /// ```
    /// use mapcall::Prototype;
    /// use mapcall::contract::Contract;
    ///
    /// let text = "void f(int n, const double x[n], const double *__counted_by_or_null(n) weights)";
    /// # let text = "void f(int n, const double x[n], const double *weights __attribute__((counted_by_or_null(n))))";
    /// let contract = Contract::new(Prototype::parse(text)?)?;
    /// assert!(contract.is_nullable(2) && !contract.is_nullable(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_nullable(&self, position: usize) -> bool {
        let parameter = self.prototype.parameters.get(position);
        parameter.is_some_and(|parameter| parameter.nullability == Nullability::Nullable)
    }

    /// Returns whether a parameter needs no argument: it is an output, or may be NULL.
    ///
    /// ```
    /// use mapcall::Prototype;
    /// use mapcall::contract::Contract;
    ///
    /// let contract = Contract::new(Prototype::parse("double frexp(double x, int exponent[1])")?)?;
    /// assert!(!contract.is_optional(0) && contract.is_optional(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_optional(&self, position: usize) -> bool {
        self.is_nullable(position) || self.output_index(Role::Parameter(position)).is_some()
    }

    /// Returns the layout of a frame: the slots of the parameters and of the result.
    #[must_use]
    #[inline]
    pub fn layout(&self) -> &FrameLayout {
        &self.layout
    }

    /// Returns the name of a parameter.
    #[must_use]
    pub fn name(&self, position: usize) -> &str {
        self.prototype
            .parameters
            .get(position)
            .map_or("", |parameter| &parameter.name)
    }

    /// Returns the description of the arguments that a parameter takes: `float32[n]`, `int`,
    /// `a pointer to sqlite3`.
    #[must_use]
    pub fn expected(&self, position: usize) -> String {
        self.rules
            .get(position)
            .map_or_else(String::new, Rule::to_string)
    }

    /// Makes the error for the argument of a parameter.
    #[cold]
    #[must_use]
    pub fn refuse(&self, position: usize, problem: Problem) -> Box<ArgumentError> {
        self.refuse_role(Role::Parameter(position), problem)
    }

    /// Makes the error for an element of a list that is given for a parameter.
    #[doc(hidden)]
    #[cold]
    #[must_use]
    pub fn refuse_element(
        &self,
        position: usize,
        index: usize,
        element: &Rule,
        problem: Problem,
    ) -> Box<ArgumentError> {
        let mut error = self.refuse(position, problem);
        error.parameter = format!("{}[{index}]", error.parameter);
        error.expected = element.to_string();
        error.subject = Subject::of_rule(element);
        error
    }

    /// Returns the name of the argument for a role: `out` for the result, `where` for the mask, with underscores if
    /// a parameter has that name.
    #[doc(hidden)]
    #[must_use]
    pub fn role_name(&self, role: Role) -> String {
        let mut name = match role {
            Role::Parameter(position) => return self.name(position).to_owned(),
            Role::Result => "out".to_owned(),
            Role::Mask => "where".to_owned(),
        };
        while self.prototype.parameter(&name).is_some() {
            name.push('_');
        }
        name
    }

    /// Makes the error for the argument of a parameter, of the result, or of the mask.
    #[cold]
    #[must_use]
    pub fn refuse_role(&self, role: Role, problem: Problem) -> Box<ArgumentError> {
        let expected = match role {
            Role::Parameter(position) => self.expected(position),
            Role::Result => self
                .returned
                .as_ref()
                .map_or_else(String::new, ArrayRule::to_string),
            Role::Mask => "an array of bool".into(),
        };
        Box::new(ArgumentError {
            function: self.prototype.name.clone(),
            parameter: self.role_name(role),
            expected,
            subject: Subject {
                names: self.names(),
                outputs: self.outputs.len(),
                ..Subject::new(self, role, &problem)
            },
            problem,
        })
    }

    /// Returns whether `restrict` forbids that two arguments share memory.
    fn must_be_disjoint(&self, one: Role, other: Role) -> bool {
        let (Role::Parameter(one), Role::Parameter(other)) = (one, other) else {
            return false;
        };
        self.disjoint_pairs
            .contains(&(one.min(other), one.max(other)))
    }

    /// Returns the problem with a name that is neither a parameter's nor one of the `keywords` of the host
    /// language.
    ///
    /// ```
    /// use mapcall::Prototype;
    /// use mapcall::contract::Contract;
    ///
    /// let contract = Contract::new(Prototype::parse("double cos(double angle)")?)?;
    /// assert_eq!(
    ///     contract.refuse_all(contract.unknown("angel", &[])).to_string(),
    ///     "cos: expected a parameter's name, got angel; did you mean angle?",
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cold]
    #[must_use]
    pub fn unknown(&self, name: &str, keywords: &[&str]) -> Problem {
        let parameters = self
            .prototype
            .parameters
            .iter()
            .map(|parameter| &*parameter.name);
        Problem::Unknown {
            name: name.to_owned(),
            nearest: nearest(name, parameters.chain(keywords.iter().copied()))
                .first()
                .map(|name| (*name).to_owned()),
        }
    }

    /// Makes the error for the arguments as a whole.
    #[cold]
    #[must_use]
    pub fn refuse_all(&self, problem: Problem) -> Box<ArgumentError> {
        Box::new(ArgumentError {
            function: self.prototype.name.clone(),
            parameter: String::new(),
            expected: "arguments".into(),
            problem,
            subject: Subject {
                names: self.names(),
                ..Subject::default()
            },
        })
    }

    /// Returns the names of the parameters, those that the caller gives first.
    fn names(&self) -> Vec<String> {
        let given = self.arguments.iter().copied();
        let others = 0..self.rules.len();
        let others = others.filter(|position| !self.arguments.contains(position));
        let names = given.chain(others).map(|position| self.name(position));
        names.map(str::to_owned).collect()
    }
}

/// Returns the outputs of a batch. `returned` is the rule of its results.
fn outputs(prototype: &Prototype, returned: Option<&ArrayRule>) -> Box<[Role]> {
    let arrays = positions(prototype, crate::Parameter::is_output);
    let arrays = arrays.iter().copied().map(Role::Parameter);
    returned
        .map(|_| Role::Result)
        .into_iter()
        .chain(arrays)
        .collect()
}

/// Derives the rules of arrays in place of scalars, except for scalars in an expression or with bounds.
fn scalars(prototype: &Prototype, rules: &[Rule]) -> Box<[Option<ArrayRule>]> {
    let is_constrained = |position: usize, parameter: &crate::Parameter| {
        parameter.between.is_some()
            || prototype
                .expressions()
                .any(|value| value.mentions(position))
    };
    let scalar = |(position, (rule, parameter)): (usize, (&Rule, &crate::Parameter))| match rule {
        Rule::Number(_) | Rule::Record { .. } if !is_constrained(position, parameter) => {
            ArrayRule::of_scalar(&parameter.ctype, true)
        }
        _ => None,
    };
    let parameters = rules.iter().zip(&prototype.parameters).enumerate();
    parameters.map(scalar).collect()
}

fn positions(prototype: &Prototype, select: impl Fn(&crate::Parameter) -> bool) -> Box<[usize]> {
    let parameters = prototype.parameters.iter().enumerate();
    parameters
        .filter(|(_, parameter)| select(parameter))
        .map(|(position, _)| position)
        .collect()
}

/// Returns the largest extent that an integer parameter can hold. No array has more elements.
fn max_extent(prototype: &Prototype, position: usize) -> u64 {
    let parameter = prototype.parameters.get(position);
    let integer = parameter.and_then(|parameter| {
        let by_value = parameter.ctype.integer().filter(|_| parameter.rank() == 0);
        by_value.or_else(|| parameter.target_integer())
    });
    let max = integer.and_then(|integer| u64::try_from(integer.max()).ok());
    max.unwrap_or_default().min(isize::MAX as u64)
}

/// Returns the pairs of arrays that must not share a byte: one is `restrict`, and one is written.
fn disjoint_pairs(prototype: &Prototype, rules: &[Rule]) -> Box<[(usize, usize)]> {
    let is_array = |rule: &Rule| match rule {
        Rule::Array(_) => true,
        Rule::Pointer(pointer) => pointer.dtype.is_some(),
        _ => false,
    };
    let arrays = || {
        let parameters = prototype.parameters.iter().zip(rules).enumerate();
        let arrays = parameters.filter(move |(_, (_, rule))| is_array(rule));
        arrays.map(|(position, (parameter, _))| (position, parameter))
    };
    arrays()
        .flat_map(|one| arrays().map(move |other| (one, other)))
        .filter(|((first, one), (second, other))| {
            first < second
                && (one.is_restrict || other.is_restrict)
                && !(one.is_only_read() && other.is_only_read())
        })
        .map(|((first, _), (second, _))| (first, second))
        .collect()
}
