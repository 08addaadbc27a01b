//! Line markers, which map preprocessed text to the files and lines that it comes from.

use std::collections::HashSet;
use std::sync::Arc;

use crate::error::Position;

/// The file and line of each range of a text.
#[derive(Debug)]
pub(crate) struct SourceMap {
    /// The ranges, in the order of the text.
    segments: Vec<Segment>,
}

#[derive(Debug)]
struct Segment {
    start: usize,
    file: Arc<str>,
    line: usize,
    is_own: bool,
}

/// Removes the line markers from a text, and returns the map of its source positions.
///
/// `is_foreign` returns whether the declarations of a system header, and of the files that it includes, are
/// left out.
pub(crate) fn separate(output: &str, is_foreign: impl Fn(&str) -> bool) -> (String, SourceMap) {
    let mut text = String::with_capacity(output.len());
    let mut segments = Vec::new();
    let mut files: HashSet<Arc<str>> = HashSet::new();
    // Whether the functions of each file on the stack of includes are listed.
    let mut own = vec![true];
    for line in output.split_inclusive('\n') {
        let Some(marker) = Marker::read(line) else {
            text.push_str(line);
            continue;
        };
        if marker.enters {
            let is_foreign = marker.is_system && is_foreign(&marker.file);
            own.push(own.last() == Some(&true) && !is_foreign);
        } else if marker.leaves && own.len() > 1 {
            own.pop();
        }
        let file = files.get(&*marker.file).cloned().unwrap_or_else(|| {
            let file: Arc<str> = marker.file.into();
            files.insert(Arc::clone(&file));
            file
        });
        segments.push(Segment {
            start: text.len(),
            file,
            line: marker.line,
            is_own: own.last() == Some(&true),
        });
    }
    (text, SourceMap { segments })
}

impl SourceMap {
    /// Returns the map of a file that has no line markers.
    pub(crate) fn of_file(file: &str) -> Self {
        let segment = Segment {
            start: 0,
            file: file.into(),
            line: 1,
            is_own: true,
        };
        Self {
            segments: vec![segment],
        }
    }

    fn segment(&self, at: usize) -> Option<&Segment> {
        let behind = self.segments.partition_point(|segment| segment.start <= at);
        self.segments.get(behind.checked_sub(1)?)
    }

    /// Returns whether a position of the text belongs to the requested header.
    pub(crate) fn is_own(&self, at: usize) -> bool {
        self.segment(at).is_some_and(|segment| segment.is_own)
    }

    /// Returns the file and line of a position in the text.
    pub(crate) fn position(&self, text: &str, at: usize) -> Option<Position> {
        let segment = self.segment(at)?;
        let before = text.get(segment.start..at)?;
        let lines = before.matches('\n').count();
        Some(Position {
            file: Arc::clone(&segment.file),
            line: segment.line.saturating_add(lines),
        })
    }
}

/// A line marker, such as `# 12 "file.h" 1 3` (GCC manual, "Preprocessor Output").
#[derive(Debug, PartialEq, Eq)]
struct Marker {
    line: usize,
    file: String,
    enters: bool,
    leaves: bool,
    is_system: bool,
}

impl Marker {
    fn read(line: &str) -> Option<Self> {
        let (number, rest) = line.strip_prefix("# ")?.split_once(" \"")?;
        let line = number.parse().ok()?;
        let (file, flags) = rest.rsplit_once('"')?;
        let has = |flag| flags.split_ascii_whitespace().any(|known| known == flag);
        Some(Self {
            line,
            file: unescape(file),
            enters: has("1"),
            leaves: has("2"),
            is_system: has("3"),
        })
    }
}

/// Unescapes the name of a file in a line marker, which is a C string, also with octal escapes.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                tail
            }
            (b'\\', [escaped, tail @ ..]) => {
                bytes.push(*escaped);
                tail
            }
            _ => {
                bytes.push(*first);
                tail
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers() {
        let marker = Marker::read("# 12 \"a \\\"b\\\\\\303\\251.h\" 1 3 4\n").unwrap();
        assert_eq!((marker.line, &*marker.file), (12, "a \"b\\é.h"));
        assert!(marker.enters && !marker.leaves && marker.is_system);
        for line in [
            "#pragma once",
            "# 1",
            "# x \"f\"",
            "# -1 \"f\"",
            "# 1 \"f",
            "",
            "int x;",
        ] {
            assert_eq!(Marker::read(line), None, "{line}");
        }
    }

    #[test]
    fn files_that_standard_headers_include_are_not_own() {
        let output = "# 1 \"x.h\"\nA\n# 1 \"/usr/include/stdio.h\" 1 3\nB\n\
                      # 1 \"/usr/include/bits/y.h\" 1 3\nC\n# 2 \"/usr/include/stdio.h\" 2 3\nD\n\
                      # 7 \"x.h\" 2\n\nE\n# 1 \"z/time.h\" 1\nF\n";
        for (foreign, own) in [("/usr/include/stdio.h", "AEF"), ("", "ABCDEF")] {
            let (text, lines) = separate(output, |file| file == foreign);
            assert_eq!(text, "A\nB\nC\nD\n\nE\nF\n");
            let kept: String = text
                .char_indices()
                .filter(|&(at, letter)| letter != '\n' && lines.is_own(at))
                .map(|(_, letter)| letter)
                .collect();
            assert_eq!(kept, own);
            let position = lines.position(&text, text.find('E').unwrap()).unwrap();
            assert_eq!((&*position.file, position.line), ("x.h", 8));
        }
    }

    #[test]
    fn markers_that_leave_too_often_do_no_harm() {
        let (text, lines) = separate("# 3 \"a\" 2\n# 4 \"b\" 2\nx", |_| true);
        assert_eq!(text, "x");
        assert!(lines.is_own(0));
        assert_eq!(lines.position(&text, 0).unwrap().line, 4);
        assert_eq!(lines.position(&text, 99), None);
    }
}
