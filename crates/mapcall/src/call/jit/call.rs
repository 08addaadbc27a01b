//! One call: words of a frame into registers, and back.

use cranelift_codegen::ir::{self, AbiParam, InstBuilder, MemFlagsData, Type, types};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;

use super::callee::Callee;
use super::{Class, Signature};

/// The body of an [`Entry`](crate::call::Entry): the words of the frame into registers, the call,
/// and the result back into the frame.
pub(super) fn translate(
    signature: &Signature,
    builder: &mut FunctionBuilder,
    parameters: &[ir::Value],
    callee: &Callee,
) {
    if let [function, frame, _] = *parameters {
        let arguments = load(builder, frame, &signature.parameters);
        let results = callee.call(builder, function, arguments);
        store(builder, frame, signature.parameters.len(), &results);
    }
    builder.ins().return_(&[]);
}

/// The type of the function that is called.
pub(super) fn callee(signature: &Signature, convention: CallConv) -> ir::Signature {
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
