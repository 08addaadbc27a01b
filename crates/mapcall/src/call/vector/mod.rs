//! Loops of calls through vector variants of a function: code that compilers and libraries export for several
//! calls of the function at once, by the vector function ABI of the machine.
//!
//! `name` reads what the symbol of a variant says, `isa` has the instruction sets, `registers` assigns the registers of
//! parameters, `lanes` copies values that are not contiguous, and `blocks` makes the calls. A [`VectorLoop`] knows how
//! a variant takes the operands of a loop.

mod blocks;
mod isa;
mod lanes;
mod name;
mod registers;

use std::array;
use std::ffi::c_void;
use std::ptr::NonNull;

use smallvec::SmallVec;

pub use isa::Isa;
pub use name::{VectorName, VectorParameter};

use super::Trampoline;
use super::operand::{OperandKind, StridedPointer};
use super::value::{Kind, Value};
use blocks::{Blocks, Buffer, INTEGERS, Register, VECTORS};
use lanes::{COPIED_BLOCKS, Copies, Lanes};
use registers::{ADDRESS, Mask, Registers, VectorOperand, VectorResult, lane_size};

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
    address: NonNull<c_void>,
    operands: Box<[VectorOperand]>,
    result: Option<VectorResult>,
    mask: Option<Mask>,
    /// The number of vector registers that are passed.
    vectors: usize,
    /// The number of integer registers that are passed.
    integers: usize,
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
    /// `stores` tells whether results are written to the last pointer.
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
        stores: bool,
    ) -> Option<Self> {
        let shared = &*trampoline.shared;
        let parameters = &shared.parameters;
        let given = name.parameters();
        if !name.isa().is_available()
            || given.len() != parameters.len()
            || given.len() != kinds.len()
        {
            return None;
        }
        let mut registers = Registers::new(name);
        let slots = shared.layout.parameters();
        let mut operands = Vec::with_capacity(given.len());
        for (((value, &slot), kind), &parameter) in
            parameters.iter().zip(slots).zip(kinds).zip(given)
        {
            operands.push(registers.operand(value, slot, *kind, parameter)?);
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
        let moving = |kind: &&OperandKind| **kind != OperandKind::Constant;
        Some(Self {
            name: name.clone(),
            address,
            operands: operands.into(),
            result,
            mask,
            vectors: registers.vectors,
            integers: registers.integers,
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
        let sets = Isa::ALL.into_iter().rev().filter(|isa| isa.is_available());
        let symbol = |isa: Isa| {
            let (letter, lanes) = (isa.letter(), isa.register() / size);
            format!(
                "_ZGV{letter}N{lanes}{}_{function}",
                "v".repeat(parameters.len())
            )
        };
        sets.map(symbol).collect()
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
            count.min(self.name.lanes())
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
        if pointers.len() != self.pointers {
            return 0;
        }
        // SAFETY: the caller guarantees that the pointers are valid for `count` calls.
        let fitting = unsafe { self.fitting(pointers, count) };
        let lanes = self.name.lanes();
        let mut made = 0;
        let pointers = |made| -> SmallVec<[StridedPointer; 4]> {
            pointers.iter().map(|pointer| pointer.after(made)).collect()
        };
        if self.is_complete() && fitting / lanes >= ALIGNED_BLOCKS {
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

    /// Returns the number of calls from the first one on in which the linear operands move as the variant expects.
    ///
    /// # Safety
    ///
    /// The pointers are valid for `count` calls.
    unsafe fn fitting(&self, pointers: &[StridedPointer], count: usize) -> usize {
        let moving = self.operands.iter().filter(|operand| operand.moves());
        moving
            .zip(pointers)
            .fold(count, |count, (operand, pointer)| match *operand {
                VectorOperand::Linear { step, .. } if pointer.stride != step => 0,
                VectorOperand::Sequence {
                    size,
                    is_signed,
                    step,
                    ..
                } => {
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
        let width = self.name.isa().register();
        let lanes = |(_, size, pointer): (usize, usize, StridedPointer)| {
            let behind = pointer.address.addr() % width;
            let is_dense = size > 0 && pointer.stride == size.cast_signed();
            (is_dense && behind.is_multiple_of(size)).then(|| (width - behind) % width / size)
        };
        let lanes = self.in_memory(pointers).filter_map(lanes).last();
        lanes
            .filter(|lanes| *lanes < self.name.lanes())
            .unwrap_or(0)
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
        let width = self.name.isa().register();
        // SAFETY: the caller guarantees that the frame has the constant operands.
        let (mut constants, integers) = unsafe { self.constants(frame, used) };
        let constants = constants.as_mut_ptr();
        let mut dropped = Buffer::new();
        let mut blocks = Blocks {
            function: self.address.as_ptr(),
            integers,
            has_integers: self.integers > 0,
            vectors: array::from_fn(|register| Register {
                address: constants.wrapping_add(register * width),
                step: 0,
            }),
            result: self.result.map(|_| Register {
                address: dropped.as_mut_ptr(),
                step: 0,
            }),
        };
        // SAFETY: the caller guarantees that the pointers are valid for the first call.
        unsafe { self.linear(&mut blocks, pointers) };
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
            COPIED_BLOCKS.min(count)
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
            unsafe { blocks.run(width, self.vectors, count) };
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
    /// The pointers are valid for one call.
    unsafe fn linear(&self, blocks: &mut Blocks, pointers: &[StridedPointer]) {
        let lanes = self.name.lanes();
        let moving = self.operands.iter().filter(|operand| operand.moves());
        for (operand, pointer) in moving.zip(pointers) {
            match *operand {
                VectorOperand::Linear { integer, step } => {
                    let address = pointer.address.expose_provenance() as u64;
                    let moved = step.wrapping_mul(lanes.cast_signed()) as i64;
                    blocks.set_integer(integer, address, moved.cast_unsigned());
                }
                VectorOperand::Sequence {
                    integer: register,
                    size,
                    is_signed,
                    step,
                } => {
                    // SAFETY: the caller guarantees that the pointer is valid for one call.
                    let first = unsafe { integer(pointer.address, size, is_signed) };
                    let moved = step.cast_unsigned().wrapping_mul(lanes as u64);
                    blocks.set_integer(register, first, moved);
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
        let count = self.name.lanes();
        let in_register = if size == 0 { ADDRESS } else { size };
        Lanes {
            address: pointer.address,
            stride: pointer.stride,
            size,
            count,
            used,
            register,
            block: self.name.isa().register().max(count * in_register),
        }
    }

    /// Returns the registers of the operands that are the same in all calls, and of the mask.
    ///
    /// # Safety
    ///
    /// The frame has the slots of all constant operands.
    unsafe fn constants(&self, frame: *const u64, used: usize) -> (Buffer, [(u64, u64); INTEGERS]) {
        let (lanes, width) = (self.name.lanes(), self.name.isa().register());
        let mut vectors = Buffer::new();
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
                    vectors.fill(
                        register * width,
                        value.get(..size).unwrap_or_default(),
                        lanes,
                    );
                }
                VectorOperand::Uniform { integer, slot } => set(integer, value(slot)),
                _ => {}
            }
        }
        match self.mask {
            Some(Mask::Vector { register, size }) => {
                vectors.fill(
                    register * width,
                    [0xff; ADDRESS].get(..size).unwrap_or_default(),
                    used,
                );
            }
            Some(Mask::Bits { integer }) => {
                let unused = u64::BITS.saturating_sub(u32::try_from(used).unwrap_or(u64::BITS));
                set(integer, u64::MAX.checked_shr(unused).unwrap_or(0));
            }
            None => {}
        }
        (vectors, integers)
    }
}

/// Reads an integer of 1, 2, 4 or 8 bytes, extended to 64 bits.
///
/// # Safety
///
/// The address is valid for reads of `size` bytes.
unsafe fn integer(address: *const u8, size: usize, is_signed: bool) -> u64 {
    let mut bytes = [0; ADDRESS];
    // SAFETY: the caller guarantees that the bytes can be read, and there is room for the largest integer.
    unsafe { address.copy_to_nonoverlapping(bytes.as_mut_ptr(), size.min(ADDRESS)) };
    let kind = Kind::Integer { is_signed };
    let value = Value {
        kind,
        size,
        alignment: size,
    };
    value.extend(u64::from_le_bytes(bytes))
}
