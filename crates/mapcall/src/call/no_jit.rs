//! Systems where all calls go through libffi.

use std::ffi::c_void;

use super::operand::{OperandKind, Stop};
use super::value::Value;

/// No signature can be compiled here.
#[derive(Clone)]
pub(super) enum Signature {}

impl Signature {
    pub(super) fn new(_: &Value, _: &[Value]) -> Option<Self> {
        None
    }
}

/// Nor any loop.
pub(super) enum Pattern {}

impl Pattern {
    pub(super) fn new(
        _: (&Value, usize),
        _: &[Value],
        _: &[usize],
        _: &[OperandKind],
        _: (bool, Stop),
        _: bool,
    ) -> Option<Self> {
        None
    }
}

pub(super) enum Routine {
    Once(Signature),
    LoopCode(Pattern),
}

pub(super) enum Code {}

impl Code {
    pub(super) fn address(self) -> *mut c_void {
        match self {}
    }
}

/// All calls set what their convention asks for.
pub(super) fn callable(_: &[Value], address: *const c_void) -> *const c_void {
    address
}

pub(super) fn code(routine: &Routine) -> Option<Code> {
    match routine {
        Routine::Once(signature) => match *signature {},
        Routine::LoopCode(pattern) => match *pattern {},
    }
}
