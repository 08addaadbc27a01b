//! Texts, pointers without an extent, handles, functions.

use std::thread;

use mapcall::{Arg, CallError, Function, Handle, Library};

use crate::fixture::{bind, call, calls, engines, refuse, refuse_unchecked, unbound};

const NEW: &str = "struct counter; struct counter *counter_new(int value)";
const NEXT: &str = "struct counter; int counter_next(struct counter *counter)";
const FREE: &str = "struct counter; int counter_free(struct counter *counter)";
const OTHER: &str = "struct other; int other_use(struct other *other)";
const BYTE_AT: &str = "int byte_at(const void *p, size_t i)";

fn freed() -> i32 {
    bind("int were_freed(void)")
        .typed::<extern "C" fn() -> i32>()
        .unwrap()()
}

fn counter(value: i32) -> Handle {
    call(&bind(NEW), &mut [value.into()]).into_handle().unwrap()
}

#[test]
fn texts_have_no_nul() {
    let prototype = "int text_length(const char *s)";
    for length in engines(prototype) {
        assert_eq!(
            call(&length, &mut [Arg::from("na\u{ef}ve")]).to_i128(),
            Some(6)
        );
        assert_eq!(call(&length, &mut [Arg::from("")]).to_i128(), Some(0));
        assert_eq!(call(&length, &mut [Arg::from(c"four")]).to_i128(), Some(4));
        assert_eq!(call(&length, &mut [Arg::Null]).to_i128(), Some(-1));
    }
    refuse(
        prototype,
        &mut [Arg::from("ab\0c")],
        "text_length: s: expected text without NUL, got one at byte 2",
    );
    refuse(
        prototype,
        &mut [1.into()],
        "text_length: s: expected text, got an integer",
    );
    refuse(
        prototype,
        &mut [],
        "text_length: s: expected text, got nothing",
    );
}

#[test]
fn texts_come_back() {
    for name_of in engines("const char *name_of(int which)") {
        assert_eq!(call(&name_of, &mut [0.into()]).text(), None);
        assert_eq!(call(&name_of, &mut [1.into()]).text(), Some(c"one"));
    }
}

#[test]
fn pointers_without_an_extent_are_not_callable_by_accident() {
    let (second, negate) = (
        "double second(const double *p)",
        "void negate(double *p, size_t most)",
    );
    let x = [1.0, 2.0];
    refuse(
        second,
        &mut [Arg::from(&x)],
        "second: p: expected a pointer to double with its extent, got an array",
    );
    for second in engines(second) {
        // SAFETY: it reads 2 numbers.
        let value = unsafe { second.call_unchecked(&mut [Arg::from(&x)]) }.unwrap();
        assert_eq!(value.to_f64(), Some(2.0));
        assert_eq!(call(&second, &mut [Arg::Null]).to_f64(), Some(0.0));
    }
    refuse_unchecked(
        second,
        &mut [Arg::from(&[1.0_f32])],
        "second: p: expected a pointer to double, got an array of float32",
    );
    refuse_unchecked(
        negate,
        &mut [Arg::from(&x), 2.into()],
        "negate: p: expected a pointer to double, writeable, got a read-only array",
    );
    refuse(
        second,
        &mut [1.0.into()],
        "second: p: expected a pointer to double with its extent, got a number",
    );
}

#[test]
fn a_void_pointer_takes_any_array_and_any_handle() {
    for byte_at in engines(BYTE_AT) {
        let words = [0x0201_u16, 0x0403];
        assert_eq!(
            call(&byte_at, &mut [Arg::from(&words), 3.into()]).to_i128(),
            Some(4)
        );
        assert_eq!(
            call(&byte_at, &mut [Arg::Null, 0.into()]).to_i128(),
            Some(-1)
        );
        let handle = counter(7).with_destructor(&bind(FREE)).unwrap();
        assert_eq!(
            call(&byte_at, &mut [Arg::from(&handle), 0.into()]).to_i128(),
            Some(7)
        );
    }
    let zero = "void zero_first(void *p)";
    for zero in engines(zero) {
        let mut x = [7_i32, 8];
        call(&zero, &mut [Arg::from(&mut x)]);
        assert_eq!(x, [0, 8]);
    }
    refuse(
        zero,
        &mut [Arg::from(&[7_i32])],
        "zero_first: p: expected a pointer, writeable, got a read-only array",
    );
    refuse(
        zero,
        &mut [Arg::from("text")],
        "zero_first: p: expected a pointer, got a text",
    );
}

#[test]
fn a_handle_is_of_one_type() {
    for next in engines(NEXT) {
        let handle = counter(3).with_destructor(&bind(FREE)).unwrap();
        assert_eq!(
            (handle.target(), handle.origin().unwrap().name()),
            ("counter", "counter_new")
        );
        assert_eq!(call(&next, &mut [Arg::from(&handle)]).to_i128(), Some(4));
        assert_eq!(
            call(&next, &mut [Arg::from(&handle.clone())]).to_i128(),
            Some(5)
        );
        assert_eq!(call(&next, &mut [Arg::Null]).to_i128(), Some(-1));
    }
    let handle = counter(3).with_destructor(&bind(FREE)).unwrap();
    refuse(
        OTHER,
        &mut [Arg::from(&handle)],
        "other_use: other: expected a pointer to other, got a handle to counter",
    );
    refuse(
        NEXT,
        &mut [Arg::from(&[1_i32])],
        "counter_next: counter: expected a pointer to counter with its extent, got an array",
    );
    assert!(
        call(&bind(NEW), &mut [(-1).into()]).into_handle().is_none(),
        "NULL is no handle"
    );
}

#[test]
fn a_destructor_runs_once() {
    let (free, before) = (bind(FREE), freed());
    let handle = counter(3).with_destructor(&free).unwrap();
    let clone = handle.clone();
    assert_eq!(handle.close().unwrap().unwrap().to_i128(), Some(3));
    assert!(handle.is_closed() && clone.is_closed() && clone.address().is_none());
    assert!(clone.close().unwrap().is_none());
    refuse(
        NEXT,
        &mut [Arg::from(&clone)],
        "counter_next: counter: expected a pointer to counter that is open, \
         got a closed handle to counter",
    );
    drop((handle, clone));
    assert_eq!(freed(), before + 1);

    let handle = counter(4).with_destructor(&free).unwrap();
    let clone = handle.clone();
    drop(handle);
    assert_eq!(freed(), before + 1, "a clone lives");
    drop(clone);
    assert_eq!(freed(), before + 2);

    let plain = counter(5);
    let owned = plain.with_destructor(&free).unwrap();
    assert!(plain.is_closed(), "it has moved");
    let owned_again = owned.with_destructor(&free).unwrap();
    assert!(owned.is_closed() && !owned_again.is_closed());
    drop((plain, owned));
    assert_eq!(freed(), before + 2);
    drop(owned_again);
    assert_eq!(freed(), before + 3);

    let plain = counter(6);
    assert!(plain.close().unwrap().is_none(), "nothing to run");
    assert!(plain.is_closed());
}

#[test]
fn a_destructor_takes_the_handle_and_nothing_else() {
    let handle = counter(3).with_destructor(&bind(FREE)).unwrap();
    let error = handle.with_destructor(&bind(OTHER)).unwrap_err();
    assert!(matches!(error, CallError::Argument(_)), "{error}");
    assert_eq!(
        error.to_string(),
        "other_use: other: expected a pointer to other, got a handle to counter; give the handle that the library made for it"
    );
    assert!(handle.with_destructor(&bind(BYTE_AT)).is_err());
    assert!(!handle.is_closed());
}

#[test]
fn a_function_pointer_takes_a_function_of_its_type() {
    let apply = "int apply(int (*f)(int x), int x)";
    let increment = bind("int increment(int x)");
    for apply in engines(apply) {
        let before = calls();
        let value = apply.call(&mut [Arg::from(&increment), 4.into()]).unwrap();
        assert_eq!((value.to_i128(), calls()), (Some(5), before + 2));
        assert_eq!(call(&apply, &mut [Arg::Null, 4.into()]).to_i128(), Some(-1));
    }
    let other = bind("long increment_long(long x)");
    refuse(
        apply,
        &mut [Arg::from(&other), 4.into()],
        "apply: f: expected a function int (int), got `long increment_long(long x)`",
    );
    refuse(
        apply,
        &mut [Arg::from(1.0), 4.into()],
        "apply: f: expected a function int (int), got a number",
    );
}

#[test]
fn the_c_library_sorts_with_a_native_comparison() {
    let process = Library::process().unwrap();
    let bind_qsort = |prototype| -> Function {
        // SAFETY: these are types of `qsort`; the size is that of an `int`.
        unsafe { process.function(prototype) }.unwrap()
    };
    let qsort = bind_qsort(
        "void qsort(int base[n], size_t n, size_t size, int (*compare)(const void *, const void *))",
    );
    let compare = bind("int compare(const void *a, const void *b)");
    let mut numbers = [5, -1, 3, i32::MAX, i32::MIN, 0];
    let mut sorted = numbers;
    sorted.sort_unstable();
    qsort
        .call(&mut [Arg::from(&mut numbers), 4.into(), Arg::from(&compare)])
        .unwrap();
    assert_eq!(numbers, sorted);
}

#[test]
fn any_thread_may_call() {
    let (new, next, free) = (bind(NEW), bind(NEXT), bind(FREE));
    let handles: Vec<_> = thread::scope(|scope| {
        let start = |value: i32| {
            let (new, next, free) = (&new, &next, &free);
            scope.spawn(move || {
                let handle = new
                    .call(&mut [value.into()])
                    .unwrap()
                    .into_handle()
                    .unwrap();
                let handle = handle.with_destructor(free).unwrap();
                for _ in 0..1000 {
                    next.call(&mut [Arg::from(&handle)]).unwrap();
                }
                handle
            })
        };
        let threads: Vec<_> = (0..8).map(start).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    for (value, handle) in (0..).zip(handles) {
        assert_eq!(
            handle.close().unwrap().unwrap().to_i128(),
            Some(value + 1000)
        );
    }
}

#[test]
fn missing_functions_are_refused_when_bound() {
    unbound("int no_such_function(int x)", "no_such_function");
}
