//! The check of arrays that are converted for the call.

use std::collections::HashSet;
use std::sync::Arc;

use mapcall_array::convert::Cast;
use mapcall_array::layout::Dims;

use super::{ArgumentError, ArrayRule, Check, DType, Operand, Problem, Role, Rule};
use crate::call::OperandKind;
use crate::contract::conversion::Conversion;
use crate::contract::extent_rule::ExtentRule;
use crate::contract::memory::Memory;
use crate::ctype::{Body, CType};

/// An array that is converted: where it lies, and what C takes.
pub(super) struct Converted {
    /// The array outside: its batch axes, with the strides and the size of an element.
    operand: Operand,
    /// The strides of all its axes if it was converted as a whole.
    strides: Dims<isize>,
    /// The sizes of an element outside and inside, in bytes.
    itemsizes: [usize; 2],
}

impl Check<'_> {
    /// Converts arrays that do not fit, if `converts`: their byte order, alignment, strides and dtype.
    #[must_use]
    #[inline]
    pub fn converting(self, converts: bool) -> Self {
        Self { converts, ..self }
    }

    /// Returns the arrays that are converted for a single call.
    #[must_use]
    pub fn converted(&self) -> &[Operand] {
        let deferred = self.deferred.as_deref();
        deferred.map_or(&[], |deferred| &deferred.converted)
    }

    /// Adds to the error for an array whether the array could be converted.
    #[cold]
    pub(super) fn with_conversion(
        &self,
        mut error: Box<ArgumentError>,
        role: Role,
        rule: &ArrayRule,
        memory: &Memory<'_>,
        dtype: Result<&DType, &str>,
    ) -> Box<ArgumentError> {
        let is_misfit = matches!(
            error.problem,
            Problem::DType { .. }
                | Problem::ByteOrder { .. }
                | Problem::Field { .. }
                | Problem::Packed { .. }
                | Problem::NotContiguous { .. }
                | Problem::Layout { .. }
                | Problem::Unaligned { .. }
        );
        error.subject.can_convert = is_misfit
            && !self.converts
            && (memory.is_writeable || rule.is_const())
            && matches!(self.conversion(role, rule, memory, dtype), Ok(Some(_)));
        error
    }

    /// Returns how an array is converted for a parameter or for the results of a batch; `None` if it fits, or if it
    /// can't be converted, which the check of unconverted arrays refuses.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] if elements of an array that is written share bytes.
    pub(super) fn conversion(
        &self,
        role: Role,
        rule: &ArrayRule,
        memory: &Memory<'_>,
        dtype: Result<&DType, &str>,
    ) -> Result<Option<Converted>, Box<ArgumentError>> {
        let rank = if rule.is_sized() {
            memory.shape.len()
        } else {
            rule.rank()
        };
        let (Ok(found), Some(extra)) = (dtype, memory.shape.len().checked_sub(rank)) else {
            return Ok(None);
        };
        if (extra > 0 && !self.is_broadcasting) || rule.extents().contains(&ExtentRule::Unknown) {
            return Ok(None);
        }
        let fits = rule.check_dtype(dtype).is_ok();
        let expected = if fits { found } else { rule.dtype() };
        let item = memory.item(extra, found.itemsize());
        if fits && rule.is_laid_out(memory, &item) {
            return Ok(None);
        }
        let load = Cast::new(found, expected);
        let store = Cast::new(expected, found);
        // An array that C may read and write is converted both ways.
        let (load, store) = match (role, rule.is_const()) {
            (Role::Result, _) => (None, store),
            (_, true) => (load, None),
            (_, false) => (load.filter(|_| store.is_some()), store),
        };
        let is_allowed = load.is_some() || (role == Role::Result && store.is_some());
        if !is_allowed || self.may_return_addresses() {
            return Ok(None);
        }
        // A repeated element may take no memory outside, and more than there is inside.
        let Some(size) = size_of(item.shape, expected.itemsize()) else {
            return Ok(None);
        };
        let strides = rule.dense(memory.shape, extra, expected.itemsize());
        let conversion = Conversion {
            load,
            store,
            shape: item.shape.into(),
            outside: item.strides.into(),
            inside: strides.get(extra..).unwrap_or_default().into(),
            size,
        };
        let kind = match role {
            Role::Parameter(position) if self.contract.scalar(position).is_none() => {
                OperandKind::Pointer
            }
            _ => OperandKind::Strided,
        };
        let shape = memory.shape.get(..extra).unwrap_or_default();
        let outer = memory.strides.get(..extra).unwrap_or_default();
        let access = (size, !rule.is_const());
        let operand = Operand::new(role, kind, memory.address, (shape, outer), access)
            .with_core((item.shape, item.strides, found.itemsize()))
            .with_conversion(Arc::new(conversion));
        if !rule.is_const() && operand.may_self_overlap() {
            return Err(self.contract.refuse_role(role, Problem::SelfOverlap));
        }
        Ok(Some(Converted {
            operand,
            strides,
            itemsizes: [found.itemsize(), expected.itemsize()],
        }))
    }

    /// Returns whether the function may return addresses in its arguments, which must not be those of copies.
    fn may_return_addresses(&self) -> bool {
        let prototype = &self.contract.prototype;
        let returns = match prototype.returns.resolved() {
            // A text is copied before the copies are dropped.
            CType::Pointer(pointer) => !pointer.is_text(),
            returns => has_pointer(returns),
        };
        let writes = |rule: &Rule| match rule {
            Rule::Array(rule) => !rule.is_const() && has_pointer(rule.ctype()),
            Rule::Pointer(rule) => !rule.is_const && has_pointer(&rule.ctype),
            _ => false,
        };
        returns || self.contract.rules.iter().any(writes)
    }

    /// Checks an array that is converted: as the array that C gets, which has the same shape.
    pub(super) fn convert(
        &mut self,
        role: Role,
        rule: &ArrayRule,
        memory: Memory<'_>,
        converted: Converted,
    ) -> Result<(), Box<ArgumentError>> {
        self.refuse_shared(role, &memory, rule.is_const())?;
        let Converted {
            operand,
            strides,
            itemsizes: [found, expected],
        } = converted;
        // No memory is read there: the copy gets another address.
        let address = memory.address.addr().next_multiple_of(rule.alignment());
        let inside = Memory {
            address: std::ptr::without_provenance_mut(address.max(rule.alignment())),
            strides: &strides,
            is_contiguous: !rule.is_column_major(),
            backing: mapcall_array::Backing::Private,
            ..memory
        };
        match role {
            Role::Parameter(position) if self.contract.scalar(position).is_none() => {
                if rule.is_sized() {
                    self.buffer(position, rule, inside, expected)?;
                } else if rule.layout.is_some() {
                    self.laid_out(position, rule, inside)?;
                } else {
                    self.array(position, rule, inside)?;
                }
                if operand.is_fixed() {
                    let deferred = self.deferred.get_or_insert_default();
                    deferred.converted.push(operand);
                } else if let Some(broadcast) = &mut self.broadcast {
                    broadcast.replace_last(operand);
                }
            }
            _ => {
                self.one_a_call(role, rule, inside)?;
                if let Some(broadcast) = &mut self.broadcast {
                    broadcast.replace_last(operand);
                }
            }
        }
        self.aliases.add(role, &memory, found);
        Ok(())
    }

    /// Refuses a converted array that shares bytes with another one, if one of them is written: C would see two
    /// copies of the same memory.
    pub(super) fn refuse_converted_overlap(&self) -> Result<(), Box<ArgumentError>> {
        for one in self.converted() {
            let Role::Parameter(position) = one.role else {
                continue;
            };
            let others = self.contract.rules.iter().enumerate();
            let others = others.filter(|(other, rule)| {
                *other != position && matches!(rule, Rule::Array(_) | Rule::Pointer(_))
            });
            for (other, _) in others {
                let is_written = |operand: &Operand| operand.is_written;
                let shares = self
                    .operand(other)
                    .is_some_and(|operand| is_written(one) || is_written(&operand))
                    && self.overlap(position, other);
                if shares {
                    let other = self.contract.name(other).to_owned();
                    return Err(self.contract.refuse(position, Problem::Overlap { other }));
                }
            }
        }
        Ok(())
    }
}

/// Returns the size of a contiguous array in bytes; `None` if no memory is so large.
fn size_of(shape: &[usize], itemsize: usize) -> Option<usize> {
    let mut lengths = shape.iter();
    let size = lengths.try_fold(itemsize, |size, &length| size.checked_mul(length))?;
    isize::try_from(size).is_ok().then_some(size)
}

/// Returns whether values of a type have pointers in them. Each struct is visited once, as structs may share members.
fn has_pointer(ctype: &CType) -> bool {
    let mut visited = HashSet::new();
    let mut left = vec![ctype];
    while let Some(ctype) = left.pop() {
        match ctype.resolved() {
            CType::Pointer(_) => return true,
            CType::Array(array) => left.push(&array.item),
            CType::Record(record) => {
                if let Body::Complete { members, .. } = &record.body
                    && visited.insert(Arc::as_ptr(record))
                {
                    left.extend(members.iter().map(|member| &member.ctype));
                }
            }
            _ => {}
        }
    }
    false
}

impl ArrayRule {
    /// Returns whether an array has the alignment and the order that the rule asks for; its dtype fits.
    fn is_laid_out(&self, memory: &Memory<'_>, item: &Memory<'_>) -> bool {
        let alignment = self.alignment();
        let extra = memory.shape.len() - item.shape.len();
        let checked = if self.layout.is_some() {
            memory.shape.len()
        } else {
            extra
        };
        let axes = memory.shape.iter().zip(memory.strides).take(checked);
        let is_aligned = memory.address.addr().is_multiple_of(alignment)
            && axes.into_iter().all(|(&length, stride)| {
                length <= 1 || stride.unsigned_abs().is_multiple_of(alignment)
            });
        is_aligned
            && match &self.layout {
                Some(layout) => layout.leading(item, self.dtype().itemsize()).is_ok(),
                None => item.is_contiguous,
            }
    }

    /// Returns the strides of an array without gaps between its elements, whose first `extra` axes are those of a
    /// batch.
    fn dense(&self, shape: &[usize], extra: usize, itemsize: usize) -> Dims<isize> {
        let (outer, core) = shape.split_at_checked(extra).unwrap_or_default();
        let mut step = itemsize;
        let mut stride = |&length: &usize| {
            let stride = step.cast_signed();
            step = step.wrapping_mul(length);
            stride
        };
        let mut inner: Dims<isize> = if self.is_column_major() {
            core.iter().map(&mut stride).collect()
        } else {
            core.iter().rev().map(&mut stride).collect()
        };
        if !self.is_column_major() {
            inner.reverse();
        }
        let mut strides: Dims<isize> = outer.iter().rev().map(&mut stride).collect();
        strides.reverse();
        strides.extend(inner);
        strides
    }
}
