//! Expressions (C11 6.5, 6.6).

use super::{Parser, Result};
use crate::extent::BinaryOp;
use crate::syntax::ast::{Designator, Expression, ExpressionKind, TypeOrExpression, UnaryOperator};
use crate::syntax::keyword::Keyword;
use crate::syntax::lexer::{Span, TokenKind};

/// The precedence of the operator that binds least.
const LEAST: u8 = 1;

impl Parser<'_, '_> {
    /// Parses an expression without commas.
    pub(super) fn expression(&mut self) -> Result<Expression> {
        let condition = self.binary(LEAST)?;
        if self.accept(TokenKind::Question) {
            self.enter()?;
            // GNU C lets the middle be left out.
            let then = if self.is(TokenKind::Colon) {
                None
            } else {
                Some(self.comma_expression()?)
            };
            self.expect(TokenKind::Colon)?;
            let otherwise = self.expression()?;
            self.leave();
            let span = condition.span.to(self.previous);
            let kind = match then {
                Some(then) => ExpressionKind::Conditional(Box::new([condition, then, otherwise])),
                None => ExpressionKind::Other,
            };
            return Ok(Expression { kind, span });
        }
        if self.is(TokenKind::Equals) || self.is(TokenKind::Assign) {
            self.advance();
            self.enter()?;
            self.expression()?;
            self.leave();
            return Ok(self.other(condition.span));
        }
        Ok(condition)
    }

    fn comma_expression(&mut self) -> Result<Expression> {
        let first = self.expression()?;
        if !self.is(TokenKind::Comma) {
            return Ok(first);
        }
        while self.accept(TokenKind::Comma) {
            self.expression()?;
        }
        Ok(self.other(first.span))
    }

    /// Returns an expression that is no integer constant, up to the last token.
    fn other(&self, start: Span) -> Expression {
        Expression {
            kind: ExpressionKind::Other,
            span: start.to(self.previous),
        }
    }

    /// Parses operators that bind at least as strongly as a precedence.
    fn binary(&mut self, min: u8) -> Result<Expression> {
        let mut left = self.unary()?;
        while let Some(first) = self.operator().filter(|op| op.precedence() >= min) {
            let precedence = first.precedence();
            let mut rest = Vec::new();
            while let Some(op) = self.operator().filter(|op| op.precedence() == precedence) {
                self.advance();
                rest.push((op, self.binary(precedence + 1)?));
            }
            let span = left.span.to(self.previous);
            let kind = ExpressionKind::Binary(Box::new(left), rest);
            left = Expression { kind, span };
        }
        Ok(left)
    }

    fn operator(&self) -> Option<BinaryOp> {
        self.token.kind.symbol().and_then(BinaryOp::from_symbol)
    }

    fn unary(&mut self) -> Result<Expression> {
        let start = self.token.span;
        let operator = match self.token.kind {
            TokenKind::Plus => UnaryOperator::Plus,
            TokenKind::Minus => UnaryOperator::Negate,
            TokenKind::Not => UnaryOperator::Not,
            TokenKind::Tilde => UnaryOperator::Complement,
            TokenKind::Star => UnaryOperator::Dereference,
            TokenKind::Ampersand => UnaryOperator::AddressOf,
            TokenKind::And | TokenKind::Increment | TokenKind::Decrement => UnaryOperator::Other,
            TokenKind::LeftParenthesis => return self.parenthesized(),
            _ => {
                return match self.keyword {
                    Some(Keyword::Extension) => {
                        self.advance();
                        self.enter()?;
                        let operand = self.unary()?;
                        self.leave();
                        Ok(operand)
                    }
                    Some(Keyword::Sizeof | Keyword::Alignof) => self.size_of(),
                    _ => self.postfix(),
                };
            }
        };
        self.advance();
        self.enter()?;
        let operand = self.unary()?;
        self.leave();
        Ok(Expression {
            kind: ExpressionKind::Unary(operator, Box::new(operand)),
            span: start.to(self.previous),
        })
    }

    /// Parses a cast, a compound literal, a statement expression, or an expression in parentheses.
    fn parenthesized(&mut self) -> Result<Expression> {
        let start = self.token.span;
        self.enter()?;
        if self.peek().kind == TokenKind::LeftBrace {
            self.skip_balanced();
            self.leave();
            return Ok(self.other(start));
        }
        self.advance();
        if !self.starts_type() {
            let inner = self.comma_expression()?;
            self.expect(TokenKind::RightParenthesis)?;
            self.leave();
            return self.postfix_of(Expression {
                kind: ExpressionKind::Parenthesized(Box::new(inner)),
                span: start.to(self.previous),
            });
        }
        let name = self.type_name()?;
        self.expect(TokenKind::RightParenthesis)?;
        if self.is(TokenKind::LeftBrace) {
            self.skip_balanced();
            self.leave();
            let literal = self.other(start);
            return self.postfix_of(literal);
        }
        let operand = self.unary()?;
        self.leave();
        Ok(Expression {
            kind: ExpressionKind::Cast(Box::new(name), Box::new(operand)),
            span: start.to(self.previous),
        })
    }

    /// Parses `sizeof` and `_Alignof`.
    fn size_of(&mut self) -> Result<Expression> {
        let start = self.token.span;
        let is_size = self.is_keyword(Keyword::Sizeof);
        self.advance();
        self.enter()?;
        let next = self.peek();
        let is_type =
            self.is(TokenKind::LeftParenthesis) && self.is_type_start(next.kind, next.span);
        let argument = if is_type {
            self.advance();
            let name = self.type_name()?;
            self.expect(TokenKind::RightParenthesis)?;
            if self.is(TokenKind::LeftBrace) {
                self.skip_balanced();
                let literal = self.other(start);
                TypeOrExpression::Expression(self.postfix_of(literal)?)
            } else {
                TypeOrExpression::Type(name)
            }
        } else {
            TypeOrExpression::Expression(self.unary()?)
        };
        self.leave();
        let argument = Box::new(argument);
        let kind = if is_size {
            ExpressionKind::SizeOf(argument)
        } else {
            ExpressionKind::AlignOf(argument)
        };
        Ok(Expression {
            kind,
            span: start.to(self.previous),
        })
    }

    fn postfix(&mut self) -> Result<Expression> {
        let span = self.token.span;
        let kind = match (self.token.kind, self.keyword) {
            (TokenKind::Number, _) => ExpressionKind::Number,
            (TokenKind::Character, _) => ExpressionKind::Character,
            (TokenKind::String, _) => {
                let mut strings = Vec::new();
                while self.is(TokenKind::String) {
                    strings.push(self.token.span);
                    self.advance();
                }
                return self.postfix_of(Expression {
                    kind: ExpressionKind::String(strings),
                    span: span.to(self.previous),
                });
            }
            (_, Some(Keyword::Offsetof)) if self.peek().kind == TokenKind::LeftParenthesis => {
                return self.offset_of();
            }
            (_, Some(Keyword::Generic)) => {
                self.advance();
                self.skip_balanced();
                return Ok(self.other(span));
            }
            (TokenKind::Identifier, None | Some(Keyword::Offsetof)) => ExpressionKind::Name,
            _ => return Err(self.expected("an expression")),
        };
        self.advance();
        self.postfix_of(Expression { kind, span })
    }

    /// Parses what follows an operand: an index, a call, a member.
    fn postfix_of(&mut self, operand: Expression) -> Result<Expression> {
        let mut operand = operand;
        // Each step is one level of the tree.
        let depth = self.depth;
        loop {
            let start = operand.span;
            match self.token.kind {
                TokenKind::LeftBracket => {
                    self.enter()?;
                    self.advance();
                    let index = self.comma_expression()?;
                    self.expect(TokenKind::RightBracket)?;
                    operand = Expression {
                        kind: ExpressionKind::Index(Box::new(operand), Box::new(index)),
                        span: start.to(self.previous),
                    };
                }
                TokenKind::LeftParenthesis => {
                    self.enter()?;
                    self.skip_balanced();
                    operand = Expression {
                        kind: ExpressionKind::Call(Box::new(operand)),
                        span: start.to(self.previous),
                    };
                }
                TokenKind::Dot | TokenKind::Arrow => {
                    self.enter()?;
                    self.advance();
                    if !self.is_name() {
                        return Err(self.expected("the name of a member"));
                    }
                    let member = self.token.span;
                    self.advance();
                    operand = Expression {
                        kind: ExpressionKind::Member(Box::new(operand), member),
                        span: start.to(member),
                    };
                }
                TokenKind::Increment | TokenKind::Decrement => {
                    self.advance();
                    operand = self.other(start);
                }
                _ => {
                    self.depth = depth;
                    return Ok(operand);
                }
            }
        }
    }

    /// Parses `__builtin_offsetof(type, member.inner[index])`.
    fn offset_of(&mut self) -> Result<Expression> {
        let start = self.token.span;
        self.advance();
        self.enter()?;
        self.expect(TokenKind::LeftParenthesis)?;
        let name = self.type_name()?;
        self.expect(TokenKind::Comma)?;
        let mut path = Vec::new();
        loop {
            if !self.is_name() {
                return Err(self.expected("the name of a member"));
            }
            path.push(Designator::Member(self.token.span));
            self.advance();
            while self.accept(TokenKind::LeftBracket) {
                path.push(Designator::Index(self.comma_expression()?));
                self.expect(TokenKind::RightBracket)?;
            }
            if !self.accept(TokenKind::Dot) {
                break;
            }
        }
        self.expect(TokenKind::RightParenthesis)?;
        self.leave();
        Ok(Expression {
            kind: ExpressionKind::OffsetOf(Box::new(name), path),
            span: start.to(self.previous),
        })
    }
}
