//! What a remedy must know of the parameter that an error is about.

use super::remedy::Remedy;
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
    /// The values of a number.
    pub range: Option<Range>,
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

/// The values that a type of numbers has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Range {
    /// The smallest value.
    pub least: String,
    /// The largest value.
    pub most: String,
    /// Whether the numbers are floating ones, which are rounded.
    pub is_floating: bool,
}

impl Range {
    /// Returns the remedy to give one of the values.
    pub(in crate::contract) fn remedy(&self, or_omit: bool) -> Remedy {
        Remedy::GiveBetween {
            least: self.least.clone(),
            most: self.most.clone(),
            or_omit,
        }
    }
}
