//! The problems with arguments: the reasons why a check refuses them.

use std::fmt;
use std::path::PathBuf;

use mapcall_array::DType;

use super::remedy::Remedy;
use super::text::tuple;
use crate::contract::scalar::Scalar;
use crate::extent::ExtentError;

/// A problem with an argument: the reason why the check refuses it.
///
/// ```
/// use mapcall::contract::Problem;
///
/// let problem = Problem::Rank { expected: 2, shape: vec![7], reshaped: None };
/// assert_eq!(problem.to_string(), "shape (7,)");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Problem {
    /// No argument for a parameter that needs one.
    Missing,
    /// Python's `None` for an array that may not be NULL.
    NoneGiven {
        /// Whether the array may be left out if the prototype gives its extents.
        is_unmeasured: bool,
    },
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
        /// The dtype of the struct.
        dtype: DType,
        /// The names of the members, if the array has fields of all these names.
        names: Option<Vec<String>>,
    },
    /// A structured dtype whose fields are those of the struct, at other places or with another size.
    Packed {
        /// The size of the struct, in bytes.
        expected: usize,
        /// The size of an element, in bytes.
        found: usize,
        /// The first member at another place: its name, its offset, and the offset of the field.
        field: Option<(String, usize, usize)>,
        /// The dtype of the struct.
        dtype: DType,
    },
    /// Another number of axes.
    Rank {
        /// The number of axes in the prototype.
        expected: usize,
        /// The array's shape.
        shape: Vec<usize>,
        /// A shape with which the array fits, at the same memory.
        reshaped: Option<Vec<usize>>,
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
        /// A shape with which the array fits, at the same memory.
        reshaped: Option<Vec<usize>>,
    },
    /// More elements along an axis than the parameter of its length can count.
    TooLong {
        /// The number of elements.
        length: u64,
        /// The largest number.
        most: u64,
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
        /// Whether the array has more axes than its parameter, those of a batch.
        is_batch: bool,
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
    /// The name of a file for an output that does not end in `.npy`, the format in which it would be written.
    Suffix {
        /// The path of the file.
        path: PathBuf,
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
        /// The length of the text before it, in the host language's characters.
        length: usize,
    },
    /// An array for a pointer without an extent, so that the number of elements that the function
    /// accesses is unknown.
    Unbounded {
        /// The kind of the argument, with its article.
        found: String,
        /// The array's shape; empty if it is none.
        shape: Vec<usize>,
        /// Whether it is a number, for a pointer to a const one.
        is_number: bool,
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

/// Describes the argument that was given.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing | Self::Unmeasured | Self::Stride { found: None, .. } => {
                f.write_str("nothing")
            }
            Self::NoneGiven { .. } => f.write_str("None"),
            Self::Null => f.write_str("NULL"),
            Self::Packed { found, field, .. } => {
                write!(f, "{found} bytes")?;
                match field {
                    Some((_, _, offset)) => write!(f, " with it at byte {offset}"),
                    None => Ok(()),
                }
            }
            Self::TooLong { length, .. } => length.fmt(f),
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
            Self::Suffix { path } => path.display().fmt(f),
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
            Self::NulInText { at, .. } => write!(f, "one at byte {at}"),
            Self::Type { found, .. }
            | Self::Field { found, .. }
            | Self::Unbounded { found, .. }
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

impl std::error::Error for Problem {}

impl Problem {
    /// Returns the description of the expected argument for a problem with an annotation of the prototype;
    /// `None` for other problems.
    pub(super) fn annotation(&self, expected: &str) -> Option<String> {
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
