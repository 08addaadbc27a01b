//! The block of words that holds the values of one call.

use super::CallTypeError;
use super::value::Value;

/// A C call has its values on the stack, so they can't be larger than one.
const LIMIT: usize = 1 << 16;

const WORD: usize = size_of::<u64>();

/// Where the values of one call lie in a block of 64-bit words.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::call::Trampoline;
///
/// let f = Prototype::parse("double _Complex f(char c, long double x, float y);")?;
/// let types = f.parameters.iter().map(|parameter| &parameter.ctype);
/// let trampoline = Trampoline::new(&f.returns, types)?;
/// let layout = trampoline.layout();
/// # #[cfg(abi_system_v)]
/// assert_eq!(layout.parameters(), [0, 2, 4]);
/// # #[cfg(abi_system_v)]
/// assert_eq!((layout.result(), layout.words()), (5, 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The parameters come first, in order, then the result. Each value starts at a word of its own,
/// one that is aligned to 16 bytes at an even word, and lies in memory as C has it. Integers,
/// enumerations, `_Bool` and pointers are extended to the whole word, by their sign if they have
/// one. Of a result only the bytes of its C type are meaningful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameLayout {
    parameters: Box<[usize]>,
    result: usize,
    words: usize,
}

impl FrameLayout {
    pub(super) fn new(returns: &Value, parameters: &[Value]) -> Result<Self, CallTypeError> {
        let mut end = 0;
        let offsets = parameters.iter().map(|value| place(value, &mut end));
        let parameters = offsets.collect::<Result<_, _>>()?;
        let result = place(returns, &mut end)?;
        Ok(Self {
            parameters,
            result,
            words: end,
        })
    }

    /// The length of the whole block, in words.
    #[must_use]
    pub fn words(&self) -> usize {
        self.words
    }

    /// The word where a parameter starts; the end of the block when there is no such parameter.
    #[must_use]
    pub fn parameter(&self, index: usize) -> usize {
        self.parameters.get(index).copied().unwrap_or(self.words)
    }

    /// The words where the parameters start.
    #[must_use]
    pub fn parameters(&self) -> &[usize] {
        &self.parameters
    }

    /// The word where the result starts.
    #[must_use]
    pub fn result(&self) -> usize {
        self.result
    }
}

/// The word for a value behind the others.
fn place(value: &Value, end: &mut usize) -> Result<usize, CallTypeError> {
    let start = end.next_multiple_of(value.alignment.div_ceil(WORD).max(1));
    *end = start.saturating_add(value.words());
    if *end > LIMIT / WORD {
        return Err(CallTypeError::TooLarge { limit: LIMIT });
    }
    Ok(start)
}
