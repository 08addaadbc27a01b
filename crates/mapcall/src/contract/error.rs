//! The errors of arguments: the argument that was expected, the one that was given, and a remedy.

use std::fmt;
use std::path::PathBuf;

use mapcall_array::DType;

use super::scalar::Scalar;
use crate::extent::ExtentError;

/// An argument that the prototype doesn't allow. The function has not been called.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::{Contract, Problem, Scalar};
///
/// let contract = Contract::new(Prototype::parse("int abs(int j)")?)?;
/// let error = contract.refuse(0, Problem::Range { value: Scalar::Int(1 << 31) });
/// assert_eq!(
///     error.to_string(),
///     "abs: j: expected int, got 2147483648; give a value that int has"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ArgumentError {
    /// The name of the function.
    pub function: String,
    /// The name of the parameter in the prototype; empty for the arguments as a whole.
    pub parameter: String,
    /// A short description of the arguments that the parameter takes.
    pub expected: String,
    /// The reason why the check refuses the argument.
    pub problem: Problem,
}

/// A problem with an argument: the reason why the check refuses it.
///
/// ```
/// use mapcall::contract::Problem;
///
/// let problem = Problem::Rank { expected: 2, shape: vec![7] };
/// assert_eq!(problem.to_string(), "shape (7,)");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Problem {
    /// No argument for a parameter that needs one.
    Missing,
    /// No array for an output whose extents the prototype doesn't give.
    Unmeasured,
    /// An object of another kind.
    Type {
        /// The kind of the object, with its article: `a list`.
        found: String,
        /// How to make an argument that fits.
        remedy: Remedy,
    },
    /// Elements of another type.
    DType {
        /// The dtype that the C type asks for.
        expected: DType,
        /// The dtype of the array.
        found: DType,
    },
    /// Elements of a type for which mapcall has no dtype.
    ForeignDType {
        /// The dtype that the C type asks for.
        expected: DType,
        /// The name of the array's dtype in the host language.
        found: String,
    },
    /// Elements in the other byte order.
    ByteOrder {
        /// The dtype that the C type asks for.
        expected: DType,
        /// The dtype of the array.
        found: DType,
    },
    /// A structured dtype with a field that differs from the member of the struct.
    Field {
        /// The member, as a path: `position.x`.
        field: String,
        /// The dtype and offset of the member.
        expected: String,
        /// The dtype and offset of the field.
        found: String,
    },
    /// Another number of axes.
    Rank {
        /// The number of axes in the prototype.
        expected: usize,
        /// The array's shape.
        shape: Vec<usize>,
    },
    /// Elements that are not contiguous in C order.
    NotContiguous {
        /// The array's shape.
        shape: Vec<usize>,
        /// Its strides, in bytes.
        strides: Vec<isize>,
    },
    /// An address without the alignment of the C type.
    Unaligned {
        /// The address.
        address: usize,
        /// The alignment: the number of bytes that the address must be a multiple of.
        alignment: usize,
    },
    /// Read-only memory that the function would write.
    ReadOnly,
    /// Memory that other code of this program can read or write while the function writes it.
    Shared,
    /// An array on a map that was closed.
    ClosedMap,
    /// An array with masked elements, which C would take for values.
    Masked {
        /// The kind of the array, with its article: `a MaskedArray`.
        found: String,
        /// Whether the function writes it.
        is_written: bool,
    },
    /// An array whose memory, shape, dtype or flags changed between its check and the end of the call.
    Changed,
    /// An axis of another length.
    Extent {
        /// The axis.
        axis: usize,
        /// Its extent in the prototype.
        extent: String,
        /// The value of that extent.
        expected: usize,
        /// The parameter that set the value, if it is another one.
        because: Option<String>,
        /// The array's shape.
        shape: Vec<usize>,
    },
    /// An extent without a value.
    BadExtent {
        /// The extent in the prototype.
        extent: String,
        /// The reason why it has no value.
        error: ExtentError,
    },
    /// An extent that no argument sets.
    NotInferred,
    /// A given extent that differs from the length of an array's axis.
    Disagrees {
        /// The value that was given.
        value: Scalar,
        /// The length of the axis.
        expected: u64,
        /// The name of the array.
        because: Option<String>,
    },
    /// NULL for a pointer that the prototype says is never null.
    Null,
    /// Another value than the expression has that the prototype says the number equals.
    Equals {
        /// The value that was given.
        value: Scalar,
        /// The value of the expression.
        expected: i128,
        /// The expression.
        expression: String,
    },
    /// A number outside of the bounds that the prototype gives.
    Bounds {
        /// The value.
        value: Scalar,
        /// The smallest value.
        least: String,
        /// The largest value.
        most: String,
    },
    /// Elements in another order in memory than the prototype asks for.
    Layout {
        /// Whether the first index must be the one that moves fastest.
        is_column_major: bool,
        /// Whether rows, or columns, may be further apart than they are long.
        has_stride: bool,
        /// Whether the function writes the array, so that a copy would lose the result.
        is_written: bool,
        /// The array's shape.
        shape: Vec<usize>,
        /// Its strides, in bytes.
        strides: Vec<isize>,
    },
    /// Another distance between rows, or columns if the array is column-major.
    Stride {
        /// The distance in the prototype.
        stride: String,
        /// Its value, in elements.
        expected: usize,
        /// The parameter that set the value, if it is another one.
        because: Option<String>,
        /// The distance in the array; `None` if it was left out.
        found: Option<usize>,
    },
    /// An array that shares memory with a `restrict` one.
    Overlap {
        /// The other parameter.
        other: String,
    },
    /// Batch axes that don't fit those of another argument.
    Broadcast {
        /// The lengths of the array's batch axes.
        shape: Vec<usize>,
        /// The other argument.
        other: String,
        /// The lengths of its batch axes.
        other_shape: Vec<usize>,
    },
    /// An array for a number that is in the extent of another array, so that it is the same in each
    /// call.
    Measures {
        /// The array's shape.
        shape: Vec<usize>,
    },
    /// An array that several calls of a batch would write.
    Repeated {
        /// The lengths of the array's batch axes.
        shape: Vec<usize>,
        /// The lengths of the axes of the batch.
        batch: Vec<usize>,
    },
    /// An array to be written whose items share memory.
    SelfOverlap,
    /// An array to be written that shares memory with another one, other than item by item.
    Alias {
        /// The other argument.
        other: String,
    },
    /// A file that another output is written to.
    SameFile {
        /// The path of the file.
        path: PathBuf,
        /// The other output.
        other: String,
    },
    /// A batch of results that no array can hold.
    Unbatched {
        /// The type of the result.
        returns: String,
    },
    /// A value that the type doesn't have.
    Range {
        /// The value.
        value: Scalar,
    },
    /// A number of another kind, such as a fraction for an integer.
    Kind {
        /// The value.
        value: Scalar,
    },
    /// A text with a NUL, where C would cut it off.
    NulInText {
        /// The offset of the NUL, in bytes.
        at: usize,
    },
    /// An array for a pointer without an extent, so that the number of elements that the function
    /// accesses is unknown.
    Unbounded {
        /// The kind of the argument, with its article.
        found: String,
    },
    /// An array without an extent that each call of a batch would write.
    UnmeasuredBatch,
    /// A handle to an object of another type.
    Handle {
        /// The name of the type that the handle points to.
        found: String,
    },
    /// A handle that has been closed.
    Closed {
        /// The name of the type that it pointed to.
        found: String,
    },
    /// A handle that C would own after the call, while another call or an array uses it.
    InUse {
        /// The name of the type that the handle points to.
        found: String,
    },
    /// A handle to read-only memory, for a function that may write it.
    ReadOnlyHandle {
        /// The name of the type that the handle points to.
        found: String,
    },
    /// A handle into an argument that was only borrowed, so that its memory may have been freed.
    Borrowed {
        /// The name of the type that the handle points to.
        found: String,
    },
    /// Memory of the caller for a pointer whose object C owns after the call.
    NotOwned {
        /// The kind of the argument, with its article.
        found: String,
    },
    /// A handle that C owns after the first call, in a batch of several calls.
    OwnedOnce,
    /// A function of another type.
    Function {
        /// The type of the function that was given.
        found: String,
    },
    /// More arguments than parameters.
    TooMany {
        /// The largest number of arguments.
        max: usize,
        /// The number that was given.
        found: usize,
    },
    /// Another number of outputs than the batch has; with fewer, some would be computed and dropped.
    Outputs {
        /// The number of outputs.
        expected: usize,
        /// The number that was given.
        found: usize,
    },
    /// A batch of calls of a variadic function.
    VariadicBatch,
    /// More calls than `isize` can count.
    Uncounted {
        /// The lengths of the batch's axes.
        shape: Vec<usize>,
    },
    /// A keyword that is the name of no parameter.
    Unknown {
        /// The keyword.
        name: String,
        /// The parameter with the most similar name, if there is a similar one.
        nearest: Option<String>,
    },
    /// Two arguments for one parameter.
    Twice,
}

/// A remedy: how to make an argument that fits.
///
/// ```
/// use mapcall::array::DType;
/// use mapcall::contract::Remedy;
///
/// assert_eq!(Remedy::Convert(DType::F32).to_string(), "convert it to float32");
/// ```
///
/// It is displayed as English text; a binding may display it as a call of its own language.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Remedy {
    /// Convert the elements to the dtype.
    Convert(DType),
    /// Make an array of the dtype from the object.
    MakeArray(DType),
    /// Copy the array into C order.
    MakeContiguous,
    /// Copy the array into Fortran order.
    MakeColumnMajor,
    /// Pass a copy of the array.
    Copy,
    /// Pass the elements without the mask.
    Unmask {
        /// Whether a copy with values in place of the masked elements is accepted, too.
        by_copy: bool,
    },
    /// Write the extent into the prototype, or call without it.
    Measure,
    /// Give a number.
    GiveNumber,
    /// Give a text.
    GiveText {
        /// Whether an array is accepted, too.
        or_array: bool,
    },
    /// Give a handle or the null pointer.
    GiveHandle {
        /// Whether an array is accepted, too.
        or_array: bool,
    },
    /// Give a pointer to a type.
    GivePointer {
        /// The type, in C.
        target: String,
    },
    /// Give a bound function.
    GiveFunction,
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
    /// Any other remedy, as English text.
    Words(String),
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Convert(dtype) => write!(f, "convert it to {}", dtype.name()),
            Self::MakeArray(dtype) => write!(f, "make an array of {} of it", dtype.name()),
            Self::MakeContiguous => f.write_str("copy it into C order"),
            Self::MakeColumnMajor => f.write_str("copy it into Fortran order"),
            Self::Copy => f.write_str("pass a copy"),
            Self::Unmask { by_copy: true } => {
                f.write_str("put values in place of its masked elements")
            }
            Self::Unmask { by_copy: false } => f.write_str("pass its elements without the mask"),
            Self::Measure => {
                f.write_str("write its extent into the prototype, or call it unchecked")
            }
            Self::GiveNumber => f.write_str("give a number"),
            Self::GiveText { or_array: false } => f.write_str("give a text"),
            Self::GiveText { or_array: true } => f.write_str("give a text or an array"),
            Self::GiveHandle { or_array: false } => f.write_str("give a handle or NULL"),
            Self::GiveHandle { or_array: true } => f.write_str("give an array, a handle or NULL"),
            Self::GivePointer { target } => write!(f, "give a pointer to {target}"),
            Self::GiveFunction => f.write_str("give a bound function"),
            Self::GiveStruct(_) => f.write_str("give a struct"),
            Self::GiveExtent => f.write_str("set it with `Function::with_extent`"),
            Self::OmitInferred => {
                f.write_str("leave out the rest, as inferred parameters are not arguments")
            }
            Self::GiveOutputs { count: 0 } => f.write_str("give none"),
            Self::GiveOutputs { .. } => {
                f.write_str("give one argument for each output, `Arg::Out` to allocate it")
            }
            Self::Words(words) => f.write_str(words),
        }
    }
}

impl ArgumentError {
    /// Makes the error for an argument that belongs to no parameter of a contract: the value of a variable, or
    /// of a struct's member.
    #[doc(hidden)]
    #[must_use]
    pub fn new(function: String, parameter: String, expected: String, problem: Problem) -> Self {
        Self {
            function,
            parameter,
            expected,
            problem,
        }
    }

    /// Returns the description of the expected argument: that of the parameter, with the condition that
    /// this problem violates.
    #[must_use]
    pub fn expected(&self) -> String {
        let expected = &self.expected;
        match &self.problem {
            Problem::ByteOrder { .. } => format!("{expected} in native byte order"),
            Problem::Field {
                field,
                expected: member,
                ..
            } => format!("{expected} whose field {field:?} is {member}"),
            Problem::Rank { expected: rank, .. } => format!("{expected}, {}", axes(*rank)),
            Problem::NotContiguous { .. } => format!("{expected}, C-contiguous"),
            Problem::Unaligned { alignment, .. } => {
                format!("{expected}, aligned to {alignment} bytes")
            }
            Problem::ReadOnly | Problem::ReadOnlyHandle { .. } => {
                format!("{expected}, writeable")
            }
            Problem::Shared => format!("{expected} that nothing else can reach"),
            Problem::ClosedMap => format!("{expected} on an open map"),
            Problem::Masked { .. } => format!("{expected} without masked elements"),
            Problem::Changed => format!("{expected} that stays as it is until the call returns"),
            Problem::Extent {
                axis,
                extent,
                expected: value,
                because,
                ..
            } => {
                let because = because
                    .as_ref()
                    .map_or(String::new(), |other| format!(" as {other} has it"));
                if *extent == value.to_string() {
                    format!("{expected} with {value} along axis {axis}")
                } else {
                    format!("{expected} with {extent} = {value}{because}")
                }
            }
            Problem::BadExtent { .. } => format!("{expected} of some size"),
            Problem::NotInferred => format!("{expected} from the shape of an array"),
            Problem::Disagrees {
                expected: value,
                because,
                ..
            } => {
                let because = because
                    .as_ref()
                    .map_or(String::new(), |other| format!(" as {other} has it"));
                format!("{expected} {value}{because}")
            }
            Problem::Overlap { .. } => format!("{expected} in memory of its own (restrict)"),
            Problem::Broadcast {
                other, other_shape, ..
            } => {
                let shape = tuple(other_shape);
                format!("{expected} with batch axes that broadcast with {shape}, those of {other}")
            }
            Problem::Repeated { batch, .. } => {
                format!("{expected} with the batch axes {}", tuple(batch))
            }
            Problem::Measures { .. } => {
                format!("one {expected} for all calls, as it measures an array")
            }
            Problem::SelfOverlap => format!("{expected}, each item in memory of its own"),
            Problem::Alias { other } => {
                format!("{expected} in memory of its own, or item by item in that of {other}")
            }
            Problem::SameFile { .. } => format!("{expected} in a file of its own"),
            Problem::Unbatched { returns } => {
                format!("one call, as no array can hold results of type {returns}")
            }
            Problem::NulInText { .. } => format!("{expected} without NUL"),
            Problem::Unbounded { .. } => format!("{expected} with its extent"),
            Problem::UnmeasuredBatch => format!("{expected} with its extent, as this is a batch"),
            Problem::Closed { .. } => format!("{expected} that is open"),
            Problem::InUse { .. } => format!("{expected} that nothing else uses"),
            Problem::Borrowed { .. } => format!("{expected} to memory that is still there"),
            Problem::NotOwned { .. } => format!("{expected} whose object C may own"),
            Problem::OwnedOnce => format!("one call, as C owns {expected} then"),
            Problem::TooMany { max: 0, .. } => "no arguments".into(),
            Problem::TooMany { max: 1, .. } => "at most 1 argument".into(),
            Problem::TooMany { max, .. } => format!("at most {max} arguments"),
            Problem::Outputs { expected: 0, .. } => "no output".into(),
            Problem::Outputs { expected: 1, .. } => "1 output".into(),
            Problem::Outputs { expected, .. } => format!("{expected} outputs"),
            Problem::VariadicBatch => "one call of a variadic function".into(),
            Problem::Uncounted { .. } => "fewer calls".into(),
            Problem::Unknown { .. } if self.expected == "arguments" => "a parameter's name".into(),
            Problem::Twice => format!("{expected} once"),
            problem => problem
                .annotation(expected)
                .unwrap_or_else(|| expected.clone()),
        }
    }

    /// Returns the description of the argument that was given.
    #[must_use]
    pub fn found(&self) -> String {
        self.problem.to_string()
    }

    /// Returns the remedy.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        let name = &self.parameter;
        let words = |text: String| Remedy::Words(text);
        match &self.problem {
            Problem::Missing | Problem::Null | Problem::Stride { found: None, .. } => {
                words(format!("give {name}"))
            }
            Problem::Unmeasured => words(format!(
                "give {name}, or write its extents into the prototype"
            )),
            Problem::Type { remedy, .. } => remedy.clone(),
            Problem::DType { expected, .. }
            | Problem::ForeignDType { expected, .. }
            | Problem::ByteOrder { expected, .. } => Remedy::Convert(expected.clone()),
            Problem::Field { .. } => words("take the struct's own dtype".into()),
            Problem::Rank { expected, shape } if shape.len() < *expected => {
                words(format!("reshape it to {}", axes(*expected)))
            }
            Problem::Rank { .. } => words("give one item, or map it over all".into()),
            Problem::Layout {
                is_column_major: true,
                ..
            } => Remedy::MakeColumnMajor,
            Problem::NotContiguous { .. } | Problem::Layout { .. } => Remedy::MakeContiguous,
            Problem::Bounds { least, most, .. } => {
                words(format!("give a value from {least} to {most}"))
            }
            Problem::Unaligned { .. }
            | Problem::ReadOnly
            | Problem::Overlap { .. }
            | Problem::SelfOverlap
            | Problem::Alias { .. } => Remedy::Copy,
            Problem::SameFile { .. } => words("give it another name".into()),
            Problem::Shared => words("drop the others first, or pass a copy".into()),
            Problem::ClosedMap => words("open the file again".into()),
            Problem::Masked { is_written, .. } => Remedy::Unmask {
                by_copy: !is_written,
            },
            Problem::Changed => words("change it before the call, or pass a copy".into()),
            Problem::Broadcast { .. } => words("give axes that are equal or 1".into()),
            Problem::Measures { .. } => words("give a number".into()),
            Problem::Repeated { .. } => words("give an item to each call".into()),
            Problem::Unbatched { .. } => words("call it once for each item".into()),
            Problem::Extent { .. } | Problem::Stride { .. } => {
                words("give arrays that agree".into())
            }
            Problem::BadExtent { .. } => words("give other sizes".into()),
            Problem::NotInferred => Remedy::GiveExtent,
            Problem::Disagrees { .. } | Problem::Equals { .. } => {
                words(format!("leave {name} out"))
            }
            Problem::Range { .. } => words(format!("give a value that {} has", self.expected)),
            Problem::Kind { .. } => words(format!("convert it to {} first", self.expected)),
            Problem::NulInText { .. } => words("cut it there".into()),
            Problem::Unbounded { .. } => Remedy::Measure,
            Problem::UnmeasuredBatch => words(format!("write {name}[n] in the prototype")),
            Problem::Handle { .. } => words("give the handle that the library made for it".into()),
            Problem::Closed { .. } => words("open a new one".into()),
            Problem::InUse { .. } => {
                words("wait for the other calls, and drop the arrays on its memory".into())
            }
            Problem::ReadOnlyHandle { .. } => {
                words(format!("bind it with const for {name}, if it only reads"))
            }
            Problem::Borrowed { .. } => {
                words("give the argument as an `Array`, which the handle keeps".into())
            }
            Problem::NotOwned { .. } => words("give a handle or NULL".into()),
            Problem::OwnedOnce => words("call it once for each handle".into()),
            Problem::VariadicBatch => words(format!(
                "bind {} by a prototype with a parameter for each argument, without a header",
                self.function
            )),
            Problem::Function { .. } => words("give a function of that type".into()),
            Problem::TooMany { .. } => Remedy::OmitInferred,
            Problem::Outputs { expected, .. } => Remedy::GiveOutputs { count: *expected },
            Problem::Uncounted { .. } => words("map it over a part at a time".into()),
            Problem::Unknown {
                nearest: Some(nearest),
                ..
            } => words(format!("did you mean {nearest}?")),
            Problem::Unknown { .. } if self.parameter.is_empty() => {
                words("look at the function's parameters".into())
            }
            Problem::Unknown { .. } => words("look at the definition of the struct".into()),
            Problem::Twice => words("give it once".into()),
        }
    }

    /// Returns the message with another text for the remedy.
    ///
    /// ```
    /// use mapcall::Prototype;
    /// use mapcall::contract::{Contract, Problem};
    ///
    /// let contract = Contract::new(Prototype::parse("void f(int n, float x[n])")?)?;
    /// let error = contract.refuse(1, Problem::ReadOnly);
    /// assert_eq!(
    ///     error.message(&"pass x.copy()"),
    ///     "f: x: expected float32[n], writeable, got a read-only array; pass x.copy()",
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn message(&self, remedy: &dyn fmt::Display) -> String {
        let (function, expected, found) = (&self.function, self.expected(), self.found());
        let parameter = match &*self.parameter {
            "" => String::new(),
            parameter => format!(": {parameter}"),
        };
        format!("{function}{parameter}: expected {expected}, got {found}; {remedy}")
    }
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message(&self.remedy()))
    }
}

/// Describes the argument that was given.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing | Self::Unmeasured | Self::Stride { found: None, .. } => {
                f.write_str("nothing")
            }
            Self::Null => f.write_str("NULL"),
            Self::Stride {
                found: Some(found), ..
            } => write!(f, "rows {found} elements apart"),
            Self::DType { found, .. } => write!(f, "an array of {}", found.name()),
            Self::ForeignDType { found, .. } => write!(f, "an array of {found}"),
            Self::ByteOrder { found, .. } => write!(f, "an array of '{found}'"),
            Self::Rank { shape, .. } | Self::Extent { shape, .. } | Self::Measures { shape } => {
                write!(f, "shape {}", tuple(shape))
            }
            Self::NotContiguous { shape, strides } | Self::Layout { shape, strides, .. } => {
                write!(f, "shape {} with strides {}", tuple(shape), tuple(strides))
            }
            Self::Unaligned { address, .. } => write!(f, "address {address:#x}"),
            Self::ReadOnly => f.write_str("a read-only array"),
            Self::Shared => f.write_str("an array that shares its memory with others"),
            Self::ClosedMap => f.write_str("an array on a map that was closed"),
            Self::Changed => f.write_str("one that was changed meanwhile"),
            Self::BadExtent { extent, error } => write!(f, "{extent}, which {error}"),
            Self::NotInferred => f.write_str("no array that has it"),
            Self::SameFile { path, other } => {
                write!(f, "{}, where {other} goes", path.display())
            }
            Self::Overlap { other } | Self::Alias { other } => {
                write!(f, "memory that it shares with {other}")
            }
            Self::Broadcast { shape, .. }
            | Self::Repeated { shape, .. }
            | Self::Uncounted { shape } => {
                write!(f, "batch axes {}", tuple(shape))
            }
            Self::SelfOverlap => f.write_str("an array whose items share memory"),
            Self::Unbatched { .. } | Self::OwnedOnce | Self::VariadicBatch => {
                f.write_str("a batch")
            }
            Self::Range { value }
            | Self::Kind { value }
            | Self::Equals { value, .. }
            | Self::Bounds { value, .. }
            | Self::Disagrees { value, .. } => value.fmt(f),
            Self::NulInText { at } => write!(f, "one at byte {at}"),
            Self::Type { found, .. }
            | Self::Field { found, .. }
            | Self::Unbounded { found }
            | Self::NotOwned { found } => f.write_str(found),
            Self::Masked { found, .. } => write!(f, "{found} with masked elements"),
            Self::UnmeasuredBatch => f.write_str("an array that each call would write"),
            Self::Handle { found } => write!(f, "a handle to {found}"),
            Self::Closed { found } => write!(f, "a closed handle to {found}"),
            Self::InUse { found } => write!(f, "a handle to {found} in use"),
            Self::ReadOnlyHandle { found } => write!(f, "a handle to const {found}"),
            Self::Borrowed { found } => {
                write!(f, "a handle to {found} in an argument that was borrowed")
            }
            Self::Function { found } => write!(f, "`{found}`"),
            Self::TooMany { found, .. } | Self::Outputs { found, .. } => found.fmt(f),
            Self::Unknown { name, .. } => f.write_str(name),
            Self::Twice => f.write_str("it by position and by name"),
        }
    }
}

impl std::error::Error for ArgumentError {}

impl std::error::Error for Problem {}

impl Problem {
    /// Returns the description of the expected argument for a problem with an annotation of the prototype;
    /// `None` for other problems.
    fn annotation(&self, expected: &str) -> Option<String> {
        Some(match self {
            Self::Null => format!("{expected} other than NULL"),
            Self::Equals {
                expected: value,
                expression,
                ..
            } => format!("{expected} that equals {expression} = {value}"),
            Self::Bounds { least, most, .. } => format!("{expected} from {least} to {most}"),
            Self::Layout {
                has_stride: true, ..
            } => format!("{expected}, each row contiguous and behind the one before"),
            Self::Layout { .. } => format!("{expected}, contiguous"),
            Self::Stride {
                stride,
                expected: value,
                because,
                ..
            } => {
                let because = because
                    .as_ref()
                    .map_or(String::new(), |other| format!(" as in {other}"));
                let value = value.to_string();
                let stride = if *stride == value {
                    value
                } else {
                    format!("{stride} = {value}")
                };
                format!("{expected} with its rows {stride} elements apart{because}")
            }
            _ => return None,
        })
    }
}

fn axes(rank: usize) -> String {
    if rank == 1 {
        "1 axis".into()
    } else {
        format!("{rank} axes")
    }
}

/// Formats values as a Python tuple.
fn tuple<T: fmt::Display>(values: &[T]) -> String {
    if let [only] = values {
        return format!("({only},)");
    }
    let values: Vec<_> = values.iter().map(T::to_string).collect();
    format!("({})", values.join(", "))
}
