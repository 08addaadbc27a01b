//! Declarators, parameters and type names.

use super::{Parser, Result};
use crate::error::PrototypeErrorKind as Kind;
use crate::syntax::ast::{
    ArraySize, Declarator, Derivation, ParameterDeclaration, Parameters, Qualifiers, TypeName,
};
use crate::syntax::keyword::Keyword;
use crate::syntax::lexer::{Lexer, Span, TokenKind};
use crate::syntax::parser::MAX_DEPTH;

/// Whether a declarator has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// It declares a name.
    Named,
    /// It has no name: that of a type name.
    Abstract,
    /// It may have a name: that of a parameter.
    Either,
}

impl Parser<'_, '_> {
    pub(super) fn declarator(&mut self, naming: Naming) -> Result<Declarator> {
        let mut attributes = Vec::new();
        self.attributes(&mut attributes)?;
        let mut pointers = Vec::new();
        while self.accept(TokenKind::Star) {
            let mut qualifiers = Qualifiers::default();
            let mut attributes = Vec::new();
            while self.qualifier(&mut qualifiers) || self.attributes(&mut attributes)? {}
            pointers.push(Derivation::Pointer {
                qualifiers,
                attributes,
            });
            self.check_length(pointers.len())?;
        }
        let direct = self.token.span;
        let mut inner = Declarator::default();
        if self.is_name() && naming != Naming::Abstract {
            inner.name = Some(self.token.span);
            self.advance();
            self.attributes(&mut inner.attributes)?;
        } else if self.is(TokenKind::LeftParenthesis)
            && (naming == Naming::Named || self.starts_nested_declarator())
        {
            self.enter()?;
            self.advance();
            // GCC and Clang take attributes behind the parenthesis: `void *(__attribute__((malloc)) *f)(int)`.
            self.attributes(&mut attributes)?;
            inner = self.declarator(naming)?;
            self.expect(TokenKind::RightParenthesis)?;
            self.leave();
        } else if naming == Naming::Named {
            return Err(self.expected("a name"));
        }
        let mut suffixes = Vec::new();
        while let Some(mut suffix) = self.suffix(direct)? {
            match &mut suffix {
                Derivation::Array { attributes, .. } | Derivation::Function { attributes, .. } => {
                    while self.is_double_bracket() {
                        self.attributes(attributes)?;
                    }
                }
                Derivation::Pointer { .. } => {}
            }
            suffixes.push(suffix);
            self.check_length(suffixes.len())?;
        }
        let mut derivations = pointers;
        derivations.extend(suffixes.into_iter().rev());
        derivations.append(&mut inner.derivations);
        self.check_length(derivations.len())?;
        attributes.append(&mut inner.attributes);
        Ok(Declarator {
            derivations,
            attributes,
            ..inner
        })
    }

    fn check_length(&self, length: usize) -> Result<()> {
        if length > MAX_DEPTH {
            return Err(self.error_here(Kind::TooDeep { limit: MAX_DEPTH }));
        }
        Ok(())
    }

    /// Returns whether a parenthesis of a declarator that may have no name encloses another declarator, and not
    /// parameters (C11 6.7.6.3, paragraph 11).
    fn starts_nested_declarator(&self) -> bool {
        let mut ahead = self.lexer;
        let next = ahead.next_token();
        match next.kind {
            TokenKind::Star | TokenKind::LeftParenthesis => true,
            TokenKind::LeftBracket => ahead.next_token().kind != TokenKind::LeftBracket,
            TokenKind::Identifier => {
                let name = next.span.of(self.text);
                match Keyword::of(name) {
                    Some(Keyword::NamedAttribute) => true,
                    // `int (__attribute__((x)) *f)(int)`, or the first parameter's.
                    Some(Keyword::Attribute) => {
                        let is_open = ahead.next_token().kind == TokenKind::LeftParenthesis;
                        is_open && self.is_star_behind_parentheses(ahead)
                    }
                    Some(_) => false,
                    None => !(self.is_type)(name),
                }
            }
            _ => false,
        }
    }

    /// Returns whether `*` follows the parenthesis that a lexer has just read, and all that is in it.
    fn is_star_behind_parentheses(&self, mut ahead: Lexer<'_>) -> bool {
        let mut open = 1_usize;
        while open > 0 {
            match ahead.next_token().kind {
                TokenKind::LeftParenthesis => open += 1,
                TokenKind::RightParenthesis => open -= 1,
                TokenKind::End | TokenKind::Semicolon => return false,
                _ => {}
            }
        }
        let next = ahead.next_token();
        let is_attribute = Keyword::of(next.span.of(self.text)) == Some(Keyword::Attribute);
        if is_attribute && ahead.next_token().kind == TokenKind::LeftParenthesis {
            return self.is_star_behind_parentheses(ahead);
        }
        next.kind == TokenKind::Star
    }

    /// Parses one type qualifier; returns whether there is one.
    pub(super) fn qualifier(&mut self, qualifiers: &mut Qualifiers) -> bool {
        match self.keyword {
            Some(Keyword::Const) => qualifiers.is_const = true,
            Some(Keyword::Restrict) => qualifiers.is_restrict = true,
            Some(Keyword::Volatile) => {}
            Some(Keyword::Atomic) if self.peek().kind != TokenKind::LeftParenthesis => {
                qualifiers.is_atomic = true;
            }
            _ => return false,
        }
        self.advance();
        true
    }

    /// Parses the array or the parameters behind a declarator that starts at a position.
    fn suffix(&mut self, start: Span) -> Result<Option<Derivation>> {
        if self.is(TokenKind::LeftParenthesis) {
            let parameters = self.parameters()?;
            return Ok(Some(Derivation::Function {
                parameters,
                attributes: Vec::new(),
                span: start.to(self.previous),
            }));
        }
        if !self.is(TokenKind::LeftBracket) || self.is_double_bracket() {
            return Ok(None);
        }
        self.advance();
        let mut qualifiers = Qualifiers::default();
        let mut attributes = Vec::new();
        loop {
            if self.is_keyword(Keyword::Static) {
                self.advance();
            } else if !self.qualifier(&mut qualifiers) && !self.attributes(&mut attributes)? {
                break;
            }
        }
        let size = if self.is(TokenKind::RightBracket) {
            ArraySize::Missing
        } else if self.is(TokenKind::Star) && self.peek().kind == TokenKind::RightBracket {
            self.advance();
            ArraySize::Star
        } else {
            ArraySize::Expression(Box::new(self.expression()?))
        };
        self.expect(TokenKind::RightBracket)?;
        Ok(Some(Derivation::Array {
            size,
            qualifiers,
            attributes,
            span: start.to(self.previous),
        }))
    }

    fn parameters(&mut self) -> Result<Parameters> {
        self.enter()?;
        let start = self.token.span;
        self.advance();
        let mut parameters = Parameters::default();
        while !self.is(TokenKind::RightParenthesis) {
            if self.is(TokenKind::Ellipsis) {
                parameters.ellipsis = Some(self.token.span);
                self.advance();
                break;
            }
            let first = self.token.span;
            let specifiers = self.specifiers()?;
            let mut declarator = self.declarator(Naming::Either)?;
            self.attributes(&mut declarator.attributes)?;
            parameters.list.push(ParameterDeclaration {
                specifiers,
                declarator,
                span: first.to(self.previous),
            });
            if !self.accept(TokenKind::Comma) {
                break;
            }
        }
        if self.is(TokenKind::RightParenthesis) {
            self.advance();
        } else if self.is(TokenKind::End) {
            return Err(self.expected("`)`"));
        } else {
            return Err(self.expected("a C declaration"));
        }
        self.leave();
        parameters.span = start.to(self.previous);
        Ok(parameters)
    }

    pub(super) fn type_name(&mut self) -> Result<TypeName> {
        let start = self.token.span;
        let specifiers = self.specifiers()?;
        let declarator = self.declarator(Naming::Abstract)?;
        Ok(TypeName {
            specifiers,
            declarator,
            span: start.to(self.previous),
        })
    }
}
