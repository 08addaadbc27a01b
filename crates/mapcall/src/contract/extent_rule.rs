//! The rule of the extent of an axis.

use std::fmt;
use std::sync::Arc;

use super::number::Number;
use crate::extent::Expr;
use crate::prototype::Prototype;

/// The extent of an axis: see [`ArrayRule`](super::ArrayRule).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtentRule {
    /// An inferred extent.
    Dimension {
        /// The index of the dimension.
        dimension: usize,
        /// The name of the inferred parameter.
        name: Arc<str>,
    },
    /// A constant extent.
    Constant(usize),
    /// An expression, which is evaluated when all dimensions are known.
    Expression(Expr),
    /// An extent that the prototype does not give: `x[]`.
    Unknown,
}

impl ExtentRule {
    pub(super) fn new(prototype: &Prototype, expression: &Expr, inferred: &[usize]) -> Self {
        if let Expr::Parameter { index, name } | Expr::Target { index, name } = expression
            && let Some(dimension) = inferred.iter().position(|other| other == index)
        {
            return Self::Dimension {
                dimension,
                name: Arc::clone(name),
            };
        }
        // What a pointer leads to is known before the call only if a number can be given for it.
        let parameters = prototype.parameters.iter().enumerate();
        let mut unknown = parameters.filter(|(position, parameter)| {
            let is_scalar = parameter.rank() == 0 && Number::of(&parameter.ctype).is_some();
            let is_reference = parameter.is_only_read() && parameter.target_integer().is_some();
            !(parameter.is_inferred || is_scalar || is_reference) && expression.mentions(*position)
        });
        match expression {
            Expr::Constant(value) => usize::try_from(*value).map_or(Self::Unknown, Self::Constant),
            _ if unknown.next().is_some() => Self::Unknown,
            _ => Self::Expression(expression.clone()),
        }
    }
}

impl fmt::Display for ExtentRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dimension { name, .. } => f.write_str(name),
            Self::Constant(value) => value.fmt(f),
            Self::Expression(expression) => expression.fmt(f),
            Self::Unknown => f.write_str("?"),
        }
    }
}
