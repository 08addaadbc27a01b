//! The quickest check: of plain numbers, and of arrays with one axis whose length is the same inferred number.

use super::{QuickArgument, fits_slot, may_alias};
use crate::contract::Contract;
use crate::contract::dimension::UNSET;
use crate::contract::extent_rule::ExtentRule;
use crate::contract::memory::overlap;
use crate::contract::number::Number;
use crate::contract::rule::Rule;
use crate::ctype::Float;

/// The memory of a frame of up to eight slots, aligned to 16 bytes.
#[derive(Clone, Debug, Default)]
#[repr(align(16))]
pub struct ShortFrame(pub [u64; ShortFrame::SLOTS]);

impl ShortFrame {
    /// The number of slots.
    pub const SLOTS: usize = 8;
}

/// A vector of the host language, for [`QuickVectors::fill`].
#[derive(Clone, Copy, Debug)]
pub struct QuickVector {
    /// The address of the first element.
    pub address: usize,
    /// The number of elements.
    pub length: usize,
    /// Bits of the host language, among them those of [`QuickArgument`].
    pub flags: u32,
}

/// A contract of plain numbers and vectors as a list of comparisons.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::{Backing, Contract, Memory, QuickVectors, ShortFrame};
///
/// let contract = Contract::new(Prototype::parse("double sum(int n, const double x[n])")?)?;
/// let quick = QuickVectors::new(&contract, |_| Some(())).unwrap();
/// let x = [1.0, 2.0, 3.0];
/// let mut frame = ShortFrame::default();
/// let memory = Memory {
///     address: x.as_ptr().cast_mut().cast(),
///     shape: &[3],
///     strides: &[8],
///     is_contiguous: true,
///     is_writeable: false,
///     is_shared: false,
///     backing: Backing::Private,
/// };
/// let nbytes = quick.fill(&mut frame, &[memory].into_iter());
/// assert_eq!((nbytes, frame.0[0]), (Some(24), 3));
///
/// let matrix = Contract::new(Prototype::parse("void f(int n, double x[n][n])")?)?;
/// assert!(QuickVectors::new(&matrix, |_| Some(())).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `D` is the type of an array's dtype in the host language. Every call that it accepts is accepted by
/// [`Quick`](super::Quick), too, which has more comparisons to select from for each argument.
#[derive(Clone, Debug)]
pub struct QuickVectors<D> {
    steps: Box<[Step<D>]>,
    /// The inferred number: its largest value, and its slot.
    length: Option<(u64, usize)>,
    /// The sum of the sizes of the vectors' elements.
    itemsizes: usize,
    disjoint_pairs: Box<[[Place; 2]]>,
    /// The slot of the result.
    result: usize,
}

/// The check of one argument.
#[derive(Clone, Debug)]
struct Step<D> {
    kind: Kind<D>,
    /// The slot of the frame that it is passed in.
    slot: usize,
}

#[derive(Clone, Debug)]
enum Kind<D> {
    Vector {
        dtype: D,
        /// The bits that must be 0 in the address.
        misaligned: usize,
        is_const: bool,
    },
    Float,
    Number(Number),
}

/// A vector of a filled frame.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Its index among the arguments.
    step: usize,
    slot: usize,
    itemsize: usize,
}

impl<D> QuickVectors<D> {
    /// Makes the list for a contract, with the dtypes of its arrays by position; `None` if the contract
    /// has other arguments than plain numbers and vectors of one inferred length.
    pub fn new(contract: &Contract, dtype: impl Fn(usize) -> Option<D>) -> Option<Self> {
        let layout = &contract.layout;
        let length = match *contract.inferred {
            [] => None,
            [dimension] => Some((dimension.max, dimension.slot)),
            _ => return None,
        };
        if contract.derived.is_needed
            || layout.slots() > ShortFrame::SLOTS
            || !fits_slot(&contract.prototype.returns)
        {
            return None;
        }
        let mut steps = Vec::new();
        let mut places = Vec::new();
        for (position, rule) in contract.rules.iter().enumerate() {
            let slot = layout.parameter(position);
            let kind = match rule {
                Rule::Inferred(_) => continue,
                Rule::Number(Number::Float(Float::Float)) => Kind::Float,
                Rule::Number(number) if number.count() == 1 => Kind::Number(*number),
                Rule::Array(rule) => {
                    let [ExtentRule::Dimension { .. }] = rule.extents() else {
                        return None;
                    };
                    let step = steps.len();
                    let itemsize = rule.memory.itemsize;
                    places.push((
                        position,
                        Place {
                            step,
                            slot,
                            itemsize,
                        },
                    ));
                    Kind::Vector {
                        dtype: dtype(position)?,
                        misaligned: rule.memory.misaligned,
                        is_const: rule.memory.is_const,
                    }
                }
                _ => return None,
            };
            steps.push(Step { kind, slot });
        }
        let place = |position| {
            let mut places = places.iter();
            Some(places.find(|(other, _)| *other == position)?.1)
        };
        let pairs = contract.disjoint_pairs.iter();
        let pairs = pairs.map(|&(one, other)| Some([place(one)?, place(other)?]));
        Some(Self {
            steps: steps.into(),
            length,
            itemsizes: places.iter().map(|(_, place)| place.itemsize).sum(),
            disjoint_pairs: pairs.collect::<Option<_>>()?,
            result: layout.result(),
        })
    }

    /// Returns the slot of the result in the frame of a finished call; 0 for void.
    #[must_use]
    #[inline]
    pub fn result(&self, frame: &ShortFrame) -> u64 {
        frame.0.get(self.result).copied().unwrap_or_default()
    }

    /// Fills a frame with the arguments. Returns the size of their arrays in bytes; `None` if an argument
    /// needs another check.
    #[expect(
        clippy::inline_always,
        reason = "the call has one caller, and takes less time than a call"
    )]
    #[inline(always)]
    pub fn fill<'a, A: QuickArgument<'a, D>>(
        &self,
        ShortFrame(frame): &mut ShortFrame,
        arguments: &(impl ExactSizeIterator<Item = A> + Clone),
    ) -> Option<usize> {
        if arguments.len() != self.steps.len() {
            return None;
        }
        let mut length = UNSET;
        let mut flags = A::PRIVATE;
        // `new` has checked the slots. The remainders, which change none of them, show the compiler that no bounds
        // need to be checked.
        for (step, argument) in self.steps.iter().zip(arguments.clone()) {
            let slot = match &step.kind {
                Kind::Vector {
                    dtype,
                    misaligned,
                    is_const,
                } => {
                    let vector = argument.vector(dtype)?;
                    // Comparisons without branches take less time than jumps.
                    let writeable = if *is_const { 0 } else { A::WRITEABLE };
                    let missing = !vector.flags & (A::CONTIGUOUS | writeable);
                    let is_aligned = vector.address & misaligned == 0 || vector.length == 0;
                    if missing != 0 || !is_aligned {
                        return None;
                    }
                    let given = vector.length as u64;
                    let expected = if length == UNSET { given } else { length };
                    if given != expected {
                        return None;
                    }
                    length = given;
                    flags &= vector.flags;
                    vector.address as u64
                }
                Kind::Float => argument.real(Float::Float)?,
                Kind::Number(number) => argument.number(*number)?,
            };
            *frame.get_mut(step.slot % ShortFrame::SLOTS)? = slot;
        }
        let Some((max, slot)) = self.length else {
            return Some(0);
        };
        if length > max {
            return None;
        }
        *frame.get_mut(slot % ShortFrame::SLOTS)? = length;
        for pair in &self.disjoint_pairs {
            // The size does not overflow: the elements exist, so that it does not exceed the memory.
            let range = |place: &Place| {
                let start = frame.get(place.slot % ShortFrame::SLOTS)?;
                Some((*start, length.wrapping_mul(place.itemsize as u64)))
            };
            let [one, other] = pair;
            if overlap(range(one)?, range(other)?) {
                return None;
            }
        }
        if flags & A::PRIVATE == 0 && self.may_alias(&arguments.clone())? {
            return None;
        }
        // The sum wraps only on 32-bit systems, if large arrays overlap.
        Some(self.itemsizes.wrapping_mul(usize::try_from(length).ok()?))
    }

    /// Returns whether two vectors that must not share a byte may do so at different addresses; `None` if it is not
    /// known.
    #[cold]
    #[inline(never)]
    fn may_alias<'a, A: QuickArgument<'a, D>>(
        &self,
        arguments: &(impl Iterator<Item = A> + Clone),
    ) -> Option<bool> {
        for pair in &self.disjoint_pairs {
            let [one, other] = pair.map(|place| arguments.clone().nth(place.step));
            if may_alias(one?, || other)? {
                return Some(true);
            }
        }
        Some(false)
    }
}
