//! Suggestions for misspelt names.

/// The length in bytes above which names get no suggestions, as the time grows with its square.
const MAX_LEN: usize = 64;

/// Returns the known names that are similar to an unknown one, the most similar first.
///
/// A name is similar if it is at most one edit per three bytes away, at least one and at most four edits. An
/// edit inserts, removes or replaces a byte, or swaps two neighbours. Case is ignored.
pub fn nearest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    if wanted.len() > MAX_LEN {
        return Vec::new();
    }
    let allowed = allowed(wanted);
    let wanted = wanted.to_ascii_lowercase();
    let counts = counts(&wanted);
    let mut near = names
        .into_iter()
        .filter(|name| name.len().abs_diff(wanted.len()) <= allowed)
        .map(|name| (name, name.to_ascii_lowercase()))
        .filter(|(_, lower)| missing(counts, lower) <= allowed)
        .map(|(name, lower)| (strsim::osa_distance(&wanted, &lower), name))
        .filter(|(distance, _)| *distance <= allowed)
        .collect::<Vec<_>>();
    near.sort_unstable();
    near.into_iter().map(|(_, name)| name).collect()
}

/// Returns the maximum number of edits of a misspelling; 0 for a single letter, which is always another name.
fn allowed(wanted: &str) -> usize {
    if wanted.len() < 2 {
        return 0;
    }
    (wanted.len() / 3).clamp(1, 4)
}

/// The number of occurrences of each byte in a name.
type Counts = [u8; 256];

fn counts(text: &str) -> Counts {
    let mut counts = [0; 256];
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    counts
}

/// Returns the number of bytes of a name that the counted name does not have: a lower bound of the number of
/// edits between ASCII names, which is computed much faster.
fn missing(mut counts: Counts, name: &str) -> usize {
    let is_missing = |byte: &u8| {
        counts
            .get_mut(usize::from(*byte))
            .is_none_or(|count| match count.checked_sub(1) {
                Some(rest) => {
                    *count = rest;
                    false
                }
                None => true,
            })
    };
    name.as_bytes().iter().copied().filter(is_missing).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_first() {
        let names = ["saxpy", "saxpby", "daxpy", "dgemm_", "saxpyi", "zzz"];
        assert_eq!(nearest("saxyp", names), ["saxpy"]);
        assert_eq!(nearest("saxp", names), ["saxpy"]);
        assert_eq!(nearest("DGEMM", names), ["dgemm_"]);
        assert_eq!(nearest("saxpby_", names), ["saxpby", "saxpy", "saxpyi"]);
        assert!(nearest("", names).is_empty());
        assert!(nearest("quite another", names).is_empty());
        assert!(nearest(&"saxpy".repeat(1000), names).is_empty());
    }

    #[test]
    fn the_lower_bound_changes_no_result() {
        let letters = ["a", "b", "ab", "ba", "_", "B", "bab"];
        let longer = |text: String| letters.map(|letter| format!("{text}{letter}"));
        let mut all = letters.map(str::to_owned).to_vec();
        for _ in 0..2 {
            all = all.into_iter().flat_map(longer).collect();
        }
        for wanted in &all {
            let allowed = allowed(wanted);
            let distance = |name: &&String| {
                strsim::osa_distance(&wanted.to_ascii_lowercase(), &name.to_ascii_lowercase())
                    <= allowed
            };
            let mut expected = all.iter().filter(distance).collect::<Vec<_>>();
            let mut found = nearest(wanted, all.iter().map(String::as_str));
            expected.sort();
            found.sort_unstable();
            assert_eq!(found, expected, "{wanted}");
        }
    }
}
