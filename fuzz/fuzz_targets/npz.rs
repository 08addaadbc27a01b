//! Checks that every located member lies within the `.npz` file.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use mapcall_array::format::{locate, npz::Archive};

fuzz_target!(|file: &[u8]| {
    let Ok(archive) = Archive::read(Cursor::new(file)) else {
        return;
    };
    let names: Vec<&str> = archive.names().collect();
    for name in names.into_iter().take(8).map(Some).chain([None]) {
        if let Ok(member) = archive.find(name) {
            assert!(member.offset() + member.len() <= file.len() as u64);
            // The checksum may be wrong.
            let _ = member.verify(Cursor::new(file));
        }
        match locate(&mut Cursor::new(file), name) {
            Ok(placement) => {
                let nbytes = placement.header().nbytes() as u64;
                assert!(placement.offset() + nbytes <= file.len() as u64);
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
