//! `mapcall symbols`, and the behaviour that all subcommands share.

#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use std::fs::{self, File};
use std::process::{Command, Stdio};

use crate::common::{json_lines, mapcall, refused, succeeded};

#[test]
fn symbols_are_those_that_were_compiled() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("kern.c");
    fs::write(
        &source,
        "int b(void){return 1;} int a;\nstatic int c; int d(void){return c;}",
    )
    .unwrap();
    let library = directory.path().join("lib with spaces.so");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-nostartfiles", "-o"])
        .arg(&library)
        .arg(&source);
    assert!(cc.status().unwrap().success());
    assert_eq!(succeeded(mapcall(["symbols"]).arg(&library)), "b\nd\n");
    let lines = json_lines(&succeeded(mapcall(["symbols", "--json"]).arg(&library)));
    assert_eq!(
        lines,
        [
            serde_json::json!({"name": "b", "variants": []}),
            serde_json::json!({"name": "d", "variants": []})
        ]
    );
    assert!(
        succeeded(&mut mapcall(["symbols", "m"]))
            .lines()
            .any(|line| line.split(' ').next() == Some("cos"))
    );
}

#[test]
fn missing_libraries_are_refused() {
    for name in ["", "./no such.so", "nosuchlibrary", "a\nb\u{1b}[31m"] {
        let message = refused(&mut mapcall(["symbols", name]));
        assert!(
            message.starts_with("error: expected a library"),
            "{message}"
        );
        assert_eq!(message.matches(char::is_control).count(), 1, "{message}");
    }
}

#[test]
fn help_and_version() {
    assert!(succeeded(&mut mapcall(["--version"])).starts_with("mapcall "));
    for arguments in [
        &["--help"][..],
        &["prototypes", "--help"],
        &["symbols", "-h"],
    ] {
        assert!(succeeded(&mut mapcall(arguments)).contains("Usage: mapcall"));
    }
    assert!(refused(&mut mapcall(Vec::<String>::new())).contains("Usage: mapcall"));
    assert!(refused(&mut mapcall(["frobnicate"])).contains("unrecognized subcommand"));
}

/// A reader that closes the pipe early is no error: `mapcall symbols c | true`.
#[test]
fn an_output_whose_reader_has_gone_is_no_error() {
    for arguments in [&["symbols", "c"][..], &["prototypes", "math.h", "--json"]] {
        let mut command = mapcall(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), &output.stderr[..]),
            (Some(0), &b""[..])
        );
    }
}

#[test]
fn an_output_that_fails_is_one() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = mapcall(["symbols", "m"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.starts_with("error: can't write the output: "),
        "{message}"
    );
}
