//! The check of one call: from values of the host language to the slots of a frame.

mod array;
mod batch;
mod conversion;
mod explain;
mod extents;
mod numbers;
mod overlap;

use std::ops::Range;

use mapcall_array::layout::Dims;

use super::Contract;
use super::alias::Aliases;
use super::broadcast::{BroadcastPlan, Operand};
use super::convert::check_pointer;
use super::dimension::UNSET;
use super::error::{ArgumentError, Problem, Remedy};
use super::host_value::HostValue;
use super::memory::Memory;
use super::output::Output;
use super::role::Role;
use super::rule::{ArrayRule, Rule};
use mapcall_array::DType;

/// The check of the arguments of one call, or of one batch of calls.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::array::DType;
/// use mapcall::contract::{Backing, Check, Contract, HostValue, Memory, Role, Scalar};
///
/// let contract = Contract::new(Prototype::parse(
///     "void fill(size_t n, float value, float x[n], float twice[2 * n])",
/// )?)?;
/// let mut slots = vec![0; contract.slots()];
/// let mut check = Check::new(&contract, &mut slots);
///
/// check.argument(Role::Parameter(1), HostValue::Number(Scalar::Float(0.5)))?;
/// let mut x = [0.0_f32; 5];
/// let memory = Memory {
///     address: x.as_mut_ptr().cast(),
///     shape: &[5],
///     strides: &[4],
///     is_contiguous: true,
///     is_writeable: true,
///     is_shared: false,
///     backing: Backing::Private,
/// };
/// check.argument(Role::Parameter(2), HostValue::Array { memory, dtype: Ok(&DType::F32) })?;
/// check.argument(Role::Parameter(3), HostValue::Omitted)?;
/// check.finish()?;
///
/// // The shape of the omitted array is known now; it has to be allocated.
/// let output = check.output(0).unwrap();
/// assert_eq!((output.role, output.shape.as_slice()), (Role::Parameter(3), &[10][..]));
/// assert_eq!(slots[0], 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Arguments are given in the order of the parameters; inferred ones may be left out.
#[derive(Debug)]
pub struct Check<'a> {
    contract: &'a Contract,
    /// The index of each parameter's first slot in the frame.
    starts: &'a [usize],
    frame: &'a mut [u64],
    /// The inferred extents, `UNSET` until they are known.
    dimensions: &'a mut [u64],
    /// The sizes of arrays in bytes, by position.
    sizes: &'a mut [u64],
    /// The copies of numbers that are passed by reference.
    references: &'a mut [u64],
    nbytes: usize,
    deferred: Option<Box<Deferred>>,
    /// Whether arrays may have more axes than their parameters.
    is_broadcasting: bool,
    /// Whether pointers take arrays without an extent.
    is_unchecked: bool,
    /// Whether arrays that do not fit are converted.
    converts: bool,
    /// The operands of a batch, `None` for a single call.
    broadcast: Option<Box<BroadcastPlan>>,
    aliases: Aliases,
}

/// The checks that wait until all extents are known. Most calls have none.
#[derive(Debug, Default)]
struct Deferred {
    /// Axes whose extent is an expression: position, axis, and the array's shape.
    extents: Vec<(usize, usize, Dims<usize>)>,
    /// The outputs that were omitted: position, and shape once it is known.
    outputs: Vec<(usize, Dims<usize>)>,
    /// Arrays for parameters without an extent.
    unmeasured: Vec<Operand>,
    /// Arrays of one call that are not contiguous.
    strided: Vec<Operand>,
    /// Arrays of one call that are converted.
    converted: Vec<Operand>,
    /// The distances between rows, in elements, that an expression must equal: position and distance.
    strides: Vec<(usize, usize)>,
    /// The values that were given for numbers that equal an expression, by position.
    given: Vec<(usize, i128)>,
}

impl<'a> Check<'a> {
    /// Starts the check of one call. `slots` has [`Contract::slots`] slots, all 0: those of the frame,
    /// then the working space.
    #[must_use]
    #[inline]
    pub fn new(contract: &'a Contract, slots: &'a mut [u64]) -> Self {
        let (frame, rest) = slots
            .split_at_mut_checked(contract.layout.slots())
            .unwrap_or_default();
        let start = contract.reference_start() - contract.layout.slots();
        let (rest, references) = rest.split_at_mut_checked(start).unwrap_or_default();
        let (dimensions, sizes) = rest
            .split_at_mut_checked(contract.inferred.len())
            .unwrap_or_default();
        dimensions.fill(UNSET);
        Self {
            contract,
            starts: contract.layout.parameters(),
            frame,
            dimensions,
            sizes,
            references,
            nbytes: 0,
            deferred: None,
            is_broadcasting: false,
            is_unchecked: false,
            converts: false,
            broadcast: None,
            aliases: Aliases::default(),
        }
    }

    /// Starts the check of any number of calls: the axes that arrays have beyond those of their
    /// parameters are the axes of a batch.
    ///
    /// See [`BroadcastPlan`] for an example.
    #[must_use]
    #[inline]
    pub fn broadcasting(contract: &'a Contract, slots: &'a mut [u64]) -> Self {
        Self {
            is_broadcasting: true,
            ..Self::new(contract, slots)
        }
    }

    /// Accepts arrays, and pointers made by other libraries, for pointers without an extent, if
    /// `is_unchecked`.
    #[must_use]
    #[inline]
    pub fn unchecked(self, is_unchecked: bool) -> Self {
        Self {
            is_unchecked,
            ..self
        }
    }

    /// Checks the value for a parameter, for the result of a batch or for its mask, and writes the
    /// parameter's slots.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] if the prototype does not allow the value. Conditions that depend on other
    /// arguments are checked by [`finish`](Self::finish).
    #[inline]
    pub fn argument(&mut self, role: Role, value: HostValue<'_>) -> Result<(), Box<ArgumentError>> {
        if let HostValue::Array { memory, .. } = &value
            && memory.backing.is_closed()
        {
            return Err(self.contract.refuse_role(role, Problem::ClosedMap));
        }
        let Role::Parameter(position) = role else {
            return self.batch_argument(role, value);
        };
        let contract = self.contract;
        let refuse = |problem| contract.refuse(position, problem);
        let Some(rule) = contract.rules.get(position) else {
            return Ok(());
        };
        let is_none = matches!(value, HostValue::None);
        let value = match (rule, value) {
            (Rule::Array(rule), HostValue::Null) if rule.is_nullable() => HostValue::Omitted,
            (Rule::Array(_) | Rule::InOut(_), HostValue::None) => HostValue::Omitted,
            (
                Rule::Text | Rule::Pointer(_) | Rule::Function(_),
                HostValue::None | HostValue::Null,
            ) if contract.is_nonnull(position) => {
                return Err(refuse(Problem::Null));
            }
            (Rule::Array(_) | Rule::InOut(_), HostValue::File) if self.is_broadcasting => {
                HostValue::Omitted
            }
            (_, value) => value,
        };
        let may_be_annotated = !matches!(rule, Rule::Number(_) | Rule::Inferred(_) | Rule::Text);
        if may_be_annotated && let Some(checked) = self.annotated(position, rule, value) {
            return checked;
        }
        match (rule, value) {
            (_, HostValue::Omitted) => self.omit(position, rule, is_none),
            (Rule::Array(rule), HostValue::Array { memory, dtype }) => {
                if self.converts
                    && let Some(converted) = self.conversion(role, rule, &memory, dtype)?
                {
                    return self.convert(role, rule, memory, converted);
                }
                let checked = self.array_of_dtype(position, rule, memory, dtype);
                checked.map_err(|error| self.with_conversion(error, role, rule, &memory, dtype))
            }
            (Rule::Inferred(inferred), HostValue::Number(value)) => {
                self.extent(position, *inferred, value)
            }
            (Rule::Inferred(_), HostValue::HugeNumber(found)) => {
                let remedy = Remedy::Omit;
                let found = found.to_owned();
                Err(refuse(Problem::Type { found, remedy }))
            }
            (
                Rule::Inferred(_)
                | Rule::Derived(_)
                | Rule::Number(_)
                | Rule::Reference(_)
                | Rule::Record { .. },
                HostValue::Array { memory, dtype },
            ) if self.is_broadcasting => self.scalars(position, memory, dtype),
            (Rule::Pointer(pointer), HostValue::Array { memory, dtype }) => {
                check_pointer(pointer, value, self.is_unchecked).map_err(refuse)?;
                self.refuse_shared(role, &memory, pointer.is_const)?;
                pointer.check_dtype(dtype).map_err(refuse)?;
                self.unmeasured(position, pointer, memory)
            }
            (Rule::Text, HostValue::Array { memory, dtype }) if self.is_unchecked => {
                let Some(pointer) = rule.pointer() else {
                    return Ok(());
                };
                pointer.check_dtype(dtype).map_err(refuse)?;
                self.unmeasured(position, pointer, memory)
            }
            (
                Rule::Array(_)
                | Rule::Inferred(_)
                | Rule::InOut(_)
                | Rule::Derived(_)
                | Rule::Reference(_),
                value,
            ) => Err(refuse(rule.wrong_kind(value, self.is_unchecked))),
            (rule, value) => {
                let start = self.start(position);
                let slots = start.and_then(|start| self.frame.get_mut(start..));
                rule.convert(value, self.is_unchecked, slots.unwrap_or_default())
                    .map_err(refuse)
            }
        }
    }

    /// Checks an array, and its dtype.
    #[inline]
    fn array_of_dtype(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        memory: Memory<'_>,
        dtype: Result<&DType, &str>,
    ) -> Result<(), Box<ArgumentError>> {
        let fits = rule.check_dtype(dtype);
        fits.map_err(|problem| self.contract.refuse(position, problem))?;
        self.refuse_shared(Role::Parameter(position), &memory, rule.is_const())?;
        if rule.is_sized() {
            let itemsize = dtype.map_or(1, DType::itemsize);
            self.buffer(position, rule, memory, itemsize)
        } else if rule.layout.is_some() {
            self.laid_out(position, rule, memory)
        } else if self.is_unchecked {
            self.array_of_any_rank(position, rule, memory)
        } else {
            self.array(position, rule, memory)
        }
    }

    /// Checks a value that a parameter takes by its annotations: a number that is derived or passed by
    /// reference, a text for an array, a handle for one in an unchecked call. Returns `None` for others.
    fn annotated(
        &mut self,
        position: usize,
        rule: &Rule,
        value: HostValue<'_>,
    ) -> Option<Result<(), Box<ArgumentError>>> {
        let by_reference = match rule {
            Rule::Reference(number) => Some(*number),
            Rule::Array(rule) => rule.number(),
            Rule::Pointer(rule) if self.is_unchecked => rule.number(),
            _ => None,
        };
        Some(match (rule, value) {
            (Rule::InOut(in_out), HostValue::Number(value)) => self
                .extent(position, in_out.inferred, value)
                .and_then(|()| self.omit(position, rule, false)),
            (Rule::Derived(derived), HostValue::Number(value)) => {
                self.given(position, derived.number, value)
            }
            (_, HostValue::Number(_) | HostValue::HugeNumber(_) | HostValue::LongDouble(_)) => {
                self.number_by_reference(position, by_reference?, value)
            }
            (Rule::Array(rule), HostValue::Handle(handle)) if self.is_unchecked => {
                if handle.is_read_only && !rule.is_const() {
                    let found = handle.target.to_owned();
                    let problem = Problem::ReadOnlyHandle { found };
                    return Some(Err(self.contract.refuse(position, problem)));
                }
                self.set(position, handle.address.expose_provenance() as u64);
                Ok(())
            }
            (Rule::Array(rule), HostValue::TypedPointer(pointer)) if !rule.is_measured() => {
                let checked = match pointer.dtype {
                    Some(dtype) => rule.check_dtype(dtype),
                    None => Err(Problem::Type {
                        found: format!("a pointer to {}", pointer.target),
                        remedy: Remedy::GivePointer {
                            target: rule.ctype().to_string(),
                        },
                    }),
                };
                let problem = match checked {
                    Err(problem) => Some(problem),
                    Ok(()) if pointer.is_read_only && !rule.is_const() => Some(Problem::ReadOnly),
                    Ok(()) => None,
                };
                if let Some(problem) = problem {
                    return Some(Err(self.contract.refuse(position, problem)));
                }
                self.set(position, pointer.address.expose_provenance() as u64);
                Ok(())
            }
            (Rule::Array(rule), HostValue::Text(text)) if rule.takes_text() => {
                self.text_of_length(position, rule, text)
            }
            _ => return None,
        })
    }

    /// Accepts that a parameter has no argument, or Python's None, if it is an output, or inferred.
    fn omit(
        &mut self,
        position: usize,
        rule: &Rule,
        is_none: bool,
    ) -> Result<(), Box<ArgumentError>> {
        let problem = match rule {
            Rule::Inferred(_) | Rule::Derived(_) => return Ok(()),
            Rule::Array(rule) if rule.is_nullable() => return Ok(()),
            Rule::Text | Rule::Pointer(_) | Rule::Function(_)
                if self.contract.is_nullable(position) =>
            {
                return Ok(());
            }
            Rule::Array(_) | Rule::InOut(_) if rule.array().is_some_and(ArrayRule::is_output) => {
                let deferred = self.deferred.get_or_insert_default();
                // An inferred number may have been given before.
                if deferred.outputs.iter().all(|(other, _)| *other != position) {
                    deferred.outputs.push((position, Dims::new()));
                }
                return Ok(());
            }
            Rule::Array(rule) if !rule.is_const() => Problem::Unmeasured,
            Rule::Pointer(rule) if rule.is_array && !rule.is_const => Problem::Unmeasured,
            _ => Problem::Missing,
        };
        let is_unmeasured = problem == Problem::Unmeasured;
        let problem = if is_none {
            Problem::NoneGiven { is_unmeasured }
        } else {
            problem
        };
        Err(self.contract.refuse(position, problem))
    }

    /// Completes the check when all arguments are given: sets the inferred parameters, verifies all
    /// extents, and refuses arrays that overlap where they must not.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] if an extent is not set or disagrees with an array, if arrays overlap where
    /// `restrict` forbids it, or if the arguments of a batch do not broadcast.
    #[inline]
    pub fn finish(&mut self) -> Result<(), Box<ArgumentError>> {
        if self.contract.derived.is_needed {
            self.finish_numbers()?;
        }
        self.finish_dimensions()?;
        if self.contract.derived.is_needed {
            self.pass_references();
        }
        if self.deferred.is_some() {
            self.evaluate()?;
        }
        if self.broadcast.is_some() {
            return self.finish_batch();
        }
        if self.deferred.is_some() {
            self.refuse_converted_overlap()?;
        }
        self.refuse_overlap()
    }

    /// Returns whether an array was omitted, so that an output has to be allocated.
    #[must_use]
    #[inline]
    pub fn leaves_out(&self) -> bool {
        let deferred = self.deferred.as_ref();
        deferred.is_some_and(|deferred| !deferred.outputs.is_empty())
    }

    /// Returns an output that was omitted, by its index; `None` beyond the last one. The results of a
    /// batch are the first output.
    #[must_use]
    pub fn output(&self, index: usize) -> Option<Output> {
        let broadcast = self.broadcast.as_deref();
        let has_result = broadcast.is_some_and(|broadcast| {
            self.contract.returned.is_some()
                && broadcast
                    .operands()
                    .iter()
                    .all(|operand| operand.role != Role::Result || operand.is_placed)
        });
        let (role, core, rule) = match index.checked_sub(has_result.into()) {
            None => (Role::Result, &[][..], None),
            Some(index) => {
                let (position, shape) = self.deferred.as_ref()?.outputs.get(index)?;
                let rule = self.contract.rules.get(*position);
                (Role::Parameter(*position), &shape[..], rule)
            }
        };
        let batch = broadcast.map_or(&[][..], BroadcastPlan::shape);
        Some(Output {
            role,
            shape: batch.iter().chain(core).copied().collect(),
            order: broadcast
                .map_or(&[][..], BroadcastPlan::order_of_axes)
                .into(),
            is_column_major: rule
                .and_then(Rule::array)
                .is_some_and(ArrayRule::is_column_major),
            fill: match rule {
                Some(Rule::InOut(rule)) => self.dimensions.get(rule.inferred.dimension).copied(),
                _ => None,
            },
        })
    }

    /// Sets the address of an allocated output, which is passed to a single call.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] if the address does not have the alignment of the C type.
    pub fn place(&mut self, position: usize, address: *mut u8) -> Result<(), Box<ArgumentError>> {
        let address = address.expose_provenance();
        let role = Role::Parameter(position);
        self.contract.check_alignment(role, address)?;
        self.set(position, address as u64);
        Ok(())
    }

    /// Returns how the arguments of a batch broadcast, once the check is finished; `None` for a single
    /// call.
    #[must_use]
    pub fn broadcast(&self) -> Option<&BroadcastPlan> {
        self.broadcast.as_deref()
    }

    /// Returns the addresses of the arrays that lie in maps, or in memory of unknown origin.
    pub fn mapped(&self) -> impl Iterator<Item = Range<usize>> {
        self.aliases.addresses()
    }

    /// Returns the broadcast plan of a batch, for outputs to be placed in, and the slots of its frame.
    #[must_use]
    pub fn into_batch(self) -> Option<(Box<BroadcastPlan>, &'a [u64])> {
        let frame = self.frame;
        self.broadcast.map(|broadcast| (broadcast, &*frame))
    }

    /// Returns the size of the arrays that were given, in bytes.
    #[must_use]
    #[inline]
    pub fn nbytes(&self) -> usize {
        self.nbytes
    }

    /// Returns the index of a parameter's first slot in the frame.
    #[inline]
    fn start(&self, position: usize) -> Option<usize> {
        self.starts.get(position).copied()
    }

    /// Returns the value of a parameter's first slot.
    #[inline]
    fn slot(&self, position: usize) -> Option<u64> {
        self.frame.get(self.start(position)?).copied()
    }

    #[inline]
    fn set(&mut self, position: usize, value: u64) {
        if let Some(start) = self.start(position)
            && let Some(slot) = self.frame.get_mut(start)
        {
            *slot = value;
        }
    }

    /// Returns whether no array was given for a parameter.
    fn is_omitted(&self, position: usize) -> bool {
        if self.contract.is_nullable(position) && self.slot(position) == Some(0) {
            return true;
        }
        let deferred = self.deferred.iter();
        let mut outputs = deferred.flat_map(|deferred| &deferred.outputs);
        outputs.any(|(other, _)| *other == position)
    }
}
