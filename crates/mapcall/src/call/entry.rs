//! Entries: compiled functions that a host language calls with its own objects.
//!
//! An entry checks the arguments of a bound function, makes what was left out, calls the function and makes the
//! result, in one piece of code. All that it knows of the host language is data: where objects keep what it reads, and
//! functions that make objects. It leaves every call that needs more to the host language's general function, before it
//! has changed anything.

/// Where a host language keeps what an entry reads. Offsets and sizes are in bytes.
///
/// Functions and objects are given by their addresses, and live as long as the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Host {
    /// The offset of the pointer to its class in an object.
    pub class: usize,
    pub real: RealObject,
    pub integer: IntegerObject,
    pub array: ArrayObject,
    pub function: FunctionObject,
    pub thread: ThreadState,
    pub results: HostResults,
}

/// The class of floating-point numbers: a `double` at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RealObject {
    pub class: usize,
    pub value: usize,
}

/// The class of integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IntegerObject {
    pub class: usize,
    /// `int64_t (object *, int *overflow)`, which sets the second to a number that is not 0 if the integer has more
    /// bits. It runs no code of the user.
    pub read: usize,
}

/// The class of arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ArrayObject {
    pub class: usize,
    /// The offset of the 32-bit version in a class.
    pub version: usize,
    /// The address of the version of another class whose objects are arrays; 0 there stands for none.
    pub other_version: usize,
    /// The offset of the pointer to the dtype.
    pub dtype: usize,
    /// The offset of the number of axes, an `int`.
    pub ndim: usize,
    /// The offset of the flags, 32 bits.
    pub flags: usize,
    /// The flag of elements that follow each other.
    pub is_contiguous: u32,
    /// The flag of memory that may be written to.
    pub is_writeable: u32,
    /// The flag of memory that has no other addresses.
    pub is_private: u32,
    /// The offset of the address of the first element.
    pub address: usize,
    /// The offset of the pointer to the lengths, each 64 bits.
    pub shape: usize,
    /// The offset of the pointer to the strides in bytes, each 64 bits.
    pub strides: usize,
    /// `object *(dtype *, size_t *shape, size_t ndim, size_t is_column_major)`, which makes an array of zeros; null
    /// with an exception set. It runs no code of the user.
    pub zeros: usize,
}

/// The object of a function, which is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FunctionObject {
    /// The offset of the address of the C function.
    pub address: usize,
    /// The offset of a 64-bit number: a call is usual if its arrays have less bytes together.
    pub held_below: usize,
    /// The bits of the third argument of an entry that are the number of arguments.
    pub count: u64,
    /// `object *(function *, object **arguments, size_t count, object *keywords)`, which makes the calls that are not
    /// usual.
    pub general: usize,
    /// `object *(function *, object **arguments, size_t count, uint64_t *frame, object **outputs, int errno)`, which
    /// ends a call whose result is of another kind, or in which something was raised. The frame has the slots of the
    /// call and its result, and null follows the arrays that were made for outputs, whose references it takes.
    pub end: usize,
}

/// The state of a thread's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ThreadState {
    /// The address of a pointer to the C `errno` of the thread that called last.
    pub latest_errno: usize,
    /// The address of a pointer to the state of that thread.
    pub latest: usize,
    /// The address of the number of forks before that call: the thread is none of this process if there were more.
    pub latest_generation: usize,
    /// The offset of the number of running calls in a state, 64 bits.
    pub running: usize,
    /// The offset of the `errno` of the last call, an `int`.
    pub errno: usize,
    /// The offset of a byte: whether a callback has raised.
    pub has_raised: usize,
    /// The offset of a pointer that is null in usual calls.
    pub innermost: usize,
}

/// The objects of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostResults {
    /// The object for no result.
    pub none: usize,
    /// The offset of a 64-bit number in it that each result adds 1 to; `None` if there is none.
    pub references: Option<usize>,
    /// `object *(double)`, which makes a floating-point number.
    pub real: usize,
    /// `object *(int64_t)`, which makes an integer.
    pub signed: usize,
    /// `object *(uint64_t)`, which makes an integer.
    pub unsigned: usize,
    /// `object *(object **, size_t)`, which makes a tuple of objects and takes their references. If one is null, it
    /// returns null.
    pub tuple: usize,
}

/// A place for the value of a number: a slot of the frame, or a copy whose address is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Slot(usize),
    Copy(usize),
}

/// The type of a number that an entry reads or makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryNumber {
    Float,
    Double,
    /// An integer of 8, 16, 32 or 64 bits.
    Integer {
        bits: u32,
        is_signed: bool,
    },
}

/// What an entry requires of an argument.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EntryArgument {
    Number(EntryNumber, Place),
    Array(EntryArray),
}

/// What an entry requires of an array, or how it makes an output that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EntryArray {
    /// The address of the dtype.
    pub(crate) dtype: usize,
    pub(crate) itemsize: usize,
    /// The bits that must be 0 in the address.
    pub(crate) misaligned: usize,
    pub(crate) is_const: bool,
    /// The index of the extent of each axis.
    pub(crate) axes: Vec<usize>,
    /// The layout, if it is not contiguous in C order.
    pub(crate) layout: Option<EntryLayout>,
    pub(crate) slot: usize,
}

/// The layout of an array with one or two axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EntryLayout {
    /// Whether the first axis is the one that moves fastest.
    pub(crate) is_column_major: bool,
    /// The index of the extent that is the distance between rows, in elements; a power of two of bytes each.
    pub(crate) stride: Option<usize>,
}

/// The result of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryResult {
    /// The object for no result.
    None,
    /// A number.
    Number(EntryNumber),
    /// What the host language's `end` makes of it.
    Other,
}

/// What an entry checks: the arguments, and what they have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct EntryCheck {
    pub(crate) arguments: Vec<EntryArgument>,
    /// The extents that are constants; `None` for those that arrays set.
    pub(crate) extents: Vec<Option<u64>>,
    /// The inferred numbers: the index of the extent, its largest value, and its place.
    pub(crate) inferred: Vec<(usize, u64, Option<Place>)>,
    /// The distances between rows, each of one array: the index of the extent, and that of the length of a row.
    pub(crate) strides: Vec<(usize, Option<usize>)>,
    /// The arrays that must not share a byte, by their arguments.
    pub(crate) disjoint: Vec<[usize; 2]>,
    /// The outputs that are left out.
    pub(crate) outputs: Vec<EntryArray>,
    /// The slots of the other arrays that are left out, for which NULL is passed.
    pub(crate) nulls: Vec<usize>,
    /// The slots that the addresses of copies are passed in.
    pub(crate) references: Vec<(usize, usize)>,
    pub(crate) result: EntryResult,
}
