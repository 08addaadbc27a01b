//! Parses directives of headers that need no preprocessor, for machines without a C compiler.

use std::collections::HashSet;

use super::standard;
use crate::source_map::Directive;

/// The error for a line that needs a preprocessor.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Needed {
    pub(super) line: usize,
    pub(super) text: String,
}

/// A header without directives and comments; the line numbers stay the same.
pub(super) struct Plain {
    pub(super) text: String,
    /// The definitions of macros.
    pub(super) directives: Vec<Directive>,
}

/// Removes directives and comments from a text.
pub(super) fn read<'a>(text: &str, macros: impl Iterator<Item = &'a str>) -> Result<Plain, Needed> {
    let text = without_comments(text);
    let mut reader = Reader {
        macros: macros.map(str::to_owned).collect(),
        undefined: HashSet::from(["__cplusplus".to_owned()]),
        branches: Vec::new(),
    };
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let mut plain = String::with_capacity(text.len());
    let mut directives = Vec::new();
    let mut continues = false;
    for (at, line) in lines.iter().enumerate() {
        let needed = || Needed {
            line: at + 1,
            text: line.trim().to_owned(),
        };
        let was_directive = continues;
        let directive = line.trim_start().strip_prefix('#').map(str::trim);
        if was_directive || directive.is_some() {
            continues = line.trim_end().ends_with('\\');
        }
        match directive {
            _ if was_directive => plain.push('\n'),
            Some(directive) => {
                let next = lines
                    .iter()
                    .skip(at + 1)
                    .find(|line| !line.trim().is_empty());
                let next = next.copied().unwrap_or_default();
                let kept = reader.directive(directive, next).ok_or_else(needed)?;
                plain.push_str(if kept { line } else { "\n" });
                let is_macro = directive.starts_with("define") || directive.starts_with("undef");
                if is_macro && reader.is_live() && !continues {
                    let line = format!("#{directive}");
                    let is_own = true;
                    directives.push(Directive { line, is_own });
                }
            }
            None if reader.is_live() && reader.uses_macro(line) => return Err(needed()),
            None => plain.push_str(if reader.is_live() { line } else { "\n" }),
        }
    }
    let text = plain;
    Ok(Plain { text, directives })
}

struct Reader {
    macros: HashSet<String>,
    undefined: HashSet<String>,
    /// Whether the text of each enclosing conditional is kept.
    branches: Vec<bool>,
}

impl Reader {
    fn is_live(&self) -> bool {
        self.branches.iter().all(|&is_live| is_live)
    }

    /// Returns whether the line is kept; `None` if it needs a preprocessor.
    fn directive(&mut self, directive: &str, next: &str) -> Option<bool> {
        let end = directive.find(|letter: char| !letter.is_ascii_alphabetic());
        let (keyword, rest) = directive.split_at_checked(end.unwrap_or(directive.len()))?;
        let rest = rest.trim();
        match keyword {
            "if" | "ifdef" | "ifndef" if !self.is_live() => self.branches.push(false),
            "ifdef" => {
                let is_defined = self.is_defined(rest)?;
                self.branches.push(is_defined);
            }
            "ifndef" => {
                // An include guard, or the default of a macro; the next line defines the macro in both cases.
                let is_guard = !self.macros.contains(rest) && defined_name(next) == Some(rest);
                let is_defined = !is_guard && self.is_defined(rest)?;
                self.branches.push(!is_defined);
            }
            "else" => {
                let branch = self.branches.pop()?;
                self.branches.push(!branch);
            }
            "endif" => {
                self.branches.pop()?;
            }
            "elif" => return None,
            _ if !self.is_live() => {}
            "define" => {
                let name = word(rest);
                self.undefined.remove(name);
                self.macros.insert(name.to_owned());
            }
            "undef" => {
                self.macros.remove(rest);
                self.undefined.insert(rest.to_owned());
            }
            "include" => {
                let name = rest.strip_prefix('<')?.strip_suffix('>')?;
                standard::name(name)?;
            }
            "pragma" => return Some(rest != "once"),
            "" => {}
            _ => return None,
        }
        Some(false)
    }

    fn is_defined(&self, name: &str) -> Option<bool> {
        let is_defined = self.macros.contains(name);
        (is_defined || self.undefined.contains(name)).then_some(is_defined)
    }

    fn uses_macro(&self, line: &str) -> bool {
        let words = line.split(|letter: char| letter != '_' && !letter.is_alphanumeric());
        words.into_iter().any(|word| self.macros.contains(word))
    }
}

/// Returns the macro that a line defines.
fn defined_name(line: &str) -> Option<&str> {
    let directive = line.trim_start().strip_prefix('#')?.trim_start();
    Some(word(directive.strip_prefix("define")?.trim()))
}

fn word(text: &str) -> &str {
    let end = text.find(|letter: char| letter != '_' && !letter.is_alphanumeric());
    text.get(..end.unwrap_or(text.len())).unwrap_or_default()
}

/// Replaces comments by blanks, so that no directive is found in a comment.
fn without_comments(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    let mut quote = None;
    while let Some(letter) = letters.next() {
        match (quote, letter, letters.peek()) {
            (Some(_), '\\', Some(_)) => {
                plain.push(letter);
                plain.extend(letters.next());
                continue;
            }
            // A quote that is not closed, such as an apostrophe in text, ends with the line.
            (Some(_), '\n', _) => quote = None,
            (Some(open), _, _) if letter == open => quote = None,
            (None, '"' | '\'', _) => quote = Some(letter),
            (None, '/', Some('/')) => {
                while letters.next_if(|&letter| letter != '\n').is_some() {}
                continue;
            }
            (None, '/', Some('*')) => {
                letters.next();
                let mut last = ' ';
                for letter in letters.by_ref() {
                    if (last, letter) == ('*', '/') {
                        break;
                    }
                    if letter == '\n' {
                        plain.push('\n');
                    }
                    last = letter;
                }
                plain.push(' ');
                continue;
            }
            _ => {}
        }
        plain.push(letter);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guards_and_parts_for_cpp_are_removed() {
        let text = "/* #if\n */ #ifndef K_H // a guard\n#define K_H\n#pragma once\n#pragma pack(1)\n\
                    #include <stddef.h>\n#define LONG(x) \\\n  x x\n#ifdef __cplusplus\nextern \"C\" {\n\
                    #if X\n#else\n#endif\n#else\nint a;\n#endif\nint f(int '//', \"/*\");\n#endif\n";
        let plain = read(text, std::iter::empty()).unwrap().text;
        assert_eq!(plain.lines().count(), text.lines().count());
        let kept: Vec<_> = plain
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(
            kept,
            ["#pragma pack(1)", "int a;", "int f(int '//', \"/*\");"]
        );
    }

    #[test]
    fn lines_that_need_a_preprocessor_are_refused() {
        for (text, line, part) in [
            ("int f(void);\n#if 1\n#endif", 2, "#if 1"),
            ("#ifdef _WIN32\n#endif", 1, "#ifdef _WIN32"),
            ("#include \"x.h\"", 1, "#include \"x.h\""),
            ("#include <zlib.h>", 1, "#include <zlib.h>"),
            ("#define API\n\nAPI int f(void);", 3, "API int f(void);"),
            ("#error no", 1, "#error no"),
            ("#endif", 1, "#endif"),
            ("#else", 1, "#else"),
            ("int n[SIZE];", 1, "int n[SIZE];"),
        ] {
            let needed = read(text, std::iter::once("SIZE")).err().unwrap();
            assert_eq!((needed.line, &*needed.text), (line, part));
        }
        let redefined =
            "#ifndef N\n#define N 3\n#endif\n#undef N\n#ifdef N\n#error\n#endif\nint N;";
        assert!(
            read(redefined, std::iter::empty())
                .unwrap()
                .text
                .ends_with("int N;")
        );
    }
}
