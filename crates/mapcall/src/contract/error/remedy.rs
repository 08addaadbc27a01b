//! Remedies: how to make a call that works.

use std::fmt;
use std::path::PathBuf;

use mapcall_array::DType;

use super::text::tuple;

/// A remedy: how to make an argument that fits.
///
/// ```
/// use mapcall::contract::Remedy;
///
/// assert_eq!(Remedy::GiveNumber { or_omit: false }.to_string(), "give a number");
/// ```
///
/// It is displayed for users of Rust; a binding displays it in its own language, by the same facts. What a remedy
/// says to do makes the call work and loses no result. Each variant has a row in `tests/python/remedies/table.py`,
/// which does what the message says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Remedy {
    /// Pass another array in the place of one.
    Replace(Replacement),
    /// Declare the complex type, or pass the parts of the numbers.
    TakeComplex {
        /// The C type of the elements that were given.
        ctype: &'static str,
        /// The dtype of the parameter.
        dtype: DType,
        /// The dtype of the parts, if a view of them has the dtype and the number of elements of the parameter.
        view: Option<DType>,
        /// Whether the function only reads the array, so that the real parts may be given.
        is_only_read: bool,
    },
    /// Give a field of a structured array.
    GiveField {
        /// The name of a field.
        name: String,
        /// The dtype that it must have.
        dtype: DType,
    },
    /// Pass the elements without the mask.
    Unmask {
        /// Whether a copy with values in place of the masked elements is accepted, too.
        by_copy: bool,
    },
    /// Give an array in the place of a file's name, which a host language may open.
    OpenFile {
        /// Whether the function writes the array.
        is_written: bool,
        /// Whether it may be left out, so that a batch writes it to a new file.
        is_output: bool,
    },
    /// Give a list for an array of pointers.
    GiveList(ListOf),
    /// Give an array of that structured dtype.
    GiveRecords(DType),
    /// Give an array of the dtype.
    GiveArray {
        /// The dtype.
        dtype: DType,
        /// Whether it may be left out.
        or_omit: bool,
    },
    /// Give an array of the shape.
    GiveShape {
        /// The lengths of the axes.
        shape: Vec<usize>,
        /// The parameter whose value was given, and may be left out.
        given: Option<String>,
    },
    /// Give an array of that number of axes.
    GiveAxes(usize),
    /// Give an array with an item for each call of a batch.
    GiveBatch {
        /// The lengths of the axes of the batch.
        shape: Vec<usize>,
        /// Whether it may be left out.
        or_omit: bool,
    },
    /// Give arrays that agree with each other.
    Agree,
    /// Give arrays with at most that many elements along an axis.
    GiveShorter(u64),
    /// Give other values for the parameters of an extent.
    ChangeSizes(Vec<String>),
    /// Give loop dimensions that broadcast.
    Broadcast,
    /// Give an argument.
    Give,
    /// Give an argument, or write its length into the prototype.
    GiveOrMeasure(Vec<String>),
    /// Write the extent into the prototype, or call without it.
    Measure(Vec<String>),
    /// Write the extent into the prototype, for a batch.
    MeasureBatch(Vec<String>),
    /// Leave the argument out.
    Omit,
    /// Give a number.
    GiveNumber {
        /// Whether it may be left out.
        or_omit: bool,
    },
    /// Give a value between two, which are given as text.
    GiveBetween {
        /// The smallest value.
        least: String,
        /// The largest value.
        most: String,
        /// Whether it may be left out.
        or_omit: bool,
    },
    /// Give a floating number, which may be rounded.
    GiveFloat(String),
    /// Give one of these values.
    GiveOneOf(Vec<String>),
    /// Give the real part of a complex number.
    GiveReal,
    /// Give a text.
    GiveText {
        /// Whether an array is accepted, too.
        or_array: bool,
    },
    /// Give the part of a text before a NUL.
    CutText {
        /// The length of the text before the NUL.
        length: usize,
    },
    /// Give a handle or the null pointer.
    GiveHandle {
        /// Whether an array is accepted, too.
        or_array: bool,
    },
    /// Give a handle to the type of the parameter.
    GiveOwnHandle,
    /// Open the object of a closed handle again.
    OpenObject,
    /// Wait until nothing else uses a handle.
    WaitForUsers,
    /// Declare that the function only reads.
    BindConst,
    /// Give the memory that a handle leads into as an array, which the handle keeps.
    KeepArgument,
    /// Give a handle, made of the pointer, to the type of the parameter.
    GivePointer {
        /// The type, in C.
        target: String,
    },
    /// Give a bound function.
    GiveFunction,
    /// Give a function of the type of the parameter.
    GiveFunctionOfType,
    /// Give a struct or union of that dtype.
    GiveStruct(DType),
    /// Give the value of an inferred parameter.
    GiveExtent,
    /// Give fewer arguments: inferred parameters are no arguments.
    OmitInferred,
    /// Give an argument for each output of a batch.
    GiveOutputs {
        /// The number of outputs.
        count: usize,
    },
    /// Make a call for each item.
    CallEach,
    /// Bind a variadic function with a parameter for each argument.
    BindVariant,
    /// Make a batch of a part of the items at a time.
    MapPart,
    /// Give an output another file.
    RenameFile,
    /// Write an output to the file of that path.
    WritePath(PathBuf),
    /// Open a file again.
    OpenAgain,
    /// Drop other users of the memory.
    DropOthers,
    /// Change the array before the call.
    ChangeBefore {
        /// Whether a copy may be passed, as the function only reads it.
        or_copy: bool,
    },
    /// Write the name of a parameter that is similar.
    DidYouMean(String),
    /// Write one of these names.
    NameOneOf(Vec<String>),
    /// Give an argument once.
    GiveOnce,
    /// Any other remedy, as English text.
    Words(String),
}

/// An array that is passed in place of another one: see [`Remedy::Replace`].
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::array::DType;
/// use mapcall::contract::{Contract, Form, Problem, Remedy, Results};
///
/// let contract = Contract::new(Prototype::parse("void f(int n, const double x[n], double y[n])")?)?;
/// let problem = || Problem::DType { expected: DType::F64, found: DType::F32 };
/// let results = |position| match contract.refuse(position, problem()).remedy() {
///     Remedy::Replace(replacement) => replacement.results,
///     _ => panic!(),
/// };
/// assert_eq!([results(1), results(2)], [Results::None, Results::Stay]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Replacement {
    /// How the array is made.
    pub form: Form,
    /// The results that the function writes into it.
    pub results: Results,
    /// Whether the argument may be left out instead.
    pub or_omit: bool,
    /// The name of the argument that is replaced, if it is another one than that of the error.
    pub of: Option<String>,
}

impl Replacement {
    /// Returns the replacement by an array without results.
    #[must_use]
    pub fn new(form: Form) -> Self {
        Self {
            form,
            results: Results::None,
            or_omit: false,
            of: None,
        }
    }
}

/// How an array is made of another one or of an object.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Form {
    /// The elements converted to a dtype.
    Convert {
        /// The dtype.
        to: DType,
        /// What the conversion may lose.
        loss: Loss,
    },
    /// The fields converted to those of a struct.
    ConvertFields {
        /// The dtype of the struct.
        to: DType,
        /// The names of the fields in the order of the members, if the array has another one.
        names: Vec<String>,
    },
    /// A new array of the dtype with the elements of a list, or of another object.
    MakeArray(DType),
    /// An array of one element, made of a number.
    OfNumber {
        /// The dtype.
        dtype: DType,
        /// The number of axes.
        rank: usize,
    },
    /// A copy in C order.
    Contiguous,
    /// A copy in Fortran order.
    ColumnMajor,
    /// A copy in which each item of a batch is in Fortran order.
    ColumnMajorItems {
        /// The number of an item's axes, which are the last ones.
        rank: usize,
    },
    /// A copy.
    Copy,
    /// The same elements with another shape.
    Reshape(Vec<usize>),
}

/// What the conversion of elements may lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Nothing.
    None,
    /// Digits: the values are rounded.
    Rounds,
    /// The fractions of the values.
    Fractions,
    /// Values that the dtype does not have.
    Values,
    /// Everything but whether a value is 0.
    Truth,
    /// Elements that are no numbers, which are an error.
    Text,
}

/// The results that a function writes into an array that replaces another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Results {
    /// There are none, or they are in the memory of the replaced array.
    None,
    /// They are in the array that was passed.
    Stay,
    /// They are copied to the replaced array.
    CopyBack,
}

/// The elements of a list for an array of pointers.
#[derive(Clone, Debug, PartialEq)]
pub enum ListOf {
    /// Texts.
    Texts {
        /// Whether the elements of the array that was given are the texts.
        of_elements: bool,
    },
    /// Arrays of the dtype.
    Arrays {
        /// The dtype.
        dtype: DType,
        /// Whether the rows of the array that was given are the arrays.
        of_rows: bool,
    },
    /// Functions.
    Functions,
    /// Handles.
    Handles,
}

impl Loss {
    /// Returns what the conversion of elements from one dtype to another may lose.
    pub(super) fn of(from: &DType, to: &DType) -> Self {
        let bits = |dtype: &DType| dtype.itemsize() * 8;
        let is_wider = bits(from) <= bits(to);
        match (from.kind_char(), to.kind_char()) {
            ('i' | 'u' | 'f' | 'c', 'b') => Self::Truth,
            ('b', 'b' | 'i' | 'u' | 'f' | 'c') | ('i' | 'u', 'f' | 'c') => Self::None,
            ('i', 'i') | ('u', 'u') | ('f', 'f') | ('c', 'c') if is_wider => Self::None,
            ('u', 'i') if bits(from) < bits(to) => Self::None,
            ('f', 'c') if bits(from) * 2 <= bits(to) => Self::None,
            ('i' | 'u', 'i' | 'u') => Self::Values,
            ('f', 'i' | 'u') => Self::Fractions,
            ('f', 'f' | 'c') | ('c', 'c') => Self::Rounds,
            _ => Self::Text,
        }
    }

    /// Returns the words for the loss, behind the conversion.
    #[must_use]
    pub fn words(self, to: &DType) -> String {
        match self {
            Self::None => String::new(),
            Self::Rounds => ", which rounds".into(),
            Self::Fractions => ", which cuts fractions off".into(),
            Self::Values => format!(", if {} has its values", to.name()),
            Self::Truth => ", true where it is not 0".into(),
            Self::Text => ", if its elements are numbers".into(),
        }
    }
}

impl fmt::Display for Replacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let it = self.of.as_deref().unwrap_or("it");
        let or_omit = if self.or_omit {
            ", or leave it out"
        } else {
            ""
        };
        match (&self.form, self.results) {
            (Form::Copy, Results::None) if self.of.is_none() => return f.write_str("pass a copy"),
            (Form::Contiguous, Results::None) => return write!(f, "copy {it} into C order"),
            (Form::ColumnMajor, Results::None) => return write!(f, "copy {it} into Fortran order"),
            (Form::MakeArray(dtype) | Form::OfNumber { dtype, .. }, Results::None) => {
                return write!(f, "make an array of {} of it", dtype.name());
            }
            _ => {}
        }
        let new = match &self.form {
            Form::Convert { to, loss } => match self.results {
                Results::None => {
                    return write!(f, "convert {it} to {}{}", to.name(), loss.words(to));
                }
                _ => format!("a copy of {it} in {}{}", to.name(), loss.words(to)),
            },
            Form::ConvertFields { .. } if self.results == Results::None => {
                return write!(f, "convert {it} to the struct's dtype");
            }
            Form::ConvertFields { .. } => format!("a copy of {it} in the struct's dtype"),
            Form::MakeArray(dtype) => format!("an array of {} made of it", dtype.name()),
            Form::OfNumber { dtype, .. } => format!("an array of {} with it", dtype.name()),
            Form::Contiguous => format!("a copy of {it} in C order"),
            Form::ColumnMajor => format!("a copy of {it} in Fortran order"),
            Form::ColumnMajorItems { .. } => {
                format!("a copy of {it} with its items in Fortran order")
            }
            Form::Copy => format!("a copy of {it}"),
            Form::Reshape(shape) => return write!(f, "reshape {it} to {}", tuple(shape)),
        };
        match self.results {
            Results::None => write!(f, "pass {new}"),
            Results::Stay => write!(f, "pass {new}, which has the results then{or_omit}"),
            Results::CopyBack => write!(f, "pass {new}, and copy the results back{or_omit}"),
        }
    }
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write("it", f)
    }
}

/// A remedy for the argument of a name.
struct Named<'a>(&'a Remedy, &'a str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(remedy, name) = self;
        remedy.write(name, f)
    }
}

impl Remedy {
    /// Returns the text of the remedy for an argument: with its name.
    ///
    /// ```
    /// use mapcall::contract::Remedy;
    ///
    /// assert_eq!(Remedy::Omit.named("n").to_string(), "leave n out");
    /// ```
    #[must_use]
    pub fn named<'a>(&'a self, name: &'a str) -> impl fmt::Display + 'a {
        Named(self, if name.is_empty() { "it" } else { name })
    }

    #[expect(clippy::too_many_lines, reason = "an arm for each variant")]
    fn write(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replace(replacement) => write!(f, "{replacement}"),
            Self::TakeComplex { ctype, .. } => {
                write!(
                    f,
                    "write {ctype} in the prototype, if C takes complex numbers"
                )
            }
            Self::GiveField { name, dtype } => {
                write!(f, "pass its field {name:?} as {}", dtype.name())
            }
            Self::Unmask { by_copy: true } => {
                f.write_str("put values in place of its masked elements")
            }
            Self::Unmask { by_copy: false } => f.write_str("pass its elements without the mask"),
            Self::OpenFile { .. } => f.write_str("open it, and pass the array"),
            Self::GiveList(ListOf::Texts { .. }) => f.write_str("give a list of texts"),
            Self::GiveList(ListOf::Arrays { dtype, .. }) => {
                write!(f, "give a list of arrays of {}", dtype.name())
            }
            Self::GiveList(ListOf::Functions) => f.write_str("give a list of functions"),
            Self::GiveList(ListOf::Handles) => f.write_str("give a list of handles"),
            Self::GiveRecords(_) => f.write_str("give an array of the struct's dtype"),
            Self::GiveArray { dtype, or_omit } => {
                let or_omit = if *or_omit { ", or leave it out" } else { "" };
                write!(f, "give an array of {}{or_omit}", dtype.name())
            }
            Self::GiveShape { shape, given } => {
                write!(f, "give an array of shape {}", tuple(shape))?;
                match given {
                    Some(given) => write!(f, ", or leave {given} out"),
                    None => Ok(()),
                }
            }
            Self::GiveAxes(1) => f.write_str("give an array with 1 axis"),
            Self::GiveAxes(rank) => write!(f, "give an array with {rank} axes"),
            Self::GiveBatch { shape, or_omit } => {
                let or_omit = if *or_omit { ", or leave it out" } else { "" };
                let shape = tuple(shape);
                write!(f, "give one with the batch axes {shape}{or_omit}")
            }
            Self::Agree => f.write_str("give arrays that agree"),
            Self::GiveShorter(most) => write!(f, "give arrays with at most {most} elements there"),
            Self::ChangeSizes(names) => write!(f, "give other values for {}", list(names, "or")),
            Self::Broadcast => f.write_str("give axes that are equal or 1"),
            Self::Give => write!(f, "give {name}"),
            Self::GiveOrMeasure(lengths) => {
                write!(f, "give {name}, or {}", write_length(lengths))
            }
            Self::Measure(lengths) => {
                write!(f, "{}, or call it unchecked", write_length(lengths))
            }
            Self::MeasureBatch(lengths) => f.write_str(&write_length(lengths)),
            Self::Omit => write!(f, "leave {name} out"),
            Self::GiveNumber { or_omit: false } => f.write_str("give a number"),
            Self::GiveNumber { or_omit: true } => f.write_str("give a number, or leave it out"),
            Self::GiveBetween {
                least,
                most,
                or_omit,
            } => {
                let or_omit = if *or_omit { ", or leave it out" } else { "" };
                write!(f, "give a value from {least} to {most}{or_omit}")
            }
            Self::GiveFloat(value) => write!(f, "give {value}, which is rounded"),
            Self::GiveOneOf(values) => write!(f, "give {}", list(values, "or")),
            Self::GiveReal => f.write_str("give its real part"),
            Self::GiveText { or_array: false } => f.write_str("give a text"),
            Self::GiveText { or_array: true } => f.write_str("give a text or an array"),
            Self::CutText { length } => write!(f, "give the {length} characters before it"),
            Self::GiveHandle { or_array: false } => f.write_str("give a handle or NULL"),
            Self::GiveHandle { or_array: true } => f.write_str("give an array, a handle or NULL"),
            Self::GiveOwnHandle => f.write_str("give the handle that the library made for it"),
            Self::OpenObject => f.write_str("open a new one"),
            Self::WaitForUsers => {
                f.write_str("wait for the other calls, and drop the arrays on its memory")
            }
            Self::BindConst => write!(f, "bind it with const for {name}, if it only reads"),
            Self::KeepArgument => {
                f.write_str("give the argument as an `Array`, which the handle keeps")
            }
            Self::GivePointer { target } => write!(f, "give a pointer to {target}"),
            Self::GiveFunction => f.write_str("give a bound function"),
            Self::GiveFunctionOfType => f.write_str("give a function of that type"),
            Self::GiveStruct(_) => f.write_str("give a struct"),
            Self::GiveExtent => f.write_str("set it with `Function::with_extent`"),
            Self::OmitInferred => {
                f.write_str("leave out the rest, as inferred parameters are not arguments")
            }
            Self::GiveOutputs { count: 0 } => f.write_str("give none"),
            Self::GiveOutputs { .. } => {
                f.write_str("give one argument for each output, `Arg::Out` to allocate it")
            }
            Self::CallEach => f.write_str("call it once for each item"),
            Self::BindVariant => f.write_str(
                "bind it by a prototype with a parameter for each argument, without a header",
            ),
            Self::MapPart => f.write_str("map it over a part at a time"),
            Self::RenameFile => f.write_str("give it another name"),
            Self::WritePath(path) => write!(f, "write {}", path.display()),
            Self::OpenAgain => f.write_str("open the file again"),
            Self::DropOthers => f.write_str("drop the others first"),
            Self::ChangeBefore { or_copy: false } => f.write_str("change it before the call"),
            Self::ChangeBefore { or_copy: true } => {
                f.write_str("change it before the call, or pass a copy")
            }
            Self::DidYouMean(name) => write!(f, "did you mean {name}?"),
            Self::NameOneOf(names) if names.is_empty() => f.write_str("leave it out"),
            Self::NameOneOf(names) => match &names[..] {
                [name] => write!(f, "write {name}"),
                names => write!(f, "write one of {}", names.join(", ")),
            },
            Self::GiveOnce => f.write_str("give it once"),
            Self::Words(words) => f.write_str(words),
        }
    }
}

/// Returns the remedy to write one of these lengths into the prototype: the one that is true.
#[must_use]
pub fn write_length(lengths: &[String]) -> String {
    let is_number = |length: &String| {
        let inside = length.trim_end_matches(']').rsplit('[').next();
        inside.is_some_and(|inside| inside.bytes().all(|digit| digit.is_ascii_digit()))
    };
    let choice = match lengths {
        [only] if is_number(only) => "",
        _ => ", as C has it",
    };
    format!("write {} in the prototype{choice}", list(lengths, "or"))
}

/// Returns the words of a list: `a, b or c`.
#[must_use]
pub fn list(words: &[String], last: &str) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}
