//! `mapcall symbols`: lists the functions that a library exports.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;

use clap::Args;
use mapcall::Library;
use mapcall::call::VectorName;
use serde::Serialize;

use crate::{Failure, output};

/// List the functions that a shared library exports
///
/// Behind a function with vector variants, which `mapcall call --simd` uses, stand their instruction sets and the
/// number of items that one call computes, those that this processor has first; a set that it lacks is in brackets.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The library: a path, a file name (libm.so.6) or a bare name (m)
    #[arg(value_name = "LIB")]
    library: OsString,
    /// Write one JSON object for each function, each on one line: {"name", "variants"}
    ///
    /// "variants" are objects {"symbol", "isa", "lanes", "masked", "available"}, one for each vector variant. The number of
    /// lanes is null if it depends on the processor (SVE).
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Symbol<'a> {
    name: &'a str,
    variants: Vec<Variant<'a>>,
}

#[derive(Serialize)]
struct Variant<'a> {
    symbol: &'a str,
    isa: String,
    /// `None` if the processor's registers tell.
    lanes: Option<usize>,
    masked: bool,
    available: bool,
}

impl<'a> From<&'a VectorName> for Variant<'a> {
    fn from(name: &'a VectorName) -> Self {
        Self {
            symbol: name.symbol(),
            isa: name.isa().to_string(),
            lanes: name.lanes(),
            masked: name.is_masked(),
            available: name.isa().is_available(),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // SAFETY: the user has named the library, and is responsible for its initialisers and terminators, which
    // run in this process.
    let library = unsafe { Library::open(&arguments.library)? };
    let symbols = library.symbols()?;
    let mut variants: BTreeMap<&str, Vec<Variant<'_>>> = BTreeMap::new();
    let names = library.vector_variants()?;
    for name in &names {
        variants
            .entry(name.function())
            .or_default()
            .push(name.into());
    }
    // The variants stand behind their functions.
    let functions = symbols
        .iter()
        .filter(|name| VectorName::parse(name).is_none());
    output::write(|output| {
        functions.into_iter().try_for_each(|name| {
            let mut variants = variants.remove(name.as_str()).unwrap_or_default();
            variants.sort_by_key(|variant| !variant.available);
            if arguments.json {
                return output::json_line(output, &Symbol { name, variants });
            }
            let listed: Vec<String> = variants.iter().map(listed).collect();
            match listed.join(", ") {
                empty if empty.is_empty() => writeln!(output, "{name}"),
                listed => writeln!(output, "{name}  {listed}"),
            }
        })
    })?;
    Ok(())
}

/// Returns a variant as the list shows it: `AVX2 x4`.
fn listed(variant: &Variant<'_>) -> String {
    let Variant {
        isa,
        lanes,
        masked,
        available,
        ..
    } = variant;
    let lanes = lanes.map(|lanes| format!(" x{lanes}")).unwrap_or_default();
    let mask = if *masked { " masked" } else { "" };
    if *available {
        format!("{isa}{lanes}{mask}")
    } else {
        format!("[{isa}{lanes}{mask}]")
    }
}
