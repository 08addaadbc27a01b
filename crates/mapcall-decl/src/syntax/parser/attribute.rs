//! Attributes in all their notations.

use super::{Parser, Result};
use crate::syntax::ast::{Argument, Attribute};
use crate::syntax::keyword::Keyword;
use crate::syntax::lexer::TokenKind;

impl Parser<'_, '_> {
    /// Parses all attributes at this position; returns whether there are any.
    pub(super) fn attributes(&mut self, attributes: &mut Vec<Attribute>) -> Result<bool> {
        let mut any = false;
        loop {
            match self.keyword {
                Some(Keyword::Attribute) => self.gnu_attributes(attributes)?,
                Some(Keyword::Declspec) => self.microsoft_attributes(attributes)?,
                Some(Keyword::NamedAttribute) => self.named_attribute(attributes)?,
                Some(Keyword::Extension) => self.advance(),
                _ if self.is_double_bracket() => self.standard_attributes(attributes)?,
                _ => return Ok(any),
            }
            any = true;
        }
    }

    /// `__attribute__((packed, aligned(4)))`
    fn gnu_attributes(&mut self, attributes: &mut Vec<Attribute>) -> Result<()> {
        self.advance();
        self.expect(TokenKind::LeftParenthesis)?;
        self.expect(TokenKind::LeftParenthesis)?;
        loop {
            if self.is(TokenKind::Identifier) {
                let attribute = self.attribute()?;
                attributes.push(attribute);
            } else if !self.accept(TokenKind::Comma) {
                break;
            }
        }
        self.expect(TokenKind::RightParenthesis)?;
        self.expect(TokenKind::RightParenthesis)
    }

    /// `[[deprecated, gnu::aligned(4)]]`
    fn standard_attributes(&mut self, attributes: &mut Vec<Attribute>) -> Result<()> {
        self.advance();
        self.advance();
        loop {
            if self.is(TokenKind::Identifier) {
                let first = self.token.span;
                let has_namespace = self.peek().kind == TokenKind::DoubleColon;
                if has_namespace {
                    self.advance();
                    self.advance();
                    if !self.is(TokenKind::Identifier) {
                        return Err(self.expected("the name of an attribute"));
                    }
                }
                let attribute = self.attribute()?;
                attributes.push(Attribute {
                    namespace: has_namespace.then_some(first),
                    is_standard: true,
                    span: first.to(attribute.span),
                    ..attribute
                });
            } else if !self.accept(TokenKind::Comma) {
                break;
            }
        }
        self.expect(TokenKind::RightBracket)?;
        self.expect(TokenKind::RightBracket)
    }

    /// `__declspec(dllimport align(16))`
    fn microsoft_attributes(&mut self, attributes: &mut Vec<Attribute>) -> Result<()> {
        self.advance();
        self.expect(TokenKind::LeftParenthesis)?;
        while self.is(TokenKind::Identifier) {
            let attribute = self.attribute()?;
            attributes.push(attribute);
        }
        self.expect(TokenKind::RightParenthesis)
    }

    /// A word such as `_Nullable`; only those that give bounds have arguments.
    fn named_attribute(&mut self, attributes: &mut Vec<Attribute>) -> Result<()> {
        let name = self.token.span;
        let has_arguments = ["__counted", "__sized", "__ended"]
            .iter()
            .any(|start| self.token_text().starts_with(start));
        let attribute = if has_arguments {
            self.attribute()?
        } else {
            self.advance();
            Attribute {
                namespace: None,
                name,
                arguments: Vec::new(),
                is_standard: false,
                span: name,
            }
        };
        attributes.push(attribute);
        Ok(())
    }

    /// Parses the name and the arguments of an attribute.
    fn attribute(&mut self) -> Result<Attribute> {
        let name = self.token.span;
        self.advance();
        let mut arguments = Vec::new();
        if self.accept(TokenKind::LeftParenthesis) {
            while !self.is(TokenKind::RightParenthesis) {
                arguments.push(self.argument()?);
                if !self.accept(TokenKind::Comma) {
                    break;
                }
            }
            self.expect(TokenKind::RightParenthesis)?;
        }
        Ok(Attribute {
            namespace: None,
            name,
            arguments,
            is_standard: false,
            span: name.to(self.previous),
        })
    }

    /// Parses an argument, which may be any text in balanced parentheses.
    fn argument(&mut self) -> Result<Argument> {
        let (start, depth, before) = (self.token.span, self.depth, self.before);
        let mut expression = match self.expression() {
            Ok(expression) => Some(expression),
            // An outer argument is not parsed again either, so that the time is linear.
            Err(error) if self.is_lost => return Err(error),
            Err(_) => None,
        };
        if !self.is(TokenKind::Comma) && !self.is(TokenKind::RightParenthesis) {
            expression = None;
        }
        if expression.is_none() {
            self.depth = depth;
            self.lexer = before;
            self.advance();
            while !self.is(TokenKind::Comma) && !self.is(TokenKind::RightParenthesis) {
                if matches!(
                    self.token.kind,
                    TokenKind::Semicolon | TokenKind::RightBrace | TokenKind::End
                ) {
                    self.is_lost = true;
                    return Err(self.expected("`)`"));
                }
                self.skip_balanced();
            }
        }
        Ok(Argument {
            expression,
            span: start.to(self.previous),
        })
    }
}
