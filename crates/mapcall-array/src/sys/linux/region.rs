//! A range of addresses at which a file is mapped.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::ptr::{self, NonNull};

use rustix::io::Errno;
use rustix::mm::{MapFlags, MsyncFlags, ProtFlags};

use super::{Advice, page_size};
use crate::mode::Mode;

/// A range of addresses of this process, from the first byte of a mapped file on. The addresses stay this
/// region's until it is dropped, whatever is mapped there meanwhile.
#[derive(Debug)]
pub(crate) struct Region {
    /// The address of the first page.
    first: NonNull<c_void>,
    /// The number of bytes from the first page to the first byte.
    lead: usize,
    /// The number of bytes of the range, which is a multiple of the page size.
    size: usize,
    /// The size in bytes of a page of the file.
    page: usize,
    mode: Mode,
}

// SAFETY: any thread may use and unmap the range, which belongs to this value.
unsafe impl Send for Region {}
// SAFETY: `&Region` gives addresses, and calls of the system on them, which any thread may make.
unsafe impl Sync for Region {}

impl Region {
    /// Maps `len` bytes of a file from byte `offset` on, at new addresses. With `reserve`, the addresses for
    /// as many bytes from `offset` on belong to the region, so that [`extend`](Self::extend) can map them.
    pub(crate) fn map(
        file: &File,
        mode: Mode,
        page: usize,
        offset: u64,
        len: usize,
        reserve: usize,
    ) -> io::Result<Self> {
        let too_large = || io::Error::from(Errno::NOMEM);
        let lead = usize::try_from(offset % page as u64).map_err(|_| too_large())?;
        let size = |len: usize| {
            let size = lead.checked_add(len.max(1))?.checked_next_multiple_of(page);
            size.filter(|size| isize::try_from(*size).is_ok())
        };
        let (mapped, size) = (
            size(len).ok_or_else(too_large)?,
            size(reserve.max(len)).ok_or_else(too_large)?,
        );
        if size == mapped {
            let flags = flags(mode);
            // SAFETY: a null address lets the system choose unused addresses.
            let first = unsafe {
                rustix::mm::mmap(
                    ptr::null_mut(),
                    size,
                    protection(mode),
                    flags,
                    file,
                    offset - lead as u64,
                )
            }?;
            return Self::at(first, lead, size, page, mode);
        }
        if page > page_size() {
            // A range of huge pages would have to begin at a multiple of their size.
            return Err(super::unsupported());
        }
        // SAFETY: a null address lets the system choose unused addresses.
        let first = unsafe {
            rustix::mm::mmap_anonymous(ptr::null_mut(), size, ProtFlags::empty(), RESERVED)
        }?;
        let region = Self::at(first, lead, size, page, mode)?;
        region.extend(file, offset, 0, len)?;
        Ok(region)
    }

    fn at(
        first: *mut c_void,
        lead: usize,
        size: usize,
        page: usize,
        mode: Mode,
    ) -> io::Result<Self> {
        Ok(Self {
            // `mmap` returns no null address unless it is asked to.
            first: NonNull::new(first).ok_or(Errno::NOMEM)?,
            lead,
            size,
            page,
            mode,
        })
    }

    /// Maps the bytes from `from` to `to` of the region again, with the pages around them. `offset` is the
    /// position of the region's first byte in the file.
    ///
    /// Returns an error if the region is smaller.
    pub(crate) fn extend(
        &self,
        file: &File,
        offset: u64,
        from: usize,
        to: usize,
    ) -> io::Result<()> {
        let pages = self.pages(from..to.max(from + 1));
        if pages.end > self.size {
            return Err(Errno::NOMEM.into());
        }
        let offset = offset - self.lead as u64 + pages.start as u64;
        let flags = flags(self.mode) | MapFlags::FIXED;
        // SAFETY: the pages lie in the region, whose addresses belong to it.
        unsafe {
            rustix::mm::mmap(
                self.page_at(pages.start),
                pages.len(),
                protection(self.mode),
                flags,
                file,
                offset,
            )
        }?;
        Ok(())
    }

    /// Replaces all that is mapped by pages without access. The addresses stay the region's.
    pub(crate) fn close(&self) -> io::Result<()> {
        let range = self.addresses(self.size);
        // SAFETY: the addresses belong to the region, and the caller of `Map::close` guarantees that no
        // reference to the bytes exists.
        unsafe { seal(range) }
    }

    /// Returns the address of the first byte.
    pub(crate) fn as_mut_ptr(&self) -> *mut u8 {
        self.page_at(self.lead).cast()
    }

    /// Returns the size of a page of the file, in bytes.
    pub(crate) fn page(&self) -> usize {
        self.page
    }

    /// Returns the number of bytes, from the first one on, for which the region has addresses.
    pub(crate) fn capacity(&self) -> usize {
        self.size - self.lead
    }

    /// Returns the addresses of the pages of the first `len` bytes.
    pub(crate) fn addresses_of(&self, len: usize) -> Range<usize> {
        self.addresses(self.pages(0..len.max(1)).end)
    }

    fn addresses(&self, size: usize) -> Range<usize> {
        let start = self.first.addr().get();
        start..start + size
    }

    /// Returns the address of a byte, counted from the first page.
    fn page_at(&self, at: usize) -> *mut c_void {
        self.first.as_ptr().wrapping_byte_add(at)
    }

    /// Widens a range of bytes to whole pages, counted from the first page.
    fn pages(&self, range: Range<usize>) -> Range<usize> {
        let (start, end) = (self.lead + range.start, self.lead + range.end);
        start / self.page * self.page..end.next_multiple_of(self.page)
    }

    /// Returns the address and the size of the whole pages that have a byte of a range.
    fn whole(&self, range: Range<usize>) -> (*mut c_void, usize) {
        let pages = self.pages(range);
        (self.page_at(pages.start), pages.len())
    }

    /// Writes a range of bytes to the file; waits until they are on the disk if `waits`.
    pub(crate) fn flush(&self, range: Range<usize>, waits: bool) -> io::Result<()> {
        let how = if waits {
            MsyncFlags::SYNC
        } else {
            MsyncFlags::ASYNC
        };
        let (start, len) = self.whole(range);
        // SAFETY: the pages lie in the region, and writing them to the file changes no memory.
        Ok(unsafe { rustix::mm::msync(start, len, how) }?)
    }

    /// Gives advice about the pages of a range. Advice that drops pages is given for maps whose pages the
    /// file keeps.
    pub(crate) fn advise(&self, range: Range<usize>, advice: Advice) -> io::Result<()> {
        let advice = match advice {
            Advice::Normal => rustix::mm::Advice::Normal,
            Advice::Random => rustix::mm::Advice::Random,
            Advice::Sequential => rustix::mm::Advice::Sequential,
            Advice::WillNeed => rustix::mm::Advice::WillNeed,
            Advice::HugePage => rustix::mm::Advice::LinuxHugepage,
            Advice::DontNeed => rustix::mm::Advice::LinuxDontNeed,
        };
        Ok(self.advise_as(range, advice)?)
    }

    fn advise_as(&self, range: Range<usize>, advice: rustix::mm::Advice) -> Result<(), Errno> {
        let (start, len) = self.whole(range);
        // SAFETY: the pages lie in the region. `Map::advise` refuses to drop pages of private maps; those of
        // shared maps keep their content in the file.
        unsafe { rustix::mm::madvise(start, len, advice) }
    }

    /// Calls `madvise` with one of the system's options.
    pub(crate) fn madvise(&self, range: Range<usize>, option: i32) -> io::Result<()> {
        let (start, len) = self.whole(range);
        // SAFETY: the pages lie in the region, and `Map::madvise` refuses options that lose bytes.
        match unsafe { libc::madvise(start, len, option) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Reads a range of bytes into memory.
    pub(crate) fn prefetch(&self, range: Range<usize>) -> io::Result<()> {
        match self.advise_as(range.clone(), rustix::mm::Advice::LinuxPopulateRead) {
            // Linux before 5.14 has no `MADV_POPULATE_READ`; `MADV_WILLNEED` only starts to read.
            Err(Errno::INVAL) => Ok(self.advise_as(range, rustix::mm::Advice::WillNeed)?),
            result => Ok(result?),
        }
    }

    /// Returns whether the system can supply the page of a byte; `true` if it can't tell.
    pub(crate) fn is_readable(&self, at: usize) -> bool {
        // Other errors mean that the page can't be populated, such as memory of a device, or any page on
        // Linux before 5.14.
        self.advise_as(at..at + 1, rustix::mm::Advice::LinuxPopulateRead) != Err(Errno::FAULT)
    }

    /// Returns for each of the system's pages that has a byte of a range whether it is in memory.
    pub(crate) fn residency(&self, range: Range<usize>) -> io::Result<Vec<bool>> {
        let start = (self.lead + range.start) / page_size() * page_size();
        let end = (self.lead + range.end).next_multiple_of(page_size());
        let mut pages = vec![0_u8; (end - start) / page_size()];
        let first = self.page_at(start);
        // SAFETY: `first` is the address of a page of the region, and `pages` has a byte for each page.
        match unsafe { libc::mincore(first, end - start, pages.as_mut_ptr()) } {
            0 => Ok(pages.into_iter().map(|page| page & 1 == 1).collect()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Returns whether a private map has a page of its own in the range, which is no longer shared with the
    /// file; from `/proc/self/pagemap`.
    pub(crate) fn has_private_pages(&self, range: Range<usize>) -> io::Result<bool> {
        const ENTRY: usize = size_of::<u64>();
        const SWAPPED_OR_PRESENT: u64 = 0b11 << 62;
        const FILE_OR_SHARED: u64 = 1 << 61;

        let pagemap = File::open("/proc/self/pagemap")?;
        let first = self.as_mut_ptr().wrapping_add(range.start).addr() / page_size();
        let last = self.as_mut_ptr().wrapping_add(range.end - 1).addr() / page_size();
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
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the range belongs to this value, which is dropped, and with it all that points there.
        let unmapped = unsafe { rustix::mm::munmap(self.first.as_ptr(), self.size) };
        debug_assert!(unmapped.is_ok(), "the range was mapped");
    }
}

/// The flags of a range without access or memory.
const RESERVED: MapFlags = MapFlags::PRIVATE.union(MapFlags::NORESERVE);

fn protection(mode: Mode) -> ProtFlags {
    if mode.is_writeable() {
        ProtFlags::READ | ProtFlags::WRITE
    } else {
        ProtFlags::READ
    }
}

fn flags(mode: Mode) -> MapFlags {
    match mode {
        Mode::Read | Mode::ReadWrite | Mode::Write => MapFlags::SHARED,
        // Without a reservation of swap space a private map may be larger than memory and swap.
        Mode::CopyOnWrite => MapFlags::PRIVATE | MapFlags::NORESERVE,
    }
}

/// Replaces whole pages by pages without access. It may be called in a signal handler.
///
/// # Safety
///
/// The range belongs to a region, and no reference to its bytes exists.
pub(crate) unsafe fn seal(range: Range<usize>) -> io::Result<()> {
    // SAFETY: the caller guarantees that the range belongs to a region.
    unsafe { replace(range, ProtFlags::empty()) }
}

/// Replaces whole pages by private pages of zeros, which may be written if `is_writeable`. It may be called
/// in a signal handler.
///
/// # Safety
///
/// The range belongs to a region, and its pages can't be accessed.
pub(crate) unsafe fn replace_by_zeros(range: Range<usize>, is_writeable: bool) -> io::Result<()> {
    let access = if is_writeable {
        ProtFlags::READ | ProtFlags::WRITE
    } else {
        ProtFlags::READ
    };
    // SAFETY: the caller guarantees that the range belongs to a region.
    unsafe { replace(range, access) }
}

/// # Safety
///
/// The range belongs to a region.
unsafe fn replace(range: Range<usize>, access: ProtFlags) -> io::Result<()> {
    let start = ptr::with_exposed_provenance_mut(range.start);
    let flags = RESERVED | MapFlags::FIXED;
    // SAFETY: the caller guarantees that the addresses belong to a region, so nothing else is replaced.
    unsafe { rustix::mm::mmap_anonymous(start, range.len(), access, flags) }?;
    Ok(())
}
