//! Handles: pointers that C returned.

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
use crate::library::Library;
use crate::prototype::Ownership;

/// A typed pointer to an object of a C library.
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
/// A clone is the same handle. The library of the function that returned it stays loaded while the
/// handle lives. A destructor is called once: when the handle is closed, or when the last clone is
/// dropped. If a handle is used by several threads, the functions that take it must be safe to call
/// from several threads, and so must its destructor.
///
/// # Ownership
///
/// A handle that is given to a function which is its destructor, or to a parameter with the attribute
/// `ownership_takes` ([`Ownership`]), is closed by that call: C owns the object then. Such a call is
/// refused while another call uses the handle.
///
/// A pointer may lead into the arguments of the call that returned it. So its handle keeps alive the
/// texts, the buffers of [`Array`](crate::array::Array)s, and other handles, whose destructors are
/// called only after its own unless they are closed. Slices and other references are only borrowed: a
/// handle to memory in one of them is refused by [`Function::call`], and accepted by
/// [`call_unchecked`](Function::call_unchecked) alone. A handle to memory of a read-only argument, or
/// from a pointer to `const`, is refused for parameters that the function may write.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    target: Arc<str>,
    /// Keeps the library loaded.
    origin: Origin,
    is_read_only: bool,
    /// Whether the memory is part of an argument that the handle does not keep alive.
    is_borrowed: bool,
    /// The pointer; `None` once the handle is closed.
    open: Mutex<Option<Arc<Open>>>,
    /// The arguments that the pointer may lead into. They outlive `open`, because the destructor may
    /// use them.
    retained: Mutex<Vec<Retained>>,
}

/// A pointer that is valid until the last reference to it is dropped.
struct Open {
    target: Arc<str>,
    origin: Origin,
    address: Address,
    /// The destructor; `None` once it has been called, or once C owns the object.
    destructor: Mutex<Option<Destructor>>,
}

/// The source of a pointer, which keeps its library loaded.
#[derive(Clone)]
enum Origin {
    /// The function that returned it.
    Function(Function),
    /// The library that it was obtained from in another way.
    Library(Library),
}

/// The code that destroys the object of a handle.
#[derive(Clone)]
enum Destructor {
    Function(Function),
    Closure(Arc<dyn Fn(&Handle) + Send + Sync>),
}

/// The arguments of a call that its result may lead into, and that the handle of the result keeps
/// alive: see [`Handle`].
#[derive(Clone, Default)]
pub struct KeepAlive(Vec<Retained>);

#[derive(Clone)]
enum Retained {
    Handle(Handle),
    Memory(Arc<Memory>),
}

struct Memory {
    bytes: Range<usize>,
    is_writeable: bool,
    owner: Owner,
}

/// The owner of memory that a pointer may lead into.
pub(super) enum Owner {
    Text(#[expect(dead_code, reason = "it is kept, and dropped")] Box<[u8]>),
    Buffer(#[expect(dead_code, reason = "it is kept, and dropped")] Buffer),
    List(#[expect(dead_code, reason = "it is kept, and dropped")] Box<[usize]>),
    /// An object that the caller keeps alive as long as the handle.
    Elsewhere,
    /// A borrow that ends with the call.
    Borrow,
}

/// The pointer of a handle during a call. It stays valid until this is dropped: if the handle is closed
/// before, its destructor runs then.
pub struct InUse {
    open: Arc<Open>,
    /// The owner of the object after the call; [`Ownership::Kept`] once it has been handed over.
    ownership: Ownership,
    position: usize,
    /// If C owns the object after the call, the handles to the same object that this one was made from.
    others: Vec<InUse>,
    /// The handle. It is dropped last, because it keeps alive what the destructor may use.
    handle: Handle,
}

impl InUse {
    /// Returns the pointer.
    #[must_use]
    pub fn address(&self) -> NonNull<c_void> {
        self.open.address.0
    }

    /// Returns the value of the handle for the check of a call.
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
    /// Makes a handle of a pointer that a function returned, or wrote into an array of pointers. It
    /// keeps `retained` alive: the arguments that the pointer may lead into.
    ///
    /// # Safety
    ///
    /// The conditions of [`new`](Self::new) hold for the pointer's target, as long as `retained` lives.
    #[must_use]
    pub unsafe fn returned(
        origin: &Function,
        pointer: &Pointer,
        address: NonNull<c_void>,
        retained: KeepAlive,
    ) -> Self {
        let (is_read_only, is_borrowed) = retained.access(address);
        let origin = Origin::Function(origin.clone());
        Self::of(
            Open::new(origin, &target_name(&pointer.target).into(), address),
            (pointer.is_const || is_read_only, is_borrowed),
            retained.0,
        )
    }

    /// Makes a handle of an address that was obtained in another way than from a function of mapcall, such
    /// as from a struct, a variable, or other code. It keeps `library` loaded, and `retained` alive.
    ///
    /// ```
    /// use std::ptr::NonNull;
    /// use mapcall::function::KeepAlive;
    /// use mapcall::{Arg, CType, Handle, Library, Prototype};
    ///
    /// let process = Library::process()?;
    /// // SAFETY: this is the prototype of `strlen`.
    /// let strlen = unsafe { process.function("size_t strlen(const char *s)")? };
    /// let mut text = *b"text\0";
    /// let address = NonNull::from(&mut text).cast();
    /// // SAFETY: the address is that of a text, which is alive as long as the handle is used.
    /// let handle = unsafe { Handle::from_address(&process, "char", address, true, KeepAlive::default()) };
    /// assert!(handle.is_read_only() && handle.origin().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Safety
    ///
    /// The conditions of [`new`](Self::new) hold for the address, as long as `retained` lives; its memory is
    /// written only if `is_read_only` is false.
    #[must_use]
    pub unsafe fn from_address(
        library: &Library,
        target: &str,
        address: NonNull<c_void>,
        is_read_only: bool,
        retained: KeepAlive,
    ) -> Self {
        let (is_kept_read_only, is_borrowed) = retained.access(address);
        let open = Open::new(Origin::Library(library.clone()), &target.into(), address);
        let is_read_only = is_read_only || is_kept_read_only;
        Self::of(open, (is_read_only, is_borrowed), retained.0)
    }

    /// Makes a handle of a pointer that was obtained from the library of `origin` in another way, such
    /// as through an array of pointers.
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
    /// // SAFETY: no function is called with it, because the text that it points into has been freed.
    /// let end = unsafe { Handle::new(&strtol, "char", end) };
    /// assert_eq!((end.target(), end.origin()), ("char", Some(&strtol)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Safety
    ///
    /// Until the handle is closed, the pointer is a valid argument for all functions that take a
    /// pointer to `target`, for the destructor as well, and its memory is writeable if they write it.
    #[must_use]
    pub unsafe fn new(origin: &Function, target: &str, address: NonNull<c_void>) -> Self {
        let open = Open::new(Origin::Function(origin.clone()), &target.into(), address);
        Self::of(open, (false, false), Vec::new())
    }

    fn of(open: Open, (is_read_only, is_borrowed): (bool, bool), retained: Vec<Retained>) -> Self {
        Self(Arc::new(Inner {
            target: Arc::clone(&open.target),
            origin: open.origin.clone(),
            is_read_only,
            is_borrowed,
            open: Mutex::new(Some(Arc::new(open))),
            retained: Mutex::new(retained),
        }))
    }

    /// Returns a new handle to the object with a destructor: a function that is called once with the
    /// pointer, when the new handle is closed or dropped. This handle and its clones are closed.
    ///
    /// See [`Handle`] for an example.
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`] if the function does not take exactly one such handle, or if the handle
    /// leads to memory that was only borrowed.
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
        Ok(self.owning(Destructor::Function(destructor.clone())))
    }

    /// Returns a new handle to the object with a closure as its destructor, which is called once with a
    /// handle to the object when the new handle is closed or dropped. This handle and its clones are
    /// closed.
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
    /// let memory = memory.with_destructor_closure(move |memory| {
    ///     free.call(&mut [memory.into()]).unwrap();
    /// });
    /// drop(memory);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// So a destructor can take a context, or call several functions. The handle that it is given is
    /// closed when it returns. It runs on the thread that drops the last clone, or that ends the last call
    /// which uses the handle; it must not panic.
    #[must_use]
    pub fn with_destructor_closure(
        &self,
        destructor: impl Fn(&Self) + Send + Sync + 'static,
    ) -> Self {
        self.owning(Destructor::Closure(Arc::new(destructor)))
    }

    fn owning(&self, destructor: Destructor) -> Self {
        let open = self.0.open().take();
        if let Some(open) = &open {
            *open.destructor() = Some(destructor);
        }
        Self(Arc::new(Inner {
            target: Arc::clone(&self.0.target),
            origin: self.0.origin.clone(),
            is_read_only: self.0.is_read_only,
            is_borrowed: false,
            open: Mutex::new(open),
            retained: Mutex::new(self.0.retained().clone()),
        }))
    }

    /// Returns the name of the type that it points to: the tag of a struct without its keyword, or a C
    /// type.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.0.target
    }

    /// Returns the function that returned the pointer; `None` if it was obtained in another way.
    #[must_use]
    pub fn origin(&self) -> Option<&Function> {
        match &self.0.origin {
            Origin::Function(function) => Some(function),
            Origin::Library(_) => None,
        }
    }

    /// Returns the library that the pointer was obtained from.
    #[must_use]
    pub fn library(&self) -> &Library {
        match &self.0.origin {
            Origin::Function(function) => function.library(),
            Origin::Library(library) => library,
        }
    }

    /// Returns whether C may only read the memory: the pointer is one to `const`, or leads into a
    /// read-only argument.
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

    /// Returns whether it leads into an argument that the call only borrowed.
    pub(super) fn is_borrowed(&self) -> bool {
        self.0.is_borrowed
    }

    /// Returns the pointer; `None` once the handle is closed.
    #[must_use]
    pub fn address(&self) -> Option<NonNull<c_void>> {
        self.0.open().as_ref().map(|open| open.address.0)
    }

    /// Returns the pointer, which stays valid until the returned object is dropped; `None` once the
    /// handle is closed.
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

    /// Returns the pointer for a call, as the argument of a parameter. Whether the parameter takes it
    /// is decided by the check of its [`value`](InUse::value).
    ///
    /// If C owns the object after the call, [`Function::hand_over`] is called before it; until then no
    /// other call gets the pointer.
    ///
    /// # Errors
    ///
    /// [`Problem::Closed`] if the handle is closed; [`Problem::InUse`] if C would own the object while
    /// another call uses the handle.
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
                || originals(&self.0.retained(), address)
                    .any(|handle| handle.is_destroyed_by(function))
        };
        let ownership = match rule {
            Some(_) if is_destroyed() => Ownership::Taken,
            Some(rule) => rule.ownership,
            None => Ownership::Kept,
        };
        let mut in_use = self.lent(ownership, position)?;
        if ownership != Ownership::Kept {
            in_use.others = originals(&self.0.retained(), address)
                .map(|handle| handle.lent(ownership, position))
                .collect::<Result<_, _>>()?;
        }
        Ok(in_use)
    }

    fn is_destroyed_by(&self, function: &Function) -> bool {
        let open = self.0.open();
        let destructor = open.as_ref().map(|open| open.destructor());
        destructor.is_some_and(|destructor| {
            matches!(
                &*destructor,
                Some(Destructor::Function(destructor)) if destructor.address() == function.address()
            )
        })
    }

    /// Returns whether nothing else uses the pointer: no call, and no array on its memory.
    #[doc(hidden)]
    #[must_use]
    pub fn is_alone(&self) -> bool {
        let open = self.0.open();
        open.as_ref()
            .is_none_or(|open| Arc::strong_count(open) == 1)
    }

    /// Returns the pointer for a call. If C owns the object after the call, the handle is empty
    /// meanwhile, so that no other call can use it.
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

    /// Returns whether it has been closed, released or handed over to C, or its pointer moved to a
    /// handle with a destructor.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.address().is_none()
    }

    /// Closes the handle. Calls `destroy` with its destructor if that is a function and no call uses the
    /// handle; otherwise the last of these calls runs the destructor when it ends.
    pub(super) fn close_by<R>(&self, destroy: impl FnOnce(&Function, Self) -> R) -> Option<R> {
        let open = self.0.open().take();
        open.and_then(Arc::into_inner)?.end(destroy)
    }

    /// Closes the handle without calling the destructor, because C owns the object. Returns the
    /// pointer; `None` if the handle was closed.
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

    /// Returns whether closing it calls a destructor.
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

    fn retained(&self) -> MutexGuard<'_, Vec<Retained>> {
        self.retained.lock()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The destructor may use `retained`.
        let open = self.open().take();
        drop(open);
        // Without recursion: a chain of handles may be longer than the stack is deep.
        let mut retained = mem::take(&mut *self.retained());
        while let Some(next) = retained.pop() {
            if let Retained::Handle(handle) = next
                && let Some(inner) = Arc::into_inner(handle.0)
            {
                let open = inner.open().take();
                drop(open);
                retained.append(&mut inner.retained());
            }
        }
    }
}

impl Open {
    fn new(origin: Origin, target: &Arc<str>, address: NonNull<c_void>) -> Self {
        Self {
            target: Arc::clone(target),
            origin,
            address: Address(address),
            destructor: Mutex::default(),
        }
    }

    fn destructor(&self) -> MutexGuard<'_, Option<Destructor>> {
        self.destructor.lock()
    }

    /// Destroys the object: calls `destroy` with its destructor if that is a function, or its closure.
    fn end<R>(&self, destroy: impl FnOnce(&Function, Handle) -> R) -> Option<R> {
        let destructor = self.destructor().take()?;
        let open = Self::new(self.origin.clone(), &self.target, self.address.0);
        let last = Handle::of(open, (false, false), Vec::new());
        match destructor {
            Destructor::Function(destructor) => Some(destroy(&destructor, last)),
            Destructor::Closure(destructor) => {
                destructor(&last);
                last.release();
                None
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // The error of a destructor is lost here; `Handle::close` returns it.
        let _ = self.end(Function::destroy);
    }
}

impl KeepAlive {
    /// Adds a handle that was an argument of the call.
    ///
    /// A handle with a destructor stays open unless it is closed explicitly. Of a handle without one,
    /// only the objects are added that it keeps alive itself.
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
            for object in &*handle.0.retained() {
                match object {
                    Retained::Handle(handle) if !owns => pending.push(handle.clone()),
                    Retained::Handle(_) => {}
                    Retained::Memory(memory) => self.push(Retained::Memory(Arc::clone(memory))),
                }
            }
            if owns {
                self.push(Retained::Handle(handle));
            }
        }
    }

    /// Adds read-only memory that the caller keeps alive as long as the pointer is used.
    pub fn read_only(&mut self, bytes: Range<usize>) {
        self.memory(bytes, false, Owner::Elsewhere);
    }

    /// Returns whether the memory at an address may only be read, and whether it is borrowed.
    fn access(&self, address: NonNull<c_void>) -> (bool, bool) {
        let lies_in = |test: fn(&Memory) -> bool| {
            self.0.iter().any(|object| match object {
                Retained::Memory(memory) => {
                    memory.bytes.contains(&address.addr().get()) && test(memory)
                }
                Retained::Handle(_) => false,
            })
        };
        let is_borrowed = lies_in(|memory| matches!(memory.owner, Owner::Borrow));
        (lies_in(|memory| !memory.is_writeable), is_borrowed)
    }

    pub(super) fn memory(&mut self, bytes: Range<usize>, is_writeable: bool, owner: Owner) {
        self.push(Retained::Memory(Arc::new(Memory {
            bytes,
            is_writeable,
            owner,
        })));
    }

    fn push(&mut self, new: Retained) {
        let is_known = self.0.iter().any(|known| match (known, &new) {
            (Retained::Handle(one), Retained::Handle(other)) => Arc::ptr_eq(&one.0, &other.0),
            (Retained::Memory(one), Retained::Memory(other)) => {
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
    /// Replaces closed handles by the objects that they keep alive, so that a chain of handles, each
    /// made from the one before, does not grow without bound.
    fn forget_closed(&self) {
        let retained = self.0.retained().clone();
        let is_closed =
            |object: &Retained| matches!(object, Retained::Handle(handle) if handle.is_closed());
        if !retained.iter().any(is_closed) {
            return;
        }
        let mut rest = KeepAlive::default();
        for object in retained {
            match &object {
                Retained::Handle(handle) => rest.add(handle),
                Retained::Memory(_) => rest.push(object),
            }
        }
        let old = mem::replace(&mut *self.0.retained(), rest.0);
        // Dropped without the lock, because a destructor may run.
        drop(old);
    }
}

impl Function {
    /// Returns whether it can be the destructor of handles to a target: its only parameter takes one.
    #[must_use]
    pub fn destroys(&self, target: &str) -> bool {
        matches!(self.contract().rules(), [Rule::Pointer(pointer)] if pointer.takes(target))
    }

    /// Closes the handles whose objects C owns after a call, immediately before it; of a batch if
    /// `broadcast` is given.
    ///
    /// # Errors
    ///
    /// [`ArgumentError`] if a batch has several calls or a mask.
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

/// Returns the handles among the retained objects that have a given address.
fn originals(retained: &[Retained], address: NonNull<c_void>) -> impl Iterator<Item = &Handle> {
    let handles = retained.iter().filter_map(|object| match object {
        Retained::Handle(handle) => Some(handle),
        Retained::Memory(_) => None,
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
