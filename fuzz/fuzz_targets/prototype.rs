//! Checks that no text makes the parser of prototypes panic, and that every error has a message.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mapcall::{Declarations, Prototype};

fuzz_target!(|text: &str| {
    match Prototype::parse(text) {
        Ok(prototype) => {
            let _ = prototype.signature();
            for parameter in &prototype.parameters {
                let _ = parameter.ctype.dtype();
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    for function in Declarations::parse(text).functions() {
        assert_eq!(
            function.prototype.is_err(),
            function.unsupported().is_some()
        );
    }
});
