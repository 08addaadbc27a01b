//! The constants of a header: those that are known without a compiler, and the program that gives the others.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

use super::index::NameSpace;
use super::word::is_expression_keyword;
use super::{Constant, ConstantError, ConstantValue, Declarations, Program};
use crate::syntax::lexer::{Lexer, TokenKind};
use crate::syntax::packing::PackLimit;

/// The maximum number of macros that a compiler evaluates.
const MAX_EVALUATED: usize = 1 << 16;

impl Declarations {
    /// Returns the constants of the header: its enumerators, and its macros without parameters that are
    /// integers, floats, characters or strings.
    ///
    /// ```
    /// # #[cfg(all(unix, feature = "headers"))] {
    /// use mapcall_decl::{Header, declarations::ConstantValue};
    ///
    /// let math = Header::new("math.h").read()?;
    /// let infinite = math.constants()?.iter().find(|constant| constant.name == "FP_INFINITE");
    /// assert_eq!(infinite.unwrap().value, ConstantValue::Integer(1));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The values are those of the C compiler, which evaluates the expressions of macros when this is first
    /// called.
    ///
    /// # Errors
    ///
    /// [`ConstantError`] if a macro must be evaluated and the compiler can't be run.
    pub fn constants(&self) -> Result<&[Constant], ConstantError> {
        if let Some(constants) = self.shared.constants.get() {
            return Ok(constants);
        }
        let (mut known, mut program) = self.known_constants();
        if !program.names.is_empty()
            && let Some(evaluator) = &self.shared.evaluator
        {
            let values = match evaluator.evaluate(&program) {
                // A declaration may need another one that has not been found.
                Err(_) => {
                    program.declarations = self.shared.text.to_string();
                    evaluator.evaluate(&program)?
                }
                Ok(values) => values,
            };
            for constant in values {
                known.insert(constant.name, constant.value);
            }
        }
        let index = &self.shared.index;
        let enumerators = index.enumerators.iter();
        let enumerators = enumerators.map(|(span, _)| span.of(&self.shared.text));
        let mut constants = Vec::with_capacity(known.len());
        for name in enumerators.chain(self.shared.macros.own()) {
            if let Some((name, value)) = known.remove_entry(name) {
                constants.push(Constant { name, value });
            }
        }
        // Another thread may have stored them meanwhile.
        let _ = self.shared.constants.set(Box::new(constants));
        Ok(self
            .shared
            .constants
            .get()
            .map_or(&[], |constants| constants))
    }

    /// Returns the value of a constant; `None` if the header has no constant of that name.
    ///
    /// ```
    /// use mapcall_decl::{Declarations, declarations::ConstantValue};
    ///
    /// let header = Declarations::parse("enum { TAPS = 3 };");
    /// assert_eq!(header.constant("TAPS")?, Some(ConstantValue::Integer(3)));
    /// assert_eq!(header.constant("TAP")?, None);
    /// # Ok::<(), mapcall_decl::declarations::ConstantError>(())
    /// ```
    ///
    /// The compiler is run only for a macro that is an expression.
    ///
    /// # Errors
    ///
    /// Those of [`constants`](Self::constants).
    pub fn constant(&self, name: &str) -> Result<Option<ConstantValue>, ConstantError> {
        let shared = &self.shared;
        if let Some(value) = self.own_enumerator(name) {
            return Ok(Some(value));
        }
        let is_enumerator = shared
            .index
            .declaring(name, NameSpace::Enumerator)
            .any(|number| {
                let piece = shared.index.piece(number);
                piece.is_some_and(|piece| shared.is_own(piece))
            });
        if !is_enumerator {
            if !shared.macros.is_own(name) || !self.may_be_constant(name) {
                return Ok(None);
            }
            if let Some(value) = shared.macros.literal(name) {
                return Ok(Some(value));
            }
        }
        let constants = self.constants()?;
        let found = constants.iter().find(|constant| constant.name == name);
        Ok(found.map(|constant| constant.value.clone()))
    }

    fn own_enumerator(&self, name: &str) -> Option<ConstantValue> {
        let pieces = self.shared.index.declaring(name, NameSpace::Enumerator);
        for number in pieces {
            let piece = self.shared.index.piece(number)?;
            if self.shared.is_own(piece) {
                self.require(vec![number]);
                let parsed = self.shared.parsed(number)?;
                if let Some(&value) = parsed.names.enumerators.get(name) {
                    return Some(ConstantValue::Integer(value));
                }
            }
        }
        None
    }

    /// Returns the constants that are known without a compiler, and the program that gives the others.
    fn known_constants(&self) -> (HashMap<String, ConstantValue>, Program) {
        let shared = &self.shared;
        let mut known = HashMap::new();
        let mut unknown = Vec::new();
        let own = shared.own_pieces(|_| true);
        let own: HashSet<_> = own.into_iter().collect();
        let enumerators = shared.index.enumerators.iter();
        let enumerators: Vec<_> = enumerators
            .filter(|(_, piece)| own.contains(piece))
            .collect();
        self.require(enumerators.iter().map(|(_, piece)| *piece).collect());
        for (span, piece) in enumerators {
            let name = span.of(&shared.text);
            let parsed = shared.parsed(*piece);
            match parsed.and_then(|parsed| parsed.names.enumerators.get(name)) {
                Some(&value) => {
                    known.insert(name.to_owned(), ConstantValue::Integer(value));
                }
                None => unknown.push(name),
            }
        }
        for name in shared.macros.own() {
            if known.contains_key(name) || !self.may_be_constant(name) {
                continue;
            }
            match shared.macros.literal(name) {
                Some(value) => {
                    known.insert(name.to_owned(), value);
                }
                None => unknown.push(name),
            }
        }
        unknown.truncate(MAX_EVALUATED);
        (known, self.program(&unknown))
    }

    /// Returns whether a macro may be a constant: it is no other name of a function, variable or type.
    fn may_be_constant(&self, name: &str) -> bool {
        let macros = &self.shared.macros;
        if macros.body(name).is_none() {
            return false;
        }
        let Some(target) = macros.renamed(name) else {
            return true;
        };
        let index = &self.shared.index;
        let is = |space| index.declaring(target, space).next().is_some();
        !is(NameSpace::Object) && !is(NameSpace::Typedef)
    }

    /// Returns a program with the declarations and macros that the macros need. Those are left out whose
    /// expansion is no constant expression of known names.
    fn program(&self, names: &[&str]) -> Program {
        let mut program = Program {
            is_clang: self.shared.macros.contains("__clang__"),
            ..Program::default()
        };
        let (mut used, mut pieces) = (HashSet::new(), BTreeSet::new());
        for &name in names {
            let is_enumerator = |name: &str| {
                let mut pieces = self.shared.index.declaring(name, NameSpace::Enumerator);
                pieces.next().is_some()
            };
            let closure = self.shared.macros.closure(name);
            let Some(closure) = closure.filter(|closure| closure.is_value(is_enumerator)) else {
                continue;
            };
            // Behind these, names of members and variables may stand.
            let is_size = ["sizeof", "__builtin_offsetof"];
            let is_size = is_size
                .iter()
                .any(|&keyword| closure.names.contains(keyword));
            let mut needed = Vec::new();
            let mut names = closure.names.iter();
            // The compiler refuses what is unknown.
            let is_known = |name: &Cow<'_, str>| {
                self.find_declaration(name, is_size, &mut needed) || closure.has_pasted
            };
            if !names.all(is_known) {
                continue;
            }
            used.extend(closure.macros);
            pieces.extend(needed);
            program.names.push(name.to_owned());
        }
        self.add_dependencies(&mut pieces);
        for number in pieces {
            let piece = self.shared.index.piece(number);
            let text = piece.and_then(|piece| self.shared.text.get(piece.span.range()));
            if let Some((piece, text)) = piece.zip(text) {
                let limit = match piece.packing {
                    PackLimit::Bytes(limit) => limit.to_string(),
                    PackLimit::None | PackLimit::Unknown => String::new(),
                };
                let _ = write!(program.declarations, "\n#pragma pack({limit})\n{text}\n");
            }
        }
        program.macros = self.shared.macros.definitions(&used);
        program
    }

    /// Adds the pieces that declare a name in an expression; returns whether it may be a part of a constant
    /// expression. If `is_size`, it may be a variable or a member.
    fn find_declaration(&self, name: &str, is_size: bool, pieces: &mut Vec<u32>) -> bool {
        if is_expression_keyword(name) {
            return true;
        }
        let before = pieces.len();
        for space in [NameSpace::Tag, NameSpace::Typedef, NameSpace::Enumerator] {
            pieces.extend(self.shared.index.declaring(name, space));
        }
        if is_size {
            pieces.extend(self.shared.index.declaring(name, NameSpace::Object));
        }
        is_size || pieces.len() > before
    }

    /// Adds the pieces that others depend on.
    fn add_dependencies(&self, pieces: &mut BTreeSet<u32>) {
        let text = &*self.shared.text;
        let mut open: Vec<_> = pieces.iter().copied().collect();
        while let Some(number) = open.pop() {
            let Some(piece) = self.shared.index.piece(number) else {
                continue;
            };
            for token in Lexer::of_range(text, piece.head()) {
                if token.kind != TokenKind::Identifier {
                    continue;
                }
                let name = token.span.of(text);
                for space in [NameSpace::Tag, NameSpace::Typedef, NameSpace::Enumerator] {
                    let earlier = self.shared.index.declaring_before(name, space, number);
                    open.extend(earlier.take(1).filter(|&piece| pieces.insert(piece)));
                }
            }
        }
    }
}
