//! What a callback receives: the rules by which the values that C passes become those of the host language.
#![allow(unsafe_code)]

use std::ptr;
use std::slice;
use std::sync::Arc;

use smallvec::SmallVec;

use super::number::{Number, integer_value};
use crate::call::{FrameLayout, scalar_slots};
use crate::ctype::extent::{Expr, Extent, ExtentError};
use crate::ctype::{CType, Function, Integer, Pointer};

/// The parameters of a callback.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::{Received, ReceivedParameters};
/// use mapcall::ctype::CType;
///
/// let each = Prototype::parse("void each(void (*visit)(const double row[n], int n, void *data))")?;
/// let CType::Pointer(pointer) = &each.parameters[0].ctype else { panic!() };
/// let CType::Function(visit) = &pointer.target else { panic!() };
/// let visit = ReceivedParameters::new(visit);
/// let [Received::Array(row), Received::Number(_), Received::Pointer(_)] = visit.rules() else { panic!() };
/// assert_eq!((row.item.to_string(), row.is_const), ("double".into(), true));
/// # Ok::<(), mapcall::PrototypeError>(())
/// ```
#[derive(Debug)]
pub struct ReceivedParameters {
    rules: Box<[Received]>,
    /// The integers among the parameters that extents name, by position: those that are passed, and those
    /// that pointers lead to.
    numbers: Box<[(usize, Integer, Source)]>,
}

/// What a callback receives for a parameter.
#[derive(Debug)]
#[non_exhaustive]
pub enum Received {
    /// A number, not one of [`long double`](Number::is_extended).
    Number(Number),
    /// A value of any other type, as an item of its dtype.
    Item(CType),
    /// A text that ends with a NUL.
    Text,
    /// A function pointer, by the name of the parameter's type if it has one.
    Function(Arc<Function>, CType),
    /// A pointer to memory of unknown size.
    Pointer(Arc<Pointer>),
    /// An array with extents.
    Array(ReceivedArray),
}

/// An array that a callback receives.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReceivedArray {
    /// The name of the parameter.
    pub name: String,
    /// The type of the elements.
    pub item: CType,
    /// Whether C's memory is `const`.
    pub is_const: bool,
    /// Whether it is a text of a known length: an array of one axis whose elements are `const char`.
    pub is_text: bool,
    extents: Box<[Expr]>,
    /// The size of an element in bytes if the extent counts bytes, else 1.
    divisor: usize,
}

/// Where the integer of an extent is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Value,
    Target,
}

/// The integers that the extents of a callback's arrays are computed from, by position.
#[derive(Debug, Default)]
pub struct ReceivedNumbers(SmallVec<[Option<i128>; 8]>);

impl ReceivedParameters {
    /// Returns the parameters of a function type.
    #[must_use]
    pub fn new(function: &Function) -> Self {
        let declared = function.declared.as_deref();
        let rules = function.parameters.iter().enumerate();
        let rules = rules.map(|(position, ctype)| {
            let declared = declared.and_then(|declared| declared.get(position));
            let array = declared.and_then(|declared| ReceivedArray::new(position, declared, ctype));
            array.map_or_else(|| Received::of(ctype), Received::Array)
        });
        let rules: Box<[Received]> = rules.collect();
        let mut numbers = Vec::new();
        for (position, ctype) in function.parameters.iter().enumerate() {
            let is_used = rules.iter().any(|rule| match rule {
                Received::Array(array) => {
                    array.extents.iter().any(|extent| extent.mentions(position))
                }
                _ => false,
            });
            let number = match ctype.resolved() {
                CType::Pointer(pointer) => pointer.target.integer().zip(Some(Source::Target)),
                CType::Bool => Some((Integer::UChar, Source::Value)),
                _ => ctype.integer().zip(Some(Source::Value)),
            };
            if let Some((integer, source)) = number.filter(|_| is_used) {
                numbers.push((position, integer, source));
            }
        }
        Self {
            rules,
            numbers: numbers.into(),
        }
    }

    /// Returns the rule of each parameter.
    #[must_use]
    #[inline]
    pub fn rules(&self) -> &[Received] {
        &self.rules
    }

    /// Returns whether extents name integers.
    #[must_use]
    #[inline]
    pub fn have_numbers(&self) -> bool {
        !self.numbers.is_empty()
    }

    /// Reads the integers that extents name.
    ///
    /// # Safety
    ///
    /// The frame has the arguments of a call of the function type by C, and the layout is that of the type. A
    /// pointer among them that an extent names (`*n`) is NULL or leads to an integer.
    #[must_use]
    pub unsafe fn numbers(&self, layout: &FrameLayout, frame: &[u64]) -> ReceivedNumbers {
        let mut numbers = ReceivedNumbers::default();
        for &(position, integer, source) in &self.numbers {
            let slot = frame.get(layout.parameter(position)).copied();
            let slot = slot.unwrap_or_default();
            let value = match source {
                Source::Value => Some(integer_value(integer, slot)),
                // SAFETY: the caller guarantees that the pointer is NULL or leads to such an integer.
                Source::Target => unsafe { integer_at(integer, slot) },
            };
            numbers.0.resize(position + 1, None);
            if let Some(number) = numbers.0.get_mut(position) {
                *number = value;
            }
        }
        numbers
    }
}

/// Reads an integer in memory; `None` for NULL.
///
/// # Safety
///
/// The address is 0, or that of an integer of the type.
unsafe fn integer_at(integer: Integer, address: u64) -> Option<i128> {
    let address = usize::try_from(address)
        .ok()
        .filter(|&address| address != 0)?;
    let address: *const u8 = ptr::with_exposed_provenance(address);
    // SAFETY: the caller guarantees that the integer, which has `size` bytes, can be read.
    let bytes = unsafe { slice::from_raw_parts(address, integer.size()) };
    let [slot, ..] = scalar_slots(bytes);
    Some(integer_value(integer, slot))
}

impl Received {
    /// Returns the rule of a parameter that is no array with extents.
    #[must_use]
    pub fn of(ctype: &CType) -> Self {
        match Number::of(ctype) {
            Some(number) if !number.is_extended() => return Self::Number(number),
            _ => {}
        }
        match ctype.resolved() {
            CType::Pointer(pointer) => match pointer.target.resolved() {
                CType::Function(function) => Self::Function(Arc::clone(function), ctype.clone()),
                _ if pointer.is_text() => Self::Text,
                _ => Self::Pointer(Arc::clone(pointer)),
            },
            _ => Self::Item(ctype.clone()),
        }
    }
}

impl ReceivedArray {
    /// Returns the array of a parameter; `None` if it is none, or if its elements have no dtype.
    fn new(
        position: usize,
        declared: &crate::ctype::FunctionParameter,
        ctype: &CType,
    ) -> Option<Self> {
        let CType::Pointer(pointer) = ctype.resolved() else {
            return None;
        };
        let extents = declared.extents.iter().map(|extent| match extent {
            Extent::Dynamic(extent) => Some(extent.clone()),
            Extent::Unknown => None,
        });
        let extents: Box<[Expr]> = extents.collect::<Option<_>>()?;
        let is_void = declared.item.resolved() == &CType::Void;
        let item = if is_void {
            CType::Integer(Integer::UChar)
        } else {
            declared.item.clone()
        };
        // Bytes are the elements of memory without a type.
        let divisor = if declared.is_sized { item.size()? } else { 1 };
        let is_char = matches!(item.resolved(), CType::Integer(Integer::Char));
        // An array of pointers becomes a list, which has one axis.
        let is_pointer = matches!(item.resolved(), CType::Pointer(_));
        let is_array = !extents.is_empty()
            && divisor > 0
            && item.dtype().is_ok()
            && (extents.len() == 1 || !is_pointer);
        is_array.then(|| Self {
            name: declared
                .name
                .clone()
                .unwrap_or_else(|| format!("arg{position}")),
            is_const: pointer.is_const,
            is_text: is_char && pointer.is_const && extents.len() == 1,
            item,
            extents,
            divisor,
        })
    }

    /// Computes the length of each axis.
    ///
    /// # Errors
    ///
    /// The extent, and the reason why it has no value.
    #[inline]
    pub fn shape(
        &self,
        numbers: &ReceivedNumbers,
    ) -> Result<SmallVec<[usize; 4]>, (String, ExtentError)> {
        let lengths = self.extents.iter().map(|extent| {
            let length = extent.evaluate(&numbers.0);
            let length = length.map_err(|error| (extent.to_string(), error))?;
            Ok(length / self.divisor)
        });
        lengths.collect()
    }
}

impl std::fmt::Display for ReceivedArray {
    /// Writes the declaration of the parameter.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_const = if self.is_const { "const " } else { "" };
        write!(f, "{is_const}{} {}", self.item, self.name)?;
        self.extents
            .iter()
            .try_for_each(|extent| write!(f, "[{extent}]"))
    }
}
