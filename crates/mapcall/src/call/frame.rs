//! The frame: the block of 64-bit slots that holds the values of one call.

use super::CallTypeError;
use super::value::Value;
use crate::ctype::CType;

/// The maximum size of a frame in bytes. C copies the values to the stack, whose size is limited.
const LIMIT: usize = 1 << 16;

/// The size of a slot in bytes.
const SLOT: usize = size_of::<u64>();

/// The offsets of the values of one call in a frame, a block of 64-bit slots.
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
/// The parameters come first, in order, then the result. Each value starts at a slot of its own, at an
/// even one if it is aligned to 16 bytes, and has the bytes that it has in C. Integers, enumerations,
/// `_Bool` and pointers are extended to the whole slot, with their sign if they are signed. Of a result
/// only the bytes of its C type are defined.
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
        let offsets = parameters.iter().map(|value| allocate(value, &mut end));
        let parameters = offsets.collect::<Result<_, _>>()?;
        let result = allocate(returns, &mut end)?;
        Ok(Self {
            parameters,
            result,
            slots: end,
        })
    }

    /// Returns the number of slots of the frame.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Returns the first slot of a parameter; the end of the frame if there is no such parameter.
    #[must_use]
    pub fn parameter(&self, index: usize) -> usize {
        self.parameters.get(index).copied().unwrap_or(self.slots)
    }

    /// Returns the first slot of each parameter.
    #[must_use]
    pub fn parameters(&self) -> &[usize] {
        &self.parameters
    }

    /// Returns the first slot of the result.
    #[must_use]
    pub fn result(&self) -> usize {
        self.result
    }
}

/// Returns the first slot for a value behind `end`, and moves `end` behind it.
fn allocate(value: &Value, end: &mut usize) -> Result<usize, CallTypeError> {
    let start = end.next_multiple_of(value.alignment.div_ceil(SLOT).max(1));
    *end = start.saturating_add(value.slots());
    if *end > LIMIT / SLOT {
        return Err(CallTypeError::TooLarge { limit: LIMIT });
    }
    Ok(start)
}

/// Returns the slots of a number or pointer, given its bytes in memory.
///
/// ```
/// use mapcall::call::{scalar_bytes, scalar_slots};
///
/// let [slot, ..] = scalar_slots(&7_i16.to_ne_bytes());
/// assert_eq!(slot, 7);
/// assert_eq!(scalar_bytes(&[slot], 2), 7_i16.to_ne_bytes());
/// ```
///
/// The largest scalar, `long double _Complex`, has four slots.
#[must_use]
#[inline]
pub fn scalar_slots(bytes: &[u8]) -> [u64; 4] {
    let mut slots = [0; 4];
    let start = scalar_start(bytes.len());
    let to = bytemuck::cast_slice_mut::<u64, u8>(&mut slots);
    if let Some(to) = to.get_mut(start..start + bytes.len()) {
        to.copy_from_slice(bytes);
    }
    slots
}

/// Returns the bytes, as they are in memory, of a number or pointer of `size` bytes in slots; none if there are
/// fewer slots.
///
/// ```
/// use mapcall::call::scalar_bytes;
///
/// let slots = [(-2_i64).cast_unsigned()];
/// assert_eq!(scalar_bytes(&slots, 4), (-2_i32).to_ne_bytes());
/// ```
#[must_use]
#[inline]
pub fn scalar_bytes(slots: &[u64], size: usize) -> &[u8] {
    let start = scalar_start(size);
    let bytes = bytemuck::cast_slice(slots).get(start..start + size);
    bytes.unwrap_or_default()
}

/// Returns the offset in a slot of a number or pointer of `size` bytes: a value that is smaller than the slot is in
/// its low bytes, which are the last ones on a big-endian machine.
#[inline]
pub(super) const fn scalar_start(size: usize) -> usize {
    if cfg!(target_endian = "big") {
        SLOT.saturating_sub(size)
    } else {
        0
    }
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
    inline: SmallFrame,
    heap: Vec<u128>,
    length: usize,
}

/// The memory of a frame that needs no allocation: slots, all 0 at first, aligned to 16 bytes.
///
/// ```
/// use mapcall::call::SmallFrame;
///
/// assert_eq!(SmallFrame::default().0, [0; 16]);
/// ```
#[derive(Clone, Debug, Default)]
#[repr(align(16))]
pub struct SmallFrame(pub [u64; SmallFrame::SLOTS]);

impl SmallFrame {
    /// The number of slots.
    pub const SLOTS: usize = 16;
}

impl Frame {
    /// Makes a frame of a number of slots.
    #[must_use]
    #[inline]
    pub fn new(slots: usize) -> Self {
        let heap = if slots > SmallFrame::SLOTS {
            vec![0; slots.div_ceil(2)]
        } else {
            Vec::new()
        };
        Self {
            inline: SmallFrame::default(),
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
        let slots: &mut [u64] = if self.length > SmallFrame::SLOTS {
            bytemuck::cast_slice_mut(&mut self.heap)
        } else {
            &mut self.inline.0
        };
        slots.get_mut(..self.length).unwrap_or_default()
    }
}
