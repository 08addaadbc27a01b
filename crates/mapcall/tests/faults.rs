//! Calls and batches over maps whose pages are gone, in a process of its own: each is an error of the call.

#![cfg(target_os = "linux")]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by a panic, and calls C"
)]

use std::fs::File;
use std::path::Path;
use std::sync::OnceLock;
use std::{fs, process, thread};

use mapcall::array::guard::{self, Reason};
use mapcall::array::{Array, DType, MapOptions, Mode};
use mapcall::{Arg, CallError, Function, Library};
use tempfile::TempDir;

const SOURCE: &str = r"
#include <pthread.h>
#include <stddef.h>

double total(size_t n, const double x[n]) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum;
}

void fill(size_t n, double x[n]) {
    for (size_t i = 0; i < n; i++) x[i] = 1;
}

struct job { size_t n; const double *x; double sum; };

static void *run(void *job) {
    struct job *j = job;
    j->sum = total(j->n, j->x);
    return NULL;
}

double total_in_thread(size_t n, const double x[n]) {
    struct job job = {n, x, 0};
    pthread_t thread;
    pthread_create(&thread, NULL, run, &job);
    pthread_join(thread, NULL);
    return job.sum;
}
";

/// The size of a page in elements.
const PAGE: usize = 512;

fn bind(prototype: &str) -> Function {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    guard::install().unwrap();
    let library = LIBRARY.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let (source, path) = (
            folder.path().join("faults.c"),
            folder.path().join("faults.so"),
        );
        fs::write(&source, SOURCE).unwrap();
        let mut cc = process::Command::new("cc");
        cc.args(["-O1", "-shared", "-fPIC", "-pthread", "-o"]);
        assert!(cc.arg(&path).arg(&source).status().unwrap().success());
        // SAFETY: the library has no initialisers.
        unsafe { Library::open(path) }.unwrap()
    });
    // SAFETY: the prototypes are those of the source above.
    unsafe { library.function(prototype) }.unwrap()
}

/// Maps a file of `pages` pages of zeros.
fn mapped(folder: &Path, pages: usize) -> (File, Array) {
    let path = folder.join("x.f64");
    let file = File::create(&path).unwrap();
    file.set_len((pages * PAGE * 8) as u64).unwrap();
    let options = MapOptions::new().mode(Mode::ReadWrite).dtype(DType::F64);
    // SAFETY: no typed view of the array is made.
    (file, unsafe { options.map(&path) }.unwrap())
}

#[track_caller]
fn fault(error: CallError) -> (Reason, u64, Option<Vec<usize>>) {
    match error {
        CallError::Fault { index, fault, .. } => (fault.reason, fault.file_offset, index),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_over_a_shortened_file_is_an_error_each_time() {
    let folder = TempDir::new().unwrap();
    for prototype in [
        "double total(size_t n, const double x[n])",
        "double total_in_thread(size_t n, const double x[n])",
    ] {
        let total = bind(prototype);
        let (file, array) = mapped(folder.path(), 10);
        total.call(&mut [Arg::from(&array)]).unwrap();
        file.set_len(3 * 4096).unwrap();
        for _ in 0..3 {
            let error = total.call(&mut [Arg::from(&array)]).unwrap_err();
            assert!(error.to_string().contains("x.f64"), "{error}");
            assert_eq!(fault(error), (Reason::Truncated, 3 * 4096, None));
        }
    }
}

#[test]
fn a_write_that_is_lost_is_an_error() {
    let folder = TempDir::new().unwrap();
    let fill = bind("void fill(size_t n, double x[n])");
    let (file, mut array) = mapped(folder.path(), 10);
    file.set_len(4096).unwrap();
    let error = fill.call(&mut [Arg::from(&mut array)]).unwrap_err();
    assert_eq!(fault(error), (Reason::Truncated, 4096, None));
    assert_eq!(fs::read(folder.path().join("x.f64")).unwrap().len(), 4096);
}

#[test]
fn a_batch_names_the_call() {
    let folder = TempDir::new().unwrap();
    let total = bind("double total(size_t n, const double x[n])");
    let (file, array) = mapped(folder.path(), 100);
    // Rows of a quarter of a page.
    let rows = array
        .reshape(&[400, 128], mapcall::array::layout::Order::C)
        .unwrap();
    file.set_len(50 * 4096).unwrap();
    for threads in [1, 2, 3] {
        let batch = total
            .map(&[Arg::from(&rows)], &mut [Arg::Out])
            .threads(threads)
            .run();
        let (reason, offset, index) = fault(batch.unwrap_err());
        assert_eq!(reason, Reason::Truncated);
        assert!(offset >= 50 * 4096);
        let row = usize::try_from(offset).unwrap() / (128 * 8);
        assert_eq!(index, Some(vec![row]));
    }
}

#[test]
fn a_closed_map_is_refused_before_the_call() {
    let folder = TempDir::new().unwrap();
    let total = bind("double total(size_t n, const double x[n])");
    let (_file, array) = mapped(folder.path(), 10);
    // SAFETY: no typed view exists.
    unsafe { array.buffer().map().unwrap().close() }.unwrap();
    let error = total.call(&mut [Arg::from(&array)]).unwrap_err();
    assert!(matches!(error, CallError::Argument(_)));
    let words = "total: x: expected float64[n] on an open map, got an array on a map that was closed; \
                 open the file again";
    assert_eq!(error.to_string(), words);
}

#[test]
fn a_batch_that_runs_while_its_map_is_closed_ends() {
    let folder = TempDir::new().unwrap();
    let total = bind("double total(size_t n, const double x[n])");
    for threads in [1, 2] {
        let (_file, array) = mapped(folder.path(), 20_000);
        let rows = array
            .reshape(&[-1, 64], mapcall::array::layout::Order::C)
            .unwrap();
        let map = array.buffer().map().unwrap();
        thread::scope(|scope| {
            let batch = scope.spawn(|| {
                let arguments = [Arg::from(&rows)];
                loop {
                    let batch = total
                        .map(&arguments, &mut [Arg::Out])
                        .threads(threads)
                        .run();
                    if let Err(error) = batch {
                        return error;
                    }
                }
            });
            // SAFETY: no typed view exists.
            unsafe { map.close() }.unwrap();
            match batch.join().unwrap() {
                // It began after the map was closed.
                CallError::Argument(_) => {}
                error => assert_eq!(fault(error).0, Reason::Closed),
            }
        });
    }
}

#[test]
fn each_thread_has_its_own_faults() {
    let folder = TempDir::new().unwrap();
    let total = bind("double total(size_t n, const double x[n])");
    let (file, array) = mapped(folder.path(), 100);
    file.set_len(4096).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let error = total.call(&mut [Arg::from(&array)]).unwrap_err();
                    assert_eq!(fault(error).0, Reason::Truncated);
                }
            });
        }
    });
}
