//! Line markers, which map preprocessed text to the files and lines that it comes from.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Position;

/// The file and line of each range of a text.
#[derive(Debug)]
pub(crate) struct SourceMap {
    /// The ranges, in the order of the text.
    segments: Vec<Segment>,
    /// The files whose declarations override others.
    overriding: Vec<String>,
}

#[derive(Debug)]
struct Segment {
    start: usize,
    file: Arc<str>,
    line: usize,
    is_own: bool,
}

/// The output of a preprocessor, taken apart.
#[derive(Debug)]
pub(crate) struct Separated {
    /// The text without line markers and definitions of macros.
    pub(crate) text: String,
    pub(crate) map: SourceMap,
    /// The definitions of macros.
    pub(crate) directives: Vec<Directive>,
    /// The files that were read, each with the file that includes it; that of the first one is empty.
    pub(crate) files: Vec<(Arc<str>, Arc<str>)>,
}

/// A line `#define ...` or `#undef ...`.
#[derive(Debug)]
pub(crate) struct Directive {
    pub(crate) line: String,
    /// Whether it belongs to the requested header.
    pub(crate) is_own: bool,
}

/// Separates the output of a preprocessor into its text and its line markers and definitions of macros, as
/// `-dD` writes them.
///
/// `is_foreign` returns whether the declarations of a system header, and of the files that it includes, are
/// left out.
pub(crate) fn separate(output: &str, is_foreign: impl Fn(&str) -> bool) -> Separated {
    let mut text = String::with_capacity(output.len());
    let mut segments: Vec<Segment> = Vec::new();
    let mut names: HashSet<Arc<str>> = HashSet::new();
    let (mut directives, mut files) = (Vec::new(), Vec::new());
    // Whether the declarations of each file on the stack of includes are listed.
    let mut own = vec![true];
    for line in output.split_inclusive('\n') {
        if !line.starts_with('#') {
            text.push_str(line);
            continue;
        }
        if line.starts_with("#define ") || line.starts_with("#undef ") {
            let is_own = segments.last().is_some_and(|segment| segment.is_own);
            let line = line.trim_end_matches(['\r', '\n']).to_owned();
            directives.push(Directive { line, is_own });
            text.push('\n');
            continue;
        }
        let Some(marker) = Marker::read(line) else {
            text.push_str(line);
            continue;
        };
        let includer = segments.last().map(|segment| Arc::clone(&segment.file));
        if marker.enters {
            let is_foreign = marker.is_system && is_foreign(&marker.file);
            // The compiler itself includes such a header.
            let is_implicit = includer.as_deref().is_some_and(is_internal);
            own.push(own.last() == Some(&true) && !is_foreign && !is_implicit);
        } else if marker.leaves && own.len() > 1 {
            own.pop();
        }
        let file = names.get(&*marker.file).cloned().unwrap_or_else(|| {
            let file: Arc<str> = marker.file.into();
            names.insert(Arc::clone(&file));
            file
        });
        let is_read = (marker.enters || includer.is_none()) && !file.starts_with('<');
        if is_read {
            files.push((Arc::clone(&file), includer.unwrap_or_default()));
        }
        segments.push(Segment {
            start: text.len(),
            is_own: own.last() == Some(&true) && !is_internal(&file),
            file,
            line: marker.line,
        });
    }
    let map = SourceMap {
        segments,
        overriding: Vec::new(),
    };
    Separated {
        text,
        map,
        directives,
        files,
    }
}

/// Returns the absolute path of a file of prototypes, by which it is included: line markers have this name, and
/// [`override_by`](SourceMap::override_by) finds the file by it.
pub(crate) fn included_as(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Returns whether the name in a line marker stands for definitions of the compiler, or for those that
/// mapcall puts before a text.
fn is_internal(file: &str) -> bool {
    matches!(
        file,
        "<built-in>" | "<command-line>" | "<command line>" | "<mapcall>"
    )
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
            overriding: Vec::new(),
        }
    }

    /// Sets the files whose declarations override others.
    pub(crate) fn override_by(&mut self, files: Vec<std::borrow::Cow<'_, str>>) {
        self.overriding = files.into_iter().map(Into::into).collect();
    }

    /// Returns whether any declarations override others.
    pub(crate) fn has_overriding(&self) -> bool {
        !self.overriding.is_empty()
    }

    /// Returns whether a declaration at a position of the text overrides others.
    pub(crate) fn is_overriding(&self, at: usize) -> bool {
        let file = self.segment(at).map(|segment| &segment.file);
        file.is_some_and(|file| self.overriding.iter().any(|other| **other == **file))
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
            let separated = separate(output, |file| file == foreign);
            let (text, lines) = (separated.text, separated.map);
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
    fn macros_are_own_as_their_files() {
        let output = "# 0 \"x.h\"\n# 0 \"<built-in>\"\n#define __A 1\n# 0 \"<command-line>\"\n\
                      # 1 \"/usr/include/predef.h\" 1 3 4\n#define P 1\n# 0 \"<command-line>\" 2\n\
                      # 1 \"x.h\"\n#define X 2\nint x;\n# 1 \"/usr/include/stdio.h\" 1 3\n#define EOF\n\
                      # 4 \"x.h\" 2\n#undef X\nint y;\n";
        let separated = separate(output, |file| file.ends_with("stdio.h"));
        let own: Vec<_> = separated
            .directives
            .iter()
            .filter(|directive| directive.is_own)
            .map(|directive| &*directive.line)
            .collect();
        assert_eq!(own, ["#define X 2", "#undef X"]);
        assert_eq!(separated.directives.len(), 5);
        let at = separated.text.find('y').unwrap();
        assert_eq!(separated.map.position(&separated.text, at).unwrap().line, 5);
        let files: Vec<_> = separated.files.iter().map(|(file, _)| &**file).collect();
        assert_eq!(
            files,
            ["x.h", "/usr/include/predef.h", "/usr/include/stdio.h"]
        );
        assert_eq!(&*separated.files[2].1, "x.h");
    }

    #[test]
    fn markers_that_leave_too_often_do_no_harm() {
        let separated = separate("# 3 \"a\" 2\n# 4 \"b\" 2\nx", |_| true);
        let (text, lines) = (separated.text, separated.map);
        assert_eq!(text, "x");
        assert!(lines.is_own(0));
        assert_eq!(lines.position(&text, 0).unwrap().line, 4);
        assert_eq!(lines.position(&text, 99), None);
    }
}
