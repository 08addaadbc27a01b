//! How a variant takes its parameters: the registers that the vector function ABI assigns to them.

use super::blocks::{INTEGERS, VECTORS};
use super::{Isa, VectorName, VectorParameter};
use crate::call::operand::OperandKind;
use crate::call::value::{Kind, Value};
use crate::ctype::Float;

/// The size of an address in a lane, in bytes.
pub(super) const ADDRESS: usize = size_of::<u64>();

/// How an operand is passed to a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VectorOperand {
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
    Linear { integer: usize, step: Step },
    /// The value of the first lane in an integer register, with the difference between the values of two lanes.
    Sequence {
        integer: usize,
        size: usize,
        is_signed: bool,
        step: Step,
    },
}

/// The difference between the values of two lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Constant(i64),
    /// The integer in a slot of the frame, times the size of an item.
    Variable {
        slot: usize,
        size: usize,
        is_signed: bool,
        scale: i64,
    },
}

impl Step {
    /// Returns the step.
    ///
    /// # Safety
    ///
    /// The frame has the slots of all constant operands.
    pub(super) unsafe fn value(self, frame: *const u64) -> i64 {
        match self {
            Self::Constant(step) => step,
            Self::Variable {
                slot,
                size,
                is_signed,
                scale,
            } => {
                // SAFETY: the caller guarantees that the frame has the slot, which is that of a constant operand.
                let value = unsafe { integer(frame.wrapping_add(slot).cast(), size, is_signed) };
                value.cast_signed().wrapping_mul(scale)
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct VectorResult {
    /// The size of a lane, in bytes.
    pub(super) size: usize,
    /// Whether it is stored to the last pointer.
    pub(super) is_stored: bool,
}

/// How a variant takes its mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mask {
    /// All bits of a lane of this size are set if it is selected.
    Vector { register: usize, size: usize },
    /// A bit for each lane, in an integer register.
    Bits { integer: usize },
    /// The first predicate register of SVE: the first of as many bits as a lane has bytes is set if it is selected.
    Predicate,
}

impl VectorOperand {
    /// Returns whether the operand moves from call to call, so that there is a pointer for it.
    pub(super) fn moves(&self) -> bool {
        !matches!(self, Self::Repeated { .. } | Self::Uniform { .. })
    }

    /// Returns whether the function takes the operand as a pointer that moves.
    pub(super) fn is_pointer(&self) -> bool {
        matches!(self, Self::Addresses { .. } | Self::Linear { .. })
    }
}

/// The registers of a variant's parameters, assigned in the order of the parameters.
pub(super) struct Registers<'a> {
    name: &'a VectorName,
    lanes: usize,
    pub(super) integers: usize,
    pub(super) vectors: usize,
}

impl<'a> Registers<'a> {
    /// Starts with the first registers of a variant with that many lanes.
    pub(super) fn new(name: &'a VectorName, lanes: usize) -> Self {
        Self {
            name,
            lanes,
            integers: 0,
            vectors: 0,
        }
    }

    /// Assigns the registers of one parameter, whose step is that of a linear one; `None` if there are too few, or if
    /// the parameter has no value of the operand's kind.
    pub(super) fn operand(
        &mut self,
        value: &Value,
        slot: usize,
        kind: OperandKind,
        parameter: VectorParameter,
        step: Option<Step>,
    ) -> Option<VectorOperand> {
        use OperandKind::{Constant, Pointer, Strided};
        use VectorParameter::{Linear, LinearBy};
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
                step: Step::Constant(0),
            },
            (Linear(_) | LinearBy(_), Pointer) => VectorOperand::Linear {
                integer: self.integer()?,
                step: step?,
            },
            (Linear(_) | LinearBy(_), Strided) => match value.kind {
                Kind::Integer { is_signed } => VectorOperand::Sequence {
                    integer: self.integer()?,
                    size,
                    is_signed,
                    step: step?,
                },
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Returns the size of the result's lanes, if one register holds them.
    pub(super) fn result(&self, value: &Value) -> Option<usize> {
        let size = lane_size(value)?;
        if self.name.isa().is_scalable() {
            return Some(size);
        }
        let bytes = size.checked_mul(self.lanes)?;
        let is_float = matches!(value.kind, Kind::Float(_));
        (ADDRESS..=self.width(is_float))
            .contains(&bytes)
            .then_some(size)
    }

    /// Returns the size of a lane of the characteristic type, by which the number of lanes and the mask are made: that
    /// of the result, else of the first parameter with a value for each lane, else `int`.
    pub(super) fn characteristic(
        &self,
        returns: &Value,
        parameters: &[Value],
    ) -> Option<(usize, bool)> {
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
    pub(super) fn mask(&mut self, (size, is_float): (usize, bool)) -> Option<Mask> {
        if self.name.isa().is_scalable() {
            return Some(Mask::Predicate);
        }
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

    pub(super) fn integer(&mut self) -> Option<usize> {
        let integer = self.integers;
        self.integers += 1;
        (integer < INTEGERS).then_some(integer)
    }

    /// Assigns the registers of lanes of a size, and returns the first. A register that is not filled has the lanes
    /// in its low bytes.
    pub(super) fn vector(&mut self, size: usize, is_float: bool) -> Option<usize> {
        if self.name.isa().is_scalable() {
            return self.registers(1);
        }
        let bytes = size.checked_mul(self.lanes)?;
        let (width, whole) = (self.width(is_float), self.name.isa().register());
        if bytes < ADDRESS || (bytes > width && (width < whole || bytes % width != 0)) {
            return None;
        }
        self.registers(bytes.div_ceil(width))
    }

    pub(super) fn registers(&mut self, count: usize) -> Option<usize> {
        let first = self.vectors;
        self.vectors += count;
        (self.vectors <= VECTORS).then_some(first)
    }

    /// Returns the size of the registers that hold such lanes, in bytes.
    pub(super) fn width(&self, is_float: bool) -> usize {
        if is_float {
            self.name.isa().register()
        } else {
            self.name.isa().integer_register()
        }
    }
}

/// Returns the size of a lane with such a value, in bytes; `None` if vectors don't have such values.
pub(super) fn lane_size(value: &Value) -> Option<usize> {
    match value.kind {
        Kind::Integer { .. } | Kind::Float(Float::Float | Float::Double) => {
            matches!(value.size, 1 | 2 | 4 | 8).then_some(value.size)
        }
        _ => None,
    }
}

/// Returns the size of the widest value of a function by which variants for SVE count their lanes: each register has as
/// many of these as fit, also for narrower values (`vfabia64` 3.1 and 3.3). `None` if there is none.
///
/// The value of a pointer that is uniform or linear is what it points to; `targets` has the size of that, which is 0 if
/// it is not known.
pub(super) fn widest(
    returns: &Value,
    parameters: &[Value],
    targets: &[usize],
    name: &VectorName,
) -> Option<usize> {
    let operands = parameters.iter().zip(targets).zip(name.parameters());
    let operands = operands.map(|((value, &target), parameter)| {
        if *parameter != VectorParameter::Vector && matches!(target, 1 | 2 | 4 | 8) {
            target
        } else {
            value.size
        }
    });
    let result = (returns.kind != Kind::Void).then_some(returns.size);
    operands.chain(result).max()
}

/// Reads an integer of 1, 2, 4 or 8 bytes, extended to 64 bits.
///
/// # Safety
///
/// The address is valid for reads of `size` bytes.
pub(super) unsafe fn integer(address: *const u8, size: usize, is_signed: bool) -> u64 {
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
