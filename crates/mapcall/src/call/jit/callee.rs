//! Calls from compiled code, with AL set where the function may be variadic.
//!
//! A prototype of fixed parameters may describe a variadic function, such as `open` or `printf`. Its caller
//! passes in AL an upper bound of the number of vector registers that the arguments take (System V x86-64
//! psABI 3.2.3). Cranelift can't set AL. So it compiles calls of a placeholder, which take the function's
//! address as an additional last argument. Then each of these calls, an instruction of five bytes, is
//! replaced by code that sets AL and calls the address in that argument's register or stack slot.

use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::ir::{
    self, AbiParam, ExtFuncData, ExternalName, FuncRef, InstBuilder, SigRef, UserExternalName,
    types,
};
use cranelift_codegen::{CompiledCode, FinalizedMachReloc};
use cranelift_frontend::FunctionBuilder;

use super::abi::{FLOAT_REGISTERS, INTEGER_REGISTERS};

/// The callee of compiled code.
pub(super) enum Callee {
    /// An address, called without setting AL.
    Indirect(SigRef),
    /// The placeholder, whose calls are replaced.
    Placeholder(FuncRef),
}

impl Callee {
    /// Makes the callee for functions of a type; with `site`, its calls are those of a placeholder.
    pub(super) fn new(
        mut signature: ir::Signature,
        site: Option<CallSite>,
        builder: &mut FunctionBuilder,
    ) -> Self {
        if site.is_none() {
            return Self::Indirect(builder.import_signature(signature));
        }
        signature.params.push(AbiParam::new(types::I64));
        let name = UserExternalName::new(0, 0);
        let name = builder.func.declare_imported_user_function(name);
        let signature = builder.import_signature(signature);
        Self::Placeholder(builder.import_function(ExtFuncData {
            name: ExternalName::user(name),
            signature,
            // Makes the call a relative one, of five bytes.
            colocated: true,
            patchable: false,
        }))
    }

    /// Generates a call with these arguments, and returns the results.
    pub(super) fn call(
        &self,
        builder: &mut FunctionBuilder,
        function: ir::Value,
        mut arguments: Vec<ir::Value>,
    ) -> Vec<ir::Value> {
        let call = match *self {
            Self::Indirect(signature) => {
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

/// The code that replaces a call of the placeholder.
#[derive(Clone, Copy)]
pub(super) struct CallSite {
    /// The value that AL is set to.
    vectors: u8,
    address: Holder,
}

/// The location of the function's address when it is called.
#[derive(Clone, Copy)]
enum Holder {
    /// The register of an integer argument, by its index.
    Register(usize),
    /// A stack slot, by the number of slots before it.
    Stack(usize),
}

impl CallSite {
    /// Makes the code for calls of functions of a type, with the value of AL. The address is the integer
    /// argument after all others, so that it takes the next free register or stack slot.
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

    /// Returns compiled code with its calls replaced; `None` if it has other relocations.
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
        if let Holder::Stack(slots @ 1..) = self.address {
            code.extend(self.jump(slots)?);
        }
        Some(code)
    }

    /// Returns the five bytes of a call. `distance` is the number of bytes from its end to the end of the
    /// code, where a [`jump`](Self::jump) stands if five bytes are not enough.
    fn call(self, distance: usize) -> Option<[u8; LENGTH]> {
        let vectors = self.vectors;
        // `nop` if there is room, `mov al, vectors`, and the call.
        Some(match self.address {
            // `call rdi`; then rsi, rdx, rcx, r8 and r9, the order of psABI 3.2.3, "Passing", step 2.
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

    /// Returns code that sets AL and jumps to the address in a stack slot.
    fn jump(self, slots: usize) -> Option<Vec<u8>> {
        // The return address is below the arguments' slots.
        let offset = i32::try_from(size_of::<u64>() * (1 + slots)).ok()?;
        // `mov al, vectors; jmp [rsp + offset]`
        let code = [0xb0, self.vectors, 0xff, 0xa4, 0x24];
        Some([&code[..], &offset.to_le_bytes()].concat())
    }
}

/// The opcode of a call with a relative address (`call rel32`).
const CALL: u8 = 0xe8;

/// The size of a relative call in bytes.
const LENGTH: usize = 5;

/// Returns code that sets AL and jumps to an address.
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
