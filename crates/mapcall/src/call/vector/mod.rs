//! Loops of calls through vector variants of a function: code that compilers and libraries export for several
//! calls of the function at once, by the vector function ABI of the machine.
//!
//! `name` reads what the symbol of a variant says, `isa` has the instruction sets, and `blocks` makes the calls. A
//! [`VectorLoop`] knows how a variant takes the operands of a loop.

mod blocks;
mod isa;
mod name;

use std::array;
use std::ffi::c_void;
use std::ptr::NonNull;

use smallvec::SmallVec;

pub use isa::Isa;
pub use name::{VectorName, VectorParameter};

use super::Trampoline;
use super::operand::{OperandKind, StridedPointer};
use super::value::{Kind, Value};
use crate::ctype::Float;
use blocks::{Blocks, Buffer, INTEGERS, Lanes, Register, VECTORS};

/// The size of an address in a lane, in bytes.
const ADDRESS: usize = size_of::<u64>();

/// A loop that calls a vector variant of one function for consecutive positions of its operands.
///
/// It takes the pointers of a [`CallLoop`](super::CallLoop) with the same kinds of operands. A call at the end that
/// has fewer lanes repeats the operands of its first lane in the others, so that a result depends on nothing but its
/// operands. Where that is not sound, because the function takes pointers and the variant no mask, the loop leaves
/// these calls out.
#[derive(Debug)]
pub struct VectorLoop {
    name: VectorName,
    address: NonNull<c_void>,
    operands: Box<[VectorOperand]>,
    result: Option<VectorResult>,
    mask: Option<Mask>,
    /// The number of vector registers that are passed.
    vectors: usize,
    /// The number of pointers that [`run`](Self::run) takes.
    pointers: usize,
}

// SAFETY: the type has only the address of code; `run`, which calls it, is unsafe.
unsafe impl Send for VectorLoop {}
// SAFETY: the type has no interior mutability, and its methods read no memory at the address.
unsafe impl Sync for VectorLoop {}

/// How an operand is passed to a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VectorOperand {
    /// Values in memory, one for each lane, in registers from this one on.
    Strided { register: usize, size: usize },
    /// The addresses of a pointer, one for each lane.
    Addresses { register: usize },
    /// One value of the frame in all lanes.
    Repeated {
        register: usize,
        size: usize,
        slot: usize,
    },
    /// One value of the frame in an integer register.
    Uniform { integer: usize, slot: usize },
    /// The address of the first lane in an integer register, with the distance between lanes, in bytes.
    Linear { integer: usize, step: isize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct VectorResult {
    /// The size of a lane, in bytes.
    size: usize,
    /// Whether it is stored to the last pointer.
    is_stored: bool,
}

/// How a variant takes its mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mask {
    /// All bits of a lane of this size are set if it is selected.
    Vector { register: usize, size: usize },
    /// A bit for each lane, in an integer register.
    Bits { integer: usize },
}

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

    /// Makes the first of `count` calls, and returns their number: all of them if no operand is a pointer; none if
    /// an operand does not move by the step that the variant expects.
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
        if pointers.len() != self.pointers || !self.fits(pointers) {
            return 0;
        }
        let lanes = self.name.lanes();
        let (blocks, rest) = (count / lanes, count % lanes);
        // SAFETY: the caller guarantees that the frame has the constant operands, and that the pointers are valid for
        // `count` calls, of which these are the first.
        unsafe { self.blocks(frame, pointers, blocks, lanes) };
        let made = blocks * lanes;
        let is_complete = self.mask.is_some() || !self.has_pointers();
        if rest == 0 || !is_complete {
            return made;
        }
        let moved = |pointer: &StridedPointer| pointer.after(made);
        let pointers: SmallVec<[StridedPointer; 4]> = pointers.iter().map(moved).collect();
        // SAFETY: the caller guarantees that the frame has the constant operands, and that the pointers are valid for
        // `count` calls, of which these are the last.
        unsafe { self.blocks(frame, &pointers, 1, rest) };
        count
    }

    /// Returns whether the linear operands move as the variant expects.
    fn fits(&self, pointers: &[StridedPointer]) -> bool {
        let moving = self.operands.iter().filter(|operand| operand.moves());
        moving
            .zip(pointers)
            .all(|(operand, pointer)| match operand {
                VectorOperand::Linear { step, .. } => pointer.stride == *step,
                _ => true,
            })
    }

    /// Returns whether the function takes a pointer that moves from call to call.
    fn has_pointers(&self) -> bool {
        self.operands.iter().any(VectorOperand::is_pointer)
    }

    /// Calls the variant for a number of blocks, with `used` lanes in each.
    ///
    /// # Safety
    ///
    /// The frame has the constant operands, and the pointers are valid for as many calls as there are lanes in use. If
    /// these are not all lanes, there is one block, and the variant has a mask or no operand is a pointer.
    unsafe fn blocks(
        &self,
        frame: *const u64,
        pointers: &[StridedPointer],
        count: usize,
        used: usize,
    ) {
        if count == 0 {
            return;
        }
        let (lanes, width) = (self.name.lanes(), self.name.isa().register());
        // SAFETY: the caller guarantees that the frame has the constant operands.
        let (mut operands, integers) = unsafe { self.constants(frame, used) };
        let operands = operands.as_mut_ptr();
        let mut results = Buffer::new();
        let results = results.as_mut_ptr();
        let mut blocks = Blocks {
            function: self.address.as_ptr(),
            integers,
            vectors: array::from_fn(|register| Register {
                address: operands.wrapping_add(register * width),
                step: 0,
            }),
            result: None,
            gathered: SmallVec::new(),
            scattered: None,
        };
        let copied = |pointer: StridedPointer, size, buffer| Lanes {
            address: pointer.address,
            stride: pointer.stride,
            size,
            count: lanes,
            used,
            buffer,
        };
        let is_dense = |pointer: StridedPointer, size: usize| {
            pointer.stride == size.cast_signed() && used == lanes
        };
        let moving = |operand: &&VectorOperand| operand.moves();
        for (operand, &pointer) in self.operands.iter().filter(moving).zip(pointers) {
            match *operand {
                VectorOperand::Linear { integer, step } => {
                    let address = pointer.address.expose_provenance() as u64;
                    let moved = step.wrapping_mul(lanes.cast_signed()) as i64;
                    blocks.set_integer(integer, address, moved.cast_unsigned());
                }
                VectorOperand::Strided { register, size }
                    if is_dense(pointer, size) && lanes * size >= width =>
                {
                    blocks.read_directly(register, pointer.address, lanes * size, width);
                }
                VectorOperand::Strided { register, size } => {
                    let buffer = operands.wrapping_add(register * width);
                    blocks.gathered.push(copied(pointer, size, buffer));
                }
                VectorOperand::Addresses { register } => {
                    let buffer = operands.wrapping_add(register * width);
                    blocks.gathered.push(copied(pointer, 0, buffer));
                }
                VectorOperand::Repeated { .. } | VectorOperand::Uniform { .. } => {}
            }
        }
        if let Some(VectorResult { size, is_stored }) = self.result {
            let mut register = Register {
                address: results,
                step: 0,
            };
            if let Some(&target) = pointers.last().filter(|_| is_stored) {
                if is_dense(target, size) && lanes * size == width {
                    register.address = target.address;
                    register.step = width.cast_signed();
                } else {
                    blocks.scattered = Some(copied(target, size, results));
                }
            }
            blocks.result = Some(register);
        }
        // SAFETY: `new` checked that the processor has these registers and that the variant takes the operands as they
        // were just described; the caller guarantees that the pointers are valid for all lanes in use. The other lanes
        // repeat the first one, or are not selected.
        unsafe { blocks.run(width, self.vectors, count) };
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

impl VectorOperand {
    /// Returns whether the operand moves from call to call, so that there is a pointer for it.
    fn moves(&self) -> bool {
        !matches!(self, Self::Repeated { .. } | Self::Uniform { .. })
    }

    /// Returns whether the function takes the operand as a pointer that moves.
    fn is_pointer(&self) -> bool {
        matches!(self, Self::Addresses { .. } | Self::Linear { .. })
    }
}

/// The registers of a variant's parameters, assigned in the order of the parameters.
struct Registers<'a> {
    name: &'a VectorName,
    integers: usize,
    vectors: usize,
}

impl<'a> Registers<'a> {
    fn new(name: &'a VectorName) -> Self {
        Self {
            name,
            integers: 0,
            vectors: 0,
        }
    }

    /// Assigns the registers of one parameter; `None` if there are too few, or if the parameter has no value of the
    /// operand's kind.
    fn operand(
        &mut self,
        value: &Value,
        slot: usize,
        kind: OperandKind,
        parameter: VectorParameter,
    ) -> Option<VectorOperand> {
        use OperandKind::{Constant, Pointer, Strided};
        let size = lane_size(value)?;
        let is_float = matches!(value.kind, Kind::Float(_));
        Some(match (parameter, kind) {
            (VectorParameter::Vector, Constant) => VectorOperand::Repeated {
                register: self.vector(size, is_float)?,
                size,
                slot,
            },
            (VectorParameter::Vector, Strided) => VectorOperand::Strided {
                register: self.vector(size, is_float)?,
                size,
            },
            (VectorParameter::Vector, Pointer) => VectorOperand::Addresses {
                register: self.vector(ADDRESS, false)?,
            },
            // A floating-point number is the first lane of a register.
            (VectorParameter::Uniform, Constant) if is_float => VectorOperand::Repeated {
                register: self.registers(1)?,
                size,
                slot,
            },
            (VectorParameter::Uniform, Constant) => VectorOperand::Uniform {
                integer: self.integer()?,
                slot,
            },
            (VectorParameter::Uniform, Pointer) => VectorOperand::Linear {
                integer: self.integer()?,
                step: 0,
            },
            (VectorParameter::Linear(step), Pointer) => VectorOperand::Linear {
                integer: self.integer()?,
                step: isize::try_from(step).ok()?,
            },
            _ => return None,
        })
    }

    /// Returns the size of the result's lanes, if one register holds them.
    fn result(&self, value: &Value) -> Option<usize> {
        let size = lane_size(value)?;
        let bytes = size.checked_mul(self.name.lanes())?;
        let is_float = matches!(value.kind, Kind::Float(_));
        (ADDRESS..=self.width(is_float))
            .contains(&bytes)
            .then_some(size)
    }

    /// Returns the size of a lane of the characteristic type, by which the number of lanes and the mask are made: that
    /// of the result, else of the first parameter with a value for each lane, else `int`.
    fn characteristic(&self, returns: &Value, parameters: &[Value]) -> Option<(usize, bool)> {
        let mut with_lanes = parameters.iter().zip(self.name.parameters());
        let first = with_lanes.find(|(_, parameter)| **parameter == VectorParameter::Vector);
        let value = match returns.kind {
            Kind::Void => first.map(|(value, _)| value),
            _ => Some(returns),
        };
        let is_float = |value: &Value| matches!(value.kind, Kind::Float(_));
        value.map_or(Some((size_of::<i32>(), false)), |value| {
            Some((lane_size(value)?, is_float(value)))
        })
    }

    /// Assigns the register of the mask.
    fn mask(&mut self, (size, is_float): (usize, bool)) -> Option<Mask> {
        // GCC and Clang pass the masks of AVX-512 as integers.
        if self.name.isa() == Isa::Avx512 {
            return Some(Mask::Bits {
                integer: self.integer()?,
            });
        }
        Some(Mask::Vector {
            register: self.vector(size, is_float)?,
            size,
        })
    }

    fn integer(&mut self) -> Option<usize> {
        let integer = self.integers;
        self.integers += 1;
        (integer < INTEGERS).then_some(integer)
    }

    /// Assigns the registers of lanes of a size, and returns the first. A register that is not filled has the lanes
    /// in its low bytes.
    fn vector(&mut self, size: usize, is_float: bool) -> Option<usize> {
        let bytes = size.checked_mul(self.name.lanes())?;
        let (width, whole) = (self.width(is_float), self.name.isa().register());
        if bytes < ADDRESS || (bytes > width && (width < whole || bytes % width != 0)) {
            return None;
        }
        self.registers(bytes.div_ceil(width))
    }

    fn registers(&mut self, count: usize) -> Option<usize> {
        let first = self.vectors;
        self.vectors += count;
        (self.vectors <= VECTORS).then_some(first)
    }

    /// Returns the size of the registers that hold such lanes, in bytes.
    fn width(&self, is_float: bool) -> usize {
        if is_float {
            self.name.isa().register()
        } else {
            self.name.isa().integer_register()
        }
    }
}

/// Returns the size of a lane with such a value, in bytes; `None` if vectors don't have such values.
fn lane_size(value: &Value) -> Option<usize> {
    match value.kind {
        Kind::Integer { .. } | Kind::Float(Float::Float | Float::Double) => {
            matches!(value.size, 1 | 2 | 4 | 8).then_some(value.size)
        }
        _ => None,
    }
}
