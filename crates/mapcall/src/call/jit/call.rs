//! The code of one call: it loads the arguments from a frame and stores the result there.

use cranelift_codegen::ir::{self, AbiParam, InstBuilder, MemFlagsData, Type, types};
use cranelift_codegen::isa::CallConv;
use cranelift_frontend::FunctionBuilder;

use super::callee::Callee;
use super::{Class, Signature};

/// Generates the body of an [`Entry`](crate::call::Entry): it loads the frame's slots into registers,
/// calls the function, and stores the result in the frame.
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

/// Returns the type of the function that is called.
pub(super) fn callee(signature: &Signature, convention: CallConv) -> ir::Signature {
    let values = |classes: &[Class]| {
        classes
            .iter()
            .map(|class| AbiParam::new(register(*class)))
            .collect()
    };
    ir::Signature {
        params: values(&signature.parameters),
        returns: values(&signature.results),
        call_conv: convention,
    }
}

/// Returns the type of a register. 64 bits of a vector register are loaded for narrower values as well,
/// because callees ignore the bits above a value.
fn register(class: Class) -> Type {
    match class {
        Class::Integer => types::I64,
        Class::Float => types::F64,
    }
}

/// Loads the first slots of a frame, one for each class.
fn load(builder: &mut FunctionBuilder, frame: ir::Value, classes: &[Class]) -> Vec<ir::Value> {
    let slots = classes.iter().zip((0..).step_by(size_of::<u64>()));
    slots
        .map(|(class, offset)| {
            let flags = MemFlagsData::trusted();
            builder.ins().load(register(*class), flags, frame, offset)
        })
        .collect()
}

/// Stores values in the slots of a frame from `start` on.
fn store(builder: &mut FunctionBuilder, frame: ir::Value, start: usize, values: &[ir::Value]) {
    for (slot, value) in (start..).zip(values) {
        // The offset fits, as a frame has at most 64 KiB.
        let offset = i32::try_from(slot * size_of::<u64>()).unwrap_or(i32::MAX);
        builder
            .ins()
            .store(MemFlagsData::trusted(), *value, frame, offset);
    }
}
