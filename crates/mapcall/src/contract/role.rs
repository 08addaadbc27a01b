//! The part of a call that an argument is for.

/// The part of a call or batch that an argument is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A parameter, by its position.
    Parameter(usize),
    /// The results of a batch.
    Result,
    /// The mask of a batch, which selects the calls that are made.
    Mask,
}
