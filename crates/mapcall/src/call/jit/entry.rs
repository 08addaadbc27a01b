//! The code of an entry: the checks of a usual call, the call, and its result.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    self, AbiParam, Block, InstBuilder, MemFlagsData, StackSlotData, StackSlotKind, Type, types,
};
use cranelift_frontend::FunctionBuilder;

use mapcall_array::{fork, guard};

use super::callee::Callee;
use super::{Class, Signature};
use crate::call::entry::{EntryArgument, EntryCheck, EntryResult, Host};
use crate::call::errno;

/// All that the code of an entry depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::call) struct Entry {
    pub(super) called: Signature,
    check: EntryCheck,
    host: Host,
    /// The number of slots of a frame, and the slot of the result.
    frame: (usize, usize),
}

impl Entry {
    /// Makes the description of an entry for functions of a type, with the number of slots of their frames and the slot
    /// of the result; `None` without a signature that compiled code can call.
    pub(in crate::call) fn new(
        called: Option<Signature>,
        check: EntryCheck,
        host: &Host,
        frame: (usize, usize),
    ) -> Option<Self> {
        Some(Self {
            called: called?,
            check,
            host: *host,
            frame,
        })
    }
}

/// The number of parameters of an entry: the function, the arguments, their number, and keywords.
pub(super) const PARAMETERS: usize = 4;

/// Generates the body of an entry.
pub(super) fn translate(
    entry: &Entry,
    builder: &mut FunctionBuilder,
    parameters: &[ir::Value],
    callee: &Callee,
) {
    let [function, arguments, count, keywords] = *parameters else {
        return;
    };
    let (slots, result) = entry.frame;
    let bytes = u32::try_from(slots * size_of::<u64>()).unwrap_or(u32::MAX);
    // 16 bytes: the frame may be read as one that is aligned so.
    let frame = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 4);
    let frame = builder.create_sized_stack_slot(frame);
    let unusual = builder.create_block();
    builder.set_cold_block(unusual);
    let host = &entry.host;
    let mut code = Code {
        builder,
        host,
        frame,
        unusual,
    };

    code.refuse_if(keywords);
    let mask = code
        .builder
        .ins()
        .iconst(types::I64, host.function.count.cast_signed());
    let given = code.builder.ins().band(count, mask);
    let expected = i64::try_from(entry.check.arguments.len()).unwrap_or(-1);
    code.require_imm(IntCC::Equal, given, expected);
    let troubles = code.load_at(guard::troubles());
    code.refuse_if(troubles);
    let values = code.checked(&entry.check, (function, arguments), slots);

    let registers = entry.called.parameters.iter().zip(values);
    let passed = registers.map(|(class, value)| code.register(*class, value));
    let passed = passed.collect();
    let state = code.begin();
    let address = code.load(types::I64, function, host.function.address);
    let results = callee.call(code.builder, address, passed);
    let errno = code.finish(&state);
    if let Some(&value) = results.first() {
        code.store_in_frame(result, value);
    }

    let ended = code.builder.create_block();
    if entry.check.result == EntryResult::Other {
        code.builder.ins().jump(ended, &[]);
    } else {
        code.builder.set_cold_block(ended);
        let usual = code.builder.create_block();
        let raised = code.load(types::I8, state.thread, host.thread.has_raised);
        let raised = code.builder.ins().uextend(types::I64, raised);
        let troubles = code.load_at(guard::troubles());
        let any = code.builder.ins().bor(raised, troubles);
        code.builder.ins().brif(any, ended, &[], usual, &[]);
        code.start(usual);
        let object = code.object(entry.check.result, results.first().copied());
        code.builder.ins().return_(&[object]);
    }
    code.start(ended);
    let at = code.builder.ins().stack_addr(types::I64, frame, 0);
    let object = code.call(host.function.end, &[function, arguments, at, errno]);
    code.builder.ins().return_(&[object]);

    code.start(unusual);
    let given = [function, arguments, count, keywords];
    let object = code.call(host.function.general, &given);
    code.builder.ins().return_(&[object]);
}

/// The code that is generated.
struct Code<'a, 'b> {
    builder: &'a mut FunctionBuilder<'b>,
    host: &'a Host,
    frame: ir::StackSlot,
    /// The block that leaves the call to the host language's general function.
    unusual: Block,
}

/// A vector that has been checked.
#[derive(Clone, Copy)]
struct Vector {
    address: ir::Value,
    length: ir::Value,
    flags: ir::Value,
}

/// The state of the thread in a call.
struct State {
    thread: ir::Value,
    /// The address of C's `errno`.
    errno: ir::Value,
}

impl Code<'_, '_> {
    /// Generates the checks of the arguments. Returns the value of each slot, which is stored in the frame, too.
    fn checked(
        &mut self,
        check: &EntryCheck,
        (function, arguments): (ir::Value, ir::Value),
        slots: usize,
    ) -> Vec<ir::Value> {
        let mut values = vec![arguments; slots];
        let mut vectors: Vec<(usize, Vector)> = Vec::new();
        for ((argument, slot), offset) in
            check.arguments.iter().zip((0..).step_by(size_of::<u64>()))
        {
            let object = self.load(types::I64, arguments, offset);
            let value = match *argument {
                EntryArgument::Double => {
                    let value = self.real(object);
                    self.bits(value)
                }
                EntryArgument::Float => self.float(object),
                EntryArgument::Integer { bits, is_signed } => self.integer(object, bits, is_signed),
                EntryArgument::Vector {
                    dtype,
                    misaligned,
                    flags,
                } => {
                    let vector = self.vector(object, dtype, misaligned, flags);
                    if let Some((_, first)) = vectors.first() {
                        self.require_equal(vector.length, first.length);
                    }
                    vectors.push((*slot, vector));
                    vector.address
                }
            };
            self.set(&mut values, *slot, value);
        }
        if let (Some((max, slot)), Some((_, first))) = (check.length, vectors.first()) {
            let length = first.length;
            if let Ok(max) = i64::try_from(max) {
                self.require_imm(IntCC::SignedLessThanOrEqual, length, max);
            }
            self.set(&mut values, slot, length);
            self.require_disjoint(check, &vectors, length);
            let itemsizes = self.constant(check.itemsizes);
            let bytes = self.builder.ins().imul(length, itemsizes);
            let below = self.load(types::I64, function, self.host.function.held_below);
            let holds = self
                .builder
                .ins()
                .icmp(IntCC::UnsignedLessThan, bytes, below);
            self.require(holds);
        }
        values
    }

    /// Sets the value of a slot, here and in the frame.
    fn set(&mut self, values: &mut [ir::Value], slot: usize, value: ir::Value) {
        self.store_in_frame(slot, value);
        if let Some(place) = values.get_mut(slot) {
            *place = value;
        }
    }

    /// Generates the check that an object is a plain floating-point number. Returns its `double`.
    fn real(&mut self, object: ir::Value) -> ir::Value {
        let class = self.load(types::I64, object, self.host.class);
        let expected = self.constant(self.host.real.class);
        self.require_equal(class, expected);
        self.load(types::F64, object, self.host.real.value)
    }

    fn bits(&mut self, double: ir::Value) -> ir::Value {
        let flags = MemFlagsData::new();
        self.builder.ins().bitcast(types::I64, flags, double)
    }

    /// Generates the conversion to the nearest `float`, which is infinite for infinity only. Returns its slot.
    fn float(&mut self, object: ir::Value) -> ir::Value {
        let value = self.real(object);
        let nearest = self.builder.ins().fdemote(types::F32, value);
        let flags = MemFlagsData::new();
        let bits = self.builder.ins().bitcast(types::I32, flags, nearest);
        let bits = self.builder.ins().uextend(types::I64, bits);
        let magnitude = self.builder.ins().band_imm_s(bits, 0x7fff_ffff);
        let infinity = i64::from(f32::INFINITY.to_bits());
        let is_infinite = self
            .builder
            .ins()
            .icmp_imm_s(IntCC::Equal, magnitude, infinity);
        let (next, infinite) = (self.builder.create_block(), self.builder.create_block());
        self.builder.set_cold_block(infinite);
        self.builder
            .ins()
            .brif(is_infinite, infinite, &[], next, &[]);
        self.start(infinite);
        let value = self.bits(value);
        let magnitude = self.builder.ins().ishl_imm_u(value, 1);
        let infinity = self
            .builder
            .ins()
            .iconst(types::I64, (f64::INFINITY.to_bits() << 1).cast_signed());
        let is_exact = self.builder.ins().icmp(IntCC::Equal, magnitude, infinity);
        self.builder
            .ins()
            .brif(is_exact, next, &[], self.unusual, &[]);
        self.start(next);
        bits
    }

    /// Generates the check that an object is an integer that a type has. Returns its slot.
    fn integer(&mut self, object: ir::Value, bits: u32, is_signed: bool) -> ir::Value {
        let class = self.load(types::I64, object, self.host.class);
        let expected = self.constant(self.host.integer.class);
        self.require_equal(class, expected);
        let overflow = StackSlotData::new(StackSlotKind::ExplicitSlot, 8, 3);
        let overflow = self.builder.create_sized_stack_slot(overflow);
        let at = self.builder.ins().stack_addr(types::I64, overflow, 0);
        let value = self.call(self.host.integer.read, &[object, at]);
        let overflow = self.load(types::I32, at, 0);
        self.refuse_if(overflow);
        if bits == 64 {
            if !is_signed {
                self.require_imm(IntCC::SignedGreaterThanOrEqual, value, 0);
            }
        } else {
            let back = self.extended(value, bits, is_signed);
            self.require_equal(back, value);
        }
        value
    }

    /// Generates the check that an object is an array with one axis.
    fn vector(
        &mut self,
        object: ir::Value,
        dtype: usize,
        misaligned: usize,
        required: u32,
    ) -> Vector {
        let array = self.host.array;
        let class = self.load(types::I64, object, self.host.class);
        let expected = self.constant(array.class);
        let is_array = self.builder.ins().icmp(IntCC::Equal, class, expected);
        let (known, other) = (self.builder.create_block(), self.builder.create_block());
        self.builder.ins().brif(is_array, known, &[], other, &[]);
        self.start(other);
        let version = self.load(types::I32, class, array.version);
        self.require_imm(IntCC::NotEqual, version, 0);
        let at = self.constant(array.other_version);
        let expected = self.load(types::I32, at, 0);
        let is_array = self.builder.ins().icmp(IntCC::Equal, version, expected);
        self.builder
            .ins()
            .brif(is_array, known, &[], self.unusual, &[]);
        self.start(known);

        let found = self.load(types::I64, object, array.dtype);
        let expected = self.constant(dtype);
        self.require_equal(found, expected);
        let ndim = self.load(types::I32, object, array.ndim);
        self.require_imm(IntCC::Equal, ndim, 1);
        let flags = self.load(types::I32, object, array.flags);
        let required = i64::from(required);
        let present = self.builder.ins().band_imm_s(flags, required);
        self.require_imm(IntCC::Equal, present, required);
        let address = self.load(types::I64, object, array.address);
        if misaligned != 0 {
            let mask = self.constant(misaligned);
            let bits = self.builder.ins().band(address, mask);
            self.refuse_if(bits);
        }
        let shape = self.load(types::I64, object, array.shape);
        Vector {
            address,
            length: self.load(types::I64, shape, 0),
            flags,
        }
    }

    /// Generates the check that the vectors which must not share a byte share none.
    fn require_disjoint(
        &mut self,
        check: &EntryCheck,
        vectors: &[(usize, Vector)],
        length: ir::Value,
    ) {
        let address = |slot| {
            let mut vectors = vectors.iter();
            let (_, vector) = vectors.find(|(other, _)| *other == slot)?;
            Some(vector.address)
        };
        for [(one, size), (other, other_size)] in &check.disjoint {
            let (Some(one), Some(other)) = (address(*one), address(*other)) else {
                continue;
            };
            // Both have bytes or none has. Each has its memory, so that no size overflows.
            let distance = self.builder.ins().isub(one, other);
            let back = self.builder.ins().isub(other, one);
            for (distance, size) in [(distance, other_size), (back, size)] {
                let size = self.constant(*size);
                let size = self.builder.ins().imul(length, size);
                let holds = IntCC::UnsignedGreaterThanOrEqual;
                let holds = self.builder.ins().icmp(holds, distance, size);
                self.require(holds);
            }
        }
        if check.disjoint.is_empty() {
            return;
        }
        // At other addresses, too.
        let flags = vectors.iter().map(|(_, vector)| vector.flags);
        let all = flags.reduce(|all, flags| self.builder.ins().band(all, flags));
        if let Some(all) = all {
            let private = i64::from(self.host.array.is_private);
            let private = self.builder.ins().band_imm_s(all, private);
            self.require(private);
        }
    }

    /// Returns the value of a slot in a register of a class.
    fn register(&mut self, class: Class, slot: ir::Value) -> ir::Value {
        match class {
            Class::Integer => slot,
            Class::Float => {
                let flags = MemFlagsData::new();
                self.builder.ins().bitcast(types::F64, flags, slot)
            }
        }
    }

    /// Generates the begin of a call on the thread, which must be in no callback that has received pointers.
    fn begin(&mut self) -> State {
        let fields = self.host.thread;
        let errno = self.call(errno::function(), &[]);
        let latest = self.load_at(fields.latest_errno);
        self.require_equal(latest, errno);
        let generation = self.load_at(fork::generation_address());
        let latest = self.load_at(fields.latest_generation);
        self.require_equal(latest, generation);
        let thread = self.load_at(fields.latest);
        let innermost = self.load(types::I64, thread, fields.innermost);
        self.refuse_if(innermost);
        self.count(thread, 1);
        let zero = self.builder.ins().iconst(types::I32, 0);
        self.store(zero, errno, 0);
        State { thread, errno }
    }

    /// Generates the end of a call on the thread. Returns its `errno`.
    fn finish(&mut self, state: &State) -> ir::Value {
        let errno = self.load(types::I32, state.errno, 0);
        self.count(state.thread, -1);
        self.store(errno, state.thread, self.host.thread.errno);
        errno
    }

    /// Adds to the number of running calls.
    fn count(&mut self, thread: ir::Value, calls: i64) {
        let offset = self.host.thread.running;
        let running = self.load(types::I64, thread, offset);
        let running = self.builder.ins().iadd_imm_s(running, calls);
        self.store(running, thread, offset);
    }

    /// Returns the object for the result of the function; `value` is what it returns.
    fn object(&mut self, result: EntryResult, value: Option<ir::Value>) -> ir::Value {
        let host = self.host.results;
        match (result, value) {
            (EntryResult::Double, Some(value)) => self.call(host.real, &[value]),
            (EntryResult::Float, Some(value)) => {
                // A `float` is in the low bits of the register.
                let bits = self.bits(value);
                let bits = self.builder.ins().ireduce(types::I32, bits);
                let flags = MemFlagsData::new();
                let float = self.builder.ins().bitcast(types::F32, flags, bits);
                let double = self.builder.ins().fpromote(types::F64, float);
                self.call(host.real, &[double])
            }
            (EntryResult::Integer { bits, is_signed }, Some(value)) => {
                let value = self.extended(value, bits, is_signed);
                let make = if is_signed {
                    host.signed
                } else {
                    host.unsigned
                };
                self.call(make, &[value])
            }
            _ => {
                let none = self.constant(host.none);
                if let Some(offset) = host.references {
                    let references = self.load(types::I64, none, offset);
                    let references = self.builder.ins().iadd_imm_s(references, 1);
                    self.store(references, none, offset);
                }
                none
            }
        }
    }

    /// Extends the low bits of a register to 64.
    fn extended(&mut self, value: ir::Value, bits: u32, is_signed: bool) -> ir::Value {
        let narrow = match bits {
            8 => types::I8,
            16 => types::I16,
            32 => types::I32,
            _ => return value,
        };
        let narrow = self.builder.ins().ireduce(narrow, value);
        if is_signed {
            self.builder.ins().sextend(types::I64, narrow)
        } else {
            self.builder.ins().uextend(types::I64, narrow)
        }
    }

    /// Generates a call of a function that returns 64 bits. Returns these.
    fn call(&mut self, function: usize, arguments: &[ir::Value]) -> ir::Value {
        let mut signature = ir::Signature::new(self.builder.func.signature.call_conv);
        let registers = arguments
            .iter()
            .map(|value| self.builder.func.dfg.value_type(*value));
        signature.params = registers.map(AbiParam::new).collect();
        signature.returns.push(AbiParam::new(types::I64));
        let signature = self.builder.import_signature(signature);
        let function = self.constant(function);
        let call = self
            .builder
            .ins()
            .call_indirect(signature, function, arguments);
        self.builder.func.dfg.first_result(call)
    }

    fn load(&mut self, register: Type, base: ir::Value, offset: usize) -> ir::Value {
        let flags = MemFlagsData::trusted();
        self.builder
            .ins()
            .load(register, flags, base, displacement(offset))
    }

    /// Loads 64 bits from an address.
    fn load_at(&mut self, address: usize) -> ir::Value {
        let address = self.constant(address);
        self.load(types::I64, address, 0)
    }

    fn store(&mut self, value: ir::Value, base: ir::Value, offset: usize) {
        let flags = MemFlagsData::trusted();
        self.builder
            .ins()
            .store(flags, value, base, displacement(offset));
    }

    fn store_in_frame(&mut self, slot: usize, value: ir::Value) {
        let offset = displacement(slot * size_of::<u64>());
        self.builder
            .ins()
            .stack_store(types::I64, value, self.frame, offset);
    }

    fn constant(&mut self, value: usize) -> ir::Value {
        let value = (value as u64).cast_signed();
        self.builder.ins().iconst(types::I64, value)
    }

    /// Leaves the call to the general function if a value is not 0.
    fn refuse_if(&mut self, value: ir::Value) {
        let next = self.builder.create_block();
        self.builder.ins().brif(value, self.unusual, &[], next, &[]);
        self.start(next);
    }

    /// Leaves the call to the general function if a value is 0.
    fn require(&mut self, value: ir::Value) {
        let next = self.builder.create_block();
        self.builder.ins().brif(value, next, &[], self.unusual, &[]);
        self.start(next);
    }

    fn require_imm(&mut self, condition: IntCC, value: ir::Value, other: i64) {
        let holds = self.builder.ins().icmp_imm_s(condition, value, other);
        self.require(holds);
    }

    fn require_equal(&mut self, value: ir::Value, other: ir::Value) {
        let holds = self.builder.ins().icmp(IntCC::Equal, value, other);
        self.require(holds);
    }

    /// Continues with a block, which all jumps to it precede.
    fn start(&mut self, block: Block) {
        self.builder.switch_to_block(block);
        self.builder.seal_block(block);
    }
}

/// Returns an offset in an object, a class or a frame, all of which are small.
fn displacement(offset: usize) -> i32 {
    i32::try_from(offset).unwrap_or(i32::MAX)
}
