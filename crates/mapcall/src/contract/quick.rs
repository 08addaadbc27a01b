//! The usual call in few steps: plain numbers and arrays, everything given.
//!
//! A call of a small kernel takes less time than a careful look at its arguments. So where a
//! prototype has only numbers and arrays with simple extents, the contract is also kept as a flat list
//! of comparisons, which accepts a call or declines it. What it declines, [`Check`](super::Check)
//! looks at again, which knows every rule, and what to say.

use mapcall_array::Backing;

use super::memory::Memory;
use super::number::Number;
use super::rule::{ArrayRule, ExtentRule, Rule};
use super::{Contract, Dimension};
use crate::ctype::CType;

/// The most extents and the most arrays.
const EXTENTS: usize = 4;
const ARRAYS: usize = 4;

/// The most axes of an array.
const RANK: usize = 2;

/// An extent that no array has told yet; more than any array's length.
const UNSET: u64 = u64::MAX;

/// A contract as a list of comparisons.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::{Backing, Contract, Memory, Quick, QuickFrame};
///
/// let contract = Contract::new(Prototype::parse("double sum(int n, const double x[n])")?)?;
/// let quick = Quick::new(&contract, |_| Some(())).unwrap();
/// let x = [1.0, 2.0, 3.0];
/// let mut frame = QuickFrame::default();
/// let memory = Memory {
///     address: x.as_ptr().cast_mut().cast(),
///     shape: &[3],
///     strides: &[8],
///     is_contiguous: true,
///     is_writeable: false,
///     backing: Backing::Private,
/// };
/// let bytes = quick.fill(&mut frame, &[memory].into_iter());
/// assert_eq!((bytes, frame[0]), (Some(24), 3));
///
/// let with_text = Contract::new(Prototype::parse("size_t strlen(const char *s)")?)?;
/// assert!(Quick::new(&with_text, |_| Some(())).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `D` is the type of an array's dtype in the host language.
#[derive(Clone, Debug)]
pub struct Quick<D> {
    steps: Box<[Step<D>]>,
    /// What the extents are before any array is seen: constants, and the others unset.
    extents: [u64; EXTENTS],
    inferred: Box<[Dimension]>,
    /// Arrays that must not share a byte.
    apart: Box<[(Span, Span)]>,
    /// The word of the frame where the result is.
    result: usize,
}

/// What is done with one argument.
#[derive(Clone, Debug)]
struct Step<D> {
    /// The word of the frame.
    place: usize,
    /// What it must be.
    kind: Kind<D>,
}

#[derive(Clone, Debug)]
enum Kind<D> {
    Number(Number),
    Array(Vector<D>),
}

/// Where the memory of an array is found once the frame is filled.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// The word of the frame that has its address.
    place: usize,
    /// Which of the arrays it is.
    index: usize,
    /// Which of the arguments.
    step: usize,
}

/// An array's rule, ready to be compared.
#[derive(Clone, Debug)]
struct Vector<D> {
    dtype: D,
    itemsize: usize,
    misaligned: usize,
    is_const: bool,
    rank: usize,
    /// Which extent each axis has.
    axes: [usize; RANK],
    /// Which of the arrays it is.
    index: usize,
}

/// An argument as its caller has it; `None` where it isn't what is asked for.
pub trait QuickArgument<'a, D> {
    /// The word of a number, from [`Number::word_of_real`] or [`Number::word_of_integer`].
    fn number(self, number: Number) -> Option<u64>;

    /// An array of that dtype; what it lies in need not be said.
    fn array(self, dtype: &D) -> Option<Memory<'a>>;

    /// What an array lies in.
    fn backing(self) -> Backing<'a>;
}

impl<'a> QuickArgument<'a, ()> for Memory<'a> {
    #[inline]
    fn number(self, _: Number) -> Option<u64> {
        None
    }

    #[inline]
    fn array(self, (): &()) -> Option<Memory<'a>> {
        Some(self)
    }

    #[inline]
    fn backing(self) -> Backing<'a> {
        self.backing
    }
}

/// The words of the largest frame.
const WORDS: usize = 16;

/// The frame of such a call; 0 before it is filled.
pub type QuickFrame = [u64; WORDS];

impl<D> Quick<D> {
    /// The list for a contract, and the dtypes of its arrays by position; `None` where it needs more than
    /// a list.
    pub fn new(contract: &Contract, dtype: impl Fn(usize) -> Option<D>) -> Option<Self> {
        let layout = contract.trampoline.layout();
        let dimensions = contract.inferred.len();
        if layout.words() > WORDS || dimensions > EXTENTS || !is_word(&contract.prototype.returns) {
            return None;
        }
        let mut extents = [UNSET; EXTENTS];
        let mut constants = extents.iter_mut().enumerate().skip(dimensions);
        let mut steps = Vec::new();
        let mut arrays = Vec::new();
        for (position, rule) in contract.rules.iter().enumerate() {
            let kind = match rule {
                Rule::Inferred(_) => continue,
                Rule::Number(number) if number.count() == 1 => Kind::Number(*number),
                Rule::Array(rule) => {
                    let mut constant = |value: usize| {
                        let (index, place) = constants.next()?;
                        *place = value as u64;
                        Some(index)
                    };
                    let (index, dtype) = (arrays.len(), dtype(position)?);
                    let vector = Vector::new(rule, dtype, index, &mut constant)?;
                    arrays.push((position, steps.len()));
                    Kind::Array(vector)
                }
                _ => return None,
            };
            let place = layout.parameter(position);
            steps.push(Step { place, kind });
        }
        let span = |position: usize| {
            let index = arrays.iter().position(|&(other, _)| other == position)?;
            let (_, step) = *arrays.get(index)?;
            let place = layout.parameter(position);
            Some(Span { place, index, step })
        };
        let apart = contract.apart.iter();
        let apart = apart.map(|&(one, other)| Some((span(one)?, span(other)?)));
        (arrays.len() <= ARRAYS).then_some(())?;
        Some(Self {
            steps: steps.into(),
            extents,
            inferred: contract.inferred.clone(),
            apart: apart.collect::<Option<_>>()?,
            result: layout.result(),
        })
    }

    /// The words of the frame where the call leaves its result.
    #[must_use]
    #[inline]
    pub fn result<'a>(&self, frame: &'a QuickFrame) -> &'a [u64] {
        frame.get(self.result..).unwrap_or_default()
    }

    /// Fills a frame with the arguments, and says how many bytes their arrays have together; `None`
    /// where something doesn't fit.
    #[inline]
    pub fn fill<'a, A: QuickArgument<'a, D>>(
        &self,
        frame: &mut QuickFrame,
        arguments: &(impl ExactSizeIterator<Item = A> + Clone),
    ) -> Option<usize> {
        if arguments.len() != self.steps.len() {
            return None;
        }
        let mut extents = self.extents;
        let mut sizes = [0; ARRAYS];
        let mut nbytes = 0_usize;
        for (step, argument) in self.steps.iter().zip(arguments.clone()) {
            let word = match &step.kind {
                Kind::Number(number) => argument.number(*number)?,
                Kind::Array(vector) => {
                    let memory = argument.array(&vector.dtype)?;
                    let address = memory.address.expose_provenance();
                    let size = vector.size(&memory, address, &mut extents)?;
                    *sizes.get_mut(vector.index)? = size as u64;
                    // As below: no array exceeds the memory, nor do four.
                    nbytes = nbytes.wrapping_add(size);
                    address as u64
                }
            };
            *frame.get_mut(step.place)? = word;
        }
        for (inferred, &extent) in self.inferred.iter().zip(&extents) {
            if extent > inferred.most {
                return None;
            }
            *frame.get_mut(inferred.place)? = extent;
        }
        for &(one, other) in &self.apart {
            let start = *frame.get(one.place)?;
            let other_start = *frame.get(other.place)?;
            // A range of memory ends before the last address.
            let are_apart = start.wrapping_add(*sizes.get(one.index)?) <= other_start
                || other_start.wrapping_add(*sizes.get(other.index)?) <= start;
            if !are_apart {
                return None;
            }
            let backing = |span: Span| Some(arguments.clone().nth(span.step)?.backing());
            let one = backing(one)?;
            if !matches!(one, Backing::Private) && one.may_alias(&backing(other)?) {
                return None;
            }
        }
        Some(nbytes)
    }
}

/// Whether a result takes at most a word, so that the frame needs no more than a word's alignment.
fn is_word(returns: &CType) -> bool {
    match Number::of(returns) {
        Some(number) => number.count() == 1,
        None => matches!(returns.resolved(), CType::Void | CType::Pointer(_)),
    }
}

impl<D> Vector<D> {
    fn new(
        rule: &ArrayRule,
        dtype: D,
        index: usize,
        constant: &mut impl FnMut(usize) -> Option<usize>,
    ) -> Option<Self> {
        let mut axes = [0; RANK];
        if rule.rank() > RANK {
            return None;
        }
        for (axis, extent) in axes.iter_mut().zip(&rule.extents) {
            *axis = match extent {
                ExtentRule::Dimension { dimension, .. } => *dimension,
                ExtentRule::Constant(value) => constant(*value)?,
                ExtentRule::Expression(_) | ExtentRule::Unknown => return None,
            };
        }
        Some(Self {
            dtype,
            itemsize: rule.itemsize(),
            misaligned: rule.misaligned,
            is_const: rule.is_const,
            rank: rule.rank(),
            axes,
            index,
        })
    }

    /// The size in bytes of an array that fits.
    #[inline]
    fn size(
        &self,
        memory: &Memory<'_>,
        address: usize,
        extents: &mut [u64; EXTENTS],
    ) -> Option<usize> {
        if memory.shape.len() != self.rank
            || !memory.is_contiguous
            || address & self.misaligned != 0
            || !(memory.is_writeable || self.is_const)
        {
            return None;
        }
        let mut size = self.itemsize;
        for (&axis, &length) in self.axes.iter().zip(memory.shape) {
            let extent = extents.get_mut(axis)?;
            if *extent == UNSET {
                *extent = length as u64;
            } else if *extent != length as u64 {
                return None;
            }
            // The elements are there, so that their bytes can't exceed the memory.
            size = size.wrapping_mul(length);
        }
        Some(size)
    }
}
