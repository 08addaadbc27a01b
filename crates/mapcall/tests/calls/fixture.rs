//! The compiled fixture, and calls of it that count.

use std::sync::OnceLock;

use mapcall::{Arg, CallError, Function, Library, Value};
use tempfile::TempDir;

use crate::c_calls::{self, compile, open};

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("fixture.so");
        compile(&path, include_str!("fixture.c"), "-O1");
        open(&path)
    })
}

/// A function of the fixture.
pub(crate) fn bind(prototype: &str) -> Function {
    // SAFETY: the tests write the prototypes of the functions in `fixture.c`.
    unsafe { library().function(prototype) }.unwrap()
}

/// The same function by each engine that can call it.
pub(crate) fn engines(prototype: &str) -> Vec<Function> {
    c_calls::engines(bind(prototype))
}

/// How many calls this thread has made.
pub(crate) fn calls() -> i32 {
    let called = bind("int called(void)").typed::<extern "C" fn() -> i32>();
    called.unwrap()()
}

/// Calls it, and sees that it ran once.
#[track_caller]
pub(crate) fn call(function: &Function, arguments: &mut [Arg<'_>]) -> Value {
    let before = calls();
    let value = function
        .call(arguments)
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(calls(), before + 1, "{function:?}");
    value
}

/// Asserts that every engine refuses the arguments with that message, and runs nothing.
#[track_caller]
pub(crate) fn refuse(prototype: &str, arguments: &mut [Arg<'_>], message: &str) {
    let before = calls();
    for function in engines(prototype) {
        let error = function.call(arguments).unwrap_err();
        assert!(matches!(error, CallError::Argument(_)), "{error:?}");
        assert_eq!(without_remedy(&error.to_string()), message);
        assert_eq!(calls(), before, "{function:?} ran");
    }
}

/// As [`refuse`], for calls that don't know all extents.
#[track_caller]
pub(crate) fn refuse_unchecked(prototype: &str, arguments: &mut [Arg<'_>], message: &str) {
    let before = calls();
    for function in engines(prototype) {
        // SAFETY: nothing is called.
        let error = unsafe { function.call_unchecked(arguments) }.unwrap_err();
        assert_eq!(without_remedy(&error.to_string()), message);
        assert_eq!(calls(), before, "{function:?} ran");
    }
}

/// Asserts that a prototype can't be bound.
#[track_caller]
pub(crate) fn unbound(prototype: &str, message: &str) {
    // SAFETY: nothing is called.
    let error = unsafe { library().function(prototype) }.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(message), "{text}");
}

/// Returns a message without its remedy, which `tests/python/call/test_remedies.py` follows.
pub(crate) fn without_remedy(message: &str) -> &str {
    message
        .rsplit_once("; ")
        .map_or(message, |(before, _)| before)
}
