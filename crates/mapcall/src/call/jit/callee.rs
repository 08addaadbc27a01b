//! How compiled code reaches the function that it calls.
//!
//! A prototype doesn't show whether the function is variadic in truth, as `open` and `printf` are. To
//! such a one System V's callers tell in AL how many vector registers its arguments take (x86-64 psABI
//! 3.2.3), which Cranelift can't express. Where it may matter ([`abi::vectors`]), the call goes to a
//! stub, with the function's address as one argument more than the function has: the stub sets
//! AL and jumps there.

use cranelift_codegen::ir::{self, AbiParam, FuncRef, InstBuilder, SigRef, types};
use cranelift_frontend::FunctionBuilder;
use cranelift_jit::JITModule;
use cranelift_module::Module;

use super::abi::{FLOAT_REGISTERS, INTEGER_REGISTERS};

/// A function's type, ready to be called.
pub(super) enum Callee {
    Straight(SigRef),
    ByStub(FuncRef),
}

impl Callee {
    /// Adds what the calls need to the code that is being built; `vectors` is what AL is set to.
    pub(super) fn new(
        mut signature: ir::Signature,
        vectors: Option<u8>,
        builder: &mut FunctionBuilder,
        module: &mut JITModule,
    ) -> Option<Self> {
        let Some(vectors) = vectors else {
            return Some(Self::Straight(builder.import_signature(signature)));
        };
        let code = stub(&signature.params, vectors)?;
        signature.params.push(AbiParam::new(types::I64));
        let stub = module.declare_anonymous_function(&signature).ok()?;
        module.define_function_bytes(stub, 16, &code, &[]).ok()?;
        Some(Self::ByStub(
            module.declare_func_in_func(stub, builder.func),
        ))
    }

    /// Calls a function with arguments in its registers and on the stack; its results.
    pub(super) fn call(
        &self,
        builder: &mut FunctionBuilder,
        function: ir::Value,
        mut arguments: Vec<ir::Value>,
    ) -> Vec<ir::Value> {
        let call = match *self {
            Self::Straight(signature) => {
                builder.ins().call_indirect(signature, function, &arguments)
            }
            Self::ByStub(stub) => {
                arguments.push(function);
                builder.ins().call(stub, &arguments)
            }
        };
        builder.inst_results(call).to_vec()
    }
}

/// `mov eax, vectors`
fn set_al(vectors: u8) -> [u8; 5] {
    [0xb8, vectors, 0, 0, 0]
}

/// Code that sets AL and jumps to the address that follows these parameters.
fn stub(parameters: &[AbiParam], vectors: u8) -> Option<Vec<u8>> {
    let integers = parameters
        .iter()
        .filter(|parameter| parameter.value_type.is_int());
    let integers = integers.count();
    let floats = parameters.len() - integers;
    // In the order of the psABI: rdi, rsi, rdx, rcx, r8, r9.
    let jump = match integers {
        0 => vec![0xff, 0xe7],
        1 => vec![0xff, 0xe6],
        2 => vec![0xff, 0xe2],
        3 => vec![0xff, 0xe1],
        4 => vec![0x41, 0xff, 0xe0],
        5 => vec![0x41, 0xff, 0xe1],
        _ => {
            let on_stack =
                integers.saturating_sub(INTEGER_REGISTERS) + floats.saturating_sub(FLOAT_REGISTERS);
            // Behind the return address and what the function itself has there.
            let offset = i32::try_from(size_of::<u64>() * (1 + on_stack)).ok()?;
            // `jmp [rsp + offset]`
            [&[0xff, 0xa4, 0x24], &offset.to_le_bytes()[..]].concat()
        }
    };
    Some([&set_al(vectors)[..], &jump].concat())
}

/// Code that sets AL and jumps to an address.
pub(super) fn jump(address: usize, vectors: u8) -> Vec<u8> {
    let address = (address as u64).to_le_bytes();
    // `movabs r11, address; jmp r11`
    [
        &set_al(vectors)[..],
        &[0x49, 0xbb],
        &address,
        &[0x41, 0xff, 0xe3],
    ]
    .concat()
}
