//! Binds a function of a library by its prototype.

#![allow(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use mapcall::source::Language;
use mapcall::{BindError, Declarations, Function, Library, Prototype, PrototypeError, SourceCode};

use super::Arguments;
use crate::{Failure, compile, prototypes};

/// The reason why a function can't be bound.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FunctionError {
    #[error("{}", one_line(.0))]
    Prototype(Box<PrototypeError>),
    #[error(transparent)]
    Bind(BindError),
    #[error(
        "expected a prototype, got only the name {name}; write it as in 'double cos(double x)', or \
         name a header that declares it with --header"
    )]
    Name { name: String },
    #[error(
        "expected a library with --dask, got the code {path:?}; give \"$(mapcall compile {})\" in its place, and \
         write the prototype",
        path.display()
    )]
    Code { path: PathBuf },
    #[error(
        "expected a function that {header:?} declares, got {name}; mapcall prototypes lists them, or \
         write its prototype"
    )]
    Undeclared { header: OsString, name: String },
}

impl From<PrototypeError> for FunctionError {
    fn from(error: PrototypeError) -> Self {
        Self::Prototype(error.into())
    }
}

impl From<BindError> for FunctionError {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Prototype(error) => Self::Prototype(error.into()),
            error => Self::Bind(error),
        }
    }
}

/// Returns the message of a prototype's error with its position, on one line.
fn one_line(error: &PrototypeError) -> String {
    let before = error.text.get(..error.span.start).unwrap_or(&error.text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    let place = match &error.position {
        Some(place) => format!("{}, line {}", place.file, place.line),
        None if error.text.contains('\n') => {
            format!("the prototype, line {line}, column {column}")
        }
        None => format!("the prototype, column {column}"),
    };
    format!("{place}: {}; {}", error.kind, error.kind.remedy())
}

pub(super) fn function(arguments: &Arguments) -> Result<Function, Failure> {
    let path = Path::new(&arguments.library);
    if Language::of_file(path).is_some() && path.is_file() {
        return compiled(arguments, path);
    }
    let prototype = match &headers(arguments)[..] {
        names @ [_, ..] => declared(&header(arguments)?, names, &arguments.prototype)?,
        [] if is_name(&arguments.prototype) => {
            let name = arguments.prototype.trim().to_owned();
            return Err(FunctionError::Name { name }.into());
        }
        [] => Prototype::parse(&arguments.prototype).map_err(FunctionError::from)?,
    };
    // SAFETY: the user has named the library, and is responsible for its initialisers and terminators, which
    // run in this process.
    let library = unsafe { Library::open(&arguments.library)? };
    bound(arguments, &library, prototype)
}

/// Compiles source code, and binds a function of it.
fn compiled(arguments: &Arguments, path: &Path) -> Result<Function, Failure> {
    if arguments.dask.is_some() {
        return Err(FunctionError::Code { path: path.into() }.into());
    }
    let built = compile::build(SourceCode::file(path)?)?;
    let names = [path.as_os_str().to_owned()];
    let declarations = built.declarations();
    let prototype = declared(declarations, &names, &arguments.prototype)?;
    // SAFETY: the user has named the code, and is responsible for its initialisers and terminators, which run in
    // this process.
    let library = unsafe { Library::open(built.path())? };
    bound(arguments, &library, prototype)
}

fn bound(
    arguments: &Arguments,
    library: &Library,
    prototype: Prototype,
) -> Result<Function, Failure> {
    // SAFETY: the user has given the prototype, and is responsible for it, and for the number of threads that
    // call the function.
    let function = unsafe { library.bind(prototype) }.map_err(FunctionError::from)?;
    Ok(match arguments.check {
        Some(check) => function.check(check.into()).map_err(FunctionError::from)?,
        None => function,
    })
}

/// Returns the prototype as a text that can be bound with the options of the command: that of a header's
/// function, if it was given by its name.
pub(super) fn text(arguments: &Arguments, function: &Function) -> String {
    let given = &arguments.prototype;
    if arguments.check.is_some() && is_name(given) {
        function.prototype().to_string()
    } else {
        given.clone()
    }
}

fn header(arguments: &Arguments) -> Result<Declarations, Failure> {
    Ok(prototypes::header(&arguments.header, &arguments.headers).read()?)
}

/// Returns the names of the headers and files of prototypes.
fn headers(arguments: &Arguments) -> Vec<OsString> {
    let files = arguments.headers.prototypes.iter().map(Into::into);
    arguments.header.iter().cloned().chain(files).collect()
}

/// Returns the prototype of a function that a header declares, for a name; otherwise parses a prototype, which
/// may use the header's types.
fn declared(
    declarations: &Declarations,
    headers: &[OsString],
    text: &str,
) -> Result<Prototype, FunctionError> {
    if !is_name(text) {
        return Ok(declarations.prototype(text)?);
    }
    let name = text.trim();
    match declarations.function(name) {
        Some(function) => Ok(function.prototype?),
        None => Err(FunctionError::Undeclared {
            header: headers.join(OsStr::new(", ")),
            name: name.to_owned(),
        }),
    }
}

fn is_name(text: &str) -> bool {
    let text = text.trim();
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    !text.is_empty() && text.chars().all(is_word)
}
