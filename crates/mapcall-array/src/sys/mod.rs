//! System calls: one file for each operating system, and one for all others, whose functions fail with
//! "unsupported".

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "unsupported.rs")]
mod os;

mod advice;
#[cfg_attr(target_os = "linux", path = "linux_folder.rs")]
#[cfg_attr(not(target_os = "linux"), path = "unsupported_folder.rs")]
mod folder;

pub use advice::Advice;
pub(crate) use folder::{
    Folder, Place, copy_attributes, drop_set_id, find, has_other_names, is_same_file,
};
pub(crate) use os::{
    Identity, TELLS_FILES_APART, advise, available_memory, clear, forget, has_private_pages,
    identity, inode, is_readable, kind, madvise, mappings, open, page_size, page_size_of, prefetch,
    removes, reserve, residency, tells_residency, unsupported, wait_for, write_at, write_back,
};

/// A range of addresses at which bytes of a file are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MappedRange {
    /// The first address.
    pub(crate) start: usize,
    /// The length in bytes.
    pub(crate) len: usize,
    pub(crate) file: Identity,
    /// The offset in the file of the first mapped byte.
    pub(crate) offset: u64,
    /// Whether writes to the mapping change the file, and so its other mappings.
    pub(crate) is_shared: bool,
}

/// The kind of a file, which decides whether it can be mapped.
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "devices are not told")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Regular,
    /// A block device. Its length is fixed, and is found by `lseek`, not in the metadata.
    BlockDevice,
    /// A character device, whose length is unknown.
    CharacterDevice,
    /// A file that can't be mapped, by its name for error messages.
    Other(&'static str),
}
