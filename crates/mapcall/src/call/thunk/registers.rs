//! The entry of closures whose arguments and result are passed in one register each, or in eight bytes of the stack
//! (System V x86-64 psABI 3.2.3).
//!
//! libffi's entry finds the registers of the arguments at each call. Here they are found once for all closures of a
//! type.
#![allow(unsafe_code)]

use std::arch::naked_asm;
use std::ffi::c_void;
use std::mem::{self, offset_of};

use libffi_sys::ffi_closure;

use super::Enter;
use super::table::ENTRY;
use crate::call::abi::{Class, FLOAT_REGISTERS, INTEGER_REGISTERS, registers};
use crate::call::value::{Kind, Value};

/// The number of registers that arguments are passed in.
const REGISTERS: usize = INTEGER_REGISTERS + FLOAT_REGISTERS;

/// The registers of the arguments as they were when C entered a closure, and the address of the arguments on the
/// stack.
#[repr(C)]
pub(in crate::call) struct Saved {
    registers: [u64; REGISTERS],
    stack: *const u64,
}

/// The function that a closure runs: it takes the closure's data and returns the result.
pub(in crate::call) type EnterBySlots = unsafe extern "C" fn(*mut c_void, &Saved) -> u64;

/// Where the argument of a parameter is, and how it becomes a slot of a frame.
pub(in crate::call) struct Source {
    /// The number of a register, or that of eight bytes on the stack plus [`REGISTERS`].
    index: usize,
    /// The number of bits of the slot that the type does not have.
    unused: u32,
    is_signed: bool,
}

/// Returns the sources of the arguments of a function type; `None` if libffi must find them.
pub(in crate::call) fn sources(returns: &Value, parameters: &[Value]) -> Option<Box<[Source]>> {
    if registers(returns)?.len() > 1 {
        return None;
    }
    let (mut integers, mut floats) = (0..INTEGER_REGISTERS, INTEGER_REGISTERS..REGISTERS);
    let mut stack = REGISTERS..;
    let source = |value: &Value| {
        let free = match registers(value)?[..] {
            [Class::Integer] => integers.next(),
            [Class::Float] => floats.next(),
            _ => return None,
        };
        Some(Source {
            index: free.or_else(|| stack.next())?,
            unused: 64_u32.checked_sub(u32::try_from(8 * value.size).ok()?)?,
            is_signed: matches!(value.kind, Kind::Integer { is_signed: true }),
        })
    };
    parameters.iter().map(source).collect()
}

impl Saved {
    /// Returns the slot of an argument.
    ///
    /// # Safety
    ///
    /// C has entered a closure whose function type the source is one of, and is in it.
    #[inline]
    pub(in crate::call) unsafe fn slot(&self, source: &Source) -> u64 {
        let slot = if let Some(register) = self.registers.get(source.index) {
            *register
        } else {
            let address = self.stack.wrapping_add(source.index - REGISTERS);
            // SAFETY: the caller guarantees that C has passed the argument, which is not in a register.
            unsafe { address.read() }
        };
        let shifted = slot << source.unused;
        if source.is_signed {
            (shifted.cast_signed() >> source.unused).cast_unsigned()
        } else {
            shifted >> source.unused
        }
    }
}

/// Has a closure that libffi has prepared enter `enter` with its data.
///
/// # Safety
///
/// - `closure` is valid for writes, and C can't enter it yet.
/// - `enter` can be called with the closure's data at any time, from any thread.
pub(super) unsafe fn install(closure: *mut ffi_closure, enter: EnterBySlots) {
    let code = closure.wrapping_byte_add(ENTRY).cast::<usize>();
    // SAFETY: the code of a closure has the address of its entry there, by the caller's guarantee for writes.
    unsafe { code.write((enter_closure as *const c_void).expose_provenance()) };
    // SAFETY: both are addresses of functions. `enter_closure`, which alone reads the field from now on, takes it
    // for that of an `EnterBySlots`.
    let enter = unsafe { mem::transmute::<EnterBySlots, Enter>(enter) };
    // SAFETY: the caller guarantees that the closure can be written.
    unsafe { (*closure).fun = Some(enter) };
}

/// Saves the registers of the arguments, and calls the function of the closure in r10. The result is in the registers
/// of both classes.
#[unsafe(naked)]
unsafe extern "C" fn enter_closure() {
    naked_asm!(
        ".cfi_startproc",
        "endbr64",
        "push rbp",
        ".cfi_def_cfa_offset 16",
        ".cfi_offset rbp, -16",
        "mov rbp, rsp",
        ".cfi_def_cfa_register rbp",
        "sub rsp, 128",
        "mov [rsp], rdi",
        "mov [rsp + 8], rsi",
        "mov [rsp + 16], rdx",
        "mov [rsp + 24], rcx",
        "mov [rsp + 32], r8",
        "mov [rsp + 40], r9",
        "movq [rsp + 48], xmm0",
        "movq [rsp + 56], xmm1",
        "movq [rsp + 64], xmm2",
        "movq [rsp + 72], xmm3",
        "movq [rsp + 80], xmm4",
        "movq [rsp + 88], xmm5",
        "movq [rsp + 96], xmm6",
        "movq [rsp + 104], xmm7",
        "lea rax, [rbp + 16]",
        "mov [rsp + {stack}], rax",
        "mov rdi, [r10 + {data}]",
        "mov rsi, rsp",
        "call [r10 + {function}]",
        "movq xmm0, rax",
        "leave",
        ".cfi_def_cfa rsp, 8",
        "ret",
        ".cfi_endproc",
        stack = const offset_of!(Saved, stack),
        data = const offset_of!(ffi_closure, user_data),
        function = const offset_of!(ffi_closure, fun),
    )
}

const _: () = assert!(offset_of!(Saved, stack) == 112 && size_of::<Saved>() <= 128);
