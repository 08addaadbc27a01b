//! Headers: which functions belong to a header, its scope, and compilers that misbehave.

#![cfg(all(unix, feature = "headers"))]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mapcall_decl::ctype::CType;
use mapcall_decl::{Declarations, Header, HeaderError, PrototypeErrorKind, SourceCode};
use proptest::prelude::*;
use tempfile::TempDir;

/// Creates a directory with these files.
fn files(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    directory
}

fn names(header: &Declarations) -> Vec<&str> {
    header
        .functions()
        .iter()
        .map(|function| function.name.as_str())
        .collect()
}

/// Creates a script that is run as the compiler.
fn script(directory: &TempDir, text: &str) -> PathBuf {
    let path = directory.path().join("cc with spaces");
    // Another process writes the file: a child that this process forks meanwhile would keep it open for
    // writing, and the kernel runs no such file.
    let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod +x "$1""#;
    let mut shell = Command::new("sh");
    let status = shell
        .args(["-c", write, "sh"])
        .arg(&path)
        .arg(text)
        .status();
    assert!(status.unwrap().success());
    path
}

#[test]
fn a_header_has_the_functions_of_its_project() {
    let directory = files(&[
        (
            "include/kern.h",
            "#include <kern/a.h>\n#include \"kern/time.h\"\nint own(void);",
        ),
        (
            "include/kern/a.h",
            "#include <unistd.h>\n#include <other.h>\nint a(off_t);",
        ),
        // Not the standard header `time.h`.
        (
            "include/kern/time.h",
            "#include <stdlib.h>\nint now(div_t);",
        ),
        ("other/other.h", "int other(void);"),
    ]);
    let include = directory.path().join("include");
    let read = |name: &Path| {
        let header = Header::new(name)
            .include(&include)
            .include(directory.path().join("other"));
        header.read().unwrap()
    };
    let expected = ["other", "a", "now", "own"];
    let by_name = read(Path::new("kern.h"));
    assert_eq!(names(&by_name), expected);
    assert!(
        by_name
            .functions()
            .iter()
            .all(|function| function.prototype.is_ok())
    );
    // By its path, and for a file that is not a standard header.
    assert_eq!(names(&read(&include.join("kern.h"))), expected);
    assert_eq!(names(&read(&include.join("kern/a.h"))), ["other", "a"]);
}

#[test]
fn a_standard_header_is_read_by_its_path_too() {
    let by_name = Header::new("string.h").read().unwrap();
    let path = by_name
        .functions()
        .iter()
        .find(|function| function.name == "memcpy");
    assert!(path.unwrap().prototype.is_ok());
    if Path::new("/usr/include/string.h").is_file() {
        let by_path = Header::new("/usr/include/string.h").read().unwrap();
        assert_eq!(names(&by_path), names(&by_name));
    }
}

#[test]
fn prototypes_use_the_types_of_the_header() {
    let directory = files(&[(
        "k.h",
        "#include <stdint.h>\nenum { N = 4 };\ntypedef struct later later;\nstruct later { int16_t x[N]; };\n\
         typedef struct { double re, im; } sample;\nenum mode { FAST };",
    )]);
    let header = Header::new(directory.path().join("k.h")).read().unwrap();
    assert!(names(&header).is_empty() && header.errors().is_empty());
    let f = header
        .prototype("void f(const sample x[n][N], int n, later *p, enum mode m)")
        .unwrap();
    assert_eq!(
        f.to_string(),
        "void f(const sample x[n][4], int n, later *p, enum mode m)"
    );
    assert_eq!(f.signature(), "(n,4),(),()->");
    let CType::Pointer(later) = f.parameters[2].ctype.resolved() else {
        panic!()
    };
    assert_eq!(later.target.size(), Some(8));

    // A prototype's text may repeat definitions of the header, and add others, which are not kept.
    let again = "typedef struct later later; enum { N = 4 }; typedef int extra; void g(extra e[N])";
    assert!(header.prototype(again).is_ok());
    let kind = |text: &str| header.prototype(text).unwrap_err().kind;
    assert!(matches!(
        kind("void g(extra e)"),
        PrototypeErrorKind::UnknownType { .. }
    ));
    for redefinition in [
        "enum { N = 5 }; void g(int x[N])",
        "typedef double sample; void g(sample s)",
        "struct later { int y; }; void g(int x)",
    ] {
        let kind = kind(redefinition);
        assert!(
            matches!(kind, PrototypeErrorKind::Redefined { .. }),
            "{kind:?}"
        );
    }
    let PrototypeErrorKind::UnknownType { nearest, .. } = kind("void g(smaple s)") else {
        panic!()
    };
    assert_eq!(nearest.as_deref(), Some("sample"));

    // A scope is valid after its header and copies of it are dropped.
    let copy = header.clone();
    drop(header);
    assert!(copy.prototype("sample f(void)").is_ok());
}

#[test]
fn errors_name_file_and_line() {
    let directory = files(&[
        (
            "bad.h",
            "#include <stdio.h>\n#include \"inner.h\"\n\nint ok(void);\n\nint f(gone x);\n",
        ),
        (
            "inner.h",
            "/* a\n b */\n\n\n\n\n\n\n\n\n\n\ntypedef struct { int x } t;\n",
        ),
    ]);
    let header = Header::new("bad.h")
        .include(directory.path())
        .read()
        .unwrap();
    assert_eq!(names(&header), ["ok", "f"]);
    let position = |error: &mapcall_decl::PrototypeError| {
        let position = error.position.clone().unwrap();
        (
            Path::new(&*position.file)
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
            position.line,
        )
    };
    assert_eq!(position(&header.errors()[0]), ("inner.h".into(), 13));
    let error = header.functions()[1].prototype.as_ref().unwrap_err();
    assert_eq!(position(error), ("bad.h".into(), 6));
    assert!(error.to_string().contains("bad.h:6:7\n"), "{error}");
}

#[test]
fn a_compiler_that_hangs_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    // The process that hangs is a child of the compiler driver.
    let text = format!("sleep 1000 & echo $! > '{}'; wait", pid.display());
    for text in [
        text.as_str(),
        "exec 1>&- 2>&-; sleep 1000",
        "exec 2>&-; yes '' | sleep 1000",
    ] {
        let start = Instant::now();
        let limit = Duration::from_millis(500);
        let error = Header::new("math.h")
            .compiler(script(&directory, text))
            .time_limit(limit)
            .read()
            .unwrap_err();
        assert!(
            matches!(error, HeaderError::TooSlow { limit: l, .. } if l == limit),
            "{error}"
        );
        assert!(start.elapsed() < Duration::from_mins(1));
    }
    let pid = fs::read_to_string(pid).unwrap();
    let is_gone = || {
        let alive = Command::new("ps")
            .args(["-o", "stat=", "-p", pid.trim()])
            .output()
            .unwrap();
        alive.stdout.is_empty() || alive.stdout.starts_with(b"Z")
    };
    let start = Instant::now();
    while !is_gone() {
        assert!(
            start.elapsed() < Duration::from_mins(1),
            "the part lives on"
        );
    }
}

#[test]
fn the_command_of_a_compiler_that_hangs_shows_why() {
    let directory = tempfile::tempdir().unwrap();
    let compiler = script(
        &directory,
        "echo waiting for a licence >&2; exec sleep 1000",
    );
    let header = Header::new("math.h").compiler(&compiler);
    let error = header.time_limit(Duration::from_millis(200)).read();
    let message = error.unwrap_err().to_string();
    assert!(
        message.ends_with("; try its command with -E by hand"),
        "{message}"
    );
    let mut by_hand = Command::new(&compiler);
    let mut child = by_hand.arg("-E").stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "waiting for a licence\n");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_compiler_that_is_slow_gets_less_to_do_or_runs_without_a_limit() {
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    // It optimises until the file `go` is there.
    let text = format!(
        "case \"$*\" in *-O3*) until [ -e '{}' ]; do sleep 0.01; done;; esac\nexec cc \"$@\"",
        go.display()
    );
    let compiler = script(&directory, &text);
    let source = |flag: &str| {
        SourceCode::new("int f(void) { return 0; }")
            .compiler(&compiler)
            .cache(false)
            .flags([flag])
    };
    let short = Duration::from_millis(200);
    let error = source("-O3").time_limit(short).build().unwrap_err();
    let message = error.to_string();
    let remedy = "; ask for fewer optimisations, or compile it by a build system";
    assert!(message.ends_with(remedy), "{message}");
    source("-O1").build().unwrap();
    let file = directory.path().join("f.c");
    fs::write(&file, "int f(void) { return 0; }").unwrap();
    let library = directory.path().join("libf.so");
    let mut by_hand = Command::new(&compiler);
    by_hand.args(["-O3", "-shared", "-fPIC", "-o"]);
    let mut child = by_hand.arg(&library).arg(&file).spawn().unwrap();
    fs::write(&go, "").unwrap();
    assert!(child.wait().unwrap().success());
    assert!(library.exists());
}

#[test]
fn a_compiler_that_floods_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let read = |text: &str| {
        Header::new("math.h")
            .compiler(script(&directory, text))
            .read()
    };
    let error = read("yes '# 1 \"x.h\"'").unwrap_err();
    assert!(
        matches!(error, HeaderError::TooLong { limit, .. } if limit == 16 << 20),
        "{error}"
    );
    match read("yes 'error: no' | head -c 1000000 >&2; exit 1").unwrap_err() {
        HeaderError::Refused { message, words, .. } => {
            assert_eq!(message, "error: no");
            assert_eq!(words.len(), 64 << 10);
        }
        error => panic!("{error}"),
    }
}

#[test]
fn output_of_the_compiler_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    let read = |text: &str| {
        let text = format!("cat > /dev/null\nprintf '{text}'");
        Header::new("math.h")
            .compiler(script(&directory, &text))
            .read()
    };
    let header =
        read("# 99999999999999999999 \"x\"\\n# 1 \"x\" 2\\n# 1 \"x\" 2\\nint f(void);\\377");
    assert_eq!(names(&header.unwrap()), ["f"]);
    assert!(matches!(
        read("int f(void);"),
        Err(HeaderError::Refused { .. })
    ));
    assert!(matches!(read(""), Err(HeaderError::Refused { .. })));
}

#[test]
fn names_that_are_none_are_refused() {
    for name in ["", "a\0b", "a\nb", "<x.h>", &"x".repeat(5000)] {
        let error = Header::new(name).read().unwrap_err();
        assert!(matches!(error, HeaderError::Name { .. }), "{error}");
    }
    let directory = tempfile::tempdir().unwrap();
    let error = Header::new(directory.path()).read().unwrap_err();
    assert!(
        !matches!(error, HeaderError::Name { .. }),
        "a directory: {error}"
    );
    // A file with an unusual name is read.
    let path = directory.path().join("a \"<b>\n.h");
    fs::write(&path, "int f(void);").unwrap();
    assert_eq!(names(&Header::new(path).read().unwrap()), ["f"]);
}

#[test]
fn without_a_compiler_macros_and_guards_decide() {
    let directory = files(&[(
        "k.h",
        "#ifndef K\n#define K\n#ifdef WIDE\nint wide(double);\n#else\nint narrow(float);\n#endif\n#endif\n",
    )]);
    let header = Header::new(directory.path().join("k.h")).compiler("no-such-compiler");
    assert_eq!(
        names(&header.clone().define("WIDE", None).read().unwrap()),
        ["wide"]
    );
    match header.read().unwrap_err() {
        HeaderError::NoCompiler { tried, reason, .. } => {
            assert_eq!(tried[0].command, "no-such-compiler");
            assert_eq!(reason, "line 3 has `#ifdef WIDE`");
        }
        error => panic!("{error}"),
    }
}

proptest! {
    /// No text makes the reader without a compiler panic.
    #[test]
    fn any_text_is_read_or_refused(text in "([#a-z(){};\"'/*\\\\ \n]|#if |#ifdef |#else|#endif|#define |int |\\PC){0,80}") {
        let directory = files(&[("k.h", &text)]);
        let header = Header::new(directory.path().join("k.h")).compiler("no-such-compiler").read();
        match header {
            Ok(_) | Err(HeaderError::NoCompiler { .. }) => {}
            Err(error) => prop_assert!(false, "{error}"),
        }
    }
}
