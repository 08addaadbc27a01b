//! Batches and calls that convert arrays, against NumPy's rules worked out by hand; `tests/python/call/test_convert.py`
//! compares with NumPy.

use mapcall::array::{Array, DType};
use mapcall::{Arg, CallError};

use crate::fixture::{Bytes, Fixture};

/// Memory with big-endian numbers, one after the other.
fn big(values: impl IntoIterator<Item = f32>) -> Bytes {
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_be_bytes).collect();
    Bytes::of(&bytes)
}

fn f4(memory: &mut Bytes, shape: &[usize], strides: &[isize]) -> Array {
    memory.array(">f4".parse().unwrap(), 0, shape, strides)
}

#[test]
fn items_are_converted_by_every_engine_on_several_threads() {
    let fixture = Fixture::new();
    for function in fixture.engines("void scale(size_t n, double a, double x[n])") {
        // Rows that are columns of the file, and more than fit in a buffer.
        let (rows, n) = (10_000, 7);
        let mut memory = big((0..rows * n).map(|number| number as f32));
        let mut x = f4(&mut memory, &[rows, n], &[4, (4 * rows).cast_signed()]);
        let error = function
            .map(&[Arg::from(2.0)], &mut [Arg::from(&mut x)])
            .run();
        assert!(matches!(error, Err(CallError::Argument(error)) if error.subject.can_convert));
        function
            .map(&[Arg::from(2.0)], &mut [Arg::from(&mut x)])
            .convert()
            .threads(2)
            .run()
            .unwrap();
        drop(x);
        let doubled = memory.get::<u32>()[..rows * n].iter();
        let doubled = doubled.map(|bits| f32::from_bits(bits.swap_bytes()));
        assert!(
            doubled
                .enumerate()
                .all(|(index, number)| number == 2.0 * index as f32)
        );
    }
}

#[test]
fn repeated_items_are_converted_once_and_masked_ones_stay() {
    let fixture = Fixture::new();
    for function in fixture.engines("double add(double x, double y)") {
        let function = function.with_conversion(true);
        let (mut rows, mut columns) = (big([1.0, 2.0, 3.0]), big([10.0, 20.0]));
        let mut sums = big([-1.0; 6]);
        let x = f4(&mut rows, &[3, 1], &[4, 4]);
        let y = f4(&mut columns, &[2], &[4]);
        let mut out = f4(&mut sums, &[3, 2], &[8, 4]);
        let mask = ndarray::arr2(&[[1_u8, 0], [1, 1], [0, 0]]);
        let inputs = [Arg::from(&x), Arg::from(&y)];
        let mut outputs = [Arg::from(&mut out)];
        let batch = function.map(&inputs, &mut outputs);
        assert_eq!(batch.outputs().unwrap(), [None]);
        batch.only(&Arg::from(&mask)).run().unwrap();
        drop(inputs);
        drop(outputs);
        drop(out);
        let sums: Vec<f32> = sums.get::<u32>()[..6]
            .iter()
            .map(|bits| f32::from_bits(bits.swap_bytes()))
            .collect();
        assert_eq!(sums, [11.0, -1.0, 12.0, 22.0, -1.0, -1.0]);
    }
}

#[test]
fn one_call_converts_whole_arrays() {
    let fixture = Fixture::new();
    for function in fixture.engines("float dot(size_t n, const float x[n], const float y[n])") {
        let mut memory = big([1.0, 2.0, 3.0]);
        let x = memory.array(">f4".parse().unwrap(), 8, &[3], &[-4]);
        let y = [1_i16, 10, 100];
        let mut arguments = [Arg::from(&x), Arg::from(&y)];
        assert!(function.call(&mut arguments).is_err());
        let product = function.with_conversion(true).call(&mut arguments);
        assert_eq!(product.unwrap().to_f64(), Some(123.0));
    }
}

#[test]
fn what_same_kind_forbids_is_refused() {
    let fixture = Fixture::new();
    let half = fixture.bind("double half(double x)").with_conversion(true);
    let mut memory = Bytes::zeroed(64);
    let mut complex = memory.array(DType::C64, 0, &[4], &[8]);
    let before = fixture.calls();
    let error = half.map(&[Arg::from(&complex)], &mut [Arg::Out]).run();
    assert!(matches!(error, Err(CallError::Argument(error)) if !error.subject.can_convert));
    // A result is converted to the type of its array, and not from it.
    let mut integers = memory.array(DType::I64, 0, &[4], &[8]);
    let x = [1.0; 4];
    let refused = half
        .map(&[Arg::from(&x)], &mut [Arg::from(&mut integers)])
        .run();
    assert!(refused.is_err());
    assert_eq!(fixture.calls(), before);
    half.map(&[Arg::from(&x)], &mut [Arg::from(&mut complex)])
        .run()
        .unwrap();
    drop((complex, integers));
    assert_eq!(memory.get::<f32>()[..4], [0.5, 0.0, 0.5, 0.0]);
}
