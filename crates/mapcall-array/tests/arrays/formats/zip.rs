//! Zip archives that contradict themselves, are damaged, or are larger than a test can write.

#![allow(
    clippy::panic,
    unsafe_code,
    reason = "a test fails by a panic, and maps its own files"
)]

use std::fs::{self, File};
use std::io::{Cursor, Seek, SeekFrom, Write};

use mapcall_array::format::{FormatError, Header, locate};
use mapcall_array::layout::Order;
use mapcall_array::map::MapError;
use mapcall_array::{DType, Error, MapOptions, Mode};

use super::{find, with_shape, written};
use crate::common::numpy;

/// A builder of zip archives whose directory can differ from the members.
pub(super) struct Zip {
    file: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

/// The record of an entry in the directory.
struct Record<'a> {
    name: &'a str,
    flags: u16,
    method: u16,
    compressed: u64,
    size: u64,
    offset: u64,
}

impl Zip {
    fn new() -> Self {
        Self {
            file: vec![],
            directory: vec![],
            count: 0,
        }
    }

    /// Adds an entry; `change` changes its record in the directory.
    fn add(mut self, name: &str, data: &[u8], change: impl FnOnce(&mut Record)) -> Self {
        let len = data.len() as u64;
        let offset = self.file.len() as u64;
        let mut record = Record {
            name,
            flags: 0,
            method: 0,
            compressed: len,
            size: len,
            offset,
        };
        self.file.extend(local_header(name, len));
        self.file.extend(data);
        change(&mut record);
        self.directory.extend(directory_record(&record));
        self.count += 1;
        self
    }

    pub(super) fn end(self) -> Vec<u8> {
        let (count, start) = (self.count, self.file.len() as u64);
        let end = end_record(count, self.directory.len() as u64, start);
        [self.file, self.directory, end].concat()
    }
}

fn local_header(name: &str, len: u64) -> Vec<u8> {
    let (short, extra) = zip64(&[len, len]);
    let mut bytes = b"PK\x03\x04\x2d\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    bytes.extend(short.concat());
    bytes.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
    bytes.extend(u16::try_from(extra.len()).unwrap().to_le_bytes());
    bytes.extend(name.as_bytes());
    bytes.extend(extra);
    bytes
}

fn directory_record(record: &Record) -> Vec<u8> {
    // The extra field has the two sizes in the opposite order.
    let (short, extra) = zip64(&[record.size, record.compressed, record.offset]);
    let mut bytes = b"PK\x01\x02\x2d\0\x2d\0".to_vec();
    bytes.extend(record.flags.to_le_bytes());
    bytes.extend(record.method.to_le_bytes());
    bytes.extend([0; 8]);
    bytes.extend(short[1]);
    bytes.extend(short[0]);
    bytes.extend(u16::try_from(record.name.len()).unwrap().to_le_bytes());
    bytes.extend(u16::try_from(extra.len()).unwrap().to_le_bytes());
    bytes.extend([0; 10]);
    bytes.extend(short[2]);
    bytes.extend(record.name.as_bytes());
    bytes.extend(extra);
    bytes
}

/// Returns numbers in 4 bytes each, and a zip64 extra field with those that don't fit.
fn zip64(numbers: &[u64]) -> (Vec<[u8; 4]>, Vec<u8>) {
    let mut extra = vec![];
    let short = numbers.iter().map(|&number| match u32::try_from(number) {
        Ok(short) if short < u32::MAX => short.to_le_bytes(),
        _ => {
            extra.extend(number.to_le_bytes());
            [0xff; 4]
        }
    });
    let short = short.collect();
    if !extra.is_empty() {
        let len = u16::try_from(extra.len()).unwrap();
        extra.splice(..0, [&1_u16.to_le_bytes()[..], &len.to_le_bytes()].concat());
    }
    (short, extra)
}

fn end_record(count: u16, len: u64, start: u64) -> Vec<u8> {
    let mut bytes = vec![];
    if start >= u64::from(u32::MAX) {
        bytes.extend(b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0");
        for number in [u64::from(count), u64::from(count), len, start] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(b"PK\x06\x07\0\0\0\0");
        bytes.extend((start + len).to_le_bytes());
        bytes.extend(1_u32.to_le_bytes());
    }
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    for number in [len, start] {
        bytes.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes.extend([0; 2]);
    bytes
}

fn honest(_: &mut Record) {}

fn array_file() -> Vec<u8> {
    with_shape("(8,)")
}

pub(super) fn two() -> Zip {
    Zip::new()
        .add("a.npy", &array_file(), honest)
        .add("b.npy", &array_file(), honest)
}

hostile! {
    zip_without_an_end: b"PK\x03\x04 and nothing".to_vec(), None =>
        FormatError::BadDirectory { .. }, ["directory", "cut short or damaged"];
    zip_cut_short: two().end()[..300].to_vec(), Some("a") => FormatError::BadDirectory { .. }, ["directory"];
    zip_directory_beyond_the_file: {
        let mut file = two().end();
        let at = file.len() - 6;
        file[at..at + 4].fill(0x7f);
        file
    }, Some("a") => FormatError::BadDirectory { .. }, ["directory"];
    zip_directory_of_rubbish: {
        let mut zip = two();
        zip.directory.fill(b'x');
        zip.end()
    }, Some("a") => FormatError::BadDirectory { .. }, ["directory"];
    zip_with_another_count: {
        let mut zip = two();
        zip.count = 7;
        zip.end()
    }, Some("a") => FormatError::MemberCount { claimed: 7, have: 2 }, ["list 7", "lists 2"];
    zip_without_members: Zip::new().end(), None =>
        FormatError::WhichMember { names } if names.is_empty(), ["none"];
    zip_with_two_members: two().end(), None =>
        FormatError::WhichMember { names } if *names == ["a", "b"], ["name of a member", "\"a\", \"b\""];
    zip_without_the_member: two().end(), Some("c") =>
        FormatError::NoSuchMember { .. }, ["\"c\"", "\"a\", \"b\""];
    zip_with_many_members: (0..30).fold(Zip::new(), |zip, i| zip.add(&format!("m{i}.npy"), b"", honest)).end(),
        Some("c") => FormatError::NoSuchMember { .. }, ["\"m9\" and 20 more"];
    zip_compressed: written("np.savez_compressed(f, a=np.zeros(9))").unwrap(), Some("a") =>
        FormatError::Compressed { method: 8, .. }, ["\"a\"", "method 8", "numpy.savez ", "numpy.load"];
    zip_encrypted: Zip::new().add("a.npy", &array_file(), |record| record.flags = 1).end(), None =>
        FormatError::Encrypted { .. }, ["\"a\"", "encrypted", "extract it"];
    zip_two_names: Zip::new().add("a.npy", &array_file(), |record| record.name = "b.npy").end(), None =>
        FormatError::BadMember { .. }, ["\"b\"", "two names"];
    zip_two_sizes: Zip::new().add("a.npy", &array_file(), |record| record.size += 1).end(), None =>
        FormatError::BadMember { .. }, ["two sizes"];
    zip_two_methods: {
        let mut zip = two();
        zip.file[8] = 8;
        zip.end()
    }, Some("a") => FormatError::BadMember { .. }, ["two ways"];
    zip_member_beyond_the_file: Zip::new().add("a.npy", &array_file(), |record| {
        (record.compressed, record.size) = (1 << 40, 1 << 40);
    }).end(), None => FormatError::MemberTruncated { .. }, ["ends at byte 1099511627811"];
    zip_member_of_all_bytes: Zip::new().add("a.npy", &array_file(), |record| {
        (record.compressed, record.size) = (u64::MAX, u64::MAX);
    }).end(), None => FormatError::BadDirectory { .. }, ["directory"];
    zip_member_into_the_directory: Zip::new().add("a.npy", &array_file(), |record| {
        (record.compressed, record.size) = (record.size + 1, record.size + 1);
    }).end(), None => FormatError::MemberTruncated { .. }, ["\"a\"", "before the directory"];
    zip_member_into_the_next: two().add("c.npy", b"", honest).add("a.npy", &array_file(), |record| {
        record.offset = 0;
        (record.compressed, record.size) = (record.size + 90, record.size + 90);
    }).end(), Some("a") => FormatError::MemberOverlap { .. }, ["overlap", "\"a\""];
    zip_member_shared: two().add("a.npy", b"", |record| record.offset = 0).end(), Some("a") =>
        FormatError::MemberOverlap { .. }, ["overlap"];
    zip_no_local_header: Zip::new().add("a.npy", &array_file(), |record| record.offset = 3).end(), None =>
        FormatError::BadDirectory { .. }, ["directory"];
    zip_local_header_beyond: Zip::new().add("a.npy", &array_file(), |record| record.offset = 1 << 50).end(),
        None => FormatError::BadDirectory { .. }, ["directory"];
    zip_member_is_no_npy: Zip::new().add("a.npy", b"text", honest).end(), None =>
        FormatError::Member { source, .. } if matches!(**source, FormatError::UnknownFormat { .. }),
        ["member \"a\"", "got text"];
    zip_member_cut_short: Zip::new().add("a.npy", &with_shape("(9,)"), honest).add("b", b"", honest).end(), None =>
        FormatError::Member { source, .. } if matches!(**source, FormatError::DataTruncated { .. }),
        ["member \"a\"", "(9,)"];
    zip_header_beyond_its_member: Zip::new().add("a.npy", &array_file()[..30], honest)
        .add("b.npy", &array_file(), honest).end(), Some("a") =>
        FormatError::Member { source, .. } if matches!(**source, FormatError::Truncated { have: 30, .. }),
        ["member \"a\"", "only 30"];
}

#[test]
fn members_are_chosen_as_numpy_chooses() {
    let short = with_shape("(1,)");
    let zip = |names: &[&str]| {
        names
            .iter()
            .enumerate()
            .fold(Zip::new(), |zip, (i, name)| {
                zip.add(name, &with_shape(&format!("({i},)")), honest)
            })
            .end()
    };
    let found = |file: &[u8], name| find(file, name).unwrap().header().shape()[0];
    assert_eq!(found(&zip(&["a.npy"]), None), 0);
    assert_eq!(found(&zip(&["readme.txt", "a.npy"]), None), 1);
    assert_eq!(found(&zip(&["dir/a.npy", "a.npy"]), Some("dir/a")), 0);
    // The complete name is preferred; of two equal names, the last one.
    assert_eq!(found(&zip(&["a", "a.npy"]), Some("a")), 0);
    assert_eq!(found(&zip(&["a.npy.npy", "a.npy"]), Some("a.npy")), 1);
    assert_eq!(found(&zip(&["a.npy", "b.npy", "a.npy"]), Some("a")), 2);
    // Only a comment may stand behind the directory.
    assert!(
        find(
            &[
                Zip::new().add("a.npy", &short, honest).end(),
                vec![0; 100_000]
            ]
            .concat(),
            None
        )
        .is_err()
    );
}

#[test]
fn names_without_the_flag_are_in_code_page_437() {
    let expected = numpy("[bytes([b]).decode('cp437') for b in range(1, 256)]").unwrap();
    for (byte, expected) in (1..=255_u8).zip(expected.as_array().unwrap()) {
        let mut file = Zip::new().add("?.npy", &array_file(), honest).end();
        let names = (0..file.len()).filter(|&at| file[at..].starts_with(b"?.npy"));
        for at in names.collect::<Vec<_>>() {
            file[at] = byte;
        }
        let name = expected.as_str().unwrap();
        let placement = find(&file, Some(name)).unwrap();
        assert_eq!(placement.member(), Some(name), "{byte:#x}");
    }
}

#[test]
fn a_damaged_member_is_found_by_its_checksum() {
    let sound = written("np.savez(f, a=np.arange(300), b=np.arange(9))").unwrap();
    for member in ["a", "b"] {
        let placement = find(&sound, Some(member)).unwrap();
        placement.verify(Cursor::new(&sound)).unwrap();
        let start = usize::try_from(placement.offset()).unwrap();
        for at in [0, 7, placement.header().nbytes() - 1] {
            let mut damaged = sound.clone();
            damaged[start + at] ^= 4;
            let error = placement.verify(Cursor::new(&damaged)).unwrap_err();
            let FormatError::Damaged {
                member: named,
                expected,
                found,
            } = &error
            else {
                panic!("{error}");
            };
            assert_eq!((&**named, expected != found), (member, true));
            // The other member is valid.
            let other = if member == "a" { "b" } else { "a" };
            find(&damaged, Some(other))
                .unwrap()
                .verify(Cursor::new(&damaged))
                .unwrap();
        }
        // A truncated member also has another checksum.
        let cut = &sound[..start + 4];
        assert!(matches!(
            placement.verify(Cursor::new(cut)),
            Err(FormatError::Damaged { .. })
        ));
    }
    let alone = written("np.save(f, np.arange(3))").unwrap();
    find(&alone, None)
        .unwrap()
        .verify(Cursor::new(&alone[..9]))
        .unwrap();
}

#[test]
fn members_are_never_written_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.npz");
    let bytes = written("np.savez(f, a=np.arange(3.0))").unwrap();
    fs::write(&path, &bytes).unwrap();
    for mode in [Mode::ReadWrite, Mode::Read, Mode::CopyOnWrite] {
        let options = MapOptions::new().mode(mode).verify(true);
        // SAFETY: no other code writes or shortens the temporary file.
        let array = unsafe { options.open(&path) };
        match array {
            Ok(array) => {
                assert_ne!(mode, Mode::ReadWrite);
                if mode == Mode::CopyOnWrite {
                    // SAFETY: the array is writeable and has 24 bytes, and no reference to them exists.
                    unsafe { array.as_mut_ptr().write_bytes(0, 24) };
                }
            }
            Err(Error::Map { source, .. }) => assert_eq!(
                source,
                MapError::WritesMember {
                    member: "a".into(),
                    mode: Mode::ReadWrite
                }
            ),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn archives_beyond_4_gib_open() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("big.npz");
    let mut file = File::create_new(&path).unwrap();

    let (big, small) = (5_u64 << 30, array_file());
    let header = Header::new(DType::U8, &[usize::try_from(big).unwrap()], Order::C).unwrap();
    let local = local_header("big.npy", header.end());
    file.write_all(&local).unwrap();
    file.write_all(&header.to_bytes().unwrap()).unwrap();
    let offset = local.len() as u64 + header.end();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(&local_header("small.npy", small.len() as u64))
        .unwrap();
    file.write_all(&small).unwrap();
    let start = file.stream_position().unwrap();
    let entry = |name, len, offset| {
        directory_record(&Record {
            name,
            flags: 0,
            method: 0,
            compressed: len,
            size: len,
            offset,
        })
    };
    let directory = [
        entry("big.npy", header.end(), 0),
        entry("small.npy", small.len() as u64, offset),
    ]
    .concat();
    file.write_all(&directory).unwrap();
    file.write_all(&end_record(2, directory.len() as u64, start))
        .unwrap();

    // Python's `zipfile` also reads this archive.
    let sizes = numpy(&format!(
        "[i.file_size for i in __import__('zipfile').ZipFile({path:?}).infolist()]"
    ));
    assert_eq!(
        sizes.unwrap(),
        serde_json::json!([header.end(), small.len()])
    );

    let mut file = File::open(&path).unwrap();
    let placement = locate(&mut file, Some("big")).unwrap();
    assert_eq!(placement.header().shape(), header.shape());
    assert_eq!(
        placement.offset(),
        local.len() as u64 + header.data_offset()
    );
    let placement = locate(&mut file, Some("small")).unwrap();
    assert_eq!(placement.header().shape(), [8]);
    assert!(placement.offset() > 5 << 30);
}

#[test]
fn a_directory_that_claims_more_than_memory_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = File::create_new(dir.path().join("claims.npz")).unwrap();
    let count = 1_u64 << 33;
    let start = count * 46 + (1 << 20);
    file.write_all(b"PK\x03\x04").unwrap();
    file.seek(SeekFrom::Start(count * 47 + (1 << 21))).unwrap();
    let end = file.stream_position().unwrap();
    let mut record = end_record(0xffff, count * 46, start);
    record[24..32].copy_from_slice(&count.to_le_bytes());
    record[32..40].copy_from_slice(&count.to_le_bytes());
    record[48..56].copy_from_slice(&(end - count * 46).to_le_bytes());
    record[64..72].copy_from_slice(&end.to_le_bytes());
    file.write_all(&record).unwrap();
    let error = locate(&mut file, None).unwrap_err();
    assert!(matches!(error, FormatError::BadDirectory { .. }), "{error}");
}
