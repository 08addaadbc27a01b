use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use memmap2::MmapRaw;

use super::{Advice, FileKind, MappedRange};
use crate::fork::Mutex;

/// Opens a file, but never a pipe, whose opening could wait for ever.
pub(crate) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(io::ErrorKind::InvalidInput.into()),
        _ => options.open(path),
    }
}

/// What a file is; devices are not told from other special files.
pub(crate) fn kind(file_type: FileType) -> FileKind {
    if file_type.is_file() {
        FileKind::Regular
    } else if file_type.is_dir() {
        FileKind::Other("directory")
    } else {
        FileKind::Other("special file")
    }
}

/// Nothing tells a file from another that later gets its name.
pub(crate) type Identity = ();

pub(crate) fn identity(_: &Metadata) -> Identity {}

pub(crate) fn inode(_: &Metadata) -> u64 {
    0
}

pub(crate) fn page_size_of(_: &File, _: &Metadata) -> usize {
    page_size()
}

/// Whether identities differ.
pub(crate) const TELLS_FILES_APART: bool = false;

pub(crate) fn mappings(_: Range<usize>) -> io::Result<Vec<MappedRange>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Nothing is known of disk space.
pub(crate) fn reserve(_: &File, _: u64, _: u64) -> io::Result<bool> {
    Ok(false)
}

pub(crate) fn unsupported() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

pub(crate) fn clear(_: &File, _: u64, _: bool) -> io::Result<bool> {
    Ok(false)
}

/// Writes all bytes at a place of a file.
pub(crate) fn write_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    // The place is the file's own: one thread at a time.
    static PLACE: Mutex<()> = Mutex::new(());
    let _alone = PLACE.lock();
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

/// Every system writes back in its own time.
pub(crate) fn write_back(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

/// What has been asked of no system can't be waited for.
pub(crate) fn wait_for(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

pub(crate) fn forget(_: &File, _: u64, _: u64) {}

pub(crate) fn available_memory() -> Option<u64> {
    None
}

/// Advice changes no result, so a system without it may take any.
pub(crate) fn advise(_: &MmapRaw, _: Range<usize>, _: Advice) -> io::Result<()> {
    Ok(())
}

pub(crate) fn madvise(_: &MmapRaw, _: Range<usize>, _: i32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn removes(_: i32, _: bool) -> bool {
    false
}

pub(crate) fn prefetch(_: &MmapRaw, _: Range<usize>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// No device is mapped, and files are as long as they say.
pub(crate) fn is_readable(_: &MmapRaw, _: usize) -> bool {
    true
}

pub(crate) fn residency(_: &MmapRaw, _: Range<usize>) -> io::Result<Vec<bool>> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn tells_residency(_: &Path) -> bool {
    false
}

/// That of most systems; nothing here needs the true one.
pub(crate) fn page_size() -> usize {
    4096
}

pub(crate) fn has_private_pages(_: &MmapRaw, _: Range<usize>) -> io::Result<bool> {
    Err(io::ErrorKind::Unsupported.into())
}
