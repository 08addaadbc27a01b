//! The command `mapcall`, run as a program.

mod call;
mod common;
mod demo;
mod header_cache;
mod info;
mod manual;
mod prototypes;
mod symbols;
mod values;
