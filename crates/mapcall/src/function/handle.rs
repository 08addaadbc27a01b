//! Pointers that C returned.

use std::collections::HashSet;
use std::ffi::c_void;
use std::fmt;
use std::mem;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use mapcall_array::Buffer;
use mapcall_array::fork::{Mutex, MutexGuard};

use super::{Address, CallError, Function};
use crate::contract::{
    ArgumentError, BroadcastPlan, HandleValue, HostValue, Problem, Role, Rule, target_name,
};
use crate::ctype::Pointer;
use crate::prototype::Ownership;

/// A typed pointer to what only its library understands.
///
/// ```
/// use mapcall::{Handle, Library};
///
/// let process = Library::process()?;
/// // SAFETY: these are the prototypes of the C library.
/// let (tmpfile, fclose) = unsafe {
///     (
///         process.function("typedef struct file FILE; FILE *tmpfile(void)")?,
///         process.function("typedef struct file FILE; int fclose(FILE *stream)")?,
///     )
/// };
/// let file = tmpfile.call(&mut [])?.into_handle().unwrap();
/// let file = file.with_destructor(&fclose)?;
/// assert_eq!((file.target(), file.is_closed()), ("file", false));
/// assert_eq!(file.close()?.unwrap().to_i128(), Some(0));
/// assert!(file.is_closed() && fclose.call(&mut [(&file).into()]).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A clone is the same handle. What made it stays loaded while it lives. A handle with a destructor
/// runs that once: when it is closed, or when the last clone is dropped. The functions that take it
/// must bear being called from several threads, its destructor as well, where it is closed in one
/// while another uses it.
///
/// # Ownership
///
/// A handle that is given to a function which is its destructor, or to a parameter with the attribute
/// `ownership_takes` ([`Ownership`]), is closed by that call: the object is C's. While another call
/// uses the handle, that is refused.
///
/// A pointer may lead into the arguments of the call that returned it, so that its handle keeps
/// them: texts, the buffers of [`Array`](crate::array::Array)s, and other handles, whose destructors
/// wait for it unless they are closed. Slices and the like are only borrowed: a handle to memory in one
/// of them is refused by [`Function::call`], and only
/// [`call_unchecked`](Function::call_unchecked) takes it. What lies in memory that was given to be read
/// only, or behind a pointer to `const`, is not passed where a function may write.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    target: Arc<str>,
    /// Keeps the library loaded.
    origin: Function,
    is_read_only: bool,
    /// Whether the memory is part of an argument that is not kept.
    is_borrowed: bool,
    /// Empty once closed.
    open: Mutex<Option<Arc<Open>>>,
    /// Outlives `open`, as the destructor may still use it.
    kept: Mutex<Vec<Kept>>,
}

/// A pointer that is good until the last of its users lets it go.
struct Open {
    target: Arc<str>,
    origin: Function,
    address: Address,
    /// Taken when it runs, and when C owns the object.
    destructor: Mutex<Option<Function>>,
}

/// The arguments of a call that a pointer which it returns may lead into.
///
/// Its handle keeps them alive: see [`Handle`].
#[derive(Clone, Default)]
pub struct KeepAlive(Vec<Kept>);

#[derive(Clone)]
enum Kept {
    Handle(Handle),
    Memory(Arc<Memory>),
}

struct Memory {
    bytes: Range<usize>,
    is_writeable: bool,
    owner: Owner,
}

/// What keeps memory alive.
pub(super) enum Owner {
    Text(#[expect(dead_code, reason = "it is kept, and dropped")] Box<[u8]>),
    Buffer(#[expect(dead_code, reason = "it is kept, and dropped")] Buffer),
    /// Something beyond the handle's reach, for as long as it lives.
    Elsewhere,
    /// Nothing behind the call.
    Borrow,
}

/// The pointer of a handle that a call uses. It stays valid until this is dropped: if the handle is closed
/// before, its destructor runs then.
pub struct InUse {
    open: Arc<Open>,
    /// Who owns the object after the call; [`Ownership::Kept`] once it has been handed over.
    ownership: Ownership,
    position: usize,
    /// The handles that this one was made from, to the same object, if C owns it after the call.
    others: Vec<InUse>,
    /// Is dropped last: it keeps what the destructor may use.
    handle: Handle,
}

impl InUse {
    /// The pointer.
    #[must_use]
    pub fn address(&self) -> NonNull<c_void> {
        self.open.address.0
    }

    /// Describes the handle as an argument.
    #[must_use]
    pub fn value(&self) -> HostValue<'_> {
        HostValue::Handle(HandleValue {
            address: self.address().as_ptr(),
            target: &self.open.target,
            is_read_only: self.handle.is_read_only(),
            is_borrowed: self.handle.is_borrowed(),
            ownership: self.ownership,
        })
    }

    fn hand_over(&mut self) {
        if self.ownership != Ownership::Kept {
            self.open.destructor().take();
        }
        self.ownership = Ownership::Kept;
        self.others.iter_mut().for_each(Self::hand_over);
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if self.ownership == Ownership::Taken {
            // The call was refused, and C has not seen the pointer.
            *self.handle.0.open() = Some(Arc::clone(&self.open));
        }
    }
}

impl Handle {
    /// A pointer that a function returned, or wrote into an array of pointers, and what it may lead
    /// into.
    ///
    /// # Safety
    ///
    /// That of [`new`](Self::new) for the pointer's target, as long as what is kept lives.
    #[must_use]
    pub unsafe fn returned(
        origin: &Function,
        pointer: &Pointer,
        address: NonNull<c_void>,
        kept: KeepAlive,
    ) -> Self {
        let lies_in = |test: fn(&Memory) -> bool| {
            kept.0.iter().any(|kept| match kept {
                Kept::Memory(memory) => {
                    memory.bytes.contains(&address.addr().get()) && test(memory)
                }
                Kept::Handle(_) => false,
            })
        };
        let is_borrowed = lies_in(|memory| matches!(memory.owner, Owner::Borrow));
        let is_read_only = pointer.is_const || lies_in(|memory| !memory.is_writeable);
        let open = Open::new(origin, &target_name(&pointer.target).into(), address);
        Self(Arc::new(Inner {
            target: Arc::clone(&open.target),
            origin: origin.clone(),
            is_read_only,
            is_borrowed,
            open: Mutex::new(Some(Arc::new(open))),
            kept: Mutex::new(kept.0),
        }))
    }

    /// A pointer that came out of `origin` in some other way, such as through an array of pointers.
    ///
    /// ```
    /// use std::ffi::c_void;
    /// use std::ptr::NonNull;
    /// use mapcall::{Arg, Handle, Library};
    ///
    /// let process = Library::process()?;
    /// // SAFETY: these are types of `strtol`, which doesn't write to the text.
    /// let strtol = unsafe {
    ///     process.function("long strtol(const char *text, const char *end[1], int base)")?
    /// };
    /// let mut arguments = [Arg::from("12 apples"), Arg::Out, 10.into()];
    /// strtol.call(&mut arguments)?;
    /// let end = arguments[1].array().unwrap().view::<u64>()?[[0]];
    /// let end = std::ptr::with_exposed_provenance_mut::<c_void>(usize::try_from(end)?);
    /// let end = NonNull::new(end).unwrap();
    /// // SAFETY: nothing is called with it; the text that it points into has gone.
    /// let end = unsafe { Handle::new(&strtol, "char", end) };
    /// assert_eq!((end.target(), end.origin()), ("char", &strtol));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Safety
    ///
    /// Functions that take a pointer to `target` are called with it, and so is a destructor that
    /// it is given: until it is closed it must be what they take, and be writeable if they write.
    #[must_use]
    pub unsafe fn new(origin: &Function, target: &str, address: NonNull<c_void>) -> Self {
        Self::of(Open::new(origin, &target.into(), address))
    }

    fn of(open: Open) -> Self {
        Self(Arc::new(Inner {
            target: Arc::clone(&open.target),
            origin: open.origin.clone(),
            is_read_only: false,
            is_borrowed: false,
            open: Mutex::new(Some(Arc::new(open))),
            kept: Mutex::default(),
        }))
    }

    /// The same pointer with a function that is called on it once, at the end of its life; this
    /// handle and its clones are closed then.
    ///
    /// See [`Handle`] for an example.
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`] when the function doesn't take such a handle, and nothing else; and for
    /// a handle to memory that was only borrowed.
    pub fn with_destructor(&self, destructor: &Function) -> Result<Self, CallError> {
        let contract = destructor.contract();
        let found = || self.target().to_owned();
        if !destructor.destroys(self.target()) {
            let found = found();
            return Err(contract.refuse(0, Problem::Handle { found }).into());
        }
        if self.is_borrowed() {
            let found = found();
            return Err(contract.refuse(0, Problem::Borrowed { found }).into());
        }
        let open = self.0.open().take();
        if let Some(open) = &open {
            *open.destructor() = Some(destructor.clone());
        }
        Ok(Self(Arc::new(Inner {
            target: Arc::clone(&self.0.target),
            origin: self.0.origin.clone(),
            is_read_only: self.0.is_read_only,
            is_borrowed: false,
            open: Mutex::new(open),
            kept: Mutex::new(self.0.kept().clone()),
        })))
    }

    /// What it points to: the tag of a struct without its keyword, or a C type.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.0.target
    }

    /// The function that it came from.
    #[must_use]
    pub fn origin(&self) -> &Function {
        &self.0.origin
    }

    /// Whether C may only read the memory, as the pointer is one to `const`, or leads into an argument
    /// that was given to be read.
    ///
    /// ```
    /// use mapcall::{Arg, Library};
    ///
    /// let process = Library::process()?;
    /// // SAFETY: these are the prototypes of the C library.
    /// let (strchr, memset) = unsafe {
    ///     (
    ///         process.function("char *strchr(const char *s, int c)")?,
    ///         process.function("void *memset(char *s, int c, size_t n)")?,
    ///     )
    /// };
    /// let value = strchr.call(&mut ["key=value".into(), b'='.into()])?;
    /// let value = value.into_handle().unwrap();
    /// assert!(value.is_read_only());
    /// assert!(memset.call(&mut [Arg::from(&value), 0.into(), 1.into()]).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.0.is_read_only
    }

    /// Whether it leads into an argument that its call only borrowed.
    pub(super) fn is_borrowed(&self) -> bool {
        self.0.is_borrowed
    }

    /// The pointer; `None` once closed.
    #[must_use]
    pub fn address(&self) -> Option<NonNull<c_void>> {
        self.0.open().as_ref().map(|open| open.address.0)
    }

    /// The pointer, which stays valid until the returned object is dropped; `None` once closed.
    #[doc(hidden)]
    #[must_use]
    pub fn in_use(&self) -> Option<InUse> {
        let open = self.0.open().clone()?;
        Some(self.used(open, Ownership::Kept, 0))
    }

    fn used(&self, open: Arc<Open>, ownership: Ownership, position: usize) -> InUse {
        InUse {
            open,
            ownership,
            position,
            others: Vec::new(),
            handle: self.clone(),
        }
    }

    /// The pointer for a call, as the argument of a parameter. Whether the parameter takes it is decided
    /// by the check of its [`value`](InUse::value).
    ///
    /// If C owns the object after the call, [`Function::hand_over`] is called before it; until then no
    /// other call gets the pointer.
    ///
    /// # Errors
    ///
    /// [`Problem::Closed`], and [`Problem::InUse`] for a handle that another call uses and that C would
    /// own.
    #[doc(hidden)]
    pub fn lend(&self, function: &Function, position: usize) -> Result<InUse, Problem> {
        let Some(address) = self.address() else {
            let found = self.target().to_owned();
            return Err(Problem::Closed { found });
        };
        let rule = match function.contract().rules().get(position) {
            Some(Rule::Pointer(rule)) if rule.takes(self.target()) => Some(rule),
            _ => None,
        };
        let is_destroyed = || {
            self.is_destroyed_by(function)
                || originals(&self.0.kept(), address).any(|handle| handle.is_destroyed_by(function))
        };
        let ownership = match rule {
            Some(_) if is_destroyed() => Ownership::Taken,
            Some(rule) => rule.ownership,
            None => Ownership::Kept,
        };
        let mut in_use = self.lent(ownership, position)?;
        if ownership != Ownership::Kept {
            in_use.others = originals(&self.0.kept(), address)
                .map(|handle| handle.lent(ownership, position))
                .collect::<Result<_, _>>()?;
        }
        Ok(in_use)
    }

    fn is_destroyed_by(&self, function: &Function) -> bool {
        let open = self.0.open();
        let destructor = open.as_ref().map(|open| open.destructor());
        destructor.is_some_and(|destructor| {
            let destructor = destructor.as_ref();
            destructor.is_some_and(|destructor| destructor.address() == function.address())
        })
    }

    /// Takes the pointer out if C will own the object, so that nothing else can use it meanwhile.
    fn lent(&self, ownership: Ownership, position: usize) -> Result<InUse, Problem> {
        let found = || self.target().to_owned();
        let mut slot = self.0.open();
        let Some(mut open) = slot.take() else {
            return Err(Problem::Closed { found: found() });
        };
        let is_alone = Arc::get_mut(&mut open).is_some();
        if ownership != Ownership::Taken || !is_alone {
            *slot = Some(Arc::clone(&open));
        }
        if ownership == Ownership::Taken && !is_alone {
            return Err(Problem::InUse { found: found() });
        }
        Ok(self.used(open, ownership, position))
    }

    /// Whether it has been closed, released, handed over to C, or its destructor been moved to another
    /// handle.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.address().is_none()
    }

    /// Closes the handle, with `destroy` to call its destructor if there is one and no call uses the
    /// handle: a call runs it when it ends.
    pub(super) fn close_by<R>(&self, destroy: impl FnOnce(&Function, Self) -> R) -> Option<R> {
        let open = self.0.open().take();
        open.and_then(Arc::into_inner)?.end(destroy)
    }

    /// Ends its life without running the destructor, as C owns the object. Returns the pointer; `None`
    /// if it was closed.
    ///
    /// ```
    /// use mapcall::Library;
    ///
    /// let process = Library::process()?;
    /// // SAFETY: these are the prototypes of the C library.
    /// let (malloc, free) = unsafe {
    ///     (process.function("void *malloc(size_t n)")?, process.function("void free(void *p)")?)
    /// };
    /// let memory = malloc.call(&mut [8.into()])?.into_handle().unwrap();
    /// let memory = memory.with_destructor(&free)?;
    /// let address = memory.release();
    /// assert!(address.is_some() && memory.is_closed() && memory.release().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[expect(
        clippy::must_use_candidate,
        reason = "most often C has the pointer already"
    )]
    pub fn release(&self) -> Option<NonNull<c_void>> {
        let open = self.0.open().take()?;
        open.destructor().take();
        Some(open.address.0)
    }

    /// Whether its end runs a destructor.
    fn owns(&self) -> bool {
        let open = self.0.open();
        open.as_ref()
            .is_some_and(|open| open.destructor().is_some())
    }
}

impl Inner {
    fn open(&self) -> MutexGuard<'_, Option<Arc<Open>>> {
        self.open.lock()
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A destructor may use what is kept.
        let open = self.open().take();
        drop(open);
        // One after the other: a chain of handles may be longer than the stack is deep.
        let mut kept = mem::take(&mut *self.kept());
        while let Some(next) = kept.pop() {
            if let Kept::Handle(handle) = next
                && let Some(inner) = Arc::into_inner(handle.0)
            {
                let open = inner.open().take();
                drop(open);
                kept.append(&mut inner.kept());
            }
        }
    }
}

impl Open {
    fn new(origin: &Function, target: &Arc<str>, address: NonNull<c_void>) -> Self {
        Self {
            target: Arc::clone(target),
            origin: origin.clone(),
            address: Address(address),
            destructor: Mutex::default(),
        }
    }

    fn destructor(&self) -> MutexGuard<'_, Option<Function>> {
        self.destructor.lock()
    }

    fn end<R>(&self, destroy: impl FnOnce(&Function, Handle) -> R) -> Option<R> {
        let destructor = self.destructor().take()?;
        let last = Handle::of(Self::new(&self.origin, &self.target, self.address.0));
        Some(destroy(&destructor, last))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // The error of a destructor is lost here; `Handle::close` returns it.
        let _ = self.end(Function::destroy);
    }
}

impl KeepAlive {
    /// Adds a handle that was given.
    ///
    /// One with a destructor is kept open, unless it is closed on purpose; of any other, only what it
    /// keeps itself.
    pub fn handle(&mut self, handle: &Handle) {
        handle.forget_closed();
        self.add(handle);
    }

    fn add(&mut self, handle: &Handle) {
        let mut seen = HashSet::new();
        let mut pending = vec![handle.clone()];
        while let Some(handle) = pending.pop() {
            if !seen.insert(Arc::as_ptr(&handle.0)) {
                continue;
            }
            let owns = handle.owns();
            for kept in &*handle.0.kept() {
                match kept {
                    Kept::Handle(handle) if !owns => pending.push(handle.clone()),
                    Kept::Handle(_) => {}
                    Kept::Memory(memory) => self.push(Kept::Memory(Arc::clone(memory))),
                }
            }
            if owns {
                self.push(Kept::Handle(handle));
            }
        }
    }

    /// Adds memory that is only read, and that something else keeps alive for as long as the pointer
    /// is used.
    pub fn read_only(&mut self, bytes: Range<usize>) {
        self.memory(bytes, false, Owner::Elsewhere);
    }

    pub(super) fn memory(&mut self, bytes: Range<usize>, is_writeable: bool, owner: Owner) {
        self.push(Kept::Memory(Arc::new(Memory {
            bytes,
            is_writeable,
            owner,
        })));
    }

    fn push(&mut self, new: Kept) {
        let is_known = self.0.iter().any(|known| match (known, &new) {
            (Kept::Handle(one), Kept::Handle(other)) => Arc::ptr_eq(&one.0, &other.0),
            (Kept::Memory(one), Kept::Memory(other)) => {
                one.bytes == other.bytes
                    && one.is_writeable == other.is_writeable
                    && mem::discriminant(&one.owner) == mem::discriminant(&other.owner)
            }
            _ => false,
        });
        if !is_known {
            self.0.push(new);
        }
    }
}

impl Handle {
    /// Puts what closed handles keep in their place, so that a chain of handles, each made from the
    /// one before, doesn't grow without end.
    fn forget_closed(&self) {
        let kept = self.0.kept().clone();
        let is_closed = |kept: &Kept| matches!(kept, Kept::Handle(handle) if handle.is_closed());
        if !kept.iter().any(is_closed) {
            return;
        }
        let mut rest = KeepAlive::default();
        for kept in kept {
            match &kept {
                Kept::Handle(handle) => rest.add(handle),
                Kept::Memory(_) => rest.push(kept),
            }
        }
        let old = mem::replace(&mut *self.0.kept(), rest.0);
        // Without the lock: a destructor may run.
        drop(old);
    }
}

impl Function {
    /// Whether it can be the destructor of handles to that target: it takes one, and nothing else.
    #[must_use]
    pub fn destroys(&self, target: &str) -> bool {
        matches!(self.contract().rules(), [Rule::Pointer(pointer)] if pointer.takes(target))
    }

    /// Closes the handles whose objects C owns after a call, immediately before it; of a batch if
    /// `broadcast` is given.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] for a batch of several calls, or of perhaps none.
    #[doc(hidden)]
    pub fn hand_over<'a>(
        &self,
        handles: impl Iterator<Item = &'a mut InUse>,
        broadcast: Option<&BroadcastPlan>,
    ) -> Result<(), Box<ArgumentError>> {
        let is_once =
            broadcast.is_none_or(|broadcast| broadcast.calls() == 1 && !broadcast.has(Role::Mask));
        for in_use in handles {
            if in_use.ownership != Ownership::Kept && !is_once {
                let contract = self.contract();
                return Err(contract.refuse(in_use.position, Problem::OwnedOnce));
            }
            in_use.hand_over();
        }
        Ok(())
    }
}

/// The handles to the same object that one was made from.
fn originals(kept: &[Kept], address: NonNull<c_void>) -> impl Iterator<Item = &Handle> {
    let handles = kept.iter().filter_map(|kept| match kept {
        Kept::Handle(handle) => Some(handle),
        Kept::Memory(_) => None,
    });
    handles.filter(move |handle| handle.address() == Some(address))
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => write!(f, "Handle({} at {address:p})", self.target()),
            None => write!(f, "Handle({}, closed)", self.target()),
        }
    }
}
