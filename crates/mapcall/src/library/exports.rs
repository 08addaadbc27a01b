//! The functions that a library's file exports.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
use object::read::{Export, ExportFlags, ExportTarget, NameOrOrdinal};
use object::{BinaryFormat, Object, ObjectSection, SectionKind, elf};

use super::LibraryError;

/// Returns the exported functions of the library in a file.
pub(super) fn read(path: &Path) -> Result<BTreeSet<String>, LibraryError> {
    let map = map(path).map_err(|source| LibraryError::Io {
        path: path.to_path_buf(),
        source,
    })?;
    functions(&map).map_err(|error| LibraryError::Format {
        path: path.to_path_buf(),
        source: error.into(),
    })
}

/// Maps the file: libraries of a gigabyte exist, of which few pages are read.
fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: the file is that of a loaded library. The caller of `Library::open` guarantees that it is not
    // written while the library is loaded.
    unsafe { Mmap::map(&file) }
}

/// Returns the exported functions of a library with these bytes.
fn functions(bytes: &[u8]) -> Result<BTreeSet<String>, object::Error> {
    let file = object::File::parse(bytes)?;
    let text = text(&file);
    // The prefix of the format's symbols for C names.
    let prefix = match file.format() {
        BinaryFormat::MachO => "_",
        _ => "",
    };
    let mut names = BTreeSet::new();
    for export in file.exports()? {
        let export = export?;
        if !is_function(&export, &text) {
            continue;
        }
        // A prototype can't name a function whose name is not UTF-8, or that has only a number.
        if let NameOrOrdinal::Name(name) = export.name()
            && let Ok(name) = str::from_utf8(name)
        {
            names.insert(name.strip_prefix(prefix).unwrap_or(name).to_owned());
        }
    }
    Ok(names)
}

fn is_function(export: &Export<'_>, text: &[Range<u64>]) -> bool {
    match export.flags() {
        // The loader finds a hidden version of a symbol only for programs that were linked to it.
        ExportFlags::Elf {
            st_info,
            version_hidden,
            ..
        } => {
            let kind = st_info.st_type();
            !version_hidden && (kind == elf::STT_FUNC || kind == elf::STT_GNU_IFUNC)
        }
        // Other formats don't mark functions: a symbol in a section of code is one.
        _ => match export.target() {
            ExportTarget::Address { address } => text.iter().any(|range| range.contains(&address)),
            ExportTarget::Resolver { .. } | ExportTarget::Reexport { .. } => true,
            _ => false,
        },
    }
}

/// Returns the address ranges of the sections of code.
fn text(file: &object::File<'_>) -> Vec<Range<u64>> {
    file.sections()
        .filter(|section| section.kind() == SectionKind::Text)
        .map(|section| {
            let start = section.address();
            start..start.saturating_add(section.size())
        })
        .collect()
}
