//! Bound functions: every row of the contract, its good ways and its bad ones, against C functions
//! that the system's compiler makes. A refused call is seen not to have run.

#![cfg(all(target_os = "linux", target_endian = "little"))]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::multiple_unsafe_ops_per_block,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by a panic, and calls C"
)]

mod annotations;
mod arrays;
#[path = "../c_calls/mod.rs"]
#[allow(dead_code, reason = "shared by several binaries")]
mod c_calls;
#[cfg(has_jit)]
mod entry;
mod extents;
mod fixture;
mod lifetimes;
mod maps;
mod memory;
mod named_structs;
mod numbers;
mod pointers;
mod properties;
mod quick;
mod status;
mod structs;
mod typed;
mod variadic;
mod vectors;
