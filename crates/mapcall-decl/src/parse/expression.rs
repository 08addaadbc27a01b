//! Reads the extents of arrays: integer expressions over parameters.

use std::sync::Arc;

use super::{Reader, Result};
use crate::ctype::CType;
use crate::error::PrototypeErrorKind as Kind;
use crate::extent::{Expr, UnaryOp};
use crate::syntax::ast::{Expression, ExpressionKind, UnaryOperator};
use crate::syntax::lexer::Span;
use crate::syntax::parser::MAX_DEPTH;

/// The parameters that an extent may name.
pub(super) struct Names<'a> {
    pub(super) function: &'a str,
    pub(super) parameters: &'a [(Option<String>, CType)],
}

impl Reader<'_> {
    pub(super) fn extent_value(&self, value: &Expr, span: Span) -> Result<usize> {
        value
            .evaluate(&[])
            .map_err(|error| self.error(Kind::Constant(error.into()), span))
    }

    /// Returns an expression with its constant parts computed.
    pub(super) fn expression(
        &mut self,
        expression: &Expression,
        names: &Names<'_>,
    ) -> Result<Expr> {
        let span = expression.span;
        match &expression.kind {
            ExpressionKind::Number => self.number(span).map(|number| Expr::Constant(number.value)),
            ExpressionKind::Character => {
                let character = self.character(span)?;
                Ok(Expr::Constant(character.value))
            }
            ExpressionKind::Name => self.name(span, names),
            ExpressionKind::Parenthesized(inner) => self.expression(inner, names),
            ExpressionKind::Unary(UnaryOperator::Dereference, operand) => {
                self.target(operand, span, names)
            }
            ExpressionKind::Index(array, index) => match self.constant(index)? {
                0 => self.target(array, span, names),
                _ => Err(self.no_extent(span)),
            },
            ExpressionKind::Unary(operator, operand) => {
                let op = match operator {
                    UnaryOperator::Plus => return self.expression(operand, names),
                    UnaryOperator::Negate => UnaryOp::Negate,
                    UnaryOperator::Not => UnaryOp::Not,
                    UnaryOperator::Complement => UnaryOp::Complement,
                    UnaryOperator::Dereference
                    | UnaryOperator::AddressOf
                    | UnaryOperator::Other => {
                        return Err(self.no_extent(span));
                    }
                };
                let operand = self.expression(operand, names)?;
                self.computed(Expr::Unary(op, Box::new(operand)), span)
            }
            ExpressionKind::Binary(first, rest) => {
                let mut left = self.expression(first, names)?;
                let mut levels = 0;
                for (op, operand) in rest {
                    let right = self.expression(operand, names)?;
                    let span = first.span.to(operand.span);
                    left =
                        self.computed(Expr::Binary(*op, Box::new(left), Box::new(right)), span)?;
                    levels += usize::from(!is_constant(&left));
                    if levels > MAX_DEPTH {
                        return Err(self.too_deep(span));
                    }
                }
                Ok(left)
            }
            ExpressionKind::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                let parts = [
                    self.expression(condition, names)?,
                    self.expression(then, names)?,
                    self.expression(otherwise, names)?,
                ];
                self.computed(Expr::Conditional(Box::new(parts)), span)
            }
            ExpressionKind::Cast(name, operand) => {
                let ctype = self.type_name(name)?;
                let operand = match self.expression(operand, names) {
                    Err(error) if matches!(error.kind, Kind::Fraction { .. }) => {
                        return self.constant(expression).map(Expr::Constant);
                    }
                    operand => operand?,
                };
                match ctype.integer() {
                    Some(integer) => self.computed(Expr::Cast(integer, Box::new(operand)), span),
                    None => Err(self.no_extent(span)),
                }
            }
            ExpressionKind::SizeOf(argument) => {
                let size = self.size_of(argument, span, names.parameters)?;
                Ok(constant(size))
            }
            ExpressionKind::AlignOf(argument) => {
                let alignment = self.alignment_of(argument, span, names.parameters)?;
                Ok(constant(alignment))
            }
            ExpressionKind::OffsetOf(..) => self.constant(expression).map(Expr::Constant),
            _ => Err(self.no_extent(span)),
        }
    }

    /// Computes an expression whose parts are constant.
    fn computed(&self, expression: Expr, span: Span) -> Result<Expr> {
        let is_computed = match &expression {
            Expr::Unary(_, operand) | Expr::Cast(_, operand) => is_constant(operand),
            Expr::Binary(_, left, right) => is_constant(left) && is_constant(right),
            Expr::Conditional(parts) => parts.iter().all(is_constant),
            Expr::Constant(_) | Expr::Parameter { .. } | Expr::Target { .. } => false,
        };
        if !is_computed {
            return Ok(expression);
        }
        expression
            .value(&[])
            .map(Expr::Constant)
            .map_err(|error| self.error(Kind::Constant(error.into()), span))
    }

    /// Returns the integer that a pointer parameter points to, as an expression.
    fn target(&self, pointer: &Expression, span: Span, names: &Names<'_>) -> Result<Expr> {
        let mut pointer = pointer;
        while let ExpressionKind::Parenthesized(inner) = &pointer.kind {
            pointer = inner;
        }
        let name = match pointer.kind {
            ExpressionKind::Name => self.text(pointer.span),
            _ => return Err(self.no_extent(span)),
        };
        let mut parameters = names.parameters.iter().enumerate();
        let parameter = parameters.find(|(_, (other, _))| other.as_deref() == Some(name));
        match parameter.map(|(index, (_, ctype))| (index, ctype.resolved())) {
            Some((index, CType::Pointer(pointer))) if pointer.target.integer().is_some() => {
                let name = Arc::from(name);
                Ok(Expr::Target { index, name })
            }
            _ => Err(self.no_extent(span)),
        }
    }

    fn name(&self, span: Span, names: &Names<'_>) -> Result<Expr> {
        let name = self.text(span);
        let parameter = names
            .parameters
            .iter()
            .enumerate()
            .find(|(_, (parameter, _))| parameter.as_deref() == Some(name));
        if let Some((index, (_, ctype))) = parameter {
            if ctype.integer().is_none() && ctype.resolved() != &CType::Bool {
                let kind = Kind::NotInteger {
                    name: name.into(),
                    ctype: ctype.to_string(),
                };
                return Err(self.error(kind, span));
            }
            return Ok(Expr::Parameter {
                index,
                name: Arc::from(name),
            });
        }
        if let Ok(constant) = self.named_constant(span) {
            return Ok(Expr::Constant(constant.value));
        }
        let integers = names
            .parameters
            .iter()
            .filter(|(_, ctype)| ctype.integer().is_some())
            .filter_map(|(name, _)| name.as_deref());
        let kind = Kind::UnknownParameter {
            name: name.into(),
            function: names.function.into(),
            nearest: self.nearest(name, integers),
        };
        Err(self.error(kind, span))
    }
}

fn constant(value: usize) -> Expr {
    Expr::Constant(i128::try_from(value).unwrap_or(i128::MAX))
}

fn is_constant(expression: &Expr) -> bool {
    matches!(expression, Expr::Constant(_))
}
