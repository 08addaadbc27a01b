//! Arguments that are refused: what was expected, what came, and what to do.

use std::fmt;
use std::path::PathBuf;

use mapcall_array::DType;

use super::scalar::Scalar;
use crate::extent::ExtentError;

/// An argument that the prototype doesn't allow; nothing was called.
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
    /// The function.
    pub function: String,
    /// The parameter's name in the prototype; empty for the arguments as a whole.
    pub parameter: String,
    /// What the parameter takes, in a few words.
    pub expected: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with an argument.
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
    /// Nothing was given.
    Missing,
    /// An output was left out whose extents the prototype doesn't say.
    Unmeasured,
    /// Another kind of thing.
    Type {
        /// What it is, with its article: `a list`.
        found: String,
        /// What makes it fit.
        remedy: Remedy,
    },
    /// Elements of another type.
    DType {
        /// What C has.
        expected: DType,
        /// What the array has.
        found: DType,
    },
    /// Elements of a type that has no counterpart here.
    ForeignDType {
        /// What C has.
        expected: DType,
        /// What the array has, as its own library calls it.
        found: String,
    },
    /// Elements in the other byte order.
    ByteOrder {
        /// What C has.
        expected: DType,
        /// What the array has.
        found: DType,
    },
    /// A structured dtype with a field that isn't the struct's member.
    Field {
        /// The member, as a path: `position.x`.
        field: String,
        /// What C has.
        expected: String,
        /// What the dtype has.
        found: String,
    },
    /// Another number of axes.
    Rank {
        /// What the prototype has.
        expected: usize,
        /// The array's shape.
        shape: Vec<usize>,
    },
    /// Elements that don't follow each other in C order.
    NotContiguous {
        /// The array's shape.
        shape: Vec<usize>,
        /// Its strides, in bytes.
        strides: Vec<isize>,
    },
    /// An address that C's type can't have.
    Unaligned {
        /// The address.
        address: usize,
        /// What it must be a multiple of, in bytes.
        alignment: usize,
    },
    /// Memory that the function would write and may not.
    ReadOnly,
    /// Memory that other code of this program can read or write while the function writes it.
    Shared,
    /// An array with masked elements, which C would take for values.
    Masked {
        /// What it is, with its article: `a MaskedArray`.
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
        /// What that is worth.
        expected: usize,
        /// The parameter that says so, if another one does.
        because: Option<String>,
        /// The array's shape.
        shape: Vec<usize>,
    },
    /// An extent without a value.
    BadExtent {
        /// The extent in the prototype.
        extent: String,
        /// Why it has none.
        error: ExtentError,
    },
    /// An extent that no argument tells.
    NotInferred,
    /// An extent that was given, and that an array has otherwise.
    Disagrees {
        /// The value that was given.
        value: Scalar,
        /// What the array has.
        expected: u64,
        /// The array.
        because: Option<String>,
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
    /// An array for a number that measures another one, and so is the same in each call.
    Measures {
        /// The array's shape.
        shape: Vec<usize>,
    },
    /// An array that several calls of a batch would write.
    Repeated {
        /// The lengths of the array's batch axes.
        shape: Vec<usize>,
        /// Those of the batch.
        batch: Vec<usize>,
    },
    /// An array to be written whose items share memory.
    SelfOverlap,
    /// An array to be written that shares memory with another one, but not item by item.
    Alias {
        /// The other argument.
        other: String,
    },
    /// A file that another output goes to.
    SameFile {
        /// Its name.
        path: PathBuf,
        /// The other output.
        other: String,
    },
    /// A batch of results that no array can hold.
    Unbatched {
        /// What the function returns.
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
    /// A text that C would cut off.
    NulInText {
        /// Where the NUL stands, in bytes.
        at: usize,
    },
    /// A pointer without an extent, given an array: how far the function reads isn't known.
    Unbounded {
        /// What was given.
        found: String,
    },
    /// An array without an extent that each call of a batch would write.
    UnmeasuredBatch,
    /// A handle to something else.
    Handle {
        /// What the handle points to.
        found: String,
    },
    /// A handle that has been closed.
    Closed {
        /// What it pointed to.
        found: String,
    },
    /// A handle that C would own after the call, while another call or an array uses it.
    InUse {
        /// What the handle points to.
        found: String,
    },
    /// A handle to memory that C may only read, where the function may write.
    ReadOnlyHandle {
        /// What the handle points to.
        found: String,
    },
    /// A handle into an argument that was only borrowed, so that its memory may have gone.
    Borrowed {
        /// What the handle points to.
        found: String,
    },
    /// Memory of the caller for a pointer whose object C owns after the call.
    NotOwned {
        /// What was given.
        found: String,
    },
    /// A handle that C owns after the first call, given to several.
    OwnedOnce,
    /// A function of another type.
    Function {
        /// Its prototype.
        found: String,
    },
    /// More arguments than parameters.
    TooMany {
        /// The largest number of arguments.
        max: usize,
        /// The number that was given.
        found: usize,
    },
    /// More outputs of a batch than there are, or fewer, so that some would be computed and dropped.
    Outputs {
        /// The number of outputs.
        expected: usize,
        /// The number that was given.
        found: usize,
    },
    /// More calls than can be counted.
    Uncounted {
        /// The lengths of the batch's axes.
        shape: Vec<usize>,
    },
    /// A keyword that is no parameter.
    Unknown {
        /// The keyword.
        name: String,
        /// The nearest parameter, if one is near.
        nearest: Option<String>,
    },
    /// One parameter given twice.
    Twice,
}

/// What makes an argument fit.
///
/// ```
/// use mapcall::array::DType;
/// use mapcall::contract::Remedy;
///
/// assert_eq!(Remedy::Convert(DType::F32).to_string(), "convert it to float32");
/// ```
///
/// Displayed, it is advice in words; a binding may put it into its own language's calls.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Remedy {
    /// Convert the elements.
    Convert(DType),
    /// Make an array of it.
    MakeArray(DType),
    /// Copy it into C order.
    MakeContiguous,
    /// Copy it to memory of its own.
    Copy,
    /// Pass the elements without the mask.
    Unmask {
        /// Whether a copy with values in place of the masked elements would do as well.
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
    /// Give a bound function.
    GiveFunction,
    /// Give a struct or union of that dtype.
    GiveStruct(DType),
    /// Give the value of an inferred parameter.
    GiveExtent,
    /// Give fewer arguments: inferred parameters are not among them.
    OmitInferred,
    /// Give an argument for each output of a batch.
    GiveOutputs {
        /// The number of outputs.
        count: usize,
    },
    /// What it says.
    Words(String),
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Convert(dtype) => write!(f, "convert it to {}", dtype.name()),
            Self::MakeArray(dtype) => write!(f, "make an array of {} of it", dtype.name()),
            Self::MakeContiguous => f.write_str("copy it into C order"),
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
    /// What was expected, with what this problem adds to the parameter's own words.
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
            Problem::Uncounted { .. } => "fewer calls".into(),
            Problem::Unknown { .. } => "a parameter's name".into(),
            Problem::Twice => format!("{expected} once"),
            _ => expected.clone(),
        }
    }

    /// What came.
    #[must_use]
    pub fn found(&self) -> String {
        self.problem.to_string()
    }

    /// What to do.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        let name = &self.parameter;
        let words = |text: String| Remedy::Words(text);
        match &self.problem {
            Problem::Missing => words(format!("give {name}")),
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
            Problem::NotContiguous { .. } => Remedy::MakeContiguous,
            Problem::Unaligned { .. }
            | Problem::ReadOnly
            | Problem::Overlap { .. }
            | Problem::SelfOverlap
            | Problem::Alias { .. } => Remedy::Copy,
            Problem::SameFile { .. } => words("give it another name".into()),
            Problem::Shared => words("drop the others first, or pass a copy".into()),
            Problem::Masked { is_written, .. } => Remedy::Unmask {
                by_copy: !is_written,
            },
            Problem::Changed => words("change it before the call, or pass a copy".into()),
            Problem::Broadcast { .. } => words("give axes that are equal or 1".into()),
            Problem::Measures { .. } => words("give a number".into()),
            Problem::Repeated { .. } => words("give an item to each call".into()),
            Problem::Unbatched { .. } => words("call it once for each item".into()),
            Problem::Extent { .. } => words("give arrays that agree".into()),
            Problem::BadExtent { .. } => words("give other sizes".into()),
            Problem::NotInferred => Remedy::GiveExtent,
            Problem::Disagrees { .. } => words(format!("leave {name} out")),
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
            Problem::Function { .. } => words("give a function of that type".into()),
            Problem::TooMany { .. } => Remedy::OmitInferred,
            Problem::Outputs { expected, .. } => Remedy::GiveOutputs { count: *expected },
            Problem::Uncounted { .. } => words("map it over a part at a time".into()),
            Problem::Unknown {
                nearest: Some(nearest),
                ..
            } => words(format!("did you mean {nearest}?")),
            Problem::Unknown { .. } => words("look at the function's parameters".into()),
            Problem::Twice => words("give it once".into()),
        }
    }

    /// The message, with the remedy in other words.
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

/// What came.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing | Self::Unmeasured => f.write_str("nothing"),
            Self::DType { found, .. } => write!(f, "an array of {}", found.name()),
            Self::ForeignDType { found, .. } => write!(f, "an array of {found}"),
            Self::ByteOrder { found, .. } => write!(f, "an array of '{found}'"),
            Self::Rank { shape, .. } | Self::Extent { shape, .. } | Self::Measures { shape } => {
                write!(f, "shape {}", tuple(shape))
            }
            Self::NotContiguous { shape, strides } => {
                write!(f, "shape {} with strides {}", tuple(shape), tuple(strides))
            }
            Self::Unaligned { address, .. } => write!(f, "address {address:#x}"),
            Self::ReadOnly => f.write_str("a read-only array"),
            Self::Shared => f.write_str("an array that shares its memory with others"),
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
            Self::Unbatched { .. } | Self::OwnedOnce => f.write_str("a batch"),
            Self::Range { value } | Self::Kind { value } | Self::Disagrees { value, .. } => {
                value.fmt(f)
            }
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

fn axes(rank: usize) -> String {
    if rank == 1 {
        "1 axis".into()
    } else {
        format!("{rank} axes")
    }
}

/// As Python shows a tuple.
fn tuple<T: fmt::Display>(values: &[T]) -> String {
    if let [only] = values {
        return format!("({only},)");
    }
    let values: Vec<_> = values.iter().map(T::to_string).collect();
    format!("({})", values.join(", "))
}
