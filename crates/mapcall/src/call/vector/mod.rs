//! Loops of calls through vector variants of a function: code that compilers and libraries export for several
//! calls of the function at once, by the vector function ABI of the machine.
//!
//! `name` reads what the symbol of a variant says, `isa` has the instruction sets, `registers` assigns the registers of
//! parameters, `lanes` copies values that are not contiguous, and `blocks` makes the calls, `scalable` those for SVE. A
//! [`VectorLoop`] knows how a variant takes the operands of a loop.

mod blocks;
mod isa;
mod lanes;
mod name;
mod registers;
mod scalable;

use std::array;
use std::cmp::Reverse;
use std::ffi::c_void;
use std::ptr::NonNull;

use smallvec::SmallVec;

pub use isa::Isa;
pub use name::{VectorName, VectorParameter};

use super::Trampoline;
use super::operand::{OperandKind, StridedPointer};
use super::value::Kind;
use blocks::{Blocks, Buffer, Caller, INTEGERS, PREDICATE, Register, VECTORS, fill};
use lanes::{Copies, Lanes};
use registers::{
    ADDRESS, Mask, Registers, Step, VectorOperand, VectorResult, integer, lane_size, widest,
};

/// The number of blocks from which on the first calls are made apart, so that the registers of the others are aligned
/// in memory.
const ALIGNED_BLOCKS: usize = 16;

/// A loop that calls a vector variant of one function for consecutive positions of its operands.
///
/// It takes the pointers of a [`CallLoop`](super::CallLoop) with the same kinds of operands. A call at the end that
/// has fewer lanes repeats the operands of its first lane in the others, so that a result depends on nothing but its
/// operands. Where that is not sound, because the function takes pointers or linear integers and the variant no mask,
/// the loop leaves these calls out.
#[derive(Debug)]
pub struct VectorLoop {
    name: VectorName,
    /// The size of a register, in bytes.
    width: usize,
    /// The number of calls that one call of the variant makes.
    lanes: usize,
    address: NonNull<c_void>,
    /// The function that makes the calls.
    caller: Caller,
    operands: Box<[VectorOperand]>,
    result: Option<VectorResult>,
    mask: Option<Mask>,
    /// The number of pointers that [`run`](Self::run) takes.
    pointers: usize,
}

// SAFETY: the type has only the address of code; `run`, which calls it, is unsafe.
unsafe impl Send for VectorLoop {}
// SAFETY: the type has no interior mutability, and its methods read no memory at the address.
unsafe impl Sync for VectorLoop {}

impl VectorLoop {
    /// Makes the loop for a variant of the function that a trampoline calls; `None` if the variant can't take such
    /// operands, or needs another processor.
    ///
    /// `targets` has, for each parameter, the size of what a pointer points to, or 0. `stores` tells whether results are
    /// written to the last pointer.
    ///
    /// # Safety
    ///
    /// The address is that of the variant with this name, of a function of the trampoline's type. Its code stays
    /// as long as the loop lives.
    #[must_use]
    pub unsafe fn new(
        name: &VectorName,
        address: NonNull<c_void>,
        trampoline: &Trampoline,
        kinds: &[OperandKind],
        targets: &[usize],
        stores: bool,
    ) -> Option<Self> {
        let shared = &*trampoline.shared;
        let parameters = &shared.parameters;
        let given = name.parameters();
        let lengths = [parameters.len(), kinds.len(), targets.len()];
        if !name.isa().is_available() || lengths.iter().any(|length| *length != given.len()) {
            return None;
        }
        let width = name.isa().register();
        let lanes = if name.isa().is_scalable() {
            let lanes = width / widest(&shared.returns, parameters, targets, name)?;
            // The number in the name may be that of another processor.
            name.lanes()
                .is_none_or(|given| given == lanes)
                .then_some(lanes)
        } else {
            name.lanes()
        }?;
        let mut registers = Registers::new(name, lanes);
        let slots = shared.layout.parameters();
        let step = |parameter, kind, target: usize| match parameter {
            VectorParameter::Linear(step) => Some(Step::Constant(step)),
            VectorParameter::LinearBy(index) => {
                let (value, slot) = (parameters.get(index)?, *slots.get(index)?);
                let Kind::Integer { is_signed } = value.kind else {
                    return None;
                };
                let scale = if kind == OperandKind::Pointer {
                    target
                } else {
                    1
                };
                let is_known = kinds.get(index) == Some(&OperandKind::Constant) && scale > 0;
                is_known.then_some(Step::Variable {
                    slot,
                    size: value.size,
                    is_signed,
                    scale: i64::try_from(scale).ok()?,
                })
            }
            _ => None,
        };
        let mut operands = Vec::with_capacity(given.len());
        for ((((value, &slot), &kind), &parameter), &target) in parameters
            .iter()
            .zip(slots)
            .zip(kinds)
            .zip(given)
            .zip(targets)
        {
            let step = step(parameter, kind, target);
            operands.push(registers.operand(value, slot, kind, parameter, step)?);
        }
        let result = match shared.returns.kind {
            Kind::Void => None,
            _ => Some(VectorResult {
                size: registers.result(&shared.returns)?,
                is_stored: stores,
            }),
        };
        let mask = if name.is_masked() {
            let characteristic = registers.characteristic(&shared.returns, parameters)?;
            Some(registers.mask(characteristic)?)
        } else {
            None
        };
        let caller = if name.isa().is_scalable() {
            scalable::caller(registers.vectors)
        } else {
            let is_plain = registers.integers == 0 && result.is_some();
            blocks::caller(width, registers.vectors, is_plain)
        }?;
        let moving = |kind: &&OperandKind| **kind != OperandKind::Constant;
        Some(Self {
            name: name.clone(),
            width,
            lanes,
            address,
            caller,
            operands: operands.into(),
            result,
            mask,
            pointers: kinds.iter().filter(moving).count() + usize::from(stores),
        })
    }

    /// Returns the names of the variants with a value for each lane that a function of the trampoline's type could
    /// have for this processor, those of the widest registers first.
    pub(crate) fn usual_symbols(trampoline: &Trampoline, function: &str) -> Vec<String> {
        let shared = &*trampoline.shared;
        let parameters = &shared.parameters;
        let characteristic = match shared.returns.kind {
            Kind::Void => parameters.first(),
            _ => Some(&shared.returns),
        };
        let Some(size) = characteristic.and_then(lane_size) else {
            return Vec::new();
        };
        if parameters.iter().any(|value| lane_size(value).is_none()) {
            return Vec::new();
        }
        let mut sets: Vec<Isa> = Isa::ALL
            .into_iter()
            .filter(|isa| isa.is_available())
            .collect();
        sets.sort_by_key(|isa| Reverse((isa.register(), *isa)));
        let symbol = |isa: &Isa| {
            let (letter, vectors) = (isa.letter(), "v".repeat(parameters.len()));
            if isa.is_scalable() {
                return format!("_ZGV{letter}Mx{vectors}_{function}");
            }
            let lanes = isa.register() / size;
            format!("_ZGV{letter}N{lanes}{vectors}_{function}")
        };
        sets.iter().map(symbol).collect()
    }

    /// Returns the name of the variant.
    #[must_use]
    pub fn name(&self) -> &VectorName {
        &self.name
    }

    /// Returns whether an integer operand has to move from call to call by the step that the variant expects.
    #[must_use]
    pub(crate) fn has_sequences(&self) -> bool {
        self.operands
            .iter()
            .any(|operand| matches!(operand, VectorOperand::Sequence { .. }))
    }

    /// Returns the number of calls to make one by one after [`run`](Self::run) has left out `count`, before the next
    /// ones may be made by the variant.
    pub(crate) fn left_out(&self, count: usize) -> usize {
        if self.has_sequences() {
            count.min(self.lanes)
        } else {
            count
        }
    }

    /// Makes the first of `count` calls, and returns their number: all of them if the calls at the end can be made,
    /// none if an operand does not move by the step that the variant expects.
    ///
    /// # Safety
    ///
    /// The conditions of [`CallLoop::run`](super::CallLoop::run), for the function of which this is a variant.
    #[must_use]
    pub unsafe fn run(
        &self,
        frame: *const u64,
        pointers: &[StridedPointer],
        count: usize,
    ) -> usize {
        // Threads may have registers of other sizes (SVE).
        if pointers.len() != self.pointers || self.width != self.name.isa().register() {
            return 0;
        }
        // SAFETY: the caller guarantees that the frame has the constant operands, and that the pointers are valid for
        // `count` calls.
        let fitting = unsafe { self.fitting(frame, pointers, count) };
        let lanes = self.lanes;
        let mut made = 0;
        let pointers = |made| -> SmallVec<[StridedPointer; 4]> {
            pointers.iter().map(|pointer| pointer.after(made)).collect()
        };
        let may_begin_anywhere = self.is_complete() && self.name.alignments().is_empty();
        if may_begin_anywhere && fitting / lanes >= ALIGNED_BLOCKS {
            made = self.unaligned(&pointers(0));
            // SAFETY: the caller guarantees that the frame has the constant operands, and that the pointers are valid
            // for `count` calls, of which these are the first.
            unsafe { self.blocks(frame, &pointers(0), 1, made) };
        }
        let blocks = (fitting - made) / lanes;
        // SAFETY: the caller guarantees that the frame has the constant operands, and that the pointers are valid for
        // `count` calls, of which these are the next.
        unsafe { self.blocks(frame, &pointers(made), blocks, lanes) };
        made += blocks * lanes;
        if made < fitting && self.is_complete() {
            // SAFETY: the caller guarantees that the frame has the constant operands, and that the pointers are valid
            // for `count` calls, of which these are the last that fit.
            unsafe { self.blocks(frame, &pointers(made), 1, fitting - made) };
            made = fitting;
        }
        made
    }

    /// Returns the number of calls from the first one on in which the linear operands move as the variant expects; 0 if
    /// an operand is not aligned as it expects.
    ///
    /// # Safety
    ///
    /// The frame has the constant operands, and the pointers are valid for `count` calls.
    unsafe fn fitting(
        &self,
        frame: *const u64,
        pointers: &[StridedPointer],
        count: usize,
    ) -> usize {
        // SAFETY: the caller guarantees that the frame has the constant operands.
        if !unsafe { self.is_aligned(frame, pointers) } {
            return 0;
        }
        let moving = self.operands.iter().filter(|operand| operand.moves());
        moving
            .zip(pointers)
            .fold(count, |count, (operand, pointer)| match *operand {
                VectorOperand::Linear { step, .. } => {
                    // SAFETY: the caller guarantees that the frame has the constant operands.
                    let step = unsafe { step.value(frame) };
                    if pointer.stride as i64 == step {
                        count
                    } else {
                        0
                    }
                }
                VectorOperand::Sequence {
                    size,
                    is_signed,
                    step,
                    ..
                } => {
                    // SAFETY: the caller guarantees that the frame has the constant operands.
                    let step = unsafe { step.value(frame) };
                    let value = |call: usize| {
                        // SAFETY: the caller guarantees that the pointer is valid for these calls.
                        unsafe { integer(pointer.after(call).address, size, is_signed) }
                    };
                    let next = |call: &usize| {
                        value(*call) == value(call - 1).wrapping_add(step.cast_unsigned())
                    };
                    (1..count).find(|call| !next(call)).unwrap_or(count)
                }
                _ => count,
            })
    }

    /// Returns whether the pointers of all blocks are aligned as the variant expects.
    ///
    /// # Safety
    ///
    /// The frame has the constant operands.
    unsafe fn is_aligned(&self, frame: *const u64, pointers: &[StridedPointer]) -> bool {
        let mut pointers = pointers.iter();
        let mut aligned = self.operands.iter().zip(self.name.alignments());
        aligned.all(|(operand, &alignment)| {
            let pointer = if operand.moves() {
                pointers.next()
            } else {
                None
            };
            let block = self.lanes.cast_signed();
            let (address, step) = match (operand, pointer) {
                (VectorOperand::Uniform { slot, .. }, _) => {
                    // SAFETY: the caller guarantees that the frame has the slots of all constant operands.
                    let address = unsafe { frame.wrapping_add(*slot).read() };
                    (address, 0)
                }
                (VectorOperand::Linear { .. }, Some(pointer)) => {
                    let step = pointer.stride.wrapping_mul(block);
                    (pointer.address.addr() as u64, step)
                }
                (_, Some(pointer)) => (pointer.address.addr() as u64, pointer.stride),
                (_, None) => (0, 0),
            };
            address.is_multiple_of(alignment as u64)
                && step.unsigned_abs().is_multiple_of(alignment)
        })
    }

    /// Returns whether a call with unused lanes is sound: in these, a variant without a mask takes the operands of the
    /// first lane, but the following addresses and integers of linear ones.
    fn is_complete(&self) -> bool {
        self.mask.is_some()
            || !self.operands.iter().any(|operand| {
                operand.is_pointer() || matches!(operand, VectorOperand::Sequence { .. })
            })
    }

    /// Returns the number of lanes before the first one whose result, or else whose operand, is aligned to a register;
    /// 0 if there is no such lane in the first block.
    fn unaligned(&self, pointers: &[StridedPointer]) -> usize {
        let width = self.width;
        let lanes = |(_, size, pointer): (usize, usize, StridedPointer)| {
            let behind = pointer.address.addr() % width;
            let is_dense = size > 0 && pointer.stride == size.cast_signed();
            (is_dense && behind.is_multiple_of(size)).then(|| (width - behind) % width / size)
        };
        let lanes = self.in_memory(pointers).filter_map(lanes).last();
        lanes.filter(|lanes| *lanes < self.lanes).unwrap_or(0)
    }

    /// Calls the variant for a number of blocks, with `used` lanes in each.
    ///
    /// # Safety
    ///
    /// The frame has the constant operands, and the pointers are valid for as many calls as there are lanes in use. If
    /// these are not all lanes, there is one block, and the loop is complete.
    unsafe fn blocks(
        &self,
        frame: *const u64,
        pointers: &[StridedPointer],
        count: usize,
        used: usize,
    ) {
        if count == 0 || used == 0 {
            return;
        }
        let width = self.width;
        let mut constants = Buffer::new();
        // SAFETY: the caller guarantees that the frame has the constant operands.
        let integers = unsafe { self.constants(frame, used, constants.zeroed(width)) };
        let constants = constants.as_mut_ptr();
        let mut dropped = Buffer::new();
        let mut blocks = Blocks {
            function: self.address.as_ptr(),
            integers,
            vectors: array::from_fn(|register| Register {
                address: constants.wrapping_add(register * width),
                step: 0,
            }),
            predicate: self.predicate(used),
            result: self.result.map(|_| Register {
                address: dropped.as_mut_ptr(),
                step: 0,
            }),
        };
        // SAFETY: the caller guarantees that the frame has the constant operands, and that the pointers are valid for the
        // first call.
        unsafe { self.linear(&mut blocks, frame, pointers) };
        let mut copies = Copies::new();
        let lanes = |(register, size, pointer)| self.lanes(register, size, pointer, used);
        let (direct, copied): (SmallVec<[Lanes; 4]>, SmallVec<[Lanes; 4]>) = self
            .in_memory(pointers)
            .map(lanes)
            .partition(|lanes| lanes.is_direct(width));
        for lanes in direct {
            blocks.place(lanes.register, lanes.address, lanes.block, width);
        }
        let at_once = if copied.is_empty() {
            count
        } else {
            Copies::blocks(width).min(count)
        };
        let mut copied: SmallVec<[(Lanes, *mut u8); 4]> = copied
            .into_iter()
            .map(|lanes| (lanes, copies.zeroed(lanes.register, lanes.block * at_once)))
            .collect();
        let mut left = count;
        while left > 0 {
            let count = left.min(at_once);
            for (lanes, copies) in &mut copied {
                if lanes.register < VECTORS {
                    // SAFETY: the caller guarantees that the pointers are valid for these calls, and the copies have
                    // room for them.
                    unsafe { lanes.gather(*copies, count) };
                }
                blocks.place(lanes.register, *copies, lanes.block, width);
            }
            // SAFETY: `new` checked that the processor has these registers and that the variant takes the operands as
            // they were just described; the caller guarantees that the pointers are valid for all lanes in use. The
            // other lanes repeat the first one, or are not selected.
            unsafe { (self.caller)(&blocks, count) };
            for (lanes, copies) in &mut copied {
                if lanes.register == VECTORS {
                    // SAFETY: the caller guarantees that the pointers are valid for these calls, whose results are in
                    // the copies.
                    unsafe { lanes.scatter(*copies, count) };
                }
                lanes.advance(count);
            }
            blocks.advance(count);
            left -= count;
        }
    }

    /// Sets the integer registers of linear operands.
    ///
    /// # Safety
    ///
    /// The frame has the constant operands, and the pointers are valid for one call.
    unsafe fn linear(&self, blocks: &mut Blocks, frame: *const u64, pointers: &[StridedPointer]) {
        let lanes = self.lanes as u64;
        let moving = self.operands.iter().filter(|operand| operand.moves());
        for (operand, pointer) in moving.zip(pointers) {
            match *operand {
                VectorOperand::Linear { integer, step } => {
                    let address = pointer.address.expose_provenance() as u64;
                    // SAFETY: the caller guarantees that the frame has the constant operands.
                    let step = unsafe { step.value(frame) };
                    blocks.set_integer(integer, address, step.cast_unsigned().wrapping_mul(lanes));
                }
                VectorOperand::Sequence {
                    integer: register,
                    size,
                    is_signed,
                    step,
                } => {
                    // SAFETY: the caller guarantees that the pointer is valid for one call.
                    let first = unsafe { integer(pointer.address, size, is_signed) };
                    // SAFETY: the caller guarantees that the frame has the constant operands.
                    let step = unsafe { step.value(frame) };
                    blocks.set_integer(register, first, step.cast_unsigned().wrapping_mul(lanes));
                }
                _ => {}
            }
        }
    }

    /// Yields the operands with a value for each lane, and the result with the register [`VECTORS`]: the first register,
    /// the size of a value, which is 0 for addresses, and the pointer.
    fn in_memory(
        &self,
        pointers: &[StridedPointer],
    ) -> impl Iterator<Item = (usize, usize, StridedPointer)> {
        let moving = self.operands.iter().filter(|operand| operand.moves());
        let operands = moving.map(|operand| match *operand {
            VectorOperand::Strided { register, size } => Some((register, size)),
            VectorOperand::Addresses { register } => Some((register, 0)),
            _ => None,
        });
        let result = self.result.filter(|result| result.is_stored);
        let result = result.map(|result| Some((VECTORS, result.size)));
        operands
            .chain(result)
            .zip(pointers)
            .filter_map(|(found, &pointer)| found.map(|(register, size)| (register, size, pointer)))
    }

    /// Returns the values of an operand or result, with `used` lanes in each block.
    fn lanes(&self, register: usize, size: usize, pointer: StridedPointer, used: usize) -> Lanes {
        let count = self.lanes;
        let spacing = self.spacing(if size == 0 { ADDRESS } else { size });
        Lanes {
            address: pointer.address,
            stride: pointer.stride,
            size,
            spacing,
            count,
            used,
            register,
            block: self.width.max(count * spacing),
        }
    }

    /// Returns the distance between two lanes with values of a size in a register, in bytes.
    fn spacing(&self, size: usize) -> usize {
        if self.name.isa().is_scalable() {
            self.width / self.lanes
        } else {
            size
        }
    }

    /// Sets the vector registers of the operands that are the same in all calls and of the mask, and returns the integer
    /// registers.
    ///
    /// # Safety
    ///
    /// The frame has the slots of all constant operands.
    unsafe fn constants(
        &self,
        frame: *const u64,
        used: usize,
        vectors: &mut [u8],
    ) -> [(u64, u64); INTEGERS] {
        let (lanes, width) = (self.lanes, self.width);
        let mut integers = [(0, 0); INTEGERS];
        let mut set = |integer: usize, value| {
            if let Some(register) = integers.get_mut(integer) {
                *register = (value, 0);
            }
        };
        let value = |slot: usize| {
            // SAFETY: the caller guarantees that the frame has the slots of all constant operands.
            unsafe { frame.wrapping_add(slot).read() }
        };
        for operand in &self.operands {
            match *operand {
                VectorOperand::Repeated {
                    register,
                    size,
                    slot,
                } => {
                    let value = value(slot).to_le_bytes();
                    let lane = value.get(..self.spacing(size)).unwrap_or_default();
                    fill(vectors, register * width, lane, lanes);
                }
                VectorOperand::Uniform { integer, slot } => set(integer, value(slot)),
                _ => {}
            }
        }
        match self.mask {
            Some(Mask::Vector { register, size }) => {
                let lane = [0xff; ADDRESS];
                let lane = lane.get(..size).unwrap_or_default();
                fill(vectors, register * width, lane, used);
            }
            Some(Mask::Bits { integer }) => {
                let unused = u64::BITS.saturating_sub(u32::try_from(used).unwrap_or(u64::BITS));
                set(integer, u64::MAX.checked_shr(unused).unwrap_or(0));
            }
            Some(Mask::Predicate) | None => {}
        }
        integers
    }

    /// Returns the predicate register with the mask of a block, if the variant takes one.
    fn predicate(&self, used: usize) -> [u8; PREDICATE] {
        let mut bits = [0; PREDICATE];
        if self.mask == Some(Mask::Predicate) {
            for bit in (0..used).map(|lane| lane * (self.width / self.lanes)) {
                if let Some(byte) = bits.get_mut(bit / 8) {
                    *byte |= 1_u8 << (bit % 8);
                }
            }
        }
        bits
    }
}
