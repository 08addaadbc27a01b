//! `mapcall info`: describes the arrays in files, and shows which parts are in the page cache.

#![allow(unsafe_code)]

mod cache;
mod facts;
mod text;

use std::ffi::OsString;

use clap::Args;
use mapcall::array::Error;
use mapcall::array::format::FormatError;

use crate::value::file::{ArrayFile, FileError, Found};
use crate::{Failure, output};
use facts::{Facts, Unmapped};

/// Show what array files hold, and which parts are in the page cache
///
/// The bar shows the array from its first byte to its last: █ is in the page cache, ▒ partly, · not. The
/// system reports this only for files that you own or may write. Members of a .npz are read to compare
/// their CRC-32; a damaged member is an error.
#[derive(Args)]
#[expect(clippy::doc_markdown, reason = "--help shows it as it stands")]
pub(crate) struct Arguments {
    /// x.npy, x.npz (all its members), x.npz:MEMBER, or raw.bin:DTYPE[:SHAPE] as in raw.bin:f4:1000x1000; a
    /// range may follow each, as in x.npy[0:1000] or x.npy[::2, 3, -1]
    ///
    /// The dtype is written as in NumPy (f4, <i2, float64, M8[ns]). Without a shape, a raw file has one axis
    /// with all its elements. Ranges are NumPy's basic indices: integers, slices and the ellipsis. Quote them,
    /// as shells have a meaning for brackets, too.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<OsString>,
    /// Write one JSON object for each array, each on one line
    ///
    /// The keys are "file", "member", "format", "version", "dtype", "fields", "itemsize",
    /// "byte_order", "shape", "strides", "order", "offset", "alignment", "aligned", "size", "nbytes",
    /// "file_size", "cache", "crc32" and "unsupported". Strides, offsets and alignments are in bytes.
    /// "member" and "version" are null if there is none, "fields" is null unless the dtype is structured,
    /// "order" is null if the array is contiguous in neither order. "cache" is an object {"pages", "resident",
    /// "page_size", "parts"}; "parts" are equal parts of the array in order, each with the share of its pages
    /// that is in the page cache, from 0 to 1. "cache" is null if the system doesn't report it. "crc32" is "ok"
    /// or "damaged" for a member of a .npz, null for other files or if it was not compared. "unsupported" is
    /// null, or the reason why a member can't be mapped; then there are only "file", "member" and "format"
    /// besides.
    #[arg(long)]
    json: bool,
    /// Do not read the members of a .npz to compare their CRC-32
    #[arg(long)]
    no_verify: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut errors = Vec::new();
    output::write(|output| {
        let mut is_first = true;
        for text in &arguments.files {
            let file = match ArrayFile::parse(text) {
                Ok(file) => file,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            let mut written = Ok(());
            let each = |member: Option<&str>, found: Result<Found, FileError>| {
                if written.is_err() {
                    return;
                }
                let shown = match found {
                    Ok(found) => {
                        // The facts are taken before the check, as reading fills the page cache.
                        let mut facts = Facts::of(&file, &found);
                        if !arguments.no_verify {
                            match file.verify(&found) {
                                Ok(true) => facts.crc32 = Some("ok"),
                                Ok(false) => {}
                                Err(error) => {
                                    facts.crc32 = is_damaged(&error).then_some("damaged");
                                    errors.push(error);
                                }
                            }
                        }
                        Shown::Facts(Box::new(facts))
                    }
                    Err(error) if is_unsupported(&error) => {
                        Shown::Unmapped(Unmapped::new(&file, member, &reason(&error)))
                    }
                    Err(error) => return errors.push(error),
                };
                written = match (&shown, arguments.json) {
                    (Shown::Facts(facts), true) => output::json_line(output, facts),
                    (Shown::Unmapped(unmapped), true) => output::json_line(output, unmapped),
                    (Shown::Facts(facts), false) => text::facts(output, facts, is_first),
                    (Shown::Unmapped(unmapped), false) => {
                        text::unmapped(output, unmapped, is_first)
                    }
                };
                is_first = false;
            };
            // SAFETY: the maps are dropped in `each`, which reads no element of the arrays.
            let opened = unsafe { file.open_each(each) };
            errors.extend(opened.err());
            written?;
        }
        Ok(())
    })?;
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure::Files(errors))
    }
}

enum Shown {
    Facts(Box<Facts>),
    Unmapped(Unmapped),
}

fn is_damaged(error: &FileError) -> bool {
    matches!(format_error(error), Some(FormatError::Damaged { .. }))
}

/// Returns whether an error means that a member is valid, but can't be mapped.
fn is_unsupported(error: &FileError) -> bool {
    match format_error(error) {
        Some(FormatError::Compressed { .. } | FormatError::Encrypted { .. }) => true,
        Some(FormatError::Member { source, .. }) => {
            matches!(**source, FormatError::UnknownFormat { .. })
        }
        _ => false,
    }
}

/// Returns the message of an error without the name of the file.
fn reason(error: &FileError) -> String {
    format_error(error).map_or_else(|| error.to_string(), FormatError::to_string)
}

fn format_error(error: &FileError) -> Option<&FormatError> {
    match error {
        FileError::Array(error) => match &**error {
            Error::Format { source, .. } => Some(source),
            _ => None,
        },
        _ => None,
    }
}
