//! A loop of calls: values that move through memory, straight into registers and back.

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

const WORD: usize = size_of::<u64>();

/// All that the code of a loop depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::call) struct Pattern {
    parameters: Vec<Source>,
    results: Vec<Cell>,
    /// What AL is set to, as for one call.
    vectors: Option<u8>,
    /// The result goes to the last lane.
    stores: bool,
    stop: Stop,
    /// Values follow each other without gaps, so that their strides are known.
    is_dense: bool,
    /// The word of the frame where a result is left that stops the loop.
    result: usize,
}

/// Where a parameter comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Source {
    /// Words of the frame, from that one on.
    Frame(usize, Vec<Cell>),
    /// The address of a lane.
    Address,
    /// What stands at the address of a lane, whose values are so many bytes apart if they are dense.
    Memory(Vec<Cell>, usize),
}

/// What one register holds, as it stands in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Cell {
    Integer { size: usize, is_signed: bool },
    Half,
    Single,
    Double,
}

impl Pattern {
    /// `None` for values that don't travel in whole registers, or whose bytes can't be loaded so.
    ///
    /// `places` are the words of the frame where the parameters start.
    pub(in crate::call) fn new(
        (returns, result): (&Value, usize),
        parameters: &[Value],
        places: &[usize],
        kinds: &[OperandKind],
        (stores, stop): (bool, Stop),
        is_dense: bool,
    ) -> Option<Self> {
        // What one call can't do, a loop can't.
        let Signature { vectors, .. } = Signature::new(returns, parameters)?;
        let source = |((value, &place), kind): ((&Value, &usize), &OperandKind)| {
            Some(match kind {
                OperandKind::Constant => Source::Frame(place, words(value)?),
                OperandKind::Pointer => Source::Address,
                OperandKind::Strided => Source::Memory(cells(value)?, value.size),
            })
        };
        Some(Self {
            parameters: parameters
                .iter()
                .zip(places)
                .zip(kinds)
                .map(source)
                .collect::<Option<_>>()?,
            results: cells(returns)?,
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

/// The registers of a value in a frame, where each fills a word.
fn words(value: &Value) -> Option<Vec<Cell>> {
    let classes = abi::registers(value)?;
    let cell = |class| match class {
        Class::Integer => Cell::Integer {
            size: WORD,
            is_signed: false,
        },
        Class::Float => Cell::Double,
    };
    Some(classes.into_iter().map(cell).collect())
}

/// The registers of a value in memory; `None` if the last of its words is cut oddly.
fn cells(value: &Value) -> Option<Vec<Cell>> {
    let is_signed = matches!(value.kind, Kind::Integer { is_signed: true });
    let classes = abi::registers(value)?;
    let sizes = (0..).map(|word: usize| value.size.saturating_sub(word * WORD).min(WORD));
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
    /// The type of its register.
    fn register(self) -> Type {
        match self {
            Self::Integer { .. } => types::I64,
            Self::Half | Self::Single => types::F32,
            Self::Double => types::F64,
        }
    }

    /// How many bytes it has in memory.
    fn size(self) -> usize {
        match self {
            Self::Integer { size, .. } => size,
            Self::Half => 2,
            Self::Single => 4,
            Self::Double => 8,
        }
    }

    /// The bits of an integer that C's type has: those above mean nothing.
    fn narrowed(self, builder: &mut FunctionBuilder, value: ir::Value) -> ir::Value {
        match self {
            Self::Integer { size: 1, .. } => builder.ins().ireduce(types::I8, value),
            Self::Integer { size: 2, .. } => builder.ins().ireduce(types::I16, value),
            Self::Integer { size: 4, .. } => builder.ins().ireduce(types::I32, value),
            _ => value,
        }
    }

    fn load(self, builder: &mut FunctionBuilder, address: ir::Value, offset: i32) -> ir::Value {
        // A record may stand at any address.
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

/// The bytes from one cell of a value to the next.
fn offsets() -> impl Iterator<Item = i32> {
    (0..).step_by(WORD)
}

/// The byte of a word in a frame, which is no larger than its limit, 64 KiB.
fn byte(word: usize) -> i32 {
    i32::try_from(word * WORD).unwrap_or(i32::MAX)
}

/// How many calls are made before the loop begins anew: with a function that does next to nothing,
/// counting and jumping cost as much as the call.
const UNROLLED: usize = 4;

/// A lane in registers: where it is, and how far it moves.
struct Lane {
    address: ir::Value,
    stride: Stride,
}

#[derive(Clone, Copy)]
enum Stride {
    Known(i32),
    Register(ir::Value),
}

/// Where a lane is for one call: an address, and what is to be added to it.
#[derive(Clone, Copy)]
struct Place {
    address: ir::Value,
    offset: i32,
}

impl Place {
    /// That of the next call.
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

/// What all calls of a loop have in common.
struct Common<'a> {
    pattern: &'a Pattern,
    callee: Callee,
    function: ir::Value,
    /// The values that are the same in each call, by parameter.
    fixed: Vec<Vec<ir::Value>>,
    lanes: Vec<Lane>,
    errno: ir::Value,
    /// Where a call goes that ends the loop, with the number of calls that were left before it, and its
    /// result.
    stopped: Block,
}

/// The body of a [`LoopCode`](crate::call::call_loop::LoopCode).
pub(super) fn translate(
    pattern: &Pattern,
    builder: &mut FunctionBuilder,
    parameters: &[ir::Value],
    callee: Callee,
) {
    let [function, frame, lanes, count, errno] = *parameters else {
        return;
    };
    // From memory: out of an argument's register it would be moved around each call.
    let function = builder
        .ins()
        .load(types::I64, MemFlagsData::trusted(), function, 0);
    let common = Common {
        pattern,
        callee,
        function,
        fixed: fixed(builder, pattern, frame),
        lanes: load_lanes(builder, pattern, lanes),
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

    let start = common.lanes.iter().map(|lane| lane.address);
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
    for ((cell, value), word) in pattern.results.iter().zip(results).zip(pattern.result..) {
        cell.store(builder, value, frame, byte(word));
    }
    let made = builder.ins().isub(count, left_before);
    builder.ins().return_(&[made]);
}

fn at_least_unrolled(builder: &mut FunctionBuilder, calls: ir::Value) -> ir::Value {
    let unrolled = i64::try_from(UNROLLED).unwrap_or(1);
    let condition = IntCC::UnsignedGreaterThanOrEqual;
    builder.ins().icmp_imm_s(condition, calls, unrolled)
}

/// What goes from block to block: how many calls are left, and where the lanes are.
fn carried(left: ir::Value, addresses: impl Iterator<Item = ir::Value>) -> Vec<BlockArg> {
    [left]
        .into_iter()
        .chain(addresses)
        .map(Into::into)
        .collect()
}

impl Common<'_> {
    /// A block that is told how many calls are left, and where the lanes are.
    fn block(&self, builder: &mut FunctionBuilder) -> Block {
        let block = builder.create_block();
        for _ in 0..=self.lanes.len() {
            builder.append_block_param(block, types::I64);
        }
        block
    }

    /// Fills a block with so many calls; how many are left then, and that together with where the lanes
    /// are.
    fn calls(
        &self,
        builder: &mut FunctionBuilder,
        block: Block,
        times: usize,
    ) -> (ir::Value, Vec<BlockArg>) {
        builder.switch_to_block(block);
        let values = builder.block_params(block).to_vec();
        let (&left, addresses) = values.split_first().unwrap_or((&self.function, &[]));
        let place = |&address| Place { address, offset: 0 };
        let mut places: Vec<Place> = addresses.iter().map(place).collect();
        for made in (0..).take(times) {
            let left = |builder: &mut FunctionBuilder| match made {
                0 => left,
                made => builder.ins().iadd_imm_s(left, -made),
            };
            self.call(builder, left, &places);
            for (place, lane) in places.iter_mut().zip(&self.lanes) {
                *place = place.next(builder, lane.stride);
            }
        }
        let times = i64::try_from(times).unwrap_or(1);
        let left = builder.ins().iadd_imm_s(left, -times);
        let addresses: Vec<ir::Value> = places
            .into_iter()
            .map(|place| place.address(builder))
            .collect();
        (left, carried(left, addresses.into_iter()))
    }

    /// One call.
    fn call(
        &self,
        builder: &mut FunctionBuilder,
        left: impl FnOnce(&mut FunctionBuilder) -> ir::Value,
        places: &[Place],
    ) {
        let arguments = self.arguments(builder, places);
        let results = self.callee.call(builder, self.function, arguments);
        if let Some(stops) = self.stops(builder, &results) {
            let left = left(builder);
            let next = builder.create_block();
            let told = carried(left, results.iter().copied());
            builder.ins().brif(stops, self.stopped, &told, next, &[]);
            builder.switch_to_block(next);
            builder.seal_block(next);
        }
        if self.pattern.stores
            && let Some(place) = places.last()
        {
            let cells = self.pattern.results.iter().zip(&results).zip(offsets());
            for ((cell, &value), offset) in cells {
                cell.store(builder, value, place.address, place.offset + offset);
            }
        }
    }

    /// The arguments of one call.
    fn arguments(&self, builder: &mut FunctionBuilder, places: &[Place]) -> Vec<ir::Value> {
        let mut places = places.iter();
        let mut arguments = Vec::new();
        for (source, fixed) in self.pattern.parameters.iter().zip(&self.fixed) {
            match source {
                Source::Frame(..) => arguments.extend(fixed),
                Source::Address => {
                    arguments.extend(places.next().map(|place| place.address(builder)));
                }
                Source::Memory(cells, _) => {
                    let Some(place) = places.next() else {
                        continue;
                    };
                    let loads = cells.iter().zip(offsets()).map(|(cell, offset)| {
                        cell.load(builder, place.address, place.offset + offset)
                    });
                    arguments.extend(loads);
                }
            }
        }
        arguments
    }

    /// Whether a call with this result ends the loop, if any does.
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

/// The type of the function that is called.
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

/// The values that are the same in each call, by parameter.
fn fixed(
    builder: &mut FunctionBuilder,
    pattern: &Pattern,
    frame: ir::Value,
) -> Vec<Vec<ir::Value>> {
    let mut values = |source: &Source| match source {
        Source::Frame(place, cells) => cells
            .iter()
            .zip(*place..)
            .map(|(cell, word)| cell.load(builder, frame, byte(word)))
            .collect(),
        Source::Address | Source::Memory(..) => Vec::new(),
    };
    pattern.parameters.iter().map(&mut values).collect()
}

/// Where the lanes start, and how far they move.
fn load_lanes(builder: &mut FunctionBuilder, pattern: &Pattern, lanes: ir::Value) -> Vec<Lane> {
    let dense = pattern.parameters.iter().filter_map(|source| match source {
        Source::Frame(..) => None,
        Source::Address => Some(None),
        Source::Memory(_, size) => Some(Some(*size)),
    });
    let bytes = pattern.results.iter().map(|cell| cell.size()).sum();
    let dense: Vec<Option<usize>> = dense.chain(pattern.stores.then_some(Some(bytes))).collect();
    let flags = MemFlagsData::trusted();
    let lane = |(size, index): (Option<usize>, usize)| {
        let address = builder
            .ins()
            .load(types::I64, flags, lanes, byte(2 * index));
        let known = size
            .filter(|_| pattern.is_dense)
            .and_then(|size| i32::try_from(size).ok());
        let stride = match known {
            Some(bytes) => Stride::Known(bytes),
            None => Stride::Register(builder.ins().load(
                types::I64,
                flags,
                lanes,
                byte(2 * index + 1),
            )),
        };
        Lane { address, stride }
    };
    dense.into_iter().zip(0..).map(lane).collect()
}
