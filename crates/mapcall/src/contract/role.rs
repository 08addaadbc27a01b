//! Which part of a call an array belongs to.

/// What a operand of a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A parameter, by its position.
    Parameter(usize),
    /// What the function returns.
    Result,
    /// Whether a call is made at all.
    Mask,
}
