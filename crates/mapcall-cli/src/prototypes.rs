//! `mapcall prototypes`: lists the functions of a header.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{ArgGroup, Args};
use mapcall::prototype::Declared;
use mapcall::{Declarations, Extent, Header, Parameter};
use serde::Serialize;

use crate::{Failure, output};

/// The headers that a subcommand reads.
#[derive(Args)]
#[command(group = group())]
pub(crate) struct Headers {
    /// The headers, read in order as by one C file: paths, or names that the C compiler finds (zlib.h)
    #[arg(value_name = "HEADER", required = true)]
    header: Vec<OsString>,
    #[command(flatten)]
    options: HeaderOptions,
}

/// The options of subcommands that read headers.
#[derive(Args)]
pub(crate) struct HeaderOptions {
    /// Search for headers in this directory, too
    #[arg(short = 'I', value_name = "DIR", requires = GROUP)]
    pub(crate) include: Vec<PathBuf>,
    /// Define a macro, as 1 if no value is given
    #[arg(short = 'D', value_name = "NAME[=VALUE]", requires = GROUP)]
    pub(crate) define: Vec<String>,
    /// A file of prototypes that say more of functions than the headers do, such as the lengths of arrays;
    /// several are read in order
    #[arg(long, value_name = "FILE")]
    pub(crate) prototypes: Vec<PathBuf>,
}

/// The name of the group of arguments that name headers.
const GROUP: &str = "headers";

/// Returns the group of arguments that name headers: `header` and `prototypes`.
pub(crate) fn group() -> ArgGroup {
    let group = ArgGroup::new(GROUP).args(["header", "prototypes"]);
    group.multiple(true)
}

impl Headers {
    pub(crate) fn read(&self) -> Result<Declarations, Failure> {
        Ok(header(&self.header, &self.options).read()?)
    }

    /// Returns the names for messages.
    fn names(&self) -> OsString {
        self.header.join(OsStr::new(", "))
    }
}

/// List the functions of C headers
///
/// Functions that can be called are written as C, the others as comments with the reason. A function that has
/// another name by a macro is listed by both, as a declaration with its symbol in __asm__.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    headers: Headers,
    /// Write one JSON object for each function, each on one line: {"name", "returns", "parameters",
    /// "unsupported"}
    ///
    /// "parameters" are objects {"name", "type", "extents"}: "type" is the C type, for an array that of its
    /// elements; "extents" are the lengths of the array's axes as C expressions, null if the header does not
    /// give them. "unsupported" is null, or the reason why the function can't be called; then "returns" and
    /// "parameters" are null.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let declarations = arguments.headers.read()?;
    output::write(|output| {
        declarations.functions().iter().try_for_each(|function| {
            if arguments.json {
                output::json_line(output, &Function::of(function))
            } else {
                line(output, function)
            }
        })
    })?;
    for error in declarations.errors() {
        // If the error can't be written, the exit code is the only report.
        let _ = writeln!(io::stderr(), "{error}");
    }
    match declarations.errors().len() {
        0 => Ok(()),
        count => Err(Failure::Unreadable {
            header: arguments.headers.names(),
            count,
        }),
    }
}

/// Returns headers with their include directories, macros and files of prototypes.
pub(crate) fn header(names: &[OsString], options: &HeaderOptions) -> Header {
    let mut headers = names.iter().cloned();
    let mut files = options.prototypes.iter();
    // Files of prototypes without a header are headers themselves.
    let first = headers.next().or_else(|| files.next().map(Into::into));
    let mut header = Header::new(first.unwrap_or_default());
    for name in headers {
        header = header.and(name);
    }
    for path in files {
        header = header.prototypes(path);
    }
    for directory in &options.include {
        header = header.include(directory);
    }
    for definition in &options.define {
        let (name, value) = name_and_value(definition);
        header = header.define(name, value);
    }
    header
}

/// Splits the definition of a macro, `NAME` or `NAME=VALUE`.
pub(crate) fn name_and_value(definition: &str) -> (&str, Option<&str>) {
    match definition.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (definition, None),
    }
}

fn line(output: &mut impl Write, function: &Declared) -> io::Result<()> {
    match (&function.prototype, function.unsupported()) {
        (Ok(prototype), _) => writeln!(output, "{prototype};"),
        (Err(_), reason) => {
            let reason = reason.unwrap_or_default();
            writeln!(output, "// {}: {reason}", function.name)
        }
    }
}

/// A function, as JSON.
#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    returns: Option<String>,
    parameters: Option<Vec<ParameterObject<'a>>>,
    unsupported: Option<String>,
}

#[derive(Serialize)]
struct ParameterObject<'a> {
    name: &'a str,
    r#type: String,
    extents: Vec<Option<String>>,
}

impl<'a> Function<'a> {
    fn of(function: &'a Declared) -> Self {
        let prototype = function.prototype.as_ref().ok();
        Self {
            name: &function.name,
            returns: prototype.map(|prototype| prototype.returns.to_string()),
            parameters: prototype
                .map(|prototype| prototype.parameters.iter().map(parameter).collect()),
            unsupported: function.unsupported(),
        }
    }
}

fn parameter(parameter: &Parameter) -> ParameterObject<'_> {
    let extent = |extent: &Extent| match extent {
        Extent::Unknown => None,
        Extent::Dynamic(expression) => Some(expression.to_string()),
    };
    ParameterObject {
        name: &parameter.name,
        r#type: parameter.declared_type(),
        extents: parameter.extents.iter().map(extent).collect(),
    }
}
