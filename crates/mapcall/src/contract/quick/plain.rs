//! The quick check of plain numbers and arrays, all of them given.

use super::{QuickArgument, fits_slot, may_alias};
use crate::call::SmallFrame;
use crate::contract::Contract;
use crate::contract::dimension::{Dimension, UNSET, agrees};
use crate::contract::extent_rule::ExtentRule;
use crate::contract::memory::{Memory, overlap};
use crate::contract::number::Number;
use crate::contract::rule::{ArrayRule, MemoryRule, Rule};

/// The maximum number of extents.
const EXTENTS: usize = 4;

/// The maximum number of arrays.
const ARRAYS: usize = 4;

/// The maximum rank of an array.
const RANK: usize = 2;

/// A contract as a list of comparisons.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::call::SmallFrame;
/// use mapcall::contract::{Backing, Contract, Memory, Quick};
///
/// let contract = Contract::new(Prototype::parse("double sum(int n, const double x[n])")?)?;
/// let quick = Quick::new(&contract, |_| Some(())).unwrap();
/// let x = [1.0, 2.0, 3.0];
/// let mut frame = SmallFrame::default();
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
/// let with_text = Contract::new(Prototype::parse("size_t strlen(const char *s)")?)?;
/// assert!(Quick::new(&with_text, |_| Some(())).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `D` is the type of an array's dtype in the host language.
#[derive(Clone, Debug)]
pub struct Quick<D> {
    steps: Box<[Step<D>]>,
    /// The extents before the first array is read: the inferred ones, unset, then constants.
    extents: [u64; EXTENTS],
    inferred: Box<[Dimension]>,
    /// Pairs of arrays that must not share a byte.
    disjoint_pairs: Box<[(Span, Span)]>,
    /// The slot of the result.
    result: usize,
}

/// The check of one argument.
#[derive(Clone, Debug)]
struct Step<D> {
    /// The slot of the frame that it is passed in.
    slot: usize,
    kind: Kind<D>,
}

#[derive(Clone, Debug)]
enum Kind<D> {
    Number(Number),
    Array(Vector<D>),
}

/// An array of a filled frame.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// The slot of its address.
    slot: usize,
    /// Its index among the arrays.
    index: usize,
    /// Its index among the arguments.
    step: usize,
}

/// The rule of an array.
#[derive(Clone, Debug)]
struct Vector<D> {
    dtype: D,
    memory: MemoryRule,
    /// The index of the extent of each axis.
    axes: [usize; RANK],
    /// The index among the arrays.
    index: usize,
}

impl<D> Quick<D> {
    /// Makes the list for a contract, with the dtypes of its arrays by position; `None` if the contract
    /// needs the full check.
    pub fn new(contract: &Contract, dtype: impl Fn(usize) -> Option<D>) -> Option<Self> {
        let layout = &contract.layout;
        let dimensions = contract.inferred.len();
        if contract.derived.is_needed
            || layout.slots() > SmallFrame::SLOTS
            || dimensions > EXTENTS
            || !fits_slot(&contract.prototype.returns)
        {
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
                        let (index, extent) = constants.next()?;
                        *extent = value as u64;
                        Some(index)
                    };
                    let (index, dtype) = (arrays.len(), dtype(position)?);
                    let vector = Vector::new(rule, dtype, index, &mut constant)?;
                    arrays.push((position, steps.len()));
                    Kind::Array(vector)
                }
                _ => return None,
            };
            let slot = layout.parameter(position);
            steps.push(Step { slot, kind });
        }
        let span = |position: usize| {
            let index = arrays.iter().position(|&(other, _)| other == position)?;
            let (_, step) = *arrays.get(index)?;
            let slot = layout.parameter(position);
            Some(Span { slot, index, step })
        };
        let pairs = contract.disjoint_pairs.iter();
        let pairs = pairs.map(|&(one, other)| Some((span(one)?, span(other)?)));
        (arrays.len() <= ARRAYS).then_some(())?;
        Some(Self {
            steps: steps.into(),
            extents,
            inferred: contract.inferred.clone(),
            disjoint_pairs: pairs.collect::<Option<_>>()?,
            result: layout.result(),
        })
    }

    /// Returns the slots of the result in the frame of a finished call.
    #[must_use]
    #[inline]
    pub fn result<'a>(&self, frame: &'a SmallFrame) -> &'a [u64] {
        frame.0.get(self.result..).unwrap_or_default()
    }

    /// Fills a frame with the arguments. Returns the size of their arrays in bytes; `None` if an argument needs the full check.
    #[expect(
        clippy::inline_always,
        reason = "the call has one caller, and takes less time than a call"
    )]
    #[inline(always)]
    pub fn fill<'a, A: QuickArgument<'a, D>>(
        &self,
        SmallFrame(frame): &mut SmallFrame,
        arguments: &(impl ExactSizeIterator<Item = A> + Clone),
    ) -> Option<usize> {
        if arguments.len() != self.steps.len() {
            return None;
        }
        let mut extents = self.extents;
        let mut sizes = [0; ARRAYS];
        let mut nbytes = 0_usize;
        // `new` has checked all indices. The remainders, which change none of them, show the compiler that no
        // bounds need to be checked.
        for (step, argument) in self.steps.iter().zip(arguments.clone()) {
            let slot = match &step.kind {
                Kind::Number(number) => argument.number(*number)?,
                Kind::Array(vector) => {
                    let memory = argument.array(&vector.dtype)?;
                    let address = memory.address.expose_provenance();
                    let size = vector.size(&memory, address, &mut extents)?;
                    *sizes.get_mut(vector.index % ARRAYS)? = size as u64;
                    // The sum wraps only on 32-bit systems, if large arrays overlap.
                    nbytes = nbytes.wrapping_add(size);
                    address as u64
                }
            };
            *frame.get_mut(step.slot % SmallFrame::SLOTS)? = slot;
        }
        for (inferred, &extent) in self.inferred.iter().zip(&extents) {
            if extent > inferred.max {
                return None;
            }
            *frame.get_mut(inferred.slot % SmallFrame::SLOTS)? = extent;
        }
        for &(one, other) in &self.disjoint_pairs {
            let range = |span: Span| {
                let start = frame.get(span.slot % SmallFrame::SLOTS)?;
                Some((*start, *sizes.get(span.index % ARRAYS)?))
            };
            if overlap(range(one)?, range(other)?) {
                return None;
            }
            let argument = |span: Span| arguments.clone().nth(span.step);
            if may_alias(argument(one)?, || argument(other))? {
                return None;
            }
        }
        Some(nbytes)
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
        for (axis, extent) in axes.iter_mut().zip(rule.extents()) {
            *axis = match extent {
                ExtentRule::Dimension { dimension, .. } => *dimension,
                ExtentRule::Constant(value) => constant(*value)?,
                ExtentRule::Expression(_) | ExtentRule::Unknown => return None,
            };
        }
        Some(Self {
            dtype,
            memory: rule.memory,
            axes,
            index,
        })
    }

    /// Returns the size of an array in bytes; `None` if its memory or an extent needs the full check.
    #[inline]
    fn size(
        &self,
        memory: &Memory<'_>,
        address: usize,
        extents: &mut [u64; EXTENTS],
    ) -> Option<usize> {
        if !self.memory.accepts(memory, address) {
            return None;
        }
        let mut size = self.memory.itemsize;
        for (&axis, &length) in self.axes.iter().zip(memory.shape) {
            if !agrees(extents.get_mut(axis % EXTENTS)?, length as u64) {
                return None;
            }
            // This does not overflow: the elements exist, so that their size does not exceed the
            // memory.
            size = size.wrapping_mul(length);
        }
        Some(size)
    }
}
