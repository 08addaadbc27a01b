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

/// The exported functions of the library in a file.
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

/// The whole file; libraries of a gigabyte exist, and little of them is looked at.
fn map(path: &Path) -> io::Result<Mmap> {
    let file = File::open(path)?;
    // SAFETY: the file is that of a loaded library, which does not change while it is loaded: a condition
    // of `Library::open`.
    unsafe { Mmap::map(&file) }
}

/// The exported functions of the library that these bytes are.
fn functions(bytes: &[u8]) -> Result<BTreeSet<String>, object::Error> {
    let file = object::File::parse(bytes)?;
    let text = text(&file);
    // What the linker puts before each name of C's.
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
        // No C prototype can name a function that is not UTF-8 or has only a number.
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
        // The loader finds a hidden version only for programs that were linked to it.
        ExportFlags::Elf {
            st_info,
            version_hidden,
            ..
        } => {
            let kind = st_info.st_type();
            !version_hidden && (kind == elf::STT_FUNC || kind == elf::STT_GNU_IFUNC)
        }
        // Other formats don't say what is a function: what stands among the code.
        _ => match export.target() {
            ExportTarget::Address { address } => text.iter().any(|range| range.contains(&address)),
            ExportTarget::Resolver { .. } | ExportTarget::Reexport { .. } => true,
            _ => false,
        },
    }
}

/// Where the code is.
fn text(file: &object::File<'_>) -> Vec<Range<u64>> {
    file.sections()
        .filter(|section| section.kind() == SectionKind::Text)
        .map(|section| {
            let start = section.address();
            start..start.saturating_add(section.size())
        })
        .collect()
}
