//! The declarations of a whole text, each parsed when it is first needed.

mod constant;
mod index;
#[cfg_attr(
    not(feature = "headers"),
    allow(dead_code, reason = "only the preprocessor lists macros")
)]
mod macro_value;
mod macros;
mod parsing;
mod program;
#[cfg(test)]
mod tests;
mod view;
mod word;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use once_cell::race::OnceBox;

use crate::ctype::CType;
use crate::ctype::scope::{self, Names, Scope};
use crate::error::{PrototypeError, PrototypeErrorKind};
use crate::parse::{self, MAX_TEXT, Parsed};
use crate::prototype::{Declared, Prototype, Variable};
use crate::source_map::SourceMap;
use crate::syntax::lexer::{Lexer, Span, TokenKind};
use crate::syntax::packing::PackLimit;
pub use constant::{Constant, ConstantError, ConstantValue};
pub(crate) use constant::{Evaluate, Program};
use index::{Index, NameSpace, Piece};
pub(crate) use macros::Macros;
pub use view::Definitions;
use view::View;

/// The declarations of a whole header.
///
/// ```
/// use mapcall_decl::Declarations;
///
/// let header = Declarations::parse("
///     typedef struct stream stream;
///     stream *open_stream(const char *name);
///     static void close_stream(stream *s);
/// ");
/// let [open, close] = header.functions() else { panic!() };
/// assert!(open.prototype.is_ok());
/// assert_eq!(close.unsupported().unwrap(), "`close_stream` is static: no library exports it");
/// ```
///
/// A text is cut into its declarations first. Each is parsed when it is first needed, after those that it
/// depends on, so that a large header costs little more than what is used of it. As in C, a declaration sees
/// the ones before it; the order in which they are used has no effect.
///
/// Copies share what has been parsed, and so do threads.
#[derive(Clone, Debug, Default)]
pub struct Declarations {
    shared: Arc<Shared>,
}

/// The maximum number of errors of a text that are listed.
const MAX_ERRORS: usize = 1000;

/// The text and its declarations. Cells are filled without a lock, so that a fork at any time leaves them
/// usable in the child.
#[derive(Debug, Default)]
struct Shared {
    text: Arc<str>,
    source_map: Option<SourceMap>,
    index: Index,
    /// What each piece of the index defines, once it has been parsed.
    parsed: Vec<OnceBox<Parsed>>,
    functions: OnceBox<Vec<Declared>>,
    variables: OnceBox<Vec<Variable>>,
    structs: OnceBox<HashMap<String, CType>>,
    errors: OnceBox<Vec<PrototypeError>>,
    /// The error of a text that is not read, or not to its end.
    refused: Option<PrototypeError>,
    macros: Macros,
    evaluator: Option<Box<dyn Evaluate>>,
    constants: OnceBox<Vec<Constant>>,
    /// The names that a library exports: other functions and variables are not listed.
    exported: Option<HashSet<String>>,
}

/// What a header has beside its text.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(crate) map: Option<SourceMap>,
    pub(crate) macros: Macros,
    /// What evaluates macros; `None` if there is no compiler.
    pub(crate) evaluator: Option<Box<dyn Evaluate>>,
    /// The names that the library exports, if only these are listed.
    pub(crate) exported: Option<HashSet<String>>,
}

impl Declarations {
    /// Reads the preprocessed text of a header.
    ///
    /// Declarations that can't be parsed are in [`errors`](Self::errors); a function that can't be called has
    /// the reason. A function that is declared twice is listed once, with its first declaration.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::new(Arc::from(text), Source::default())
    }

    /// Returns the declarations of a text; of a preprocessed header, functions and variables are those that
    /// belong to it.
    pub(crate) fn new(text: Arc<str>, source: Source) -> Self {
        let mut shared = Shared {
            source_map: source.map,
            macros: source.macros,
            evaluator: source.evaluator,
            exported: source.exported,
            ..Shared::default()
        };
        let length = text.len();
        if length > MAX_TEXT {
            let limit = MAX_TEXT;
            let kind = PrototypeErrorKind::TooLong { length, limit };
            shared.refused = Some(PrototypeError::new(kind, 0..0, &text));
        } else {
            shared.index = Index::new(&text);
            if shared.index.is_cut_short {
                let limit = index::MAX_PIECES;
                let kind = PrototypeErrorKind::TooManyErrors { limit };
                shared.refused = Some(PrototypeError::new(kind, 0..0, &text));
            }
        }
        shared
            .parsed
            .resize_with(shared.index.pieces.len(), OnceBox::new);
        shared.text = text;
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Returns the functions, in order; behind them, those that have another name by a macro.
    ///
    /// All of them are parsed; [`function`](Self::function) parses one.
    #[must_use]
    pub fn functions(&self) -> &[Declared] {
        self.shared.functions.get_or_init(|| {
            let mut seen = HashSet::new();
            let own = self.own_objects();
            let functions = own.flat_map(|parsed| &parsed.functions);
            let names = functions.map(|function| &*function.name);
            let names = names.filter(|name| seen.insert(*name));
            let mut all: Vec<_> = names.filter_map(|name| self.declared(name)).collect();
            let macros = self.shared.macros.own();
            let renamed = macros.filter(|&name| seen.insert(name));
            all.extend(renamed.filter_map(|name| self.renamed_function(name)));
            all.retain(|function| {
                let symbol = function
                    .prototype
                    .as_ref()
                    .ok()
                    .and_then(|known| known.symbol.as_ref());
                self.shared.is_exported(symbol.unwrap_or(&function.name))
            });
            Box::new(all)
        })
    }

    /// Returns the function of a name.
    ///
    /// ```
    /// use mapcall_decl::Declarations;
    ///
    /// let header = Declarations::parse("typedef float real; real norm(int n, const real x[n]);");
    /// assert_eq!(header.function("norm").unwrap().prototype.unwrap().signature(), "(n)->()");
    /// assert!(header.function("real").is_none());
    /// ```
    ///
    /// If it is declared several times, the attributes of all declarations count, as for compilers.
    ///
    /// The name may be a macro that stands for that of a function (`#define mpz_init __gmpz_init`), which is
    /// then the [`symbol`](Prototype::symbol) of the prototype.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<Declared> {
        self.renamed_function(name).or_else(|| self.declared(name))
    }

    /// Returns the function of a name that no macro has replaced.
    fn declared(&self, name: &str) -> Option<Declared> {
        let own = self.objects_of(name, true);
        self.merged(own.filter_map(|parsed| find_function(parsed, name)))
    }

    /// Returns the first of the declarations of a function, with the attributes of all of them. If it overrides
    /// the others, it must agree with them.
    fn merged<'a>(&self, mut declared: impl Iterator<Item = &'a Declared>) -> Option<Declared> {
        let mut first = declared.next()?.clone();
        let map = self.shared.source_map.as_ref();
        let may_override = map.is_some_and(SourceMap::has_overriding);
        if let Ok(prototype) = &mut first.prototype {
            for other in declared.filter_map(|other| other.prototype.as_ref().ok()) {
                let difference = prototype.contradiction(other).filter(|_| may_override);
                if let Some(difference) = difference {
                    let text = prototype.to_string();
                    let end = text.len();
                    let kind = PrototypeErrorKind::Contradiction {
                        prototype: text.as_str().into(),
                        declared: other.to_string().into(),
                        difference: difference.into(),
                    };
                    let error = PrototypeError::new(kind, 0..end, &Arc::from(text));
                    first.prototype = Err(error);
                    break;
                }
                prototype.merge(other);
            }
        }
        Some(first)
    }

    /// Returns the function for whose name a macro stands, with the name of the macro.
    fn renamed_function(&self, name: &str) -> Option<Declared> {
        let target = self.shared.macros.renamed(name)?;
        let objects = self.objects_of(target, false);
        let mut function =
            self.merged(objects.filter_map(|parsed| find_function(parsed, target)))?;
        function.name = name.into();
        if let Ok(prototype) = &mut function.prototype {
            let symbol = std::mem::replace(&mut prototype.name, name.into());
            prototype.symbol.get_or_insert(symbol);
        }
        Some(function)
    }

    /// Returns the variables that the header declares, in order.
    ///
    /// A variable that is declared twice is listed once, with the declaration that gives an array its length.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        self.shared.variables.get_or_init(|| {
            let mut seen = HashSet::new();
            let own = self.own_objects();
            let names = own
                .flat_map(|parsed| &parsed.variables)
                .map(|variable| &*variable.name)
                .chain(self.shared.macros.own())
                .filter(|name| seen.insert(*name));
            let variables = names.filter_map(|name| self.variable(name));
            let is_exported = |variable: &Variable| {
                let symbol = variable.symbol.as_ref().unwrap_or(&variable.name);
                self.shared.is_exported(symbol)
            };
            Box::new(variables.filter(is_exported).collect())
        })
    }

    /// Returns the variable of a name, which may be a macro that stands for another name.
    ///
    /// ```
    /// use mapcall_decl::Declarations;
    ///
    /// let header = Declarations::parse("extern int level; int run(void);");
    /// assert_eq!(header.variable("level").unwrap().ctype.to_string(), "int");
    /// assert!(header.variable("run").is_none());
    /// ```
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<Variable> {
        let target = self.shared.macros.renamed(name);
        let objects = self.objects_of(target.unwrap_or(name), target.is_none());
        let variables = objects.flat_map(|parsed| &parsed.variables);
        let mut variables = variables.filter(|known| known.name == target.unwrap_or(name));
        let first = variables.next()?;
        let mut complete = std::iter::once(first).chain(variables);
        let complete = complete.find(|variable| variable.ctype.size().is_some());
        let mut variable = complete.unwrap_or(first).clone();
        if target.is_some() {
            let symbol = std::mem::replace(&mut variable.name, name.into());
            variable.symbol.get_or_insert(symbol);
        }
        Some(variable)
    }

    /// Returns the defined structs and unions, by their tags and by their typedef names.
    ///
    /// All of them are parsed; [`structure`](Self::structure) parses one.
    #[must_use]
    pub fn structs(&self) -> &HashMap<String, CType> {
        self.shared.structs.get_or_init(|| {
            let index = &self.shared.index;
            let names = index
                .names(NameSpace::Tag, u32::MAX)
                .chain(index.names(NameSpace::Typedef, u32::MAX));
            let names: HashSet<_> = names.collect();
            let view = self.view(names.iter().copied(), u32::MAX);
            let scope = Scope::within(Some(view));
            let structs = names.into_iter().filter_map(|name| {
                let ctype = scope.structure(name)?;
                Some((name.to_owned(), ctype))
            });
            Box::new(structs.collect())
        })
    }

    /// Returns the struct or union of a tag or typedef name, if it is defined.
    ///
    /// ```
    /// use mapcall_decl::Declarations;
    ///
    /// let header = Declarations::parse("typedef struct { double re, im; } sample; struct open;");
    /// assert_eq!(header.structure("sample").unwrap().size(), Some(16));
    /// assert!(header.structure("open").is_none());
    /// ```
    #[must_use]
    pub fn structure(&self, name: &str) -> Option<CType> {
        let name = self.shared.macros.renamed(name).unwrap_or(name);
        let view = self.view(std::iter::once(name), u32::MAX);
        Scope::within(Some(view)).structure(name)
    }

    /// Returns the errors of declarations that could not be parsed, in order.
    ///
    /// All declarations of the header are parsed.
    #[must_use]
    pub fn errors(&self) -> &[PrototypeError] {
        self.shared.errors.get_or_init(|| {
            let mut errors: Vec<_> = self.shared.refused.iter().cloned().collect();
            for piece in self.shared.own_pieces(|_| true) {
                self.require(vec![piece]);
                let parsed = self.shared.parsed(piece);
                errors.extend(parsed.iter().flat_map(|parsed| &parsed.errors).cloned());
                if errors.len() >= MAX_ERRORS {
                    let kind = PrototypeErrorKind::TooManyErrors { limit: MAX_ERRORS };
                    errors.push(PrototypeError::new(kind, 0..0, &self.shared.text));
                    break;
                }
            }
            Box::new(errors)
        })
    }

    /// Returns the names of declarations that could not be parsed and are no functions, each with its error. A
    /// declaration without a name is given by its first line.
    ///
    /// ```
    /// use mapcall_decl::Declarations;
    ///
    /// let header = Declarations::parse("struct s { gone x; }; int f(int);");
    /// let (name, error) = &header.unread()[0];
    /// assert_eq!((name.as_str(), error.kind.to_string()), ("s", "unknown type `gone`".into()));
    /// ```
    #[must_use]
    pub fn unread(&self) -> Vec<(String, &PrototypeError)> {
        let refused = self.shared.refused.iter();
        let mut unread: Vec<_> = refused
            .map(|error| ("the text".to_owned(), error))
            .collect();
        for number in self.shared.own_pieces(|_| true) {
            if unread.len() >= MAX_ERRORS {
                break;
            }
            self.require(vec![number]);
            let (piece, parsed) = (self.shared.index.piece(number), self.shared.parsed(number));
            let Some((piece, parsed)) = piece.zip(parsed) else {
                continue;
            };
            let Some(error) = parsed.errors.first() else {
                continue;
            };
            let text = self.shared.text.get(piece.span.range()).unwrap_or_default();
            let index = Index::new(text);
            let before = unread.len();
            let is_function = |name: &&str| find_function(parsed, name).is_some();
            for space in [NameSpace::Tag, NameSpace::Typedef, NameSpace::Object] {
                let names = index.names(space, u32::MAX);
                let names = names.filter(|name| !defines(&parsed.names, name, space));
                let names = names.filter(|name| {
                    let is_variable = parsed.variables.iter().any(|known| known.name == **name);
                    !is_function(name) && !is_variable
                });
                unread.extend(names.map(|name| (name.to_owned(), error)));
            }
            if unread.len() == before && parsed.functions.is_empty() {
                let line = text.lines().next().unwrap_or_default();
                unread.push((line.chars().take(80).collect(), error));
            }
        }
        unread
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
    /// Those of [`Prototype::parse`], and [`PrototypeErrorKind::Contradiction`] if the header declares the
    /// function in another way ([`Prototype::contradiction`]).
    pub fn prototype(&self, text: &str) -> Result<Prototype, PrototypeError> {
        self.prototype_after(text, &Definitions::default())
            .map(|(prototype, _)| prototype)
    }

    /// Parses one prototype like [`prototype`](Self::prototype), which may also use types and enumerators of
    /// earlier texts; returns those that the text defines with it.
    ///
    /// ```
    /// use mapcall_decl::Declarations;
    /// use mapcall_decl::declarations::Definitions;
    ///
    /// let header = Declarations::parse("typedef float sample;");
    /// let mut known = Definitions::default();
    /// let text = "struct pair { sample left, right; }; void mix(struct pair *p);";
    /// let (mix, definitions) = header.prototype_after(text, &known)?;
    /// known.extend(definitions);
    /// assert_eq!(known.structure("pair").unwrap().size(), Some(8));
    /// let (swap, _) = header.prototype_after("void swap(struct pair *p)", &known)?;
    /// assert_eq!(swap.parameters, mix.parameters);
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    ///
    /// A definition in the text replaces one of an earlier text, and must agree with one of the header.
    ///
    /// # Errors
    ///
    /// Those of [`prototype`](Self::prototype).
    pub fn prototype_after(
        &self,
        text: &str,
        known: &Definitions,
    ) -> Result<(Prototype, Definitions), PrototypeError> {
        let defined = parse::prototype(text, Some(self.names_of(text, known)))?;
        let mut prototype = defined.prototype;
        self.check(&prototype, defined.name, text)?;
        if prototype.symbol.is_none()
            && let Some(declared) = self.renamed_function(&prototype.name)
        {
            let symbol = self.shared.macros.renamed(&declared.name);
            let declared = declared.prototype.ok().and_then(|known| known.symbol);
            prototype.symbol = declared.or_else(|| symbol.map(str::to_owned));
        }
        Ok((prototype, Definitions::of(defined.names)))
    }

    /// Parses the declaration of one variable as [`prototype_after`](Self::prototype_after) parses a
    /// prototype.
    ///
    /// ```
    /// use mapcall_decl::Declarations;
    /// use mapcall_decl::declarations::Definitions;
    ///
    /// let header = Declarations::parse("typedef float sample;");
    /// let text = "extern const sample window[256]";
    /// let (window, _) = header.variable_after(text, &Definitions::default())?;
    /// assert_eq!((window.name.as_str(), window.ctype.size(), window.is_const), ("window", Some(1024), true));
    /// # Ok::<(), mapcall_decl::PrototypeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`PrototypeError`] if the text is not valid C, or if it declares no variable or several.
    pub fn variable_after(
        &self,
        text: &str,
        known: &Definitions,
    ) -> Result<(Variable, Definitions), PrototypeError> {
        let (variable, names) = parse::variable(text, Some(self.names_of(text, known)))?;
        Ok((variable, Definitions::of(names)))
    }

    /// Returns the names that a text can use: those of the header, and of earlier texts.
    fn names_of(&self, text: &str, known: &Definitions) -> Arc<dyn scope::Outer> {
        let names = Lexer::new(text)
            .filter(|token| token.kind == TokenKind::Identifier)
            .map(|token| token.span.of(text));
        let names: HashSet<_> = names.collect();
        let mut header = self.view(names.iter().copied(), u32::MAX);
        let macros = self.macro_names(&names);
        if !macros.is_empty() {
            header = Arc::new(macros.before(header));
        }
        if known.is_empty() {
            header
        } else {
            Arc::new(known.clone().before(header))
        }
    }

    /// Refuses a prototype that contradicts the header's declaration of the function.
    fn check(&self, prototype: &Prototype, name: Span, text: &str) -> Result<(), PrototypeError> {
        let declared = self.function(&prototype.name);
        let Some(declared) = declared.and_then(|declared| declared.prototype.ok()) else {
            return Ok(());
        };
        let Some(difference) = prototype.contradiction(&declared) else {
            return Ok(());
        };
        let kind = PrototypeErrorKind::Contradiction {
            prototype: prototype.to_string().into(),
            declared: declared.to_string().into(),
            difference: difference.into(),
        };
        Err(PrototypeError::new(kind, name.range(), &Arc::from(text)))
    }

    /// Returns the types and numbers for which macros among these names stand.
    fn macro_names(&self, names: &HashSet<&str>) -> Definitions {
        let mut found = Names::default();
        for &name in names {
            let Some(body) = self.shared.macros.body(name) else {
                continue;
            };
            if let Some(ConstantValue::Integer(value)) = self.shared.macros.literal(name) {
                found.enumerators.insert(name.into(), value);
            } else if let Some(ctype) = self.macro_type(name, body) {
                found.typedefs.insert(name.into(), ctype);
            }
        }
        Definitions::of(found)
    }

    /// Returns the type that a macro stands for.
    fn macro_type(&self, name: &str, body: &str) -> Option<CType> {
        let body = match self.shared.macros.renamed(name) {
            Some(target) => self.shared.macros.body(target).unwrap_or(target),
            None => body,
        };
        let tokens: Vec<_> = Lexer::new(body).take(16).collect();
        let is_type = |kind| matches!(kind, TokenKind::Identifier | TokenKind::Star);
        if !tokens.iter().all(|token| is_type(token.kind)) || body == name {
            return None;
        }
        let names = tokens.iter().map(|token| token.span.of(body));
        let view = self.view(names, u32::MAX);
        let text = format!("typedef {body} {name};");
        let parse = || parse::piece(&text, PackLimit::default(), view);
        let mut parsed = parse::with_stack(&self.shared.text, parse).ok()?;
        let ctype = parsed.names.typedefs.remove(name)?;
        parsed.errors.is_empty().then_some(ctype)
    }

    /// Returns what has been parsed of the pieces that belong to the header and declare functions or
    /// variables.
    fn own_objects(&self) -> impl Iterator<Item = &Parsed> {
        let own = self.shared.own_pieces(|piece| piece.declares_objects);
        self.require(own.clone());
        own.into_iter()
            .filter_map(|piece| self.shared.parsed(piece))
    }

    /// Returns what has been parsed of the pieces that may declare a function or variable of that name; if
    /// `is_own`, of those that belong to the header. A piece is parsed when the iterator comes to it.
    fn objects_of(&self, name: &str, is_own: bool) -> impl Iterator<Item = &Parsed> {
        let pieces = self.shared.index.declaring(name, NameSpace::Object);
        let mut pieces: Vec<u32> = pieces.collect();
        self.shared.put_overriding_first(&mut pieces);
        pieces.into_iter().filter_map(move |number| {
            let piece = self.shared.index.piece(number)?;
            if is_own && !self.shared.is_own(piece) {
                return None;
            }
            self.require(vec![number]);
            self.shared.parsed(number)
        })
    }

    /// Returns the scope of a text at a position: that before the piece `limit`, in which these names have
    /// been parsed.
    fn view<'n>(&self, names: impl Iterator<Item = &'n str>, limit: u32) -> Arc<dyn scope::Outer> {
        let names: HashSet<_> = names.collect();
        let reads_types = names.iter().copied().any(parse::reads_types_of_objects);
        loop {
            let mut missing = Vec::new();
            for name in &names {
                for space in [NameSpace::Tag, NameSpace::Typedef, NameSpace::Enumerator] {
                    self.missing(name, space, limit, &mut missing);
                }
                if reads_types && let Err(piece) = self.shared.object(name, limit) {
                    missing.push(piece);
                }
            }
            if missing.is_empty() {
                break;
            }
            self.require(missing);
        }
        Arc::new(View {
            shared: Arc::clone(&self.shared),
            limit,
        })
    }
}

impl Shared {
    fn parsed(&self, piece: u32) -> Option<&Parsed> {
        self.parsed.get(usize::try_from(piece).ok()?)?.get()
    }

    fn store(&self, piece: u32, parsed: Parsed) {
        let cell = usize::try_from(piece).ok();
        if let Some(cell) = cell.and_then(|piece| self.parsed.get(piece)) {
            // If another thread has parsed the piece meanwhile, the result is the same.
            let _ = cell.set(Box::new(parsed));
        }
    }

    /// Returns whether a piece belongs to the requested header.
    fn is_own(&self, piece: Piece) -> bool {
        let start = piece.span.range().start;
        self.source_map.as_ref().is_none_or(|map| map.is_own(start))
    }

    fn is_exported(&self, symbol: &str) -> bool {
        let exported = self.exported.as_ref();
        exported.is_none_or(|exported| exported.contains(symbol))
    }

    /// Returns the pieces that belong to the requested header and fulfil a condition.
    fn own_pieces(&self, condition: impl Fn(Piece) -> bool) -> Vec<u32> {
        let pieces = (0..).zip(&self.index.pieces);
        let own = pieces.filter(|&(_, &piece)| condition(piece) && self.is_own(piece));
        let mut own: Vec<u32> = own.map(|(number, _)| number).collect();
        self.put_overriding_first(&mut own);
        own
    }

    /// Moves the pieces of files whose declarations override others to the front.
    fn put_overriding_first(&self, pieces: &mut [u32]) {
        let map = self.source_map.as_ref();
        let Some(map) = map.filter(|map| map.has_overriding()) else {
            return;
        };
        pieces.sort_by_key(|&number| {
            let piece = self.index.piece(number);
            !piece.is_some_and(|piece| map.is_overriding(piece.span.range().start))
        });
    }

    /// Returns the last piece before `limit` that defines a name; the number of a piece that must be parsed
    /// first, if this is not known yet.
    fn defining(&self, name: &str, space: NameSpace, limit: u32) -> Result<Option<&Parsed>, u32> {
        let pieces = self.index.declaring_before(name, space, limit);
        for piece in pieces.take(Self::MAX_SEARCH) {
            let parsed = self.parsed(piece).ok_or(piece)?;
            if defines(&parsed.names, name, space) {
                return Ok(Some(parsed));
            }
        }
        Ok(None)
    }

    /// The maximum number of pieces that are searched, of a text that declares a name again and again without a
    /// definition.
    const MAX_SEARCH: usize = 64;

    /// Returns the type of a variable or function that is declared before `limit`, and whether a variable is
    /// `const`; the number of a piece that must be parsed first, if this is not known yet.
    fn object(&self, name: &str, limit: u32) -> Result<Option<(CType, bool)>, u32> {
        let pieces = self.index.declaring_before(name, NameSpace::Object, limit);
        for piece in pieces.take(Self::MAX_SEARCH) {
            let parsed = self.parsed(piece).ok_or(piece)?;
            let mut variables = parsed.variables.iter();
            if let Some(variable) = variables.find(|variable| variable.name == name) {
                return Ok(Some((variable.ctype.clone(), variable.is_const)));
            }
            let function = find_function(parsed, name);
            if let Some(Ok(prototype)) = function.map(|function| &function.prototype) {
                return Ok(Some((prototype.function_type(), false)));
            }
        }
        Ok(None)
    }
}

fn find_function<'a>(parsed: &'a Parsed, name: &str) -> Option<&'a Declared> {
    parsed
        .functions
        .iter()
        .find(|function| function.name == name)
}

fn defines(names: &Names, name: &str, space: NameSpace) -> bool {
    match space {
        NameSpace::Tag => names.tags.contains_key(name),
        NameSpace::Typedef => names.typedefs.contains_key(name),
        NameSpace::Enumerator => names.enumerators.contains_key(name),
        NameSpace::Object => false,
    }
}
