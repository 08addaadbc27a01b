//! Maps of raw files: modes, offsets, growth, paging, and errors that must not change a file.

#![allow(
    clippy::float_cmp,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by a panic, and compares what it wrote"
)]

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mapcall_array::layout::{Index, Order, index};
use mapcall_array::map::{Advice, Fingerprint, MapError, page_size};
use mapcall_array::{Array, CreateOptions, DType, Error, MapOptions, Mode, ViewError, create};
use proptest::prelude::*;

fn map(options: &MapOptions, path: &Path) -> Result<Array, Error> {
    // SAFETY: no other code writes or shortens the test's file.
    unsafe { options.map(path) }
}

fn map_error(result: Result<Array, Error>) -> MapError {
    match result {
        Err(Error::Map { source, .. }) => source,
        other => panic!("expected a map error, got {other:?}"),
    }
}

fn bytes(array: &Array) -> Vec<u8> {
    array.view::<u8>().unwrap().iter().copied().collect()
}

proptest! {
    #[test]
    fn any_range_of_a_file(data in prop::collection::vec(any::<u8>(), 1..20_000),
                           start in any::<prop::sample::Index>(),
                           end in any::<prop::sample::Index>()) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, &data).unwrap();
        let (start, end) = (start.index(data.len()), end.index(data.len() + 1));
        let (start, end) = (start.min(end), start.max(end));
        let options = MapOptions::new().mode(Mode::Read).offset(start as u64).shape([end - start]);
        let array = map(&options, file.path()).unwrap();
        prop_assert_eq!(bytes(&array), &data[start..end]);
        prop_assert_eq!(array.file_offset(), Some(start as u64));
    }

    #[test]
    fn views_have_their_offset(offset in 0_u64..9000, row in 0_isize..7, column in 0_isize..5) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let options = MapOptions::new().dtype(DType::U16).shape([7, 5]).offset(offset);
        let array = map(&options, file.path()).unwrap();
        let view = array.slice(&[Index::At(row), Index::from(column..)]).unwrap();
        let within = u64::try_from((row * 5 + column) * 2).unwrap();
        prop_assert_eq!(view.file_offset(), Some(offset + within));
        let reversed = array.transpose().slice(&[Index::from(..), Index::At(row)]).unwrap();
        let row_start = u64::try_from(row * 10).unwrap();
        prop_assert_eq!(reversed.file_offset(), Some(offset + row_start));
    }
}

#[test]
fn modes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    fs::write(&path, [1, 2, 3, 4]).unwrap();
    let options = MapOptions::new().shape([4]);

    let mut read = map(&options.clone().mode(Mode::Read), &path).unwrap();
    assert!(!read.is_writeable());
    assert!(matches!(
        read.view_mut::<u8>(),
        Err(Error::View(ViewError::ReadOnly))
    ));

    let mut private = map(&options.clone().mode(Mode::CopyOnWrite), &path).unwrap();
    let whole = private.layout().bounds();
    assert!(
        !private
            .buffer()
            .map()
            .unwrap()
            .has_private_changes(whole.clone())
            .unwrap()
    );
    private.view_mut::<u8>().unwrap()[[0]] = 9;
    private.flush().unwrap();
    assert!(
        private
            .buffer()
            .map()
            .unwrap()
            .has_private_changes(whole)
            .unwrap()
    );
    assert_eq!(fs::read(&path).unwrap(), [1, 2, 3, 4]);

    let mut shared = map(&options.clone().mode(Mode::ReadWrite), &path).unwrap();
    shared.view_mut::<u8>().unwrap()[[1]] = 8;
    shared.flush_async().unwrap();
    shared.flush().unwrap();
    assert_eq!(fs::read(&path).unwrap(), [1, 8, 3, 4]);
    assert_eq!(
        bytes(&read),
        [1, 8, 3, 4],
        "maps of one file share its pages"
    );
    assert_eq!(
        bytes(&private),
        [9, 2, 3, 4],
        "but not pages that are private"
    );

    let new = map(&options.mode(Mode::Write), &path).unwrap();
    assert_eq!(bytes(&new), [0; 4], "w+ empties the file");
    assert_eq!(new.buffer().map().unwrap().mode(), Mode::Write);
}

#[test]
fn growth_is_sparse() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let array = map(&MapOptions::new().shape([1 << 30]), file.path()).unwrap();
    let metadata = file.as_file().metadata().unwrap();
    assert_eq!(
        (metadata.len(), array.layout().nbytes()),
        (1 << 30, 1 << 30)
    );
    assert!(metadata.blocks() < 100, "{} blocks", metadata.blocks());
}

#[test]
fn space_is_taken_when_it_is_asked_for() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, [7; 10]).unwrap();
    let options = MapOptions::new().shape([1 << 20]).allocate(true);
    let array = map(&options, file.path()).unwrap();
    let metadata = file.as_file().metadata().unwrap();
    assert_eq!(metadata.len(), 1 << 20);
    assert!(
        metadata.blocks() * 512 >= 1 << 20,
        "{} blocks",
        metadata.blocks()
    );
    assert_eq!(bytes(&array).iter().rposition(|&byte| byte == 7), Some(9));
    for mode in [Mode::ReadWrite, Mode::Write] {
        let error = map(&options.clone().mode(mode).shape([1 << 50]), file.path()).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{error}");
        assert_eq!(file.as_file().metadata().unwrap().len(), 1 << 20);
        assert_eq!(bytes(&array)[..10], [7; 10]);
    }
    let cleared = map(&options.mode(Mode::Write).shape([1 << 19]), file.path()).unwrap();
    assert!(bytes(&cleared).iter().all(|&byte| byte == 0));
    assert!(file.as_file().metadata().unwrap().blocks() * 512 >= 1 << 19);
}

proptest! {
    /// Bytes that both the old and the new file have can always be read through another map.
    #[test]
    fn emptying_a_file_does_not_shorten_it(old in 1_usize..50_000, new in 0_usize..50_000) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, vec![7; old]).unwrap();
        let common = old.min(new);
        let options = MapOptions::new().shape([common]);
        let other = map(&options, file.path()).unwrap();
        let cleared = map(&MapOptions::new().mode(Mode::Write).shape([new]), file.path()).unwrap();
        prop_assert_eq!(bytes(&cleared), vec![0; new]);
        prop_assert_eq!(bytes(&other), vec![0; common]);
        prop_assert_eq!(fs::read(&file).unwrap(), vec![0; new.max(1)]);
        prop_assert!(!other.buffer().map().unwrap().is_replaced());
    }
}

#[test]
fn a_hundred_gibibytes_open_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(100 << 30).unwrap();
    for mode in [Mode::Read, Mode::ReadWrite, Mode::CopyOnWrite] {
        let array = map(&MapOptions::new().dtype(DType::F64).mode(mode), file.path()).unwrap();
        assert_eq!(array.shape(), [100 << 27]);
        let last = array.slice(&[Index::from(-1..)]).unwrap();
        assert_eq!(last.view::<f64>().unwrap()[[0]], 0.0);
    }
}

#[test]
fn no_descriptor_is_kept() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let open = || {
        fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter(|entry| {
                let target = entry.as_ref().unwrap().path().read_link();
                target.is_ok_and(|target| target == file.path())
            })
            .count()
    };
    let before = open();
    let _array = map(&MapOptions::new().shape([10]), file.path()).unwrap();
    assert_eq!(open(), before);
}

#[test]
fn no_elements() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("empty");
    let none = MapOptions::new().shape([0, 4]).dtype(DType::F32);
    File::create(&path).unwrap();
    assert_eq!(
        map_error(map(&none.clone().mode(Mode::Read), &path)),
        MapError::EmptyFile { mode: Mode::Read }
    );
    let array = map(&none.clone().mode(Mode::ReadWrite), &path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 1, "as NumPy has it");
    assert!(!array.as_ptr().is_null());
    assert_eq!(array.view::<f32>().unwrap().shape(), [0, 4]);
    array.flush().unwrap();
    array.prefetch().unwrap();
    array.advise(Advice::DontNeed).unwrap();
    assert_eq!(array.residency().unwrap(), [false; 0]);
    let array = map(&none.mode(Mode::Read).offset(1), &path).unwrap();
    assert_eq!(array.file_offset(), Some(1));
}

#[test]
fn an_array_that_does_not_fit_is_refused_and_changes_nothing() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, [7; 10]).unwrap();
    let options = |mode| MapOptions::new().dtype(DType::F32).mode(mode);
    for mode in [Mode::Read, Mode::ReadWrite, Mode::CopyOnWrite] {
        let options = options(mode);
        assert_eq!(
            map_error(map(&options, file.path())),
            MapError::NotMultiple {
                available: 10,
                itemsize: 4
            }
        );
        assert_eq!(
            map_error(map(&options.clone().offset(11), file.path())),
            MapError::OffsetPastEnd {
                offset: 11,
                file_len: 10
            }
        );
        let nothing = options.clone().dtype(DType::void(0).unwrap());
        assert_eq!(
            map_error(map(&nothing, file.path())),
            MapError::ZeroItemsize
        );
        for shape in [vec![usize::MAX], vec![1 << 40, 1 << 40], vec![1; 65]] {
            let absurd = options.clone().shape(shape);
            assert!(matches!(map(&absurd, file.path()), Err(Error::Layout(_))));
        }
        let far = options.clone().offset(u64::MAX).shape([1]);
        assert!(matches!(
            map_error(map(&far, file.path())),
            MapError::Overflow { .. }
        ));
    }
    for mode in [Mode::Read, Mode::CopyOnWrite] {
        assert_eq!(
            map_error(map(&options(mode).shape([3]), file.path())),
            MapError::TooShort {
                needed: 12,
                file_len: 10,
                mode
            }
        );
    }
    assert_eq!(
        map_error(map(&options(Mode::Write), file.path())),
        MapError::ShapeRequired
    );
    // The array is larger than any file system allows: refused when the file is resized or mapped.
    for mode in [Mode::ReadWrite, Mode::Write] {
        let huge = options(mode).shape([(1 << 60) - 1]);
        assert!(matches!(map(&huge, file.path()), Err(Error::Io { .. })));
    }
    assert_eq!(fs::read(&file).unwrap(), [7; 10]);
}

#[test]
fn a_refused_new_file_is_not_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new");
    let huge = MapOptions::new().mode(Mode::Write).shape([(1 << 62) - 1]);
    assert!(matches!(map(&huge, &path), Err(Error::Io { .. })));
    assert!(!path.exists());
    // SAFETY: no other code writes or shortens the test's file.
    assert!(unsafe { create(&path, DType::F64, &[1 << 59], Order::C) }.is_err());
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
}

#[test]
fn only_regular_files_and_devices() {
    let directory = tempfile::tempdir().unwrap();
    for mode in [Mode::Read, Mode::CopyOnWrite] {
        let options = MapOptions::new().mode(mode).shape([1]);
        let kind = |path: &Path| map_error(map(&options, path));
        assert_eq!(
            kind(directory.path()),
            MapError::NotRegular { kind: "directory" }
        );
        let pipe = directory.path().join("pipe");
        if !pipe.exists() {
            let made = std::process::Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap();
            assert!(made.success());
        }
        assert_eq!(kind(&pipe), MapError::NotRegular { kind: "pipe" });
    }
    let absent = map(&MapOptions::new(), &directory.path().join("absent"));
    assert!(matches!(absent, Err(Error::Io { action: "open", .. })));
}

#[test]
fn devices_are_mapped_by_dtype_and_shape() {
    let zero = Path::new("/dev/zero");
    let options = MapOptions::new().dtype(DType::I32).offset(100);
    for mode in [Mode::Read, Mode::ReadWrite, Mode::Write, Mode::CopyOnWrite] {
        let options = options.clone().mode(mode);
        let mut array = map(&options.clone().shape([3, 5]), zero).unwrap();
        assert_eq!(
            (array.shape(), array.file_offset()),
            (&[3, 5][..], Some(100))
        );
        assert!(
            array
                .view::<i32>()
                .unwrap()
                .iter()
                .all(|&number| number == 0)
        );
        if mode.is_writeable() {
            array.view_mut::<i32>().unwrap().fill(7);
            array.flush().unwrap();
            assert_eq!(array.view::<i32>().unwrap().sum(), 3 * 5 * 7);
        }
        let buffer = array.buffer().map().unwrap();
        assert_eq!((buffer.file_len(), buffer.named_file_len()), (0, None));
        let expected = if mode == Mode::Write {
            MapError::ShapeRequired
        } else {
            MapError::UnknownLength
        };
        assert_eq!(map_error(map(&options, zero)), expected);
    }
    // In Linux, a shared map of `/dev/zero` has memory only for as many bytes as the map is long, from offset 0
    // on.
    for (offset, bytes) in [(0, 1 << 20), (4096, 1), (4000, 1), (1 << 40, 1)] {
        let options = MapOptions::new().offset(offset).shape([bytes]);
        let mapped = map(&options, zero);
        if offset < 4096 {
            assert!(mapped.is_ok());
            continue;
        }
        let nbytes = bytes;
        assert_eq!(map_error(mapped), MapError::BeyondDevice { offset, nbytes });
    }
    let error = map(&options.shape([1]), Path::new("/dev/null"));
    assert!(matches!(error, Err(Error::Io { action: "map", .. })));
    let expected = MapError::NotRegular {
        kind: "character device",
    };
    // SAFETY: no other code writes or shortens the test's file.
    let opened = unsafe { MapOptions::new().mode(Mode::Read).open(zero) };
    assert_eq!(map_error(opened), expected);
    // SAFETY: no other code writes or shortens the test's file.
    let created = unsafe { create(zero, DType::F64, &[3], Order::C) };
    assert_eq!(map_error(created), expected);
}

#[test]
fn views_borrow_the_bytes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = MapOptions::new().dtype(DType::I32).shape([4, 6]);
    let mut array = map(&options, file.path()).unwrap();
    let view = array.slice(&[Index::from(1..)]).unwrap();
    assert!(matches!(
        array.view_mut::<i32>(),
        Err(Error::View(ViewError::Shared))
    ));
    drop(view);
    let mut elements = array.view_mut::<i32>().unwrap();
    for (i, element) in elements.iter_mut().enumerate() {
        *element = i32::try_from(i).unwrap();
    }
    let reversed = array.slice(&index![1, ..; -2]).unwrap();
    assert_eq!(
        reversed
            .view::<i32>()
            .unwrap()
            .iter()
            .copied()
            .collect::<Vec<_>>(),
        [11, 9, 7]
    );
    let column = array.slice(&[Index::from(..), Index::At(2)]).unwrap();
    assert_eq!(
        column
            .view::<i32>()
            .unwrap()
            .iter()
            .copied()
            .collect::<Vec<_>>(),
        [2, 8, 14, 20]
    );
    drop(array);
    assert_eq!(
        column.view::<i32>().unwrap()[[3]],
        20,
        "a view keeps the map"
    );
    let repeated = column
        .reshape(&[4, 1], Order::C)
        .unwrap()
        .broadcast_to(&[4, 3])
        .unwrap();
    assert_eq!(repeated.view::<i32>().unwrap().sum(), 3 * 44);
}

#[test]
fn typed_views_refuse_other_types() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let options = MapOptions::new().shape([3]);
    let big: DType = ">f8".parse().unwrap();
    let swapped = map(&options.clone().dtype(big), file.path()).unwrap();
    assert!(matches!(
        swapped.view::<f64>(),
        Err(Error::View(ViewError::ByteOrder { .. }))
    ));
    assert!(matches!(
        swapped.view::<i64>(),
        Err(Error::View(ViewError::WrongDType { .. }))
    ));
    assert_eq!(swapped.view::<[u8; 8]>().unwrap().len(), 3);
    let unaligned = map(&options.dtype(DType::F64).offset(4), file.path()).unwrap();
    assert!(!unaligned.is_aligned());
    assert!(matches!(
        unaligned.view::<f64>(),
        Err(Error::View(ViewError::Unaligned { .. }))
    ));
}

#[test]
fn paging() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, vec![1; 1 << 20]).unwrap();
    let array = map(&MapOptions::new(), file.path()).unwrap();
    let part = array.slice(&[Index::from(5000..9000)]).unwrap();
    part.prefetch().unwrap();
    assert_eq!(
        part.residency().unwrap(),
        [true, true],
        "bytes 5000 to 9000 touch two pages"
    );
    for advice in Advice::ALL {
        match part.advise(advice) {
            Ok(()) => {}
            // The file system may have no large pages.
            Err(Error::Io { .. }) if advice == Advice::HugePage => {}
            Err(error) => panic!("{advice:?}: {error}"),
        }
    }
    assert_eq!(bytes(&part), [1; 4000]);
    let private = map(&MapOptions::new().mode(Mode::CopyOnWrite), file.path()).unwrap();
    let refused = private.advise(Advice::DontNeed);
    assert!(matches!(
        refused,
        Err(Error::Map {
            source: MapError::WouldDiscard,
            ..
        })
    ));
    let copy = Array::zeros(DType::U8, &[3], Order::C).unwrap();
    let refused = copy.prefetch();
    assert!(matches!(
        refused,
        Err(Error::Map {
            source: MapError::NotMapped,
            ..
        })
    ));
}

#[test]
fn create_replaces_the_target_of_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let (file, link) = (
        directory.path().join("file.npy"),
        directory.path().join("link.npy"),
    );
    fs::write(&file, "old").unwrap();
    symlink(&file, &link).unwrap();
    let options = CreateOptions::new(DType::F64, [2, 3]).order(Order::F);
    // SAFETY: no other code writes or shortens the test's file.
    let mut array = unsafe { options.overwrite(true).create(&link) }.unwrap();
    array.view_mut::<f64>().unwrap()[[1, 2]] = 5.0;
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    // SAFETY: no other code writes or shortens the test's file.
    let again = unsafe { MapOptions::new().mode(Mode::Read).open(&file) }.unwrap();
    assert_eq!(again.view::<f64>().unwrap()[[1, 2]], 5.0);
    assert_eq!(again.strides(), [8, 16]);
    assert_eq!(
        array.buffer().map().unwrap().named_file_len(),
        Some(128 + 48)
    );
    fs::remove_file(&file).unwrap();
    assert_eq!(again.buffer().map().unwrap().named_file_len(), None);
}

/// Creates a file of ten bytes, and returns it with the fingerprint of a map of it.
fn fingerprinted(mode: Mode) -> (tempfile::TempDir, PathBuf, Fingerprint) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, [7; 10]).unwrap();
    let array = map(&MapOptions::new().mode(mode), &path).unwrap();
    let recorded = array.buffer().map().unwrap().fingerprint().unwrap();
    (directory, path, recorded)
}

/// Returns the property that has changed by a check; an empty text if none has.
fn changed(recorded: Fingerprint, path: &Path, mode: Mode) -> &'static str {
    let found = Fingerprint::of(&File::open(path).unwrap()).unwrap();
    match recorded.check(&found, mode) {
        Ok(()) => "",
        Err(MapError::Changed { what, .. }) => what,
        Err(error) => panic!("{error}"),
    }
}

const MODES: [Mode; 4] = [Mode::Read, Mode::ReadWrite, Mode::Write, Mode::CopyOnWrite];

#[test]
fn fingerprints_recognise_a_file() {
    for mode in [Mode::Read, Mode::ReadWrite, Mode::CopyOnWrite] {
        let (_directory, path, recorded) = fingerprinted(mode);
        for mode in MODES {
            assert_eq!(changed(recorded, &path, mode), "");
        }
        let metadata = fs::metadata(&path).unwrap();
        let modified =
            i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        assert_eq!(recorded.inode, metadata.ino());
        assert_eq!((recorded.len, recorded.modified), (10, modified));
    }
}

#[test]
fn fingerprints_detect_a_changed_file() {
    let (directory, path, recorded) = fingerprinted(Mode::Read);
    let compared = |mode| matches!(mode, Mode::Read | Mode::CopyOnWrite);

    let later = fs::metadata(&path).unwrap().modified().unwrap() + Duration::from_secs(1);
    let file = OpenOptions::new().append(true).open(&path).unwrap();
    file.set_modified(later).unwrap();
    for mode in MODES {
        let expected = if compared(mode) {
            "modification time"
        } else {
            ""
        };
        assert_eq!(changed(recorded, &path, mode), expected);
    }
    (&file).write_all(b"more").unwrap();
    for mode in MODES {
        assert_eq!(changed(recorded, &path, mode), "", "it has grown");
    }
    file.set_len(9).unwrap();
    for mode in MODES {
        assert_eq!(changed(recorded, &path, mode), "size");
    }
    let other = directory.path().join("other");
    fs::write(&other, [7; 10]).unwrap();
    fs::rename(&other, &path).unwrap();
    for mode in MODES {
        assert_eq!(changed(recorded, &path, mode), "inode");
    }
    let remade = Fingerprint {
        created: recorded.created.map(|created| created + 1),
        ..recorded
    };
    let unknown = Fingerprint {
        created: None,
        ..recorded
    };
    for mode in MODES {
        assert_eq!(
            recorded.check(&remade, mode).is_err(),
            recorded.created.is_some()
        );
        assert!(
            recorded.check(&unknown, mode).is_ok(),
            "another host can't tell"
        );
        assert!(unknown.check(&recorded, mode).is_ok());
    }
}

#[test]
fn a_file_whose_name_leads_elsewhere_has_no_fingerprint() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, [7; 10]).unwrap();
    let array = map(&MapOptions::new(), &path).unwrap();
    let map = array.buffer().map().unwrap();
    fs::rename(&path, directory.path().join("moved")).unwrap();
    assert_eq!(map.fingerprint(), None);
    fs::write(&path, [7; 10]).unwrap();
    assert_eq!(map.fingerprint(), None);
}

#[test]
#[cfg(target_os = "linux")]
fn options_of_madvise_lose_nothing_by_accident() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    let page = page_size();
    fs::write(&path, vec![7; 3 * page]).unwrap();
    let open = |mode, offset: usize| {
        let options = MapOptions::new().mode(mode).offset(offset as u64);
        map(&options.shape([2 * page]), &path).unwrap()
    };
    let private = open(Mode::CopyOnWrite, 0);
    let map = private.buffer().map().unwrap();
    let error = map.madvise(0..page, libc::MADV_DONTNEED);
    assert!(matches!(
        error,
        Err(Error::Map {
            source: MapError::WouldDiscard,
            ..
        })
    ));
    assert!(map.madvise(0..page, libc::MADV_REMOVE).is_err());
    let shared = open(Mode::ReadWrite, 100);
    let map = shared.buffer().map().unwrap();
    for range in [0..page, 0..2 * page, page - 100..page, 1..1] {
        let error = map.madvise(range, libc::MADV_REMOVE);
        assert!(matches!(
            error,
            Err(Error::Map {
                source: MapError::PartOfPage { .. },
                ..
            })
        ));
    }
    let error = map.madvise(0..2 * page + 1, libc::MADV_NORMAL);
    assert!(matches!(
        error,
        Err(Error::Map {
            source: MapError::OutOfRange { .. },
            ..
        })
    ));
    map.madvise(3..page, libc::MADV_DONTFORK).unwrap();
    let error = map.madvise(0..page, 12345);
    assert!(matches!(error, Err(Error::Io { .. })));
    assert_eq!(fs::read(&path).unwrap(), vec![7; 3 * page]);
}

#[test]
fn a_file_that_may_not_grow_takes_another_shape_dtype_or_offset() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.bin");
    fs::write(&path, [7; 6000]).unwrap();
    let options = MapOptions::new().grow(false).dtype(DType::F32).offset(4000);
    let refused = map(&options.clone().shape([1000]), &path);
    let message = refused.unwrap_err().to_string();
    assert!(
        message.ends_with("; give another shape, dtype or offset"),
        "{message}"
    );
    for other in [
        options.clone().shape([500]),
        options.clone().shape([1000]).dtype(DType::I16),
        options.shape([1000]).offset(2000),
    ] {
        map(&other, &path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 6000);
    }
}

#[test]
fn a_map_of_a_file_without_a_path_is_made_by_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.bin");
    fs::write(&path, [7; 6000]).unwrap();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    // SAFETY: no other code writes or shortens the test's file.
    let array = unsafe { MapOptions::new().map_file(&file, None) }.unwrap();
    let error = array.grow(8000).unwrap_err();
    assert!(error.to_string().contains("map it by its path"), "{error}");
    let array = map(&MapOptions::new(), &path).unwrap();
    assert_eq!(array.grow(8000).unwrap().shape(), [8000]);
}
