//! What stands before the text of a source code: the declarations that it has without including them.

use std::fmt::Write as _;

use super::Language;
use crate::syntax::lexer::{Lexer, Token, TokenKind};

/// The name of the prelude in line markers and messages.
pub(super) const PRELUDE: &str = "<mapcall>";

/// The name of the text in line markers and messages.
pub(super) const TEXT: &str = "<source>";

/// The name of the text of prototypes in line markers and messages.
pub(super) const PROTOTYPES: &str = "<prototypes>";

/// Compilers need not know the attributes that only mapcall reads.
const ATTRIBUTES: &str = r#"#if defined(__clang__)
#pragma clang diagnostic ignored "-Wunknown-attributes"
#elif defined(__GNUC__)
#if __GNUC__ >= 12
#pragma GCC diagnostic ignored_attributes "mapcall::"
#endif
#endif
"#;

/// Returns the prelude of a text.
pub(super) fn prelude(language: Language, text: &str) -> String {
    let mut prelude = format!("#line 1 \"{PRELUDE}\"\n{ATTRIBUTES}");
    for definition in feature_macros(text) {
        let _ = writeln!(prelude, "{definition}");
    }
    if language == Language::C && has_complex_types(text) {
        prelude.push_str("#define complex _Complex\n");
    }
    prelude.push_str("#include <stdint.h>\n#include <stddef.h>\n");
    prelude.push_str(crate::MAPCALL_H);
    prelude
}

/// Returns the definitions of reserved macros before the first `#include`, such as `_GNU_SOURCE`: the system's
/// headers read them when the first of these is included (`feature_test_macros(7)`).
fn feature_macros(text: &str) -> impl Iterator<Item = &str> {
    let is_include = |directive: &&str| directive_of(directive, "include").is_some();
    let directives = Lexer::new(text)
        .filter(|token| token.kind == TokenKind::Directive)
        .map(|token| token.span.of(text))
        .take_while(move |directive| !is_include(directive));
    directives.filter(|directive| {
        let name = directive_of(directive, "define").unwrap_or_default();
        let mut letters = name.chars();
        letters.next() == Some('_')
            && letters
                .next()
                .is_some_and(|letter| letter == '_' || letter.is_ascii_uppercase())
    })
}

/// Returns what stands behind the name of a directive.
fn directive_of<'t>(directive: &'t str, name: &str) -> Option<&'t str> {
    let rest = directive.strip_prefix('#')?.trim_start();
    let rest = rest.strip_prefix(name)?;
    rest.starts_with([' ', '\t', '"', '<'])
        .then(|| rest.trim_start())
}

/// Returns whether the text writes complex types with the macro `complex` of `complex.h`, as in `double
/// complex`, and has no other use of that name, such as a struct's tag.
fn has_complex_types(text: &str) -> bool {
    let tokens: Vec<Token> = Lexer::new(text)
        .filter(|token| token.kind != TokenKind::Directive)
        .collect();
    let word = |at: Option<usize>| {
        let token = at.and_then(|at| tokens.get(at));
        token.map_or("", |token| token.span.of(text))
    };
    let is_float = |word: &str| matches!(word, "float" | "double" | "long");
    let mut is_type = false;
    for at in 0..tokens.len() {
        if word(Some(at)) != "complex" {
            continue;
        }
        let (before, after) = (word(at.checked_sub(1)), word(at.checked_add(1)));
        if is_float(after) || is_float(before) && !matches!(after, ";" | "=" | ",") {
            is_type = true;
        } else {
            return false;
        }
    }
    is_type
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complex_is_a_type_only_beside_one() {
        for (text, expected) in [
            ("double complex f(double complex x) { return x; }", true),
            ("void f(int n, const float complex x[n]);", true),
            ("complex double z; double g(long double complex *p);", true),
            (
                "struct complex { double re, im; }; double abs2(struct complex z);",
                false,
            ),
            (
                "typedef struct { double re, im; } complex; double complex_abs(complex z);",
                false,
            ),
            ("double complex = 3;", false),
            ("double f(double x) { return x; } // double complex", false),
            ("", false),
        ] {
            assert_eq!(has_complex_types(text), expected, "{text}");
        }
    }

    #[test]
    fn feature_macros_stand_before_the_first_include() {
        let text = "// x\n#define _GNU_SOURCE\n/*\n#define _NO\n*/\n#define N 3\n# define __STDC_WANT_X 1\n\
                    #include <math.h>\n#define _LATE 1\nint f(void);";
        let found: Vec<_> = feature_macros(text).map(str::trim_end).collect();
        assert_eq!(found, ["#define _GNU_SOURCE", "# define __STDC_WANT_X 1"]);
    }
}
