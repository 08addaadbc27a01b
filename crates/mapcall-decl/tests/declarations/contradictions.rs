//! Prototypes that contradict the declaration of their function in a header, and those that agree with it.

use mapcall_decl::{Declarations, PrototypeErrorKind};

/// Types of the headers.
const TYPES: &str = "typedef struct { double re, im; } complex_t; struct file; typedef struct file *file;
        enum mode { FAST, SLOW }; enum kind { A }; typedef unsigned char byte; struct pair { int a, b; };";

/// Cases of a header's declaration, a prototype, and the difference.
#[test]
fn prototypes_that_contradict_the_header_are_refused() {
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
}

#[test]
fn prototypes_that_agree_with_the_header_are_bound() {
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
