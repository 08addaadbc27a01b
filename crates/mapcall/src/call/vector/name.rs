//! The names of vector variants, which say how they are called.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use super::Isa;

/// The name of a vector variant of a scalar function, in its parts.
///
/// ```
/// use mapcall::call::{Isa, VectorName};
///
/// let name = VectorName::parse("_ZGVdN4vv_atan2").unwrap();
/// assert_eq!((name.function(), name.isa(), name.lanes()), ("atan2", Isa::Avx2, Some(4)));
/// assert!(!name.is_masked());
/// assert_eq!(VectorName::parse("atan2"), None);
/// ```
///
/// The grammar is that of the x86 vector function ABI (H. J. Lu and others, "Vector Function Application Binary
/// Interface", section 2.6), and of "Vector Function ABI Specification for `AArch64`", section 4 (`vfabia64`). Names
/// of instruction sets that are not known here give `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorName {
    isa: Isa,
    is_masked: bool,
    lanes: Option<usize>,
    parameters: Box<[VectorParameter]>,
    /// The alignment that the variant expects of each parameter, in bytes; empty if it expects none.
    alignments: Box<[usize]>,
    function: Box<str>,
    symbol: Box<str>,
}

/// How a vector variant takes one parameter of the scalar function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorParameter {
    /// A value for each lane.
    Vector,
    /// One value for all lanes.
    Uniform,
    /// The value of the first lane; that of each other lane is greater by this step, which is in bytes for
    /// pointers.
    Linear(i64),
    /// The same with a step that the parameter of this index holds, a uniform integer. For pointers it counts items.
    LinearBy(usize),
    /// A form that is not called here: the value of a reference.
    Other,
}

impl VectorName {
    /// Parses a symbol; `None` if it is not the name of a variant.
    #[must_use]
    pub fn parse(symbol: &str) -> Option<Self> {
        let rest = symbol.strip_prefix("_ZGV")?;
        let mut letters = rest.chars();
        let isa = Isa::of_letter(letters.next()?)?;
        let is_masked = match letters.next()? {
            'M' => true,
            'N' => false,
            _ => return None,
        };
        let rest = letters.as_str();
        let (lanes, mut rest) = match rest.strip_prefix('x') {
            Some(rest) => (None, rest),
            None => number(rest).map(|(lanes, rest)| (Some(lanes), rest))?,
        };
        if (lanes.is_none() && !isa.is_scalable()) || lanes == Some(0) {
            return None;
        }
        let mut parameters = Vec::new();
        let mut alignments = Vec::new();
        let function = loop {
            if let Some(function) = rest.strip_prefix('_') {
                break function;
            }
            let (parameter, after) = parameter(rest)?;
            let (alignment, after) = alignment(after)?;
            parameters.push(parameter);
            alignments.push(alignment);
            rest = after;
        };
        if alignments.iter().all(|alignment| *alignment == 1) {
            alignments.clear();
        }
        (!function.is_empty()).then(|| Self {
            isa,
            is_masked,
            lanes,
            parameters: parameters.into(),
            alignments: alignments.into(),
            function: function.into(),
            symbol: symbol.into(),
        })
    }

    /// Returns the name of the scalar function.
    #[must_use]
    pub fn function(&self) -> &str {
        &self.function
    }

    /// Returns the instruction set that the variant needs.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Returns the number of calls of the scalar function that one call of the variant makes; `None` if it is as many
    /// as the processor's registers hold (SVE).
    #[must_use]
    pub fn lanes(&self) -> Option<usize> {
        self.lanes
    }

    /// Returns whether the variant takes a mask, its last parameter, which selects lanes.
    #[must_use]
    pub fn is_masked(&self) -> bool {
        self.is_masked
    }

    /// Returns how each parameter of the scalar function is passed.
    #[must_use]
    pub fn parameters(&self) -> &[VectorParameter] {
        &self.parameters
    }

    /// Returns the alignment that the variant expects of each parameter, a pointer, in bytes: 1 if it expects none of this
    /// one, no numbers if it expects none at all.
    pub(super) fn alignments(&self) -> &[usize] {
        &self.alignments
    }

    /// Returns the key by which variants are sorted, the best ones first: those of the widest registers, then those with
    /// most lanes, without a mask, and with the fewest parameters that differ between lanes.
    pub(crate) fn preference(&self) -> impl Ord + use<> {
        let is_vector = |parameter: &&VectorParameter| **parameter == VectorParameter::Vector;
        let vectors = self.parameters.iter().filter(is_vector).count();
        let size = Reverse((self.isa.register(), self.isa, self.lanes));
        (size, self.is_masked, vectors)
    }

    /// Returns the symbol.
    #[must_use]
    pub fn symbol(&self) -> &str {
        &self.symbol
    }
}

impl fmt::Display for VectorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.symbol)
    }
}

/// Reads one parameter, and returns it with the text behind it.
fn parameter(text: &str) -> Option<(VectorParameter, &str)> {
    let mut letters = text.chars();
    let kind = letters.next()?;
    let rest = letters.as_str();
    Some(match kind {
        'v' => (VectorParameter::Vector, rest),
        'u' => (VectorParameter::Uniform, rest),
        // A reference of C++ (`R`) is the address of what it refers to.
        'l' | 'R' => step(rest)?,
        'U' | 'L' => (VectorParameter::Other, step(rest)?.1),
        _ => return None,
    })
}

/// Reads the alignment of a parameter, and returns it with the text behind it.
fn alignment(text: &str) -> Option<(usize, &str)> {
    match text.strip_prefix('a') {
        Some(text) => number(text).filter(|(alignment, _)| *alignment > 0),
        None => Some((1, text)),
    }
}

/// Reads the step of a linear parameter, which is 1 if it is left out.
fn step(text: &str) -> Option<(VectorParameter, &str)> {
    if let Some(rest) = text.strip_prefix('s') {
        let (position, rest) = number(rest)?;
        return Some((VectorParameter::LinearBy(position), rest));
    }
    if let Some(rest) = text.strip_prefix('n') {
        let (step, rest) = number::<i64>(rest)?;
        return Some((VectorParameter::Linear(-step), rest));
    }
    let (step, rest) = number(text).unwrap_or((1, text));
    Some((VectorParameter::Linear(step), rest))
}

/// Reads a decimal number.
fn number<T: FromStr>(text: &str) -> Option<(T, &str)> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::VectorParameter::{Linear, LinearBy, Other, Uniform, Vector};
    use super::*;

    #[test]
    fn parameters_are_read_in_all_forms() {
        let parsed = |symbol| VectorName::parse(symbol).map(|name| name.parameters.to_vec());
        assert_eq!(
            parsed("_ZGVbN2vul_f"),
            Some(vec![Vector, Uniform, Linear(1)])
        );
        assert_eq!(
            parsed("_ZGVcM4l8ln16_f"),
            Some(vec![Linear(8), Linear(-16)])
        );
        assert_eq!(parsed("_ZGVeN8ls2va64_f"), Some(vec![LinearBy(2), Vector]));
        assert_eq!(
            parsed("_ZGVeN8R8vU_f"),
            Some(vec![Linear(8), Vector, Other])
        );
        assert_eq!(parsed("_ZGVdN4_f"), Some(vec![]));
        assert_eq!(
            parsed("_ZGVsMxvl8l8_sincos"),
            Some(vec![Vector, Linear(8), Linear(8)])
        );
    }

    #[test]
    fn alignments_and_lanes_are_read() {
        let name = VectorName::parse("_ZGVeN8l8a64vua16_f").unwrap();
        assert_eq!(
            (name.alignments(), name.lanes()),
            (&[64, 1, 16][..], Some(8))
        );
        let lanes = |symbol| VectorName::parse(symbol).unwrap().lanes();
        assert_eq!((lanes("_ZGVsMxv_f"), lanes("_ZGVsM4v_f")), (None, Some(4)));
    }

    #[test]
    fn other_symbols_are_refused() {
        for symbol in [
            "",
            "_ZGV",
            "_ZGVb",
            "_ZGVbN",
            "_ZGVbN2",
            "_ZGVbN2v",
            "_ZGVbN2v_",
            "_ZGVbX2v_f",
            "_ZGVzN2v_f",
            "_ZGVnMxv_cos",
            "_ZGVbN2va0_f",
            "_ZGVbN0v_f",
            "_ZGVbN2w_f",
            "_ZGVbN99999999999999999999v_f",
            "_ZGVbN2va_f",
            "_ZGVbN2ls_f",
            "_ZGVbN2ln_f",
            "cos",
            "_ZGVbé2v_f",
        ] {
            assert_eq!(VectorName::parse(symbol), None, "{symbol}");
        }
    }

    #[test]
    fn the_function_may_have_underscores() {
        let name = VectorName::parse("_ZGVbN2v__my_f");
        assert_eq!(name.as_ref().map(VectorName::function), Some("_my_f"));
    }
}
