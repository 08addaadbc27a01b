//! `mapcall demo`, on small files.

#![cfg(unix)]
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by a panic"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{json_lines, mapcall, refused, succeeded};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

fn demo(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = mapcall(["demo"]);
    command.args(arguments).env("TMPDIR", directory);
    command
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn shows_rates_and_checks_results() {
    let directory = tempfile::tempdir().unwrap();
    let said = succeeded(&mut demo(directory.path(), &["--size", "8MiB"]));
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0].ends_with("/x.npy: 8.0 MiB, 1048576 doubles"),
        "{said}"
    );
    assert!(lines[1].trim_start().starts_with("seconds "), "{said}");
    assert!(
        lines[2].starts_with("memcpy ") && lines[2].ends_with("B/s"),
        "{said}"
    );
    assert!(
        lines[3].starts_with("cos, 1 thread ") && lines[3].ends_with("% of memcpy"),
        "{said}"
    );
    assert!(said.ends_with(" Rust's own cosine.\n"), "{said}");
    assert!(is_empty(directory.path()));
}

#[test]
fn as_json() {
    let directory = tempfile::tempdir().unwrap();
    let said = succeeded(&mut demo(directory.path(), &["--size", "1000kB", "--json"]));
    let facts = &json_lines(&said)[0];
    assert_eq!(
        (&facts["bytes"], &facts["checked"]),
        (&json!(1_000_000), &json!(125_000))
    );
    assert!(facts["ulps"].as_u64().unwrap() <= 1);
    let first = &facts["runs"][0];
    assert_eq!(
        (&first["threads"], &first["simd"]),
        (&json!(1), &json!(false))
    );
    let last = facts["runs"].as_array().unwrap().last().unwrap();
    let has_variants = cfg!(all(target_arch = "x86_64", target_env = "gnu"));
    assert!(last["simd"] == has_variants || cfg!(target_arch = "aarch64"));
    for run in facts["runs"]
        .as_array()
        .unwrap()
        .iter()
        .chain([&facts["memcpy"]])
    {
        assert!(
            run["seconds"].as_f64().unwrap() > 0.0 && run["bytes_per_second"].as_u64() > Some(0)
        );
    }
}

#[test]
fn missing_resources_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let message = refused(&mut demo(directory.path(), &["--size", "1000TiB"]));
    let (start, end) = (
        format!(
            "error: expected 2000.0 TiB of free disk space in {}, got ",
            directory.path().display()
        ),
        "; give a smaller --size, or set TMPDIR to a folder on another disk\n",
    );
    // 1.9 PiB
    let start = start.replace("2000.0 TiB", "2.0 PiB");
    assert!(
        message.starts_with(&start) && message.ends_with(end),
        "{message}"
    );
    assert!(is_empty(directory.path()));
    assert_eq!(
        refused(&mut demo(directory.path(), &["--size", "7"])),
        "error: expected a size from 8 bytes on that memory can address, got 7; give --size 1GiB\n"
    );
    let message = refused(&mut demo(directory.path(), &["--size", "much"]));
    assert!(
        message.starts_with("error: invalid value 'much' for '--size <SIZE>'"),
        "{message}"
    );
    let message = refused(&mut demo(&directory.path().join("none"), &["--size", "8"]));
    assert!(
        message.starts_with("error: can't make a folder in "),
        "{message}"
    );
    assert!(message.ends_with("; set TMPDIR to another\n"), "{message}");
}

#[test]
fn an_interrupt_cleans_up() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = demo(directory.path(), &["--size", "512MiB"]);
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while is_empty(directory.path()) {
        assert!(Instant::now() < deadline, "it doesn't begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut message = String::new();
    std::io::Read::read_to_string(&mut child.stderr.unwrap(), &mut message).unwrap();
    assert_eq!(
        message,
        "error: demo: interrupted; nothing is left behind\n"
    );
    assert!(is_empty(directory.path()));
}
