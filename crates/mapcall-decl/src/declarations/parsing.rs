//! Parses declarations in the order in which they depend on each other.

use std::sync::Arc;

use super::Declarations;
use super::index::{NameSpace, Piece};
use super::view::View;
use crate::ctype::scope;
use crate::parse::{self, Parsed};
use crate::syntax::lexer::{Lexer, TokenKind};

impl Declarations {
    /// Parses pieces, after those that they depend on.
    pub(super) fn require(&self, mut stack: Vec<u32>) {
        stack.retain(|&piece| self.shared.parsed(piece).is_none());
        if stack.is_empty() {
            return;
        }
        stack.reverse();
        let wanted = stack.clone();
        let parsed = parse::with_stack(&self.shared.text, || self.parse_all(stack));
        if let Err(error) = parsed {
            for piece in wanted {
                let refused = Parsed {
                    errors: vec![error.clone()],
                    ..Parsed::default()
                };
                self.shared.store(piece, refused);
            }
        }
    }

    fn parse_all(&self, mut stack: Vec<u32>) {
        let shared = &self.shared;
        while let Some(&number) = stack.last() {
            let Some(piece) = shared.index.piece(number) else {
                stack.pop();
                continue;
            };
            let before = stack.len();
            if shared.parsed(number).is_none() {
                self.push_dependencies(number, piece, &mut stack);
                if stack.len() == before {
                    let parsed = self.parse_piece(number, piece);
                    shared.store(number, parsed);
                }
            }
            if stack.len() == before {
                stack.pop();
            }
        }
    }

    /// Adds the pieces that a piece depends on and that are not parsed yet.
    fn push_dependencies(&self, number: u32, piece: Piece, stack: &mut Vec<u32>) {
        let text = &*self.shared.text;
        let (mut is_tag, mut reads_types) = (false, false);
        for token in Lexer::of_range(text, piece.head()) {
            if token.kind != TokenKind::Identifier {
                continue;
            }
            let name = token.span.of(text);
            if is_tag {
                self.missing(name, NameSpace::Tag, number, stack);
            }
            is_tag = matches!(name, "struct" | "union" | "enum");
            self.missing(name, NameSpace::Typedef, number, stack);
            self.missing(name, NameSpace::Enumerator, number, stack);
            if reads_types && let Err(piece) = self.shared.object(name, number) {
                stack.push(piece);
            }
            reads_types |= parse::reads_types_of_objects(name);
        }
    }

    /// Adds the piece in which a name that is used before `limit` is defined, and that of the struct which
    /// completes its type, if they are not parsed yet.
    pub(super) fn missing(&self, name: &str, space: NameSpace, limit: u32, missing: &mut Vec<u32>) {
        let defining = self.shared.defining(name, space, limit);
        let parsed = match defining {
            Ok(Some(parsed)) => parsed,
            Ok(None) => return,
            Err(piece) => {
                missing.push(piece);
                return;
            }
        };
        if space != NameSpace::Typedef {
            return;
        }
        let ctype = parsed.names.typedefs.get(name);
        if let Some(tag) = ctype.and_then(scope::incomplete_tag)
            && let Err(piece) = self.shared.defining(tag, NameSpace::Tag, limit)
        {
            missing.push(piece);
        }
    }

    fn parse_piece(&self, number: u32, piece: Piece) -> Parsed {
        let shared = &self.shared;
        let outer = Arc::new(View {
            shared: Arc::clone(shared),
            limit: number,
        });
        let range = piece.span.range();
        let text = shared.text.get(range.clone()).unwrap_or_default();
        let mut parsed = parse::piece(text, piece.packing, outer);
        if !shared.is_own(piece) {
            parsed.errors.clear();
        }
        let refused = parsed
            .functions
            .iter_mut()
            .filter_map(|function| function.prototype.as_mut().err());
        for error in refused.chain(&mut parsed.errors) {
            error.span = error.span.start + range.start..error.span.end + range.start;
            let map = shared.source_map.as_ref();
            let position = map.and_then(|map| map.position(&shared.text, error.span.start));
            error.position = position.map(Box::new);
            error.text = Arc::clone(&shared.text);
        }
        parsed
    }
}
