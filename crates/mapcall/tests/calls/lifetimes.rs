//! Who ends a handle, and what a handle keeps alive.

use std::sync::Barrier;
use std::thread;

use mapcall::array::{Array, layout::Order};
use mapcall::prototype::Ownership::{Held, Kept, Taken};
use mapcall::{Arg, CallError, Declarations, Function, Handle, Prototype, Success};

use crate::fixture::{bind, call, engines, refuse};

const NEW: &str = "struct counter; struct counter *counter_new(int value)";
const NEXT: &str = "struct counter; int counter_next(struct counter *counter)";
const FREE: &str = "struct counter; int counter_free(struct counter *counter)";
const SAME: &str = "struct counter; struct counter *counter_same(struct counter *counter)";
const FROM: &str = "struct counter; struct counter *counter_from(struct counter *counter)";
const TAKE: &str = "struct counter; int counter_take(struct counter *counter, int x) \
                    __attribute__((ownership_takes(counter, 1)))";
const HOLD: &str = "struct counter; int counter_hold(struct counter *counter) \
                    __attribute__((ownership_holds(counter, 1)))";
const FIND: &str = "double *find(const double p[n], size_t n, double x)";
const PEEK: &str = "double second(const double *p)";

fn freed() -> i32 {
    bind("int were_freed(void)")
        .typed::<extern "C" fn() -> i32>()
        .unwrap()()
}

fn returned(function: &Function, arguments: &mut [Arg<'_>]) -> Handle {
    let value = function
        .call(arguments)
        .unwrap_or_else(|error| panic!("{error}"));
    value.into_handle().unwrap()
}

fn counter(value: i32) -> Handle {
    let counter = returned(&bind(NEW), &mut [value.into()]);
    counter.with_destructor(&bind(FREE)).unwrap()
}

#[test]
fn its_own_destructor_closes_it() {
    let others = [
        FREE,
        "int counter_free(void *counter)",
        "typedef struct counter *pointer; int counter_free(pointer counter)",
        "int freed(struct counter *counter) __asm__(\"counter_free\")",
    ];
    for prototype in others {
        let mut ways = engines(prototype);
        ways.push(bind(prototype).check(Success::NoErrno).unwrap());
        for free in ways {
            let (handle, before) = (counter(3), freed());
            let clone = handle.clone();
            assert_eq!(
                free.call(&mut [(&handle).into()]).unwrap().to_i128(),
                Some(3)
            );
            assert!(handle.is_closed() && clone.is_closed());
            assert!(handle.close().unwrap().is_none());
            drop((handle, clone));
            assert_eq!(freed(), before + 1, "{prototype}");
        }
    }
}

#[test]
fn a_failure_closes_it_and_a_refusal_does_not() {
    let (handle, before) = (counter(3), freed());
    let failing = bind(FREE).check(Success::Zero).unwrap();
    let error = failing.call(&mut [(&handle).into()]).unwrap_err();
    assert!(
        matches!(error, CallError::Status { code: 3, .. }),
        "{error}"
    );
    assert!(handle.is_closed());
    drop(handle);
    assert_eq!(freed(), before + 1);

    let (handle, take) = (counter(3), bind(TAKE));
    assert!(take.call(&mut [(&handle).into(), "x".into()]).is_err());
    assert!(!handle.is_closed());
    assert_eq!(
        call(&bind(NEXT), &mut [(&handle).into()]).to_i128(),
        Some(4)
    );
    drop(handle);
    assert_eq!(freed(), before + 2);
}

#[test]
fn a_function_may_take_the_object_or_hold_it() {
    for take in engines(TAKE) {
        for handle in [counter(3), returned(&bind(NEW), &mut [3.into()])] {
            let before = freed();
            take.call(&mut [(&handle).into(), 7.into()]).unwrap();
            assert!(handle.is_closed());
            drop(handle);
            assert_eq!(freed(), before + 1);
        }
        assert!(take.call(&mut [Arg::Out, 7.into()]).is_err());
    }
    for hold in engines(HOLD) {
        let (handle, before) = (counter(3), freed());
        hold.call(&mut [(&handle).into()]).unwrap();
        assert!(!handle.is_closed());
        call(&bind(NEXT), &mut [(&handle).into()]);
        drop(handle);
        assert_eq!(freed(), before);
        assert_eq!(
            bind("int counter_drop_held(void)")
                .call(&mut [])
                .unwrap()
                .to_i128(),
            Some(4)
        );
    }
    let (handle, before) = (counter(3), freed());
    assert!(handle.release().is_some() && handle.release().is_none());
    drop(handle);
    assert_eq!(freed(), before);
}

#[test]
fn what_another_call_uses_is_not_taken() {
    let handle = counter(3);
    let in_use = handle.in_use().unwrap();
    refuse(
        FREE,
        &mut [(&handle).into()],
        "counter_free: counter: expected a pointer to counter that nothing else uses, \
         got a handle to counter in use",
    );
    drop(in_use);
    // Twice in one call, as owner and as user.
    let both = "int counter_next(void *counter, void *same) __attribute__((ownership_takes(x, 2)))";
    let refused = bind(both).call(&mut [(&handle).into(), (&handle).into()]);
    assert!(matches!(refused, Err(CallError::Argument(_))));
    let both =
        "int counter_next(void *counter, void *same) __attribute__((ownership_takes(x, 1, 2)))";
    let refused = bind(both).call(&mut [(&handle).into(), (&handle).into()]);
    assert!(matches!(refused, Err(CallError::Argument(_))));
    assert!(!handle.is_closed());
    let before = freed();
    handle.close().unwrap();
    assert_eq!(freed(), before + 1);
}

#[test]
fn only_a_handle_is_taken() {
    let prototype = "void zero_first(void *p) __attribute__((ownership_takes(malloc, 1)))";
    let mut x = [7_i32, 8];
    refuse(
        prototype,
        &mut [Arg::from(&mut x)],
        "zero_first: p: expected a pointer whose object C may own, got an array",
    );
    for text in [
        "void zero_first(double p[2]) __attribute__((ownership_takes(malloc, 1)))",
        "void zero_first(const char *p) __attribute__((ownership_holds(malloc, 1)))",
    ] {
        let contract = mapcall::contract::Contract::new(Prototype::parse(text).unwrap());
        let message = contract.unwrap_err().to_string();
        assert!(
            message.contains("expected a pointer that takes a handle"),
            "{message}"
        );
        assert!(message.contains(""), "{message}");
    }
}

#[test]
fn a_batch_takes_at_most_one() {
    let free = bind(FREE);
    let (handle, before) = (counter(3), freed());
    let mut results = [0_i32; 3];
    let inputs = [Arg::from(&handle)];
    let error = free
        .map(&inputs, &mut [Arg::from(&mut results)])
        .run()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "counter_free: counter: expected one call, as C owns a pointer to counter then, got a batch; call it once for each item"
    );
    assert!(!handle.is_closed());
    let mask = Arg::from(&[0_u8]);
    assert!(
        free.map(&inputs, &mut [Arg::Out])
            .only(&mask)
            .run()
            .is_err()
    );
    assert!(!handle.is_closed());
    let mut results = [Arg::Out];
    free.map(&inputs, &mut results).run().unwrap();
    assert_eq!(results[0].array().unwrap().view::<i32>().unwrap()[[]], 3);
    assert!(handle.is_closed());
    drop(inputs);
    drop(handle);
    assert_eq!(freed(), before + 1);
}

#[test]
fn one_of_many_threads_ends_it() {
    let free = bind(FREE);
    for round in 0..200 {
        let handle = counter(7);
        let start = Barrier::new(4);
        let ended: Vec<bool> = thread::scope(|scope| {
            let end = |thread: usize| {
                let (handle, start, free) = (handle.clone(), &start, &free);
                move || {
                    start.wait();
                    let result = match (thread + round) % 3 {
                        0 => handle.close().unwrap(),
                        _ => free.call(&mut [(&handle).into()]).ok(),
                    };
                    result.is_some()
                }
            };
            let threads: Vec<_> = (0..4).map(|thread| scope.spawn(end(thread))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        // A second end would be a double free. `close` doesn't wait for a call that is refused.
        assert!(ended.iter().filter(|&&ended| ended).count() <= 1);
    }
}

#[test]
fn a_pointer_keeps_the_handle_that_it_was_made_from() {
    let (same, from, next) = (bind(SAME), bind(FROM), bind(NEXT));
    let (parent, before) = (counter(3), freed());
    let child = returned(&same, &mut [(&parent).into()]);
    let grandchild = returned(&same, &mut [(&child).into()]);
    drop((parent, child));
    assert_eq!(freed(), before);
    assert_eq!(call(&next, &mut [(&grandchild).into()]).to_i128(), Some(4));
    drop(grandchild);
    assert_eq!(freed(), before + 1);

    // Closing is possible all the same.
    let parent = counter(3);
    let child = returned(&from, &mut [(&parent).into()]);
    let child = child.with_destructor(&bind(FREE)).unwrap();
    parent.close().unwrap();
    assert_eq!(freed(), before + 2);
    child.close().unwrap();
    assert_eq!(freed(), before + 3);
}

#[test]
fn another_handle_to_the_same_object_ends_the_first() {
    let (parent, before) = (counter(3), freed());
    let child = returned(&bind(SAME), &mut [(&parent).into()]);
    bind(FREE).call(&mut [(&child).into()]).unwrap();
    assert!(parent.is_closed() && child.is_closed());
    drop((parent, child));
    assert_eq!(freed(), before + 1);
}

#[test]
fn a_chain_of_handles_may_be_long() {
    let (same, from, free) = (bind(SAME), bind(FROM), bind(FREE));
    let (mut handle, before) = (counter(3), freed());
    for _ in 0..30_000 {
        handle = returned(&same, &mut [(&handle).into()]);
    }
    drop(handle);
    assert_eq!(freed(), before + 1);

    // Each keeps the one before it.
    let mut handle = counter(3);
    for _ in 0..30_000 {
        handle = returned(&from, &mut [(&handle).into()]);
        handle = handle.with_destructor(&free).unwrap();
    }
    assert_eq!(freed(), before + 1);
    drop(handle);
    assert_eq!(freed(), before + 30_002);
}

#[test]
fn a_pointer_keeps_texts_and_arrays() {
    for find in engines("char *find_char(const char *s, int c)") {
        let text = format!("{}=value", "k".repeat(500));
        let found = returned(&find, &mut [text.as_str().into(), b'='.into()]);
        drop(text);
        let at = bind("int byte_at(const void *p, size_t i)");
        assert_eq!(
            call(&at, &mut [(&found).into(), 1.into()]).to_i128(),
            Some(b'v'.into())
        );
        assert!(found.is_read_only());
        let refused = bind("void zero_first(void *p)").call(&mut [(&found).into()]);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "zero_first: p: expected a pointer, writeable, got a handle to const char; bind it with const for p, if it only reads"
        );
    }
    for find in engines(FIND) {
        let mut array = Array::zeros(mapcall::array::DType::F64, &[1 << 16], Order::C).unwrap();
        array.view_mut::<f64>().unwrap().fill(3.0);
        let found = returned(&find, &mut [(&array).into(), 3.0.into()]);
        drop(array);
        assert_eq!(
            call(&bind(PEEK), &mut [(&found).into()]).to_f64(),
            Some(3.0)
        );
    }
    // An array that nothing else can reach is written, and not while a pointer leads into it.
    let mut array = Array::zeros(mapcall::array::DType::F64, &[4], Order::C).unwrap();
    let find = bind("double *find(double p[n], size_t n, double x)");
    let found = returned(&find, &mut [(&mut array).into(), 0.0.into()]);
    assert!(!found.is_read_only());
    assert!(find.call(&mut [(&mut array).into(), 0.0.into()]).is_err());
    drop(found);
    assert!(find.call(&mut [(&mut array).into(), 0.0.into()]).is_ok());
}

#[test]
fn a_text_is_copied_before_its_argument_goes() {
    for behind in engines("const char *behind(const char *s, int c)") {
        let text = format!("{}=value", "k".repeat(500));
        let value = behind.call(&mut [text.as_str().into(), b'='.into()]);
        assert_eq!(value.unwrap().text(), Some(c"=value"));
    }
}

#[test]
fn a_pointer_into_what_was_borrowed_is_used_unchecked_only() {
    let x = vec![1.0, 2.0, 3.0];
    for find in engines(FIND) {
        let found = returned(&find, &mut [(&x).into(), 2.0.into()]);
        refuse(
            PEEK,
            &mut [(&found).into()],
            "second: p: expected a pointer to double to memory that is still there, \
             got a handle to double in an argument that was borrowed",
        );
        // SAFETY: `x` is still there.
        let value = unsafe { bind(PEEK).call_unchecked(&mut [(&found).into()]) };
        assert_eq!(value.unwrap().to_f64(), Some(3.0));
        assert!(
            found
                .with_destructor(&bind("void zero_first(void *p)"))
                .is_err()
        );
    }
}

#[test]
fn what_is_const_is_not_written() {
    let constant = returned(&bind("const double *constant(void)"), &mut []);
    assert!(constant.is_read_only());
    assert_eq!(
        call(&bind(PEEK), &mut [(&constant).into()]).to_f64(),
        Some(2.5)
    );
    refuse(
        "void negate(double *p, size_t most)",
        &mut [(&constant).into(), 2.into()],
        "negate: p: expected a pointer to double, writeable, got a handle to const double",
    );
    let typedef = "typedef const double fixed; fixed *constant(void)";
    assert!(returned(&bind(typedef), &mut []).is_read_only());
    assert!(!returned(&bind("double *constant(void)"), &mut []).is_read_only());
    // What only its library understands is its affair: C warns, and compiles it.
    let sloppy = "struct counter; const struct counter *counter_new(int value)";
    let handle = returned(&bind(sloppy), &mut [3.into()]);
    let handle = handle.with_destructor(&bind(FREE)).unwrap();
    assert!(handle.is_read_only());
    assert_eq!(
        call(&bind(NEXT), &mut [(&handle).into()]).to_i128(),
        Some(4)
    );
}

#[test]
fn ownership_is_read_wherever_attributes_stand() {
    let owners = |text: &str| {
        let prototype = Prototype::parse(text).unwrap_or_else(|error| panic!("{error}"));
        let shown = prototype.to_string();
        assert_eq!(Prototype::parse(&shown).unwrap(), prototype, "{shown}");
        let parameters = prototype.parameters.iter();
        parameters
            .map(|parameter| parameter.ownership)
            .collect::<Vec<_>>()
    };

    for text in [
        "void f(int n, void *p, char *q) __attribute__((ownership_takes(malloc, 2)))",
        "void f(int n, void *p, char *q) __attribute__((__ownership_takes__(malloc, 2), cold));",
        "__attribute__((ownership_takes(x, 2))) void f(int n, void *p, char *q)",
        "void __attribute__((ownership_takes(x, 1 + 1))) f(int n, void *p, char *q);",
        "[[clang::ownership_takes(malloc, 2)]] void f(int n, void *p, char *q);",
        "enum { P = 2 }; void f(int n, void *p, char *q) __attribute__((ownership_takes(x, P)))",
        "void f(int n, void *p, char *q) __asm__(\"g\") __attribute__((ownership_takes(x, /* */ 2)))",
        "typedef void g(int, void *, char *); __attribute__((ownership_takes(x, 2))) g f;",
    ] {
        assert_eq!(owners(text), [Kept, Taken, Kept], "{text}");
    }
    assert_eq!(
        owners(
            "void f(void *a, void *b, void *c, void *d) \
             __attribute__((ownership_takes(m, 1, 3), ownership_holds(m, 4)))"
        ),
        [Taken, Kept, Taken, Held]
    );
    for wrong in ["0", "-1", "1", "4", "n", "\"p\""] {
        let text = format!(
            "void f(int n, void *p, char *q) __attribute__((ownership_takes(malloc, {wrong})))"
        );
        assert!(Prototype::parse(&text).is_err(), "{text}");
    }
    let header = Declarations::parse(
        "void f(void *p) __attribute__((ownership_takes(malloc, 1)));
         void g(void *p) __attribute__((ownership_takes(malloc, 2)));",
    );
    let [f, g] = header.functions() else { panic!() };
    assert_eq!(f.prototype.as_ref().unwrap().parameters[0].ownership, Taken);
    let error = g.prototype.as_ref().unwrap_err().to_string();
    assert!(
        error.contains("expected the number of a pointer parameter, from 1"),
        "{error}"
    );
}
