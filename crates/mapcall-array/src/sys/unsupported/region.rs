//! A range of addresses at which a file is mapped, by the crate `memmap2`.

use std::fs::File;
use std::io;
use std::ops::Range;

use memmap2::{MmapOptions, MmapRaw};

use super::{Advice, page_size, unsupported};
use crate::mode::Mode;

/// A range of addresses of this process, from the first byte of a mapped file on.
#[derive(Debug)]
pub(crate) struct Region(MmapRaw);

impl Region {
    /// Maps `len` bytes of a file from byte `offset` on. No addresses can be reserved on this system.
    #[allow(unsafe_code)]
    pub(crate) fn map(
        file: &File,
        mode: Mode,
        _page: usize,
        offset: u64,
        len: usize,
        reserve: usize,
    ) -> io::Result<Self> {
        if reserve > len {
            return Err(unsupported());
        }
        let mut options = MmapOptions::new();
        options.offset(offset).len(len);
        let map = match mode {
            Mode::Read => options.map_raw_read_only(file)?,
            Mode::ReadWrite | Mode::Write => options.map_raw(file)?,
            // SAFETY: `Region` makes no references to the bytes.
            Mode::CopyOnWrite => unsafe { options.map_copy(file) }?.into(),
        };
        Ok(Self(map))
    }

    pub(crate) fn extend(&self, _: &File, _: u64, _: usize, _: usize) -> io::Result<()> {
        Err(unsupported())
    }

    pub(crate) fn close(&self) -> io::Result<()> {
        Err(unsupported())
    }

    pub(crate) fn as_mut_ptr(&self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    pub(crate) fn page(&self) -> usize {
        page_size()
    }

    pub(crate) fn capacity(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn addresses_of(&self, len: usize) -> Range<usize> {
        let start = self.0.as_ptr().addr();
        start..start + len
    }

    pub(crate) fn flush(&self, range: Range<usize>, waits: bool) -> io::Result<()> {
        if waits {
            self.0.flush_range(range.start, range.len())
        } else {
            self.0.flush_async_range(range.start, range.len())
        }
    }

    /// Does nothing; advice changes no result.
    pub(crate) fn advise(&self, _: Range<usize>, _: Advice) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn madvise(&self, _: Range<usize>, _: i32) -> io::Result<()> {
        Err(unsupported())
    }

    pub(crate) fn prefetch(&self, _: Range<usize>) -> io::Result<()> {
        Err(unsupported())
    }

    /// Returns `true`, as only regular files of known length are mapped on this system.
    pub(crate) fn is_readable(&self, _: usize) -> bool {
        true
    }

    pub(crate) fn residency(&self, _: Range<usize>) -> io::Result<Vec<bool>> {
        Err(unsupported())
    }

    pub(crate) fn has_private_pages(&self, _: Range<usize>) -> io::Result<bool> {
        Err(unsupported())
    }
}

/// Fails: no pages without access are known on this system.
#[allow(unsafe_code)]
pub(crate) unsafe fn seal(_: Range<usize>) -> io::Result<()> {
    Err(unsupported())
}

/// Fails: pages can't be replaced on this system.
#[allow(unsafe_code)]
pub(crate) unsafe fn replace_by_zeros(_: Range<usize>, _: bool) -> io::Result<()> {
    Err(unsupported())
}
