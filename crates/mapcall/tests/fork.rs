//! Forks: a child has the one thread that forked, and no lock that another held is held in it.

#![cfg(target_os = "linux")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by a panic, and calls C"
)]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use mapcall::{Arg, Declarations, Function, Library};

fn is_right(cos: &Function, threads: usize) -> bool {
    let x: Vec<f64> = (0..10_000).map(f64::from).collect();
    let mut y = vec![0_f64; x.len()];
    let inputs = [Arg::from(&x)];
    let ran = cos
        .map(&inputs, &mut [Arg::from(&mut y)])
        .threads(threads)
        .run();
    let expected = x.iter().map(|x| x.cos().to_bits());
    ran.is_ok() && y.iter().map(|y| y.to_bits()).eq(expected)
}

/// What a child exits with that does this; `None` if it takes more than a minute.
fn in_child(act: impl FnOnce() -> bool) -> Option<i32> {
    // SAFETY: the child does what `act` does, and exits.
    match unsafe { libc::fork() } {
        0 => {
            let status = i32::from(!act());
            // SAFETY: it ends, and nothing of the test's harness runs.
            unsafe { libc::_exit(status) }
        }
        child => {
            assert!(child > 0, "{}", std::io::Error::last_os_error());
            for _ in 0..6000 {
                let mut status = 0;
                // SAFETY: a child of this process.
                let ended = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
                if ended == child {
                    return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
                }
                thread::sleep(std::time::Duration::from_millis(10));
            }
            // SAFETY: a child of this process.
            unsafe { libc::kill(child, libc::SIGKILL) };
            None
        }
    }
}

#[test]
fn a_child_maps_on_threads_of_its_own() {
    // SAFETY: the C library's own initialisers may run at any time.
    let libm = unsafe { Library::open("m") }.unwrap();
    // SAFETY: this is the prototype of `cos`.
    let cos = unsafe { libm.function("double cos(double x)") }.unwrap();
    // Before the parent has any.
    assert_eq!(in_child(|| is_right(&cos, 2)), Some(0));
    assert!(is_right(&cos, 2));
    assert_eq!(in_child(|| is_right(&cos, 2)), Some(0));
    assert_eq!(in_child(|| is_right(&cos, 4)), Some(0));
    let grandchild = || in_child(|| is_right(&cos, 2)) == Some(0) && is_right(&cos, 2);
    assert_eq!(in_child(|| is_right(&cos, 2) && grandchild()), Some(0));
    assert!(is_right(&cos, 2), "the parent's are still there");
}

/// A function whose C type no other number has: bound, compiled and called.
fn call_new(process: &Library, number: usize) -> bool {
    let types = (0..12).map(|bit| {
        if number >> bit & 1 == 0 {
            "long"
        } else {
            "double"
        }
    });
    let parameters = types.clone().enumerate();
    let list: Vec<_> = parameters
        .map(|(at, ctype)| format!("{ctype} a{at}"))
        .collect();
    let text = format!("int getpid({})", list.join(", "));
    // SAFETY: the C library's `getpid` ignores what it is given.
    let getpid = unsafe { process.function(&text) }.unwrap();
    let argument = |ctype| {
        if ctype == "long" {
            Arg::from(1)
        } else {
            Arg::from(1.0)
        }
    };
    let mut arguments: Vec<_> = types.map(argument).collect();
    let pid = getpid.call(&mut arguments).unwrap().to_i128();
    pid == Some(std::process::id().into())
}

fn load() -> bool {
    // SAFETY: the C library's own initialisers may run at any time.
    let libm = unsafe { Library::open("m") }.unwrap();
    // SAFETY: its resolvers, too.
    unsafe { libm.symbol("cos") }.is_ok()
}

/// What holds locks, again and again.
type Work<'a> = Box<dyn Fn() + Send + Sync + 'a>;

#[test]
fn no_lock_is_held_when_a_process_forks() {
    let process = Library::process().unwrap();
    let next = AtomicUsize::new(0);
    let new = || call_new(&process, next.fetch_add(1, Ordering::Relaxed));
    // SAFETY: the C library's own initialisers may run at any time.
    let libm = unsafe { Library::open("m") }.unwrap();
    // SAFETY: this is the prototype of `cos`.
    let cos = unsafe { libm.function("double cos(double x)") }.unwrap();
    let calls_back = Declarations::parse("int f(int a);");
    let calls_back = calls_back.functions()[0].prototype.clone().unwrap();
    let close = || {
        let types = calls_back
            .parameters
            .iter()
            .map(|parameter| &parameter.ctype);
        let body = Box::new(|_: &mapcall::call::FrameLayout, _: &mut [u64]| {});
        mapcall::call::Closure::new(&calls_back.returns, types, body).is_ok()
    };
    #[cfg(feature = "headers")]
    let header = || mapcall::Header::new("stddef.h").read().is_ok();
    #[cfg(not(feature = "headers"))]
    let header = || true;
    let works: [Work<'_>; 5] = [
        Box::new(|| assert!(new())),
        Box::new(|| assert!(load())),
        Box::new(|| assert!(close())),
        Box::new(|| assert!(is_right(&cos, 2))),
        Box::new(|| assert!(header())),
    ];
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for work in &works {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    work();
                }
            });
        }
        let statuses: Vec<_> = (0..150)
            .map(|_| {
                thread::sleep(std::time::Duration::from_micros(300));
                in_child(|| new() && load() && close() && is_right(&cos, 2))
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(
            statuses.iter().all(|status| *status == Some(0)),
            "{statuses:?}"
        );
    });
    assert_eq!(in_child(header), Some(0));
}
