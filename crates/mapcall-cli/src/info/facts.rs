//! The description of an array in a file.

use mapcall::array::DType;
use mapcall::array::dtype::ByteOrder;
use mapcall::array::format::{Format, Placement};
use mapcall::array::layout::Order;
use serde::Serialize;

use super::cache::Cache;
use crate::value::file::{ArrayFile, Found};

/// The description of an array.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    #[serde(skip)]
    pub(super) title: String,
    pub(super) file: String,
    pub(super) member: Option<String>,
    pub(super) format: &'static str,
    pub(super) version: Option<String>,
    #[serde(serialize_with = "as_text")]
    pub(super) dtype: DType,
    pub(super) fields: Option<Vec<FieldFacts>>,
    pub(super) itemsize: usize,
    pub(super) byte_order: &'static str,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<isize>,
    pub(super) order: Option<&'static str>,
    pub(super) offset: Option<u64>,
    pub(super) alignment: usize,
    pub(super) aligned: bool,
    pub(super) size: usize,
    pub(super) nbytes: usize,
    pub(super) file_size: u64,
    pub(super) cache: Option<Cache>,
    pub(super) crc32: Option<&'static str>,
    unsupported: Option<String>,
}

/// A field of a structured dtype. The fields of a nested dtype follow it, with names such as `position.x`.
#[derive(Debug, Serialize)]
pub(super) struct FieldFacts {
    pub(super) name: String,
    pub(super) title: Option<String>,
    /// The offset in bytes from the start of the item.
    pub(super) offset: usize,
    /// The dtype; of a sub-array, that of one element.
    #[serde(serialize_with = "as_text")]
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) alignment: usize,
}

/// A member that can't be mapped.
#[derive(Debug, Serialize)]
pub(super) struct Unmapped {
    #[serde(skip)]
    pub(super) title: String,
    pub(super) file: String,
    pub(super) member: Option<String>,
    pub(super) format: &'static str,
    pub(super) unsupported: String,
}

impl Unmapped {
    pub(super) fn new(file: &ArrayFile, member: Option<&str>, reason: &str) -> Self {
        Self {
            title: title(file, member),
            file: path(file),
            member: member.map(str::to_owned),
            format: Format::Npz.as_str(),
            unsupported: reason.to_owned(),
        }
    }
}

impl Facts {
    /// Describes an array that was found in a file.
    pub(super) fn of(file: &ArrayFile, found: &Found) -> Self {
        let array = &found.array;
        let dtype = array.dtype();
        let placement = found.placement.as_ref();
        let member = placement.and_then(Placement::member);
        let version = placement.map(|placement| {
            let (major, minor) = placement.header().version();
            format!("{major}.{minor}")
        });
        Self {
            title: title(file, member),
            file: path(file),
            member: member.map(str::to_owned),
            format: match (placement, member) {
                (None, _) => "raw",
                (Some(_), None) => Format::Npy.as_str(),
                (Some(_), Some(_)) => Format::Npz.as_str(),
            },
            version,
            fields: dtype.base().fields().map(|_| fields(dtype.base())),
            itemsize: dtype.itemsize(),
            byte_order: byte_order(dtype),
            shape: array.shape().to_vec(),
            strides: array.strides().to_vec(),
            order: array.layout().order().map(|order| match order {
                Order::C => "C",
                Order::F => "F",
            }),
            offset: array.file_offset(),
            alignment: dtype.alignment(),
            aligned: array.is_aligned(),
            size: array.layout().size(),
            nbytes: array.layout().nbytes(),
            file_size: found.file_len,
            cache: Cache::of(array),
            crc32: None,
            dtype: dtype.clone(),
            unsupported: None,
        }
    }
}

fn path(file: &ArrayFile) -> String {
    file.path().to_string_lossy().into_owned()
}

/// Returns the argument of the command that names this array alone.
fn title(file: &ArrayFile, member: Option<&str>) -> String {
    let text = file.text().to_string_lossy().into_owned();
    match member {
        Some(member) if file.is_whole() => format!("{text}:{member}"),
        _ => text,
    }
}

/// Returns the byte order of all numbers in a dtype, including those of its fields.
fn byte_order(dtype: &DType) -> &'static str {
    let is = |order| *dtype == dtype.newbyteorder(order);
    match (is(ByteOrder::Little), is(ByteOrder::Big)) {
        (true, true) => "none",
        (true, false) => "little",
        (false, true) => "big",
        (false, false) => "mixed",
    }
}

fn fields(dtype: &DType) -> Vec<FieldFacts> {
    let mut all = Vec::new();
    add_fields(dtype, "", 0, &mut all);
    all
}

/// Adds the fields of a dtype and of its nested dtypes. The recursion is bounded, as parsing limits the
/// nesting.
fn add_fields(dtype: &DType, path: &str, from: usize, all: &mut Vec<FieldFacts>) {
    for field in dtype.fields().unwrap_or_default() {
        let (name, offset) = (format!("{path}{}", field.name), from + field.offset);
        let base = field.dtype.base();
        all.push(FieldFacts {
            name: name.clone(),
            title: field.title.clone(),
            offset,
            dtype: base.clone(),
            shape: field.dtype.shape().to_vec(),
            alignment: field.dtype.alignment(),
        });
        add_fields(base, &format!("{name}."), offset, all);
    }
}

fn as_text<S: serde::Serializer>(dtype: &DType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(dtype)
}
