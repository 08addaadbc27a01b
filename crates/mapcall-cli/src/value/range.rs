//! Parses ranges: NumPy's basic indices, as in `[0:1000]` and `[::2, 3, -1]`.

use mapcall::array::layout::{Index, Slice};

/// The error for a text that is not a range.
///
/// ```
/// use mapcall_cli::value::range::range;
///
/// let error = range("0:1000, x").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "expected an integer, a slice as 0:1000 or ::2, or ..., got \"x\" in the range \"0:1000, x\"; \
///      write it as NumPy's basic indices"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an integer, a slice as 0:1000 or ::2, or ..., got {part:?} in the range {range:?}; \
     write it as NumPy's basic indices"
)]
pub struct RangeError {
    /// The invalid text between two commas.
    pub part: String,
    /// The whole text between the brackets.
    pub range: String,
}

/// Parses the text between the brackets.
///
/// ```
/// use mapcall::array::layout::{Index, Slice};
/// use mapcall_cli::value::range::range;
///
/// let every_second = Slice { start: None, stop: None, step: 2 };
/// assert_eq!(range("::2, 3, -1")?, [every_second.into(), Index::At(3), Index::At(-1)]);
/// assert_eq!(range("..., 0")?, [Index::Ellipsis, Index::At(0)]);
/// # Ok::<(), mapcall_cli::value::range::RangeError>(())
/// ```
///
/// `None` is a new axis. Numbers that are too large for `isize` become its largest or smallest value, which
/// selects the same elements, as slices are clipped to the array.
///
/// # Errors
///
/// [`RangeError`] if a part between commas is not an index.
pub fn range(text: &str) -> Result<Vec<Index>, RangeError> {
    let mut parts: Vec<&str> = text.split(',').map(str::trim).collect();
    // As in Python, the text may end with a comma.
    if parts.len() > 1 && parts.last() == Some(&"") {
        parts.pop();
    }
    let part = |part: &str| {
        index(part).ok_or_else(|| RangeError {
            part: part.to_owned(),
            range: text.to_owned(),
        })
    };
    parts.into_iter().map(part).collect()
}

fn index(text: &str) -> Option<Index> {
    match text {
        "..." => return Some(Index::Ellipsis),
        "None" => return Some(Index::NewAxis),
        _ => {}
    }
    let mut parts = text.split(':');
    let (first, second, third) = (parts.next()?, parts.next(), parts.next());
    if parts.next().is_some() {
        return None;
    }
    let Some(second) = second else {
        return position(first).map(Index::At);
    };
    // `None` for invalid text, `Some(None)` for an empty one.
    let optional = |text: &str| match text.trim() {
        "" => Some(None),
        text => position(text).map(Some),
    };
    Some(Index::Slice(Slice {
        start: optional(first)?,
        stop: optional(second)?,
        step: optional(third.unwrap_or_default())?.unwrap_or(1),
    }))
}

fn position(text: &str) -> Option<isize> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let end = if text.starts_with('-') {
        isize::MIN
    } else {
        isize::MAX
    };
    Some(text.parse().unwrap_or(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(start: Option<isize>, stop: Option<isize>, every: isize) -> Index {
        Index::Slice(Slice {
            start,
            stop,
            step: every,
        })
    }

    #[test]
    fn indices() {
        let all = slice(None, None, 1);
        for (text, indices) in [
            ("0", vec![Index::At(0)]),
            ("+3", vec![Index::At(3)]),
            (" -1 ", vec![Index::At(-1)]),
            (":", vec![all]),
            ("::", vec![all]),
            ("0:1000", vec![slice(Some(0), Some(1000), 1)]),
            ("5:", vec![slice(Some(5), None, 1)]),
            (":-5", vec![slice(None, Some(-5), 1)]),
            ("10 : 2 : -1", vec![slice(Some(10), Some(2), -1)]),
            ("::0", vec![slice(None, None, 0)]),
            ("1,", vec![Index::At(1)]),
            ("None,...,:", vec![Index::NewAxis, Index::Ellipsis, all]),
            (
                "9223372036854775808:,-99999999999999999999",
                vec![slice(Some(isize::MAX), None, 1), Index::At(isize::MIN)],
            ),
        ] {
            assert_eq!(range(text), Ok(indices), "{text}");
        }
    }

    #[test]
    fn other_texts_are_not_ranges() {
        for text in [
            "", ",", "1,,2", "a", "1:b", "1:2:3:4", "1.5", "0x1", "- 1", "--1", "1 2", "..",
            "....", ":,x", "[0]", "0]", "1\n2", "１",
        ] {
            let error = range(text).unwrap_err();
            assert_eq!(error.range, text);
        }
    }
}
