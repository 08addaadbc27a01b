//! How values travel: in which registers, and as what libffi is told.

#[cfg_attr(
    all(target_arch = "x86_64", target_pointer_width = "64", unix),
    path = "system_v.rs"
)]
#[cfg_attr(
    not(all(target_arch = "x86_64", target_pointer_width = "64", unix)),
    path = "natural.rs"
)]
mod machine;

// The other file as well, so that it doesn't rot.
#[cfg(all(test, target_arch = "x86_64", target_pointer_width = "64", unix))]
mod natural;

pub(super) use machine::describe;
#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    target_endian = "little",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
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
