//! Parses declarations by recursive descent (C11 Annex A.2, C23, GNU C).
//!
//! The time is linear in the length of the text, and the depth of the tree is bounded.

mod attribute;
mod declarator;
mod expression;
mod specifiers;

use super::ast::{Declaration, Declarator, Derivation, ParameterDeclaration, TypeSpecifier};
use super::keyword::Keyword;
use super::lexer::{Lexer, Span, Token, TokenKind};
use super::packing::Packing;
use crate::error::PrototypeErrorKind as Kind;
use declarator::Naming;

/// The maximum nesting of types and expressions, so that no text can overflow the stack.
pub(crate) const MAX_DEPTH: usize = 64;

/// The longest token that an error shows, in bytes.
const MAX_SHOWN: usize = 40;

/// The error of a declaration, and its position in the text.
#[derive(Clone, Debug)]
pub(crate) struct SyntaxError {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
    /// The function that the declaration most likely declares.
    pub(crate) function: Option<Span>,
}

type Result<T, E = SyntaxError> = std::result::Result<T, E>;

/// The declarations of a text, one after the other.
///
/// An error costs the declaration that it is in: the next one begins behind its `;` or `}`.
#[derive(Clone)]
pub(crate) struct Declarations<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    packing: Packing,
    /// The position up to which pragmas have been applied; a part of the text may be read twice.
    packed_until: usize,
    /// The number of open `extern "C" {`.
    linkages: usize,
}

impl<'t> Declarations<'t> {
    /// Returns the declarations of a text before which `#pragma pack` has left a state.
    pub(crate) fn new(text: &'t str, packing: Packing) -> Self {
        Self {
            text,
            lexer: Lexer::new(text),
            packing,
            packed_until: 0,
            linkages: 0,
        }
    }

    /// Returns the next declaration; `None` at the end of the text. `is_type` returns whether a name is that of a
    /// type.
    pub(crate) fn next(&mut self, is_type: &dyn Fn(&str) -> bool) -> Option<Result<Declaration>> {
        let mut parser = Parser::new(self, is_type);
        let item = parser.item();
        self.lexer = parser.before;
        item
    }
}

/// The parser of one declaration.
struct Parser<'a, 't> {
    text: &'t str,
    lexer: Lexer<'t>,
    /// The lexer before the current token.
    before: Lexer<'t>,
    /// The current token, and the keyword that it is.
    token: Token,
    keyword: Option<Keyword>,
    /// The token before.
    previous: Span,
    packing: &'a mut Packing,
    packed_until: &'a mut usize,
    linkages: &'a mut usize,
    depth: usize,
    /// Whether the end of a parenthesis is missing, or too far inside: no part of the declaration is parsed in
    /// another way then.
    is_lost: bool,
    is_type: &'a dyn Fn(&str) -> bool,
}

/// The tokens.
impl<'a, 't> Parser<'a, 't> {
    fn new(declarations: &'a mut Declarations<'t>, is_type: &'a dyn Fn(&str) -> bool) -> Self {
        let token = Token {
            kind: TokenKind::End,
            span: Span::default(),
        };
        let mut parser = Self {
            text: declarations.text,
            lexer: declarations.lexer,
            before: declarations.lexer,
            token,
            keyword: None,
            previous: Span::default(),
            packing: &mut declarations.packing,
            packed_until: &mut declarations.packed_until,
            linkages: &mut declarations.linkages,
            depth: 0,
            is_lost: false,
            is_type,
        };
        parser.advance();
        parser
    }

    /// Goes on to the next token; line markers and pragmas are no tokens of the grammar.
    fn advance(&mut self) {
        self.previous = self.token.span;
        loop {
            self.before = self.lexer;
            self.token = self.lexer.next_token();
            self.keyword = match self.token.kind {
                TokenKind::Identifier => Keyword::of(self.token_text()),
                _ => None,
            };
            match self.token.kind {
                TokenKind::LineMarker => {}
                TokenKind::Pragma => self.apply_pragma(Packing::apply),
                TokenKind::Directive if self.is_harmless_directive() => {}
                _ if self.keyword == Some(Keyword::PragmaOperator) => self.pragma_operator(),
                _ => return,
            }
        }
    }

    fn apply_pragma(&mut self, apply: impl FnOnce(&mut Packing, &str)) {
        let range = self.token.span.range();
        if range.start >= *self.packed_until {
            apply(self.packing, self.token_text());
            *self.packed_until = range.end;
        }
    }

    /// Applies `_Pragma("pack(1)")` (C11 6.10.9), whose argument has no escape sequences if it is `pack`.
    fn pragma_operator(&mut self) {
        let mut ahead = self.lexer;
        let is_open = ahead.next_token().kind == TokenKind::LeftParenthesis;
        let string = ahead.next_token();
        let is_closed = ahead.next_token().kind == TokenKind::RightParenthesis;
        if is_open && string.kind == TokenKind::String && is_closed {
            self.token = string;
            let unquoted = |text: &str| text.trim_matches('"').to_owned();
            self.apply_pragma(|packing, text| packing.apply_pragma(&unquoted(text)));
            self.lexer = ahead;
        }
    }

    /// Returns whether the declarations are the same without the directive: definitions of macros, and
    /// includes of headers whose types are known.
    fn is_harmless_directive(&self) -> bool {
        let text = self.token_text();
        let text = text.strip_prefix("%:").or(text.strip_prefix('#'));
        let keyword = text.unwrap_or_default().trim_start();
        let end = keyword.find(|letter: char| !letter.is_ascii_alphabetic());
        let keyword = keyword.get(..end.unwrap_or(keyword.len()));
        matches!(
            keyword.unwrap_or_default(),
            "" | "define" | "undef" | "include" | "ident" | "sccs" | "warning"
        )
    }

    fn token_text(&self) -> &'t str {
        self.token.span.of(self.text)
    }

    fn is(&self, kind: TokenKind) -> bool {
        self.token.kind == kind
    }

    fn is_keyword(&self, keyword: Keyword) -> bool {
        self.keyword == Some(keyword)
    }

    /// Returns whether the token is a name, not a keyword; `_Float32` and its like may be declared.
    fn is_name(&self) -> bool {
        self.is(TokenKind::Identifier)
            && matches!(
                self.keyword,
                None | Some(Keyword::NamedArithmetic | Keyword::Offsetof)
            )
    }

    /// Returns the next token.
    fn peek(&self) -> Token {
        let mut ahead = self.lexer;
        loop {
            let token = ahead.next_token();
            if !matches!(token.kind, TokenKind::LineMarker | TokenKind::Pragma) {
                return token;
            }
        }
    }

    /// Skips a token if it is of a kind.
    fn accept(&mut self, kind: TokenKind) -> bool {
        let is = self.is(kind);
        if is {
            self.advance();
        }
        is
    }

    fn expect(&mut self, kind: TokenKind) -> Result<()> {
        if self.accept(kind) {
            return Ok(());
        }
        let symbol = kind.symbol().unwrap_or_default();
        Err(self.error_here(Kind::Syntax {
            expected: format!("`{symbol}`"),
        }))
    }

    /// Returns an error for the current token.
    fn expected(&self, what: &str) -> SyntaxError {
        let text = self.token_text();
        let is_shown = !text.is_empty() && text.len() <= MAX_SHOWN && !text.contains('\n');
        let expected = if is_shown {
            format!("{what}, got `{text}`")
        } else {
            what.to_owned()
        };
        self.error_here(Kind::Syntax { expected })
    }

    fn error_here(&self, kind: Kind) -> SyntaxError {
        let span = if self.is(TokenKind::End) {
            // Behind the last token, not behind the blanks at the end of the text.
            Span {
                start: self.previous.end,
                end: self.previous.end,
            }
        } else {
            self.token.span
        };
        SyntaxError {
            kind,
            span,
            function: None,
        }
    }

    fn enter(&mut self) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            self.is_lost = true;
            return Err(self.error_here(Kind::TooDeep { limit: MAX_DEPTH }));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// Skips a token, and what is in its parentheses, brackets or braces; at most up to a semicolon outside of
    /// braces, where a closing one must be missing.
    fn skip_balanced(&mut self) {
        let (mut open, mut braces) = (0_usize, 0_usize);
        loop {
            match self.token.kind {
                TokenKind::LeftParenthesis | TokenKind::LeftBracket => open += 1,
                TokenKind::RightParenthesis | TokenKind::RightBracket => {
                    open = open.saturating_sub(1);
                }
                TokenKind::LeftBrace => braces += 1,
                TokenKind::RightBrace | TokenKind::Semicolon if braces == 0 && open > 0 => return,
                TokenKind::RightBrace => braces = braces.saturating_sub(1),
                TokenKind::End => return,
                _ => {}
            }
            self.advance();
            if open == 0 && braces == 0 {
                return;
            }
        }
    }

    /// Returns whether the current tokens are `[[`, which begin attributes.
    fn is_double_bracket(&self) -> bool {
        self.is(TokenKind::LeftBracket) && self.peek().kind == TokenKind::LeftBracket
    }
}

/// The declarations at file scope.
impl<'t> Parser<'_, 't> {
    fn item(&mut self) -> Option<Result<Declaration>> {
        loop {
            match self.token.kind {
                TokenKind::End => return None,
                TokenKind::Semicolon => self.advance(),
                TokenKind::RightBrace if *self.linkages > 0 => {
                    *self.linkages -= 1;
                    self.advance();
                }
                _ if self.is_keyword(Keyword::Extern) && self.peek().kind == TokenKind::String => {
                    self.advance();
                    self.advance();
                    if self.accept(TokenKind::LeftBrace) {
                        *self.linkages += 1;
                    }
                }
                _ => {
                    let start = self.before;
                    match self.declaration() {
                        Ok(Some(declaration)) => return Some(Ok(declaration)),
                        Ok(None) => {}
                        Err(error) => {
                            let function = self.recover(start);
                            return Some(Err(SyntaxError { function, ..error }));
                        }
                    }
                }
            }
        }
    }

    /// Parses a declaration or a function definition; returns `None` for one that declares nothing.
    fn declaration(&mut self) -> Result<Option<Declaration>> {
        let start = self.token.span;
        if self.is_keyword(Keyword::StaticAssert) {
            // The compiler has checked it.
            self.static_assertion()?;
            return Ok(None);
        }
        if self.is_keyword(Keyword::Asm) {
            while !self.is(TokenKind::LeftParenthesis) && self.is(TokenKind::Identifier) {
                self.advance();
            }
            self.skip_balanced();
            self.end_of_declaration()?;
            return Ok(None);
        }
        let specifiers = self.specifiers()?;
        let mut declaration = Declaration {
            specifiers,
            declarators: Vec::new(),
            is_old_style: false,
            span: start,
        };
        let has_body = if self.is_end_of_declaration() {
            let specifiers = &declaration.specifiers;
            let is_empty = matches!(specifiers.ctype, TypeSpecifier::Missing);
            // An attribute declaration declares nothing: `[[fallthrough]];`.
            if is_empty && specifiers.attributes.is_empty() {
                return Err(self.expected("a declaration"));
            }
            false
        } else {
            self.declarators(&mut declaration)?
        };
        declaration.span = start.to(self.previous);
        if !has_body {
            self.end_of_declaration()?;
        }
        Ok(Some(declaration))
    }

    /// Parses the declarators of a declaration; returns whether the body of a function follows them, which is
    /// skipped.
    fn declarators(&mut self, declaration: &mut Declaration) -> Result<bool> {
        loop {
            let mut attributes = Vec::new();
            self.attributes(&mut attributes)?;
            let mut declarator = self.declarator(Naming::Named)?;
            declarator.attributes.append(&mut attributes);
            self.end_of_declarator(&mut declarator)?;
            let is_only = declaration.declarators.is_empty();
            let is_function = is_only
                && matches!(
                    declarator.derivations.last(),
                    Some(Derivation::Function { .. })
                );
            declaration.declarators.push(declarator);
            if is_function && is_identifier_list(declaration) && self.starts_specifiers() {
                declaration.is_old_style = true;
                self.old_style_parameters(declaration)?;
            }
            if is_function && self.is(TokenKind::LeftBrace) {
                self.skip_balanced();
                return Ok(true);
            }
            if self.accept(TokenKind::Equals) {
                // The initialiser of a variable.
                while !self.is(TokenKind::Comma) && !self.is_end_of_declaration() {
                    self.skip_balanced();
                }
            }
            if !self.accept(TokenKind::Comma) {
                return Ok(false);
            }
        }
    }

    /// Parses what may follow a declarator: an `__asm__` label and attributes, in any order.
    fn end_of_declarator(&mut self, declarator: &mut Declarator) -> Result<()> {
        loop {
            if self.is_keyword(Keyword::Asm) {
                self.advance();
                self.expect(TokenKind::LeftParenthesis)?;
                while self.is(TokenKind::String) {
                    declarator.label.push(self.token.span);
                    self.advance();
                }
                self.expect(TokenKind::RightParenthesis)?;
            } else if !self.attributes(&mut declarator.attributes)? {
                return Ok(());
            }
        }
    }

    /// Parses the types of the parameters in a definition of C before 1989: `int f(a, b) int a, b; { ... }`.
    fn old_style_parameters(&mut self, declaration: &Declaration) -> Result<()> {
        let mut names = Vec::new();
        for declarator in &declaration.declarators {
            for derivation in &declarator.derivations {
                if let Derivation::Function { parameters, .. } = derivation {
                    names.extend(parameters.list.iter().map(|one| one.span.of(self.text)));
                }
            }
        }
        while !self.is(TokenKind::LeftBrace) {
            self.specifiers()?;
            loop {
                let declarator = self.declarator(Naming::Named)?;
                let name = declarator.name.map(|name| name.of(self.text));
                // Each parameter has one declaration, so that what is no definition is left soon.
                let Some(at) = names.iter().position(|known| Some(*known) == name) else {
                    return Err(self.expected("the body of a function"));
                };
                names.swap_remove(at);
                self.attributes(&mut Vec::new())?;
                if !self.accept(TokenKind::Comma) {
                    break;
                }
            }
            self.expect(TokenKind::Semicolon)?;
        }
        Ok(())
    }

    fn static_assertion(&mut self) -> Result<()> {
        self.advance();
        if !self.is(TokenKind::LeftParenthesis) {
            return Err(self.expected("`(`"));
        }
        self.skip_balanced();
        self.end_of_declaration()
    }

    fn is_end_of_declaration(&self) -> bool {
        self.is(TokenKind::Semicolon) || self.is(TokenKind::End)
    }

    /// Skips the semicolon; the last one of a text may be left out.
    fn end_of_declaration(&mut self) -> Result<()> {
        if self.is(TokenKind::End) {
            return Ok(());
        }
        self.expect(TokenKind::Semicolon)
    }

    /// Goes on behind a declaration that can't be parsed, which starts at a token: behind its semicolon, or
    /// the body of its function. Nothing that has been parsed is parsed again, so that the time is linear.
    ///
    /// Returns the first name behind a type and before a parenthesis, which most likely is that of a function.
    fn recover(&mut self, start: Lexer<'t>) -> Option<Span> {
        let reached = self.token.span;
        self.lexer = start;
        self.depth = 0;
        self.is_lost = false;
        self.advance();
        let first = self.token.span;
        let mut open = 0_usize;
        // A block at the start belongs to no declaration, so it ends the text that is left out.
        let (mut is_body, mut follows_list) = (false, true);
        let mut function = None;
        let mut is_typedef = false;
        let mut parentheses = 0_usize;
        while !self.is(TokenKind::End) {
            let (kind, keyword) = (self.token.kind, self.keyword);
            let is_behind = self.token.span.start >= reached.start;
            let is_candidate = function.is_none()
                && (open, parentheses) == (0, 0)
                && self.is_name()
                && self.token.span != first
                && self.peek().kind == TokenKind::LeftParenthesis;
            if is_candidate {
                function = Some(self.token.span);
            }
            is_typedef |= keyword == Some(Keyword::Typedef);
            let is_end = match kind {
                TokenKind::LeftParenthesis => {
                    parentheses += 1;
                    false
                }
                TokenKind::RightParenthesis => {
                    parentheses = parentheses.saturating_sub(1);
                    false
                }
                TokenKind::Semicolon => open == 0,
                TokenKind::LeftBrace => {
                    if open == 0 {
                        is_body = follows_list;
                    }
                    open += 1;
                    false
                }
                // The end of `extern "C" {`.
                TokenKind::RightBrace if open == 0 && *self.linkages > 0 && is_behind => break,
                TokenKind::RightBrace => {
                    let is_unopened = open == 0;
                    open = open.saturating_sub(1);
                    is_unopened || open == 0 && is_body
                }
                _ => false,
            };
            self.advance();
            if is_end && is_behind {
                break;
            }
            match keyword {
                // What is in the parentheses of an attribute says nothing of the declaration.
                Some(Keyword::Attribute | Keyword::Declspec | Keyword::Alignas) => {
                    if self.is(TokenKind::LeftParenthesis) {
                        self.skip_balanced();
                    }
                }
                _ => follows_list = kind == TokenKind::RightParenthesis,
            }
        }
        if self.is(TokenKind::LeftBrace) {
            // The body of a function whose head has been left out.
            self.skip_balanced();
        }
        function.filter(|_| !is_typedef)
    }
}

/// Returns whether the parameters of a function are only names, as in a definition of C before 1989.
fn is_identifier_list(declaration: &Declaration) -> bool {
    let last = declaration.declarators.last();
    let Some(Derivation::Function { parameters, .. }) =
        last.and_then(|declarator| declarator.derivations.last())
    else {
        return false;
    };
    let is_name = |parameter: &ParameterDeclaration| matches!(parameter.specifiers.ctype, TypeSpecifier::Name(name) if name == parameter.span);
    !parameters.list.is_empty() && parameters.list.iter().all(is_name)
}
