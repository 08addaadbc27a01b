//! C functions that are bound to their prototypes and can be called.
//!
//! ```
//! use mapcall::{Arg, Library, Value};
//!
//! // SAFETY: the C library's own initialisers may run at any time.
//! let libm = unsafe { Library::open("m")? };
//! // SAFETY: this is the prototype of `frexp`, which writes one int.
//! let frexp = unsafe { libm.function("double frexp(double x, int exponent[1])")? };
//!
//! let mut exponent = [0_i32];
//! let fraction = frexp.call(&mut [Arg::from(12.0), Arg::from(&mut exponent)])?;
//! assert_eq!((fraction.to_f64(), exponent), (Some(0.75), [4]));
//!
//! // An array that the function writes may be left out.
//! let mut arguments = [Arg::from(12.0), Arg::Out];
//! frexp.call(&mut arguments)?;
//! assert_eq!(arguments[1].array().unwrap().view::<i32>()?[[0]], 4);
//!
//! let error = frexp.call(&mut [Arg::from("12"), Arg::Out]).unwrap_err();
//! assert_eq!(error.to_string(), "frexp: x: expected double, got a text; give a number");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![allow(unsafe_code)]

mod arg;
mod arguments;
mod call_time;
mod converted;
mod entry;
mod error;
mod handle;
mod struct_slot;
mod structure;
mod typed;
mod value;
mod variable;
mod variadic;
mod vector;

use std::ffi::{c_int, c_void};
use std::fmt;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

pub use arg::{Arg, Slot};
pub(crate) use call_time::CallTime;
#[doc(hidden)]
pub use converted::ConvertedArguments;
pub(crate) use converted::guarded;
pub use error::{BindError, CallError, SimdError, SimdRefusal, Success};
pub use handle::Handle;
#[doc(hidden)]
pub use handle::{InUse, KeepAlive};
pub use struct_slot::StructSlot;
pub use structure::Struct;
pub use typed::{CFunction, CNumber, CTarget, CValue, Mismatch, TypedError};
pub use value::Value;
pub use variable::Variable;

use mapcall_array::guard::{self, Claim};

use crate::call::Accessed;
use crate::call::{CallLoop, Engine, Frame, OperandKind, Trampoline, VectorLoop, activation};
use crate::contract::{
    ArgumentError, BroadcastPlan, Check, Contract, HostValue, Problem, Role, Rule, Scalar,
    UnsupportedPrototype,
};
use crate::ctype::CType;
use crate::library::{Library, VectorVariant};
use crate::prototype::Prototype;
pub(crate) use arguments::{Lent, new_array, push_argument};
use mapcall_array::fork::{Mutex, Section};
use smallvec::SmallVec;

/// A C function bound to its prototype, which can be called.
///
/// ```
/// use mapcall::Library;
///
/// // SAFETY: the C library's own initialisers may run at any time.
/// let libm = unsafe { Library::open("m")? };
/// // SAFETY: this is the prototype of `cos`.
/// let cos = unsafe { libm.function("double cos(double x)")? };
/// assert_eq!(cos.call(&mut [1.0.into()])?.to_f64(), Some(1_f64.cos()));
/// assert_eq!((cos.name(), cos.prototype().signature().as_str()), ("cos", "()->()"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The library stays loaded while the function lives. A clone is cheap, and is the same function. Code
/// is compiled at the first call.
#[derive(Clone)]
pub struct Function(Arc<Bound>);

struct Bound {
    contract: Arc<Contract>,
    trampoline: Trampoline,
    address: Address,
    library: Library,
    success: Success,
    /// The inferred parameters that are set beforehand: position and value.
    extents: Vec<(usize, Scalar)>,
    /// Whether arrays that do not fit are converted.
    converts: bool,
    /// The only engine that may make its calls, if one was asked for.
    engine: Option<Engine>,
    /// The function that destroys what it returns.
    destructor: Option<Arc<Destructor>>,
    /// The compiled loops of its batches.
    loops: Mutex<Vec<(LoopKey, Arc<CallLoop>)>>,
    /// The time that a call of the last batch took, without vector variants and with them.
    call_times: [CallTime; 2],
    /// The vector variants of the function, which are looked up when they are first needed.
    vector_variants: OnceLock<Box<[VectorVariant]>>,
    /// The loops of its batches that a variant makes.
    vector_loops: Mutex<Vec<(LoopKey, Arc<VectorLoop>)>>,
    /// The functions for calls with variable arguments, by the types of these.
    variants: Mutex<Vec<(Box<[CType]>, Function)>>,
}

/// The function that destroys what another one returns, which is looked up when it is first needed.
struct Destructor {
    prototype: Prototype,
    /// `None` if the library has no such function.
    function: OnceLock<Option<Function>>,
}

/// The key of a compiled loop: the kind of each parameter, and whether the result is stored.
pub(crate) type LoopKey = (SmallVec<[OperandKind; 8]>, bool);

/// The address of a function.
#[derive(Clone, Copy)]
struct Address(NonNull<c_void>);

// SAFETY: the type has only an address; only unsafe functions call the code or read the memory there.
unsafe impl Send for Address {}
// SAFETY: the type has no interior mutability, and its methods read no memory at the address.
unsafe impl Sync for Address {}

impl Library {
    /// Binds a function of the library by its prototype.
    ///
    /// See [the module](crate::function) for an example. The text may define types before the
    /// prototype. The symbol is the function's name, or that of an `__asm__` label.
    ///
    /// # Safety
    ///
    /// - The library's function has the types of the prototype, and observes its extents, `const` and
    ///   `restrict` for all arguments that the prototype allows.
    /// - If the function is called from several threads at once, it is safe to do so.
    /// - It does not use its arguments after the call, except through pointers that it returned: their
    ///   handles keep arrays and texts alive (see [`Handle`]), and are not used once slices that they
    ///   lead into have been freed.
    /// - If it is an indirect function (GNU `ifunc`), its resolver, which runs now, is sound to run.
    ///
    /// # Errors
    ///
    /// [`BindError`] if the text is no supported prototype, if a type can't be passed, or if the
    /// library has no such function.
    pub unsafe fn function(&self, prototype: &str) -> Result<Function, BindError> {
        // SAFETY: the caller guarantees that the prototype is that of the function.
        unsafe { self.bind(Prototype::parse(prototype)?) }
    }

    /// Binds a function of the library by a prototype that has been parsed, such as one of a header.
    ///
    /// ```
    /// use mapcall::{Declarations, Library};
    ///
    /// let header = Declarations::parse("double cos(double x); double sin(double x);");
    /// let sin = header.functions()[1].prototype.clone()?;
    /// // SAFETY: the C library's own initialisers may run at any time.
    /// let libm = unsafe { Library::open("m")? };
    /// // SAFETY: this is the prototype of `sin`.
    /// let sin = unsafe { libm.bind(sin)? };
    /// assert_eq!(sin.call(&mut [0.0.into()])?.to_f64(), Some(0.0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Safety
    ///
    /// The conditions of [`Library::function`].
    ///
    /// # Errors
    ///
    /// [`BindError`] if the text is no supported prototype, if a type can't be passed, or if the
    /// library has no such function.
    pub unsafe fn bind(&self, prototype: Prototype) -> Result<Function, BindError> {
        let symbol = prototype.symbol.as_ref().unwrap_or(&prototype.name);
        // SAFETY: the caller guarantees that the resolver of an indirect function may run now.
        let address = unsafe { self.symbol(symbol)? };
        // SAFETY: the caller guarantees the prototype of the function at the address, which is in the
        // library.
        unsafe { self.bind_address(prototype, address) }
    }

    /// Binds the function at an address by its prototype: one that a function pointer leads to.
    ///
    /// ```
    /// use mapcall::{Library, Prototype};
    ///
    /// let process = Library::process()?;
    /// // SAFETY: `labs` is no indirect function.
    /// let address = unsafe { process.symbol("labs")? };
    /// // SAFETY: this is the prototype of the function at the address.
    /// let labs = unsafe { process.bind_address(Prototype::parse("long magnitude(long j)")?, address)? };
    /// assert_eq!(labs.call(&mut [(-3).into()])?.to_i128(), Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Safety
    ///
    /// The conditions of [`Library::function`], for the function at the address, whose code stays as long
    /// as the library is loaded.
    ///
    /// # Errors
    ///
    /// [`BindError::Unsupported`] if a type can't be passed.
    pub unsafe fn bind_address(
        &self,
        prototype: Prototype,
        address: NonNull<c_void>,
    ) -> Result<Function, BindError> {
        let success = if prototype.returns_nonnull {
            Success::Nonnull
        } else {
            Success::Any
        };
        let destructor = prototype.destructor(|_| None);
        let contract = Contract::new(prototype)?;
        if let Some(reason) = success.unfit(&contract.prototype().returns) {
            return Err(BindError::Unsupported(UnsupportedPrototype {
                function: contract.prototype().name.clone(),
                parameter: None,
                reason,
            }));
        }
        Ok(Function(Arc::new(Bound {
            trampoline: trampoline(contract.prototype(), None, None)?,
            contract: Arc::new(contract),
            address: Address(address),
            library: self.clone(),
            success,
            extents: Vec::new(),
            converts: false,
            engine: None,
            destructor: destructor.map(Destructor::new),
            loops: Mutex::new(Vec::new()),
            call_times: [CallTime::unknown(), CallTime::unknown()],
            vector_variants: OnceLock::new(),
            vector_loops: Mutex::new(Vec::new()),
            variants: Mutex::new(Vec::new()),
        })))
    }
}

impl Function {
    /// Returns the name in C.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.prototype().name
    }

    /// Returns the prototype.
    #[must_use]
    pub fn prototype(&self) -> &Arc<Prototype> {
        self.contract().prototype()
    }

    /// Returns the rules of the prototype's arguments.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub fn contract(&self) -> &Contract {
        &self.0.contract
    }

    /// Returns the trampoline by which its code is called.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub fn trampoline(&self) -> &Trampoline {
        &self.0.trampoline
    }

    /// Returns the library that it is in.
    #[must_use]
    pub fn library(&self) -> &Library {
        &self.0.library
    }

    /// Returns the address of its code, which is valid as long as a clone of the function lives.
    #[must_use]
    #[inline]
    pub fn address(&self) -> NonNull<c_void> {
        self.0.address.0
    }

    /// Returns the condition of success.
    #[must_use]
    pub fn success(&self) -> Success {
        self.0.success
    }

    /// Returns the same function with another condition of success: any other result becomes
    /// [`CallError::Status`]. With [`Success::Zero`], the result is no output of a batch, as it can only be 0.
    ///
    /// ```
    /// use mapcall::{CallError, Library, Success};
    ///
    /// let process = Library::process()?;
    /// // SAFETY: this is the prototype of `getenv`.
    /// let getenv = unsafe { process.function("const char *getenv(const char *name)")? };
    /// let getenv = getenv.check(Success::Nonnull)?;
    /// let error = getenv.call(&mut ["NO_SUCH_NAME".into()]).unwrap_err();
    /// assert!(matches!(error, CallError::Status { code: 0, .. }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BindError::Unsupported`] if the condition does not apply to the type of the result.
    pub fn check(&self, success: Success) -> Result<Self, BindError> {
        if let Some(reason) = success.unfit(&self.prototype().returns) {
            return Err(BindError::Unsupported(UnsupportedPrototype {
                function: self.name().to_owned(),
                parameter: None,
                reason,
            }));
        }
        let is_status = success == Success::Zero;
        let rebound = self.rebound();
        Ok(Self(Arc::new(Bound {
            success,
            contract: if is_status == rebound.contract.is_status() {
                rebound.contract
            } else {
                Arc::new(rebound.contract.with_status(is_status))
            },
            ..rebound
        })))
    }

    /// Returns the same function with a value for an inferred parameter, for calls without an array
    /// that sets it. In other calls, the array must agree. A parameter that equals an expression must have
    /// its value.
    ///
    /// ```
    /// use mapcall::{Arg, Library};
    ///
    /// let process = Library::process()?;
    /// // SAFETY: this is what `getrandom` does with its bytes.
    /// let getrandom = unsafe {
    ///     process.function("ssize_t getrandom(unsigned char bytes[n], size_t n, unsigned flags)")?
    /// };
    /// let getrandom = getrandom.with_extent("n", 16)?;
    /// let mut arguments = [Arg::Out, 0.into()];
    /// assert_eq!(getrandom.call(&mut arguments)?.to_i128(), Some(16));
    /// assert_eq!(arguments[0].array().unwrap().shape(), [16]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] if there is no inferred parameter of that name, or if its type does not have
    /// the value.
    pub fn with_extent(
        &self,
        name: &str,
        value: impl Into<Scalar>,
    ) -> Result<Self, Box<ArgumentError>> {
        let contract = self.contract();
        let Some((position, _)) = self.prototype().parameter(name) else {
            return Err(contract.refuse_all(contract.unknown(name, &[])));
        };
        let mut extents = self.0.extents.clone();
        extents.retain(|(other, _)| *other != position);
        extents.push((position, value.into()));
        let function = Self(Arc::new(Bound {
            extents,
            ..self.rebound()
        }));
        let mut frame = Frame::new(contract.slots());
        function.push_extents(&mut Check::new(contract, frame.slots()))?;
        Ok(function)
    }

    /// Returns the same function, which converts arrays that do not fit if `converts`: their byte order, alignment,
    /// strides, and dtype.
    ///
    /// ```
    /// use mapcall::{Arg, Library};
    /// use mapcall::array::{Array, DType, layout::Order};
    ///
    /// let process = Library::process()?;
    /// // SAFETY: this is what `getloadavg` does with its numbers.
    /// let getloadavg = unsafe { process.function("int getloadavg(double load[n], int n)")? };
    /// let mut load = Array::zeros(">f4".parse()?, &[3], Order::C)?;
    /// assert!(getloadavg.call(&mut [Arg::from(&mut load)]).is_err());
    /// getloadavg.with_conversion(true).call(&mut [Arg::from(&mut load)])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Elements are cast as [`Cast`](mapcall_array::convert::Cast) says: those that C reads to the type of the
    /// parameter, those that it writes from it to the array's. An array that C may read and write is converted both
    /// ways, also elements that C does not write. A single call works on a copy of each array that does not fit;
    /// [`Batch::convert`](crate::Batch::convert) says what a batch does.
    #[must_use]
    pub fn with_conversion(&self, converts: bool) -> Self {
        Self(Arc::new(Bound {
            converts,
            ..self.rebound()
        }))
    }

    /// Returns whether the function converts arrays that do not fit: see
    /// [`with_conversion`](Self::with_conversion).
    pub(crate) fn converts(&self) -> bool {
        self.0.converts
    }

    /// Gives the check the inferred parameters that were set by [`with_extent`](Self::with_extent).
    pub(crate) fn push_extents(&self, check: &mut Check<'_>) -> Result<(), Box<ArgumentError>> {
        let contract = self.contract();
        for &(position, value) in &self.0.extents {
            match contract.rules().get(position) {
                Some(Rule::Inferred(_) | Rule::InOut(_) | Rule::Derived(_)) => {
                    check.argument(Role::Parameter(position), HostValue::Number(value))?;
                }
                _ => return Err(contract.refuse(position, Problem::NotInferred)),
            }
        }
        Ok(())
    }

    /// Returns the same function, to be called by the given engine only.
    ///
    /// ```
    /// use mapcall::Library;
    /// use mapcall::Engine;
    ///
    /// let process = Library::process()?;
    /// // SAFETY: this is the prototype of `labs`.
    /// let labs = unsafe { process.function("long labs(long j)")? };
    /// let labs = labs.with_engine(Engine::Libffi)?;
    /// assert_eq!(labs.call(&mut [(-3).into()])?.to_i128(), Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`BindError::Unsupported`] if the engine can't pass one of the types.
    pub fn with_engine(&self, engine: Engine) -> Result<Self, BindError> {
        Ok(Self(Arc::new(Bound {
            trampoline: trampoline(self.prototype(), None, Some(engine))?,
            engine: Some(engine),
            ..self.rebound()
        })))
    }

    /// Returns the same function with the prototype of the function that destroys what it returns. By
    /// default it is that of the attribute `malloc`, if it takes a pointer alone.
    ///
    /// # Safety
    ///
    /// The conditions of [`Library::function`], for the function of that prototype.
    #[doc(hidden)]
    #[must_use]
    pub unsafe fn with_destructor(&self, prototype: Option<Prototype>) -> Self {
        Self(Arc::new(Bound {
            destructor: prototype.map(Destructor::new),
            ..self.rebound()
        }))
    }

    /// Returns the function that destroys what it returns, by the attribute `malloc` of its prototype;
    /// `None` if there is none, or if the library does not have it.
    ///
    /// ```
    /// use mapcall::Library;
    ///
    /// let process = Library::process()?;
    /// let text = "char *strdup(const char *s) __attribute__((malloc(free, 1)))";
    /// // SAFETY: this is the prototype of `strdup`, whose result `free` frees.
    /// let strdup = unsafe { process.function(text)? };
    /// assert_eq!(strdup.destructor().unwrap().name(), "free");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn destructor(&self) -> Option<&Self> {
        let destructor = self.0.destructor.as_ref()?;
        if let Some(found) = destructor.function.get() {
            return found.as_ref();
        }
        // SAFETY: the caller of `Library::bind` guaranteed that the function destroys what this one returns,
        // and has a resolver that may run.
        let found = unsafe { self.0.library.bind(destructor.prototype.clone()) };
        // No other code runs while it is set.
        let _section = Section::enter();
        destructor.function.get_or_init(|| found.ok()).as_ref()
    }

    /// Returns the parts of the same function, to be bound with another option.
    fn rebound(&self) -> Bound {
        Bound {
            destructor: self.0.destructor.clone(),
            contract: Arc::clone(&self.0.contract),
            trampoline: self.0.trampoline.clone(),
            address: self.0.address,
            library: self.0.library.clone(),
            success: self.0.success,
            extents: self.0.extents.clone(),
            converts: self.0.converts,
            engine: self.0.engine,
            loops: Mutex::new(Vec::new()),
            call_times: [CallTime::unknown(), CallTime::unknown()],
            vector_variants: OnceLock::new(),
            vector_loops: Mutex::new(Vec::new()),
            variants: Mutex::new(Vec::new()),
        }
    }

    /// Checks the arguments and calls the function.
    ///
    /// See [the module](self) for an example. The arguments are those of the prototype in its order,
    /// without the inferred ones. [`Arg::Out`] stands for an array that the function writes; it is
    /// replaced by the allocated array, [`Arg::Allocated`]. Outputs at the end of the list may be left
    /// out: they are allocated and dropped.
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`] if the prototype does not allow an argument: the function has not been
    /// called; [`CallError::Status`] if the result is a failure; [`CallError::Fault`] if a page of a map
    /// is gone and [`guard::install`](mapcall_array::guard::install) was called; [`CallError::Array`] if
    /// there is no memory for an output.
    pub fn call(&self, arguments: &mut [Arg<'_>]) -> Result<Value, CallError> {
        // SAFETY: the condition of `run` is for `is_unchecked`, which is false.
        unsafe { self.run(arguments, false) }
    }

    /// Calls the function as the destructor of a handle.
    fn destroy(&self, handle: Handle) -> Result<Value, CallError> {
        self.call(&mut [Arg::Handle(handle)])
    }

    /// Calls the function as [`call`](Self::call) does, but accepts arrays for pointers without an
    /// extent as well.
    ///
    /// ```
    /// use mapcall::{Arg, Library};
    ///
    /// let process = Library::process()?;
    /// // SAFETY: these are the types of `labs`' cousin `memchr`.
    /// let strnlen = unsafe { process.function("size_t strnlen(const signed char *s, size_t max)")? };
    /// let text = [104_i8, 105, 0];
    /// let mut arguments = [Arg::from(&text), 3.into()];
    /// assert!(strnlen.call(&mut arguments).is_err(), "how long is it?");
    /// // SAFETY: `strnlen` reads no more than 3 bytes.
    /// let length = unsafe { strnlen.call_unchecked(&mut arguments)? };
    /// assert_eq!(length.to_i128(), Some(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Dtype, byte order, alignment, order and writeability are checked as in [`call`](Self::call).
    ///
    /// # Safety
    ///
    /// The function accesses no memory outside the arrays that are given for such pointers.
    ///
    /// # Errors
    ///
    /// The errors of [`call`](Self::call), on the same conditions.
    pub unsafe fn call_unchecked(&self, arguments: &mut [Arg<'_>]) -> Result<Value, CallError> {
        // SAFETY: the caller guarantees that the function accesses no memory outside the arrays for
        // pointers.
        unsafe { self.run(arguments, true) }
    }

    /// Checks the arguments and makes one call.
    ///
    /// # Safety
    ///
    /// If `is_unchecked`, the function accesses no memory outside the arrays that are given for
    /// pointers without an extent.
    unsafe fn run(
        &self,
        arguments: &mut [Arg<'_>],
        is_unchecked: bool,
    ) -> Result<Value, CallError> {
        let contract = self.contract();
        let taken = contract.arguments();
        if let Some(added) = arguments.get(taken.len()..)
            && self.prototype().is_variadic
            && !added.is_empty()
        {
            let variant = self.variant_of(added)?;
            // SAFETY: the caller guarantees the condition for `is_unchecked`, and the caller of
            // `Library::bind` that the function takes arguments of these types.
            return unsafe { variant.run(arguments, is_unchecked) };
        }
        if arguments.len() > taken.len() {
            return Err(contract
                .refuse_all(Problem::TooMany {
                    max: taken.len(),
                    found: arguments.len(),
                })
                .into());
        }
        let mut frame = Frame::new(contract.slots());
        let check = Check::new(contract, frame.slots()).unchecked(is_unchecked);
        let mut check = check.converting(self.0.converts);
        let mut lent = Lent::default();
        self.push_extents(&mut check)?;
        for (&position, argument) in taken.iter().zip(&mut *arguments) {
            let role = Role::Parameter(position);
            push_argument(&mut check, self, role, argument, &mut lent)?;
        }
        for &position in taken.iter().skip(arguments.len()) {
            check.argument(Role::Parameter(position), HostValue::Omitted)?;
        }
        check.finish()?;
        let outputs = arguments::allocate(&mut check, contract)?;
        let mapped: SmallVec<[Range<usize>; 4]> = check.mapped().collect();
        let converted = ConvertedArguments::new(&check).map_err(|source| CallError::Array {
            function: self.name().to_owned(),
            source: Box::new(source),
        })?;
        if !converted.is_empty() {
            // SAFETY: the arguments borrow the memory of the arrays.
            unsafe { converted.load(self, &mapped, frame.slots()) }?;
        }
        self.hand_over(lent.handles(), None)?;
        let (claim, epoch) = (Claim::new(), guard::epoch());
        // SAFETY: the check has filled the frame, and `arguments`, `lent` and `outputs` keep the
        // memory alive that it points to. The caller of `Library::bind` guaranteed the prototype.
        let errno = unsafe { self.invoke(frame.slots()) };
        drop(claim);
        let accessed = Accessed {
            mapped: &mapped,
            slots: frame.slots(),
        };
        converted::check_fault(self, accessed, epoch)?;
        if !converted.is_empty() {
            // SAFETY: the arguments borrow the memory of the arrays.
            unsafe { converted.store(self, &mapped) }?;
        }
        let result = contract.layout().result();
        let slots = frame.slots().get(result..).unwrap_or_default();
        self.check_result(slots, errno)?;
        // A text is copied before the arguments are dropped, as it may lie in their memory.
        let value = Value::read(self, slots, || lent.keep_alive(arguments, &outputs));
        for (position, array) in outputs {
            let index = taken.iter().position(|&taken| taken == position);
            if let Some(argument) = index.and_then(|index| arguments.get_mut(index)) {
                *argument = Arg::Allocated(array);
            }
        }
        Ok(value)
    }

    /// Runs the function on a frame. Returns the thread's `errno`, which is set to 0 before.
    ///
    /// # Safety
    ///
    /// - The frame is aligned to 16 bytes, has at least the slots of the trampoline's layout, and has
    ///   been filled by the check of the contract.
    /// - The memory that it points to lives until this returns.
    #[doc(hidden)]
    #[inline]
    pub unsafe fn invoke(&self, frame: &mut [u64]) -> i32 {
        let trampoline = &self.0.trampoline;
        let address = self.0.address.0.as_ptr();
        activation::run(|| {
            // SAFETY: the caller guarantees a filled frame whose memory lives. The caller of `Library::bind`
            // guaranteed that the code at the address has the type of the prototype.
            unsafe { trampoline.call(address, frame.as_mut_ptr()) };
        })
    }

    /// Runs the function as [`invoke`](Self::invoke) does, with the location of `errno`.
    ///
    /// # Safety
    ///
    /// Those of [`invoke`](Self::invoke), and `location` is what [`errno_location`](crate::call::errno_location)
    /// returns on this thread.
    #[doc(hidden)]
    #[inline]
    pub unsafe fn invoke_at(&self, frame: &mut [u64], location: NonNull<c_int>) -> i32 {
        let trampoline = &self.0.trampoline;
        let address = self.0.address.0.as_ptr();
        let call = || {
            // SAFETY: the caller guarantees a filled frame whose memory lives. The caller of `Library::bind`
            // guaranteed that the code at the address has the type of the prototype.
            unsafe { trampoline.call(address, frame.as_mut_ptr()) };
        };
        // SAFETY: the caller guarantees that the location is that of this thread.
        unsafe { activation::run_at(location, call) }
    }

    /// Returns what the loop for the calls of a batch depends on.
    pub(crate) fn loop_key(&self, broadcast: &BroadcastPlan) -> LoopKey {
        let kind = |position| {
            let mut operands = broadcast.operands().iter();
            let operand = operands.find(|operand| operand.role == Role::Parameter(position));
            operand.map_or(OperandKind::Constant, |operand| operand.kind)
        };
        let kinds = (0..self.contract().rules().len()).map(kind).collect();
        let stores = broadcast
            .operands()
            .iter()
            .any(|operand| operand.role == Role::Result);
        (kinds, stores)
    }

    /// Returns the compiled loop for the calls of a batch.
    pub(crate) fn call_loop(&self, key: &LoopKey) -> Arc<CallLoop> {
        let mut known = self.0.loops.lock();
        if let Some((_, calls)) = known.iter().find(|(other, _)| other == key) {
            return Arc::clone(calls);
        }
        let calls = Arc::new(CallLoop::new(
            self.trampoline(),
            &key.0,
            key.1,
            self.success().stop(),
        ));
        known.push((key.clone(), Arc::clone(&calls)));
        calls
    }

    /// Returns the time that a call of the last batch took, of those that may use vector variants or of the others.
    #[inline]
    pub(crate) fn call_time(&self, may_use_variants: bool) -> &CallTime {
        let [one_by_one, vector] = &self.0.call_times;
        if may_use_variants { vector } else { one_by_one }
    }

    /// Returns whether the time of a call is known, from a batch.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub fn is_timed(&self) -> bool {
        self.0.call_times.iter().any(CallTime::is_known)
    }

    /// Checks the result of a call.
    ///
    /// # Errors
    ///
    /// [`CallError::Status`] if it is a failure.
    #[doc(hidden)]
    #[inline]
    pub fn check_result(&self, result: &[u64], errno: i32) -> Result<(), CallError> {
        if self.0.success == Success::Any {
            return Ok(());
        }
        self.0.success.check_result(self, result, errno)
    }
}

impl Destructor {
    fn new(prototype: Prototype) -> Arc<Self> {
        Arc::new(Self {
            prototype,
            function: OnceLock::new(),
        })
    }
}

/// Makes the trampoline for a prototype, with one engine only if `engine` is given. `fixed` is the number of
/// parameters before the variable arguments, if there are some.
fn trampoline(
    prototype: &Prototype,
    fixed: Option<usize>,
    engine: Option<Engine>,
) -> Result<Trampoline, UnsupportedPrototype> {
    let parameters = prototype.passed_types();
    let trampoline = match fixed {
        None => Trampoline::new(&prototype.returns, &parameters),
        Some(fixed) => Trampoline::variadic(&prototype.returns, &parameters, fixed),
    };
    let trampoline = trampoline.and_then(|trampoline| match engine {
        None => Ok(trampoline),
        Some(engine) => trampoline.by(engine),
    });
    trampoline.map_err(|error| UnsupportedPrototype {
        function: prototype.name.clone(),
        parameter: None,
        reason: error.to_string(),
    })
}

impl PartialEq for Function {
    /// Returns whether both are the same code with the same prototype.
    fn eq(&self, other: &Self) -> bool {
        self.address() == other.address() && self.prototype() == other.prototype()
    }
}

impl Eq for Function {}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({})", self.prototype())
    }
}
