//! The engine for values in registers: Cranelift compiles one small function for each sequence of
//! register classes.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use cranelift_codegen::Context;
use cranelift_codegen::ir::{
    self, AbiParam, Function, InstBuilder, MemFlagsData, SigRef, Type, UserFuncName, types,
};
use cranelift_codegen::isa::{CallConv, OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::Module;

use super::abi::{self, Class, FLOAT_REGISTERS, INTEGER_REGISTERS};
use super::value::Value;

/// All that compiled code depends on: the classes of the words of a frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Signature {
    parameters: Vec<Class>,
    results: Vec<Class>,
}

impl Signature {
    /// The signature of a function whose values all travel in registers or as single words of
    /// the stack; `None` for others.
    pub(super) fn new(returns: &Value, parameters: &[Value]) -> Option<Self> {
        let results = abi::registers(returns)?;
        let mut classes = Vec::with_capacity(parameters.len());
        for value in parameters {
            let words = abi::registers(value)?;
            let is_whole = words.len() == 1;
            classes.extend(words);
            // The C compiler puts a value of two words on the stack when one has no register;
            // Cranelift would split it.
            if !is_whole && !fit_registers(&classes) {
                return None;
            }
        }
        Some(Self {
            parameters: classes,
            results,
        })
    }
}

fn fit_registers(classes: &[Class]) -> bool {
    let integers = classes.iter().filter(|class| **class == Class::Integer);
    let integers = integers.count();
    integers <= INTEGER_REGISTERS && classes.len() - integers <= FLOAT_REGISTERS
}

/// Compiled code: a function of type [`Entry`](super::Entry).
#[derive(Clone, Copy)]
pub(super) struct Code(NonNull<c_void>);

// SAFETY: code is never written again, and never freed.
unsafe impl Send for Code {}

impl Code {
    pub(super) fn address(self) -> *mut c_void {
        self.0.as_ptr()
    }
}

/// The code for a signature, compiled when it is first asked for; `None` where that fails.
///
/// Code is never freed: its signatures are few, a page each, and nothing knows which thread is
/// still in it.
pub(super) fn code(signature: &Signature) -> Option<Code> {
    static COMPILER: LazyLock<Mutex<Compiler>> = LazyLock::new(Mutex::default);
    let mut compiler = COMPILER.lock().unwrap_or_else(PoisonError::into_inner);
    compiler.code(signature)
}

#[derive(Default)]
struct Compiler {
    code: HashMap<Signature, Option<Code>>,
    target: Option<OwnedTargetIsa>,
    /// Once the system refuses executable pages, it does so for good.
    is_refused: bool,
}

impl Compiler {
    fn code(&mut self, signature: &Signature) -> Option<Code> {
        if let Some(code) = self.code.get(signature) {
            return *code;
        }
        if self.is_refused {
            return None;
        }
        // A fault of the compiler is no reason to fail: there is another engine.
        let compiled = panic::catch_unwind(AssertUnwindSafe(|| self.compile(signature)));
        let code = compiled.ok().flatten();
        self.code.insert(signature.clone(), code);
        code
    }

    fn compile(&mut self, signature: &Signature) -> Option<Code> {
        let target = match &self.target {
            Some(target) => Arc::clone(target),
            None => Arc::clone(self.target.insert(target()?)),
        };
        let mut module = JITModule::new(JITBuilder::with_isa(
            Arc::clone(&target),
            cranelift_module::default_libcall_names(),
        ));
        let mut context = Context::new();
        context.func = translate(signature, &*target);
        let declared = &context.func.signature;
        let id = module.declare_anonymous_function(declared).ok()?;
        module.define_function(id, &mut context).ok()?;
        if module.finalize_definitions().is_err() {
            self.is_refused = true;
            return None;
        }
        // A module that is dropped leaves its code where it is.
        NonNull::new(module.get_finalized_function(id).cast_mut().cast()).map(Code)
    }
}

/// This processor.
fn target() -> Option<OwnedTargetIsa> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "speed"),
        // Profilers and debuggers find their way through the code.
        ("preserve_frame_pointers", "true"),
        ("unwind_info", "false"),
        ("use_colocated_libcalls", "false"),
        ("is_pic", "false"),
        (
            "enable_verifier",
            if cfg!(debug_assertions) {
                "true"
            } else {
                "false"
            },
        ),
    ] {
        flags.set(name, value).ok()?;
    }
    let builder = cranelift_native::builder().ok()?;
    builder.finish(settings::Flags::new(flags)).ok()
}

/// The body of an [`Entry`](super::Entry): the words of the frame into registers, the call, and
/// the result back into the frame.
fn translate(signature: &Signature, target: &dyn TargetIsa) -> Function {
    let convention = target.default_call_conv();
    let mut entry = ir::Signature::new(convention);
    entry.params = vec![AbiParam::new(types::I64); 3];
    let mut function = Function::with_name_signature(UserFuncName::default(), entry);
    let mut context = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut function, &mut context);
    let callee = builder.import_signature(callee(signature, convention));
    let block = builder.create_block();
    builder.append_block_params_for_function_params(block);
    builder.switch_to_block(block);
    builder.seal_block(block);
    if let [function, frame, _] = *builder.block_params(block) {
        let arguments = load(&mut builder, frame, &signature.parameters);
        let results = call(&mut builder, callee, function, &arguments);
        store(&mut builder, frame, signature.parameters.len(), &results);
    }
    builder.ins().return_(&[]);
    builder.finalize(target.frontend_config());
    function
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
