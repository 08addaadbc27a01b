//! Cuts a text into its top-level declarations, and finds the names that each may declare, without parsing.

use std::collections::HashMap;
use std::mem;
use std::ops::Range;

use smallvec::SmallVec;

use super::word::WordClass;
use crate::syntax::lexer::{Lexer, Span, Token, TokenKind};
use crate::syntax::packing::{PackLimit, Packing};

/// The maximum number of declarations of a text. The largest headers have about 100,000.
pub(crate) const MAX_PIECES: usize = 1 << 20;

/// The top-level declarations of a text.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) pieces: Vec<Piece>,
    names: HashMap<Box<str>, SmallVec<[(NameSpace, u32); 1]>>,
    /// The enumerators, each with its piece, in order.
    pub(crate) enumerators: Vec<(Span, u32)>,
    /// Whether the text has more pieces, which are left out.
    pub(crate) is_cut_short: bool,
}

/// A declaration at the top level of a text, or text that is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) span: Span,
    /// The end of the declaration without the body of a function.
    head_end: u32,
    /// The limit of `#pragma pack` before it.
    pub(crate) packing: PackLimit,
    /// Whether it may declare functions or variables.
    pub(crate) declares_objects: bool,
}

impl Piece {
    /// Returns the range of the declaration without the body of a function.
    pub(crate) fn head(self) -> Range<usize> {
        Span {
            start: self.span.start,
            end: self.head_end,
        }
        .range()
    }
}

/// What a name is declared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameSpace {
    /// A struct, union or enum with its members.
    Tag,
    Typedef,
    Enumerator,
    /// A function or variable.
    Object,
}

impl Index {
    /// Cuts a text.
    pub(crate) fn new(text: &str) -> Self {
        let mut cutter = Cutter::new(text);
        while cutter.advance() {
            if cutter.index.pieces.len() >= MAX_PIECES {
                cutter.index.is_cut_short = true;
                return cutter.index;
            }
        }
        cutter.finish()
    }

    /// Returns the pieces that may declare a name, in the order of the text.
    pub(crate) fn declaring(
        &self,
        name: &str,
        space: NameSpace,
    ) -> impl DoubleEndedIterator<Item = u32> {
        let pieces = self.names.get(name).map(SmallVec::as_slice);
        let pieces = pieces.unwrap_or_default().iter();
        pieces.filter_map(move |&(known, piece)| (known == space).then_some(piece))
    }

    /// Returns the pieces before a limit that may declare a name, the last one first.
    pub(crate) fn declaring_before(
        &self,
        name: &str,
        space: NameSpace,
        limit: u32,
    ) -> impl Iterator<Item = u32> {
        let pieces = self.names.get(name).map(SmallVec::as_slice);
        let pieces = pieces.unwrap_or_default();
        let end = pieces.partition_point(|&(_, piece)| piece < limit);
        let pieces = pieces.get(..end).unwrap_or_default().iter().rev();
        pieces.filter_map(move |&(known, piece)| (known == space).then_some(piece))
    }

    /// Returns the names that a piece before the limit may declare so.
    pub(crate) fn names(&self, space: NameSpace, limit: u32) -> impl Iterator<Item = &str> {
        self.names.iter().filter_map(move |(name, pieces)| {
            let is_known = |&(known, piece): &(_, u32)| known == space && piece < limit;
            pieces.iter().any(is_known).then_some(&**name)
        })
    }

    pub(crate) fn piece(&self, piece: u32) -> Option<Piece> {
        self.pieces.get(usize::try_from(piece).ok()?).copied()
    }
}

/// An open bracket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Parenthesis,
    /// The parentheses around a declarator, such as those of `(*f)(int)`.
    Declarator,
    /// A group whose names are not declared: the arguments of an attribute, or an array's length.
    Ignored,
    Record,
    Enum,
    /// The body of a function, or an initialiser.
    Block,
}

/// The keyword of a struct, union or enum whose name or members may follow.
#[derive(Clone, Copy, Debug)]
struct Tag<'t> {
    opens: Open,
    name: Option<&'t str>,
    /// Whether the type of an enum follows: `enum e : int`.
    has_type: bool,
}

/// The maximum number of tokens between the parameters of an old-style definition and its body.
const MAX_OLD_STYLE: usize = 512;

/// The state at the first semicolon of what may be an old-style definition.
#[derive(Clone, Copy)]
struct OldStyle<'t> {
    lexer: Lexer<'t>,
    end: u32,
    left: usize,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one fact about the tokens before"
)]
struct Cutter<'t> {
    text: &'t str,
    lexer: Lexer<'t>,
    index: Index,
    packing: Packing,
    /// The limit at the start of the current declaration.
    limit: PackLimit,
    /// The number of open `extern "C" {`.
    linkages: usize,

    // The state of the current declaration.
    start: Option<u32>,
    open: Vec<Open>,
    previous: Option<Token>,
    tag: Option<Tag<'t>>,
    /// The keyword before the current group makes it one whose names are not declared.
    ignores_group: bool,
    is_typedef: bool,
    is_linkage: bool,
    has_type: bool,
    /// The last name outside brackets: that of a declarator, if a declarator ends behind it.
    name: Option<&'t str>,
    /// Whether the current declarator's name has been found.
    is_declared: bool,
    declares_objects: bool,
    /// The start of a function's body.
    body: Option<u32>,
    /// Whether the last parentheses hold identifiers only.
    has_identifiers: bool,
    is_old_style: bool,
    old_style: Option<OldStyle<'t>>,
    names: Vec<(&'t str, NameSpace)>,
    enumerators: Vec<Span>,
    declared: Vec<&'t str>,
}

impl<'t> Cutter<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            lexer: Lexer::new(text),
            index: Index::default(),
            packing: Packing::default(),
            limit: PackLimit::default(),
            linkages: 0,
            start: None,
            open: Vec::new(),
            previous: None,
            tag: None,
            ignores_group: false,
            is_typedef: false,
            is_linkage: false,
            has_type: false,
            name: None,
            is_declared: false,
            declares_objects: false,
            body: None,
            has_identifiers: false,
            is_old_style: false,
            old_style: None,
            names: Vec::new(),
            enumerators: Vec::new(),
            declared: Vec::new(),
        }
    }

    /// Reads one token; returns whether there was one.
    fn advance(&mut self) -> bool {
        let token = self.lexer.next_token();
        match token.kind {
            TokenKind::End => return self.return_to_first_semicolon(),
            TokenKind::LineMarker => return true,
            TokenKind::Pragma => {
                self.packing.apply(token.span.of(self.text));
                return true;
            }
            TokenKind::Directive if self.start.is_some() => return true,
            TokenKind::Directive => {
                if is_conditional(token.span.of(self.text)) {
                    self.start(token);
                    self.end(token.span.end);
                }
                return true;
            }
            _ => {}
        }
        if let Some(old_style) = &mut self.old_style {
            match old_style.left.checked_sub(1) {
                Some(left) => old_style.left = left,
                None => return self.return_to_first_semicolon(),
            }
        }
        if self.start.is_none() {
            match token.kind {
                TokenKind::Semicolon => return true,
                TokenKind::RightBrace if self.linkages > 0 => {
                    self.linkages -= 1;
                    return true;
                }
                TokenKind::RightBrace => {
                    self.start(token);
                    self.end(token.span.end);
                    return true;
                }
                _ => self.start(token),
            }
        }
        self.token(token);
        self.previous = Some(token);
        true
    }

    fn start(&mut self, token: Token) {
        self.start = Some(token.span.start);
        self.limit = self.packing.limit();
    }

    fn token(&mut self, token: Token) {
        match self.open.last() {
            Some(Open::Block | Open::Ignored) => self.brackets(token),
            Some(Open::Enum) => self.enumerator(token),
            Some(Open::Parenthesis | Open::Declarator | Open::Record) => self.inner(token),
            None => self.outer(token),
        }
    }

    fn push(&mut self, open: Open) {
        self.open.push(if mem::take(&mut self.ignores_group) {
            Open::Ignored
        } else {
            open
        });
    }

    /// Keeps count of brackets whose contents declare nothing.
    fn brackets(&mut self, token: Token) {
        match token.kind {
            TokenKind::LeftParenthesis | TokenKind::LeftBracket => self.open.push(Open::Ignored),
            TokenKind::LeftBrace => self.open.push(Open::Block),
            TokenKind::RightParenthesis | TokenKind::RightBracket => {
                self.open.pop_if(|open| *open == Open::Ignored);
            }
            TokenKind::RightBrace => self.close_brace(token),
            TokenKind::Semicolon => self.semicolon(token),
            _ => {}
        }
    }

    /// Closes a brace, with the parentheses that are left open in it.
    fn close_brace(&mut self, token: Token) {
        while let Some(open) = self.open.pop() {
            if matches!(open, Open::Record | Open::Enum | Open::Block) {
                break;
            }
        }
        self.tag = None;
        if self.open.is_empty() && self.body.is_some() {
            self.end(token.span.end);
        }
    }

    /// Ends the declaration at a semicolon, unless a brace is open.
    fn semicolon(&mut self, token: Token) {
        self.tag = None;
        let is_brace = |open: &Open| matches!(open, Open::Record | Open::Enum | Open::Block);
        if self.open.iter().any(is_brace) {
            return;
        }
        self.open.clear();
        self.declare();
        if !self.is_old_style {
            self.end(token.span.end);
        } else if self.old_style.is_none() {
            self.old_style = Some(OldStyle {
                lexer: self.lexer,
                end: token.span.end,
                left: MAX_OLD_STYLE,
            });
        }
    }

    fn enumerator(&mut self, token: Token) {
        match token.kind {
            TokenKind::Identifier => {
                let is_first = self.previous.is_some_and(|previous| {
                    matches!(previous.kind, TokenKind::LeftBrace | TokenKind::Comma)
                });
                if is_first {
                    let name = token.span.of(self.text);
                    self.names.push((name, NameSpace::Enumerator));
                    self.enumerators.push(token.span);
                }
            }
            _ => self.brackets(token),
        }
    }

    /// Handles the keyword and the name of a struct, union or enum; returns whether the token was one of
    /// them.
    fn tag(&mut self, token: Token) -> bool {
        let text = token.span.of(self.text);
        match (token.kind, &mut self.tag) {
            (TokenKind::Identifier, tag) => {
                let opens = match text {
                    "struct" | "union" => Open::Record,
                    "enum" => Open::Enum,
                    _ => {
                        let Some(tag) = tag else {
                            return false;
                        };
                        if WordClass::of(text).is_group() {
                            self.ignores_group = true;
                        } else if tag.name.is_none() && !tag.has_type {
                            tag.name = Some(text);
                        } else if !tag.has_type {
                            self.tag = None;
                            return false;
                        }
                        return true;
                    }
                };
                *tag = Some(Tag {
                    opens,
                    name: None,
                    has_type: false,
                });
                true
            }
            (TokenKind::LeftBrace, Some(tag)) => {
                let tag = *tag;
                self.names
                    .extend(tag.name.map(|name| (name, NameSpace::Tag)));
                self.tag = None;
                self.open.push(tag.opens);
                true
            }
            (TokenKind::Colon, Some(tag)) if tag.opens == Open::Enum => {
                tag.has_type = true;
                true
            }
            (TokenKind::LeftBracket, Some(_)) => {
                self.open.push(Open::Ignored);
                true
            }
            (TokenKind::LeftParenthesis, Some(_)) if self.ignores_group => {
                self.push(Open::Ignored);
                true
            }
            (_, tag) => {
                *tag = None;
                false
            }
        }
    }

    /// Handles a token in the parentheses of a declarator or of parameters, or in a struct.
    fn inner(&mut self, token: Token) {
        let after = self.previous.map(|previous| previous.kind);
        self.has_identifiers &= match token.kind {
            TokenKind::Identifier => after != Some(TokenKind::Identifier),
            TokenKind::Comma => true,
            TokenKind::RightParenthesis => after == Some(TokenKind::Identifier),
            _ => false,
        };
        if self.tag(token) {
            return;
        }
        let text = token.span.of(self.text);
        match token.kind {
            TokenKind::Identifier => {
                let class = WordClass::of(text);
                self.ignores_group = class.is_group();
                let is_declarator = !self.is_declared
                    && !self.open.contains(&Open::Record)
                    && self.open.first() == Some(&Open::Declarator);
                if is_declarator && class == WordClass::Name {
                    self.name = Some(text);
                    self.declare();
                }
            }
            TokenKind::LeftParenthesis => {
                self.has_identifiers = false;
                self.push(Open::Parenthesis);
            }
            TokenKind::LeftBracket => self.push(Open::Ignored),
            TokenKind::LeftBrace => self.open.push(Open::Block),
            TokenKind::RightParenthesis => {
                let is_open =
                    matches!(self.open.last(), Some(Open::Parenthesis | Open::Declarator));
                if is_open {
                    self.open.pop();
                }
            }
            TokenKind::RightBrace => self.close_brace(token),
            TokenKind::Semicolon => self.semicolon(token),
            _ => self.ignores_group = false,
        }
    }

    /// Handles a token outside brackets.
    fn outer(&mut self, token: Token) {
        let is_tag = self.tag.is_some();
        if self.tag(token) {
            self.has_type = true;
            return;
        }
        self.has_type |= is_tag;
        let text = token.span.of(self.text);
        let after = self.previous.map(|previous| previous.kind);
        match token.kind {
            TokenKind::Identifier => self.word(text, after),
            TokenKind::String if self.is_linkage => {}
            TokenKind::LeftParenthesis if self.ignores_group => self.push(Open::Ignored),
            TokenKind::LeftParenthesis => {
                if !self.is_declared && self.name.is_some() {
                    self.declare();
                    self.has_identifiers = true;
                    self.push(Open::Parenthesis);
                } else if !self.is_declared && self.has_type {
                    self.push(Open::Declarator);
                } else {
                    self.has_identifiers = false;
                    self.push(Open::Parenthesis);
                }
            }
            TokenKind::LeftBracket => {
                self.declare();
                self.open.push(Open::Ignored);
            }
            TokenKind::Equals | TokenKind::Colon => self.declare(),
            TokenKind::Comma => {
                self.declare();
                self.is_declared = false;
            }
            TokenKind::LeftBrace if self.is_linkage && after == Some(TokenKind::String) => {
                self.linkages += 1;
                self.clear();
            }
            TokenKind::LeftBrace if after == Some(TokenKind::Equals) => {
                self.open.push(Open::Block);
            }
            TokenKind::LeftBrace => {
                if self.old_style.is_some() && after != Some(TokenKind::Semicolon) {
                    self.return_to_first_semicolon();
                    return;
                }
                self.old_style = None;
                self.declare();
                self.body = Some(token.span.start);
                self.open.push(Open::Block);
            }
            // The brace has no opening one; it ends a text that is no declaration.
            TokenKind::RightBrace => self.end_here(token),
            TokenKind::Semicolon => self.semicolon(token),
            _ => {}
        }
        if token.kind != TokenKind::Identifier {
            self.ignores_group = false;
        }
        self.is_linkage &= matches!(token.kind, TokenKind::Identifier | TokenKind::String);
    }

    /// Handles a word outside brackets.
    fn word(&mut self, text: &'t str, after: Option<TokenKind>) {
        self.is_linkage = text == "extern";
        let class = WordClass::of(text);
        self.ignores_group = class.is_group();
        if self.old_style.is_some() && matches!(text, "typedef" | "extern" | "static") {
            self.return_to_first_semicolon();
            return;
        }
        match class {
            WordClass::Name if text == "typedef" => self.is_typedef = true,
            WordClass::Name if self.has_type => self.name = Some(text),
            WordClass::Name | WordClass::Type | WordClass::TypeGroup => self.has_type = true,
            WordClass::Group | WordClass::Other => {}
        }
        let is_behind_parameters = after == Some(TokenKind::RightParenthesis)
            && self.has_identifiers
            && self.is_declared
            && !self.is_typedef;
        if is_behind_parameters && matches!(class, WordClass::Name | WordClass::Type) {
            self.is_old_style = true;
        }
    }

    /// Stores the name of the declarator that has been read.
    fn declare(&mut self) {
        let name = self.name.take();
        if self.is_declared || self.old_style.is_some() {
            return;
        }
        if let Some(name) = name {
            self.is_declared = true;
            self.declared.push(name);
        }
    }

    /// Ends the current declaration at the first semicolon, if it was read beyond that for an old-style
    /// definition that it is none; returns whether it was.
    fn return_to_first_semicolon(&mut self) -> bool {
        let Some(old_style) = self.old_style.take() else {
            return false;
        };
        self.lexer = old_style.lexer;
        self.end(old_style.end);
        true
    }

    fn end_here(&mut self, token: Token) {
        if !self.return_to_first_semicolon() {
            self.end(token.span.end);
        }
    }

    fn end(&mut self, end: u32) {
        let Some(start) = self.start else {
            return;
        };
        let piece = u32::try_from(self.index.pieces.len()).unwrap_or(u32::MAX);
        let space = if self.is_typedef {
            NameSpace::Typedef
        } else {
            NameSpace::Object
        };
        let declared = self.declared.drain(..).map(|name| (name, space));
        for (name, space) in self.names.drain(..).chain(declared) {
            self.declares_objects |= space == NameSpace::Object;
            if let Some(pieces) = self.index.names.get_mut(name) {
                pieces.push((space, piece));
            } else {
                let pieces = SmallVec::from_buf([(space, piece)]);
                self.index.names.insert(name.into(), pieces);
            }
        }
        let enumerators = self.enumerators.drain(..).map(|span| (span, piece));
        self.index.enumerators.extend(enumerators);
        let span = Span { start, end };
        self.index.pieces.push(Piece {
            span,
            head_end: self.body.unwrap_or(end),
            packing: self.limit,
            declares_objects: self.declares_objects,
        });
        self.clear();
    }

    fn clear(&mut self) {
        self.start = None;
        self.open.clear();
        self.previous = None;
        self.tag = None;
        self.ignores_group = false;
        self.is_typedef = false;
        self.is_linkage = false;
        self.has_type = false;
        self.name = None;
        self.is_declared = false;
        self.declares_objects = false;
        self.body = None;
        self.has_identifiers = false;
        self.is_old_style = false;
        self.old_style = None;
        self.names.clear();
        self.enumerators.clear();
        self.declared.clear();
    }

    fn finish(mut self) -> Index {
        let end = u32::try_from(self.text.trim_end().len()).unwrap_or(u32::MAX);
        if self.start.is_some() {
            self.open.clear();
            self.declare();
            self.end(end);
        }
        self.index
    }
}

/// Returns whether a directive is one of conditional inclusion.
fn is_conditional(directive: &str) -> bool {
    let directive = directive.trim_start_matches(['#', '%', ':']).trim_start();
    directive.starts_with("if") || directive.starts_with("el") || directive.starts_with("endif")
}
