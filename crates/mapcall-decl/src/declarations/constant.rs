//! The constants of a header: enumerators, and macros that are numbers or strings.

use std::fmt::{self, Debug};

/// A constant of a header.
///
/// ```
/// use mapcall_decl::Declarations;
/// use mapcall_decl::declarations::ConstantValue;
///
/// let header = Declarations::parse("enum mode { FAST = 1 << 2, EXACT };");
/// let constants = header.constants()?;
/// assert_eq!(constants[1].to_string(), "EXACT = 5");
/// assert_eq!(constants[1].value, ConstantValue::Integer(5));
/// # Ok::<(), mapcall_decl::declarations::ConstantError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Constant {
    /// The name.
    pub name: String,
    /// The value.
    pub value: ConstantValue,
}

/// The value of a constant.
///
/// ```
/// use mapcall_decl::declarations::ConstantValue;
///
/// assert_eq!(ConstantValue::Text(b"1.2\n".to_vec()).to_string(), r#""1.2\n""#);
/// assert_eq!(ConstantValue::Float(1.0).to_string(), "1.0");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConstantValue {
    /// An integer, also that of a character or an enumerator.
    Integer(i128),
    /// A float; a `long double` is rounded.
    Float(f64),
    /// The bytes of a string, without the NUL at its end.
    Text(Vec<u8>),
}

/// Writes the value as in C.
impl fmt::Display for ConstantValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
        }
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, self.value)
    }
}

/// The compiler can't evaluate the macros of a header.
///
/// ```
/// use mapcall_decl::{Declarations, declarations::ConstantError};
///
/// let header = Declarations::default();
/// let constants: Result<_, ConstantError> = header.constants();
/// assert!(constants?.is_empty());
/// # Ok::<(), ConstantError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a C compiler that evaluates the macros of the header: {reason}; compile a file that includes it by hand"
)]
#[non_exhaustive]
pub struct ConstantError {
    /// The reason.
    pub reason: String,
}

/// A C program that gives the values of macros.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program {
    /// The declarations that the macros need.
    pub(crate) declarations: String,
    /// The definitions of the macros, and of those that they need.
    pub(crate) macros: String,
    /// The macros to evaluate.
    pub(crate) names: Vec<String>,
    /// Whether the header's compiler is Clang.
    #[cfg_attr(
        not(feature = "headers"),
        allow(dead_code, reason = "only a header has a compiler")
    )]
    pub(crate) is_clang: bool,
}

/// What evaluates the macros of a program.
pub(crate) trait Evaluate: Debug + Send + Sync {
    /// Returns the values of the macros that are constants.
    fn evaluate(&self, program: &Program) -> Result<Vec<Constant>, ConstantError>;
}
