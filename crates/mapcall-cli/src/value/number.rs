//! Parses numbers in the notations of C and of Python.

use mapcall::contract::Scalar;
use num_complex::Complex;
use rustc_apfloat::Float;
use rustc_apfloat::ieee::Double;

/// The error for a number that is too large for every type here.
///
/// ```
/// use mapcall_cli::value::number::{TooLarge, number};
///
/// assert_eq!(number("1e999"), Err(TooLarge));
/// assert_eq!(TooLarge.to_string(), "which is too large");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("which is too large")]
pub struct TooLarge;

/// Parses a number; `None` if the text is not a number.
///
/// ```
/// use mapcall::contract::Scalar;
/// use mapcall_cli::value::number::number;
///
/// assert_eq!(number("-12")?, Some(Scalar::Int(-12)));
/// assert_eq!(number("0xff")?, Some(Scalar::Int(255)));
/// assert_eq!(number("1e3")?, Some(Scalar::Float(1000.0)));
/// assert_eq!(number("true")?, Some(Scalar::Bool(true)));
/// assert_eq!(number("1+2j")?.map(|z| z.to_string()), Some("1+2i".into()));
/// assert_eq!(number("angles.npy")?, None);
/// # Ok::<(), mapcall_cli::value::number::TooLarge>(())
/// ```
///
/// - Integers are decimal, `0x` hexadecimal, `0b` binary, and octal with `0o` or, as in C, with a
///   leading 0; C's suffixes (`10UL`) are ignored.
/// - Floating numbers are decimal or C's hexadecimal ones (`0x1.8p3`), `inf` and `nan`; C's suffixes
///   `f` and `l` are ignored.
/// - Complex numbers end with `j` or `i`: `2j`, `1-2.5j`, `(1+2j)`.
/// - `true`, `false`, `True` and `False` are truth values.
/// - `_` and `'` may separate digits.
///
/// # Errors
///
/// [`TooLarge`] for integers of more than 127 bits, and for finite numbers beyond `double`.
pub fn number(text: &str) -> Result<Option<Scalar>, TooLarge> {
    let text = match text {
        "true" | "True" => return Ok(Some(Scalar::Bool(true))),
        "false" | "False" => return Ok(Some(Scalar::Bool(false))),
        // Non-ASCII texts are refused, as `str::trim` also removes Unicode white space.
        _ if !text.is_ascii() => return Ok(None),
        text => text,
    };
    if let Some(text) = without_separators(text) {
        return plain(&text);
    }
    Ok(None)
}

fn plain(text: &str) -> Result<Option<Scalar>, TooLarge> {
    if let Some(value) = integer(text)? {
        return Ok(Some(Scalar::Int(value)));
    }
    if let Some(value) = real(text)? {
        return Ok(Some(Scalar::Float(value)));
    }
    Ok(complex(text)?.map(Scalar::Complex))
}

/// Removes the separators of digits; `None` if a separator is not between two digits.
fn without_separators(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if !matches!(letter, '_' | '\'') {
            plain.push(letter);
            continue;
        }
        let is_digit = |letter: char| letter.is_ascii_hexdigit();
        let between = plain.chars().next_back().is_some_and(is_digit)
            && letters.peek().copied().is_some_and(is_digit);
        // A separator must follow a decimal digit, as `deadbeef_1` is a name.
        if !between || !text.starts_with(|first: char| first.is_ascii_digit() || is_sign(first)) {
            return None;
        }
    }
    Some(plain)
}

fn is_sign(letter: char) -> bool {
    matches!(letter, '+' | '-')
}

/// Splits a text into its sign and the rest.
fn sign(text: &str) -> (bool, &str) {
    match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn integer(text: &str) -> Result<Option<i128>, TooLarge> {
    let (negative, digits) = sign(text);
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, lower.get(2..)),
        Some("0b") => (2, lower.get(2..)),
        Some("0o") => (8, lower.get(2..)),
        Some(start) if start.starts_with('0') && start.ends_with(|c: char| c.is_ascii_digit()) => {
            (8, lower.get(1..))
        }
        _ => (10, Some(&*lower)),
    };
    let digits = digits.unwrap_or_default();
    let digits = ["ull", "llu", "ul", "lu", "ll", "u", "l"]
        .into_iter()
        .find_map(|suffix| digits.strip_suffix(suffix))
        .unwrap_or(digits);
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Ok(None);
    }
    let magnitude = i128::from_str_radix(digits, radix).map_err(|_| TooLarge)?;
    Ok(Some(if negative { -magnitude } else { magnitude }))
}

fn real(text: &str) -> Result<Option<f64>, TooLarge> {
    let (negative, magnitude) = sign(text);
    if magnitude.starts_with(is_sign) {
        return Ok(None);
    }
    let lower = magnitude.to_ascii_lowercase();
    let hexadecimal = lower.starts_with("0x");
    let has_point = lower.contains('.') || lower.contains(if hexadecimal { 'p' } else { 'e' });
    let digits = match lower.strip_suffix(['f', 'l']) {
        // The `f` of `inf` is not a suffix.
        Some(digits) if has_point && lower != "inf" => digits,
        _ => &*lower,
    };
    let value = if hexadecimal {
        // Without a point or an exponent, the text would be an integer.
        let value = digits.contains('p').then(|| digits.parse::<Double>());
        let Some(Ok(value)) = value else {
            return Ok(None);
        };
        let bits = u64::try_from(value.to_bits()).unwrap_or_default();
        f64::from_bits(bits)
    } else {
        // Digits alone are an integer, or an invalid octal number such as 08.
        let is_real = !digits.bytes().all(|digit| digit.is_ascii_digit());
        match digits.parse::<f64>() {
            Ok(value) if is_real => value,
            _ => return Ok(None),
        }
    };
    if value.is_infinite() && digits.contains(|digit: char| digit.is_ascii_digit()) {
        return Err(TooLarge);
    }
    Ok(Some(if negative { -value } else { value }))
}

fn complex(text: &str) -> Result<Option<Complex<f64>>, TooLarge> {
    let inner = text.strip_prefix('(');
    let text = inner
        .and_then(|text| text.strip_suffix(')'))
        .unwrap_or(text);
    let Some(text) = text.strip_suffix(['j', 'J', 'i', 'I']) else {
        return Ok(None);
    };
    // The sign between the parts is the last sign that does not belong to an exponent.
    let between = text.char_indices().rev().find(|&(at, letter)| {
        let before = text.get(..at).unwrap_or_default();
        at > 0 && is_sign(letter) && !before.ends_with(['e', 'E', 'p', 'P'])
    });
    let (re, im) = text.split_at(between.map_or(0, |(at, _)| at));
    let part = |text: &str| match plain_integer(text)? {
        Some(value) => Ok(Some(value)),
        None => real(text),
    };
    let re = if re.is_empty() { Some(0.0) } else { part(re)? };
    let (Some(re), Some(im)) = (re, part(im)?) else {
        return Ok(None);
    };
    Ok(Some(Complex::new(re, im)))
}

/// Parses a part of a complex number that is written as an integer.
#[expect(
    clippy::cast_precision_loss,
    reason = "rounds to the nearest, as a part with a point does"
)]
fn plain_integer(text: &str) -> Result<Option<f64>, TooLarge> {
    Ok(integer(text)?.map(|value| value as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<Scalar> {
        number(text).unwrap()
    }

    #[test]
    fn integers_of_any_base() {
        for (text, value) in [
            ("0", 0),
            ("7", 7),
            ("+7", 7),
            ("-7", -7),
            ("0x7F", 127),
            ("-0XfF", -255),
            ("0b101", 5),
            ("0o17", 15),
            ("017", 15),
            ("00", 0),
            ("1_000'000", 1_000_000),
            ("0xdead_beef", 0xdead_beef),
            ("10u", 10),
            ("10UL", 10),
            ("0x10ull", 16),
            ("18446744073709551615", 18_446_744_073_709_551_615),
        ] {
            assert_eq!(read(text), Some(Scalar::Int(value)), "{text}");
        }
    }

    #[test]
    fn floats() {
        for (text, value) in [
            ("1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("-1e-3", -0.001),
            ("1E5", 1e5),
            ("1.5f", 1.5),
            ("2.0L", 2.0),
            ("0x1.8p3", 12.0),
            ("-0x1p-2", -0.25),
            ("0x1p2f", 4.0),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("1_000.5", 1000.5),
            ("0.1", 0.1),
            ("1e-400", 0.0),
        ] {
            assert_eq!(read(text), Some(Scalar::Float(value)), "{text}");
        }
        let Some(Scalar::Float(nan)) = read("nan") else {
            panic!("no number");
        };
        assert!(nan.is_nan());
    }

    #[test]
    fn complex_numbers() {
        for (text, re, im) in [
            ("2j", 0.0, 2.0),
            ("1+2j", 1.0, 2.0),
            ("(1-2j)", 1.0, -2.0),
            ("-1.5e+3-2e-1i", -1500.0, -0.2),
            ("1+2I", 1.0, 2.0),
            ("1e5J", 0.0, 1e5),
            ("inf-infj", f64::INFINITY, f64::NEG_INFINITY),
            ("0x10+0x1p1j", 16.0, 2.0),
        ] {
            let expected = Scalar::Complex(Complex::new(re, im));
            assert_eq!(read(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_not_numbers() {
        for text in [
            "",
            "-",
            "+",
            "x",
            "x.npy",
            "1.npy",
            "1x2",
            "08",
            "0x",
            "0b2",
            "0o8",
            "1__0",
            "_1",
            "1_",
            "--1",
            "+-1",
            "1 ",
            " 1",
            "1e",
            "j",
            "i",
            "+j",
            "1+j",
            "1+2",
            "1+2j3",
            "()",
            "(1)",
            "0x1.8",
            "0x1.8f",
            "1f",
            "true1",
            "TRUE",
            "nul",
            "١",
            "1\u{a0}",
            "deadbeef_1",
            "e_1",
            "1e+_5",
            "0xg",
            "\0",
            "1,5",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    #[test]
    fn numbers_without_end() {
        let long = "9".repeat(100_000);
        for text in [
            &*long,
            "1e309",
            "-1e999",
            "0x1p99999",
            "1e309j",
            "0xffffffffffffffffffffffffffffffff",
        ] {
            assert_eq!(number(text), Err(TooLarge));
        }
    }
}
