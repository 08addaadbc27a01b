//! What counts as success.

use mapcall::{Arg, BindError, CallError, Function, Success};

use crate::fixture::{bind, call, engines};

#[track_caller]
fn fails(function: &Function, arguments: &mut [Arg<'_>], code: i128, message: &str) {
    let error = function.call(arguments).unwrap_err();
    assert_eq!(error.to_string(), message);
    let CallError::Status { code: found, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(found, code);
}

#[test]
fn zero_and_nonzero() {
    for status in engines("int status(int code)") {
        let zero = status.check(Success::Zero).unwrap();
        assert_eq!(
            (status.success(), zero.success()),
            (Success::Any, Success::Zero)
        );
        assert_eq!(call(&zero, &mut [0.into()]).to_i128(), Some(0));
        fails(
            &zero,
            &mut [(-3).into()],
            -3,
            "status: expected status 0, got -3; see the library's documentation",
        );
        let nonzero = status.check(Success::Nonzero).unwrap();
        assert_eq!(call(&nonzero, &mut [(-3).into()]).to_i128(), Some(-3));
        fails(
            &nonzero,
            &mut [0.into()],
            0,
            "status: expected a status other than 0, got 0; see the library's documentation",
        );
        assert_eq!(
            call(&status, &mut [(-3).into()]).to_i128(),
            Some(-3),
            "the first is as it was"
        );
    }
    let big = bind("unsigned long big_status(void)")
        .check(Success::Zero)
        .unwrap();
    let message = format!(
        "big_status: expected status 0, got {}; see the library's documentation",
        u64::MAX
    );
    fails(&big, &mut [], u64::MAX.into(), &message);
    // Only the bits of the type count.
    let low = bind("unsigned char echo_uchar(unsigned char x)")
        .check(Success::Zero)
        .unwrap();
    assert_eq!(call(&low, &mut [0.into()]).to_i128(), Some(0));
    let truth = bind("_Bool echo_bool(_Bool x)")
        .check(Success::Nonzero)
        .unwrap();
    assert!(truth.call(&mut [false.into()]).is_err() && truth.call(&mut [true.into()]).is_ok());
}

#[test]
fn not_null() {
    let name_of = bind("const char *name_of(int which)")
        .check(Success::Nonnull)
        .unwrap();
    assert_eq!(call(&name_of, &mut [1.into()]).text(), Some(c"one"));
    fails(
        &name_of,
        &mut [0.into()],
        0,
        "name_of: expected a pointer, got NULL; see the library's documentation",
    );
}

#[test]
fn errno_is_this_calls_own() {
    for set_errno in engines("int set_errno(int code)") {
        let set_errno = set_errno.check(Success::NoErrno).unwrap();
        assert_eq!(call(&set_errno, &mut [0.into()]).to_i128(), Some(7));
        fails(
            &set_errno,
            &mut [2.into()],
            2,
            "set_errno: expected errno 0, got No such file or directory (os error 2); \
             see the library's documentation",
        );
    }
    for see_errno in engines("int see_errno(void)") {
        assert_eq!(
            call(&see_errno, &mut []).to_i128(),
            Some(0),
            "none is left from before"
        );
    }
}

#[test]
fn a_result_that_can_not_be_judged_is_refused_at_once() {
    for (prototype, success, message) in [
        (
            "double echo_double(double x)",
            Success::Zero,
            "echo_double: expected a function that returns an integer, got one that returns double",
        ),
        (
            "int status(int code)",
            Success::Nonnull,
            "status: expected a function that returns a pointer, got one that returns int",
        ),
        (
            "void zero_first(void *p)",
            Success::Nonzero,
            "zero_first: expected a function that returns an integer, got one that returns void",
        ),
    ] {
        let error = bind(prototype).check(success).unwrap_err();
        assert!(matches!(error, BindError::Unsupported(_)));
        assert_eq!(error.to_string(), message);
    }
}
