//! Linux: system calls on files, maps and memory.

#![allow(unsafe_code)]

mod folder;
mod region;
mod signal;

use std::ffi::CStr;
use std::fs::{self, File, FileType, Metadata, OpenOptions};
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FallocateFlags, FlockOperation, OFlags, SeekFrom};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
pub(crate) use rustix::param::page_size;

use super::{Advice, FileKind, MappedRange};
pub(crate) use folder::{
    Folder, ResolvedPath, copy_attributes, drop_set_id, find, has_other_names, is_same_file,
};
pub(crate) use region::{Region, replace_by_zeros, seal};
pub(crate) use signal::{has_handlers, install_handlers, remove_handlers};

/// Opens a file; the call does not wait for the other end of a named pipe.
pub(crate) fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(path)
}

/// Returns the kind of a file.
pub(crate) fn kind(file_type: FileType) -> FileKind {
    if file_type.is_file() {
        FileKind::Regular
    } else if file_type.is_dir() {
        FileKind::Other("directory")
    } else if file_type.is_fifo() {
        FileKind::Other("pipe")
    } else if file_type.is_socket() {
        FileKind::Other("socket")
    } else if file_type.is_block_device() {
        FileKind::BlockDevice
    } else {
        FileKind::CharacterDevice
    }
}

/// The device and inode number, which identify an open file even after another file got its name.
pub(crate) type Identity = (u64, u64);

pub(crate) fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

pub(crate) fn inode(metadata: &Metadata) -> u64 {
    metadata.ino()
}

/// Returns the size in bytes of a page of a file in memory: that of a huge page on hugetlbfs.
pub(crate) fn page_size_of(file: &File, metadata: &Metadata) -> usize {
    let page = usize::try_from(metadata.blksize()).unwrap_or(0);
    // Other file systems may have large blocks, too, so the type of the file system is compared.
    let is_huge = page > page_size()
        && page.is_power_of_two()
        && rustix::fs::fstatfs(file)
            .is_ok_and(|system| i128::from(system.f_type) == i128::from(libc::HUGETLBFS_MAGIC));
    if is_huge { page } else { page_size() }
}

/// Whether [`Identity`] differs between two files.
pub(crate) const HAS_IDENTITY: bool = true;

/// Returns the mappings of files that overlap a range of addresses.
pub(crate) fn mappings(addresses: Range<usize>) -> io::Result<Vec<MappedRange>> {
    // `/proc/self/maps` is empty after the first thread of the process has ended.
    const MAPS: &str = "/proc/thread-self/maps";
    let maps = File::open(MAPS)?;
    let mut found = Vec::new();
    let mut start = addresses.start;
    while start < addresses.end {
        match mapping_from(&maps, start) {
            Ok((mapping, range)) if range.start < addresses.end => {
                found.push(mapping);
                start = range.end;
            }
            Ok(_) | Err(Errno::NOENT) => break,
            // Linux before 6.11 has no `PROCMAP_QUERY`.
            Err(Errno::NOTTY | Errno::INVAL) => {
                return Ok(mappings_in(&fs::read_to_string(MAPS)?, &addresses));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// Returns the first mapping of a file at an address or behind it, by `PROCMAP_QUERY` (`<linux/fs.h>`).
fn mapping_from(maps: &File, address: usize) -> Result<(MappedRange, Range<usize>), Errno> {
    const COVERING_OR_NEXT: u64 = 0x10;
    const FILE_BACKED: u64 = 0x20;
    const SHARED: u64 = 0x08;
    const QUERY: Opcode = opcode::read_write::<Query>(b'f', 17);

    #[repr(C)]
    #[derive(Default)]
    struct Query {
        size: u64,
        asked: u64,
        address: u64,
        start: u64,
        end: u64,
        flags: u64,
        page_size: u64,
        offset: u64,
        inode: u64,
        device_major: u32,
        device_minor: u32,
        name_size: u32,
        build_id_size: u32,
        name: u64,
        build_id: u64,
    }

    let mut query = Query {
        size: size_of::<Query>() as u64,
        asked: COVERING_OR_NEXT | FILE_BACKED,
        address: address as u64,
        ..Query::default()
    };
    // SAFETY: `QUERY` is the number of `PROCMAP_QUERY`, whose argument is a `procmap_query`; `size` is its
    // size.
    let question = unsafe { Updater::<QUERY, Query>::new(&mut query) };
    // SAFETY: the kernel writes only to `query`: it copies no name and no build id, as their sizes are 0.
    unsafe { ioctl(maps, question) }?;
    let address = |address| usize::try_from(address).map_err(|_| Errno::OVERFLOW);
    let range = address(query.start)?..address(query.end)?;
    let device = rustix::fs::makedev(query.device_major, query.device_minor);
    let mapping = MappedRange {
        start: range.start,
        len: range.len(),
        file: (device, query.inode),
        offset: query.offset,
        is_shared: query.flags & SHARED != 0,
    };
    Ok((mapping, range))
}

/// Parses the mappings of files that overlap a range of addresses from the text of `/proc/PID/maps`.
fn mappings_in(maps: &str, addresses: &Range<usize>) -> Vec<MappedRange> {
    let parse = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let range = usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?;
        if range.end <= addresses.start || addresses.end <= range.start {
            return None;
        }
        let is_shared = fields.next()?.ends_with('s');
        let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
        let (major, minor) = fields.next()?.split_once(':')?;
        let device = rustix::fs::makedev(
            u32::from_str_radix(major, 16).ok()?,
            u32::from_str_radix(minor, 16).ok()?,
        );
        let inode: u64 = fields.next()?.parse().ok()?;
        // Anonymous memory has device 0 and inode 0.
        let is_file = (device, inode) != (0, 0);
        is_file.then(|| MappedRange {
            start: range.start,
            len: range.len(),
            file: (device, inode),
            offset,
            is_shared,
        })
    };
    maps.lines().filter_map(parse).collect()
}

/// Allocates the disk space for a range of a file, whose length and bytes do not change. Returns `false` if
/// the file system has no `fallocate`.
///
/// The free space is compared first: an allocation that does not fit would take all free space before it
/// failed, and writes of other processes would fail meanwhile.
pub(crate) fn reserve(file: &File, start: u64, end: u64) -> io::Result<bool> {
    check_space(file, start, end)?;
    fallocate(file, FallocateFlags::empty(), start, end).inspect_err(|_| {
        // Setting the length frees the space behind the end of the file. An error of it is ignored, as the
        // error of `fallocate` is reported.
        if let Ok(metadata) = file.metadata() {
            drop(file.set_len(metadata.len()));
        }
    })
}

fn check_space(file: &File, start: u64, end: u64) -> io::Result<()> {
    /// The unit of `st_blocks` in bytes, on every file system.
    const BLOCK: u64 = 512;
    let (has, space) = (
        rustix::fs::fstat(file)?.st_blocks,
        rustix::fs::fstatvfs(file)?,
    );
    // SAFETY: `geteuid` has no arguments and always succeeds.
    let is_root = unsafe { libc::geteuid() } == 0;
    let blocks = if is_root {
        space.f_bfree
    } else {
        space.f_bavail
    };
    let left = if space.f_blocks > 0 {
        Some(blocks.saturating_mul(space.f_frsize))
    } else if is_in_memory(file)? {
        available_memory()
    } else {
        None
    };
    let has = u64::try_from(has).unwrap_or(0).saturating_mul(BLOCK);
    let needed = end.saturating_sub(start).saturating_sub(has);
    if left.is_some_and(|left| needed > left) {
        return Err(Errno::NOSPC.into());
    }
    Ok(())
}

/// Returns whether a file is stored in memory only (tmpfs, ramfs). Without a size limit, such a file system
/// reports no number of blocks.
fn is_in_memory(file: &File) -> io::Result<bool> {
    const TMPFS: u32 = 0x0102_1994;
    const RAMFS: u32 = 0x8584_58f6;
    let kind = rustix::fs::fstatfs(file)?.f_type;
    Ok([TMPFS, RAMFS].into_iter().any(|known| kind == known.into()))
}

/// Calls `fallocate` so that the length does not change. Returns `false` if the file system does not have it.
fn fallocate(file: &File, how: FallocateFlags, start: u64, end: u64) -> io::Result<bool> {
    const MIN_PIECE: u64 = 1 << 20;
    let how = how | FallocateFlags::KEEP_SIZE;
    let (mut start, mut piece) = (start, u64::MAX);
    while start < end {
        let len = piece.min(end - start);
        match rustix::fs::fallocate(file, how, start, len) {
            Ok(()) => start += len,
            // On a signal, tmpfs frees all that this call has allocated, so the next call allocates less.
            Err(Errno::INTR) => piece = (len / 2).max(MIN_PIECE),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// Returns the error of an operation that the file system does not have.
pub(crate) fn unsupported() -> io::Error {
    Errno::OPNOTSUPP.into()
}

/// Sets the first `len` bytes of a file to zero without making it shorter, so that other maps of them stay
/// valid. Their disk space is kept if `keeps_space`, and freed otherwise if possible. Returns `false` if the
/// file system has neither operation.
pub(crate) fn clear(file: &File, len: u64, keeps_space: bool) -> io::Result<bool> {
    Ok(
        !keeps_space && fallocate(file, FallocateFlags::PUNCH_HOLE, 0, len)?
            || fallocate(file, FallocateFlags::ZERO_RANGE, 0, len)?,
    )
}

/// Writes all bytes at an offset of a file.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// Writes bytes at an offset of a file.
///
/// # Safety
///
/// `bytes` points to `len` bytes that stay allocated during the call; other threads may write them. If their
/// pages are gone (a map of a file that has been shortened), the call fails.
pub(crate) unsafe fn write_from(
    file: &File,
    bytes: *const u8,
    len: usize,
    offset: u64,
) -> io::Result<()> {
    let mut done = 0;
    while done < len {
        let at = i64::try_from(offset.saturating_add(done as u64)).map_err(|_| Errno::FBIG)?;
        let rest = bytes.wrapping_add(done).cast();
        // SAFETY: the caller guarantees that the bytes are allocated; the kernel only reads them.
        let written = unsafe { libc::pwrite(file.as_raw_fd(), rest, len - done, at) };
        match usize::try_from(written) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => done += written,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    Ok(())
}

/// Takes the advisory lock of a file (`flock`), which belongs to the open file and its copies in forked
/// processes; returns `false` if another open file has it. Returns `true` on file systems without locks.
pub(crate) fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) | Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Releases the advisory lock of a file, also for its copies in forked processes.
pub(crate) fn unlock(file: &File) {
    // It fails only on file systems without locks.
    let _ = rustix::fs::flock(file, FlockOperation::Unlock);
}

/// Starts to write a range of a file to the disk, and does not wait for it.
pub(crate) fn write_back(file: &File, offset: u64, len: u64) -> io::Result<()> {
    sync_range(file, offset, len, libc::SYNC_FILE_RANGE_WRITE)
}

fn sync_range(file: &File, offset: u64, len: u64, how: libc::c_uint) -> io::Result<()> {
    let signed = |number: u64| {
        i64::try_from(number).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
    };
    let (offset, len) = (signed(offset)?, signed(len)?);
    // SAFETY: the arguments are an open descriptor and numbers; no memory is passed.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), offset, len, how) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // Without this call, the system writes the range on its own schedule.
            error if error.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
            error => Err(error),
        },
    }
}

/// Writes a range of a file to the disk, and waits until it is there.
pub(crate) fn wait_for(file: &File, offset: u64, len: u64) -> io::Result<()> {
    let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    sync_range(file, offset, len, all)
}

/// Advises the system to remove a range of a file from its cache.
pub(crate) fn forget(file: &File, offset: u64, len: u64) {
    // Advice changes no data, so errors are ignored.
    let _ = rustix::fs::fadvise(
        file,
        offset,
        NonZeroU64::new(len),
        rustix::fs::Advice::DontNeed,
    );
}

/// Returns the length of a regular file that has a path and an identity; `None` if another file has the path.
/// A signal handler may call this: it is one call of the system.
pub(crate) fn named_len(path: &CStr, identity: Identity) -> Option<u64> {
    let found = rustix::fs::stat(path).ok()?;
    let is_it = (found.st_dev, found.st_ino) == identity
        && rustix::fs::FileType::from_raw_mode(found.st_mode).is_file();
    is_it.then(|| u64::try_from(found.st_size).ok()).flatten()
}

/// Returns whether a byte of a file lies in a hole, which has no space on the disk.
pub(crate) fn is_hole(path: &Path, offset: u64) -> bool {
    let Ok(file) = open(OpenOptions::new().read(true), path) else {
        return false;
    };
    let page = page_size() as u64;
    match rustix::fs::seek(&file, SeekFrom::Data(offset)) {
        Ok(data) => data / page > offset / page,
        // No data follows.
        Err(error) => error == Errno::NXIO,
    }
}

/// Returns whether the device can read a byte of a file.
pub(crate) fn can_read(path: &Path, offset: u64) -> bool {
    let file = open(OpenOptions::new().read(true), path);
    file.is_ok_and(|file| file.read_at(&mut [0], offset).is_ok())
}

/// Returns whether the file system of a file has less free space than a number of bytes.
pub(crate) fn is_full(path: &Path, needed: usize) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|system| {
        system.f_blocks > 0 && system.f_bavail.saturating_mul(system.f_frsize) < needed as u64
    })
}

/// Returns the number and the handle of this thread. A signal handler may call this.
pub(crate) fn thread() -> (usize, usize) {
    // SAFETY: `gettid` has no arguments and always succeeds.
    let number = unsafe { libc::gettid() };
    // SAFETY: `pthread_self` has no arguments and always succeeds.
    let handle = unsafe { libc::pthread_self() };
    (
        usize::try_from(number).unwrap_or(0),
        usize::try_from(handle).unwrap_or(0),
    )
}

/// Returns whether this process has a thread of a number.
pub(crate) fn is_thread(number: usize) -> bool {
    let Ok(number) = libc::pid_t::try_from(number) else {
        return false;
    };
    // SAFETY: `getpid` has no arguments and always succeeds.
    let process = unsafe { libc::getpid() };
    // SAFETY: signal 0 is not sent; the call asks only whether it could be.
    unsafe { libc::syscall(libc::SYS_tgkill, process, number, 0) == 0 }
}

/// Returns the size of the memory in bytes.
pub(crate) fn total_memory() -> usize {
    // SAFETY: the call takes a number and reads no memory.
    let pages = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) };
    usize::try_from(pages).map_or(0, |pages| pages.saturating_mul(page_size()))
}

/// Returns the number of bytes that are available in the system or in the control group, whichever is less.
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

/// Returns the number of bytes that a control group may still allocate, by its own limit and the limits of
/// its parents. `line` is a line of `/proc/self/cgroup`.
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
    // In a container, the root is the container's own group, although `line` may have the path on the host.
    let groups = Path::new(group).ancestors().map(|group| root.join(group));
    groups
        .filter_map(|folder| {
            let read = |name| {
                let text = fs::read_to_string(folder.join(name)).ok()?;
                text.trim().parse::<u64>().ok()
            };
            let (limit, used) = (read(limit)?, read(usage)?);
            // `used` includes cached pages, which the system can reclaim, so at least half of the limit
            // counts as available.
            Some(limit.saturating_sub(used).max(limit / 2))
        })
        .min()
}

/// Returns whether an option of `madvise` discards content that can't be read again: changes of a private
/// map, or bytes of the file.
pub(crate) fn removes(option: i32, is_private: bool) -> bool {
    match option {
        // `MADV_REMOVE` punches a hole in the file; the system refuses it for private maps.
        libc::MADV_REMOVE => !is_private,
        libc::MADV_DONTNEED | MADV_DONTNEED_LOCKED => is_private,
        _ => false,
    }
}

/// `MADV_DONTNEED` for locked pages, which the crate `libc` lacks.
const MADV_DONTNEED_LOCKED: i32 = 24;

/// Returns whether [`Region::residency`] is true for a file: the kernel reports it to processes that own the file or
/// may write it (`can_do_mincore` in `mm/mincore.c`).
pub(crate) fn reports_residency(path: &Path) -> bool {
    // SAFETY: `geteuid` has no arguments and always succeeds.
    let user = unsafe { libc::geteuid() };
    rustix::fs::stat(path).is_ok_and(|file| file.st_uid == user)
        || rustix::fs::accessat(CWD, path, rustix::fs::Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

    use super::*;

    #[test]
    fn both_queries_for_mappings_agree() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(20 * page_size() as u64).unwrap();
        let map = |offset: usize, pages: usize| {
            let mut options = memmap2::MmapOptions::new();
            options.offset((offset * page_size()) as u64);
            options.len(pages * page_size()).map_raw(&file).unwrap()
        };
        let (one, other) = (map(3, 10), map(5, 15));
        let text = fs::read_to_string("/proc/self/maps").unwrap();
        let stack = [0_u8; 10];
        for (start, len) in [
            (one.as_ptr().addr(), one.len()),
            (one.as_ptr().addr() + 5000, 3),
            (other.as_ptr().addr() + 10, 8 * page_size()),
            (stack.as_ptr().addr(), stack.len()),
            // All mappings, except those of the kernel at higher addresses.
            (0, 1 << 46),
        ] {
            let range = start..start + len;
            assert_eq!(mappings(range.clone()).unwrap(), mappings_in(&text, &range));
        }
        let found = mappings(other.as_ptr().addr()..other.as_ptr().addr() + 1).unwrap();
        assert!(matches!(found[..], [mapping] if mapping.is_shared));
    }

    /// Makes a temporary folder with the files of a control group.
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
    fn this_system_reports_its_memory() {
        assert!(available_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
