//! How long it takes to read prototypes: one, and a header of 500.

#![allow(
    clippy::print_stdout,
    missing_docs,
    reason = "a program that prints figures"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use mapcall::{Declarations, Prototype};

const SAXPY: &str =
    "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);\n";

fn main() {
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
