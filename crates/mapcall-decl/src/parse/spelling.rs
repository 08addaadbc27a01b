//! Replaces GNU's spellings of C keywords, which the grammar does not know.

use std::borrow::Cow;

/// Replaces each GNU keyword by a keyword of the grammar, padded to the same length, so that all positions in
/// the text stay the same.
///
/// `_Complex` becomes `unsigned`, which is allowed in the same positions; the parser of types compares the
/// original text to tell the two apart.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let mut plain = Cow::Borrowed(text);
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = text.get(at..).unwrap_or_default();
        let length = match byte {
            b'"' | b'\'' => quoted(rest.as_bytes(), byte),
            b'/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ if is_word(byte) => rest.bytes().take_while(|&byte| is_word(byte)).count(),
            _ => 1,
        };
        if matches!(byte, b'_' | b'c')
            && let Some(word) = rest.get(..length)
            && let Some(replacement) = replacement(word, text, at)
        {
            let padded = format!("{replacement:length$}");
            plain.to_mut().replace_range(at..at + length, &padded);
        }
        at += length.max(1);
    }
    plain
}

fn replacement(word: &str, text: &str, at: usize) -> Option<&'static str> {
    Some(match word {
        "_Complex" | "__complex__" | "__complex" => "unsigned",
        // `complex` is a macro of <complex.h>, and may be a name in other texts.
        "complex" if is_beside_float(text, at, at + word.len()) => "signed",
        "__const" | "__const__" => "const",
        "__extension__" => "",
        "__inline__" => "inline",
        "__restrict" | "__restrict__" => "restrict",
        "__signed" | "__signed__" => "signed",
        "__volatile__" | "__volatile" => "volatile",
        "__alignof__" | "__alignof" => "_Alignof",
        _ => return None,
    })
}

fn is_beside_float(text: &str, start: usize, end: usize) -> bool {
    let before = text.get(..start).unwrap_or_default().trim_end();
    let after = text.get(end..).unwrap_or_default().trim_start();
    ["float", "double", "long"].iter().any(|word| {
        before
            .strip_suffix(word)
            .is_some_and(|rest| !rest.bytes().next_back().is_some_and(is_word))
            || after
                .strip_prefix(word)
                .is_some_and(|rest| !rest.bytes().next().is_some_and(is_word))
    })
}

/// Returns whether the word at a position of the original text is a spelling of `_Complex`.
pub(super) fn is_complex(word: &str) -> bool {
    matches!(word, "_Complex" | "__complex__" | "__complex" | "complex")
}

fn is_word(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric() || byte >= 0x80
}

/// Returns the length of the string or character constant at the start of the text.
fn quoted(bytes: &[u8], quote: u8) -> usize {
    let mut escaped = false;
    for (at, &byte) in bytes.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'\n' => return at,
            _ if byte == quote => return at + 1,
            _ => {}
        }
    }
    bytes.len()
}
