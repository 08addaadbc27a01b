//! Prototypes: valid texts, refused texts with their errors, and comparisons with the system's compiler and
//! headers.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test fails by a panic, and one reports a time"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use mapcall_array::DType;
use mapcall_array::dtype::Field;
use mapcall_decl::ctype::{Body, CType};
use mapcall_decl::{Declarations, Prototype, PrototypeErrorKind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Cases of a text, its display, its signature, and for each parameter: rank, const, restrict, inferred.
#[test]
fn good_prototypes() {
    for (text, display, signature, parameters) in [
        (
            "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);",
            "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])",
            "(),(n)->(n)",
            "0--i 0--- 1cr- 1-r-",
        ),
        ("int f(void)", "int f(void)", "->()", ""),
        (
            "double cos(double)",
            "double cos(double arg0)",
            "()->()",
            "0---",
        ),
        (
            "void f(float const x[static const n], unsigned n) // the end",
            "void f(const float x[n], unsigned int n)",
            "(n)->",
            "1c-- 0--i",
        ),
        (
            "void f(int n, float x[n*2+sizeof(int)][*], int k, short z[(n+7)/8][k][010][0x1fUL]);",
            "void f(int n, float x[n*2+4][], int k, short z[(n+7)/8][k][8][31])",
            "(),(n*2+4,?)->((n+7)/8,k,8,31)",
            "0--- 2--- 0--i 4---",
        ),
        (
            "void f(int n, char m[n - (n - 1)][-n + 'a'], char t[n ? n : 1 + 2][n << 1 >= 3 && !n]);",
            "void f(int n, char m[n-(n-1)][-n+97], char t[n?n:3][n<<1>=3&&!n])",
            "()->(n-(n-1),-n+97),(n?n:3,n<<1>=3&&!n)",
            "0--- 2--- 2---",
        ),
        (
            "void f(int n, char a[(n)-1], char b[(n)*2], char c[(size_t)n*sizeof n], char d[(n)&1]);",
            "void f(int n, char a[n-1], char b[n*2], char c[(unsigned long)n*4], char d[n&1])",
            "()->(n-1),(n*2),((unsigned long)n*4),(n&1)",
            "0--- 1--- 1--- 1--- 1---",
        ),
        (
            "void f(int n, float (*m)[n], float *w[n], const float *const *restrict p, int (x));",
            "void f(int n, float m[][n], float *w[n], const float *const *restrict p, int x)",
            "(?,n),(),()->(n)",
            "0--i 2--- 1--- 0cr- 0---",
        ),
        (
            "extern int (*signal(int sig, void (*func)(int)))(int) __asm__(\"bsd_\" \"signal\");",
            "int (*signal(int sig, void (*func)(int)))(int) __asm__(\"bsd_signal\")",
            "(),()->()",
            "0--- 0---",
        ),
        (
            "__extension__ extern __inline double _Complex f(float complex z, _Complex long double w, \
             double _Complex x[__restrict__ 3]) __attribute__((nothrow, leaf));",
            "double _Complex f(float _Complex z, long double _Complex w, double _Complex x[restrict 3])",
            "(),()->(),(3)",
            "0--- 0--- 1-r-",
        ),
        (
            "typedef double vec3[3]; typedef vec3 mat3[3]; void f(const mat3 m[], vec3 v, const vec3 *p);",
            "void f(const double m[][3][3], double v[3], const double p[][3])",
            "(?,3,3),(?,3)->(3)",
            "3c-- 1--- 2c--",
        ),
        (
            "enum e { A = 1, B = A << 2, C }; struct s { int a; }; \
             struct s f(enum e e, const struct s x[C], _Bool b, bool c[B], _Float16 h);",
            "struct s f(enum e e, const struct s x[5], _Bool b, _Bool c[4], _Float16 h)",
            "(),(5),(),()->(),(4)",
            "0--- 1c-- 0--- 1--- 0---",
        ),
        (
            "extern \"C\" { __signed__ char f(long unsigned int long a, FILE *out, int (*)(const void *)); }",
            "signed char f(unsigned long long a, FILE *out, int (*arg2)(const void *))",
            "(),(),()->()",
            "0--- 0--- 0---",
        ),
        (
            "typedef int cmp(const void *, const void *); void sort(void *base, cmp f, cmp *const g);",
            "void sort(void *base, cmp *f, cmp *g)",
            "(),(),()->",
            "0--- 0--- 0---",
        ),
        (
            "typedef struct z z; typedef z *zp; struct z { zp next; }; int f(zp a, z b) { return 1; }",
            "int f(zp a, z b)",
            "(),()->()",
            "0--- 0---",
        ),
    ] {
        let prototype = Prototype::parse(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(prototype.to_string(), display);
        assert_eq!(prototype.signature(), signature);
        let facts: Vec<_> = prototype
            .parameters
            .iter()
            .map(|p| {
                let flag = |is, c| if is { c } else { '-' };
                let (c, r) = (flag(p.is_const, 'c'), flag(p.is_restrict, 'r'));
                format!("{}{c}{r}{}", p.rank(), flag(p.is_inferred, 'i'))
            })
            .collect();
        assert_eq!(facts.join(" "), parameters, "{text}");
    }
}

fn rendered(text: &str) -> String {
    match Prototype::parse(text) {
        Ok(prototype) => panic!("{text} was read as {prototype}"),
        Err(error) => {
            assert!(
                text.get(error.span.clone()).is_some(),
                "{text}: {:?}",
                error.span
            );
            error.to_string()
        }
    }
}

#[test]
fn variadic_functions() {
    for (text, expected) in [
        (
            "int printf(const char *format, ...);",
            "int printf(const char *format, ...)",
        ),
        ("int f(...)", "int f(...)"),
        ("typedef int F(int, ...); F f;", "int f(int arg0, ...)"),
        ("int (*f(int n, ...))(int);", "int (*f(int n, ...))(int)"),
    ] {
        let f = Prototype::parse(text).unwrap();
        assert!(f.is_variadic, "{text}");
        assert_eq!(f.to_string(), expected);
    }
    let f = Prototype::parse("int f(int (*g)(int, ...))").unwrap();
    assert!(!f.is_variadic);
    assert_eq!(f.to_string(), "int f(int (*g)(int, ...))");
}

/// Cases of a text, the part that the error marks, the reason, and the remedy.
#[test]
fn bad_prototypes() {
    const SYNTAX: &str = "write a C prototype, such as `void f(size_t n, const float x[n]);`";
    for (text, place, reason, remedy) in [
        (
            "int f(a, b) int a; int b; { return a; }",
            "(a, b)",
            "`f` doesn't say what its parameters are, as C before 1989",
            "write the types in the parentheses, or `f(void)` if it takes nothing",
        ),
        (
            "int f();",
            "()",
            "`f` doesn't say what its parameters are, as C before 1989",
            "write the types in the parentheses, or `f(void)` if it takes nothing",
        ),
        (
            "struct s { int b; __int128 a; }; void f(struct s x);",
            "x",
            "`struct s` can't be passed: its member `a` is of type `__int128`",
            "pass it by a pointer, or wrap the function",
        ),
        (
            "void f(int n, float x[n * 1.5]);",
            "1.5",
            "expected an integer, got the floating constant `1.5`",
            "write an integer, such as `n * 3 / 2` for 1.5 n",
        ),
        (
            "void f(int len, float x[lem]);",
            "lem",
            "the extent names `lem`, which is no parameter of `f`",
            "did you mean `len`?",
        ),
        (
            "void f(double n, float x[n]);",
            "n]",
            "the extent names `n`, which is no integer but `double`",
            "make `n` a `size_t`, or name an integer parameter",
        ),
        (
            "void f(int n[2], float x[n]);",
            "n])",
            "the extent names `n`, which is no integer but `int *`",
            "make `n` a `size_t`, or name an integer parameter",
        ),
        (
            "void f(int n, float (**x)[n]);",
            "n])",
            "only the extents of a parameter itself may vary",
            "write a constant, or a pointer in place of the array",
        ),
        (
            "void f(int n, float n);",
            "n);",
            "two parameters are called `n`",
            "rename one of them",
        ),
        (
            "void f(unit32_t n);",
            "unit32_t",
            "unknown type `unit32_t`",
            "did you mean `uint32_t`?",
        ),
        (
            "void f(matrix n);",
            "matrix",
            "unknown type `matrix`",
            "put its definition before, such as `typedef int matrix;`",
        ),
        (
            "void f(struct s x);",
            "x",
            "`struct s` is incomplete: its size is not known",
            "put the definition of `struct s` before, or take a pointer to it",
        ),
        (
            "void f(enum e x);",
            "enum e",
            "`enum e` is incomplete: its size is not known",
            "put the definition of `enum e` before, or take a pointer to it",
        ),
        (
            "void f(float x[-1]);",
            "-1",
            "this constant expression is negative: -1",
            "write another one",
        ),
        (
            "void f(int n, float x[n + 1 / 0]);",
            "1 / 0",
            "this constant expression divides by zero",
            "write another one",
        ),
        (
            "void f(int n, float x[g(n)]);",
            "g(n)",
            "`g(n)` can't stand in an extent",
            "write names of integer parameters, integer constants and operators",
        ),
        (
            "void f(va_list v);",
            "v)",
            "`va_list` can't be passed: C code alone can make a list of arguments",
            "pass it by a pointer, or wrap the function",
        ),
        (
            "#pragma pack(N)\nstruct s { char a; int b; }; void f(struct s x);",
            "x)",
            "`struct s` can't be passed: `#pragma pack` gives it a layout that is not known",
            "pass it by a pointer, or wrap the function",
        ),
        (
            "static int f(int x);",
            "f(",
            "`f` is static: no library exports it",
            "remove `static`, in the library too",
        ),
        (
            "int f(int x) __attribute__((ms_abi));",
            "f(",
            "`ms_abi` changes how a function is called",
            "wrap it in a function with the platform's calling convention",
        ),
        (
            "unsigned double f(int x);",
            "unsigned double",
            "`unsigned double` is no type",
            "write one of C's types, such as `unsigned long`",
        ),
        (
            "void f(int x y);",
            "y",
            "expected a C declaration, got `y`",
            SYNTAX,
        ),
        ("void f(int x[n);", ")", "expected `]`", SYNTAX),
        (
            "int f(void); int g(void);",
            "g",
            "expected one prototype, got a second one, `g`",
            "give one prototype at a time, or read them all as a header",
        ),
        (
            "struct s { int a; }; struct s { int b; }; void f(struct s *x);",
            "struct s { int b; }",
            "`struct s` is defined a second time, as something else",
            "remove one of the definitions, or make them agree",
        ),
        (
            "int (f(int x))[3];",
            "f(int x))[3]",
            "C has no functions that return arrays",
            "write a pointer to it",
        ),
    ] {
        let start = text.find(place).unwrap();
        let message = rendered(text);
        let mut lines = message.lines();
        assert_eq!(
            lines.next().unwrap(),
            format!("error: {reason}"),
            "{message}"
        );
        assert_eq!(
            message.lines().last().unwrap().trim(),
            format!("= help: {remedy}").trim()
        );
        let carets = message
            .lines()
            .find(|line| line.contains('^'))
            .unwrap_or_else(|| panic!("{message}"));
        let column = carets.find('^').unwrap() - "1 | ".len();
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        assert_eq!(column, start - line_start, "{message}");
    }
}

#[test]
fn messages_point_into_the_text() {
    assert_eq!(
        rendered("typedef float real;\nvoid scale(\n    size_t n,\n    const reel x[n]\n);\n"),
        "\
error: unknown type `reel`
  |
4 |     const reel x[n]
  |           ^^^^
  |
  = help: did you mean `real`?"
    );
    assert_eq!(
        rendered(""),
        "\
error: expected the prototype of a function, got none
  |
1 |
  | ^
  |
  = help: add a prototype, such as `void f(size_t n, float x[n]);`"
    );
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

#[test]
fn dtypes_of_structs() {
    let header = Declarations::parse(
        "typedef struct { char tag; union { float f; int i; }; double _Complex z[2][3]; void *p; } t;
         struct __attribute__((packed)) p { char a; int b; };
         struct flexible { int n; double x[]; };
         struct bits { unsigned a : 3, : 4, b : 30; char c; unsigned d : 2, : 0; short e : 9; };
         struct wide { char a; __int128 b; struct __attribute__((packed)) { char c; double d; } e; };",
    );
    assert!(header.errors().is_empty());
    let dtype = header.structs()["t"].dtype().unwrap();
    let offsets: Vec<_> = dtype
        .fields()
        .unwrap()
        .iter()
        .map(|f| (&*f.name, f.offset))
        .collect();
    assert_eq!(
        offsets,
        [("tag", 0), ("f", 4), ("i", 4), ("z", 8), ("p", 104)]
    );
    assert_eq!(dtype.field("z").unwrap().dtype.shape(), [2, 3]);
    assert_eq!(dtype.field("z").unwrap().dtype.base(), &DType::C128);
    let packed = header.structs()["p"].dtype().unwrap();
    assert_eq!((packed.itemsize(), packed.alignment()), (5, 1));
    let error = |name: &str| header.structs()[name].dtype().unwrap_err().to_string();
    assert_eq!(
        error("flexible"),
        "`struct flexible` has no dtype: it ends in an array without a length"
    );
    // Bit-fields that share storage are one field, which lies beside the other members.
    let fields = |name: &str| {
        let dtype = header.structs()[name].dtype().unwrap();
        let fields = dtype.fields().unwrap().iter();
        let text = |field: &Field| format!("{} {} {}", field.name, field.dtype, field.offset);
        (
            fields.map(text).collect::<Vec<_>>().join(", "),
            dtype.itemsize(),
        )
    };
    // `d` lies in the bytes of an `int` that `c` is in, too.
    let bits = "a:3 <u4 0, b:30 <u4 4, c |i1 8, d:2 |u1 9, e:9 <u2 12";
    assert_eq!(fields("bits"), (bits.into(), 16));
    assert_eq!(fields("wide").1, 48);
}

const SCALARS: [&str; 24] = [
    "char",
    "signed char",
    "unsigned char",
    "short",
    "unsigned short",
    "int",
    "unsigned int",
    "long",
    "unsigned long",
    "long long",
    "unsigned long long",
    "float",
    "double",
    "long double",
    "_Bool",
    "float _Complex",
    "double _Complex",
    "size_t",
    "int8_t",
    "uint16_t",
    "int32_t",
    "uint64_t",
    "ptrdiff_t",
    "void *",
];

/// The text of a declaration before and behind its name.
fn any_declarator() -> impl Strategy<Value = (String, String)> {
    let leaf = (select(&SCALARS[..]), any::<bool>()).prop_map(|(scalar, is_const)| {
        let prefix = if is_const { "const " } else { "" };
        (format!("{prefix}{scalar} "), String::new())
    });
    leaf.prop_recursive(4, 8, 2, |inner| {
        (inner, 0..5_u8, 1..4_usize).prop_map(|((before, after), step, length)| match step {
            0 => (format!("{before}*"), after),
            1 => (format!("{before}*const "), after),
            2 => (format!("{before}(*"), format!(")[{length}]{after}")),
            3 => (
                format!("{before}(*"),
                format!(")(int, const char *, ...){after}"),
            ),
            _ => (format!("{before}*restrict "), after),
        })
    })
}

const OPERATORS: [&str; 16] = [
    "+", "-", "*", "<<", ">>", "<", "<=", ">", ">=", "==", "!=", "&", "^", "|", "&&", "||",
];

fn any_extent() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("n".to_owned()),
        Just("k".to_owned()),
        (0..100_u32).prop_map(|value| value.to_string()),
        select(&SCALARS[..]).prop_map(|scalar| format!("sizeof({scalar})")),
    ];
    leaf.prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), select(&OPERATORS[..]), inner.clone())
                .prop_map(|(left, op, right)| format!("({left}) {op} ({right})")),
            (select(&["-", "~", "!", "+"][..]), inner.clone())
                .prop_map(|(op, operand)| format!("{op}({operand})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
            (select(&["int", "size_t"][..]), inner)
                .prop_map(|(ctype, operand)| format!("({ctype})({operand})")),
        ]
    })
}

fn any_prototype() -> impl Strategy<Value = String> {
    let parameter = (any_declarator(), vec(any_extent(), 0..3), any::<bool>());
    (any_declarator(), vec(parameter, 0..6)).prop_map(|((before, after), parameters)| {
        let mut list = String::from("int n, long k");
        for (index, ((before, after), extents, restrict)) in parameters.iter().enumerate() {
            let _ = write!(list, ", {before}p{index}");
            for (axis, extent) in extents.iter().enumerate() {
                let restrict = if *restrict && axis == 0 {
                    "restrict "
                } else {
                    ""
                };
                let _ = write!(list, "[{restrict}{extent}]");
            }
            list.push_str(after);
        }
        format!("{before}f({list}){after};")
    })
}

/// Compiles and runs a C program, and returns its output.
fn compile_and_run(source: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("program");
    let mut compiler = Command::new("cc")
        .args(["-w", "-x", "c", "-o"])
        .arg(&program)
        .arg("-")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    compiler
        .stdin
        .take()
        .unwrap()
        .write_all(source.as_bytes())
        .unwrap();
    assert!(compiler.wait().unwrap().success(), "{source}");
    String::from_utf8(Command::new(&program).output().unwrap().stdout).unwrap()
}

/// Returns a preprocessed system header; `None` if it is not installed.
fn preprocess(header: &str) -> Option<String> {
    let mut compiler = Command::new("cc")
        .args(["-D_GNU_SOURCE", "-E", "-x", "c", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let include = format!("#include <{header}>\n");
    compiler
        .stdin
        .take()
        .unwrap()
        .write_all(include.as_bytes())
        .unwrap();
    let output = compiler.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    output.status.success().then_some(text)
}

#[derive(Clone, Debug)]
struct MemberText {
    alignas: Option<u32>,
    declarator: (String, String),
    length: Option<usize>,
    packed: bool,
}

fn any_struct() -> impl Strategy<Value = (Vec<MemberText>, &'static str, bool)> {
    let member = (
        proptest::option::weighted(0.2, select(&[16_u32, 32, 64][..])),
        any_declarator(),
        proptest::option::of(1..5_usize),
        proptest::bool::weighted(0.1),
    )
        .prop_map(|(alignas, declarator, length, packed)| MemberText {
            alignas,
            declarator,
            length,
            packed,
        });
    (
        vec(member, 1..8),
        select(
            &[
                "",
                "__attribute__((packed))",
                "__attribute__((__aligned__(32)))",
            ][..],
        ),
        proptest::bool::weighted(0.2),
    )
}

fn struct_text(
    index: usize,
    (members, attribute, union): &(Vec<MemberText>, &str, bool),
) -> String {
    let keyword = if *union { "union" } else { "struct" };
    let mut text = format!("typedef {keyword} {{ ");
    for (m, member) in members.iter().enumerate() {
        if let Some(alignas) = member.alignas {
            let _ = write!(text, "_Alignas({alignas}) ");
        }
        let (before, after) = &member.declarator;
        let length = member.length.map(|n| format!("[{n}]")).unwrap_or_default();
        let packed = if member.packed {
            " __attribute__((packed))"
        } else {
            ""
        };
        let _ = write!(text, "{before}m{m}{length}{after}{packed}; ");
    }
    if index > 0 {
        let _ = write!(
            text,
            "struct {{ char c; s{} inner; }}; s{} n[2]; ",
            index - 1,
            index - 1
        );
    }
    let _ = writeln!(text, "}} {attribute} s{index};");
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// The display of a prototype is parsed to the same prototype, with the same display.
    #[test]
    fn display_is_read_back(text in any_prototype()) {
        match Prototype::parse(&text) {
            Ok(prototype) => {
                let display = prototype.to_string();
                let again = Prototype::parse(&display)
                    .unwrap_or_else(|error| panic!("{text}\n{error}"));
                prop_assert_eq!(&again, &prototype, "{}", display);
                prop_assert_eq!(again.to_string(), display);
            }
            // Constant expressions may have no value, and a result can't be `const void`.
            Err(error) => prop_assert!(
                matches!(error.kind, PrototypeErrorKind::Constant(_)),
                "{}", error
            ),
        }
    }

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

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Sizes, alignments and offsets are the same as the compiler's.
    #[test]
    fn layouts_are_the_compilers(structs in vec(any_struct(), 1..12)) {
        let mut definitions = String::new();
        let mut body = String::new();
        for (index, spec) in structs.iter().enumerate() {
            definitions.push_str(&struct_text(index, spec));
            let _ = write!(body, "printf(\"%zu %zu\", sizeof(s{index}), _Alignof(s{index}));");
            for member in 0..spec.0.len() {
                let _ = write!(body, "printf(\" %zu\", offsetof(s{index}, m{member}));");
            }
            body.push_str("puts(\"\");\n");
        }
        let includes = "#include <stddef.h>\n#include <stdint.h>\n#include <stdio.h>\n";
        let expected =
            compile_and_run(&format!("{includes}{definitions}int main(void) {{ {body} }}"));

        let header = Declarations::parse(&definitions);
        prop_assert!(header.errors().is_empty(), "{}", header.errors()[0]);
        let mut ours = String::new();
        for (index, spec) in structs.iter().enumerate() {
            let ctype = &header.structs()[&format!("s{index}")];
            let CType::Record(record) = ctype.resolved() else { panic!() };
            let Body::Complete { members, .. } = &record.body else { panic!("{:?}", record.body) };
            let _ = write!(ours, "{} {}", ctype.size().unwrap(), ctype.alignment().unwrap());
            for member in &members[..spec.0.len()] {
                let _ = write!(ours, " {}", member.offset);
            }
            ours.push('\n');
            let dtype = ctype.dtype().unwrap();
            prop_assert_eq!(Some(dtype.itemsize()), ctype.size());
        }
        prop_assert_eq!(ours, expected, "{}", definitions);
    }
}

/// Every function of a real header can be called, or has the reason why not.
#[test]
fn system_headers_are_read_whole() {
    for (header, callable, refused) in [
        ("math.h", &["cos", "fma", "frexp", "ldexpl"][..], &[][..]),
        ("complex.h", &["csqrt", "cabsf", "cpow"], &[]),
        (
            "stdlib.h",
            &["qsort", "getenv", "malloc", "strtol", "div"],
            &[],
        ),
        ("string.h", &["memcpy", "strlen", "strtok_r"], &[]),
        ("stdio.h", &["fopen", "puts", "fread"], &["vprintf"]),
        ("unistd.h", &["read", "getcwd", "lseek", "execl"], &[]),
        ("pthread.h", &["pthread_create", "pthread_mutex_lock"], &[]),
        ("time.h", &["mktime", "strftime", "nanosleep"], &[]),
        ("zlib.h", &["compress2", "crc32", "inflate"], &[]),
        (
            "sqlite3.h",
            &["sqlite3_open", "sqlite3_exec"],
            &["sqlite3_vmprintf"],
        ),
    ] {
        let Some(text) = preprocess(header) else {
            // The other headers exist on every system with a C compiler.
            assert!(matches!(header, "zlib.h" | "sqlite3.h"), "{header}");
            continue;
        };
        let declarations = Declarations::parse(&text);
        let errors: Vec<_> = declarations
            .errors()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(errors.is_empty(), "{header}: {}", errors.join("\n"));
        let find = |name: &str| {
            declarations
                .functions()
                .iter()
                .find(|function| function.name == name)
                .unwrap_or_else(|| panic!("{header} has no {name}"))
        };
        for name in callable {
            assert_eq!(find(name).unsupported(), None, "{header}: {name}");
        }
        for name in refused {
            assert!(find(name).unsupported().is_some(), "{header}: {name}");
        }
        for function in declarations.functions() {
            match &function.prototype {
                Ok(prototype) => assert_eq!(prototype.name, function.name),
                Err(error) => assert!(
                    !matches!(
                        error.kind,
                        PrototypeErrorKind::Syntax { .. } | PrototypeErrorKind::UnknownType { .. }
                    ),
                    "{header}: {error}"
                ),
            }
        }
    }
}

#[test]
fn every_prototype_of_a_long_header_is_there() {
    let header = (0..500).fold(String::new(), |header, i| {
        header + &format!("void f{i}(size_t n, const float x[restrict n], float y[restrict n]);\n")
    });
    let declarations = Declarations::parse(&header);
    assert_eq!(declarations.functions().len(), 500);
    for (i, function) in declarations.functions().iter().enumerate() {
        assert_eq!(function.name, format!("f{i}"));
        assert_eq!(function.prototype.as_ref().unwrap().signature(), "(n)->(n)");
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

/// Cases of a header's declaration, a prototype, and the difference.
#[test]
fn prototypes_that_contradict_the_header_are_refused() {
    const TYPES: &str = "typedef struct { double re, im; } complex_t; struct file; typedef struct file *file;
        enum mode { FAST, SLOW }; enum kind { A }; typedef unsigned char byte; struct pair { int a, b; };";
    for (declared, prototype, difference) in [
        (
            "double f(double x, double y)",
            "double f(double x)",
            "it has 1 parameter, not 2",
        ),
        ("int f(void)", "int f(int x)", "it has 1 parameter, not 0"),
        (
            "double f(double x)",
            "double f(float x)",
            "its parameter `x` is `float`, not `double`",
        ),
        (
            "double f(double x)",
            "int f(double x)",
            "its result is `int`, not `double`",
        ),
        (
            "int f(int *x)",
            "int f(int x)",
            "its parameter `x` is `int`, not `int *`",
        ),
        (
            "int f(double **x)",
            "int f(double x[3][3])",
            "its parameter `x` is `double *`, not `double **`",
        ),
        (
            "int f(const double *x)",
            "int f(double x[3])",
            "its parameter `x` is `double *`, not `const double *`",
        ),
        (
            "int f(unsigned n)",
            "int f(int n)",
            "its parameter `n` is `int`, not `unsigned int`",
        ),
        (
            "int f(long n)",
            "int f(int n)",
            "its parameter `n` is `int`, not `long`",
        ),
        (
            "int f(_Bool n)",
            "int f(char n)",
            "its parameter `n` is `char`, not `_Bool`",
        ),
        (
            "int f(double *n)",
            "int f(void *n)",
            "its parameter `n` is `void *`, not `double *`",
        ),
        (
            "int f(enum mode m)",
            "int f(enum kind m)",
            "its parameter `m` is `enum kind`, not `enum mode`",
        ),
        (
            "int f(int (*g)(int))",
            "int f(void *g)",
            "its parameter `g` is `void *`, not `int (*)(int)`",
        ),
        (
            "int f(void *g)",
            "int f(int (*g)(int))",
            "its parameter `g` is `int (*)(int)`, not `void *`",
        ),
        (
            "int f(int (*g)(const void *))",
            "int f(int (*g)(const void *, int))",
            "its parameter `g` is `int (*)(const void *, int)`, not `int (*)(const void *)`",
        ),
        (
            "int f(int (*g)(const void *))",
            "int f(int (*g)(double *))",
            "its parameter `g` is `int (*)(double *)`, not `int (*)(const void *)`",
        ),
        (
            "int f(struct pair p)",
            "struct other { int a; float b; }; int f(struct other p)",
            "its parameter `p` is `struct other`, not `struct pair`",
        ),
        (
            "complex_t f(complex_t z)",
            "double _Complex f(complex_t z)",
            "its result is `double _Complex`, not `complex_t`",
        ),
    ] {
        let header = Declarations::parse(&format!("{TYPES} {declared};"));
        assert!(header.errors().is_empty(), "{declared}");
        let error = header.prototype(prototype).unwrap_err();
        let PrototypeErrorKind::Contradiction {
            difference: found, ..
        } = &error.kind
        else {
            panic!("{prototype}: {error}");
        };
        assert_eq!(&**found, difference, "{prototype}");
        let name = prototype
            .rfind("f(")
            .filter(|_| !prototype.contains("(*g)"))
            .unwrap_or(4);
        assert_eq!(error.span.start, name, "{prototype}");
        let shown = format!(
            "the header's `{}`",
            header.functions()[0].prototype.as_ref().unwrap()
        );
        assert!(error.to_string().contains(&shown), "{error}");
    }
    for (declared, prototype) in [
        (
            "int f(void *x, unsigned long n)",
            "int f(const float y[n], size_t n)",
        ),
        (
            "int f(int n, const double *a, int lda)",
            "int f(int n, const double a[n][lda], int lda)",
        ),
        (
            "int f(char *s, unsigned char *t, signed char *u)",
            "int f(uint8_t s[4], char *t, const byte *u)",
        ),
        (
            "int f(int (*g)(const void *, void *))",
            "int f(int (*g)(const double *, const int *))",
        ),
        (
            "int f(const char *s, unsigned char *t, int n)",
            "int f(const void s[n], void t[n], int n)",
        ),
        ("int f(int (*g)())", "int f(int (*g)(int, double))"),
        ("int f(file x)", "int f(struct file *const x)"),
        ("int f(file x)", "int f(void *x)"),
        ("void *f(int n)", "file f(int n)"),
        (
            "int f(long n, unsigned long *m)",
            "int f(long long n, uint64_t m[1])",
        ),
        (
            "int f(enum mode m, enum mode *n)",
            "int f(int m, unsigned n[1])",
        ),
        (
            "int f(double (*m)[3], double v[3], int n)",
            "int f(double m[n][3], const double *v, int n)",
        ),
        ("complex_t f(complex_t z)", "complex_t f(const complex_t z)"),
        (
            "int f(struct pair *p)",
            "struct mine { int x, y; }; int f(struct mine p[3])",
        ),
        ("int g(int x)", "double f(int x)"),
        ("int f()", "double f(int x)"),
    ] {
        let header = Declarations::parse(&format!("{TYPES} {declared};"));
        let given = header.prototype(prototype);
        assert!(given.is_ok(), "{}", given.unwrap_err());
    }
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

#[test]
fn a_struct_of_many_members_is_a_handle() {
    let text = |levels: u32| {
        let last = levels;
        let rest = (0..levels).map(|level| {
            let next = level + 1;
            format!("struct t{next} {{ struct t{level} a, b; }};")
        });
        let rest = rest.collect::<String>();
        format!("struct t0 {{ char a; }};{rest} void f(struct t{last} *x);")
    };
    let dtype = |levels| {
        let prototype = Prototype::parse(&text(levels)).unwrap();
        let CType::Pointer(pointer) = &prototype.parameters[0].ctype else {
            panic!("{prototype}");
        };
        pointer.target.dtype()
    };
    // Structs of 3 · 2¹² - 2 members, and of twice as many.
    assert_eq!(dtype(12).unwrap().itemsize(), 1 << 12);
    let error = dtype(13).unwrap_err();
    assert!(error.reason.contains("more than 16384 members"), "{error}");
    let value = text(13).replace('*', "");
    assert!(Prototype::parse(&value).is_err());
}

#[test]
fn function_types_have_the_annotations_of_their_parameters() {
    for f in [
        "void (*f)(int n, [[mapcall::column_major]] const double a[n][n])",
        "void (*f)(int n, [[mapcall::column_major]] [[mapcall::stride(lda)]] double a[restrict n][3], int lda)",
        "void (*f)([[mapcall::stride(2)]] const char *const names[n], int n)",
        "void (*f)(int n, [[mapcall::equals(n+1)]] int m, [[mapcall::between(0, n)]] double x)",
        "void (*f)(int n, const double w[_Nullable n], void *_Nonnull p, int (*_Nullable g)(int))",
        "void (*f)([[mapcall::column_major]] double *a)",
        "void (*f)(const void *_Nullable p, void (*g)(int n, [[mapcall::column_major]] float a[n][n]))",
    ] {
        let text = format!("int call({f}, int more)");
        let call = Prototype::parse(&text).unwrap();
        assert_eq!(call.to_string(), text);
        assert_eq!(Prototype::parse(&call.to_string()).unwrap(), call);
        // A function of the type has them, too, and its type is the same one.
        let CType::Pointer(pointer) = &call.parameters[0].ctype else {
            panic!("{text}");
        };
        let CType::Function(function) = &pointer.target else {
            panic!("{text}");
        };
        let prototype = Prototype::of_function("f", function);
        let CType::Function(same) = prototype.function_type() else {
            panic!("{text}");
        };
        assert_eq!(same.declared, function.declared, "{text}");
        let again = Prototype::parse(&prototype.to_string().replace("(*_Nullable g)", "(*g)"));
        assert!(again.unwrap().is_of(function), "{text}");
    }
    // They make a difference between declarations, and none between types in C.
    let function = |parameter: &str| {
        let text = format!("void f(int n, int lda, {parameter})");
        Prototype::parse(&text).unwrap().function_type()
    };
    let plain = function("double a[n][n]");
    for other in [
        "[[mapcall::column_major]] double a[n][n]",
        "[[mapcall::stride(lda)]] double a[n][n]",
        "double a[_Nullable n][n]",
    ] {
        assert!(plain.is_same(&function(other)), "{other}");
        assert_ne!(plain, function(other), "{other}");
    }
}
