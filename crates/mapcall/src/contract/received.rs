//! What a callback receives: the rules by which the values that C passes become those of the host language.
#![allow(unsafe_code)]

use std::ptr;
use std::slice;
use std::sync::Arc;

use mapcall_array::layout::Dims;
use smallvec::SmallVec;

use super::array_layout::{ArrayLayout, OverlappingRows};
use super::condition::{ConditionedNumber, is_within};
use super::number::{Number, integer_value};
use super::scalar::Scalar;
use crate::call::{FrameLayout, scalar_slots};
use crate::ctype::extent::{Expr, Extent, ExtentError};
use crate::ctype::{CType, Function, Integer, Pointer};
use crate::prototype::{Parameter, Prototype};

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
/// let visit = ReceivedParameters::new(visit)?;
/// let [Received::Array(row), Received::Number(_), Received::Pointer(_)] = visit.rules() else { panic!() };
/// assert_eq!((row.item.to_string(), row.is_const), ("double".into(), true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReceivedParameters {
    rules: Box<[Received]>,
    /// The integers among the parameters that expressions name, by position: those that are passed, and those
    /// that pointers lead to.
    numbers: Box<[(usize, Integer, Source)]>,
    conditions: Box<[Condition]>,
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
    /// The type of the elements.
    pub item: CType,
    /// Whether C's memory is `const`.
    pub is_const: bool,
    /// Whether it is a text of a known length: an array of one axis whose elements are `const char`.
    pub is_text: bool,
    extents: Box<[Expr]>,
    /// The size of an element in bytes if the extent counts bytes, else 1.
    divisor: usize,
    itemsize: usize,
    /// The layout, if it is another one than contiguous in C order.
    layout: Option<ArrayLayout<Expr>>,
    /// The parameter, for messages.
    parameter: Box<Parameter>,
}

/// A condition for a number that C passes, or that a pointer leads to.
#[derive(Debug)]
struct Condition {
    position: usize,
    number: Number,
    source: Source,
    /// The size of the number in bytes.
    size: usize,
    equals: Option<Expr>,
    between: Option<Box<[Expr; 2]>>,
    /// The parameter, for messages.
    parameter: Parameter,
}

/// An argument of a callback that the prototype excludes, so that the prototype or C is wrong.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::{Received, ReceivedNumbers, ReceivedParameters};
/// use mapcall::ctype::CType;
///
/// let CType::Function(visit) = Prototype::parse("void visit(const double row[n], int n)")?.function_type() else {
///     panic!()
/// };
/// let visit = ReceivedParameters::new(&visit)?;
/// let [Received::Array(row), _] = visit.rules() else { panic!() };
/// assert_eq!(
///     row.shape(&ReceivedNumbers::default()).unwrap_err().to_string(),
///     "callback's argument row: expected const double row[n], but C passes arguments for which n needs the value of `n`",
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error("callback's argument {parameter}: expected {expected}, but C passes {found}")]
pub struct ReceivedError {
    /// The name of the parameter.
    pub parameter: String,
    /// The declaration of the parameter.
    pub expected: String,
    /// What C passes.
    pub found: String,
}

impl ReceivedError {
    #[cold]
    fn new(parameter: &Parameter, found: String) -> Self {
        Self {
            parameter: parameter.name.clone(),
            expected: parameter.to_string(),
            found,
        }
    }

    /// Makes the error for an expression without a value.
    #[cold]
    fn without_value(parameter: &Parameter, expression: &Expr, error: &ExtentError) -> Self {
        Self::new(
            parameter,
            format!("arguments for which {expression} {error}"),
        )
    }
}

/// Where the number of an expression or condition is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    Value,
    Target,
}

/// The integers that expressions over the parameters of a callback are computed from, by position.
#[derive(Debug, Default)]
pub struct ReceivedNumbers(SmallVec<[Option<i128>; 8]>);

impl ReceivedParameters {
    /// Returns the parameters of a function type.
    ///
    /// # Errors
    ///
    /// The parameter that can't have its annotation, with the reason and a remedy: a layout without known extents, a
    /// condition for something else than a number.
    pub fn new(function: &Function) -> Result<Self, String> {
        if function.declared.is_none() {
            return Ok(Self {
                rules: function.parameters.iter().map(Received::of).collect(),
                numbers: Box::default(),
                conditions: Box::default(),
            });
        }
        let parameters = Prototype::of_function("", function).parameters;
        let mut conditions = Vec::new();
        let mut rules = Vec::with_capacity(parameters.len());
        // The integers that expressions over the parameters may name.
        let mut known = Vec::new();
        for (position, ctype) in function.parameters.iter().enumerate() {
            let number = match ctype.resolved() {
                CType::Pointer(pointer) => pointer.target.integer().zip(Some(Source::Target)),
                CType::Bool => Some((Integer::UChar, Source::Value)),
                _ => ctype.integer().zip(Some(Source::Value)),
            };
            known.extend(number.map(|(integer, source)| (position, integer, source)));
        }
        for (position, (parameter, ctype)) in
            parameters.into_iter().zip(&function.parameters).enumerate()
        {
            conditions.extend(Condition::new(position, &parameter)?);
            let array = ReceivedArray::new(parameter)?;
            rules.push(array.map_or_else(|| Received::of(ctype), Received::Array));
        }
        let is_used = |position: usize| {
            let arrays = rules.iter().filter_map(|rule| match rule {
                Received::Array(array) => Some(array),
                _ => None,
            });
            let mut expressions = arrays
                .flat_map(ReceivedArray::expressions)
                .chain(conditions.iter().flat_map(Condition::expressions));
            expressions.any(|expression| expression.mentions(position))
        };
        known.retain(|(position, ..)| is_used(*position));
        Ok(Self {
            rules: rules.into(),
            numbers: known.into(),
            conditions: conditions.into(),
        })
    }

    /// Returns the rule of each parameter.
    #[must_use]
    #[inline]
    pub fn rules(&self) -> &[Received] {
        &self.rules
    }

    /// Returns whether expressions name integers, or numbers have conditions.
    #[must_use]
    #[inline]
    pub fn have_numbers(&self) -> bool {
        !(self.numbers.is_empty() && self.conditions.is_empty())
    }

    /// Reads the integers that expressions name, and checks the conditions of numbers.
    ///
    /// # Errors
    ///
    /// [`ReceivedError`] if a number does not have the value that it should equal, or is outside of its bounds.
    ///
    /// # Safety
    ///
    /// The frame has the arguments of a call of the function type by C, and the layout is that of the type. A
    /// pointer among them that an expression names (`*n`), or whose number has a condition, is NULL or leads to a
    /// number of its type.
    pub unsafe fn numbers(
        &self,
        layout: &FrameLayout,
        frame: &[u64],
    ) -> Result<ReceivedNumbers, ReceivedError> {
        let mut numbers = ReceivedNumbers::default();
        for &(position, integer, source) in &self.numbers {
            let slots = frame.get(layout.parameter(position)..).unwrap_or_default();
            let slot = slots.first().copied().unwrap_or_default();
            let value = match source {
                Source::Value => Some(slot),
                // SAFETY: the caller guarantees that the pointer is NULL or leads to such an integer.
                Source::Target => unsafe { slots_at(integer.size(), slot) }.map(|[slot, ..]| slot),
            };
            numbers.0.resize(position + 1, None);
            if let Some(number) = numbers.0.get_mut(position) {
                *number = value.map(|slot| integer_value(integer, slot));
            }
        }
        for condition in &self.conditions {
            let slots = layout.parameter(condition.position);
            let slots = frame.get(slots..).unwrap_or_default();
            let value = match condition.source {
                Source::Value => Some(condition.number.value(slots)),
                Source::Target => {
                    let slot = slots.first().copied().unwrap_or_default();
                    // SAFETY: the caller guarantees that the pointer is NULL or leads to such a number.
                    let slots = unsafe { slots_at(condition.size, slot) };
                    slots.map(|slots| condition.number.value(&slots))
                }
            };
            if let Some(value) = value {
                condition.check(value, &numbers)?;
            }
        }
        Ok(numbers)
    }
}

impl Condition {
    /// Returns the condition for the number of a parameter; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The reason why the parameter can't have the annotation, and a remedy.
    fn new(position: usize, parameter: &Parameter) -> Result<Option<Self>, String> {
        let refuse = |reason: String| format!("{}: {reason}", parameter.name);
        let found = match (&parameter.equals, &parameter.between) {
            (None, None) => return Ok(None),
            (Some(_), _) => ConditionedNumber::that_equals(parameter),
            (None, Some(_)) => ConditionedNumber::with_bounds(parameter),
        };
        let found = found.map_err(refuse)?;
        let source = if found.is_by_reference {
            Source::Target
        } else {
            Source::Value
        };
        let size = match parameter.ctype.resolved() {
            CType::Pointer(pointer) => pointer.target.size(),
            ctype => ctype.size(),
        };
        Ok(Some(Self {
            position,
            number: found.number,
            source,
            size: size.unwrap_or_default(),
            equals: parameter.equals.clone(),
            between: parameter.between.clone(),
            parameter: parameter.clone(),
        }))
    }

    fn expressions(&self) -> impl Iterator<Item = &Expr> {
        let between = self.between.iter().flat_map(|between| between.iter());
        self.equals.iter().chain(between)
    }

    /// Checks the value that C passes.
    fn check(&self, value: Scalar, numbers: &ReceivedNumbers) -> Result<(), ReceivedError> {
        let compute = |expression: &Expr| {
            let value = expression.value(&numbers.0);
            value.map_err(|error| ReceivedError::without_value(&self.parameter, expression, &error))
        };
        if let Some(equals) = &self.equals {
            let expected = compute(equals)?;
            let value = match value {
                Scalar::Bool(value) => Scalar::Int(value.into()),
                value => value,
            };
            if value != Scalar::Int(expected) {
                let found = format!("{value}, not {expected}");
                return Err(ReceivedError::new(&self.parameter, found));
            }
        }
        if let Some(between) = &self.between {
            let [least, most] = &**between;
            let (low, high) = (compute(least)?, compute(most)?);
            if !is_within(value, low, high) {
                let found = format!("{value}, not a value from {low} to {high}");
                return Err(ReceivedError::new(&self.parameter, found));
            }
        }
        Ok(())
    }
}

/// Reads a number in memory as slots; `None` for NULL.
///
/// # Safety
///
/// The address is 0, or that of memory of at least `size` bytes that can be read.
unsafe fn slots_at(size: usize, address: u64) -> Option<[u64; 4]> {
    let address = usize::try_from(address)
        .ok()
        .filter(|&address| address != 0)?;
    let address: *const u8 = ptr::with_exposed_provenance(address);
    // SAFETY: the caller guarantees that `size` bytes can be read.
    let bytes = unsafe { slice::from_raw_parts(address, size) };
    Some(scalar_slots(bytes))
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
    ///
    /// # Errors
    ///
    /// The reason why the parameter can't have its layout, and a remedy.
    fn new(parameter: Parameter) -> Result<Option<Self>, String> {
        let layout = ArrayLayout::of(&parameter, parameter.stride.clone());
        let extents = parameter.extents.iter().map(|extent| match extent {
            Extent::Dynamic(extent) => Some(extent.clone()),
            Extent::Unknown => None,
        });
        let extents: Option<Box<[Expr]>> = extents.collect();
        let extents = extents.filter(|extents| !extents.is_empty());
        let is_void = parameter.ctype.resolved() == &CType::Void;
        let item = if is_void {
            CType::Integer(Integer::UChar)
        } else {
            parameter.ctype.clone()
        };
        // An array of pointers becomes a list, which has one axis.
        let is_pointer = matches!(item.resolved(), CType::Pointer(_));
        let rank = parameter.rank();
        let (Some(extents), Some(itemsize @ 1..), true) = (
            extents.filter(|_| rank == 1 || !is_pointer),
            item.size(),
            item.dtype().is_ok() && !(layout.is_some() && parameter.is_sized),
        ) else {
            return match layout {
                Some(_) => {
                    let reason = ArrayLayout::<Expr>::refuse(&parameter);
                    Err(format!("{}: {reason}", parameter.name))
                }
                None => Ok(None),
            };
        };
        let is_char = matches!(item.resolved(), CType::Integer(Integer::Char));
        let is_const = parameter.is_const;
        Ok(Some(Self {
            is_const,
            is_text: is_char && is_const && rank == 1 && layout.is_none(),
            item,
            extents,
            // Bytes are the elements of memory without a type.
            divisor: if parameter.is_sized { itemsize } else { 1 },
            itemsize,
            layout,
            parameter: parameter.into(),
        }))
    }

    fn expressions(&self) -> impl Iterator<Item = &Expr> {
        let layout = self.layout.iter();
        let stride = layout.flat_map(|layout| &layout.stride);
        self.extents.iter().chain(stride)
    }

    /// Returns whether the elements follow each other in C order.
    #[must_use]
    pub fn is_contiguous(&self) -> bool {
        self.layout.is_none()
    }

    /// Computes the length of each axis.
    ///
    /// # Errors
    ///
    /// [`ReceivedError`] if an extent has no value.
    #[inline]
    pub fn shape(&self, numbers: &ReceivedNumbers) -> Result<SmallVec<[usize; 4]>, ReceivedError> {
        let lengths = self.extents.iter().map(|extent| {
            let length = self.evaluate(extent, numbers)?;
            Ok(length / self.divisor)
        });
        lengths.collect()
    }

    /// Computes the strides of an array of a shape, in bytes: those by which a function of the same prototype would
    /// access it.
    ///
    /// # Errors
    ///
    /// [`ReceivedError`] if the distance between rows has no value, or is less than the length of a row.
    pub fn strides(
        &self,
        numbers: &ReceivedNumbers,
        shape: &[usize],
    ) -> Result<Dims<isize>, ReceivedError> {
        let in_c_order = ArrayLayout {
            is_column_major: false,
            stride: None,
        };
        let layout = self.layout.as_ref().unwrap_or(&in_c_order);
        let leading = match &layout.stride {
            Some(stride) => Some(self.evaluate(stride, numbers)?),
            None => None,
        };
        let strides = layout.strides(shape, self.itemsize, leading);
        strides.map_err(|OverlappingRows { length }| {
            let (stride, leading) = (layout.stride.as_ref(), leading.unwrap_or_default());
            let stride = stride.map(Expr::to_string).unwrap_or_default();
            let s = if length == 1 { "" } else { "s" };
            let found = format!(
                "arguments for which {stride} is {leading}, less than the {length} element{s} of a row"
            );
            ReceivedError::new(&self.parameter, found)
        })
    }

    fn evaluate(
        &self,
        expression: &Expr,
        numbers: &ReceivedNumbers,
    ) -> Result<usize, ReceivedError> {
        let value = expression.evaluate(&numbers.0);
        value.map_err(|error| ReceivedError::without_value(&self.parameter, expression, &error))
    }
}
