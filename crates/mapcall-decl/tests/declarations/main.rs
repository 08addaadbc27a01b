//! Prototypes, types and headers, against the system's C compilers.

mod constants;
mod header;
mod layouts;
mod prototypes;
mod syntax;
