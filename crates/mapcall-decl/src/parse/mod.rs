//! Reads the syntax tree of declarations: types, prototypes and the extents of arrays.

mod annotation;
mod constant;
mod declarator;
mod expression;
mod function;
mod function_type;
mod literal;
mod types;

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::ctype::scope::{self, Conflict, Outer, Scope};
use crate::ctype::{CType, RecordKind};
use crate::error::{PrototypeError, PrototypeErrorKind as Kind};
use crate::prototype::{Declared, Prototype, Variable};
use crate::stack;
use crate::syntax::lexer::Span;
use crate::syntax::packing::{PackLimit, Packing};
use crate::syntax::parser::{self, MAX_DEPTH, SyntaxError};

type Result<T, E = PrototypeError> = std::result::Result<T, E>;

/// The maximum number of misspelt names of a text that get suggestions.
const MAX_SUGGESTIONS: usize = 100;

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
        prototype(text, None).map(|defined| defined.prototype)
    }
}

/// What a declaration at the top level of a text declares.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// The types and enumerators that it defines.
    pub(crate) names: scope::Names,
    pub(crate) functions: Vec<Declared>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) errors: Vec<PrototypeError>,
}

impl Parsed {
    fn add(&mut self, reader: &Reader<'_>, item: Item) {
        match item {
            Item::Error(error) => self.errors.push(error),
            Item::Variable(variable) => self.variables.push(variable),
            Item::Function(name, prototype) => {
                let name = reader.text(name).to_owned();
                self.functions.push(Declared { name, prototype });
            }
        }
    }
}

/// Parses one declaration at the top level of a header, which sees the names of `outer`. Positions are those
/// in its own text.
pub(crate) fn piece(text: &str, packing: PackLimit, outer: Arc<dyn Outer>) -> Parsed {
    let source = Arc::from(text);
    let mut reader = Reader::new(&source, Scope::within(Some(outer)));
    reader.packing = packing;
    // A header can have many misspelt names, which its user did not write.
    reader.suggestions = Cell::new(MAX_SUGGESTIONS);
    let mut parsed = Parsed::default();
    let read = reader.declarations(&mut |reader, item| {
        parsed.add(reader, item);
        Ok(())
    });
    parsed.errors.extend(read.err());
    parsed.names = reader.scope.into_names();
    parsed
}

/// Parses all declarations of a text in one pass, as an oracle for those that are parsed one by one.
#[cfg(test)]
pub(crate) fn whole(text: &str) -> (Parsed, HashMap<String, CType>) {
    let source = Arc::from(text);
    let mut parsed = Parsed::default();
    let mut reader = Reader::new(&source, Scope::default());
    let read = reader.declarations(&mut |reader, item| {
        parsed.add(reader, item);
        Ok(())
    });
    parsed.errors.extend(read.err());
    let structs = reader.scope.structs();
    parsed.names = reader.scope.into_names();
    (parsed, structs)
}

/// A prototype, and what its text defines.
pub(crate) struct Defined {
    pub(crate) prototype: Prototype,
    /// The position of its name.
    pub(crate) name: Span,
    /// The types and enumerators before it.
    pub(crate) names: scope::Names,
}

/// Parses one prototype and the definitions before it, which may use the names of `outer`.
pub(crate) fn prototype(text: &str, outer: Option<Arc<dyn Outer>>) -> Result<Defined> {
    let source = Arc::from(text);
    with_stack(&source, || read_prototype(text, &source, outer))?
}

fn read_prototype(text: &str, source: &Arc<str>, outer: Option<Arc<dyn Outer>>) -> Result<Defined> {
    let mut reader = Reader::new(source, Scope::within(outer));
    let mut found = None;
    reader.declarations(&mut |reader, item| match item {
        Item::Error(error) => Err(error),
        Item::Variable(_) => Ok(()),
        Item::Function(name, prototype) => {
            if found.is_some() {
                let kind = Kind::SecondFunction {
                    name: reader.text(name).into(),
                };
                return Err(reader.error(kind, name));
            }
            found = Some((prototype?, name));
            Ok(())
        }
    })?;
    let (prototype, name) = found.ok_or_else(|| {
        let end = text.trim_end().len();
        PrototypeError::new(Kind::NoFunction, end..end, source)
    })?;
    Ok(Defined {
        prototype,
        name,
        names: reader.scope.into_names(),
    })
}

/// Parses the declaration of one variable and the definitions before it, which may use the names of `outer`;
/// returns also the names that they define.
pub(crate) fn variable(
    text: &str,
    outer: Option<Arc<dyn Outer>>,
) -> Result<(Variable, scope::Names)> {
    let source = Arc::from(text);
    with_stack(&source, || read_variable(text, &source, outer))?
}

fn read_variable(
    text: &str,
    source: &Arc<str>,
    outer: Option<Arc<dyn Outer>>,
) -> Result<(Variable, scope::Names)> {
    let mut reader = Reader::new(source, Scope::within(outer));
    let mut all = Vec::new();
    reader.declarations(&mut |_, item| match item {
        Item::Error(error) => Err(error),
        Item::Variable(variable) => {
            all.push(variable);
            Ok(())
        }
        Item::Function(_, prototype) => prototype.map(drop),
    })?;
    match all.pop() {
        Some(variable) if all.is_empty() => Ok((variable, reader.scope.into_names())),
        last => {
            let found = all.len() + usize::from(last.is_some());
            let end = text.trim_end().len();
            Err(PrototypeError::new(
                Kind::NoVariable { found },
                end..end,
                source,
            ))
        }
    }
}

/// Runs a parser of a text, or of its parts, on a stack that is large enough.
///
/// # Errors
///
/// [`Kind::TooLong`] if the text is too long, and [`Kind::NoStack`] if the system has no memory for the stack.
pub(crate) fn with_stack<R: Send>(source: &Arc<str>, read: impl FnOnce() -> R + Send) -> Result<R> {
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
    Variable(Variable),
    /// The error of a declaration that can't be parsed.
    Error(PrototypeError),
}

/// A callback for each item; an error ends the parsing.
type ItemVisitor<'s, 't> = dyn FnMut(&mut Reader<'t>, Item) -> Result<()> + 's;

/// The state of the parser: the text, and the names that it has defined so far.
struct Reader<'t> {
    source: &'t Arc<str>,
    scope: Scope,
    /// The limit of `#pragma pack` before the text.
    packing: PackLimit,
    /// The position of the current declaration, for errors without a position.
    position: Range<usize>,
    /// The number of suggestions that have been searched for.
    suggestions: Cell<usize>,
    /// The names of the parameters of the functions whose parameters are being read.
    enclosing: Vec<Span>,
    /// The kinds and tags of the structs and unions whose members are being read. A definition hides an earlier one
    /// from its own beginning on (C11 6.2.1, paragraph 7).
    being_defined: Vec<(RecordKind, &'t str)>,
    /// The types of the variables and functions that the text has declared so far, and whether a variable is
    /// `const`; `None` if the text asks for no types of them.
    objects: Option<HashMap<String, (CType, bool)>>,
}

/// Returns whether a word is an operator whose operand may be a variable or a function, of which it needs the type.
pub(crate) fn reads_types_of_objects(word: &str) -> bool {
    let word = word.trim_matches('_');
    matches!(
        word,
        "typeof" | "typeof_unqual" | "sizeof" | "Alignof" | "alignof"
    )
}

impl<'t> Reader<'t> {
    fn new(source: &'t Arc<str>, scope: Scope) -> Self {
        Self {
            source,
            scope,
            packing: PackLimit::default(),
            position: 0..0,
            suggestions: Cell::new(0),
            enclosing: Vec::new(),
            being_defined: Vec::new(),
            // A part of `typeof` and `sizeof`, and one of `alignof`.
            objects: (source.contains("eof") || source.contains("gnof")).then(HashMap::new),
        }
    }

    fn declarations(&mut self, visit: &mut ItemVisitor<'_, 't>) -> Result<()> {
        let packing = Packing::limited(self.packing);
        let mut declarations = parser::Declarations::new(self.source, packing);
        loop {
            let scope = &self.scope;
            match declarations.next(&|name| scope.is_type(name)) {
                Some(Ok(declaration)) => {
                    self.position = declaration.span.range();
                    self.declaration(&declaration, &mut |reader, item| {
                        reader.remember(&item);
                        visit(reader, item)
                    })?;
                }
                Some(Err(SyntaxError {
                    kind,
                    span,
                    function,
                })) => {
                    self.position = span.range();
                    let error = self.error(kind, span);
                    match function {
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
    /// Stores the type of a variable or function.
    fn remember(&mut self, item: &Item) {
        let Some(objects) = &mut self.objects else {
            return;
        };
        match item {
            Item::Variable(variable) => {
                let known = (variable.ctype.clone(), variable.is_const);
                objects.insert(variable.name.clone(), known);
            }
            Item::Function(name, Ok(prototype)) => {
                let name = name.of(self.source).to_owned();
                objects.insert(name, (prototype.function_type(), false));
            }
            Item::Function(..) | Item::Error(_) => {}
        }
    }

    /// Returns the type of a variable or function, and whether a variable is `const`.
    fn object(&self, name: &str) -> Option<(CType, bool)> {
        let known = self.objects.as_ref()?.get(name).cloned();
        known.or_else(|| self.scope.outer_object(name))
    }

    fn define_tag(
        &mut self,
        keyword: &'static str,
        tag: &str,
        ctype: CType,
        span: Span,
    ) -> Result<CType> {
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

    fn error(&self, kind: Kind, span: Span) -> PrototypeError {
        self.error_at(kind, span.range())
    }

    fn error_at(&self, kind: Kind, range: Range<usize>) -> PrototypeError {
        PrototypeError::new(kind, range, self.source)
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
