//! Extents: the lengths of the axes of arrays, as integer expressions over the parameters of a function.

use std::fmt;
use std::sync::Arc;

use super::scalar::Integer;

/// The extent of one axis of an array parameter.
///
/// ```
/// use mapcall_decl::{Extent, Prototype};
///
/// let f = Prototype::parse("void f(const char bits[(n+7)/8], int n, float x[]);")?;
/// let Extent::Dynamic(bytes) = &f.parameters[0].extents[0] else { panic!() };
/// assert_eq!(bytes.to_string(), "(n+7)/8");
/// assert_eq!(bytes.evaluate(&[None, Some(20), None]), Ok(3));
/// assert_eq!(f.parameters[2].extents, [Extent::Unknown]);
/// # Ok::<(), mapcall_decl::PrototypeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The value of an expression.
    Dynamic(Expr),
    /// `[]` or `[*]`: the prototype does not give the extent.
    Unknown,
}

impl Extent {
    /// Returns the position of the parameter, if the extent is only the name of a parameter, or the target
    /// of one.
    #[must_use]
    pub fn parameter(&self) -> Option<usize> {
        match self {
            Self::Dynamic(expression) => expression.parameter(),
            Self::Unknown => None,
        }
    }

    /// Returns the value of an extent without parameters.
    #[must_use]
    pub fn constant(&self) -> Option<usize> {
        match self {
            Self::Dynamic(Expr::Constant(value)) => usize::try_from(*value).ok(),
            _ => None,
        }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dynamic(expression) => expression.fmt(f),
            Self::Unknown => Ok(()),
        }
    }
}

/// An integer expression.
///
/// ```
/// use mapcall_decl::extent::{Expr, ExtentError};
/// use mapcall_decl::{Extent, Prototype};
///
/// let f = Prototype::parse("void f(int n, int k, int x[100 / n - k]);")?;
/// let Extent::Dynamic(extent) = &f.parameters[2].extents[0] else { panic!() };
/// assert_eq!(extent.evaluate(&[Some(7), Some(4)]), Ok(10));
/// assert_eq!(extent.evaluate(&[Some(0), Some(4)]), Err(ExtentError::DivisionByZero));
/// assert_eq!(extent.evaluate(&[Some(7), Some(15)]), Err(ExtentError::Negative { value: -1 }));
/// # Ok::<(), mapcall_decl::PrototypeError>(())
/// ```
///
/// Values are integers of 128 bits; an overflow is an error, and does not wrap as in C. The parser computes
/// enumerators, `sizeof` and all other constant parts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expr {
    /// A number.
    Constant(i128),
    /// An integer parameter.
    Parameter {
        /// The position in the prototype, from 0.
        index: usize,
        /// The name.
        name: Arc<str>,
    },
    /// The integer that a pointer parameter points to: `*n` or `n[0]`.
    Target {
        /// The position of the pointer in the prototype, from 0.
        index: usize,
        /// Its name.
        name: Arc<str>,
    },
    /// An operator before its operand.
    Unary(UnaryOp, Box<Expr>),
    /// An operator between its operands.
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `condition ? then : otherwise`
    Conditional(Box<[Expr; 3]>),
    /// `(type)operand`; a value outside the range of the type is an error.
    Cast(Integer, Box<Expr>),
}

impl Expr {
    /// Returns the position of the parameter, if the expression is only the name of a parameter, or the
    /// target of one.
    #[must_use]
    pub fn parameter(&self) -> Option<usize> {
        match self {
            Self::Parameter { index, .. } | Self::Target { index, .. } => Some(*index),
            _ => None,
        }
    }

    /// Returns whether the expression names the parameter at a position.
    ///
    /// ```
    /// use mapcall_decl::{Extent, Prototype};
    ///
    /// let f = Prototype::parse("void f(int n, int k, float x[n + 1])")?;
    /// let Extent::Dynamic(size) = &f.parameters[2].extents[0] else { panic!() };
    /// assert!(size.mentions(0) && !size.mentions(1));
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    #[must_use]
    pub fn mentions(&self, position: usize) -> bool {
        match self {
            Self::Constant(_) => false,
            Self::Parameter { index, .. } | Self::Target { index, .. } => *index == position,
            Self::Unary(_, operand) | Self::Cast(_, operand) => operand.mentions(position),
            Self::Binary(_, one, other) => one.mentions(position) || other.mentions(position),
            Self::Conditional(parts) => parts.iter().any(|part| part.mentions(position)),
        }
    }
}

/// An operator before its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnaryOp {
    /// `-`
    Negate,
    /// `!`
    Not,
    /// `~`
    Complement,
}

impl UnaryOp {
    /// Returns the operator in C.
    #[must_use]
    pub const fn symbol(self) -> &'static str {
        match self {
            Self::Negate => "-",
            Self::Not => "!",
            Self::Complement => "~",
        }
    }
}

macro_rules! binary_operators {
    ($($name:ident $symbol:literal $precedence:literal,)*) => {
        /// An operator between its operands.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum BinaryOp {
            $(#[doc = concat!("`", $symbol, "`")] $name,)*
        }

        impl BinaryOp {
            pub(crate) fn from_symbol(symbol: &str) -> Option<Self> {
                match symbol {
                    $($symbol => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Returns the operator in C.
            #[must_use]
            pub const fn symbol(self) -> &'static str {
                match self {
                    $(Self::$name => $symbol,)*
                }
            }

            pub(crate) const fn precedence(self) -> u8 {
                match self {
                    $(Self::$name => $precedence,)*
                }
            }
        }
    };
}

binary_operators! {
    Multiply "*" 10,
    Divide "/" 10,
    Remainder "%" 10,
    Add "+" 9,
    Subtract "-" 9,
    ShiftLeft "<<" 8,
    ShiftRight ">>" 8,
    Less "<" 7,
    LessEqual "<=" 7,
    Greater ">" 7,
    GreaterEqual ">=" 7,
    Equal "==" 6,
    NotEqual "!=" 6,
    BitAnd "&" 5,
    BitXor "^" 4,
    BitOr "|" 3,
    And "&&" 2,
    Or "||" 1,
}

/// The precedences below and above those of [`BinaryOp`].
const CONDITIONAL: u8 = 0;
const PREFIX: u8 = 11;

/// The reason why an extent has no valid value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtentError {
    /// A value overflows 128 bits.
    #[error("overflows")]
    Overflow,
    /// `/ 0` or `% 0`
    #[error("divides by zero")]
    DivisionByZero,
    /// A shift by a negative number of bits, or by too many.
    #[error("shifts by {by} bits")]
    Shift {
        /// The number of bits.
        by: i128,
    },
    /// The extent is negative.
    #[error("is negative: {value}")]
    Negative {
        /// Its value.
        value: i128,
    },
    /// The extent is larger than the address space.
    #[error("is {value}, which is more than memory can hold")]
    TooLarge {
        /// Its value.
        value: i128,
    },
    /// A value is outside the range of the type of a cast.
    #[error("casts {value} to `{ctype}`, which has no such value")]
    Cast {
        /// The value.
        value: i128,
        /// The type.
        ctype: &'static str,
    },
    /// The value of a parameter is not given.
    #[error("needs the value of `{name}`")]
    Missing {
        /// The parameter.
        name: String,
    },
}

impl Expr {
    /// Computes the extent for values of the parameters, by position.
    ///
    /// # Errors
    ///
    /// [`ExtentError`] if the extent has no valid value, or if the value of a parameter in it is not given.
    pub fn evaluate(&self, values: &[Option<i128>]) -> Result<usize, ExtentError> {
        let value = self.value(values)?;
        if value < 0 {
            return Err(ExtentError::Negative { value });
        }
        isize::try_from(value)
            .map(isize::unsigned_abs)
            .map_err(|_| ExtentError::TooLarge { value })
    }

    /// Computes the value of the expression, which may be negative.
    ///
    /// # Errors
    ///
    /// All of [`ExtentError`] except [`ExtentError::Negative`] and [`ExtentError::TooLarge`].
    pub fn value(&self, values: &[Option<i128>]) -> Result<i128, ExtentError> {
        match self {
            Self::Constant(value) => Ok(*value),
            Self::Parameter { index, name } | Self::Target { index, name } => values
                .get(*index)
                .copied()
                .flatten()
                .ok_or_else(|| ExtentError::Missing {
                    name: name.to_string(),
                }),
            Self::Unary(op, operand) => {
                let value = operand.value(values)?;
                match op {
                    UnaryOp::Negate => value.checked_neg().ok_or(ExtentError::Overflow),
                    UnaryOp::Not => Ok(i128::from(value == 0)),
                    UnaryOp::Complement => Ok(!value),
                }
            }
            // As in C, the right side is evaluated only if the left one does not determine the result.
            Self::Binary(BinaryOp::And, left, right) => Ok(i128::from(
                left.value(values)? != 0 && right.value(values)? != 0,
            )),
            Self::Binary(BinaryOp::Or, left, right) => Ok(i128::from(
                left.value(values)? != 0 || right.value(values)? != 0,
            )),
            Self::Binary(op, left, right) => binary(*op, left.value(values)?, right.value(values)?),
            Self::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                if condition.value(values)? == 0 {
                    otherwise.value(values)
                } else {
                    then.value(values)
                }
            }
            Self::Cast(integer, operand) => {
                let value = operand.value(values)?;
                if integer.contains(value) {
                    Ok(value)
                } else {
                    Err(ExtentError::Cast {
                        value,
                        ctype: integer.name(),
                    })
                }
            }
        }
    }

    /// Calls `visit` with the position of each parameter in the expression.
    pub fn for_each_parameter(&self, visit: &mut impl FnMut(usize)) {
        match self {
            Self::Constant(_) => {}
            Self::Parameter { index, .. } | Self::Target { index, .. } => visit(*index),
            Self::Unary(_, operand) | Self::Cast(_, operand) => operand.for_each_parameter(visit),
            Self::Binary(_, left, right) => {
                left.for_each_parameter(visit);
                right.for_each_parameter(visit);
            }
            Self::Conditional(parts) => {
                parts.iter().for_each(|part| part.for_each_parameter(visit));
            }
        }
    }

    /// Returns the height of the tree, which the parser limits so that no text can overflow the stack.
    pub(crate) fn depth(&self) -> usize {
        let inner = match self {
            Self::Constant(_) | Self::Parameter { .. } | Self::Target { .. } => 0,
            Self::Unary(_, operand) | Self::Cast(_, operand) => operand.depth(),
            Self::Binary(_, left, right) => left.depth().max(right.depth()),
            Self::Conditional(parts) => parts.iter().map(Self::depth).max().unwrap_or(0),
        };
        inner + 1
    }

    fn precedence(&self) -> u8 {
        match self {
            Self::Parameter { .. } => PREFIX + 1,
            Self::Constant(value) if *value >= 0 => PREFIX + 1,
            Self::Constant(_) | Self::Target { .. } | Self::Unary(..) | Self::Cast(..) => PREFIX,
            Self::Binary(op, ..) => op.precedence(),
            Self::Conditional(_) => CONDITIONAL,
        }
    }

    /// Writes the expression, in parentheses if its precedence is below `min`.
    fn write(&self, f: &mut fmt::Formatter<'_>, min: u8) -> fmt::Result {
        if self.precedence() < min {
            f.write_str("(")?;
            self.write(f, CONDITIONAL)?;
            return f.write_str(")");
        }
        match self {
            Self::Constant(value) => write!(f, "{value}"),
            Self::Parameter { name, .. } => f.write_str(name),
            Self::Target { name, .. } => write!(f, "*{name}"),
            Self::Unary(op, operand) => {
                f.write_str(op.symbol())?;
                operand.write(f, PREFIX + 1)
            }
            Self::Binary(op, left, right) => {
                left.write(f, op.precedence())?;
                f.write_str(op.symbol())?;
                // `a-(-b)` needs parentheses, as `a--b` is another expression, and `a/ *b` begins a comment
                // without its space.
                let min = match **right {
                    Self::Unary(UnaryOp::Negate, _) | Self::Constant(_) | Self::Target { .. } => {
                        PREFIX + 1
                    }
                    _ => op.precedence() + 1,
                };
                right.write(f, min)
            }
            Self::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                condition.write(f, CONDITIONAL + 1)?;
                f.write_str("?")?;
                then.write(f, CONDITIONAL)?;
                f.write_str(":")?;
                otherwise.write(f, CONDITIONAL)
            }
            Self::Cast(integer, operand) => {
                write!(f, "({})", integer.name())?;
                operand.write(f, PREFIX + 1)
            }
        }
    }
}

/// Writes the expression in C, with as few parentheses as possible.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, CONDITIONAL)
    }
}

fn binary(op: BinaryOp, left: i128, right: i128) -> Result<i128, ExtentError> {
    let checked = match op {
        BinaryOp::Multiply => left.checked_mul(right),
        BinaryOp::Divide | BinaryOp::Remainder if right == 0 => {
            return Err(ExtentError::DivisionByZero);
        }
        BinaryOp::Divide => left.checked_div(right),
        BinaryOp::Remainder => left.checked_rem(right),
        BinaryOp::Add => left.checked_add(right),
        BinaryOp::Subtract => left.checked_sub(right),
        BinaryOp::ShiftLeft | BinaryOp::ShiftRight => {
            let by = u32::try_from(right)
                .ok()
                .filter(|&by| by < i128::BITS - 1)
                .ok_or(ExtentError::Shift { by: right })?;
            match op {
                BinaryOp::ShiftLeft => left.checked_mul(1 << by),
                _ => Some(left >> by),
            }
        }
        BinaryOp::Less => Some(i128::from(left < right)),
        BinaryOp::LessEqual => Some(i128::from(left <= right)),
        BinaryOp::Greater => Some(i128::from(left > right)),
        BinaryOp::GreaterEqual => Some(i128::from(left >= right)),
        BinaryOp::Equal => Some(i128::from(left == right)),
        BinaryOp::NotEqual => Some(i128::from(left != right)),
        BinaryOp::BitAnd => Some(left & right),
        BinaryOp::BitXor => Some(left ^ right),
        BinaryOp::BitOr => Some(left | right),
        BinaryOp::And => Some(i128::from(left != 0 && right != 0)),
        BinaryOp::Or => Some(i128::from(left != 0 || right != 0)),
    };
    checked.ok_or(ExtentError::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Prototype;

    fn extent(text: &str, values: &[Option<i128>]) -> Result<usize, ExtentError> {
        let text = format!("void f(long n, long k, char x[{text}]);");
        let prototype = Prototype::parse(&text).unwrap();
        match &prototype.parameters[2].extents[0] {
            Extent::Dynamic(expression) => expression.evaluate(values),
            Extent::Unknown => panic!("{text}"),
        }
    }

    #[test]
    fn expressions_have_the_values_of_c() {
        let values = [Some(17), Some(5)];
        for (text, value) in [
            ("n + 0", 17),
            ("n - k * 2", 7),
            ("n / k * k + n % k", 17),
            ("-n / k + 10", 7),
            ("-n % k + 10", 8),
            ("1 << k >> 2 | n & 3", 9),
            ("n > k == 1 && k", 1),
            ("n < k || !k", 0),
            ("n < k ? n : k ^ 1", 4),
            ("~-n", 16),
            ("(short)n + '\\x10'", 33),
            ("0 && 1 / (n - n) || n", 1),
        ] {
            assert_eq!(extent(text, &values), Ok(value), "{text}");
        }
    }

    #[test]
    fn expressions_without_a_value_are_errors() {
        let largest = i128::from(i64::MAX);
        let values = [Some(largest), Some(-1)];
        let cast = ExtentError::Cast {
            value: -1,
            ctype: "unsigned int",
        };
        for (text, error) in [
            ("n * n * n", ExtentError::Overflow),
            ("n / (k + 1)", ExtentError::DivisionByZero),
            ("n % (k + 1)", ExtentError::DivisionByZero),
            ("1 << k", ExtentError::Shift { by: -1 }),
            ("1 >> n", ExtentError::Shift { by: largest }),
            ("k", ExtentError::Negative { value: -1 }),
            ("n + 1", ExtentError::TooLarge { value: largest + 1 }),
            ("(unsigned)k", cast),
        ] {
            assert_eq!(extent(text, &values), Err(error), "{text}");
        }
        let missing = ExtentError::Missing { name: "k".into() };
        assert_eq!(extent("n + k", &[Some(1), None]), Err(missing.clone()));
        assert_eq!(extent("n + k", &[Some(1)]), Err(missing));
    }
}
