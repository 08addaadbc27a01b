//! System calls: one folder for Linux, and one for all other systems, where a call that is not implemented fails
//! with "unsupported".

#[cfg_attr(target_os = "linux", path = "linux/mod.rs")]
#[cfg_attr(not(target_os = "linux"), path = "unsupported/mod.rs")]
mod os;

mod advice;

pub use advice::Advice;
pub(crate) use os::{
    Folder, HAS_IDENTITY, Identity, Region, ResolvedPath, available_memory, can_read, clear,
    copy_attributes, drop_set_id, find, forget, has_handlers, has_other_names, identity, inode,
    install_handlers, is_full, is_hole, is_same_file, is_thread, kind, mappings, named_len, open,
    page_size, page_size_of, remove_handlers, removes, replace_by_zeros, reports_residency,
    reserve, seal, thread, total_memory, try_lock, unlock, unsupported, wait_for, write_at,
    write_back, write_from,
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

/// A memory access that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) address: usize,
    /// Whether the system could not supply the page (SIGBUS); otherwise the page forbids the access
    /// (SIGSEGV).
    pub(crate) is_missing: bool,
    /// Whether the access was a write; `None` if the processor's registers don't tell it here.
    pub(crate) is_write: Option<bool>,
}

/// A function that repairs the page of a failed access, so that the access can be repeated; it returns
/// `false` for an access that is not its own. It runs in a signal handler.
pub(crate) type Repair = fn(Access) -> bool;

/// The kind of a file, which decides whether it can be mapped.
#[cfg_attr(
    not(target_os = "linux"),
    expect(dead_code, reason = "devices are not distinguished")
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
