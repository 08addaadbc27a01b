//! The check of the arguments of a batch: arrays with an element or sub-array for each call.

use std::ptr;

use super::{ArgumentError, ArrayRule, Check, DType, HostValue, Operand, Problem, Role};
use crate::call::OperandKind;
use crate::contract::convert::make_array;
use crate::contract::error::Form;
use crate::contract::memory::Memory;
use crate::contract::rule::check_dtype;
use crate::ctype::CType;

impl Check<'_> {
    /// Checks the array for the results of a batch, or the mask of the calls that are made.
    pub(super) fn batch_argument(
        &mut self,
        role: Role,
        value: HostValue<'_>,
    ) -> Result<(), Box<ArgumentError>> {
        let contract = self.contract;
        let refuse = |problem| contract.refuse_role(role, problem);
        let dtype = match (role, contract.returned()) {
            (Role::Result, None) => return Err(self.unbatched()),
            (Role::Result, Some(rule)) => rule.dtype(),
            _ => &DType::BOOL,
        };
        match value {
            HostValue::Omitted | HostValue::None | HostValue::File if role == Role::Result => {
                Ok(())
            }
            HostValue::Array { memory, dtype } => match contract.array_rule(role) {
                Some(rule) => self.one_of_dtype(role, rule, memory, dtype),
                None => self.mask(memory, dtype),
            },
            other => Err(refuse(Problem::Type {
                found: other.kind().into(),
                remedy: make_array(Form::MakeArray(dtype.clone())),
            })),
        }
    }

    /// Checks an array of scalars or structs, one for each call.
    pub(super) fn scalars(
        &mut self,
        position: usize,
        memory: Memory<'_>,
        dtype: Result<&DType, &str>,
    ) -> Result<(), Box<ArgumentError>> {
        let contract = self.contract;
        let refuse = |problem| contract.refuse(position, problem);
        let Some(rule) = contract.scalar(position) else {
            let shape = memory.shape.to_vec();
            return Err(refuse(Problem::Measures { shape }));
        };
        self.one_of_dtype(Role::Parameter(position), rule, memory, dtype)
    }

    /// Checks an array with one scalar or struct for each call, and its dtype.
    fn one_of_dtype(
        &mut self,
        role: Role,
        rule: &ArrayRule,
        memory: Memory<'_>,
        dtype: Result<&DType, &str>,
    ) -> Result<(), Box<ArgumentError>> {
        if self.converts
            && let Some(converted) = self.conversion(role, rule, &memory, dtype)?
        {
            return self.convert(role, rule, memory, converted);
        }
        let fits = rule.check_dtype(dtype);
        let fits = fits.map_err(|problem| self.contract.refuse_role(role, problem));
        let checked = fits.and_then(|()| self.one_a_call(role, rule, memory));
        checked.map_err(|error| self.with_conversion(error, role, rule, &memory, dtype))
    }

    /// Adds the mask: an array of bool, which is false for the calls that are not made.
    fn mask(
        &mut self,
        memory: Memory<'_>,
        dtype: Result<&DType, &str>,
    ) -> Result<(), Box<ArgumentError>> {
        check_dtype(&CType::Bool, &DType::BOOL, dtype)
            .map_err(|problem| self.contract.refuse_role(Role::Mask, problem))?;
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
        Ok(())
    }

    /// Makes the call a batch, even if no array has axes beyond those of its parameter.
    pub fn insist_on_batch(&mut self) {
        self.broadcast.get_or_insert_default();
    }

    /// Checks an array with one scalar or struct for each call.
    pub(super) fn one_a_call(
        &mut self,
        role: Role,
        rule: &ArrayRule,
        memory: Memory<'_>,
    ) -> Result<(), Box<ArgumentError>> {
        self.refuse_shared(role, &memory, rule.is_const())?;
        if !rule.memory.accepts_scalars(&memory, memory.address.addr()) {
            return Err(self.unfit(role, rule, memory));
        }
        self.aliases.add(role, &memory, rule.itemsize());
        self.push_operand(role, OperandKind::Strided, rule, memory, rule.itemsize())
    }

    /// Adds an operand to the broadcast plan.
    pub(super) fn push_operand(
        &mut self,
        role: Role,
        kind: OperandKind,
        rule: &ArrayRule,
        memory: Memory<'_>,
        size: usize,
    ) -> Result<(), Box<ArgumentError>> {
        let extra = memory.shape.len().saturating_sub(rule.rank());
        let shape = memory.shape.get(..extra).unwrap_or_default();
        let strides = memory.strides.get(..extra).unwrap_or_default();
        let mut axes = shape.iter().zip(strides);
        let wrong = axes.find(|&(&length, stride)| {
            length > 1 && stride.cast_unsigned() & rule.memory.misaligned != 0 && !memory.is_empty()
        });
        if let Some((_, &stride)) = wrong {
            let address = memory.address.addr().wrapping_add_signed(stride);
            let alignment = rule.alignment();
            let problem = Problem::Unaligned { address, alignment };
            return Err(self.contract.refuse_role(role, problem));
        }
        let calls = shape.iter().copied().fold(1, usize::saturating_mul);
        self.nbytes = self
            .nbytes
            .saturating_add(size.saturating_mul(calls.saturating_sub(1)));
        let operand = Operand::new(
            role,
            kind,
            memory.address,
            (shape, strides),
            (size, !rule.is_const()),
        );
        self.broadcast.get_or_insert_default().add(operand);
        Ok(())
    }

    /// Completes the broadcast plan.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] if no array can hold the results, if axes do not broadcast, or if calls would
    /// write memory that other calls use.
    #[cold]
    pub(super) fn finish_batch(&mut self) -> Result<(), Box<ArgumentError>> {
        let contract = self.contract;
        if contract.prototype.is_variadic {
            return Err(contract.refuse_all(Problem::VariadicBatch));
        }
        if contract.is_unbatched() {
            return Err(self.unbatched());
        }
        let mut broadcast = self.broadcast.take().unwrap_or_default();
        for (position, rule) in contract.rules.iter().enumerate() {
            if let Some(rule) = rule.array()
                && !self.is_omitted(position)
                && !broadcast.has(Role::Parameter(position))
            {
                broadcast.add(self.fixed(position, rule));
            }
        }
        let unmeasured = self
            .deferred
            .iter()
            .flat_map(|deferred| &deferred.unmeasured);
        // For a `void *`, the size of an element is unknown as well.
        for operand in unmeasured.filter(|operand| operand.size > 0) {
            broadcast.add_unmeasured(contract, operand)?;
        }
        let finished = broadcast.finish(contract, &self.aliases);
        self.broadcast = Some(broadcast);
        finished
    }

    /// Returns the operand of an array that was given.
    pub(super) fn operand(&self, position: usize) -> Option<Operand> {
        let mut unmeasured = self
            .deferred
            .iter()
            .flat_map(|deferred| &deferred.unmeasured);
        let role = Role::Parameter(position);
        if let Some(operand) = unmeasured.find(|operand| operand.role == role) {
            return Some(operand.clone());
        }
        let rule = self.contract.rules.get(position)?.array()?;
        (!self.is_omitted(position)).then(|| self.fixed(position, rule))
    }

    /// Returns the operand of an array that is the same for each call.
    fn fixed(&self, position: usize, rule: &ArrayRule) -> Operand {
        let deferred = self.deferred.iter();
        let mut strided =
            deferred.flat_map(|deferred| deferred.converted.iter().chain(&deferred.strided));
        if let Some(operand) = strided.find(|other| other.role == Role::Parameter(position)) {
            return operand.clone();
        }
        let slot = self.slot(position).unwrap_or_default();
        let address = usize::try_from(slot).unwrap_or_default();
        let size = self.sizes.get(position).copied().unwrap_or_default();
        Operand::new(
            Role::Parameter(position),
            OperandKind::Pointer,
            ptr::with_exposed_provenance_mut(address),
            (&[], &[]),
            (usize::try_from(size).unwrap_or_default(), !rule.is_const()),
        )
    }

    #[cold]
    pub(super) fn unbatched(&self) -> Box<ArgumentError> {
        let returns = self.contract.prototype.returns.to_string();
        self.contract.refuse_all(Problem::Unbatched { returns })
    }
}
