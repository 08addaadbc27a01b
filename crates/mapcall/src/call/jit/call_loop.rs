//! The code of a loop of calls: it loads arguments from memory into registers and stores results to memory,
//! without a frame.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    self, AbiParam, Block, BlockArg, InstBuilder, MemFlagsData, Type, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;

use super::callee::Callee;
use super::{Class, Signature};
use crate::call::abi;
use crate::call::operand::{OperandKind, Stop};
use crate::call::value::{Kind, Value};

/// The size of a slot of a frame, and of the part of a value that one register holds, in bytes.
const SLOT: usize = size_of::<u64>();

/// The properties of a loop on which its code depends: the key in the cache of compiled code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::call) struct Pattern {
    parameters: Vec<Source>,
    results: Vec<Cell>,
    /// The value that AL is set to before each call, on machines that have it: see
    /// [`callee`](super::callee).
    vectors: Option<u8>,
    /// Whether results are stored to the last pointer.
    stores: bool,
    stop: Stop,
    /// Whether all pointers are contiguous, so that their strides are constants of the code.
    is_dense: bool,
    /// The first slot of the frame for a result that stops the loop.
    result: usize,
}

/// The source of a parameter's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Source {
    /// Slots of the frame, from that index on.
    Frame(usize, Vec<Cell>),
    /// The address of a pointer itself.
    Address,
    /// The value at the address of a pointer, and its size in bytes, which is the stride of a contiguous pointer.
    Memory(Vec<Cell>, usize),
}

/// The part of a value that one register holds, with its size in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cell {
    Integer { size: usize, is_signed: bool },
    Half,
    Single,
    Double,
}

impl Pattern {
    /// Describes a loop; `None` if a value isn't passed in registers, or its parts have sizes that no
    /// instruction loads.
    ///
    /// `slots` are the first slots of the parameters in the frame.
    pub(in crate::call) fn new(
        (returns, result): (&Value, usize),
        parameters: &[Value],
        slots: &[usize],
        kinds: &[OperandKind],
        (stores, stop): (bool, Stop),
        is_dense: bool,
    ) -> Option<Self> {
        // A loop is compiled only if a single call is.
        let Signature { vectors, .. } = Signature::new(returns, parameters)?;
        let source = |((value, &slot), kind): ((&Value, &usize), &OperandKind)| {
            Some(match kind {
                OperandKind::Constant => Source::Frame(slot, frame_cells(value)?),
                OperandKind::Pointer => Source::Address,
                OperandKind::Strided => Source::Memory(memory_cells(value)?, value.size),
            })
        };
        Some(Self {
            parameters: parameters
                .iter()
                .zip(slots)
                .zip(kinds)
                .map(source)
                .collect::<Option<_>>()?,
            results: memory_cells(returns)?,
            vectors,
            stores,
            stop,
            is_dense,
            result,
        })
    }

    pub(super) fn vectors(&self) -> Option<u8> {
        self.vectors
    }
}

/// Returns the parts of a value in a frame, each a whole slot.
fn frame_cells(value: &Value) -> Option<Vec<Cell>> {
    let classes = abi::registers(value)?;
    let cell = |class| match class {
        Class::Integer => Cell::Integer {
            size: SLOT,
            is_signed: false,
        },
        Class::Float => Cell::Double,
    };
    Some(classes.into_iter().map(cell).collect())
}

/// Returns the parts of a value in memory; `None` if the last one has a size that no instruction loads.
fn memory_cells(value: &Value) -> Option<Vec<Cell>> {
    let is_signed = matches!(value.kind, Kind::Integer { is_signed: true });
    let classes = abi::registers(value)?;
    let sizes = (0..).map(|index: usize| value.size.saturating_sub(index * SLOT).min(SLOT));
    let cell = |(class, size)| match (class, size) {
        (Class::Integer, 1 | 2 | 4 | 8) => Some(Cell::Integer { size, is_signed }),
        (Class::Float, 2) => Some(Cell::Half),
        (Class::Float, 4) => Some(Cell::Single),
        (Class::Float, 8) => Some(Cell::Double),
        _ => None,
    };
    classes.into_iter().zip(sizes).map(cell).collect()
}

impl Cell {
    /// Returns the type of its register.
    fn register(self) -> Type {
        match self {
            Self::Integer { .. } => types::I64,
            Self::Half | Self::Single => types::F32,
            Self::Double => types::F64,
        }
    }

    /// Returns its size in memory, in bytes.
    fn size(self) -> usize {
        match self {
            Self::Integer { size, .. } => size,
            Self::Half => 2,
            Self::Single => 4,
            Self::Double => 8,
        }
    }

    /// Reduces a register to the bits of the integer's C type: those above are undefined.
    fn narrowed(self, builder: &mut FunctionBuilder, value: ir::Value) -> ir::Value {
        match self {
            Self::Integer { size: 1, .. } => builder.ins().ireduce(types::I8, value),
            Self::Integer { size: 2, .. } => builder.ins().ireduce(types::I16, value),
            Self::Integer { size: 4, .. } => builder.ins().ireduce(types::I32, value),
            _ => value,
        }
    }

    fn load(self, builder: &mut FunctionBuilder, address: ir::Value, offset: i32) -> ir::Value {
        // The address need not be aligned: a record may be `packed`.
        let flags = MemFlagsData::new().with_notrap();
        let at = (flags, address, offset);
        match self {
            Self::Integer {
                size: 1,
                is_signed: true,
            } => builder.ins().sload8(types::I64, at.0, at.1, at.2),
            Self::Integer { size: 1, .. } => builder.ins().uload8(types::I64, at.0, at.1, at.2),
            Self::Integer {
                size: 2,
                is_signed: true,
            } => builder.ins().sload16(types::I64, at.0, at.1, at.2),
            Self::Integer { size: 2, .. } => builder.ins().uload16(types::I64, at.0, at.1, at.2),
            Self::Integer {
                size: 4,
                is_signed: true,
            } => builder.ins().sload32(at.0, at.1, at.2),
            Self::Integer { size: 4, .. } => builder.ins().uload32(at.0, at.1, at.2),
            Self::Integer { .. } => builder.ins().load(types::I64, at.0, at.1, at.2),
            Self::Half => {
                let bits = builder.ins().uload16(types::I32, at.0, at.1, at.2);
                builder.ins().bitcast(types::F32, MemFlagsData::new(), bits)
            }
            Self::Single => builder.ins().load(types::F32, at.0, at.1, at.2),
            Self::Double => builder.ins().load(types::F64, at.0, at.1, at.2),
        }
    }

    fn store(
        self,
        builder: &mut FunctionBuilder,
        value: ir::Value,
        address: ir::Value,
        offset: i32,
    ) {
        let flags = MemFlagsData::new().with_notrap();
        match self {
            Self::Integer { size: 1, .. } => builder.ins().istore8(flags, value, address, offset),
            Self::Integer { size: 2, .. } => builder.ins().istore16(flags, value, address, offset),
            Self::Integer { size: 4, .. } => builder.ins().istore32(flags, value, address, offset),
            Self::Half => {
                let bits = builder
                    .ins()
                    .bitcast(types::I32, MemFlagsData::new(), value);
                builder.ins().istore16(flags, bits, address, offset)
            }
            Self::Integer { .. } | Self::Single | Self::Double => {
                builder.ins().store(flags, value, address, offset)
            }
        };
    }
}

/// Returns the offsets of the cells of a value, in bytes.
fn offsets() -> impl Iterator<Item = i32> {
    (0..).step_by(SLOT)
}

/// Returns the byte offset of a slot, which fits because a frame has at most 64 KiB.
fn byte(slot: usize) -> i32 {
    i32::try_from(slot * SLOT).unwrap_or(i32::MAX)
}

/// The number of calls in one iteration of the unrolled loop. For a trivial function, counting and jumping
/// cost as much as the call.
const UNROLLED: usize = 4;

/// A pointer in registers: its address for the first call, and its stride.
struct PointerRegisters {
    address: ir::Value,
    stride: Stride,
}

#[derive(Clone, Copy)]
enum Stride {
    Known(i32),
    Register(ir::Value),
}

/// The address of a pointer for one call, as a register and an offset in bytes.
#[derive(Clone, Copy)]
struct Position {
    address: ir::Value,
    offset: i32,
}

impl Position {
    /// Returns the position for the next call.
    fn next(self, builder: &mut FunctionBuilder, stride: Stride) -> Self {
        match stride {
            Stride::Known(bytes) => Self {
                offset: self.offset + bytes,
                ..self
            },
            Stride::Register(bytes) => Self {
                address: builder.ins().iadd(self.address, bytes),
                ..self
            },
        }
    }

    fn address(self, builder: &mut FunctionBuilder) -> ir::Value {
        match self.offset {
            0 => self.address,
            offset => builder.ins().iadd_imm_s(self.address, i64::from(offset)),
        }
    }
}

/// The state that all calls of a loop share.
struct Common<'a> {
    pattern: &'a Pattern,
    callee: Callee,
    function: ir::Value,
    /// The registers of the constant parameters, by parameter.
    fixed: Vec<Vec<ir::Value>>,
    pointers: Vec<PointerRegisters>,
    errno: ir::Value,
    /// The block after a call that stops the loop. Its parameters are the number of calls that were left
    /// before that call, and the call's result.
    stopped: Block,
}

/// Generates the body of a [`LoopCode`](crate::call::call_loop::LoopCode): a loop of [`UNROLLED`] calls, and
/// one of single calls for the rest.
pub(super) fn translate(
    pattern: &Pattern,
    builder: &mut FunctionBuilder,
    parameters: &[ir::Value],
    callee: Callee,
) {
    let [function, frame, pointers, count, errno] = *parameters else {
        return;
    };
    // The address is loaded from memory: if it were an argument, each call would save and restore its
    // register.
    let function = builder
        .ins()
        .load(types::I64, MemFlagsData::trusted(), function, 0);
    let common = Common {
        pattern,
        callee,
        function,
        fixed: fixed(builder, pattern, frame),
        pointers: load_pointers(builder, pattern, pointers),
        errno,
        stopped: builder.create_block(),
    };
    let left_before = builder.append_block_param(common.stopped, types::I64);
    let results = pattern.results.iter().map(|cell| cell.register());
    let results: Vec<ir::Value> = results
        .map(|register| builder.append_block_param(common.stopped, register))
        .collect();

    let several = common.block(builder);
    let rest = common.block(builder);
    let one = common.block(builder);
    let done = builder.create_block();

    let start = common.pointers.iter().map(|pointer| pointer.address);
    let start = carried(count, start);
    let is_many = at_least_unrolled(builder, count);
    builder.ins().brif(is_many, several, &start, one, &start);

    let (left, again) = common.calls(builder, several, UNROLLED);
    let is_many = at_least_unrolled(builder, left);
    builder.ins().brif(is_many, several, &again, rest, &again);
    builder.seal_block(several);

    builder.switch_to_block(rest);
    builder.seal_block(rest);
    let values = builder.block_params(rest).to_vec();
    if let Some((&left, addresses)) = values.split_first() {
        let again = carried(left, addresses.iter().copied());
        builder.ins().brif(left, one, &again, done, &[]);
    }

    let (left, again) = common.calls(builder, one, 1);
    builder.ins().brif(left, one, &again, done, &[]);
    builder.seal_block(one);

    builder.switch_to_block(done);
    builder.seal_block(done);
    builder.ins().return_(&[count]);

    builder.switch_to_block(common.stopped);
    builder.seal_block(common.stopped);
    // The result that stopped the loop is left in the frame.
    for ((cell, value), slot) in pattern.results.iter().zip(results).zip(pattern.result..) {
        cell.store(builder, value, frame, byte(slot));
    }
    let made = builder.ins().isub(count, left_before);
    builder.ins().return_(&[made]);
}

fn at_least_unrolled(builder: &mut FunctionBuilder, calls: ir::Value) -> ir::Value {
    let unrolled = i64::try_from(UNROLLED).unwrap_or(1);
    let condition = IntCC::UnsignedGreaterThanOrEqual;
    builder.ins().icmp_imm_s(condition, calls, unrolled)
}

/// Returns the arguments of a block of calls: the number of calls that are left, and the addresses of the
/// pointers.
fn carried(left: ir::Value, addresses: impl Iterator<Item = ir::Value>) -> Vec<BlockArg> {
    [left]
        .into_iter()
        .chain(addresses)
        .map(Into::into)
        .collect()
}

impl Common<'_> {
    /// Creates a block whose parameters are the number of calls that are left and the addresses of the pointers.
    fn block(&self, builder: &mut FunctionBuilder) -> Block {
        let block = builder.create_block();
        for _ in 0..=self.pointers.len() {
            builder.append_block_param(block, types::I64);
        }
        block
    }

    /// Generates `times` calls in a block. Returns the number of calls that are left afterwards, and the
    /// arguments for the next block, which include it.
    fn calls(
        &self,
        builder: &mut FunctionBuilder,
        block: Block,
        times: usize,
    ) -> (ir::Value, Vec<BlockArg>) {
        builder.switch_to_block(block);
        let values = builder.block_params(block).to_vec();
        let (&left, addresses) = values.split_first().unwrap_or((&self.function, &[]));
        let position = |&address| Position { address, offset: 0 };
        let mut positions: Vec<Position> = addresses.iter().map(position).collect();
        for made in (0..).take(times) {
            let left = |builder: &mut FunctionBuilder| match made {
                0 => left,
                made => builder.ins().iadd_imm_s(left, -made),
            };
            self.call(builder, left, &positions);
            for (position, pointer) in positions.iter_mut().zip(&self.pointers) {
                *position = position.next(builder, pointer.stride);
            }
        }
        let times = i64::try_from(times).unwrap_or(1);
        let left = builder.ins().iadd_imm_s(left, -times);
        let addresses: Vec<ir::Value> = positions
            .into_iter()
            .map(|position| position.address(builder))
            .collect();
        (left, carried(left, addresses.into_iter()))
    }

    /// Generates one call: its arguments, the call, the check of the result, and its store.
    fn call(
        &self,
        builder: &mut FunctionBuilder,
        left: impl FnOnce(&mut FunctionBuilder) -> ir::Value,
        positions: &[Position],
    ) {
        let arguments = self.arguments(builder, positions);
        let results = self.callee.call(builder, self.function, arguments);
        if let Some(stops) = self.stops(builder, &results) {
            let left = left(builder);
            let next = builder.create_block();
            let arguments = carried(left, results.iter().copied());
            builder
                .ins()
                .brif(stops, self.stopped, &arguments, next, &[]);
            builder.switch_to_block(next);
            builder.seal_block(next);
        }
        if self.pattern.stores
            && let Some(position) = positions.last()
        {
            let cells = self.pattern.results.iter().zip(&results).zip(offsets());
            for ((cell, &value), offset) in cells {
                cell.store(builder, value, position.address, position.offset + offset);
            }
        }
    }

    /// Loads the arguments of one call.
    fn arguments(&self, builder: &mut FunctionBuilder, positions: &[Position]) -> Vec<ir::Value> {
        let mut positions = positions.iter();
        let mut arguments = Vec::new();
        for (source, fixed) in self.pattern.parameters.iter().zip(&self.fixed) {
            match source {
                Source::Frame(..) => arguments.extend(fixed),
                Source::Address => {
                    arguments.extend(positions.next().map(|position| position.address(builder)));
                }
                Source::Memory(cells, _) => {
                    let Some(position) = positions.next() else {
                        continue;
                    };
                    let loads = cells.iter().zip(offsets()).map(|(cell, offset)| {
                        cell.load(builder, position.address, position.offset + offset)
                    });
                    arguments.extend(loads);
                }
            }
        }
        arguments
    }

    /// Generates the condition that a call's result ends the loop; `None` if no result does.
    fn stops(&self, builder: &mut FunctionBuilder, results: &[ir::Value]) -> Option<ir::Value> {
        let (condition, value) = match self.pattern.stop {
            Stop::Never => return None,
            Stop::Errno => {
                let flags = MemFlagsData::trusted();
                let value = builder.ins().load(types::I32, flags, self.errno, 0);
                (IntCC::NotEqual, value)
            }
            stop => {
                let cell = self.pattern.results.first()?;
                let value = cell.narrowed(builder, *results.first()?);
                match stop {
                    Stop::Zero => (IntCC::Equal, value),
                    _ => (IntCC::NotEqual, value),
                }
            }
        };
        Some(builder.ins().icmp_imm_s(condition, value, 0))
    }
}

/// Returns the type of the function that is called.
pub(super) fn callee(pattern: &Pattern, convention: CallConv) -> ir::Signature {
    let registers = |cells: &[Cell]| -> Vec<AbiParam> {
        cells
            .iter()
            .map(|cell| AbiParam::new(cell.register()))
            .collect()
    };
    let parameters = pattern.parameters.iter().flat_map(|source| match source {
        Source::Frame(_, cells) | Source::Memory(cells, _) => registers(cells),
        Source::Address => vec![AbiParam::new(types::I64)],
    });
    ir::Signature {
        params: parameters.collect(),
        returns: registers(&pattern.results),
        call_conv: convention,
    }
}

/// Loads the constant parameters from the frame.
fn fixed(
    builder: &mut FunctionBuilder,
    pattern: &Pattern,
    frame: ir::Value,
) -> Vec<Vec<ir::Value>> {
    let mut values = |source: &Source| match source {
        Source::Frame(start, cells) => cells
            .iter()
            .zip(*start..)
            .map(|(cell, slot)| cell.load(builder, frame, byte(slot)))
            .collect(),
        Source::Address | Source::Memory(..) => Vec::new(),
    };
    pattern.parameters.iter().map(&mut values).collect()
}

/// Loads the pointers' addresses, and their strides unless they are constants of the code.
fn load_pointers(
    builder: &mut FunctionBuilder,
    pattern: &Pattern,
    pointers: ir::Value,
) -> Vec<PointerRegisters> {
    let dense = pattern.parameters.iter().filter_map(|source| match source {
        Source::Frame(..) => None,
        Source::Address => Some(None),
        Source::Memory(_, size) => Some(Some(*size)),
    });
    let bytes = pattern.results.iter().map(|cell| cell.size()).sum();
    let dense: Vec<Option<usize>> = dense.chain(pattern.stores.then_some(Some(bytes))).collect();
    let flags = MemFlagsData::trusted();
    let pointer = |(size, index): (Option<usize>, usize)| {
        let address = builder
            .ins()
            .load(types::I64, flags, pointers, byte(2 * index));
        let known = size
            .filter(|_| pattern.is_dense)
            .and_then(|size| i32::try_from(size).ok());
        let stride = match known {
            Some(bytes) => Stride::Known(bytes),
            None => Stride::Register(builder.ins().load(
                types::I64,
                flags,
                pointers,
                byte(2 * index + 1),
            )),
        };
        PointerRegisters { address, stride }
    };
    dense.into_iter().zip(0..).map(pointer).collect()
}
