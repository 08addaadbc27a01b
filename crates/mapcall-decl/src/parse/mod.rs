//! Reads the syntax tree of declarations: types, prototypes and the extents of arrays.

mod annotation;
mod constant;
mod declarator;
mod expression;
mod function;
mod literal;
mod types;

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use crate::ctype::CType;
use crate::ctype::scope::{Conflict, Scope};
use crate::error::{PrototypeError, PrototypeErrorKind as Kind};
use crate::prototype::{Declarations, Declared, Prototype};
use crate::source_map::SourceMap;
use crate::stack;
use crate::syntax::lexer::Span;
use crate::syntax::parser::{self, MAX_DEPTH, SyntaxError};

type Result<T, E = PrototypeError> = std::result::Result<T, E>;

/// The maximum number of misspelt names of a text that get suggestions.
const MAX_SUGGESTIONS: usize = 100;

/// The maximum number of declarations of a text that can't be read, so that the list of errors stays short.
const MAX_ERRORS: usize = 1000;

/// The maximum length of a text in bytes.
pub(crate) const MAX_TEXT: usize = 16 << 20;

/// The stack that parsing needs at its maximum depth, in bytes.
const STACK: usize = if cfg!(debug_assertions) {
    4 << 20
} else {
    1 << 20
};

impl Prototype {
    /// Parses one prototype; definitions of types may precede it.
    ///
    /// ```
    /// use mapcall_decl::Prototype;
    ///
    /// let dot = Prototype::parse("double dot(int n, const double x[n], const double y[n])")?;
    /// assert_eq!(dot.parameters.len(), 3);
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    ///
    /// The last semicolon may be left out; the body of a definition is skipped.
    ///
    /// # Errors
    ///
    /// [`PrototypeError`] if the text is not valid C, or if the function can't be called.
    pub fn parse(text: &str) -> Result<Self, PrototypeError> {
        prototype(text, &Arc::default()).map(|defined| defined.prototype)
    }
}

impl Declarations {
    /// Parses the preprocessed text of a header.
    ///
    /// Declarations that can't be parsed are in [`errors`](Self::errors); a function that can't be called has
    /// the reason. A function that is declared twice is listed once, with its first declaration.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        declarations(&Arc::from(text), None)
    }

    /// Parses one prototype, which may use the types and enumerators of the header.
    ///
    /// ```
    /// use mapcall_decl::Declarations;
    ///
    /// let header = Declarations::parse("enum { TAPS = 3 }; typedef float sample;");
    /// let f = header.prototype("void smooth(int n, const sample x[n], sample y[n - TAPS])")?;
    /// assert_eq!(f.signature(), "(n)->(n-3)");
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    ///
    /// So a prototype can add extents of arrays that the header does not give.
    ///
    /// # Errors
    ///
    /// Those of [`Prototype::parse`].
    pub fn prototype(&self, text: &str) -> Result<Prototype, PrototypeError> {
        self.prototype_with_structs(text)
            .map(|(prototype, _)| prototype)
    }

    /// Parses one prototype like [`prototype`](Self::prototype), and also returns the structs and unions that
    /// the text defines, by their tags and by their typedef names.
    ///
    /// ```
    /// use mapcall_decl::Declarations;
    ///
    /// let header = Declarations::parse("typedef float sample;");
    /// let text = "struct pair { sample left, right; }; void mix(struct pair *p);";
    /// let (mix, structs) = header.prototype_with_structs(text)?;
    /// assert_eq!((mix.name.as_str(), structs["pair"].size()), ("mix", Some(8)));
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Prototype::parse`].
    pub fn prototype_with_structs(
        &self,
        text: &str,
    ) -> Result<(Prototype, HashMap<String, CType>), PrototypeError> {
        let defined = prototype(text, &self.scope)?;
        Ok((defined.prototype, defined.structs))
    }
}

/// Parses one prototype and the definitions before it, which may use the names of `scope`.
fn prototype(text: &str, scope: &Arc<Scope>) -> Result<Defined> {
    let source = Arc::from(text);
    with_stack(&source, || read_prototype(text, &source, scope))?
}

/// A prototype, and the structs and unions that its text defines.
struct Defined {
    prototype: Prototype,
    structs: HashMap<String, CType>,
}

fn read_prototype(text: &str, source: &Arc<str>, scope: &Arc<Scope>) -> Result<Defined> {
    let mut reader = Reader::new(source, Scope::within(Arc::clone(scope)));
    let mut found = None;
    reader.declarations(&mut |reader, item| match item {
        Item::Error(error) => Err(error),
        Item::Function(name, prototype) => {
            let prototype = prototype?;
            if found.is_some() {
                let kind = Kind::SecondFunction {
                    name: reader.text(name).into(),
                };
                return Err(reader.error(kind, name));
            }
            found = Some(prototype);
            Ok(())
        }
    })?;
    let prototype = found.ok_or_else(|| {
        let end = text.trim_end().len();
        PrototypeError::new(Kind::NoFunction, end..end, source)
    })?;
    Ok(Defined {
        prototype,
        structs: reader.scope.structs(),
    })
}

/// Parses all declarations of a text; of a preprocessed header, only the functions that belong to it.
pub(crate) fn declarations(source: &Arc<str>, source_map: Option<&SourceMap>) -> Declarations {
    let read = with_stack(source, || read_declarations(source, source_map));
    read.unwrap_or_else(|error| Declarations {
        errors: vec![error],
        ..Declarations::default()
    })
}

fn read_declarations(source: &Arc<str>, source_map: Option<&SourceMap>) -> Declarations {
    let mut declarations = Declarations::default();
    let mut reader = Reader::new(source, Scope::default());
    reader.source_map = source_map;
    let mut seen = HashSet::new();
    let (functions, errors) = (&mut declarations.functions, &mut declarations.errors);
    let read = reader.declarations(&mut |reader, item| {
        match item {
            Item::Error(error) if reader.is_own(error.span.start) => {
                errors.push(error);
                if errors.len() == MAX_ERRORS {
                    let limit = MAX_ERRORS;
                    return Err(
                        reader.error_at(Kind::TooManyErrors { limit }, reader.position.clone())
                    );
                }
            }
            Item::Error(_) => {}
            Item::Function(name, prototype) => {
                let name = reader.text(name).to_owned();
                if seen.insert(name.clone()) {
                    functions.push(Declared { name, prototype });
                }
            }
        }
        Ok(())
    });
    declarations.errors.extend(read.err());
    declarations.structs = reader.scope.structs();
    declarations.scope = Arc::new(reader.scope);
    declarations
}

/// Parses a text on a stack that is large enough.
fn with_stack<R: Send>(source: &Arc<str>, read: impl FnOnce() -> R + Send) -> Result<R> {
    let length = source.len();
    let refuse = |kind| PrototypeError::new(kind, 0..0, source);
    if length > MAX_TEXT {
        let limit = MAX_TEXT;
        return Err(refuse(Kind::TooLong { length, limit }));
    }
    stack::with(STACK, read).map_err(|error| {
        let (bytes, reason) = (STACK, error.to_string());
        refuse(Kind::NoStack { bytes, reason })
    })
}

/// An item at the top level of a text.
enum Item {
    /// A function, and its name.
    Function(Span, Result<Prototype>),
    /// The error of a declaration that can't be parsed.
    Error(PrototypeError),
}

/// A callback for each item; an error ends the parsing.
type ItemVisitor<'s, 't> = dyn FnMut(&mut Reader<'t>, Item) -> Result<()> + 's;

/// The state of the parser: the text, and the names that it has defined so far.
struct Reader<'t> {
    source: &'t Arc<str>,
    scope: Scope,
    /// The source positions of the text, if it is a preprocessed header.
    source_map: Option<&'t SourceMap>,
    /// The position of the current declaration, for errors without a position.
    position: Range<usize>,
    /// The number of suggestions that have been searched for.
    suggestions: Cell<usize>,
}

impl<'t> Reader<'t> {
    fn new(source: &'t Arc<str>, scope: Scope) -> Self {
        Self {
            source,
            scope,
            source_map: None,
            position: 0..0,
            suggestions: Cell::new(0),
        }
    }

    fn declarations(&mut self, visit: &mut ItemVisitor<'_, 't>) -> Result<()> {
        let mut declarations = parser::Declarations::new(self.source);
        loop {
            let scope = &self.scope;
            match declarations.next(&|name| scope.is_type(name)) {
                Some(Ok(declaration)) => {
                    self.position = declaration.span.range();
                    self.declaration(&declaration, visit)?;
                }
                Some(Err(SyntaxError {
                    kind,
                    span,
                    function,
                })) => {
                    self.position = span.range();
                    let error = self.error(kind, span);
                    match function.filter(|name| self.is_own(name.range().start)) {
                        Some(name) => visit(self, Item::Function(name, Err(error)))?,
                        None => visit(self, Item::Error(error))?,
                    }
                }
                None => return Ok(()),
            }
        }
    }
}

/// Lookup of names.
impl Reader<'_> {
    fn define_tag(
        &mut self,
        keyword: &'static str,
        tag: &str,
        ctype: &CType,
        span: Span,
    ) -> Result<()> {
        let defined = self.scope.define_tag(keyword, tag, ctype);
        defined.map_err(|Conflict| self.redefined(format!("{keyword} {tag}"), span))
    }

    fn define_typedef(&mut self, name: &str, ctype: CType, span: Span) -> Result<()> {
        let defined = self.scope.define_typedef(name, ctype);
        defined.map_err(|Conflict| self.redefined(name.into(), span))
    }

    fn define_enumerator(&mut self, name: &str, value: i128, span: Span) -> Result<()> {
        let defined = self.scope.define_enumerator(name, value);
        defined.map_err(|Conflict| self.redefined(name.into(), span))
    }

    fn redefined(&self, name: String, span: Span) -> PrototypeError {
        self.error(Kind::Redefined { name }, span)
    }

    /// Returns the known name that is most similar; `None` after too many searches, as each search compares
    /// all known names.
    fn nearest<'a>(&self, name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
        let count = self.suggestions.get();
        self.suggestions.set(count.saturating_add(1));
        if count >= MAX_SUGGESTIONS {
            return None;
        }
        let nearest = crate::nearest::nearest(name, known);
        nearest.first().map(|&known| known.to_owned())
    }
}

/// Access to the text, and errors with positions.
impl<'t> Reader<'t> {
    fn text(&self, span: Span) -> &'t str {
        span.of(self.source)
    }

    /// Returns whether a position of the text belongs to the requested header.
    fn is_own(&self, at: usize) -> bool {
        self.source_map.is_none_or(|map| map.is_own(at))
    }

    fn error(&self, kind: Kind, span: Span) -> PrototypeError {
        self.error_at(kind, span.range())
    }

    fn error_at(&self, kind: Kind, range: Range<usize>) -> PrototypeError {
        let position = self
            .source_map
            .and_then(|map| map.position(self.source, range.start));
        PrototypeError {
            position: position.map(Box::new),
            ..PrototypeError::new(kind, range, self.source)
        }
    }

    fn syntax(&self, expected: &str, span: Span) -> PrototypeError {
        let expected = expected.into();
        self.error(Kind::Syntax { expected }, span)
    }

    fn too_deep(&self, span: Span) -> PrototypeError {
        self.error(Kind::TooDeep { limit: MAX_DEPTH }, span)
    }

    fn too_deep_here(&self) -> PrototypeError {
        let kind = Kind::TooDeep { limit: MAX_DEPTH };
        self.error_at(kind, self.position.clone())
    }
}
