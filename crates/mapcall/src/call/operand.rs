//! How one operand of a loop of calls moves from call to call.

/// How a parameter gets its value in each call of a [`Loop`](super::Loop).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feed {
    /// The frame has it, the same for each call.
    Fixed,
    /// It is the address of a lane.
    Address,
    /// It stands at the address of a lane.
    Value,
}

/// Which call ends a [`Loop`](super::Loop) before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stop {
    /// None.
    Never,
    /// One whose result is 0.
    Zero,
    /// One whose result is anything but 0.
    Nonzero,
    /// One that leaves something else than 0 in the thread's `errno`.
    Errno,
}

/// Memory that a [`Loop`](super::Loop) walks through.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Lane {
    /// The address for the first call.
    pub address: *mut u8,
    /// How far it moves from one call to the next, in bytes.
    pub stride: isize,
}

impl Lane {
    /// The lane as it is so many calls later.
    #[must_use]
    pub(crate) fn after(self, calls: usize) -> Self {
        let moved = self.stride.wrapping_mul(calls.cast_signed());
        Self {
            address: self.address.wrapping_offset(moved),
            ..self
        }
    }
}
