//! A process that was forked after a batch on several threads has none of them, and makes its own.

#![cfg(target_os = "linux")]
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by a panic, and calls C"
)]

use mapcall::{Arg, Function, Library};

fn is_right(cos: &Function, threads: usize) -> bool {
    let x: Vec<f64> = (0..100_000).map(f64::from).collect();
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
    // SAFETY: the child does no more than maps and exits.
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
                std::thread::sleep(std::time::Duration::from_millis(10));
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
