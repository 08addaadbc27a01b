//! Linux: versions of a library, in the places where its loader looks.

#![allow(unsafe_code)]

mod cache;
mod search;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::Handle;
pub(crate) use search::{find, is_file_name};

/// The file of a library, from the loader's own list.
#[cfg(glibc)]
pub(crate) fn path(handle: &Handle, _: &OsStr) -> Option<PathBuf> {
    use std::ffi::{CStr, c_char};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
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
    // SAFETY: the handle is open, and this request writes one pointer.
    let status = unsafe { libc::dlinfo(raw, libc::RTLD_DI_LINKMAP, result) };
    if status != 0 || map.is_null() {
        return None;
    }
    // SAFETY: the loader's entry lives as long as the handle, which is borrowed.
    let name = unsafe { (*map).name };
    if name.is_null() {
        return None;
    }
    // SAFETY: the name ends in a NUL and lives as long as its entry.
    let name = unsafe { CStr::from_ptr(name) };
    let path = Path::new(OsStr::from_bytes(name.to_bytes()));
    super::resolve(path)
}

/// The file of a library, if it was opened by its path.
#[cfg(not(glibc))]
pub(crate) fn path(_: &Handle, candidate: &OsStr) -> Option<PathBuf> {
    super::given_path(candidate)
}

/// The files whose code is in the process.
pub(crate) fn images() -> io::Result<BTreeSet<PathBuf>> {
    let maps = fs::read("/proc/self/maps")?;
    Ok(maps
        .split(|byte| *byte == b'\n')
        .filter_map(image)
        .collect())
}

/// The file of a line of `/proc/self/maps`, if it is code.
fn image(line: &[u8]) -> Option<PathBuf> {
    // Addresses, permissions, offset, device, inode, spaces, and the rest is the name.
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let is_code = fields.nth(1)?.contains(&b'x');
    let name = fields.nth(3)?.trim_ascii_start();
    (is_code && name.starts_with(b"/")).then(|| OsString::from_vec(name.to_vec()).into())
}
