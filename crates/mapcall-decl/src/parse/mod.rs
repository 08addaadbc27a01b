//! Parses text to types and prototypes, through the syntax tree of a grammar.

mod declarator;
mod expression;
mod function;
mod pragma;
mod spelling;
mod types;

use std::cell::{Cell, RefCell};
#[cfg(test)]
use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::time::Duration;

use tree_sitter::{Node, ParseOptions, ParseState, Parser, Tree, TreeCursor};

use crate::ctype::CType;
use crate::ctype::scope::{Conflict, Names, Outer, Scope};
use crate::error::{PrototypeError, PrototypeErrorKind as Kind};
use crate::prototype::{Declared, Prototype, Variable};
use crate::{stack, sys};
pub(crate) use pragma::Packing;

type Result<T, E = PrototypeError> = std::result::Result<T, E>;

/// The maximum nesting of types and expressions, so that no text can overflow the stack.
const MAX_DEPTH: usize = 64;

/// The maximum number of misspelt names of a text that get suggestions.
const MAX_SUGGESTIONS: usize = 100;

/// The maximum length of a text in bytes.
pub(crate) const MAX_TEXT: usize = 16 << 20;

/// The stack that parsing needs, in bytes: for the recursion of this module at its maximum depth, and for
/// each byte of the text. The parser of the grammar compares alternative parses of an ambiguous text token by
/// token in a recursion, which takes about 50 bytes per token in an optimised build.
const STACK: usize = if cfg!(debug_assertions) {
    4 << 20
} else {
    1 << 20
};
const STACK_OF_BYTE: usize = 256;

/// The processor time after which the parser of the grammar stops: a constant part, and a part for each byte
/// of the text. Text that a C compiler accepts takes at most a tenth of that; for a text with many errors,
/// the time can grow with the square of the length.
const MAX_TIME: Duration = Duration::from_millis(500);
const MAX_TIME_OF_BYTE: Duration = Duration::from_micros(5);

thread_local! {
    /// The parser of this thread, which is kept as creating one takes longer than parsing a prototype.
    static PARSER: RefCell<Option<Parser>> = const { RefCell::new(None) };
}

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
        prototype(text, None).map(|(prototype, _)| prototype)
    }
}

/// What a declaration at the top level of a text declares.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    /// The types and enumerators that it defines.
    pub(crate) names: Names,
    pub(crate) functions: Vec<Declared>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) errors: Vec<PrototypeError>,
}

impl Parsed {
    fn add(&mut self, reader: &Reader<'_>, item: Item<'_>) {
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

/// Parses one declaration at the top level of a header, which sees the names of `scope`. Positions are those
/// in its own text.
pub(crate) fn piece(text: &str, packing: Packing, scope: Arc<dyn Outer>) -> Parsed {
    let mut parsed = Parsed::default();
    let (source, plain) = (Arc::from(text), spelling::plain(text));
    let tree = match tree(&plain, &source) {
        Ok(tree) => tree,
        Err(error) => {
            parsed.errors.push(error);
            return parsed;
        }
    };
    let mut reader = Reader::new(&source, &plain, Scope::within(Some(scope)));
    reader.packing = packing;
    // A header can have many misspelt names, which its user did not write.
    reader.suggestions = Cell::new(MAX_SUGGESTIONS);
    let read = reader.declarations(tree.root_node(), 0, &mut |reader, item| {
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
    let (source, plain) = (Arc::from(text), spelling::plain(text));
    let tree = tree(&plain, &source).unwrap();
    let mut reader = Reader::new(&source, &plain, Scope::default());
    let mut parsed = Parsed::default();
    let read = reader.declarations(tree.root_node(), 0, &mut |reader, item| {
        parsed.add(reader, item);
        Ok(())
    });
    parsed.errors.extend(read.err());
    let structs = reader.scope.structs();
    parsed.names = reader.scope.into_names();
    (parsed, structs)
}

/// Parses one prototype and the definitions before it, which may use the names of `scope`; returns also the
/// names that they define.
pub(crate) fn prototype(text: &str, scope: Option<Arc<dyn Outer>>) -> Result<(Prototype, Names)> {
    let source = Arc::from(text);
    with_stack(text.len(), &source, || read_prototype(text, &source, scope))?
}

fn read_prototype(
    text: &str,
    source: &Arc<str>,
    scope: Option<Arc<dyn Outer>>,
) -> Result<(Prototype, Names)> {
    let mut plain = spelling::plain(text);
    if !text.trim_end().ends_with([';', '}']) {
        // The semicolon is added on a new line, as the last line may end with a comment.
        plain.to_mut().push_str("\n;");
    }
    let tree = tree(&plain, source)?;
    let mut reader = Reader::new(source, &plain, Scope::within(scope));
    if let Some(error) = reader.first_error(tree.root_node()) {
        return Err(error);
    }
    let mut found = None;
    reader.declarations(tree.root_node(), 0, &mut |reader, item| match item {
        Item::Error(error) => Err(error),
        Item::Variable(_) => Ok(()),
        Item::Function(name, prototype) => {
            if found.is_some() {
                let kind = Kind::SecondFunction {
                    name: reader.text(name).into(),
                };
                return Err(reader.error(kind, name));
            }
            found = Some(prototype?);
            Ok(())
        }
    })?;
    let prototype = found.ok_or_else(|| {
        let end = text.trim_end().len();
        PrototypeError::new(Kind::NoFunction, end..end, source)
    })?;
    Ok((prototype, reader.scope.into_names()))
}

/// Parses texts of at most this length on a stack that is large enough for them.
///
/// # Errors
///
/// [`Kind::TooLong`] if no text may be so long, and [`Kind::NoStack`] if the system has no memory for the
/// stack.
pub(crate) fn with_stack<R: Send>(
    length: usize,
    source: &Arc<str>,
    read: impl FnOnce() -> R + Send,
) -> Result<R> {
    let refuse = |kind| PrototypeError::new(kind, 0..0, source);
    if length > MAX_TEXT {
        let limit = MAX_TEXT;
        return Err(refuse(Kind::TooLong { length, limit }));
    }
    let bytes = STACK + STACK_OF_BYTE * length;
    stack::with(bytes, read).map_err(|error| {
        let reason = error.to_string();
        refuse(Kind::NoStack { bytes, reason })
    })
}

fn tree(plain: &str, source: &Arc<str>) -> Result<Tree> {
    let bytes = plain.as_bytes();
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let limit = MAX_TIME + MAX_TIME_OF_BYTE * length;
    let (mut start, mut is_too_slow) = (None, false);
    // The parser calls this every 100 steps; short texts take fewer.
    let mut check_time = |_: &ParseState| {
        let now = sys::thread_time();
        is_too_slow = now.saturating_sub(*start.get_or_insert(now)) > limit;
        if is_too_slow {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let tree = PARSER.with_borrow_mut(|parser| {
        let parser = parser.get_or_insert_with(Parser::new);
        if parser.language().is_none() {
            parser.set_language(&tree_sitter_c::LANGUAGE.into()).ok()?;
        }
        let options = ParseOptions::new().progress_callback(&mut check_time);
        let mut text = |at: usize, _| bytes.get(at..).unwrap_or_default();
        let tree = parser.parse_with_options(&mut text, None, Some(options));
        // Without a reset, a parser that has stopped early would continue with the next text.
        parser.reset();
        tree
    });
    tree.ok_or_else(|| {
        let kind = if is_too_slow {
            Kind::TooSlow { limit }
        } else {
            let expected = "a grammar of C that fits the parser".into();
            Kind::Syntax { expected }
        };
        PrototypeError::new(kind, 0..0, source)
    })
}

/// An item at the top level of a text.
enum Item<'t> {
    /// A function, and its name.
    Function(Node<'t>, Result<Prototype>),
    Variable(Variable),
    /// The error of a declaration that can't be parsed.
    Error(PrototypeError),
}

/// A callback for each item; an error ends the parsing.
type ItemVisitor<'s, 't> = dyn FnMut(&mut Reader<'t>, Item<'t>) -> Result<()> + 's;

/// The state of the parser: the text, and the names that it has defined so far.
struct Reader<'t> {
    source: &'t Arc<str>,
    /// The text for the grammar, with GNU keywords replaced by standard ones of the same length.
    plain: &'t str,
    scope: Scope,
    packing: Packing,
    depth: usize,
    /// The position of the current declaration, for errors without a position.
    position: Range<usize>,
    /// The number of suggestions that have been searched for.
    suggestions: Cell<usize>,
}

impl<'t> Reader<'t> {
    fn new(source: &'t Arc<str>, plain: &'t str, scope: Scope) -> Self {
        Self {
            source,
            plain,
            scope,
            packing: Packing::default(),
            depth: 0,
            position: 0..0,
            suggestions: Cell::new(0),
        }
    }

    fn declarations(
        &mut self,
        list: Node<'t>,
        depth: usize,
        visit: &mut ItemVisitor<'_, 't>,
    ) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(self.too_deep(list));
        }
        let mut cursor = list.walk();
        for node in list.named_children(&mut cursor) {
            self.depth = 0;
            self.position = node.byte_range();
            match node.kind() {
                "linkage_specification" => {
                    if let Some(body) = node.child_by_field_name("body") {
                        if body.kind() == "declaration_list" {
                            self.declarations(body, depth + 1, visit)?;
                        } else {
                            self.declaration(body, visit)?;
                        }
                    }
                }
                "declaration"
                | "type_definition"
                | "function_definition"
                | "struct_specifier"
                | "union_specifier"
                | "enum_specifier" => self.declaration(node, visit)?,
                "comment" | "preproc_def" | "preproc_function_def" | "preproc_include" => {}
                "preproc_call" => self.packing.apply(self.text(node)),
                "expression_statement" if self.is_harmless(node) => {}
                _ => {
                    let error = self
                        .first_error(node)
                        .unwrap_or_else(|| self.syntax("a declaration", node));
                    visit(self, Item::Error(error))?;
                }
            }
        }
        Ok(())
    }

    /// Returns whether a statement is a lone semicolon, or `_Static_assert`, which the C compiler has checked.
    fn is_harmless(&self, statement: Node<'t>) -> bool {
        statement.named_child(0).is_none_or(|call| {
            call.child_by_field_name("function")
                .is_some_and(|name| matches!(self.text(name), "_Static_assert" | "static_assert"))
        })
    }

    /// Returns the first syntax error of the grammar.
    fn first_error(&self, root: Node<'t>) -> Option<PrototypeError> {
        if !root.has_error() {
            return None;
        }
        let mut cursor = root.walk();
        loop {
            let node = cursor.node();
            if node.is_missing() && !is_before_bit_field(&cursor) {
                let expected = match node.kind() {
                    "identifier" | "field_identifier" | "type_identifier" => "a name".into(),
                    kind => format!("`{kind}`"),
                };
                return Some(self.syntax(&expected, node));
            }
            if node.is_error() {
                return Some(self.syntax_error(node));
            }
            // The body of a function is skipped, with its errors.
            let descend = node.has_error() && node.kind() != "compound_statement";
            if descend && cursor.goto_first_child() {
                continue;
            }
            while !cursor.goto_next_sibling() {
                if !cursor.goto_parent() {
                    return None;
                }
            }
        }
    }

    fn syntax_error(&self, node: Node<'t>) -> PrototypeError {
        let text = self.source.trim_end();
        let (start, end) = (node.start_byte(), node.end_byte());
        if start == 0 && end >= text.len() {
            // The error node is the whole text; most often the end of a declaration is missing.
            let at = text.len();
            let expected = Kind::Syntax {
                expected: "the rest of a declaration".into(),
            };
            return self.error_at(expected, at..at);
        }
        let found = self.text(node);
        let expected = match found.lines().next() {
            Some(line) if !line.is_empty() && found.lines().nth(1).is_none() => {
                format!("a C declaration, got `{line}`")
            }
            _ => "a C declaration".into(),
        };
        self.syntax(&expected, node)
    }
}

/// Lookup of names.
impl<'t> Reader<'t> {
    fn define_tag(
        &mut self,
        keyword: &'static str,
        tag: &str,
        ctype: &CType,
        node: Node<'t>,
    ) -> Result<()> {
        let defined = self.scope.define_tag(keyword, tag, ctype);
        defined.map_err(|Conflict| self.redefined(format!("{keyword} {tag}"), node))
    }

    fn define_typedef(&mut self, name: &str, ctype: CType, node: Node<'t>) -> Result<()> {
        let defined = self.scope.define_typedef(name, ctype);
        defined.map_err(|Conflict| self.redefined(name.into(), node))
    }

    fn define_enumerator(&mut self, name: &str, value: i128, node: Node<'t>) -> Result<()> {
        let defined = self.scope.define_enumerator(name, value);
        defined.map_err(|Conflict| self.redefined(name.into(), node))
    }

    fn redefined(&self, name: String, node: Node<'t>) -> PrototypeError {
        self.error(Kind::Redefined { name }, node)
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

/// Access to the nodes of the syntax tree, and errors with positions.
impl<'t> Reader<'t> {
    /// Returns the original text of a node.
    fn text(&self, node: Node<'_>) -> &'t str {
        self.source.get(node.byte_range()).unwrap_or_default()
    }

    /// Returns the text of a node with the keywords of the grammar.
    fn word(&self, node: Node<'_>) -> &'t str {
        self.plain.get(node.byte_range()).unwrap_or_default()
    }

    fn field(&self, node: Node<'t>, name: &str) -> Result<Node<'t>> {
        node.child_by_field_name(name)
            .ok_or_else(|| self.syntax("a whole expression", node))
    }

    fn enter(&mut self, node: Node<'t>) -> Result<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.too_deep(node));
        }
        Ok(())
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    fn error(&self, kind: Kind, node: Node<'_>) -> PrototypeError {
        let mut range = node.byte_range();
        range.end = range.end.min(self.source.len());
        range.start = range.start.min(range.end);
        self.error_at(kind, range)
    }

    fn error_at(&self, kind: Kind, range: Range<usize>) -> PrototypeError {
        PrototypeError::new(kind, range, self.source)
    }

    fn syntax(&self, expected: &str, node: Node<'_>) -> PrototypeError {
        let expected = expected.into();
        self.error(Kind::Syntax { expected }, node)
    }

    fn too_deep(&self, node: Node<'_>) -> PrototypeError {
        self.error(Kind::TooDeep { limit: MAX_DEPTH }, node)
    }

    fn too_deep_here(&self) -> PrototypeError {
        let kind = Kind::TooDeep { limit: MAX_DEPTH };
        self.error_at(kind, self.position.clone())
    }
}

/// Returns whether the node is followed by the width of a bit-field, so that it is the missing name of an
/// unnamed bit-field.
fn is_before_bit_field(cursor: &TreeCursor<'_>) -> bool {
    // A cursor is used, as `Node::next_sibling` searches from the root by a recursion.
    let mut next = cursor.clone();
    next.goto_next_sibling() && next.node().kind() == "bitfield_clause"
}
