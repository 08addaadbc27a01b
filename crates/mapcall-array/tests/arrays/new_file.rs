//! Files that get their name when they are complete, and page eviction behind scans of maps.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by a panic, and maps files of its own"
)]

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::thread;

use mapcall_array::layout::Order;
use mapcall_array::map::MapError;
use mapcall_array::{Array, CreateOptions, DType, Error, MapOptions, Mode, NewFile, create};
use proptest::prelude::*;

fn bytes_file(path: &Path, length: usize) -> NewFile {
    NewFile::create(path, DType::U8, &[length], Order::C).unwrap()
}

fn open(path: &Path, mode: Mode) -> Array {
    // SAFETY: no other code writes or shortens the test's file.
    unsafe { MapOptions::new().mode(mode).open(path) }.unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn has_the_written_bytes(
        length in 0_usize..5000,
        pieces in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..900, any::<u8>()), 0..20),
        durably in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let file = bytes_file(&path, length);
        let mut expected = vec![0; length];
        for (start, count, byte) in pieces {
            let start = start.index(length + 1);
            let range = start..length.min(start + count);
            file.write(range.start, &vec![byte; range.len()]).unwrap();
            expected[range.clone()].fill(byte);
            file.write_back(range.clone()).unwrap();
            file.wait_for(range.clone()).unwrap();
            file.forget(range);
        }
        prop_assert!(!path.exists());
        if durably { file.persist_durably() } else { file.persist() }.unwrap();
        let array = open(&path, Mode::Read);
        let view = array.view::<u8>().unwrap();
        prop_assert_eq!(view.as_slice(), Some(&expected[..]));
        prop_assert_eq!(names(folder.path()), ["a.npy"]);
    }
}

#[test]
fn several_threads_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let file = bytes_file(&path, 8000);
    thread::scope(|scope| {
        for part in 0..8_u8 {
            let file = &file;
            scope.spawn(move || {
                for start in (usize::from(part) * 10..8000).step_by(80) {
                    file.write(start, &[part; 10]).unwrap();
                }
            });
        }
    });
    file.persist().unwrap();
    let array = open(&path, Mode::Read);
    let view = array.view::<u8>().unwrap();
    assert!((0..8000).all(|at| usize::from(view[[at]]) == at / 10 % 8));
}

#[test]
fn writes_no_further_than_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let file = bytes_file(&folder.path().join("a.npy"), 100);
    for (offset, count) in [(100, 1), (0, 101), (usize::MAX, 1), (usize::MAX, 0)] {
        match file.write(offset, &vec![1; count]) {
            Err(Error::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::InvalidInput),
            other => panic!("{offset}: {other:?}"),
        }
    }
    file.write(100, &[]).unwrap();
}

#[test]
fn a_file_that_exists_is_replaced_only_if_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let options = CreateOptions::new(DType::F64, [3]);
    // SAFETY: no other code writes or shortens the test's files.
    let create = |options: &CreateOptions, path: &Path| unsafe { options.create(path) };
    drop(create(&options, &path).unwrap());
    let error = create(&options, &path).unwrap_err().to_string();
    assert!(
        error.contains("choose another name, or set `overwrite` to replace it"),
        "{error}"
    );
    create(&options, &folder.path().join("b.npy")).unwrap();
    let options = CreateOptions::new(DType::U8, [5]).overwrite(true);
    drop(create(&options, &path).unwrap());
    assert_eq!(open(&path, Mode::Read).shape(), [5]);
}

#[test]
fn dropped_it_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    fs::write(&path, "before").unwrap();
    drop(bytes_file(&path, 100));
    assert_eq!(fs::read(&path).unwrap(), b"before");
    assert_eq!(names(folder.path()), ["a.npy"]);
}

#[test]
fn takes_the_place_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("a.npy"), folder.path().join("link"));
    fs::write(&path, "before").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();
    symlink("a.npy", &link).unwrap();
    let before = fs::metadata(&path).unwrap();
    bytes_file(&link, 100).persist_durably().unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let after = fs::metadata(&path).unwrap();
    assert_eq!((after.mode(), after.len()), (before.mode(), 228));
    assert_ne!(after.ino(), before.ino());
}

#[test]
fn files_with_the_same_path_replace_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    symlink(".", at("here")).unwrap();
    symlink("a.npy", at("link")).unwrap();
    let file = bytes_file(&at("a.npy"), 1);
    for (name, same) in [
        ("a.npy", true),
        ("./a.npy", true),
        ("here/a.npy", true),
        ("here/here/link", true),
        ("b.npy", false),
    ] {
        assert_eq!(file.replaces(&bytes_file(&at(name), 2)), same, "{name}");
    }
}

#[test]
fn several_names_of_a_file_stay() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.npy"), vec![7; 5000]).unwrap();
    fs::set_permissions(at("a.npy"), Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(at("a.npy"), at("b.npy")).unwrap();
    let before = fs::metadata(at("a.npy")).unwrap();
    drop(bytes_file(&at("a.npy"), 100_000));
    let file = bytes_file(&at("a.npy"), 100);
    assert!(file.replaces(&bytes_file(&at("b.npy"), 100)));
    assert!(!file.syncs(), "it is not replaced");
    file.write(50, &[1; 50]).unwrap();
    assert_eq!(fs::read(at("a.npy")).unwrap(), vec![7; 5000]);
    file.persist_durably().unwrap();
    let after = fs::metadata(at("b.npy")).unwrap();
    assert_eq!(
        (after.ino(), after.nlink(), after.len()),
        (before.ino(), 2, 228)
    );
    assert_eq!(after.mode() & 0o7777, 0o755);
    let array = open(&at("b.npy"), Mode::Read);
    assert_eq!(
        array
            .view::<u8>()
            .unwrap()
            .iter()
            .position(|&byte| byte == 1),
        Some(50)
    );
    assert_eq!(names(folder.path()), ["a.npy", "b.npy"]);
}

#[test]
fn maps_the_written_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let files = [1, 2, 3].map(|byte| {
        let file = bytes_file(&path, 100);
        file.write(0, &[byte; 100]).unwrap();
        (byte, file)
    });
    let written = files.map(|(byte, file)| (byte, file.persist().unwrap()));
    for (byte, file) in &written {
        // SAFETY: no other code writes or shortens the test's files.
        let array = unsafe { file.map(Mode::ReadWrite) }.unwrap();
        assert!(is_all(&array, *byte));
        let map = array.buffer().map().unwrap();
        assert_eq!(map.is_replaced(), *byte != 3);
        assert_eq!(map.path(), Some(&*path));
    }
    assert!(is_all(&open(&path, Mode::Read), 3));
}

fn is_there(result: Result<Array, Error>) -> bool {
    let exists = |error| {
        matches!(
            error,
            Error::Map {
                source: MapError::Exists,
                ..
            }
        )
    };
    result.is_err_and(exists)
}

#[test]
fn an_existing_file_is_replaced_only_if_asked() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("a.npy"), "before").unwrap();
    symlink("a.npy", at("link")).unwrap();
    symlink("new.npy", at("dangling")).unwrap();
    let options = CreateOptions::new(DType::U8, [100]);
    // SAFETY: no other code writes or shortens the test's files.
    let make = |options: &CreateOptions, name| unsafe { options.create(at(name)) };
    for name in ["a.npy", "link"] {
        assert!(is_there(make(&options, name)));
        assert_eq!(fs::read(at("a.npy")).unwrap(), b"before");
    }
    // SAFETY: no other code writes or shortens the test's files.
    assert!(is_there(unsafe {
        create(at("a.npy"), DType::U8, &[100], Order::C)
    }));
    make(&options, "dangling").unwrap();
    assert!(is_all(&open(&at("new.npy"), Mode::Read), 0));
    assert!(is_there(make(&options, "dangling")));
    make(&options.overwrite(true), "link").unwrap();
    assert!(is_all(&open(&at("a.npy"), Mode::Read), 0));
    assert_eq!(
        names(folder.path()),
        ["a.npy", "dangling", "link", "new.npy"]
    );
}

#[test]
fn one_of_several_threads_creates_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    for _ in 0..20 {
        // SAFETY: no other code writes or shortens the test's files.
        let make = || unsafe { create(&path, DType::U8, &[100], Order::C) };
        let succeeded = thread::scope(|scope| {
            let threads = [0; 4].map(|_| scope.spawn(make));
            threads.map(|thread| thread.join().unwrap().is_ok())
        });
        assert_eq!(succeeded.into_iter().filter(|&is| is).count(), 1);
        fs::remove_file(&path).unwrap();
    }
}

fn is_all(array: &Array, byte: u8) -> bool {
    let view = array.view::<u8>().unwrap();
    view.as_slice() == Some(&vec![byte; view.len()][..])
}

/// Returns a map of 40 MiB, and the byte up to which a scan of it has evicted pages.
fn scanned(mode: Mode, start: usize, ends: &[usize], evicts: bool) -> (Array, usize) {
    const SIZE: usize = 40 << 20;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    bytes_file(&path, SIZE).persist_durably().unwrap();
    let mut array = open(&path, mode);
    if mode == Mode::CopyOnWrite {
        array.view_mut::<u8>().unwrap().fill(7);
    }
    let passed = {
        let mut evictor = array.buffer().map().unwrap().evictor(start, evicts);
        for &end in ends {
            evictor.pass(end);
        }
        evictor.passed()
    };
    (array, passed)
}

#[test]
fn a_scan_evicts_whole_pieces() {
    const PIECE: usize = 16 << 20;
    for evicts in [false, true] {
        for (start, ends, expected) in [
            (0, &[][..], 0),
            (0, &[PIECE - 1], 0),
            (0, &[PIECE], PIECE),
            (0, &[PIECE + 5, 2 * PIECE + 5], 2 * PIECE),
            (100, &[PIECE + 5], PIECE),
            (0, &[2 * PIECE, PIECE], 2 * PIECE),
            (0, &[usize::MAX], 2 * PIECE),
            (2 * PIECE + 100, &[usize::MAX], 2 * PIECE + 100),
            (usize::MAX, &[usize::MAX], usize::MAX),
        ] {
            for mode in [Mode::Read, Mode::ReadWrite] {
                let (array, passed) = scanned(mode, start, ends, evicts);
                assert_eq!(passed, expected, "{start} {ends:?}");
                assert!(is_all(&array, 0));
            }
        }
    }
}

#[test]
fn a_scan_keeps_private_changes() {
    let (array, passed) = scanned(Mode::CopyOnWrite, 0, &[usize::MAX], true);
    assert_eq!(passed, 0);
    assert!(is_all(&array, 7));
}
