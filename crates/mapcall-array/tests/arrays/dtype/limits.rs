//! The limits of dtypes: sizes, the depth of fields in each other, and counts of time units.

use mapcall_array::dtype::{DType, DTypeError, Field, ScalarType, TimeUnit};
use mapcall_array::literal::Value as Literal;

use super::read;

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
