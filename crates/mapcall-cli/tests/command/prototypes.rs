//! `mapcall prototypes`, on real headers, against the compiler, and on bad input.

#![cfg(unix)]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by a panic, and says what it skips"
)]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{json_lines, mapcall, refused, succeeded};
use serde_json::{Value, json};

/// Returns the directory of an optional header as an argument; `None`, with a message, if it is not installed.
fn directory_of(header: &str) -> Option<Vec<String>> {
    if header != "cblas.h" {
        let is_there = !matches!(header, "zlib.h" | "sqlite3.h")
            || Path::new("/usr/include").join(header).exists();
        if !is_there {
            println!("skipped: {header} is not installed");
        }
        return is_there.then(Vec::new);
    }
    let python = env::var_os("MAPCALL_PYTHON").unwrap_or_else(|| "python3".into());
    let script = "import scipy_openblas32 as s; print(s.get_include_dir())";
    let output = Command::new(python).args(["-c", script]).output().ok()?;
    let directory = String::from_utf8(output.stdout).unwrap();
    if !output.status.success() {
        println!("skipped: cblas.h, for MAPCALL_PYTHON has no scipy_openblas32");
        return None;
    }
    Some(vec![format!("-I{}", directory.trim_end())])
}

/// Returns the declarations that GCC reports (`-aux-info`) in files whose names end with one of `files`.
fn declared(header: &str, flags: &[String], files: &[&str]) -> BTreeSet<String> {
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list");
    let source = directory.path().join("source.c");
    fs::write(&source, format!("#include <{header}>\n")).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-w", "-fsyntax-only", "-aux-info"]).arg(&list);
    assert!(gcc.arg(&source).args(flags).status().unwrap().success());
    let list = fs::read_to_string(list).unwrap();
    let in_files = |line: &&str| {
        let place = line.split_once(':').map_or("", |(file, _)| file);
        files
            .iter()
            .any(|file| place.ends_with(&format!("/{file}")))
    };
    list.lines().filter(in_files).map(name).collect()
}

/// Returns the name in a line of GCC: `signal` for
/// `/* x.h:1:NC */ extern void (*signal (int, void (*)(int))) (int);`.
fn name(line: &str) -> String {
    let (_, declaration) = line.split_once("*/").unwrap();
    let mut candidates = declaration.match_indices(" (");
    let (end, _) = candidates
        .find(|(at, _)| !declaration[at + 2..].starts_with('*'))
        .unwrap();
    let is_outside = |letter: char| letter != '_' && !letter.is_ascii_alphanumeric();
    let start = declaration[..end].rfind(is_outside).map_or(0, |at| at + 1);
    declaration[start..end].to_owned()
}

/// The names are the same as GCC's, and the printed prototypes agree with the header.
#[test]
fn real_headers_are_read_completely() {
    for (header, files, callable, refused) in [
        (
            "zlib.h",
            &["zlib.h", "zconf.h"][..],
            "compress2 crc32 inflate",
            "gzvprintf",
        ),
        (
            "math.h",
            &[
                "math.h",
                "bits/mathcalls.h",
                "bits/mathcalls-helper-functions.h",
            ],
            "cos fma frexp ldexpl",
            "",
        ),
        (
            "stdlib.h",
            &["stdlib.h", "alloca.h", "bits/stdlib-float.h"],
            "qsort getenv strtol div alloca",
            "",
        ),
        ("string.h", &["string.h"], "memcpy strlen strtok_r", ""),
        (
            "stdio.h",
            &["include/stdio.h"],
            "fopen puts fread",
            "vfprintf vprintf",
        ),
        (
            "signal.h",
            &["signal.h", "bits/sigthread.h"],
            "signal raise",
            "",
        ),
        (
            "cblas.h",
            &["cblas.h"],
            "cblas_ddot cblas_dgemm cblas_saxpy",
            "",
        ),
        (
            "sqlite3.h",
            &["sqlite3.h"],
            "sqlite3_open sqlite3_exec",
            "sqlite3_vmprintf",
        ),
    ] {
        let Some(flags) = directory_of(header) else {
            continue;
        };
        let json = succeeded(mapcall(["prototypes", header, "--json"]).args(&flags));
        let functions = json_lines(&json);
        let names: BTreeSet<_> = functions
            .iter()
            .map(|f| f["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names.len(), functions.len(), "{header}: each once");
        if cfg!(all(target_os = "linux", target_env = "gnu")) {
            assert_eq!(names, declared(header, &flags, files), "{header}");
        }
        let find = |name: &str| {
            // OpenBLAS may have been built with a prefix of its names.
            let mut found = functions
                .iter()
                .filter(|f| f["name"].as_str().unwrap().ends_with(name));
            found
                .next()
                .unwrap_or_else(|| panic!("{header} has no {name}"))
                .clone()
        };
        for name in callable.split_whitespace() {
            assert_eq!(find(name)["unsupported"], Value::Null, "{header}: {name}");
        }
        for name in refused.split_whitespace() {
            assert!(find(name)["unsupported"].is_string(), "{header}: {name}");
        }

        // The text output is C code that agrees with the header.
        let text = succeeded(mapcall(["prototypes", header]).args(&flags));
        assert_eq!(text.lines().count(), functions.len());
        // Some functions are also macros.
        let undefine = names.iter().fold(String::new(), |text, name| {
            text + "#undef "
                + name
                + "
"
        });
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("again.c");
        // Attributes name `free`, which <stdio.h> does not declare.
        let includes = format!("#include <stdlib.h>\n#include <{header}>\n");
        fs::write(&source, format!("{includes}{undefine}{text}")).unwrap();
        let mut cc = Command::new("cc");
        let output = cc
            .args(["-w", "-fsyntax-only"])
            .args(&flags)
            .arg(&source)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{header}: {stderr}");
    }
}

const FIXTURE: &str = r#"
#ifndef FIXTURE_H
#define FIXTURE_H
#include <stdarg.h>
#include <stdio.h>
#include "inner/part.h"
#ifdef __cplusplus
extern "C" {
#endif
#define API __attribute__((visibility("default"), nonnull(1)))
#ifndef REAL
#define REAL double
#endif
_Static_assert(sizeof(int) == 4, "an int; of \"four\" bytes");
__extension__ typedef long long wide;
typedef REAL real;
enum { TAPS = 1 << 2, LAST = TAPS - 1 };
typedef enum color { RED, GREEN } color;
struct pair { real a; int b[TAPS]; };
struct flags { unsigned low : 3; };
typedef struct opaque opaque;
typedef int (*compare)(const void *, const void *);
extern int counter;
static inline int twice(int x) { return 2 * x; }
__extension__ extern __inline __attribute__((__gnu_inline__)) int thrice(int x) { return 3 * x; }
API void scale(size_t n, real a, const real x[restrict n], real y[static n][TAPS][*]);
struct pair mean(const struct pair *p, color c);
opaque *open_it(const char *restrict name) __asm__("open_it_v2") __attribute__((malloc));
void sort(void *items, size_t n, size_t size, compare order);
void (*install(int number, void (*handler)(int)))(int);
float _Complex rotate(float _Complex z, wide w), twin(float);
int report(const char *format, ...);
int vreport(const char *format, va_list list);
int old();
struct flags by_value(struct flags f);
void by_pointer(struct flags *f);
_Bool is_good(unsigned char, FILE *);
int scale_again(int), counted(int n, int [n + LAST]);
#line 7 "generated file.y"
int from_generator(part p);
#ifdef __cplusplus
}
#endif
#endif
"#;

fn fixture() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let inner = directory.path().join("a directory/inner");
    fs::create_dir_all(&inner).unwrap();
    fs::write(
        inner.join("part.h"),
        "typedef short part;\nint part_of(part p);\n",
    )
    .unwrap();
    let header = directory.path().join("a directory/the fixture.h");
    fs::write(&header, FIXTURE).unwrap();
    (directory, header)
}

#[test]
fn every_construct() {
    let (_directory, header) = fixture();
    let text = succeeded(mapcall(["prototypes", "-D", "REAL=float"]).arg(&header));
    assert_eq!(
        text,
        "\
int part_of(part p);
// twice: `twice` is static: no library exports it
int thrice(int x);
void scale(size_t n, real a, const real x[restrict n], real y[n][4][]);
struct pair mean(const struct pair *p, color c);
opaque *open_it(const char *restrict name) __asm__(\"open_it_v2\");
void sort(void *items, size_t n, size_t size, compare order);
void (*install(int number, void (*handler)(int)))(int);
float _Complex rotate(float _Complex z, wide w);
float _Complex twin(float arg0);
int report(const char *format, ...);
// vreport: `va_list` can't be passed: C code alone can make a list of arguments
// old: `old` doesn't say what its parameters are, as C before 1989
struct flags by_value(struct flags f);
void by_pointer(struct flags *f);
_Bool is_good(unsigned char arg0, FILE *arg1);
int scale_again(int arg0);
int counted(int n, int arg1[n+3]);
int from_generator(part p);
"
    );
    let functions = json_lines(&succeeded(mapcall(["prototypes", "--json"]).arg(&header)));
    assert_eq!(
        functions[3],
        json!({
            "name": "scale",
            "returns": "void",
            "parameters": [
                {"name": "n", "type": "size_t", "extents": []},
                {"name": "a", "type": "real", "extents": []},
                {"name": "x", "type": "const real", "extents": ["n"]},
                {"name": "y", "type": "real", "extents": ["n", "4", null]},
            ],
            "unsupported": null,
        })
    );
    assert_eq!(
        functions[11],
        json!({
            "name": "vreport",
            "returns": null,
            "parameters": null,
            "unsupported": "`va_list` can't be passed: C code alone can make a list of arguments",
        })
    );
}

#[test]
fn bad_input_is_one_line_and_code_two() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let missing = write("missing.h", "int f(void);\n#include <nowhere.h>\n");
    let errors = write("errors.h", "\n#error no way\n");
    for (arguments, part) in [
        (
            vec!["misspelt.h"],
            "expected a header that cc finds, got \"misspelt.h\"; give its path",
        ),
        (
            vec!["misspelt.h", "-I", "/no where"],
            "(\"/no where\"] to include: no such directory)",
        ),
        (vec!["--", "-x.h"], "got \"-x.h\""),
        (vec![""], "which is empty"),
        (vec!["a>b"], "no #include takes"),
        (vec!["a\nb"], "no #include takes"),
        (
            vec!["math.h", "-D", "2D=3"],
            "got \"2D=3\"; write NAME or NAME=VALUE",
        ),
        (vec!["math.h", "-D-o=x"], "got \"-o=x\""),
        (vec!["math.h", "-D", "A=1\n2"], "write NAME or NAME=VALUE"),
        (vec![&missing], "missing.h:2:10: fatal error:"),
        (vec![&errors], "errors.h:2:2: error: #error no way"),
    ] {
        let stderr = refused(mapcall(["prototypes"]).args(&arguments));
        let part = part.replace("(\"", "([\"");
        assert!(stderr.contains(&part), "{arguments:?}: {stderr}");
        assert!(
            stderr.starts_with("error: ") && stderr.lines().count() == 1,
            "{stderr}"
        );
    }
    for arguments in [&[][..], &["math.h", "--frobnicate"]] {
        let stderr = refused(mapcall(["prototypes"]).args(arguments));
        assert!(stderr.contains("Usage: mapcall prototypes"), "{stderr}");
    }
}

#[test]
fn an_include_directory_that_looks_like_an_option_is_none() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["-include", "=", "--help"] {
        let inner = directory.path().join(name);
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("x.h"), "int f(void);").unwrap();
        let mut command = mapcall(["prototypes", "x.h"]);
        command.arg(format!("-I={name}")).current_dir(&directory);
        assert_eq!(succeeded(&mut command), "int f(void);\n", "{name}");
    }
    fs::write(directory.path().join("-o.h"), "int g(void);").unwrap();
    let mut command = mapcall(["prototypes", "--", "-o.h"]);
    assert_eq!(succeeded(command.current_dir(&directory)), "int g(void);\n");
}

#[test]
fn invalid_declarations_are_reported_and_the_others_listed() {
    let directory = tempfile::tempdir().unwrap();
    let header = directory.path().join("bad.h");
    fs::write(
        &header,
        "#include <string.h>\n\n\nstruct s { int x[ };\nint f(int x[);\nint g(int);\n",
    )
    .unwrap();
    let output = mapcall(["prototypes"]).arg(&header).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.starts_with("// f: expected "), "{stdout}");
    assert!(stdout.ends_with("\nint g(int arg0);\n"), "{stdout}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains(&format!("{}:4:19\n", header.display())),
        "{stderr}"
    );
    assert!(
        stderr.contains("4 | struct s { int x[ };\n  |                   ^\n"),
        "{stderr}"
    );
}

#[test]
fn without_a_compiler() {
    let directory = tempfile::tempdir().unwrap();
    let plain = directory.path().join("plain.h");
    let text =
        "#pragma once\n#include <stdint.h>\n/* #if */\nint f(uint8_t x[3]);\nvoid g(gone);\n";
    fs::write(&plain, text).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = mapcall(["prototypes"]);
        command.args(arguments).env("PATH", "").env_remove("CC");
        command
    };
    let listed = succeeded(&mut run(&[plain.to_str().unwrap()]));
    assert_eq!(listed, "int f(uint8_t x[3]);\n// g: unknown type `gone`\n");
    let listed = succeeded(&mut run(&[
        "plain.h",
        "-I",
        directory.path().to_str().unwrap(),
    ]));
    assert_eq!(listed.lines().count(), 2);

    let (_directory, header) = fixture();
    let stderr = refused(&mut run(&[header.to_str().unwrap()]));
    assert!(
        stderr.contains("line 6 has `#include \"inner/part.h\"`"),
        "{stderr}"
    );
    for name in ["cc", "gcc", "clang"] {
        assert!(
            stderr.contains(&format!("{name}: No such file")),
            "{stderr}"
        );
    }
    let stderr = refused(&mut run(&["math.h"]));
    assert!(
        stderr.contains("only it knows where that is; install one, or set CC"),
        "{stderr}"
    );
}

#[test]
fn the_compiler_is_that_of_cc() {
    let stderr = refused(mapcall(["prototypes", "math.h"]).env("CC", "no-such-cc -m64"));
    assert!(
        stderr.contains("tried no-such-cc -m64: No such file"),
        "{stderr}"
    );
    let text = succeeded(mapcall(["prototypes", "string.h"]).env("CC", "cc -DUNUSED"));
    assert!(text.contains("memcpy"));
    let stderr = refused(mapcall(["prototypes", "string.h"]).env("CC", "true"));
    assert!(stderr.contains("it wrote no preprocessed text"), "{stderr}");
    let stderr = refused(mapcall(["prototypes", "string.h"]).env("CC", "false"));
    assert!(stderr.contains("it ended with exit status: 1"), "{stderr}");
}
