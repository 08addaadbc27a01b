//! The rules of parameters: the arguments that each takes.

use std::fmt;
use std::sync::{Arc, LazyLock};

use mapcall_array::DType;
use mapcall_array::fork::Section;

use super::array_layout::ArrayLayout;
use super::condition::{ConditionedNumber, by_reference};
use super::error::Problem;
use super::extent_rule::ExtentRule;
use super::memory::Memory;
use super::number::Number;
use super::received::ReceivedParameters;
use crate::ctype::{Body, CType, Function, Integer};
use crate::extent::Extent;
use crate::prototype::{Nullability, Ownership, Parameter, Prototype};

/// The rule of a parameter: the kind of argument that it takes.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::{Contract, Rule};
///
/// let contract = Contract::new(Prototype::parse(
///     "struct sqlite3; int f(int n, const double x[n], struct sqlite3 *db, const char *sql)",
/// )?)?;
/// let [n, x, db, sql] = contract.rules() else { panic!() };
/// assert!(matches!((n, x), (Rule::Inferred(_), Rule::Array(_))));
/// assert!(matches!((db, sql), (Rule::Pointer(_), Rule::Text)));
/// assert_eq!([x, db].map(Rule::to_string), ["float64[n]", "a pointer to sqlite3"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Rule {
    /// An integer that is inferred from the extent of an array, so that it needs no argument.
    Inferred(Inferred),
    /// A number that the function reads and writes through a pointer, and that is inferred before: `size_t
    /// *n` with `x[*n]`. It is an output, which holds the inferred value at first.
    InOut(InOutRule),
    /// An integer that equals an expression, so that it needs no argument.
    Derived(Derived),
    /// A number.
    Number(Number),
    /// A number that is passed by reference: the function gets the address of a copy.
    Reference(Number),
    /// An array.
    Array(ArrayRule),
    /// A text, which C reads up to its NUL: `const char *`.
    Text,
    /// A pointer without an extent.
    Pointer(PointerRule),
    /// A function.
    Function(Arc<Function>),
    /// A struct or union by value: an item of a dtype.
    Record {
        /// The name of the type in C.
        name: String,
        /// The C type.
        ctype: CType,
        /// The dtype of the C type.
        dtype: DType,
    },
}

/// The rule of an integer parameter that is the extent of an array.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::{Contract, Rule};
/// use mapcall::ctype::Integer;
///
/// let contract = Contract::new(Prototype::parse("void f(float x[n], short n)")?)?;
/// let Rule::Inferred(n) = contract.rules()[1] else { panic!() };
/// assert_eq!((n.dimension, n.integer), (0, Integer::Short));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inferred {
    /// The index of the dimension.
    pub dimension: usize,
    /// The integer type, which must have the value.
    pub integer: Integer,
    /// Whether the function gets the address of a copy.
    pub is_by_reference: bool,
}

/// The rule of an integer that equals an expression: see [`Rule::Derived`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Derived {
    /// The integer type, which must have the value.
    pub number: Number,
    /// Whether the function gets the address of a copy.
    pub is_by_reference: bool,
}

/// The rule of an inferred number that the function reads and writes: see [`Rule::InOut`].
#[derive(Clone, Debug)]
pub struct InOutRule {
    /// How it is inferred.
    pub inferred: Inferred,
    /// The array of one element that is allocated for it.
    pub array: ArrayRule,
}

/// The rule of an array parameter.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::{Contract, ExtentRule};
///
/// let contract = Contract::new(Prototype::parse("void f(int n, double x[n][n + 1][3])")?)?;
/// let x = contract.rules()[1].array().unwrap();
/// assert_eq!((x.rank(), x.alignment(), x.is_output()), (3, 8, true));
/// assert!(matches!(x.extents()[1], ExtentRule::Expression(_)));
/// assert_eq!(x.extents()[2], ExtentRule::Constant(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ArrayRule {
    ctype: CType,
    dtype: DType,
    extents: Box<[ExtentRule]>,
    is_output: bool,
    is_nullable: bool,
    /// Whether the extent counts bytes.
    is_sized: bool,
    /// The layout, if it is another one than contiguous in C order.
    pub(super) layout: Option<Box<ArrayLayout>>,
    pub(super) memory: MemoryRule,
}

/// The conditions for the memory of an array, apart from its dtype and extents.
#[derive(Clone, Copy, Debug)]
pub(super) struct MemoryRule {
    pub(super) rank: usize,
    pub(super) itemsize: usize,
    /// The bits that must be 0 in an address: C's alignments are powers of two.
    pub(super) misaligned: usize,
    pub(super) is_const: bool,
}

impl MemoryRule {
    /// Returns whether the memory of one call's array has the rank, order, alignment and writeability.
    #[inline]
    pub(super) fn accepts(&self, memory: &Memory<'_>, address: usize) -> bool {
        memory.shape.len() == self.rank
            && memory.is_contiguous
            && self.accepts_scalars(memory, address)
    }

    /// Returns whether the memory of an array with one scalar for each call has the alignment and
    /// writeability.
    #[inline]
    pub(super) fn accepts_scalars(&self, memory: &Memory<'_>, address: usize) -> bool {
        (address & self.misaligned == 0 || memory.is_empty())
            && (memory.is_writeable || self.is_const)
    }
}

/// The rule of a pointer without an extent.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::array::DType;
/// use mapcall::contract::{Contract, Rule};
///
/// let contract = Contract::new(Prototype::parse("void f(const float *x)")?)?;
/// let Rule::Pointer(x) = &contract.rules()[0] else { panic!() };
/// assert!(x.is_const && !x.is_void);
/// assert_eq!(x.dtype, Some(DType::F32));
/// assert!(x.takes("float") && !x.takes("double"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PointerRule {
    /// The name of the C type that it points to, which must be that of a handle.
    pub target: String,
    /// Whether it is a `void *`, which takes any handle and any array.
    pub is_void: bool,
    /// Whether the target is `const`, so that the function only reads it.
    pub is_const: bool,
    /// Whether the prototype spells it `T x[]`, as messages then do.
    pub is_array: bool,
    /// The dtype of the target. `None` if it has none; otherwise the pointer may be the start of an
    /// array whose extent the prototype doesn't give.
    pub dtype: Option<DType>,
    /// The alignment of the target, in bytes.
    pub alignment: usize,
    /// The C type of the target.
    pub ctype: CType,
    /// The owner of the object after the call.
    pub ownership: Ownership,
}

/// A prototype that can be parsed, but not called.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::Contract;
///
/// let text = "struct page { char bytes[100000]; }; void turn(struct page p);";
/// let error = Contract::new(Prototype::parse(text)?).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "turn: expected parameters and result of at most 65536 bytes, got more; \
///      pass pointers to the large ones",
/// );
/// # Ok::<(), mapcall::PrototypeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{function}: {}{reason}", parameter.as_ref().map_or(String::new(), |name| format!("{name}: ")))]
pub struct UnsupportedPrototype {
    /// The name of the function.
    pub function: String,
    /// The name of the parameter; `None` for the result and for the prototype as a whole.
    pub parameter: Option<String>,
    /// The reason why it can't be called, and a remedy.
    pub reason: String,
}

impl Rule {
    pub(super) fn new(
        prototype: &Prototype,
        (position, parameter): (usize, &Parameter),
        inferred: &[usize],
    ) -> Result<Self, UnsupportedPrototype> {
        let refuse = |reason: String| UnsupportedPrototype {
            function: prototype.name.clone(),
            parameter: Some(parameter.name.clone()),
            reason,
        };
        let rule = Self::without_ownership(prototype, (position, parameter), inferred);
        let rule = rule.map_err(refuse)?;
        match (parameter.ownership, rule) {
            (Ownership::Kept, rule) => Ok(rule),
            (ownership, Self::Pointer(rule)) => {
                Ok(Self::Pointer(PointerRule { ownership, ..rule }))
            }
            // C would free memory of the caller.
            _ => Err(refuse(format!(
                "expected a pointer that takes a handle, as C owns its object after the call, got \
                 `{parameter}`; write `void *{}`",
                parameter.name
            ))),
        }
    }

    /// Returns the rule of a parameter apart from its ownership.
    ///
    /// # Errors
    ///
    /// The reason why the type can't be passed.
    fn without_ownership(
        prototype: &Prototype,
        (position, parameter): (usize, &Parameter),
        inferred: &[usize],
    ) -> Result<Self, String> {
        if let Some(rule) = Self::of_number(prototype, (position, parameter), inferred)? {
            return Ok(rule);
        }
        let is_measured = parameter.rank() > 0 && parameter.extents != [Extent::Unknown];
        if !is_measured && ArrayLayout::of(parameter, parameter.stride.as_ref()).is_some() {
            return Err(ArrayLayout::<ExtentRule>::refuse(parameter));
        }
        // C has one type for `T x[]` and `T *x`.
        if parameter.extents == [Extent::Unknown] {
            let (target, is_const) = (&parameter.ctype, parameter.is_only_read());
            let pointer = PointerRule::new(target, target.resolved(), is_const);
            return Ok(if pointer.is_text() {
                Self::Text
            } else {
                Self::Pointer(PointerRule {
                    is_array: true,
                    ..pointer
                })
            });
        }
        if parameter.rank() > 0 {
            return ArrayRule::new(prototype, parameter, inferred).map(Self::Array);
        }
        Ok(match Self::of_value(&parameter.ctype)? {
            Self::Pointer(rule) => Self::Pointer(PointerRule {
                is_const: parameter.is_only_read(),
                ..rule
            }),
            rule => rule,
        })
    }

    /// Returns the rule of a number that is inferred or equals an expression, or that is passed by
    /// reference; `None` for other parameters.
    ///
    /// # Errors
    ///
    /// The reason why the type can't be passed.
    fn of_number(
        prototype: &Prototype,
        (position, parameter): (usize, &Parameter),
        inferred: &[usize],
    ) -> Result<Option<Self>, String> {
        let dimension = inferred.iter().position(|&other| other == position);
        let target = parameter.target_integer();
        let is_scalar = parameter.rank() == 0;
        let by_value = parameter.ctype.integer().filter(|_| is_scalar);
        if let (Some(dimension), Some(integer)) = (dimension, by_value.or(target)) {
            let inferred = Inferred {
                dimension,
                integer,
                is_by_reference: by_value.is_none(),
            };
            return Ok(Some(if by_value.is_some() || parameter.is_only_read() {
                Self::Inferred(inferred)
            } else {
                let ctype = CType::Integer(integer);
                let array = ArrayRule::of_one(&ctype).ok_or("can't be passed")?;
                Self::InOut(InOutRule { inferred, array })
            }));
        }
        if parameter.equals.is_some() {
            let found = ConditionedNumber::that_equals(parameter)?;
            return Ok(Some(Self::Derived(Derived {
                number: found.number,
                is_by_reference: found.is_by_reference,
            })));
        }
        let has_bounds = parameter.between.is_some();
        if has_bounds {
            ConditionedNumber::with_bounds(parameter)?;
        }
        let is_mentioned = || {
            prototype
                .expressions()
                .any(|value| value.mentions(position))
        };
        Ok(match by_reference(parameter) {
            Some(number) if has_bounds || is_mentioned() => Some(Self::Reference(number)),
            _ => None,
        })
    }

    /// Returns the rule of a value that does not depend on other arguments.
    ///
    /// # Errors
    ///
    /// The reason why the type can't be passed.
    pub(super) fn of_value(ctype: &CType) -> Result<Self, String> {
        if let Some(number) = Number::of(ctype) {
            return Ok(Self::Number(number));
        }
        match ctype.resolved() {
            CType::Record(_) => Ok(Self::Record {
                name: ctype.to_string(),
                dtype: ctype.dtype().map_err(|error| error.to_string())?,
                ctype: ctype.clone(),
            }),
            CType::Pointer(pointer) => Ok(match pointer.target.resolved() {
                CType::Function(function) => {
                    if function.declared.is_some() {
                        ReceivedParameters::new(function)?;
                    }
                    Self::Function(Arc::clone(function))
                }
                _ if pointer.is_text() => Self::Text,
                target => {
                    Self::Pointer(PointerRule::new(&pointer.target, target, pointer.is_const))
                }
            }),
            _ => Err(format!("`{ctype}` can't be passed")),
        }
    }

    /// Returns the rule of the result of a function whose body is code of the host language; `None` for
    /// `void`, and for types that can't be passed.
    ///
    /// See [`Rule::convert`] for an example. Such a function returns pointers only as handles, because
    /// the memory of a text or an array may be freed when its body ends.
    #[must_use]
    pub fn of_result(ctype: &CType) -> Option<Self> {
        match (ctype.resolved(), Self::of_value(ctype)) {
            (CType::Pointer(pointer), Ok(Self::Text)) => {
                let (named, target) = (&pointer.target, pointer.target.resolved());
                Some(Self::Pointer(PointerRule::new(named, target, true)))
            }
            (_, rule) => rule.ok(),
        }
    }

    /// Returns the rule for an array of which only the address is passed: the rule of the pointer, or
    /// of the bytes of a text; `None` for parameters of other kinds.
    ///
    /// ```
    /// use mapcall::Prototype;
    /// use mapcall::array::DType;
    /// use mapcall::contract::Contract;
    ///
    /// let contract = Contract::new(Prototype::parse("size_t strlen(const char *s)")?)?;
    /// let s = contract.rules()[0].pointer().unwrap();
    /// assert!(s.check_dtype(Ok(&DType::U8)).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pointer(&self) -> Option<&PointerRule> {
        static TEXT: LazyLock<PointerRule> = LazyLock::new(|| {
            let char = CType::Integer(Integer::Char);
            PointerRule::new(&char, &char, true)
        });
        match self {
            Self::Pointer(pointer) => Some(pointer),
            Self::Text => {
                let _section = Section::enter();
                Some(&TEXT)
            }
            _ => None,
        }
    }

    /// Returns the rule of an array, if it is one.
    #[must_use]
    pub fn array(&self) -> Option<&ArrayRule> {
        match self {
            Self::Array(array) => Some(array),
            Self::InOut(rule) => Some(&rule.array),
            _ => None,
        }
    }
}

impl ArrayRule {
    fn new(
        prototype: &Prototype,
        parameter: &Parameter,
        inferred: &[usize],
    ) -> Result<Self, String> {
        let is_sized = parameter.is_sized;
        let dtype = match parameter.ctype.resolved() {
            CType::Void if is_sized => DType::U8,
            _ => parameter.ctype.dtype().map_err(|error| error.to_string())?,
        };
        let extents = parameter.extents.iter().map(|extent| match extent {
            Extent::Unknown => ExtentRule::Unknown,
            Extent::Dynamic(expression) => ExtentRule::new(prototype, expression, inferred),
        });
        let extents: Box<[ExtentRule]> = extents.collect();
        let stride = parameter.stride.as_ref();
        let stride = stride.map(|stride| ExtentRule::new(prototype, stride, inferred));
        let layout = ArrayLayout::of(parameter, stride);
        if let Some(layout) = &layout {
            let is_unknown = |extent: &ExtentRule| *extent == ExtentRule::Unknown;
            if extents.iter().chain(&layout.stride).any(is_unknown) || is_sized {
                return Err(ArrayLayout::<ExtentRule>::refuse(parameter));
            }
        }
        let (ctype, is_const) = (&parameter.ctype, parameter.is_only_read());
        let mut memory = MemoryRule::new(ctype, &dtype, extents.len(), is_const);
        if is_sized {
            memory.itemsize = 1;
        }
        Ok(Self {
            memory,
            ctype: parameter.ctype.clone(),
            dtype,
            extents,
            is_output: parameter.is_output(),
            is_nullable: parameter.nullability == Nullability::Nullable,
            is_sized,
            layout: layout.map(Box::new),
        })
    }

    /// Returns the rule of an array of one element, which the function reads and writes.
    fn of_one(ctype: &CType) -> Option<Self> {
        let dtype = ctype.dtype().ok()?;
        Some(Self {
            memory: MemoryRule::new(ctype, &dtype, 1, false),
            extents: [ExtentRule::Constant(1)].into(),
            ..Self::of_scalar(ctype, false)?
        })
    }

    /// Returns the rule of an array with one value for each call of a batch; `None` for types that are
    /// neither numbers nor structs.
    pub(super) fn of_scalar(ctype: &CType, is_const: bool) -> Option<Self> {
        let is_value = Number::of(ctype).is_some() || matches!(ctype.resolved(), CType::Record(_));
        let dtype = ctype.dtype().ok().filter(|_| is_value)?;
        Some(Self {
            memory: MemoryRule::new(ctype, &dtype, 0, is_const),
            ctype: ctype.clone(),
            dtype,
            extents: [].into(),
            is_output: !is_const,
            is_nullable: false,
            is_sized: false,
            layout: None,
        })
    }

    /// Returns the C type of an element.
    #[must_use]
    pub fn ctype(&self) -> &CType {
        &self.ctype
    }

    /// Returns the dtype of an element.
    #[must_use]
    pub fn dtype(&self) -> &DType {
        &self.dtype
    }

    /// Returns the number of bytes of an element.
    #[inline]
    pub(super) fn itemsize(&self) -> usize {
        self.memory.itemsize
    }

    /// Returns the number that the address must be a multiple of, in bytes.
    #[must_use]
    pub fn alignment(&self) -> usize {
        self.memory.misaligned + 1
    }

    /// Returns the extents of the core axes, outermost first.
    #[must_use]
    #[inline]
    pub fn extents(&self) -> &[ExtentRule] {
        &self.extents
    }

    /// Returns whether the prototype gives all extents.
    #[must_use]
    pub fn is_measured(&self) -> bool {
        !self.extents().contains(&ExtentRule::Unknown)
    }

    /// Returns the number of core axes.
    #[must_use]
    #[inline]
    pub fn rank(&self) -> usize {
        self.memory.rank
    }

    /// Returns whether the function only reads the array.
    #[must_use]
    #[inline]
    pub fn is_const(&self) -> bool {
        self.memory.is_const
    }

    /// Returns whether the array may be left out: see [`Parameter::is_output`].
    #[must_use]
    pub fn is_output(&self) -> bool {
        self.is_output
    }

    /// Returns whether NULL is accepted, so that the array may be left out.
    #[must_use]
    pub fn is_nullable(&self) -> bool {
        self.is_nullable
    }

    /// Returns whether the extent counts bytes, so that an array of any shape is accepted; for `void`, one
    /// of any dtype as well.
    #[must_use]
    #[inline]
    pub fn is_sized(&self) -> bool {
        self.is_sized
    }

    /// Returns the distance between rows, if the prototype gives it.
    pub(super) fn stride(&self) -> Option<&ExtentRule> {
        self.layout.as_ref()?.stride.as_ref()
    }

    /// Returns whether the first axis is the one that moves fastest.
    #[must_use]
    pub fn is_column_major(&self) -> bool {
        self.layout
            .as_ref()
            .is_some_and(|layout| layout.is_column_major)
    }

    /// Returns whether a text is accepted, whose bytes are the elements: for `const char s[n]`.
    #[must_use]
    pub fn takes_text(&self) -> bool {
        self.is_const() && self.rank() == 1 && self.layout.is_none() && is_char(&self.ctype)
    }

    /// Returns whether the bytes of a `bytes` object are accepted: for `const char s[n]` and for a buffer of
    /// any type.
    #[must_use]
    pub(super) fn is_buffer(&self) -> bool {
        self.is_sized && self.ctype.resolved() == &CType::Void
    }

    /// Returns the type of a number that is accepted in place of an array of one element: for `const double
    /// x[1]`.
    #[must_use]
    pub fn number(&self) -> Option<Number> {
        let is_one = self.is_const() && *self.extents == [ExtentRule::Constant(1)];
        Number::of(&self.ctype).filter(|_| is_one && !self.is_sized)
    }

    /// Checks that elements of a dtype are those of the C type. `found` is an error with the host
    /// language's name for a dtype without a counterpart.
    ///
    /// ```
    /// use mapcall::Prototype;
    /// use mapcall::array::DType;
    /// use mapcall::contract::Contract;
    ///
    /// let contract = Contract::new(Prototype::parse("void f(int n, double x[n])")?)?;
    /// let x = contract.rules()[1].array().unwrap();
    /// assert!(x.check_dtype(Ok(&DType::F64)).is_ok());
    /// assert!(x.check_dtype(Ok(&DType::F32)).is_err());
    /// assert!(x.check_dtype(Err("object")).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A `char` is a byte: `int8`, `uint8` and `S1` are accepted. The fields of a struct must have
    /// the members' names, offsets and types.
    ///
    /// # Errors
    ///
    /// [`Problem::DType`] for another dtype, [`Problem::ForeignDType`] for one without a counterpart,
    /// [`Problem::ByteOrder`] for the other byte order, [`Problem::Field`] if a field of a struct
    /// differs.
    pub fn check_dtype(&self, found: Result<&DType, &str>) -> Result<(), Problem> {
        if let (true, Ok(_)) = (self.is_buffer(), found) {
            return Ok(());
        }
        check_dtype(&self.ctype, &self.dtype, found)
    }
}

impl MemoryRule {
    fn new(ctype: &CType, dtype: &DType, rank: usize, is_const: bool) -> Self {
        Self {
            rank,
            itemsize: dtype.itemsize(),
            misaligned: ctype.alignment().unwrap_or(1).saturating_sub(1),
            is_const,
        }
    }
}

/// Checks that elements of a dtype are those of a C type whose dtype is `expected`: see
/// [`ArrayRule::check_dtype`].
pub(super) fn check_dtype(
    ctype: &CType,
    expected: &DType,
    found: Result<&DType, &str>,
) -> Result<(), Problem> {
    let found = found.map_err(|found| Problem::ForeignDType {
        expected: expected.clone(),
        found: found.to_owned(),
    })?;
    if found == expected || (is_char(ctype) && is_byte(found)) {
        return Ok(());
    }
    let (expected, found) = (expected.clone(), found.clone());
    if found.to_native() == expected {
        return Err(Problem::ByteOrder { expected, found });
    }
    if expected.fields().is_some() && found.fields().is_some() {
        return super::fields::check(&expected, &found);
    }
    Err(Problem::DType { expected, found })
}

pub(super) fn is_char(ctype: &CType) -> bool {
    matches!(ctype.resolved(), CType::Integer(Integer::Char))
}

fn is_byte(dtype: &DType) -> bool {
    *dtype == DType::I8
        || *dtype == DType::U8
        || (dtype.kind_char() == 'S' && dtype.itemsize() == 1)
}

impl PointerRule {
    fn new(named: &CType, target: &CType, is_const: bool) -> Self {
        let is_incomplete =
            matches!(target, CType::Record(record) if record.body == Body::Incomplete);
        let dtype = if is_incomplete {
            None
        } else {
            named.dtype().ok()
        };
        Self {
            target: target_name(named),
            is_void: target == &CType::Void,
            is_const,
            is_array: false,
            alignment: named.alignment().unwrap_or(1),
            ctype: named.clone(),
            dtype,
            ownership: Ownership::Kept,
        }
    }

    /// Returns whether the function may write data that the caller can access as well. Objects behind
    /// pointers to incomplete structs are accessed by C only.
    pub(crate) fn writes_data(&self) -> bool {
        !self.is_const && (self.is_void || self.dtype.is_some())
    }

    /// Returns the type of the number that it points to, if it is `const`: an unchecked call takes a number
    /// for it, and a checked one for `x[1]`.
    #[must_use]
    pub fn number(&self) -> Option<Number> {
        Number::of(&self.ctype).filter(|_| self.is_const && !self.is_text())
    }

    /// Returns whether it is a `const char *`, which takes a text as well.
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.is_const && is_char(&self.ctype)
    }

    /// Checks that elements of a dtype are those that the pointer leads to. A `void *` takes any dtype.
    ///
    /// # Errors
    ///
    /// The problems of [`ArrayRule::check_dtype`], for the dtype of the target.
    pub fn check_dtype(&self, found: Result<&DType, &str>) -> Result<(), Problem> {
        match &self.dtype {
            Some(expected) => check_dtype(&self.ctype, expected, found),
            None => Ok(()),
        }
    }

    /// Returns whether a handle to that target may be passed.
    #[must_use]
    pub fn takes(&self, target: &str) -> bool {
        self.is_void || self.target == target
    }
}

/// Returns the name of the type that a handle points to: the tag or typedef name of a struct, otherwise
/// the C type.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::target_name;
/// use mapcall::ctype::CType;
///
/// let f = Prototype::parse("typedef struct file FILE; FILE *fdopen(int n, const char *mode)")?;
/// let CType::Pointer(pointer) = f.returns.resolved() else { panic!() };
/// assert_eq!(target_name(&pointer.target), "file");
/// # Ok::<(), mapcall::PrototypeError>(())
/// ```
#[must_use]
pub fn target_name(ctype: &CType) -> String {
    match ctype.resolved() {
        CType::Record(record) => match &record.tag {
            Some(tag) => tag.clone(),
            None => ctype.to_string(),
        },
        resolved => resolved.to_string(),
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inferred(inferred) => f.write_str(inferred.integer.name()),
            Self::InOut(rule) => f.write_str(rule.inferred.integer.name()),
            Self::Derived(Derived { number, .. })
            | Self::Number(number)
            | Self::Reference(number) => number.fmt(f),
            Self::Array(array) => array.fmt(f),
            Self::Text => f.write_str("text"),
            Self::Pointer(pointer) if pointer.is_void => f.write_str("a pointer"),
            Self::Pointer(PointerRule {
                is_array: true,
                ctype,
                dtype: Some(dtype),
                ..
            }) => write!(f, "{}[?]", element(ctype, dtype)),
            Self::Pointer(pointer) => write!(f, "a pointer to {}", pointer.target),
            Self::Function(function) => {
                write!(f, "a function {}", CType::Function(Arc::clone(function)))
            }
            Self::Record { name, .. } => f.write_str(name),
        }
    }
}

/// Returns the name of an array's element for messages.
fn element(ctype: &CType, dtype: &DType) -> String {
    match ctype.resolved() {
        CType::Record(_) => target_name(ctype),
        CType::Pointer(_) => ctype.to_string(),
        _ => dtype.name(),
    }
}

impl fmt::Display for ArrayRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.extents.is_empty() {
            return f.write_str(&element(&self.ctype, &self.dtype));
        }
        let extents: Vec<_> = self.extents.iter().map(ExtentRule::to_string).collect();
        let extents = extents.join(", ");
        if self.is_buffer() {
            return write!(f, "a buffer of {extents} bytes");
        }
        f.write_str(&element(&self.ctype, &self.dtype))?;
        let bytes = if self.is_sized { " bytes" } else { "" };
        write!(f, "[{extents}{bytes}]")?;
        f.write_str(if self.is_column_major() {
            " in Fortran order"
        } else {
            ""
        })
    }
}
