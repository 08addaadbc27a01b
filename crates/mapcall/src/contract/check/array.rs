//! The check of arrays of one call.

use super::{ArgumentError, ArrayRule, Check, DType, Operand, Problem, Role};
use crate::call::OperandKind;
use crate::contract::memory::Memory;
use crate::contract::rule::{ExtentRule, PointerRule};

impl Check<'_> {
    /// Checks an array whose dtype has been checked. Its axes beyond the parameter's are those of a
    /// batch.
    #[inline]
    pub(super) fn array(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        memory: Memory<'_>,
    ) -> Result<(), Box<ArgumentError>> {
        let role = Role::Parameter(position);
        let of_one_call = match memory.shape.len().checked_sub(rule.rank()) {
            Some(extra @ 1..) if self.is_broadcasting => memory.item(extra, rule.itemsize()),
            _ => memory,
        };
        let address = of_one_call.address.expose_provenance();
        if !rule.memory.accepts(&of_one_call, address) {
            return Err(self.unfit(role, rule, of_one_call));
        }
        let size = self.extents(position, rule, 0, of_one_call.shape)?;
        if memory.shape.len() > rule.rank() {
            self.push_operand(role, OperandKind::Pointer, rule, memory, size)?;
        }
        self.aliases.add(role, &memory, rule.itemsize());
        self.nbytes = self.nbytes.saturating_add(size);
        if let Some(known) = self.sizes.get_mut(position) {
            *known = size as u64;
        }
        self.set(position, address as u64);
        Ok(())
    }

    /// Checks an array for a parameter with an unknown extent. It may have any axes and strides in
    /// place of the axes up to the last unknown extent; the extents behind it are compared with the
    /// last axes. One call is passed the address.
    pub(super) fn array_of_any_rank(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        memory: Memory<'_>,
    ) -> Result<(), Box<ArgumentError>> {
        let mut extents = rule.extents().iter();
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
        let (alignment, itemsize) = (rule.alignment(), rule.itemsize());
        self.address_of(position, (alignment, itemsize, rule.is_const()), memory)
    }

    /// Checks an array whose dtype has been checked, for a pointer without an extent.
    pub(super) fn unmeasured(
        &mut self,
        position: usize,
        rule: &PointerRule,
        memory: Memory<'_>,
    ) -> Result<(), Box<ArgumentError>> {
        if !(memory.is_contiguous || self.is_unchecked) {
            return Err(self.contract.refuse(position, not_contiguous(&memory)));
        }
        let itemsize = rule.dtype.as_ref().map_or(0, DType::itemsize);
        self.address_of(position, (rule.alignment, itemsize, rule.is_const), memory)
    }

    /// Checks the alignment and writeability of an array whose extent the prototype does not give, and
    /// passes its address.
    fn address_of(
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
        let deferred = self.deferred.get_or_insert_default();
        deferred.unmeasured.push(operand);
        self.set(position, address as u64);
        Ok(())
    }

    /// Refuses memory that other code of the program could access while the function writes it.
    #[inline]
    pub(super) fn refuse_shared(
        &self,
        role: Role,
        memory: &Memory<'_>,
        is_const: bool,
    ) -> Result<(), Box<ArgumentError>> {
        if memory.is_shared && !is_const {
            return Err(self.contract.refuse_role(role, Problem::Shared));
        }
        Ok(())
    }
}

fn not_contiguous(memory: &Memory<'_>) -> Problem {
    Problem::NotContiguous {
        shape: memory.shape.to_vec(),
        strides: memory.strides.to_vec(),
    }
}
