//! Python's `repr` of the values in a descriptor.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write};

/// A `str`, quoted and escaped like Python's `repr`.
pub(crate) struct PyStr<'a>(pub(crate) &'a str);

impl Display for PyStr<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let quote = if self.0.contains('\'') && !self.0.contains('"') {
            '"'
        } else {
            '\''
        };
        f.write_char(quote)?;
        for char in self.0.chars() {
            match char {
                '\\' => f.write_str(r"\\")?,
                '\t' => f.write_str(r"\t")?,
                '\n' => f.write_str(r"\n")?,
                '\r' => f.write_str(r"\r")?,
                _ if char == quote => write!(f, "\\{quote}")?,
                _ if is_printable(char) => f.write_char(char)?,
                _ => match u32::from(char) {
                    code @ ..=0xff => write!(f, "\\x{code:02x}")?,
                    code @ ..=0xffff => write!(f, "\\u{code:04x}")?,
                    code => write!(f, "\\U{code:08x}")?,
                },
            }
        }
        f.write_char(quote)
    }
}

/// Returns Python's `str.isprintable` of a character: false for control, format, surrogate, private, unassigned
/// and separator characters except the space.
///
/// Rust's `Debug` escapes the same characters, and at the beginning of a text also combining ones; so the
/// character is tested behind a space.
fn is_printable(char: char) -> bool {
    if char.is_ascii() {
        return matches!(char, ' '..='~');
    }
    let mut buffer = [b' '; 5];
    let [_, encoded @ ..] = &mut buffer;
    let end = 1 + char.encode_utf8(encoded).len();
    let text = buffer
        .get(..end)
        .and_then(|bytes| std::str::from_utf8(bytes).ok());
    text.is_some_and(|text| text.escape_debug().eq(text.chars()))
}

/// A `float`: the shortest digits that parse to the same number, with an exponent if it is below -4 or above
/// 15.
pub(crate) struct PyFloat(pub(crate) f64);

impl Display for PyFloat {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let scientific = format!("{:e}", self.0);
        match scientific.split_once('e') {
            Some((digits, exponent)) => match exponent.parse::<i16>() {
                Ok(exponent) if !(-4..16).contains(&exponent) => {
                    write!(f, "{digits}e{exponent:+03}")
                }
                _ => write!(f, "{:?}", self.0),
            },
            None => f.write_str(&scientific),
        }
    }
}

/// A shape, as a `tuple`.
pub(crate) struct PyShape<'a>(pub(crate) &'a [usize]);

impl Display for PyShape<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('(')?;
        for (axis, dimension) in self.0.iter().enumerate() {
            let separator = if axis == 0 { "" } else { ", " };
            write!(f, "{separator}{dimension}")?;
        }
        f.write_str(if self.0.len() == 1 { ",)" } else { ")" })
    }
}

/// Returns a text of a file, shortened to 80 characters for a message.
pub(crate) fn excerpt(text: &str) -> Cow<'_, str> {
    const MAX: usize = 80;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        for (text, repr) in [
            ("", "''"),
            ("it's", "\"it's\""),
            ("say \"it's\"", r#"'say "it\'s"'"#),
            ("\"", "'\"'"),
            ("a\\b\t\n\r\0\x7f", r"'a\\b\t\n\r\x00\x7f'"),
            (
                "é\u{a0}\u{ad}\u{2028}\u{e000}\u{10ffff}",
                r"'é\xa0\xad\u2028\ue000\U0010ffff'",
            ),
            ("\u{301}a\u{301}", "'\u{301}a\u{301}'"),
        ] {
            assert_eq!(PyStr(text).to_string(), repr);
        }
    }

    #[test]
    fn shapes() {
        assert_eq!(PyShape(&[]).to_string(), "()");
        assert_eq!(PyShape(&[2]).to_string(), "(2,)");
        assert_eq!(PyShape(&[2, 0, 3]).to_string(), "(2, 0, 3)");
    }
}
