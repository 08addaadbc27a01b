use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use memmap2::MmapRaw;

use crate::fork::Mutex;
use crate::map::Advice;

/// Opens a file, but never a pipe, whose opening could wait for ever.
pub(crate) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(io::ErrorKind::InvalidInput.into()),
        _ => options.open(path),
    }
}

/// What a file that is not regular is.
pub(crate) fn kind(file_type: FileType) -> &'static str {
    if file_type.is_dir() {
        "directory"
    } else {
        "special file"
    }
}

/// Nothing tells a file from another that later gets its name.
pub(crate) type Identity = ();

pub(crate) fn identity(_: &Metadata) -> Identity {}

/// Every file has a name.
pub(crate) fn create_nameless(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn name(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn allocate(file: &File, len: u64) -> io::Result<()> {
    file.set_len(len)
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

/// Names go to the disk with their files.
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
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

pub(crate) fn prefetch(_: &MmapRaw, _: Range<usize>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
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
