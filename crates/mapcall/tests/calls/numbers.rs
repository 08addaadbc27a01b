//! Numbers: exactly, or not at all.

use half::f16;
use mapcall::array::Element;
use mapcall::contract::{Number, Problem, Scalar};
use mapcall::ctype::{Float, Integer};
use mapcall::{Arg, Value};
use num_complex::Complex;
use proptest::prelude::*;

use crate::fixture::{bind, call, engines, refuse};

const INTEGERS: [(&str, &str, Integer); 11] = [
    ("char", "char", Integer::Char),
    ("schar", "signed char", Integer::SChar),
    ("uchar", "unsigned char", Integer::UChar),
    ("short", "short", Integer::Short),
    ("ushort", "unsigned short", Integer::UShort),
    ("int", "int", Integer::Int),
    ("uint", "unsigned int", Integer::UInt),
    ("long", "long", Integer::Long),
    ("ulong", "unsigned long", Integer::ULong),
    ("longlong", "long long", Integer::LongLong),
    ("ulonglong", "unsigned long long", Integer::ULongLong),
];

fn integer(value: i128) -> Arg<'static> {
    Scalar::Int(value).into()
}

#[test]
fn integers_have_their_range_and_no_more() {
    for (name, ctype, integer_type) in INTEGERS {
        let prototype = format!("{ctype} echo_{name}({ctype} x)");
        let (min, max) = (integer_type.min(), integer_type.max());
        for echo in engines(&prototype) {
            for value in [min, max, 0, 1, min / 2, max / 2] {
                assert_eq!(
                    call(&echo, &mut [integer(value)]).to_i128(),
                    Some(value),
                    "{prototype}"
                );
            }
            assert_eq!(call(&echo, &mut [true.into()]).to_i128(), Some(1));
        }
        for value in [min - 1, max + 1, i128::MIN, i128::MAX] {
            let message = format!("echo_{name}: x: expected {ctype}, got {value}");
            refuse(&prototype, &mut [integer(value)], &message);
        }
        for (value, shown) in [
            (Arg::from(1.0), "1.0"),
            (Arg::from(f64::NAN), "NaN"),
            (Arg::from(Complex::new(1.0, 0.0)), "1+0i"),
        ] {
            let message = format!("echo_{name}: x: expected {ctype}, got {shown}");
            refuse(&prototype, &mut [value], &message);
        }
        let message = format!("echo_{name}: x: expected {ctype}, got a text");
        refuse(&prototype, &mut [Arg::from("1")], &message);
    }
}

#[test]
fn rust_numbers_become_arguments() {
    let echo = bind("long echo_long(long x)");
    let both = [
        (Arg::from(-1_i8), -1),
        (Arg::from(-2_i16), -2),
        (Arg::from(-3_i32), -3),
        (Arg::from(i64::MIN), i128::from(i64::MIN)),
        (Arg::from(-5_isize), -5),
        (Arg::from(6_u8), 6),
        (Arg::from(7_u16), 7),
        (Arg::from(8_u32), 8),
        (Arg::from(9_u64), 9),
        (Arg::from(10_usize), 10),
    ];
    for (argument, value) in both {
        assert_eq!(call(&echo, &mut [argument]).to_i128(), Some(value));
    }
}

#[test]
fn booleans_are_true_or_false() {
    let prototype = "_Bool echo_bool(_Bool x)";
    for echo in engines(prototype) {
        for (argument, value) in [
            (Arg::from(true), true),
            (Arg::from(false), false),
            (Arg::from(1), true),
            (Arg::from(0), false),
        ] {
            assert_eq!(call(&echo, &mut [argument]).to_bool(), Some(value));
        }
    }
    for value in [2, -1, 256] {
        let message = format!("echo_bool: x: expected _Bool, got {value}");
        refuse(prototype, &mut [value.into()], &message);
    }
    let message = "echo_bool: x: expected _Bool, got 1.0";
    refuse(prototype, &mut [1.0.into()], message);
}

#[test]
fn enumerations_are_their_integers() {
    let prototype = "enum sign { MINUS = -1, NONE, PLUS }; enum sign echo_enum(enum sign x)";
    for echo in engines(prototype) {
        assert_eq!(call(&echo, &mut [(-1).into()]).to_i128(), Some(-1));
    }
    refuse(
        prototype,
        &mut [(1_i64 << 31).into()],
        "echo_enum: x: expected int, got 2147483648",
    );
}

/// Calls an echo function with a number, for the number that comes back.
fn echo(prototype: &str, argument: impl Into<Arg<'static>>) -> Value {
    let argument = argument.into();
    let Arg::Scalar(scalar) = argument else {
        panic!("a number")
    };
    let values = engines(prototype)
        .iter()
        .map(|f| call(f, &mut [scalar.into()]))
        .collect::<Vec<_>>();
    let shown: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
    assert!(shown.windows(2).all(|pair| pair[0] == pair[1]), "{shown:?}");
    values.into_iter().next().unwrap()
}

#[test]
fn floats_are_rounded_but_never_to_infinity() {
    let (float, double) = ("float echo_float(float x)", "double echo_double(double x)");
    let (half, extended) = (
        "_Float16 echo_half(_Float16 x)",
        "long double echo_extended(long double x)",
    );
    assert_eq!(echo(float, 0.1).to_f64(), Some(f64::from(0.1_f32)));
    assert_eq!(echo(float, f16::MAX).to_f64(), Some(65504.0));
    assert_eq!(echo(half, 0.1).to_f64(), Some(f16::from_f64(0.1).to_f64()));
    for prototype in [float, double, half, extended] {
        for value in [0.0, -0.0, 1.5, f64::INFINITY, f64::NEG_INFINITY] {
            let found = echo(prototype, value).to_f64().unwrap();
            assert_eq!(found.to_bits(), value.to_bits(), "{prototype}");
        }
        assert!(echo(prototype, f64::NAN).to_f64().unwrap().is_nan());
        assert_eq!(echo(prototype, 7).to_f64(), Some(7.0));
        assert_eq!(echo(prototype, true).to_f64(), Some(1.0));
    }
    for prototype in [double, extended] {
        for value in [f64::MAX, f64::MIN_POSITIVE, 5e-324, 0.1] {
            assert_eq!(echo(prototype, value).to_f64(), Some(value));
        }
    }
    refuse(
        float,
        &mut [1e39.into()],
        "echo_float: x: expected float, got 1e39",
    );
    refuse(
        half,
        &mut [65520.0.into()],
        "echo_half: x: expected _Float16, got 65520.0",
    );
    refuse(
        double,
        &mut [Complex::new(1.0, 0.0).into()],
        "echo_double: x: expected double, got 1+0i",
    );
}

#[test]
fn an_integer_becomes_a_float_only_exactly() {
    for (prototype, name, ctype, bits) in [
        ("_Float16 echo_half(_Float16 x)", "half", "_Float16", 11),
        ("float echo_float(float x)", "float", "float", 24),
        ("double echo_double(double x)", "double", "double", 53),
    ] {
        let max = 1_i128 << bits;
        assert_eq!(echo(prototype, Scalar::Int(max)).to_f64(), Some(max as f64));
        for value in [max + 1, -max - 1, i128::MAX] {
            let message = format!("echo_{name}: x: expected {ctype}, got {value}");
            refuse(prototype, &mut [integer(value)], &message);
        }
    }
}

#[test]
fn complex_numbers_are_pairs() {
    let single = "float _Complex echo_complexf(float _Complex x)";
    let double = "double _Complex echo_complex(double _Complex x)";
    let extended = "long double _Complex echo_complexl(long double _Complex x)";
    for prototype in [single, double, extended] {
        let value = Complex::new(1.5, -2.25);
        assert_eq!(echo(prototype, value).to_complex(), Some(value));
        assert_eq!(
            echo(prototype, 3).to_complex(),
            Some(Complex::new(3.0, 0.0))
        );
        assert_eq!(
            echo(prototype, 0.5).to_complex(),
            Some(Complex::new(0.5, 0.0))
        );
    }
    assert_eq!(
        echo(single, Complex::new(0.5_f32, 4.0)).to_complex(),
        Some(Complex::new(0.5, 4.0))
    );
    refuse(
        single,
        &mut [Complex::new(1.0, 1e39).into()],
        &format!(
            "echo_complexf: x: expected float _Complex, got {}",
            Complex::new(1.0, 1e39)
        ),
    );
}

/// Numbers in whose conversion something may go wrong.
fn hard() -> Vec<f64> {
    let mut numbers = vec![
        0.0,
        1.0,
        0.1,
        f64::MAX,
        f64::MIN_POSITIVE,
        5e-324,
        f64::INFINITY,
    ];
    for exponent in [-30, -25, -24, -15, -14, -1, 0, 10, 15] {
        let one = 2_f64.powi(exponent);
        for bits in [9, 10, 11, 12, 13, 23, 24, 25, 51, 52] {
            numbers.extend([
                one * (1.0 + 0.5_f64.powi(bits)),
                one * (1.0 - 0.5_f64.powi(bits)),
            ]);
            // Near the middle between two halves.
            let middle = one * (1.0 + 0.5_f64.powi(11));
            numbers.extend([
                middle,
                middle * (1.0 + 0.5_f64.powi(bits)),
                middle.next_up(),
            ]);
            numbers.push(middle.next_down());
        }
    }
    numbers.extend(numbers.clone().iter().map(|number| -number));
    numbers
}

/// What C has for numbers: `size` bytes each.
fn by_c<T: Element>(function: &str, numbers: &[T], size: usize) -> Vec<Vec<u8>> {
    let mut out = vec![0_u8; size * numbers.len()];
    call(
        &bind(function),
        &mut [Arg::from(numbers), Arg::from(&mut out)],
    );
    out.chunks(size).map(<[u8]>::to_vec).collect()
}

fn extended_bytes(value: Scalar) -> Result<Vec<u8>, Box<Problem>> {
    let slots = Number::Float(Float::LongDouble)
        .slots(value)
        .map_err(Box::new)?;
    Ok(slots[..2]
        .iter()
        .flat_map(|slot| slot.to_ne_bytes())
        .collect())
}

fn check_extended(numbers: &[f64]) {
    let function = "void extended_bytes(int n, const double x[n], unsigned char out[16 * n])";
    for (&number, bytes) in numbers.iter().zip(by_c(function, numbers, 16)) {
        assert_eq!(extended_bytes(number.into()).unwrap(), bytes, "{number:e}");
        let slots: Vec<_> = bytes
            .chunks(8)
            .map(|slot| u64::from_ne_bytes(slot.try_into().unwrap()))
            .collect();
        let back = Number::Float(Float::LongDouble).value(&slots);
        assert_eq!(back, Scalar::Float(number));
    }
}

fn check_halves(numbers: &[f64]) {
    let mut out = vec![0_u16; numbers.len()];
    let halves = bind("void halves(int n, const double x[n], unsigned short out[n])");
    call(&halves, &mut [Arg::from(numbers), Arg::from(&mut out)]);
    for (&number, half) in numbers.iter().zip(out) {
        let half = f16::from_bits(half);
        match Number::Float(Float::Float16).slots(number.into()) {
            Ok(slots) => assert_eq!(slots[0], u64::from(half.to_bits()), "{number:e}"),
            Err(_) => assert!(half.is_infinite() && number.is_finite(), "{number:e}"),
        }
    }
}

#[test]
fn conversions_are_those_of_c() {
    check_extended(&hard());
    check_halves(&hard());
}

/// An x87 `long double` has all of 64 bits.
#[test]
fn an_integer_becomes_a_long_double_exactly() {
    let integers = [
        0,
        1,
        -1,
        i64::MAX,
        i64::MIN,
        i64::MAX - 1,
        (1 << 53) + 1,
        -(1 << 62) - 1,
    ];
    let function = "void extended_integer(int n, const long long x[n], unsigned char out[16 * n])";
    for (integer, bytes) in integers.iter().zip(by_c(function, &integers, 16)) {
        assert_eq!(
            extended_bytes((*integer).into()).unwrap(),
            bytes,
            "{integer}"
        );
    }
    let prototype = "long double echo_extended(long double x)";
    assert_eq!(
        echo(prototype, Scalar::Int(1 << 100)).to_f64(),
        Some(2_f64.powi(100))
    );
    if cfg!(x87_long_double) {
        refuse(
            prototype,
            &mut [integer((1 << 64) + 1)],
            "echo_extended: x: expected long double, got 18446744073709551617",
        );
    }
}

proptest! {
    #[test]
    fn random_conversions_are_those_of_c(bits in prop::collection::vec(any::<u64>(), 1..50), small in prop::collection::vec(-1e5_f64..1e5, 1..50)) {
        let numbers: Vec<f64> = bits.into_iter().map(f64::from_bits).filter(|x| !x.is_nan()).chain(small).collect();
        check_extended(&numbers);
        check_halves(&numbers);
    }

    #[test]
    fn an_integer_is_taken_exactly_if_its_type_has_it(which in 0..INTEGERS.len(), value: i128, shift in 0_u32..128) {
        let value = value >> shift;
        let (_, _, integer) = INTEGERS[which];
        let bits = 8 * u32::try_from(integer.size()).unwrap();
        let fits = if integer.is_signed() {
            value >> (bits - 1) == value >> 127
        } else {
            value >> bits == 0
        };
        let number = Number::Integer(integer);
        match number.slots(Scalar::Int(value)) {
            Ok(slots) => prop_assert!(fits && number.value(&slots) == Scalar::Int(value)),
            Err(problem) => {
                prop_assert!(!fits);
                prop_assert_eq!(problem, Problem::Range { value: Scalar::Int(value) });
            }
        }
    }

    #[test]
    fn a_float_is_rounded_as_rust_rounds(bits: u64) {
        let value = f64::from_bits(bits);
        let nearest = value as f32;
        match Number::Float(Float::Float).slots(value.into()) {
            Ok(slots) if value.is_nan() => prop_assert!(f32::from_bits(slots[0] as u32).is_nan()),
            Ok(slots) => prop_assert_eq!(slots[0], u64::from(nearest.to_bits())),
            Err(_) => prop_assert!(nearest.is_infinite() && value.is_finite()),
        }
    }
}
