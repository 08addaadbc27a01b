#![allow(unsafe_code)]

use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use memmap2::{MmapRaw, UncheckedAdvice};
use rustix::fs::{Access, AtFlags, CWD, FallocateFlags, OFlags};
use rustix::io::Errno;
pub(crate) use rustix::param::page_size;

use crate::map::Advice;

/// Opens a file without waiting for the other end of a pipe.
pub(crate) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
}

/// What a file that is not regular is.
pub(crate) fn kind(file_type: FileType) -> &'static str {
    if file_type.is_dir() {
        "directory"
    } else if file_type.is_fifo() {
        "pipe"
    } else if file_type.is_socket() {
        "socket"
    } else {
        "device"
    }
}

/// What tells a file from another that later gets its name: device and inode.
pub(crate) type Identity = (u64, u64);

pub(crate) fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// Takes the disk space for a range of a file, whose length and bytes stay as they are; whether the file
/// system can.
///
/// It is asked first how much space is left: what can't fit would take all of it before it failed, and
/// other processes would find no space meanwhile.
pub(crate) fn reserve(file: &File, start: u64, end: u64) -> io::Result<bool> {
    check_space(file, start, end)?;
    fallocate(file, FallocateFlags::empty(), start, end).inspect_err(|_| {
        // What was taken behind the file's end goes back; of two errors the first is the one to report.
        if let Ok(metadata) = file.metadata() {
            drop(file.set_len(metadata.len()));
        }
    })
}

fn check_space(file: &File, start: u64, end: u64) -> io::Result<()> {
    /// The unit of `st_blocks`, whatever that of the file system is.
    const BLOCK: u64 = 512;
    let (has, space) = (
        rustix::fs::fstat(file)?.st_blocks,
        rustix::fs::fstatvfs(file)?,
    );
    // File systems without a size of their own say 0.
    if space.f_blocks == 0 {
        return Ok(());
    }
    // SAFETY: it takes nothing and always succeeds.
    let is_root = unsafe { libc::geteuid() } == 0;
    let blocks = if is_root {
        space.f_bfree
    } else {
        space.f_bavail
    };
    let has = u64::try_from(has).unwrap_or(0).saturating_mul(BLOCK);
    let needed = end.saturating_sub(start).saturating_sub(has);
    if needed > blocks.saturating_mul(space.f_frsize) {
        return Err(Errno::NOSPC.into());
    }
    Ok(())
}

/// `fallocate` without a change of the length, and whether the file system has it.
fn fallocate(file: &File, how: FallocateFlags, start: u64, end: u64) -> io::Result<bool> {
    const LEAST: u64 = 1 << 20;
    let how = how | FallocateFlags::KEEP_SIZE;
    let (mut start, mut piece) = (start, u64::MAX);
    while start < end {
        let len = piece.min(end - start);
        match rustix::fs::fallocate(file, how, start, len) {
            Ok(()) => start += len,
            // tmpfs gives back all of a piece when a signal comes.
            Err(Errno::INTR) => piece = (len / 2).max(LEAST),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// The error of a file system that can't do what it was asked for.
pub(crate) fn unsupported() -> io::Error {
    Errno::OPNOTSUPP.into()
}

/// Makes the first bytes of a file zeros without making it shorter, so that other maps of them stay
/// valid; whether the file system can. Their disk space is kept, or given back.
pub(crate) fn clear(file: &File, len: u64, keeps_space: bool) -> io::Result<bool> {
    Ok(
        !keeps_space && fallocate(file, FallocateFlags::PUNCH_HOLE, 0, len)?
            || fallocate(file, FallocateFlags::ZERO_RANGE, 0, len)?,
    )
}

/// Writes all bytes at a place of a file.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// Starts to write a range of a file to the disk.
pub(crate) fn write_back(file: &File, offset: u64, len: u64) -> io::Result<()> {
    sync_range(file, offset, len, libc::SYNC_FILE_RANGE_WRITE)
}

fn sync_range(file: &File, offset: u64, len: u64, how: libc::c_uint) -> io::Result<()> {
    let signed = |number: u64| {
        i64::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
    };
    let (offset, len) = (signed(offset)?, signed(len)?);
    // SAFETY: it takes a descriptor and numbers.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, how) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // A file system without it writes back in its own time.
            error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
            error => Err(error),
        },
    }
}

/// Waits until a range of a file, which is being written to the disk, is there.
pub(crate) fn wait_for(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    sync_range(file, offset, len, all)
}

/// Tells that a range of a file won't be needed soon.
pub(crate) fn forget(file: &File, offset: u64, len: u64) {
    // It is advice: where it can't be given, nothing changes.
    let _ = rustix::fs::fadvise(
        file,
        offset,
        NonZeroU64::new(len),
        rustix::fs::Advice::DontNeed,
    );
}

/// What the system has free, or the control group, if that is less.
pub(crate) fn available_memory() -> Option<u64> {
    let known = fs::read_to_string("/proc/meminfo").ok()?;
    let line = known
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups
        .lines()
        .filter_map(|line| left_in_group(Path::new("/sys/fs/cgroup"), line));
    Some(limits.fold(kilobytes * 1024, u64::min))
}

/// What a control group may still take, by its own limit and those around it; of a line of
/// `/proc/self/cgroup`.
fn left_in_group(root: &Path, line: &str) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, group) = (fields.next()?, fields.next()?.trim_start_matches('/'));
    let mut controllers = controllers.split(',');
    let (root, limit, usage) = match controllers.clone().next() {
        Some("") => (root.to_path_buf(), "memory.max", "memory.current"),
        _ if controllers.any(|controller| controller == "memory") => (
            root.join("memory"),
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
        ),
        _ => return None,
    };
    // A container sees its own group as the root, by whatever name it has outside.
    let groups = Path::new(group).ancestors().map(|group| root.join(group));
    groups
        .filter_map(|folder| {
            let read = |name| {
                let text = fs::read_to_string(folder.join(name)).ok()?;
                text.trim().parse::<u64>().ok()
            };
            let (limit, used) = (read(limit)?, read(usage)?);
            // What is cached counts as used here, though it makes room.
            Some(limit.saturating_sub(used).max(limit / 2))
        })
        .min()
}

pub(crate) fn advise(map: &MmapRaw, range: Range<usize>, advice: Advice) -> io::Result<()> {
    let (start, len) = (range.start, range.len());
    let advice = match advice {
        Advice::Normal => memmap2::Advice::Normal,
        Advice::Random => memmap2::Advice::Random,
        Advice::Sequential => memmap2::Advice::Sequential,
        Advice::WillNeed => memmap2::Advice::WillNeed,
        Advice::HugePage => memmap2::Advice::HugePage,
        // SAFETY: the caller asks this of shared maps only, whose pages keep their content.
        Advice::DontNeed => unsafe {
            return map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, len);
        },
    };
    map.advise_range(advice, start, len)
}

pub(crate) fn prefetch(map: &MmapRaw, range: Range<usize>) -> io::Result<()> {
    match map.advise_range(memmap2::Advice::PopulateRead, range.start, range.len()) {
        // Linux before 5.14 can only be asked to start.
        Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
            map.advise_range(memmap2::Advice::WillNeed, range.start, range.len())
        }
        result => result,
    }
}

pub(crate) fn residency(map: &MmapRaw, range: Range<usize>) -> io::Result<Vec<bool>> {
    let first = map.as_mut_ptr().wrapping_add(range.start);
    let into_page = first.addr() % page_size();
    let (first, len) = (first.wrapping_sub(into_page), into_page + range.len());
    let mut pages = vec![0_u8; len.div_ceil(page_size())];
    // SAFETY: `first` is a page of the map, `pages` has a byte for each page of `len`.
    match unsafe { libc::mincore(first.cast(), len, pages.as_mut_ptr()) } {
        0 => Ok(pages.into_iter().map(|page| page & 1 == 1).collect()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether [`residency`] tells this process the truth about a file: as the kernel has it, to the
/// owner and to those who may write the file.
pub(crate) fn tells_residency(path: &Path) -> bool {
    // SAFETY: it takes nothing and always succeeds.
    let user = unsafe { libc::geteuid() };
    rustix::fs::stat(path).is_ok_and(|file| file.st_uid == user)
        || rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

/// Whether a page of a private map is no longer the file's; from `/proc/self/pagemap`.
pub(crate) fn has_private_pages(map: &MmapRaw, range: Range<usize>) -> io::Result<bool> {
    const ENTRY: usize = size_of::<u64>();
    const SWAPPED_OR_PRESENT: u64 = 0b11 << 62;
    const FILE_OR_SHARED: u64 = 1 << 61;

    let pagemap = File::open("/proc/self/pagemap")?;
    let first = map.as_ptr().wrapping_add(range.start).addr() / page_size();
    let last = map.as_ptr().wrapping_add(range.end - 1).addr() / page_size();
    let mut entries = vec![0_u8; 8192 * ENTRY];
    let mut page = first;
    while page <= last {
        let len = entries.len().min((last - page + 1) * ENTRY);
        let entries = entries.get_mut(..len).unwrap_or_default();
        pagemap.read_exact_at(entries, (page * ENTRY) as u64)?;
        let (entries, _) = entries.as_chunks::<ENTRY>();
        let is_private = |entry: &[u8; ENTRY]| {
            let entry = u64::from_ne_bytes(*entry);
            entry & SWAPPED_OR_PRESENT != 0 && entry & FILE_OR_SHARED == 0
        };
        if entries.iter().any(is_private) {
            return Ok(true);
        }
        page += entries.len();
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

    use super::*;

    /// Files as the system has them, in a folder of their own.
    fn group(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
        root
    }

    #[test]
    fn limits_of_version_2() {
        let root = group(&[
            ("a/memory.max", "1000"),
            ("a/memory.current", "300"),
            ("a/b/memory.max", "max"),
            ("a/b/memory.current", "200"),
            ("a/b/c/memory.max", "4000"),
            ("a/b/c/memory.current", "100"),
        ]);
        let left = |line| left_in_group(root.path(), line);
        assert_eq!(left("0::/a"), Some(700));
        assert_eq!(left("0::/a/b"), Some(700), "the limit around it");
        assert_eq!(left("0::/a/b/c"), Some(700));
        assert_eq!(left("0::/"), None);
        assert_eq!(left("0::/gone"), None);
        assert_eq!(left(""), None);
        assert_eq!(left("0"), None);
    }

    #[test]
    fn limits_of_version_1() {
        let root = group(&[
            ("memory/memory.limit_in_bytes", "9223372036854771712"),
            ("memory/memory.usage_in_bytes", "5"),
            ("memory/a/memory.limit_in_bytes", "1000"),
            ("memory/a/memory.usage_in_bytes", "900"),
        ]);
        let left = |line| left_in_group(root.path(), line);
        assert_eq!(left("4:memory:/a"), Some(500), "what is cached makes room");
        assert_eq!(left("4:cpu,memory:/a"), Some(500));
        assert_eq!(left("4:cpu:/a"), None);
        let outside = left("4:memory:/docker/1234");
        assert_eq!(
            outside,
            Some(9_223_372_036_854_771_712 - 5),
            "a container's root"
        );
        assert_eq!(left("0::/a"), None);
    }

    #[test]
    fn this_system_tells() {
        assert!(available_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
