//! Eight threads that call, bind, compile, load and let go the same things at once.

#![cfg(glibc)]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by a panic, and calls C"
)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use mapcall::array::DType;
use mapcall::array::layout::Order;
use mapcall::call::{Closure, Engine, Trampoline};
use mapcall::{Arg, CallError, Function, Handle, Library, Prototype, Success};
use tempfile::TempDir;

const THREADS: usize = 8;
/// How long each of the tests runs; they run side by side.
const TIME: Duration = Duration::from_secs(2);

const SAXPY: &str = "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])";
const FAIL: &str = "int fail(int code)";
const OPEN: &str = "struct counter *counter_open(int value)";
const ADD: &str = "int counter_add(struct counter *c, int by)";
const CLOSE: &str = "int counter_close(struct counter *c)";
const TURN: &str = "struct pair { double x; int n; }; struct pair turn(struct pair p)";
const APPLY: &str = "double apply(double (*f)(double), double x)";

const C: &str = "
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
struct counter { int value; };
struct pair { double x; int n; };
static atomic_int alive;
void saxpy(size_t n, float a, const float *x, float *y) {
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}
int fail(int code) { errno = code; return -1; }
struct counter *counter_open(int value) {
    struct counter *c = malloc(sizeof *c);
    if (c) { c->value = value; atomic_fetch_add(&alive, 1); }
    return c;
}
int counter_add(struct counter *c, int by) { return c->value + by; }
int counter_close(struct counter *c) {
    int value = c->value;
    free(c);
    atomic_fetch_sub(&alive, 1);
    return value;
}
struct pair turn(struct pair p) { return (struct pair){p.n, (int)p.x}; }
double apply(double (*f)(double), double x) { return f(x) + 1; }
/* All handles are closed before the library is unloaded. */
__attribute__((destructor)) static void leave(void) { if (atomic_load(&alive)) abort(); }
";

fn compile(directory: &Path, c: &str) -> PathBuf {
    let (source, library) = (directory.join("fixture.c"), directory.join("fixture.so"));
    fs::write(&source, c).unwrap();
    let status = Command::new("cc")
        .args(["-O1", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status()
        .expect("the system has a C compiler");
    assert!(status.success());
    library
}

fn open(path: &Path) -> Library {
    // SAFETY: the library's terminator may run at any time.
    unsafe { Library::open(path) }.unwrap()
}

fn bind(library: &Library, prototype: &str) -> Function {
    // SAFETY: the prototypes of this file are those of the functions.
    unsafe { library.function(prototype) }.unwrap()
}

/// Repeats `work(thread, round)` in each thread until the time is over.
fn in_threads(work: impl Fn(usize, usize) + Sync) {
    let (end, start) = (Instant::now() + TIME, Barrier::new(THREADS));
    let total: usize = thread::scope(|scope| {
        let run = |thread| {
            let (work, start) = (&work, &start);
            scope.spawn(move || {
                start.wait();
                let mut rounds = 0;
                while rounds == 0 || Instant::now() < end {
                    work(thread, rounds);
                    rounds += 1;
                }
                rounds
            })
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert!(total >= THREADS);
}

fn check_saxpy(saxpy: &Function, seed: u8) {
    let x: Vec<f32> = (0..seed % 50).map(f32::from).collect();
    let mut y = vec![f32::from(seed); x.len()];
    let arguments = &mut [2.0.into(), (&x[..]).into(), (&mut y[..]).into()];
    saxpy.call(arguments).unwrap();
    let expected: Vec<f32> = x.iter().map(|x| f32::from(seed) + 2.0 * x).collect();
    assert_eq!(y, expected);
    // One that is left out is made.
    let mut arguments = [2.0.into(), (&x[..]).into(), Arg::Out];
    saxpy.call(&mut arguments).unwrap();
    let made = arguments[2].array().unwrap().view::<f32>().unwrap();
    assert!(
        made.iter()
            .zip(&x)
            .all(|(y, x)| y.to_bits() == (2.0 * x).to_bits())
    );
}

fn check_errno(fail: &Function, code: i32) {
    let error = fail.call(&mut [code.into()]).unwrap_err();
    let CallError::Status { code: found, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(found, i128::from(code));
}

fn check_turn(turn: &Function, n: i32) {
    let dtype = DType::structured_aligned([("x", DType::F64), ("n", DType::I32)]).unwrap();
    let pair = |x: f64, n: i32| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&x.to_ne_bytes());
        bytes[8..12].copy_from_slice(&n.to_ne_bytes());
        bytes
    };
    let given = pair(-2.0, n);
    let result = turn
        .call(&mut [Arg::Record(dtype, given[..].into())])
        .unwrap();
    let mapcall::Value::Record { bytes, .. } = result else {
        panic!("{result:?}");
    };
    assert_eq!(bytes[..12], pair(n.into(), -2)[..12]);
}

#[test]
fn functions_are_shared_bound_and_let_go() {
    let directory = TempDir::new().unwrap();
    let library = open(&compile(directory.path(), C));
    let saxpy = bind(&library, SAXPY);
    let fail = bind(&library, FAIL).check(Success::NoErrno).unwrap();
    let turn = bind(&library, TURN);
    in_threads(|thread, round| {
        let seed = u8::try_from((31 * thread + round) % 256).unwrap();
        let code = 1 + i32::from(seed);
        // The shared ones, whose first call is made by all threads at once.
        check_saxpy(&saxpy, seed);
        check_errno(&fail, code);
        check_turn(&turn, code);
        let clone = saxpy.clone();
        // Ones of this thread's own.
        let own = bind(&library, SAXPY);
        assert_eq!(own, saxpy);
        check_saxpy(&own, seed);
        drop(own);
        check_saxpy(&clone.with_engine(Engine::Libffi).unwrap(), seed);
        check_errno(&fail.with_engine(Engine::Libffi).unwrap(), code);
        check_turn(&bind(&library, TURN), code);
        let error = clone
            .call(&mut [2.0.into(), Arg::Out, Arg::Out])
            .unwrap_err();
        assert!(matches!(error, CallError::Argument(_)));
    });
}

#[test]
fn signatures_are_compiled_once() {
    // Each function has another sequence of register classes, which is compiled at its first call.
    const FUNCTIONS: usize = 256;
    let prototype = |number: usize| {
        let parameter = |index: usize| {
            let is_double = number >> index & 1 == 1;
            format!("{} p{index}", if is_double { "double" } else { "long" })
        };
        let parameters: Vec<_> = (0..8).map(parameter).collect();
        format!("double f{number}({})", parameters.join(", "))
    };
    let mut c = String::new();
    for number in 0..FUNCTIONS {
        let sum: Vec<_> = (0..8)
            .map(|index| format!("{} * p{index}", index + 1))
            .collect();
        let _ = writeln!(
            c,
            "{} {{ return {number} + {}; }}",
            prototype(number),
            sum.join(" + ")
        );
    }
    let directory = TempDir::new().unwrap();
    let library = open(&compile(directory.path(), &c));
    let functions: Vec<_> = (0..FUNCTIONS)
        .map(|number| bind(&library, &prototype(number)))
        .collect();
    in_threads(|thread, round| {
        // All threads take the functions in the same order, so that they compile the same.
        let number = round % FUNCTIONS;
        let value = i32::try_from(thread).unwrap();
        let mut arguments = [(); 8].map(|()| Arg::from(value));
        let result = functions[number].call(&mut arguments).unwrap();
        let expected = f64::from(i32::try_from(number).unwrap() + 36 * value);
        assert_eq!(result.to_f64(), Some(expected));
        assert_eq!(functions[number].trampoline().engine(), engine());
    });
}

/// The engine of plain calls here.
fn engine() -> Engine {
    if cfg!(has_jit) {
        Engine::Cranelift
    } else {
        Engine::Libffi
    }
}

#[test]
fn libraries_and_handles_come_and_go() {
    let directory = TempDir::new().unwrap();
    let path = compile(directory.path(), C);
    in_threads(|thread, round| {
        let value = i32::try_from((31 * thread + round) % 1000).unwrap();
        let library = open(&path);
        let (new, close) = (bind(&library, OPEN), bind(&library, CLOSE));
        let add = bind(&library, ADD);
        drop(library);
        let handle = || {
            let handle = new
                .call(&mut [value.into()])
                .unwrap()
                .into_handle()
                .unwrap();
            handle.with_destructor(&close).unwrap()
        };
        let (closed, dropped, last) = (handle(), handle(), handle());
        let sum = |handle: &Handle| {
            let result = add.call(&mut [handle.into(), 5.into()]);
            result.map(|result| result.to_i128())
        };
        for handle in [&closed, &dropped, &last] {
            assert_eq!(sum(handle).unwrap(), Some(i128::from(value) + 5));
        }
        assert_eq!(
            closed.close().unwrap().unwrap().to_i128(),
            Some(value.into())
        );
        assert!(sum(&closed).is_err());
        drop(dropped);
        // Now nothing but the handle keeps the library, and its destructor is in there.
        drop((new, close, add, closed));
        drop(last);
    });
}

#[test]
fn handles_and_closures_are_shared() {
    let directory = TempDir::new().unwrap();
    let library = open(&compile(directory.path(), C));
    let (new, close) = (bind(&library, OPEN), bind(&library, CLOSE));
    let apply = Prototype::parse(APPLY).unwrap();
    let types = || apply.parameters.iter().map(|parameter| &parameter.ctype);
    let trampoline = Trampoline::new(&apply.returns, types()).unwrap();
    let call = |closure: &Closure, x: f64| {
        // SAFETY: the library has no resolvers.
        let address = unsafe { library.symbol("apply") }.unwrap();
        let mut frame = [closure.address().expose_provenance() as u64, x.to_bits(), 0];
        // SAFETY: the frame holds what `apply` takes, a function that lives and a number.
        unsafe { trampoline.call(address.as_ptr(), frame.as_mut_ptr()) };
        f64::from_bits(frame[2])
    };
    let callee = Prototype::parse("double f(double x)").unwrap();
    let closure = |body: Arc<dyn Fn(f64) -> f64 + Send + Sync>| {
        let types = callee.parameters.iter().map(|parameter| &parameter.ctype);
        let body = Box::new(
            move |layout: &mapcall::call::FrameLayout, frame: &mut [u64]| {
                let x = f64::from_bits(frame[layout.parameter(0)]);
                frame[layout.result()] = body(x).to_bits();
            },
        );
        Closure::new(&callee.returns, types, body).unwrap()
    };
    let (calls, rounds) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let shared = closure(Arc::new(move |x| {
        counted.fetch_add(1, Ordering::Relaxed);
        2.0 * x
    }));
    in_threads(|thread, round| {
        rounds.fetch_add(1, Ordering::Relaxed);
        let x = f64::from(u32::try_from(31 * thread + round).unwrap());
        assert_eq!(call(&shared, x).to_bits(), (2.0 * x + 1.0).to_bits());
        let own = closure(Arc::new(move |y| y - x));
        assert_eq!(call(&own, x).to_bits(), 1_f64.to_bits());
        if round % 64 == 0 {
            let handle = new.call(&mut [7.into()]).unwrap().into_handle().unwrap();
            closed_by_one_of_two(&handle.with_destructor(&close).unwrap());
        }
    });
    assert_eq!(
        calls.load(Ordering::Relaxed),
        rounds.load(Ordering::Relaxed)
    );
}

/// Two threads close a handle at once: its destructor runs in one of them.
fn closed_by_one_of_two(handle: &Handle) {
    let start = Barrier::new(2);
    let close = || {
        start.wait();
        handle
            .clone()
            .close()
            .unwrap()
            .map(|result| result.to_i128())
    };
    let (one, other) = thread::scope(|scope| {
        let one = scope.spawn(close);
        (close(), one.join().unwrap())
    });
    assert_eq!(one.or(other), Some(Some(7)));
    assert!(one.is_none() || other.is_none());
    assert!(handle.is_closed());
}

#[test]
fn an_array_is_read_by_many_and_written_by_one() {
    let directory = TempDir::new().unwrap();
    let library = open(&compile(directory.path(), C));
    let saxpy = bind(&library, SAXPY);
    let x = mapcall::array::Array::zeros(DType::F32, &[64], Order::C).unwrap();
    in_threads(|_, _| {
        let mut clone = x.clone();
        let mut y = [1_f32; 64];
        saxpy
            .call(&mut [3.0.into(), (&x).into(), (&mut y[..]).into()])
            .unwrap();
        assert_eq!(y.map(f32::to_bits), [1_f32.to_bits(); 64]);
        // What other threads can see is not written.
        let error = saxpy.call(&mut [3.0.into(), (&y[..]).into(), (&mut clone).into()]);
        assert!(matches!(error, Err(CallError::Argument(_))));
    });
}

/// A defect on purpose, which `tests/memcheck/run.py` must find: its own check.
#[test]
#[ignore = "it reads freed memory"]
fn planted_read_of_freed_memory() {
    let directory = TempDir::new().unwrap();
    let library = open(&compile(directory.path(), C));
    let (new, close, add) = (
        bind(&library, OPEN),
        bind(&library, CLOSE),
        bind(&library, ADD),
    );
    let handle = new.call(&mut [1.into()]).unwrap().into_handle().unwrap();
    // The same pointer once more, under a handle that knows nothing of the other's end.
    // SAFETY: it isn't sound; that is the defect.
    let stale = unsafe { Handle::new(&new, handle.target(), handle.address().unwrap()) };
    handle.with_destructor(&close).unwrap().close().unwrap();
    add.call(&mut [(&stale).into(), 1.into()]).unwrap();
}
