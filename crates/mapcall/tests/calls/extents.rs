//! Extents: inferred, verified, computed for outputs, unknown.

use mapcall::array::DType;
use mapcall::contract::{Backing, Check, Contract, HostValue, Memory, Role, Scalar};
use mapcall::{Arg, Prototype};
use ndarray::{Array3, array, s};

use crate::fixture::{bind, call, calls, engines, refuse, refuse_unchecked};

#[test]
fn arrays_that_name_an_extent_agree() {
    let saxpy = "void saxpy(size_t n, float a, const float x[n], float y[n])";
    let (x, mut y) = ([0.0_f32; 3], [0.0_f32; 2]);
    refuse(
        saxpy,
        &mut [1.0.into(), Arg::from(&x), Arg::from(&mut y)],
        "saxpy: y: expected float32[n] with n = 3 as x has it, got shape (2,)",
    );
    let outer = "void outer(int m, int n, const double x[m], const double y[n], double out[m][n])";
    let x = [1.0, 2.0, 3.0];
    let mut out = ndarray::Array2::<f64>::zeros((3, 2));
    refuse(
        outer,
        &mut [Arg::from(&x), Arg::from(&x), Arg::from(&mut out)],
        "outer: out: expected float64[m, n] with n = 3 as y has it, got shape (3, 2)",
    );
    let mut out = ndarray::Array2::<f64>::zeros((2, 3));
    refuse(
        outer,
        &mut [Arg::from(&x), Arg::from(&x), Arg::from(&mut out)],
        "outer: out: expected float64[m, n] with m = 3 as x has it, got shape (2, 3)",
    );
}

#[test]
fn an_extent_may_stand_behind_its_array() {
    for mean in engines("double mean(const double x[n], unsigned long n)") {
        let value = call(&mean, &mut [Arg::from(&[1.0, 2.0, 6.0])]);
        assert_eq!(value.to_f64(), Some(3.0));
    }
}

#[test]
fn a_constant_extent_is_a_constant() {
    let prototype = "double trace(const double a[3][3])";
    let a = array![[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0]];
    for trace in engines(prototype) {
        assert_eq!(call(&trace, &mut [Arg::from(&a)]).to_f64(), Some(6.0));
    }
    refuse(
        prototype,
        &mut [Arg::from(&ndarray::Array2::<f64>::zeros((3, 4)))],
        "trace: a: expected float64[3, 3] with 3 along axis 1, got shape (3, 4)",
    );
}

/// The inferred integer is passed in whatever width it has, and must fit.
#[test]
fn an_inferred_extent_fits_its_type() {
    for (name, ctype, max) in [
        ("schar", "signed char", 127),
        ("uchar", "unsigned char", 255),
        ("short", "short", 32_767),
        ("ushort", "unsigned short", 65_535),
        ("int", "int", 100_000),
        ("uint", "unsigned", 100_000),
        ("long", "long", 100_000),
        ("ulong", "unsigned long", 100_000),
    ] {
        let prototype = format!("{ctype} length_{name}(const char x[n], {ctype} n)");
        let x = vec![0_i8; max + 1];
        for length in engines(&prototype) {
            for count in [0, 1, max / 2, max] {
                let value = call(&length, &mut [Arg::from(&x[..count])]);
                assert_eq!(value.to_i128(), Some(count as i128), "{prototype}");
            }
        }
        if max < 100_000 {
            let message = format!(
                "length_{name}: n: expected {ctype}, at most {max}, got {}",
                max + 1
            );
            refuse(&prototype, &mut [Arg::from(&x)], &message);
        }
    }
    refuse(
        "short length_short(const char x[n], short n)",
        &mut [Arg::from(&vec![0_i8; 40_000][..])],
        "length_short: n: expected short, at most 32767, got 40000",
    );
}

/// How a binding with keywords gives an inferred extent.
#[test]
fn an_inferred_extent_may_be_given() {
    let text = "void f(short n, const double x[n], double y[n])";
    let contract = Contract::new(Prototype::parse(text).unwrap()).unwrap();
    let given = |value: Scalar| {
        let mut frame = vec![0; contract.slots()];
        let mut check = Check::new(&contract, &mut frame);
        check
            .argument(Role::Parameter(0), HostValue::Number(value))
            .map_err(|error| error.to_string())?;
        let omitted = HostValue::Omitted;
        check.argument(Role::Parameter(2), omitted).unwrap();
        check.finish().map_err(|error| error.to_string())?;
        Ok::<_, String>(check.output(0).unwrap().shape.to_vec())
    };
    assert_eq!(given(3.into()), Ok(vec![3]));
    assert_eq!(given(true.into()), Ok(vec![1]));
    assert_eq!(
        given((-1).into()).unwrap_err(),
        "f: n: expected short, got -1; give a value from 0 to 32767, or leave it out"
    );
    assert_eq!(
        given(32_768.into()).unwrap_err(),
        "f: n: expected short, got 32768; give a value from 0 to 32767, or leave it out"
    );
    assert_eq!(
        given(3.0.into()).unwrap_err(),
        "f: n: expected short, got 3.0; give 3"
    );
}

#[test]
fn an_extent_that_no_array_tells_is_asked_for() {
    refuse(
        "void twice_half(int n, _Float16 x[n])",
        &mut [Arg::Out],
        "twice_half: n: expected int from the shape of an array, got no array that has it",
    );
}

#[test]
fn products_and_sums_are_verified_and_computed() {
    let tile = "void tile(int n, short k, const int x[n], int y[n * k])";
    let x = [1, 2, 3];
    for tile in engines(tile) {
        let mut y = [0; 6];
        call(&tile, &mut [2.into(), Arg::from(&x), Arg::from(&mut y)]);
        assert_eq!(y, [1, 2, 3, 1, 2, 3]);
        let mut arguments = [2.into(), Arg::from(&x), Arg::Out];
        call(&tile, &mut arguments);
        let made = arguments[2].array().unwrap();
        assert_eq!((made.shape(), made.dtype()), (&[6][..], &DType::I32));
        assert_eq!(made.view::<i32>().unwrap(), ndarray::arr1(&y).into_dyn());
        call(
            &tile,
            &mut [0.into(), Arg::from(&x), Arg::from(&mut y[..0])],
        );
    }
    let mut y = [0; 5];
    refuse(
        tile,
        &mut [2.into(), Arg::from(&x), Arg::from(&mut y)],
        "tile: y: expected int32[n*k] with n*k = 6, got shape (5,)",
    );
    refuse(
        tile,
        &mut [(-1).into(), Arg::from(&x), Arg::Out],
        "tile: y: expected int32[n*k] of some size, got n*k, which is negative: -3",
    );

    let cumulate = "void cumulate(int n, const double x[n], double y[n + 1])";
    for cumulate in engines(cumulate) {
        let mut arguments = [Arg::from(&[1.0, 2.0]), Arg::Out];
        call(&cumulate, &mut arguments);
        let y = arguments[1].array().unwrap().view::<f64>().unwrap();
        assert_eq!(y, array![0.0, 1.0, 3.0].into_dyn());
    }
    let (x, mut y) = ([1.0, 2.0], [0.0; 2]);
    refuse(
        cumulate,
        &mut [Arg::from(&x), Arg::from(&mut y)],
        "cumulate: y: expected float64[n+1] with n+1 = 3, got shape (2,)",
    );
}

#[test]
fn quotients_are_verified_and_computed() {
    let pack = "void pack(int n, const unsigned char bits[n], unsigned char out[(n+7)/8])";
    for pack in engines(pack) {
        for n in 0..20 {
            let mut arguments = [Arg::from(&[1_u8; 20][..n]), Arg::Out];
            call(&pack, &mut arguments);
            let out = arguments[1]
                .array()
                .unwrap()
                .view::<u8>()
                .unwrap()
                .to_owned();
            let ones: u32 = out.iter().map(|byte| byte.count_ones()).sum();
            assert_eq!((out.len(), ones as usize), (n.div_ceil(8), n));
        }
    }
    let (bits, mut out) = ([1_u8; 9], [0_u8; 1]);
    refuse(
        pack,
        &mut [Arg::from(&bits), Arg::from(&mut out)],
        "pack: out: expected uint8[(n+7)/8] with (n+7)/8 = 2, got shape (1,)",
    );

    let every = "void every(int n, int k, const int x[n], int y[n / k])";
    let (x, mut y) = ([1, 2, 3, 4, 5], [0; 2]);
    for every in engines(every) {
        call(&every, &mut [2.into(), Arg::from(&x), Arg::from(&mut y)]);
        assert_eq!(y, [1, 3]);
    }
    let by_zero = "every: y: expected int32[n/k] of some size, got n/k, which divides by zero";
    refuse(
        every,
        &mut [0.into(), Arg::from(&x), Arg::from(&mut y)],
        by_zero,
    );
    refuse(every, &mut [0.into(), Arg::from(&x), Arg::Out], by_zero);
}

#[test]
fn an_absurd_output_is_not_made() {
    let cumulate = bind("void cumulate(long n, const double x[3], double y[n << 40])");
    let before = crate::fixture::calls();
    let x = [1.0; 3];
    let error = cumulate.call(&mut [(1 << 20).into(), Arg::from(&x), Arg::Out]);
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("cumulate: "), "{error}");
    assert_eq!(crate::fixture::calls(), before);
}

#[test]
fn unknown_extents_need_an_unchecked_call() {
    let negate = "void negate(double p[], size_t most)";
    let mut p = [1.0, 2.0, 3.0];
    refuse(
        negate,
        &mut [Arg::from(&mut p), 2.into()],
        "negate: p: expected float64[?] with its extent, got an array",
    );
    refuse(
        negate,
        &mut [Arg::Out, 2.into()],
        "negate: p: expected float64[?], got nothing",
    );
    for negate in engines(negate) {
        let mut p = [1.0, 2.0, 3.0];
        // SAFETY: it changes no more than 2 numbers.
        unsafe { negate.call_unchecked(&mut [Arg::from(&mut p), 2.into()]) }.unwrap();
        assert_eq!(p, [-1.0, -2.0, 3.0]);
    }
    let x = [1.0_f32];
    refuse_unchecked(
        negate,
        &mut [Arg::from(&x), 1.into()],
        "negate: p: expected float64[?], got an array of float32",
    );
    refuse_unchecked(
        negate,
        &mut [Arg::from(&p), 1.into()],
        "negate: p: expected float64[?], writeable, got a read-only array",
    );
    // What is known is checked all the same.
    let text = "void negate(double p[][2], size_t most)";
    refuse_unchecked(
        text,
        &mut [
            Arg::from(&mut ndarray::Array2::<f64>::zeros((3, 3))),
            1.into(),
        ],
        "negate: p: expected float64[?, 2] with 2 along axis 1, got shape (3, 3)",
    );
}

/// C has one type for `T p[]` and `T *p`: an address, which an array of any rank and strides has.
#[test]
fn two_spellings_of_one_type() {
    for text in [
        "void negate(double p[], size_t most)",
        "void negate(double *p, size_t most)",
        "void negate(double p[restrict], size_t most)",
    ] {
        for negate in engines(text) {
            let run = |argument: Arg<'_>, most: usize| {
                let before = calls();
                // SAFETY: it changes at most one number.
                unsafe { negate.call_unchecked(&mut [argument, most.into()]) }.unwrap();
                assert_eq!(calls(), before + 1, "it runs once");
            };
            let mut matrix = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]];
            run(Arg::from(&mut matrix), 1);
            run(Arg::from(&mut matrix.slice_mut(s![.., 1..])), 1);
            run(Arg::from(&mut matrix.view_mut().reversed_axes()), 1);
            run(Arg::from(&mut matrix.slice_mut(s![1, 2])), 1);
            run(Arg::from(&mut matrix.slice_mut(s![..;-1, ..;-2])), 1);
            run(Arg::from(&mut matrix.slice_mut(s![..0, ..])), 0);
            assert_eq!(matrix, array![[1.0, -2.0, 3.0], [4.0, 5.0, 6.0]]);
            run(Arg::Null, 0);
        }
    }
    for text in [
        "int text_length(const char s[])",
        "int text_length(const char *s)",
    ] {
        for length in engines(text) {
            assert_eq!(call(&length, &mut ["four".into()]).to_i128(), Some(4));
            assert_eq!(call(&length, &mut [Arg::Null]).to_i128(), Some(-1));
            let text = [104_i8, 105, 0];
            // SAFETY: there is a NUL.
            let value = unsafe { length.call_unchecked(&mut [Arg::from(&text)]) }.unwrap();
            assert_eq!(value.to_i128(), Some(2));
        }
    }
}

#[test]
fn known_extents_behind_an_unknown_one() {
    for text in [
        "void negate(double p[][2], size_t most)",
        "void negate(double (*p)[2], size_t most)",
    ] {
        for negate in engines(text) {
            let run = |argument: Arg<'_>| {
                // SAFETY: it changes one number.
                unsafe { negate.call_unchecked(&mut [argument, 1.into()]) }
            };
            let mut row = array![1.0, 2.0];
            run(Arg::from(&mut row)).unwrap();
            let mut block = Array3::<f64>::ones((2, 3, 4));
            run(Arg::from(&mut block.slice_mut(s![1.., ..;2, 1..3]))).unwrap();
            assert_eq!((row[0], block[[1, 0, 1]]), (-1.0, -1.0));
            let error = run(Arg::from(&mut block)).unwrap_err().to_string();
            assert!(
                error.contains("with 2 along axis 1, got shape (2, 3, 4)"),
                "{error}"
            );
            let error = run(Arg::from(&mut block.slice_mut(s![.., .., ..;2]))).unwrap_err();
            assert!(error.to_string().contains("C-contiguous"), "{error}");
            let error = run(Arg::from(&mut block.slice_mut(s![0, 0, 0]))).unwrap_err();
            assert!(
                error.to_string().contains("2 axes, got shape ()"),
                "{error}"
            );
        }
    }
    // They are inferred as any other.
    let text = "double second(int n, const double p[][n], const double q[n])";
    let contract = Contract::new(Prototype::parse(text).unwrap()).unwrap();
    let mut slots = vec![0; contract.slots()];
    let mut check = Check::new(&contract, &mut slots).unchecked(true);
    let memory = |x: &[f64], shape| Memory {
        address: x.as_ptr().cast_mut().cast(),
        shape,
        strides: if shape == [3] { &[8] } else { &[48, 24, 8] },
        is_contiguous: true,
        is_writeable: false,
        is_shared: false,
        backing: Backing::Private,
    };
    let (p, q) = ([0.0; 12], [0.0; 3]);
    let dtype = Ok(&DType::F64);
    let array = |memory| HostValue::Array { memory, dtype };
    let p = array(memory(&p, &[2, 2, 3]));
    check.argument(Role::Parameter(1), p).unwrap();
    let q = array(memory(&q, &[3]));
    check.argument(Role::Parameter(2), q).unwrap();
    check.finish().unwrap();
    assert_eq!(slots[0], 3);
}

/// Arrays with an axis of no elements may be longer along others than memory is, and agree with each other.
#[test]
fn lengths_of_arrays_without_elements_may_overflow_together() {
    fn memory(shape: &[usize]) -> Memory<'_> {
        Memory {
            address: std::ptr::without_provenance_mut(8),
            shape,
            strides: &[8, 8, 8][..shape.len()],
            is_contiguous: true,
            is_writeable: true,
            is_shared: false,
            backing: Backing::Private,
        }
    }
    let empty = [[0, 1], [1, 0], [0, 3], [3, 0], [0, 1 << 59], [1 << 59, 0]];
    let third: [&[usize]; 8] = [
        &[0],
        &[6],
        &[1 << 59],
        &[3, 3],
        &[1 << 59, 0],
        &[0, 1 << 59],
        &[2, 3, 3],
        &[2, 0, 1 << 58],
    ];
    let mut refused = 0;
    for extents in ["m][n", "m * n", "2][m][n", "m + n", "m][n][2"] {
        let text = format!(
            "void f(size_t m, size_t n, size_t k, const double a[m][k], const double b[k][n], double c[{extents}])"
        );
        let contract = Contract::new(Prototype::parse(&text).unwrap()).unwrap();
        for (a, b) in empty.iter().flat_map(|a| empty.iter().map(move |b| (a, b))) {
            for (c, is_batch) in third.iter().flat_map(|c| [(c, false), (c, true)]) {
                let mut frame = vec![0; contract.slots()];
                let mut check = if is_batch {
                    Check::broadcasting(&contract, &mut frame)
                } else {
                    Check::new(&contract, &mut frame)
                };
                let mut passed = Ok(());
                for (shape, position) in [&a[..], b, c].into_iter().zip(3..) {
                    let (memory, dtype) = (memory(shape), Ok(&DType::F64));
                    let array = HostValue::Array { memory, dtype };
                    passed = passed.and_then(|()| check.argument(Role::Parameter(position), array));
                }
                if let Err(error) = passed.and_then(|()| check.finish()) {
                    assert!(error.to_string().starts_with("f: "), "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 1000, "{refused}");
}
