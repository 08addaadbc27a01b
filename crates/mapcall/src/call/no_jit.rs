//! The compiled engine on systems where it does not exist: nothing can be compiled, so that all calls go
//! through libffi.

use std::ffi::c_void;

use super::entry::{EntryCheck, Host};
use super::operand::{OperandKind, Stop};
use super::value::Value;

/// The signature of a compiled call, of which there is none here.
#[derive(Clone)]
pub(super) enum Signature {}

impl Signature {
    pub(super) fn new(_: &Value, _: &[Value]) -> Option<Self> {
        None
    }
}

/// The pattern of a compiled loop, of which there is none here.
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

/// The description of an entry, of which there is none here.
pub(super) enum Entry {}

impl Entry {
    pub(super) fn new(
        _: Option<Signature>,
        _: EntryCheck,
        _: &Host,
        _: (usize, usize),
    ) -> Option<Self> {
        None
    }
}

pub(super) enum Routine {
    Call(Signature),
    Loop(Pattern),
    Entry(Box<Entry>),
}

pub(super) enum Code {}

impl Code {
    pub(super) fn address(self) -> *mut c_void {
        match self {}
    }
}

/// Returns the function's own address: callers of variadic functions pass no number of registers here.
pub(super) fn callable(_: &[Value], address: *const c_void) -> *const c_void {
    address
}

pub(super) fn code(routine: &Routine) -> Option<Code> {
    match routine {
        Routine::Call(signature) => match *signature {},
        Routine::Loop(pattern) => match *pattern {},
        Routine::Entry(entry) => match **entry {},
    }
}
