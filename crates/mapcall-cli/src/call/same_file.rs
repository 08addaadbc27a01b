//! Compares the files that two paths lead to.

use std::path::{Path, PathBuf};

use same_file::Handle;

/// Returns whether two paths lead to the same file, or to the same name in one folder.
pub(super) fn is_same_file(one: &Path, other: &Path) -> bool {
    let is_one = |one: &Path, other: &Path| {
        let handles = (Handle::from_path(one), Handle::from_path(other));
        matches!(handles, (Ok(one), Ok(other)) if one == other)
    };
    let folder = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    is_one(one, other)
        || (one.file_name() == other.file_name() && is_one(&folder(one), &folder(other)))
}
