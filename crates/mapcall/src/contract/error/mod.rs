//! The errors of arguments: the argument that was expected, the one that was given, and a remedy.

mod advice;
mod problem;
mod remedy;
mod subject;
mod text;

use std::fmt;

pub use problem::Problem;
pub use remedy::{Form, ListOf, Loss, Remedy, Replacement, Results, list, write_length};
pub use subject::{Access, Element, Range, Subject};

use text::tuple;

/// An argument that the prototype doesn't allow. The function has not been called.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::{Contract, Problem, Scalar};
///
/// let contract = Contract::new(Prototype::parse("int abs(int j)")?)?;
/// let error = contract.refuse(0, Problem::Range { value: Scalar::Int(1 << 31) });
/// assert_eq!(
///     error.to_string(),
///     "abs: j: expected int, got 2147483648; give a value from -2147483648 to 2147483647"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ArgumentError {
    /// The name of the function.
    pub function: String,
    /// The name of the parameter in the prototype; empty for the arguments as a whole.
    pub parameter: String,
    /// A short description of the arguments that the parameter takes.
    pub expected: String,
    /// The reason why the check refuses the argument.
    pub problem: Problem,
    /// The facts about the parameter by which the remedy is chosen.
    pub subject: Subject,
}

impl ArgumentError {
    /// Makes the error for an argument that belongs to no parameter of a contract: the value of a variable, or
    /// of a struct's member.
    #[doc(hidden)]
    #[must_use]
    pub fn new(function: String, parameter: String, expected: String, problem: Problem) -> Self {
        Self {
            function,
            parameter,
            expected,
            problem,
            subject: Subject::default(),
        }
    }

    /// Returns the description of the expected argument: that of the parameter, with the condition that
    /// this problem violates.
    #[must_use]
    pub fn expected(&self) -> String {
        let expected = &self.expected;
        match &self.problem {
            Problem::ByteOrder { .. } => format!("{expected} in native byte order"),
            Problem::Field {
                field,
                expected: member,
                ..
            } => format!("{expected} whose field {field:?} is {member}"),
            Problem::Rank { expected: rank, .. } => format!("{expected}, {}", axes(*rank)),
            Problem::NotContiguous { .. } => format!("{expected}, C-contiguous"),
            Problem::Unaligned { alignment, .. } => {
                format!("{expected}, aligned to {alignment} bytes")
            }
            Problem::ReadOnly | Problem::ReadOnlyHandle { .. } => {
                format!("{expected}, writeable")
            }
            Problem::Shared => format!("{expected} that nothing else can reach"),
            Problem::ClosedMap => format!("{expected} on an open map"),
            Problem::Masked { .. } => format!("{expected} without masked elements"),
            Problem::Changed => format!("{expected} that stays as it is until the call returns"),
            Problem::Extent {
                axis,
                extent,
                expected: value,
                because,
                ..
            } => {
                let because = as_has_it(because.as_deref());
                if *extent == value.to_string() {
                    format!("{expected} with {value} along axis {axis}")
                } else {
                    format!("{expected} with {extent} = {value}{because}")
                }
            }
            Problem::BadExtent { .. } => format!("{expected} of some size"),
            Problem::TooLong { most, .. } => format!("{expected}, at most {most}"),
            Problem::Packed {
                expected: size,
                field,
                ..
            } => match field {
                Some((name, offset, _)) => {
                    format!("{expected} of {size} bytes each, with {name:?} at byte {offset}")
                }
                None => format!("{expected} of {size} bytes each"),
            },
            Problem::NotInferred => format!("{expected} from the shape of an array"),
            Problem::Disagrees {
                expected: value,
                because,
                ..
            } => {
                let because = as_has_it(because.as_deref());
                format!("{expected} {value}{because}")
            }
            Problem::Overlap { .. } => format!("{expected} in memory of its own (restrict)"),
            Problem::Broadcast {
                other, other_shape, ..
            } => {
                let shape = tuple(other_shape);
                format!("{expected} with batch axes that broadcast with {shape}, those of {other}")
            }
            Problem::Repeated { batch, .. } => {
                format!("{expected} with the batch axes {}", tuple(batch))
            }
            Problem::Measures { .. } => {
                format!("one {expected} for all calls, as it measures an array")
            }
            Problem::SelfOverlap => format!("{expected}, each item in memory of its own"),
            Problem::Alias { other } => {
                format!("{expected} in memory of its own, or item by item in that of {other}")
            }
            Problem::Suffix { .. } => format!("{expected} in a file that ends in .npy"),
            Problem::SameFile { .. } => format!("{expected} in a file of its own"),
            Problem::Unbatched { returns } => {
                format!("one call, as no array can hold results of type {returns}")
            }
            Problem::NulInText { .. } => format!("{expected} without NUL"),
            Problem::Unbounded { .. } => format!("{expected} with its extent"),
            Problem::UnmeasuredBatch => format!("{expected} with its extent, as this is a batch"),
            Problem::Closed { .. } => format!("{expected} that is open"),
            Problem::InUse { .. } => format!("{expected} that nothing else uses"),
            Problem::Borrowed { .. } => format!("{expected} to memory that is still there"),
            Problem::NotOwned { .. } => format!("{expected} whose object C may own"),
            Problem::OwnedOnce => format!("one call, as C owns {expected} then"),
            Problem::TooMany { max: 0, .. } => "no arguments".into(),
            Problem::TooMany { max: 1, .. } => "at most 1 argument".into(),
            Problem::TooMany { max, .. } => format!("at most {max} arguments"),
            Problem::Outputs { expected: 0, .. } => "no output".into(),
            Problem::Outputs { expected: 1, .. } => "1 output".into(),
            Problem::Outputs { expected, .. } => format!("{expected} outputs"),
            Problem::VariadicBatch => "one call of a variadic function".into(),
            Problem::Uncounted { .. } => "fewer calls".into(),
            Problem::Unknown { .. } if self.expected == "arguments" => "a parameter's name".into(),
            Problem::Twice => format!("{expected} once"),
            problem => problem
                .annotation(expected)
                .unwrap_or_else(|| expected.clone()),
        }
    }

    /// Returns the description of the argument that was given.
    #[must_use]
    pub fn found(&self) -> String {
        self.problem.to_string()
    }

    /// Returns the message with another text for the remedy.
    ///
    /// ```
    /// use mapcall::Prototype;
    /// use mapcall::contract::{Contract, Problem};
    ///
    /// let contract = Contract::new(Prototype::parse("void f(int n, float x[n])")?)?;
    /// let error = contract.refuse(1, Problem::ReadOnly);
    /// assert_eq!(
    ///     error.message(&"pass x.copy()"),
    ///     "f: x: expected float32[n], writeable, got a read-only array; pass x.copy()",
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn message(&self, remedy: &dyn fmt::Display) -> String {
        let (function, expected, found) = (&self.function, self.expected(), self.found());
        let parameter = match &*self.parameter {
            "" => String::new(),
            parameter => format!(": {parameter}"),
        };
        format!("{function}{parameter}: expected {expected}, got {found}; {remedy}")
    }
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message(&self.remedy().named(&self.parameter)))
    }
}

impl std::error::Error for ArgumentError {}

/// Returns the words for the argument that has set an extent, if there is one.
fn as_has_it(because: Option<&str>) -> String {
    because.map_or_else(String::new, |other| format!(" as {other} has it"))
}

fn axes(rank: usize) -> String {
    if rank == 1 {
        "1 axis".into()
    } else {
        format!("{rank} axes")
    }
}
