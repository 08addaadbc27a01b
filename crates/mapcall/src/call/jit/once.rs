//! One call: words of a frame into registers, and back.

use cranelift_codegen::ir::{self, AbiParam, InstBuilder, MemFlagsData, SigRef, Type, types};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;

use super::{Class, Signature};

/// The body of an [`Entry`](crate::call::Entry): the words of the frame into registers, the call,
/// and the result back into the frame.
pub(super) fn translate(
    signature: &Signature,
    builder: &mut FunctionBuilder,
    parameters: &[ir::Value],
    convention: CallConv,
) {
    let callee = builder.import_signature(callee(signature, convention));
    if let [function, frame, _] = *parameters {
        let arguments = load(builder, frame, &signature.parameters);
        let results = call(builder, callee, function, &arguments);
        store(builder, frame, signature.parameters.len(), &results);
    }
    builder.ins().return_(&[]);
}

fn callee(signature: &Signature, convention: CallConv) -> ir::Signature {
    let values = |classes: &[Class]| {
        classes
            .iter()
            .map(|class| AbiParam::new(of(*class)))
            .collect()
    };
    ir::Signature {
        params: values(&signature.parameters),
        returns: values(&signature.results),
        call_conv: convention,
    }
}

/// A floating register is loaded whole: the bits above a narrower value mean nothing in it.
fn of(class: Class) -> Type {
    match class {
        Class::Integer => types::I64,
        Class::Float => types::F64,
    }
}

/// Loads the first words of a frame.
fn load(builder: &mut FunctionBuilder, frame: ir::Value, classes: &[Class]) -> Vec<ir::Value> {
    let words = classes.iter().zip((0..).step_by(size_of::<u64>()));
    words
        .map(|(class, offset)| {
            let flags = MemFlagsData::trusted();
            builder.ins().load(of(*class), flags, frame, offset)
        })
        .collect()
}

/// Calls a function with arguments in its registers and on the stack.
fn call(
    builder: &mut FunctionBuilder,
    signature: SigRef,
    function: ir::Value,
    arguments: &[ir::Value],
) -> Vec<ir::Value> {
    let call = builder.ins().call_indirect(signature, function, arguments);
    builder.inst_results(call).to_vec()
}

/// Stores values as the words of a frame from `start` on.
fn store(builder: &mut FunctionBuilder, frame: ir::Value, start: usize, values: &[ir::Value]) {
    for (word, value) in (start..).zip(values) {
        // A frame is no larger than its limit, 64 KiB.
        let offset = i32::try_from(word * size_of::<u64>()).unwrap_or(i32::MAX);
        builder
            .ins()
            .store(MemFlagsData::trusted(), *value, frame, offset);
    }
}
