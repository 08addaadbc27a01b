//! The broadcast plan of a batch: the axes that arrays have beyond those of their parameters, how these
//! broadcast, the order of the calls, and the check that calls do not write each other's memory.
//!
//! The rules are those of NumPy's generalized ufuncs; the order is that of its iterator
//! (`npyiter_find_best_axis_ordering` in `nditer_constr.c`).

#![allow(unsafe_code)]

use std::fs::File;
use std::sync::Arc;

use mapcall_array::layout::Dims;
use mapcall_array::{Backing, Layout, map};
use smallvec::SmallVec;

use super::Contract;
use super::alias::Aliases;
use super::conversion::Conversion;
use super::error::{ArgumentError, Problem};
use super::memory::Memory;
use super::role::Role;
use crate::call::OperandKind;

/// An array that a batch reads or writes, with the strides from call to call.
#[derive(Clone, Debug)]
pub struct Operand {
    /// The role of the array: a parameter, the result or the mask.
    pub role: Role,
    /// How its address or value changes from call to call.
    pub kind: OperandKind,
    /// The address for the first call.
    pub address: *mut u8,
    /// The lengths of its own batch axes.
    shape: Dims<usize>,
    /// The strides along the axes of the batch, in bytes; 0 along axes where the array is repeated.
    pub strides: Dims<isize>,
    /// The number of bytes that one call reads or writes, with gaps between them.
    pub size: usize,
    /// The axes of one call, if its bytes are not contiguous.
    core: Option<Box<Core>>,
    /// Whether calls may write to it.
    pub is_written: bool,
    /// Whether it was allocated for the batch.
    pub(super) is_placed: bool,
    /// How its items are converted for C; `None` if they are passed as they are.
    pub(crate) conversion: Option<Arc<Conversion>>,
}

/// The axes of one call of an operand whose bytes are not contiguous.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Core {
    shape: Dims<usize>,
    /// The strides, in bytes.
    strides: Dims<isize>,
    /// The size of an element, in bytes.
    itemsize: usize,
}

/// How the arguments of a batch broadcast against each other.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::array::DType;
/// use mapcall::contract::{Backing, Check, Contract, HostValue, Memory, Role};
///
/// let contract = Contract::new(Prototype::parse("double atan2(double y, double x)")?)?;
/// let mut slots = vec![0; contract.slots()];
/// let mut check = Check::broadcasting(&contract, &mut slots);
/// let (column, row) = ([[1.0], [2.0]], [1.0, 2.0, 3.0]);
/// let memory = |address: *const f64, shape, strides| Memory {
///     address: address.cast_mut().cast(), shape, strides, is_contiguous: true, is_writeable: false,
///     is_shared: false, backing: Backing::Private,
/// };
/// let dtype = Ok(&DType::F64);
/// let array = |memory| HostValue::Array { memory, dtype };
/// let column = memory(column.as_ptr().cast(), &[2, 1], &[8, 8]);
/// check.argument(Role::Parameter(0), array(column))?;
/// check.argument(Role::Parameter(1), array(memory(row.as_ptr(), &[3], &[8])))?;
/// check.finish()?;
///
/// let broadcast = check.broadcast().unwrap();
/// assert_eq!((broadcast.shape(), broadcast.operands()[0].strides.as_slice()), (&[2, 3][..], &[8, 0][..]));
/// let output = check.output(0).unwrap();
/// assert_eq!((output.role, output.shape.as_slice()), (Role::Result, &[2, 3][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BroadcastPlan {
    shape: Dims<usize>,
    calls: usize,
    order: Dims<usize>,
    operands: SmallVec<[Operand; 4]>,
}

// SAFETY: an operand has an address and strides. No method reads or writes the memory at the address;
// only the unsafe functions that make the calls do.
unsafe impl Send for Operand {}
// SAFETY: an operand has no interior mutability, and its methods read no memory at its address.
unsafe impl Sync for Operand {}

impl Operand {
    pub(super) fn new(
        role: Role,
        kind: OperandKind,
        address: *mut u8,
        (shape, strides): (&[usize], &[isize]),
        (size, is_written): (usize, bool),
    ) -> Self {
        Self {
            role,
            kind,
            address,
            shape: shape.into(),
            strides: strides.into(),
            size,
            core: None,
            is_written,
            is_placed: false,
            conversion: None,
        }
    }

    /// Has the items of the operand converted for C.
    pub(super) fn with_conversion(mut self, conversion: Arc<Conversion>) -> Self {
        self.conversion = Some(conversion);
        self
    }

    /// Puts copies of its items in the place of those that the caller gave, which are not converted any more.
    pub(crate) fn put_inside(&mut self, address: *mut u8, strides: Dims<isize>) {
        self.address = address;
        self.strides = strides;
        self.core = None;
        self.conversion = None;
    }

    /// Returns whether it has no batch axes.
    pub(super) fn is_fixed(&self) -> bool {
        self.shape.is_empty()
    }

    /// Sets the lengths and strides of the axes of one call, and the size of an element.
    pub(super) fn with_core(
        mut self,
        (shape, strides, itemsize): (&[usize], &[isize], usize),
    ) -> Self {
        let core = Core {
            shape: shape.into(),
            strides: strides.into(),
            itemsize,
        };
        self.core = Some(core.into());
        self
    }

    /// Returns the layout of all bytes of the operand, relative to an address; `None` if no memory can
    /// hold them.
    fn layout(&self, origin: usize) -> Option<Layout> {
        let offset = self.address.addr().wrapping_sub(origin);
        let Some(core) = &self.core else {
            return Layout::from_strides(offset, &self.shape, &self.strides, self.size).ok();
        };
        let shape: Dims<usize> = self.shape.iter().chain(&core.shape).copied().collect();
        let strides = self.strides.iter().chain(&core.strides);
        let strides: Dims<isize> = strides.copied().collect();
        Layout::from_strides(offset, &shape, &strides, core.itemsize).ok()
    }

    /// Returns whether two of its bytes may be the same.
    pub(super) fn may_self_overlap(&self) -> bool {
        let layout = self.layout(self.lowest());
        layout.is_none_or(|layout| layout.may_self_overlap())
    }

    /// Returns the number of bytes that one call accesses, and that its conversion does.
    pub(crate) fn bytes(&self) -> usize {
        let outside = self.conversion.as_ref().map_or(0, |_| self.reach());
        self.size.saturating_add(outside)
    }

    /// Returns the number of bytes from the lowest byte of an item outside to the highest.
    pub(crate) fn reach(&self) -> usize {
        let Some(core) = &self.core else {
            return self.size;
        };
        let axes = core.shape.iter().zip(&core.strides);
        let reach = axes.map(|(&length, stride)| {
            let steps = length.saturating_sub(1);
            stride.unsigned_abs().saturating_mul(steps)
        });
        reach.fold(core.itemsize, usize::saturating_add)
    }

    /// Returns the address of its lowest byte.
    fn lowest(&self) -> usize {
        let core = self.core.iter();
        let core = core.flat_map(|core| core.shape.iter().zip(&core.strides));
        let axes = self.shape.iter().zip(&self.strides).chain(core);
        let backwards = axes
            .filter(|(_, stride)| **stride < 0)
            .map(|(&length, stride)| stride.unsigned_abs().wrapping_mul(length.saturating_sub(1)));
        self.address
            .addr()
            .wrapping_sub(backwards.fold(0, usize::wrapping_add))
    }

    /// Returns whether two operands have the same bytes in each call. If one has fewer axes, its axes
    /// are the last ones, as in NumPy.
    fn is_same(&self, other: &Self) -> bool {
        let shape = |operand: &Self| {
            let axes = operand.shape.iter().copied();
            axes.skip_while(|length| *length == 1).collect::<Dims<_>>()
        };
        let moves = |operand: &Self| {
            let axes = operand.shape.iter().zip(&operand.strides);
            axes.filter(|(length, _)| **length != 1)
                .map(|(_, stride)| *stride)
                .collect::<Dims<_>>()
        };
        self.address == other.address
            && self.size == other.size
            && self.core == other.core
            && shape(self) == shape(other)
            && moves(self) == moves(other)
    }

    /// Returns whether one of two operands that share memory is converted so that C would see two copies of an
    /// array. A number is read before its result is written, so that it may be converted in place.
    fn is_copied_with(&self, other: &Self) -> bool {
        let is_number = |operand: &Self| operand.kind == OperandKind::Strided;
        (self.conversion.is_some() || other.conversion.is_some())
            && !(is_number(self) && is_number(other) && self.is_same(other))
    }

    /// Returns the operand at an address that is `distance` bytes higher.
    pub(super) fn moved(&self, distance: isize) -> Self {
        let address = self.address.wrapping_offset(distance);
        Self {
            address,
            ..self.clone()
        }
    }

    /// Returns whether any bytes of this operand may be bytes of the other one, in any calls.
    pub(super) fn may_share(&self, other: &Self) -> bool {
        let origin = self.lowest().min(other.lowest());
        match (self.layout(origin), other.layout(origin)) {
            (Some(mine), Some(theirs)) => mine.may_share(&theirs),
            _ => true,
        }
    }

    /// Sets the strides for the axes of the batch. The operand may lack the first ones.
    fn broadcast(&mut self, ndim: usize) {
        let missing = ndim.saturating_sub(self.shape.len());
        let own = self.shape.iter().zip(&self.strides);
        let own = own.map(|(&length, &stride)| if length == 1 { 0 } else { stride });
        self.strides = std::iter::repeat_n(0, missing).chain(own).collect();
    }
}

impl BroadcastPlan {
    /// Adds an operand.
    pub(super) fn add(&mut self, operand: Operand) {
        self.operands.push(operand);
    }

    /// Sets the axes of one call of the operand that was added last: see [`Operand::with_core`].
    pub(super) fn set_core(&mut self, core: (&[usize], &[isize], usize)) {
        if let Some(operand) = self.operands.pop() {
            self.operands.push(operand.with_core(core));
        }
    }

    /// Replaces the operand that was added last by another one of the same role.
    pub(super) fn replace_last(&mut self, operand: Operand) {
        self.operands.pop();
        self.operands.push(operand);
    }

    /// Returns whether there is an operand for a role.
    pub(crate) fn has(&self, role: Role) -> bool {
        self.operands.iter().any(|operand| operand.role == role)
    }

    /// Adds an array whose extent the prototype does not give. Each call is passed its address, so that
    /// no call may write it.
    pub(super) fn add_unmeasured(
        &mut self,
        contract: &Contract,
        operand: &Operand,
    ) -> Result<(), Box<ArgumentError>> {
        let has_axes = self
            .operands
            .iter()
            .any(|operand| !operand.shape.is_empty());
        if operand.is_written && has_axes {
            return Err(contract.refuse_role(operand.role, Problem::UnmeasuredBatch));
        }
        let axes = operand.shape.iter().zip(&operand.strides);
        let reach = axes.map(|(&length, stride)| {
            let steps = length.saturating_sub(1);
            stride.unsigned_abs().saturating_mul(steps)
        });
        let size = if operand.shape.contains(&0) {
            0
        } else {
            reach.fold(operand.size, usize::saturating_add)
        };
        self.operands.push(Operand {
            address: operand.address.with_addr(operand.lowest()),
            shape: Dims::new(),
            strides: Dims::new(),
            size,
            core: None,
            ..operand.clone()
        });
        Ok(())
    }

    /// Completes the plan when all operands are added.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] if axes do not broadcast, or if a call would write memory that another call
    /// reads or writes.
    pub(super) fn finish(
        &mut self,
        contract: &Contract,
        aliases: &Aliases,
    ) -> Result<(), Box<ArgumentError>> {
        self.shape = self.broadcast(contract)?;
        self.calls = self.count(contract)?;
        for operand in &self.operands {
            if operand.is_written && operand.shape != self.shape {
                let problem = Problem::Repeated {
                    shape: operand.shape.to_vec(),
                    batch: self.shape.to_vec(),
                };
                return Err(contract.refuse_role(operand.role, problem));
            }
        }
        self.check_sharing(contract, aliases)?;
        let ndim = self.shape.len();
        for operand in &mut self.operands {
            operand.broadcast(ndim);
            // The address of an array without strides along the batch is the same in each call.
            if operand.kind == OperandKind::Pointer
                && operand.strides.iter().all(|&stride| stride == 0)
            {
                operand.kind = OperandKind::Constant;
            }
        }
        self.order = self.order();
        Ok(())
    }

    /// Returns the lengths of the batch's axes, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the number of calls, including those that the mask leaves out.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Returns the axes in the order in which the calls iterate over them, the slowest first.
    #[must_use]
    pub fn order_of_axes(&self) -> &[usize] {
        &self.order
    }

    /// Returns the operands: those with axes of the batch in the order in which they were given, then
    /// those without, then the outputs that were placed.
    #[must_use]
    pub fn operands(&self) -> &[Operand] {
        &self.operands
    }

    /// Returns whether items of an operand are converted.
    pub(crate) fn converts(&self) -> bool {
        let mut operands = self.operands.iter();
        operands.any(|operand| operand.conversion.is_some())
    }

    /// Returns the operands, for copies to be put in the place of those that are converted.
    pub(crate) fn operands_mut(&mut self) -> &mut [Operand] {
        &mut self.operands
    }

    /// Adds an output in memory: `address` is that of its first item, `strides` are the distances in
    /// bytes between items along the batch's axes, and `size` is the number of bytes of an item.
    ///
    /// The calls write to that memory: see [`PreparedBatch::run`](crate::batch::PreparedBatch::run)
    /// for the conditions.
    pub fn place(
        &mut self,
        contract: &Contract,
        role: Role,
        address: *mut u8,
        strides: &[isize],
        size: usize,
    ) {
        let is_parameter = matches!(role, Role::Parameter(position)
            if contract.rules().get(position).is_some_and(|rule| rule.array().is_some()));
        let kind = if is_parameter {
            OperandKind::Pointer
        } else {
            OperandKind::Strided
        };
        let shape = &*self.shape;
        let operand = Operand::new(role, kind, address, (shape, strides), (size, true));
        self.operands.push(Operand {
            is_placed: true,
            ..operand
        });
    }

    /// Adds an output that is written to a buffer, a chunk at a time, and whose items follow each
    /// other in C order. The calls are made in that order, too.
    pub fn place_in_order(&mut self, contract: &Contract, role: Role, size: usize) {
        self.order = (0..self.shape.len()).collect();
        let mut step = size.cast_signed();
        let mut strides: Dims<isize> = Dims::new();
        for &length in self.shape.iter().rev() {
            strides.push(step);
            step = step.wrapping_mul(length.cast_signed());
        }
        strides.reverse();
        self.place(contract, role, std::ptr::null_mut(), &strides, size);
    }

    /// Returns the role of a given operand that calls write and that lies in a map of a file.
    pub(crate) fn written_to(&self, file: &File) -> Option<Role> {
        let given = self.operands.iter().filter(|operand| !operand.is_placed);
        let mut written = given.filter(|operand| operand.is_written);
        let operand = written.find(|operand| {
            let memory = Memory {
                address: operand.address,
                shape: &self.shape,
                strides: &operand.strides,
                is_contiguous: false,
                is_writeable: true,
                is_shared: false,
                backing: Backing::Unknown,
            };
            map::is_mapped_from(file, memory.addresses(operand.reach())).unwrap_or(false)
        });
        operand.map(|operand| operand.role)
    }

    fn broadcast(&self, contract: &Contract) -> Result<Dims<usize>, Box<ArgumentError>> {
        let ndim = self
            .operands
            .iter()
            .map(|operand| operand.shape.len())
            .max();
        let mut shape = Dims::from_elem(1, ndim.unwrap_or(0));
        for (index, operand) in self.operands.iter().enumerate() {
            for (length, &own) in shape.iter_mut().rev().zip(operand.shape.iter().rev()) {
                if *length == 1 {
                    *length = own;
                } else if own != 1 && own != *length {
                    return Err(self.mismatch(contract, index));
                }
            }
        }
        Ok(shape)
    }

    /// Counts the calls. Arrays that are repeated can ask for any number.
    fn count(&self, contract: &Contract) -> Result<usize, Box<ArgumentError>> {
        if self.shape.contains(&0) {
            return Ok(0);
        }
        let mut lengths = self.shape.iter();
        let calls = lengths.try_fold(1_isize, |calls, &length| {
            calls.checked_mul(isize::try_from(length).ok()?)
        });
        calls.map(isize::cast_unsigned).ok_or_else(|| {
            let shape = self.shape.to_vec();
            contract.refuse_all(Problem::Uncounted { shape })
        })
    }

    /// Returns the error for an axis that does not broadcast with that of an operand given before.
    #[cold]
    fn mismatch(&self, contract: &Contract, index: usize) -> Box<ArgumentError> {
        let Some(operand) = self.operands.get(index) else {
            return contract.refuse_all(Problem::Missing);
        };
        let differs = |other: &&Operand| {
            let axes = operand.shape.iter().rev().zip(other.shape.iter().rev());
            axes.into_iter()
                .any(|(&one, &other)| one != other && one != 1 && other != 1)
        };
        let other = self.operands.iter().take(index).find(differs);
        let problem = Problem::Broadcast {
            shape: operand.shape.to_vec(),
            other: other.map_or_else(String::new, |other| contract.role_name(other.role)),
            other_shape: other.map_or_else(Vec::new, |other| other.shape.to_vec()),
        };
        contract.refuse_role(operand.role, problem)
    }

    /// Refuses operands that a call writes and another call reads or writes.
    fn check_sharing(
        &self,
        contract: &Contract,
        aliases: &Aliases,
    ) -> Result<(), Box<ArgumentError>> {
        let calls = self.calls;
        if calls == 0 {
            return Ok(());
        }
        for (index, operand) in self
            .operands
            .iter()
            .enumerate()
            .filter(|(_, operand)| operand.is_written)
        {
            if calls > 1 && operand.may_self_overlap() {
                return Err(contract.refuse_role(operand.role, Problem::SelfOverlap));
            }
            for (other_index, other) in self.operands.iter().enumerate() {
                // Each pair of two that are written is compared once.
                let is_compared = other.is_written && other_index <= index;
                if is_compared || other_index == index {
                    continue;
                }
                let is_disjoint = contract.must_be_disjoint(operand.role, other.role);
                let written = |operand: &Operand| (operand.role, operand.is_written);
                let mut distances = aliases
                    .distances(written(operand), written(other))
                    .into_iter();
                let collides = |distance| {
                    let other = other.moved(distance);
                    operand.may_share(&other)
                        && (is_disjoint
                            || (calls > 1 && !operand.is_same(&other))
                            || operand.is_copied_with(&other))
                };
                if distances.any(collides) {
                    let other = contract.role_name(other.role);
                    let problem = if is_disjoint {
                        Problem::Overlap { other }
                    } else {
                        Problem::Alias { other }
                    };
                    return Err(contract.refuse_role(operand.role, problem));
                }
            }
        }
        Ok(())
    }

    /// Returns the axes in the order of the calls, the slowest first: an insertion sort by strides where
    /// the operands agree, which keeps the order of the other axes.
    fn order(&self) -> Dims<usize> {
        let mut order: Dims<usize> = Dims::new();
        // From the fastest axis in C on; `order` has the fastest first meanwhile.
        for axis in (0..self.shape.len()).rev() {
            let mut target = order.len();
            for (index, &faster) in order.iter().enumerate().rev() {
                match self.is_slower(faster, axis) {
                    Some(true) => target = index,
                    Some(false) => break,
                    None => {}
                }
            }
            order.insert(target, axis);
        }
        order.reverse();
        order
    }

    /// Returns whether the first axis has larger strides than the second, if any operand moves along
    /// both.
    fn is_slower(&self, first: usize, second: usize) -> Option<bool> {
        let mut slower = None;
        for operand in &self.operands {
            let stride = |axis| {
                operand
                    .strides
                    .get(axis)
                    .map_or(0, |stride: &isize| stride.unsigned_abs())
            };
            let (first, second) = (stride(first), stride(second));
            if first != 0 && second != 0 {
                slower = Some(first > second && slower != Some(false));
            }
        }
        slower
    }
}
