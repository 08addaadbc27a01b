//! Checks that literals and dtypes are parsed from their own text to the same value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mapcall_array::DType;
use mapcall_array::literal::Value;

fuzz_target!(|text: &str| {
    if let Ok(dtype) = text.parse::<DType>() {
        // Lists of types and sub-arrays, as `i4,f4` and `3<f4`, print as descriptors.
        if dtype.fields().is_none() && dtype.subdtype().is_none() {
            assert_eq!(dtype.to_string().parse().as_ref(), Ok(&dtype));
        }
        check_descr(&dtype);
    }
    if let Ok(value) = text.parse::<Value>() {
        if !has_float(&value) {
            assert_eq!(value.to_string().parse().as_ref(), Ok(&value));
        }
        if let Ok(dtype) = DType::from_descr(&value) {
            check_descr(&dtype);
        }
    }
});

fn check_descr(dtype: &DType) {
    let descr = dtype.to_descr().expect("what was read can be written");
    let value = descr.parse().expect("a descriptor is a literal");
    assert_eq!(DType::from_descr(&value).as_ref(), Ok(dtype));
}

/// Returns whether a literal contains a float. An infinite one is printed as by Rust, which is no
/// literal.
fn has_float(value: &Value) -> bool {
    match value {
        Value::Float(_) => true,
        Value::Tuple(items) | Value::List(items) => items.iter().any(has_float),
        Value::Dict(items) => items
            .iter()
            .any(|(key, value)| has_float(key) || has_float(value)),
        _ => false,
    }
}
