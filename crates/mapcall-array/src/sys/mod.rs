//! System calls: one file for each system, and one that answers "unsupported".

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "unsupported.rs")]
mod os;

pub(crate) use os::{
    Identity, advise, allocate, available_memory, create_nameless, forget, has_private_pages,
    identity, is_readable, kind, name, open, page_size, prefetch, residency, sync_folder,
    tells_residency, wait_for, write_at, write_back,
};

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
