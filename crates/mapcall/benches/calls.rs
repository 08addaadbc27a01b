//! What one call costs: through a function pointer of Rust, through compiled code, through libffi; and
//! one of a batch.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    unsafe_code,
    reason = "a program that prints figures, and calls C"
)]

use std::ffi::{c_float, c_int, c_void};
use std::hint::black_box;
use std::mem;
use std::time::Instant;

use mapcall::call::{Closure, Engine, Trampoline};
use mapcall::{Arg, Library, Prototype};

extern "C" fn one() -> c_int {
    black_box(1)
}

extern "C" fn saxpy(n: usize, a: c_float, x: *const c_float, y: *mut c_float) {
    black_box((n, a, x, y));
}

type Saxpy = extern "C" fn(usize, c_float, *const c_float, *mut c_float);

fn main() {
    println!("{:34}{:>10}", "", "ns a call");
    let text = "int one(void)";
    let function = black_box(one as *const c_void);
    // SAFETY: it is the function above.
    let direct: extern "C" fn() -> c_int = unsafe { mem::transmute(function) };
    report(text, "function pointer", || {
        black_box(black_box(direct)());
    });
    calls(text, function, &mut [0]);

    let text = "void saxpy(size_t n, float a, const float *x, float *y)";
    let function = black_box(saxpy as *const c_void);
    // SAFETY: it is the function above.
    let direct: Saxpy = unsafe { mem::transmute(function) };
    let mut y = [0.0_f32; 16];
    let y = y.as_mut_ptr();
    report(text, "function pointer", || {
        black_box(direct)(16, black_box(2.0), y.cast_const(), y);
    });
    let address = y.expose_provenance() as u64;
    let frame = &mut [16, u64::from(2.0_f32.to_bits()), address, address];
    calls(text, function, frame);

    let f = Prototype::parse("int one(void)").unwrap();
    let body = Box::new(|_: &_, frame: &mut [u64]| frame.fill(1));
    let closure = Closure::new(&f.returns, [], body).unwrap();
    // SAFETY: the closure is of this type and lives.
    let direct: extern "C" fn() -> c_int = unsafe { mem::transmute(closure.address()) };
    report("int one(void)", "a closure, called by C", || {
        black_box(black_box(direct)());
    });

    batch();
    first_call();
}

/// A loop of Rust through a function pointer, and a batch.
fn batch() {
    const ITEMS: u32 = 100_000;
    // SAFETY: the C library's own initialisers may run at any time.
    let libm = unsafe { Library::open("m") }.unwrap();
    // SAFETY: this is its prototype.
    let fabs = unsafe { libm.function("double fabs(double x)") }.unwrap();
    // SAFETY: as above.
    let direct: extern "C" fn(f64) -> f64 = unsafe { mem::transmute(fabs.address()) };
    let x: Vec<f64> = (0..ITEMS).map(|item| -f64::from(item)).collect();
    let mut y = vec![0.0; x.len()];
    timed("fabs: a loop of Rust", ITEMS, || {
        let direct = black_box(direct);
        for (x, y) in x.iter().zip(&mut y) {
            *y = direct(*x);
        }
    });
    timed("fabs: a batch", ITEMS, || {
        fabs.map(&[Arg::from(&x)], &mut [Arg::from(&mut y)])
            .run()
            .unwrap();
    });
}

/// Calls through both engines.
fn calls(text: &str, function: *const c_void, frame: &mut [u64]) {
    let prototype = Prototype::parse(text).unwrap();
    for engine in [Engine::Cranelift, Engine::Libffi] {
        let types = prototype
            .parameters
            .iter()
            .map(|parameter| &parameter.ctype);
        let Ok(trampoline) = Trampoline::with_engine(&prototype.returns, types, engine) else {
            println!("{engine:?} is not available here");
            continue;
        };
        report(text, &format!("{engine:?}"), || {
            // SAFETY: the function is of this type, and the frame is filled.
            unsafe { trampoline.call(function, black_box(&mut *frame).as_mut_ptr()) };
        });
    }
}

fn report(text: &str, how: &str, mut call: impl FnMut()) {
    const CALLS: u32 = 1_000_000;
    let name = text.split('(').next().unwrap_or(text);
    timed(&format!("{name}: {how}"), CALLS, || {
        for _ in 0..CALLS {
            call();
        }
    });
}

/// What each of so many calls takes: the median of a few runs.
fn timed(name: &str, calls: u32, mut run: impl FnMut()) {
    let mut times: Vec<f64> = (0..15)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("{name:34}{median:>10.2}");
}

/// What the first call of a signature costs, and a trampoline by itself.
fn first_call() {
    let (mut made, mut prepared) = (Vec::new(), Vec::new());
    for i in 0..64_u32 {
        // The bits of `i` choose the types, so that no two are alike.
        let parameter = |at: u32| if i >> at & 1 == 0 { "long" } else { "double" };
        let list: Vec<_> = (0..6).map(parameter).collect();
        let prototype = Prototype::parse(&format!("void f({})", list.join(", "))).unwrap();
        let types = prototype
            .parameters
            .iter()
            .map(|parameter| &parameter.ctype);
        let start = Instant::now();
        let trampoline = Trampoline::new(&prototype.returns, types).unwrap();
        made.push(start.elapsed());
        let start = Instant::now();
        black_box(trampoline.engine());
        prepared.push(start.elapsed());
    }
    made.sort_unstable();
    prepared.sort_unstable();
    let median = |times: &[_]| times.get(times.len() / 2).copied().unwrap_or_default();
    println!("{:34}{:>10.1?}", "make a trampoline", median(&made));
    println!("{:34}{:>10.1?}", "compile one", median(&prepared));
}
