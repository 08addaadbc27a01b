//! Computes integer constant expressions as C does (C11 6.6): enumerators, widths, alignments, lengths.

use super::literal::{self, Literal};
use super::{Reader, Result};
use crate::ctype::{Body, CType, Integer};
use crate::error::PrototypeErrorKind as Kind;
use crate::extent::{BinaryOp, ExtentError};
use crate::syntax::ast::{Designator, Expression, ExpressionKind, TypeOrExpression, UnaryOperator};
use crate::syntax::lexer::Span;

/// The value of a constant expression, and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Constant {
    pub(super) value: i128,
    ctype: Integer,
}

impl Constant {
    /// Returns a value converted to a type: the value modulo 2 to the number of its bits.
    fn wrapped(value: i128, ctype: Integer) -> Self {
        let unused = i128::BITS - ctype.bits();
        let shifted = value << unused;
        let value = if ctype.is_signed() {
            shifted >> unused
        } else {
            shifted.cast_unsigned().wrapping_shr(unused).cast_signed()
        };
        Self { value, ctype }
    }

    fn int(value: i128) -> Self {
        Self::wrapped(value, Integer::Int)
    }

    fn size(value: usize) -> Self {
        let value = i128::try_from(value).unwrap_or(i128::MAX);
        Self::wrapped(value, Integer::of_size(size_of::<usize>(), false))
    }

    /// Returns the value with the type that arithmetic gives it (C11 6.3.1.1).
    fn promoted(self) -> Self {
        let is_small = self.ctype.size() < Integer::Int.size();
        Self::wrapped(self.value, if is_small { Integer::Int } else { self.ctype })
    }
}

/// Returns the type to which arithmetic converts its operands (C11 6.3.1.8).
fn common(left: Integer, right: Integer) -> Integer {
    let rank = |ctype| match ctype {
        Integer::LongLong | Integer::ULongLong => 2,
        Integer::Long | Integer::ULong => 1,
        _ => 0,
    };
    let (lower, higher) = if rank(left) < rank(right) {
        (left, right)
    } else {
        (right, left)
    };
    if lower.is_signed() == higher.is_signed() || !higher.is_signed() {
        return higher;
    }
    // The higher one is signed, the lower one unsigned.
    if higher.size() > lower.size() {
        return higher;
    }
    match higher {
        Integer::LongLong => Integer::ULongLong,
        Integer::Long => Integer::ULong,
        _ => Integer::UInt,
    }
}

/// Returns the result of an operator on two promoted operands.
fn binary(op: BinaryOp, left: Constant, right: Constant) -> Result<Constant, ExtentError> {
    if matches!(op, BinaryOp::ShiftLeft | BinaryOp::ShiftRight) {
        let by = u32::try_from(right.value).ok();
        let by = by.filter(|&by| by < left.ctype.bits());
        let by = by.ok_or(ExtentError::Shift { by: right.value })?;
        let value = match op {
            BinaryOp::ShiftLeft => left.value << by,
            _ => left.value >> by,
        };
        return Ok(Constant::wrapped(value, left.ctype));
    }
    let ctype = common(left.ctype, right.ctype);
    let (a, b) = (
        Constant::wrapped(left.value, ctype).value,
        Constant::wrapped(right.value, ctype).value,
    );
    let truth = |is| Ok(Constant::int(i128::from(is)));
    let value = match op {
        // Operands have at most 64 bits, so that the result fits in 128.
        BinaryOp::Multiply => a.wrapping_mul(b),
        BinaryOp::Divide | BinaryOp::Remainder if b == 0 => {
            return Err(ExtentError::DivisionByZero);
        }
        BinaryOp::Divide => a / b,
        BinaryOp::Remainder => a % b,
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::BitAnd => a & b,
        BinaryOp::BitXor => a ^ b,
        BinaryOp::BitOr => a | b,
        BinaryOp::Less => return truth(a < b),
        BinaryOp::LessEqual => return truth(a <= b),
        BinaryOp::Greater => return truth(a > b),
        BinaryOp::GreaterEqual => return truth(a >= b),
        BinaryOp::Equal => return truth(a == b),
        BinaryOp::NotEqual => return truth(a != b),
        BinaryOp::And => return truth(a != 0 && b != 0),
        BinaryOp::Or => return truth(a != 0 || b != 0),
        BinaryOp::ShiftLeft | BinaryOp::ShiftRight => a,
    };
    Ok(Constant::wrapped(value, ctype))
}

impl Reader<'_> {
    /// Returns the value of an integer constant expression.
    pub(super) fn constant(&mut self, expression: &Expression) -> Result<i128> {
        self.typed_constant(expression)
            .map(|constant| constant.value)
    }

    /// Returns the length of an array whose extent must be constant.
    pub(super) fn constant_extent(&mut self, expression: &Expression) -> Result<usize> {
        let value = self.constant(expression).map_err(|error| {
            if matches!(error.kind, Kind::UnknownConstant { .. }) {
                self.error(Kind::VariableLength, expression.span)
            } else {
                error
            }
        })?;
        let length = usize::try_from(value).ok();
        let length = length.filter(|&length| isize::try_from(length).is_ok());
        length.ok_or_else(|| {
            let error = if value < 0 {
                ExtentError::Negative { value }
            } else {
                ExtentError::TooLarge { value }
            };
            self.error(Kind::Constant(error.into()), expression.span)
        })
    }

    fn typed_constant(&mut self, expression: &Expression) -> Result<Constant> {
        let span = expression.span;
        match &expression.kind {
            ExpressionKind::Number => self.number(span),
            ExpressionKind::Character => self.character(span),
            ExpressionKind::Name => self.named_constant(span),
            ExpressionKind::Parenthesized(inner) => self.typed_constant(inner),
            ExpressionKind::Unary(operator, operand) => {
                let operand = self.typed_constant(operand)?.promoted();
                let Constant { value, ctype } = operand;
                Ok(match operator {
                    UnaryOperator::Plus => operand,
                    UnaryOperator::Negate => Constant::wrapped(-value, ctype),
                    UnaryOperator::Complement => Constant::wrapped(!value, ctype),
                    UnaryOperator::Not => Constant::int(i128::from(value == 0)),
                    UnaryOperator::Dereference
                    | UnaryOperator::AddressOf
                    | UnaryOperator::Other => {
                        return Err(self.no_extent(span));
                    }
                })
            }
            ExpressionKind::Binary(first, rest) => {
                let mut left = self.typed_constant(first)?.promoted();
                for (op, operand) in rest {
                    let span = first.span.to(operand.span);
                    // The right side of `0 && ...` and `1 || ...` is not evaluated.
                    let is_decided = match op {
                        BinaryOp::And => left.value == 0,
                        BinaryOp::Or => left.value != 0,
                        _ => false,
                    };
                    left = if is_decided {
                        Constant::int(i128::from(left.value != 0))
                    } else {
                        let right = self.typed_constant(operand)?.promoted();
                        binary(*op, left, right)
                            .map_err(|error| self.error(Kind::Constant(error.into()), span))?
                    };
                }
                Ok(left)
            }
            ExpressionKind::Conditional(parts) => {
                let [condition, then, otherwise] = &**parts;
                let (chosen, other) = if self.typed_constant(condition)?.value == 0 {
                    (otherwise, then)
                } else {
                    (then, otherwise)
                };
                let chosen = self.typed_constant(chosen)?.promoted();
                // The other side gives a type; it may have no value, such as `1 / 0`.
                let ctype = match self.typed_constant(other) {
                    Ok(other) => common(chosen.ctype, other.promoted().ctype),
                    Err(_) => chosen.ctype,
                };
                Ok(Constant::wrapped(chosen.value, ctype))
            }
            ExpressionKind::Cast(name, operand) => {
                let ctype = self.type_name(name)?;
                let value = match self.typed_constant(operand) {
                    Ok(constant) => constant.value,
                    Err(error) => match error.kind {
                        Kind::Fraction { constant } => literal::truncated(&constant)
                            .ok_or_else(|| self.no_extent(operand.span))?,
                        _ => return Err(error),
                    },
                };
                match (ctype.resolved(), ctype.integer()) {
                    (_, Some(integer)) => Ok(Constant::wrapped(value, integer)),
                    (CType::Bool, _) => Ok(Constant::wrapped(
                        i128::from(value != 0),
                        Integer::of_size(size_of::<bool>(), false),
                    )),
                    _ => Err(self.no_extent(span)),
                }
            }
            ExpressionKind::SizeOf(argument) => {
                self.size_of(argument, span, &[]).map(Constant::size)
            }
            ExpressionKind::AlignOf(argument) => {
                self.alignment_of(argument, span, &[]).map(Constant::size)
            }
            ExpressionKind::OffsetOf(name, path) => {
                let ctype = self.type_name(name)?;
                self.offset(ctype, path, span).map(Constant::size)
            }
            ExpressionKind::String(_)
            | ExpressionKind::Index(..)
            | ExpressionKind::Member(..)
            | ExpressionKind::Call(_)
            | ExpressionKind::Other => Err(self.no_extent(span)),
        }
    }

    pub(super) fn named_constant(&self, span: Span) -> Result<Constant> {
        let name = self.text(span);
        let value = match (self.scope.enumerator(name), name) {
            (Some(value), _) => value,
            (None, "true") => 1,
            (None, "false") => 0,
            (None, _) => {
                let name = name.into();
                return Err(self.error(Kind::UnknownConstant { name }, span));
            }
        };
        let types = [Integer::Int, Integer::UInt, Integer::Long, Integer::ULong];
        let ctype = types.into_iter().find(|ctype| ctype.contains(value));
        Ok(Constant::wrapped(value, ctype.unwrap_or(Integer::LongLong)))
    }

    /// Returns the value of an integer constant (C11 6.4.4.1).
    pub(super) fn number(&self, span: Span) -> Result<Constant> {
        let text = self.text(span);
        let lower: String = text
            .chars()
            .filter(|letter| *letter != '\'')
            .map(|letter| letter.to_ascii_lowercase())
            .collect();
        let (digits, radix) = if let Some(digits) = lower.strip_prefix("0x") {
            (digits, 16)
        } else if let Some(digits) = lower.strip_prefix("0b") {
            (digits, 2)
        } else if lower.len() > 1 && lower.starts_with('0') {
            (lower.as_str(), 8)
        } else {
            (lower.as_str(), 10)
        };
        let is_fraction = lower.contains('.')
            || (radix == 16 && lower.contains('p'))
            || (radix != 16 && lower.contains(['e', 'f']));
        if is_fraction {
            let constant = text.into();
            return Err(self.error(Kind::Fraction { constant }, span));
        }
        let end = digits.find(['u', 'l', 'z']).unwrap_or(digits.len());
        let (digits, suffix) = digits.split_at_checked(end).unwrap_or_default();
        let value = i128::from_str_radix(digits, radix).map_err(|_| self.no_extent(span))?;
        let (has_unsigned, longs) = match suffix {
            "" => (false, 0),
            "u" => (true, 0),
            "l" | "z" => (false, 1),
            "ul" | "lu" | "uz" | "zu" => (true, 1),
            "ll" => (false, 2),
            "ull" | "llu" => (true, 2),
            _ => return Err(self.no_extent(span)),
        };
        let types = [
            (Integer::Int, Integer::UInt),
            (Integer::Long, Integer::ULong),
            (Integer::LongLong, Integer::ULongLong),
        ];
        let types = types
            .into_iter()
            .skip(longs)
            .flat_map(|(signed, unsigned)| {
                let signed = (!has_unsigned).then_some(signed);
                // A decimal constant is unsigned only with a suffix.
                let unsigned = (has_unsigned || radix != 10).then_some(unsigned);
                signed.into_iter().chain(unsigned)
            });
        // A constant that is too large for all of them is unsigned to GCC and Clang.
        let ctype = { types }.find(|ctype| ctype.contains(value));
        let ctype = ctype.unwrap_or(Integer::ULongLong);
        Ok(Constant { value, ctype })
    }

    /// Returns the value of a character constant (C11 6.4.4.4); several characters are read as GCC and Clang do.
    pub(super) fn character(&self, span: Span) -> Result<Constant> {
        let text = self.text(span);
        let literal = Literal::read(text).ok_or_else(|| self.no_extent(span))?;
        match (literal.has_prefix, &literal.units[..]) {
            (false, [only]) => {
                let byte = Constant::wrapped(i128::from(*only), Integer::Char);
                Ok(Constant::int(byte.value))
            }
            (false, [_, ..]) => {
                let bytes = literal.units.iter();
                let value = bytes.fold(0, |value: i128, unit| {
                    value.wrapping_shl(8) | i128::from(*unit & 0xff)
                });
                Ok(Constant::int(value))
            }
            (true, [only]) => Ok(Constant::int(i128::from(*only))),
            _ => Err(self.no_extent(span)),
        }
    }

    /// Computes `sizeof`; `parameters` are those whose names it may have.
    pub(super) fn size_of(
        &mut self,
        argument: &TypeOrExpression,
        span: Span,
        parameters: &[(Option<String>, CType)],
    ) -> Result<usize> {
        let ctype = self.argument_type(argument, span, parameters)?;
        ctype.size().ok_or_else(|| self.incomplete(&ctype, span))
    }

    /// Computes `_Alignof`.
    pub(super) fn alignment_of(
        &mut self,
        argument: &TypeOrExpression,
        span: Span,
        parameters: &[(Option<String>, CType)],
    ) -> Result<usize> {
        let ctype = self.argument_type(argument, span, parameters)?;
        ctype
            .alignment()
            .ok_or_else(|| self.incomplete(&ctype, span))
    }

    fn incomplete(&self, ctype: &CType, span: Span) -> crate::PrototypeError {
        let ctype = ctype.to_string();
        self.error(Kind::Incomplete { ctype }, span)
    }

    fn argument_type(
        &mut self,
        argument: &TypeOrExpression,
        span: Span,
        parameters: &[(Option<String>, CType)],
    ) -> Result<CType> {
        match argument {
            TypeOrExpression::Type(name) => self.type_name(name),
            TypeOrExpression::Expression(expression) => {
                match self.expression_type(expression, parameters)? {
                    Some(ctype) => Ok(ctype),
                    None => Err(self.no_extent(span)),
                }
            }
        }
    }

    /// Returns the type of an expression; `None` if it is not known.
    pub(super) fn expression_type(
        &mut self,
        expression: &Expression,
        parameters: &[(Option<String>, CType)],
    ) -> Result<Option<CType>> {
        let member = |operand: Option<CType>, name: &str| {
            let operand = operand?;
            let record = match operand.resolved() {
                CType::Pointer(pointer) => pointer.target.clone(),
                _ => operand,
            };
            member(&record, name).map(|(ctype, _)| ctype)
        };
        Ok(match &expression.kind {
            ExpressionKind::Name => {
                let name = self.text(expression.span);
                let parameter = parameters
                    .iter()
                    .find(|(parameter, _)| parameter.as_deref() == Some(name));
                match parameter {
                    Some((_, ctype)) => Some(ctype.clone()),
                    None => match (self.scope.typedef(name), self.object(name)) {
                        (None, Some((ctype, _))) => Some(ctype),
                        (None, None) => {
                            let constant = self.named_constant(expression.span).ok();
                            constant.map(|constant| CType::Integer(constant.ctype))
                        }
                        (typedef, _) => typedef,
                    },
                }
            }
            ExpressionKind::Parenthesized(inner) => self.expression_type(inner, parameters)?,
            ExpressionKind::String(literals) => {
                let (mut count, mut size) = (1_usize, 1);
                for literal in literals {
                    let Some(literal) = Literal::read(self.text(*literal)) else {
                        return Ok(None);
                    };
                    size = size.max(literal.unit_size);
                    count = count.saturating_add(literal.units.len());
                }
                let item = CType::Integer(Integer::of_size(size, size > 1));
                Some(CType::array(item, Some(count)))
            }
            ExpressionKind::Cast(name, _) => Some(self.type_name(name)?),
            ExpressionKind::Unary(UnaryOperator::Dereference, operand) => {
                target(self.expression_type(operand, parameters)?)
            }
            ExpressionKind::Index(array, _) => target(self.expression_type(array, parameters)?),
            ExpressionKind::Member(operand, name) => {
                let name = self.text(*name);
                member(self.expression_type(operand, parameters)?, name)
            }
            ExpressionKind::Call(function) => {
                let function = self.expression_type(function, parameters)?;
                let called = match function.as_ref().map(CType::resolved) {
                    Some(CType::Pointer(pointer)) => Some(pointer.target.resolved()),
                    other => other,
                };
                match called {
                    Some(CType::Function(function)) => Some(function.returns.clone()),
                    _ => None,
                }
            }
            ExpressionKind::Other => None,
            _ => match self.typed_constant(expression) {
                Ok(constant) => Some(CType::Integer(constant.ctype)),
                Err(error) => match (&expression.kind, error.kind) {
                    (ExpressionKind::Number, Kind::Fraction { constant }) => {
                        Some(CType::Float(literal::float_type(&constant)))
                    }
                    _ => self.computed_type(expression, parameters)?,
                },
            },
        })
    }

    /// Returns the type of an operator's result, whose operands have no constant values.
    fn computed_type(
        &mut self,
        expression: &Expression,
        parameters: &[(Option<String>, CType)],
    ) -> Result<Option<CType>> {
        Ok(match &expression.kind {
            ExpressionKind::Unary(UnaryOperator::AddressOf, operand) => {
                let is_const = self.is_const(operand, parameters)?;
                let target = self.expression_type(operand, parameters)?;
                target.map(|target| CType::pointer_to(target, is_const))
            }
            ExpressionKind::Unary(UnaryOperator::Not, _) => Some(CType::Integer(Integer::Int)),
            ExpressionKind::Unary(UnaryOperator::Other, _) => None,
            ExpressionKind::Unary(_, operand) => {
                let operand = self.expression_type(operand, parameters)?;
                operand.and_then(|operand| arithmetic(&operand, &CType::Integer(Integer::Int)))
            }
            ExpressionKind::Binary(first, rest) => {
                let mut left = self.expression_type(first, parameters)?;
                for (op, operand) in rest {
                    let right = self.expression_type(operand, parameters)?;
                    let (Some(one), Some(other)) = (&left, &right) else {
                        return Ok(None);
                    };
                    let int = CType::Integer(Integer::Int);
                    left = match op {
                        BinaryOp::ShiftLeft | BinaryOp::ShiftRight => arithmetic(one, &int),
                        BinaryOp::Multiply
                        | BinaryOp::Divide
                        | BinaryOp::Remainder
                        | BinaryOp::BitAnd
                        | BinaryOp::BitXor
                        | BinaryOp::BitOr => arithmetic(one, other),
                        BinaryOp::Add | BinaryOp::Subtract => {
                            match (decayed(one), decayed(other)) {
                                (Some(_), Some(_)) => {
                                    Some(CType::Integer(Integer::of_size(size_of::<isize>(), true)))
                                }
                                (None, None) => arithmetic(one, other),
                                (pointer, None) | (None, pointer) => pointer,
                            }
                        }
                        _ => Some(int),
                    };
                }
                left
            }
            ExpressionKind::Conditional(parts) => {
                let [_, then, otherwise] = &**parts;
                let then = self.expression_type(then, parameters)?;
                let otherwise = self.expression_type(otherwise, parameters)?;
                match (then, otherwise) {
                    (Some(one), Some(other)) => arithmetic(&one, &other).or_else(|| {
                        let pointer = decayed(&one);
                        pointer.or_else(|| decayed(&other)).or(Some(one))
                    }),
                    _ => None,
                }
            }
            _ => None,
        })
    }

    /// Returns whether an expression is a `const` object.
    pub(super) fn is_const(
        &mut self,
        expression: &Expression,
        parameters: &[(Option<String>, CType)],
    ) -> Result<bool> {
        Ok(match &expression.kind {
            ExpressionKind::Name => {
                let name = self.text(expression.span);
                self.object(name).is_some_and(|(_, is_const)| is_const)
            }
            ExpressionKind::Parenthesized(inner) => self.is_const(inner, parameters)?,
            ExpressionKind::Unary(UnaryOperator::Dereference, operand)
            | ExpressionKind::Index(operand, _) => {
                match self
                    .expression_type(operand, parameters)?
                    .as_ref()
                    .map(CType::resolved)
                {
                    Some(CType::Pointer(pointer)) => pointer.is_const,
                    Some(CType::Array(_)) => self.is_const(operand, parameters)?,
                    _ => false,
                }
            }
            _ => false,
        })
    }

    /// Returns the offset of a member in bytes.
    fn offset(&mut self, ctype: CType, path: &[Designator], span: Span) -> Result<usize> {
        let (mut ctype, mut offset) = (ctype, 0_usize);
        for designator in path {
            let (inner, by) = match designator {
                Designator::Member(name) => member(&ctype, self.text(*name)),
                Designator::Index(index) => {
                    let index = usize::try_from(self.constant(index)?).ok();
                    let item = target(Some(ctype.clone()));
                    let by = item.as_ref().and_then(CType::size);
                    let by = by.and_then(|size| size.checked_mul(index?));
                    item.zip(by)
                }
            }
            .ok_or_else(|| self.no_extent(span))?;
            ctype = inner;
            offset = offset.saturating_add(by);
        }
        Ok(offset)
    }

    pub(super) fn no_extent(&self, span: Span) -> crate::PrototypeError {
        let expression = self.text(span).into();
        self.error(Kind::Expression { expression }, span)
    }
}

/// Returns the type of the result of arithmetic (C11 6.3.1.8); `None` if an operand is no number.
fn arithmetic(left: &CType, right: &CType) -> Option<CType> {
    let float = |ctype: &CType| match ctype.resolved() {
        CType::Float(float) | CType::Complex(float) => Some(*float),
        _ => None,
    };
    let is_complex = |ctype: &CType| matches!(ctype.resolved(), CType::Complex(_));
    let integer = |ctype: &CType| match ctype.promoted() {
        CType::Integer(integer) => Some(integer),
        _ => None,
    };
    let widest = match (float(left), float(right)) {
        (Some(one), Some(other)) if one.size() < other.size() => Some(other),
        (Some(float), Some(_)) => Some(float),
        (Some(float), None) => integer(right).map(|_| float),
        (None, Some(float)) => integer(left).map(|_| float),
        (None, None) => {
            return Some(CType::Integer(common(integer(left)?, integer(right)?)));
        }
    };
    Some(if is_complex(left) || is_complex(right) {
        CType::Complex(widest?)
    } else {
        CType::Float(widest?)
    })
}

/// Returns a pointer, or the pointer that an array or a function becomes in an expression; `None` for others.
fn decayed(ctype: &CType) -> Option<CType> {
    match ctype.resolved() {
        CType::Pointer(_) => Some(ctype.clone()),
        CType::Array(array) => Some(CType::pointer_to(array.item.clone(), false)),
        CType::Function(_) => Some(CType::pointer_to(ctype.clone(), false)),
        _ => None,
    }
}

/// Returns the type of what a pointer points to, or of the items of an array.
fn target(ctype: Option<CType>) -> Option<CType> {
    match ctype?.resolved() {
        CType::Pointer(pointer) => Some(pointer.target.clone()),
        CType::Array(array) => Some(array.item.clone()),
        _ => None,
    }
}

/// Returns the type of a member, which may be in an unnamed struct or union, and its offset in bytes.
fn member(ctype: &CType, name: &str) -> Option<(CType, usize)> {
    let CType::Record(record) = ctype.resolved() else {
        return None;
    };
    let Body::Complete { members, .. } = &record.body else {
        return None;
    };
    members.iter().find_map(|one| {
        if let Some(known) = &one.name {
            return (known == name).then(|| (one.ctype.clone(), one.offset));
        }
        let (ctype, offset) = member(&one.ctype, name)?;
        Some((ctype, one.offset.checked_add(offset)?))
    })
}
