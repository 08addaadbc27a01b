//! Remedies for a library that the loader does not find.

use std::ffi::OsStr;
use std::fs;
use std::path::{self, Path};

use super::{Attempt, SUGGESTIONS};
use crate::nearest::nearest;

/// The maximum number of files of a folder whose names are compared.
const MAX_FILES: usize = 1 << 14;

/// The loader's message on a library that is missing, in glibc and in musl.
const MISSING: [&str; 2] = [
    ": cannot open shared object file",
    "Error loading shared library ",
];

/// Returns the remedy for a name that the loader loads nothing for, if the reason is known: a library that
/// another one needs, a file in the current directory, a name that is spelt otherwise.
pub(super) fn hint(name: &OsStr, tried: &[Attempt]) -> Option<String> {
    let missing = tried.iter().find_map(|attempt| {
        let needed = missing_dependency(&attempt.reason)?;
        Some((attempt.candidate.display(), needed))
    });
    if let Some((file, needed)) = missing {
        return Some(format!(
            "{file} needs {needed}, which the loader does not find; start the program with its folder in \
             LD_LIBRARY_PATH, or load that library first, by its path, if it has a soname"
        ));
    }
    let text = name.to_str()?;
    if !text.contains(path::is_separator) {
        let candidates = [text.to_owned(), format!("lib{text}.so")];
        let found = candidates.iter().find(|file| Path::new(file).is_file())?;
        return Some(format!(
            "the loader does not search the current directory, which has such a file; give \"./{found}\""
        ));
    }
    let path = Path::new(text);
    let (folder, file) = (path.parent()?, path.file_name()?.to_str()?);
    if path.exists() {
        return None;
    }
    let files = fs::read_dir(folder).ok()?.take(MAX_FILES);
    let files: Vec<_> = files
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    let similar = nearest(file, files.iter().map(String::as_str));
    let similar = similar.iter().take(SUGGESTIONS);
    let similar: Vec<_> = similar
        .map(|file| folder.join(file).display().to_string())
        .collect();
    (!similar.is_empty()).then(|| format!("did you mean {}?", similar.join(" or ")))
}

/// Returns the library that a loader's message says is needed and missing. The name of the library itself has
/// been removed from the message.
fn missing_dependency(reason: &str) -> Option<&str> {
    let [glibc, musl] = MISSING;
    if let Some((needed, _)) = reason.split_once(glibc) {
        return Some(needed);
    }
    let (needed, by) = reason.strip_prefix(musl)?.split_once(':')?;
    by.contains("(needed by ").then_some(needed)
}
