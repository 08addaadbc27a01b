//! The macros of a header: which names they give to functions and types, and which are constants.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::constant::ConstantValue;
use super::macro_value::{last_operand, skip_parentheses, without_pragmas};
use super::word::is_expression_keyword;
use crate::source_map::Directive;
use crate::syntax::lexer::{Lexer, Token, TokenKind};

/// The maximum number of macros that are followed from a name.
const MAX_CHAIN: usize = 64;

/// The macros that are defined at the end of a header.
#[derive(Debug, Default)]
pub(crate) struct Macros {
    all: HashMap<String, Macro>,
    /// The names of the macros that belong to the header, in the order of their definitions.
    own: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Macro {
    /// The parameters; `None` if the macro has no list of parameters.
    parameters: Option<Vec<String>>,
    body: String,
    is_own: bool,
    /// The position of the definition.
    order: usize,
}

impl Macros {
    #[cfg_attr(
        not(feature = "headers"),
        allow(dead_code, reason = "only headers have macros")
    )]
    pub(crate) fn new(directives: &[Directive]) -> Self {
        let mut all = HashMap::new();
        for (order, directive) in directives.iter().enumerate() {
            if let Some(name) = directive.line.strip_prefix("#undef ") {
                all.remove(name.trim());
            } else if let Some((name, defined)) = Macro::read(directive, order) {
                all.insert(name, defined);
            }
        }
        replace_commas(&mut all);
        replace_pasted(&mut all);
        let mut own: Vec<_> = all
            .iter()
            .filter(|(_, defined)| defined.is_own)
            .map(|(name, defined)| (defined.order, name.clone()))
            .collect();
        own.sort_unstable();
        let own = own.into_iter().map(|(_, name)| name).collect();
        Self { all, own }
    }

    /// Returns the names of the macros that belong to the header.
    pub(super) fn own(&self) -> impl Iterator<Item = &str> {
        self.own.iter().map(String::as_str)
    }

    pub(super) fn is_own(&self, name: &str) -> bool {
        self.all.get(name).is_some_and(|defined| defined.is_own)
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.all.contains_key(name)
    }

    /// Returns the name that a macro stands for, if it is one name alone, or passes its arguments on.
    pub(super) fn renamed(&self, name: &str) -> Option<&str> {
        let mut current = self.all.get(name)?.target()?;
        for _ in 0..MAX_CHAIN {
            let next = self.all.get(current).and_then(Macro::target);
            match next {
                Some(next) if next != name && next != current => current = next,
                _ => return (current != name).then_some(current),
            }
        }
        None
    }

    /// Returns the text that a macro without parameters stands for.
    pub(super) fn body(&self, name: &str) -> Option<&str> {
        let defined = self.all.get(name)?;
        (defined.parameters.is_none() && !defined.body.is_empty()).then_some(&*defined.body)
    }

    /// Returns the value of a macro that is a literal, if it is known without a compiler.
    pub(super) fn literal(&self, name: &str) -> Option<ConstantValue> {
        let name = self.renamed(name).unwrap_or(name);
        literal(self.body(name)?)
    }

    /// Returns the macros that the expansion of a macro may use, with itself, and the names in them that are
    /// no macros; `None` if the expansion can't be an expression.
    pub(super) fn closure<'a>(&'a self, name: &'a str) -> Option<Closure<'a>> {
        let mut closure = Closure::default();
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            let Some(defined) = self.all.get(name) else {
                closure.names.insert(Cow::Borrowed(name));
                continue;
            };
            if !closure.macros.insert(name) {
                continue;
            }
            if closure.macros.len() > MAX_MACROS || !is_expression(&defined.body) {
                return None;
            }
            closure.has_pasted |= defined.body.contains("##");
            let mut tokens = Lexer::new(&defined.body);
            while let Some(token) = tokens.next() {
                let text = token.span.of(&defined.body);
                let called = self.all.get(text);
                // Its arguments are no part of the expansion.
                if called
                    .is_some_and(|called| called.parameters.is_some() && called.body.is_empty())
                {
                    let mut behind = tokens;
                    if skip_parentheses(&mut behind).is_some() {
                        tokens = behind;
                    }
                }
                if let Some(called) = called.filter(|called| called.body.contains("##")) {
                    let behind = defined.body.get(token.span.range().end..);
                    let behind = behind.unwrap_or_default();
                    let pasted = called.pasted(&arguments(behind)).into_iter();
                    closure.names.extend(pasted.map(Cow::Owned));
                }
                let is_parameter = defined
                    .parameters
                    .iter()
                    .flatten()
                    .any(|known| known == text);
                closure.has_literal |= matches!(
                    token.kind,
                    TokenKind::Number | TokenKind::Character | TokenKind::String
                );
                if token.kind != TokenKind::Identifier || is_parameter {
                    continue;
                }
                if text == name {
                    // A name in the macro of that name stands for itself.
                    closure.names.insert(Cow::Borrowed(text));
                } else {
                    open.push(text);
                }
            }
        }
        Some(closure)
    }

    /// Returns the definitions of macros as C, in the order of the header.
    pub(super) fn definitions(&self, names: &HashSet<&str>) -> String {
        let mut lines: Vec<_> = names
            .iter()
            .filter_map(|&name| Some((self.all.get(name)?, name)))
            .collect();
        lines.sort_unstable_by_key(|(defined, _)| defined.order);
        let mut text = String::new();
        for (defined, name) in lines {
            let parameters = match &defined.parameters {
                Some(parameters) => format!("({})", parameters.join(",")),
                None => String::new(),
            };
            let body = &defined.body;
            let _ = write!(text, "#undef {name}\n#define {name}{parameters} {body}\n");
        }
        text
    }
}

/// Replaces the bodies of macros that are comma operators by the last operands, which are their values: left
/// operands are calls of functions, which no constant expression may have.
#[cfg_attr(
    not(feature = "headers"),
    allow(dead_code, reason = "only headers have macros")
)]
fn replace_commas(all: &mut HashMap<String, Macro>) {
    let ends_with_comma =
        |defined: &Macro| defined.parameters.is_none() && defined.body.ends_with(',');
    let commas = all.iter().filter(|(_, defined)| ends_with_comma(defined));
    let commas: HashSet<String> = commas.map(|(name, _)| name.clone()).collect();
    for defined in all.values_mut() {
        let body = &defined.body;
        let may_have_comma = !commas.is_empty() || body.contains(',');
        if !(may_have_comma && defined.parameters.is_none() && body.starts_with('(')) {
            continue;
        }
        if let Some(operand) = last_operand(body, |name| commas.contains(name)) {
            let is_name = Lexer::new(operand).take(2).count() == 1;
            defined.body = if is_name {
                operand.to_owned()
            } else {
                format!("({operand})")
            };
        }
    }
}

/// Replaces the bodies of macros that are names which other macros make by `##`, such as `VERSIONED(f)`, by these
/// names.
#[cfg_attr(
    not(feature = "headers"),
    allow(dead_code, reason = "only headers have macros")
)]
fn replace_pasted(all: &mut HashMap<String, Macro>) {
    let mut names = Vec::new();
    for (name, defined) in &*all {
        if defined.parameters.is_none()
            && let Some((called, arguments)) = call_of_words(&defined.body)
            && let Some(made) = expanded(all, name, (called, &arguments), 0)
            && made.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
        {
            names.push((name.clone(), made));
        }
    }
    for (name, made) in names {
        if let Some(defined) = all.get_mut(&name) {
            defined.body = made;
        }
    }
}

/// Returns whether a text is one name or number.
fn is_word(text: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    !text.is_empty() && text.chars().all(is_part)
}

/// Returns the name and the arguments of a call of a macro, each of which is one word.
fn call_of_words(text: &str) -> Option<(&str, Vec<String>)> {
    let (called, arguments) = text.strip_suffix(')')?.split_once('(')?;
    let called = called.trim_end();
    let arguments = arguments.split(',').map(str::trim);
    let arguments = arguments.map(|word| is_word(word).then(|| word.to_owned()));
    Some((called, arguments.collect::<Option<_>>()?)).filter(|_| is_word(called))
}

/// Returns the word that a call of a macro expands to; `None` if it is none. `own` is the macro that has the call,
/// which is not expanded again.
fn expanded(
    all: &HashMap<String, Macro>,
    own: &str,
    (called, arguments): (&str, &[String]),
    depth: usize,
) -> Option<String> {
    let defined = all.get(called).filter(|_| depth < MAX_CHAIN)?;
    let parameters = defined.parameters.as_ref()?;
    if parameters.len() != arguments.len() {
        return None;
    }
    let given = |word: &str| {
        let position = parameters.iter().position(|known| known == word);
        position.and_then(|position| arguments.get(position))
    };
    if defined.body.contains("##") {
        // The operands of `##` are not expanded (C11 6.10.3.3).
        let mut made = String::new();
        for piece in defined.body.split("##").map(str::trim) {
            made.push_str(given(piece).map_or(piece, String::as_str));
        }
        return Some(made).filter(|made| is_word(made) && made.len() <= MAX_PASTED);
    }
    let value = |word: &str| word_of(all, own, given(word).map_or(word, String::as_str)).to_owned();
    if is_word(&defined.body) {
        return Some(value(&defined.body));
    }
    let (next, list) = call_of_words(&defined.body)?;
    let list: Vec<String> = list.iter().map(|word| value(word)).collect();
    expanded(all, own, (next, &list), depth + 1)
}

/// Returns the word that a word expands to by macros without parameters.
fn word_of<'a>(all: &'a HashMap<String, Macro>, own: &str, word: &'a str) -> &'a str {
    let mut current = word;
    for _ in 0..MAX_CHAIN {
        let defined = all
            .get(current)
            .filter(|defined| defined.parameters.is_none());
        match defined {
            Some(defined) if current != own && is_word(&defined.body) => current = &defined.body,
            _ => break,
        }
    }
    current
}

/// The maximum number of macros in the expansion of one.
const MAX_MACROS: usize = 4096;

/// What the expansion of a macro may contain.
#[derive(Default)]
pub(super) struct Closure<'a> {
    pub(super) macros: HashSet<&'a str>,
    /// The names that are no macros.
    pub(super) names: HashSet<Cow<'a, str>>,
    /// Whether `##` makes tokens of it, so that the names may be parts of others.
    pub(super) has_pasted: bool,
    /// Whether a literal is in it.
    has_literal: bool,
}

impl Closure<'_> {
    /// Returns whether it may be a value, not only a type.
    pub(super) fn is_value(&self, is_enumerator: impl Fn(&str) -> bool) -> bool {
        let is_value = |name: &Cow<'_, str>| {
            matches!(
                &**name,
                "sizeof" | "_Alignof" | "__alignof__" | "true" | "false"
            ) || name.starts_with("__builtin_")
                || is_enumerator(name)
        };
        self.has_literal || self.names.iter().any(is_value)
    }
}

impl Macro {
    /// Reads a line `#define NAME BODY` or `#define NAME(PARAMETERS) BODY`.
    #[cfg_attr(
        not(feature = "headers"),
        allow(dead_code, reason = "only headers have macros")
    )]
    fn read(directive: &Directive, order: usize) -> Option<(String, Self)> {
        let rest = directive.line.strip_prefix("#define ")?.trim_start();
        let end = rest.find(|letter: char| letter.is_whitespace() || letter == '(');
        let (name, rest) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        let (parameters, body) = match rest.strip_prefix('(') {
            Some(rest) => {
                let (list, body) = rest.split_once(')')?;
                let names = list.split(',').map(|name| name.trim().to_owned());
                (Some(names.filter(|name| !name.is_empty()).collect()), body)
            }
            None => (None, rest),
        };
        let defined = Self {
            parameters,
            body: without_pragmas(body.trim()).into_owned(),
            is_own: directive.is_own,
            order,
        };
        Some((name.to_owned(), defined))
    }

    /// Returns the names that `##` makes of arguments and of parts of names (C11 6.10.3.3).
    fn pasted(&self, arguments: &[&str]) -> Vec<String> {
        let mut names = Vec::new();
        let argument = |word: &str| {
            let mut parameters = self.parameters.iter().flatten();
            let position = parameters.position(|parameter| parameter == word)?;
            arguments.get(position).map(|&argument| argument.to_owned())
        };
        let replace = |word: &str| argument(word).unwrap_or_else(|| word.to_owned());
        let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
        let mut pieces = self.body.split("##").map(str::trim).peekable();
        let mut name = String::new();
        let mut is_first = true;
        while let Some(piece) = pieces.next() {
            let end = piece.find(|letter| !is_part(letter));
            let (word, rest) = piece.split_at(end.unwrap_or(piece.len()));
            if !is_first {
                name.push_str(&replace(word));
            }
            if name.len() > MAX_PASTED {
                break;
            }
            if is_first || !rest.is_empty() || pieces.peek().is_none() {
                if !is_first {
                    names.push(std::mem::take(&mut name));
                }
                let start = piece.trim_end_matches(is_part).len();
                name = replace(piece.get(start..).unwrap_or_default());
            }
            is_first = false;
        }
        names
    }

    /// Returns the name that the macro stands for: its whole body, or that of a function to which it passes
    /// its parameters in order.
    fn target(&self) -> Option<&str> {
        let tokens: Vec<_> = Lexer::new(&self.body).take(MAX_TARGET).collect();
        let text = |token: &Token| token.span.of(&self.body);
        let (name, arguments) = tokens.split_first()?;
        if name.kind != TokenKind::Identifier || is_expression_keyword(text(name)) {
            return None;
        }
        let is_target = match &self.parameters {
            None => arguments.is_empty(),
            Some(parameters) => {
                let [open, arguments @ .., close] = arguments else {
                    return None;
                };
                let is_call = open.kind == TokenKind::LeftParenthesis
                    && close.kind == TokenKind::RightParenthesis;
                let mut expected = Vec::new();
                for parameter in parameters {
                    if !expected.is_empty() {
                        expected.push(",");
                    }
                    let is_rest = parameter == "...";
                    expected.push(if is_rest { "__VA_ARGS__" } else { parameter });
                }
                is_call && arguments.iter().map(text).eq(expected)
            }
        };
        is_target.then(|| text(name))
    }
}

/// The maximum length in bytes of the arguments of a macro with `##`, and of the names that it makes.
const MAX_PASTED: usize = 1024;

/// Returns the arguments in parentheses with which a text begins.
fn arguments(text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    let Some(text) = text.trim_start().strip_prefix('(') else {
        return all;
    };
    let (mut open, mut start) = (0_usize, 0);
    for (at, letter) in text.char_indices().take(MAX_PASTED) {
        match letter {
            '(' => open += 1,
            ')' if open > 0 => open -= 1,
            ')' | ',' if open == 0 => {
                all.push(text.get(start..at).unwrap_or_default().trim());
                start = at + 1;
                if letter == ')' {
                    break;
                }
            }
            _ => {}
        }
    }
    all
}

/// The maximum number of tokens of a macro that renames a function: its arguments, with commas.
const MAX_TARGET: usize = 256;

/// Returns whether a text may be a part of an expression: its brackets are balanced, and it has no tokens of
/// statements and declarations.
fn is_expression(text: &str) -> bool {
    let mut open = Vec::new();
    for token in Lexer::new(text) {
        let word = token.span.of(text);
        match token.kind {
            TokenKind::LeftParenthesis | TokenKind::LeftBracket => open.push(token.kind),
            TokenKind::RightParenthesis if open.pop() != Some(TokenKind::LeftParenthesis) => {
                return false;
            }
            TokenKind::RightBracket if open.pop() != Some(TokenKind::LeftBracket) => return false,
            TokenKind::LeftBrace | TokenKind::RightBrace | TokenKind::Semicolon => return false,
            TokenKind::Identifier if is_statement_keyword(word) => return false,
            _ => {}
        }
    }
    open.is_empty()
}

fn is_statement_keyword(word: &str) -> bool {
    matches!(
        word,
        "extern"
            | "static"
            | "typedef"
            | "inline"
            | "__inline"
            | "__inline__"
            | "register"
            | "return"
            | "if"
            | "else"
            | "do"
            | "while"
            | "for"
            | "switch"
            | "case"
            | "break"
            | "continue"
            | "goto"
            | "__attribute__"
            | "__declspec"
            | "__asm__"
            | "asm"
            | "_Pragma"
            | "_Static_assert"
    )
}

/// Returns the value of a literal, if its type has no influence on it.
fn literal(body: &str) -> Option<ConstantValue> {
    let mut tokens: Vec<_> = Lexer::new(body).take(16).collect();
    while let [first, inner @ .., last] = &tokens[..]
        && first.kind == TokenKind::LeftParenthesis
        && last.kind == TokenKind::RightParenthesis
    {
        tokens = inner.to_vec();
    }
    let (is_negative, token) = match &tokens[..] {
        [token] => (false, token),
        [sign, token] if sign.kind == TokenKind::Minus => (true, token),
        _ => return None,
    };
    let text = token.span.of(body);
    match token.kind {
        TokenKind::Number => number(text, is_negative),
        TokenKind::String if !is_negative && !text.contains('\\') => {
            let text = text.strip_prefix('"')?.strip_suffix('"')?;
            Some(ConstantValue::Text(text.as_bytes().to_vec()))
        }
        _ => None,
    }
}

/// Returns the value of a number (C11 6.4.4.1 and 6.4.4.2), where C's types have no influence on it.
fn number(text: &str, is_negative: bool) -> Option<ConstantValue> {
    let lower = text.to_ascii_lowercase();
    let (digits, radix) = match lower.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if lower.len() > 1 && lower.starts_with('0') => (lower.get(1..)?, 8),
        None => (&*lower, 10),
    };
    let integer = digits.trim_end_matches(['u', 'l']);
    let suffix = digits.get(integer.len()..)?;
    if let Ok(value) = u64::from_str_radix(integer, radix) {
        let is_unsigned = suffix.contains('u');
        let is_exact = match (is_negative, radix) {
            // A decimal number is signed; one beyond that is left to the compiler.
            (_, 10) if !is_unsigned => i64::try_from(value).is_ok(),
            (false, _) => true,
            // Its type may be unsigned.
            (true, _) => !is_unsigned && i32::try_from(value).is_ok(),
        };
        let value = i128::from(value);
        let is_valid = matches!(suffix, "" | "u" | "l" | "ul" | "lu" | "ll" | "ull" | "llu");
        return (is_exact && is_valid).then_some(ConstantValue::Integer(if is_negative {
            -value
        } else {
            value
        }));
    }
    if radix == 16 || !lower.contains(['.', 'e']) {
        return None;
    }
    let value = match lower.strip_suffix('f') {
        Some(single) => f64::from(single.parse::<f32>().ok()?),
        None => lower.parse::<f64>().ok()?,
    };
    let is_plain = lower
        .trim_end_matches('f')
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'+' | b'-'));
    is_plain.then_some(ConstantValue::Float(if is_negative {
        -value
    } else {
        value
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn macros(lines: &str) -> Macros {
        let lines = lines.lines().map(|line| Directive {
            line: line.to_owned(),
            is_own: !line.contains("foreign"),
        });
        Macros::new(&lines.collect::<Vec<_>>())
    }

    #[test]
    fn literals_have_the_values_of_the_compiler() {
        use ConstantValue::{Float, Integer, Text};
        for (body, expected) in [
            ("99", Some(Integer(99))),
            ("(-1)", Some(Integer(-1))),
            ("0xFFFFFFFF", Some(Integer(0xffff_ffff))),
            ("-0xFFFFFFFF", None),
            ("0x7fffffffffffffffULL", Some(Integer(i128::from(i64::MAX)))),
            ("9223372036854775808", None),
            ("-5u", None),
            ("010", Some(Integer(8))),
            ("09", None),
            ("0", Some(Integer(0))),
            ("1.5", Some(Float(1.5))),
            ("-0.1f", Some(Float(-f64::from(0.1_f32)))),
            ("1e3", Some(Float(1e3))),
            ("1.5L", None),
            ("0x1p3", None),
            ("\"1.2\"", Some(Text(b"1.2".to_vec()))),
            ("\"a\\n\"", None),
            ("L\"a\"", None),
            ("'a'", None),
            ("1 + 1", None),
            ("()", None),
            ("5lul", None),
            ("5z", None),
        ] {
            assert_eq!(literal(body), expected, "{body}");
        }
    }

    #[test]
    fn names_are_pasted() {
        for (body, pasted) in [
            ("f(a)", vec![]),
            ("x##L", vec!["A1L"]),
            ("(x ## L) + 1", vec!["A1L"]),
            ("PRE_##y", vec!["PRE_B"]),
            ("PRE_##x##_##y##_END + x##y", vec!["PRE_A1_B_END", "A1B"]),
            ("g(x##1, y##2)", vec!["A11", "B2"]),
            ("##", vec![""]),
        ] {
            let macros = macros(&format!("#define f(x, y) {body}"));
            let found = macros.all["f"].pasted(&arguments(" (A1, B) + (C)"));
            assert_eq!(found, pasted, "{body}");
        }
        assert_eq!(arguments("(g(a, b), (c))d"), ["g(a, b)", "(c)"]);
        assert_eq!(arguments("((((("), [""; 0]);
        assert_eq!(arguments("x(1)"), [""; 0]);
    }

    #[test]
    fn names_are_followed() {
        let macros = macros(
            "#define a b\n#define b c\n#define c c\n#define f(x, y) g(x, y)\n#define h(x, y) g(y, x)\n\
             #define all(...) some(__VA_ARGS__)\n#define loop1 loop2\n#define loop2 loop1\n#define n 3\n\
             #define k int\n#define gone x\n#undef gone\n#define none() nothing()\n#define guard",
        );
        for (name, expected) in [
            ("a", Some("c")),
            ("b", Some("c")),
            ("c", None),
            ("f", Some("g")),
            ("h", None),
            ("all", Some("some")),
            ("n", None),
            ("k", None),
            ("gone", None),
            ("none", Some("nothing")),
            ("guard", None),
        ] {
            assert_eq!(macros.renamed(name), expected, "{name}");
        }
        let _ = macros.renamed("loop1");
        assert!(macros.closure("n").unwrap().names.is_empty());
        assert!(macros.closure("c").unwrap().names.contains("c"));
    }
}
