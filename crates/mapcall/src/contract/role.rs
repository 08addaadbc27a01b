//! The roles of arguments in a call or batch.

/// The role of an argument in a call or batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A parameter, by its position.
    Parameter(usize),
    /// The results of a batch.
    Result,
    /// The mask of a batch, which selects the calls that are made.
    Mask,
}
