//! The frame: the block of 64-bit slots that holds the values of one call.

use super::CallTypeError;
use super::value::Value;

/// The maximum size of a frame in bytes. C copies the values to the stack, whose size is limited.
const LIMIT: usize = 1 << 16;

/// The size of a slot in bytes.
const SLOT: usize = size_of::<u64>();

/// The offsets of the values of one call in a frame, a block of 64-bit slots.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::call::Trampoline;
///
/// let f = Prototype::parse("double _Complex f(char c, long double x, float y);")?;
/// let types = f.parameters.iter().map(|parameter| &parameter.ctype);
/// let trampoline = Trampoline::new(&f.returns, types)?;
/// let layout = trampoline.layout();
/// # #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
/// assert_eq!(layout.parameters(), [0, 2, 4]);
/// # #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
/// assert_eq!((layout.result(), layout.words()), (5, 7));
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
    pub(super) fn new(returns: &Value, parameters: &[Value]) -> Result<Self, CallTypeError> {
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
    pub fn words(&self) -> usize {
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
