//! The calling convention of x86-64 outside Windows: classes of eightbytes (System V x86-64 psABI
//! 3.2.3, "Parameter Passing").
//!
//! libffi is given values of these classes instead of C types, because it knows no unions, packed
//! structs and `_Float16`. So both engines use the one classification here.

use std::collections::HashMap;
use std::ptr;

use libffi_sys::ffi_type;

use super::Class;
use crate::call::ffi_types::Types;
use crate::call::value::{Kind, Value};
use crate::ctype::{Body, CType, Float, Record};

#[cfg(any(has_jit, has_register_entry))]
pub(in crate::call) const INTEGER_REGISTERS: usize = 6;
#[cfg(any(has_jit, has_register_entry))]
pub(in crate::call) const FLOAT_REGISTERS: usize = 8;

/// The size of the largest value that is passed in registers, in bytes (psABI 3.2.3, "Classification",
/// step 5 (c); vector types of more than 16 bytes are not supported).
const TWO_EIGHTBYTES: usize = 16;

/// How a value is passed and returned.
enum Passing {
    /// No value.
    Nothing,
    /// In one register.
    One(Class),
    /// In two registers, or on the stack if not both are free.
    Two(Class, Class),
    /// Classes X87 and X87UP: on the stack as an argument, in st0 as a result.
    LongDouble,
    /// Class `COMPLEX_X87`: on the stack as an argument, in st0 and st1 as a result.
    ComplexLongDouble,
    /// Class MEMORY: on the stack as an argument, at an address that the caller passes as a result.
    Memory,
}

/// Returns the classes of the registers that a value is passed in while enough are free; `None` if it is
/// passed in another way.
#[cfg(any(has_jit, has_register_entry))]
pub(in crate::call) fn registers(value: &Value) -> Option<Vec<Class>> {
    match passing(value).ok()? {
        Passing::Nothing => Some(Vec::new()),
        Passing::One(class) => Some(vec![class]),
        // Compiled code reads the slots of a frame one after the other, and so allows no padding, which a
        // value that is aligned to 16 bytes may have before it.
        Passing::Two(first, second) if value.alignment < TWO_EIGHTBYTES => {
            Some(vec![first, second])
        }
        _ => None,
    }
}

/// Returns an upper bound of the number of vector registers that the arguments take, which the caller of
/// a variadic function passes in AL (psABI 3.2.3).
#[cfg(has_jit)]
pub(in crate::call) fn vectors(parameters: &[Value]) -> Option<u8> {
    let classes = parameters.iter().filter_map(registers).flatten();
    let floats = classes.filter(|class| *class == Class::Float).count();
    u8::try_from(floats.min(FLOAT_REGISTERS)).ok()
}

/// Returns the description of a value for libffi.
pub(in crate::call) fn describe(
    value: &Value,
    types: &mut Types,
) -> Result<*mut ffi_type, &'static str> {
    Ok(match passing(value)? {
        Passing::Nothing => &raw mut libffi_sys::ffi_type_void,
        Passing::One(class) => eightbyte(class),
        Passing::Two(first, second) => types.record(
            TWO_EIGHTBYTES,
            value.alignment,
            vec![eightbyte(first), eightbyte(second)],
        ),
        Passing::LongDouble if value.alignment < TWO_EIGHTBYTES => {
            // The alignment of a record that is `packed` changes its position on the stack only.
            types.long_double(value.alignment)
        }
        Passing::LongDouble => Types::float(Float::LongDouble),
        Passing::ComplexLongDouble => types.complex(Float::LongDouble),
        Passing::Memory => {
            // libffi gives class MEMORY to a record with a member of more than four eightbytes.
            let large = types.record(5 * size_of::<u64>(), 8, vec![eightbyte(Class::Integer)]);
            types.record(8 * value.slots(), value.alignment, vec![large])
        }
    })
}

fn eightbyte(class: Class) -> *mut ffi_type {
    match class {
        Class::Integer => &raw mut libffi_sys::ffi_type_uint64,
        Class::Float => &raw mut libffi_sys::ffi_type_double,
    }
}

fn passing(value: &Value) -> Result<Passing, &'static str> {
    Ok(match &value.kind {
        Kind::Void => Passing::Nothing,
        Kind::Integer { .. } => Passing::One(Class::Integer),
        Kind::Float(Float::LongDouble) if value.size > 8 => Passing::LongDouble,
        Kind::Complex(Float::LongDouble) if value.size > 16 => Passing::ComplexLongDouble,
        Kind::Float(_) => Passing::One(Class::Float),
        Kind::Complex(_) if value.size <= 8 => Passing::One(Class::Float),
        Kind::Complex(_) => Passing::Two(Class::Float, Class::Float),
        Kind::Record(record) => record_passing(record, value.size)?,
    })
}

/// The class of an eightbyte (psABI 3.2.3, "Classes"), or of a field in it.
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
    /// Returns the class of an eightbyte with fields of two classes: the rules (a) to (f) of psABI 3.2.3,
    /// "Classification", step 4, in their order.
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
    if size > TWO_EIGHTBYTES {
        return Ok(Passing::Memory);
    }
    let [first, second] = Classifier::default().record(record, 0)?;
    let mut clang = Classifier {
        skips_unnamed: true,
        ..Classifier::default()
    };
    if clang.record(record, 0)? != [first, second] {
        return Err("C compilers disagree on its bit-fields without a name");
    }
    // Step 5 (a), and below (b).
    if first == Part::Memory || second == Part::Memory {
        return Ok(Passing::Memory);
    }
    Ok(match (first, second) {
        (Part::X87, Part::X87Up) => Passing::LongDouble,
        (_, Part::X87Up) => Passing::Memory,
        _ if size <= 8 => Passing::One(first.register()?),
        _ => Passing::Two(first.register()?, second.register()?),
    })
}

/// The classes of a record's eightbytes, at most two.
type Eightbytes = [Part; 2];

/// Classifies records recursively (psABI 3.2.3, "Classification", steps 3 and 4).
///
/// A nested record is classified by itself before it is merged with the fields beside it, because merging
/// is not associative.
#[derive(Default)]
struct Classifier {
    /// Whether bit-fields without a name have no class, as for Clang; to GCC they are integers.
    skips_unnamed: bool,
    has_integers: bool,
    has_floats: bool,
    /// The size of the largest scalar.
    widest: usize,
    /// The classes that were found already, by record and offset. Members can share their types, so that
    /// without this the time could be exponential.
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
        let classes = members.iter().map(|member| match member.bits {
            Some(bits) if member.name.is_some() || !self.skips_unnamed => {
                self.has_integers = true;
                let first = 8 * (offset + member.offset) + bits.start as usize;
                let last = first + bits.width as usize - 1;
                let class = |eightbyte| {
                    let is_in = (first / 64..=last / 64).contains(&eightbyte);
                    if is_in { Part::Integer } else { Part::Empty }
                };
                Ok([class(0), class(1)])
            }
            Some(_) => Ok(Eightbytes::default()),
            None => self.member(&member.ctype, offset + member.offset),
        });
        let merged = merged(classes)?;
        self.known.insert(key, merged);
        Ok(merged)
    }

    fn member(&mut self, ctype: &CType, offset: usize) -> Result<Eightbytes, &'static str> {
        let Some(size) = ctype.size() else {
            return Err("its members are not known");
        };
        Ok(match ctype.resolved() {
            // A field without bytes has class NO_CLASS.
            _ if size == 0 => Eightbytes::default(),
            CType::Record(record) => self.record(record, offset)?,
            CType::Array(array) => {
                let step = array.item.size().unwrap_or(size).max(1);
                if step < size {
                    Self::repeated(&array.item, step)?;
                }
                let elements = (0..size).step_by(step);
                merged(elements.map(|at| self.member(&array.item, offset + at)))?
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

    /// Refuses arrays that compilers classify differently: the psABI classifies each element, while GCC
    /// repeats the classes of the first one.
    fn repeated(element: &CType, size: usize) -> Result<(), &'static str> {
        let mut alone = Self::default();
        alone.member(element, 0)?;
        let is_mixed = alone.has_integers && alone.has_floats && size < 8;
        if is_mixed || !size.is_multiple_of(alone.widest.max(1)) {
            return Err("C compilers disagree on arrays in such a small record");
        }
        Ok(())
    }

    /// Returns the classes of a record with this field alone. A field that is not aligned, by `packed`, has
    /// class MEMORY (psABI 3.2.3, "Classification", step 1).
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

/// Returns the merged classes of fields that lie side by side, or at the same offset in a union.
fn merged(
    mut all: impl Iterator<Item = Result<Eightbytes, &'static str>>,
) -> Result<Eightbytes, &'static str> {
    all.try_fold(Eightbytes::default(), |[first, second], other| {
        let [other_first, other_second] = other?;
        Ok([first.merge(other_first), second.merge(other_second)])
    })
}
