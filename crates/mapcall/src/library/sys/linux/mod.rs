//! Linux: the loader's search for a library, a library's file, and the files in the process.

#![allow(unsafe_code)]

mod cache;
mod search;

use std::collections::BTreeSet;
use std::ffi::{CStr, OsStr, OsString, c_void};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use super::Handle;
pub(crate) use search::{find, is_file_name};

/// Returns the file of a library, from the loader's list.
#[cfg(glibc)]
pub(crate) fn path(handle: &Handle, _: &OsStr) -> Option<PathBuf> {
    use std::ffi::c_char;
    use std::ptr;

    /// The start of `struct link_map` of <link.h>.
    #[repr(C)]
    struct LinkMap {
        address: usize,
        name: *const c_char,
    }

    let mut map = ptr::null::<LinkMap>();
    let result = (&raw mut map).cast();
    let raw = ptr::with_exposed_provenance_mut(handle.key());
    // SAFETY: the handle is open, and this request writes one pointer, for which `result` is valid.
    let status = unsafe { libc::dlinfo(raw, libc::RTLD_DI_LINKMAP, result) };
    if status != 0 || map.is_null() {
        return None;
    }
    // SAFETY: `map` is not null, and the loader's entry lives as long as the handle, which is borrowed.
    let name = unsafe { (*map).name };
    if name.is_null() {
        return None;
    }
    // SAFETY: `name` is not null, ends in a NUL, and lives as long as the loader's entry.
    let name = unsafe { CStr::from_ptr(name) };
    let path = Path::new(OsStr::from_bytes(name.to_bytes()));
    super::resolve(path)
}

/// Returns the file of a library if it was opened by its path.
#[cfg(not(glibc))]
pub(crate) fn path(_: &Handle, candidate: &OsStr) -> Option<PathBuf> {
    super::given_path(candidate)
}

/// Returns the file whose code is at an address.
pub(crate) fn file_of(address: NonNull<c_void>) -> Option<PathBuf> {
    let mut found = MaybeUninit::<libc::Dl_info>::uninit();
    // SAFETY: `dladdr` reads no memory at the address, and `found` is valid for writes.
    if unsafe { libc::dladdr(address.as_ptr(), found.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: `dladdr` has succeeded, so that it has written all fields.
    let found = unsafe { found.assume_init() };
    if found.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the name is not null and ends in a NUL. The caller holds the library at the address, so that the
    // loader's entry lives.
    let name = unsafe { CStr::from_ptr(found.dli_fname) };
    super::resolve(Path::new(OsStr::from_bytes(name.to_bytes())))
}

/// Returns the files whose code is mapped in the process.
pub(crate) fn images() -> io::Result<BTreeSet<PathBuf>> {
    let maps = fs::read("/proc/self/maps")?;
    Ok(maps
        .split(|byte| *byte == b'\n')
        .filter_map(image)
        .collect())
}

/// Returns the file in a line of `/proc/self/maps` if the mapping is executable.
fn image(line: &[u8]) -> Option<PathBuf> {
    // The fields are addresses, permissions, offset, device, inode, and after spaces the name.
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let is_code = fields.nth(1)?.contains(&b'x');
    let name = fields.nth(3)?.trim_ascii_start();
    (is_code && name.starts_with(b"/")).then(|| OsString::from_vec(name.to_vec()).into())
}
