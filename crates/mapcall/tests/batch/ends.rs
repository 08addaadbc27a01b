//! How a batch ends before its time, and what is told meanwhile.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use mapcall::{Arg, CallError, Success};

use crate::fixture::{Bytes, Fixture};
use mapcall::array::DType;

const STATUS: &str = "int status(int code)";

#[test]
fn the_first_failure_ends_it() {
    let fixture = Fixture::new();
    let mut codes = vec![0_i32; 1000];
    for &at in &[437, 438, 900] {
        codes[at] = i32::try_from(at).unwrap();
    }
    for status in fixture.engines(STATUS) {
        let status = status.check(Success::Zero).unwrap();
        for threads in [1, 2, 5] {
            for _ in 0..20 {
                let before = fixture.calls();
                let inputs = [Arg::from(&codes)];
                let error = status
                    .map(&inputs, &mut [])
                    .threads(threads)
                    .run()
                    .unwrap_err();
                assert_eq!(
                    error.to_string(),
                    "status, at index [437]: expected status 0, got 437; \
                     see the library's documentation"
                );
                let CallError::Status {
                    index,
                    code,
                    success,
                    ..
                } = error
                else {
                    panic!()
                };
                assert_eq!(
                    (index, code, success),
                    (Some(vec![437]), 437, Success::Zero)
                );
                if threads == 1 {
                    assert_eq!(fixture.calls(), before + 438);
                }
            }
        }
    }
}

#[test]
fn a_failure_has_an_index_for_each_axis() {
    let fixture = Fixture::new();
    // Two axes that lie in memory the other way round, and a third.
    let mut codes = [0_i32; 24];
    codes[2 * 12 / 2 + 3 * 2 + 1] = 9;
    let mut memory = Bytes::of(&codes);
    // The indices (i, j, k) lie at 4 * (6 * j + 2 * i + k).
    let array = memory.array(DType::I32, 0, &[3, 4, 2], &[8, 24, 4]);
    let found: Vec<Vec<usize>> = fixture
        .engines(STATUS)
        .into_iter()
        .map(|status| {
            let status = status.check(Success::Zero).unwrap();
            match status.map(&[(&array).into()], &mut []).run() {
                Err(CallError::Status { index, code: 9, .. }) => index.unwrap(),
                other => panic!("{other:?}"),
            }
        })
        .collect();
    // 19 = 6 * 3 + 2 * 0 + 1.
    assert!(found.iter().all(|index| *index == [0, 3, 1]), "{found:?}");
    // A batch of one call, without an axis.
    let status = fixture.bind(STATUS).check(Success::Nonzero).unwrap();
    let error = status.map(&[0.into()], &mut [Arg::Out]).run().unwrap_err();
    assert_eq!(
        error.to_string(),
        "status, at index []: expected a status other than 0, got 0; \
         see the library's documentation"
    );
}

#[test]
fn errno_ends_it() {
    let fixture = Fixture::new();
    let x: Vec<f64> = (0..100).map(|x| if x == 61 { -1.0 } else { 1.0 }).collect();
    for fails in fixture.engines("double fails(double x)") {
        let fails = fails.check(Success::NoErrno).unwrap();
        for threads in [1, 2, 5] {
            let mut out = vec![7.0; 100];
            let inputs = [Arg::from(&x)];
            let mut outputs = [Arg::from(&mut out)];
            let error = fails
                .map(&inputs, &mut outputs)
                .threads(threads)
                .run()
                .unwrap_err();
            let CallError::Status { index, code, .. } = error else {
                panic!()
            };
            assert_eq!((index, code), (Some(vec![61]), libc::EDOM.into()));
            assert_eq!((out[60], out[61]), (1.0, 7.0));
        }
        // Calls that are left out don't count, nor what was there before.
        // SAFETY: this thread's own.
        unsafe { *libc::__errno_location() = libc::EBADF };
        let mask: Vec<bool> = x.iter().map(|&x| x > 0.0).collect();
        let inputs = [Arg::from(&x)];
        let before = fixture.calls();
        let mask = Bytes::of(
            &mask
                .iter()
                .map(|&asked| u8::from(asked))
                .collect::<Vec<_>>(),
        );
        let mask = mask.bytes()[..100].to_vec();
        let mask = Arg::from(&mask);
        let mut outputs = [Arg::Out];
        fails.map(&inputs, &mut outputs).only(&mask).run().unwrap();
        assert_eq!(fixture.calls(), before + 99);
    }
}

#[test]
fn progress_is_told_and_may_end_it() {
    let fixture = Fixture::new();
    let slow = fixture.bind("int slow(int x)");
    let x: Vec<i32> = (0..200).collect();
    for threads in [1, 2] {
        let mut told = Vec::new();
        let mut outputs = [Arg::Out];
        let inputs = [Arg::from(&x)];
        slow.map(&inputs, &mut outputs)
            .threads(threads)
            .progress(|done, calls| {
                told.push((done, calls));
                ControlFlow::Continue(())
            })
            .run()
            .unwrap();
        assert!(!told.is_empty());
        assert!(
            told.is_sorted()
                && told
                    .iter()
                    .all(|&(done, calls)| done <= 200 && calls == 200)
        );
        let [out] = outputs.map(|output| output.into_array().unwrap());
        assert_eq!(out.view::<i32>().unwrap().as_slice().unwrap(), x);

        let before = fixture.calls();
        let mut outputs = [Arg::Out];
        let error = slow
            .map(&inputs, &mut outputs)
            .threads(threads)
            .progress(|_, _| ControlFlow::Break(()))
            .run()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "slow: interrupted, so that outputs may be written in part; start again"
        );
        assert!(matches!(error, CallError::Interrupted { .. }));
        assert!(matches!(outputs, [Arg::Out]), "nothing is left of it");
        assert!(fixture.calls() < before + 200);
    }
}

#[test]
fn a_panic_of_who_is_told_ends_it() {
    let fixture = Fixture::new();
    let slow = fixture.bind("int slow(int x)");
    let x: Vec<i32> = (0..1000).collect();
    for threads in [1, 2, 5] {
        let before = fixture.calls();
        let mut out = vec![-1_i32; 1000];
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let inputs = [Arg::from(&x)];
            let mut outputs = [Arg::from(&mut out)];
            let batch = slow.map(&inputs, &mut outputs).threads(threads);
            batch
                .progress(|_, _| std::panic::resume_unwind(Box::new("this one is meant")))
                .run()
        }));
        assert_eq!(
            panicked.unwrap_err().downcast_ref(),
            Some(&"this one is meant")
        );
        assert!(fixture.calls() < before + 1000, "the others went on");
        // The threads are there for the next.
        let inputs = [Arg::from(&x[..20])];
        let mut outputs = [Arg::Out];
        let batch = slow.map(&inputs, &mut outputs).threads(threads);
        batch.run().unwrap();
    }
}

#[test]
fn an_empty_batch_calls_nothing() {
    let fixture = Fixture::new();
    let empty = ndarray::Array2::<i32>::zeros((3, 0));
    for status in fixture.engines(STATUS) {
        for threads in [0, 1, 2] {
            let mut outputs = [Arg::Out];
            let inputs = [Arg::from(&empty)];
            status
                .map(&inputs, &mut outputs)
                .threads(threads)
                .run()
                .unwrap();
            let [out] = outputs.map(|output| output.into_array().unwrap());
            assert_eq!(out.shape(), [3, 0]);
            // All of them left out.
            let (x, mask) = ([5, 6], [0_u8, 0]);
            let mut outputs = [Arg::Out];
            let (inputs, mask) = ([Arg::from(&x)], Arg::from(&mask));
            let batch = status.map(&inputs, &mut outputs).threads(threads);
            batch.only(&mask).run().unwrap();
            let [out] = outputs.map(|output| output.into_array().unwrap());
            assert_eq!(out.view::<i32>().unwrap().as_slice(), Some(&[0, 0][..]));
        }
    }
    assert_eq!(fixture.calls(), 0);
}

#[test]
fn any_number_of_threads() {
    let fixture = Fixture::new();
    let half = fixture.bind("double half(double x)");
    let x: Vec<f64> = (0..5000).map(f64::from).collect();
    for threads in [0, 3, usize::MAX / 2 + 1, usize::MAX] {
        let mut out = vec![0.0; 5000];
        half.map(&[Arg::from(&x)], &mut [Arg::from(&mut out)])
            .threads(threads)
            .run()
            .unwrap();
        assert!(out.iter().zip(&x).all(|(out, x)| *out == x / 2.0));
    }
}

#[test]
fn threads_map_the_same_function_at_once() {
    let fixture = Fixture::new();
    let axpy = fixture.bind("void axpy(size_t n, float a, const float x[n], float y[n])");
    thread::scope(|scope| {
        for thread in 0..8_u16 {
            let axpy = axpy.clone();
            scope.spawn(move || {
                for round in 0..50_u16 {
                    let x = ndarray::Array2::from_elem((100, 3), f32::from(thread));
                    let mut y = ndarray::Array2::from_elem((100, 3), f32::from(round));
                    let inputs = [Arg::from(2.0), Arg::from(&x)];
                    let batch = &mut [Arg::from(&mut y)];
                    axpy.map(&inputs, batch)
                        .threads(usize::from(round % 4))
                        .run()
                        .unwrap();
                    let expected = f32::from(round) + 2.0 * f32::from(thread);
                    assert!(y.iter().all(|&y| y == expected));
                }
            });
        }
    });
    assert_eq!(fixture.calls(), 8 * 50 * 100);
}
