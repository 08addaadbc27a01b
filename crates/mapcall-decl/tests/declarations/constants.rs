//! Constants and renamed functions of headers, against the C compiler.

#![cfg(all(unix, feature = "headers"))]

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use mapcall_decl::declarations::{ConstantValue, Definitions};
use mapcall_decl::{Declarations, Header};

use super::compiler;

fn read(text: &str) -> Declarations {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("k.h"), text).unwrap();
    Header::new(directory.path().join("k.h")).read().unwrap()
}

const TEXT: &str = r#"
#include <limits.h>
#include <stddef.h>
#include <stdbool.h>
enum mode { FAST = 3, SLOW = FAST << 2, BIG = 0x80000000u };
#pragma pack(push, 2)
struct packed { char a; double b; };
#pragma pack(pop)
struct pair { int a; double b; struct packed c[3]; };
typedef struct pair pair_t;
#define LIMIT 99
#define NEGATIVE (-5)
#define SIZE sizeof(struct pair)
#define PACKED_SIZE (2 * sizeof(struct packed))
#define MEMBER sizeof(((pair_t *)0)->c)
#define OFFSET offsetof(pair_t, c)
#define CAST ((unsigned char)300)
#define SIGNED_CAST ((signed char)200)
#define NAME "mapcall"
#define FULL NAME " " VERSION_TEXT
#define TEXT_OF_TOKENS(x) #x
#define TEXT_OF(x) TEXT_OF_TOKENS(x)
#define VERSION_TEXT TEXT_OF(LIMIT)
#define PI 3.14159265358979323846
#define HALF (PI / 2)
#define LETTER 'a'
#define ESCAPE '\n'
#define WIDE_LETTER L'\x3b1'
#define ALL (FAST | SLOW)
#define LARGEST INT_MAX
#define BITS 0xFFFFFFFFFFFFFFFFull
#define HEX_UNSIGNED (-0xFFFFFFFF)
#define OCTAL 0755
#define SINGLE 0.1f
#define LONG_DOUBLE 0.5L
#define HEX_FLOAT 0x1.8p3
#define SELF SELF
enum { SELF = 42 };
#define UNSIGNED (-1u)
#define TERNARY (sizeof(long) == 8 ? 64 : 32)
#define TRUTH true
#define MODE ((enum mode)3)
#define EMPTY_TEXT ""
#define QUOTED ("a\"b\\c\n")
#define SUM(a, b) ((a) + (b))
#define SUMMED SUM(LIMIT, SUM(1, 2))
#define LATE (EARLY + 1)
#define EARLY 7
#define REDEFINED 1
#undef REDEFINED
#define REDEFINED 2
#define INFINITE (1e308 * 10)
#define COUNT_OF_TABLE (sizeof(table) / sizeof(table[0]))
extern int table[5];
struct of_table { char x[sizeof(table)]; };
#define SIZE_OF_TABLE (sizeof(struct of_table) + 0)
static inline int check(void) { return 0; }
static inline int start(int a, int b) { return a + b; }
#define CHECK check(),
#define START start(1, 2),
#define TRUNCATE (CHECK START 0x2u)
#define EXCLUSIVE (CHECK START FAST | 8)
#define SHIFTED (TRUNCATE << 1)
#define BY_COMMA (check(), start(1, 2), LIMIT + 1)
#define DO_PRAGMA(x) _Pragma(#x)
#define REPLACED_BY(f) DO_PRAGMA(GCC warning #f)
#define BEHIND_PRAGMA _Pragma("GCC warning \"old\"") 12
#define OLD_LIMIT (LIMIT) REPLACED_BY(LIMIT)
"#;

/// What is no constant.
const NONE: &str = r#"
#define NOTHING
#define NULL_POINTER ((void *)0)
#define NULL_TEXT ((char *)0)
#define TYPE unsigned long
#define CALL run()
#define STATEMENT do { } while (0)
#define OPEN (1 +
#define UNKNOWN no_such_name
#define WIDE L"w"
#define LIST 1, 2
#define BRACES { 1, 2 }
#define VARIABLE level
#define KEYWORD extern
#define FUNCTION(x) 3
#define STRUCT (struct pair){ 1 }
#define GONE 1
#undef GONE
#define LOOP_A LOOP_B
#define LOOP_B LOOP_A
extern int level;
int run(void);
"#;

#[test]
fn values_are_those_of_the_compiler() {
    let header = read(&format!("{TEXT}{NONE}"));
    let constants = header.constants().unwrap();
    let mut program = format!("#include <stdio.h>\n{TEXT}\nint main(void) {{\n");
    let mut expected = String::new();
    for constant in constants {
        let name = &constant.name;
        let (format, cast) = match &constant.value {
            ConstantValue::Integer(value) if *value < 0 => ("%lld", "(long long)"),
            ConstantValue::Integer(_) => ("%llu", "(unsigned long long)"),
            ConstantValue::Float(_) => ("%.17g", "(double)"),
            _ => ("%s", ""),
        };
        let _ = writeln!(program, "printf(\"{name} {format}\\x1e\", {cast}({name}));");
        let _ = match &constant.value {
            ConstantValue::Integer(value) => write!(expected, "{name} {value}\x1e"),
            ConstantValue::Float(value) => write!(expected, "{name} {value:?}\x1e"),
            ConstantValue::Text(bytes) => {
                write!(expected, "{name} {}\x1e", String::from_utf8_lossy(bytes))
            }
            value => panic!("{value:?}"),
        };
    }
    program.push_str("}\n");
    let printed = compiler::run(&program);
    for (line, expected) in printed.split('\x1e').zip(expected.split('\x1e')) {
        if line.is_empty() {
            continue;
        }
        let (_, value) = line.split_once(' ').unwrap();
        let (_, known) = expected.split_once(' ').unwrap();
        let floats = value.parse::<f64>().ok().zip(known.parse::<f64>().ok());
        let is_same = line == expected
            || floats.is_some_and(|(value, known)| value.to_bits() == known.to_bits());
        assert!(is_same, "{line}: {expected}");
    }
    assert_eq!(printed.split('\x1e').count(), constants.len() + 1);

    // Each name of the header is there, once.
    let macros = TEXT.lines().filter_map(|line| {
        let name = line.strip_prefix("#define ")?.split(' ').next()?;
        let is_constant = !name.contains('(') && !line.ends_with(',');
        is_constant.then_some(name)
    });
    let enumerators = ["FAST", "SLOW", "BIG", "SELF"];
    let mut names: Vec<_> = macros.chain(enumerators).collect();
    names.sort_unstable();
    names.dedup();
    let mut listed: Vec<_> = constants.iter().map(|constant| &*constant.name).collect();
    listed.sort_unstable();
    assert_eq!(listed, names);
    for constant in constants {
        let value = header.constant(&constant.name).unwrap();
        assert_eq!(value.as_ref(), Some(&constant.value), "{}", constant.name);
        // Each alone, from a header that has evaluated none.
        let alone = read(TEXT).constant(&constant.name).unwrap();
        assert_eq!(alone.as_ref(), Some(&constant.value), "{}", constant.name);
    }
    for name in [
        "NULL_POINTER",
        "LIST",
        "FUNCTION",
        "INT_MAX",
        "GONE",
        "run",
        "none",
    ] {
        assert_eq!(header.constant(name).unwrap(), None, "{name}");
    }
}

#[test]
fn constants_of_headers_of_the_system_are_those_of_the_compiler() {
    let names = [
        "limits.h",
        "errno.h",
        "signal.h",
        "sys/socket.h",
        "fcntl.h",
        "float.h",
    ];
    let mut header = Header::new(names[0]);
    for name in &names[1..] {
        header = header.and(*name);
    }
    let header = header.read().unwrap();
    let constants = header.constants().unwrap();
    assert!(constants.len() > 300, "{}", constants.len());
    let find = |name: &str| constants.iter().find(|constant| constant.name == name);
    assert_eq!(
        find("INT_MIN").unwrap().value,
        ConstantValue::Integer(-(1 << 31))
    );
    assert_eq!(
        find("SOCK_STREAM").unwrap().value,
        ConstantValue::Integer(1)
    );
    assert_eq!(
        find("DBL_EPSILON").unwrap().value,
        ConstantValue::Float(f64::EPSILON)
    );
    let mut program = String::new();
    for name in names {
        let _ = writeln!(program, "#include <{name}>");
    }
    program.push_str("#include <stdio.h>\nint main(void) {\n");
    let mut integers = Vec::new();
    for constant in constants {
        if let ConstantValue::Integer(value) = constant.value {
            let name = &constant.name;
            let _ = writeln!(
                program,
                "#ifdef {name}\nprintf(\"{name} %lld\\n\", (long long)({name}));\n#endif"
            );
            integers.push((name.as_str(), value));
        }
    }
    program.push_str("}\n");
    let printed = compiler::run(&program);
    for line in printed.lines() {
        let (name, value) = line.split_once(' ').unwrap();
        let value: i128 = value.parse().unwrap();
        let known = integers.iter().find(|(known, _)| *known == name).unwrap().1;
        // `%lld` prints large unsigned values as negative ones.
        let is_same = (known - value).rem_euclid(1 << 64) == 0;
        assert!(is_same, "{line}: {known}");
    }
    assert!(printed.lines().count() > 300);
}

#[test]
fn macros_give_other_names() {
    let header = read(
        "#include <stdlib.h>\n#define mpz_init __gmpz_init\n#define mpz_set mpz_set_v2\n\
         #define mpz_set_v2 __gmpz_set\n#define apply(x, y) apply_(x, y)\n#define swap(x, y) apply_(y, x)\n\
         #define OPEN start(),\n#define native (OPEN native_g)\nextern int native_g;\n\
         #define labelled labelled_\n#define level level_v2\n#define mpz_t __mpz_t\n#define real double\n\
         #define COUNT 3\n#define magnitude abs\n#define pointer struct __mpz *\n#define none missing\n\
         typedef struct __mpz { int n; } __mpz_t;\nvoid mpz_init(mpz_t *x);\nvoid __gmpz_set(mpz_t *x, mpz_t *y);\n\
         real apply_(real x, int y);\nint labelled_(int) __asm__(\"other\");\nextern int level;\n",
    );
    let symbol = |name: &str| header.function(name)?.prototype.unwrap().symbol;
    for (name, expected) in [
        ("mpz_init", Some("__gmpz_init")),
        ("mpz_set", Some("__gmpz_set")),
        ("apply", Some("apply_")),
        ("swap", None),
        ("labelled", Some("other")),
        ("magnitude", Some("abs")),
        ("none", None),
    ] {
        assert_eq!(symbol(name).as_deref(), expected, "{name}");
    }
    let listed: Vec<_> = header
        .functions()
        .iter()
        .map(|function| &*function.name)
        .collect();
    assert_eq!(
        listed,
        [
            "__gmpz_init",
            "__gmpz_set",
            "apply_",
            "labelled_",
            "mpz_init",
            "mpz_set",
            "mpz_set_v2",
            "apply",
            "labelled",
            "magnitude",
        ]
    );
    let level = header.variable("level").unwrap();
    assert_eq!(
        (&*level.name, level.symbol.as_deref()),
        ("level", Some("level_v2"))
    );
    let native = header.variable("native").unwrap();
    assert_eq!(native.symbol.as_deref(), Some("native_g"));
    assert_eq!(header.structure("mpz_t").unwrap().size(), Some(4));

    // Prototypes use the macros, too.
    let init = header.prototype("void mpz_init(mpz_t x[1])").unwrap();
    assert_eq!(init.symbol.as_deref(), Some("__gmpz_init"));
    let sum = header
        .prototype("real sum(int n, const real x[n][COUNT], pointer p)")
        .unwrap();
    assert_eq!(sum.signature(), "(n,3),()->()");
    assert_eq!(sum.parameters[1].ctype.size(), Some(8));
    assert_eq!(sum.symbol, None);
}

#[test]
fn macros_paste_other_names() {
    let header = read(
        "#define UNIT_WIDTH 8\n#define JOIN(a,b) a ## b\n#define GLUE(a,b) JOIN(a,b)\n\
         #define SUFFIX(a) GLUE(a,UNIT_WIDTH)\n#define compile SUFFIX(compile_)\n#define code SUFFIX(code_)\n\
         #define VERSION_SUFFIX _72\n#define RENAME(x, y) RENAME_(x, y)\n#define RENAME_(x, y) x ## y\n\
         #define length RENAME(length, VERSION_SUFFIX)\n#define count SUFFIX(count_)\n#define SAME(x) x\n\
         #define kept SAME(kept)\n#define TWELVE JOIN(1, 2)\n#define calls compile(3)\n\
         typedef struct code_8 { int n; } code_8;\ncode_8 *compile_8(int x);\nint length_72(const char *s);\n\
         extern int count_8;\nint kept(int x);\n",
    );
    let symbol = |name: &str| header.function(name)?.prototype.unwrap().symbol;
    for (name, expected) in [
        ("compile", Some("compile_8")),
        ("length", Some("length_72")),
        ("kept", None),
    ] {
        assert_eq!(symbol(name).as_deref(), expected, "{name}");
    }
    assert_eq!(
        header.variable("count").unwrap().symbol.as_deref(),
        Some("count_8")
    );
    assert_eq!(header.structure("code").unwrap().size(), Some(4));
    let compile = header.prototype("code *compile(int x)").unwrap();
    assert_eq!(compile.symbol.as_deref(), Some("compile_8"));
    assert_eq!(
        header.constant("TWELVE").unwrap(),
        Some(ConstantValue::Integer(12))
    );
}

#[test]
fn earlier_texts_stay_known() {
    let header = read("typedef struct known { int x; } known; enum { HEIGHT = 4 };");
    let mut definitions = Definitions::default();
    let mut parse = |text: &str| {
        let (prototype, defined) = header.prototype_after(text, &definitions)?;
        definitions.extend(defined);
        Ok::<_, mapcall_decl::PrototypeError>(prototype)
    };
    parse("typedef float sample; enum { WIDTH = HEIGHT + 1 }; struct p { sample x; }; void f(sample s)")
        .unwrap();
    let g = parse("void g(const sample x[HEIGHT][WIDTH], struct p *p)").unwrap();
    assert_eq!(g.signature(), "(4,5),()->");
    // A later text may define such a name again, and others see the new meaning.
    parse("typedef double sample; struct p { sample x, y; }; void f(sample s)").unwrap();
    let g = parse("void g(const sample x[WIDTH], const struct p p[1])").unwrap();
    assert_eq!(g.parameters[0].ctype.size(), Some(8));
    assert_eq!(g.parameters[1].ctype.size(), Some(16));
    // Not one of the header.
    assert!(parse("enum { HEIGHT = 5 }; void f(int x[HEIGHT])").is_err());
    assert!(parse("struct known { double x; }; void f(struct known *k)").is_err());
    assert_eq!(definitions.structure("p").unwrap().size(), Some(16));
    assert_eq!(definitions.structure("known"), None);
}

#[test]
fn a_compiler_that_refuses_the_constants_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("cc");
    let write = r#"printf '#!/bin/sh\ncase "$*" in *" -c "*|-c*) echo "x.c:1: error: broken" >&2; exit 1;; esac\nexec cc "$@"\n' > "$1" && chmod +x "$1""#;
    let mut shell = Command::new("sh");
    assert!(
        shell
            .args(["-c", write, "sh"])
            .arg(&script)
            .status()
            .unwrap()
            .success()
    );
    fs::write(
        directory.path().join("k.h"),
        "#define A 3\n#define B (1 + 1)\n",
    )
    .unwrap();
    let header = Header::new(directory.path().join("k.h"));
    let header = header.compiler(&script).cache(false).read().unwrap();
    // A literal needs no compiler.
    assert_eq!(
        header.constant("A").unwrap(),
        Some(ConstantValue::Integer(3))
    );
    let error = header.constant("B").unwrap_err();
    assert_eq!(error.reason, "x.c:1: error: broken");
    assert!(header.constants().is_err());
}
