//! Declarations that are parsed when needed equal those of one pass over the text, in any order of use.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use proptest::prelude::*;

use super::*;

type Functions = BTreeMap<String, Result<String, String>>;

fn described<'a>(functions: impl IntoIterator<Item = &'a Declared>) -> Functions {
    let mut all = BTreeMap::<_, Result<Prototype, PrototypeError>>::new();
    for function in functions {
        match (all.get_mut(&function.name), &function.prototype) {
            // The attributes of all declarations count.
            (Some(Ok(first)), Ok(prototype)) => first.merge(prototype),
            (Some(_), _) => {}
            (None, prototype) => {
                all.insert(function.name.clone(), prototype.clone());
            }
        }
    }
    let described = |prototype: Result<Prototype, PrototypeError>| match prototype {
        Ok(prototype) => Ok(format!("{prototype:?}")),
        Err(error) => Err(error.kind.to_string()),
    };
    all.into_iter()
        .map(|(name, prototype)| (name, described(prototype)))
        .collect()
}

fn types(structs: &HashMap<String, CType>) -> BTreeMap<&str, String> {
    let described = structs.iter();
    described
        .map(|(name, ctype)| (&**name, format!("{ctype:?}")))
        .collect()
}

fn variables(variables: &[Variable]) -> Vec<(&str, String)> {
    let mut described: Vec<_> = variables
        .iter()
        .map(|variable| (&*variable.name, format!("{variable:?}")))
        .collect();
    described.sort();
    described.dedup_by(|a, b| a.0 == b.0);
    described
}

/// Checks the declarations of a text against those of one pass, used in the order of `seed`.
fn check(text: &str, seed: usize) {
    let (whole, structs) = parse::whole(text);
    let expected = described(&whole.functions);
    let lazy = Declarations::parse(text);
    let mut names: Vec<_> = expected
        .keys()
        .cloned()
        .chain(structs.keys().cloned())
        .collect();
    names.sort();
    let count = names.len();
    names.rotate_left(seed % count.max(1));
    if seed % 2 == 1 {
        names.reverse();
    }
    for name in &names {
        let function = lazy.function(name);
        let described = described(&function).remove(name);
        assert_eq!(described.as_ref(), expected.get(name), "{name}");
        let structure = lazy.structure(name);
        assert_eq!(structure.as_ref(), structs.get(name), "{name}");
    }
    assert_eq!(described(lazy.functions()), expected);
    assert_eq!(types(lazy.structs()), types(&structs));
    assert_eq!(variables(lazy.variables()), variables(&whole.variables));
    let listed: HashSet<_> = lazy
        .functions()
        .iter()
        .map(|function| &function.name)
        .collect();
    assert_eq!(listed.len(), lazy.functions().len());
    // Every name that a piece defines is one that the index knows.
    for (number, cell) in (0..).zip(&lazy.shared.parsed) {
        let Some(parsed) = cell.get() else { continue };
        let knows = |name: &str, space| {
            let mut pieces = lazy.shared.index.declaring(name, space);
            pieces.any(|piece| piece == number)
        };
        for name in parsed.names.typedefs.keys() {
            assert!(knows(name, NameSpace::Typedef), "typedef {name}");
        }
        for name in parsed.names.tags.keys() {
            assert!(knows(name, NameSpace::Tag), "tag {name}");
        }
        for name in parsed.names.enumerators.keys() {
            assert!(knows(name, NameSpace::Enumerator), "enumerator {name}");
        }
        let functions = parsed.functions.iter().map(|function| &function.name);
        for name in functions.chain(parsed.variables.iter().map(|variable| &variable.name)) {
            assert!(knows(name, NameSpace::Object), "object {name}");
        }
    }
}

const TEXT: &str = r#"
typedef struct late late;
late *early(late *p);
enum { A = 3, B = sizeof(int[A]), C };
struct late { int x[B]; struct inner { char c; } in; enum nested { D = C + 1 } e; };
late *after(late *p, enum nested e);
typedef late *handle, table[D], (*callback)(int n, late *x);
typedef int (plain), *(*nested_pointer)(void);
int take(table t, callback c, const handle h, plain f, nested_pointer q);
typedef unsigned char bool_;
typedef unsigned long int word;
extern word counter, *words, grid[A][B];
extern const char *const names[], version[] ;
int (*variable)(int), (function)(int), (*returns(int a))(double);
static inline int body(int a) { struct hidden { int z; } h; typedef int local; { return a; } }
struct tagged { int a; } tagged_variable, *tagged_pointer;
struct tagged by_value(struct tagged s);
struct __attribute__((aligned(8))) wide { char c; } __attribute__((unused)) wide_variable;
void uses(struct wide w);
union u { int i; float f; };
union u join(union u, struct inner);
int a(void), b(int x), c;
extern "C" {
void linked(int n, float x[n]);
}
;
_Static_assert(sizeof(int) == 4, "text; with {");
typedef int late_int; typedef late_int late_int;
late_int old(a, b) int a; late_int b; { return a; }
late_int next(late_int x);
int array_of[3] = { 1, 2, 3 }, scalar = (4, 5);
#pragma pack(push, 1)
struct packed { char c; int i; };
#pragma pack(pop)
struct natural { char c; int i; };
int packed(struct packed *p, struct natural *n);
typedef void routine(int n, const double x[n]);
routine call_me, call_too;
typedef struct opaque *opaque;
opaque make(void);
struct opaque { int now; };
opaque make_later(void);
"#;

#[test]
fn any_order_of_use_gives_what_one_pass_gives() {
    for seed in 0..12 {
        check(TEXT, seed);
    }
    let lazy = Declarations::parse(TEXT);
    let pointer = |name: &str| {
        let function = lazy.function(name).unwrap();
        let prototype = function.prototype.unwrap();
        prototype.returns.to_string()
    };
    assert_eq!(
        (pointer("make"), pointer("make_later")),
        ("opaque".into(), "opaque".into())
    );
    let listed: Vec<_> = lazy
        .variables()
        .iter()
        .map(|variable| &*variable.name)
        .collect();
    assert_eq!(
        listed,
        [
            "counter",
            "words",
            "grid",
            "names",
            "version",
            "variable",
            "tagged_variable",
            "tagged_pointer",
            "wide_variable",
            "c",
            "array_of",
            "scalar",
        ]
    );
}

const TYPES_OF_OBJECTS: &str = r#"
typedef struct vector { double x, y; const char *name; } vector;
typedef __typeof__(later) not_yet;
extern const double pi, table[3][4];
extern vector origin, *axes;
extern __typeof__(pi) tau;
extern __typeof__(origin.name) name_of;
extern typeof_unqual(pi) free_to_change;
extern __typeof (axes) more_axes;
double norm(int n, const double x[n]);
extern __typeof (norm) norm_alias __asm__("norm");
extern typeof(norm(0, 0)) sum(__typeof__(*axes) v, typeof(&origin) p, typeof(&norm) f, typeof(&pi) q);
extern typeof(1 + 2.5f) single; extern typeof(1.0) double_precision; extern typeof(axes - axes) distance;
extern typeof(pi * 2) product; extern typeof('a' + 1L) wide; extern typeof(axes + 1) next;
extern typeof(!axes) truth; extern typeof(-origin.x) negative; extern typeof(1 ? axes : 0) chosen;
extern typeof(table) whole; extern typeof(table[0]) row; extern typeof(table[0][1]) cell;
void take(const char bytes[sizeof table], char first[sizeof(vector)], char (*buffer)[sizeof origin]);
enum { ROWS = sizeof table / sizeof table[0], SIZE = sizeof(origin) };
char later[ROWS][SIZE];
typeof(later) same_size;
"#;

#[test]
fn types_of_variables_and_functions() {
    for seed in 0..6 {
        check(TYPES_OF_OBJECTS, seed);
    }
    let lazy = Declarations::parse(TYPES_OF_OBJECTS);
    let described: Vec<String> = lazy
        .variables()
        .iter()
        .skip(4)
        .map(|variable| {
            let qualifier = if variable.is_const { "const " } else { "" };
            format!("{qualifier}{} {}", variable.ctype, variable.name)
        })
        .collect();
    assert_eq!(
        described,
        [
            "const double tau",
            "const char * name_of",
            "double free_to_change",
            "vector * more_axes",
            "float single",
            "double double_precision",
            "long distance",
            "double product",
            "long wide",
            "vector * next",
            "int truth",
            "double negative",
            "vector * chosen",
            "const double[3][4] whole",
            "const double[4] row",
            "const double cell",
            "char[3][24] later",
            "char[3][24] same_size",
        ]
    );
    let text = |name: &str| lazy.function(name).unwrap().prototype.unwrap().to_string();
    assert_eq!(
        [text("sum"), text("take"), text("norm_alias")],
        [
            "double sum(vector v, vector *p, double (*f)(int n, const double x[n]), const double *q)",
            "void take(const char bytes[96], char first[24], char buffer[][24])",
            "double norm_alias(int n, const double x[n]) __asm__(\"norm\")",
        ]
    );
    let later = "void use(typeof(origin) v, typeof(pi) x)";
    let used = lazy.prototype(later).unwrap();
    assert_eq!(used.to_string(), "void use(vector v, double x)");
}

#[test]
fn headers_of_the_system_are_read_alike() {
    let headers = "#include <stdio.h>\n#include <stdlib.h>\n#include <math.h>\n#include <pthread.h>\n\
                   #include <sys/socket.h>\n#include <signal.h>\n#include <time.h>\n#include <string.h>\n";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), headers).unwrap();
    let mut cc = Command::new("cc");
    let output = cc
        .args(["-E", "-P", "-x", "c"])
        .arg(file.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    check(&text, 7);
}

#[test]
fn a_declaration_that_cannot_be_read_costs_itself() {
    let text = "int one(int a; int two(int);\nint three(gone x), four(int);\n} int five(void);\n\
                int six(int [; struct half { int x int y; };\nstruct whole { int x; };\nint seven(struct whole w);\n\
                @ int eight(void);\nint nine(void);";
    let lazy = Declarations::parse(text);
    let supported: Vec<_> = lazy
        .functions()
        .iter()
        .filter(|function| function.prototype.is_ok())
        .collect();
    let names: Vec<_> = supported.iter().map(|function| &*function.name).collect();
    for name in ["two", "five", "seven", "nine"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    for name in ["one", "three", "four", "six", "eight"] {
        assert!(lazy.function(name).is_some(), "{name}");
    }
    assert!(lazy.function("two").unwrap().unsupported().is_none());
    assert!(!lazy.errors().is_empty());
}

#[test]
fn a_long_chain_of_types_needs_no_stack() {
    let mut text = "typedef int t0;\n".to_owned();
    for i in 1..10_000 {
        let _ = writeln!(text, "typedef struct s{i} {{ t{} *p; }} t{i};", i - 1);
    }
    text.push_str("t9999 last(t9998 x);");
    let lazy = Declarations::parse(&text);
    let last = lazy.function("last").unwrap();
    assert!(last.prototype.is_ok() || last.unsupported().is_some());
    let lazy = Declarations::parse("int f(x);".repeat(5000).as_str());
    assert_eq!(lazy.functions().len(), 1);
}

#[test]
fn threads_share_what_is_parsed() {
    let lazy = Declarations::parse(TEXT);
    let expected = described(Declarations::parse(TEXT).functions());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(described(lazy.functions()), expected));
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// No text makes the index or the parser panic, and each byte of a text is in at most one piece.
    #[test]
    fn any_text_is_cut(text in "(int |typedef |struct |enum |extern \"C\" |f|x|T|[(){}\\[\\];,:=*#\n]|__attribute__|/\\*|\"|\\PC){0,60}") {
        let lazy = Declarations::parse(&text);
        let _ = (lazy.functions(), lazy.structs(), lazy.errors(), lazy.variables());
        let mut end = 0;
        for piece in &lazy.shared.index.pieces {
            let span = piece.span.range();
            prop_assert!(span.start >= end && span.end <= text.len());
            end = span.end;
        }
    }

    /// Declarations in a random order are read as in one pass.
    #[test]
    fn any_order_of_declarations_is_read(order in Just(TEXT.split_inclusive(";\n").collect::<Vec<_>>()).prop_shuffle(), seed in 0..100_usize) {
        let order: Vec<_> = order.into_iter().filter(|piece| !piece.contains("pragma") && !piece.contains("extern \"C\"") && !piece.contains('{')).collect();
        check(&order.concat(), seed);
    }
}
