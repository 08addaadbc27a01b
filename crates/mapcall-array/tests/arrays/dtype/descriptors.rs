//! The descriptors of dtypes in `.npy` headers, valid and invalid: they are read and written as NumPy does.

use std::collections::HashSet;

use mapcall_array::dtype::{DType, DTypeError};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{facts, numpy_facts, read};
use crate::common::numpy;

/// A strategy for descriptors, valid and invalid.
fn descr() -> impl Strategy<Value = String> {
    let format = [
        "'<f4'", "'|V3'", "'>i2'", "'S0'", "'<U0'", "'|V0'", "'i3'", "'M8[us]'", "5",
    ];
    let shape = select(vec![
        "()",
        "(2,)",
        "3",
        "(2, 0)",
        "-1",
        "(-1,)",
        "[2, 3]",
        "True",
        "2.5",
        "'x'",
        "(2.0,)",
        "0",
        "(2147483648,)",
        "(65536, 65536)",
        "(99999999999999999999,)",
        "-99999999999999999999",
    ]);
    let name = select(vec![
        "''",
        "'a'",
        "'b'",
        "'c'",
        "'d'",
        "(None, 'a')",
        "('t', 'b')",
        "('a', 'c')",
        "('', 'd')",
        "(None, '')",
        "('t', 'b', 'c')",
        "5",
        "('t',)",
    ]);
    select(format.to_vec()).prop_map(str::to_owned).prop_recursive(3, 16, 4, move |inner| {
        let shape = shape.clone();
        let field = (name.clone(), inner.clone(), option::weighted(0.3, shape.clone()));
        let field = field.prop_map(|(name, format, shape)| match shape {
            Some(shape) => format!("({name}, {format}, {shape})"),
            None => format!("({name}, {format})"),
        });
        let list = vec(field, 0..4).prop_map(|fields| format!("[{}]", fields.join(", ")));
        prop_oneof![4 => list, 1 => (inner, shape).prop_map(|(base, shape)| format!("({base}, {shape})"))]
    })
}

/// Returns the error without the fields that it is in.
fn root(error: &DTypeError) -> &DTypeError {
    match error {
        DTypeError::Field { source, .. } => root(source),
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn descriptors_are_read_as_numpy_reads_them(descr in descr()) {
        let ours = DType::from_descr(&descr.parse().unwrap());
        if matches!(
            ours.as_ref().map_err(root),
            Err(DTypeError::TooLarge { .. } | DTypeError::UnsizedSubarray { .. })
        ) {
            // NumPy lets the itemsize overflow, and resizes a sub-array without bytes.
            return Ok(());
        }
        let theirs = numpy_facts(&format!("np.lib.format.descr_to_dtype({descr})"));
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(&facts(ours), theirs, "{}", descr),
            _ => prop_assert!(ours.is_err() && theirs.is_err(), "{}: {:?}, {:?}", descr, ours, theirs),
        }
    }
}

#[test]
fn every_character_is_escaped_as_python_does() {
    let chars = |condition: &str| {
        let python = format!(
            "(lambda u: [c for c in range(0x110000) if not 0xd800 <= c < 0xe000 and {condition}])\
             (__import__('unicodedata'))"
        );
        let codes = numpy(&python).unwrap();
        let codes = codes
            .as_array()
            .unwrap()
            .iter()
            .map(|code| code.as_u64().unwrap());
        codes.collect::<HashSet<_>>()
    };
    let printable = chars("chr(c).isprintable()");
    let unassigned = chars("u.category(chr(c)) == 'Cn'");
    let version = numpy("[*map(int, __import__('unicodedata').unidata_version.split('.'))]");
    let (major, minor, update) = char::UNICODE_VERSION;
    let newer = version.unwrap().as_array().unwrap()[0].as_u64() > Some(major.into());
    // All characters of planes 4 to 13 are unassigned, and those of planes 15 and 16 are for private use.
    let rare = |char: char| matches!(u32::from(char) >> 16, 4..=13 | 15..);
    for char in ('\0'..=char::MAX).filter(|char| !rare(*char) || u32::from(*char) % 251 == 0) {
        let dtype = DType::structured([(String::from(char), DType::U8)]).unwrap();
        let is_escaped = dtype.to_descr().unwrap().contains('\\');
        let code = u64::from(char);
        let expected = !printable.contains(&code) || char == '\\';
        // The two may have different versions of Unicode, and so know different characters.
        let unknown = unassigned.contains(&code) || newer && is_escaped;
        assert!(
            is_escaped == expected || unknown,
            "{char:?}, {major}.{minor}.{update}"
        );
    }
}

#[test]
fn descriptors_that_are_none() {
    for (descr, what) in [
        ("5", "an integer"),
        ("None", "None"),
        ("{'names': ['a'], 'formats': ['<f4']}", "a dict"),
        ("()", "an empty tuple"),
        ("('<f4', (2,), 3)", "another tuple"),
        ("[5]", "an integer"),
        ("[('a',)]", "another tuple"),
        ("[('a', '<f4', (2,), 3)]", "another tuple"),
        ("[(5, '<f4')]", "an integer"),
        ("[((5, 'a'), '<f4')]", "another tuple"),
        ("('<f4', [])", "an empty list"),
        ("('<f4', 2.0)", "a float"),
        ("('<f4', (2.5,))", "a float"),
        ("('<f4', True)", "a bool"),
        ("('<f4', '2')", "a string"),
    ] {
        match read(descr) {
            DTypeError::Descr { found, .. } => assert_eq!(found, what, "{descr}"),
            other => panic!("{descr}: {other:?}"),
        }
    }
    let error = read("[('a', [('b', {})])]");
    assert_eq!(
        error.to_string(),
        r#"field "a": field "b": dtype descriptor: expected a string, a list of fields or a tuple, got a dict"#
    );
}
