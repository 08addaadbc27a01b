//! The block of 64-bit slots that holds the values of one call: where each lies, and its memory.

use super::CallTypeError;
use super::value::Value;
use crate::ctype::CType;

/// The largest block, in bytes: a C call has its values on the stack.
const LIMIT: usize = 1 << 16;

const SLOT: usize = size_of::<u64>();

/// Where the values of one call lie in a block of 64-bit slots.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::call::FrameLayout;
///
/// let f = Prototype::parse("double _Complex f(char c, long double x, float y);")?;
/// let layout = FrameLayout::new(&f.returns, &f.passed_types())?;
/// # #[cfg(abi_system_v)]
/// assert_eq!(layout.parameters(), [0, 2, 4]);
/// # #[cfg(abi_system_v)]
/// assert_eq!((layout.result(), layout.slots()), (5, 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The parameters come first, in order, then the result. Each value starts at a slot of its own,
/// one that is aligned to 16 bytes at an even slot, and lies in memory as C has it. Integers,
/// enumerations, `_Bool` and pointers are extended to the whole slot, by their sign if they have
/// one. Of a result only the bytes of its C type are meaningful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameLayout {
    parameters: Box<[usize]>,
    result: usize,
    slots: usize,
}

impl FrameLayout {
    /// Lays out the values of a function type.
    ///
    /// # Errors
    ///
    /// [`CallTypeError`] if a type can't be passed by value, or if the values are too large for a stack.
    pub fn new<'a>(
        returns: &CType,
        parameters: impl IntoIterator<Item = &'a CType>,
    ) -> Result<Self, CallTypeError> {
        let values = parameters.into_iter().map(Value::of);
        let values = values.collect::<Result<Vec<_>, _>>()?;
        Self::of_values(&Value::returned(returns)?, &values)
    }

    pub(super) fn of_values(returns: &Value, parameters: &[Value]) -> Result<Self, CallTypeError> {
        let mut end = 0;
        let starts = parameters.iter().map(|value| append(value, &mut end));
        let parameters = starts.collect::<Result<_, _>>()?;
        let result = append(returns, &mut end)?;
        Ok(Self {
            parameters,
            result,
            slots: end,
        })
    }

    /// The length of the whole block, in slots.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The slot where a parameter starts; the end of the block when there is no such parameter.
    #[must_use]
    pub fn parameter(&self, index: usize) -> usize {
        self.parameters.get(index).copied().unwrap_or(self.slots)
    }

    /// The slots where the parameters start.
    #[must_use]
    pub fn parameters(&self) -> &[usize] {
        &self.parameters
    }

    /// The slot where the result starts.
    #[must_use]
    pub fn result(&self) -> usize {
        self.result
    }
}

/// Returns the slot for a value behind the others, and moves their end.
fn append(value: &Value, end: &mut usize) -> Result<usize, CallTypeError> {
    let start = end.next_multiple_of(value.alignment.div_ceil(SLOT).max(1));
    *end = start.saturating_add(value.slots());
    if *end > LIMIT / SLOT {
        return Err(CallTypeError::TooLarge { limit: LIMIT });
    }
    Ok(start)
}

/// The memory of a frame: slots, all 0 at first, aligned to 16 bytes as the largest of C's scalars.
///
/// ```
/// use mapcall::call::Frame;
///
/// let mut frame = Frame::new(3);
/// frame.slots()[2] = 7;
/// assert_eq!(frame.slots(), [0, 0, 7]);
/// ```
///
/// Small frames need no allocation.
#[derive(Clone, Debug)]
pub struct Frame {
    inline: Inline,
    heap: Vec<u128>,
    length: usize,
}

#[derive(Clone, Debug)]
#[repr(align(16))]
struct Inline([u64; Frame::INLINE]);

impl Frame {
    /// The number of slots that need no allocation.
    pub const INLINE: usize = 16;

    /// Makes a frame of a number of slots.
    #[must_use]
    #[inline]
    pub fn new(slots: usize) -> Self {
        let heap = if slots > Self::INLINE {
            vec![0; slots.div_ceil(2)]
        } else {
            Vec::new()
        };
        Self {
            inline: Inline([0; Self::INLINE]),
            heap,
            length: slots,
        }
    }

    /// Makes a copy of the slots of another frame.
    #[must_use]
    pub fn of(slots: &[u64]) -> Self {
        let mut frame = Self::new(slots.len());
        frame.slots().copy_from_slice(slots);
        frame
    }

    /// The slots.
    #[must_use]
    #[inline]
    pub fn slots(&mut self) -> &mut [u64] {
        let slots: &mut [u64] = if self.length > Self::INLINE {
            bytemuck::cast_slice_mut(&mut self.heap)
        } else {
            &mut self.inline.0
        };
        slots.get_mut(..self.length).unwrap_or_default()
    }
}
