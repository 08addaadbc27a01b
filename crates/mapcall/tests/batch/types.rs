//! Batches of everything that isn't a plain number.

use half::f16;
use mapcall::Arg;
use mapcall::array::DType;
use num_complex::Complex;

use crate::fixture::{Bytes, Fixture};

fn pair() -> DType {
    DType::structured_aligned([("x", DType::F64), ("n", DType::I32)]).unwrap()
}

#[test]
fn structs() {
    let fixture = Fixture::new();
    let turn = "struct pair { double x; int n; }; struct pair turn(struct pair p, double by)";
    for turn in fixture.engines(turn) {
        for threads in [1, 2] {
            let words = |x: f64, n: u64| [x.to_bits(), n];
            let mut pairs = Bytes::of(&[words(1.5, 2), words(-2.5, 3), words(9.0, 4)]);
            let pairs = pairs.array(pair(), 0, &[3], &[16]);
            let by = [[10.0], [100.0]];
            let by = ndarray::arr2(&by);
            let mut outputs = [Arg::Out];
            let inputs = [Arg::from(&pairs), Arg::from(&by)];
            turn.map(&inputs, &mut outputs)
                .threads(threads)
                .run()
                .unwrap();
            let [out] = outputs.map(|output| output.into_array().unwrap());
            assert_eq!((out.shape(), out.dtype()), (&[2, 3][..], &pair()));
            let item = |index: usize| {
                let start = out.as_ptr().wrapping_add(16 * index);
                // SAFETY: the array has six of them.
                unsafe {
                    (
                        start.cast::<f64>().read(),
                        start.add(8).cast::<i32>().read(),
                    )
                }
            };
            let all: Vec<_> = (0..6).map(item).collect();
            let expected = [
                (20.0, 1),
                (30.0, -2),
                (40.0, 9),
                (200.0, 1),
                (300.0, -2),
                (400.0, 9),
            ];
            assert_eq!(all, expected);

            // One record for all calls.
            let one = Bytes::of(&[words(7.5, 3)]).bytes().to_vec();
            let by = [1.0, 2.0];
            let inputs = [Arg::Record(pair(), one.into()), Arg::from(&by)];
            let mut outputs = [Arg::Out];
            turn.map(&inputs, &mut outputs)
                .threads(threads)
                .run()
                .unwrap();
            let [out] = outputs.map(|output| output.into_array().unwrap());
            assert_eq!(out.shape(), [2]);
        }
    }
    fixture.refuse(
        "struct pair { double x; int n; }; struct pair turn(struct pair p, double by)",
        &[Arg::from(&[0.0]), 1.0.into()],
        &mut [],
        "turn: p: expected struct pair, got an array of float64",
    );
}

#[test]
fn small_and_large_structs() {
    let fixture = Fixture::new();
    let rgb = || DType::structured([("r", DType::U8), ("g", DType::U8), ("b", DType::U8)]).unwrap();
    let invert = "struct rgb { unsigned char r, g, b; }; struct rgb invert(struct rgb p)";
    for invert in fixture.engines(invert) {
        // Backwards, and with a byte between, that stays as it is.
        let mut pixels = Bytes::of(&[0_u8, 1, 2, 99, 3, 4, 5, 98, 6, 7, 8]);
        let mut out = Bytes::of(&[77_u8; 16]);
        let x = pixels.array(rgb(), 8, &[3], &[-4]);
        let mut y = out.array(rgb(), 0, &[3], &[5]);
        invert
            .map(&[(&x).into()], &mut [(&mut y).into()])
            .run()
            .unwrap();
        drop(y);
        assert_eq!(
            out.bytes()[..14],
            [
                249, 248, 247, 77, 77, 252, 251, 250, 77, 77, 255, 254, 253, 77
            ]
        );
    }
    let grow = "struct pair { double x; int n; }; struct big { double x[5]; }; \
                struct big grow(struct big p, const struct pair q[1])";
    for grow in fixture.engines(grow) {
        let values: Vec<f64> = (0..10).map(f64::from).collect();
        let mut big = Bytes::of(&values);
        let dtype = DType::from_descr(&"[('x', '<f8', (5,))]".parse().unwrap()).unwrap();
        let big = big.array(dtype, 0, &[2], &[40]);
        let mut pairs = Bytes::of(&[[0_u64, 1], [0, 2], [0, 3]]);
        let pairs = pairs.array(pair(), 0, &[3, 1, 1], &[16, 16, 16]);
        let mut outputs = [Arg::Out];
        grow.map(&[(&big).into(), (&pairs).into()], &mut outputs)
            .threads(2)
            .run()
            .unwrap();
        let [out] = outputs.map(|output| output.into_array().unwrap());
        assert_eq!(out.shape(), [3, 2]);
        // SAFETY: the array has 30 doubles.
        let found = unsafe { std::slice::from_raw_parts(out.as_ptr().cast::<f64>(), 30) };
        for (index, &value) in found.iter().enumerate() {
            assert_eq!(value, (index % 10) as f64 + (index / 10 + 1) as f64);
        }
    }
}

#[test]
fn long_doubles() {
    let fixture = Fixture::new();
    // 1, 2 and 3 with 64 bits of fraction.
    let mut x = Bytes::of(&[
        1_u128 << 63 | 0x3fff << 64,
        1_u128 << 63 | 0x4000 << 64,
        3_u128 << 62 | 0x4000 << 64,
    ]);
    if !cfg!(x87_long_double) {
        return;
    }
    let dtype = DType::from_descr(&"'<f16'".parse().unwrap()).unwrap();
    for longer in fixture.engines("long double longer(long double x, int n)") {
        let x = x.array(dtype.clone(), 0, &[3], &[16]);
        let n = [2, 4, -2];
        let mut outputs = [Arg::Out];
        longer
            .map(&[(&x).into(), (&n).into()], &mut outputs)
            .threads(2)
            .run()
            .unwrap();
        let [out] = outputs.map(|output| output.into_array().unwrap());
        let item = |index: usize| {
            let start = out.as_ptr().wrapping_add(16 * index);
            // SAFETY: the array has three of 16 bytes.
            unsafe {
                (
                    start.cast::<u64>().read(),
                    start.add(8).cast::<u16>().read(),
                )
            }
        };
        let found: Vec<_> = (0..3).map(item).collect();
        assert_eq!(
            found,
            [(1 << 63, 0x4000), (1 << 63, 0x4002), (3 << 62, 0xc001)]
        );
    }
}

#[test]
fn complex_and_half_and_bool() {
    let fixture = Fixture::new();
    let z = [Complex::new(1.0, 2.0), Complex::new(-0.0, -3.0)];
    for conjugate in fixture.engines("double _Complex conjugate(double _Complex z)") {
        let mut out = [Complex::default(); 2];
        conjugate
            .map(&[(&z).into()], &mut [(&mut out).into()])
            .run()
            .unwrap();
        assert_eq!(out, z.map(|z| z.conj()));
    }
    let z = z.map(|z| Complex::new(z.re as f32, z.im as f32));
    for conjugate in fixture.engines("float _Complex conjugatef(float _Complex z)") {
        let mut out = [Complex::default(); 2];
        conjugate
            .map(&[(&z).into()], &mut [(&mut out).into()])
            .run()
            .unwrap();
        assert_eq!(out, z.map(|z| z.conj()));
    }
    let x = [0.5, -1.25, 60000.0].map(f16::from_f64);
    for twice in fixture.engines("_Float16 twice(_Float16 x)") {
        let mut out = [f16::ZERO; 3];
        twice
            .map(&[(&x).into()], &mut [(&mut out).into()])
            .run()
            .unwrap();
        assert_eq!(out, [1.0, -2.5, f64::INFINITY].map(f16::from_f64));
        let mut out = [f16::ZERO; 2];
        twice
            .map(&[0.25.into()], &mut [(&mut out).into()])
            .run()
            .unwrap();
        assert_eq!(out, [f16::from_f64(0.5); 2]);
    }
    let (x, y) = (ndarray::arr2(&[[1_f32], [2.0]]), [0_f32, 1.5, 9.0]);
    for less in fixture.engines("_Bool less(float x, float y)") {
        let mut outputs = [Arg::Out];
        less.map(&[(&x).into(), (&y).into()], &mut outputs)
            .threads(2)
            .run()
            .unwrap();
        let [out] = outputs.map(|output| output.into_array().unwrap());
        assert_eq!((out.dtype(), out.shape()), (&DType::BOOL, &[2, 3][..]));
        // SAFETY: the array has six bytes.
        let bytes = unsafe { std::slice::from_raw_parts(out.as_ptr(), 6) };
        assert_eq!(bytes, [0, 1, 1, 0, 0, 1]);
    }
    for is_not in fixture.engines("_Bool is_not(_Bool x)") {
        let mut memory = Bytes::of(&[0_u8, 9, 1, 9, 0]);
        let x = memory.array(DType::BOOL, 0, &[3], &[2]);
        let mut out = Bytes::of(&[5_u8; 4]);
        let mut y = out.array(DType::BOOL, 0, &[3], &[1]);
        is_not
            .map(&[(&x).into()], &mut [(&mut y).into()])
            .run()
            .unwrap();
        assert_eq!(out.bytes()[..4], [1, 0, 1, 5]);
    }
}

#[test]
fn enums() {
    let fixture = Fixture::new();
    let code_of = "enum code { NONE, SOME = 5, OTHER = -7 }; enum code code_of(enum code e)";
    for code_of in fixture.engines(code_of) {
        let codes = [0, 5, -7];
        let mut out = [0_i32; 3];
        code_of
            .map(&[(&codes).into()], &mut [(&mut out).into()])
            .run()
            .unwrap();
        assert_eq!(out, [1, 6, -6]);
    }
}

#[test]
fn a_complex_number_is_taken_apart() {
    let fixture = Fixture::new();
    // Real parts, written over the imaginary ones of the neighbour that is not read.
    let mut memory = Bytes::of(&[1.0_f64, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0, 0.0]);
    let real = fixture.bind("double real(double _Complex z)");
    let z = memory.array(DType::C128, 0, &[2], &[32]);
    let mut out = memory.array(DType::F64, 16, &[2], &[32]);
    real.map(&[(&z).into()], &mut [(&mut out).into()])
        .threads(2)
        .run()
        .unwrap();
    assert_eq!(
        memory.get::<f64>(),
        [1.0, 2.0, 1.0, 4.0, 5.0, 6.0, 5.0, 0.0]
    );
}
