//! The check of arrays of one call.

use super::{ArgumentError, ArrayRule, Check, DType, Operand, Problem, Remedy, Role};
use crate::call::OperandKind;
use crate::contract::dimension::agrees;
use crate::contract::extent_rule::ExtentRule;
use crate::contract::memory::Memory;
use crate::contract::rule::PointerRule;

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
        // A batch without items may have items with elements.
        if !rule.memory.accepts(&of_one_call, used(&memory, address)) {
            return Err(self.unfit(role, rule, of_one_call));
        }
        let size = self.extents(position, rule, 0, memory.shape)?;
        if memory.shape.len() > rule.rank() {
            self.push_operand(role, OperandKind::Pointer, rule, memory, size)?;
        }
        self.aliases.add(role, &memory, rule.itemsize());
        self.nbytes = self.nbytes.saturating_add(size);
        self.set_memory(position, address, size);
        Ok(())
    }

    /// Checks an array whose dtype has been checked, for a parameter with a layout of its own:
    /// column-major, or with a stride.
    pub(super) fn laid_out(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        memory: Memory<'_>,
    ) -> Result<(), Box<ArgumentError>> {
        let (role, itemsize) = (Role::Parameter(position), rule.itemsize());
        let Some(layout) = rule.layout.as_deref() else {
            return self.array(position, rule, memory);
        };
        let extra = memory.shape.len().checked_sub(rule.rank());
        let Some(extra) = extra.filter(|&extra| extra == 0 || self.is_broadcasting) else {
            let problem = self.rank(rule, &memory);
            return Err(self.contract.refuse(position, problem));
        };
        let item = memory.item(extra, itemsize);
        let address = item.address.expose_provenance();
        let is_aligned = item.has_aligned_strides(rule.memory.misaligned);
        let is_aligned = is_aligned || memory.is_empty();
        if !(rule.memory.accepts_scalars(&item, used(&memory, address)) && is_aligned) {
            let contiguous = Memory {
                is_contiguous: true,
                ..item
            };
            return Err(self.unfit(role, rule, contiguous));
        }
        let Ok(leading) = layout.leading(&item, itemsize) else {
            let problem = Problem::Layout {
                is_column_major: layout.is_column_major,
                has_stride: layout.stride.is_some(),
                is_batch: extra > 0,
                is_written: !rule.is_const(),
                shape: item.shape.to_vec(),
                strides: item.strides.to_vec(),
            };
            return Err(self.contract.refuse(position, problem));
        };
        let size = self.extents(position, rule, 0, memory.shape)?;
        if let (Some(leading), Some(stride)) = (leading, &layout.stride) {
            self.row_distance(position, stride, leading)?;
        }
        let reach = item.addresses(itemsize).len();
        let core = (item.shape, item.strides, itemsize);
        if extra > 0 {
            self.push_operand(role, OperandKind::Pointer, rule, memory, reach)?;
            if reach != size
                && let Some(broadcast) = &mut self.broadcast
            {
                broadcast.set_core(core);
            }
        } else if reach != size {
            let access = (reach, !rule.is_const());
            let operand = Operand::new(
                role,
                OperandKind::Pointer,
                memory.address,
                (&[], &[]),
                access,
            );
            let deferred = self.deferred.get_or_insert_default();
            deferred.strided.push(operand.with_core(core));
        }
        self.aliases.add(role, &memory, itemsize);
        self.nbytes = self.nbytes.saturating_add(size);
        self.set_memory(position, address, reach);
        Ok(())
    }

    /// Compares the distance between the rows of an array with that of the prototype, or sets it.
    fn row_distance(
        &mut self,
        position: usize,
        stride: &ExtentRule,
        found: usize,
    ) -> Result<(), Box<ArgumentError>> {
        let expected = match stride {
            ExtentRule::Dimension { dimension, .. } => {
                let known = self.dimensions.get_mut(*dimension);
                if known.is_some_and(|known| agrees(known, found as u64)) {
                    return Ok(());
                }
                self.dimension(*dimension).unwrap_or_default()
            }
            ExtentRule::Constant(value) if *value == found => return Ok(()),
            ExtentRule::Constant(value) => *value,
            ExtentRule::Expression(_) | ExtentRule::Unknown => {
                let deferred = self.deferred.get_or_insert_default();
                deferred.strides.push((position, found));
                return Ok(());
            }
        };
        let because = match stride {
            ExtentRule::Dimension { dimension, .. } => self.set_by(position, *dimension),
            _ => None,
        };
        let problem = Problem::Stride {
            stride: stride.to_string(),
            expected,
            because,
            found: Some(found),
        };
        Err(self.contract.refuse(position, problem))
    }

    /// Checks an array for a parameter whose extent counts bytes: one of any shape, contiguous in C order.
    pub(super) fn buffer(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        memory: Memory<'_>,
        itemsize: usize,
    ) -> Result<(), Box<ArgumentError>> {
        let role = Role::Parameter(position);
        let address = memory.address.expose_provenance();
        if !(memory.is_contiguous && rule.memory.accepts_scalars(&memory, address)) {
            let shape = &[0];
            let flat = Memory { shape, ..memory };
            return Err(if memory.is_contiguous {
                self.unfit(role, rule, flat)
            } else {
                self.contract.refuse(position, not_contiguous(&memory))
            });
        }
        let items = memory.shape.iter().copied().fold(1, usize::wrapping_mul);
        let size = self.extents(position, rule, 0, &[items.wrapping_mul(itemsize)])?;
        self.aliases.add(role, &memory, itemsize);
        self.nbytes = self.nbytes.saturating_add(size);
        self.set_memory(position, address, size);
        Ok(())
    }

    /// Checks a text for an array of characters, whose extent is its length without the NUL.
    pub(super) fn text_of_length(
        &mut self,
        position: usize,
        rule: &ArrayRule,
        text: &[u8],
    ) -> Result<(), Box<ArgumentError>> {
        let size = self.extents(position, rule, 0, &[text.len().saturating_sub(1)])?;
        self.set_memory(position, text.as_ptr().expose_provenance(), size);
        Ok(())
    }

    /// Sets the address of a parameter's memory, and the number of bytes that it spans.
    #[inline]
    fn set_memory(&mut self, position: usize, address: usize, nbytes: usize) {
        if let Some(known) = self.sizes.get_mut(position) {
            *known = nbytes as u64;
        }
        self.set(position, address as u64);
    }

    /// Converts the shape of an output whose extent counts bytes to elements.
    pub(super) fn elements(
        &self,
        position: usize,
        rule: &ArrayRule,
        shape: &mut [usize],
    ) -> Result<(), Box<ArgumentError>> {
        let itemsize = rule.dtype().itemsize().max(1);
        for length in shape {
            if !length.is_multiple_of(itemsize) {
                let found = format!("{length} bytes, which are no whole number of elements");
                let remedy = Remedy::Words(format!("give a multiple of {itemsize}"));
                return Err(self
                    .contract
                    .refuse(position, Problem::Type { found, remedy }));
            }
            *length /= itemsize;
        }
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
            return Err(refuse(self.rank(rule, &memory)));
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
        let is_aligned = used(&memory, address).is_multiple_of(alignment)
            && memory.has_aligned_strides(alignment.wrapping_sub(1));
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

/// Returns the address of an array as one that is aligned if the array has no elements.
#[inline]
fn used(memory: &Memory<'_>, address: usize) -> usize {
    if memory.is_empty() { 0 } else { address }
}
