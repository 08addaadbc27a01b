//! Pointers that C returned.

use std::ffi::c_void;
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use mapcall_array::fork::{Mutex, MutexGuard};

use super::{Address, Arg, CallError, Function, Value};
use crate::contract::{Problem, Rule, target_name};
use crate::ctype::CType;

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
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    target: Arc<str>,
    /// Keeps the library loaded.
    origin: Function,
    /// Empty once closed.
    open: Mutex<Option<Arc<Open>>>,
}

/// A pointer that is good until the last of its users lets it go.
struct Open {
    target: Arc<str>,
    origin: Function,
    address: Address,
    /// Taken when it runs, and when another takes its place.
    destructor: Mutex<Option<Function>>,
}

/// A handle's pointer in use by a call: it stays good until this is dropped, whoever closes the handle
/// meanwhile; the destructor waits.
pub struct InUse(Arc<Open>);

impl InUse {
    /// The pointer.
    #[must_use]
    pub fn address(&self) -> NonNull<c_void> {
        self.0.address.0
    }
}

impl Handle {
    /// The pointer that a function returned; `None` for NULL.
    pub(crate) fn returned(origin: &Function, target: &CType, word: u64) -> Option<Self> {
        let address = usize::try_from(word).ok()?;
        let address = NonNull::new(ptr::with_exposed_provenance_mut(address))?;
        Some(Self::open(origin, &target_name(target), address))
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
    /// it is given: until it is closed it must be what they take.
    #[must_use]
    pub unsafe fn new(origin: &Function, target: &str, address: NonNull<c_void>) -> Self {
        Self::open(origin, target, address)
    }

    fn open(origin: &Function, target: &str, address: NonNull<c_void>) -> Self {
        Self::with(origin, &target.into(), Address(address), None)
    }

    fn with(
        origin: &Function,
        target: &Arc<str>,
        address: Address,
        destructor: Option<Function>,
    ) -> Self {
        let open = Open {
            target: Arc::clone(target),
            origin: origin.clone(),
            address,
            destructor: Mutex::new(destructor),
        };
        Self(Arc::new(Inner {
            target: Arc::clone(target),
            origin: origin.clone(),
            open: Mutex::new(Some(Arc::new(open))),
        }))
    }

    /// The same pointer with a function that is called on it once, at the end of its life; this
    /// handle and its clones are closed then.
    ///
    /// See [`Handle`] for an example.
    ///
    /// # Errors
    ///
    /// [`CallError::Argument`] when the function doesn't take such a handle, and nothing else.
    pub fn with_destructor(&self, destructor: &Function) -> Result<Self, CallError> {
        if !destructor.destroys(self.target()) {
            let found = self.target().to_owned();
            let contract = destructor.contract();
            return Err(contract.refuse(0, Problem::Handle { found }).into());
        }
        let open = self.0.open().take();
        let closed = Self(Arc::new(Inner {
            target: Arc::clone(&self.0.target),
            origin: self.0.origin.clone(),
            open: Mutex::new(None),
        }));
        Ok(open.map_or(closed, |open| {
            open.destructor().take();
            let destructor = Some(destructor.clone());
            Self::with(&self.0.origin, &self.0.target, open.address, destructor)
        }))
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

    /// The pointer; `None` once closed.
    #[must_use]
    pub fn address(&self) -> Option<NonNull<c_void>> {
        self.0.open().as_ref().map(|open| open.address.0)
    }

    /// The pointer for a call; `None` once closed.
    #[must_use]
    pub fn in_use(&self) -> Option<InUse> {
        self.0.open().clone().map(InUse)
    }

    /// Whether it has been closed, or its destructor been moved to another handle.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.address().is_none()
    }

    /// Ends its life: runs the destructor, if there is one, and gives what that returned.
    ///
    /// Closing a closed handle does nothing. While a call in another thread uses the handle, the
    /// destructor waits for the end of that call, and `close` for nothing.
    ///
    /// # Errors
    ///
    /// [`CallError`] when the destructor says that it failed; the handle is closed all the same.
    pub fn close(&self) -> Result<Option<Value>, CallError> {
        let open = self.0.open().take();
        // Whoever still uses it runs the destructor.
        match open.and_then(Arc::into_inner) {
            Some(open) => open.end(),
            None => Ok(None),
        }
    }
}

impl Inner {
    fn open(&self) -> MutexGuard<'_, Option<Arc<Open>>> {
        self.open.lock()
    }
}

impl Open {
    fn destructor(&self) -> MutexGuard<'_, Option<Function>> {
        self.destructor.lock()
    }

    fn end(&self) -> Result<Option<Value>, CallError> {
        let destructor = self.destructor().take();
        let Some(destructor) = destructor else {
            return Ok(None);
        };
        let last = Handle::with(&self.origin, &self.target, self.address, None);
        destructor.call(&mut [Arg::Handle(last)]).map(Some)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; close before to know.
        let _ = self.end();
    }
}

impl Function {
    /// Whether it can be the destructor of handles to that target: it takes one, and nothing else.
    #[must_use]
    pub fn destroys(&self, target: &str) -> bool {
        matches!(self.contract().rules(), [Rule::Pointer(pointer)] if pointer.takes(target))
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(address) => write!(f, "Handle({} at {address:p})", self.target()),
            None => write!(f, "Handle({}, closed)", self.target()),
        }
    }
}
