//! Systems for which only the naming of library files is implemented.

use std::env::{self, consts};
use std::ffi::{OsStr, OsString, c_void};
use std::io;
use std::iter;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

use super::{Handle, given_path};

/// Returns whether a name is a library's file name, rather than a bare name.
pub(crate) fn is_file_name(name: &OsStr) -> bool {
    Path::new(name)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case(consts::DLL_EXTENSION))
}

/// Returns the file name to give the loader for a bare name.
pub(crate) fn find(name: &OsStr) -> impl Iterator<Item = OsString> {
    let mut file_name = OsString::from(consts::DLL_PREFIX);
    file_name.push(name);
    file_name.push(consts::DLL_SUFFIX);
    iter::once(file_name)
}

/// Returns the file of a library, if it was opened by its path.
pub(crate) fn path(_: &Handle, candidate: &OsStr) -> Option<PathBuf> {
    given_path(candidate)
}

/// Returns nothing: the file with the code at an address is not known.
pub(crate) fn file_of(_: NonNull<c_void>) -> Option<PathBuf> {
    None
}

/// Returns the program's file.
pub(crate) fn images() -> io::Result<Vec<PathBuf>> {
    Ok(vec![env::current_exe()?])
}
