//! System calls: one file for each system, and one that answers "unsupported".

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

/// A range of addresses that holds bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MappedRange {
    /// The first address.
    pub(crate) start: usize,
    /// In bytes.
    pub(crate) len: usize,
    pub(crate) file: Identity,
    /// Of the first byte in the file, in bytes.
    pub(crate) offset: u64,
    /// Whether what is written here reaches the file, and so its other mappings.
    pub(crate) is_shared: bool,
}

/// What a name may lead to.
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "devices are not told")
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Regular,
    /// It has a length, which its metadata do not tell, and never changes it.
    BlockDevice,
    /// Its length is unknown.
    CharacterDevice,
    /// Nothing that can be mapped.
    Other(&'static str),
}
