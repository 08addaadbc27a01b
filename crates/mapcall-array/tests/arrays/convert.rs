//! Compares conversions between dtypes with NumPy's `astype` and `can_cast`.

#![allow(
    clippy::format_collect,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    unsafe_code,
    reason = "a test fails by a panic, and its speed does not matter"
)]

use crate::common::numpy;
use mapcall_array::DType;
use mapcall_array::convert::Cast;
use mapcall_array::literal::Value as Literal;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

/// The types of numbers, and one of each other kind.
const SCALARS: [&str; 22] = [
    "?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16", "g", "G",
    "S3", "U2", "V5", "M8[s]", "m8[ns]", "S4",
];

/// Numbers whose casts are special: halves between two values, the largest of each type, not a number.
const SPECIAL: &str = "[0, 1, -1, 2049.0000001, 65504, 65520, 65519.99, 1e300, -1e300, 3.5e38, 1e-8, 2.0**-25, \
     2.0**-149, 2.0**53 + 2, 2.0**63, 16777217, 255, 256, float('inf'), float('-inf'), float('nan'), -0.0]";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// A Python expression: whether two arrays have the same elements, NaN for NaN.
const SAME: &str = "(lambda same: lambda a, b: same(same, a, b))(lambda same, a, b: \
     all(same(same, a[name], b[name]) for name in a.dtype.names) if a.dtype.names \
     else a.tobytes() == b.tobytes() or np.array_equal(a, b, equal_nan=a.dtype.kind in 'fc'))";

#[test]
fn pairs_of_scalars_are_cast_as_numpy_casts_them() {
    let orders = |name: &'static str| ["<", ">"].map(|order| format!("{order}{name}"));
    let names: Vec<String> = SCALARS.into_iter().flat_map(orders).collect();
    for from in &names {
        let bytes = format!(
            "(np.concatenate([np.array({SPECIAL}).astype('{from}'), \
             np.frombuffer(bytes(range(7, 247)) + bytes(240), '{from}', 15)]) \
             if np.dtype('{from}').kind in 'iufc' and '{from}'[1:] not in 'gG' else np.arange(9) % 3 == 0 \
             if '{from}'[1:] == '?' else np.frombuffer(bytes(range(240)), 'u1').view('{from}') \
             if 240 % np.dtype('{from}').itemsize == 0 else np.zeros(3, '{from}')).tobytes().hex()"
        );
        let bytes = unhex(numpy(&bytes).unwrap().as_str().unwrap());
        let source: DType = from.parse().unwrap();
        let count = bytes.len() / source.itemsize();
        let mut claims = Vec::new();
        for to in &names {
            let target: DType = to.parse().unwrap();
            let cast = Cast::new(&source, &target);
            let result = cast.map(|cast| {
                let mut result = vec![0; count * target.itemsize()];
                let strides = [&source, &target].map(|dtype| [dtype.itemsize().cast_signed()]);
                // SAFETY: both buffers have `count` elements.
                unsafe {
                    let to = (result.as_mut_ptr(), &strides[1][..]);
                    cast.run(&[count], (bytes.as_ptr(), &strides[0]), to);
                }
                hex(&result)
            });
            claims.push((to, result));
        }
        let wrong = format!(
            "(lambda source, claims: [(to, result) for to, result in claims if not (\
             (not np.can_cast(source.dtype, to, 'same_kind') or np.dtype(to).kind in 'SUVMm' \
             or np.dtype(to).char in 'gG' or source.dtype.char in 'gGSUMm' or source.dtype.kind == 'V') \
             and source.dtype.newbyteorder('=') != np.dtype(to).newbyteorder('=') if result is None \
             else np.can_cast(source.dtype, to, 'same_kind') and ({SAME})(\
             source.astype(to), np.frombuffer(bytes.fromhex(result), to)))])\
             (np.frombuffer(bytes.fromhex('{}'), '{from}'), {})",
            hex(&bytes),
            json!(claims).to_string().replace("null", "None"),
        );
        assert_eq!(numpy(&wrong), Ok(json!([])), "from {from}");
    }
}

/// An array of 2 axes with strides, at any address.
#[derive(Clone, Debug)]
struct Layout {
    offset: usize,
    gap: usize,
    row_gap: usize,
    is_column_major: bool,
    is_backwards: bool,
}

impl Layout {
    /// Returns the strides, the offset of the first element, and the size of the memory.
    fn strides(&self, shape: [usize; 2], itemsize: usize) -> ([isize; 2], usize, usize) {
        let [fast, slow] = if self.is_column_major { [0, 1] } else { [1, 0] };
        let mut strides = [0; 2];
        strides[fast] = itemsize + self.gap;
        strides[slow] = strides[fast] * shape[fast] + self.row_gap;
        let bytes = self.offset + strides[slow] * shape[slow];
        let mut strides = strides.map(usize::cast_signed);
        let mut first = self.offset;
        if self.is_backwards {
            first += strides[0].unsigned_abs() * (shape[0] - 1);
            strides[0] = -strides[0];
        }
        (strides, first, bytes)
    }
}

fn layout() -> impl Strategy<Value = Layout> {
    let gap = || prop_oneof![Just(0_usize), 1..9_usize];
    (0..9_usize, gap(), gap(), any::<bool>(), any::<bool>()).prop_map(
        |(offset, gap, row_gap, is_column_major, is_backwards)| Layout {
            offset,
            gap,
            row_gap,
            is_column_major,
            is_backwards,
        },
    )
}

/// Two dtypes of which the first is cast to the second: as text in Python.
fn pair() -> impl Strategy<Value = (String, String)> {
    let order = || prop_oneof![Just('<'), Just('>')];
    let number = |first: usize| (first..14_usize).prop_map(move |index| SCALARS[index]);
    let scalars = (0..14_usize).prop_flat_map(move |from| {
        (order(), order(), number(0)).prop_map(move |(one, other, to)| {
            (
                format!("'{one}{}'", SCALARS[from]),
                format!("'{other}{to}'"),
            )
        })
    });
    let leaf = scalars.clone();
    let record = vec((scalars, 1..4_usize), 1..4).prop_map(|fields| {
        let fields = |pick: fn(&(String, String)) -> &String| {
            let field = |(index, (pair, length)): (usize, &((String, String), usize))| {
                let shape = if *length > 1 {
                    format!(", ({length},)")
                } else {
                    String::new()
                };
                format!("('x{index}', {}{shape}), ", pick(pair))
            };
            let fields: String = fields.iter().enumerate().map(field).collect();
            format!("[{fields}]")
        };
        (fields(|pair| &pair.0), fields(|pair| &pair.1))
    });
    let nested = (record.clone(), leaf.clone()).prop_map(|(record, leaf)| {
        let nest = |record: &str, leaf: &str| format!("[('inner', {record}, (2,)), ('y', {leaf})]");
        (nest(&record.0, &leaf.0), nest(&record.1, &leaf.1))
    });
    prop_oneof![leaf, record, nested]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn strided_arrays_are_cast_as_numpy_casts_them(
        (from, to) in pair(),
        (aligned, shape) in (any::<[bool; 2]>(), (1..5_usize, 1..600_usize)),
        layouts in [layout(), layout()],
        seed in any::<u64>(),
    ) {
        let shape = [shape.0, shape.1];
        let dtype = |text: &str, aligned: bool| {
            let aligned = if aligned && text.starts_with('[') { ", align=True" } else { "" };
            format!("np.dtype({text}{aligned})")
        };
        let (from, to) = (dtype(&from, aligned[0]), dtype(&to, aligned[1]));
        let descr = |dtype: &str| {
            let text = numpy(&format!("repr(np.lib.format.dtype_to_descr({dtype}))")).unwrap();
            DType::from_descr(&text.as_str().unwrap().parse::<Literal>().unwrap()).unwrap()
        };
        let (source, target) = (descr(&from), descr(&to));
        let cast = Cast::new(&source, &target);
        let can = numpy(&format!("np.can_cast({from}, {to}, 'same_kind')")).unwrap();
        prop_assert_eq!(cast.is_some(), can == Value::Bool(true), "{} to {}", from, to);
        let Some(cast) = cast else { return Ok(()) };
        let (strides, first, bytes) = layouts[0].strides(shape, source.itemsize());
        let (to_strides, to_first, to_bytes) = layouts[1].strides(shape, target.itemsize());
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.to_be_bytes()[0]
        };
        let memory: Vec<u8> = (0..bytes).map(|_| next()).collect();
        let mut result = vec![0xa5; to_bytes];
        let to_memory = (result.as_mut_ptr().wrapping_add(to_first), &to_strides[..]);
        let from_memory = (memory.as_ptr().wrapping_add(first), &strides[..]);
        // SAFETY: both buffers have the elements of the layouts.
        unsafe { cast.run(&shape, from_memory, to_memory) };
        let python = |dtype: &str, memory: &[u8], offset: usize, strides: [isize; 2]| {
            let memory = hex(memory);
            let [rows, columns] = strides;
            format!("np.ndarray({}, {dtype}, bytearray.fromhex('{memory}'), {offset}, ({rows}, {columns}))",
                    format_args!("({}, {})", shape[0], shape[1]))
        };
        // Bytes between the elements stay as they are.
        let same = format!(
            "(lambda source, result, expected: (expected.__setitem__(..., source), ({SAME})(expected, result), \
             ({SAME})(expected, source.astype(expected.dtype)))[1:])({}, {}, {})",
            python(&from, &memory, first, strides),
            python(&to, &result, to_first, to_strides),
            python(&to, &vec![0xa5; to_bytes], to_first, to_strides),
        );
        prop_assert_eq!(numpy(&same), Ok(json!([true, true])), "{} to {}", from, to);
        let covered = covered(&target, shape, to_strides, to_first, to_bytes);
        for (index, byte) in result.iter().enumerate() {
            prop_assert!(covered[index] || *byte == 0xa5, "byte {} was written", index);
        }
    }
}

/// Returns for each byte of an array's memory whether it belongs to an element.
fn covered(
    dtype: &DType,
    shape: [usize; 2],
    strides: [isize; 2],
    first: usize,
    bytes: usize,
) -> Vec<bool> {
    let mut covered = vec![false; bytes];
    for row in 0..shape[0].cast_signed() {
        for column in 0..shape[1].cast_signed() {
            let start = first.cast_signed() + row * strides[0] + column * strides[1];
            covered[start.cast_unsigned()..][..dtype.itemsize()].fill(true);
        }
    }
    covered
}
