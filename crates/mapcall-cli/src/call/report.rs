//! The results of calls, as text and as JSON.

use std::ffi::OsString;
use std::io::{self, Write};

use mapcall::array::{Array, DType};
use mapcall::contract::ArrayRule;
use mapcall::{Function, Value};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::one_line;
use crate::show::{self, Element, Nested};
use crate::units::{rate, readable, tuple};

/// The result and the outputs of a call or of a batch.
#[derive(Default, Serialize)]
pub(super) struct Report {
    returns: Option<Returned>,
    /// Whether the returned value is not shown, because `--check zero` has made sure that it is 0.
    #[serde(skip)]
    is_ignored: bool,
    pub(super) outputs: Vec<Made>,
    /// The duration of a batch in seconds; 0 for a single call.
    #[serde(skip)]
    pub(super) seconds: f64,
}

/// The result of a single call.
enum Returned {
    Element(Element),
    /// A string, in the bytes that C returned.
    Text(Vec<u8>),
    Null,
    Address(usize),
}

/// One output, in a file or in memory.
pub(super) struct Made {
    pub(super) name: String,
    pub(super) target: Target,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
}

/// The destination of an output.
pub(super) enum Target {
    File(OsString),
    Memory(Array),
}

impl Made {
    pub(super) fn array(name: &str, array: Array) -> Self {
        Self {
            name: name.to_owned(),
            dtype: array.dtype().clone(),
            shape: array.shape().to_vec(),
            target: Target::Memory(array),
        }
    }
}

impl Report {
    /// Returns the report of a single call, without outputs.
    pub(super) fn of(value: &Value, function: &Function) -> Self {
        let dtype = function.contract().returned().map(ArrayRule::dtype);
        let returns = match value {
            Value::Scalar(value) => Some(Returned::Element(Element::of(*value, dtype))),
            Value::Text(Some(text)) => Some(Returned::Text(text.to_bytes().to_vec())),
            Value::Text(None) | Value::Pointer(None) => Some(Returned::Null),
            Value::Pointer(Some(handle)) => {
                let address = handle.address();
                Some(Returned::Address(
                    address.map_or(0, |address| address.addr().get()),
                ))
            }
            Value::Record { dtype, bytes } => Some(Returned::Element(Element::read(dtype, bytes))),
            _ => None,
        };
        Self {
            returns,
            is_ignored: function.contract().is_status(),
            ..Self::default()
        }
    }

    /// Writes the report as text. Files are listed only on a terminal.
    pub(super) fn write(&self, output: &mut impl Write, is_terminal: bool) -> io::Result<()> {
        match &self.returns {
            _ if self.is_ignored => {}
            None => {}
            Some(Returned::Element(element)) => writeln!(output, "{element}")?,
            Some(Returned::Text(text)) => {
                output.write_all(text)?;
                output.write_all(b"\n")?;
            }
            Some(Returned::Null) => writeln!(output, "NULL")?,
            Some(Returned::Address(address)) => writeln!(output, "{address:#x}")?,
        }
        for made in &self.outputs {
            match &made.target {
                Target::Memory(array) => {
                    let text = show::text(array);
                    let space = if text.contains('\n') { "\n" } else { " " };
                    // `return` is a keyword of C, so this is the function's result, not a parameter.
                    if made.name == "return" {
                        writeln!(output, "{text}")?;
                    } else {
                        writeln!(output, "{} ={space}{text}", made.name)?;
                    }
                }
                Target::File(path) if is_terminal => self.line(output, made, path)?,
                Target::File(_) => {}
            }
        }
        Ok(())
    }

    fn line(&self, output: &mut impl Write, made: &Made, path: &OsString) -> io::Result<()> {
        let bytes = made.shape.iter().product::<usize>() * made.dtype.itemsize();
        let dtype = match made.dtype.fields() {
            None => made.dtype.name(),
            Some(_) => "structured".to_owned(),
        };
        write!(
            output,
            "{}  {dtype} {}  {}",
            one_line(&path.to_string_lossy()),
            tuple(&made.shape),
            readable(bytes)
        )?;
        if self.seconds > 0.0 {
            let rate = rate(bytes, self.seconds);
            write!(output, "  {:.2} s  {rate}", self.seconds)?;
        }
        writeln!(output)
    }
}

impl Serialize for Returned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Element(element) => element.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(&String::from_utf8_lossy(text)),
            Self::Null => serializer.serialize_none(),
            Self::Address(address) => serializer.collect_str(&format_args!("{address:#x}")),
        }
    }
}

impl Serialize for Made {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("output", 5)?;
        object.serialize_field("name", &self.name)?;
        let file = match &self.target {
            Target::File(path) => Some(path.to_string_lossy()),
            Target::Memory(_) => None,
        };
        object.serialize_field("file", &file)?;
        object.serialize_field("dtype", &self.dtype.to_string())?;
        object.serialize_field("shape", &self.shape)?;
        match &self.target {
            Target::Memory(array) => object.serialize_field("values", &Nested(array))?,
            Target::File(_) => object.skip_field("values")?,
        }
        object.end()
    }
}
