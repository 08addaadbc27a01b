//! The syntax of C declarations: tokens.

pub(crate) mod lexer;
