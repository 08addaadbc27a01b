//! Measures the time to parse one prototype, a header of 500 functions, and the same with the preprocessor.

#![allow(
    clippy::print_stdout,
    missing_docs,
    reason = "a program that prints figures"
)]

use std::fs;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mapcall_decl::{Declarations, Header, Prototype};

const SAXPY: &str =
    "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);\n";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let header: String = (0..500)
        .map(|i| SAXPY.replace("saxpy", &format!("saxpy{i}")))
        .collect();
    let one = median(1000, || {
        black_box(Prototype::parse(black_box(SAXPY))).is_ok()
    });
    let whole = median(30, || {
        black_box(Declarations::parse(black_box(&header)))
            .functions()
            .len()
            == 500
    });
    println!(
        "{:34}{one:>10.1?}{:>30}",
        "parse one prototype", "50 µs with binding"
    );
    println!(
        "{:34}{whole:>10.1?}{:>30}",
        "parse a header of 500", "50 ms"
    );

    let directory = tempfile::tempdir()?;
    let path = directory.path().join("saxpy.h");
    fs::write(&path, format!("#include <stddef.h>\n{header}"))?;
    let preprocessor = median(30, || {
        let mut cc = Command::new("cc");
        cc.args(["-E", "-w", "-x", "c"]).arg(&path);
        cc.stdout(Stdio::piped());
        cc.output().is_ok_and(|output| output.status.success())
    });
    let load = median(30, || {
        Header::new(black_box(&path))
            .read()
            .is_ok_and(|header| header.functions().len() == 500)
    });
    println!("{:34}{load:>10.1?}", "load a header of 500");
    println!("{:34}{preprocessor:>10.1?}", "  the preprocessor alone");
    println!(
        "{:34}{:>10.1?}{:>30}",
        "  after the preprocessor",
        load.saturating_sub(preprocessor),
        "50 ms"
    );
    Ok(())
}

fn median(runs: usize, work: impl Fn() -> bool) -> Duration {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            assert!(work(), "the prototypes are good");
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times.get(runs / 2).copied().unwrap_or_default()
}
