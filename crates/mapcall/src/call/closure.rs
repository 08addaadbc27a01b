//! Functions of C whose body is a Rust closure.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::fmt;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use libffi_sys::{ffi_arg, ffi_cif};
use smallvec::SmallVec;

use super::CallTypeError;
use super::frame::FrameLayout;
use super::libffi::Interface;
use super::thunk::Thunk;
use super::value::{Kind, Value};
use crate::ctype::CType;

/// What a [`Closure`] does: it reads the parameters in the frame and writes the result.
pub type Body = Box<dyn Fn(&FrameLayout, &mut [u64]) + Send + Sync>;

/// What hears that C has called a closure after its end, and whether it is the first time since.
pub type Late = Box<dyn Fn(bool) + Send + Sync>;

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
/// // SAFETY: the function is of the type that the trampoline is made for.
/// unsafe { trampoline.call(closure.address(), frame.as_mut_ptr()) };
/// assert_eq!(frame[2], 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Any thread can call it. A body that panics returns zero to C: catch what must not get lost.
///
/// The body is dropped with this object, or at the end of the calls that are running then. The code
/// stays: C that calls it later gets zero, or the body of a later closure of the same
/// [`ClosurePool`] that has taken the code over.
pub struct Closure {
    slot: &'static Slot,
}

impl Closure {
    /// Makes a function of a type, from the pool of all functions of that type without a purpose of
    /// their own.
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
        let no_one: fn() -> Late = || Box::new(|_| ());
        ClosurePool::get(Purpose::default(), returns, parameters, no_one)?.closure(body)
    }

    /// The function. Its code stays until the process ends.
    #[must_use]
    pub fn address(&self) -> *const c_void {
        self.slot.thunk.code().as_ptr()
    }
}

impl fmt::Debug for Closure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Closure").field(&self.address()).finish()
    }
}

impl Drop for Closure {
    fn drop(&mut self) {
        self.slot.close();
    }
}

/// What closures are for. Those for different purposes never share code.
///
/// ```
/// use mapcall::call::Purpose;
///
/// let compare = Purpose { address: 0x1000, function: "qsort", parameter: "compare" };
/// assert_ne!(compare, Purpose { parameter: "swap", ..compare });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purpose<'a> {
    /// The address of the C function that takes them.
    pub address: usize,
    /// Its name.
    pub function: &'a str,
    /// The parameter's name.
    pub parameter: &'a str,
}

/// The closures of one C type for one purpose, and the code of those that have ended, for others.
///
/// ```
/// use mapcall::Prototype;
/// use mapcall::call::{ClosurePool, Purpose};
///
/// let next = Prototype::parse("int next(void);")?;
/// let purpose = Purpose { function: "fill", parameter: "next", ..Purpose::default() };
/// let pool = ClosurePool::get(purpose, &next.returns, [], || {
///     Box::new(|_| eprintln!("fill: next: expected a function that is alive, got one that isn't"))
/// })?;
/// let one = pool.closure(Box::new(|layout, frame| frame[layout.result()] = 1))?;
/// let two = pool.closure(Box::new(|layout, frame| frame[layout.result()] = 2))?;
/// assert_ne!(one.address(), two.address());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// C may keep the address of a closure that has ended. So its code is given to another one of the
/// same pool only, not before [`QUARANTINE`](Self::QUARANTINE) others have ended, and later still if
/// C has called it meanwhile. The number of codes is that of the closures which lived at the same
/// time, and those few.
pub struct ClosurePool {
    address: usize,
    function: Box<str>,
    parameter: Box<str>,
    interface: Interface,
    layout: FrameLayout,
    returns: Value,
    parameters: Box<[Value]>,
    late: Late,
    /// The oldest slot, which leads to all others.
    first: AtomicPtr<Slot>,
    /// One of the newest slots.
    last: AtomicPtr<Slot>,
    /// Where the search for a free slot goes on; null for the first one.
    cursor: AtomicPtr<Slot>,
    /// The number of free slots.
    free: AtomicUsize,
    /// The pool that was made before this one.
    next: *const ClosurePool,
}

// SAFETY: `next` is a pool that lives for ever, as do the slots; all else is `Send` and `Sync`.
unsafe impl Send for ClosurePool {}
// SAFETY: nothing but atomics changes.
unsafe impl Sync for ClosurePool {}

/// All pools, the newest first. There is no lock, which a fork could leave locked for ever.
static POOLS: AtomicPtr<ClosurePool> = AtomicPtr::new(ptr::null_mut());

impl ClosurePool {
    /// The number of closures that end before the code of one is used again.
    pub const QUARANTINE: usize = 32;

    /// The pool for a purpose and a type, which lives until the process ends.
    ///
    /// # Errors
    ///
    /// [`CallTypeError`] when a type can't be passed by value.
    pub fn get<'a>(
        purpose: Purpose<'_>,
        returns: &CType,
        parameters: impl IntoIterator<Item = &'a CType>,
        late: impl FnOnce() -> Late,
    ) -> Result<&'static Self, CallTypeError> {
        let types: SmallVec<[&CType; 8]> = parameters.into_iter().collect();
        let values = types.iter().map(|ctype| Value::of(ctype));
        let values = values.collect::<Result<SmallVec<[Value; 8]>, _>>()?;
        let result = Value::returned(returns)?;
        let newest = POOLS.load(Ordering::Acquire);
        if let Some(pool) = Self::find(newest, ptr::null(), purpose, &result, &values) {
            return Ok(pool);
        }
        let layout = FrameLayout::of_values(&result, &values)?;
        let described = types.iter().zip(&values);
        let described = described.map(|(ctype, value)| (&**ctype, value));
        let interface = Interface::new((returns, &result), described)?;
        let pool = Box::new(Self {
            address: purpose.address,
            function: purpose.function.into(),
            parameter: purpose.parameter.into(),
            interface,
            layout,
            returns: result,
            parameters: values.into_vec().into_boxed_slice(),
            late: late(),
            first: AtomicPtr::default(),
            last: AtomicPtr::default(),
            cursor: AtomicPtr::default(),
            free: AtomicUsize::new(0),
            next: newest,
        });
        Ok(Self::publish(pool))
    }

    /// Adds a pool to all, unless another thread has just added one like it.
    fn publish(mut pool: Box<Self>) -> &'static Self {
        loop {
            let known = pool.next.cast_mut();
            let new: *mut Self = &raw mut *pool;
            let order = Ordering::AcqRel;
            match POOLS.compare_exchange(known, new, order, Ordering::Acquire) {
                Ok(_) => return Box::leak(pool),
                Err(newest) => {
                    let purpose = pool.purpose();
                    let (result, values) = (&pool.returns, &pool.parameters);
                    let found = Self::find(newest, known, purpose, result, values);
                    if let Some(found) = found {
                        return found;
                    }
                    pool.next = newest;
                }
            }
        }
    }

    /// The pool like this among those from `newest` to the one before `last`.
    fn find(
        newest: *const Self,
        last: *const Self,
        purpose: Purpose<'_>,
        returns: &Value,
        parameters: &[Value],
    ) -> Option<&'static Self> {
        let mut at = newest;
        while at != last {
            // SAFETY: null, or a pool that has been published, and so lives for ever.
            let pool = unsafe { at.as_ref() }?;
            if pool.purpose() == purpose
                && pool.returns == *returns
                && *pool.parameters == *parameters
            {
                return Some(pool);
            }
            at = pool.next;
        }
        None
    }

    /// What its closures are for.
    #[must_use]
    pub fn purpose(&self) -> Purpose<'_> {
        Purpose {
            address: self.address,
            function: &self.function,
            parameter: &self.parameter,
        }
    }

    /// Makes a function with this body.
    ///
    /// # Errors
    ///
    /// [`CallTypeError::NoMemory`] when the system gives no memory for code.
    pub fn closure(&'static self, body: Body) -> Result<Closure, CallTypeError> {
        let slot = self.reuse().or_else(|| self.grow());
        let slot = slot.ok_or(CallTypeError::NoMemory)?;
        slot.open(body);
        Ok(Closure { slot })
    }

    /// Claims a slot that has been free for long enough.
    fn reuse(&self) -> Option<&'static Slot> {
        if self.free.load(Ordering::Relaxed) <= Self::QUARANTINE {
            return None;
        }
        let first = self.first.load(Ordering::Acquire);
        let or_first = |slot: *mut Slot| if slot.is_null() { first } else { slot };
        let start = or_first(self.cursor.load(Ordering::Acquire));
        let mut at = start;
        loop {
            // SAFETY: a slot that has been published, and so lives for ever.
            let slot = unsafe { at.as_ref() }?;
            let next = or_first(slot.next.load(Ordering::Acquire));
            if slot.claim() {
                self.free.fetch_sub(1, Ordering::Relaxed);
                self.cursor.store(next, Ordering::Release);
                return Some(slot);
            }
            if next == start {
                return None;
            }
            at = next;
        }
    }

    /// Makes a slot, which is claimed already.
    fn grow(&'static self) -> Option<&'static Slot> {
        let slot = Box::new(Slot {
            pool: self,
            thunk: Thunk::new()?,
            state: AtomicUsize::new(Slot::CLAIMED),
            was_late: AtomicBool::new(false),
            body: UnsafeCell::new(None),
            next: AtomicPtr::default(),
        });
        let slot: &'static Slot = Box::leak(slot);
        let data = ptr::from_ref(slot).cast_mut();
        // SAFETY: the thunk is new; the interface and the slot live for ever, and `enter` takes one.
        let is_ready = unsafe { slot.thunk.prepare(self.interface.cif(), enter, data.cast()) };
        if !is_ready {
            return None;
        }
        self.append(slot);
        Some(slot)
    }

    /// Adds a slot behind all others.
    fn append(&self, slot: &'static Slot) {
        let new = ptr::from_ref(slot).cast_mut();
        // SAFETY: null, or a slot that has been published, and so lives for ever.
        let last = unsafe { self.last.load(Ordering::Acquire).as_ref() };
        let mut end = last.map_or(&self.first, |last| &last.next);
        let (none, order) = (ptr::null_mut(), Ordering::AcqRel);
        while let Err(other) = end.compare_exchange(none, new, order, Ordering::Acquire) {
            // SAFETY: as above, and not null.
            end = unsafe { &(*other).next };
        }
        self.last.store(new, Ordering::Release);
    }
}

impl fmt::Debug for ClosurePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClosurePool").field(&self.purpose()).finish()
    }
}

/// The code of one closure at a time.
struct Slot {
    pool: &'static ClosurePool,
    thunk: Thunk,
    /// [`FREE`](Self::FREE), or [`CLAIMED`](Self::CLAIMED) with [`OPEN`](Self::OPEN) while a closure
    /// has it, and [`RUNNING`](Self::RUNNING) times the number of calls that are running.
    state: AtomicUsize,
    /// Whether C has called it since its closure ended.
    was_late: AtomicBool,
    body: UnsafeCell<Option<Body>>,
    /// The slot that was made after this one.
    next: AtomicPtr<Slot>,
}

// SAFETY: the body is written by the thread that claims the slot, or that ends its last use, and
// read by those that are counted in the state.
unsafe impl Sync for Slot {}

impl Slot {
    const FREE: usize = 0;
    const CLAIMED: usize = 1;
    const OPEN: usize = 2;
    const RUNNING: usize = 4;

    /// Takes the slot if it is free; one that C still calls stays free for another round.
    fn claim(&self) -> bool {
        let order = Ordering::Acquire;
        self.state.load(Ordering::Relaxed) == Self::FREE
            && !self.was_late.swap(false, Ordering::Relaxed)
            && (self.state)
                .compare_exchange(Self::FREE, Self::CLAIMED, order, Ordering::Relaxed)
                .is_ok()
    }

    /// Gives a claimed slot its body.
    fn open(&self, body: Body) {
        // SAFETY: the slot is claimed by this thread, and no call enters it before it is open.
        unsafe { *self.body.get() = Some(body) };
        self.state.fetch_or(Self::OPEN, Ordering::Release);
    }

    /// Lets no more calls in; the last one that is running drops the body.
    fn close(&self) {
        let before = self.state.fetch_and(!Self::OPEN, Ordering::AcqRel);
        if before == Self::CLAIMED | Self::OPEN {
            self.free();
        }
    }

    /// Counts a call in, unless the closure has ended.
    fn enter(&self) -> Option<Entered<'_>> {
        let enter =
            |state: usize| (state & Self::OPEN != 0).then(|| state.wrapping_add(Self::RUNNING));
        self.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, enter)
            .ok()
            .map(|_| Entered(self))
    }

    fn free(&self) {
        // SAFETY: the slot is claimed, and no call is running in it nor enters it.
        let body = unsafe { (*self.body.get()).take() };
        self.was_late.store(false, Ordering::Relaxed);
        self.state.store(Self::FREE, Ordering::Release);
        self.pool.free.fetch_add(1, Ordering::Relaxed);
        quietly(|| drop(body));
    }
}

/// A call that is running in a slot.
struct Entered<'a>(&'a Slot);

impl Entered<'_> {
    fn run(&self, frame: &mut [u64]) {
        // SAFETY: the body stays while the call is counted.
        if let Some(body) = unsafe { &*self.0.body.get() } {
            body(&self.0.pool.layout, frame);
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let before = self.0.state.fetch_sub(Slot::RUNNING, Ordering::AcqRel);
        if before == Slot::CLAIMED | Slot::RUNNING {
            self.0.free();
        }
    }
}

/// Runs what must not unwind into C; whether it returned.
fn quietly(run: impl FnOnce()) -> bool {
    panic::catch_unwind(AssertUnwindSafe(run))
        // Its destructor could panic as well.
        .map_err(mem::forget)
        .is_ok()
}

/// Where C enters: libffi has put the arguments in memory.
unsafe extern "C" fn enter(
    _: *mut ffi_cif,
    result: *mut c_void,
    arguments: *mut *mut c_void,
    slot: *mut c_void,
) {
    // SAFETY: a slot, which lives for ever.
    let slot: &Slot = unsafe { &*slot.cast() };
    let pool = slot.pool;
    // Two words each, so that the frame is aligned to 16 bytes.
    let mut frame: SmallVec<[u128; 16]> = SmallVec::new();
    frame.resize(pool.layout.slots().div_ceil(2), 0);
    let words = frame.as_mut_ptr().cast::<u64>();
    // SAFETY: there are at least so many words, and they are borrowed from here on only through
    // this slice.
    let words = unsafe { slice::from_raw_parts_mut(words, pool.layout.slots()) };
    if let Some(entered) = slot.enter() {
        // SAFETY: libffi gives one address for each parameter.
        unsafe { read(pool, arguments, words) };
        if !quietly(|| entered.run(words)) {
            words.fill(0);
        }
    } else {
        let is_first = !slot.was_late.swap(true, Ordering::Relaxed);
        quietly(|| (pool.late)(is_first));
    }
    // SAFETY: libffi gives room for the result.
    unsafe { write(pool, words, result) };
}

/// Copies the arguments into the frame.
///
/// # Safety
///
/// `arguments` has the address of each parameter's value.
unsafe fn read(pool: &ClosurePool, arguments: *mut *mut c_void, frame: &mut [u64]) {
    for (index, value) in pool.parameters.iter().enumerate() {
        // SAFETY: the caller's promise: there is an address for each parameter.
        let argument = unsafe { arguments.add(index) };
        // SAFETY: as above.
        let argument = unsafe { argument.read() };
        let Some(words) = frame.get_mut(pool.layout.parameter(index)..) else {
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
unsafe fn write(pool: &ClosurePool, frame: &mut [u64], result: *mut c_void) {
    let returns = &pool.returns;
    let Some(words) = frame.get_mut(pool.layout.result()..) else {
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
