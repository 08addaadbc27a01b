//! What C may keep of closures that have ended, and how much code they need.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by a panic, and calls C"
)]

use std::collections::HashSet;
use std::ffi::c_void;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use mapcall::Prototype;
use mapcall::call::{Body, Closure, ClosurePool, Late, Purpose, Trampoline};

/// A pool for a purpose of its own, and what it has heard of late calls.
fn pool(parameter: &str, prototype: &Prototype) -> (&'static ClosurePool, Arc<[AtomicUsize; 2]>) {
    let heard = Arc::<[AtomicUsize; 2]>::default();
    let purpose = Purpose {
        address: 1,
        function: "closures",
        parameter,
    };
    let types = prototype
        .parameters
        .iter()
        .map(|parameter| &parameter.ctype);
    let pool = ClosurePool::get(purpose, &prototype.returns, types, || -> Late {
        let heard = Arc::clone(&heard);
        Box::new(move |is_first| {
            heard[usize::from(is_first)].fetch_add(1, Ordering::Relaxed);
        })
    });
    (pool.unwrap(), heard)
}

fn add(n: u64) -> Body {
    Box::new(move |layout, frame| {
        frame[layout.result()] = frame[layout.parameter(0)].wrapping_add(n);
    })
}

fn long() -> Prototype {
    Prototype::parse("long f(long x)").unwrap()
}

fn call(prototype: &Prototype, code: *const c_void, x: u64) -> u64 {
    let types = prototype
        .parameters
        .iter()
        .map(|parameter| &parameter.ctype);
    let trampoline = Trampoline::new(&prototype.returns, types).unwrap();
    let mut frame = [x, 7];
    // SAFETY: the code is a closure's of this type, and stays.
    unsafe { trampoline.call(code, frame.as_mut_ptr()) };
    frame[1]
}

#[test]
fn a_closure_that_has_ended_returns_zero_and_is_heard() {
    let f = long();
    let (pool, heard) = pool("ended", &f);
    let closure = pool.closure(add(1)).unwrap();
    let code = closure.address();
    assert_eq!(call(&f, code, 41), 42);
    drop(closure);
    let heard = |which: usize| heard[which].load(Ordering::Relaxed);
    assert_eq!((call(&f, code, 41), heard(1), heard(0)), (0, 1, 0));
    assert_eq!((call(&f, code, 41), heard(1), heard(0)), (0, 1, 1));
}

#[test]
fn every_type_of_result_is_zero() {
    for text in [
        "double f(long x)",
        "long double f(long x)",
        "char *f(long x)",
        "struct { double x[5]; char c; } f(long x)",
        "float _Complex f(long x)",
    ] {
        let f = Prototype::parse(text).unwrap();
        let types = || f.parameters.iter().map(|parameter| &parameter.ctype);
        let ones = |layout: &mapcall::call::FrameLayout, frame: &mut [u64]| {
            frame[layout.result()..].fill(u64::MAX);
        };
        let closure = Closure::new(&f.returns, types(), Box::new(ones)).unwrap();
        let code = closure.address();
        drop(closure);
        let trampoline = Trampoline::new(&f.returns, types()).unwrap();
        let mut frame = [u128::MAX; 8];
        // SAFETY: the code is of this type, and the frame larger than its values.
        unsafe { trampoline.call(code, frame.as_mut_ptr().cast()) };
        let size = f.returns.size().unwrap();
        let bytes: &[u8] = bytemuck::cast_slice(&frame);
        let result = &bytes[8 * trampoline.layout().result()..][..size];
        // Of a `long double` ten bytes are its value, and of a struct not those between members.
        let meant = if text.starts_with("long double") {
            10
        } else {
            size.min(41)
        };
        assert!(
            result[..meant].iter().all(|byte| *byte == 0),
            "{text}: {result:?}"
        );
    }
}

#[test]
fn code_is_used_again_for_the_same_purpose_only() {
    let f = long();
    let ((one, _), (other, _)) = (pool("one", &f), pool("other", &f));
    let codes = |pool: &'static ClosurePool| -> HashSet<usize> {
        let code = |n| pool.closure(add(n)).unwrap().address().addr();
        (0..10_000).map(code).collect()
    };
    let (ones, others) = (codes(one), codes(other));
    assert_eq!(ones.len(), ClosurePool::QUARANTINE + 1);
    assert_eq!(others.len(), ClosurePool::QUARANTINE + 1);
    assert!(ones.is_disjoint(&others));
    // The same purpose with another type is another pool; with the same type it is this one.
    let double = Prototype::parse("double f(long x)").unwrap();
    assert!(ones.is_disjoint(&codes(pool("one", &double).0)));
    assert!(std::ptr::eq(pool("one", &f).0, one));
}

#[test]
fn types_of_one_name_do_not_share_code() {
    let small = Prototype::parse("struct s { int a; }; struct s f(struct s x)").unwrap();
    let large = Prototype::parse("struct s { double a[9]; }; struct s f(struct s x)").unwrap();
    let (one, other) = (pool("struct", &small).0, pool("struct", &large).0);
    assert!(!std::ptr::eq(one, other));
}

#[test]
fn code_that_ended_last_is_used_last() {
    let f = long();
    let (pool, _) = pool("last", &f);
    let mut recent = Vec::new();
    for n in 0..1000 {
        let code = pool.closure(add(n)).unwrap().address().addr();
        assert!(!recent.contains(&code), "{n}");
        recent.push(code);
        if recent.len() > ClosurePool::QUARANTINE {
            recent.remove(0);
        }
    }
}

#[test]
fn code_that_is_still_called_waits_for_another_round() {
    let f = long();
    let (pool, _) = pool("still", &f);
    let address = pool.closure(add(1)).unwrap().address();
    // As often as each code could have been used twice.
    for n in 0..2 * ClosurePool::QUARANTINE as u64 {
        call(&f, address, 0);
        let closure = pool.closure(add(n)).unwrap();
        assert_ne!(closure.address(), address, "{n}");
    }
}

#[test]
fn a_closure_ends_while_it_runs() {
    let f = long();
    let (pool, heard) = pool("running", &f);
    let (body, start, end) = (Arc::new(()), Barrier::new(2), Barrier::new(2));
    let (start, end) = (Arc::new(start), Arc::new(end));
    let held = Arc::downgrade(&body);
    let closure = {
        let (start, end) = (Arc::clone(&start), Arc::clone(&end));
        pool.closure(Box::new(move |layout, frame| {
            start.wait();
            end.wait();
            assert_eq!(Arc::strong_count(&body), 1);
            frame[layout.result()] = 5;
        }))
        .unwrap()
    };
    let code = closure.address().expose_provenance();
    thread::scope(|scope| {
        let running = scope.spawn(|| call(&long(), std::ptr::with_exposed_provenance(code), 0));
        start.wait();
        drop(closure);
        assert!(held.upgrade().is_some(), "it is still running");
        // It has ended for calls that begin now.
        assert_eq!(call(&f, std::ptr::with_exposed_provenance(code), 0), 0);
        end.wait();
        assert_eq!(running.join().unwrap(), 5);
    });
    assert!(held.upgrade().is_none());
    assert_eq!(heard[1].load(Ordering::Relaxed), 1);
}

#[test]
fn a_body_that_panics_when_it_is_dropped() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            panic::resume_unwind(Box::new("this one is meant"));
        }
    }
    let (pool, panics) = (pool("panics", &long()).0, Panics);
    let closure = pool.closure(Box::new(move |_, _| {
        let _ = &panics;
    }));
    drop(closure.unwrap());
}

#[test]
fn threads_make_call_and_end_closures_at_once() {
    let f = long();
    let (pool, _) = pool("threads", &f);
    let codes = thread::scope(|scope| {
        let threads: Vec<_> = (0..8_u64)
            .map(|thread| {
                scope.spawn(move || {
                    let f = long();
                    let mut codes = HashSet::new();
                    for n in 0..2000 {
                        let own = [thread, thread + 100, thread + 200];
                        let closures = own.map(|own| pool.closure(add(own + 1000 * n)).unwrap());
                        for (own, closure) in own.iter().zip(&closures) {
                            assert_eq!(call(&f, closure.address(), 5), own + 1000 * n + 5);
                            codes.insert(closure.address().addr());
                        }
                    }
                    codes
                })
            })
            .collect();
        let codes = threads.into_iter().map(|thread| thread.join().unwrap());
        codes.reduce(|all, some| &all | &some).unwrap()
    });
    // Those alive at once, those in quarantine, and a few where threads looked at the same time.
    let max_codes = 8 * 3 + ClosurePool::QUARANTINE + 64;
    assert!(codes.len() <= max_codes, "{}", codes.len());
}

/// More than the library's own code has room for.
#[test]
fn ten_thousand_live_closures_keep_no_descriptor() {
    let descriptors = || -> HashSet<_> {
        let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
        let targets = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        targets
            .filter(|target| !target.starts_with("/proc"))
            .collect()
    };
    let before = descriptors();
    let f = long();
    let (pool, _) = pool("many", &f);
    let closures: Vec<_> = (0..10_000).map(|n| pool.closure(add(n)).unwrap()).collect();
    let codes: HashSet<_> = closures.iter().map(|c| c.address().addr()).collect();
    assert_eq!(codes.len(), closures.len());
    for (n, closure) in (0..).zip(&closures) {
        assert_eq!(call(&f, closure.address(), 1), n + 1);
    }
    let text = |target: &std::path::PathBuf| {
        let target = target.to_string_lossy();
        target.ends_with(".so") || target.contains("closures") || target.contains("deleted")
    };
    let new_files: Vec<_> = descriptors().difference(&before).cloned().collect();
    assert!(!new_files.iter().any(text), "{new_files:?}");
}
