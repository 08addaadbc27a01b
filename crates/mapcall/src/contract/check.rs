//! The checks of one call, and what they leave to be passed.

use mapcall_array::DType;
use mapcall_array::layout::Dims;

use super::Contract;
use super::alias::Aliases;
use super::broadcast::{BroadcastPlan, Operand};
use super::error::{ArgumentError, Problem};
use super::memory::Memory;
use super::number::{Number, integer_value};
use super::role::Role;
use super::rule::{ArrayRule, ExtentRule, Inferred, PointerRule, Rule};
use super::scalar::Scalar;
use crate::call::OperandKind;
use crate::ctype::{CType, Integer};
use crate::extent::Expr;

/// A dimension that nothing has told yet; no array has as many elements.
const UNSET: u64 = u64::MAX;

/// The arguments of one call, as they come.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::contract::{Backing, Check, Contract, Memory, Number, Role, Rule, Scalar};
///
/// let contract = Contract::new(Prototype::parse(
///     "void fill(size_t n, float value, float x[n], float twice[2 * n])",
/// )?)?;
/// let mut frame = vec![0; contract.words()];
/// let mut check = Check::new(&contract, &mut frame);
///
/// let Rule::Number(number) = contract.rules()[1] else { panic!() };
/// check.number(1, number, Scalar::Float(0.5))?;
/// let mut x = [0.0_f32; 5];
/// let memory = Memory {
///     address: x.as_mut_ptr().cast(),
///     shape: &[5],
///     strides: &[4],
///     is_contiguous: true,
///     is_writeable: true,
///     backing: Backing::Private,
/// };
/// check.array(2, contract.rules()[2].array().unwrap(), memory)?;
/// check.leave_out(3)?;
/// check.finish()?;
///
/// // What was left out is now known, and has to be allocated.
/// let output = check.output(0).unwrap();
/// assert_eq!((output.role, output.shape.as_slice()), (Role::Parameter(3), &[10][..]));
/// assert_eq!(frame[0], 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Parameters are told in their order; an inferred one only if the caller gave it. The dtype of an
/// array is checked before, by [`ArrayRule::check_dtype`] or by what amounts to it.
#[derive(Debug)]
pub struct Check<'a> {
    contract: &'a Contract,
    /// Where the parameters start in the frame.
    places: &'a [usize],
    frame: &'a mut [u64],
    /// The dimensions, as far as they are known.
    dimensions: &'a mut [u64],
    /// How many bytes each array has, by position.
    sizes: &'a mut [u64],
    nbytes: usize,
    later: Option<Box<Deferred>>,
    /// Whether arrays may have axes beyond their parameters'.
    broadcasts: bool,
    /// What has an item for each call, if it is a batch, though perhaps of one call.
    broadcast: Option<Box<BroadcastPlan>>,
    aliases: Aliases,
}

/// What has to be made for a call or a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The parameter, or the result of a batch.
    pub role: Role,
    /// The lengths of the axes, those of the batch first.
    pub shape: Dims<usize>,
    /// The batch's axes in the order in which they are to lie in memory, the outermost first; those
    /// of the parameter follow.
    pub order: Dims<usize>,
}

impl Output {
    /// The lengths of the axes as they follow each other in memory, and which of those each axis is: an
    /// array of such lengths, transposed so, is the output.
    ///
    /// ```
    /// use mapcall::contract::{Output, Role};
    ///
    /// let output = Output {
    ///     role: Role::Result,
    ///     shape: [2, 3, 4].into_iter().collect(),
    ///     order: [1, 0].into_iter().collect(),
    /// };
    /// let (lengths, axes) = output.in_memory();
    /// assert_eq!((lengths.as_slice(), axes.as_slice()), (&[3, 2, 4][..], &[1, 0, 2][..]));
    /// ```
    #[must_use]
    pub fn in_memory(&self) -> (Dims<usize>, Dims<usize>) {
        let core = self.order.len()..self.shape.len();
        let order: Dims<usize> = self.order.iter().copied().chain(core).collect();
        let length = |&axis: &usize| self.shape.get(axis).copied().unwrap_or(1);
        let lengths = order.iter().map(length).collect();
        let mut axes: Dims<usize> = (0..order.len()).collect();
        axes.sort_by_key(|&place| order.get(place).copied());
        (lengths, axes)
    }
}

/// What waits until all dimensions are known; most calls have nothing of it.
#[derive(Debug, Default)]
struct Deferred {
    /// Axes whose extent is an expression: position, axis, and the array's shape.
    extents: Vec<(usize, usize, Dims<usize>)>,
    /// What was left out, and its shape once that is known.
    outputs: Vec<(usize, Dims<usize>)>,
    /// Arrays for parameters without an extent.
    unmeasured: Vec<Operand>,
}

impl<'a> Check<'a> {
    /// Starts a call in [`Contract::words`] words, all 0: the frame, and room to work in.
    #[must_use]
    #[inline]
    pub fn new(contract: &'a Contract, words: &'a mut [u64]) -> Self {
        let (frame, rest) = words
            .split_at_mut_checked(contract.frame)
            .unwrap_or_default();
        let (dimensions, sizes) = rest
            .split_at_mut_checked(contract.inferred.len())
            .unwrap_or_default();
        dimensions.fill(UNSET);
        Self {
            contract,
            places: contract.trampoline.layout().parameters(),
            frame,
            dimensions,
            sizes,
            nbytes: 0,
            later: None,
            broadcasts: false,
            broadcast: None,
            aliases: Aliases::default(),
        }
    }

    /// The same for any number of calls: axes that an array has beyond its parameter's are those of
    /// a batch.
    ///
    /// See [`BroadcastPlan`] for an example.
    #[must_use]
    #[inline]
    pub fn broadcasting(contract: &'a Contract, words: &'a mut [u64]) -> Self {
        let mut check = Self::new(contract, words);
        check.broadcasts = true;
        check
    }

    /// The value of an inferred parameter, which the arrays must agree with.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] when it is no integer, or none that an extent can be.
    pub fn inferred(
        &mut self,
        position: usize,
        inferred: Inferred,
        value: Scalar,
    ) -> Result<(), Box<ArgumentError>> {
        let words = Number::Integer(inferred.integer).words(value);
        words.map_err(|problem| self.contract.refuse(position, problem))?;
        let length = match value {
            Scalar::Int(value) => isize::try_from(value)
                .ok()
                .and_then(|value| u64::try_from(value).ok()),
            Scalar::Bool(value) => Some(value.into()),
            _ => None,
        };
        let length =
            length.ok_or_else(|| self.contract.refuse(position, Problem::Range { value }))?;
        match self.dimensions.get_mut(inferred.dimension) {
            Some(known) if *known == UNSET || *known == length => *known = length,
            // An array that stands before has told another.
            Some(known) => {
                let expected = *known;
                let because = self.told_by(position, inferred.dimension);
                let problem = Problem::Disagrees {
                    value,
                    expected,
                    because,
                };
                return Err(self.contract.refuse(position, problem));
            }
            None => return Err(self.contract.refuse(position, Problem::NotInferred)),
        }
        Ok(())
    }

    /// A number.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] when the type doesn't have the value.
    #[inline]
    pub fn number(
        &mut self,
        position: usize,
        number: Number,
        value: Scalar,
    ) -> Result<(), Box<ArgumentError>> {
        let words = number
            .words(value)
            .map_err(|problem| self.contract.refuse(position, problem))?;
        match number.count() {
            1 => self.word(position, words[0]),
            count => self.words(position, words.get(..count).unwrap_or_default()),
        }
        Ok(())
    }

    /// A pointer, or anything else of one word that has been checked.
    #[inline]
    pub fn word(&mut self, position: usize, word: u64) {
        if let Some(place) = self
            .place(position)
            .and_then(|start| self.frame.get_mut(start))
        {
            *place = word;
        }
    }

    /// The bytes of a value that has been checked, as words.
    #[inline]
    pub fn words(&mut self, position: usize, words: &[u64]) {
        self.bytes(position, bytemuck::cast_slice(words));
    }

    /// An array of the right dtype.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] for the wrong rank, order, alignment, writeability or extent.
    #[inline]
    pub fn array(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        memory: Memory<'_>,
    ) -> Result<(), Box<ArgumentError>> {
        let item = match memory.shape.len().checked_sub(rule.rank()) {
            Some(extra @ 1..) if self.broadcasts => memory.item(extra, rule.itemsize()),
            _ => memory,
        };
        let address = item.address.expose_provenance();
        if item.shape.len() != rule.rank()
            || !item.is_contiguous
            || address & rule.misaligned != 0
            || !(item.is_writeable || rule.is_const)
        {
            return Err(self.unfit(Role::Parameter(position), rule, item));
        }
        let size = self.extents(position, rule, 0, item.shape)?;
        if memory.shape.len() > rule.rank() {
            self.push_operand(
                Role::Parameter(position),
                OperandKind::Pointer,
                rule,
                memory,
                size,
            )?;
        }
        self.aliases
            .add(Role::Parameter(position), &memory, rule.itemsize());
        self.nbytes = self.nbytes.saturating_add(size);
        if let Some(place) = self.sizes.get_mut(position) {
            *place = size as u64;
        }
        self.word(position, address as u64);
        Ok(())
    }

    /// Compares the last axes of a shape with the extents from the `first` one on; the size of so many
    /// elements in bytes.
    #[inline]
    fn extents(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        first: usize,
        shape: &[usize],
    ) -> Result<usize, Box<ArgumentError>> {
        let mut size = rule.itemsize();
        let known = shape.len().saturating_sub(rule.rank() - first);
        let lengths = shape.get(known..).unwrap_or_default();
        let extents = rule.extents.iter().enumerate().skip(first);
        for ((axis, extent), &length) in extents.zip(lengths) {
            // The elements are there, so that their bytes can't exceed the memory.
            size = size.wrapping_mul(length);
            let agrees = match extent {
                ExtentRule::Dimension { dimension, .. } => {
                    let known = self.dimensions.get_mut(*dimension);
                    known.is_some_and(|known| {
                        if *known == UNSET {
                            *known = length as u64;
                        }
                        *known == length as u64
                    })
                }
                ExtentRule::Constant(value) => *value == length,
                ExtentRule::Expression(_) | ExtentRule::Unknown => {
                    self.postpone(position, axis, shape)
                }
            };
            if !agrees {
                return Err(self.wrong_length(position, rule, axis, shape));
            }
        }
        Ok(size)
    }

    /// Numbers or structs of the right dtype, one for each call of a batch.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] for the wrong alignment, and where a single one is asked for.
    pub fn values(
        &mut self,
        position: usize,
        memory: Memory<'_>,
    ) -> Result<(), Box<ArgumentError>> {
        let contract = self.contract;
        let shape = || memory.shape.to_vec();
        let problem = match contract.scalar(position) {
            Some(rule) if self.broadcasts => {
                return self.one_a_call(Role::Parameter(position), rule, memory);
            }
            Some(_) => Problem::Rank {
                expected: 0,
                shape: shape(),
            },
            None => Problem::Measures { shape: shape() },
        };
        Err(contract.refuse(position, problem))
    }

    /// Where the results of a batch go: an array of the right dtype.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] for the wrong alignment or writeability, and if there are no results.
    pub fn result(&mut self, memory: Memory<'_>) -> Result<(), Box<ArgumentError>> {
        let contract = self.contract;
        let Some(rule) = contract.returned() else {
            return Err(self.unbatched());
        };
        self.one_a_call(Role::Result, rule, memory)
    }

    /// Which calls of a batch are made: an array of bytes, 0 for those that are left out.
    pub fn mask(&mut self, memory: Memory<'_>) {
        let axes = (memory.shape, memory.strides);
        let operand = Operand::new(
            Role::Mask,
            OperandKind::Constant,
            memory.address,
            axes,
            (1, false),
        );
        self.aliases.add(Role::Mask, &memory, 1);
        self.broadcast.get_or_insert_default().add(operand);
    }

    /// Whether arrays may have axes beyond their parameters'.
    pub(crate) fn is_broadcasting(&self) -> bool {
        self.broadcasts
    }

    /// Makes it a batch, even if nothing has axes for one.
    pub fn insist_on_batch(&mut self) {
        self.broadcast.get_or_insert_default();
    }

    fn one_a_call(
        &mut self,
        whose: Role,
        rule: &ArrayRule,
        memory: Memory<'_>,
    ) -> Result<(), Box<ArgumentError>> {
        if memory.address.addr() & rule.misaligned != 0 || !(memory.is_writeable || rule.is_const) {
            return Err(self.unfit(whose, rule, memory));
        }
        self.aliases.add(whose, &memory, rule.itemsize());
        self.push_operand(whose, OperandKind::Strided, rule, memory, rule.itemsize())
    }

    /// Notes where the items of a batch lie.
    fn push_operand(
        &mut self,
        whose: Role,
        kind: OperandKind,
        rule: &ArrayRule,
        memory: Memory<'_>,
        size: usize,
    ) -> Result<(), Box<ArgumentError>> {
        let extra = memory.shape.len().saturating_sub(rule.rank());
        let shape = memory.shape.get(..extra).unwrap_or_default();
        let strides = memory.strides.get(..extra).unwrap_or_default();
        let mut axes = shape.iter().zip(strides);
        let wrong = axes
            .find(|&(&length, stride)| length > 1 && stride.cast_unsigned() & rule.misaligned != 0);
        if let Some((_, &stride)) = wrong {
            let address = memory.address.addr().wrapping_add_signed(stride);
            let alignment = rule.alignment;
            let problem = Problem::Unaligned { address, alignment };
            return Err(self.contract.refuse_role(whose, problem));
        }
        let calls = shape.iter().copied().fold(1, usize::saturating_mul);
        self.nbytes = self
            .nbytes
            .saturating_add(size.saturating_mul(calls.saturating_sub(1)));
        let operand = Operand::new(
            whose,
            kind,
            memory.address,
            (shape, strides),
            (size, !rule.is_const),
        );
        self.broadcast.get_or_insert_default().add(operand);
        Ok(())
    }

    /// As [`Check::array`], but if the first extent isn't known, an array of any rank and strides whose
    /// last axes are the known ones: its address is passed, to one call.
    ///
    /// # Errors
    ///
    /// As [`Check::array`].
    pub fn array_unchecked(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        memory: Memory<'_>,
    ) -> Result<(), Box<ArgumentError>> {
        let mut extents = rule.extents.iter();
        let Some(last_unknown) = extents.rposition(|extent| *extent == ExtentRule::Unknown) else {
            return self.array(position, rule, memory);
        };
        let first = last_unknown + 1;
        let refuse = |problem| self.contract.refuse(position, problem);
        let Some(extra) = memory.shape.len().checked_sub(rule.rank() - first) else {
            return Err(refuse(Problem::Rank {
                expected: rule.rank(),
                shape: memory.shape.to_vec(),
            }));
        };
        if !memory.item(extra, rule.itemsize()).is_contiguous {
            return Err(refuse(not_contiguous(&memory)));
        }
        self.extents(position, rule, first, memory.shape)?;
        let itemsize = rule.itemsize();
        self.unmeasured(position, (rule.alignment, itemsize, rule.is_const), memory)
    }

    /// Memory for a pointer without an extent; its dtype has been checked.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] for the wrong order, alignment or writeability.
    pub fn pointer(
        &mut self,
        position: usize,
        rule: &PointerRule,
        memory: Memory<'_>,
    ) -> Result<(), Box<ArgumentError>> {
        if !memory.is_contiguous {
            return Err(self.contract.refuse(position, not_contiguous(&memory)));
        }
        self.pointer_unchecked(position, rule, memory)
    }

    /// As [`Check::pointer`], with any strides.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] for the wrong alignment or writeability.
    pub fn pointer_unchecked(
        &mut self,
        position: usize,
        rule: &PointerRule,
        memory: Memory<'_>,
    ) -> Result<(), Box<ArgumentError>> {
        let itemsize = rule.dtype.as_ref().map_or(0, DType::itemsize);
        self.unmeasured(position, (rule.alignment, itemsize, rule.is_const), memory)
    }

    /// Passes the address of an array, of which C knows no extent.
    fn unmeasured(
        &mut self,
        position: usize,
        (alignment, itemsize, is_const): (usize, usize, bool),
        memory: Memory<'_>,
    ) -> Result<(), Box<ArgumentError>> {
        let address = memory.address.expose_provenance();
        let mut axes = memory.shape.iter().zip(memory.strides);
        let is_aligned = address.is_multiple_of(alignment)
            && (memory.shape.contains(&0)
                || axes.all(|(&length, stride)| {
                    length == 1 || stride.unsigned_abs().is_multiple_of(alignment)
                }));
        if !is_aligned {
            let problem = Problem::Unaligned { address, alignment };
            return Err(self.contract.refuse(position, problem));
        }
        if !(memory.is_writeable || is_const) {
            return Err(self.contract.refuse(position, Problem::ReadOnly));
        }
        let role = Role::Parameter(position);
        self.nbytes = self.nbytes.saturating_add(memory.addresses(itemsize).len());
        self.aliases.add(role, &memory, itemsize);
        let axes = (memory.shape, memory.strides);
        let operand = Operand::new(
            role,
            OperandKind::Constant,
            memory.address,
            axes,
            (itemsize, !is_const),
        );
        let later = self.later.get_or_insert_default();
        later.unmeasured.push(operand);
        self.word(position, address as u64);
        Ok(())
    }

    /// The bytes of a value that has been checked, such as a struct's.
    pub fn bytes(&mut self, position: usize, bytes: &[u8]) {
        let words = self
            .place(position)
            .and_then(|start| self.frame.get_mut(start..));
        let words = words.unwrap_or_default();
        let place: &mut [u8] = bytemuck::cast_slice_mut(words);
        if let Some(place) = place.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// Nothing is given for a parameter: it is an output, or inferred.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] for any other.
    pub fn leave_out(&mut self, position: usize) -> Result<(), Box<ArgumentError>> {
        match self.contract.rules.get(position) {
            Some(Rule::Inferred(_)) => Ok(()),
            Some(Rule::Array(rule)) if rule.is_output() => {
                let later = self.later.get_or_insert_default();
                later.outputs.push((position, Dims::new()));
                Ok(())
            }
            Some(Rule::Array(ArrayRule {
                is_const: false, ..
            })) => Err(self.contract.refuse(position, Problem::Unmeasured)),
            Some(Rule::Pointer(rule)) if rule.is_array && !rule.is_const => {
                Err(self.contract.refuse(position, Problem::Unmeasured))
            }
            _ => Err(self.contract.refuse(position, Problem::Missing)),
        }
    }

    /// Everything has been told: the dimensions are known and passed, all extents are verified,
    /// and what must be apart is.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`].
    #[inline]
    pub fn finish(&mut self) -> Result<(), Box<ArgumentError>> {
        for (inferred, &known) in self.contract.inferred.iter().zip(&*self.dimensions) {
            if known > inferred.most {
                return Err(self.unfit_dimension(inferred.position, known));
            }
            if let Some(place) = self.frame.get_mut(inferred.place) {
                *place = known;
            }
        }
        if self.later.is_some() {
            self.evaluate()?;
        }
        if self.broadcast.is_some() {
            return self.settle_batch();
        }
        for &(one, other) in &self.contract.apart {
            if self.overlap(one, other) {
                let other = self.contract.name(other).to_owned();
                return Err(self.contract.refuse(one, Problem::Overlap { other }));
            }
        }
        Ok(())
    }

    /// The axes that the batch walks; the result that no array was given for is an output of it.
    #[cold]
    fn settle_batch(&mut self) -> Result<(), Box<ArgumentError>> {
        let contract = self.contract;
        let returns = contract.prototype.returns.resolved();
        if contract.returned.is_none() && *returns != CType::Void {
            return Err(self.unbatched());
        }
        let mut broadcast = self.broadcast.take().unwrap_or_default();
        for (position, rule) in contract.rules.iter().enumerate() {
            if let Some(rule) = rule.array()
                && !self.is_left_out(position)
                && !broadcast.has(Role::Parameter(position))
            {
                broadcast.add(self.fixed(position, rule));
            }
        }
        let unmeasured = self.later.iter().flat_map(|later| &later.unmeasured);
        // Of a `void *` not even the size of an element is known.
        for operand in unmeasured.filter(|operand| operand.size > 0) {
            broadcast.add_unmeasured(contract, operand)?;
        }
        let finished = broadcast.finish(contract, &self.aliases);
        self.broadcast = Some(broadcast);
        finished
    }

    /// An array that was given.
    fn operand(&self, position: usize) -> Option<Operand> {
        let mut unmeasured = self.later.iter().flat_map(|later| &later.unmeasured);
        let whose = Role::Parameter(position);
        if let Some(operand) = unmeasured.find(|operand| operand.role == whose) {
            return Some(operand.clone());
        }
        let rule = self.contract.rules.get(position)?.array()?;
        (!self.is_left_out(position)).then(|| self.fixed(position, rule))
    }

    /// An array that is the same for each call.
    fn fixed(&self, position: usize, rule: &ArrayRule) -> Operand {
        let word = self.given(position).unwrap_or_default();
        let address = usize::try_from(word).unwrap_or_default();
        let size = self.sizes.get(position).copied().unwrap_or_default();
        Operand::new(
            Role::Parameter(position),
            OperandKind::Pointer,
            std::ptr::with_exposed_provenance_mut(address),
            (&[], &[]),
            (usize::try_from(size).unwrap_or_default(), !rule.is_const),
        )
    }

    fn is_left_out(&self, position: usize) -> bool {
        let outputs = self.later.as_ref().map_or(&[][..], |later| &later.outputs);
        outputs.iter().any(|(other, _)| *other == position)
    }

    #[cold]
    fn unbatched(&self) -> Box<ArgumentError> {
        let returns = self.contract.prototype.returns.to_string();
        self.contract.refuse_all(Problem::Unbatched { returns })
    }

    /// Whether an array was left out, so that there is an output.
    #[must_use]
    #[inline]
    pub fn leaves_out(&self) -> bool {
        let later = self.later.as_ref();
        later.is_some_and(|later| !later.outputs.is_empty())
    }

    /// The outputs that were left out, one after the other; a batch's results are the first.
    #[must_use]
    pub fn output(&self, index: usize) -> Option<Output> {
        let broadcast = self.broadcast.as_deref();
        let is_made = broadcast.is_some_and(|broadcast| {
            self.contract.returned.is_some()
                && broadcast
                    .operands()
                    .iter()
                    .all(|operand| operand.role != Role::Result || operand.is_placed)
        });
        let (role, core) = match index.checked_sub(is_made.into()) {
            None => (Role::Result, &[][..]),
            Some(index) => {
                let (position, shape) = self.later.as_ref()?.outputs.get(index)?;
                (Role::Parameter(*position), &shape[..])
            }
        };
        let batch = broadcast.map_or(&[][..], BroadcastPlan::shape);
        Some(Output {
            role,
            shape: batch.iter().chain(core).copied().collect(),
            order: broadcast
                .map_or(&[][..], BroadcastPlan::order_of_axes)
                .into(),
        })
    }

    /// The loop of a batch, once it is finished; `None` for a single call.
    #[must_use]
    pub fn broadcast(&self) -> Option<&BroadcastPlan> {
        self.broadcast.as_deref()
    }

    /// The loop of a batch that is finished, to place outputs in; and the words of the frame.
    #[must_use]
    pub fn into_batch(self) -> Option<(Box<BroadcastPlan>, &'a [u64])> {
        let frame = self.frame;
        self.broadcast.map(|broadcast| (broadcast, &*frame))
    }

    /// How many bytes the arrays that were given have together.
    #[must_use]
    #[inline]
    pub fn nbytes(&self) -> usize {
        self.nbytes
    }

    #[inline]
    fn place(&self, position: usize) -> Option<usize> {
        self.places.get(position).copied()
    }

    /// The first word of a parameter.
    #[inline]
    fn given(&self, position: usize) -> Option<u64> {
        self.frame.get(self.place(position)?).copied()
    }

    #[inline]
    fn dimension(&self, index: usize) -> Option<usize> {
        let known = self.dimensions.get(index).copied();
        known
            .and_then(|length| isize::try_from(length).ok())
            .map(isize::cast_unsigned)
    }

    /// Whether two arrays share a byte, be it at different addresses.
    #[inline]
    fn overlap(&self, one: usize, other: usize) -> bool {
        let distances = self
            .aliases
            .distances(self.written(one), self.written(other));
        distances
            .into_iter()
            .any(|distance| self.overlap_at(one, other, distance))
    }

    /// A parameter, and whether the function writes there.
    fn written(&self, position: usize) -> (Role, bool) {
        let parameter = self.contract.prototype.parameters.get(position);
        let is_const = parameter.is_some_and(|parameter| parameter.is_const);
        (Role::Parameter(position), !is_const)
    }

    /// Whether two arrays share a byte once the other one has been moved.
    #[inline]
    fn overlap_at(&self, one: usize, other: usize, distance: isize) -> bool {
        if self.later.is_some()
            && let (Some(one), Some(other)) = (self.operand(one), self.operand(other))
        {
            return one.may_share(&other.moved(distance));
        }
        let span =
            |position: usize| Some((self.given(position)?, self.sizes.get(position).copied()?));
        let (Some((start, size)), Some((other_start, other_size))) = (span(one), span(other))
        else {
            // Without room to work in, nothing is known to be apart.
            return true;
        };
        let other_start = other_start.wrapping_add_signed(distance as i64);
        // A range of memory ends before the last address.
        size > 0
            && other_size > 0
            && start < other_start.wrapping_add(other_size)
            && other_start < start.wrapping_add(size)
    }

    /// Expressions, now that all they name is known.
    #[cold]
    fn evaluate(&mut self) -> Result<(), Box<ArgumentError>> {
        let Some(mut later) = self.later.take() else {
            return Ok(());
        };
        let values = self.integers();
        for (position, axis, shape) in &later.extents {
            let Some((rule, ExtentRule::Expression(expression))) = self.extent(*position, *axis)
            else {
                continue;
            };
            let expected = self.extent_value(*position, expression, &values)?;
            // Of an array that may have any rank, the last axes are the known ones.
            let length = shape.get((shape.len() + axis).saturating_sub(rule.rank()));
            if length != Some(&expected) {
                return Err(self.disagrees(*position, rule, *axis, expected, shape));
            }
        }
        for (position, shape) in &mut later.outputs {
            let Some(Rule::Array(rule)) = self.contract.rules.get(*position) else {
                continue;
            };
            for extent in &rule.extents {
                shape.push(match extent {
                    ExtentRule::Dimension { dimension, .. } => {
                        self.dimension(*dimension).unwrap_or_default()
                    }
                    ExtentRule::Constant(value) => *value,
                    ExtentRule::Expression(expression) => {
                        self.extent_value(*position, expression, &values)?
                    }
                    ExtentRule::Unknown => return Err(self.unbounded(*position)),
                });
            }
        }
        self.later = Some(later);
        Ok(())
    }

    /// A dimension that nothing tells, or that is more than its parameter can hold.
    #[cold]
    fn unfit_dimension(&self, position: usize, known: u64) -> Box<ArgumentError> {
        let problem = if known == UNSET {
            Problem::NotInferred
        } else {
            let value = Scalar::from(known);
            Problem::Range { value }
        };
        self.contract.refuse(position, problem)
    }

    fn extent(&self, position: usize, axis: usize) -> Option<(&'a ArrayRule, &'a ExtentRule)> {
        let rule = self.contract.rules.get(position)?.array()?;
        Some((rule, rule.extents.get(axis)?))
    }

    fn extent_value(
        &self,
        position: usize,
        expression: &Expr,
        values: &[Option<i128>],
    ) -> Result<usize, Box<ArgumentError>> {
        expression.evaluate(values).map_err(|error| {
            let extent = expression.to_string();
            self.contract
                .refuse(position, Problem::BadExtent { extent, error })
        })
    }

    /// The values of the integer parameters, by position.
    fn integers(&self) -> Vec<Option<i128>> {
        let rules = self.contract.rules.iter().enumerate();
        let value = |(position, rule): (usize, &Rule)| {
            let integer = match rule {
                Rule::Inferred(inferred) => inferred.integer,
                Rule::Number(Number::Integer(integer)) => *integer,
                Rule::Number(Number::Bool) => Integer::UChar,
                _ => return None,
            };
            Some(integer_value(integer, self.given(position)?))
        };
        rules.map(value).collect()
    }

    /// Keeps an axis whose extent is an expression for later; `false` if it has no extent.
    #[cold]
    fn postpone(&mut self, position: usize, axis: usize, shape: &[usize]) -> bool {
        let is_known = matches!(
            self.extent(position, axis),
            Some((_, ExtentRule::Expression(_)))
        );
        if is_known {
            let later = self.later.get_or_insert_default();
            later.extents.push((position, axis, shape.into()));
        }
        is_known
    }

    /// An axis whose length isn't what its extent says, if that says something.
    #[cold]
    fn wrong_length(
        &self,
        position: usize,
        rule: &ArrayRule,
        axis: usize,
        shape: &[usize],
    ) -> Box<ArgumentError> {
        let expected = match rule.extents.get(axis) {
            Some(ExtentRule::Dimension { dimension, .. }) => self.dimension(*dimension),
            Some(ExtentRule::Constant(value)) => Some(*value),
            _ => None,
        };
        match expected {
            Some(expected) => self.disagrees(position, rule, axis, expected, shape),
            None => self.unbounded(position),
        }
    }

    #[cold]
    fn unbounded(&self, position: usize) -> Box<ArgumentError> {
        let found = "an array".into();
        self.contract.refuse(position, Problem::Unbounded { found })
    }

    #[cold]
    fn unfit(&self, whose: Role, rule: &ArrayRule, memory: Memory<'_>) -> Box<ArgumentError> {
        let shape = memory.shape.to_vec();
        let problem = if matches!(whose, Role::Parameter(position) if self.contract.scalar(position).is_none())
            && shape.len() != rule.rank()
        {
            Problem::Rank {
                expected: rule.rank(),
                shape,
            }
        } else if !memory.is_contiguous && rule.rank() > 0 {
            Problem::NotContiguous {
                shape,
                strides: memory.strides.to_vec(),
            }
        } else if memory.is_writeable || rule.is_const {
            Problem::Unaligned {
                address: memory.address.addr(),
                alignment: rule.alignment,
            }
        } else {
            Problem::ReadOnly
        };
        self.contract.refuse_role(whose, problem)
    }

    #[cold]
    fn disagrees(
        &self,
        position: usize,
        rule: &ArrayRule,
        axis: usize,
        expected: usize,
        shape: &[usize],
    ) -> Box<ArgumentError> {
        let extent = rule.extents.get(axis);
        let because = match extent {
            Some(ExtentRule::Dimension { dimension, .. }) => self.told_by(position, *dimension),
            _ => None,
        };
        let problem = Problem::Extent {
            axis,
            extent: extent.map_or_else(String::new, ExtentRule::to_string),
            expected,
            because,
            shape: shape.to_vec(),
        };
        self.contract.refuse(position, problem)
    }

    /// The array that told a dimension: the first one before `position` that was given.
    fn told_by(&self, position: usize, dimension: usize) -> Option<String> {
        let names_it = |extent: &ExtentRule| matches!(extent, ExtentRule::Dimension { dimension: other, .. } if *other == dimension);
        let before = self.contract.rules.iter().enumerate().take(position);
        before
            .filter(|(_, rule)| {
                rule.array()
                    .is_some_and(|rule| rule.extents.iter().any(names_it))
            })
            .find(|(other, _)| !self.is_left_out(*other))
            .map(|(other, _)| self.contract.name(other).to_owned())
    }
}

fn not_contiguous(memory: &Memory<'_>) -> Problem {
    Problem::NotContiguous {
        shape: memory.shape.to_vec(),
        strides: memory.strides.to_vec(),
    }
}
