//! The values of character constants, strings and floating constants.

use crate::ctype::Float;

/// A character constant or a string literal.
pub(super) struct Literal {
    /// The characters as units of its type: without a prefix, the bytes of UTF-8.
    pub(super) units: Vec<u32>,
    /// The size of a unit in bytes.
    pub(super) unit_size: usize,
    pub(super) has_prefix: bool,
}

impl Literal {
    /// Reads a literal with its quotes (C11 6.4.4.4, 6.4.5); returns `None` if an escape sequence is none.
    pub(super) fn read(text: &str) -> Option<Self> {
        let start = text.find(['"', '\''])?;
        let (prefix, quoted) = text.split_at_checked(start)?;
        let inner = quoted.get(1..quoted.len().checked_sub(1)?)?;
        let unit_size = match prefix {
            "L" if cfg!(windows) => 2,
            "L" | "U" => 4,
            "u" => 2,
            _ => 1,
        };
        let mut literal = Self {
            units: Vec::new(),
            unit_size,
            has_prefix: !prefix.is_empty(),
        };
        let mut letters = inner.chars();
        while let Some(letter) = letters.next() {
            if letter == '\\' {
                let (rest, unit) = escape(letters.as_str())?;
                match unit {
                    Unit::Letter(letter) => literal.push(letter),
                    Unit::Number(number) if u64::from(number) >> (8 * unit_size) == 0 => {
                        literal.units.push(number);
                    }
                    Unit::Number(_) => return None,
                    Unit::Nothing => {}
                }
                letters = rest.chars();
            } else {
                literal.push(letter);
            }
        }
        Some(literal)
    }

    fn push(&mut self, letter: char) {
        match self.unit_size {
            1 => {
                let mut bytes = [0; 4];
                let bytes = letter.encode_utf8(&mut bytes).bytes();
                self.units.extend(bytes.map(u32::from));
            }
            2 => {
                let mut pair = [0; 2];
                let pair = letter.encode_utf16(&mut pair).iter();
                self.units.extend(pair.copied().map(u32::from));
            }
            _ => self.units.push(u32::from(letter)),
        }
    }
}

/// What an escape sequence stands for.
enum Unit {
    Letter(char),
    Number(u32),
    /// The end of a line that goes on.
    Nothing,
}

/// Reads an escape sequence behind its backslash; returns the text behind it, too.
fn escape(text: &str) -> Option<(&str, Unit)> {
    let letter = text.chars().next()?;
    let rest = text.get(letter.len_utf8()..)?;
    let digits = |text: &str, radix, max| {
        let digits = text.bytes().take(max);
        digits
            .take_while(|digit| char::from(*digit).is_digit(radix))
            .count()
    };
    let number = |text: &'_ str, radix, length| -> Option<u32> {
        u32::from_str_radix(text.get(..length)?, radix).ok()
    };
    let simple = match letter {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'v' => '\x0b',
        'e' => '\x1b',
        '\\' | '\'' | '"' | '?' => letter,
        '\n' => return Some((rest, Unit::Nothing)),
        '\r' if rest.starts_with('\n') => return Some((rest.get(1..)?, Unit::Nothing)),
        'u' | 'U' => {
            let length = if letter == 'u' { 4 } else { 8 };
            let letter = char::from_u32(number(rest, 16, length)?)?;
            return Some((rest.get(length..)?, Unit::Letter(letter)));
        }
        'x' => {
            let length = digits(rest, 16, usize::MAX);
            return Some((rest.get(length..)?, Unit::Number(number(rest, 16, length)?)));
        }
        '0'..='7' => {
            let length = digits(text, 8, 3);
            return Some((text.get(length..)?, Unit::Number(number(text, 8, length)?)));
        }
        _ => return None,
    };
    Some((rest, Unit::Letter(simple)))
}

/// Returns the type of a floating constant (C11 6.4.4.2).
pub(super) fn float_type(constant: &str) -> Float {
    match constant.as_bytes().last() {
        Some(b'f' | b'F') => Float::Float,
        Some(b'l' | b'L') => Float::LongDouble,
        _ => Float::Double,
    }
}

/// Returns the value of a floating constant without its fraction, as a cast to an integer gives it.
pub(super) fn truncated(constant: &str) -> Option<i128> {
    let digits = constant.trim_end_matches(['f', 'F', 'l', 'L']);
    let value = digits.parse::<f64>().ok()?.trunc();
    // The text of an integer of at most 64 bits has no exponent.
    (value.abs() < 1e19).then(|| format!("{value:.0}").parse().ok())?
}
