//! Faults of maps, in a process of its own: shortened files, closed maps, threads, long ranges.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "tests access pages that are gone")]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::fs::File;
use std::path::Path;
use std::thread;

use mapcall_array::guard::{self, Fault, Reason, ThreadId};
use mapcall_array::map::MapError;
use mapcall_array::{Array, Error, Map, MapOptions, Mode};

const PAGE: usize = 4096;

/// Makes a sparse file of a length, and maps it.
fn mapped(folder: &Path, mode: Mode, len: u64) -> (File, Array) {
    guard::install().unwrap();
    let path = folder.join("x.u8");
    let file = File::create(&path).unwrap();
    file.set_len(len).unwrap();
    // SAFETY: no typed view of the array is made.
    let array = unsafe { MapOptions::new().mode(mode).map(&path) }.unwrap();
    (file, array)
}

fn map(array: &Array) -> &Map {
    array.buffer().map().unwrap()
}

fn read(array: &Array, at: usize) -> u8 {
    assert!(at < map(array).len());
    // SAFETY: the byte belongs to the map.
    unsafe { array.as_ptr().wrapping_add(at).read_volatile() }
}

fn write(array: &Array, at: usize) {
    assert!(at < map(array).len());
    // SAFETY: the byte belongs to the map, which is writeable.
    unsafe {
        array
            .buffer()
            .as_mut_ptr()
            .wrapping_add(at)
            .write_volatile(7);
    };
}

#[track_caller]
fn one(faults: Vec<Fault>) -> Fault {
    let [fault] = <[Fault; 1]>::try_from(faults).unwrap();
    fault
}

#[test]
fn a_shortened_file_is_a_fault_at_each_use() {
    let folder = tempfile::tempdir().unwrap();
    let (file, array) = mapped(folder.path(), Mode::ReadWrite, 10 * PAGE as u64);
    write(&array, 3 * PAGE - 1);
    file.set_len(2 * PAGE as u64 + 5).unwrap();
    map(&array).check().unwrap();
    for at in [3 * PAGE, 3 * PAGE, 9 * PAGE + 7, 5 * PAGE] {
        assert_eq!(read(&array, at), 0);
        let fault = one(map(&array).faults());
        assert_eq!(
            (fault.reason, fault.file_offset),
            (Reason::Truncated, at as u64)
        );
        assert_eq!((fault.is_write, fault.thread), (false, ThreadId::current()));
        assert_eq!(fault.path.as_deref(), Some(&*folder.path().join("x.u8")));
        write(&array, at);
        assert!(one(map(&array).faults()).is_write);
        assert!(map(&array).faults().is_empty());
    }
    // The pages before the end are still the file's.
    write(&array, 2 * PAGE);
    assert_eq!(read(&array, 2 * PAGE), 7);
    assert!(map(&array).faults().is_empty());
    let lost = map(&array).check().unwrap_err();
    let expected = MapError::Lost {
        reason: Reason::Truncated,
    };
    assert!(matches!(lost, Error::Map { source, .. } if source == expected));
}

#[test]
fn a_file_without_its_name_is_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let (file, array) = mapped(folder.path(), Mode::ReadWrite, 1 << 30);
    std::fs::remove_file(folder.path().join("x.u8")).unwrap();
    file.set_len(0).unwrap();
    for at in (0..1 << 30).step_by(PAGE) {
        assert_eq!(read(&array, at), 0);
    }
    let fault = one(map(&array).faults());
    assert_eq!((fault.reason, fault.file_offset), (Reason::Truncated, 0));
    assert!(fault.signals < 40, "{} signals", fault.signals);
    for at in (0..1 << 30).step_by(PAGE).rev() {
        write(&array, at);
    }
    let fault = one(map(&array).faults());
    assert!(fault.signals < 40, "{} signals backwards", fault.signals);
}

#[test]
fn long_ranges_take_few_signals() {
    let folder = tempfile::tempdir().unwrap();
    let (file, array) = mapped(folder.path(), Mode::ReadWrite, 1 << 40);
    file.set_len(0).unwrap();
    for is_write in [false, true] {
        for at in (0..1 << 40).step_by(1 << 31) {
            if is_write {
                write(&array, at);
            } else {
                assert_eq!(read(&array, at), 0);
            }
        }
        let fault = one(map(&array).faults());
        assert_eq!(fault.is_write, is_write);
        assert!(fault.signals < 1000, "{} signals", fault.signals);
    }
}

#[test]
fn writes_to_a_gone_range_keep_little_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (file, array) = mapped(folder.path(), Mode::ReadWrite, 1 << 32);
    file.set_len(0).unwrap();
    for at in (0..1 << 32).step_by(PAGE) {
        write(&array, at);
    }
    let resident = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = resident.split(' ').nth(1).unwrap().parse().unwrap();
    let fault = one(map(&array).faults());
    assert!(fault.signals < 1000, "{} signals", fault.signals);
    assert!(pages * PAGE < 3 << 30, "{pages} pages are in memory");
}

#[test]
fn a_closed_map_gives_its_file_back() {
    let folder = tempfile::tempdir().unwrap();
    let (_file, array) = mapped(folder.path(), Mode::ReadWrite, 10 * PAGE as u64);
    write(&array, 5000);
    // SAFETY: no typed view exists.
    unsafe { map(&array).close() }.unwrap();
    // SAFETY: no typed view exists.
    unsafe { map(&array).close() }.unwrap();
    assert!(map(&array).is_closed());
    assert_eq!(std::fs::read(folder.path().join("x.u8")).unwrap()[5000], 7);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains(folder.path().to_str().unwrap()));
    for at in [5000, 0] {
        assert_eq!(read(&array, at), 0);
        let fault = one(map(&array).faults());
        assert_eq!(
            (fault.reason, fault.file_offset),
            (Reason::Closed, at as u64)
        );
    }
    assert_eq!(std::fs::read(folder.path().join("x.u8")).unwrap()[5000], 7);
    let refused = |error: Error| {
        matches!(
            error,
            Error::Map {
                source: MapError::Closed,
                ..
            }
        )
    };
    assert!(refused(map(&array).flush(0..10).unwrap_err()));
    assert!(refused(map(&array).prefetch(0..10).unwrap_err()));
}

#[test]
fn faults_belong_to_their_threads() {
    let folder = tempfile::tempdir().unwrap();
    let (file, array) = mapped(folder.path(), Mode::Read, 100 * PAGE as u64);
    file.set_len(0).unwrap();
    thread::scope(|scope| {
        for index in 0..8 {
            let array = &array;
            scope.spawn(move || {
                let here = ThreadId::current();
                for round in 0..200 {
                    let at = (index * 7 + round) % 100 * PAGE;
                    assert_eq!(read(array, at), 0);
                    let faults = guard::take(|pending| pending.thread == here);
                    assert!(faults.iter().all(|fault| fault.thread == here));
                    assert!(faults.iter().all(|fault| fault.file_offset == at as u64));
                }
            });
        }
    });
    assert!(map(&array).faults().is_empty());
}

#[test]
fn faults_of_a_dropped_map_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (file, array) = mapped(folder.path(), Mode::Read, 10 * PAGE as u64);
    file.set_len(0).unwrap();
    let here = thread::spawn(move || {
        read(&array, PAGE);
        drop(array);
        ThreadId::current()
    });
    let here = here.join().unwrap();
    let path = folder.path().join("x.u8");
    let fault = one(guard::take(|pending| pending.thread == here));
    assert_eq!((fault.path, fault.file_offset), (Some(path), PAGE as u64));
}

#[test]
fn a_private_map_keeps_its_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (file, array) = mapped(folder.path(), Mode::CopyOnWrite, 10 * PAGE as u64);
    write(&array, 0);
    write(&array, 5 * PAGE);
    file.set_len(PAGE as u64).unwrap();
    assert_eq!(read(&array, 0), 7);
    assert!(map(&array).faults().is_empty());
    // The system drops private pages behind the end, too.
    assert_eq!(read(&array, 5 * PAGE), 0);
    assert_eq!(one(map(&array).faults()).reason, Reason::Truncated);
}

#[test]
fn many_maps_leave_nothing_behind() {
    guard::install().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.u8");
    std::fs::write(&path, [7; PAGE]).unwrap();
    let lines = || {
        std::fs::read_to_string("/proc/self/maps")
            .unwrap()
            .lines()
            .count()
    };
    let before = lines();
    for _ in 0..1000 {
        let arrays = [(); 20].map(|()| {
            // SAFETY: no typed view of the array is made.
            unsafe { MapOptions::new().map(&path) }.unwrap()
        });
        for array in &arrays {
            // SAFETY: no typed view exists.
            unsafe { map(array).close() }.unwrap();
        }
    }
    assert!(lines() < before + 200);
}

/// Recurses until the stack is full.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    let block = std::hint::black_box([depth; 512]);
    if depth == u64::MAX {
        return 0;
    }
    recurse(depth + 1) + block.iter().sum::<u64>()
}

#[test]
#[ignore = "it ends the process; `a_stack_overflow_is_told_by_rust` runs it"]
fn overflows_the_stack() {
    let folder = tempfile::tempdir().unwrap();
    let (file, array) = mapped(folder.path(), Mode::Read, 10 * PAGE as u64);
    file.set_len(0).unwrap();
    read(&array, PAGE);
    one(map(&array).faults());
    recurse(0);
}

#[test]
fn a_stack_overflow_is_told_by_rust() {
    let mut test = std::process::Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "overflows_the_stack", "--ignored", "--nocapture"]);
    let output = test.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("has overflowed its stack"), "{said}");
    assert!(!output.status.success());
}

/// Returns the number of maps of a file that the system has.
fn maps_of(path: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let name = path.to_str().unwrap();
    maps.lines().filter(|line| line.ends_with(name)).count()
}

#[test]
#[ignore = "no guard may be installed; `closing_needs_a_guard_or_no_arrays` runs it"]
fn closes_without_a_guard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.u8");
    std::fs::write(&path, [7; 100]).unwrap();
    // SAFETY: no typed view of the array is made.
    let open = || unsafe { MapOptions::new().map(&path) }.unwrap();
    // SAFETY: no typed view of the array is made.
    let close = |array: &Array| unsafe { map(array).close() };
    let array = open();
    let message = close(&array).unwrap_err().to_string();
    let remedy = "drop them, or call guard::install()";
    assert!(message.ends_with(remedy), "{message}");
    assert_eq!((maps_of(&path), map(&array).is_closed()), (1, false));
    drop(array);
    assert_eq!(maps_of(&path), 0);
    let array = open();
    guard::install().unwrap();
    close(&array).unwrap();
    assert_eq!((maps_of(&path), map(&array).is_closed()), (0, true));
}

#[test]
fn closing_needs_a_guard_or_no_arrays() {
    let mut test = std::process::Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "closes_without_a_guard", "--ignored"]);
    let output = test.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}
