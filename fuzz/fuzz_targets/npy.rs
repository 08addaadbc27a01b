//! Checks that the located array lies within the `.npy` file, and that its header is the same after it
//! has been written and read, also in place and with another length.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use mapcall_array::format::{FormatError, GrowingHeader, Header, locate};

fuzz_target!(|file: &[u8]| {
    let placement = match locate(&mut Cursor::new(file), None) {
        Ok(placement) => placement,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let header = placement.header();
    assert!(placement.offset() + header.nbytes() as u64 <= file.len() as u64);
    match header.to_bytes() {
        Ok(bytes) => {
            let again = Header::read(&bytes[..]).expect("what was written can be read");
            assert_eq!(again.dtype(), header.dtype());
            assert_eq!(again.layout(), header.layout());
            assert_eq!(
                (again.order(), again.version()),
                (header.order(), header.version())
            );
        }
        Err(FormatError::HeaderTooLong { .. } | FormatError::NotLatin1 { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    let Ok(mut growing) = GrowingHeader::new(header.clone()) else {
        return;
    };
    let same = Header::read(growing.bytes()).expect("what was written can be read");
    assert_eq!(&same, header);
    let longer = growing.len() + 1;
    if growing.set_len(longer).is_ok() {
        let longer = Header::read(growing.bytes()).expect("what was written can be read");
        assert_eq!(&longer, growing.header());
        assert_eq!(longer.data_offset(), header.data_offset());
    }
});
