//! Annotations: NULL, numbers by reference, derived numbers, layouts, buffers.

use mapcall::array::layout::Order;
use mapcall::array::{Array, DType};
use mapcall::contract::{Contract, Received, ReceivedNumbers, ReceivedParameters};
use mapcall::{Arg, CallError, Prototype};
use ndarray::{Array2, ShapeBuilder as _, array, s};

use crate::fixture::{bind, call, engines, refuse};

#[test]
fn an_array_may_be_null() {
    let text = "double weighted(size_t n, const double x[n], const double w[_Nullable n])";
    let x = [1.0, 2.0, 3.0];
    for weighted in engines(text) {
        let with = call(&weighted, &mut [Arg::from(&x), Arg::from(&x)]);
        assert_eq!(with.to_f64(), Some(14.0));
        for without in [
            &mut [Arg::from(&x), Arg::Null][..],
            &mut [Arg::from(&x), Arg::Out],
            &mut [Arg::from(&x)],
        ] {
            assert_eq!(call(&weighted, without).to_f64(), Some(6.0));
        }
    }
    refuse(
        "double weighted(size_t n, const double x[n], const double w[n])",
        &mut [Arg::from(&x), Arg::Null],
        "weighted: w: expected float64[n], got NULL",
    );
}

#[test]
fn numbers_go_by_reference() {
    let x = [1.0, 2.0, 3.0];
    for sum in engines("double sum_by_reference(const int *n, const double x[*n])") {
        assert_eq!(call(&sum, &mut [Arg::from(&x)]).to_f64(), Some(6.0));
        let two = sum.with_extent("n", 2).unwrap();
        assert!(two.call(&mut [Arg::from(&x)]).is_err());
    }
    for sum in engines("double sum_by_reference(const int n[1], const double x[3])") {
        let value = call(&sum, &mut [2.into(), Arg::from(&x)]);
        assert_eq!(value.to_f64(), Some(3.0));
    }
    for sum in engines("double sum_by_reference(const int *n, const double *x)") {
        // SAFETY: it reads 2 elements.
        let value = unsafe { sum.call_unchecked(&mut [2.into(), Arg::from(&x)]) };
        assert_eq!(value.unwrap().to_f64(), Some(3.0));
    }
}

#[test]
fn derived_numbers_have_their_values() {
    let text = "int moving(int n, const double x[n], [[mapcall::between(1, n)]] int window, \
                [[mapcall::equals(n - window + 1)]] int nout, double out[nout])";
    let x = [1.0, 2.0, 4.0, 8.0];
    for moving in engines(text) {
        let mut arguments = [Arg::from(&x), 2.into(), Arg::Out];
        assert_eq!(call(&moving, &mut arguments).to_i128(), Some(3));
        let out = arguments[2].array().unwrap().view::<f64>().unwrap();
        assert_eq!(out.as_slice(), Some(&[3.0, 6.0, 12.0][..]));
        let wrong = moving.with_extent("nout", 4).unwrap();
        let error = wrong
            .call(&mut [Arg::from(&x), 2.into(), Arg::Out])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "moving: nout: expected int that equals n-window+1 = 3, got 4; leave nout out",
        );
    }
    refuse(
        text,
        &mut [Arg::from(&x), 5.into(), Arg::Out],
        "moving: window: expected int from 1 to n = 4, got 5",
    );
}

#[test]
fn a_length_is_read_and_written() {
    let text = "int squeeze(char out[*length], size_t *length, const char s[n], size_t n)";
    for squeeze in engines(text) {
        let mut arguments = [Arg::Out, 8.into(), "a b c".into()];
        assert_eq!(call(&squeeze, &mut arguments).to_i128(), Some(0));
        let length = arguments[1].array().unwrap().view::<u64>().unwrap();
        assert_eq!(length.as_slice(), Some(&[3][..]));
        assert_eq!(arguments[0].array().unwrap().shape(), [8]);
    }
}

#[test]
fn columns_may_be_apart() {
    let text = "double columns(int m, int n, \
                [[mapcall::column_major, mapcall::stride(lda)]] const double a[m][n], int lda)";
    let mut whole = Array2::<f64>::zeros((4, 5).f());
    whole
        .slice_mut(s![1..3, 2..5])
        .assign(&array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    let block = whole.slice(s![1..3, 2..5]);
    // (10 i + j) a[i][j]
    let expected = 2.0 + 6.0 + 40.0 + 55.0 + 72.0;
    for columns in engines(text) {
        assert_eq!(
            call(&columns, &mut [Arg::from(&block)]).to_f64(),
            Some(expected)
        );
    }
    let rows = array![[1.0, 2.0], [3.0, 4.0]];
    refuse(
        text,
        &mut [Arg::from(&rows)],
        "columns: a: expected float64[m, n] in Fortran order, each row contiguous and behind the one \
         before, got shape (2, 2) with strides (16, 8)",
    );
}

#[test]
fn buffers_count_bytes() {
    let size = "size_t size_of(const void p[n], size_t n)";
    for size in engines(size) {
        let matrix = array![[1_i16, 2], [3, 4]];
        assert_eq!(call(&size, &mut [Arg::from(&matrix)]).to_i128(), Some(8));
        assert_eq!(
            call(&size, &mut [Arg::from(&[1.0, 2.0])]).to_i128(),
            Some(16)
        );
        let array = Array::zeros(DType::F32, &[3], Order::C).unwrap();
        assert_eq!(call(&size, &mut [Arg::from(&array)]).to_i128(), Some(12));
    }
}

#[test]
fn a_null_result_is_a_failure() {
    let text = "void *nothing(void) __attribute__((returns_nonnull))";
    let error = bind(text).call(&mut []).unwrap_err();
    assert!(matches!(error, CallError::Status { code: 0, .. }));
}

#[test]
fn callbacks_get_the_layout_of_the_prototype() {
    let strides = |parameter: &str| {
        let text = format!("void f({parameter})");
        let mapcall::CType::Function(f) = Prototype::parse(&text).unwrap().function_type() else {
            panic!("{text}");
        };
        let f = ReceivedParameters::new(&f).unwrap();
        let [Received::Array(array)] = f.rules() else {
            panic!("{text}");
        };
        let numbers = ReceivedNumbers::default();
        let shape = array.shape(&numbers).unwrap();
        let strides = array.strides(&numbers, &shape);
        strides
            .map(|strides| strides.to_vec())
            .map_err(|error| error.to_string())
    };
    for (parameter, expected) in [
        ("const float a[2][3]", [12, 4]),
        ("[[mapcall::column_major]] const float a[2][3]", [4, 8]),
        ("[[mapcall::stride(5)]] const float a[2][3]", [20, 4]),
        (
            "[[mapcall::column_major, mapcall::stride(5)]] const float a[2][3]",
            [4, 20],
        ),
    ] {
        assert_eq!(strides(parameter).unwrap(), expected, "{parameter}");
    }
    assert_eq!(
        strides("[[mapcall::stride(2)]] const float a[2][3]").unwrap_err(),
        "callback's argument a: expected [[mapcall::stride(2)]] const float a[2][3], but C passes \
         arguments for which 2 is 2, less than the 3 elements of a row"
    );
    let text = "void call(int n, void (*f)([[mapcall::column_major]] double a[n][n]))";
    let error = Contract::new(Prototype::parse(text).unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "call: f: a: expected an array with known extents for `stride` and `column_major`, got \
         `[[mapcall::column_major]] double *a`; write all extents"
    );
}
