//! Compares dtypes with NumPy: layout, type strings, `.npy` descriptors, and errors.

#![allow(
    clippy::format_collect,
    clippy::format_push_string,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic, and its speed does not matter"
)]

mod descriptors;
mod limits;
mod structured;
mod type_strings;

use mapcall_array::dtype::{DType, DTypeError};
use serde_json::{Value, json};

use crate::common::numpy;

/// Returns a Python `str` literal in ASCII.
fn literal(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| format!("\\U{:08x}", u32::from(c)))
        .collect();
    format!("'{escaped}'")
}

/// Returns all properties of a dtype in NumPy.
fn numpy_facts(dtype: &str) -> Result<Value, String> {
    // `isnative` of a sub-array ignores its base, so it is computed from the leaves.
    numpy(&format!(
        "(lambda facts: facts(facts, {dtype}))(lambda facts, d: {{
            'itemsize': d.itemsize,
            'alignment': d.alignment,
            'byteorder': d.byteorder.replace('=', '<' if np.little_endian else '>'),
            'native': all(facts(facts, d.fields[n][0])['native'] for n in d.names) if d.names
                else facts(facts, d.base)['native'] if d.subdtype else d.isnative,
            'aligned': d.isalignedstruct,
            'kind': d.kind,
            'str': d.str if d.names is None and d.subdtype is None else None,
            'subdtype': [facts(facts, d.base), list(d.shape)] if d.subdtype else None,
            'fields': None if d.names is None else [
                [n, (d.fields[n] + (None,))[2], d.fields[n][1], facts(facts, d.fields[n][0])]
                for n in d.names],
        }})"
    ))
}

/// Returns the same properties of a dtype in Rust.
fn facts(dtype: &DType) -> Value {
    let fields = dtype.fields().map(|fields| {
        let facts = fields.iter().map(|field| {
            assert_eq!(dtype.field(&field.name), Some(field));
            if let Some(title) = &field.title {
                assert_eq!(dtype.field(title), Some(field));
            }
            json!([field.name, field.title, field.offset, facts(&field.dtype)])
        });
        facts.collect::<Vec<_>>()
    });
    json!({
        "itemsize": dtype.itemsize(),
        "alignment": dtype.alignment(),
        "byteorder": dtype.byte_order().as_char().to_string(),
        "native": dtype.is_native(),
        "aligned": dtype.is_aligned_struct(),
        "kind": dtype.kind_char().to_string(),
        "str": dtype.scalar_type().map(|_| dtype.to_string()),
        "subdtype": dtype.subdtype().map(|(base, shape)| json!([facts(base), shape])),
        "fields": fields,
    })
}

fn read(descr: &str) -> DTypeError {
    DType::from_descr(&descr.parse().unwrap()).unwrap_err()
}
