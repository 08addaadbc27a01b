//! Prototypes, types and headers, against the system's C compilers.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

mod compiler;
mod constants;
mod contradictions;
mod generated;
mod header;
mod hostile;
mod layouts;
mod prototypes;
mod structs;
mod syntax;
mod system_headers;
