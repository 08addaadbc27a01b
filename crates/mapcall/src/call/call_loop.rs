//! Many calls of one function, whose values move through memory from call to call.

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr::{self, NonNull};

use super::jit::{self, Pattern, Routine};
use super::operand::{Lane, OperandKind, Stop};
use super::value::{Kind, Value};
use super::{Trampoline, errno};

/// The code of a compiled loop: where the function's address stands, the frame, the lanes, how many
/// calls, and the thread's `errno`. It returns how many calls went well.
pub(super) type LoopCode =
    unsafe extern "C" fn(*const *const c_void, *mut u64, *const Lane, usize, *mut c_int) -> usize;

/// How a function is called many times.
///
/// ```
/// use mapcall::{Library, Prototype};
/// use mapcall::call::{OperandKind, Lane, CallLoop, Stop, Trampoline};
///
/// let abs = Prototype::parse("int abs(int j);")?;
/// let types = abs.parameters.iter().map(|parameter| &parameter.ctype);
/// let trampoline = Trampoline::new(&abs.returns, types)?;
/// let calls = CallLoop::new(&trampoline, &[OperandKind::Strided], true, Stop::Never);
///
/// # #[cfg(unix)] {
/// let (mut x, mut y) = ([1_i32, -2, 3, -4], [0_i32; 2]);
/// // Every other number.
/// let lanes = [
///     Lane { address: x.as_mut_ptr().cast(), stride: 8 },
///     Lane { address: y.as_mut_ptr().cast(), stride: 4 },
/// ];
/// // SAFETY: nothing is loaded, and the C library's functions can be found at any time.
/// let function = unsafe { Library::process()?.symbol("abs")? };
/// // SAFETY: the function is of this type, the frame has its words, and the lanes are in the arrays.
/// let made = unsafe { calls.run(function.as_ptr(), [0; 2].as_mut_ptr(), &lanes, 2) };
/// assert_eq!((made, y), (2, [1, 3]));
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// There is a lane for each parameter that isn't fixed, in order, and one for the result if that is
/// stored. It is compiled where one call is, once for values that follow each other without gaps and
/// once for any strides.
#[derive(Debug)]
pub struct CallLoop {
    trampoline: Trampoline,
    kinds: Box<[OperandKind]>,
    stores: bool,
    stop: Stop,
    /// How far apart the values of the lanes are when there is nothing between them; 0 for
    /// addresses, whose items no C type measures.
    dense: Box<[isize]>,
    /// Compiled: for dense lanes, and for any.
    code: Option<[Code; 2]>,
}

#[derive(Clone, Copy, Debug)]
struct Code(LoopCode);

impl CallLoop {
    /// A loop over a trampoline's functions, with a kind for each of its parameters.
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
            let code = jit::code(&Routine::LoopCode(pattern))?;
            // SAFETY: such a routine is compiled to a function of that type.
            Some(Code(unsafe {
                mem::transmute::<*mut c_void, LoopCode>(code.address())
            }))
        };
        Some([code(true)?, code(false)?])
    }

    /// Whether it is compiled; where it can't be, the trampoline makes each call.
    #[must_use]
    pub fn is_compiled(&self) -> bool {
        self.code.is_some()
    }

    /// How many lanes there are.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.dense.len()
    }

    /// Makes calls one after the other, `count` if none stops it, and says how many went well.
    ///
    /// After one that stops it, the frame has its result. `errno` should be 0 before.
    ///
    /// # Safety
    ///
    /// `function` and `frame` as for [`Trampoline::call`]; the frame's words of parameters that aren't
    /// fixed, and those of the result, mean nothing before. Each lane must be as [`lanes`](Self::lanes)
    /// says, and its addresses sound for all `count` calls: values to be read are there, the result
    /// may be written, and addresses are what the function may be called with.
    pub unsafe fn run(
        &self,
        function: *const c_void,
        frame: *mut u64,
        lanes: &[Lane],
        count: usize,
    ) -> usize {
        if count == 0 || lanes.len() != self.dense.len() {
            return 0;
        }
        let Some([dense, any]) = self.code else {
            // SAFETY: the caller's promise.
            return unsafe { self.one_by_one(function, frame, lanes, count) };
        };
        let is_dense = lanes
            .iter()
            .zip(&self.dense)
            .all(|(lane, &stride)| stride == 0 || lane.stride == stride);
        let code = if is_dense { dense } else { any };
        // SAFETY: the caller's promise; the code was compiled for this type and these lanes.
        unsafe {
            (code.0)(
                &raw const function,
                frame,
                lanes.as_ptr(),
                count,
                errno::place().map_or(ptr::null_mut(), NonNull::as_ptr),
            )
        }
    }

    /// The words of the result that a call has stored, with the lanes as they were for that call.
    ///
    /// # Safety
    ///
    /// The lanes must be as for [`run`](Self::run), and the call have been made.
    pub(crate) unsafe fn result(&self, lanes: &[Lane]) -> Vec<u64> {
        let returns = &self.trampoline.shared.returns;
        let mut words = vec![0; returns.slots().max(1)];
        if let Some(lane) = lanes.last().filter(|_| self.stores) {
            // SAFETY: the caller's promise; there is room for its words.
            unsafe { load(returns, lane.address, words.as_mut_ptr()) };
        }
        words
    }

    /// The same where no loop is compiled.
    ///
    /// # Safety
    ///
    /// As [`run`](Self::run).
    unsafe fn one_by_one(
        &self,
        function: *const c_void,
        frame: *mut u64,
        lanes: &[Lane],
        count: usize,
    ) -> usize {
        let shared = &*self.trampoline.shared;
        let result = frame.wrapping_add(shared.layout.result());
        for call in 0..count {
            let mut lanes = lanes.iter().map(|lane| lane.after(call).address);
            let parameters = shared.parameters.iter().zip(shared.layout.parameters());
            for ((value, &place), kind) in parameters.zip(&self.kinds) {
                let place = frame.wrapping_add(place);
                match kind {
                    OperandKind::Constant => {}
                    OperandKind::Pointer => {
                        let address = lanes.next().unwrap_or(ptr::null_mut());
                        // SAFETY: the parameter's word in the frame.
                        unsafe { place.write(address.expose_provenance() as u64) };
                    }
                    OperandKind::Strided => {
                        let address = lanes.next().unwrap_or(ptr::null_mut());
                        // SAFETY: the lane has such a value here, and the frame its words.
                        unsafe { load(value, address, place) };
                    }
                }
            }
            // SAFETY: the caller's promise, and the parameters are in the frame.
            unsafe { self.trampoline.call(function, frame) };
            // SAFETY: the call has left its result there.
            if unsafe { self.stops(&shared.returns, result) } {
                return call;
            }
            if self.stores {
                let address = lanes.next().unwrap_or(ptr::null_mut());
                // SAFETY: the result is in the frame, and the lane takes it.
                unsafe { store(&shared.returns, result, address) };
            }
        }
        count
    }

    /// Whether a result ends the loop.
    ///
    /// # Safety
    ///
    /// `result` has the words of such a value.
    unsafe fn stops(&self, value: &Value, result: *const u64) -> bool {
        let number = || {
            // SAFETY: a result that is compared with 0 has a word.
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

/// A value from memory into words.
///
/// # Safety
///
/// The address has its bytes, `words` room for its words.
unsafe fn load(value: &Value, address: *const u8, words: *mut u64) {
    let Kind::Integer { .. } = value.kind else {
        // SAFETY: the caller's promise.
        unsafe { ptr::copy_nonoverlapping(address, words.cast(), value.size) };
        return;
    };
    let mut bytes = [0; size_of::<u64>()];
    // The bytes of a number of the machine are its last where the first is the highest.
    let start = if cfg!(target_endian = "big") {
        bytes.len() - value.size
    } else {
        0
    };
    // SAFETY: an integer has at most as many bytes as a word; its own are at the address.
    unsafe {
        ptr::copy_nonoverlapping(address, bytes.as_mut_ptr().wrapping_add(start), value.size);
    };
    // SAFETY: the caller's promise.
    unsafe { words.write(value.extend(u64::from_ne_bytes(bytes))) };
}

/// A value from words into memory.
///
/// # Safety
///
/// As [`load`].
unsafe fn store(value: &Value, words: *const u64, address: *mut u8) {
    let is_integer = matches!(value.kind, Kind::Integer { .. });
    let start = if is_integer && cfg!(target_endian = "big") {
        size_of::<u64>() - value.size
    } else {
        0
    };
    let bytes = words.cast::<u8>().wrapping_add(start);
    // SAFETY: the caller's promise.
    unsafe { ptr::copy_nonoverlapping(bytes, address, value.size) };
}
