//! Parses the arguments of a function that users write as `NAME=VALUE`.
//!
//! ```
//! use mapcall::Prototype;
//! use mapcall::contract::{Contract, Scalar};
//! use mapcall_cli::value::{Value, values};
//!
//! let contract = Contract::new(Prototype::parse(
//!     "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);",
//! )?)?;
//! let file = tempfile::NamedTempFile::new()?;
//! std::fs::write(&file, [0; 48])?;
//! let x = format!("x={}:f4:3x4[0]", file.path().display());
//!
//! let [n, a, x, y] = &values(&contract, &["a=0x10".into(), x.into()])?[..] else { panic!() };
//! assert!(n.is_none() && y.is_none());
//! assert_eq!(a, &Some(Value::Scalar(Scalar::Int(16))));
//! assert!(matches!(x, Some(Value::File { is_written: false, .. })));
//!
//! let error = values(&contract, &["a=two".into()]).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "saxpy: a: expected float, got \"two\", which is no number and no file; give a number, or a \
//!      file as x.npy, x.npz:member or raw.bin:f4:1000x1000"
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The [`Rule`] of the parameter determines the meaning of a value. A parameter of a number takes a number,
//! or a file as a batch; an array takes a file; only a string parameter takes the value as a string.

#![allow(unsafe_code)]

pub mod file;
pub mod number;
pub mod range;

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};

use mapcall::Arg;
use mapcall::array::{Array, Mode};
use mapcall::contract::{ArgumentError, Contract, Number, Problem, Remedy, Rule, Scalar};

use file::{ArrayFile, FileError};
use number::number;

/// The notations of a file, for error messages.
const A_FILE: &str = "a file as x.npy, x.npz:member or raw.bin:f4:1000x1000";

/// A parsed value; its file is not mapped yet.
///
/// See [the module](self) for an example.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `NULL`, for a pointer.
    Null,
    /// A number.
    Scalar(Scalar),
    /// The bytes of a text.
    Text(Vec<u8>),
    /// An array.
    File {
        /// The file that holds the array.
        file: ArrayFile,
        /// Whether the function may write it.
        is_written: bool,
    },
}

/// A value that can be passed to the function, with its file mapped.
///
/// ```
/// use mapcall::{Arg, Library};
/// use mapcall_cli::value::values;
///
/// let process = Library::process()?;
/// // SAFETY: this is the prototype of `strlen`.
/// let strlen = unsafe { process.function("size_t strlen(const char *s)")? };
/// let mut opened = Vec::new();
/// for (position, value) in values(strlen.contract(), &["s='four'".into()])?.into_iter().enumerate() {
///     // SAFETY: there is no file.
///     opened.push(unsafe { value.unwrap().open(strlen.contract(), position)? });
/// }
/// let mut arguments: Vec<Arg> = opened.iter_mut().map(|value| value.arg()).collect();
/// assert_eq!(strlen.call(&mut arguments)?.to_i128(), Some(4));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Opened {
    /// `NULL`, for a pointer.
    Null,
    /// A number.
    Scalar(Scalar),
    /// The bytes of a text.
    Text(Vec<u8>),
    /// An array, which the function reads.
    Input(Array),
    /// An array, which the function may write.
    InOut(Array),
}

/// The reason why an argument is refused. Each message is one line with the name of the argument, the
/// expected and the given value, and a remedy.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::Contract;
/// use mapcall_cli::value::values;
///
/// let contract = Contract::new(Prototype::parse("double cos(double angle)")?)?;
/// assert_eq!(
///     values(&contract, &["angel=1".into()]).unwrap_err().to_string(),
///     "cos: expected a parameter's name, got angel; did you mean angle?",
/// );
/// assert_eq!(
///     values(&contract, &["1".into()]).unwrap_err().to_string(),
///     "cos: expected NAME=VALUE, got \"1\"; write angle=1",
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// A value that the parameter does not take, or an unknown name that is similar to a parameter's.
    #[error(transparent)]
    Argument(#[from] Box<ArgumentError>),
    /// A text that does not begin with `NAME=`.
    #[error("{function}: expected NAME=VALUE, got {text:?}; {remedy}")]
    NoName {
        /// The function.
        function: String,
        /// The given text.
        text: OsString,
        /// The remedy.
        remedy: String,
    },
    /// A name that is not similar to any parameter's.
    #[error("{function}: expected a parameter's name, got {name}; {remedy}")]
    Unknown {
        /// The function.
        function: String,
        /// The given text.
        name: String,
        /// The remedy.
        remedy: String,
    },
    /// A file that can't be used.
    #[error("{function}: {parameter}: {source}")]
    File {
        /// The function.
        function: String,
        /// The parameter.
        parameter: String,
        /// The reason.
        source: Box<FileError>,
    },
}

/// Parses all `NAME=VALUE` texts of a call, and returns the value of each parameter, `None` if it has none.
///
/// See [the module](self) for an example.
///
/// # Errors
///
/// [`ValueError`] if a text is not `NAME=VALUE`, if the name is unknown or comes twice, or if the parameter
/// does not take the value. Whether a parameter may be left out is checked by the call.
pub fn values(
    contract: &Contract,
    assignments: &[OsString],
) -> Result<Vec<Option<Value>>, ValueError> {
    let mut values = vec![None; contract.rules().len()];
    for text in assignments {
        let (name, value) = assignment(contract, text)?;
        let parameters = &contract.prototype().parameters;
        let position = parameters
            .iter()
            .position(|parameter| parameter.name == name);
        let slot = position.and_then(|position| Some((position, values.get_mut(position)?)));
        let Some((position, slot)) = slot else {
            return Err(unknown(contract, name));
        };
        if slot.is_some() {
            let problem = Problem::Type {
                found: "a second value".to_owned(),
                remedy: Remedy::Words("give it once".to_owned()),
            };
            return Err(contract.refuse(position, problem).into());
        }
        *slot = Some(Value::parse(contract, position, value)?);
    }
    Ok(values)
}

/// Splits `NAME=VALUE` into the name and the value.
fn assignment<'a>(
    contract: &Contract,
    text: &'a OsStr,
) -> Result<(&'a str, Cow<'a, OsStr>), ValueError> {
    if let Some(parts) = split_name(text) {
        return Ok(parts);
    }
    let remedy = match contract.arguments() {
        [only] => format!("write {}={}", contract.name(*only), text.display()),
        _ => parameters(contract),
    };
    Err(ValueError::NoName {
        function: contract.prototype().name.clone(),
        text: text.to_owned(),
        remedy,
    })
}

/// Returns the error for a name that no parameter has.
fn unknown(contract: &Contract, name: &str) -> ValueError {
    match contract.unknown(name, &[]) {
        Problem::Unknown { nearest: None, .. } => ValueError::Unknown {
            function: contract.prototype().name.clone(),
            name: name.to_owned(),
            remedy: parameters(contract),
        },
        problem => contract.refuse_all(problem).into(),
    }
}

/// Returns the list of the parameters' names, for messages.
fn parameters(contract: &Contract) -> String {
    let taken = contract.arguments().iter();
    let names: Vec<&str> = taken.map(|&position| contract.name(position)).collect();
    match &names[..] {
        [] => "the function takes no arguments".to_owned(),
        [only] => format!("its parameter is {only}"),
        _ => format!("its parameters are {}", names.join(", ")),
    }
}

/// Splits a text at the first `=`.
pub(crate) fn split_name(text: &OsStr) -> Option<(&str, Cow<'_, OsStr>)> {
    let parts = text
        .to_str()
        .and_then(|text| text.split_once('='))
        .map(|(name, value)| (name, Cow::Borrowed(OsStr::new(value))));
    parts.or_else(|| encoded(text))
}

/// Splits a text that is not valid Unicode at the first `=`.
#[cfg(unix)]
fn encoded(text: &OsStr) -> Option<(&str, Cow<'_, OsStr>)> {
    use std::os::unix::ffi::OsStrExt;

    let bytes = text.as_bytes();
    let at = bytes.iter().position(|&byte| byte == b'=')?;
    let (name, value) = bytes.split_at_checked(at)?;
    let value = OsStr::from_bytes(value.get(1..)?);
    Some((std::str::from_utf8(name).ok()?, value.into()))
}

#[cfg(not(unix))]
fn encoded(_: &OsStr) -> Option<(&str, Cow<'_, OsStr>)> {
    None
}

impl Value {
    /// Parses the value of one parameter, which is given by its position in the prototype.
    ///
    /// ```
    /// use mapcall::Prototype;
    /// use mapcall::contract::Contract;
    /// use mapcall_cli::value::Value;
    ///
    /// let contract = Contract::new(Prototype::parse("int puts(const char *s)")?)?;
    /// assert_eq!(Value::parse(&contract, 0, "12")?, Value::Text(b"12".into()));
    /// assert_eq!(Value::parse(&contract, 0, "'NULL'")?, Value::Text(b"NULL".into()));
    /// assert_eq!(Value::parse(&contract, 0, "NULL")?, Value::Null);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Quotes around a text are removed; the text between them is unchanged.
    ///
    /// # Errors
    ///
    /// [`ValueError`] if the parameter does not take the value.
    pub fn parse(
        contract: &Contract,
        position: usize,
        text: impl AsRef<OsStr>,
    ) -> Result<Self, ValueError> {
        let text = text.as_ref();
        let reading = Reading {
            contract,
            position,
            text,
        };
        let is_null = text == "NULL";
        match contract.rules().get(position) {
            Some(Rule::Text | Rule::Pointer(_) | Rule::Function(_)) if is_null => Ok(Self::Null),
            Some(Rule::Text) => Ok(Self::Text(unquoted(text.as_encoded_bytes()).to_owned())),
            Some(Rule::Array(array)) if is_null && array.is_nullable() => Ok(Self::Null),
            Some(Rule::Array(array))
                if array.takes_text() && is_quoted(text.as_encoded_bytes()) =>
            {
                Ok(Self::Text(unquoted(text.as_encoded_bytes()).to_owned()))
            }
            Some(Rule::Inferred(_) | Rule::InOut(_) | Rule::Derived(_)) => {
                match reading.number()? {
                    Some(value @ Scalar::Int(_)) => Ok(Self::Scalar(value)),
                    _ => Err(reading.unfit(
                        "",
                        "give an integer, or leave it out, as it is inferred from the arrays",
                    )),
                }
            }
            Some(Rule::Number(number)) => match reading.number()? {
                Some(value) => reading.scalar(*number, value),
                None => reading.file(
                    false,
                    ", which is no number and no file",
                    "give a number, or ",
                ),
            },
            Some(Rule::Reference(number)) => match reading.number()? {
                Some(value) => reading.scalar(*number, value),
                None => Err(reading.unfit(", which is no number", "give a number")),
            },
            Some(Rule::Array(array)) if array.number().is_some() => match reading.number()? {
                Some(value) => Ok(Self::Scalar(value)),
                None => reading.file(
                    false,
                    ", which is no number and no file",
                    "give a number, or ",
                ),
            },
            Some(Rule::Array(array)) if array.takes_text() => {
                reading.file(false, ", which is no file", "give a text in quotes, or ")
            }
            Some(Rule::Array(array)) => {
                reading.file(!array.is_const(), ", which is no file", "give ")
            }
            Some(Rule::Pointer(pointer)) if pointer.is_void || pointer.dtype.is_some() => {
                reading.file(!pointer.is_const, ", which is no file", "give NULL, or ")
            }
            Some(Rule::Pointer(_)) => Err(reading.unfit(
                "",
                "give NULL; a handle can be passed from Python and from Rust alone",
            )),
            Some(Rule::Function(_)) => Err(reading.unfit(
                "",
                "give NULL; a function can be passed from Python and from Rust alone",
            )),
            _ => Err(reading.unfit("", "call it from Python or from Rust")),
        }
    }

    /// Maps the file of a [`Value::File`]: for reading and writing if the function may write it.
    ///
    /// See [`Opened`] for an example.
    ///
    /// # Safety
    ///
    /// No code may make the file shorter while the array or a view of it exists, and no other code may write
    /// the bytes of a typed view while it exists: see [`MapOptions::map`](mapcall::array::MapOptions::map).
    ///
    /// # Errors
    ///
    /// [`ValueError::File`] if the file can't be mapped.
    pub unsafe fn open(self, contract: &Contract, position: usize) -> Result<Opened, ValueError> {
        Ok(match self {
            Self::Null => Opened::Null,
            Self::Scalar(value) => Opened::Scalar(value),
            Self::Text(text) => Opened::Text(text),
            Self::File { file, is_written } => {
                let mode = if is_written {
                    Mode::ReadWrite
                } else {
                    Mode::Read
                };
                // SAFETY: the caller guarantees that no code shortens the file while it is mapped, or writes the bytes of
                // a typed view.
                let array = unsafe { file.open(mode) };
                let array = array.map_err(|source| file_error(contract, position, source))?;
                if is_written {
                    Opened::InOut(array)
                } else {
                    Opened::Input(array)
                }
            }
        })
    }
}

impl Opened {
    /// Returns the argument for a [`Function`](mapcall::Function).
    ///
    /// See [`Opened`] for an example.
    pub fn arg(&mut self) -> Arg<'_> {
        match self {
            Self::Null => Arg::Null,
            Self::Scalar(value) => Arg::Scalar(*value),
            Self::Text(text) => Arg::Text(Cow::Borrowed(text)),
            Self::Input(array) => Arg::from(&*array),
            Self::InOut(array) => Arg::from(array),
        }
    }

    /// Returns the array, if the value is one.
    ///
    /// ```
    /// use mapcall_cli::value::Opened;
    ///
    /// assert!(Opened::Null.array().is_none());
    /// ```
    #[must_use]
    pub fn array(&self) -> Option<&Array> {
        match self {
            Self::Input(array) | Self::InOut(array) => Some(array),
            _ => None,
        }
    }
}

/// A text that is being read for a parameter.
struct Reading<'a> {
    contract: &'a Contract,
    position: usize,
    text: &'a OsStr,
}

impl Reading<'_> {
    fn number(&self) -> Result<Option<Scalar>, ValueError> {
        let value = self.text.to_str().map_or(Ok(None), number);
        value
            .map_err(|error| self.unfit(&format!(", {error}"), "give a number that C's types have"))
    }

    /// Returns the value of a parameter that takes a number.
    fn scalar(&self, number: Number, value: Scalar) -> Result<Value, ValueError> {
        let slots = number.slots(value);
        slots.map_err(|problem| self.contract.refuse(self.position, problem))?;
        Ok(Value::Scalar(value))
    }

    fn file(&self, is_written: bool, unlike: &str, remedy: &str) -> Result<Value, ValueError> {
        match ArrayFile::parse(self.text) {
            Ok(file) => Ok(Value::File { file, is_written }),
            // If a file of the name exists, the error is that of the file.
            Err(FileError::Missing { path, .. }) if !path.exists() => {
                let unlike = match self.number() {
                    Ok(Some(_)) => ", a number",
                    _ => unlike,
                };
                Err(self.unfit(unlike, &format!("{remedy}{A_FILE}")))
            }
            Err(source) => Err(file_error(self.contract, self.position, source)),
        }
    }

    fn unfit(&self, unlike: &str, remedy: &str) -> ValueError {
        let problem = Problem::Type {
            found: format!("{:?}{unlike}", self.text.to_string_lossy()),
            remedy: Remedy::Words(remedy.to_owned()),
        };
        self.contract.refuse(self.position, problem).into()
    }
}

fn file_error(contract: &Contract, position: usize, source: FileError) -> ValueError {
    ValueError::File {
        function: contract.prototype().name.clone(),
        parameter: contract.name(position).to_owned(),
        source: Box::new(source),
    }
}

fn is_quoted(text: &[u8]) -> bool {
    unquoted(text).len() < text.len()
}

/// Returns a text without the quotes around it.
fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inside @ .., b'"'] | [b'\'', inside @ .., b'\''] => inside,
        text => text,
    }
}
