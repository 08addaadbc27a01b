//! Parses integer expressions: extents, enumerators, alignments.

use std::sync::Arc;

use tree_sitter::Node;

use super::{Reader, Result};
use crate::ctype::CType;
use crate::error::PrototypeErrorKind as Kind;
use crate::extent::{BinaryOp, Expr, UnaryOp};

/// The parameters that an extent may name.
pub(super) struct Names<'a> {
    pub(super) function: &'a str,
    pub(super) parameters: &'a [(Option<String>, CType)],
}

impl<'t> Reader<'t> {
    /// Parses the length of an array whose extent must be constant.
    pub(super) fn constant_extent(&mut self, node: Node<'t>) -> Result<usize> {
        match self.expression(node, None) {
            Ok(expression) => self.extent_value(&expression, node),
            Err(error) if matches!(error.kind, Kind::UnknownConstant { .. }) => {
                Err(self.error(Kind::VariableLength, node))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn extent_value(&self, expression: &Expr, node: Node<'t>) -> Result<usize> {
        expression
            .evaluate(&[])
            .map_err(|error| self.error(Kind::Constant(error.into()), node))
    }

    pub(super) fn constant(&mut self, node: Node<'t>) -> Result<i128> {
        let expression = self.expression(node, None)?;
        expression
            .value(&[])
            .map_err(|error| self.error(Kind::Constant(error.into()), node))
    }

    /// Parses an expression, and computes its constant parts.
    pub(super) fn expression(&mut self, node: Node<'t>, names: Option<&Names<'_>>) -> Result<Expr> {
        self.enter(node)?;
        let expression = self.expression_at(node, names)?;
        self.leave();
        let is_constant = |part: &Expr| matches!(part, Expr::Constant(_));
        let is_constant = match &expression {
            Expr::Unary(_, operand) | Expr::Cast(_, operand) => is_constant(operand),
            Expr::Binary(_, left, right) => is_constant(left) && is_constant(right),
            Expr::Conditional(parts) => parts.iter().all(is_constant),
            Expr::Constant(_) | Expr::Parameter { .. } | Expr::Target { .. } => {
                return Ok(expression);
            }
        };
        if !is_constant {
            return Ok(expression);
        }
        expression
            .value(&[])
            .map(Expr::Constant)
            .map_err(|error| self.error(Kind::Constant(error.into()), node))
    }

    fn expression_at(&mut self, node: Node<'t>, names: Option<&Names<'_>>) -> Result<Expr> {
        let text = self.text(node);
        match node.kind() {
            "number_literal" => self.number(node).map(Expr::Constant),
            "char_literal" => match character(text) {
                Some(value) => Ok(Expr::Constant(value)),
                None => Err(self.no_extent(node)),
            },
            "true" => Ok(Expr::Constant(1)),
            "false" => Ok(Expr::Constant(0)),
            "identifier" => self.name(node, names),
            "parenthesized_expression" => match node.named_child(0) {
                Some(inner) if node.named_child_count() == 1 => self.expression(inner, names),
                _ => Err(self.no_extent(node)),
            },
            "unary_expression" => {
                let argument = self.field(node, "argument")?;
                let symbol = self.field(node, "operator").map(|node| self.text(node))?;
                let operand = self.expression(argument, names)?;
                match UnaryOp::from_symbol(symbol) {
                    Some(op) => Ok(Expr::Unary(op, Box::new(operand))),
                    None if symbol == "+" => Ok(operand),
                    None => Err(self.no_extent(node)),
                }
            }
            "binary_expression" => {
                let symbol = self.field(node, "operator").map(|node| self.text(node))?;
                let Some(op) = BinaryOp::from_symbol(symbol) else {
                    return Err(self.no_extent(node));
                };
                let left = self.field(node, "left")?;
                let right = self.field(node, "right")?;
                let left = self.expression(left, names)?;
                let right = self.expression(right, names)?;
                Ok(Expr::Binary(op, Box::new(left), Box::new(right)))
            }
            "conditional_expression" => {
                let condition = self.field(node, "condition")?;
                let then = self.field(node, "consequence")?;
                let otherwise = self.field(node, "alternative")?;
                Ok(Expr::Conditional(Box::new([
                    self.expression(condition, names)?,
                    self.expression(then, names)?,
                    self.expression(otherwise, names)?,
                ])))
            }
            "pointer_expression" => {
                let symbol = self.field(node, "operator").map(|node| self.text(node))?;
                let argument = self.field(node, "argument")?;
                if symbol == "*" {
                    self.target(argument, names)
                } else {
                    Err(self.no_extent(node))
                }
            }
            "subscript_expression" => {
                let argument = self.field(node, "argument")?;
                let index = self.field(node, "index")?;
                if self.constant(index)? == 0 {
                    self.target(argument, names)
                } else {
                    Err(self.no_extent(node))
                }
            }
            "cast_expression" => self.cast(node, names),
            "sizeof_expression" | "alignof_expression" => self.size_of(node, names),
            _ => Err(self.no_extent(node)),
        }
    }

    fn name(&mut self, node: Node<'t>, names: Option<&Names<'_>>) -> Result<Expr> {
        let name = self.text(node);
        let parameter = names.and_then(|names| {
            names
                .parameters
                .iter()
                .enumerate()
                .find(|(_, (parameter, _))| parameter.as_deref() == Some(name))
        });
        if let Some((index, (_, ctype))) = parameter {
            if ctype.integer().is_none() && ctype.resolved() != &CType::Bool {
                let kind = Kind::NotInteger {
                    name: name.into(),
                    ctype: ctype.to_string(),
                };
                return Err(self.error(kind, node));
            }
            return Ok(Expr::Parameter {
                index,
                name: Arc::from(name),
            });
        }
        if let Some(value) = self.scope.enumerator(name) {
            return Ok(Expr::Constant(value));
        }
        let kind = match names {
            None => Kind::UnknownConstant { name: name.into() },
            Some(names) => Kind::UnknownParameter {
                name: name.into(),
                function: names.function.into(),
                nearest: self.nearest(
                    name,
                    names
                        .parameters
                        .iter()
                        .filter(|(_, ctype)| ctype.integer().is_some())
                        .filter_map(|(name, _)| name.as_deref()),
                ),
            },
        };
        Err(self.error(kind, node))
    }

    /// Parses the name of a pointer to an integer, for the integer that it points to.
    fn target(&self, node: Node<'t>, names: Option<&Names<'_>>) -> Result<Expr> {
        let name = self.text(node);
        let mut parameters = names.iter().flat_map(|names| names.parameters).enumerate();
        let parameter = parameters.find(|(_, (other, _))| other.as_deref() == Some(name));
        match parameter.map(|(index, (_, ctype))| (index, ctype.resolved())) {
            Some((index, CType::Pointer(pointer))) if pointer.target.integer().is_some() => {
                let name = Arc::from(name);
                Ok(Expr::Target { index, name })
            }
            _ => Err(self.no_extent(node)),
        }
    }

    fn cast(&mut self, node: Node<'t>, names: Option<&Names<'_>>) -> Result<Expr> {
        let type_node = self.field(node, "type")?;
        let value = self.field(node, "value")?;
        // The grammar can't tell `(n) - 1` from a cast of -1 to the type `n`.
        if let Some(name) = lone_name(type_node)
            && self.scope.typedef(self.text(name)).is_none()
        {
            return match value.kind() {
                "unary_expression" | "pointer_expression" => {
                    let symbol = self.field(value, "operator").map(|node| self.text(node))?;
                    let right = self.field(value, "argument")?;
                    let Some(op) = BinaryOp::from_symbol(symbol) else {
                        return Err(self.no_extent(node));
                    };
                    let left = self.name(name, names)?;
                    let right = self.expression(right, names)?;
                    Ok(Expr::Binary(op, Box::new(left), Box::new(right)))
                }
                _ => Err(self.unknown_type(name)),
            };
        }
        let ctype = self.type_name(type_node)?;
        let operand = self.expression(value, names)?;
        match ctype.integer() {
            Some(integer) => Ok(Expr::Cast(integer, Box::new(operand))),
            None => Err(self.no_extent(node)),
        }
    }

    /// Computes `sizeof` and `_Alignof` of types and of parameters.
    fn size_of(&mut self, node: Node<'t>, names: Option<&Names<'_>>) -> Result<Expr> {
        let ctype = match (
            node.child_by_field_name("type"),
            node.child_by_field_name("value"),
        ) {
            (Some(type_node), _) => {
                match lone_name(type_node).and_then(|name| self.named(name, names)) {
                    Some(ctype) => ctype,
                    None => self.type_name(type_node)?,
                }
            }
            (None, Some(mut value)) => {
                while value.kind() == "parenthesized_expression"
                    && let Some(inner) = value.named_child(0)
                {
                    value = inner;
                }
                match self.named(value, names) {
                    Some(ctype) => ctype,
                    None => return Err(self.no_extent(node)),
                }
            }
            (None, None) => return Err(self.no_extent(node)),
        };
        let value = if node.kind() == "sizeof_expression" {
            ctype.size()
        } else {
            ctype.alignment()
        };
        let value = value.and_then(|value| i128::try_from(value).ok());
        value.map(Expr::Constant).ok_or_else(|| {
            let ctype = ctype.to_string();
            self.error(Kind::Incomplete { ctype }, node)
        })
    }

    /// Returns the type of a name, which is a typedef name or a scalar parameter.
    fn named(&self, name: Node<'t>, names: Option<&Names<'_>>) -> Option<CType> {
        let name = self.text(name);
        let parameter = names.and_then(|names| {
            names
                .parameters
                .iter()
                .find(|(parameter, _)| parameter.as_deref() == Some(name))
        });
        match parameter {
            Some((_, ctype)) => Some(ctype.clone()),
            None => self.scope.typedef(name),
        }
    }

    fn number(&self, node: Node<'t>) -> Result<i128> {
        let text = self.text(node);
        let lower = text.to_ascii_lowercase();
        let (digits, radix) = if let Some(digits) = lower.strip_prefix("0x") {
            (digits, 16)
        } else if let Some(digits) = lower.strip_prefix("0b") {
            (digits, 2)
        } else if lower.len() > 1 && lower.starts_with('0') {
            (lower.as_str(), 8)
        } else {
            (lower.as_str(), 10)
        };
        let digits = digits.trim_end_matches(['u', 'l']);
        let is_fraction = lower.contains('.')
            || (radix == 16 && lower.contains('p'))
            || (radix != 16 && lower.contains(['e', 'f']));
        if is_fraction {
            let constant = text.into();
            return Err(self.error(Kind::Fraction { constant }, node));
        }
        i128::from_str_radix(digits, radix).map_err(|_| self.no_extent(node))
    }

    fn no_extent(&self, node: Node<'t>) -> crate::PrototypeError {
        let expression = self.text(node).into();
        self.error(Kind::Expression { expression }, node)
    }
}

/// Returns the name if the type is only a name.
fn lone_name(type_node: Node<'_>) -> Option<Node<'_>> {
    let name = type_node.named_child(0)?;
    (type_node.named_child_count() == 1 && name.kind() == "type_identifier").then_some(name)
}

/// Returns the value of a character constant of one character.
fn character(text: &str) -> Option<i128> {
    let inner = text.strip_prefix('\'')?.strip_suffix('\'')?;
    let mut characters = inner.chars();
    let first = characters.next()?;
    let rest = characters.as_str();
    if first != '\\' {
        return (rest.is_empty() && first.is_ascii()).then(|| i128::from(u32::from(first)));
    }
    let value = match rest {
        "n" => 10,
        "t" => 9,
        "r" => 13,
        "a" => 7,
        "b" => 8,
        "f" => 12,
        "v" => 11,
        "\\" | "'" | "\"" | "?" => i128::from(*rest.as_bytes().first()?),
        _ => {
            let value = match rest.strip_prefix('x') {
                Some(digits) => u8::from_str_radix(digits, 16).ok()?,
                None if rest.len() <= 3 => u8::from_str_radix(rest, 8).ok()?,
                None => return None,
            };
            // The value is that of a `char`, which is signed or unsigned depending on the machine.
            let value = i128::from(value);
            if crate::ctype::Integer::Char.contains(value) {
                value
            } else {
                value - 256
            }
        }
    };
    Some(value)
}
