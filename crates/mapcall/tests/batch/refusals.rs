//! What is refused, with the whole message, and before anything runs.

use half::f16;
use mapcall::array::layout::{Order, index};
use mapcall::array::{Array, DType};
use mapcall::{Arg, CallError, Success};

use crate::fixture::{Bytes, Fixture};

const ADD: &str = "double add(double x, double y)";
const AXPY: &str = "void axpy(size_t n, float a, const float x[n], float y[n])";
const AXPY_APART: &str =
    "void axpy(size_t n, float a, const float x[restrict n], float y[restrict n])";
const SCALE: &str = "void scale(size_t n, double a, double x[n])";
const BOTH: &str = "void both(int n, const double x[n], double low[n], double high[n])";

fn doubles(shape: &[usize]) -> Array {
    Array::zeros(DType::F64, shape, Order::C).unwrap()
}

fn floats(shape: &[usize]) -> Array {
    Array::zeros(DType::F32, shape, Order::C).unwrap()
}

#[test]
fn shapes_that_do_not_broadcast() {
    let fixture = Fixture::new();
    let (x, y) = (doubles(&[2, 3]), doubles(&[4]));
    fixture.refuse(
        ADD,
        &[(&x).into(), (&y).into()],
        &mut [],
        "add: y: expected double with batch axes that broadcast with (2, 3), those of x, \
         got batch axes (4,)",
    );
    let mut out = doubles(&[5]);
    fixture.refuse(
        ADD,
        &[(&x).into(), 1.0.into()],
        &mut [(&mut out).into()],
        "add: x: expected double with batch axes that broadcast with (5,), those of out, \
         got batch axes (2, 3)",
    );
    let mask = Array::zeros(DType::BOOL, &[7, 1], Order::C).unwrap();
    fixture.refuse_masked(
        ADD,
        &[(&x).into(), 1.0.into()],
        &mut [],
        Some(&(&mask).into()),
        "add: where: expected an array of bool with batch axes that broadcast with (2, 3), those of \
         x, got batch axes (7, 1)",
    );
    // The core axes agree, or nothing is said of the batch.
    let (x, mut y) = (floats(&[4, 3]), floats(&[4, 5]));
    fixture.refuse(
        AXPY,
        &[1.0.into(), (&x).into()],
        &mut [(&mut y).into()],
        "axpy: y: expected float32[n] with n = 3 as x has it, got shape (4, 5)",
    );
    let lone = Array::zeros(DType::F32, &[], Order::C).unwrap();
    fixture.refuse(
        AXPY,
        &[1.0.into(), (&lone).into()],
        &mut [],
        "axpy: x: expected float32[n], 1 axis, got shape ()",
    );
}

#[test]
fn outputs_that_several_calls_would_write() {
    let fixture = Fixture::new();
    let x = doubles(&[2, 3]);
    for (shape, message) in [
        (
            &[2, 1][..],
            "add: out: expected float64 with the batch axes (2, 3), got batch axes (2, 1)",
        ),
        (
            &[3],
            "add: out: expected float64 with the batch axes (2, 3), got batch axes (3,)",
        ),
        (
            &[],
            "add: out: expected float64 with the batch axes (2, 3), got batch axes ()",
        ),
    ] {
        let mut out = doubles(shape);
        let inputs = [(&x).into(), 1.0.into()];
        fixture.refuse(ADD, &inputs, &mut [(&mut out).into()], message);
    }
    let (x, mut y) = (floats(&[4, 3]), floats(&[3]));
    fixture.refuse(
        AXPY,
        &[1.0.into(), (&x).into()],
        &mut [(&mut y).into()],
        "axpy: y: expected float32[n] with the batch axes (4,), got batch axes ()",
    );
}

#[test]
fn outputs_that_overlap_themselves() {
    let fixture = Fixture::new();
    let mut memory = Bytes::zeroed(1024);
    let x = doubles(&[4]);
    let message = "add: out: expected float64, each item in memory of its own, got an array whose items \
         share memory";
    for (offset, stride) in [(0, 0), (40, 0)] {
        let mut out = memory.array(DType::F64, offset, &[4], &[stride]);
        let inputs = [(&x).into(), 1.0.into()];
        fixture.refuse(ADD, &inputs, &mut [(&mut out).into()], message);
    }
    // A window of 3 that slides over 6.
    let x = floats(&[4, 3]);
    let mut y = memory.array(DType::F32, 0, &[4, 3], &[4, 4]);
    fixture.refuse(
        AXPY,
        &[1.0.into(), (&x).into()],
        &mut [(&mut y).into()],
        "axpy: y: expected float32[n], each item in memory of its own, got an array whose items \
         share memory",
    );
    // One call may have it.
    let axpy = fixture.bind(AXPY);
    let x = floats(&[1, 3]);
    let mut y = memory.array(DType::F32, 0, &[1, 3], &[0, 4]);
    axpy.map(&[1.0.into(), (&x).into()], &mut [(&mut y).into()])
        .run()
        .unwrap();
    assert_eq!(fixture.calls(), 1);
}

#[test]
fn an_output_lies_in_an_input_exactly_or_not_at_all() {
    let fixture = Fixture::new();
    let mut memory = Bytes::of(&[0.0_f64, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    let alias = |name: &str, expected: &str, other: &str| {
        format!(
            "add: {name}: expected {expected} in memory of its own, or item by item in that of \
             {other}, got memory that it shares with {other}"
        )
    };
    let x = memory.array(DType::F64, 0, &[4], &[8]);
    // Behind by one, backwards, every other one, and all in one place.
    for (offset, shape, stride) in [(8, 4, 8), (24, 4, -8), (0, 4, 16), (24, 4, 8)] {
        let mut out = memory.array(DType::F64, offset, &[shape], &[stride]);
        fixture.refuse(
            ADD,
            &[(&x).into(), 1.0.into()],
            &mut [(&mut out).into()],
            &alias("out", "float64", "x"),
        );
    }
    let mut out = memory.array(DType::F64, 0, &[4], &[8]);
    let lone = memory.array(DType::F64, 16, &[], &[]);
    fixture.refuse(
        ADD,
        &[1.0.into(), (&lone).into()],
        &mut [(&mut out).into()],
        &alias("out", "float64", "y"),
    );
    let mask = memory.array(DType::BOOL, 0, &[4], &[1]);
    fixture.refuse_masked(
        ADD,
        &[1.0.into(), 2.0.into()],
        &mut [(&mut out).into()],
        Some(&(&mask).into()),
        &alias("out", "float64", "where"),
    );
    let (mut low, mut high) = (
        memory.array(DType::F64, 0, &[2, 2], &[16, 8]),
        memory.array(DType::F64, 16, &[2, 2], &[16, 8]),
    );
    let x = doubles(&[2, 2]);
    fixture.refuse(
        BOTH,
        &[(&x).into()],
        &mut [(&mut low).into(), (&mut high).into()],
        "both: low: expected float64[n] in memory of its own, or item by item in that of high, \
         got memory that it shares with high",
    );
    assert_eq!(fixture.calls(), 0);

    // Exactly: each call reads its item before it writes it.
    let add = fixture.bind(ADD);
    let x = memory.array(DType::F64, 0, &[4], &[8]);
    add.map(&[(&x).into(), (&x).into()], &mut [(&mut out).into()])
        .threads(2)
        .run()
        .unwrap();
    assert_eq!(
        memory.get::<f64>(),
        [0.0, 2.0, 4.0, 6.0, 4.0, 5.0, 6.0, 7.0]
    );
    // Also where one has more axes, of length 1.
    let mut out = memory.array(DType::F64, 0, &[1, 4], &[64, 8]);
    add.map(&[(&x).into(), 1.0.into()], &mut [(&mut out).into()])
        .run()
        .unwrap();
    assert_eq!(memory.get::<f64>()[..5], [1.0, 3.0, 5.0, 7.0, 4.0]);
    // Beside each other, in one memory.
    let mut out = memory.array(DType::F64, 8, &[4], &[16]);
    let x = memory.array(DType::F64, 0, &[4], &[16]);
    add.map(&[(&x).into(), 0.5.into()], &mut [(&mut out).into()])
        .run()
        .unwrap();
    assert_eq!(
        memory.get::<f64>(),
        [1.0, 1.5, 5.0, 5.5, 4.0, 4.5, 6.0, 6.5]
    );
    // A row that is written by the one call that reads it.
    let scale = fixture.bind(SCALE);
    let mut x = memory.array(DType::F64, 0, &[2, 4], &[32, 8]);
    scale
        .map(&[2.0.into()], &mut [(&mut x).into()])
        .run()
        .unwrap();
    assert_eq!(
        memory.get::<f64>(),
        [2.0, 3.0, 10.0, 11.0, 8.0, 9.0, 12.0, 13.0]
    );
}

#[test]
fn restrict_arrays_are_apart() {
    let fixture = Fixture::new();
    let mut memory = Bytes::zeroed(64);
    let message = "axpy: y: expected float32[n] in memory of its own (restrict), \
                   got memory that it shares with x";
    let x = memory.array(DType::F32, 0, &[2, 3], &[12, 4]);
    // The same, one item further, and the other way round.
    for (offset, stride) in [(0, 12), (12, 12), (12, -12)] {
        let mut y = memory.array(DType::F32, offset, &[2, 3], &[stride, 4]);
        fixture.refuse(
            AXPY_APART,
            &[1.0.into(), (&x).into()],
            &mut [(&mut y).into()],
            message,
        );
    }
    // A single call as well.
    let (x, mut y) = (
        memory.array(DType::F32, 0, &[3], &[4]),
        memory.array(DType::F32, 8, &[3], &[4]),
    );
    fixture.refuse(
        AXPY_APART,
        &[1.0.into(), (&x).into()],
        &mut [(&mut y).into()],
        message,
    );
    // Without `restrict`, it may; rows in turn share nothing.
    fixture
        .bind(AXPY)
        .map(&[1.0.into(), (&x).into()], &mut [(&mut y).into()])
        .run()
        .unwrap();
    let x = memory.array(DType::F32, 0, &[2, 2], &[16, 4]);
    let mut y = memory.array(DType::F32, 8, &[2, 2], &[16, 4]);
    let axpy = fixture.bind(AXPY_APART);
    axpy.map(&[1.0.into(), (&x).into()], &mut [(&mut y).into()])
        .run()
        .unwrap();
    assert_eq!(fixture.calls(), 3);
}

#[test]
fn strides_that_c_can_not_have() {
    let fixture = Fixture::new();
    let mut memory = Bytes::zeroed(256);
    let start = memory.bytes().as_ptr().addr();
    let x = memory.array(DType::F64, 0, &[4], &[12]);
    fixture.refuse(
        ADD,
        &[(&x).into(), 1.0.into()],
        &mut [],
        &format!(
            "add: x: expected double, aligned to 8 bytes, got address {:#x}",
            start + 12
        ),
    );
    let x = memory.array(DType::F64, 4, &[4], &[8]);
    let unaligned = format!(
        "expected double, aligned to 8 bytes, got address {:#x}",
        start + 4
    );
    fixture.refuse(
        ADD,
        &[1.0.into(), (&x).into()],
        &mut [],
        &format!("add: y: {unaligned}"),
    );
    let mut out = memory.array(DType::F64, 32, &[4], &[-9]);
    fixture.refuse(
        ADD,
        &[1.0.into(), 2.0.into()],
        &mut [(&mut out).into()],
        &format!(
            "add: out: expected float64, aligned to 8 bytes, got address {:#x}",
            start + 32 - 9
        ),
    );
    let x = memory.array(DType::F32, 0, &[2, 3], &[14, 4]);
    fixture.refuse(
        AXPY,
        &[1.0.into(), (&x).into()],
        &mut [],
        &format!(
            "axpy: x: expected float32[n], aligned to 4 bytes, got address {:#x}",
            start + 14
        ),
    );
    // Only core axes must be contiguous.
    let x = memory.array(DType::F32, 0, &[2, 3], &[4, 8]);
    fixture.refuse(
        AXPY,
        &[1.0.into(), (&x).into()],
        &mut [],
        "axpy: x: expected float32[n], C-contiguous, got shape (3,) with strides (8,)",
    );
    // Along an axis of length 1 nothing moves.
    let x = memory.array(DType::F64, 0, &[1], &[3]);
    fixture
        .bind(ADD)
        .map(&[(&x).into(), 1.0.into()], &mut [Arg::Out])
        .run()
        .unwrap();
}

#[test]
fn outputs_that_can_not_be_written() {
    let fixture = Fixture::new();
    let x = floats(&[4, 3]);
    fixture.refuse(
        AXPY,
        &[1.0.into(), (&x).into()],
        &mut [(&x).into()],
        "axpy: y: expected float32[n], writeable, got a read-only array",
    );
    let out = [0.0; 4];
    fixture.refuse(
        ADD,
        &[1.0.into(), 2.0.into()],
        &mut [(&out).into()],
        "add: out: expected float64, writeable, got a read-only array",
    );
    let mut out = doubles(&[4]);
    let _other = out.clone();
    fixture.refuse(
        ADD,
        &[1.0.into(), 2.0.into()],
        &mut [(&mut out).into()],
        "add: out: expected float64 that nothing else can reach, got an array that shares its \
         memory with others",
    );
}

#[test]
fn other_dtypes_and_kinds() {
    let fixture = Fixture::new();
    let (x, mut halves) = (floats(&[4]), [f16::ZERO; 4]);
    fixture.refuse(
        ADD,
        &[(&x).into(), 1.0.into()],
        &mut [],
        "add: x: expected double, got an array of float32",
    );
    fixture.refuse(
        ADD,
        &[1.0.into(), 1.0.into()],
        &mut [(&mut halves).into()],
        "add: out: expected float64, got an array of float16",
    );
    fixture.refuse(
        ADD,
        &[1.0.into(), 1.0.into()],
        &mut [2.0.into()],
        "add: out: expected float64, got a number",
    );
    fixture.refuse(
        ADD,
        &[1.0.into(), "text".into()],
        &mut [],
        "add: y: expected double, got a text",
    );
    let mut memory = Bytes::zeroed(64);
    let swapped = memory.array(">f8".parse().unwrap(), 0, &[4], &[8]);
    fixture.refuse(
        ADD,
        &[(&swapped).into(), 1.0.into()],
        &mut [],
        "add: x: expected double in native byte order, got an array of '>f8'",
    );
    for (mask, message) in [
        (
            Arg::from(&x),
            "add: where: expected an array of bool, got an array of float32",
        ),
        (
            Arg::from(true),
            "add: where: expected an array of bool, got a bool",
        ),
        (
            Arg::Out,
            "add: where: expected an array of bool, got nothing",
        ),
    ] {
        fixture.refuse_masked(
            ADD,
            &[1.0.into(), 2.0.into()],
            &mut [],
            Some(&mask),
            message,
        );
    }
}

#[test]
fn a_number_that_measures_is_the_same_in_each_call() {
    let fixture = Fixture::new();
    let (k, x) = (
        [2_i16, 3],
        Array::zeros(DType::I32, &[2, 4], Order::C).unwrap(),
    );
    fixture.refuse(
        "void tile(int n, short k, const int x[n], int y[n * k])",
        &[(&k).into(), (&x).into()],
        &mut [],
        "tile: k: expected one short for all calls, as it measures an array, got shape (2,)",
    );
}

#[test]
fn results_that_no_array_holds() {
    let fixture = Fixture::new();
    let which = [0, 1];
    for (prototype, message) in [
        (
            "const char *name_of(int which)",
            "name_of: expected one call, as no array can hold results of type const char *, \
             got a batch",
        ),
        (
            "void *open_it(int which)",
            "open_it: expected one call, as no array can hold results of type void *, \
             got a batch",
        ),
    ] {
        fixture.refuse(prototype, &[(&which).into()], &mut [], message);
        fixture.refuse(prototype, &[(&which).into()], &mut [Arg::Out], message);
    }
}

#[test]
fn too_many_and_too_few() {
    let fixture = Fixture::new();
    fixture.refuse(
        ADD,
        &[1.0.into(), 2.0.into(), 3.0.into()],
        &mut [],
        "add: expected at most 2 arguments, got 3",
    );
    fixture.refuse(
        ADD,
        &[1.0.into(), 2.0.into()],
        &mut [Arg::Out, Arg::Out],
        "add: expected 1 output, got 2",
    );
    fixture.refuse(
        "void nothing(double x)",
        &[1.0.into()],
        &mut [Arg::Out],
        "nothing: expected no output, got 1",
    );
    fixture.refuse(
        ADD,
        &[1.0.into()],
        &mut [],
        "add: y: expected double, got nothing",
    );
    fixture.refuse(
        AXPY,
        &[1.0.into()],
        &mut [],
        "axpy: x: expected float32[n], got nothing",
    );
}

#[test]
fn more_calls_than_can_be_counted() {
    let fixture = Fixture::new();
    let mut memory = Bytes::zeroed(16);
    let many = 1 << 40;
    let x = memory.array(DType::F64, 0, &[many, 1], &[0, 0]);
    let y = memory.array(DType::F64, 0, &[many], &[0]);
    fixture.refuse(
        ADD,
        &[(&x).into(), (&y).into()],
        &mut [],
        "add: expected fewer calls, got batch axes (1099511627776, 1099511627776)",
    );
    // None at all, whatever else there is.
    let z = memory.array(DType::BOOL, 0, &[0, 1, 1], &[0, 0, 0]);
    let nothing = fixture.bind("void nothing(double x)");
    let inputs = [(&x).into()];
    nothing
        .map(&inputs, &mut [])
        .only(&(&z).into())
        .run()
        .unwrap();
    assert_eq!(fixture.calls(), 0);
}

#[test]
fn more_memory_than_there_is() {
    let fixture = Fixture::new();
    let mut memory = Bytes::zeroed(16);
    let x = memory.array(DType::F64, 0, &[1 << 59], &[0]);
    let error = fixture
        .bind("double half(double x)")
        .map(&[(&x).into()], &mut [Arg::Out])
        .run();
    assert!(matches!(error, Err(CallError::Array { .. })), "{error:?}");
    assert_eq!(fixture.calls(), 0);
}

/// What calls return or write would be computed and dropped.
#[test]
fn outputs_without_a_place() {
    const HALF: &str = "double half(double x)";
    let fixture = Fixture::new();
    let refused = |expected: &str, found: usize| format!("expected {expected}, got {found}");
    let message = format!("half: {}", refused("1 output", 0));
    let (x, empty) = (doubles(&[4]), doubles(&[0]));
    fixture.refuse(HALF, &[(&x).into()], &mut [], &message);
    // Neither a batch of one call, nor one of none.
    fixture.refuse(HALF, &[1.0.into()], &mut [], &message);
    fixture.refuse(HALF, &[(&empty).into()], &mut [], &message);
    let function = fixture.bind(HALF);
    let error = function.map(&[(&x).into()], &mut []).outputs().unwrap_err();
    assert!(error.to_string().starts_with(&message), "{error}");
    for found in 0..2 {
        let mut outputs: Vec<Arg<'_>> = (0..found).map(|_| Arg::Out).collect();
        let message = format!("both: {}", refused("2 outputs", found));
        fixture.refuse(BOTH, &[(&x).into()], &mut outputs, &message);
    }
    let message = format!("axpy: {}", refused("1 output", 0));
    let narrow = floats(&[4]);
    let inputs = [1.0.into(), (&narrow).into()];
    fixture.refuse(AXPY, &inputs, &mut [], &message);
    // There is nothing to lose: no output, or results that are all 0.
    let nothing = fixture.bind("void nothing(double x)");
    nothing.map(&[(&x).into()], &mut []).run().unwrap();
    let codes = Array::zeros(DType::I32, &[5], Order::C).unwrap();
    let status = fixture.bind("int status(int code)");
    let status = status.check(Success::Zero).unwrap();
    status.map(&[(&codes).into()], &mut []).run().unwrap();
    assert_eq!(fixture.calls(), 4 + 5);
}

#[test]
fn parts_of_one_number_lie_in_turn() {
    let fixture = Fixture::new();
    let mut memory = Bytes::of(&[1.0_f64, -1.0, 2.0, -1.0, 3.0, -1.0]);
    // `z.imag = z.real / 2`.
    let z = memory.array(DType::F64, 0, &[3, 2], &[16, 8]);
    let real = z.slice(&index![.., 0]).unwrap();
    let real = memory.array(DType::F64, 0, real.shape(), real.strides());
    let mut imag = memory.array(DType::F64, 8, &[3], &[16]);
    for half in fixture.engines("double half(double x)") {
        half.map(&[(&real).into()], &mut [(&mut imag).into()])
            .threads(2)
            .run()
            .unwrap();
    }
    assert_eq!(memory.get::<f64>(), [1.0, 0.5, 2.0, 1.0, 3.0, 1.5]);
}
