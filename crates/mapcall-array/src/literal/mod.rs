//! Python literals: the text in which NumPy writes headers and structured dtypes.
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
//! Only what a header can hold is read: strings, integers, floats, `True`, `False`, `None`,
//! tuples, lists and dicts. The reader takes time and memory in proportion to the text and
//! refuses deep nesting, so hostile text costs nothing; nothing is ever evaluated.

pub(crate) mod repr;

use std::fmt;
use std::str::FromStr;

use self::repr::PyStr;

/// How deep brackets may nest; the limit of Python's own tokenizer.
const MAX_DEPTH: usize = 200;

/// How many characters of a text an error shows.
const EXCERPT: usize = 40;

/// A Python literal; prints as Python's `repr` does.
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
/// Integers may carry the `L` that Python 2 wrote. Adjacent strings are joined, a `u` before a
/// string is ignored, and brackets around a single value mean nothing, as in Python.
#[derive(Clone, Debug, PartialEq)]
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

/// A text that is no Python literal.
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
    /// Where, in characters from the start of the text.
    pub at: usize,
    /// What should stand there.
    pub expected: &'static str,
    /// The first characters of what stands there; empty at the end of the text.
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
        let mut parser = Parser {
            text,
            rest: text,
            depth: 0,
        };
        let value = parser.value()?;
        parser.skip_space();
        if parser.rest.is_empty() {
            Ok(value)
        } else {
            Err(parser.expected("the end"))
        }
    }
}

type Result<T, E = LiteralError> = std::result::Result<T, E>;

struct Parser<'a> {
    text: &'a str,
    /// What is still to be read: a suffix of `text`.
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Result<Value> {
        self.skip_space();
        match self.peek() {
            Some('\'' | '"' | 'u' | 'U') => self.string().map(Value::String),
            Some('0'..='9' | '+' | '-' | '.') => self.number(),
            Some('(') => self.nested(Self::tuple),
            Some('[') => self.nested(|parser| Ok(Value::List(parser.items(']')?.0))),
            Some('{') => self.nested(Self::dict),
            _ => self.name(),
        }
    }

    /// Reads what stands in brackets; the opening one comes next in `rest`.
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

    /// Values up to the closing bracket, and whether a comma follows the last one.
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
                && !rest.starts_with(|c: char| c == '_' || c.is_alphanumeric())
            {
                self.rest = rest;
                return Ok(value);
            }
        }
        Err(self.expected("a literal"))
    }

    fn number(&mut self) -> Result<Value> {
        let start = self.rest;
        let negative = self.eat('-');
        if !negative {
            self.eat('+');
        }
        self.skip_space();
        let digits = self.take_while(|c| c.is_ascii_digit());
        if self.rest.starts_with(['.', 'e', 'E']) {
            return self.float(digits, negative);
        }
        // Python 2's 010 was eight; Python 3 refuses it.
        let octal = digits.len() > 1 && digits.starts_with('0') && digits.contains(|c| c != '0');
        match digits.parse::<i128>() {
            Ok(integer) if !octal => {
                self.rest = self.rest.strip_prefix('L').unwrap_or(self.rest);
                if self
                    .rest
                    .starts_with(|c: char| c == '_' || c.is_alphanumeric())
                {
                    return Err(self.expected("the end of a decimal integer"));
                }
                Ok(Value::Integer(if negative { -integer } else { integer }))
            }
            _ => {
                self.rest = start;
                Err(self.expected("a decimal integer of less than 128 bits"))
            }
        }
    }

    /// A float whose digits before the point are read.
    fn float(&mut self, digits: &str, negative: bool) -> Result<Value> {
        let here = self.rest;
        let mut number = String::from(digits);
        if self.rest.starts_with('.') {
            self.advance(1);
            number.push('.');
            number.push_str(self.take_while(|c| c.is_ascii_digit()));
        }
        if self.rest.starts_with(['e', 'E']) {
            self.advance(1);
            number.push('e');
            if let Some(sign) = self.peek().filter(|&c| c == '-' || c == '+') {
                self.advance(1);
                number.push(sign);
            }
            number.push_str(self.take_while(|c| c.is_ascii_digit()));
        }
        let Ok(float) = number.parse::<f64>() else {
            self.rest = here;
            return Err(self.expected("a number"));
        };
        Ok(Value::Float(if negative { -float } else { float }))
    }

    /// One or more strings that stand side by side.
    fn string(&mut self) -> Result<String> {
        let mut string = String::new();
        loop {
            let start = self.rest;
            self.rest = self.rest.strip_prefix(['u', 'U']).unwrap_or(self.rest);
            let Some(quote @ ('\'' | '"')) = self.peek() else {
                self.rest = start;
                return Err(self.expected("a literal"));
            };
            self.quoted(quote, &mut string)?;
            self.skip_space();
            if !self.rest.starts_with(['\'', '"', 'u', 'U']) {
                return Ok(string);
            }
        }
    }

    fn quoted(&mut self, quote: char, string: &mut String) -> Result<()> {
        self.advance(1);
        loop {
            string.push_str(self.take_while(|c| c != quote && c != '\\' && c != '\n'));
            match self.peek() {
                Some('\\') => self.escape(string)?,
                Some(c) if c == quote => {
                    self.advance(1);
                    return Ok(());
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
            'N' => None,
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
            // Python keeps what it doesn't know as it stands.
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

    /// The character whose code is given by the next `digits` digits.
    fn code(&mut self, digits: usize, radix: u32) -> Option<char> {
        let (code, rest) = self.rest.split_at_checked(digits)?;
        if !code.chars().all(|c| c.is_digit(radix)) {
            return None;
        }
        self.rest = rest;
        char::from_u32(u32::from_str_radix(code, radix).ok()?)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    /// Steps over spaces and then over `wanted`, if it comes next.
    fn eat(&mut self, wanted: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
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

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(string) => PyStr(string).fmt(f),
            Self::Integer(integer) => write!(f, "{integer}"),
            Self::Float(float) => write!(f, "{float:?}"),
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
