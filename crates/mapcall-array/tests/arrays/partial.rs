//! Files that several processes write: each step repeated, and in another order.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use mapcall_array::format::Header;
use mapcall_array::layout::Order;
use mapcall_array::{DType, Error, PartialFile};

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap();
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = names
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn begin(path: &Path, token: u128) -> PartialFile {
    PartialFile::begin(path, DType::U8, &[10_000], Order::C, token).unwrap()
}

fn write(file: &PartialFile, offset: u64, bytes: &[u8]) {
    let opened = file.open().unwrap().unwrap();
    opened
        .write_all_at(bytes, file.data_offset + offset)
        .unwrap();
}

fn content(path: &Path) -> Vec<u8> {
    let mut file = File::open(path).unwrap();
    let header = Header::read(&mut file).unwrap();
    assert_eq!(
        (header.shape(), header.data_offset()),
        (&[10_000][..], 4096)
    );
    fs::read(path).unwrap().split_off(4096)
}

#[test]
fn the_same_token_finds_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let (file, other) = (begin(&path, 1), begin(&path, 2));
    assert_eq!(names(folder.path()).len(), 2);
    write(&file, 0, &[7; 5000]);
    write(&other, 0, &[9; 5000]);
    let again = begin(&path, 1);
    assert_eq!(again.partial, file.partial);
    assert_eq!(again.fingerprint.inode, file.fingerprint.inode);
    write(&again, 5000, &[8; 5000]);
    file.finish(false).unwrap();
    again.finish(true).unwrap();
    assert_eq!(content(&path), [[7; 5000], [8; 5000]].concat());
    assert!(file.open().unwrap().is_none());
    other.abandon().unwrap();
    other.abandon().unwrap();
    assert_eq!(names(folder.path()), ["a.npy"]);
    assert!(matches!(other.open(), Err(Error::Io { .. })), "it is gone");
}

#[test]
fn a_file_of_another_length_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let file = begin(&path, 1);
    let other = PartialFile::begin(&path, DType::U8, &[3], Order::C, 1);
    assert!(matches!(other, Err(Error::Map { .. })));
    fs::remove_file(&file.partial).unwrap();
    let again = begin(&path, 1);
    let is_same = again.fingerprint == file.fingerprint;
    // A file system that records no times of creation may give the inode again.
    assert!(is_same == file.open().is_ok());
}

#[test]
fn an_old_file_keeps_its_permissions_and_links() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    fs::write(&path, "old").unwrap();
    let file = begin(&path, 1);
    assert!(file.replaces && !file.is_copied);
    file.abandon().unwrap();

    fs::hard_link(&path, folder.path().join("b.npy")).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    let file = begin(&path, 2);
    assert!(file.is_copied);
    write(&file, 0, &[5; 10_000]);
    assert_eq!(fs::read(&path).unwrap(), b"old");
    for _ in 0..2 {
        file.finish(true).unwrap();
        assert_eq!(content(&path), [5; 10_000]);
    }
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
    file.abandon().unwrap();
    assert_eq!(names(folder.path()), ["a.npy", "b.npy"]);
}
