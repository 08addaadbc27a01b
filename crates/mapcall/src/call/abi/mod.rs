//! How values travel: in which registers, and as what libffi is told.

#[cfg_attr(abi_system_v, path = "system_v.rs")]
#[cfg_attr(not(abi_system_v), path = "natural.rs")]
mod machine;

// The other file as well, so that it doesn't rot.
#[cfg(all(test, abi_system_v))]
mod natural;

pub(super) use machine::describe;
#[cfg(has_jit)]
pub(super) use machine::{FLOAT_REGISTERS, INTEGER_REGISTERS, registers, vectors};

/// What a register holds: all that matters of a value that takes one.
#[allow(dead_code, reason = "elsewhere libffi is told of types")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// A 64-bit integer register.
    Integer,
    /// The low 64 bits of a floating register.
    Float,
}
