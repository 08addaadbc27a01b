//! Declarations that C compilers read, in all their spellings, and texts of which a part can't be read.

use mapcall_decl::ctype::{CType, Integer};
use mapcall_decl::{Declarations, Prototype, PrototypeErrorKind};

use super::compiler;

/// Texts that GCC reads with a prototype in each, and how the prototype is shown. `$` stands for a number, so that
/// all of them can be in one file.
const TEXTS: &[(&str, &str)] = &[
    // Attributes of GNU C: of a declaration, in it, and behind it.
    ("__attribute__((unused)) int f$(int x);", "int f$(int x)"),
    ("int __attribute__((cold)) f$(int x);", "int f$(int x)"),
    (
        "int f$(int x) __attribute__((cold)) __attribute((const, , pure));",
        "int f$(int x)",
    ),
    (
        "int f$(int x) __asm__(\"g\" \"$\") __attribute__((cold));",
        "int f$(int x) __asm__(\"g$\")",
    ),
    ("int *__attribute__((cold)) f$(int x);", "int *f$(int x)"),
    ("int (__attribute__((cold)) f$)(int x);", "int f$(int x)"),
    (
        "int (__attribute__((cold)) *f$(int x))[3];",
        "int (*f$(int x))[3]",
    ),
    (
        "int v$, __attribute__((cold)) f$(int x), w$ = 3, *g$[2] = {0, (int *)1};",
        "int f$(int x)",
    ),
    (
        "typedef int __attribute__((unused)) t$; t$ f$(t$ x);",
        "t$ f$(t$ x)",
    ),
    (
        "typedef void *(__attribute__((unused)) *t$)(int); int f$(t$ x);",
        "int f$(t$ x)",
    ),
    (
        "typedef int (*t$)(int) __attribute__((unused)); int f$(t$ x);",
        "int f$(t$ x)",
    ),
    (
        "int f$(int x __attribute__((unused)), __attribute__((unused)) char *y, int __attribute__((unused)) z);",
        "int f$(int x, char *y, int z)",
    ),
    (
        "int f$(int (__attribute__((unused)) *g)(int), int (*__attribute__((unused)) h)(int));",
        "int f$(int (*g)(int), int (*h)(int))",
    ),
    (
        "int f$(double x[__attribute__((unused)) const restrict static 3]);",
        "int f$(double x[restrict 3])",
    ),
    (
        "struct __attribute__((unused)) s$ { int __attribute__((unused)) a, *b __attribute__((unused)); } __attribute__((unused)); int f$(struct s$ *x);",
        "int f$(struct s$ *x)",
    ),
    (
        "union __attribute__((unused)) u$ { int a; }; int f$(union u$ x);",
        "int f$(union u$ x)",
    ),
    (
        "typedef struct __attribute__((packed)) { char c; int a : 3 __attribute__((packed)), : 0; } t$; int f$(t$ *x);",
        "int f$(t$ *x)",
    ),
    (
        "__attribute__((unused)) typedef struct { int a; } t$; int f$(t$ x);",
        "int f$(t$ x)",
    ),
    (
        "enum __attribute__((unused)) e$ { A$ __attribute__((unused)), B$ __attribute__((deprecated)) = 4, } __attribute__((unused)); int f$(enum e$ x[B$]);",
        "int f$(enum e$ x[4])",
    ),
    (
        "int f$(struct undefined$ __attribute__((unused)) *x);",
        "int f$(struct undefined$ *x)",
    ),
    (
        "static int v$[] = { [0] = 1, 2 }; int f$(int x);",
        "int f$(int x)",
    ),
    // Attributes of C23.
    (
        "[[deprecated]] int f$ [[gnu::cold]] (int x [[maybe_unused]]) [[gnu::unused]];",
        "int f$(int x)",
    ),
    (
        "[[]] [[deprecated(\"no\")]] int *[[]] f$(int [[]] x, [[maybe_unused]] int y[3] [[]]);",
        "int *f$(int x, int y[3])",
    ),
    (
        "struct [[gnu::packed]] s$ { char c; [[maybe_unused]] int b [[]]; }; int f$(int x[sizeof(struct s$)]);",
        "int f$(int x[5])",
    ),
    (
        "struct [[packed]] s$ { char c; int b; }; int f$(int x[sizeof(struct s$)]);",
        "int f$(int x[8])",
    ),
    (
        "enum [[]] e$ { A$ [[maybe_unused]] = 2, B$ [[]] }; int f$(int x[B$]);",
        "int f$(int x[3])",
    ),
    ("[[gnu::unused]]; int f$(int x);", "int f$(int x)"),
    // Words in any order.
    (
        "int f$(unsigned short const *x, long const int *y, char unsigned volatile const *z);",
        "int f$(const unsigned short *x, const long *y, const unsigned char *z)",
    ),
    (
        "long unsigned extern int f$(int x);",
        "unsigned long f$(int x)",
    ),
    (
        "int typedef const t$; int f$(t$ *x);",
        "int f$(const t$ *x)",
    ),
    (
        "__extension__ inline __inline extern int f$(int x);",
        "int f$(int x)",
    ),
    ("_Noreturn void f$(int x);", "void f$(int x)"),
    (
        "double _Complex long f$(_Complex float x, __complex__ double y);",
        "long double _Complex f$(float _Complex x, double _Complex y)",
    ),
    (
        "int f$(__const char *__restrict__ x, __signed__ char y, __volatile__ int *z);",
        "int f$(const char *restrict x, signed char y, int *z)",
    ),
    (
        "extern __thread int v$; int f$(_Float32 x, _Float64 y, _Float64x z, _Float32x w);",
        "",
    ),
    // Assertions, assembler, empty declarations.
    (
        "_Static_assert(sizeof(int) == 4, \"x\"); struct s$ { int a; _Static_assert(1, \")\"); ; int b; }; int f$(int x[sizeof(struct s$)]);",
        "int f$(int x[8])",
    ),
    (
        "__asm__(\".globl x$\\n\" \"; {\"); int f$(int x);",
        "int f$(int x)",
    ),
    (";;; int f$(int x);", "int f$(int x)"),
    (
        "extern int f$(int x) __attribute__((nothrow)), g$;",
        "int f$(int x)",
    ),
    // Bodies and definitions of C before 1989.
    (
        "static int g$(int x) { char c = '}'; return \"}\"[0] + c + '\\'' /* } */; } int f$(int x);",
        "",
    ),
    (
        "static int g$(a, b) int a; char *b; { return a; } int f$(int x);",
        "",
    ),
    // Constants.
    (
        "enum { A$ = 'a', B$ = '\\0', C$ = L'x', D$ = (char)300, E$ = sizeof \"ab\" \"c\" }; int f$(int x[A$], int y[C$], int z[D$], int w[E$]);",
        "int f$(int x[97], int y[120], int z[44], int w[4])",
    ),
    (
        "enum { A$ = 1 << 31, B$ = ~0u, C$ = -1, D$ = (A$ < 0) + (B$ > 0) + (C$ < B$) }; _Static_assert(D$ == 2, \"\"); int f$(int x[D$]);",
        "int f$(int x[2])",
    ),
    (
        "enum { A$ = 1 ? 2 : 1 / 0, B$ = 0 && 1 / 0, C$ = (int)2.9 + -7 / 2 + 7 % -4 + (unsigned char)-1 }; int f$(int x[A$], int y[C$]);",
        "int f$(int x[2], int y[257])",
    ),
    (
        "struct s$ { char a; struct { int b[3]; union { double d; }; } c; }; int f$(int x[__builtin_offsetof(struct s$, c.b[2])], int y[__builtin_offsetof(struct s$, c.d)], int z[__alignof__(struct s$)]);",
        "int f$(int x[16], int y[24], int z[8])",
    ),
    (
        "struct s$ { int a[7]; char b; }; int f$(int x[sizeof(((struct s$ *)0)->a)], int y[sizeof (int) * 2], int z[sizeof 'a']);",
        "int f$(int x[28], int y[8], int z[4])",
    ),
    (
        "enum { A$ = 0xffffffffu + 1, B$ = 0777, C$ = 0b101, D$ = 5 - 6u > 0 }; int f$(int x[B$], int y[C$], int z[A$ + 1], int w[D$]);",
        "int f$(int x[511], int y[5], int z[1], int w[1])",
    ),
    (
        "int f$(int n, int x[n][*], int y[sizeof(int) * n], int z[(n) - 1], int w[(n)]);",
        "int f$(int n, int x[n][], int y[4*n], int z[n-1], int w[n])",
    ),
    (
        "typedef int t$; int f$(int t$, int (x), int (t2$), int (*y)(t$));",
        "int f$(int t$, int x, int t2$, int (*y)(t$))",
    ),
    (
        "typedef int t$; int f$(int (t$), int ());",
        "int f$(int (*arg0)(t$), int (*arg1)(...))",
    ),
    (
        "typedef int t$; int f$(int x[(t$)2.5], int y[sizeof(t$)]);",
        "int f$(int x[2], int y[4])",
    ),
    // Types by other names.
    (
        "typedef int t$ __attribute__((__mode__(__DI__))); int f$(int x[sizeof(t$)]);",
        "int f$(int x[8])",
    ),
    (
        "typedef int t$ __attribute__((aligned(16))); struct s$ { char c; t$ a; }; int f$(int x[sizeof(struct s$)]);",
        "int f$(int x[32])",
    ),
    (
        "__typeof__(int *) f$(typeof(1.0f) *x, __typeof__(unsigned long) y);",
        "",
    ),
    (
        "__typeof__(int *) f$(__typeof__(unsigned long) y);",
        "int *f$(unsigned long y)",
    ),
    (
        "enum __attribute__((packed)) e$ { A$, B$ = 200 }; int f$(int x[sizeof(enum e$)]);",
        "int f$(int x[1])",
    ),
    (
        "struct s$ { _Alignas(16) char a; _Alignas(double) int b; }; int f$(int x[sizeof(struct s$)]);",
        "int f$(int x[16])",
    ),
    (
        "struct s$ { __int128 a; unsigned __int128 b; char c; }; int f$(struct s$ *x, int y[sizeof(struct s$)]);",
        "int f$(struct s$ *x, int y[48])",
    ),
    (
        "extern int (*g$)(int), f$(int x), (*h$[3])(void);",
        "int f$(int x)",
    ),
    (
        "int (*(*f$(int x))(char))[2];",
        "int (*(*f$(int x))(char))[2]",
    ),
    ("int <%f$%>(int x);", "-"),
    ("int f$(int x<:3:>);", "int f$(int x[3])"),
    (
        "struct s$ <% int a; %>; int f$(struct s$ x);",
        "int f$(struct s$ x)",
    ),
    ("int \\\nf$ /* a */ ( // b\n int x);", "int f$(int x)"),
    (
        "#pragma weak f$\nstruct s$ { char c;\n#pragma pack(push, 1)\nint x; };\n#pragma pack(pop)\nint f$(int x);",
        "int f$(int x)",
    ),
    ("# 7 \"file.c\"\nint f$(int x);\n#line 9\n", "int f$(int x)"),
];

#[test]
fn texts_that_compilers_read_are_read() {
    let texts = || {
        let texts = TEXTS.iter().filter(|(_, shown)| *shown != "-").enumerate();
        texts.map(|(index, (text, shown))| {
            let number = |text: &str| text.replace('$', &index.to_string());
            (number(text), number(shown), format!("f{index}"))
        })
    };
    let all = texts().map(|(text, ..)| text + "\n").collect::<String>();
    assert_eq!(compiler::errors(&all), "");
    for (text, shown, name) in texts() {
        let declarations = Declarations::parse(&text);
        let errors = declarations.errors();
        assert!(errors.is_empty(), "{text}\n{}", errors[0]);
        let found = declarations
            .functions()
            .iter()
            .find(|function| function.name == name);
        let found = found.unwrap_or_else(|| panic!("{text}"));
        match &found.prototype {
            Ok(prototype) if !shown.is_empty() => {
                assert_eq!(prototype.to_string(), shown, "{text}");
            }
            Ok(_) => {}
            Err(error) => assert!(shown.is_empty(), "{text}\n{error}"),
        }
    }
}

#[test]
fn an_error_costs_its_declaration_alone() {
    let text = "
        int first(int x);
        int f1(int x y);
        struct s { int a b; } v;
        int f2(int x) { return ((; }
        int f3(int x[3);
        typedef f4 (int;
        extern \"C\" {
        int f5(missing x);
        @ int f6(int x);
        }
        int f7(int x
        ;
        enum { A, B C };
        API int f8(int x);
        int f9(a, b) int a; double c; { return 0; }
        struct t { int a; };
        int second(struct t x, int y[A2]);
        int third(struct t x);
        #if 1
        int fourth(int x);
        int last(int x)";
    let declarations = Declarations::parse(text);
    let good: Vec<_> = declarations
        .functions()
        .iter()
        .filter(|function| function.prototype.is_ok())
        .map(|function| function.name.as_str())
        .collect();
    assert_eq!(good, ["first", "f2", "third", "fourth", "last"]);
    for name in ["f1", "f3", "f5", "f6", "f7", "f8", "f9", "second"] {
        let found = declarations
            .functions()
            .iter()
            .find(|function| function.name == name);
        let error = found
            .unwrap_or_else(|| panic!("{name}"))
            .prototype
            .as_ref()
            .unwrap_err();
        assert!(text.get(error.span.clone()).is_some());
    }
    let places = declarations
        .errors()
        .iter()
        .map(|error| &text[error.span.clone()]);
    assert_eq!(places.collect::<Vec<_>>(), ["b", "int", "C", "#if 1"]);
}

#[test]
fn c23_and_extensions_that_not_every_compiler_has() {
    let f = |text: &str| Prototype::parse(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    let CType::Enum(small) = f("enum e : unsigned char { A = 3 }; void f(enum e x)").parameters[0]
        .ctype
        .clone()
    else {
        panic!()
    };
    assert_eq!((small.underlying, small.is_fixed), (Integer::UChar, true));
    let display = |text: &str| f(text).to_string();
    assert_eq!(
        display("enum e : short; int f(enum e x, int y[sizeof(enum e)])"),
        "int f(enum e x, int y[2])"
    );
    assert_eq!(
        display("enum : long long { A, B } f(int x[B + 3])").replace("{ A = 0, B = 1 }", "{}"),
        "enum : long long {} f(int x[4])"
    );
    assert_eq!(
        display("enum e { X }; struct s { enum e : 3; unsigned b : 2; }; int f(struct s *x)"),
        "int f(struct s *x)"
    );
    assert_eq!(
        display("int f(char *_Nonnull s, int *_Null_unspecified p)"),
        "int f(char *s, int *p) __attribute__((nonnull(1)))"
    );
    assert_eq!(
        display("__declspec(dllimport) int f(int x)"),
        "int f(int x)"
    );
    assert_eq!(display("typeof_unqual(int) f(bool x)"), "int f(_Bool x)");
    for text in [
        "void f(_BitInt(7) x)",
        "void f(__int128 x)",
        "void f(_Atomic int x)",
        "void f(_Decimal64 x)",
    ] {
        let kind = Prototype::parse(text).unwrap_err().kind;
        let is_refused = matches!(
            kind,
            PrototypeErrorKind::UnsupportedType { .. } | PrototypeErrorKind::NoType { .. }
        );
        assert!(is_refused, "{text}: {kind}");
    }
    for text in [
        "void f(int x[(int){3}])",
        "void f(int x[({ 3; })])",
        "void f(int x[g(1)])",
        "void f(int x[(n = 3)])",
        "void f(int x[\"abc\"])",
        "void f(int x[_Generic(1, int: 2)])",
    ] {
        let kind = Prototype::parse(text).unwrap_err().kind;
        assert!(
            matches!(kind, PrototypeErrorKind::Expression { .. }),
            "{text}: {kind}"
        );
    }
}
