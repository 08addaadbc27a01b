//! Systems where all calls go through libffi.

use std::ffi::c_void;

use super::value::Value;

/// No signature can be compiled here.
pub(super) enum Signature {}

impl Signature {
    pub(super) fn new(_: &Value, _: &[Value]) -> Option<Self> {
        None
    }
}

pub(super) enum Code {}

impl Code {
    pub(super) fn address(self) -> *mut c_void {
        match self {}
    }
}

pub(super) fn code(signature: &Signature) -> Option<Code> {
    match *signature {}
}
