//! The errors and warnings of compilers, with their positions in the text.

use std::collections::HashSet;
use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::prelude::{PRELUDE, TEXT};
use crate::syntax::lexer::Lexer;

/// An error, warning or note of a compiler or linker.
///
/// ```
/// use mapcall_decl::source::{CompileError, Severity, SourceCode};
///
/// let source = SourceCode::new("int f(void)\n{\n    return misspelt;\n}");
/// let Err(CompileError::Refused { diagnostics, .. }) = source.build() else { panic!() };
/// let first = &diagnostics[0];
/// assert_eq!((first.severity, first.line, first.column), (Severity::Error, Some(3), Some(12)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// The severity.
    pub severity: Severity,
    /// The message of the compiler.
    pub message: String,
    /// The file; `None` for the text that was given, and for messages without a position.
    pub file: Option<String>,
    /// The line, from 1; `None` if the message has no position.
    pub line: Option<usize>,
    /// The column, from 1: in characters for the text that was given, otherwise as the compiler counts.
    pub column: Option<usize>,
}

/// The severity of a [`Diagnostic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Says more about the message before.
    Note,
    /// The library has been made.
    Warning,
    /// The library has not been made.
    Error,
}

impl Severity {
    /// Returns the word for the severity, as compilers write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Writes the diagnostic in one line: `line 3, column 12: error: 'misspelt' undeclared`.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}, ")?;
        }
        if let Some(line) = self.line {
            write!(f, "line {line}")?;
            if let Some(column) = self.column {
                write!(f, ", column {column}")?;
            }
            f.write_str(": ")?;
        }
        write!(f, "{}: {}", self.severity.name(), self.message)
    }
}

impl Diagnostic {
    /// Returns what to do about an error that has a usual reason.
    #[must_use]
    pub fn remedy(&self) -> Option<&'static str> {
        let has = |part| self.message.contains(part);
        if has("undefined reference to") {
            Some("define it, or name the library that has it in `libraries`")
        } else if has("cannot find -l") || has("cannot find lib") || has("library not found") {
            Some("install the library's development package, or give the path of its file")
        } else if has("command-line option") || has("unknown argument") {
            Some("leave it out of `flags`")
        } else if has("cannot execute") {
            // A program that GCC starts, such as the assembler.
            Some("install it, or add its folder to PATH")
        } else if self.line.is_some() && (has("No such file or directory") || has("file not found"))
        {
            Some("add the folder that has it to `include`")
        } else {
            None
        }
    }

    /// Returns the message with the line of the text, as [`PrototypeError`](crate::PrototypeError) shows it.
    pub(super) fn render(&self, text: &str) -> String {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let mut group = Group::with_title(level.primary_title(&self.message));
        let line = self.line.filter(|_| self.file.is_none());
        let shown =
            line.and_then(|number| Some((number, text.lines().nth(number.checked_sub(1)?)?)));
        if let Some((number, line)) = shown {
            let annotation = AnnotationKind::Primary.span(self.span(line));
            group = group.element(
                Snippet::source(line)
                    .line_start(number)
                    .annotation(annotation),
            );
        } else if self.line.is_some() {
            return self.to_string();
        }
        if let Some(remedy) = self.remedy() {
            group = group.element(Level::HELP.message(remedy));
        }
        Renderer::plain().render(&[group])
    }

    /// Returns the range of the word at the column of a line, in bytes.
    fn span(&self, line: &str) -> std::ops::Range<usize> {
        let column = self.column.unwrap_or(1).saturating_sub(1);
        let start = line
            .char_indices()
            .nth(column)
            .map_or(line.len(), |(at, _)| at);
        let rest = line.get(start..).unwrap_or_default();
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let word = rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
        start..start + word.unwrap_or(rest.len()).max(first)
    }
}

/// Returns the diagnostics in the messages of a compiler, which has read a text, or a file that includes it.
pub(super) fn parse(messages: &str, text: &str, file: Option<&str>) -> Vec<Diagnostic> {
    let is_text = |name: &str| name == TEXT || name == "<stdin>" || Some(name) == file;
    let mut undefined = HashSet::new();
    let mut found = Vec::new();
    for message in messages.lines() {
        if let Some(symbol) = undefined_symbol(message) {
            if undefined.insert(symbol) {
                found.push(undefined_reference(symbol, text));
            }
            continue;
        }
        let Some((severity, place, message)) = split(message) else {
            if let Some(at) = message.find("cannot find ") {
                found.push(Diagnostic {
                    severity: Severity::Error,
                    message: message.get(at..).unwrap_or_default().into(),
                    file: None,
                    line: None,
                    column: None,
                });
            }
            continue;
        };
        let (name, line, column) = position(place);
        // The linker has said why it fails.
        if name == "collect2" || message.starts_with("linker command failed") || name == PRELUDE {
            continue;
        }
        let is_text = is_text(name);
        let content = line.and_then(|line| text.lines().nth(line.checked_sub(1)?));
        let column = match content.filter(|_| is_text) {
            Some(content) => column.map(|column| characters(content, column)),
            None => column,
        };
        found.push(Diagnostic {
            severity,
            message: message.into(),
            file: line.filter(|_| !is_text).map(|_| name.to_owned()),
            line,
            column,
        });
    }
    found
}

/// Splits a message into its severity, what stands before, and its words.
fn split(line: &str) -> Option<(Severity, &str, &str)> {
    const WORDS: [(&str, Severity); 4] = [
        (": fatal error: ", Severity::Error),
        (": error: ", Severity::Error),
        (": warning: ", Severity::Warning),
        (": note: ", Severity::Note),
    ];
    // gfortran writes them with capital letters.
    let lower = line.to_ascii_lowercase();
    let found = WORDS.iter().filter_map(|(word, severity)| {
        let at = lower.find(word)?;
        Some((at, word.len(), *severity))
    });
    let (at, length, severity) = found.min()?;
    Some((severity, line.get(..at)?, line.get(at + length..)?.trim()))
}

/// Splits `file:line:column`.
fn position(place: &str) -> (&str, Option<usize>, Option<usize>) {
    let number = |text: &str| text.parse::<usize>().ok();
    let split = |text| -> Option<(&str, usize)> {
        let (before, last) = str::rsplit_once(text, ':')?;
        Some((before, number(last)?))
    };
    match split(place) {
        Some((before, last)) => match split(before) {
            Some((file, line)) => (file, Some(line), Some(last)),
            None => (before, Some(last), None),
        },
        None => (place, None, None),
    }
}

/// Returns the column in characters of a column in bytes, both from 1.
fn characters(line: &str, column: usize) -> usize {
    let before = column.saturating_sub(1);
    let characters = line.char_indices().take_while(|&(at, _)| at < before);
    characters.count() + 1
}

/// Returns the symbol that a linker has not found.
fn undefined_symbol(message: &str) -> Option<&str> {
    let quoted = |rest: &'_ str| -> Option<usize> { rest.find(['\'', '\u{2019}', '"']) };
    if let Some((_, rest)) = message.split_once("undefined reference to ") {
        let rest = rest.trim_start_matches(['`', '\'', '\u{2018}']);
        return rest.get(..quoted(rest)?);
    }
    // That of LLVM.
    let (_, rest) = message.split_once("undefined symbol: ")?;
    Some(rest.trim())
}

/// Returns the error of a symbol, at its first use in the text.
fn undefined_reference(symbol: &str, text: &str) -> Diagnostic {
    let mut tokens = Lexer::new(text).map(|token| token.span.range());
    let first = tokens.find(|range| text.get(range.clone()) == Some(symbol));
    let before = first.and_then(|range| text.get(..range.start));
    let line = before.map(|before| before.matches('\n').count() + 1);
    let column = before.map(|before| {
        let last = before.rsplit('\n').next().unwrap_or_default();
        last.chars().count() + 1
    });
    Diagnostic {
        severity: Severity::Error,
        message: format!("undefined reference to `{symbol}`"),
        file: None,
        line,
        column,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_compilers_and_linkers() {
        let text = "int f(void)\n{\n\tint é = q; return g(g(1));\n}\n";
        let messages = "<source>: In function 'f':\n\
                        <source>:3:11: error: 'q' undeclared (first use in this function)\n\
                        <source>:3:11: note: each undeclared identifier\n\
                        <mapcall>:4:1: warning: ours\n\
                        kern.h:7:2: warning: unused [-Wx]\n\
                        kern.f90:12:9: Error: Symbol 'z' at (1) has no IMPLICIT type\n\
                        cc: error: unrecognized command-line option '-fq'\n\
                        /usr/bin/ld: /tmp/x.o: in function `f':\n\
                        <stdin>:(.text+0x11): undefined reference to `g'\n\
                        <stdin>:(.text+0x19): undefined reference to `g'\n\
                        /usr/bin/ld: cannot find -lfoo: No such file or directory\n\
                        collect2: error: ld returned 1 exit status\n";
        let found: Vec<_> = parse(messages, text, None)
            .iter()
            .map(Diagnostic::to_string)
            .collect();
        assert_eq!(
            found,
            [
                "line 3, column 10: error: 'q' undeclared (first use in this function)",
                "line 3, column 10: note: each undeclared identifier",
                "kern.h, line 7, column 2: warning: unused [-Wx]",
                "kern.f90, line 12, column 9: error: Symbol 'z' at (1) has no IMPLICIT type",
                "error: unrecognized command-line option '-fq'",
                "line 3, column 20: error: undefined reference to `g`",
                "error: cannot find -lfoo: No such file or directory",
            ]
        );
    }

    #[test]
    fn positions_outside_of_the_text_do_no_harm() {
        for messages in [
            "<source>:0:0: error: x",
            "<source>:99:99: error: x",
            "<source>:1:99999999999999999999: error: x",
            ": error: ",
        ] {
            for diagnostic in parse(messages, "é", None) {
                assert!(diagnostic.render("é").contains("error"));
            }
        }
    }
}
