//! More faults than the log has room for, in a process of its own: the log is full for all threads.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "the test accesses pages that are gone")]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::fs::File;

use mapcall_array::{Array, MapOptions, Mode, guard};

const PAGE: usize = 4096;

fn read(array: &Array, at: usize) -> u8 {
    // SAFETY: the maps have four pages.
    unsafe { array.as_ptr().wrapping_add(at).read_volatile() }
}

#[test]
fn the_maps_tell_the_faults() {
    guard::install().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let shortened = |index: usize| {
        let path = folder.path().join(index.to_string());
        let file = File::create(&path).unwrap();
        file.set_len(4 * PAGE as u64).unwrap();
        // SAFETY: no typed view of the array is made.
        let array = unsafe { MapOptions::new().mode(Mode::Read).map(&path) }.unwrap();
        file.set_len(0).unwrap();
        array
    };
    let arrays: Vec<Array> = (0..600).map(shortened).collect();
    for array in &arrays {
        assert_eq!(read(array, PAGE), 0);
    }
    let check = |array: &Array| array.buffer().map().unwrap().check();
    for array in &arrays {
        check(array).unwrap_err();
    }
    // All pages have no access by now, so that each use is a fault again.
    for array in &arrays {
        assert_eq!(read(array, 2 * PAGE), 0);
        let faults = array.buffer().map().unwrap().faults();
        assert_eq!(
            faults
                .iter()
                .map(|fault| fault.file_offset)
                .collect::<Vec<_>>(),
            [2 * PAGE as u64]
        );
    }
}
