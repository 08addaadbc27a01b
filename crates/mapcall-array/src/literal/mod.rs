//! Python literals, the syntax of NumPy's file headers and structured dtypes.
//!
//! ```
//! use mapcall_array::literal::Value;
//!
//! let value: Value = "{'fortran_order': False, 'shape': (3,)}".parse()?;
//! let Value::Dict(items) = value else { panic!("not a dict") };
//! assert_eq!(items[0], (Value::String("fortran_order".into()), Value::Boolean(false)));
//! assert_eq!(items[1].1, Value::Tuple(vec![Value::Integer(3)]));
//! # Ok::<(), mapcall_array::literal::LiteralError>(())
//! ```
//!
//! The grammar is that of Python's `ast.literal_eval`, with comments, line continuations and all prefixes and
//! escapes of strings. Values that no header can have are left out: bytes, sets, complex numbers, the
//! ellipsis, integers of 128 bits and more, lone surrogates. The parser takes time and memory in proportion to
//! the text and refuses deep nesting, so that hostile text does no harm. No code in the text is run.

pub(crate) mod repr;

use std::fmt;
use std::str::FromStr;

use self::repr::{PyFloat, PyStr};

/// The maximum depth of nested brackets, that of Python's own tokenizer.
const MAX_DEPTH: usize = 200;

/// The number of characters of a text that an error quotes.
const EXCERPT: usize = 40;

/// A Python literal, which prints like Python's `repr`.
///
/// ```
/// use mapcall_array::literal::Value;
///
/// let value: Value = "[('x', '<f4'), ('y', '<f4', (3,)),]".parse()?;
/// assert_eq!(value.to_string(), "[('x', '<f4'), ('y', '<f4', (3,))]");
///
/// let error = "{'shape': open('x')}".parse::<Value>().unwrap_err();
/// assert_eq!(error.to_string(), "expected a literal at character 10, found \"open('x')}\"");
/// # Ok::<(), mapcall_array::literal::LiteralError>(())
/// ```
///
/// As in Python, adjacent strings are joined, and brackets around a single value are ignored.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `str`
    String(String),
    /// `int`
    Integer(i128),
    /// `float`
    Float(f64),
    /// `bool`
    Boolean(bool),
    /// `None`
    None,
    /// `tuple`
    Tuple(Vec<Value>),
    /// `list`
    List(Vec<Value>),
    /// `dict`, in the order of the text; keys may repeat
    Dict(Vec<(Value, Value)>),
}

/// The error for a text that is not a Python literal.
///
/// ```
/// use mapcall_array::literal::Value;
///
/// let error = "(1, two)".parse::<Value>().unwrap_err();
/// assert_eq!((error.at, error.expected, error.found.as_str()), (4, "a literal", "two)"));
/// assert_eq!(error.to_string(), "expected a literal at character 4, found 'two)'");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} at character {at}, found {}", Found(.found))]
#[non_exhaustive]
pub struct LiteralError {
    /// The position of the error, in characters from the start of the text.
    pub at: usize,
    /// A description of the expected syntax.
    pub expected: &'static str,
    /// The first characters that were found there; empty at the end of the text.
    pub found: String,
}

struct Found<'a>(&'a str);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => f.write_str("the end"),
            found => PyStr(found).fmt(f),
        }
    }
}

impl FromStr for Value {
    type Err = LiteralError;

    fn from_str(text: &str) -> Result<Self, LiteralError> {
        Self::parse(text, false)
    }
}

type Result<T, E = LiteralError> = std::result::Result<T, E>;

impl Value {
    /// Parses a literal; `python_2` allows an `L` behind integers, which Python 2 wrote.
    pub(crate) fn parse(text: &str, python_2: bool) -> Result<Self> {
        if text.contains('\r') {
            return Self::parse(&text.replace("\r\n", "\n").replace('\r', "\n"), python_2);
        }
        let mut parser = Parser {
            text,
            // `literal_eval` also strips these before Python checks the indentation.
            rest: text.trim_start_matches([' ', '\t']),
            depth: 0,
            python_2,
        };
        if text.contains('\0') {
            parser.take_while(|c| c != '\0');
            return Err(parser.expected("a text without NUL characters"));
        }
        parser.skip_blank_lines()?;
        let value = parser.value()?;
        while parser.eat('\n') {}
        if parser.rest.is_empty() {
            Ok(value)
        } else {
            Err(parser.expected("the end"))
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The rest of `text` that was not read yet.
    rest: &'a str,
    depth: usize,
    python_2: bool,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Result<Value> {
        self.skip_space();
        match self.peek() {
            _ if string_prefix(self.rest).is_some() => self.string().map(Value::String),
            Some('0'..='9' | '+' | '-' | '.') => self.signed_number(),
            Some('(') => self.nested(Self::tuple),
            Some('[') => self.nested(|parser| Ok(Value::List(parser.items(']')?.0))),
            Some('{') => self.nested(Self::dict),
            _ => self.name(),
        }
    }

    /// Skips lines that are empty or only a comment. The line behind them must not be indented.
    fn skip_blank_lines(&mut self) -> Result<()> {
        loop {
            let line = self.rest;
            self.skip_space();
            if self.rest.starts_with('\n') {
                self.advance(1);
                continue;
            }
            let indentation = line.strip_suffix(self.rest).unwrap_or_default();
            // A form feed resets the indentation.
            let indentation = indentation.rsplit('\x0c').next().unwrap_or_default();
            if indentation.contains([' ', '\t']) && !self.rest.is_empty() {
                return Err(self.expected("no indentation"));
            }
            return Ok(());
        }
    }

    /// Reads the value in brackets; `rest` begins with the opening one.
    fn nested(&mut self, inner: impl FnOnce(&mut Self) -> Result<Value>) -> Result<Value> {
        if self.depth == MAX_DEPTH {
            return Err(self.expected("at most 200 nested brackets"));
        }
        self.depth += 1;
        self.advance(1);
        let value = inner(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn tuple(&mut self) -> Result<Value> {
        let (mut items, comma) = self.items(')')?;
        Ok(match items.pop() {
            Some(only) if items.is_empty() && !comma => only,
            last => {
                items.extend(last);
                Value::Tuple(items)
            }
        })
    }

    /// Reads values up to the closing bracket, and returns them and whether a comma follows the last one.
    fn items(&mut self, close: char) -> Result<(Vec<Value>, bool)> {
        let mut items = Vec::new();
        let mut comma = true;
        while !self.eat(close) {
            if !comma {
                return Err(self.expected("a comma or the closing bracket"));
            }
            items.push(self.value()?);
            comma = self.eat(',');
        }
        Ok((items, comma))
    }

    fn dict(&mut self) -> Result<Value> {
        let mut items = Vec::new();
        let mut comma = true;
        while !self.eat('}') {
            if !comma {
                return Err(self.expected("a comma or `}`"));
            }
            let key = self.value()?;
            if !self.eat(':') {
                return Err(self.expected("`:` after the key of a dict"));
            }
            items.push((key, self.value()?));
            comma = self.eat(',');
        }
        Ok(Value::Dict(items))
    }

    fn name(&mut self) -> Result<Value> {
        const NAMES: [(&str, Value); 3] = [
            ("True", Value::Boolean(true)),
            ("False", Value::Boolean(false)),
            ("None", Value::None),
        ];
        for (name, value) in NAMES {
            if let Some(rest) = self.rest.strip_prefix(name)
                && !rest.starts_with(is_identifier)
            {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(self.expected("a literal"))
    }

    /// Reads a number behind at most one sign; behind the sign, the number may be in brackets.
    fn signed_number(&mut self) -> Result<Value> {
        let negative = self.eat('-');
        if !negative && !self.eat('+') {
            return self.number();
        }
        match self.bracketed_number()? {
            Value::Integer(integer) if negative => Ok(Value::Integer(-integer)),
            Value::Float(float) if negative => Ok(Value::Float(-float)),
            number => Ok(number),
        }
    }

    fn bracketed_number(&mut self) -> Result<Value> {
        self.skip_space();
        match self.peek() {
            Some('(') => self.nested(|parser| {
                let number = parser.bracketed_number()?;
                if parser.eat(')') {
                    Ok(number)
                } else {
                    Err(parser.expected("the closing bracket"))
                }
            }),
            Some('0'..='9' | '.') => self.number(),
            _ => Err(self.expected("a number")),
        }
    }

    fn number(&mut self) -> Result<Value> {
        let start = self.rest;
        let number = self.unchecked_number();
        if self.python_2 {
            self.skip_long_suffix();
        }
        number
            .filter(|_| !self.rest.starts_with(is_identifier))
            .ok_or_else(|| {
                self.rest = start;
                self.expected("a number (integers have less than 128 bits)")
            })
    }

    /// Reads a number, without a check of the text behind it; `None` if there is none.
    fn unchecked_number(&mut self) -> Option<Value> {
        let radix = match self.rest.as_bytes() {
            [b'0', b'x' | b'X', ..] => 16,
            [b'0', b'o' | b'O', ..] => 8,
            [b'0', b'b' | b'B', ..] => 2,
            _ => 10,
        };
        if radix != 10 {
            self.advance(2);
            self.rest = self.rest.strip_prefix('_').unwrap_or(self.rest);
            let digits = self.digits(radix)?;
            return i128::from_str_radix(&digits, radix)
                .ok()
                .map(Value::Integer);
        }
        let mut number = String::new();
        if !self.rest.starts_with('.') {
            number = self.digits(10)?;
        }
        if !self.rest.starts_with(['.', 'e', 'E']) {
            // 010 is 8 in Python 2, and an error in Python 3.
            let is_octal = number.starts_with('0') && number.contains(|c| c != '0');
            let integer = number.parse().ok().filter(|_| !is_octal);
            return integer.map(Value::Integer);
        }
        if self.rest.starts_with('.') {
            self.advance(1);
            number.push('.');
            if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
                number += &self.digits(10)?;
            }
        }
        if self.rest.starts_with(['e', 'E']) {
            self.advance(1);
            number.push('e');
            if let Some(sign @ ('-' | '+')) = self.peek() {
                self.advance(1);
                number.push(sign);
            }
            number += &self.digits(10)?;
        }
        number.parse().ok().map(Value::Float)
    }

    /// Reads digits, and returns them without the underscores that may separate them.
    fn digits(&mut self, radix: u32) -> Option<String> {
        let run = self.take_while(|c| c == '_' || c.is_digit(radix));
        let is_number = run.split('_').all(|digits| !digits.is_empty());
        is_number.then(|| run.replace('_', ""))
    }

    /// Skips an `L` behind a number, like NumPy.
    fn skip_long_suffix(&mut self) {
        let behind_number = self.rest;
        self.skip_in_line();
        match self.rest.strip_prefix('L') {
            Some(rest) if !rest.starts_with(is_identifier) => self.rest = rest,
            _ => self.rest = behind_number,
        }
    }

    /// Reads one or more adjacent strings.
    fn string(&mut self) -> Result<String> {
        let mut string = String::new();
        while let Some((prefix, is_raw)) = string_prefix(self.rest) {
            self.advance(prefix);
            self.quoted(is_raw, &mut string)?;
            self.skip_space();
        }
        Ok(string)
    }

    fn quoted(&mut self, is_raw: bool, string: &mut String) -> Result<()> {
        let one = self.rest.get(..1).unwrap_or_default();
        let three = self.rest.get(..3).unwrap_or_default();
        let is_long = matches!(three, "'''" | "\"\"\"");
        let quotes = if is_long { three } else { one };
        self.advance(quotes.len());
        loop {
            let text = self.take_while(|c| !one.contains(c) && c != '\\' && (is_long || c != '\n'));
            string.push_str(text);
            if let Some(rest) = self.rest.strip_prefix(quotes) {
                self.rest = rest;
                return Ok(());
            }
            match self.peek() {
                Some('\\') if is_raw => {
                    // The next character is part of the string, even a quote.
                    let pair = self.rest.chars().take(2).map(char::len_utf8).sum();
                    string.push_str(self.rest.get(..pair).unwrap_or_default());
                    self.advance(pair);
                }
                Some('\\') => self.escape(string)?,
                // One or two quotes in a long string.
                Some(quote) if is_long => {
                    string.push(quote);
                    self.advance(quote.len_utf8());
                }
                _ => return Err(self.expected("the closing quote of a string")),
            }
        }
    }

    fn escape(&mut self, string: &mut String) -> Result<()> {
        let start = self.rest;
        self.advance(1);
        let Some(kind) = self.peek() else {
            return Err(self.expected("the rest of an escape sequence"));
        };
        self.advance(kind.len_utf8());
        let code = match kind {
            '\n' => return Ok(()),
            '\\' | '\'' | '"' => Some(kind),
            'a' => Some('\x07'),
            'b' => Some('\x08'),
            'f' => Some('\x0c'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\x0b'),
            'x' => self.code(2, 16),
            'u' => self.code(4, 16),
            'U' => self.code(8, 16),
            'N' => self.named(),
            '0'..='7' => {
                let rest = start.get(1..).unwrap_or_default();
                let digits = rest
                    .bytes()
                    .take(3)
                    .take_while(|b| (b'0'..=b'7').contains(b))
                    .count();
                self.rest = rest;
                self.code(digits, 8)
            }
            // Like in Python, an unknown escape sequence stands for itself.
            unknown => {
                string.push('\\');
                Some(unknown)
            }
        };
        let Some(code) = code else {
            self.rest = start;
            return Err(self.expected("an escape sequence of a character"));
        };
        string.push(code);
        Ok(())
    }

    /// Reads the next `digits` digits, and returns the character of that code.
    fn code(&mut self, digits: usize, radix: u32) -> Option<char> {
        let (code, rest) = self.rest.split_at_checked(digits)?;
        if !code.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        self.rest = rest;
        char::from_u32(u32::from_str_radix(code, radix).ok()?)
    }

    /// Reads a name in braces, and returns the character of that name.
    fn named(&mut self) -> Option<char> {
        let (name, rest) = self.rest.strip_prefix('{')?.split_once('}')?;
        self.rest = rest;
        unicode_names2::character(name)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Skips spaces and then `wanted` if it comes next, and returns whether it did.
    fn eat(&mut self, wanted: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Skips spaces, comments and, within brackets, ends of lines.
    fn skip_space(&mut self) {
        loop {
            self.skip_in_line();
            if self.rest.starts_with('#') {
                self.take_while(|c| c != '\n');
            }
            match self.rest.strip_prefix('\n') {
                Some(rest) if self.depth > 0 => self.rest = rest,
                _ => return,
            }
        }
    }

    /// Skips spaces and continuations of the line.
    fn skip_in_line(&mut self) {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\x0c']);
            match self.rest.strip_prefix("\\\n") {
                // The last line can't be continued.
                Some(rest) if !rest.is_empty() => self.rest = rest,
                _ => return,
            }
        }
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        taken
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn expected(&self, expected: &'static str) -> LiteralError {
        let before = self.text.strip_suffix(self.rest).unwrap_or(self.text);
        LiteralError {
            at: before.chars().count(),
            expected,
            found: self.rest.chars().take(EXCERPT).collect(),
        }
    }
}

/// Returns the length of the prefix if a string comes next, and whether it is a raw one.
fn string_prefix(text: &str) -> Option<(usize, bool)> {
    match text.as_bytes() {
        [b'\'' | b'"', ..] => Some((0, false)),
        [b'u' | b'U', b'\'' | b'"', ..] => Some((1, false)),
        [b'r' | b'R', b'\'' | b'"', ..] => Some((1, true)),
        _ => None,
    }
}

/// Returns whether a character can be part of a name.
fn is_identifier(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(string) => PyStr(string).fmt(f),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Float(float) => PyFloat(*float).fmt(f),
            Self::Boolean(true) => f.write_str("True"),
            Self::Boolean(false) => f.write_str("False"),
            Self::None => f.write_str("None"),
            Self::Tuple(items) => match items.as_slice() {
                [only] => write!(f, "({only},)"),
                _ => write_items(f, "(", items, ")"),
            },
            Self::List(items) => write_items(f, "[", items, "]"),
            Self::Dict(items) => {
                f.write_str("{")?;
                for (i, (key, value)) in items.iter().enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    write!(f, "{comma}{key}: {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}

fn write_items(
    f: &mut fmt::Formatter<'_>,
    open: &str,
    items: &[Value],
    close: &str,
) -> fmt::Result {
    f.write_str(open)?;
    for (i, item) in items.iter().enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        write!(f, "{comma}{item}")?;
    }
    f.write_str(close)
}
