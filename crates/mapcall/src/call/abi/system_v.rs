//! x86-64 outside Windows: the System V ABI's classes of eightbytes.
//!
//! libffi is told of words in their classes and not of C's types: the classes of unions, packed
//! structs and `_Float16` are out of its own reach, and these ways agree with the C compiler's by
//! construction.

use std::collections::HashMap;
use std::ptr;

use libffi_sys::ffi_type;

use super::Class;
use crate::call::ffi_types::Types;
use crate::call::value::{Kind, Value};
use crate::ctype::{Body, CType, Float, Member, Record};

#[cfg(has_jit)]
pub(in crate::call) const INTEGER_REGISTERS: usize = 6;
#[cfg(has_jit)]
pub(in crate::call) const FLOAT_REGISTERS: usize = 8;

/// The size of what can travel in registers, in bytes.
const TWO_WORDS: usize = 16;

/// How a value travels.
enum Passing {
    Nothing,
    Word(Class),
    Words(Class, Class),
    /// In memory as an argument, on the x87 stack as a result.
    LongDouble,
    ComplexLongDouble,
    Memory,
}

/// The registers that a value takes while there are enough of them; `None` for other ways.
#[cfg(has_jit)]
pub(in crate::call) fn registers(value: &Value) -> Option<Vec<Class>> {
    match passing(value).ok()? {
        Passing::Nothing => Some(Vec::new()),
        Passing::Word(class) => Some(vec![class]),
        // A frame's padding has no place in the compiled code.
        Passing::Words(first, second) if value.alignment < TWO_WORDS => Some(vec![first, second]),
        _ => None,
    }
}

/// What a caller tells in AL (x86-64 psABI 3.2.3), should the function be variadic: how many vector
/// registers the arguments take.
#[cfg(has_jit)]
pub(in crate::call) fn vectors(parameters: &[Value]) -> Option<u8> {
    let classes = parameters.iter().filter_map(registers).flatten();
    let floats = classes.filter(|class| *class == Class::Float).count();
    u8::try_from(floats.min(FLOAT_REGISTERS)).ok()
}

/// The description of a value for libffi.
pub(in crate::call) fn describe(
    value: &Value,
    types: &mut Types,
) -> Result<*mut ffi_type, &'static str> {
    Ok(match passing(value)? {
        Passing::Nothing => &raw mut libffi_sys::ffi_type_void,
        Passing::Word(class) => word(class),
        Passing::Words(first, second) => {
            types.record(TWO_WORDS, value.alignment, vec![word(first), word(second)])
        }
        Passing::LongDouble if value.alignment < TWO_WORDS => {
            // `packed` moves it on the stack, and nowhere else.
            types.long_double(value.alignment)
        }
        Passing::LongDouble => Types::float(Float::LongDouble),
        Passing::ComplexLongDouble => types.complex(Float::LongDouble),
        Passing::Memory => {
            // A member of more than four words puts the whole record in memory.
            let large = types.record(5 * size_of::<u64>(), 8, vec![word(Class::Integer)]);
            types.record(8 * value.slots(), value.alignment, vec![large])
        }
    })
}

fn word(class: Class) -> *mut ffi_type {
    match class {
        Class::Integer => &raw mut libffi_sys::ffi_type_uint64,
        Class::Float => &raw mut libffi_sys::ffi_type_double,
    }
}

fn passing(value: &Value) -> Result<Passing, &'static str> {
    Ok(match &value.kind {
        Kind::Void => Passing::Nothing,
        Kind::Integer { .. } => Passing::Word(Class::Integer),
        Kind::Float(Float::LongDouble) if value.size > 8 => Passing::LongDouble,
        Kind::Complex(Float::LongDouble) if value.size > 16 => Passing::ComplexLongDouble,
        Kind::Float(_) => Passing::Word(Class::Float),
        Kind::Complex(_) if value.size <= 8 => Passing::Word(Class::Float),
        Kind::Complex(_) => Passing::Words(Class::Float, Class::Float),
        Kind::Record(record) => record_passing(record, value.size)?,
    })
}

/// The class of an eightbyte, or of both.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Empty,
    Integer,
    Float,
    X87,
    X87Up,
    Memory,
}

impl Part {
    /// The ABI's rules for fields that share an eightbyte, in their order.
    fn merge(self, other: Self) -> Self {
        match (self, other) {
            (one, same) if one == same => one,
            (Self::Empty, one) | (one, Self::Empty) => one,
            (Self::Memory, _) | (_, Self::Memory) => Self::Memory,
            (Self::Integer, _) | (_, Self::Integer) => Self::Integer,
            (Self::X87 | Self::X87Up, _) | (_, Self::X87 | Self::X87Up) => Self::Memory,
            _ => Self::Float,
        }
    }

    fn register(self) -> Result<Class, &'static str> {
        match self {
            Self::Integer => Ok(Class::Integer),
            Self::Float => Ok(Class::Float),
            _ => Err("eight of its bytes are all padding"),
        }
    }
}

fn record_passing(record: &Record, size: usize) -> Result<Passing, &'static str> {
    if size > TWO_WORDS {
        return Ok(Passing::Memory);
    }
    let [first, second] = Classifier::default().record(record, 0)?;
    if first == Part::Memory || second == Part::Memory {
        return Ok(Passing::Memory);
    }
    Ok(match (first, second) {
        (Part::X87, Part::X87Up) => Passing::LongDouble,
        (_, Part::X87Up) => Passing::Memory,
        _ if size <= 8 => Passing::Word(first.register()?),
        _ => Passing::Words(first.register()?, second.register()?),
    })
}

/// The classes of a record's eightbytes, of which it has two at most.
type Eightbytes = [Part; 2];

/// Finds the classes of records, each by itself before it is merged with what is beside it: the merging is
/// not associative.
#[derive(Default)]
struct Classifier {
    has_integers: bool,
    has_floats: bool,
    /// The size of the largest scalar.
    widest: usize,
    /// Members can share their types: without this, a walk could take exponential time.
    known: HashMap<(*const Record, usize), Eightbytes>,
}

impl Classifier {
    fn record(&mut self, record: &Record, offset: usize) -> Result<Eightbytes, &'static str> {
        let Body::Complete { members, .. } = &record.body else {
            return Err("its members are not known");
        };
        let key = (ptr::from_ref(record), offset);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        let classes = members.iter().map(
            |Member {
                 ctype, offset: at, ..
             }| self.member(ctype, offset + at),
        );
        let merged = merged(classes)?;
        self.known.insert(key, merged);
        Ok(merged)
    }

    fn member(&mut self, ctype: &CType, offset: usize) -> Result<Eightbytes, &'static str> {
        let Some(size) = ctype.size() else {
            return Err("its members are not known");
        };
        Ok(match ctype.resolved() {
            // What has no bytes has no class.
            _ if size == 0 => Eightbytes::default(),
            CType::Record(record) => self.record(record, offset)?,
            CType::Array(array) => {
                let step = array.item.size().unwrap_or(size).max(1);
                if step < size {
                    Self::repeated(&array.item, step)?;
                }
                let items = (0..size).step_by(step);
                merged(items.map(|at| self.member(&array.item, offset + at)))?
            }
            CType::Float(Float::LongDouble) if size > 8 => [Part::X87, Part::X87Up],
            CType::Float(_) => self.scalar(offset, size, Part::Float),
            CType::Complex(_) => {
                let part = size / 2;
                let (real, imaginary) = (offset, offset + part);
                let parts = [real, imaginary].map(|at| Ok(self.scalar(at, part, Part::Float)));
                merged(parts.into_iter())?
            }
            _ => self.scalar(offset, size, Part::Integer),
        })
    }

    /// The ABI looks at each item of an array; GCC at the first one, whose classes it repeats.
    fn repeated(item: &CType, size: usize) -> Result<(), &'static str> {
        let mut alone = Self::default();
        alone.member(item, 0)?;
        let is_mixed = alone.has_integers && alone.has_floats && size < 8;
        if is_mixed || !size.is_multiple_of(alone.widest.max(1)) {
            return Err("C compilers disagree on arrays in such a small record");
        }
        Ok(())
    }

    /// A field that `packed` has moved off its alignment puts the record in memory.
    fn scalar(&mut self, offset: usize, size: usize, part: Part) -> Eightbytes {
        self.has_integers |= part == Part::Integer;
        self.has_floats |= part == Part::Float;
        self.widest = self.widest.max(size);
        let is_aligned = offset.is_multiple_of(size);
        let part = if is_aligned { part } else { Part::Memory };
        match offset / 8 {
            0 => [part, Part::Empty],
            _ => [Part::Empty, part],
        }
    }
}

/// The classes of what lies side by side, or in the same place.
fn merged(
    mut all: impl Iterator<Item = Result<Eightbytes, &'static str>>,
) -> Result<Eightbytes, &'static str> {
    all.try_fold(Eightbytes::default(), |[first, second], other| {
        let [other_first, other_second] = other?;
        Ok([first.merge(other_first), second.merge(other_second)])
    })
}
