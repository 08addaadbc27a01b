//! Raw calls of C functions by their C types.
//!
//! ```
//! use mapcall::{Library, Prototype};
//! use mapcall::call::Trampoline;
//!
//! let abs = Prototype::parse("int abs(int j);")?;
//! let types = abs.parameters.iter().map(|parameter| &parameter.ctype);
//! let trampoline = Trampoline::new(&abs.returns, types)?;
//!
//! # #[cfg(unix)] {
//! let mut frame = [(-7_i64).cast_unsigned(), 0];
//! // SAFETY: nothing is loaded, and the C library's functions can be found at any time.
//! let function = unsafe { Library::process()?.symbol("abs")? };
//! // SAFETY: the function is of this type, and the frame holds its one parameter.
//! unsafe { trampoline.call(function.as_ptr(), frame.as_mut_ptr()) };
//! assert_eq!(frame[1] as i32, 7);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Trampoline`] calls, a [`Closure`] is called; both hold values in a block of slots, a frame,
//! whose [`FrameLayout`] they know. A [`CallLoop`] calls many times, on values that move through memory.
//! They know no arrays and check nothing.
#![allow(unsafe_code)]

mod abi;
mod call_loop;
mod closure;
pub(crate) mod errno;
mod error;
mod ffi_types;
mod frame;
#[cfg_attr(not(has_jit), path = "no_jit.rs")]
mod jit;
mod libffi;
mod operand;
mod thunk;
mod value;

use std::ffi::c_void;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, OnceLock};

pub use call_loop::CallLoop;
pub use closure::{Body, Closure, ClosurePool, Late, Purpose};
pub use error::CallTypeError;
pub use frame::{Frame, FrameLayout};
pub use operand::{Lane, OperandKind, Stop};

use crate::ctype::CType;
use mapcall_array::fork::Section;
use value::Value;

/// The thread's `errno`, as the last function of C left it.
#[must_use]
pub fn errno() -> i32 {
    errno::get()
}

/// What carries out a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// Code that Cranelift compiles.
    Cranelift,
    /// libffi, which takes the call apart each time it is made.
    Libffi,
}

/// How functions of one C type are called.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::call::{Engine, Trampoline};
///
/// let f = Prototype::parse("struct d { int quot, rem; char more[9]; }; struct d div(int, int);")?;
/// let types = f.parameters.iter().map(|parameter| &parameter.ctype);
/// let trampoline = Trampoline::new(&f.returns, types)?;
/// assert_eq!(trampoline.layout().slots(), 5);
/// assert_eq!(trampoline.engine(), Engine::Libffi);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// What travels in registers is called through compiled code, where the system has executable
/// memory: on Linux, x86-64 and `AArch64`. It is compiled at the first call, once in the process
/// for all functions that are called alike. Everything else goes through libffi. Clones share
/// what they know.
#[derive(Clone)]
pub struct Trampoline {
    shared: Arc<Shared>,
}

/// The code of every call: a function, its frame, and the trampoline for code that needs it.
type Entry = unsafe extern "C" fn(*const c_void, *mut u64, *const Shared);

struct Shared {
    /// An [`Entry`]: [`first_call`] until the engine is known.
    entry: AtomicPtr<c_void>,
    layout: FrameLayout,
    returns: Value,
    parameters: Box<[Value]>,
    interface: libffi::Interface,
    /// `None` when compiled code can't do it.
    signature: Option<jit::Signature>,
    engine: OnceLock<Engine>,
}

impl Trampoline {
    /// How functions of a type are called.
    ///
    /// # Errors
    ///
    /// [`CallTypeError`] when a type has no value, when it isn't known how this machine passes
    /// it, and when the values are too large.
    pub fn new<'a>(
        returns: &CType,
        parameters: impl IntoIterator<Item = &'a CType>,
    ) -> Result<Self, CallTypeError> {
        let types: Vec<&CType> = parameters.into_iter().collect();
        let values = types.iter().map(|ctype| Value::of(ctype));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let result = Value::returned(returns)?;
        let layout = FrameLayout::of_values(&result, &values)?;
        let interface = libffi::Interface::new((returns, &result), types.into_iter().zip(&values))?;
        Ok(Self {
            shared: Arc::new(Shared {
                entry: AtomicPtr::new(address(first_call)),
                layout,
                interface,
                signature: jit::Signature::new(&result, &values),
                engine: OnceLock::new(),
                returns: result,
                parameters: values.into(),
            }),
        })
    }

    /// The same, by one engine only, so that the two can be compared.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`CallTypeError::Engine`] when the engine can't do it.
    pub fn with_engine<'a>(
        returns: &CType,
        parameters: impl IntoIterator<Item = &'a CType>,
        engine: Engine,
    ) -> Result<Self, CallTypeError> {
        let mut trampoline = Self::new(returns, parameters)?;
        if engine == Engine::Libffi
            && let Some(shared) = Arc::get_mut(&mut trampoline.shared)
        {
            shared.signature = None;
        }
        if trampoline.engine() == engine {
            Ok(trampoline)
        } else {
            Err(CallTypeError::Engine { engine })
        }
    }

    /// Where the values of a call lie.
    #[must_use]
    pub fn layout(&self) -> &FrameLayout {
        &self.shared.layout
    }

    /// The engine; asked before the first call, this compiles what that would.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.shared.prepare()
    }

    /// The address at which other code, which takes it for a function of fixed arguments, can call a
    /// function that may be variadic in truth.
    pub(crate) fn callable(&self, function: *const c_void) -> *const c_void {
        jit::callable(&self.shared.parameters, function)
    }

    /// Calls a function with the parameters in a frame, and puts its result there.
    ///
    /// # Safety
    ///
    /// `function` must be a C function of this trampoline's type that is sound to call with these
    /// parameters. `frame` must be aligned to 16 bytes if a value is, hold
    /// [`slots`](FrameLayout::slots) slots, and the parameters as [`FrameLayout`] says.
    #[inline]
    pub unsafe fn call(&self, function: *const c_void, frame: *mut u64) {
        let entry = self.shared.entry.load(Ordering::Acquire);
        // SAFETY: nothing but the address of an `Entry` is stored there.
        let entry: Entry = unsafe { mem::transmute(entry) };
        // SAFETY: the caller's promise, and the trampoline is this one.
        unsafe { entry(function, frame, Arc::as_ptr(&self.shared)) }
    }
}

impl fmt::Debug for Trampoline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trampoline")
            .field("layout", &self.shared.layout)
            .field("engine", &self.shared.engine.get())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn prepare(&self) -> Engine {
        if let Some(engine) = self.engine.get() {
            return *engine;
        }
        // A fork of another thread would leave the child waiting for the end of this.
        let _section = Section::enter();
        *self.engine.get_or_init(|| {
            let code = self.signature.clone();
            let code = code.and_then(|signature| jit::code(&jit::Routine::Once(signature)));
            let (entry, engine) = match code {
                Some(code) => (code.address(), Engine::Cranelift),
                None => (address(libffi::call), Engine::Libffi),
            };
            self.entry.store(entry, Ordering::Release);
            engine
        })
    }
}

fn address(entry: Entry) -> *mut c_void {
    entry as *mut c_void
}

/// The entry before the engine is known.
///
/// # Safety
///
/// As for [`Trampoline::call`]; `shared` is the trampoline's.
unsafe extern "C" fn first_call(function: *const c_void, frame: *mut u64, shared: *const Shared) {
    // The function must see the `errno` that was set for it.
    let saved = errno::get();
    // SAFETY: the caller's promise.
    unsafe { &*shared }.prepare();
    errno::set(saved);
    // SAFETY: the caller's promise.
    let entry = unsafe { &*shared }.entry.load(Ordering::Acquire);
    // SAFETY: nothing but the address of an `Entry` is stored there.
    let entry: Entry = unsafe { mem::transmute(entry) };
    // SAFETY: the caller's promise.
    unsafe { entry(function, frame, shared) }
}
