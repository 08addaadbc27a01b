//! Texts that are far from C, deeply nested or very long: each gives an error or a prototype, without a panic,
//! an overflow of the stack, or a time that grows fast with the length.

use std::fmt::Write as _;
use std::thread;

use mapcall_decl::ctype::CType;
use mapcall_decl::{Declarations, Prototype, PrototypeErrorKind};
use proptest::collection::vec;
use proptest::prelude::*;

use super::generated::any_prototype;

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// A changed text gives a prototype, or an error with a position inside the text.
    #[test]
    fn mutated_text_never_panics(
        text in any_prototype(),
        edits in vec((any::<prop::sample::Index>(), 0..4_u8, ".{0,3}"), 1..6),
    ) {
        let mut text = format!("struct s {{ int a; }}; enum e {{ A = 3 }}; {text}");
        for (at, kind, new) in edits {
            let mut at = at.index(text.len().max(1));
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            match kind {
                0 => text.truncate(at),
                1 => text.insert_str(at, &new),
                2 if at < text.len() => {
                    text.remove(at);
                }
                _ => {
                    let tail = text[at..].to_owned();
                    text.insert_str(at, &tail);
                }
            }
        }
        if let Err(error) = Prototype::parse(&text) {
            prop_assert!(text.get(error.span.clone()).is_some());
            prop_assert!(error.to_string().starts_with("error: "));
        }
        for function in Declarations::parse(&text).functions() {
            if let Err(error) = &function.prototype {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    #[test]
    fn noise_never_panics(text in "[a-z0-9_*()\\[\\]{};:,.=+/\"' \\n#é]{0,80}") {
        let _ = Prototype::parse(&text).map_err(|error| error.to_string());
        let _ = Declarations::parse(&text);
    }
}

#[test]
fn hostile_nesting_is_an_error() {
    for text in [
        format!(
            "void f(int n, int x[{}n{}]);",
            "(".repeat(5000),
            ")".repeat(5000)
        ),
        format!("void f(int n, int x[n{}]);", "+n".repeat(5000)),
        format!("void f(int {}x);", "*".repeat(5000)),
        format!(
            "void f({}int{});",
            "struct { ".repeat(500),
            " x; }".repeat(500)
        ),
        format!(
            "void f({}int x{});",
            "int (*g)(".repeat(500),
            ")".repeat(500)
        ),
        (0..5000).fold("typedef int t0;".to_owned(), |mut text, i| {
            let _ = write!(text, "typedef t{i} *t{};", i + 1);
            text
        }) + "void f(t5000 x);",
        format!("void f({});", "int, ".repeat(100_000) + "int"),
        // Each level has twice as many members.
        (0..60).fold("struct s0 {};".to_owned(), |mut text, i| {
            let _ = write!(text, "struct s{} {{ struct s{i} a, b; }};", i + 1);
            text
        }) + "void f(struct s60 x[n]);",
    ] {
        assert!(Prototype::parse(&text).is_err());
        let _ = Declarations::parse(&text);
    }
}

/// Texts that are far from C, for some of which the time grows fast with the length, and long texts.
fn hostile_texts() -> impl Iterator<Item = String> {
    let repeated = [
        "*/*",
        "/ *",
        ":*",
        "!;",
        "{*",
        "&!",
        "struct a{",
        "int(",
        "/*",
        "\"",
        "(",
        "[",
        "a ",
        "-",
        "#if 1\n",
        "a<b>(c) ",
        "__attribute__((",
        "enum{",
        "(int)",
        "\\\n",
        "int a[sizeof(struct{",
        "int(*f)(int[sizeof(",
        "__attribute__((aligned(sizeof(",
        "struct{enum{A=",
        "_Alignas(",
        "1?",
        "f(a) int a; ",
    ];
    let repeated = repeated.into_iter().map(|part| (part, 400));
    let long = ["*/*", "(", "{", "[", "struct a{", "#if 1\n"].map(|part| (part, 60_000));
    repeated.chain(long).flat_map(|(part, length)| {
        let body = part.repeat(length / part.len());
        [
            format!("{body} void f(void)"),
            format!("void f(int x[{body}])"),
            format!("void f(struct {{ {body} }} *x)"),
        ]
    })
}

#[test]
fn no_text_overflows_the_stack() {
    // The minimum stack of Python's threads.
    let small = thread::Builder::new().stack_size(64 << 10);
    let read = small.spawn(|| {
        hostile_texts().all(|text| {
            let _ = Declarations::parse(&text);
            Prototype::parse(&text).map_or_else(|error| !error.to_string().is_empty(), |_| true)
        })
    });
    assert!(read.unwrap().join().unwrap());
}

#[test]
fn a_long_text_of_errors_is_an_error() {
    let text = "/ *".repeat(1 << 20) + " void f(void)";
    let error = Prototype::parse(&text).unwrap_err();
    assert!(
        matches!(error.kind, PrototypeErrorKind::Syntax { .. }),
        "{error}"
    );
    // A declaration that can't be read is listed, up to a limit.
    let errors = |count| Declarations::parse(&"int 1;".repeat(count)).errors().len();
    assert_eq!((errors(7), errors(5000)), (7, 1001));
}

#[test]
fn nested_types_are_parsed_on_small_threads() {
    let nested = |open: &str, inner: &str, close: &str| {
        let (open, close) = (open.repeat(60), close.repeat(60));
        format!("void f(int x[{open}{inner}{close}])")
    };
    let texts = [
        nested("(", "1", ")"),
        nested("(int)", "1", ""),
        nested("1 ? 1 : ", "1", ""),
        nested("1 + ", "1", ""),
        format!(
            "struct s {{ {}int a;{} }}; void f(void)",
            "struct { ".repeat(50),
            " } x;".repeat(50)
        ),
    ];
    let small = thread::Builder::new().stack_size(64 << 10);
    let read = small.spawn(move || texts.map(|text| Prototype::parse(&text).is_ok()));
    assert_eq!(read.unwrap().join().unwrap(), [true; 5]);
}

/// Returns definitions of types `t0`, `t1`, ..., each with two parts of the type before, and a function of the
/// last one.
fn doubled(
    levels: usize,
    first: &str,
    definition: impl Fn(&str, &str) -> String,
    function: &str,
) -> String {
    let definitions = (0..levels).map(|level| {
        let (inner, outer) = (format!("t{level}"), format!("t{}", level + 1));
        definition(&inner, &outer)
    });
    format!("{first}{}{function}", definitions.collect::<String>())
}

#[test]
fn types_that_double_are_bound_at_once() {
    let records = [
        ("struct t0 { char a; };", "struct"),
        ("struct t0 { };", "struct"),
        ("union t0 { char a; };", "union"),
    ];
    let mut texts: Vec<_> = records
        .map(|(first, keyword)| {
            let definition = |inner: &str, outer: &str| {
                format!("{keyword} {outer} {{ {keyword} {inner} a, b; }};")
            };
            doubled(60, first, definition, &format!("void f({keyword} t60 *x);"))
        })
        .into();
    let typedefs = [
        "typedef struct { INNER a, b; } OUTER;",
        "typedef struct { INNER *a, *b; } OUTER;",
        "typedef struct { INNER a[2]; INNER b; } OUTER;",
        "typedef INNER (*OUTER)(INNER, INNER);",
        "typedef struct { INNER (*a)(INNER b); } OUTER;",
    ];
    texts.extend(typedefs.map(|definition| {
        let define =
            |inner: &str, outer: &str| definition.replace("INNER", inner).replace("OUTER", outer);
        doubled(15, "typedef int t0;", define, "void f(t15 *x);")
    }));
    // Members share the type before them.
    let (open, close) = ("struct { ".repeat(50), " } a, b;".repeat(49));
    texts.push(format!("void f({open}char c;{close} }} *x);"));
    let (open, close) = ("struct { ".repeat(20), " } *a, *b;".repeat(19));
    texts.push(format!("void f({open}char c;{close} }} *x);"));
    for text in texts {
        let (one, other) = (
            Prototype::parse(&text).unwrap(),
            Prototype::parse(&text).unwrap(),
        );
        assert_eq!(one, other);
        let (one, other) = (&one.parameters[0].ctype, &other.parameters[0].ctype);
        assert!(one.is_same(other));
        let shown = format!("{one} {one:?}");
        assert!(shown.len() < 500, "{shown}");
        let CType::Pointer(pointer) = one else {
            panic!("{one}");
        };
        // The dtype would have a field for each member.
        if let Ok(dtype) = pointer.target.dtype() {
            assert!(dtype.itemsize() <= 16, "{dtype}");
        }
    }
}
