//! `mapcall constants`: lists the constants of headers.

use std::io::Write;

use clap::Args;
use mapcall::declarations::ConstantValue;
use serde::Serialize;

use crate::prototypes::Headers;
use crate::{Failure, output};

/// List the constants of C headers
///
/// They are the enumerators, and the macros without parameters that are integers, floats, characters or
/// strings, each on one line as NAME = VALUE, with the value that the C compiler computes.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    headers: Headers,
    /// Write one JSON object for each constant, each on one line: {"name", "value"}
    ///
    /// "value" is a number, or a string; bytes of a string that are no UTF-8 are replaced by U+FFFD. A float
    /// that is infinite or no number is null.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let declarations = arguments.headers.read()?;
    let constants = declarations.constants()?;
    output::write(|output| {
        constants.iter().try_for_each(|constant| {
            if arguments.json {
                let (name, value) = (&*constant.name, Value::of(&constant.value));
                output::json_line(output, &Object { name, value })
            } else {
                writeln!(output, "{constant}")
            }
        })
    })?;
    Ok(())
}

/// A constant, as JSON.
#[derive(Serialize)]
struct Object<'a> {
    name: &'a str,
    value: Value,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Value {
    Integer(i128),
    Float(f64),
    Text(String),
}

impl Value {
    fn of(value: &ConstantValue) -> Self {
        match value {
            ConstantValue::Integer(value) => Self::Integer(*value),
            ConstantValue::Float(value) => Self::Float(*value),
            ConstantValue::Text(bytes) => Self::Text(String::from_utf8_lossy(bytes).into_owned()),
            value => Self::Text(value.to_string()),
        }
    }
}
