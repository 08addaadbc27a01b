//! Compares dtypes with NumPy: layout, type strings, `.npy` descriptors, and errors.

#![allow(
    clippy::format_collect,
    clippy::format_push_string,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by a panic, and its speed does not matter"
)]

use crate::common::numpy;
use mapcall_array::dtype::{ByteOrder, DType, DTypeError, Field, ScalarType, TimeUnit};
use mapcall_array::literal::Value as Literal;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

/// A description of a dtype, from which the Python expression and the dtype in Rust are made.
#[derive(Clone, Debug)]
enum Spec {
    Scalar(String),
    Subarray(Box<Spec>, Vec<usize>),
    Structured(Vec<FieldSpec>, Placement),
}

#[derive(Clone, Debug)]
struct FieldSpec {
    name: String,
    title: Option<String>,
    spec: Spec,
}

#[derive(Clone, Debug)]
enum Placement {
    Packed,
    Aligned,
    /// Fields in order, each with a number of padding bytes before it, and padding behind the last.
    Gaps {
        gaps: Vec<usize>,
        behind: usize,
        aligned: bool,
    },
    /// Fields at any offsets.
    Offsets {
        offsets: Vec<usize>,
        itemsize: Option<usize>,
        aligned: bool,
    },
}

impl Spec {
    /// Returns the Python expression, and the dtype or error in Rust.
    fn build(&self) -> (String, Result<DType, DTypeError>) {
        match self {
            Self::Scalar(text) => (format!("np.dtype('{text}')"), text.parse()),
            Self::Subarray(base, shape) => {
                let (python, base) = base.build();
                let dtype = base.and_then(|base| DType::subarray(base, shape));
                (format!("np.dtype(({python}, {}))", tuple(shape)), dtype)
            }
            Self::Structured(fields, placement) => build_structured(fields, placement),
        }
    }
}

fn build_structured(
    specs: &[FieldSpec],
    placement: &Placement,
) -> (String, Result<DType, DTypeError>) {
    let mut names = Vec::new();
    let mut titles = Vec::new();
    let mut formats = Vec::new();
    let mut items = Vec::new();
    let mut fields = Ok(Vec::new());
    for FieldSpec { name, title, spec } in specs {
        let (format, dtype) = spec.build();
        let quoted = literal(name);
        let title_literal = title.as_deref().map(literal);
        items.push(match &title_literal {
            Some(title) => format!("(({title}, {quoted}), {format})"),
            None => format!("({quoted}, {format})"),
        });
        names.push(quoted);
        titles.push(title_literal.unwrap_or("None".into()));
        formats.push(format);
        fields = fields.and_then(|mut fields: Vec<Field>| {
            let field = Field::new(name.as_str(), dtype?);
            fields.push(Field {
                title: title.clone(),
                ..field
            });
            Ok(fields)
        });
    }
    let items = items.join(", ");
    let (mut offsets, itemsize, aligned) = match placement {
        Placement::Packed => {
            return (
                format!("np.dtype([{items}])"),
                fields.and_then(DType::structured),
            );
        }
        Placement::Aligned => {
            let python = format!("np.dtype([{items}], align=True)");
            return (python, fields.and_then(DType::structured_aligned));
        }
        Placement::Gaps {
            gaps,
            behind,
            aligned,
        } => {
            // Every alignment divides 16.
            let step = if *aligned { 16 } else { 1 };
            let mut end = 0_usize;
            let sizes = fields.iter().flatten().map(|field| field.dtype.itemsize());
            let offsets = sizes.zip(gaps).map(|(size, gap)| {
                let offset = end.next_multiple_of(step) + gap * step;
                end = offset + size;
                offset
            });
            let offsets: Vec<_> = offsets.collect();
            (
                offsets,
                Some(end.next_multiple_of(step) + behind * step),
                *aligned,
            )
        }
        Placement::Offsets {
            offsets,
            itemsize,
            aligned,
        } => (offsets.clone(), *itemsize, *aligned),
    };
    offsets.resize(specs.len(), 0);
    let mut python = format!(
        "np.dtype({{'names': [{}], 'formats': [{}], 'titles': [{}], 'offsets': {offsets:?}, ",
        names.join(", "),
        formats.join(", "),
        titles.join(", "),
    );
    if let Some(itemsize) = itemsize {
        python += &format!("'itemsize': {itemsize}, ");
    }
    python += if aligned { "'aligned': True})" } else { "})" };
    let dtype = fields.and_then(|fields| {
        let placed = fields
            .into_iter()
            .zip(offsets)
            .map(|(field, offset)| field.at(offset));
        DType::structured_with_offsets(placed, itemsize, aligned)
    });
    (python, dtype)
}

/// Returns a Python `str` literal in ASCII.
fn literal(text: &str) -> String {
    let escaped: String = text
        .chars()
        .map(|c| format!("\\U{:08x}", u32::from(c)))
        .collect();
    format!("'{escaped}'")
}

fn tuple(shape: &[usize]) -> String {
    let dimensions: String = shape
        .iter()
        .map(|dimension| format!("{dimension}, "))
        .collect();
    format!("({dimensions})")
}

fn scalar() -> impl Strategy<Value = String> {
    let plain = select(vec![
        "?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "g", "c8", "c16",
        "G", "S1", "S7", "U1", "U3", "V1", "V5", "M8", "m8", "M8[ns]", "m8[25s]", "M8[2D]",
        "m8[Y]", "M8[as]", "S0", "U0", "V0",
    ]);
    (select(vec!["<", ">", "=", "|", ""]), plain)
        .prop_map(|(order, plain)| format!("{order}{plain}"))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,3}",
        "['\"\\\\\\n\\t\\r \u{7f}\u{a0}é€\u{200b}𝄞]{0,4}",
        vec(proptest::char::range('\0', '\u{ff}'), 0..3).prop_map(String::from_iter),
    ]
}

fn fields(spec: impl Strategy<Value = Spec>) -> impl Strategy<Value = Vec<FieldSpec>> {
    let field = (text(), option::weighted(0.2, text()), spec);
    vec(field, 0..5).prop_map(|fields| {
        // The index makes names and titles differ.
        let fields = fields.into_iter().enumerate();
        let fields = fields.map(|(index, (name, title, spec))| FieldSpec {
            name: format!("{index}{name}"),
            title: title.map(|title| format!("t{index}{title}")),
            spec,
        });
        fields.collect()
    })
}

fn placement() -> impl Strategy<Value = Placement> {
    let gaps = (vec(0..4_usize, 5), 0..4_usize, any::<bool>());
    let offset = prop_oneof![4 => (0..4_usize).prop_map(|step| step * 16), 1 => 0..40_usize];
    let itemsize = prop_oneof![(0..20_usize).prop_map(|step| step * 16), 0..200_usize];
    let offsets = (vec(offset, 5), option::of(itemsize), any::<bool>());
    prop_oneof![
        Just(Placement::Packed),
        Just(Placement::Aligned),
        gaps.prop_map(|(gaps, behind, aligned)| Placement::Gaps {
            gaps,
            behind,
            aligned
        }),
        offsets.prop_map(|(mut offsets, itemsize, aligned)| {
            offsets.truncate(5);
            Placement::Offsets {
                offsets,
                itemsize,
                aligned,
            }
        }),
    ]
}

fn spec() -> impl Strategy<Value = Spec> {
    scalar()
        .prop_map(Spec::Scalar)
        .prop_recursive(3, 24, 4, |inner| {
            let subarray = (inner.clone(), vec(0..4_usize, 0..3));
            prop_oneof![
                2 => (fields(inner), placement())
                    .prop_map(|(fields, placement)| Spec::Structured(fields, placement)),
                1 => subarray.prop_map(|(base, shape)| Spec::Subarray(Box::new(base), shape)),
            ]
        })
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn layout_is_numpys(spec in spec()) {
        let (python, dtype) = spec.build();
        let expected = numpy_facts(&python);
        prop_assert_eq!(dtype.is_ok(), expected.is_ok(), "{}: {:?}, {:?}", python, dtype, expected);
        let Ok(dtype) = dtype else { return Ok(()) };
        prop_assert_eq!(facts(&dtype), expected.unwrap(), "{}", python);
        for (order, char) in [(ByteOrder::Little, '<'), (ByteOrder::Big, '>')] {
            let expected = numpy_facts(&format!("({python}).newbyteorder('{char}')")).unwrap();
            prop_assert_eq!(facts(&dtype.newbyteorder(order)), expected, "{}", python);
        }
        prop_assert!(dtype.to_native().is_native());
    }

    #[test]
    fn descr_is_numpys(spec in spec()) {
        let (python, dtype) = spec.build();
        let Ok(dtype) = dtype else { return Ok(()) };
        // NumPy loses the base of a sub-array that is not a field, so the function for fields is called.
        let expected = match dtype.subdtype() {
            None => numpy(&format!("repr(np.lib.format.dtype_to_descr({python}))")),
            Some(_) => numpy(&format!("repr(np._core._internal._array_descr({python}))")),
        };
        let Ok(descr) = dtype.to_descr() else {
            prop_assert!(expected.is_err(), "{}: {:?}", python, expected);
            return Ok(());
        };
        prop_assert_eq!(expected, Ok(Value::from(descr.as_str())), "{}", python);
        if dtype.scalar_type().is_none() {
            prop_assert_eq!(&dtype.to_string(), &descr);
        }
        let back = DType::from_descr(&descr.parse().unwrap()).unwrap();
        let numpys = numpy_facts(&format!("np.lib.format.descr_to_dtype({descr})")).unwrap();
        prop_assert_eq!(facts(&back), numpys, "{}", descr);
        prop_assert_eq!(back, dtype);
    }

    #[test]
    fn overlapping_fields_are_printed_as_numpys_dictionary(
        fields in fields(scalar().prop_map(Spec::Scalar)),
        placement in placement(),
    ) {
        let (_, dtype) = build_structured(&fields, &placement);
        let Ok(dtype) = dtype else { return Ok(()) };
        let text = dtype.to_string();
        prop_assert_eq!(dtype.to_descr().is_err(), text.starts_with('{'));
        if text.starts_with('{') {
            // The dictionary does not have the alignment.
            let packed = dtype.fields().unwrap().to_vec();
            let packed = DType::structured_with_offsets(packed, Some(dtype.itemsize()), false);
            let expected = numpy_facts(&format!("np.dtype({text})"));
            prop_assert_eq!(Ok(facts(&packed.unwrap())), expected, "{}", text);
        }
    }

    #[test]
    fn equality_is_numpys(
        fields in fields(scalar().prop_map(Spec::Scalar)),
        placements in (placement(), placement()),
        untitled in any::<bool>(),
    ) {
        let mut others = fields.clone();
        for field in others.iter_mut().filter(|_| untitled) {
            field.title = None;
        }
        let (left, left_dtype) = build_structured(&fields, &placements.0);
        let (right, right_dtype) = build_structured(&others, &placements.1);
        let (Ok(left_dtype), Ok(right_dtype)) = (left_dtype, right_dtype) else { return Ok(()) };
        let expected = numpy(&format!("{left} == {right}")).unwrap();
        prop_assert_eq!(expected, left_dtype == right_dtype, "{} == {}", left, right);
    }
}

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
        codes.collect::<std::collections::HashSet<_>>()
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

fn parse(text: &str) -> DTypeError {
    text.parse::<DType>().unwrap_err()
}

fn read(descr: &str) -> DTypeError {
    DType::from_descr(&descr.parse().unwrap()).unwrap_err()
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

#[test]
fn sizes_stop_at_a_c_int() {
    const MAX: usize = i32::MAX as usize;
    let too_large = |bytes| Err(DTypeError::TooLarge { bytes });
    assert_eq!(DType::bytes(MAX).unwrap().itemsize(), MAX);
    assert_eq!(DType::bytes(MAX + 1), too_large(MAX + 1));
    assert_eq!(DType::void(usize::MAX), too_large(usize::MAX));
    assert_eq!(DType::unicode(MAX / 4).unwrap().itemsize(), MAX - 3);
    assert_eq!(DType::unicode(MAX / 4 + 1), too_large(MAX + 1));
    assert_eq!(DType::unicode(usize::MAX), too_large(usize::MAX));
    assert_eq!("V2147483648".parse::<DType>(), too_large(MAX + 1));

    let large = DType::void(MAX).unwrap();
    assert_eq!(
        DType::structured([("a", large.clone())])
            .unwrap()
            .itemsize(),
        MAX
    );
    let two = [("a", large.clone()), ("b", DType::U8)];
    assert_eq!(DType::structured(two), too_large(MAX + 1));
    let aligned = [("a", large.clone()), ("b", DType::I16)];
    assert_eq!(DType::structured_aligned(aligned), too_large(MAX + 1));
    let trailing = [("a", DType::I16), ("b", DType::void(MAX - 2).unwrap())];
    assert_eq!(DType::structured_aligned(trailing), too_large(MAX + 1));
    for offset in [MAX, usize::MAX] {
        let far =
            DType::structured_with_offsets([Field::new("a", DType::U8).at(offset)], None, false);
        let source = Box::new(DTypeError::TooLarge {
            bytes: offset.saturating_add(1),
        });
        assert_eq!(
            far,
            Err(DTypeError::Field {
                name: "a".into(),
                source
            })
        );
    }
    let fields = [("a", DType::U8)];
    assert_eq!(
        DType::structured_with_offsets(fields, Some(MAX + 1), false),
        too_large(MAX + 1)
    );
    assert_eq!(DType::subarray(large, &[2]), too_large(2 * MAX));
    assert_eq!(
        DType::subarray(DType::U8, &[MAX + 1, 0]),
        too_large(MAX + 1)
    );
    assert_eq!(DType::subarray(DType::U8, &[MAX; 3]), too_large(usize::MAX));
    assert_eq!(
        DType::subarray(DType::U8, &[0, MAX, MAX, MAX])
            .unwrap()
            .itemsize(),
        0
    );
    assert_eq!(
        read("[('a', '|V2147483647'), ('', '|V1')]"),
        DTypeError::TooLarge { bytes: MAX + 1 }
    );
}

#[test]
fn fields_that_do_not_fit() {
    let duplicate = |name: &str| Err(DTypeError::DuplicateField { name: name.into() });
    assert_eq!(
        DType::structured([("a", DType::U8), ("a", DType::U8)]),
        duplicate("a")
    );
    assert_eq!(
        DType::structured([("", DType::U8), ("f0", DType::U8)]),
        duplicate("f0")
    );
    let own = Field::new("a", DType::U8).with_title("a");
    assert_eq!(DType::structured([own]), duplicate("a"));
    let title = Field::new("a", DType::U8).with_title("b");
    assert_eq!(
        DType::structured([title, ("b", DType::U8).into()]),
        duplicate("b")
    );
    assert_eq!(
        read("[('a', 'i1'), ('a', 'i1')]"),
        duplicate("a").unwrap_err()
    );

    let structured_at = |offset, itemsize, aligned| {
        let fields = [Field::new("a", DType::I16).at(offset)];
        DType::structured_with_offsets(fields, itemsize, aligned)
    };
    assert!(structured_at(1, None, false).is_ok());
    assert_eq!(
        structured_at(1, None, true),
        Err(DTypeError::MisalignedOffset {
            name: "a".into(),
            offset: 1,
            alignment: 2
        })
    );
    assert_eq!(
        structured_at(2, Some(3), false),
        Err(DTypeError::ItemsizeTooSmall {
            itemsize: 3,
            required: 4
        })
    );
    assert_eq!(
        structured_at(2, Some(5), true),
        Err(DTypeError::MisalignedItemsize {
            itemsize: 5,
            alignment: 2
        })
    );
}

#[test]
fn sub_arrays_that_do_not_fit() {
    assert!(DType::subarray(DType::U8, &[1; 64]).is_ok());
    assert_eq!(
        DType::subarray(DType::U8, &[1; 65]),
        Err(DTypeError::SubarrayRank { rank: 65 })
    );
    for base in [DType::bytes(0), DType::subarray(DType::I32, &[0])] {
        let error = DType::subarray(base.unwrap(), &[2]).unwrap_err();
        assert!(
            matches!(error, DTypeError::UnsizedSubarray { .. }),
            "{error}"
        );
    }
    let negative = |dimension| DTypeError::NegativeDimension { dimension };
    assert_eq!(read("('<i4', (2, -1))"), negative(-1));
    assert_eq!(
        read("('<i4', -99999999999999999999)"),
        negative(-99_999_999_999_999_999_999)
    );
    assert_eq!(
        read("('<i4', 99999999999999999999)"),
        DTypeError::TooLarge { bytes: usize::MAX }
    );
}

#[test]
fn nesting_has_a_limit() {
    let scalar = || Literal::String("<f4".into());
    let nested = |levels: usize| {
        let around = |inner, _| {
            let field = vec![Literal::String("a".into()), inner];
            Literal::List(vec![Literal::Tuple(field)])
        };
        DType::from_descr(&(0..levels).fold(scalar(), around))
    };
    let deepest = nested(64).unwrap();
    assert_eq!(deepest.itemsize(), 4);
    assert_eq!(nested(65), Err(DTypeError::TooDeep));
    assert_eq!(nested(500), Err(DTypeError::TooDeep));
    assert_eq!(
        DType::subarray(deepest.clone(), &[2]),
        Err(DTypeError::TooDeep)
    );
    assert_eq!(
        DType::structured([("a", deepest)]),
        Err(DTypeError::TooDeep)
    );
    let shape = || Literal::Tuple(vec![Literal::Integer(1)]);
    let around = |inner, _| Literal::Tuple(vec![inner, shape()]);
    let tuples = (0..65).fold(scalar(), around);
    assert_eq!(DType::from_descr(&tuples), Err(DTypeError::TooDeep));
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

#[test]
fn fields_that_a_descriptor_cannot_say() {
    let overlapping = [
        Field::new("a", DType::I32),
        Field::new("b", DType::I32).at(2),
    ];
    let dtype = DType::structured_with_offsets(overlapping, None, false).unwrap();
    let error = DTypeError::NotExpressible {
        name: "b".into(),
        offset: 2,
        end: 4,
    };
    assert_eq!(dtype.to_descr(), Err(error.clone()));
    assert_eq!(
        dtype.to_string(),
        "{'names': ['a', 'b'], 'formats': ['<i4', '<i4'], 'offsets': [0, 2], 'itemsize': 6}"
            .replace('<', &ByteOrder::NATIVE.as_char().to_string())
    );
    let nested = DType::structured([("x", DType::subarray(dtype, &[2]).unwrap())]).unwrap();
    let source = Box::new(error);
    assert_eq!(
        nested.to_descr(),
        Err(DTypeError::Field {
            name: "x".into(),
            source
        })
    );
}

#[test]
fn time_counts() {
    let count = i32::MAX.unsigned_abs();
    let dtype = DType::datetime64(TimeUnit::Day, count).unwrap();
    assert_eq!(dtype, "M8[2147483647D]".parse().unwrap());
    assert_eq!(
        DType::timedelta64(TimeUnit::Day, count + 1),
        Err(DTypeError::TimeCount {
            count: u64::from(count) + 1
        })
    );
    let generic = ScalarType::Timedelta64 {
        unit: TimeUnit::Generic,
        count: 1,
    };
    let dtype = DType::timedelta64(TimeUnit::Generic, 5).unwrap();
    assert_eq!(dtype.scalar_type(), Some(generic));
}
