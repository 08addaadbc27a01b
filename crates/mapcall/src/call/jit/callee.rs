//! How compiled code reaches the function that it calls.
//!
//! A prototype doesn't show whether the function is variadic in truth, as `open` and `printf` are. System
//! V's callers tell such a one in AL how many vector registers its arguments take (x86-64 psABI 3.2.3).
//! Cranelift can't set AL for a call. So there it compiles calls of a placeholder, with the
//! function's address as one argument more than the function has; then each of these calls, five bytes, is
//! replaced by one that sets AL and goes to where that argument is.

use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::ir::{
    self, AbiParam, ExtFuncData, ExternalName, FuncRef, InstBuilder, SigRef, UserExternalName,
    types,
};
use cranelift_codegen::{CompiledCode, FinalizedMachReloc};
use cranelift_frontend::FunctionBuilder;

use super::abi::{FLOAT_REGISTERS, INTEGER_REGISTERS};

/// A function's type, ready to be called.
pub(super) enum Callee {
    Straight(SigRef),
    Placeholder(FuncRef),
}

impl Callee {
    /// A function of that type; with `site`, its calls are those of a placeholder.
    pub(super) fn new(
        mut signature: ir::Signature,
        site: Option<CallSite>,
        builder: &mut FunctionBuilder,
    ) -> Self {
        if site.is_none() {
            return Self::Straight(builder.import_signature(signature));
        }
        signature.params.push(AbiParam::new(types::I64));
        let name = UserExternalName::new(0, 0);
        let name = builder.func.declare_imported_user_function(name);
        let signature = builder.import_signature(signature);
        Self::Placeholder(builder.import_function(ExtFuncData {
            name: ExternalName::user(name),
            signature,
            // So that the call has the address's distance in it.
            colocated: true,
            patchable: false,
        }))
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
            Self::Placeholder(placeholder) => {
                arguments.push(function);
                builder.ins().call(placeholder, &arguments)
            }
        };
        builder.inst_results(call).to_vec()
    }
}

/// What replaces the call of a placeholder.
#[derive(Clone, Copy)]
pub(super) struct CallSite {
    /// What AL is set to.
    vectors: u8,
    address: Holder,
}

/// Where the function's address is when it is called.
#[derive(Clone, Copy)]
enum Holder {
    /// In the register of an integer argument.
    Register(usize),
    /// On the stack, behind so many words.
    Stack(usize),
}

impl CallSite {
    /// For functions of that type, whose arguments take so many vector registers.
    pub(super) fn new(signature: &ir::Signature, vectors: u8) -> Self {
        let parameters = &signature.params;
        let integers = parameters
            .iter()
            .filter(|parameter| parameter.value_type.is_int());
        let integers = integers.count();
        let floats = parameters.len() - integers;
        let address = if integers < INTEGER_REGISTERS {
            Holder::Register(integers)
        } else {
            let floats = floats.saturating_sub(FLOAT_REGISTERS);
            Holder::Stack(integers - INTEGER_REGISTERS + floats)
        };
        Self { vectors, address }
    }

    /// The code with its calls replaced; `None` where it refers to anything else.
    pub(super) fn patch(self, compiled: &CompiledCode) -> Option<Vec<u8>> {
        let mut code = compiled.code_buffer().to_vec();
        let end = code.len();
        for FinalizedMachReloc { offset, kind, .. } in compiled.buffer.relocs() {
            let start = usize::try_from(*offset).ok()?.checked_sub(1)?;
            let replaced = self.call(end.checked_sub(start + LENGTH)?)?;
            let call = code.get_mut(start..start + LENGTH)?;
            if *kind != Reloc::X86CallPCRel4 || call.first() != Some(&CALL) {
                return None;
            }
            call.copy_from_slice(&replaced);
        }
        if let Holder::Stack(words @ 1..) = self.address {
            code.extend(self.jump(words)?);
        }
        Some(code)
    }

    /// The five bytes of a call; `distance` is that from its end to the end of the code, where there is
    /// a [`jump`](Self::jump) for what doesn't fit.
    fn call(self, distance: usize) -> Option<[u8; LENGTH]> {
        let vectors = self.vectors;
        // `nop` and `mov al, vectors`, where both fit.
        Some(match self.address {
            // `call rdi`, and so on in the order of the psABI: rsi, rdx, rcx, r8, r9.
            Holder::Register(0) => [0x90, 0xb0, vectors, 0xff, 0xd7],
            Holder::Register(1) => [0x90, 0xb0, vectors, 0xff, 0xd6],
            Holder::Register(2) => [0x90, 0xb0, vectors, 0xff, 0xd2],
            Holder::Register(3) => [0x90, 0xb0, vectors, 0xff, 0xd1],
            Holder::Register(4) => [0xb0, vectors, 0x41, 0xff, 0xd0],
            Holder::Register(5) => [0xb0, vectors, 0x41, 0xff, 0xd1],
            Holder::Register(_) => return None,
            // `call [rsp]`
            Holder::Stack(0) => [0xb0, vectors, 0xff, 0x14, 0x24],
            Holder::Stack(_) => {
                let [a, b, c, d] = i32::try_from(distance).ok()?.to_le_bytes();
                [CALL, a, b, c, d]
            }
        })
    }

    /// Code that is called to set AL and to go to an address on the stack.
    fn jump(self, words: usize) -> Option<Vec<u8>> {
        // Below them is the return address.
        let offset = i32::try_from(size_of::<u64>() * (1 + words)).ok()?;
        // `mov al, vectors; jmp [rsp + offset]`
        let code = [0xb0, self.vectors, 0xff, 0xa4, 0x24];
        Some([&code[..], &offset.to_le_bytes()].concat())
    }
}

/// The first byte of a call of an address that is so many bytes away.
const CALL: u8 = 0xe8;

/// How many bytes such a call has.
const LENGTH: usize = 5;

/// Code that sets AL and goes to an address.
pub(super) fn jump(address: usize, vectors: u8) -> Vec<u8> {
    let address = (address as u64).to_le_bytes();
    // `mov al, vectors; movabs r11, address; jmp r11`
    [
        &[0xb0, vectors, 0x49, 0xbb],
        &address[..],
        &[0x41, 0xff, 0xe3],
    ]
    .concat()
}
