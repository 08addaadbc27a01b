//! Formats counts, sizes and rates with their units, and shapes.

use std::fmt::Display;

/// Formats values as a Python tuple.
pub(crate) fn tuple<T: Display>(values: &[T]) -> String {
    let texts: Vec<String> = values.iter().map(T::to_string).collect();
    let comma = if values.len() == 1 { "," } else { "" };
    format!("({}{comma})", texts.join(", "))
}

/// Formats a count with its unit, which gets an `s` unless the count is 1.
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Formats a number of bytes in the largest binary unit in which it is at least 1.
pub(crate) fn readable(bytes: usize) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    #[expect(
        clippy::cast_precision_loss,
        reason = "one digit behind the point is shown"
    )]
    let mut value = bytes as f64;
    let mut unit = "bytes";
    for larger in UNITS {
        // Values that would be rounded to 1024.0 are shown in the next unit.
        if value < 1023.95 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    match unit {
        "bytes" => counted(bytes, "byte"),
        unit => format!("{value:.1} {unit}"),
    }
}

/// Formats a rate in bytes per second.
pub(crate) fn rate(bytes: usize, seconds: f64) -> String {
    format!("{}/s", readable(per_second(bytes, seconds)))
}

/// Returns the number of bytes per second.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a few digits are shown, and the conversion saturates"
)]
pub(crate) fn per_second(bytes: usize, seconds: f64) -> usize {
    (bytes as f64 / seconds.max(1e-9)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (8_000_000, "7.6 MiB"),
            (usize::MAX, "16.0 EiB"),
        ] {
            assert_eq!(readable(bytes), text);
        }
    }

    #[test]
    fn rates() {
        assert_eq!(rate(1 << 30, 0.5), "2.0 GiB/s");
        assert_eq!(rate(0, 0.0), "0 bytes/s");
        assert_eq!(per_second(usize::MAX, 0.0), usize::MAX);
    }
}
