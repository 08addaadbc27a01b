//! The instructions of an entry.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{
    self, AbiParam, Block, InstBuilder, MemFlagsData, StackSlot, StackSlotData, StackSlotKind,
    Type, types,
};
use cranelift_frontend::FunctionBuilder;

use crate::call::entry::Host;

/// The code that is generated.
pub(super) struct Code<'a, 'b> {
    pub(super) builder: &'a mut FunctionBuilder<'b>,
    pub(super) host: &'a Host,
    /// The block that leaves the call to the host language's general function.
    unusual: Block,
}

impl<'a, 'b> Code<'a, 'b> {
    pub(super) fn new(builder: &'a mut FunctionBuilder<'b>, host: &'a Host) -> Self {
        let unusual = builder.create_block();
        builder.set_cold_block(unusual);
        Self {
            builder,
            host,
            unusual,
        }
    }

    /// Returns memory on the stack for so many values of 64 bits.
    pub(super) fn memory(&mut self, values: usize) -> StackSlot {
        let bytes = u32::try_from(values * size_of::<u64>()).unwrap_or(u32::MAX);
        // 16 bytes: a frame may be read as one that is aligned so.
        let memory = StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 4);
        self.builder.create_sized_stack_slot(memory)
    }

    pub(super) fn address_of(&mut self, memory: StackSlot, index: usize) -> ir::Value {
        let offset = displacement(index * size_of::<u64>());
        self.builder.ins().stack_addr(types::I64, memory, offset)
    }

    pub(super) fn store_in(&mut self, memory: StackSlot, index: usize, value: ir::Value) {
        let offset = displacement(index * size_of::<u64>());
        self.builder
            .ins()
            .stack_store(types::I64, value, memory, offset);
    }

    pub(super) fn load(&mut self, register: Type, base: ir::Value, offset: usize) -> ir::Value {
        let flags = MemFlagsData::trusted();
        self.builder
            .ins()
            .load(register, flags, base, displacement(offset))
    }

    /// Loads 64 bits from an address.
    pub(super) fn load_at(&mut self, address: usize) -> ir::Value {
        let address = self.constant(address);
        self.load(types::I64, address, 0)
    }

    pub(super) fn store(&mut self, value: ir::Value, base: ir::Value, offset: usize) {
        let flags = MemFlagsData::trusted();
        self.builder
            .ins()
            .store(flags, value, base, displacement(offset));
    }

    pub(super) fn constant(&mut self, value: usize) -> ir::Value {
        let value = (value as u64).cast_signed();
        self.builder.ins().iconst(types::I64, value)
    }

    pub(super) fn bits(&mut self, double: ir::Value) -> ir::Value {
        let flags = MemFlagsData::new();
        self.builder.ins().bitcast(types::I64, flags, double)
    }

    /// Extends the low bits of a register to 64.
    pub(super) fn extended(&mut self, value: ir::Value, bits: u32, is_signed: bool) -> ir::Value {
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
    pub(super) fn call(&mut self, function: usize, arguments: &[ir::Value]) -> ir::Value {
        let mut signature = ir::Signature::new(self.builder.func.signature.call_conv);
        let values = arguments.iter();
        let registers = values.map(|value| self.builder.func.dfg.value_type(*value));
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

    /// Leaves the call to the general function if a value is not 0.
    pub(super) fn refuse_if(&mut self, value: ir::Value) {
        let next = self.builder.create_block();
        self.builder.ins().brif(value, self.unusual, &[], next, &[]);
        self.start(next);
    }

    /// Leaves the call to the general function if a value is 0.
    pub(super) fn require(&mut self, value: ir::Value) {
        let next = self.builder.create_block();
        self.builder.ins().brif(value, next, &[], self.unusual, &[]);
        self.start(next);
    }

    pub(super) fn require_imm(&mut self, condition: IntCC, value: ir::Value, other: i64) {
        let holds = self.builder.ins().icmp_imm_s(condition, value, other);
        self.require(holds);
    }

    pub(super) fn require_that(&mut self, condition: IntCC, value: ir::Value, other: ir::Value) {
        let holds = self.builder.ins().icmp(condition, value, other);
        self.require(holds);
    }

    pub(super) fn require_equal(&mut self, value: ir::Value, other: ir::Value) {
        self.require_that(IntCC::Equal, value, other);
    }

    /// Continues with `next` if a value is not 0, else with the block that leaves the call to the general function.
    pub(super) fn jump_if(&mut self, value: ir::Value, next: Block) {
        self.builder.ins().brif(value, next, &[], self.unusual, &[]);
    }

    /// Generates what is done if `condition` is not 0, which is rare.
    pub(super) fn rarely(&mut self, condition: ir::Value, then: impl FnOnce(&mut Self, Block)) {
        let (rare, next) = (self.builder.create_block(), self.builder.create_block());
        self.builder.set_cold_block(rare);
        self.builder.ins().brif(condition, rare, &[], next, &[]);
        self.start(rare);
        then(self, next);
        self.start(next);
    }

    /// Continues with a block, which all jumps to it precede.
    pub(super) fn start(&mut self, block: Block) {
        self.builder.switch_to_block(block);
        self.builder.seal_block(block);
    }

    /// Continues with the block that leaves the call to the general function.
    pub(super) fn start_unusual(&mut self) {
        self.start(self.unusual);
    }
}

/// Returns an offset in an object, a class or a frame, all of which are small.
fn displacement(offset: usize) -> i32 {
    i32::try_from(offset).unwrap_or(i32::MAX)
}
