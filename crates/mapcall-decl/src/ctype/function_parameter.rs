//! The parameters of function types, as they are declared.

use std::fmt;
use std::sync::Arc;

use super::CType;
use super::extent::{Expr, Extent};

/// A parameter of a function type, as it is declared: see [`Function::declared`](super::Function::declared).
///
/// ```
/// use mapcall_decl::{CType, Prototype};
///
/// let text = "void fit(void (*f)(int n, [[mapcall::column_major]] const double a[n][n], double r[_Nullable n]))";
/// let fit = Prototype::parse(text)?;
/// assert_eq!(fit.to_string(), text);
/// let CType::Pointer(pointer) = &fit.parameters[0].ctype else { panic!() };
/// let CType::Function(f) = &pointer.target else { panic!() };
/// let [_, a, _] = f.declared.as_deref().unwrap() else { panic!() };
/// assert!(a.is_column_major && a.stride.is_none());
/// # Ok::<(), mapcall_decl::PrototypeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionParameter {
    /// The name.
    pub name: Option<String>,
    /// The type; of an array with extents, the type of its elements.
    pub item: CType,
    /// The extents of an array, outermost first, over the parameters of the function type; empty for
    /// other parameters, and for arrays with an unknown extent.
    pub extents: Vec<Extent>,
    /// Whether the extent counts bytes, whatever the type of the elements.
    pub is_sized: bool,
    /// Whether a pointer or an array may be null.
    pub nullability: Nullability,
    /// Whether the first index of an array is the one that moves fastest in memory:
    /// `[[mapcall::column_major]]`.
    pub is_column_major: bool,
    /// The number of elements from one row of an array to the next: `[[mapcall::stride(lda)]]`.
    pub stride: Option<Expr>,
    /// The value of an integer that follows from other parameters: `[[mapcall::equals(n + 1)]]`.
    pub equals: Option<Expr>,
    /// The smallest and the largest value of a number: `[[mapcall::between(0, n)]]`.
    pub between: Option<Box<[Expr; 2]>>,
}

/// Whether a pointer may be null, by Clang's qualifiers and GNU's attribute `nonnull`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Nullability {
    /// The prototype does not tell: a pointer may be null, an array may not.
    #[default]
    Unspecified,
    /// It may be null: `_Nullable`.
    Nullable,
    /// It may not be null: `_Nonnull`, `nonnull`.
    Nonnull,
}

impl FunctionParameter {
    /// Returns a parameter without extents and annotations.
    pub(crate) fn new(name: Option<String>, ctype: CType) -> Self {
        Self {
            name,
            item: ctype,
            extents: Vec::new(),
            is_sized: false,
            nullability: Nullability::Unspecified,
            is_column_major: false,
            stride: None,
            equals: None,
            between: None,
        }
    }

    /// Returns the parameters if the declaration of one says more than its type; otherwise `None`.
    pub(crate) fn list(parameters: Vec<Self>) -> Option<Arc<[Self]>> {
        let is_known = parameters.iter().any(Self::says_more);
        is_known.then(|| parameters.into())
    }

    fn says_more(&self) -> bool {
        !self.extents.is_empty()
            || self.nullability != Nullability::Unspecified
            || self.is_column_major
            || self.stride.is_some()
            || self.equals.is_some()
            || self.between.is_some()
    }

    /// Returns whether two parameters have the same name, extents and annotations, whatever their types.
    pub(super) fn is_declared_like(&self, other: &Self) -> bool {
        let Self {
            name,
            item: _,
            extents,
            is_sized,
            nullability,
            is_column_major,
            stride,
            equals,
            between,
        } = self;
        (name, extents, is_sized) == (&other.name, &other.extents, &other.is_sized)
            && (nullability, is_column_major) == (&other.nullability, &other.is_column_major)
            && (stride, equals, between) == (&other.stride, &other.equals, &other.between)
    }
}

/// Writes mapcall's attributes of a parameter, each with a space behind it.
pub(crate) fn write_attributes(
    f: &mut impl fmt::Write,
    (is_column_major, stride): (bool, Option<&Expr>),
    equals: Option<&Expr>,
    between: Option<&[Expr; 2]>,
) -> fmt::Result {
    if let Some(value) = equals {
        write!(f, "[[mapcall::equals({value})]] ")?;
    }
    if let Some([least, most]) = between {
        write!(f, "[[mapcall::between({least}, {most})]] ")?;
    }
    if is_column_major {
        f.write_str("[[mapcall::column_major]] ")?;
    }
    if let Some(stride) = stride {
        write!(f, "[[mapcall::stride({stride})]] ")?;
    }
    Ok(())
}
