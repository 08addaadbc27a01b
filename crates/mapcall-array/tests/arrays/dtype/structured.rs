//! Structured dtypes and sub-arrays, random ones with fields at any offsets: their layout, equality and text are
//! NumPy's.

use mapcall_array::dtype::{ByteOrder, DType, DTypeError, Field};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::{facts, literal, numpy_facts, read};
use crate::common::numpy;

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
