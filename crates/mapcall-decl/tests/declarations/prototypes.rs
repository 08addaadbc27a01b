//! Prototypes: how valid texts are read and displayed, and the errors of refused ones.

use mapcall_decl::ctype::CType;
use mapcall_decl::{Prototype, PrototypeErrorKind};
use proptest::prelude::*;

use super::generated::any_prototype;

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
