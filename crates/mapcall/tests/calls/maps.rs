//! Maps of one file are the same memory, at whatever addresses.

use std::fs::{self, File};
use std::path::Path;

use mapcall::array::layout::index;
use mapcall::array::{Array, DType, MapOptions, Mode};
use mapcall::contract::{Backing, Check, Contract, Memory};
use mapcall::{Arg, CallError, Prototype};
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
                 got memory that it shares with x; pass a copy"
            );
        }
        assert_eq!(fs::read(&one).unwrap(), before);
        // As in one map, item by item is right.
        let expected: Vec<f32> = x.view::<f32>().unwrap().iter().map(|x| x / 2.0).collect();
        run(&x, &mut y).unwrap();
        assert_eq!(y.view::<f32>().unwrap().as_slice(), Some(&expected[..]));
    }
}

/// Results that are to be written into a file in place ask whether calls read it.
#[test]
fn a_batch_knows_whether_it_reads_a_file() {
    let (_folder, [one, link]) = files();
    let contract = Contract::new(Prototype::parse("float f(float x, float y)").unwrap()).unwrap();
    let other = tempfile::tempfile().unwrap();
    other.set_len(64).unwrap();
    let memory = [0.0_f32; 4];
    for mode in [Mode::Read, Mode::ReadWrite, Mode::CopyOnWrite] {
        let mapped = map(&one, mode).slice(&index![8..; 2]).unwrap();
        let mut words = vec![0; contract.words()];
        let mut check = Check::broadcasting(&contract, &mut words);
        for (position, address, stride, backing) in [
            (0, memory.as_ptr().cast(), 4, Backing::Private),
            (1, mapped.as_ptr(), 8, mapped.buffer().backing()),
        ] {
            let memory = Memory {
                address: address.cast_mut(),
                shape: &[4],
                strides: &[stride],
                is_contiguous: false,
                is_writeable: false,
                backing,
            };
            check.values(position, memory).unwrap();
        }
        check.settle().unwrap();
        let loops = check.loops().unwrap();
        for path in [&one, &link] {
            assert!(loops.is_mapped_from(&File::open(path).unwrap()).unwrap());
        }
        assert!(!loops.is_mapped_from(&other).unwrap());
    }
}
