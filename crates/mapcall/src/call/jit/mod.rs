//! The engine for values that are passed in registers: Cranelift compiles one small function for each
//! sequence of register classes, one for each kind of loop over calls of it, and one for each kind of its entries.
#![allow(unsafe_code)]

mod call;
mod call_loop;
mod callee;
mod entry;

use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::NonNull;
use std::sync::Arc;

use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::ir::{self, AbiParam, Function, UserFuncName, types};
use cranelift_codegen::isa::{OwnedTargetIsa, TargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::Module;
use mapcall_array::fork::Mutex;
use mapcall_decl::stack;

use super::abi::{self, Class, FLOAT_REGISTERS, INTEGER_REGISTERS};
use super::value::Value;
use callee::{CallSite, Callee};

pub(super) use call_loop::Pattern;
pub(super) use entry::Entry;

/// The stack that compiling needs, in bytes.
const STACK: usize = 1 << 20;

/// The properties of a call on which its code depends: the classes of the frame's slots.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Signature {
    parameters: Vec<Class>,
    results: Vec<Class>,
    /// The value that AL is set to, on machines that have it: see [`callee`].
    vectors: Option<u8>,
}

impl Signature {
    /// Returns the signature of a function whose values are all passed in registers or single stack slots;
    /// `None` for others.
    pub(super) fn new(returns: &Value, parameters: &[Value]) -> Option<Self> {
        let results = abi::registers(returns)?;
        let mut classes = Vec::with_capacity(parameters.len());
        for value in parameters {
            let registers = abi::registers(value)?;
            let is_single = registers.len() == 1;
            classes.extend(registers);
            // A value of two eightbytes goes to the stack if one of them has no register (System V x86-64
            // psABI 3.2.3, "Passing"); Cranelift would split it.
            if !is_single && !fit_registers(&classes) {
                return None;
            }
        }
        Some(Self {
            parameters: classes,
            results,
            vectors: abi::vectors(parameters),
        })
    }
}

fn fit_registers(classes: &[Class]) -> bool {
    let integers = classes.iter().filter(|class| **class == Class::Integer);
    let integers = integers.count();
    integers <= INTEGER_REGISTERS && classes.len() - integers <= FLOAT_REGISTERS
}

/// A piece of code to compile, the key in the cache of compiled code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Routine {
    /// One call: a function of type [`Entry`](super::Entry).
    Call(Signature),
    /// A loop of calls: a function of type [`LoopCode`](super::call_loop::LoopCode).
    Loop(Pattern),
    /// A call by a host language: see [`Trampoline::entry`](super::Trampoline::entry).
    Entry(Box<Entry>),
    /// A jump to a function that sets AL before, for callers that don't.
    Jump { address: usize, vectors: u8 },
}

/// Compiled code.
#[derive(Clone, Copy)]
pub(super) struct Code(NonNull<c_void>);

// SAFETY: the code is never freed, and not written once it is compiled.
unsafe impl Send for Code {}

impl Code {
    pub(super) fn address(self) -> *mut c_void {
        self.0.as_ptr()
    }
}

/// Returns the code of a routine, which is compiled the first time; `None` if that fails.
///
/// Code is never freed: routines are few, each takes a page, and another thread may still run it.
pub(super) fn code(routine: &Routine) -> Option<Code> {
    static COMPILER: Mutex<Option<Compiler>> = Mutex::new(None);
    COMPILER.lock().get_or_insert_default().code(routine)
}

/// Returns the address at which code that does not set AL can call a function with these parameters.
pub(super) fn callable(parameters: &[Value], address: *const c_void) -> *const c_void {
    let Some(vectors @ 1..) = abi::vectors(parameters) else {
        return address;
    };
    let address_of = |code: Code| code.address().cast_const();
    let routine = Routine::Jump {
        address: address.expose_provenance(),
        vectors,
    };
    // Without executable memory the function's own address is returned.
    code(&routine).map_or(address, address_of)
}

#[derive(Default)]
struct Compiler {
    code: HashMap<Routine, Option<Code>>,
    target: Option<OwnedTargetIsa>,
    /// Whether the system has refused executable pages. It is not tried again.
    is_refused: bool,
}

impl Compiler {
    fn code(&mut self, routine: &Routine) -> Option<Code> {
        if let Some(code) = self.code.get(routine) {
            return *code;
        }
        if self.is_refused {
            return None;
        }
        // If the compiler panics, the other engine makes the calls.
        let compiled = panic::catch_unwind(AssertUnwindSafe(|| {
            stack::with(STACK, || self.compile(routine))
        }));
        let code = match compiled {
            Ok(Ok(code)) => code,
            // This thread's stack is too small and no other thread could be started: tried again later.
            Ok(Err(_)) => return None,
            Err(_) => None,
        };
        self.code.insert(routine.clone(), code);
        code
    }

    fn compile(&mut self, routine: &Routine) -> Option<Code> {
        let target = match &self.target {
            Some(target) => Arc::clone(target),
            None => Arc::clone(self.target.insert(target()?)),
        };
        let mut module = JITModule::new(JITBuilder::with_isa(
            Arc::clone(&target),
            cranelift_module::default_libcall_names(),
        ));
        let id = match routine {
            Routine::Jump { address, vectors } => {
                let declared = ir::Signature::new(target.default_call_conv());
                let id = module.declare_anonymous_function(&declared).ok()?;
                let code = callee::jump(*address, *vectors);
                module
                    .define_function_bytes(id, ALIGNMENT, &code, &[])
                    .ok()?;
                id
            }
            Routine::Call(_) | Routine::Loop(_) | Routine::Entry(_) => {
                let mut context = Context::new();
                let (function, site) = translate(routine, &*target)?;
                context.func = function;
                let declared = &context.func.signature;
                let id = module.declare_anonymous_function(declared).ok()?;
                if let Some(site) = site {
                    let control = &mut ControlPlane::default();
                    let code = site.patch(context.compile(&*target, control).ok()?)?;
                    module
                        .define_function_bytes(id, ALIGNMENT, &code, &[])
                        .ok()?;
                } else {
                    module.define_function(id, &mut context).ok()?;
                }
                id
            }
        };
        if module.finalize_definitions().is_err() {
            self.is_refused = true;
            return None;
        }
        // Dropping the module does not free its code.
        NonNull::new(module.get_finalized_function(id).cast_mut().cast()).map(Code)
    }
}

/// Returns Cranelift's target for this processor.
fn target() -> Option<OwnedTargetIsa> {
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "speed"),
        // Lets profilers and debuggers walk the stack through the code.
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

/// The alignment of code, in bytes.
const ALIGNMENT: u64 = 16;

/// Translates a routine into Cranelift's representation: a function whose parameters are all 64-bit
/// integers, and the code that replaces its calls of the placeholder, if it has any.
fn translate(routine: &Routine, target: &dyn TargetIsa) -> Option<(Function, Option<CallSite>)> {
    let convention = target.default_call_conv();
    let mut signature = ir::Signature::new(convention);
    let (parameters, results, callee, vectors) = match routine {
        Routine::Call(called) => (3, 0, call::callee(called, convention), called.vectors),
        Routine::Loop(pattern) => {
            let callee = call_loop::callee(pattern, convention);
            (5, 1, callee, pattern.vectors())
        }
        Routine::Entry(entry) => {
            let called = &entry.called;
            let callee = call::callee(called, convention);
            (entry::PARAMETERS, 1, callee, called.vectors)
        }
        Routine::Jump { .. } => return None,
    };
    signature.params = vec![AbiParam::new(types::I64); parameters];
    signature.returns = vec![AbiParam::new(types::I64); results];
    let mut function = Function::with_name_signature(UserFuncName::default(), signature);
    let mut context = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut function, &mut context);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    builder.seal_block(entry);
    let parameters = builder.block_params(entry).to_vec();
    let site = vectors.map(|vectors| CallSite::new(&callee, vectors));
    let callee = Callee::new(callee, site, &mut builder);
    match routine {
        Routine::Call(signature) => call::translate(signature, &mut builder, &parameters, &callee),
        Routine::Loop(pattern) => {
            call_loop::translate(pattern, &mut builder, &parameters, callee);
        }
        Routine::Entry(entry) => entry::translate(entry, &mut builder, &parameters, &callee)?,
        Routine::Jump { .. } => {}
    }
    builder.finalize(target.frontend_config());
    Some((function, site))
}
