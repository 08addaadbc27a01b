//! Type strings and names of dtypes, valid and invalid: what NumPy reads is read, and all else is refused.

use mapcall_array::dtype::{DType, DTypeError};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{facts, literal, numpy_facts, read};
use crate::common::numpy;

/// Returns whether a string is left out: one that NumPy accepts and this crate does not, or that NumPy must not
/// be given.
///
/// - Lists with commas (`f4,i4`) and repeats (`3f4`, `(2,)f4`, `()f4`): they make structured types
///   and sub-arrays, not plain types.
/// - `T`, the string of variable length, whose bytes are pointers, like those of `O`.
/// - One control character: NumPy takes its code for an internal type number.
/// - Divisors of time units for which NumPy does not check a C `int` for overflow, or the bounds of its own
///   table: a zero divisor kills the process, and a negative one, `W/11` and a large multiplier give wrong
///   units.
///
/// Objects are also refused, with an error of their own, which the test below expects.
fn is_numpys_alone(text: &str) -> bool {
    let code = text.strip_prefix(['<', '>', '=', '|']).unwrap_or(text);
    let is_type_number = code.len() == 1 && code.starts_with(|c: char| c.is_ascii_control());
    let is_repeat = code.starts_with(|c: char| c.is_ascii_digit()) || code.starts_with("()");
    let is_odd_divisor = code.split_once('/').is_some_and(|(multiple, divisor)| {
        let digits = |text: &str| text.chars().filter(char::is_ascii_digit).count();
        divisor.contains('-')
            || !divisor.contains(|c| matches!(c, '1'..='9'))
            || digits(divisor) > 6
            || digits(multiple) > 5
            || multiple.ends_with('W')
    });
    code.contains(',') || code == "T" || is_type_number || is_repeat || is_odd_divisor
}

fn agrees_with_numpy(text: &str) {
    let ours = text.parse::<DType>();
    if is_numpys_alone(text) {
        return;
    }
    let theirs = numpy_facts(&format!("np.dtype({})", literal(text)));
    match (&ours, &theirs) {
        (Ok(ours), Ok(theirs)) => assert_eq!(facts(ours), *theirs, "{text:?}"),
        (Err(DTypeError::Object { .. }), Ok(theirs)) => {
            assert_eq!(theirs["kind"], "O", "{text:?}");
        }
        (Err(_), Err(_)) => {}
        _ => panic!("{text:?}: ours {ours:?}, NumPy's {theirs:?}"),
    }
}

const SEEDS: [&str; 37] = [
    "<f4",
    "=i8",
    "|b1",
    ">u2",
    "f8",
    "?",
    "S10",
    ">U5",
    "V7",
    "M8[ns]",
    "m8[25s]",
    "<c16",
    "<f16",
    "float32",
    "int64",
    "uint8",
    "bool",
    "complex128",
    "datetime64[ns]",
    "float16",
    "a3",
    "M8[D/24]",
    "m8[7Y/12]",
    "timedelta64[generic]",
    "longdouble",
    "clongdouble",
    "str_",
    "bytes",
    "object",
    "O8",
    "M8[μs]",
    "unicode",
    "c",
    "U536870911",
    "S2147483647",
    "i 4",
    "M+8",
];

/// A strategy for a string with some characters changed, removed or added.
fn mutated() -> impl Strategy<Value = String> {
    let char = select(
        "<>=|?0123456789 +-[]/bBhHiIlLqQnNpPefdgFDGcSaUVmMOsuDYWé_\t\0"
            .chars()
            .collect::<Vec<_>>(),
    );
    let edit = (0..24_usize, 0..3_usize, char);
    (select(&SEEDS[..]), vec(edit, 0..3)).prop_map(|(seed, edits)| {
        let mut chars: Vec<char> = seed.chars().collect();
        for (index, kind, char) in edits {
            let index = index % (chars.len() + 1);
            match kind {
                0 => chars.insert(index, char),
                _ if index == chars.len() => {}
                1 => chars[index] = char,
                _ => drop(chars.remove(index)),
            }
        }
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn type_strings_are_numpys(
        text in prop_oneof![
            3 => mutated(),
            2 => "[<>=|]?[a-zA-Z?][ +-]?[0-9]{0,3}",
            2 => "[<>=|]?(M8|m8|datetime64|timedelta64)\\[[ +]?[0-9]{0,4}(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as|generic)(/[1-9][0-9]{0,3})?\\]",
            1 => vec(any::<char>(), 0..4).prop_map(String::from_iter),
        ],
    ) {
        agrees_with_numpy(&text);
    }
}

#[test]
fn every_type_code_and_name_is_numpys() {
    for char in '\x18'..='\x7f' {
        for order in ["", "<", ">", "=", "|"] {
            agrees_with_numpy(&format!("{order}{char}"));
        }
        for size in 0..=65 {
            agrees_with_numpy(&format!("{char}{size}"));
        }
    }
    let names = numpy("[n for n in np._core.numerictypes.sctypeDict if isinstance(n, str)]");
    let names = names.unwrap();
    assert!(names.as_array().unwrap().len() > 40);
    for name in names.as_array().unwrap() {
        agrees_with_numpy(name.as_str().unwrap());
    }
    for seed in SEEDS {
        agrees_with_numpy(seed);
    }
    for width in [80, 96, 128, 160, 192, 256, 512] {
        agrees_with_numpy(&format!("float{width}"));
        agrees_with_numpy(&format!("complex{width}"));
    }
}

fn parse(text: &str) -> DTypeError {
    text.parse::<DType>().unwrap_err()
}

#[test]
fn syntax_errors_point_into_the_text() {
    for (text, at) in [
        ("", 0),
        ("<", 1),
        ("<<f4", 1),
        ("f3", 1),
        (">i3", 2),
        ("b2", 1),
        ("c4", 1),
        ("u16", 1),
        ("fl", 0),
        (">float32", 1),
        ("é4", 0),
        ("i4;f4", 0),
        ("3i4 f4", 3),
        ("<3>f4", 2),
        ("i4,(2 3)f4", 3),
        ("i4, ,f4", 4),
        ("i-4", 0),
        ("M8s", 2),
        ("M8[", 3),
        ("M8[]", 3),
        ("M8[x]", 3),
        ("M8[25]", 5),
        ("<M8[-1s]", 4),
        ("M8[2147483648s]", 3),
        ("M8[99999999999999999999s]", 3),
        ("M8[s", 4),
        ("M8[s]x", 4),
        ("M8[s/]", 5),
        ("M8[s/0]", 4),
        ("M8[s/-1]", 4),
        ("M8[s/7]", 4),
        ("M8[W/11]", 4),
        ("M8[as/2]", 5),
        ("M8[generic/2]", 10),
        ("M8[2147483647D/2]", 14),
        ("M8[s/4294967297]", 4),
        ("datetime64[s/2", 14),
    ] {
        match parse(text) {
            DTypeError::Syntax {
                text: told,
                position,
                ..
            } => {
                assert_eq!((told.as_str(), position), (text, at));
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
}

#[test]
fn objects_have_their_own_error() {
    for text in ["O", "|O", "<O", "O8", "O4", "object", "object_"] {
        assert_eq!(parse(text), DTypeError::Object { text: text.into() });
    }
    let error = read("[('a', '<f4'), ('b', [('c', '|O')])]");
    assert!(
        error
            .to_string()
            .starts_with(r#"field "b": field "c": dtype "|O": expected plain data"#)
    );
}

#[test]
fn long_double_of_another_machine() {
    let platform = DType::LONGDOUBLE.itemsize();
    for (text, itemsize) in [
        ("<f12", 12),
        (">f16", 16),
        ("float96", 12),
        ("float128", 16),
    ] {
        match text.parse::<DType>() {
            Ok(dtype) => assert_eq!(dtype.itemsize(), platform),
            Err(error) => {
                assert_ne!(itemsize, platform);
                assert_eq!(
                    error,
                    DTypeError::LongDouble {
                        text: text.into(),
                        itemsize,
                        platform
                    }
                );
            }
        }
    }
    for (text, itemsize) in [
        ("c24", 24),
        ("c32", 32),
        ("complex192", 24),
        ("complex256", 32),
    ] {
        match text.parse::<DType>() {
            Ok(dtype) => assert_eq!(dtype.itemsize(), 2 * platform),
            Err(error) => {
                assert!(
                    matches!(error, DTypeError::LongDouble { platform: p, .. } if p == 2 * platform)
                );
                assert_ne!(itemsize, 2 * platform);
            }
        }
    }
}
