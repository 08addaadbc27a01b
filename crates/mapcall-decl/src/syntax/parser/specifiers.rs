//! Declaration specifiers: types, structs and enumerations.

use super::declarator::Naming;
use super::{Parser, Result};
use crate::ctype::RecordKind;
use crate::syntax::ast::{
    Alignment, Declarator, EnumSpecifier, Enumerator, MemberDeclaration, MemberDeclarator,
    RecordSpecifier, Specifiers, TypeOrExpression, TypeSpecifier, Words,
};
use crate::syntax::keyword::Keyword;
use crate::syntax::lexer::{Span, TokenKind};

impl Parser<'_, '_> {
    /// Returns whether a declaration begins with the current token.
    pub(super) fn starts_specifiers(&self) -> bool {
        self.starts_type() || self.is_name() || matches!(self.keyword, Some(Keyword::Register))
    }

    /// Returns whether the current token begins a type name.
    pub(super) fn starts_type(&self) -> bool {
        self.is_type_start(self.token.kind, self.token.span)
    }

    pub(super) fn is_type_start(&self, kind: TokenKind, span: Span) -> bool {
        if kind != TokenKind::Identifier {
            return false;
        }
        let name = span.of(self.text);
        match Keyword::of(name) {
            Some(
                Keyword::Alignas
                | Keyword::Atomic
                | Keyword::Attribute
                | Keyword::BitInt
                | Keyword::Char
                | Keyword::Complex
                | Keyword::Const
                | Keyword::Double
                | Keyword::Enum
                | Keyword::Float
                | Keyword::Int
                | Keyword::Long
                | Keyword::NamedArithmetic
                | Keyword::Restrict
                | Keyword::Short
                | Keyword::Signed
                | Keyword::Struct
                | Keyword::Typeof
                | Keyword::Union
                | Keyword::Unsigned
                | Keyword::Void
                | Keyword::Volatile,
            ) => true,
            Some(_) => false,
            None => (self.is_type)(name),
        }
    }

    /// Parses specifiers in any order (C11 6.7, 6.7.2.1).
    pub(super) fn specifiers(&mut self) -> Result<Specifiers> {
        let start = self.token.span;
        let mut specifiers = Specifiers::default();
        loop {
            if self.qualifier(&mut specifiers.qualifiers)
                || self.attributes(&mut specifiers.attributes)?
            {
                continue;
            }
            match self.keyword {
                Some(Keyword::Typedef) => specifiers.is_typedef = true,
                Some(Keyword::Static) => specifiers.is_static = true,
                Some(
                    Keyword::Auto
                    | Keyword::Extern
                    | Keyword::Inline
                    | Keyword::Noreturn
                    | Keyword::Register
                    | Keyword::ThreadLocal,
                ) => {}
                Some(Keyword::Alignas) => {
                    self.advance();
                    let argument = self.type_or_expression()?;
                    specifiers.alignments.push(Alignment { argument });
                    continue;
                }
                _ => {
                    if self.type_specifier(&mut specifiers)? {
                        continue;
                    }
                    break;
                }
            }
            self.advance();
        }
        specifiers.span = start.to(self.previous);
        if specifiers.span.end > self.token.span.start {
            // There are no specifiers.
            specifiers.span = start;
        }
        Ok(specifiers)
    }

    /// Parses one type specifier; returns whether there is one.
    fn type_specifier(&mut self, specifiers: &mut Specifiers) -> Result<bool> {
        if self.word(specifiers) {
            return Ok(true);
        }
        let is_missing = matches!(specifiers.ctype, TypeSpecifier::Missing);
        let span = self.token.span;
        let ctype = match self.keyword {
            Some(Keyword::Struct) => self.record(RecordKind::Struct)?,
            Some(Keyword::Union) => self.record(RecordKind::Union)?,
            Some(Keyword::Enum) => self.enumeration()?,
            Some(Keyword::Typeof) => {
                self.advance();
                let argument = self.type_or_expression()?;
                TypeSpecifier::Typeof(Box::new(argument), span.to(self.previous))
            }
            Some(Keyword::Atomic) => {
                self.advance();
                self.expect(TokenKind::LeftParenthesis)?;
                self.enter()?;
                let name = self.type_name()?;
                self.leave();
                self.expect(TokenKind::RightParenthesis)?;
                TypeSpecifier::Atomic(Box::new(name))
            }
            Some(Keyword::BitInt) => {
                self.advance();
                self.skip_balanced();
                TypeSpecifier::BitInt(span.to(self.previous))
            }
            None if self.is_name() && is_missing => {
                self.advance();
                TypeSpecifier::Name(span)
            }
            // An unknown word before the type, such as a macro that no preprocessor has replaced.
            None if self.is_name() && self.is_behind_unknown(specifiers) => {
                if self.peek().kind != TokenKind::Identifier {
                    return Ok(false);
                }
                self.advance();
                return Ok(true);
            }
            _ => return Ok(false),
        };
        if is_missing {
            specifiers.ctype = ctype;
        } else if !self.is_behind_unknown(specifiers) {
            specifiers.ctype = TypeSpecifier::Words(Words {
                is_contradictory: true,
                span: specifiers.ctype.span().map_or(span, |first| first.to(span)),
                ..Words::default()
            });
        }
        Ok(true)
    }

    /// Returns whether the type so far is a name that is no type.
    fn is_behind_unknown(&self, specifiers: &Specifiers) -> bool {
        matches!(specifiers.ctype, TypeSpecifier::Name(name) if !(self.is_type)(name.of(self.text)))
    }

    /// Parses a word of an arithmetic type; returns whether there is one.
    fn word(&mut self, specifiers: &mut Specifiers) -> bool {
        let mut words = match specifiers.ctype {
            TypeSpecifier::Words(words) => words,
            _ => Words::default(),
        };
        let span = self.token.span;
        match self.keyword {
            Some(Keyword::Long) => {
                words.is_contradictory |= words.longs == 2;
                words.longs = words.longs.saturating_add(1);
            }
            Some(Keyword::Short) => {
                words.is_contradictory |= words.is_short;
                words.is_short = true;
            }
            Some(Keyword::Signed | Keyword::Unsigned) => {
                words.is_contradictory |= words.sign.is_some();
                words.sign = Some(self.is_keyword(Keyword::Signed));
            }
            Some(Keyword::Complex) => words.is_complex = true,
            Some(
                Keyword::Void | Keyword::Char | Keyword::Int | Keyword::Float | Keyword::Double,
            ) => {
                words.is_contradictory |= words.base.is_some();
                words.base = words.base.or(Some(span));
            }
            // The name of a declaration if it follows a type.
            Some(Keyword::NamedArithmetic)
                if words.base.is_none()
                    && matches!(
                        specifiers.ctype,
                        TypeSpecifier::Missing | TypeSpecifier::Words(_)
                    ) =>
            {
                words.base = Some(span);
            }
            // A macro of <complex.h>, which may be a name in other texts.
            None if self.token_text() == "complex" && self.is_beside_float(&words) => {
                words.is_complex = true;
            }
            _ => return false,
        }
        match &specifiers.ctype {
            TypeSpecifier::Missing => {
                words.span = span;
                specifiers.ctype = TypeSpecifier::Words(words);
            }
            TypeSpecifier::Words(_) => {
                words.span = words.span.to(span);
                specifiers.ctype = TypeSpecifier::Words(words);
            }
            _ if self.is_behind_unknown(specifiers) => {}
            other => {
                words.is_contradictory = true;
                words.span = other.span().map_or(span, |first| first.to(span));
                specifiers.ctype = TypeSpecifier::Words(words);
            }
        }
        self.advance();
        true
    }

    /// Returns whether a floating type stands before or behind the current token.
    fn is_beside_float(&self, words: &Words) -> bool {
        let is_float = |text| {
            matches!(
                Keyword::of(text),
                Some(Keyword::Float | Keyword::Double | Keyword::Long)
            )
        };
        words.base.is_some_and(|base| is_float(base.of(self.text)))
            || words.longs > 0
            || is_float(self.peek().span.of(self.text))
    }

    fn type_or_expression(&mut self) -> Result<TypeOrExpression> {
        self.expect(TokenKind::LeftParenthesis)?;
        self.enter()?;
        let argument = if self.starts_type() {
            TypeOrExpression::Type(self.type_name()?)
        } else {
            TypeOrExpression::Expression(self.expression()?)
        };
        self.leave();
        self.expect(TokenKind::RightParenthesis)?;
        Ok(argument)
    }

    /// Parses the tag behind `struct`, `union` or `enum`.
    fn tag(&mut self) -> Option<Span> {
        let tag = self.is_name().then_some(self.token.span);
        if tag.is_some() {
            self.advance();
        }
        tag
    }

    fn record(&mut self, kind: RecordKind) -> Result<TypeSpecifier> {
        let start = self.token.span;
        self.advance();
        let mut attributes = Vec::new();
        self.attributes(&mut attributes)?;
        let tag = self.tag();
        let mut members = None;
        if self.is(TokenKind::LeftBrace) {
            self.enter()?;
            self.advance();
            let mut list = Vec::new();
            while !self.is(TokenKind::RightBrace) {
                if self.accept(TokenKind::Semicolon) {
                } else if self.is_keyword(Keyword::StaticAssert) {
                    self.static_assertion()?;
                } else {
                    list.push(self.member()?);
                }
            }
            members = Some(list);
            self.leave();
        }
        // The pragmas in the definition count.
        let pack_limit = self.packing.limit();
        if members.is_some() {
            self.advance();
        } else if tag.is_none() {
            return Err(self.expected("the members of a struct"));
        }
        let span = start.to(self.previous);
        if members.is_some() {
            self.attributes(&mut attributes)?;
        }
        Ok(TypeSpecifier::Record(Box::new(RecordSpecifier {
            kind,
            tag,
            members,
            attributes,
            pack_limit,
            span,
        })))
    }

    /// Parses a declaration of members (C11 6.7.2.1).
    fn member(&mut self) -> Result<MemberDeclaration> {
        let specifiers = self.specifiers()?;
        if matches!(specifiers.ctype, TypeSpecifier::Missing) {
            return Err(self.expected("a member"));
        }
        let mut declarators = Vec::new();
        while !self.is(TokenKind::Semicolon) {
            let mut attributes = Vec::new();
            self.attributes(&mut attributes)?;
            let mut declarator = if self.is(TokenKind::Colon) {
                Declarator::default()
            } else {
                self.declarator(Naming::Named)?
            };
            let width = if self.accept(TokenKind::Colon) {
                Some(self.expression()?)
            } else {
                None
            };
            self.attributes(&mut attributes)?;
            declarator.attributes.append(&mut attributes);
            declarators.push(MemberDeclarator { declarator, width });
            if !self.accept(TokenKind::Comma) {
                break;
            }
        }
        self.expect(TokenKind::Semicolon)?;
        Ok(MemberDeclaration {
            specifiers,
            declarators,
        })
    }

    fn enumeration(&mut self) -> Result<TypeSpecifier> {
        let start = self.token.span;
        self.advance();
        let mut attributes = Vec::new();
        self.attributes(&mut attributes)?;
        let tag = self.tag();
        // The type of an enumeration, or the width of an unnamed bit-field.
        let next = self.peek();
        let mut underlying = None;
        if self.is(TokenKind::Colon) && self.is_type_start(next.kind, next.span) {
            self.advance();
            self.enter()?;
            underlying = Some(self.type_name()?);
            self.leave();
        }
        let mut enumerators = None;
        if self.accept(TokenKind::LeftBrace) {
            let mut list = Vec::new();
            while !self.is(TokenKind::RightBrace) {
                list.push(self.enumerator()?);
                if !self.accept(TokenKind::Comma) {
                    break;
                }
            }
            self.expect(TokenKind::RightBrace)?;
            enumerators = Some(list);
        } else if tag.is_none() {
            return Err(self.expected("the enumerators of an enum"));
        }
        let span = start.to(self.previous);
        if enumerators.is_some() {
            self.attributes(&mut attributes)?;
        }
        Ok(TypeSpecifier::Enum(Box::new(EnumSpecifier {
            tag,
            underlying,
            enumerators,
            attributes,
            span,
        })))
    }

    fn enumerator(&mut self) -> Result<Enumerator> {
        if !self.is_name() {
            return Err(self.expected("an enumerator"));
        }
        let name = self.token.span;
        self.advance();
        let mut attributes = Vec::new();
        self.attributes(&mut attributes)?;
        let value = if self.accept(TokenKind::Equals) {
            Some(self.expression()?)
        } else {
            None
        };
        Ok(Enumerator {
            name,
            value,
            attributes,
            span: name.to(self.previous),
        })
    }
}
