//! Maps of one file are the same memory, at whatever addresses.

use std::fs;
use std::path::Path;

use mapcall::array::layout::{Order, index};
use mapcall::array::{Array, DType, MapOptions, Mode};
use mapcall::{Arg, CallError};
use tempfile::TempDir;

use crate::fixture::{bind, engines};

const SAXPY: &str = "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])";

fn map(path: &Path, mode: Mode) -> Array {
    let options = MapOptions::new().dtype(DType::F32).mode(mode);
    // SAFETY: nothing but the calls reads and writes the maps.
    unsafe { options.map(path) }.unwrap()
}

/// A file of the numbers from 1 to 16, and another name of it.
fn files() -> (TempDir, [std::path::PathBuf; 2]) {
    let folder = TempDir::new().unwrap();
    let names = ["one", "link"].map(|name| folder.path().join(name));
    let numbers: Vec<f32> = (1_u8..=16).map(f32::from).collect();
    fs::write(&names[0], bytemuck::cast_slice(&numbers)).unwrap();
    fs::hard_link(&names[0], &names[1]).unwrap();
    (folder, names)
}

#[test]
fn restrict_arrays_share_no_byte_of_a_file() {
    let (_folder, [one, link]) = files();
    for saxpy in engines(SAXPY) {
        for (x_mode, y_mode, may_clash) in [
            (Mode::ReadWrite, Mode::ReadWrite, true),
            (Mode::Read, Mode::ReadWrite, true),
            (Mode::CopyOnWrite, Mode::ReadWrite, true),
            // What is written there is no other's.
            (Mode::ReadWrite, Mode::CopyOnWrite, false),
            (Mode::CopyOnWrite, Mode::CopyOnWrite, false),
        ] {
            for (x_start, y_start) in [(0, 0), (0, 3), (3, 0), (0, 4), (4, 0), (12, 3)] {
                let part = |path, mode, start: isize| {
                    map(path, mode).slice(&index![start..start + 4]).unwrap()
                };
                let (x, mut y) = (part(&one, x_mode, x_start), part(&link, y_mode, y_start));
                let expected: Vec<f32> = (0..4)
                    .map(|i| {
                        let [x, y] = [&x, &y].map(|array| array.view::<f32>().unwrap()[[i]]);
                        2.0 * x + y
                    })
                    .collect();
                let result = saxpy.call(&mut [2.0.into(), Arg::from(&x), Arg::from(&mut y)]);
                if may_clash && x_start.abs_diff(y_start) < 4 {
                    let error = result.unwrap_err();
                    assert!(matches!(error, CallError::Argument(_)), "{error:?}");
                    assert!(error.to_string().contains("memory that it shares with y"));
                } else {
                    result.unwrap();
                    let y = y.view::<f32>().unwrap();
                    assert_eq!(y.as_slice(), Some(&expected[..]), "{x_mode}, {y_mode}");
                }
            }
        }
    }
}

#[test]
fn a_batch_writes_what_no_other_call_reads() {
    let (_folder, [one, link]) = files();
    let half = bind("float half_of(float x)");
    for threads in [1, 2] {
        let (x, mut y) = (map(&one, Mode::Read), map(&link, Mode::ReadWrite));
        let run = |x: &Array, y: &mut Array| {
            half.map(&[Arg::from(x)], &mut [Arg::from(y)])
                .threads(threads)
                .run()
        };
        let before = fs::read(&one).unwrap();
        for (x_part, y_part) in [(0_isize, 1_isize), (1, 0), (0, 3)] {
            let x = x.slice(&index![x_part..x_part + 8]).unwrap();
            let mut y = map(&link, Mode::ReadWrite)
                .slice(&index![y_part..y_part + 8])
                .unwrap();
            let error = run(&x, &mut y).unwrap_err().to_string();
            assert_eq!(
                error,
                "half_of: out: expected float32 in memory of its own, or item by item in that of x, \
                 got memory that it shares with x; pass a copy of x"
            );
        }
        assert_eq!(fs::read(&one).unwrap(), before);
        // As in one map, item by item is right.
        let expected: Vec<f32> = x.view::<f32>().unwrap().iter().map(|x| x / 2.0).collect();
        run(&x, &mut y).unwrap();
        assert_eq!(y.view::<f32>().unwrap().as_slice(), Some(&expected[..]));
    }
}

/// One of two outputs would be lost.
#[test]
fn outputs_go_to_different_files() {
    let (folder, [one, _]) = files();
    let name = folder.path().join("x.npy");
    // SAFETY: nothing but the calls writes the map.
    let mut y = unsafe { mapcall::array::create(&name, DType::F32, &[4], Order::C) }.unwrap();
    let link = folder.path().join("link.npy");
    fs::hard_link(&name, &link).unwrap();
    let before = fs::read(&name).unwrap();
    let x = map(&one, Mode::Read).slice(&index![..4]).unwrap();
    let status = bind("int saxpy_status(size_t n, float a, const float x[n], float y[n])");
    for path in [&name, &link] {
        let mut outputs = [Arg::from(path.as_path()), Arg::from(&mut y)];
        let error = status
            .map(&[2.0.into(), Arg::from(&x)], &mut outputs)
            .run()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "saxpy_status: out: expected int32 in a file of its own, got {}, where y goes; give it another name",
                path.display()
            )
        );
        assert_eq!(fs::read(&name).unwrap(), before);
    }
    let new = folder.path().join("new.npy");
    let mut outputs = [Arg::from(new.as_path()), Arg::from(&mut y)];
    status
        .map(&[2.0.into(), Arg::from(&x)], &mut outputs)
        .run()
        .unwrap();
    drop(outputs);
    assert_eq!(
        y.view::<f32>().unwrap().as_slice(),
        Some(&[2.0, 4.0, 6.0, 8.0][..])
    );
}
