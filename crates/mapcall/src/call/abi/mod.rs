//! The platform's calling convention: the registers that values are passed in, and the types by which
//! libffi knows them.

#[cfg_attr(abi_system_v, path = "system_v.rs")]
#[cfg_attr(not(abi_system_v), path = "generic.rs")]
mod machine;

// The other file is compiled and tested here as well.
#[cfg(all(test, abi_system_v))]
mod generic;

pub(super) use machine::describe;
#[cfg(has_jit)]
pub(super) use machine::vectors;
#[cfg(any(has_jit, has_register_entry))]
pub(super) use machine::{FLOAT_REGISTERS, INTEGER_REGISTERS, registers};

/// The class of a register that holds a value or a part of it.
#[allow(dead_code, reason = "other machines pass C types to libffi")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Class {
    /// A 64-bit general-purpose register.
    Integer,
    /// The low 64 bits of a vector register.
    Float,
}
