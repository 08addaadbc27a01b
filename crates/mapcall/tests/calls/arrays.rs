//! Arrays: dtype, byte order, rank, order in memory, alignment, who may write.

use std::ptr::NonNull;

use half::f16;
use mapcall::array::dtype::{ByteOrder, DTypeError};
use mapcall::array::layout::{Layout, Order};
use mapcall::array::{Array, Buffer, DType, Element, index};
use mapcall::contract::{Backing, Check, Contract, HostValue, Memory, Role};
use mapcall::{Arg, Prototype};
use ndarray::{Array2, array, s};
use num_complex::Complex;

use crate::fixture::{call, engines, refuse};

const SAXPY: &str = "void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n])";
const OUTER: &str =
    "void outer(int m, int n, const double x[m], const double y[n], double out[m][n])";

#[test]
fn slices_views_and_arrays_are_passed_as_they_are() {
    for saxpy in engines(SAXPY) {
        let x = [1.0_f32, 2.0, 3.0];
        let mut y = [1.0_f32; 3];
        call(&saxpy, &mut [2.0.into(), Arg::from(&x), Arg::from(&mut y)]);
        assert_eq!(y, [3.0, 5.0, 7.0]);

        let x = ndarray::arr1(&x);
        let mut y = ndarray::arr1(&y);
        call(
            &saxpy,
            &mut [2.0.into(), Arg::from(&x.view()), Arg::from(&mut y)],
        );
        assert_eq!(y, array![5.0_f32, 9.0, 13.0]);

        let mut y = Array::zeros(DType::F32, &[3], Order::C).unwrap();
        call(&saxpy, &mut [0.5.into(), Arg::from(&x), Arg::from(&mut y)]);
        assert_eq!(y.view::<f32>().unwrap(), array![0.5, 1.0, 1.5].into_dyn());

        let (x, mut y): ([f32; 0], [f32; 0]) = ([], []);
        call(&saxpy, &mut [1.0.into(), Arg::from(&x), Arg::from(&mut y)]);
    }
}

#[test]
fn outputs_left_out_are_zeroed_and_written() {
    for outer in engines(OUTER) {
        let (x, y) = ([1.0, 2.0], [3.0, 4.0, 5.0]);
        let mut arguments = [Arg::from(&x), Arg::from(&y), Arg::Out];
        let expected = array![[3.0, 4.0, 5.0], [6.0, 8.0, 10.0]].into_dyn();
        call(&outer, &mut arguments);
        assert_eq!(
            arguments[2].array().unwrap().view::<f64>().unwrap(),
            expected
        );
        // The same array again, which isn't zeroed.
        call(&outer, &mut arguments);
        let [_, _, out] = arguments;
        let out = out.into_array().unwrap();
        assert_eq!(out.view::<f64>().unwrap(), expected * 2.0);
        // One that is dropped at once.
        call(&outer, &mut [Arg::from(&x), Arg::from(&y)]);
    }
}

#[test]
fn made_arrays_are_checked_like_any_other() {
    let (x, y) = ([1.0, 2.0], [3.0]);
    for outer in engines(OUTER) {
        let mut arguments = [Arg::from(&x), Arg::from(&y), Arg::Out];
        call(&outer, &mut arguments);
        arguments[1] = Arg::from(&x);
        let error = outer.call(&mut arguments).unwrap_err();
        assert_eq!(
            error.to_string(),
            "outer: out: expected float64[m, n] with n = 2 as y has it, got shape (2, 1); give arrays that agree"
        );
    }
}

#[test]
fn complex_and_half() {
    for conjugate in engines("void conjugate(int n, double _Complex x[n])") {
        let mut x = [Complex::new(1.0, 2.0), Complex::new(0.0, -1.0)];
        call(&conjugate, &mut [Arg::from(&mut x)]);
        assert_eq!(x, [Complex::new(1.0, -2.0), Complex::new(0.0, 1.0)]);
    }
    for conjugate in engines("void conjugatef(int n, float _Complex x[n])") {
        let mut x = [Complex::new(1.0_f32, 2.0)];
        call(&conjugate, &mut [Arg::from(&mut x)]);
        assert_eq!(x, [Complex::new(1.0, -2.0)]);
    }
    for twice in engines("void twice_half(int n, _Float16 x[n])") {
        let mut x = [f16::from_f32(1.5), f16::MAX];
        call(&twice, &mut [Arg::from(&mut x)]);
        assert_eq!(x, [f16::from_f32(3.0), f16::INFINITY]);
    }
    let mut x = [Complex::new(1.0_f32, 2.0)];
    refuse(
        "void conjugate(int n, double _Complex x[n])",
        &mut [Arg::from(&mut x)],
        "conjugate: x: expected complex128[n], got an array of complex64",
    );
}

#[test]
fn other_dtypes_are_refused() {
    let mut y = [0.0_f32; 2];
    let x = [1.0, 2.0];
    refuse(
        SAXPY,
        &mut [1.0.into(), Arg::from(&x), Arg::from(&mut y)],
        "saxpy: x: expected float32[n], got an array of float64",
    );
    let x = [1_i32, 2];
    refuse(
        SAXPY,
        &mut [1.0.into(), Arg::from(&x), Arg::from(&mut y)],
        "saxpy: x: expected float32[n], got an array of int32",
    );
    let swapped = DType::F32.newbyteorder(ByteOrder::Big);
    let x = Array::zeros(swapped, &[2], Order::C).unwrap();
    refuse(
        SAXPY,
        &mut [1.0.into(), Arg::from(&x), Arg::from(&mut y)],
        "saxpy: x: expected float32[n] in native byte order, got an array of '>f4'",
    );
}

#[test]
fn a_rust_type_can_not_lie_about_its_size() {
    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C)]
    struct Liar(u8);
    impl Element for Liar {
        fn dtype() -> Result<DType, DTypeError> {
            Ok(DType::F32)
        }
    }
    let x = [Liar(0); 4];
    let mut y = [0.0_f32; 4];
    let before = crate::fixture::calls();
    for saxpy in engines(SAXPY) {
        let error = saxpy.call(&mut [1.0.into(), Arg::from(&x), Arg::from(&mut y)]);
        let error = error.unwrap_err().to_string();
        assert!(
            error.starts_with("saxpy: x: expected float32[n], got an array of calls::"),
            "{error}"
        );
    }
    assert_eq!(crate::fixture::calls(), before);
}

#[test]
fn other_ranks_are_refused() {
    let x = Array2::<f32>::zeros((2, 2));
    let mut y = [0.0_f32; 2];
    refuse(
        SAXPY,
        &mut [1.0.into(), Arg::from(&x), Arg::from(&mut y)],
        "saxpy: x: expected float32[n], 1 axis, got shape (2, 2)",
    );
    let (x, mut out) = ([1.0, 2.0], [0.0; 4]);
    refuse(
        OUTER,
        &mut [Arg::from(&x), Arg::from(&x), Arg::from(&mut out)],
        "outer: out: expected float64[m, n], 2 axes, got shape (4,)",
    );
    let scalar = Array::zeros(DType::F32, &[], Order::C).unwrap();
    refuse(
        SAXPY,
        &mut [1.0.into(), Arg::from(&scalar), Arg::from(&mut y)],
        "saxpy: x: expected float32[n], 1 axis, got shape ()",
    );
}

#[test]
fn other_orders_are_refused() {
    let mut y = [0.0_f32; 2];
    let x = ndarray::arr1(&[1.0_f32, 2.0, 3.0, 4.0]);
    refuse(
        SAXPY,
        &mut [1.0.into(), Arg::from(&x.slice(s![..;2])), Arg::from(&mut y)],
        "saxpy: x: expected float32[n], C-contiguous, got shape (2,) with strides (8,)",
    );
    refuse(
        SAXPY,
        &mut [
            1.0.into(),
            Arg::from(&x.slice(s![1..3;-1])),
            Arg::from(&mut y),
        ],
        "saxpy: x: expected float32[n], C-contiguous, got shape (2,) with strides (-4,)",
    );
    let one = Array::zeros(DType::F32, &[1], Order::C).unwrap();
    refuse(
        SAXPY,
        &mut [
            1.0.into(),
            Arg::from(&one.broadcast_to(&[2]).unwrap()),
            Arg::from(&mut y),
        ],
        "saxpy: x: expected float32[n], C-contiguous, got shape (2,) with strides (0,)",
    );
    let x = [1.0, 2.0, 3.0];
    let mut out = Array2::<f64>::zeros((3, 3));
    let mut turned = out.view_mut().reversed_axes();
    refuse(
        OUTER,
        &mut [Arg::from(&x), Arg::from(&x), Arg::from(&mut turned)],
        "outer: out: expected float64[m, n], C-contiguous, got shape (3, 3) with strides (8, 24)",
    );
    // Fortran's order is C's where there is one axis longer than 1, or nothing at all.
    for outer in engines(OUTER) {
        let mut out = Array::zeros(DType::F64, &[3, 1], Order::F).unwrap();
        call(
            &outer,
            &mut [Arg::from(&x), Arg::from(&x[..1]), Arg::from(&mut out)],
        );
        let mut out = Array::zeros(DType::F64, &[3, 0], Order::F).unwrap();
        call(
            &outer,
            &mut [Arg::from(&x), Arg::from(&x[..0]), Arg::from(&mut out)],
        );
    }
}

#[test]
fn unaligned_arrays_are_refused() {
    let layout = Layout::from_strides(1, &[2], &[4], 4).unwrap();
    let x = Array::new(Buffer::zeroed(16).unwrap(), DType::F32, layout).unwrap();
    let mut y = [0.0_f32; 2];
    refuse(
        SAXPY,
        &mut [1.0.into(), Arg::from(&x), Arg::from(&mut y)],
        &format!(
            "saxpy: x: expected float32[n], aligned to 4 bytes, got address {:#x}",
            x.as_ptr().addr()
        ),
    );
}

#[test]
fn only_exclusive_arrays_are_written() {
    let x = [1.0_f32, 2.0];
    let read_only = "saxpy: y: expected float32[n], writeable, got a read-only array";
    let y = [0.0_f32; 2];
    refuse(
        SAXPY,
        &mut [1.0.into(), Arg::from(&x), Arg::from(&y)],
        read_only,
    );
    let mut y = Array::zeros(DType::F32, &[2], Order::C).unwrap();
    refuse(
        SAXPY,
        &mut [1.0.into(), Arg::from(&x), Arg::from(&y)],
        read_only,
    );

    let half = y.slice(&index![..1]).unwrap();
    refuse(
        SAXPY,
        &mut [1.0.into(), Arg::from(&x), Arg::from(&mut y)],
        "saxpy: y: expected float32[n] that nothing else can reach, got an array that shares its \
         memory with others",
    );
    drop(half);
    for saxpy in engines(SAXPY) {
        call(&saxpy, &mut [1.0.into(), Arg::from(&x), Arg::from(&mut y)]);
        // What is only read may be shared, and even be the same.
        let mean = "double outer(int m, int n, const double x[restrict m], \
                    const double y[restrict n], double out[restrict m][n])";
        let x = Array::zeros(DType::F64, &[2], Order::C).unwrap();
        call(
            &crate::fixture::bind(mean),
            &mut [Arg::from(&x), Arg::from(&x), Arg::Out],
        );
    }
}

#[test]
fn memory_that_is_read_only_stays_so() {
    let numbers: &'static [f32; 2] = Box::leak(Box::new([1.0, 2.0]));
    let start = NonNull::from(numbers).cast();
    // SAFETY: the numbers outlive the buffer, and no code writes them.
    let buffer = unsafe { Buffer::foreign(start, 8, false, ()) };
    let layout = Layout::contiguous(&[2], 4, Order::C).unwrap();
    let mut array = Array::new(buffer, DType::F32, layout).unwrap();
    for saxpy in engines(SAXPY) {
        call(&saxpy, &mut [1.0.into(), Arg::from(&array), Arg::Out]);
    }
    refuse(
        SAXPY,
        &mut [1.0.into(), Arg::from(numbers), Arg::from(&mut array)],
        "saxpy: y: expected float32[n], writeable, got a read-only array",
    );
}

#[test]
fn a_char_is_any_byte() {
    let prototype = "short length_short(const char x[n], short n)";
    for length in engines(prototype) {
        for dtype in [DType::I8, DType::U8, DType::bytes(1).unwrap()] {
            let x = Array::zeros(dtype, &[5], Order::C).unwrap();
            assert_eq!(call(&length, &mut [Arg::from(&x)]).to_i128(), Some(5));
        }
    }
    for (dtype, name) in [
        (DType::BOOL, "bool"),
        (DType::bytes(2).unwrap(), "|S2"),
        (DType::I16, "int16"),
    ] {
        let x = Array::zeros(dtype, &[5], Order::C).unwrap();
        refuse(
            prototype,
            &mut [Arg::from(&x)],
            &format!("length_short: x: expected int8[n], got an array of {name}"),
        );
    }
}

#[test]
fn other_things_than_arrays_are_refused() {
    let mut y = [0.0_f32; 2];
    for (argument, found) in [
        (Arg::from(1.0), "a number"),
        (Arg::from(1), "an integer"),
        (Arg::from(true), "a bool"),
        (Arg::from("1.0"), "a text"),
        (Arg::Null, "NULL"),
    ] {
        refuse(
            SAXPY,
            &mut [1.0.into(), argument, Arg::from(&mut y)],
            &format!("saxpy: x: expected float32[n], got {found}"),
        );
    }
    refuse(
        SAXPY,
        &mut [1.0.into(), Arg::Out, Arg::from(&mut y)],
        "saxpy: x: expected float32[n], got nothing",
    );
    refuse(
        SAXPY,
        &mut [1.0.into()],
        "saxpy: x: expected float32[n], got nothing",
    );
    refuse(SAXPY, &mut [], "saxpy: a: expected float, got nothing");
    let x = [0.0_f32; 2];
    refuse(
        SAXPY,
        &mut [2.into(), 1.0.into(), Arg::from(&x), Arg::from(&mut y)],
        "saxpy: expected at most 3 arguments, got 4",
    );
}

/// Two arrays of 8 bytes, `apart` bytes from one's start to the other's.
fn overlap(one: &str, other: &str, apart: usize) -> Result<(), String> {
    let text = format!("void f({one} a[restrict 8], {other} b[8])");
    let contract = Contract::new(Prototype::parse(&text).unwrap()).unwrap();
    let mut frame = vec![0; contract.slots()];
    let mut check = Check::new(&contract, &mut frame);
    let bytes = [0_u8; 32];
    for (position, start) in [(0, 8), (1, 8_usize.wrapping_add(apart))] {
        let memory = Memory {
            address: bytes.as_ptr().wrapping_add(start).cast_mut(),
            shape: &[8],
            strides: &[1],
            is_contiguous: true,
            is_writeable: true,
            is_shared: false,
            backing: Backing::Private,
        };
        let dtype = Ok(contract.rules()[position].array().unwrap().dtype());
        let value = HostValue::Array { memory, dtype };
        check.argument(Role::Parameter(position), value).unwrap();
    }
    check.finish().map_err(|error| error.to_string())
}

#[test]
fn restrict_arrays_share_no_byte() {
    let message = "f: a: expected int8[8] in memory of its own (restrict), got memory that it \
                   shares with b; pass a copy of ";
    for (one, other) in [
        ("char", "char"),
        ("const char", "char"),
        ("char", "const char"),
    ] {
        for shift in [0, 1, 7, usize::MAX, 0_usize.wrapping_sub(7)] {
            let error = overlap(one, other, shift).unwrap_err();
            // One that is only read is copied.
            assert!(
                error.starts_with(message.trim_end_matches("of ").trim_end()),
                "{one}, {other}, {shift}: {error}"
            );
        }
        for shift in [8, 0_usize.wrapping_sub(8)] {
            assert_eq!(overlap(one, other, shift), Ok(()), "neighbours");
        }
    }
    assert_eq!(overlap("const char", "const char", 0), Ok(()));
}
