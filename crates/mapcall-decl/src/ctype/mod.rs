//! C types, with the size and layout that the C compiler of this machine gives them.

mod bit_field;
mod compare;
mod display;
pub mod extent;
mod function_parameter;
mod layout;
mod record;
mod scalar;
pub(crate) mod scope;
pub(crate) mod standard;

use std::fmt;
use std::sync::Arc;

use mapcall_array::DType;

pub use bit_field::{BitField, StoredBits};
pub(crate) use compare::VisitedPairs;
pub(crate) use function_parameter::write_attributes;
pub use function_parameter::{FunctionParameter, Nullability};
pub(crate) use layout::{MemberSpec, Request, lay_out};
pub use record::{Body, Member, Record, RecordKind};
pub use scalar::{Float, Integer};

/// A C type.
///
/// ```
/// use mapcall_decl::{CType, Prototype};
///
/// let text = "struct point { char label; double at[3]; }; void move(struct point *p);";
/// let CType::Pointer(pointer) = &Prototype::parse(text)?.parameters[0].ctype else { panic!() };
/// assert_eq!(pointer.target.to_string(), "struct point");
/// assert_eq!(pointer.target.size(), Some(32));
/// assert_eq!(pointer.target.alignment(), Some(align_of::<f64>()));
/// # Ok::<(), mapcall_decl::PrototypeError>(())
/// ```
///
/// Types come from parsing ([`Prototype`](crate::Prototype),
/// [`Declarations`](crate::Declarations)) and are cheap to clone. `Display` writes a type as C. `volatile`
/// is left out, and so is `const` except on the target of a pointer, as neither makes a difference to a
/// caller.
#[derive(Clone)]
#[non_exhaustive]
pub enum CType {
    /// `void`
    Void,
    /// `_Bool`
    Bool,
    /// An integer type.
    Integer(Integer),
    /// A real floating type.
    Float(Float),
    /// A complex type, with the type of its parts.
    Complex(Float),
    /// An enumeration.
    Enum(Arc<Enum>),
    /// A pointer.
    Pointer(Arc<Pointer>),
    /// An array; an array parameter has the type of its elements instead.
    Array(Arc<Array>),
    /// A function, always behind a pointer or a typedef.
    Function(Arc<Function>),
    /// A `struct` or `union`.
    Record(Arc<Record>),
    /// A typedef name of a type.
    Typedef(Arc<Typedef>),
    /// A type of C that can't be passed by value: `__int128`, `va_list`.
    Unsupported(Arc<Unsupported>),
}

/// An enumeration: `enum name`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Enum {
    /// The name behind `enum`.
    pub tag: Option<String>,
    /// The integer type of the values: `int` if all of them fit, unless another one is given.
    pub underlying: Integer,
    /// Whether the definition gives the integer type, as in `enum mode : unsigned char { FAST }`.
    pub is_fixed: bool,
    /// Names and values in the order of their definition.
    pub enumerators: Vec<(String, i128)>,
}

/// A pointer type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// The type of the target.
    pub target: CType,
    /// Whether the target is `const`.
    pub is_const: bool,
    /// Whether the pointer is `restrict`.
    pub is_restrict: bool,
    depth: usize,
}

/// An array type, `item name[length]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// The type of an item.
    pub item: CType,
    /// The number of items; `None` if the declaration does not give it.
    pub length: Option<usize>,
    depth: usize,
}

/// The type of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The type of the result.
    pub returns: CType,
    /// The types of the parameters; arrays and functions are adjusted to pointers.
    pub parameters: Vec<CType>,
    /// Whether the function takes a variable number of arguments (`...`).
    pub is_variadic: bool,
    /// The parameters as they are declared, if the declaration of one says more than its type: an extent, or an
    /// annotation. Otherwise `None`.
    ///
    /// ```
    /// use mapcall_decl::{CType, Prototype};
    ///
    /// let text = "void each(int n, void (*visit)(const double row[n], int n))";
    /// let each = Prototype::parse(text)?;
    /// assert_eq!(each.to_string(), text);
    /// let CType::Pointer(pointer) = &each.parameters[1].ctype else { panic!() };
    /// let CType::Function(visit) = &pointer.target else { panic!() };
    /// let [row, n] = visit.declared.as_deref().unwrap() else { panic!() };
    /// assert_eq!((row.name.as_deref(), row.item.to_string()), (Some("row"), "double".into()));
    /// assert_eq!((row.extents[0].parameter(), n.extents.len()), (Some(1), 0));
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    pub declared: Option<Arc<[FunctionParameter]>>,
    depth: usize,
}

/// A typedef name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typedef {
    /// The name.
    pub name: String,
    /// The type that the name stands for.
    pub ctype: CType,
    /// Whether it stands for a `const` type.
    pub is_const: bool,
    /// The alignment in bytes, if the attribute `aligned` gives it another one.
    pub alignment: Option<usize>,
    depth: usize,
}

/// A type that can't be passed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unsupported {
    /// The type, in C.
    pub name: String,
    /// The reason, and the remedy.
    pub reason: String,
    /// The size and the alignment in bytes, if they are known; values are then opaque bytes.
    pub layout: Option<(usize, usize)>,
}

/// The reason why a C type has no dtype.
///
/// ```
/// use mapcall_decl::CType;
///
/// let error = CType::Void.dtype().unwrap_err();
/// assert_eq!(error.to_string(), "`void` has no dtype: it has no size");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{ctype}` has no dtype: {reason}")]
#[non_exhaustive]
pub struct NoDType {
    /// The type, in C.
    pub ctype: String,
    /// The reason.
    pub reason: String,
}

impl Pointer {
    /// Returns whether the type is `const char *`, which is passed as a NUL-terminated string.
    ///
    /// ```
    /// use mapcall_decl::{CType, Prototype};
    ///
    /// let f = Prototype::parse("const char *f(char *s)")?;
    /// let is_text = |ctype: &CType| matches!(ctype, CType::Pointer(pointer) if pointer.is_text());
    /// assert!(is_text(&f.returns) && !is_text(&f.parameters[0].ctype));
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn is_text(&self) -> bool {
        self.is_const && matches!(self.target.resolved(), CType::Integer(Integer::Char))
    }
}

/// Constructors of derived types.
impl CType {
    pub(crate) fn pointer(target: Self, is_const: bool, is_restrict: bool) -> Self {
        let depth = target.depth() + 1;
        Self::Pointer(Arc::new(Pointer {
            target,
            is_const,
            is_restrict,
            depth,
        }))
    }

    pub(crate) fn array(item: Self, length: Option<usize>) -> Self {
        let depth = item.depth() + 1;
        Self::Array(Arc::new(Array {
            item,
            length,
            depth,
        }))
    }

    /// Returns a function type, with the declarations of its parameters if they say more than the types.
    pub(crate) fn function(
        returns: Self,
        (parameters, declared): (Vec<Self>, Option<Arc<[FunctionParameter]>>),
        is_variadic: bool,
    ) -> Self {
        let inner = parameters.iter().map(Self::depth).max().unwrap_or(0);
        let depth = returns.depth().max(inner) + 1;
        Self::Function(Arc::new(Function {
            returns,
            parameters,
            is_variadic,
            declared,
            depth,
        }))
    }

    pub(crate) fn typedef(name: &str, ctype: Self, is_const: bool) -> Self {
        let depth = ctype.depth() + 1;
        Self::Typedef(Arc::new(Typedef {
            name: name.into(),
            ctype,
            is_const,
            alignment: None,
            depth,
        }))
    }

    /// Returns a typedef name with another alignment.
    pub(crate) fn aligned_typedef(self, alignment: usize) -> Self {
        match self {
            Self::Typedef(typedef) => Self::Typedef(Arc::new(Typedef {
                alignment: Some(alignment),
                ..(*typedef).clone()
            })),
            other => other,
        }
    }

    pub(crate) fn unsupported(name: &str, reason: impl Into<String>) -> Self {
        Self::opaque(name, reason, None)
    }

    /// Returns a type whose values are opaque, with its size and alignment.
    pub(crate) fn opaque(
        name: &str,
        reason: impl Into<String>,
        layout: Option<(usize, usize)>,
    ) -> Self {
        Self::Unsupported(Arc::new(Unsupported {
            name: name.into(),
            reason: reason.into(),
            layout,
        }))
    }

    /// Returns the depth of nesting, which the parser limits so that no text can overflow the stack.
    pub(crate) fn depth(&self) -> usize {
        match self {
            Self::Pointer(pointer) => pointer.depth,
            Self::Array(array) => array.depth,
            Self::Function(function) => function.depth,
            Self::Record(record) => record.depth,
            Self::Typedef(typedef) => typedef.depth,
            _ => 0,
        }
    }
}

/// Properties.
impl CType {
    /// Resolves all typedef names of the type itself.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    /// use mapcall_decl::ctype::{CType, Integer};
    ///
    /// let n = Prototype::parse("void f(int8_t n)")?.parameters[0].ctype.clone();
    /// assert_eq!(n.to_string(), "int8_t");
    /// assert_eq!(n.resolved(), &CType::Integer(Integer::SChar));
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn resolved(&self) -> &Self {
        let mut ctype = self;
        while let Self::Typedef(typedef) = ctype {
            ctype = &typedef.ctype;
        }
        ctype
    }

    /// Returns whether two types are the same type in C: typedef names are resolved and `restrict` is
    /// ignored.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        compare::is_same(self, other)
    }

    /// Returns the integer type of an integer or an enumeration.
    #[must_use]
    pub fn integer(&self) -> Option<Integer> {
        match self.resolved() {
            Self::Integer(integer) => Some(*integer),
            Self::Enum(enumeration) => Some(enumeration.underlying),
            _ => None,
        }
    }

    /// Returns `sizeof` in bytes; `None` for `void`, functions and incomplete types.
    #[must_use]
    pub fn size(&self) -> Option<usize> {
        self.layout().map(|(size, _)| size)
    }

    /// Returns the alignment in bytes as a member of a struct; `None` for types without a size.
    #[must_use]
    pub fn alignment(&self) -> Option<usize> {
        self.layout().map(|(_, alignment)| alignment)
    }

    fn layout(&self) -> Option<(usize, usize)> {
        match self {
            Self::Typedef(typedef) => {
                let (size, alignment) = typedef.ctype.layout()?;
                Some((size, typedef.alignment.unwrap_or(alignment)))
            }
            Self::Bool => Some((size_of::<bool>(), align_of::<bool>())),
            Self::Integer(integer) => Some((integer.size(), integer.alignment())),
            Self::Enum(enumeration) => {
                let integer = enumeration.underlying;
                Some((integer.size(), integer.alignment()))
            }
            Self::Float(float) => Some((float.size(), float.alignment())),
            Self::Complex(float) => Some((2 * float.size(), float.alignment())),
            Self::Pointer(_) => Some((size_of::<*const ()>(), align_of::<*const ()>())),
            Self::Array(array) => {
                let (size, alignment) = array.item.layout()?;
                Some((size.checked_mul(array.length?)?, alignment))
            }
            Self::Record(record) => match &record.body {
                Body::Complete {
                    size, alignment, ..
                } => Some((*size, *alignment)),
                _ => None,
            },
            Self::Unsupported(unsupported) => unsupported.layout,
            Self::Void | Self::Function(_) => None,
        }
    }

    /// Returns the dtype whose items have the same bytes as this type.
    ///
    /// ```
    /// use mapcall_decl::Declarations;
    ///
    /// let header = Declarations::parse("struct sample { short channel; float value; };");
    /// let dtype = header.structs()["sample"].dtype()?;
    /// assert_eq!((dtype.itemsize(), dtype.alignment()), (8, 4));
    /// assert!(dtype.is_aligned_struct());
    /// # Ok::<(), mapcall_decl::ctype::NoDType>(())
    /// ```
    ///
    /// Pointers become unsigned integers of their size, unions overlapping fields, and members of an unnamed
    /// struct or union fields of the enclosing one. Bit-fields that share storage are one field, an unsigned integer
    /// named after all of them (`a:3 b:5`); [`BitField`] reads and writes one. A number that NumPy does not have
    /// (`__int128`) is a field of bytes. An alignment larger than that of every member (`_Alignas`) is not part of
    /// the dtype.
    ///
    /// # Errors
    ///
    /// [`NoDType`] for `void`, functions, incomplete and unsupported types, arrays without a
    /// length, and structs with a flexible array.
    pub fn dtype(&self) -> Result<DType, NoDType> {
        let dtype = match self.resolved() {
            Self::Bool => DType::BOOL,
            Self::Integer(integer) => integer.dtype(),
            Self::Enum(enumeration) => enumeration.underlying.dtype(),
            Self::Float(float) => float.dtype(),
            Self::Complex(float) => match float.complex_dtype() {
                Some(dtype) => dtype,
                None => return Err(self.no_dtype("NumPy has no complex numbers of that size")),
            },
            Self::Pointer(_) => Integer::of_size(size_of::<usize>(), false).dtype(),
            Self::Array(_) => return self.subarray(),
            Self::Record(record) => return record.dtype(),
            Self::Void | Self::Function(_) => return Err(self.no_dtype("it has no size")),
            Self::Unsupported(unsupported) => match unsupported.layout {
                Some((size, _)) => {
                    DType::void(size).map_err(|error| self.no_dtype(error.to_string()))?
                }
                None => return Err(self.no_dtype(unsupported.reason.as_str())),
            },
            Self::Typedef(typedef) => return typedef.ctype.dtype(),
        };
        Ok(dtype)
    }

    /// Returns the dtype of a member of a struct or union: that of the type, except that an array of `char` is a
    /// text of its length.
    fn member_dtype(&self) -> Result<DType, NoDType> {
        let mut shape = Vec::new();
        let mut item = self;
        while let Self::Array(array) = item.resolved() {
            let Some(length) = array.length else {
                return self.dtype();
            };
            shape.push(length);
            item = &array.item;
        }
        match (item.resolved(), shape.pop()) {
            (Self::Integer(Integer::Char), Some(length @ 1..)) => DType::bytes(length)
                .and_then(|text| DType::subarray(text, &shape))
                .map_err(|error| self.no_dtype(error.to_string())),
            _ => self.dtype(),
        }
    }

    /// Returns the dtype of an array. Arrays of arrays become one sub-array of several axes.
    fn subarray(&self) -> Result<DType, NoDType> {
        let mut shape = Vec::new();
        let mut item = self;
        while let Self::Array(array) = item.resolved() {
            let length = array.length;
            shape.push(length.ok_or_else(|| self.no_dtype("its length is not said"))?);
            item = &array.item;
        }
        DType::subarray(item.dtype()?, &shape).map_err(|error| self.no_dtype(error.to_string()))
    }

    fn no_dtype(&self, reason: impl Into<String>) -> NoDType {
        NoDType {
            ctype: self.to_string(),
            reason: reason.into(),
        }
    }

    /// Returns the declaration of `name` with this type in C.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    ///
    /// let f = Prototype::parse("void f(int (*compare)(const void *, const void *));")?;
    /// assert_eq!(
    ///     f.parameters[0].ctype.declare("order"),
    ///     "int (*order)(const void *, const void *)"
    /// );
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn declare(&self, name: &str) -> String {
        display::declare(self, false, name)
    }

    pub(crate) fn declare_qualified(&self, is_const: bool, name: &str) -> String {
        display::declare(self, is_const, name)
    }
}

impl fmt::Display for CType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.declare(""))
    }
}

impl fmt::Debug for CType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CType({self})")
    }
}
