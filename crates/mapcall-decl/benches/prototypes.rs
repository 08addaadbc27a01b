//! Measures the time to parse one prototype, and to load headers: 500 functions, and those of libraries that the
//! compiler finds (`CPATH` adds directories), against its preprocessor alone.

#![allow(
    clippy::print_stdout,
    missing_docs,
    reason = "a program that prints figures"
)]

use std::env;
use std::fs;
use std::hint::black_box;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mapcall_decl::{Declarations, Header, Prototype};

const SAXPY: &str =
    "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);\n";

/// Headers of libraries, of which one function is looked up.
const HEADERS: [(&str, &str); 3] = [
    ("lapacke.h", "LAPACKE_dgesv"),
    ("gsl/gsl_linalg.h", "gsl_linalg_LU_decomp"),
    ("sqlite3.h", "sqlite3_libversion_number"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if env::var_os("MAPCALL_HEADER_CACHE").is_some_and(|value| value == "0") {
        // The rows with a cache have one of their own.
        let cache = tempfile::tempdir()?;
        let mut again = Command::new(env::current_exe()?);
        again.env("MAPCALL_HEADER_CACHE", "1");
        again.env("XDG_CACHE_HOME", cache.path()).status()?;
        return Ok(());
    }
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
            .cache(false)
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
    for (name, function) in HEADERS {
        let load = |is_cached| {
            let header = Header::new(name).cache(is_cached).read();
            header.is_ok_and(|header| header.function(function).is_some())
        };
        if !load(true) {
            println!("{name:34}{:>10}", "missing");
            continue;
        }
        let preprocessor = median(20, || {
            let mut cc = Command::new("cc");
            cc.args(["-E", "-w", "-x", "c", "-include", name, "/dev/null"]);
            cc.stdout(Stdio::piped()).stderr(Stdio::null());
            cc.output().is_ok_and(|output| output.status.success())
        });
        let (first, again) = (median(20, || load(false)), median(20, || load(true)));
        let share = first.as_secs_f64() / preprocessor.as_secs_f64();
        println!("{:34}{preprocessor:>10.1?}", format!("cc -E {name}"));
        println!(
            "{:34}{first:>10.1?}{share:>20.2}{:>10}",
            format!("load {name}"),
            "1.5"
        );
        println!("{:34}{again:>10.1?}{:>30}", "  again", "20 ms");
    }
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
