//! The system's C compilers as oracles.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// Compiles and runs a C program, and returns its output.
pub(super) fn run(program: &str) -> String {
    run_by("cc", program).unwrap()
}

/// Compiles a C program by a compiler, runs it, and returns its output; `None` if there is no such compiler.
pub(super) fn run_by(compiler: &str, program: &str) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let (source, path) = (directory.path().join("p.c"), directory.path().join("p"));
    fs::write(&source, program).unwrap();
    let mut command = Command::new(compiler);
    command.args(["-w", "-o"]).arg(&path).arg(&source);
    let status = command.status().ok()?;
    assert!(status.success(), "{compiler} refuses {program}");
    let output = Command::new(path).output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Returns the errors of the compiler about a text; nothing if it accepts the text.
pub(super) fn errors(text: &str) -> String {
    let output = read(&["-std=gnu2x", "-fsyntax-only", "-w"], text);
    if output.status.success() {
        String::new()
    } else {
        String::from_utf8(output.stderr).unwrap()
    }
}

/// Returns a preprocessed system header; `None` if it is not installed.
pub(super) fn preprocess(header: &str) -> Option<String> {
    let output = read(&["-D_GNU_SOURCE", "-E"], &format!("#include <{header}>\n"));
    let text = String::from_utf8(output.stdout).unwrap();
    output.status.success().then_some(text)
}

/// Runs the compiler with options on a text.
fn read(options: &[&str], text: &str) -> Output {
    let mut compiler = Command::new("cc")
        .args(options)
        .args(["-x", "c", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = compiler.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    compiler.wait_with_output().unwrap()
}
