//! Bound functions as Rust's own.

use std::ffi::c_void;

use mapcall::function::CFunction;

use crate::fixture::bind;

const SECOND: &str = "double second(const double *p)";

#[test]
fn good_types_give_the_function() {
    let increment = bind("int increment(int x)")
        .typed::<extern "C" fn(i32) -> i32>()
        .unwrap();
    assert_eq!(increment(4), 5);
    let echo = bind("_Bool echo_bool(_Bool x)")
        .typed::<extern "C" fn(bool) -> bool>()
        .unwrap();
    assert!(echo(true) && !echo(false));
    let echo = bind("unsigned long echo_ulong(unsigned long x)");
    assert_eq!(echo.typed::<extern "C" fn(usize) -> u64>().unwrap()(9), 9);
    let echo = bind("float echo_float(float x)")
        .typed::<extern "C" fn(f32) -> f32>()
        .unwrap();
    assert_eq!(echo(0.5), 0.5);

    // Pointers, which only unsafe functions take.
    let x = [1.0, 2.0];
    let second = bind(SECOND)
        .typed::<unsafe extern "C" fn(*const f64) -> f64>()
        .unwrap();
    // SAFETY: it reads 2 numbers.
    assert_eq!(unsafe { second(x.as_ptr()) }, 2.0);
    let second = bind(SECOND)
        .typed::<unsafe extern "C" fn(*const c_void) -> f64>()
        .unwrap();
    // SAFETY: as above.
    assert_eq!(unsafe { second(x.as_ptr().cast()) }, 2.0);

    // The array and its extent are what C has of them.
    let saxpy = bind("void saxpy(size_t n, float a, const float x[n], float y[n])");
    let saxpy = saxpy
        .typed::<unsafe extern "C" fn(usize, f32, *const f32, *mut f32)>()
        .unwrap();
    let (x, mut y) = ([1.0, 2.0], [1.0, 1.0]);
    // SAFETY: both have 2 numbers.
    unsafe { saxpy(2, 2.0, x.as_ptr(), y.as_mut_ptr()) };
    assert_eq!(y, [3.0, 5.0]);
}

#[test]
fn the_function_outlives_what_it_came_from() {
    let increment = {
        let function = bind("int increment(int x)");
        function.typed::<extern "C" fn(i32) -> i32>().unwrap()
    };
    assert_eq!(increment(1), 2);
}

#[track_caller]
fn bad<F: CFunction>(prototype: &str, message: &str) {
    let Err(error) = bind(prototype).typed::<F>() else {
        panic!("{prototype} is no such function")
    };
    assert_eq!(error.to_string(), message);
}

#[test]
fn the_first_difference_is_named() {
    let increment = "int increment(int x)";
    bad::<extern "C" fn(i64) -> i32>(
        increment,
        "increment: x: expected `int`, got i64; write the Rust type of `int`",
    );
    bad::<extern "C" fn(u32) -> i32>(
        increment,
        "increment: x: expected `int`, got u32; write the Rust type of `int`",
    );
    bad::<extern "C" fn(f32) -> i32>(
        increment,
        "increment: x: expected `int`, got f32; write the Rust type of `int`",
    );
    bad::<extern "C" fn(i32) -> u32>(
        increment,
        "increment: result: expected `int`, got u32; write the Rust type of `int`",
    );
    bad::<extern "C" fn(i32)>(
        increment,
        "increment: result: expected `int`, got (); write the Rust type of `int`",
    );
    bad::<extern "C" fn() -> i32>(
        increment,
        "increment: expected 1 parameter, got 0; write the Rust type of each",
    );
    bad::<extern "C" fn(i32, i32) -> i32>(
        increment,
        "increment: expected 1 parameter, got 2; write the Rust type of each",
    );
    bad::<unsafe extern "C" fn(*const f32) -> f64>(
        SECOND,
        "second: p: expected `const double *`, got *const f32; \
         write the Rust type of `const double *`",
    );
    // C writes here, so that a pointer to what is only read won't do.
    bad::<unsafe extern "C" fn(*const f64, usize)>(
        "void negate(double *p, size_t most)",
        "negate: p: expected `double *`, got *const f64; write the Rust type of `double *`",
    );
    bad::<extern "C" fn(u8) -> u8>(
        "_Bool echo_bool(_Bool x)",
        "echo_bool: x: expected `_Bool`, got u8; write the Rust type of `_Bool`",
    );
    bad::<extern "C" fn(f64) -> f64>(
        "long double echo_extended(long double x)",
        "echo_extended: x: expected `long double`, got f64; \
         write the Rust type of `long double`",
    );
}
