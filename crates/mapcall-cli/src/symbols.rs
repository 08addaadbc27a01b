//! `mapcall symbols`: lists the functions that a library exports.

#![allow(unsafe_code)]

use std::ffi::OsString;
use std::io::Write;

use clap::Args;
use mapcall::Library;
use serde::Serialize;

use crate::{Failure, output};

/// List the functions that a shared library exports
#[derive(Args)]
pub(crate) struct Arguments {
    /// The library: a path, a file name (libm.so.6) or a bare name (m)
    #[arg(value_name = "LIB")]
    library: OsString,
    /// Write one JSON object for each function, each on one line: {"name"}
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Symbol<'a> {
    name: &'a str,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // SAFETY: the user has named the library, and is responsible for its initialisers and terminators, which
    // run in this process.
    let library = unsafe { Library::open(&arguments.library)? };
    let symbols = library.symbols()?;
    output::write(|output| {
        symbols.iter().try_for_each(|name| {
            if arguments.json {
                output::json_line(output, &Symbol { name })
            } else {
                writeln!(output, "{name}")
            }
        })
    })?;
    Ok(())
}
