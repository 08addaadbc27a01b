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
//! // SAFETY: no library is loaded, and looking up `abs` runs no code of the C library.
//! let function = unsafe { Library::process()?.symbol("abs")? };
//! // SAFETY: `abs` is of the trampoline's type, and the frame has its parameter and a slot for the result.
//! unsafe { trampoline.call(function.as_ptr(), frame.as_mut_ptr()) };
//! assert_eq!(frame[1] as i32, 7);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Trampoline`] calls a C function, and a [`Closure`] is a C function. Both pass values in a frame, a
//! block of 64-bit slots with a [`FrameLayout`]. A [`CallLoop`] calls a function many times, with values in
//! memory at regular distances. None of them knows arrays or checks values. An entry does, by a description of its
//! checks: it is called by a host language in place of all this, for functions that are called often.
#![allow(unsafe_code)]

mod abi;
pub(crate) mod activation;
mod call_loop;
mod closure;
mod entry;
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
mod vector;

use std::ffi::{c_int, c_void};
use std::fmt;
use std::mem;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, OnceLock};

pub use activation::{Accessed, take_faults, zeros_read};
pub use call_loop::CallLoop;
pub use closure::{Body, Closure, ClosurePool, Late, Purpose};
#[doc(hidden)]
pub use entry::{
    ArrayObject, EntryNumber, EntryResult, FunctionObject, Host, HostResults, IntegerObject,
    RealObject, ThreadState,
};
pub(crate) use entry::{EntryArgument, EntryArray, EntryCheck, EntryLayout, Place};
pub use error::CallTypeError;
pub use frame::{Frame, FrameLayout, SmallFrame, scalar_bytes, scalar_slots};
pub use operand::{OperandKind, Stop, StridedPointer};
pub use vector::{Isa, VectorLoop, VectorName, VectorParameter};

use crate::ctype::CType;
use mapcall_array::fork::Section;
use value::Value;

/// Returns the thread's C `errno`.
#[must_use]
pub fn errno() -> i32 {
    errno::get()
}

/// Returns the location of the thread's C `errno`, which stays the same as long as the thread lives; `None` on systems
/// whose `errno` can't be found.
#[doc(hidden)]
#[must_use]
#[inline]
pub fn errno_location() -> Option<NonNull<c_int>> {
    errno::location()
}

/// The implementation that makes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// Code that Cranelift compiles.
    Cranelift,
    /// libffi, which interprets the description of the function's type in each call.
    Libffi,
}

/// A caller of functions of one C type.
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
/// On Linux on x86-64 and `AArch64`, functions whose values are passed in registers are called by compiled
/// code, if the system allows executable memory. It is compiled at the first call, once in the process for
/// all functions with the same sequence of registers. All other functions are called through libffi. Clones
/// share their state.
#[derive(Clone)]
pub struct Trampoline {
    shared: Arc<Shared>,
}

/// The code that makes a call. It takes the function, its frame, and the trampoline's state.
type Entry = unsafe extern "C" fn(*const c_void, *mut u64, *const Shared);

struct Shared {
    /// An [`Entry`]: [`first_call`] until the engine is known.
    entry: AtomicPtr<c_void>,
    layout: FrameLayout,
    returns: Value,
    parameters: Box<[Value]>,
    interface: libffi::Interface,
    /// `None` if compiled code can't call such functions.
    signature: Option<jit::Signature>,
    engine: OnceLock<Engine>,
}

impl Trampoline {
    /// Makes the trampoline for functions of a type.
    ///
    /// # Errors
    ///
    /// [`CallTypeError`] if a type has no value, if this machine's way to pass it is not implemented, or if
    /// the values are too large.
    pub fn new<'a>(
        returns: &CType,
        parameters: impl IntoIterator<Item = &'a CType>,
    ) -> Result<Self, CallTypeError> {
        Self::of_types(returns, parameters, None)
    }

    /// Makes the trampoline for calls of a variadic function with arguments of these types, of which the
    /// first `fixed` are those of its parameters.
    ///
    /// Compiled code sets AL for every function (see `jit/callee.rs`), and the machines that it exists for
    /// pass variable arguments like others (System V x86-64 psABI 3.5.7; AAPCS64 6.8.1, except on Apple's
    /// systems). libffi is given the number.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new).
    pub(crate) fn variadic<'a>(
        returns: &CType,
        arguments: impl IntoIterator<Item = &'a CType>,
        fixed: usize,
    ) -> Result<Self, CallTypeError> {
        Self::of_types(returns, arguments, Some(fixed))
    }

    fn of_types<'a>(
        returns: &CType,
        parameters: impl IntoIterator<Item = &'a CType>,
        fixed: Option<usize>,
    ) -> Result<Self, CallTypeError> {
        let types: Vec<&CType> = parameters.into_iter().collect();
        let values = types.iter().map(|ctype| Value::of(ctype));
        let values = values.collect::<Result<Vec<_>, _>>()?;
        let result = Value::returned(returns)?;
        let layout = FrameLayout::of_values(&result, &values)?;
        let described = types.into_iter().zip(&values);
        let interface = libffi::Interface::new((returns, &result), described, fixed)?;
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

    /// Makes the trampoline for functions of a type, with one engine only, for comparing the two.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new), and [`CallTypeError::Engine`] if the engine can't call such functions.
    pub fn with_engine<'a>(
        returns: &CType,
        parameters: impl IntoIterator<Item = &'a CType>,
        engine: Engine,
    ) -> Result<Self, CallTypeError> {
        Self::new(returns, parameters)?.by(engine)
    }

    /// Returns the trampoline with one engine only. It has not been cloned.
    ///
    /// # Errors
    ///
    /// [`CallTypeError::Engine`] if the engine can't call such functions.
    pub(crate) fn by(mut self, engine: Engine) -> Result<Self, CallTypeError> {
        if engine == Engine::Libffi
            && let Some(shared) = Arc::get_mut(&mut self.shared)
        {
            shared.signature = None;
        }
        if self.engine() == engine {
            Ok(self)
        } else {
            Err(CallTypeError::Engine { engine })
        }
    }

    /// Returns the layout of the frame that a call takes.
    #[must_use]
    pub fn layout(&self) -> &FrameLayout {
        &self.shared.layout
    }

    /// Returns the engine. Before the first call this compiles the code for it.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.shared.prepare()
    }

    /// Returns the address at which other code can call a function as one with fixed arguments, even if it
    /// is variadic.
    pub(crate) fn callable(&self, function: *const c_void) -> *const c_void {
        jit::callable(&self.shared.parameters, function)
    }

    /// Returns the code of an entry: `object *(function *, object **arguments, size_t count, object *keywords)`. It is
    /// compiled once for all functions with the same check and registers; `None` if this system can't compile it.
    pub(crate) fn entry(&self, check: EntryCheck, host: &Host) -> Option<NonNull<c_void>> {
        let frame = (self.layout().slots(), self.layout().result());
        let entry = jit::Entry::new(self.shared.signature.clone(), check, host, frame)?;
        NonNull::new(jit::code(&jit::Routine::Entry(Box::new(entry)))?.address())
    }

    /// Calls a function with the parameters in a frame, and writes its result to the frame.
    ///
    /// # Safety
    ///
    /// - `function` is a C function of this trampoline's type that is sound to call with these parameters.
    /// - `frame` is valid for reads and writes of all slots of the [`layout`](Self::layout), is aligned to 16
    ///   bytes if a value is, and holds the parameters as [`FrameLayout`] describes.
    #[inline]
    pub unsafe fn call(&self, function: *const c_void, frame: *mut u64) {
        let entry = self.shared.entry.load(Ordering::Acquire);
        // SAFETY: only addresses of functions of type `Entry` are stored there.
        let entry: Entry = unsafe { mem::transmute(entry) };
        // SAFETY: the caller guarantees that the function may be called with this frame, and `self.shared` is
        // alive during the call.
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
        // A fork by another thread would leave the cell locked in the child.
        let _section = Section::enter();
        *self.engine.get_or_init(|| {
            let code = self.signature.clone();
            let code = code.and_then(|signature| jit::code(&jit::Routine::Call(signature)));
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

/// The entry of a trampoline before its first call. It selects the engine, and makes the call with it.
///
/// # Safety
///
/// - `shared` points to the state of a trampoline, which is alive during the call.
/// - `function` is a C function of the trampoline's type that is sound to call with these parameters.
/// - `frame` is valid for reads and writes of all slots of the trampoline's layout, is aligned to 16
///   bytes if a value is, and holds the parameters as [`FrameLayout`] describes.
unsafe extern "C" fn first_call(function: *const c_void, frame: *mut u64, shared: *const Shared) {
    // Compiling may change `errno`, which the caller has set for the function.
    let saved = errno::get();
    // SAFETY: the caller guarantees that `shared` points to the state of a trampoline that is alive.
    unsafe { &*shared }.prepare();
    errno::set(saved);
    // SAFETY: the caller guarantees that `shared` points to the state of a trampoline that is alive.
    let entry = unsafe { &*shared }.entry.load(Ordering::Acquire);
    // SAFETY: only addresses of functions of type `Entry` are stored there.
    let entry: Entry = unsafe { mem::transmute(entry) };
    // SAFETY: the caller guarantees that the function may be called with this frame, and that `shared` is
    // alive during the call.
    unsafe { entry(function, frame, shared) }
}
