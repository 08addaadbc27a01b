//! `mapcall completions` and `mapcall man`; help, exit codes and usage errors.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::io::Write;
use std::process::{Command, Stdio};

use crate::common::{mapcall, refused, succeeded};

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = succeeded(&mut mapcall(["completions", shell]));
        for word in [
            "info",
            "prototypes",
            "constants",
            "symbols",
            "completions",
            "json",
        ] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn bash_completes_a_subcommand() {
    let script = succeeded(&mut mapcall(["completions", "bash"]))
        + "\nCOMP_WORDS=(mapcall in) COMP_CWORD=1; _mapcall mapcall in mapcall; echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    let mut child = bash
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "info\n");
}

#[test]
fn pages() {
    let whole = succeeded(&mut mapcall(["man"]));
    assert!(
        whole.starts_with(".ie") && whole.contains(".TH mapcall 1"),
        "{whole}"
    );
    for page in [
        "info",
        "prototypes",
        "constants",
        "symbols",
        "completions",
        "man",
    ] {
        assert!(whole.contains(&format!("mapcall\\-{page}(1)")), "{page}");
        let text = succeeded(&mut mapcall(["man", page]));
        assert!(text.contains(&format!(".TH mapcall-{page} 1")), "{text}");
        for part in [".SH SYNOPSIS", ".SH \"EXIT STATUS\"", "\n130\ninterrupted"] {
            assert!(text.contains(part), "{page}: {part}");
        }
    }
    let message = refused(&mut mapcall(["man", "nope"]));
    assert!(
        message.starts_with("error: expected a subcommand, got \"nope\""),
        "{message}"
    );
}

#[test]
fn help_has_the_exit_codes() {
    let help = succeeded(&mut mapcall(["--help"]));
    for line in [
        "\n  0    success",
        "\n  1    a function",
        "\n  2    bad input",
        "\n  130  interrupted",
    ] {
        assert!(help.contains(line), "{help}");
    }
    assert!(!help.contains('\u{1b}'));
}

#[test]
fn usage_errors_are_one_line() {
    for (arguments, part) in [
        (
            &["frobnicate"][..],
            "unrecognized subcommand 'frobnicate'; ",
        ),
        (
            &["info"],
            "required arguments were not provided: <FILE>...; Usage: mapcall info",
        ),
        (&["info", "--frob"], "unexpected argument '--frob' found"),
        (
            &["info", "x", "--json=1"],
            "unexpected value '1' for '--json'",
        ),
        (&["symbols", "m", "n"], "unexpected argument 'n'"),
        (
            &["completions", "tcsh"],
            "possible values: bash, elvish, fish, powershell, zsh",
        ),
        (&["--a\nb\u{1b}[31m"], "unexpected argument"),
    ] {
        let message = refused(&mut mapcall(arguments));
        assert!(
            message.starts_with("error: ") && message.contains(part),
            "{arguments:?}: {message}"
        );
        assert_eq!(message.matches(char::is_control).count(), 1, "{message:?}");
    }
    let message = refused(mapcall(["symbols", "./none"]).env("CLICOLOR_FORCE", "1"));
    assert!(
        message.starts_with("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m expected"),
        "{message:?}"
    );
    let message = refused(
        mapcall(["symbols", "./none"])
            .env("CLICOLOR_FORCE", "1")
            .env("NO_COLOR", "1"),
    );
    assert!(!message.contains('\u{1b}'), "{message:?}");
}
