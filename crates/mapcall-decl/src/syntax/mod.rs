//! The syntax of C declarations: tokens, the syntax tree, and the parser that turns one into the other.
//!
//! The parser reads what GCC and Clang read: C11 (Annex A), C23 and GNU C. It knows no type except by its name,
//! so what a declaration means is the matter of [`parse`](crate::parse).

pub(crate) mod ast;
pub(crate) mod keyword;
pub(crate) mod lexer;
pub(crate) mod packing;
pub(crate) mod parser;
