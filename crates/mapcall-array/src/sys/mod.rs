//! System calls: one file for each system, and one that answers "unsupported".

#[cfg_attr(target_os = "linux", path = "linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "unsupported.rs")]
mod os;

#[cfg_attr(target_os = "linux", path = "linux_folder.rs")]
#[cfg_attr(not(target_os = "linux"), path = "unsupported_folder.rs")]
mod folder;

pub(crate) use folder::{
    Folder, Place, copy_attributes, drop_set_id, find, has_several_names, is_same_file,
};
pub(crate) use os::{
    Identity, advise, available_memory, clear, forget, has_private_pages, identity, kind, open,
    page_size, prefetch, reserve, residency, tells_residency, unsupported, wait_for, write_at,
    write_back,
};
