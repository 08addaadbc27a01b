//! Prototypes, types and headers, against the system's C compilers.

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
