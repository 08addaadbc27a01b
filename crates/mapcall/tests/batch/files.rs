//! Outputs that go to new files, and maps that are let go behind the calls.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use mapcall::array::layout::Order;
use mapcall::array::{Array, DType, MapOptions, Mode, create};
use mapcall::batch::Stream;
use mapcall::{Arg, CallError};

use crate::fixture::Fixture;

const STREAMS: [Stream; 3] = [Stream::Auto, Stream::Always, Stream::Never];

fn open(path: &Path) -> Array {
    // SAFETY: the tests' files are their own, and nothing shortens one while it is mapped.
    unsafe { MapOptions::new().mode(Mode::Read).open(path) }.unwrap()
}

/// A map of 20 MiB.
fn numbers(folder: &Path, numbers: &[f64]) -> Array {
    let path = folder.join("x.npy");
    // SAFETY: as above.
    let mut made = unsafe { create(&path, DType::F64, &[numbers.len()], Order::C) }.unwrap();
    let mut view = made.view_mut::<f64>().unwrap();
    view.as_slice_mut().unwrap().copy_from_slice(numbers);
    open(&path)
}

#[test]
fn hold_what_arrays_would() {
    let (fixture, folder) = (Fixture::new(), tempfile::tempdir().unwrap());
    let values: Vec<f64> = (0..5 << 19).map(f64::from).collect();
    let x = numbers(folder.path(), &values);
    let path = folder.path().join("y.npy");
    let half = fixture.bind("double half(double x)");
    let inputs = [Arg::from(&x)];
    let mut expected = vec![0.0; values.len()];
    half.map(&inputs, &mut [Arg::from(&mut expected)])
        .run()
        .unwrap();
    for (threads, stream) in [1, 3].into_iter().flat_map(|n| STREAMS.map(|s| (n, s))) {
        let mut outputs = [Arg::from(path.as_path())];
        let batch = half.map(&inputs, &mut outputs).threads(threads);
        batch.stream(stream).run().unwrap();
        let found = open(&path);
        let view = found.view::<f64>().unwrap();
        let bytes: &[u8] = bytemuck::cast_slice(view.as_slice().unwrap());
        assert!(
            bytes == bytemuck::cast_slice::<_, u8>(&expected),
            "{threads} {stream:?}"
        );
    }
}

#[test]
fn hold_zeros_where_no_call_is_made() {
    let (fixture, folder) = (Fixture::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("y.npy");
    let x: Vec<f64> = (0..1000).map(f64::from).collect();
    let is_asked_for = |at: usize| at.is_multiple_of(3);
    let mask: Vec<u8> = (0..1000).map(|at| u8::from(is_asked_for(at))).collect();
    for half in fixture.engines("double half(double x)") {
        let mut outputs = [Arg::from(path.as_path())];
        half.map(&[Arg::from(&x)], &mut outputs)
            .only(&Arg::from(&mask))
            .sync()
            .run()
            .unwrap();
        let found = open(&path);
        let view = found.view::<f64>().unwrap();
        let expected = |at: usize| {
            if is_asked_for(at) {
                at as f64 / 2.0
            } else {
                0.0
            }
        };
        assert!(
            view.iter()
                .enumerate()
                .all(|(at, &half)| half == expected(at))
        );
    }
}

#[test]
fn two_outputs_of_one_file_are_refused() {
    let (fixture, folder) = (Fixture::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("y.npy");
    fs::write(&path, "before").unwrap();
    let both = "void both(int n, const double x[n], double low[1], double high[1])";
    let other = folder.path().join(".").join("y.npy");
    let x = [1.0, 2.0, 3.0];
    for (low, high) in [(&path, &path), (&path, &other)] {
        fixture.refuse(
            both,
            &[Arg::from(&x)],
            &mut [Arg::from(low.as_path()), Arg::from(high.as_path())],
            &format!(
                "both: high: expected float64[1] in a file of its own, got {}, where low goes",
                high.display()
            ),
        );
    }
    assert_eq!(fs::read(&path).unwrap(), b"before");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_end_before_the_time_leaves_nothing() {
    let (fixture, folder) = (Fixture::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("y.npy");
    fs::write(&path, "before").unwrap();
    let codes: Vec<i32> = (0..5000).map(|at| i32::from(at != 4000)).collect();
    for status in fixture.engines("int status(int code)") {
        let status = status.check(mapcall::Success::Nonzero).unwrap();
        let inputs = [Arg::from(&codes)];
        let mut outputs = [Arg::from(path.as_path())];
        let error = status.map(&inputs, &mut outputs).run().unwrap_err();
        assert!(matches!(error, CallError::Status { .. }), "{error:?}");
    }
    let half = fixture.bind("double half(double x)");
    let x = vec![1.0; 1 << 24];
    let error = half
        .map(&[Arg::from(&x)], &mut [Arg::from(path.as_path())])
        .progress(|_, _| ControlFlow::Break(()))
        .sync()
        .run();
    // It may be over before anybody is asked.
    assert!(matches!(error, Ok(()) | Err(CallError::Interrupted { .. })));
    if error.is_err() {
        assert_eq!(fs::read(&path).unwrap(), b"before");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
