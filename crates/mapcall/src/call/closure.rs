//! Functions of C whose body is a Rust closure.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::fmt;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::ptr::{self, NonNull};
use std::slice;

use libffi_sys::{ffi_arg, ffi_cif, ffi_closure};
use mapcall_array::fork::Section;
use smallvec::SmallVec;

use super::CallTypeError;
use super::frame::FrameLayout;
use super::libffi::Interface;
use super::value::{Kind, Value};
use crate::ctype::CType;

/// What a [`Closure`] does: it reads the parameters in the frame and writes the result.
pub type Body = Box<dyn Fn(&FrameLayout, &mut [u64]) + Send + Sync>;

/// A C function whose body is a Rust closure, for what C calls back.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::call::{Closure, Trampoline};
///
/// let add = Prototype::parse("int add(int a, int b);")?;
/// let types = || add.parameters.iter().map(|parameter| &parameter.ctype);
/// let closure = Closure::new(&add.returns, types(), Box::new(|layout, frame| {
///     frame[layout.result()] = frame[layout.parameter(0)].wrapping_add(frame[layout.parameter(1)]);
/// }))?;
///
/// let mut frame = [40, 2, 0];
/// let trampoline = Trampoline::new(&add.returns, types())?;
/// // SAFETY: the function is of the type that the trampoline is made for, and alive.
/// unsafe { trampoline.call(closure.address(), frame.as_mut_ptr()) };
/// assert_eq!(frame[2], 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Any thread can call it. A body that panics returns zero to C: catch what must not get lost.
pub struct Closure {
    allocation: NonNull<ffi_closure>,
    code: NonNull<c_void>,
    /// Owned; C holds a pointer to it.
    state: NonNull<State>,
}

struct State {
    interface: Interface,
    layout: FrameLayout,
    returns: Value,
    parameters: Box<[Value]>,
    body: Body,
}

// SAFETY: the state is only read, and the body is `Send` and `Sync`.
unsafe impl Send for Closure {}
// SAFETY: as above.
unsafe impl Sync for Closure {}

impl Closure {
    /// Makes a function of a type.
    ///
    /// # Errors
    ///
    /// [`CallTypeError`] when a type can't be passed by value, or when the system gives no memory
    /// for code.
    pub fn new<'a>(
        returns: &CType,
        parameters: impl IntoIterator<Item = &'a CType>,
        body: Body,
    ) -> Result<Self, CallTypeError> {
        let types: Vec<&CType> = parameters.into_iter().collect();
        let values = types.iter().map(|ctype| Value::of(ctype));
        let parameters = values.collect::<Result<Box<[_]>, _>>()?;
        let result = Value::returned(returns)?;
        let layout = FrameLayout::new(&result, &parameters)?;
        let described = types.into_iter().zip(&parameters);
        let interface = Interface::new((returns, &result), described)?;
        let state = Box::new(State {
            interface,
            layout,
            returns: result,
            parameters,
            body,
        });
        let mut code = ptr::null_mut();
        // libffi's allocator has a lock.
        let section = Section::enter();
        // SAFETY: libffi writes the second address to `code`.
        let closure =
            unsafe { libffi_sys::ffi_closure_alloc(size_of::<ffi_closure>(), &raw mut code) };
        drop(section);
        let (Some(closure), Some(code)) = (NonNull::new(closure.cast()), NonNull::new(code)) else {
            return Err(CallTypeError::NoMemory);
        };
        let closure = Self {
            allocation: closure,
            code,
            state: NonNull::from(Box::leak(state)),
        };
        // SAFETY: the state lives as long as the closure.
        let state = unsafe { closure.state.as_ref() };
        // SAFETY: the closure is fresh, the interface is that of its function and lives as long.
        let status = unsafe {
            libffi_sys::ffi_prep_closure_loc(
                closure.allocation.as_ptr(),
                state.interface.cif(),
                Some(enter),
                closure.state.as_ptr().cast(),
                code.as_ptr(),
            )
        };
        if status == libffi_sys::ffi_status_FFI_OK {
            Ok(closure)
        } else {
            Err(CallTypeError::NoMemory)
        }
    }

    /// The function, which C can call as long as this lives.
    #[must_use]
    pub fn address(&self) -> *const c_void {
        self.code.as_ptr()
    }
}

impl fmt::Debug for Closure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Closure").field(&self.code).finish()
    }
}

impl Drop for Closure {
    fn drop(&mut self) {
        let section = Section::enter();
        // SAFETY: it came from `ffi_closure_alloc` and is given back once.
        unsafe { libffi_sys::ffi_closure_free(self.allocation.as_ptr().cast()) };
        drop(section);
        // SAFETY: it came out of a box, and no C code can reach it any more.
        drop(unsafe { Box::from_raw(self.state.as_ptr()) });
    }
}

/// Where C enters: libffi has put the arguments in memory.
unsafe extern "C" fn enter(
    _: *mut ffi_cif,
    result: *mut c_void,
    arguments: *mut *mut c_void,
    state: *mut c_void,
) {
    // SAFETY: the closure lives while it is called, and its state with it.
    let state: &State = unsafe { &*state.cast() };
    // Two words each, so that the frame is aligned to 16 bytes.
    let mut frame: SmallVec<[u128; 16]> = SmallVec::new();
    frame.resize(state.layout.words().div_ceil(2), 0);
    let words = frame.as_mut_ptr().cast::<u64>();
    // SAFETY: there are at least so many words, and they are borrowed from here on only through
    // this slice.
    let words = unsafe { slice::from_raw_parts_mut(words, state.layout.words()) };
    // SAFETY: libffi gives one address for each parameter.
    unsafe { read(state, arguments, words) };
    let ran = panic::catch_unwind(AssertUnwindSafe(|| (state.body)(&state.layout, words)));
    if let Err(payload) = ran {
        // Its destructor could panic as well.
        mem::forget(payload);
        words.fill(0);
    }
    // SAFETY: libffi gives room for the result.
    unsafe { write(state, words, result) };
}

/// Copies the arguments into the frame.
///
/// # Safety
///
/// `arguments` has the address of each parameter's value.
unsafe fn read(state: &State, arguments: *mut *mut c_void, frame: &mut [u64]) {
    for (index, value) in state.parameters.iter().enumerate() {
        // SAFETY: the caller's promise: there is an address for each parameter.
        let argument = unsafe { arguments.add(index) };
        // SAFETY: as above.
        let argument = unsafe { argument.read() };
        let Some(words) = frame.get_mut(state.layout.parameter(index)..) else {
            continue;
        };
        // SAFETY: the value has so many bytes, and the layout has as many words for it.
        unsafe { ptr::copy_nonoverlapping(argument.cast(), bytes(words), value.size) };
        if let Some(word) = words.first_mut() {
            *word = value.extend(*word);
        }
    }
}

/// Copies the result out of the frame.
///
/// # Safety
///
/// `result` has room for the result, and for an [`ffi_arg`] if that is an integer.
unsafe fn write(state: &State, frame: &mut [u64], result: *mut c_void) {
    let returns = &state.returns;
    let Some(words) = frame.get_mut(state.layout.result()..) else {
        return;
    };
    let size = if let (Kind::Integer { .. }, Some(word)) = (&returns.kind, words.first_mut()) {
        *word = returns.extend(*word);
        returns.size.max(size_of::<ffi_arg>())
    } else {
        returns.size
    };
    // SAFETY: the caller's promise, and the frame has as many words for the result.
    unsafe { ptr::copy_nonoverlapping(bytes(words), result.cast(), size) };
}

fn bytes(words: &mut [u64]) -> *mut u8 {
    words.as_mut_ptr().cast()
}
