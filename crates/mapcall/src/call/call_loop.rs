//! Loops of calls of one function, whose arguments and results are in memory at regular distances.

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr::{self, NonNull};

use super::frame::scalar_start;
use super::jit::{self, Pattern, Routine};
use super::operand::{OperandKind, Stop, StridedPointer};
use super::value::{Kind, Value};
use super::{Trampoline, errno};

/// The code of a compiled loop. It takes a pointer to the function's address, the frame, the pointers, the
/// number of calls and the address of the thread's `errno`, and returns the number of calls before one
/// that stops the loop.
pub(super) type LoopCode = unsafe extern "C" fn(
    *const *const c_void,
    *mut u64,
    *const StridedPointer,
    usize,
    *mut c_int,
) -> usize;

/// A loop that calls one function for consecutive positions of its operands.
///
/// ```
/// use mapcall::{Library, Prototype};
/// use mapcall::call::{OperandKind, StridedPointer, CallLoop, Stop, Trampoline};
///
/// let abs = Prototype::parse("int abs(int j);")?;
/// let types = abs.parameters.iter().map(|parameter| &parameter.ctype);
/// let trampoline = Trampoline::new(&abs.returns, types)?;
/// let calls = CallLoop::new(&trampoline, &[OperandKind::Strided], true, Stop::Never);
///
/// # #[cfg(unix)] {
/// let (mut x, mut y) = ([1_i32, -2, 3, -4], [0_i32; 2]);
/// // Every other number.
/// let pointers = [
///     StridedPointer { address: x.as_mut_ptr().cast(), stride: 8 },
///     StridedPointer { address: y.as_mut_ptr().cast(), stride: 4 },
/// ];
/// // SAFETY: no library is loaded, and looking up `abs` runs no code of the C library.
/// let function = unsafe { Library::process()?.symbol("abs")? };
/// // SAFETY: `abs` is of the trampoline's type, the frame has the two slots of its layout, and the pointers
/// // stay within `x` and `y` for two calls.
/// let made = unsafe { calls.run(function.as_ptr(), [0; 2].as_mut_ptr(), &pointers, 2) };
/// assert_eq!((made, y), (2, [1, 3]));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It takes a pointer for each parameter that isn't [`Constant`](OperandKind::Constant), in order, and one
/// for the result if that is stored. It is compiled where a single call is, once for contiguous values
/// and once for any strides.
#[derive(Debug)]
pub struct CallLoop {
    trampoline: Trampoline,
    kinds: Box<[OperandKind]>,
    stores: bool,
    stop: Stop,
    /// The strides of the pointers in bytes if their values are contiguous; 0 for operands that are passed by pointer, whose
    /// stride the compiled code never assumes.
    dense: Box<[isize]>,
    /// The compiled code for contiguous pointers, and that for any.
    code: Option<[Code; 2]>,
}

#[derive(Clone, Copy, Debug)]
struct Code(LoopCode);

impl CallLoop {
    /// Makes a loop that calls functions of a trampoline's type, with a kind for each parameter.
    ///
    /// `stores` tells whether results are written to the last pointer, and `stop` which results end the loop.
    #[must_use]
    pub fn new(trampoline: &Trampoline, kinds: &[OperandKind], stores: bool, stop: Stop) -> Self {
        let shared = &*trampoline.shared;
        let values = shared.parameters.iter().zip(kinds);
        let moving = values.filter_map(|(value, kind)| match kind {
            OperandKind::Constant => None,
            OperandKind::Pointer => Some(0),
            OperandKind::Strided => Some(value.size.cast_signed()),
        });
        let result = stores.then(|| shared.returns.size.cast_signed());
        let mut calls = Self {
            trampoline: trampoline.clone(),
            kinds: kinds.into(),
            stores,
            stop,
            dense: moving.chain(result).collect(),
            code: None,
        };
        calls.code = calls.compile();
        calls
    }

    fn compile(&self) -> Option<[Code; 2]> {
        let shared = &*self.trampoline.shared;
        shared.signature.as_ref()?;
        let code = |is_dense| {
            let pattern = Pattern::new(
                (&shared.returns, shared.layout.result()),
                &shared.parameters,
                shared.layout.parameters(),
                &self.kinds,
                (self.stores, self.stop),
                is_dense,
            )?;
            let code = jit::code(&Routine::Loop(pattern))?;
            // SAFETY: a `Routine::Loop` is compiled to a function of type `LoopCode`.
            Some(Code(unsafe {
                mem::transmute::<*mut c_void, LoopCode>(code.address())
            }))
        };
        Some([code(true)?, code(false)?])
    }

    /// Returns whether the loop is compiled; otherwise the trampoline makes each call.
    #[must_use]
    pub fn is_compiled(&self) -> bool {
        self.code.is_some()
    }

    /// Returns the number of pointers that [`run`](Self::run) takes.
    #[must_use]
    pub fn pointers(&self) -> usize {
        self.dense.len()
    }

    /// Makes up to `count` calls one after the other, and returns the number of calls before the first one
    /// whose result stops the loop.
    ///
    /// A result that stops the loop is left in the frame. With [`Stop::Errno`], `errno` must be 0 before.
    ///
    /// # Safety
    ///
    /// - `function` is a C function of the trampoline's type that is sound to call with the arguments of
    ///   each of the `count` calls.
    /// - `frame` is valid for reads and writes of all slots of the trampoline's layout, is
    ///   aligned to 16 bytes if a value is, and holds the constant parameters.
    /// - There is a pointer for each parameter that isn't constant, in order, and one for the result if it is
    ///   stored. In each call, a strided pointer's address is valid for reads of the parameter's bytes, the
    ///   result's for writes of the result's bytes, and a pointer's is one that the function may be called
    ///   with.
    pub unsafe fn run(
        &self,
        function: *const c_void,
        frame: *mut u64,
        pointers: &[StridedPointer],
        count: usize,
    ) -> usize {
        if count == 0 || pointers.len() != self.dense.len() {
            return 0;
        }
        let Some([dense, any]) = self.code else {
            // SAFETY: the caller guarantees that the function may be called with the arguments of each call,
            // and that the frame and the pointers are valid for `count` calls.
            return unsafe { self.one_by_one(function, frame, pointers, count) };
        };
        let is_dense = pointers
            .iter()
            .zip(&self.dense)
            .all(|(pointer, &stride)| stride == 0 || pointer.stride == stride);
        let code = if is_dense { dense } else { any };
        // SAFETY: the code was compiled for this trampoline's type and these kinds of pointers, the dense one
        // only runs on contiguous pointers, and there are as many pointers as it reads. The caller guarantees that
        // the function can be called, and that frame and pointers are valid for `count` calls.
        unsafe {
            (code.0)(
                &raw const function,
                frame,
                pointers.as_ptr(),
                count,
                errno::location().map_or(ptr::null_mut(), NonNull::as_ptr),
            )
        }
    }

    /// Returns the slots of the result that a call has stored, with the pointers as they were for that call.
    ///
    /// # Safety
    ///
    /// If the loop stores results, the last pointer's address is valid for reads of a result's bytes, which a
    /// call has written.
    pub(crate) unsafe fn result(&self, pointers: &[StridedPointer]) -> Vec<u64> {
        let returns = &self.trampoline.shared.returns;
        let mut slots = vec![0; returns.slots().max(1)];
        if let Some(pointer) = pointers.last().filter(|_| self.stores) {
            // SAFETY: the caller guarantees that the address is valid for reads of a result, and `slots` has
            // the slots of one.
            unsafe { load(returns, pointer.address, slots.as_mut_ptr()) };
        }
        slots
    }

    /// Makes the calls of [`run`](Self::run) through the trampoline, where no loop is compiled.
    ///
    /// # Safety
    ///
    /// - `function` is a C function of the trampoline's type that is sound to call with the arguments of
    ///   each of the `count` calls.
    /// - `frame` is valid for reads and writes of all slots of the trampoline's layout, is
    ///   aligned to 16 bytes if a value is, and holds the constant parameters.
    /// - There is a pointer for each parameter that isn't constant, in order, and one for the result if it is
    ///   stored. In each call, a strided pointer's address is valid for reads of the parameter's bytes, the
    ///   result's for writes of the result's bytes, and a pointer's is one that the function may be called
    ///   with.
    unsafe fn one_by_one(
        &self,
        function: *const c_void,
        frame: *mut u64,
        pointers: &[StridedPointer],
        count: usize,
    ) -> usize {
        let shared = &*self.trampoline.shared;
        let result = frame.wrapping_add(shared.layout.result());
        for call in 0..count {
            let mut pointers = pointers.iter().map(|pointer| pointer.after(call).address);
            let parameters = shared.parameters.iter().zip(shared.layout.parameters());
            for ((value, &start), kind) in parameters.zip(&self.kinds) {
                let slot = frame.wrapping_add(start);
                match kind {
                    OperandKind::Constant => {}
                    OperandKind::Pointer => {
                        let address = pointers.next().unwrap_or(ptr::null_mut());
                        // SAFETY: the caller guarantees that the frame is valid for writes of all slots of the
                        // layout, and `slot` is the one of this parameter.
                        unsafe { slot.write(address.expose_provenance() as u64) };
                    }
                    OperandKind::Strided => {
                        let address = pointers.next().unwrap_or(ptr::null_mut());
                        // SAFETY: the caller guarantees that the pointer is valid for reads of this value, and
                        // that the frame is valid for writes of all its slots, of which the layout has enough
                        // for this value from `slot` on.
                        unsafe { load(value, address, slot) };
                    }
                }
            }
            // SAFETY: the caller guarantees that the function may be called with these arguments and that
            // the frame has the constant ones; the others were just written.
            unsafe { self.trampoline.call(function, frame) };
            // SAFETY: the frame is valid for reads, and `result` is the first slot of the result, which the
            // call has written.
            if unsafe { self.stops(&shared.returns, result) } {
                return call;
            }
            if self.stores {
                let address = pointers.next().unwrap_or(ptr::null_mut());
                // SAFETY: the frame has the result's slots from `result` on, and the caller guarantees that
                // the last pointer is valid for writes of the result's bytes.
                unsafe { store(&shared.returns, result, address) };
            }
        }
        count
    }

    /// Returns whether a result ends the loop.
    ///
    /// # Safety
    ///
    /// If the loop stops at a result, `result` is valid for reads of a slot.
    unsafe fn stops(&self, value: &Value, result: *const u64) -> bool {
        let number = || {
            // SAFETY: the caller guarantees that the slot can be read if a result is compared with 0.
            value.extend(unsafe { result.read() })
        };
        match self.stop {
            Stop::Never => false,
            Stop::Zero => number() == 0,
            Stop::Nonzero => number() != 0,
            Stop::Errno => errno::get() != 0,
        }
    }
}

/// Copies a value from memory into slots of a frame.
///
/// # Safety
///
/// `address` is valid for reads of the value's size, and `slots` for writes of its slots, at least one
/// for an integer. They don't overlap.
unsafe fn load(value: &Value, address: *const u8, slots: *mut u64) {
    let Kind::Integer { .. } = value.kind else {
        // SAFETY: the caller guarantees that `address` is valid for reads and `slots` for writes of `size`
        // bytes, and that they don't overlap.
        unsafe { ptr::copy_nonoverlapping(address, slots.cast(), value.size) };
        return;
    };
    let mut bytes = [0; size_of::<u64>()];
    let start = scalar_start(value.size);
    // SAFETY: the caller guarantees that `address` is valid for reads of `size` bytes. An integer has at most
    // 8 bytes, so that `bytes` has as many from `start` on.
    unsafe {
        ptr::copy_nonoverlapping(address, bytes.as_mut_ptr().wrapping_add(start), value.size);
    };
    // SAFETY: the caller guarantees that `slots` is valid for writes of a slot.
    unsafe { slots.write(value.extend(u64::from_ne_bytes(bytes))) };
}

/// Copies a value from slots of a frame into memory.
///
/// # Safety
///
/// `slots` is valid for reads of the value's slots, and `address` for writes of the value's size. They
/// don't overlap.
unsafe fn store(value: &Value, slots: *const u64, address: *mut u8) {
    let is_integer = matches!(value.kind, Kind::Integer { .. });
    let start = if is_integer {
        scalar_start(value.size)
    } else {
        0
    };
    let bytes = slots.cast::<u8>().wrapping_add(start);
    // SAFETY: the caller guarantees that the value's slots can be read and that `address` is valid for writes
    // of `size` bytes. An integer has at most 8 bytes, so that `bytes` has as many from `start` on.
    unsafe { ptr::copy_nonoverlapping(bytes, address, value.size) };
}
