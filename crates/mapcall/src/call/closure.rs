//! C functions whose body is a Rust closure.
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
#[cfg(has_register_entry)]
use super::frame::SmallFrame;
use super::libffi::Interface;
use super::thunk::Thunk;
#[cfg(has_register_entry)]
use super::thunk::{self, Saved, Source};
use super::value::{Kind, Value};
use crate::ctype::CType;

/// The body of a [`Closure`]: it reads the parameters from the frame and writes the result to it.
pub type Body = Box<dyn Fn(&FrameLayout, &mut [u64]) + Send + Sync>;

/// A function that is run when C calls a closure after its end; the argument is true for the first such
/// call.
pub type Late = Box<dyn Fn(bool) + Send + Sync>;

/// A C function whose body is a Rust closure, to be passed to C as a callback.
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
/// // SAFETY: the function is of the trampoline's type, and the frame has the slots of its layout.
/// unsafe { trampoline.call(closure.address(), frame.as_mut_ptr()) };
/// assert_eq!(frame[2], 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Any thread can call it. If the body panics, C gets zero as the result and the panic is dropped.
///
/// The body is dropped with this object, or at the end of the calls that are running then. The code stays
/// in memory: if C calls it later, the call returns zero, or runs a later closure of the same
/// [`ClosurePool`] that reuses the code.
pub struct Closure {
    entry: &'static PoolEntry,
}

impl Closure {
    /// Makes a C function with this body, in the pool of all functions of that type without a
    /// [`Purpose`].
    ///
    /// # Errors
    ///
    /// [`CallTypeError`] if a type can't be passed by value, or if the system refuses memory for code.
    pub fn new<'a>(
        returns: &CType,
        parameters: impl IntoIterator<Item = &'a CType>,
        body: Body,
    ) -> Result<Self, CallTypeError> {
        let ignore: fn() -> Late = || Box::new(|_| ());
        ClosurePool::get(Purpose::default(), returns, parameters, ignore)?.closure(body)
    }

    /// Returns the function's address. Its code stays until the process ends.
    #[must_use]
    pub fn address(&self) -> *const c_void {
        self.entry.thunk.code().as_ptr()
    }
}

impl fmt::Debug for Closure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Closure").field(&self.address()).finish()
    }
}

impl Drop for Closure {
    fn drop(&mut self) {
        self.entry.close();
    }
}

/// The C function and parameter that closures are made for. Closures for different purposes never share
/// code.
///
/// ```
/// use mapcall::call::Purpose;
///
/// let compare = Purpose { address: 0x1000, function: "qsort", parameter: "compare" };
/// assert_ne!(compare, Purpose { parameter: "swap", ..compare });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purpose<'a> {
    /// The address of the C function that takes the closures.
    pub address: usize,
    /// The C function's name.
    pub function: &'a str,
    /// The parameter's name.
    pub parameter: &'a str,
}

/// The closures of one C type for one purpose. It reuses the code of closures that have ended.
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
/// C may keep the address of a closure that has ended. So its code is reused only for closures of the
/// same pool, not before [`QUARANTINE`](Self::QUARANTINE) others have ended, and later still if C has
/// called it meanwhile. So the memory for code is bounded by the number of closures that are alive at the
/// same time, and that constant.
pub struct ClosurePool {
    address: usize,
    function: Box<str>,
    parameter: Box<str>,
    interface: Interface,
    layout: FrameLayout,
    returns: Value,
    parameters: Box<[Value]>,
    /// Where the arguments are when C enters a closure; `None` if libffi finds them.
    #[cfg(has_register_entry)]
    sources: Option<Box<[Source]>>,
    late: Late,
    /// The first entry of the linked list of all entries, which is the oldest one.
    first: AtomicPtr<PoolEntry>,
    /// An entry at or near the end of the list.
    last: AtomicPtr<PoolEntry>,
    /// The entry at which the next search for a free one starts; null for the first entry.
    cursor: AtomicPtr<PoolEntry>,
    /// The number of free entries.
    free: AtomicUsize,
    /// The pool that was made before this one.
    next: *const ClosurePool,
}

// SAFETY: `next` points to a pool and the atomics to entries, neither of which is ever freed; all other
// fields are `Send`.
unsafe impl Send for ClosurePool {}
// SAFETY: after the pool is published only its atomics change; all other fields are `Sync`.
unsafe impl Sync for ClosurePool {}

/// The newest pool, the head of the linked list of all pools. There is no lock, which a fork could leave
/// locked in the child.
static POOLS: AtomicPtr<ClosurePool> = AtomicPtr::new(ptr::null_mut());

impl ClosurePool {
    /// The number of free entries that are kept before the code of one is used again.
    pub const QUARANTINE: usize = 32;

    /// Returns the pool for a purpose and a type, which stays until the process ends. `late` makes the
    /// function that is run when C calls a closure after its end.
    ///
    /// # Errors
    ///
    /// [`CallTypeError`] if a type can't be passed by value.
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
        let interface = Interface::new((returns, &result), described, None)?;
        let pool = Box::new(Self {
            address: purpose.address,
            function: purpose.function.into(),
            parameter: purpose.parameter.into(),
            interface,
            #[cfg(has_register_entry)]
            sources: thunk::sources(&result, &values)
                .filter(|_| layout.slots() <= SmallFrame::SLOTS)
                .filter(|sources| layout.parameters().iter().copied().eq(0..sources.len())),
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

    /// Adds a pool to the list, unless another thread has just added one for the same purpose and type;
    /// returns the one in the list.
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

    /// Returns the pool for a purpose and a type among those from `newest` to the one before `last`.
    fn find(
        newest: *const Self,
        last: *const Self,
        purpose: Purpose<'_>,
        returns: &Value,
        parameters: &[Value],
    ) -> Option<&'static Self> {
        let mut at = newest;
        while at != last {
            // SAFETY: `at` is null or a pool that has been published; those are never freed.
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

    /// Returns the purpose of the pool's closures.
    #[must_use]
    pub fn purpose(&self) -> Purpose<'_> {
        Purpose {
            address: self.address,
            function: &self.function,
            parameter: &self.parameter,
        }
    }

    /// Makes a C function with this body.
    ///
    /// # Errors
    ///
    /// [`CallTypeError::NoMemory`] if the system refuses memory for code.
    pub fn closure(&'static self, body: Body) -> Result<Closure, CallTypeError> {
        let entry = self.reuse().or_else(|| self.grow());
        let entry = entry.ok_or(CallTypeError::NoMemory)?;
        entry.open(body);
        Ok(Closure { entry })
    }

    /// Claims a free entry, if more than [`QUARANTINE`](Self::QUARANTINE) are free.
    fn reuse(&self) -> Option<&'static PoolEntry> {
        if self.free.load(Ordering::Relaxed) <= Self::QUARANTINE {
            return None;
        }
        let first = self.first.load(Ordering::Acquire);
        let or_first = |entry: *mut PoolEntry| if entry.is_null() { first } else { entry };
        let start = or_first(self.cursor.load(Ordering::Acquire));
        let mut at = start;
        loop {
            // SAFETY: `at` is null or an entry that has been published; those are never freed.
            let entry = unsafe { at.as_ref() }?;
            let next = or_first(entry.next.load(Ordering::Acquire));
            if entry.claim() {
                self.free.fetch_sub(1, Ordering::Relaxed);
                self.cursor.store(next, Ordering::Release);
                return Some(entry);
            }
            if next == start {
                return None;
            }
            at = next;
        }
    }

    /// Makes an entry, which is claimed already; `None` if the system refuses memory for code.
    fn grow(&'static self) -> Option<&'static PoolEntry> {
        let entry = Box::new(PoolEntry {
            pool: self,
            thunk: Thunk::new()?,
            state: AtomicUsize::new(PoolEntry::CLAIMED),
            was_late: AtomicBool::new(false),
            body: UnsafeCell::new(None),
            next: AtomicPtr::default(),
        });
        let entry: &'static PoolEntry = Box::leak(entry);
        let data = ptr::from_ref(entry).cast_mut();
        // SAFETY: the thunk is new, the interface and the entry are never freed, and `enter` takes the
        // address of an entry.
        let is_ready = unsafe {
            entry
                .thunk
                .prepare(self.interface.cif(), enter, data.cast())
        };
        if !is_ready {
            return None;
        }
        #[cfg(has_register_entry)]
        if self.sources.is_some() {
            // SAFETY: no other code knows the thunk yet. `enter_by_slots` takes the address of an entry, of a
            // pool that has sources.
            unsafe { entry.thunk.enter_by_slots(enter_by_slots) };
        }
        self.append(entry);
        Some(entry)
    }

    /// Adds an entry at the end of the list.
    fn append(&self, entry: &'static PoolEntry) {
        let new = ptr::from_ref(entry).cast_mut();
        // SAFETY: `last` is null or an entry that has been published; those are never freed.
        let last = unsafe { self.last.load(Ordering::Acquire).as_ref() };
        let mut end = last.map_or(&self.first, |last| &last.next);
        let (none, order) = (ptr::null_mut(), Ordering::AcqRel);
        while let Err(other) = end.compare_exchange(none, new, order, Ordering::Acquire) {
            // SAFETY: the exchange failed, so that `other` is not null; it is an entry that has been
            // published, and those are never freed.
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

/// An entry of a pool: a thunk, and the body of the closure that it belongs to at present.
struct PoolEntry {
    pool: &'static ClosurePool,
    thunk: Thunk,
    /// [`FREE`](Self::FREE), or the sum of [`CLAIMED`](Self::CLAIMED), [`OPEN`](Self::OPEN) while the
    /// closure is alive, and [`RUNNING`](Self::RUNNING) times the number of calls that are running.
    state: AtomicUsize,
    /// Whether C has called the code since its closure ended.
    was_late: AtomicBool,
    body: UnsafeCell<Option<Body>>,
    /// The entry that was made after this one.
    next: AtomicPtr<PoolEntry>,
}

// SAFETY: the body is written only by the thread that claims the entry, before `OPEN` is set, and by the one
// that frees it, after `OPEN` is cleared and no call is running; it is read only by calls that are counted
// in the state. The thunk is not written after it is prepared, and the other fields are `Sync`.
unsafe impl Sync for PoolEntry {}

impl PoolEntry {
    const FREE: usize = 0;
    const CLAIMED: usize = 1;
    const OPEN: usize = 2;
    const RUNNING: usize = 4;

    /// Claims the entry if it is free and C has not called it since its closure ended.
    fn claim(&self) -> bool {
        let order = Ordering::Acquire;
        self.state.load(Ordering::Relaxed) == Self::FREE
            && !self.was_late.swap(false, Ordering::Relaxed)
            && (self.state)
                .compare_exchange(Self::FREE, Self::CLAIMED, order, Ordering::Relaxed)
                .is_ok()
    }

    /// Sets the body of a claimed entry and admits calls.
    fn open(&self, body: Body) {
        // SAFETY: this thread has claimed the entry, and no call reads the body before `OPEN` is set.
        unsafe { *self.body.get() = Some(body) };
        self.state.fetch_or(Self::OPEN, Ordering::Release);
    }

    /// Refuses further calls. The body is dropped now, or by the last call that is running.
    fn close(&self) {
        let before = self.state.fetch_and(!Self::OPEN, Ordering::AcqRel);
        if before == Self::CLAIMED | Self::OPEN {
            self.free();
        }
    }

    /// Counts a call that starts; `None` if the closure has ended.
    fn enter(&self) -> Option<Entered<'_>> {
        let enter =
            |state: usize| (state & Self::OPEN != 0).then(|| state.wrapping_add(Self::RUNNING));
        self.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, enter)
            .ok()
            .map(|_| Entered(self))
    }

    /// Runs the body on a frame with the arguments, whose result is 0 before.
    #[inline]
    fn run(&self, slots: &mut [u64]) {
        if let Some(entered) = self.enter() {
            if !quietly(|| entered.run(slots)) {
                slots.fill(0);
            }
        } else {
            let is_first = !self.was_late.swap(true, Ordering::Relaxed);
            quietly(|| (self.pool.late)(is_first));
        }
    }

    fn free(&self) {
        // SAFETY: the entry is claimed, `OPEN` is cleared and no call is running, so that no other thread
        // reads or writes the body.
        let body = unsafe { (*self.body.get()).take() };
        self.was_late.store(false, Ordering::Relaxed);
        self.state.store(Self::FREE, Ordering::Release);
        self.pool.free.fetch_add(1, Ordering::Relaxed);
        quietly(|| drop(body));
    }
}

/// A running call of an entry's closure, counted in its state until this is dropped.
struct Entered<'a>(&'a PoolEntry);

impl Entered<'_> {
    fn run(&self, frame: &mut [u64]) {
        // SAFETY: the body is not written while this call is counted in the state.
        if let Some(body) = unsafe { &*self.0.body.get() } {
            body(&self.0.pool.layout, frame);
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let before = self.0.state.fetch_sub(PoolEntry::RUNNING, Ordering::AcqRel);
        if before == PoolEntry::CLAIMED | PoolEntry::RUNNING {
            self.0.free();
        }
    }
}

/// Runs a function that must not unwind into C, and returns whether it ended without a panic.
fn quietly(run: impl FnOnce()) -> bool {
    panic::catch_unwind(AssertUnwindSafe(run))
        // The payload is leaked, because its destructor could panic as well.
        .map_err(mem::forget)
        .is_ok()
}

/// The function that a thunk calls: libffi has stored the arguments in memory, and takes the result from
/// there.
unsafe extern "C" fn enter(
    _: *mut ffi_cif,
    result: *mut c_void,
    arguments: *mut *mut c_void,
    entry: *mut c_void,
) {
    // SAFETY: libffi passes the data that `prepare` was given, an entry that is never freed.
    let entry: &PoolEntry = unsafe { &*entry.cast() };
    let pool = entry.pool;
    // Elements of 16 bytes align the frame to 16 bytes.
    let mut frame: SmallVec<[u128; 16]> = SmallVec::new();
    frame.resize(pool.layout.slots().div_ceil(2), 0);
    let slots = frame.as_mut_ptr().cast::<u64>();
    // SAFETY: `frame` has at least that many initialised slots, is not moved or resized, and is used from
    // here on only through this slice.
    let slots = unsafe { slice::from_raw_parts_mut(slots, pool.layout.slots()) };
    // SAFETY: libffi passes an array with the address of each parameter's value.
    unsafe { read(pool, arguments, slots) };
    entry.run(slots);
    // SAFETY: libffi passes the address of a result buffer of the result's size, and at least of `ffi_arg`'s
    // for an integer.
    unsafe { write(pool, slots, result) };
}

/// The function that a thunk calls without libffi: the arguments are in the registers, or on the stack.
#[cfg(has_register_entry)]
unsafe extern "C" fn enter_by_slots(entry: *mut c_void, saved: &Saved) -> u64 {
    // SAFETY: the thunk passes the data that `prepare` was given, an entry that is never freed.
    let entry: &PoolEntry = unsafe { &*entry.cast() };
    let pool = entry.pool;
    let mut frame = SmallFrame::default();
    let slots = { &mut frame.0[..] }.get_mut(..pool.layout.slots());
    let slots = slots.unwrap_or_default();
    for (slot, source) in slots.iter_mut().zip(pool.sources.iter().flatten()) {
        // SAFETY: C has called the closure with arguments of the pool's function type.
        *slot = unsafe { saved.slot(source) };
    }
    entry.run(slots);
    let result = slots.get(pool.layout.result()).copied();
    pool.returns.extend(result.unwrap_or_default())
}

/// Copies the arguments into the frame.
///
/// # Safety
///
/// `arguments` points to one address for each parameter of the pool, each valid for reads of the
/// parameter's value.
unsafe fn read(pool: &ClosurePool, arguments: *mut *mut c_void, frame: &mut [u64]) {
    for (index, value) in pool.parameters.iter().enumerate() {
        // SAFETY: the caller guarantees one address for each parameter, and `index` is less than their number.
        let argument = unsafe { arguments.add(index) };
        // SAFETY: the caller guarantees that the array's elements can be read.
        let argument = unsafe { argument.read() };
        let Some(slots) = frame.get_mut(pool.layout.parameter(index)..) else {
            continue;
        };
        if let ([slot, ..], true) = (&mut *slots, value.size == size_of::<u64>()) {
            // SAFETY: the caller guarantees that `argument` is valid for reads of `size` bytes.
            *slot = unsafe { argument.cast::<u64>().read_unaligned() };
            continue;
        }
        // SAFETY: the caller guarantees that `argument` is valid for reads of `size` bytes, and the layout
        // has slots for as many at the parameter's offset.
        unsafe { ptr::copy_nonoverlapping(argument.cast(), bytes(slots), value.size) };
        if let Some(slot) = slots.first_mut() {
            *slot = value.extend(*slot);
        }
    }
}

/// Copies the result out of the frame.
///
/// # Safety
///
/// `result` is valid for writes of the result's size, and of an [`ffi_arg`]'s if it is an integer.
unsafe fn write(pool: &ClosurePool, frame: &mut [u64], result: *mut c_void) {
    let returns = &pool.returns;
    let Some(slots) = frame.get_mut(pool.layout.result()..) else {
        return;
    };
    let size = if let (Kind::Integer { .. }, Some(slot)) = (&returns.kind, slots.first_mut()) {
        *slot = returns.extend(*slot);
        returns.size.max(size_of::<ffi_arg>())
    } else {
        returns.size
    };
    // SAFETY: the caller guarantees that `result` is valid for writes of `size` bytes, and the layout has
    // slots for as many: an `ffi_arg` is no larger than a slot.
    unsafe { ptr::copy_nonoverlapping(bytes(slots), result.cast(), size) };
}

fn bytes(slots: &mut [u64]) -> *mut u8 {
    slots.as_mut_ptr().cast()
}
