//! Systems other than Linux: what the standard library has; everything else is an error or does nothing.

mod folder;
mod region;
mod signal;

use std::ffi::CStr;
use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;

use super::{Advice, FileKind, MappedRange};
use crate::fork::Mutex;
pub(crate) use folder::{
    Folder, ResolvedPath, copy_attributes, drop_set_id, find, has_other_names, is_same_file,
};
pub(crate) use region::{Region, replace_by_zeros, seal};
pub(crate) use signal::{has_handlers, install_handlers, remove_handlers};

/// Opens a regular file. Other files are refused, as opening a named pipe could block.
pub(crate) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(io::ErrorKind::InvalidInput.into()),
        _ => options.open(path),
    }
}

/// Returns the kind of a file. Devices are not distinguished from other special files.
pub(crate) fn kind(file_type: FileType) -> FileKind {
    if file_type.is_file() {
        FileKind::Regular
    } else if file_type.is_dir() {
        FileKind::Other("directory")
    } else {
        FileKind::Other("special file")
    }
}

/// No identity of a file is known on this system.
pub(crate) type Identity = ();

pub(crate) fn identity(_: &Metadata) -> Identity {}

pub(crate) fn inode(_: &Metadata) -> u64 {
    0
}

pub(crate) fn page_size_of(_: &File, _: &Metadata) -> usize {
    page_size()
}

/// Whether [`Identity`] differs between two files.
pub(crate) const HAS_IDENTITY: bool = false;

pub(crate) fn mappings(_: Range<usize>) -> io::Result<Vec<MappedRange>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns `false`, as no call to allocate disk space is known on this system.
pub(crate) fn reserve(_: &File, _: u64, _: u64) -> io::Result<bool> {
    Ok(false)
}

pub(crate) fn unsupported() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

pub(crate) fn clear(_: &File, _: u64, _: bool) -> io::Result<bool> {
    Ok(false)
}

/// Writes all bytes at an offset of a file.
pub(crate) fn write_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    // Seeking changes the position of the file, which all threads share, so one thread writes at a time.
    static POSITION: Mutex<()> = Mutex::new(());
    let _alone = POSITION.lock();
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

/// Writes bytes at an offset of a file.
///
/// # Safety
///
/// `bytes` points to `len` bytes that stay allocated and that no thread writes during the call.
#[allow(unsafe_code)]
pub(crate) unsafe fn write_from(
    file: &File,
    bytes: *const u8,
    len: usize,
    offset: u64,
) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    // SAFETY: the caller guarantees that the bytes are allocated, and that no thread writes them.
    let bytes = unsafe { std::slice::from_raw_parts(bytes, len) };
    write_at(file, bytes, offset)
}

/// Returns `true`, as no lock of files is used on this system.
pub(crate) fn try_lock(_: &File) -> io::Result<bool> {
    Ok(true)
}

pub(crate) fn unlock(_: &File) {}

/// Does nothing; the system writes files to the disk on its own schedule.
pub(crate) fn write_back(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

/// Does nothing, as [`write_back`] has started nothing.
pub(crate) fn wait_for(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

pub(crate) fn forget(_: &File, _: u64, _: u64) {}

/// Returns the length of a regular file that has a path.
pub(crate) fn named_len(path: &CStr, (): Identity) -> Option<u64> {
    let metadata = fs::metadata(path.to_str().ok()?).ok()?;
    metadata.is_file().then_some(metadata.len())
}

pub(crate) fn is_hole(_: &Path, _: u64) -> bool {
    false
}

pub(crate) fn can_read(_: &Path, _: u64) -> bool {
    true
}

pub(crate) fn is_full(_: &Path, _: usize) -> bool {
    false
}

/// Returns two addresses that no other thread has.
pub(crate) fn thread() -> (usize, usize) {
    thread_local!(static HERE: u8 = const { 0 });
    let here = HERE.with(|here| std::ptr::from_ref(here).addr());
    (here, here)
}

pub(crate) fn is_thread(_: usize) -> bool {
    true
}

pub(crate) fn total_memory() -> usize {
    0
}

pub(crate) fn available_memory() -> Option<u64> {
    None
}

pub(crate) fn removes(_: i32, _: bool) -> bool {
    false
}

pub(crate) fn reports_residency(_: &Path) -> bool {
    false
}

/// Returns the page size of most systems; no call on this system needs the true one.
pub(crate) fn page_size() -> usize {
    4096
}
