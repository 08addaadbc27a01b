//! The code of an entry: the checks of a usual call, the call, and its result.

mod arguments;
mod code;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, InstBuilder, MemFlagsData, StackSlot, types};
use cranelift_frontend::FunctionBuilder;
use mapcall_array::{fork, guard};

use super::callee::Callee;
use super::{Class, Signature};
use crate::call::entry::{EntryCheck, EntryNumber, EntryResult, Host};
use crate::call::errno;
use arguments::Arguments;
use code::Code;

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

/// Generates the body of an entry; `None` if it can't be compiled.
pub(super) fn translate(
    entry: &Entry,
    builder: &mut FunctionBuilder,
    parameters: &[ir::Value],
    callee: &Callee,
) -> Option<()> {
    let [function, arguments, count, keywords] = *parameters else {
        return None;
    };
    let (host, check) = (&entry.host, &entry.check);
    let (slots, result) = entry.frame;
    let mut code = Code::new(builder, host);
    let frame = code.memory(slots);
    let outputs = code.memory(check.outputs.len() + 1);

    code.refuse_if(keywords);
    let mask = host.function.count.cast_signed();
    let mask = code.builder.ins().iconst(types::I64, mask);
    let given = code.builder.ins().band(count, mask);
    let expected = i64::try_from(check.arguments.len()).ok()?;
    code.require_imm(IntCC::Equal, given, expected);
    let troubles = code.load_at(guard::troubles());
    code.refuse_if(troubles);
    let mut checked = Arguments::new(&mut code, check, (frame, slots));
    checked.check(&mut code, (function, arguments))?;
    let state = code.state();
    // Nothing is left to the general function from here on.
    checked.make_outputs(&mut code, outputs, |code| {
        let object = code.tuple_of(outputs, check.outputs.len());
        code.builder.ins().return_(&[object]);
    })?;

    let registers = entry.called.parameters.iter().zip(checked.slots());
    let passed = registers.map(|(class, value)| Some(code.register(*class, value?)));
    let passed = passed.collect::<Option<_>>()?;
    code.begin(&state);
    let address = code.load(types::I64, function, host.function.address);
    let results = callee.call(code.builder, address, passed);
    let errno = code.finish(&state);
    if let Some(&value) = results.first() {
        code.store_in(frame, result, value);
    }

    let ended = code.builder.create_block();
    if check.result == EntryResult::Other {
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
        let object = code.objects(check, results.first().copied(), outputs);
        code.builder.ins().return_(&[object]);
    }
    code.start(ended);
    let given = [
        function,
        arguments,
        given,
        code.address_of(frame, 0),
        code.address_of(outputs, 0),
        errno,
    ];
    let object = code.call(host.function.end, &given);
    code.builder.ins().return_(&[object]);

    code.start_unusual();
    let given = [function, arguments, count, keywords];
    let object = code.call(host.function.general, &given);
    code.builder.ins().return_(&[object]);
    Some(())
}

/// The state of the thread in a call.
struct State {
    thread: ir::Value,
    /// The address of C's `errno`.
    errno: ir::Value,
}

impl Code<'_, '_> {
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

    /// Generates the check that this thread is the latest, and in no callback that has received pointers. Returns its
    /// state.
    fn state(&mut self) -> State {
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
        State { thread, errno }
    }

    /// Generates the begin of a call on the thread.
    fn begin(&mut self, state: &State) {
        self.count(state.thread, 1);
        let zero = self.builder.ins().iconst(types::I32, 0);
        self.store(zero, state.errno, 0);
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

    /// Returns the object for the result of the function and the outputs: None for no object, the object if it is
    /// the only one, else a tuple of all. `value` is what the function returns.
    fn objects(
        &mut self,
        check: &EntryCheck,
        value: Option<ir::Value>,
        outputs: StackSlot,
    ) -> ir::Value {
        let count = check.outputs.len();
        let has_result = check.result != EntryResult::None;
        match (has_result, count) {
            (_, 0) => self.object(check.result, value),
            (false, 1) => {
                let first = self.address_of(outputs, 0);
                self.load(types::I64, first, 0)
            }
            (false, count) => self.tuple_of(outputs, count),
            (true, count) => {
                let all = self.memory(count + 1);
                let result = self.object(check.result, value);
                self.store_in(all, 0, result);
                let from = self.address_of(outputs, 0);
                for index in 0..count {
                    let output = self.load(types::I64, from, index * size_of::<u64>());
                    self.store_in(all, index + 1, output);
                }
                self.tuple_of(all, count + 1)
            }
        }
    }

    fn tuple_of(&mut self, objects: StackSlot, count: usize) -> ir::Value {
        let objects = self.address_of(objects, 0);
        let count = self.constant(count);
        self.call(self.host.results.tuple, &[objects, count])
    }

    /// Returns the object for the result of the function; `value` is what it returns.
    fn object(&mut self, result: EntryResult, value: Option<ir::Value>) -> ir::Value {
        let host = self.host.results;
        match (result, value) {
            (EntryResult::Number(EntryNumber::Double), Some(value)) => {
                self.call(host.real, &[value])
            }
            (EntryResult::Number(EntryNumber::Float), Some(value)) => {
                // A `float` is in the low bits of the register.
                let bits = self.bits(value);
                let bits = self.builder.ins().ireduce(types::I32, bits);
                let flags = MemFlagsData::new();
                let float = self.builder.ins().bitcast(types::F32, flags, bits);
                let double = self.builder.ins().fpromote(types::F64, float);
                self.call(host.real, &[double])
            }
            (EntryResult::Number(EntryNumber::Integer { bits, is_signed }), Some(value)) => {
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
}
