//! The part of a macro's body that is its value: without pragmas, and without the left operands of a comma.

use std::borrow::Cow;

use crate::syntax::lexer::{Lexer, Token, TokenKind};

/// The maximum number of tokens of a body with a comma.
const MAX_TOKENS: usize = 256;

/// Returns the text without `_Pragma(...)` (C11 6.10.9), which has no influence on a value.
pub(super) fn without_pragmas(body: &str) -> Cow<'_, str> {
    if !body.contains("_Pragma") {
        return body.into();
    }
    let mut text = String::new();
    let mut end = 0;
    let mut tokens = Lexer::new(body);
    while let Some(token) = tokens.next() {
        if token.span.of(body) != "_Pragma" {
            continue;
        }
        text.push_str(body.get(end..token.span.range().start).unwrap_or_default());
        end = skip_parentheses(&mut tokens).unwrap_or(token.span.range().end);
    }
    text.push_str(body.get(end..).unwrap_or_default());
    text.trim().to_owned().into()
}

/// Consumes the parentheses with which the tokens begin. Returns the position behind them.
pub(super) fn skip_parentheses(tokens: &mut impl Iterator<Item = Token>) -> Option<usize> {
    let mut open = 0_usize;
    for token in tokens {
        match token.kind {
            TokenKind::LeftParenthesis => open += 1,
            TokenKind::RightParenthesis => open = open.checked_sub(1)?,
            _ => {}
        }
        if open == 0 {
            let is_closed = token.kind == TokenKind::RightParenthesis;
            return is_closed.then_some(token.span.range().end);
        }
    }
    None
}

/// Returns the last operand of a comma operator in parentheses (C11 6.5.17), which is the value of the whole:
/// `0x2u` of `(check(), open(), 0x2u)`; `None` for another body. `ends_with_comma` says whether the body of a
/// macro does, so that a comma follows its name.
pub(super) fn last_operand(body: &str, ends_with_comma: impl Fn(&str) -> bool) -> Option<&str> {
    let tokens: Vec<_> = Lexer::new(body).take(MAX_TOKENS).collect();
    let [open, inner @ .., close] = &tokens[..] else {
        return None;
    };
    let kinds = (open.kind, close.kind);
    if kinds != (TokenKind::LeftParenthesis, TokenKind::RightParenthesis) {
        return None;
    }
    let mut depth = 0_usize;
    let mut start = None;
    for token in inner {
        match token.kind {
            TokenKind::LeftParenthesis => depth += 1,
            TokenKind::RightParenthesis => depth = depth.checked_sub(1)?,
            TokenKind::Comma if depth == 0 => start = Some(token.span.range().end),
            TokenKind::Identifier if depth == 0 && ends_with_comma(token.span.of(body)) => {
                start = Some(token.span.range().end);
            }
            _ => {}
        }
    }
    let operand = body.get(start?..close.span.range().start)?.trim();
    (!operand.is_empty()).then_some(operand)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pragmas_are_removed() {
        for (body, rest) in [
            ("1 + 2", "1 + 2"),
            (r#"NEW _Pragma("GCC warning \"old\"")"#, "NEW"),
            (r#"_Pragma("once") 3 _Pragma("a(")"#, "3"),
            ("_Pragma(TEXT(x)) (4)", "(4)"),
            ("_Pragma", ""),
            ("_Pragma(", "("),
            ("my_Pragma(5)", "my_Pragma(5)"),
        ] {
            assert_eq!(without_pragmas(body), rest, "{body}");
        }
    }

    #[test]
    fn the_last_operand_is_the_value() {
        for (body, value) in [
            ("(check(), open(1, 2), 0x2u)", Some("0x2u")),
            ("(CHECK OPEN 3)", Some("3")),
            ("(OPEN variable)", Some("variable")),
            ("(f(1, 2))", None),
            ("(1), (2)", None),
            ("1, 2", None),
            ("(1, )", None),
            ("(OPEN)", None),
            ("(", None),
            ("", None),
        ] {
            let found = last_operand(body, |name| matches!(name, "CHECK" | "OPEN"));
            assert_eq!(found, value, "{body}");
        }
    }
}
