//! System calls: one file for each system, and one that answers "unsupported".

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "unsupported.rs")]
mod os;

mod fork;

pub(crate) use fork::at_fork;
pub(crate) use os::{
    Identity, advise, allocate, available_memory, create_nameless, forget, has_private_pages,
    identity, kind, name, open, page_size, prefetch, residency, sync_folder, tells_residency,
    wait_for, write_at, write_back,
};
