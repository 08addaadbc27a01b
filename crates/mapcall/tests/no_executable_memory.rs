//! Calls and closures where the system refuses executable memory, in a process of their own.

#![cfg(all(target_os = "linux", target_endian = "little"))]
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::multiple_unsafe_ops_per_block,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    dead_code,
    unsafe_code,
    reason = "a test fails by a panic, and calls C"
)]

mod c_calls;

use std::io;
use std::ptr;

use mapcall::Prototype;
use mapcall::call::{Closure, Engine};

use c_calls::{Case, Functions, Numbers, trampoline};

/// No page of this process becomes executable any more.
fn refuse_executable_memory() -> io::Result<()> {
    let (flag, unused) = (libc::PR_MDWE_REFUSE_EXEC_GAIN, 0_u64);
    // SAFETY: the call takes numbers only, and changes what is allowed from here on.
    let status = unsafe { libc::prctl(libc::PR_SET_MDWE, u64::from(flag), unused, unused, unused) };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Whether a page that was written can be made executable.
fn can_write_code() -> bool {
    let (read_write, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a fresh mapping, where the system likes.
    let page = unsafe { libc::mmap(ptr::null_mut(), 4096, read_write, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    // SAFETY: the page is this function's own.
    let status = unsafe { libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC) };
    // SAFETY: as above, and nothing points to it.
    unsafe { libc::munmap(page, 4096) };
    status == 0
}

#[test]
fn calls_and_closures_go_through_libffi() {
    let early = Functions::compile("double early(double x, int n);");
    let functions = Functions::compile(
        "struct pair { double x; int n; };
        double early(double x, int n);
        int scale(int n, double a, const double *x, float y, long m, _Bool b);
        struct pair turn(struct pair p, signed char c, double _Complex z);
        long double many(char a, short b, int c, long d, long e, long f, long g, char h,
            float i, double j, float k, double l, float m, double n, float o, double p, float q);",
    );
    let mut numbers = Numbers(3);
    let prototype = &early.prototypes[0];
    let compiled = trampoline(prototype).unwrap();
    let before = compiled.engine();
    if cfg!(has_jit) && can_write_code() {
        assert_eq!(before, Engine::Cranelift);
    }

    if let Err(error) = refuse_executable_memory() {
        println!("skipped: this kernel has no PR_SET_MDWE (it came with Linux 6.3): {error}");
        return;
    }
    assert!(!can_write_code());

    for prototype in &functions.prototypes {
        // What is compiled already stays so.
        let expected = if prototype.name == "early" {
            before
        } else {
            Engine::Libffi
        };
        let trampoline = trampoline(prototype).unwrap();
        for _ in 0..20 {
            let case = Case::new(prototype, &mut numbers);
            case.call(&functions, prototype, &trampoline);
            case.call_back(&functions, prototype);
        }
        assert_eq!(trampoline.engine(), expected, "{prototype}");
    }
    Case::new(prototype, &mut numbers).call(&early, prototype, &compiled);
    assert_eq!(compiled.engine(), before);
    closures_beyond_the_library_s_own_code();
}

/// Their code is mapped once more, from this program's own pages.
fn closures_beyond_the_library_s_own_code() {
    let f = Prototype::parse("long f(long x)").unwrap();
    let types = || f.parameters.iter().map(|parameter| &parameter.ctype);
    let closure = |n: u64| {
        let body = move |_: &_, frame: &mut [u64]| frame[1] = frame[0] + n;
        Closure::new(&f.returns, types(), Box::new(body)).unwrap()
    };
    let closures: Vec<_> = (0..10_000).map(closure).collect();
    let trampoline = trampoline(&f).unwrap();
    for (n, closure) in (0..).zip(&closures) {
        let mut frame = [1, 0];
        // SAFETY: the closure is of this type, and lives.
        unsafe { trampoline.call(closure.address(), frame.as_mut_ptr()) };
        assert_eq!(frame[1], n + 1);
    }
}
