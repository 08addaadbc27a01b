//! The search for the files that a bare name may stand for.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::env::{self, consts};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::iter;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::cache;

const CACHE: &str = "/etc/ld.so.cache";

/// Returns whether a name is a library's file name (`libz.so`, `libz.so.1`), rather than a bare name.
pub(crate) fn is_file_name(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.ends_with(b".so") || name.windows(4).any(|part| part == b".so.")
}

/// Returns the names to give the loader for a bare name, the likely first.
///
/// Directories and the cache are read only when the iterator reaches them.
pub(crate) fn find(name: &OsStr) -> impl Iterator<Item = OsString> {
    let mut file_name = OsString::from("lib");
    file_name.push(name);
    file_name.push(".so");
    let first = file_name.clone();
    iter::once(first).chain(iter::once_with(|| versions(file_name)).flatten())
}

/// Returns the versions of a library, in the order in which the loader searches.
fn versions(file_name: OsString) -> impl Iterator<Item = OsString> {
    let mut seen = BTreeSet::from([file_name.clone()]);
    let searches: [fn(&OsStr) -> Vec<OsString>; 3] = [
        |file_name| in_directories(&library_path(), file_name),
        in_cache,
        |file_name| in_directories(&standard_directories(), file_name),
    ];
    searches
        .into_iter()
        .flat_map(move |search| search(&file_name))
        .filter(move |candidate| seen.insert(candidate.clone()))
}

/// Returns the directories of `LD_LIBRARY_PATH` at present; the loader itself read it when the process
/// started.
fn library_path() -> Vec<PathBuf> {
    // A set-user-ID program must not load libraries that its user chooses.
    if is_privileged() {
        return Vec::new();
    }
    let Some(directories) = env::var_os("LD_LIBRARY_PATH").filter(|value| !value.is_empty()) else {
        return Vec::new();
    };
    let directories = directories.as_bytes().split(|byte| b":;".contains(byte));
    // An empty directory is the working directory, as it is for the loader; joined with ".", the path has a
    // separator, so that the loader does not search for it.
    let directory = |name: &[u8]| Path::new(".").join(OsStr::from_bytes(name));
    directories.map(directory).collect()
}

fn is_privileged() -> bool {
    // SAFETY: the function reads a number from the auxiliary vector and can be called at any time.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Returns the directories that loaders search last.
fn standard_directories() -> Vec<PathBuf> {
    let abi = match (consts::ARCH, size_of::<usize>()) {
        ("x86_64", 4) => "x86_64-linux-gnux32".into(),
        ("x86", _) => "i386-linux-gnu".into(),
        ("arm", _) => "arm-linux-gnueabihf".into(),
        ("powerpc64", _) if cfg!(target_endian = "little") => "powerpc64le-linux-gnu".into(),
        (arch, _) => format!("{arch}-linux-gnu"),
    };
    let lib = match size_of::<usize>() {
        8 => "lib64",
        _ => "lib32",
    };
    let roots = ["/", "/usr/", "/usr/local/"];
    let directories = [format!("lib/{abi}"), lib.into(), "lib".into()];
    roots
        .iter()
        .flat_map(|root| {
            directories
                .iter()
                .map(move |name| Path::new(root).join(name))
        })
        .collect()
}

/// Returns the versions in the loader's cache, as names: of several files of a name, the loader selects the
/// one for this machine.
fn in_cache(file_name: &OsStr) -> Vec<OsString> {
    let cache = fs::read(CACHE).unwrap_or_default();
    let names = cache::names(&cache).map(OsStr::new);
    sorted(names.filter_map(|name| Some((version(name, file_name)?, name.to_owned()))))
}

/// Returns the versions in directories, as paths.
fn in_directories(directories: &[PathBuf], file_name: &OsStr) -> Vec<OsString> {
    let paths = directories.iter().flat_map(|directory| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        sorted(entries.filter_map(|entry| {
            let version = version(&entry.file_name(), file_name)?;
            Some((version, entry.path().into_os_string()))
        }))
    });
    paths.collect()
}

/// Sorts files by version: first the one without a version, which is the one for linking, then from the
/// highest version down.
fn sorted(candidates: impl Iterator<Item = (Vec<u64>, OsString)>) -> Vec<OsString> {
    let mut candidates = candidates.collect::<Vec<_>>();
    candidates.sort_by_key(|(version, _)| (!version.is_empty(), Reverse(version.clone())));
    candidates.into_iter().map(|(_, name)| name).collect()
}

/// Returns the version of a file of this name: `[1, 2]` for `libz.so.1.2`, `[]` for `libz.so`.
fn version(name: &OsStr, file_name: &OsStr) -> Option<Vec<u64>> {
    let version = name.as_bytes().strip_prefix(file_name.as_bytes())?;
    if version.is_empty() {
        return Some(Vec::new());
    }
    let numbers = version.strip_prefix(b".")?.split(|byte| *byte == b'.');
    numbers
        .map(|number| str::from_utf8(number).ok()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers() {
        let version = |name: &str| version(name.as_ref(), "libz.so".as_ref());
        assert_eq!(version("libz.so"), Some(vec![]));
        assert_eq!(version("libz.so.1.2.13"), Some(vec![1, 2, 13]));
        for other in [
            "libz.so.",
            "libz.so.1.",
            "libz.so.1a",
            "libz.so1",
            "libz.so.1-gdb.py",
            "libz.a",
            "libzip.so.4",
            "libz.so.99999999999999999999",
        ] {
            assert_eq!(version(other), None, "{other}");
        }
        let names = ["x.9", "x", "x.10", "x.10.1"].map(OsString::from);
        let versions = names.map(|name| (super::version(&name, "x".as_ref()).unwrap(), name));
        assert_eq!(sorted(versions.into_iter()), ["x", "x.10.1", "x.10", "x.9"]);
    }

    #[test]
    fn file_names() {
        for name in ["libz.so", "libz.so.1", "plugin.so", "libfoo-1.2.so.3"] {
            assert!(is_file_name(name.as_ref()), "{name}");
        }
        for name in ["z", "gtk-3.0", "libz", "so", "x.sox", "python3.11"] {
            assert!(!is_file_name(name.as_ref()), "{name}");
        }
    }
}
