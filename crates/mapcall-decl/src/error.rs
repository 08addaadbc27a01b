//! The errors of C declarations.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::extent::ExtentError;

/// The error of a declaration that can't be parsed or called, with its position in the text.
///
/// ```
/// use mapcall_decl::{Prototype, PrototypeErrorKind};
///
/// let error = Prototype::parse("void scale(size_t n, float x[m]);").unwrap_err();
/// assert!(matches!(error.kind, PrototypeErrorKind::UnknownParameter { .. }));
/// assert_eq!(error.span, 29..30);
/// assert_eq!(error.to_string(), "\
/// error: the extent names `m`, which is no parameter of `scale`
///   |
/// 1 | void scale(size_t n, float x[m]);
///   |                              ^
///   |
///   = help: add an integer parameter `m`, or write a constant");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrototypeError {
    /// The kind of the error.
    pub kind: PrototypeErrorKind,
    /// The range of the error in the text, in bytes.
    pub span: Range<usize>,
    /// The whole text.
    pub text: Arc<str>,
    /// The file and line, if a header was read.
    pub position: Option<Box<Position>>,
}

/// A line of a header.
///
/// ```
/// # #[cfg(feature = "headers")] {
/// use mapcall_decl::Header;
///
/// let errno = Header::new("errno.h").read()?;
/// assert!(errno.errors().is_empty());
/// let stdio = Header::new("stdio.h").read()?;
/// let vprintf = stdio.functions().iter().find(|f| f.name == "vprintf").unwrap();
/// let position = vprintf.prototype.as_ref().unwrap_err().position.as_ref().unwrap();
/// assert!(position.file.ends_with("stdio.h") && position.line > 1);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// The file, as the compiler names it.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
}

/// The reason why a declaration is refused.
///
/// `Display` writes the reason in one line; [`remedy`](Self::remedy) returns what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrototypeErrorKind {
    /// The text is not valid C.
    #[error("expected {expected}")]
    Syntax {
        /// The expected text.
        expected: String,
    },
    /// The text declares no function.
    #[error("expected the prototype of a function, got none")]
    NoFunction,
    /// The text declares no variable, or several.
    #[error("expected the declaration of one variable, got {found}")]
    NoVariable {
        /// The number of variables.
        found: usize,
    },
    /// The text declares a second function, where one is expected.
    #[error("expected one prototype, got a second one, `{name}`")]
    SecondFunction {
        /// The second function.
        name: String,
    },
    /// The declaration does not give the types of the parameters.
    #[error("`{function}` doesn't say what its parameters are, as C before 1989")]
    OldStyle {
        /// The function.
        function: String,
    },
    /// A `static` function, which no library exports.
    #[error("`{function}` is static: no library exports it")]
    Static {
        /// The function.
        function: String,
    },
    /// An attribute selects another calling convention.
    #[error("`{attribute}` changes how a function is called")]
    Convention {
        /// The attribute.
        attribute: String,
    },
    /// A prototype that contradicts the header's declaration of the function.
    #[error("`{prototype}` contradicts the header's `{declared}`: {difference}")]
    Contradiction {
        /// The prototype.
        prototype: Box<str>,
        /// The declaration of the header.
        declared: Box<str>,
        /// The first difference.
        difference: Box<str>,
    },
    /// A name that is not a type.
    #[error("unknown type `{name}`")]
    UnknownType {
        /// The name.
        name: String,
        /// The known type with the most similar name, if there is one.
        nearest: Option<String>,
    },
    /// Keywords that together are not a type, as in `short double`.
    #[error("`{name}` is no type")]
    NoType {
        /// The keywords.
        name: String,
    },
    /// An incomplete type where a value is needed.
    #[error("`{ctype}` is incomplete: its size is not known")]
    Incomplete {
        /// The type.
        ctype: String,
    },
    /// A type that can't be passed.
    #[error("`{ctype}` can't be passed: {reason}")]
    UnsupportedType {
        /// The type.
        ctype: String,
        /// The reason.
        reason: String,
    },
    /// Two parameters of one name.
    #[error("two parameters are called `{name}`")]
    DuplicateParameter {
        /// The name.
        name: String,
    },
    /// A name defined twice, with different meanings.
    #[error("`{name}` is defined a second time, as something else")]
    Redefined {
        /// The name.
        name: String,
    },
    /// An extent with a name that is not a parameter.
    #[error("the extent names `{name}`, which is no parameter of `{function}`")]
    UnknownParameter {
        /// The name.
        name: String,
        /// The function.
        function: String,
        /// The integer parameter with the most similar name, if there is one.
        nearest: Option<String>,
    },
    /// An unknown name, where a constant is expected.
    #[error("`{name}` is no constant")]
    UnknownConstant {
        /// The name.
        name: String,
    },
    /// An extent that names a parameter that is not an integer.
    #[error("the extent names `{name}`, which is no integer but `{ctype}`")]
    NotInteger {
        /// The parameter.
        name: String,
        /// Its type.
        ctype: String,
    },
    /// A floating-point number, where an integer is expected.
    #[error("expected an integer, got the floating constant `{constant}`")]
    Fraction {
        /// The given text.
        constant: String,
    },
    /// An expression of C that is not supported in extents and constants.
    #[error("`{expression}` can't stand in an extent")]
    Expression {
        /// The expression.
        expression: String,
    },
    /// A constant expression without a value.
    #[error("this constant expression {0}")]
    Constant(Box<ExtentError>),
    /// An extent with a parameter, where arrays must have constant ones.
    #[error("only the extents of a parameter itself may vary")]
    VariableLength,
    /// A type that C does not have: an array of functions, or a function that returns an array.
    #[error("C has no {what}")]
    Impossible {
        /// The type.
        what: &'static str,
    },
    /// The nesting is deeper than the limit.
    #[error("declarations nest deeper than {limit} levels here")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// The function has more parameters than the limit.
    #[error("`{function}` has more than {limit} parameters")]
    TooManyParameters {
        /// The function.
        function: String,
        /// The limit.
        limit: usize,
    },
    /// The text has more declarations than the limit, or more that can't be read; the others are left out.
    #[error("more than {limit} declarations, or errors in them: the rest of the text is left out")]
    TooManyErrors {
        /// The limit.
        limit: usize,
    },
    /// The system can't start a thread with a stack that is large enough for the text.
    #[error("parsing the text needs a thread with {bytes} bytes of stack: {reason}")]
    NoStack {
        /// The size of the stack.
        bytes: usize,
        /// The error of the system.
        reason: String,
    },
    /// The text is longer than the limit.
    #[error("the text has {length} bytes, more than {limit}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl PrototypeErrorKind {
    /// Returns what to write instead.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    ///
    /// let error = Prototype::parse("void fill(size_T n, float x[n]);").unwrap_err();
    /// assert_eq!(error.kind.to_string(), "unknown type `size_T`");
    /// assert_eq!(error.kind.remedy(), "did you mean `size_t`?");
    /// ```
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Syntax { .. } => {
                "write a C prototype, such as `void f(size_t n, const float x[n]);`".into()
            }
            Self::NoFunction => "add a prototype, such as `void f(size_t n, float x[n]);`".into(),
            Self::NoVariable { .. } => {
                "write one declaration, such as `int verbosity;` or `const double table[3];`".into()
            }
            Self::SecondFunction { .. } => {
                "give one prototype at a time, or read them all as a header".into()
            }
            Self::OldStyle { function } => format!(
                "write the types in the parentheses, or `{function}(void)` if it takes nothing"
            ),
            Self::Contradiction { .. } => {
                "write the header's types, or load the library without its header".into()
            }
            Self::Static { .. } => "remove `static`, in the library too".into(),
            Self::Convention { .. } => {
                "wrap it in a function with the platform's calling convention".into()
            }
            Self::UnknownType {
                nearest: Some(nearest),
                ..
            }
            | Self::UnknownParameter {
                nearest: Some(nearest),
                ..
            } => format!("did you mean `{nearest}`?"),
            Self::UnknownType { name, .. } => {
                format!("put its definition before, such as `typedef int {name};`")
            }
            Self::NoType { .. } => "write one of C's types, such as `unsigned long`".into(),
            Self::Incomplete { ctype } => {
                format!("put the definition of `{ctype}` before, or take a pointer to it")
            }
            Self::UnsupportedType { .. } => "pass it by a pointer, or wrap the function".into(),
            Self::DuplicateParameter { .. } => "rename one of them".into(),
            Self::Redefined { .. } => "remove one of the definitions, or make them agree".into(),
            Self::UnknownParameter { name, .. } => {
                format!("add an integer parameter `{name}`, or write a constant")
            }
            Self::UnknownConstant { .. } => "write an integer or an enumerator".into(),
            Self::NotInteger { name, .. } => {
                format!("make `{name}` a `size_t`, or name an integer parameter")
            }
            Self::Fraction { .. } => "write an integer, such as `n * 3 / 2` for 1.5 n".into(),
            Self::Expression { .. } => {
                "write names of integer parameters, integer constants and operators".into()
            }
            Self::Constant(_) => "write another one".into(),
            Self::VariableLength => "write a constant, or a pointer in place of the array".into(),
            Self::Impossible { .. } => "write a pointer to it".into(),
            Self::TooDeep { .. } => {
                "leave out needless brackets, or write `void *` in place of an inner type".into()
            }
            Self::TooManyParameters { .. } => "wrap it in a function that takes a struct".into(),
            Self::TooManyErrors { .. } => "give declarations that a C compiler accepts".into(),
            Self::NoStack { .. } | Self::TooLong { .. } => {
                "give only the declarations that are needed".into()
            }
        }
    }
}

impl std::error::Error for PrototypeError {}

impl fmt::Display for PrototypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (reason, remedy) = (self.kind.to_string(), self.kind.remedy());
        let (line, lines, span) = self.excerpt();
        let position = self.position.as_ref();
        let mut snippet =
            Snippet::source(lines).line_start(position.map_or(line, |position| position.line));
        if let Some(position) = position {
            snippet = snippet.path(&*position.file);
        }
        let group = Group::with_title(Level::ERROR.primary_title(&reason))
            .element(snippet.annotation(AnnotationKind::Primary.span(span)))
            .element(Level::HELP.message(&remedy));
        f.write_str(&Renderer::plain().render(&[group]))
    }
}

impl PrototypeError {
    /// Returns the lines of the span, the number of the first line, and the span within the lines. Only a few
    /// lines are returned, as a header can be long.
    fn excerpt(&self) -> (usize, &str, Range<usize>) {
        const LINES: usize = 4;
        let text = &*self.text;
        let (start, end) = (self.span.start.min(text.len()), self.span.end);
        let is_boundary = |at: &usize| text.is_char_boundary(*at);
        let start = (0..=start).rev().find(is_boundary).unwrap_or(0);
        let end = (end.max(start)..text.len())
            .find(is_boundary)
            .unwrap_or(text.len());
        let (before, after) = text.split_at_checked(start).unwrap_or((text, ""));
        let first = before.rfind('\n').map_or(0, |at| at + 1);
        let number = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
        let last = after
            .match_indices('\n')
            .map(|(at, _)| start + at)
            .scan(0, |lines, at| {
                *lines += 1;
                Some((*lines, at))
            })
            .find(|&(lines, at)| at >= end || lines == LINES)
            .map_or(text.len(), |(_, at)| at);
        let lines = text.get(first..last).unwrap_or_default();
        (
            number,
            lines,
            start - first..end.min(last).max(start) - first,
        )
    }

    pub(crate) fn new(kind: PrototypeErrorKind, span: Range<usize>, text: &Arc<str>) -> Self {
        Self {
            kind,
            span,
            text: Arc::clone(text),
            position: None,
        }
    }
}
