//! Batches: loops of calls, and functions mapped over arrays, against one call at a time, naive loops
//! and NumPy, on C functions that the system's compiler makes. A refused batch is seen not to have run.

#![cfg(all(target_os = "linux", target_endian = "little"))]
#![allow(
    clippy::cast_lossless,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_ptr_alignment,
    clippy::cast_sign_loss,
    clippy::expect_used,
    clippy::float_cmp,
    clippy::indexing_slicing,
    clippy::multiple_unsafe_ops_per_block,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by a panic, and calls C"
)]

#[path = "../c_calls/mod.rs"]
#[allow(dead_code, reason = "shared by several binaries")]
mod c_calls;
mod convert;
mod ends;
mod files;
mod fixture;
mod loops;
mod numpy;
#[path = "../../../mapcall-array/tests/common/mod.rs"]
mod oracle;
mod properties;
mod refusals;
mod simd;
mod small;
mod types;
