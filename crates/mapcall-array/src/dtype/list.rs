//! Types with repeats, and lists of them, in one text: `i4,f4`, `3<f4`, `(2,)f8`.
//!
//! The grammar is that of `numpy._core._internal._commastring`.

use std::borrow::Cow;

use super::descr::read_shaped;
use super::{ByteOrder, DType, DTypeError};
use crate::literal::Value;

/// Returns whether `numpy.dtype` reads a text as such a list.
pub(super) fn is_list(text: &str) -> bool {
    let (_, code) = byte_order(text);
    let mut brackets = 0_usize;
    let has_comma = text.chars().any(|c| {
        match c {
            '[' => brackets += 1,
            ']' => brackets = brackets.saturating_sub(1),
            _ => {}
        }
        c == ',' && brackets == 0
    });
    has_comma || code.starts_with("()") || code.starts_with(|c: char| c.is_ascii_digit())
}

/// Reads a list; with a comma it is a structured type with the fields `f0`, `f1`, ...
pub(super) fn read(text: &str) -> Result<DType, DTypeError> {
    let mut rest = text;
    let mut has_comma = false;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let (entry, behind) = read_entry(text, rest)?;
        entries.push(entry);
        let separator = behind.trim_start_matches(is_space);
        rest = match separator.strip_prefix(',') {
            Some(next) => {
                has_comma = true;
                next.trim_start_matches(is_space)
            }
            None if separator.is_empty() => separator,
            None => return Err(syntax(text, behind, "a comma or the end")),
        };
    }
    match entries.pop() {
        Some(only) if !has_comma => Ok(only),
        last => {
            let fields = entries.into_iter().chain(last).enumerate();
            DType::structured(fields.map(|(i, entry)| (format!("f{i}"), entry)))
        }
    }
}

/// Reads one entry of the list at the beginning of `start`, and returns it with the text behind it.
fn read_entry<'a>(text: &str, start: &'a str) -> Result<(DType, &'a str), DTypeError> {
    let (first, counts) = byte_order(start);
    let spaces = counts.trim_start_matches(' ');
    let bracket = spaces.strip_prefix('(').unwrap_or(spaces);
    let digits = bracket.trim_start_matches(|c: char| c.is_ascii_digit() || " ,".contains(c));
    let behind = digits.strip_prefix(')').unwrap_or(digits);
    let behind = behind.trim_start_matches(' ');
    let counts = counts.strip_suffix(behind).unwrap_or_default();

    let (second, name) = byte_order(behind);
    let end = name.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || ".?".contains(c));
    let unit = end.strip_prefix('[').map(|unit| {
        unit.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || ".,".contains(c))
    });
    let rest = match unit.and_then(|unit| unit.strip_prefix(']')) {
        Some(rest) if !end.starts_with("[]") => rest,
        _ => end,
    };
    let name = name.strip_suffix(rest).unwrap_or_default();

    let order = match (first, second) {
        (Some(first), Some(second)) if native(first) != native(second) => {
            return Err(syntax(
                text,
                behind,
                "the same byte order as before the repeat",
            ));
        }
        (first, second) => first.or(second),
    };
    let name: Cow<'_, str> = match order {
        Some(order @ ('<' | '>')) if native(order) != native('=') => {
            format!("{order}{name}").into()
        }
        _ => name.into(),
    };
    let dtype: DType = name.parse()?;
    if counts.is_empty() {
        return Ok((dtype, rest));
    }
    // In brackets, Python reads the same as without: a number, or a tuple of several.
    let shape = Value::parse(&format!("({counts})"), false).ok();
    let shape = shape.filter(|_| !counts.trim().is_empty());
    let shape = shape.ok_or_else(|| syntax(text, start, "a repeat such as 3 or (2, 3)"))?;
    Ok((read_shaped(dtype, &shape)?, rest))
}

/// Splits a text into the byte order at its beginning and the rest.
fn byte_order(text: &str) -> (Option<char>, &str) {
    match text.strip_prefix(['<', '>', '|', '=']) {
        Some(rest) => (text.chars().next(), rest),
        None => (None, text),
    }
}

/// Returns a byte order, with `=` replaced by this machine's.
fn native(order: char) -> char {
    match (order, ByteOrder::NATIVE) {
        ('=', ByteOrder::Little) => '<',
        ('=', _) => '>',
        _ => order,
    }
}

/// Returns whether a character is white space in Python.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// Returns the error at the position where `rest`, the end of the text, begins.
fn syntax(text: &str, rest: &str, expected: &'static str) -> DTypeError {
    DTypeError::Syntax {
        text: text.to_owned(),
        position: text.len().saturating_sub(rest.len()),
        expected,
    }
}
