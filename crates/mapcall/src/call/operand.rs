//! The operands of a loop of calls: how each moves from call to call.

#![allow(unsafe_code)]

/// How an operand of a [`CallLoop`](super::CallLoop) moves from call to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperandKind {
    /// Each call is passed the same value, from the frame.
    Constant,
    /// Each call is passed the address, which moves by the stride.
    Pointer,
    /// Each call is passed the value at the address, which moves by the stride.
    Strided,
}

/// The result of a call at which a [`CallLoop`](super::CallLoop) stops early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// No result: all calls are made.
    Never,
    /// A result of 0.
    Zero,
    /// Any result except 0.
    Nonzero,
    /// Any result, if the call sets the thread's `errno`.
    Errno,
}

/// An address and the stride by which it moves from call to call in a [`CallLoop`](super::CallLoop).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct StridedPointer {
    /// The address for the first call.
    pub address: *mut u8,
    /// The distance from one call to the next, in bytes.
    pub stride: isize,
}

// SAFETY: a pointer has an address and a stride. Only unsafe functions read or write the memory at the address.
unsafe impl Send for StridedPointer {}
// SAFETY: a pointer has no interior mutability, and its methods read no memory at its address.
unsafe impl Sync for StridedPointer {}

impl StridedPointer {
    /// Returns the pointer after a number of calls.
    #[must_use]
    pub(crate) fn after(self, calls: usize) -> Self {
        let moved = self.stride.wrapping_mul(calls.cast_signed());
        Self {
            address: self.address.wrapping_offset(moved),
            ..self
        }
    }
}
