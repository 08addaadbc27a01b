//! The operands of a loop of calls: how each moves from call to call.

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
