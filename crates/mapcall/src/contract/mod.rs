//! The prototype as a contract: what each parameter asks for, worked out once when a function is
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
//! // `n` isn't given: it is inferred from the arrays.
//! assert_eq!(contract.arguments(), [1, 2, 3]);
//! assert_eq!(contract.expected(2), "float32[n]");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Contract`] has a [`Rule`] for each parameter. A [`Check`] is told, in the order of the
//! parameters, what the caller gives, and then knows what is passed.

mod alias;
mod broadcast;
mod check;
mod error;
mod memory;
mod number;
mod quick;
mod role;
mod rule;
mod scalar;

use std::sync::Arc;

pub use broadcast::{BroadcastPlan, Operand};
pub use check::{Check, Output};
pub use error::{ArgumentError, Problem, Remedy};
pub use mapcall_array::Backing;
pub use memory::Memory;
pub use number::Number;
pub use quick::{Quick, QuickArgument, QuickFrame};
pub use role::Role;
pub use rule::{
    ArrayRule, ExtentRule, Inferred, PointerRule, Rule, UnsupportedPrototype, check_dtype,
    target_name,
};
pub use scalar::Scalar;

use crate::CType;
use crate::call::{CallTypeError, Engine, Trampoline};
use crate::extent::Extent;
use crate::nearest::nearest;
use crate::prototype::Prototype;

/// What a prototype asks of its arguments.
///
/// See [the module](self) for an example.
#[derive(Clone, Debug)]
pub struct Contract {
    prototype: Arc<Prototype>,
    rules: Box<[Rule]>,
    arguments: Box<[usize]>,
    /// The inferred parameters; their order is that of the dimensions.
    inferred: Box<[Dimension]>,
    /// What scalar parameters are as items of a batch, by position.
    scalars: Box<[Option<ArrayRule>]>,
    /// What the result is as an item of a batch.
    returned: Option<ArrayRule>,
    /// Pairs of arrays that must not share a byte.
    apart: Box<[(usize, usize)]>,
    trampoline: Trampoline,
    /// The words of a frame.
    frame: usize,
}

/// An inferred parameter.
#[derive(Clone, Debug)]
struct Dimension {
    position: usize,
    /// The word of the frame where it is passed.
    place: usize,
    /// The largest value that it can have.
    most: u64,
}

impl Contract {
    /// Works out what the prototype asks for.
    ///
    /// # Errors
    ///
    /// [`UnsupportedPrototype`] for types that no engine can pass, and for arrays of what has no
    /// dtype.
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
        let trampoline = trampoline(&prototype, None)?;
        let dimension = |&position: &usize| Dimension {
            position,
            place: trampoline.layout().parameter(position),
            most: most(&prototype, position),
        };
        Ok(Self {
            arguments: positions(&prototype, |parameter| !parameter.is_inferred),
            apart: apart(&prototype, &rules),
            inferred: inferred.iter().map(dimension).collect(),
            frame: trampoline.layout().words(),
            scalars: scalars(&prototype, &rules),
            returned: ArrayRule::item(&prototype.returns, false),
            prototype: Arc::new(prototype),
            rules,
            trampoline,
        })
    }

    /// The same contract, but the function is called by that engine and no other.
    ///
    /// See [`Function::with_engine`](crate::Function::with_engine) for an example.
    ///
    /// # Errors
    ///
    /// [`UnsupportedPrototype`] for types that it can't pass.
    pub fn with_engine(&self, engine: Engine) -> Result<Self, UnsupportedPrototype> {
        let trampoline = trampoline(&self.prototype, Some(engine))?;
        Ok(Self {
            trampoline,
            ..self.clone()
        })
    }

    /// The prototype.
    #[must_use]
    pub fn prototype(&self) -> &Arc<Prototype> {
        &self.prototype
    }

    /// The rules of all parameters, in their order.
    #[must_use]
    #[inline]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What a scalar parameter takes in a batch: an array of one item for each call; `None` for one
    /// that measures an array, which is the same in each call.
    #[must_use]
    pub fn scalar(&self, position: usize) -> Option<&ArrayRule> {
        self.scalars.get(position)?.as_ref()
    }

    /// What a batch returns: an array of one result for each call; `None` for functions that return
    /// nothing, and for results that no array can hold.
    #[must_use]
    pub fn returned(&self) -> Option<&ArrayRule> {
        self.returned.as_ref()
    }

    /// The positions of the parameters that the caller gives, in order: all but the inferred.
    #[must_use]
    #[inline]
    pub fn arguments(&self) -> &[usize] {
        &self.arguments
    }

    /// How many words a [`Check`] needs: those of the frame first, then what it works with.
    #[must_use]
    #[inline]
    pub fn words(&self) -> usize {
        self.frame + self.inferred.len() + self.rules.len()
    }

    /// How the function is called.
    #[must_use]
    #[inline]
    pub fn trampoline(&self) -> &Trampoline {
        &self.trampoline
    }

    /// The name of a parameter.
    #[must_use]
    pub fn name(&self, position: usize) -> &str {
        self.prototype
            .parameters
            .get(position)
            .map_or("", |parameter| &parameter.name)
    }

    /// What a parameter takes, in a few words: `float32[n]`, `int`, `a pointer to sqlite3`.
    #[must_use]
    pub fn expected(&self, position: usize) -> String {
        self.rules
            .get(position)
            .map_or_else(String::new, Rule::to_string)
    }

    /// An error about the argument of a parameter.
    #[cold]
    #[must_use]
    pub fn refuse(&self, position: usize, problem: Problem) -> Box<ArgumentError> {
        Box::new(ArgumentError {
            function: self.prototype.name.clone(),
            parameter: self.name(position).to_owned(),
            expected: self.expected(position),
            problem,
        })
    }

    /// The name of what a operand is for; `out` for the result, `where` for the mask.
    pub(crate) fn role_name(&self, role: Role) -> &str {
        match role {
            Role::Parameter(position) => self.name(position),
            Role::Result => "out",
            Role::Mask => "where",
        }
    }

    /// An error about what is given for a parameter, for the result, or as the mask.
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
            parameter: self.role_name(role).to_owned(),
            expected,
            problem,
        })
    }

    /// Whether `restrict` forbids two to share memory.
    fn must_be_apart(&self, one: Role, other: Role) -> bool {
        let (Role::Parameter(one), Role::Parameter(other)) = (one, other) else {
            return false;
        };
        self.apart.contains(&(one.min(other), one.max(other)))
    }

    /// A name that is no parameter.
    ///
    /// ```
    /// use mapcall::Prototype;
    /// use mapcall::contract::Contract;
    ///
    /// let contract = Contract::new(Prototype::parse("double cos(double angle)")?)?;
    /// assert_eq!(
    ///     contract.refuse_all(contract.unknown("angel")).to_string(),
    ///     "cos: expected a parameter's name, got angel; did you mean angle?",
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cold]
    #[must_use]
    pub fn unknown(&self, name: &str) -> Problem {
        let names = self
            .prototype
            .parameters
            .iter()
            .map(|parameter| &*parameter.name);
        Problem::Unknown {
            name: name.to_owned(),
            nearest: nearest(name, names).first().map(|name| (*name).to_owned()),
        }
    }

    /// An error about the arguments as a whole.
    #[cold]
    #[must_use]
    pub fn refuse_all(&self, problem: Problem) -> Box<ArgumentError> {
        Box::new(ArgumentError {
            function: self.prototype.name.clone(),
            parameter: String::new(),
            expected: "arguments".into(),
            problem,
        })
    }
}

/// What scalar parameters are as items of a batch, but for those that measure an array.
fn scalars(prototype: &Prototype, rules: &[Rule]) -> Box<[Option<ArrayRule>]> {
    let measures = |position: usize| {
        let mut extents = prototype
            .parameters
            .iter()
            .flat_map(|parameter| &parameter.extents);
        extents.any(|extent| matches!(extent, Extent::Dynamic(size) if size.mentions(position)))
    };
    let scalar = |(position, (rule, parameter)): (usize, (&Rule, &crate::Parameter))| match rule {
        Rule::Number(_) | Rule::Record { .. } if !measures(position) => {
            ArrayRule::item(&parameter.ctype, true)
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

/// The largest extent that an integer parameter can hold; no array has more elements.
fn most(prototype: &Prototype, position: usize) -> u64 {
    let parameter = prototype.parameters.get(position);
    let integer = parameter.and_then(|parameter| parameter.ctype.integer());
    let most = integer.and_then(|integer| u64::try_from(integer.max()).ok());
    most.unwrap_or_default().min(isize::MAX as u64)
}

/// `restrict` promises that an array that is written is reached in no other way.
fn apart(prototype: &Prototype, rules: &[Rule]) -> Box<[(usize, usize)]> {
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
                && !(one.is_const && other.is_const)
        })
        .map(|((first, _), (second, _))| (first, second))
        .collect()
}

fn trampoline(
    prototype: &Prototype,
    engine: Option<Engine>,
) -> Result<Trampoline, UnsupportedPrototype> {
    let parameters = prototype.passed_types();
    let trampoline = match engine {
        None => Trampoline::new(&prototype.returns, &parameters),
        Some(engine) => Trampoline::with_engine(&prototype.returns, &parameters, engine),
    };
    trampoline.map_err(|error: CallTypeError| UnsupportedPrototype {
        function: prototype.name.clone(),
        parameter: None,
        reason: error.to_string(),
    })
}
