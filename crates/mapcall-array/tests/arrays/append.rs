//! Rows appended to `.npy` files, compared with NumPy and with vectors in memory.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by a panic, and maps files of its own"
)]

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::common::numpy;
use mapcall_array::format::{FormatError, GrowingHeader, Header};
use mapcall_array::layout::{Order, Slice};
use mapcall_array::map::MapError;
use mapcall_array::{AppendError, Appender, Array, DType, Error, MapOptions, Mode, append, create};
use proptest::prelude::*;

/// The array of 16-bit numbers from `first` on, in C order.
fn numbers(first: i16, shape: &[usize]) -> Array {
    let mut array = Array::zeros(DType::I16, shape, Order::C).unwrap();
    let mut view = array.view_mut::<i16>().unwrap();
    for (number, element) in (first..).zip(view.iter_mut()) {
        *element = number;
    }
    array
}

fn loaded(path: &Path) -> (Vec<usize>, Order, Vec<i16>) {
    // SAFETY: no other code writes or shortens the test's file.
    let array = unsafe { MapOptions::new().mode(Mode::Read).open(path) }.unwrap();
    let bytes = fs::read(path).unwrap();
    let header = Header::read(&bytes[..]).unwrap();
    assert_eq!(
        header.end(),
        bytes.len() as u64,
        "the file ends with its array"
    );
    let elements = array.view::<i16>().unwrap().iter().copied().collect();
    (array.shape().to_vec(), header.order(), elements)
}

fn append_error(result: Result<impl Sized, Error>) -> AppendError {
    match result.err() {
        Some(Error::Append { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

fn format_error(result: Result<impl Sized, Error>) -> FormatError {
    match result.err() {
        Some(Error::Format { source, .. }) => source,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn sequences_of_appends_equal_a_vector(
        row in prop::collection::vec(0_usize..4, 0..3),
        // The number of rows, whether the rows are a strided view, and whether the file is opened anew.
        appends in prop::collection::vec((0_usize..7, any::<bool>(), prop::bool::weighted(0.3)), 0..12),
        sync in prop::bool::weighted(0.1),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let options = Appender::options().dtype(DType::I16).row_shape(&*row).sync(sync);
        let mut appender = options.open(&path).unwrap();
        let (mut expected, mut rows) = (Vec::new(), 0);
        for (count, is_strided, is_anew) in appends {
            let first = i16::try_from(expected.len()).unwrap();
            let shape = [&[if is_strided { 2 * count } else { count }], &row[..]].concat();
            let mut given = numbers(first, &shape);
            if is_strided {
                given = given.slice(&[Slice::from(..).step(2).into()]).unwrap();
            }
            expected.extend(given.view::<i16>().unwrap().iter());
            rows += count;
            if is_anew {
                drop(appender);
                append(&path, &given).unwrap();
                appender = Appender::open(&path).unwrap();
            } else {
                appender.append(&given).unwrap();
            }
            prop_assert_eq!(appender.len(), rows);
            let shape = [&[rows], &row[..]].concat();
            prop_assert_eq!(loaded(&path), (shape, Order::C, expected.clone()));
        }
    }

    /// Of a header with the room that NumPy's have, an update changes bytes in one cache line only.
    #[test]
    fn an_update_changes_one_cache_line(
        dtype in prop::sample::select(vec!["<f8", "|u1", "<c16", "|S1000", "<M8[ns]"]),
        before in prop::collection::vec(1_usize..2000, 0..5),
        is_fortran in any::<bool>(),
        lengths in prop::collection::vec(0_u32..40, 2..6),
    ) {
        let dtype: DType = dtype.parse().unwrap();
        let order = if is_fortran { Order::F } else { Order::C };
        let mut shape = before.clone();
        shape.insert(if is_fortran { before.len() } else { 0 }, 1);
        let header = Header::new(dtype.clone(), &shape, order).unwrap();
        let size = header.to_bytes().unwrap().len();
        let mut growing = GrowingHeader::new(header.clone()).unwrap();
        prop_assert_eq!(growing.row_shape(), before);
        let mut last = growing.bytes().to_vec();
        for bits in lengths {
            let length = 1_usize << bits;
            let previous = growing.len();
            match growing.set_len(length) {
                Ok(()) => {}
                Err(FormatError::Layout(_)) => {
                    prop_assert_eq!(growing.len(), previous);
                    prop_assert_eq!(growing.bytes(), &last);
                    continue;
                }
                Err(error) => panic!("{error}"),
            }
            let bytes = growing.bytes();
            prop_assert_eq!(bytes.len(), size);
            shape[growing.axis()] = length;
            let read = Header::read(bytes).unwrap();
            prop_assert_eq!((read.shape(), read.order(), read.dtype()), (&shape[..], order, &dtype));
            prop_assert_eq!(read.data_offset(), header.data_offset());
            prop_assert_eq!(&read, growing.header());
            let changed: Vec<_> = (0..size).filter(|&at| bytes[at] != last[at]).map(|at| at / 64).collect();
            prop_assert!(changed.windows(2).all(|pair| pair[0] == pair[1]), "{changed:?}");
            // The same bytes, wherever the appender has begun.
            let again = GrowingHeader::new(read).unwrap();
            prop_assert_eq!(again.bytes(), bytes);
            last = bytes.to_vec();
        }
    }
}

#[test]
fn files_of_numpy_grow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let name = path.to_str().unwrap();
    let python =
        |expression: &str| numpy(&expression.replace("PATH", &format!("{name:?}"))).unwrap();
    for (made, appended, expected) in [
        (
            "np.arange(3, dtype='i2')",
            "np.arange(2, dtype='i2')",
            "[0, 1, 2, 0, 1]",
        ),
        (
            "np.arange(6, dtype='f4').reshape(3, 2)",
            "np.ones((1, 2), 'f4')",
            "[[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [1.0, 1.0]]",
        ),
        (
            "np.asfortranarray(np.arange(6, dtype='>f4').reshape(3, 2))",
            "np.asfortranarray(np.array([[7, 8], [9, 10], [11, 12]], '>f4'))",
            "[[0.0, 1.0, 7.0, 8.0], [2.0, 3.0, 9.0, 10.0], [4.0, 5.0, 11.0, 12.0]]",
        ),
        (
            "np.array([(1, 2.5)], [('λ', 'u1'), ('b', '<f8')])",
            "np.array([(2, 3.5)], [('λ', 'u1'), ('b', '<f8')])",
            "[(1, 2.5), (2, 3.5)]",
        ),
        (
            "np.zeros((0, 2), bool)",
            "np.ones((2, 2), bool)",
            "[[True, True], [True, True]]",
        ),
        (
            "np.zeros((4, 0), 'S3')",
            "np.zeros((3, 0), 'S3')",
            "[[]] * 7",
        ),
    ] {
        python(&format!("np.save(PATH, {made})"));
        let size = fs::metadata(&path).unwrap().len();
        let bytes = python(&format!("list({appended}.tobytes('A'))"));
        let bytes: Vec<u8> = serde_json::from_value(bytes).unwrap();
        let mut appender = Appender::open(&path).unwrap();
        let count = python(&format!("{appended}.shape"))
            .as_array()
            .unwrap()
            .clone();
        let shape: Vec<_> = count
            .iter()
            .map(|n| usize::try_from(n.as_u64().unwrap()).unwrap())
            .collect();
        let count = appender.count(&shape).unwrap();
        // SAFETY: these are the bytes of `count` rows.
        unsafe { appender.append_from(bytes.as_ptr(), count) }.unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().len(),
            size + bytes.len() as u64
        );
        assert_eq!(
            python(&format!("np.load(PATH).tolist() == {expected}")),
            true,
            "{made}: {}",
            python("repr(np.load(PATH))"),
        );
    }
}

fn shape_of(path: &Path) -> Vec<usize> {
    let bytes = fs::read(path).unwrap();
    let header = Header::read(&bytes[..]).unwrap();
    header.check_len(bytes.len() as u64).unwrap();
    header.shape().to_vec()
}

/// Writes a file whose header has no more room than `padding`: those of old versions of NumPy have up to 15
/// bytes.
fn save_without_room(path: &Path, length: usize, padding: usize) -> Vec<u8> {
    let mut text = format!("{{'descr': '<i2', 'fortran_order': False, 'shape': ({length}, 2), }}");
    text.push_str(&" ".repeat(padding));
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend(vec![1; length * 4]);
    fs::write(path, &bytes).unwrap();
    bytes
}

#[test]
fn headers_at_the_limit_of_their_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    for padding in 0..4 {
        let before = save_without_room(&path, 98, padding);
        let mut appender = Appender::open(&path).unwrap();
        appender.append_bytes(&[2; 4]).unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), before.len() + 4);
        assert_eq!(shape_of(&path), [99, 2]);
        let full = fs::read(&path).unwrap();
        let more = appender.append_bytes(&[3; 4]);
        if padding > 0 {
            more.unwrap();
            assert_eq!(shape_of(&path), [100, 2]);
            continue;
        }
        let error = format_error(more);
        assert!(
            matches!(
                error,
                FormatError::NoRoom {
                    axis: 0,
                    len: 100,
                    room: 2
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("numpy.save"));
        assert_eq!((fs::read(&path).unwrap(), appender.len()), (full, 99));
        // What the error advises.
        let name = path.to_str().unwrap();
        numpy(&format!("np.save({name:?}, np.load({name:?}))")).unwrap();
        drop(appender);
        append(&path, &numbers(0, &[1, 2])).unwrap();
        assert_eq!(shape_of(&path), [100, 2]);
    }
    // Spaces that this crate does not write make room; a longer spelling than the file's has none.
    let text = "{'descr':'<i2','fortran_order':False,'shape':(1,)}\n";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.extend([0; 2]);
    fs::write(&path, &bytes).unwrap();
    let error = format_error(Appender::open(&path));
    assert!(matches!(error, FormatError::NoRoom { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn headers_of_other_writers_keep_their_meaning() {
    for (version, text) in [
        (1, "{'shape': (2,), 'descr': '|u1', 'fortran_order': True}"),
        (1, "{'descr':'<f8','fortran_order':False,'shape':(3,)}"),
        (
            1,
            "{'descr': '<f8', 'fortran_order': False, 'shape': (3L, 4L), }",
        ),
        (
            1,
            "{'descr': [(('title', 'a'), '<i4'), ('', '|V3')], 'fortran_order': False, 'shape': (1, 1)}",
        ),
        (
            1,
            "{'descr': ('<f4', (5, 6)), 'fortran_order': False, 'shape': (7,)}",
        ),
        (
            1,
            "{'descr': [('\u{e9}', '<f4')], 'fortran_order': True, 'shape': (0, 2, 7)}",
        ),
        (
            2,
            "{'descr': '<f8', 'fortran_order': True, 'shape': (1000000, 999999), }",
        ),
        (
            3,
            "{'descr': [('\u{3bb}', '<f4')], 'fortran_order': False, 'shape': (10, 2)}",
        ),
    ] {
        for room in [40, 41, 63, 64, 300] {
            let text = format!("{text}{:room$}\n", "");
            let text: Vec<u8> = if version == 3 {
                text.into_bytes()
            } else {
                text.chars().map(|c| u8::try_from(c).unwrap()).collect()
            };
            let mut bytes = b"\x93NUMPY".to_vec();
            bytes.extend([version, 0]);
            let len = u32::try_from(text.len()).unwrap().to_le_bytes();
            bytes.extend(if version == 1 { &len[..2] } else { &len });
            bytes.extend(text);
            let header = Header::read(&bytes[..]).unwrap();
            let mut growing = GrowingHeader::new(header.clone()).unwrap();
            assert_eq!(growing.bytes().len(), bytes.len());
            assert_eq!(Header::read(growing.bytes()).unwrap(), header);
            growing.set_len(12_345).unwrap();
            let longer = Header::read(growing.bytes()).unwrap();
            assert_eq!(longer.shape()[growing.axis()], 12_345);
            assert_eq!(
                (longer.dtype(), longer.version()),
                (header.dtype(), header.version())
            );
            growing.set_len(header.shape()[growing.axis()]).unwrap();
            assert_eq!(growing.header(), &header);
        }
    }
}

#[test]
fn new_files_have_numpys_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    // SAFETY: no other code writes or shortens the test's file.
    drop(unsafe { create(&path, DType::I16, &[1, 0], Order::C) }.unwrap());
    let mut appender = Appender::open(&path).unwrap();
    let huge = 1 << 61;
    // SAFETY: the rows have no bytes.
    unsafe { appender.append_from([].as_ptr(), huge) }.unwrap();
    assert_eq!(loaded(&path).0, [huge + 1, 0]);
    assert_eq!(fs::metadata(&path).unwrap().len(), 128);
}

#[test]
fn rest_of_a_killed_appender_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    append(&path, &numbers(0, &[2, 2])).unwrap();
    for rest in [3, 8, 100] {
        let rows = loaded(&path).0[0];
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&vec![9; rest]).unwrap();
        let mut appender = Appender::open(&path).unwrap();
        appender.append(&numbers(5, &[2])).unwrap();
        appender.append(&numbers(5, &[40, 2])).unwrap();
        assert_eq!(loaded(&path).0, [rows + 41, 2]);
    }
}

#[test]
fn errors_leave_the_file_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    append(&path, &numbers(0, &[3, 2])).unwrap();
    let before = fs::read(&path).unwrap();

    let options = Appender::options();
    let error = append_error(options.clone().dtype(DType::F64).open(&path));
    assert!(matches!(error, AppendError::OtherDType { .. }), "{error}");
    assert!(
        error.to_string().contains("int16") || error.to_string().contains("i2"),
        "{error}"
    );
    let error = append_error(options.clone().row_shape([3]).open(&path));
    assert!(
        error.to_string().contains("(2,)") && error.to_string().contains("(3,)"),
        "{error}"
    );
    options
        .dtype(DType::I16)
        .row_shape([2])
        .open(&path)
        .unwrap();

    let mut appender = Appender::open(&path).unwrap();
    for shape in [&[][..], &[3], &[2, 3], &[1, 1, 2], &[2, 2, 2]] {
        let error = append_error(appender.append(&numbers(0, shape)));
        assert!(matches!(error, AppendError::NoRows { .. }), "{error}");
    }
    let floats = Array::zeros(DType::F64, &[1, 2], Order::C).unwrap();
    let error = append_error(appender.append(&floats));
    assert!(matches!(error, AppendError::OtherDType { .. }), "{error}");
    let error = append_error(appender.append_bytes(&[0; 7]));
    assert_eq!(error, AppendError::PartOfRow { row: 4, len: 7 });
    // SAFETY: the call fails before it reads the rows, as so many rows have no address.
    let error = format_error(unsafe { appender.append_from([].as_ptr(), usize::MAX / 4) });
    assert!(matches!(error, FormatError::Layout(_)), "{error}");
    // SAFETY: as above.
    let error = format_error(unsafe { appender.append_from([].as_ptr(), usize::MAX) });
    assert!(matches!(error, FormatError::Layout(_)), "{error}");
    assert_eq!(append_error(Appender::open(&path)), AppendError::Locked);
    assert_eq!(
        append_error(append(&path, &numbers(0, &[1, 2]))),
        AppendError::Locked
    );
    assert_eq!(
        (appender.len(), fs::read(&path).unwrap()),
        (3, before.clone())
    );
    // What the error on a part of a row advises: "give a multiple".
    appender.append_bytes(&[0; 8]).unwrap();
    assert_eq!(appender.len(), 5);
}

#[test]
fn files_that_cannot_grow_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    append(at("a.npy"), &numbers(0, &[3, 2])).unwrap();
    let before = fs::read(at("a.npy")).unwrap();

    // A file that is shorter than its header says.
    fs::write(at("short.npy"), &before[..before.len() - 1]).unwrap();
    let error = format_error(Appender::open(at("short.npy")));
    assert!(
        matches!(error, FormatError::DataTruncated { .. }),
        "{error}"
    );
    // A second array.
    fs::write(at("two.npy"), [&before[..], &before].concat()).unwrap();
    let error = append_error(Appender::open(at("two.npy")));
    assert_eq!(
        error,
        AppendError::AnotherArray {
            offset: before.len() as u64
        }
    );
    // An array without axes.
    fs::write(
        at("single.npy"),
        Header::new(DType::U8, &[], Order::C)
            .unwrap()
            .to_bytes()
            .unwrap(),
    )
    .unwrap();
    format_error(Appender::open(at("single.npy")));
    OpenOptions::new()
        .append(true)
        .open(at("single.npy"))
        .unwrap()
        .write_all(b"x")
        .unwrap();
    let error = format_error(Appender::open(at("single.npy")));
    assert!(matches!(error, FormatError::NoGrowthAxis), "{error}");
    // Other formats and kinds of files.
    fs::write(at("a.npz"), b"PK\x03\x04 and so on").unwrap();
    assert_eq!(append_error(Appender::open(at("a.npz"))), AppendError::Npz);
    fs::write(at("raw"), "no array").unwrap();
    let error = format_error(Appender::open(at("raw")));
    assert!(
        matches!(error, FormatError::UnknownFormat { .. }),
        "{error}"
    );
    fs::write(at("empty"), "").unwrap();
    format_error(Appender::open(at("empty")));
    assert!(
        Command::new("mkfifo")
            .arg(at("pipe"))
            .status()
            .unwrap()
            .success()
    );
    match Appender::open(at("pipe")) {
        Err(Error::Map {
            source: MapError::NotRegular { kind: "pipe" },
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
    // Nothing is created where a dtype or a shape is missing.
    assert!(matches!(
        Appender::open(at("new.npy")),
        Err(Error::Io { .. })
    ));
    let single = Array::zeros(DType::U8, &[], Order::C).unwrap();
    assert_eq!(
        append_error(append(at("new.npy"), &single)),
        AppendError::NoRowShape
    );
    assert!(!at("new.npy").exists());
}

#[test]
fn links_lead_to_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    symlink("a.npy", at("link")).unwrap();
    append(at("link"), &numbers(0, &[2])).unwrap();
    fs::hard_link(at("a.npy"), at("b.npy")).unwrap();
    let inode = fs::metadata(at("a.npy")).unwrap().ino();
    append(at("b.npy"), &numbers(2, &[1])).unwrap();
    append(at("link"), &numbers(3, &[1])).unwrap();
    assert_eq!(loaded(&at("a.npy")), (vec![4], Order::C, vec![0, 1, 2, 3]));
    assert_eq!(fs::metadata(at("link")).unwrap().ino(), inode);
}

#[test]
fn one_of_several_threads_appends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    for _ in 0..20 {
        let make = || loop {
            // Each thread tries until the others have closed the file.
            match append(&path, &numbers(0, &[5])) {
                Err(Error::Append {
                    source: AppendError::Locked,
                    ..
                }) => thread::yield_now(),
                done => return done.unwrap(),
            }
        };
        thread::scope(|scope| {
            let threads = [0; 4].map(|_| scope.spawn(make));
            for thread in threads {
                thread.join().unwrap();
            }
        });
        assert_eq!(loaded(&path).2, [0, 1, 2, 3, 4].repeat(4));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn reads_its_new_file_as_numpy_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let options = Appender::options()
        .dtype("(2,)f4".parse().unwrap())
        .row_shape([3]);
    let mut appender = options.open(&path).unwrap();
    assert_eq!((appender.row_shape(), appender.len()), (vec![3, 2], 0));
    appender.append_bytes(&[0; 48]).unwrap();
    drop(appender);
    drop(options.open(&path).unwrap());
    let name = path.to_str().unwrap();
    let found = numpy(&format!("np.load({name:?}).shape")).unwrap();
    assert_eq!(found, serde_json::json!([2, 3, 2]));
    let mut start = [0; 128];
    fs::File::open(&path)
        .unwrap()
        .read_exact(&mut start)
        .unwrap();
    assert!(start.ends_with(b"\n"));
}
