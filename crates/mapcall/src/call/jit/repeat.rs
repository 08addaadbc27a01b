//! A loop of calls: values that move through memory, straight into registers and back.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    self, AbiParam, Block, BlockArg, InstBuilder, MemFlagsData, Type, types,
};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;

use super::{Class, Signature};
use crate::call::abi;
use crate::call::repeat::{Feed, Stop};
use crate::call::value::{Kind, Value};

const WORD: usize = size_of::<u64>();

/// All that the code of a loop depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::call) struct Pattern {
    parameters: Vec<Source>,
    results: Vec<Cell>,
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
        feeds: &[Feed],
        (stores, stop): (bool, Stop),
        is_dense: bool,
    ) -> Option<Self> {
        // What one call can't do, a loop can't.
        Signature::new(returns, parameters)?;
        let source = |((value, &place), feed): ((&Value, &usize), &Feed)| {
            Some(match feed {
                Feed::Fixed => Source::Frame(place, words(value)?),
                Feed::Address => Source::Address,
                Feed::Value => Source::Memory(cells(value)?, value.size),
            })
        };
        Some(Self {
            parameters: parameters
                .iter()
                .zip(places)
                .zip(feeds)
                .map(source)
                .collect::<Option<_>>()?,
            results: cells(returns)?,
            stores,
            stop,
            is_dense,
            result,
        })
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

/// A lane in registers: where it is, and how far it moves.
struct Lane {
    address: ir::Value,
    stride: Stride,
}

#[derive(Clone, Copy)]
enum Stride {
    Known(i64),
    Register(ir::Value),
}

/// The body of a [`Repeat`](crate::call::repeat::Repeat).
pub(super) fn translate(
    pattern: &Pattern,
    builder: &mut FunctionBuilder,
    parameters: &[ir::Value],
    convention: CallConv,
) {
    let [function, frame, lanes, count, errno] = *parameters else {
        return;
    };
    let callee = builder.import_signature(callee(pattern, convention));
    // From memory: out of an argument's register it would be moved around each call.
    let function = builder
        .ins()
        .load(types::I64, MemFlagsData::trusted(), function, 0);
    let fixed = fixed(builder, pattern, frame);
    let lanes = load_lanes(builder, pattern, lanes);

    let body = builder.create_block();
    let next = builder.create_block();
    let done = builder.create_block();
    let stopped = builder.create_block();

    // What is carried from call to call: how many are left, and the addresses.
    let left = builder.append_block_param(body, types::I64);
    let carried: Vec<ir::Value> = lanes
        .iter()
        .map(|_| builder.append_block_param(body, types::I64))
        .collect();
    let start = lanes.iter().map(|lane| lane.address);
    let start: Vec<BlockArg> = [count].into_iter().chain(start).map(Into::into).collect();
    builder.ins().jump(body, &start);

    builder.switch_to_block(body);
    let arguments = arguments(builder, pattern, &fixed, &carried);
    let call = builder.ins().call_indirect(callee, function, &arguments);
    let results = builder.inst_results(call).to_vec();
    branch_if_stopped(
        builder,
        pattern.stop,
        (&pattern.results, &results),
        errno,
        [stopped, next],
    );

    builder.switch_to_block(next);
    builder.seal_block(next);
    if pattern.stores
        && let Some(&address) = carried.last()
    {
        for ((cell, &value), offset) in pattern.results.iter().zip(&results).zip(offsets()) {
            cell.store(builder, value, address, offset);
        }
    }
    let left_now = builder.ins().iadd_imm_s(left, -1);
    let moved = carried
        .iter()
        .zip(&lanes)
        .map(|(&address, lane)| match lane.stride {
            Stride::Known(bytes) => builder.ins().iadd_imm_s(address, bytes),
            Stride::Register(bytes) => builder.ins().iadd(address, bytes),
        });
    let moved: Vec<ir::Value> = moved.collect();
    let again: Vec<BlockArg> = [left_now]
        .into_iter()
        .chain(moved)
        .map(Into::into)
        .collect();
    builder.ins().brif(left_now, body, &again, done, &[]);
    builder.seal_block(body);

    builder.switch_to_block(stopped);
    builder.seal_block(stopped);
    // Whoever asks why finds the result in the frame.
    for ((cell, &value), word) in pattern.results.iter().zip(&results).zip(pattern.result..) {
        cell.store(builder, value, frame, byte(word));
    }
    let made = builder.ins().isub(count, left);
    builder.ins().return_(&[made]);

    builder.switch_to_block(done);
    builder.seal_block(done);
    builder.ins().return_(&[count]);
}

fn callee(pattern: &Pattern, convention: CallConv) -> ir::Signature {
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
            .and_then(|size| i64::try_from(size).ok());
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

/// The arguments of one call.
fn arguments(
    builder: &mut FunctionBuilder,
    pattern: &Pattern,
    fixed: &[Vec<ir::Value>],
    carried: &[ir::Value],
) -> Vec<ir::Value> {
    let mut carried = carried.iter().copied();
    let mut arguments = Vec::new();
    for (source, fixed) in pattern.parameters.iter().zip(fixed) {
        match source {
            Source::Frame(..) => arguments.extend(fixed),
            Source::Address => arguments.extend(carried.next()),
            Source::Memory(cells, _) => {
                let Some(address) = carried.next() else {
                    continue;
                };
                let loads = cells.iter().zip(offsets());
                arguments.extend(loads.map(|(cell, offset)| cell.load(builder, address, offset)));
            }
        }
    }
    arguments
}

/// Ends a block: on to the next call, unless this one's result says stop.
fn branch_if_stopped(
    builder: &mut FunctionBuilder,
    stop: Stop,
    (cells, results): (&[Cell], &[ir::Value]),
    errno: ir::Value,
    [stopped, next]: [Block; 2],
) {
    let result = cells.first().zip(results.first());
    let stops = match (stop, result) {
        (Stop::Zero, Some((cell, &value))) => Some((IntCC::Equal, cell.narrowed(builder, value))),
        (Stop::Nonzero, Some((cell, &value))) => {
            Some((IntCC::NotEqual, cell.narrowed(builder, value)))
        }
        (Stop::Errno, _) => {
            let flags = MemFlagsData::trusted();
            let value = builder.ins().load(types::I32, flags, errno, 0);
            Some((IntCC::NotEqual, value))
        }
        _ => None,
    };
    match stops {
        Some((condition, value)) => {
            let stops = builder.ins().icmp_imm_s(condition, value, 0);
            builder.ins().brif(stops, stopped, &[], next, &[]);
        }
        None => {
            builder.ins().jump(next, &[]);
        }
    }
}
