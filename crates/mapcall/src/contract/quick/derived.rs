//! A contract in which more than lengths has to be derived, as a list of comparisons and derivations.

use crate::call::SmallFrame;
use crate::contract::array_layout::ArrayLayout;
use crate::contract::dimension::agrees;
use crate::contract::memory::Memory;
use crate::contract::number::Number;
use crate::contract::rule::MemoryRule;
use crate::extent::Expr;

/// The maximum number of extents: the inferred ones, constants, and expressions.
pub(super) const EXTENTS: usize = 12;

/// The maximum number of arrays.
pub(super) const ARRAYS: usize = 8;

/// The maximum rank of an array.
pub(super) const RANK: usize = 4;

/// The maximum number of copies of numbers that are passed by reference.
pub(super) const COPIES: usize = 8;

/// A contract as a list of comparisons and derivations.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::{Backing, Contract, Memory, QuickCall, QuickDerived};
///
/// let text = "double sum(const int *n, const double x[*n], int info[1])";
/// let contract = Contract::new(Prototype::parse(text)?)?;
/// let quick = QuickDerived::new(&contract, |_| Some(())).unwrap();
/// let x = [1.0, 2.0, 3.0];
/// let memory = Memory {
///     address: x.as_ptr().cast_mut().cast(),
///     shape: &[3],
///     strides: &[8],
///     is_contiguous: true,
///     is_writeable: true,
///     is_shared: false,
///     backing: Backing::Private,
/// };
/// let mut call = QuickCall::new(&quick);
/// assert_eq!(call.fill(&[memory].into_iter()), Some(24));
///
/// // The output was left out, and has to be allocated.
/// let output = call.output(0).unwrap();
/// assert_eq!(output.shape[..], [1]);
/// let mut info = [0];
/// call.place(0, info.as_mut_ptr().cast()).unwrap();
/// assert!(call.output(1).is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `D` is the type of an array's dtype in the host language.
#[derive(Clone, Debug)]
pub struct QuickDerived<D> {
    /// One step for each argument, in their order.
    pub(super) steps: Box<[Step<D>]>,
    /// The steps of the arrays that are allocated if they are left out.
    pub(super) outputs: Box<[usize]>,
    /// The number of arguments that can't be left out.
    pub(super) required: usize,
    /// The extents before the first array is read: the inferred ones, unset; constants; expressions, unset.
    pub(super) extents: [u64; EXTENTS],
    pub(super) inferred: Box<[Inferred]>,
    pub(super) strides: Box<[Stride]>,
    /// The numbers that are passed by reference: the slot of the address, and the index of the copy.
    pub(super) references: Box<[(usize, usize)]>,
    /// `None` if no number depends on an expression.
    pub(super) numbers: Option<Box<Numbers>>,
    /// Pairs of arrays that must not share a byte, by their steps.
    pub(super) disjoint_pairs: Box<[(usize, usize)]>,
    /// The slot of the result.
    pub(super) result: usize,
}

/// The check of one argument.
#[derive(Clone, Debug)]
pub(super) struct Step<D> {
    pub(super) position: usize,
    /// The slot of the frame that it is passed in.
    pub(super) slot: usize,
    /// The index among the arguments that can't be left out; `None` for one that can.
    pub(super) required: Option<usize>,
    pub(super) kind: Kind<D>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind<D> {
    Number(Number, Destination),
    Text,
    Array(Vector<D>),
    /// A number that C reads and writes: an output that holds an extent at first.
    InOut(usize),
}

/// The rule of an array.
#[derive(Clone, Debug)]
pub(super) struct Vector<D> {
    pub(super) dtype: D,
    pub(super) memory: MemoryRule,
    pub(super) layout: Option<ArrayLayout>,
    /// The index of the extent of each axis.
    pub(super) axes: Box<[usize]>,
    /// The index of the extent that is the distance between rows.
    pub(super) stride: Option<usize>,
    /// The index among the arrays.
    pub(super) index: usize,
    pub(super) is_nullable: bool,
    /// Whether a text is accepted, whose bytes are the elements.
    pub(super) takes_text: bool,
    /// The type of a number that is accepted in place of the array, and the index of its copy.
    pub(super) number: Option<(Number, usize)>,
}

/// An inferred number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inferred {
    pub(super) max: u64,
    pub(super) destination: Option<Destination>,
}

/// The place of a number's value: a slot of the frame, or a copy whose address is passed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Destination {
    Slot(usize),
    Copy(usize),
}

/// The condition for the distance between the rows of an array.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stride {
    /// The index of the extent that is the distance.
    pub(super) extent: usize,
    /// The index of the extent that is the length of a row; `None` for vectors.
    pub(super) row: Option<usize>,
    /// The index of the array's step.
    pub(super) step: usize,
    pub(super) is_nullable: bool,
}

/// The conditions that are expressions.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    /// The integers that expressions name: position and value.
    pub(super) sources: Vec<(usize, Source)>,
    /// The numbers that equal an expression: each follows those that its expression names.
    pub(super) equal: Vec<(usize, Expr, Source)>,
    /// The extents that are expressions: index and expression.
    pub(super) extents: Vec<(usize, Expr)>,
    /// The numbers with bounds.
    pub(super) bounded: Vec<(usize, Source, [Expr; 2])>,
}

/// The source of a number's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    Extent(usize),
    Number(Number, Destination),
}

/// The values of the integer parameters, by position.
pub(super) type Values = [Option<i128>; SmallFrame::SLOTS];

impl<D> Vector<D> {
    /// Checks the memory of an array, and compares its axes with the extents. Returns its size in bytes; `None`
    /// if it needs the full check.
    #[inline]
    pub(super) fn size(
        &self,
        memory: &Memory<'_>,
        address: usize,
        extents: &mut [u64; EXTENTS],
    ) -> Option<usize> {
        let itemsize = self.memory.itemsize;
        if let Some(layout) = &self.layout {
            let is_fit = memory.shape.len() == self.memory.rank
                && self.memory.accepts_scalars(memory, address)
                // The strides of an array with the layout are multiples of the size of an element.
                && (itemsize & self.memory.misaligned == 0
                    || memory.has_aligned_strides(self.memory.misaligned));
            if !is_fit {
                return None;
            }
            if let (Some(leading), Some(stride)) =
                (layout.leading(memory, itemsize).ok()?, self.stride)
                && !agrees(extents.get_mut(stride)?, leading as u64)
            {
                return None;
            }
        } else if !self.memory.accepts(memory, address) {
            return None;
        }
        let mut size = itemsize;
        for (&axis, &length) in self.axes.iter().zip(memory.shape) {
            if !agrees(extents.get_mut(axis)?, length as u64) {
                return None;
            }
            // This does not overflow: the elements exist, so that their size does not exceed the memory.
            size = size.wrapping_mul(length);
        }
        Some(size)
    }

    /// Compares the length of a text with the extent. Returns its size in bytes, without the NUL.
    #[inline]
    pub(super) fn text_size(&self, text: &[u8], extents: &mut [u64; EXTENTS]) -> Option<u64> {
        let size = text.len().saturating_sub(1) as u64;
        agrees(extents.get_mut(*self.axes.first()?)?, size).then_some(size)
    }
}
