//! Writes the descriptions of arrays as text.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};

use clap::builder::styling::{AnsiColor, Style};

use super::cache::Cache;
use super::facts::{Facts, FieldFacts, Unmapped};
use crate::one_line;
use crate::units::{counted, readable, tuple};

const TITLE: Style = Style::new().bold();
const RESIDENT: Style = AnsiColor::Green.on_default();

/// Writes the description of an array.
pub(super) fn facts(output: &mut impl Write, facts: &Facts, is_first: bool) -> io::Result<()> {
    title(output, &facts.title, is_first)?;
    let dtype = match &facts.fields {
        None => facts.dtype.name(),
        Some(fields) => format!("structured, {}", counted(fields.len(), "field")),
    };
    let (shape, strides) = (tuple(&facts.shape), tuple(&facts.strides));
    line(output, "format", &format(facts))?;
    line(
        output,
        "dtype",
        &format_args!("{dtype}, {}", counted(facts.itemsize, "byte")),
    )?;
    if let Some(fields) = &facts.fields {
        table(output, fields)?;
    }
    line(output, "shape", &shape)?;
    line(output, "strides", &strides)?;
    line(output, "order", &facts.order.unwrap_or("neither C nor F"))?;
    line(output, "byte order", &facts.byte_order)?;
    if let Some(offset) = facts.offset {
        line(output, "offset", &offset)?;
    }
    let aligned = if facts.aligned {
        "aligned"
    } else {
        "not aligned in the file"
    };
    let alignment = counted(facts.alignment, "byte");
    line(output, "alignment", &format_args!("{alignment}, {aligned}"))?;
    let (bytes, elements) = (
        counted(facts.nbytes, "byte"),
        counted(facts.size, "element"),
    );
    let size = readable(facts.nbytes);
    line(
        output,
        "size",
        &format_args!("{size} ({bytes}, {elements})"),
    )?;
    cache(output, facts.cache.as_ref())?;
    match facts.crc32 {
        Some(crc32) => line(output, "crc-32", &crc32),
        None => Ok(()),
    }
}

/// Writes the reason why a member can't be mapped.
pub(super) fn unmapped(
    output: &mut impl Write,
    unmapped: &Unmapped,
    is_first: bool,
) -> io::Result<()> {
    title(output, &unmapped.title, is_first)?;
    line(output, "format", &unmapped.format)?;
    line(output, "not mapped", &one_line(&unmapped.unsupported))
}

fn title(output: &mut impl Write, title: &str, is_first: bool) -> io::Result<()> {
    if !is_first {
        writeln!(output)?;
    }
    writeln!(output, "{TITLE}{}{TITLE:#}", one_line(title))
}

fn line(output: &mut impl Write, label: &str, value: &dyn Display) -> io::Result<()> {
    writeln!(output, "  {label:<11} {value}")
}

fn format(facts: &Facts) -> String {
    match (&facts.version, facts.format) {
        (Some(version), "npz") => format!("npz, a member of npy version {version}"),
        (Some(version), format) => format!("{format} version {version}"),
        (None, format) => format.to_owned(),
    }
}

/// Writes the fields in columns, one on each line.
fn table(output: &mut impl Write, fields: &[FieldFacts]) -> io::Result<()> {
    let name = |field: &FieldFacts| match &field.title {
        None => one_line(&field.name),
        Some(title) => one_line(&format!("{} ({title})", field.name)),
    };
    let dtype = |field: &FieldFacts| match field.dtype.fields() {
        None => field.dtype.name(),
        Some(_) => "structured".to_owned(),
    };
    let width =
        |texts: &mut dyn Iterator<Item = usize>, least: &str| texts.fold(least.len(), usize::max);
    let names = width(
        &mut fields.iter().map(|field| name(field).chars().count()),
        "field",
    );
    let dtypes = width(
        &mut fields.iter().map(|field| dtype(field).chars().count()),
        "dtype",
    );
    let offsets = width(
        &mut fields.iter().map(|field| field.offset.to_string().len()),
        "offset",
    );
    let mut row = |name: &str, offset: &dyn Display, dtype: &str, shape: &str| {
        let mut text = String::new();
        // Writing to a `String` does not fail.
        let _ = write!(
            text,
            "    {name:<names$}  {offset:>offsets$}  {dtype:<dtypes$}  {shape}"
        );
        writeln!(output, "{}", text.trim_end())
    };
    let is_shaped = fields.iter().any(|field| !field.shape.is_empty());
    row(
        "field",
        &"offset",
        "dtype",
        if is_shaped { "shape" } else { "" },
    )?;
    for field in fields {
        let shape = match &*field.shape {
            [] => String::new(),
            shape => tuple(shape),
        };
        row(&name(field), &field.offset, &dtype(field), &shape)?;
    }
    Ok(())
}

fn cache(output: &mut impl Write, cache: Option<&Cache>) -> io::Result<()> {
    let unknown = "unknown: the system tells it of files that one owns or may write";
    let Some(cache) = cache else {
        return line(output, "in cache", &unknown);
    };
    if cache.is_empty() {
        return line(output, "in cache", &"nothing to be there");
    }
    let mut bar = String::new();
    let mut is_green = false;
    for letter in cache.bar().chars() {
        if (letter != '·') != is_green {
            is_green = !is_green;
            let _ = if is_green {
                write!(bar, "{RESIDENT}")
            } else {
                write!(bar, "{RESIDENT:#}")
            };
        }
        bar.push(letter);
    }
    if is_green {
        let _ = write!(bar, "{RESIDENT:#}");
    }
    line(
        output,
        "in cache",
        &format_args!("{bar} {}%", cache.percent()),
    )
}
