//! Splits preprocessed text into the tokens of C (C11 6.4, with those of C23 and GNU C).
//!
//! Comments and blanks between tokens are skipped. Line markers and other lines that begin with `#` are
//! tokens. No text makes the lexer fail: what begins no token is one of its own, of kind
//! [`Unknown`](TokenKind::Unknown).

use std::ops::Range;

/// A range of a text, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Self {
        // Texts are shorter than `MAX_TEXT`.
        let offset = |at| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            start: offset(start),
            end: offset(end),
        }
    }

    /// Returns the range from the start of this one to the end of another one.
    pub(crate) fn to(self, last: Self) -> Self {
        Self {
            start: self.start,
            end: last.end.max(self.start),
        }
    }

    pub(crate) fn range(self) -> Range<usize> {
        let offset = |at| usize::try_from(at).unwrap_or(usize::MAX);
        offset(self.start)..offset(self.end)
    }

    /// Returns the range of a text.
    pub(crate) fn of(self, text: &str) -> &str {
        text.get(self.range()).unwrap_or_default()
    }
}

/// A token and its range in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: TokenKind,
    pub(crate) span: Span,
}

macro_rules! tokens {
    ($($(#[$doc:meta])* $other:ident,)* ; $($name:ident $symbol:literal,)*) => {
        /// The kind of a token; digraphs have the kind of the punctuators that they stand for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum TokenKind {
            $($(#[$doc])* $other,)*
            $(#[doc = concat!("`", $symbol, "`")] $name,)*
        }

        impl TokenKind {
            /// Returns the text of a punctuator.
            pub(crate) const fn symbol(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => Some($symbol),)*
                    _ => None,
                }
            }
        }
    };
}

tokens! {
    /// The end of the text, and of each token after it.
    End,
    /// An identifier or keyword.
    Identifier,
    /// A preprocessing number (C11 6.4.8): integer and floating constants with their suffixes.
    Number,
    /// A character constant, with its prefix.
    Character,
    /// A string literal, with its prefix.
    String,
    /// `# 12 "file.h" 1 3` and `#line 12 "file.h"`, without the end of the line.
    LineMarker,
    /// `#pragma ...`, without the end of the line.
    Pragma,
    /// Another line that begins with `#`, without the end of the line.
    Directive,
    /// Text that is no token: another character, and a literal or comment that is not closed.
    Unknown,
    /// `+=` and the other compound assignments.
    Assign,
    ;
    LeftParenthesis "(",
    RightParenthesis ")",
    LeftBracket "[",
    RightBracket "]",
    LeftBrace "{",
    RightBrace "}",
    Comma ",",
    Semicolon ";",
    Colon ":",
    DoubleColon "::",
    Question "?",
    Dot ".",
    Ellipsis "...",
    Arrow "->",
    Equals "=",
    Star "*",
    Slash "/",
    Percent "%",
    Plus "+",
    Minus "-",
    ShiftLeft "<<",
    ShiftRight ">>",
    Less "<",
    LessEqual "<=",
    Greater ">",
    GreaterEqual ">=",
    EqualEqual "==",
    NotEqual "!=",
    Ampersand "&",
    Caret "^",
    Bar "|",
    And "&&",
    Or "||",
    Not "!",
    Tilde "~",
    Increment "++",
    Decrement "--",
}

/// A lexer at a position of a text; a copy of it looks ahead.
///
/// It is linear in the length of the text, and allocates nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexer<'t> {
    bytes: &'t [u8],
    at: usize,
    /// Whether only blanks and comments precede on this line, so that `#` begins a directive.
    is_line_start: bool,
}

impl<'t> Lexer<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            bytes: text.as_bytes(),
            at: 0,
            is_line_start: true,
        }
    }

    /// Returns a lexer of a part of a text, which begins between two tokens; spans are those in the whole text.
    pub(crate) fn of_range(text: &'t str, range: Range<usize>) -> Self {
        let end = range.end.min(text.len());
        Self {
            bytes: text.as_bytes().get(..end).unwrap_or_default(),
            at: range.start.min(end),
            is_line_start: true,
        }
    }

    /// Returns the next token; at the end of the text, [`TokenKind::End`] again and again.
    pub(crate) fn next_token(&mut self) -> Token {
        let unclosed = self.skip_blanks();
        let start = self.at;
        let kind = match unclosed {
            Some(kind) => {
                self.at = self.bytes.len();
                kind
            }
            None => self.token(),
        };
        self.is_line_start = false;
        // A directive ends with its line.
        if matches!(
            kind,
            TokenKind::LineMarker | TokenKind::Pragma | TokenKind::Directive
        ) {
            self.is_line_start = true;
        }
        Token {
            kind,
            span: Span::new(start, self.at),
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        // NUL is no part of a token, so it stands for the end of the text.
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// Returns the number of bytes of a class, from a position on.
    fn run(&self, from: usize, class: u8) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        rest.iter()
            .position(|&byte| class_of(byte) & class == 0)
            .unwrap_or(rest.len())
    }

    /// Skips blanks and comments; returns the kind of a token if a comment is not closed.
    fn skip_blanks(&mut self) -> Option<TokenKind> {
        loop {
            match self.peek(0) {
                b'\n' => {
                    self.is_line_start = true;
                    self.at += 1;
                }
                byte if class_of(byte) & BLANK != 0 => self.at += self.run(self.at, BLANK),
                // A line that goes on (C11 5.1.1.2, phase 2).
                b'\\' => match (self.peek(1), self.peek(2)) {
                    (b'\n', _) => self.at += 2,
                    (b'\r', b'\n') => self.at += 3,
                    _ => return None,
                },
                b'/' if self.peek(1) == b'/' => self.at = self.line_end(self.at),
                b'/' if self.peek(1) == b'*' => match self.comment_end(self.at) {
                    Some(end) => self.at = end,
                    None => return Some(TokenKind::Unknown),
                },
                _ => return None,
            }
        }
    }

    /// Returns the position of the end of a line, which a backslash continues on the next one.
    fn line_end(&self, from: usize) -> usize {
        let mut at = from;
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
                return self.bytes.len();
            };
            let line = rest.get(..length).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.ends_with(b"\\") {
                return at + length;
            }
            at += length + 1;
        }
    }

    /// Returns the position behind a comment that starts at a position; `None` if it is not closed.
    fn comment_end(&self, from: usize) -> Option<usize> {
        let rest = self.bytes.get(from + 2..)?;
        let mut previous = 0;
        let length = rest.iter().position(|&byte| {
            let is_end = previous == b'*' && byte == b'/';
            previous = byte;
            is_end
        })?;
        Some(from + 2 + length + 1)
    }

    fn token(&mut self) -> TokenKind {
        let byte = self.peek(0);
        let class = class_of(byte);
        if class & LETTER != 0 {
            return self.identifier();
        }
        if class & DIGIT != 0 || byte == b'.' && class_of(self.peek(1)) & DIGIT != 0 {
            return self.number();
        }
        match byte {
            b'"' | b'\'' => self.literal(0),
            b'#' if self.is_line_start => self.directive(1),
            b'%' if self.is_line_start && self.peek(1) == b':' => self.directive(2),
            0 if self.at >= self.bytes.len() => TokenKind::End,
            _ => {
                let (kind, length) = self.punctuator();
                self.at += length;
                kind
            }
        }
    }

    fn identifier(&mut self) -> TokenKind {
        let length = self.run(self.at, LETTER | DIGIT);
        let name = self.bytes.get(self.at..self.at + length);
        if matches!(self.peek(length), b'"' | b'\'')
            && matches!(name, Some(b"L" | b"u" | b"U" | b"u8"))
        {
            return self.literal(length);
        }
        self.at += length;
        // A universal character name: `\u00e9`.
        while self.peek(0) == b'\\' && matches!(self.peek(1), b'u' | b'U') {
            self.at += 2 + self.run(self.at + 2, LETTER | DIGIT);
        }
        TokenKind::Identifier
    }

    fn number(&mut self) -> TokenKind {
        loop {
            match self.peek(0) {
                // The sign of an exponent.
                b'e' | b'E' | b'p' | b'P' if matches!(self.peek(1), b'+' | b'-') => self.at += 2,
                // A separator of digits in C23.
                b'\'' if class_of(self.peek(1)) & (LETTER | DIGIT) != 0 => self.at += 2,
                b'.' => self.at += 1,
                byte if class_of(byte) & (LETTER | DIGIT) != 0 => self.at += 1,
                _ => return TokenKind::Number,
            }
        }
    }

    /// Reads a string or a character constant behind its prefix.
    fn literal(&mut self, prefix: usize) -> TokenKind {
        let quote = self.peek(prefix);
        let mut at = self.at + prefix + 1;
        loop {
            match self.bytes.get(at) {
                Some(b'\\') => at += 2,
                Some(b'\n') | None => {
                    self.at = at.min(self.bytes.len());
                    return TokenKind::Unknown;
                }
                Some(&byte) if byte == quote => {
                    self.at = at + 1;
                    return if quote == b'"' {
                        TokenKind::String
                    } else {
                        TokenKind::Character
                    };
                }
                Some(_) => at += 1,
            }
        }
    }

    /// Reads a line that begins with `#`; comments in it may have several lines.
    fn directive(&mut self, symbol: usize) -> TokenKind {
        let blanks = self.run(self.at + symbol, BLANK);
        let start = self.at + symbol + blanks;
        let keyword = self.run(start, LETTER | DIGIT);
        let kind = match self.bytes.get(start..start + keyword) {
            Some(b"line") => TokenKind::LineMarker,
            Some([first, ..]) if first.is_ascii_digit() => TokenKind::LineMarker,
            Some(b"pragma") => TokenKind::Pragma,
            _ => TokenKind::Directive,
        };
        self.at = start + keyword;
        loop {
            match self.peek(0) {
                b'\n' => return kind,
                0 if self.at >= self.bytes.len() => return kind,
                b'\\' if self.peek(1) == b'\r' && self.peek(2) == b'\n' => self.at += 3,
                b'\\' if self.at + 1 < self.bytes.len() => self.at += 2,
                b'"' | b'\'' => {
                    self.literal(0);
                }
                b'/' if self.peek(1) == b'/' => self.at = self.line_end(self.at),
                b'/' if self.peek(1) == b'*' => {
                    self.at = self.comment_end(self.at).unwrap_or(self.bytes.len());
                }
                _ => self.at += 1,
            }
        }
    }

    /// Returns the kind and the length of a punctuator.
    fn punctuator(&self) -> (TokenKind, usize) {
        use TokenKind::{
            Ampersand, And, Arrow, Assign, Bar, Caret, Colon, Comma, Decrement, Dot, DoubleColon,
            Ellipsis, EqualEqual, Equals, Greater, GreaterEqual, Increment, LeftBrace, LeftBracket,
            LeftParenthesis, Less, LessEqual, Minus, Not, NotEqual, Or, Percent, Plus, Question,
            RightBrace, RightBracket, RightParenthesis, Semicolon, ShiftLeft, ShiftRight, Slash,
            Star, Tilde, Unknown,
        };
        match (self.peek(0), self.peek(1), self.peek(2)) {
            (b'(', ..) => (LeftParenthesis, 1),
            (b')', ..) => (RightParenthesis, 1),
            (b'[', ..) => (LeftBracket, 1),
            (b']', ..) => (RightBracket, 1),
            (b'{', ..) => (LeftBrace, 1),
            (b'}', ..) => (RightBrace, 1),
            (b',', ..) => (Comma, 1),
            (b';', ..) => (Semicolon, 1),
            (b'<', b':', _) => (LeftBracket, 2),
            (b':', b'>', _) => (RightBracket, 2),
            (b'<', b'%', _) => (LeftBrace, 2),
            (b'%', b'>', _) => (RightBrace, 2),
            (b':', b':', _) => (DoubleColon, 2),
            (b':', ..) => (Colon, 1),
            (b'?', ..) => (Question, 1),
            (b'.', b'.', b'.') => (Ellipsis, 3),
            (b'.', ..) => (Dot, 1),
            (b'-', b'>', _) => (Arrow, 2),
            (b'<', b'<', b'=') | (b'>', b'>', b'=') => (Assign, 3),
            (b'<', b'<', _) => (ShiftLeft, 2),
            (b'>', b'>', _) => (ShiftRight, 2),
            (b'<', b'=', _) => (LessEqual, 2),
            (b'>', b'=', _) => (GreaterEqual, 2),
            (b'=', b'=', _) => (EqualEqual, 2),
            (b'!', b'=', _) => (NotEqual, 2),
            (b'*' | b'/' | b'%' | b'+' | b'-' | b'&' | b'^' | b'|', b'=', _) => (Assign, 2),
            (b'<', ..) => (Less, 1),
            (b'>', ..) => (Greater, 1),
            (b'=', ..) => (Equals, 1),
            (b'!', ..) => (Not, 1),
            (b'*', ..) => (Star, 1),
            (b'/', ..) => (Slash, 1),
            (b'%', ..) => (Percent, 1),
            (b'+', b'+', _) => (Increment, 2),
            (b'-', b'-', _) => (Decrement, 2),
            (b'+', ..) => (Plus, 1),
            (b'-', ..) => (Minus, 1),
            (b'&', b'&', _) => (And, 2),
            (b'|', b'|', _) => (Or, 2),
            (b'&', ..) => (Ampersand, 1),
            (b'|', ..) => (Bar, 1),
            (b'^', ..) => (Caret, 1),
            (b'~', ..) => (Tilde, 1),
            _ => (Unknown, 1),
        }
    }
}

/// All tokens up to the end of the text.
#[allow(
    clippy::copy_iterator,
    reason = "the parser looks ahead by a copy, which is small"
)]
impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let token = self.next_token();
        (token.kind != TokenKind::End).then_some(token)
    }
}

const LETTER: u8 = 1;
const DIGIT: u8 = 2;
/// White space, without the newline.
const BLANK: u8 = 4;

#[allow(
    clippy::indexing_slicing,
    reason = "it is computed by the compiler, which checks the index"
)]
/// The classes of all bytes; bytes of a character outside ASCII count as letters.
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    loop {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$' | 0x80.. => LETTER,
            b'0'..=b'9' => DIGIT,
            b' ' | b'\t' | b'\r' | 0x0b | 0x0c => BLANK,
            _ => 0,
        };
        if byte == u8::MAX {
            break classes;
        }
        byte += 1;
    }
};

fn class_of(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the kinds and texts of the tokens of a text.
    fn tokens(text: &str) -> Vec<(TokenKind, &str)> {
        Lexer::new(text)
            .map(|token| (token.kind, token.span.of(text)))
            .collect()
    }

    #[test]
    fn literals_and_comments() {
        use TokenKind::{Character, Identifier, Number, String};
        let text = "x1_é/* a\n * b **/L\"a\\\"b\" u8'\\'' // c \\\n d\n0x1.8p-3f 1'000ull .5e+3 'a' \\\n u8 \\u00e9";
        assert_eq!(
            tokens(text),
            [
                (Identifier, "x1_é"),
                (String, "L\"a\\\"b\""),
                (Character, "u8'\\''"),
                (Number, "0x1.8p-3f"),
                (Number, "1'000ull"),
                (Number, ".5e+3"),
                (Character, "'a'"),
                (Identifier, "u8"),
                (TokenKind::Unknown, "\\"),
                (Identifier, "u00e9"),
            ]
        );
    }

    #[test]
    fn every_punctuator_is_read() {
        let text = "( ) [ ] { } , ; : :: ? . ... -> = * / % + - << >> < <= > >= == != & ^ | && || ! ~ ++ --";
        for (token, symbol) in Lexer::new(text).zip(text.split(' ')) {
            assert_eq!(token.kind.symbol(), Some(symbol));
            assert_eq!(token.span.of(text), symbol);
        }
        assert_eq!(Lexer::new(text).count(), text.split(' ').count());
        let digraphs: Vec<_> = Lexer::new("<: :> <% %> >>=")
            .map(|token| token.kind.symbol())
            .collect();
        assert_eq!(digraphs, [Some("["), Some("]"), Some("{"), Some("}"), None]);
        // `[[` is two tokens.
        assert_eq!(Lexer::new("[[a::b]]").count(), 7);
    }

    #[test]
    fn lines_of_the_preprocessor() {
        use TokenKind::{Directive, Identifier, LineMarker, Pragma};
        let text = "# 1 \"a\\\"b.h\" 1 3\n#line 7\nx # y\n  /**/ # pragma pack(1) \\\n , 2\n#if 1 /* a\n */ + '\n%:define X\n#";
        assert_eq!(
            tokens(text),
            [
                (LineMarker, "# 1 \"a\\\"b.h\" 1 3"),
                (LineMarker, "#line 7"),
                (Identifier, "x"),
                (TokenKind::Unknown, "#"),
                (Identifier, "y"),
                (Pragma, "# pragma pack(1) \\\n , 2"),
                (Directive, "#if 1 /* a\n */ + '"),
                (Directive, "%:define X"),
                (Directive, "#"),
            ]
        );
    }

    #[test]
    fn text_that_is_no_c_has_tokens() {
        for text in [
            "\"a\nb", "'", "/* a", "\"\\", "@", "`", "\0\0", "\\", "#\\", "#/*", "L'", "u8\"x",
        ] {
            let tokens = tokens(text);
            assert!(
                !tokens.is_empty() && tokens.len() <= text.len(),
                "{text}: {tokens:?}"
            );
        }
        let mut lexer = Lexer::of_range("int f(int x);", 6..9);
        assert_eq!(lexer.next_token().span.range(), 6..9);
        assert_eq!(lexer.next_token().kind, TokenKind::End);
        assert_eq!(lexer.next_token().kind, TokenKind::End);
    }
}
