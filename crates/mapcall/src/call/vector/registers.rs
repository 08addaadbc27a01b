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
    Linear { integer: usize, step: isize },
    /// The value of the first lane in an integer register, with the difference between the values of two lanes.
    Sequence {
        integer: usize,
        size: usize,
        is_signed: bool,
        step: i64,
    },
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
    pub(super) integers: usize,
    pub(super) vectors: usize,
}

impl<'a> Registers<'a> {
    pub(super) fn new(name: &'a VectorName) -> Self {
        Self {
            name,
            integers: 0,
            vectors: 0,
        }
    }

    /// Assigns the registers of one parameter; `None` if there are too few, or if the parameter has no value of the
    /// operand's kind.
    pub(super) fn operand(
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
            (VectorParameter::Linear(step), Strided) => match value.kind {
                Kind::Integer { is_signed } => VectorOperand::Sequence {
                    integer: self.integer()?,
                    size,
                    is_signed,
                    step,
                },
                _ => return None,
            },
            _ => return None,
        })
    }

    /// Returns the size of the result's lanes, if one register holds them.
    pub(super) fn result(&self, value: &Value) -> Option<usize> {
        let size = lane_size(value)?;
        let bytes = size.checked_mul(self.name.lanes())?;
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
        let bytes = size.checked_mul(self.name.lanes())?;
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
