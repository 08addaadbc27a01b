//! `mapcall.Handle`: a typed pointer that C returned.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use mapcall::contract::{Number, Problem, target_name};
use mapcall::ctype::{CType, Pointer};
use mapcall::function::{InUse, KeepAlive};
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi::PyObject;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::activation::Invocation;
use super::kept::KeptObjects;
use super::scope::Scope;
use super::{activation, errors};
use crate::exit::is_ending;
use crate::mapped_array::panicked;

/// A value that may run C destructors when it is dropped, outside of any call of a function.
pub(super) struct Ending<T>(ManuallyDrop<T>);

impl<T> Ending<T> {
    pub(super) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T> Deref for Ending<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Ending<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        // SAFETY: `drop` runs once, and the value is not used after it.
        activation::destroying(|| unsafe { ManuallyDrop::drop(&mut self.0) });
    }
}

/// A typed pointer that a C function returned.
///
/// >>> import mapcall
/// >>> libc = mapcall.load(None)
/// >>> free = libc.function("void free(void *p)")
/// >>> malloc = libc.function("void *malloc(size_t size)", destructor=free)
/// >>> memory = malloc(24)
/// >>> memory.array(3, "i8")[:] = 1, 2, 3
/// >>> memory.close()      # or delete it, or use it in a `with` statement
/// >>> memory
/// <mapcall.Handle: void, closed>
///
/// It is an argument for parameters that are pointers to the same struct. A destructor runs once:
/// when the handle is closed, or when it is deleted. The library stays loaded while the handle exists.
///
/// The pointer may be one into the arguments of the call that returned it, so the handle keeps them
/// alive: arrays, texts, and other handles. Unless those are closed, their destructors run after its own.
///
/// Ownership
/// ---------
/// A call of the handle's own destructor closes the handle. The prototype of another function that
/// takes ownership of an argument has Clang's attribute, with the number of the parameter.
///
/// >>> realloc = libc.function(
/// ...     "void *realloc(void *p, size_t size) __attribute__((ownership_takes(malloc, 1)))",
/// ...     destructor=free)
/// >>> small = malloc(8)
/// >>> large = realloc(small, 4096)
/// >>> small.closed, large.closed
/// (True, False)
/// >>> free(large)
/// >>> large.closed
/// True
///
/// With ``ownership_holds``, C will destroy the object, and the handle can still be used. `release`
/// closes a handle without its destructor, if other code has taken ownership of the object.
#[pyclass(frozen, mapping, module = "mapcall", weakref)]
pub(crate) struct Handle(State);

enum State {
    Open(OpenPointer),
    /// A handle that a callback has received. Its `OpenPointer` is made when it is first needed: reading the
    /// value does not need it.
    Lent(Lent, OnceLock<OpenPointer>),
}

/// The pointer of a handle, and what it keeps alive.
pub(super) struct OpenPointer {
    pub(super) inner: Ending<mapcall::Handle>,
    pub(super) ctype: CType,
    /// The number of arrays on the memory.
    views: Arc<AtomicUsize>,
    /// The arguments, other than handles, that the pointer may be one into. They are dropped after
    /// `inner`, whose destructor may use them.
    pub(super) kept: Option<Py<PyTuple>>,
    /// What the pointers in the memory keep alive, if any has been assigned. It is dropped after `inner`, whose
    /// destructor may use them.
    pointers: OnceLock<Py<KeptObjects>>,
    /// The `Library`, which knows the structs that its prototypes define; `None` for a handle of a callback.
    pub(super) library: Option<Py<PyAny>>,
    /// Whether the handle has a destructor, so that the memory ends with it.
    is_owner: bool,
    /// The scope of the callback that has received the handle or made it.
    pub(super) scope: Option<Arc<Scope>>,
    /// The destructor if it is a callable, which `inner` calls.
    pub(super) callable: Option<Arc<Py<PyAny>>>,
}

/// A pointer that C passes to a callback, with what all pointers of the parameter have in common.
pub(super) struct Lent {
    parameter: Arc<LentParameter>,
    /// The pointer, which is not NULL.
    address: AtomicUsize,
    /// The callback, while it runs; null afterwards. Only attached threads access it.
    invocation: AtomicPtr<Invocation>,
}

/// See [`Lent`].
pub(super) struct LentParameter {
    library: mapcall::Library,
    pub(super) pointer: Arc<Pointer>,
    /// The number that the pointer leads to, if it leads to one that is no `long double`.
    pub(super) number: Option<Number>,
}

impl LentParameter {
    pub(super) fn new(library: &mapcall::Library, pointer: &Arc<Pointer>) -> Self {
        Self {
            library: library.clone(),
            number: Number::of(&pointer.target).filter(|number| !number.is_extended()),
            pointer: Arc::clone(pointer),
        }
    }
}

impl Lent {
    /// Returns the callback, if it is still running. The thread is attached.
    fn invocation(&self) -> Option<&Invocation> {
        // SAFETY: null, or a callback that has not returned: `Handle::end_loan` clears it before. Both are
        // done by attached threads, of which one runs at a time.
        unsafe { self.invocation.load(Ordering::Relaxed).as_ref() }
    }

    fn address(&self) -> Option<NonNull<c_void>> {
        NonNull::new(ptr::with_exposed_provenance_mut(
            self.address.load(Ordering::Relaxed),
        ))
    }

    /// Makes a handle of the core, which is closed if the callback has returned.
    fn open(&self) -> OpenPointer {
        let LentParameter {
            library, pointer, ..
        } = &*self.parameter;
        let address = self.address().unwrap_or(NonNull::dangling());
        let inner = at_address(library, pointer, address, KeepAlive::default());
        let scope = self.invocation().map(Invocation::scope);
        match scope {
            Some(scope) => scope.add(inner.clone()),
            // It has no destructor, so this can't fail.
            None => drop(inner.close()),
        }
        OpenPointer {
            scope: scope.cloned(),
            ..OpenPointer::new(inner, pointer.target.clone(), None)
        }
    }
}

impl OpenPointer {
    /// Returns what the pointers in the memory keep alive, unless a callback does.
    pub(super) fn known_pointers(&self) -> Option<&Py<KeptObjects>> {
        self.pointers.get()
    }

    fn new(inner: mapcall::Handle, ctype: CType, kept: Option<Py<PyTuple>>) -> Self {
        Self {
            inner: Ending::new(inner),
            ctype,
            views: Arc::default(),
            kept,
            pointers: OnceLock::new(),
            library: None,
            is_owner: false,
            scope: None,
            callable: None,
        }
    }
}

impl Handle {
    pub(super) fn new(inner: mapcall::Handle, ctype: CType, kept: Option<Py<PyTuple>>) -> Self {
        Self::of(OpenPointer::new(inner, ctype, kept))
    }

    fn of(pointer: OpenPointer) -> Self {
        Self(State::Open(pointer))
    }

    /// Returns the handle with the objects that pointers in the memory of its owner keep alive.
    pub(super) fn sharing(mut self, pointers: Option<Py<KeptObjects>>) -> Self {
        if let (State::Open(pointer), Some(pointers)) = (&mut self.0, pointers) {
            pointer.pointers = OnceLock::from(pointers);
        }
        self
    }

    /// Returns the handle with its `Library`.
    pub(super) fn of_library(mut self, library: Py<PyAny>) -> Self {
        if let State::Open(pointer) = &mut self.0 {
            pointer.library = Some(library);
        }
        self
    }

    /// Returns the handle as one whose destructor ends the memory.
    pub(super) fn owning(mut self) -> Self {
        if let State::Open(pointer) = &mut self.0 {
            pointer.is_owner = true;
        }
        self
    }

    /// Makes a handle with a callable as its destructor.
    pub(super) fn destroyed_by(
        inner: mapcall::Handle,
        ctype: CType,
        kept: Option<Py<PyTuple>>,
        callable: Py<PyAny>,
    ) -> Self {
        let callable = Arc::new(callable);
        let (destructor, target) = (Arc::clone(&callable), ctype.clone());
        let inner = inner.with_destructor_closure(move |last| destroy(&destructor, last, &target));
        Self::of(OpenPointer {
            callable: Some(callable),
            is_owner: true,
            ..OpenPointer::new(inner, ctype, kept)
        })
    }

    /// Makes a handle that is closed when a callback returns, since it may point to the same memory as one
    /// that the callback received. It has no destructor.
    pub(super) fn in_scope(
        inner: mapcall::Handle,
        ctype: CType,
        kept: Option<Py<PyTuple>>,
        scope: &Arc<Scope>,
    ) -> Self {
        scope.add(inner.clone());
        Self::of(OpenPointer {
            scope: Some(Arc::clone(scope)),
            ..OpenPointer::new(inner, ctype, kept)
        })
    }

    /// Makes a handle of a pointer that a callback receives.
    ///
    /// # Safety
    ///
    /// [`end_loan`](Self::end_loan) is called before the callback leaves `invocation`.
    pub(super) unsafe fn lent(
        parameter: &Arc<LentParameter>,
        address: NonNull<c_void>,
        invocation: &Invocation,
    ) -> Self {
        let lent = Lent {
            parameter: Arc::clone(parameter),
            address: AtomicUsize::new(address.expose_provenance().get()),
            invocation: AtomicPtr::new(ptr::from_ref(invocation).cast_mut()),
        };
        Self(State::Lent(lent, OnceLock::new()))
    }

    /// Uses the object again for a pointer of the same parameter. No other reference to the object exists,
    /// and its loan has ended.
    ///
    /// # Safety
    ///
    /// As for [`lent`](Self::lent).
    pub(super) unsafe fn lend_again(&self, address: NonNull<c_void>, invocation: &Invocation) {
        if let State::Lent(lent, _) = &self.0 {
            let address = address.expose_provenance().get();
            lent.address.store(address, Ordering::Relaxed);
            let invocation = ptr::from_ref(invocation).cast_mut();
            lent.invocation.store(invocation, Ordering::Relaxed);
        }
    }

    /// Closes a handle that a callback received: the callback returns. Returns whether only its value was
    /// read, so that the object can be used again.
    pub(super) fn end_loan(&self) -> bool {
        match &self.0 {
            State::Lent(lent, pointer) => {
                lent.invocation.store(ptr::null_mut(), Ordering::Relaxed);
                pointer.get().is_none()
            }
            State::Open(_) => false,
        }
    }

    /// Returns the pointer. The thread is attached.
    pub(super) fn pointer(&self) -> &OpenPointer {
        match &self.0 {
            State::Open(pointer) => pointer,
            State::Lent(lent, pointer) => pointer.get_or_init(|| lent.open()),
        }
    }

    /// Returns the pointer, if it has been needed.
    pub(super) fn known_pointer(&self) -> Option<&OpenPointer> {
        match &self.0 {
            State::Open(pointer) => Some(pointer),
            State::Lent(_, pointer) => pointer.get(),
        }
    }

    /// Returns the address and the parameter of the pointer that a running callback has received, unless it has
    /// been closed. Changes of the callback's arrays are in C's memory.
    #[inline]
    pub(super) fn lent_value(&self) -> Option<(NonNull<c_void>, &LentParameter)> {
        let State::Lent(lent, pointer) = &self.0 else {
            return None;
        };
        let invocation = lent.invocation()?;
        if pointer.get().is_some_and(|open| open.inner.is_closed()) {
            return None;
        }
        if let Some(scope) = invocation.known_scope() {
            scope.write_back();
        }
        Some((lent.address()?, &lent.parameter))
    }

    pub(super) fn inner(&self) -> &mapcall::Handle {
        &self.pointer().inner
    }

    pub(super) fn kept(&self) -> Option<&Py<PyTuple>> {
        self.pointer().kept.as_ref()
    }

    /// Returns what the pointers in the memory keep alive. They do so as long as this handle lives, or its owner; in a
    /// callback, as long as the callback.
    pub(super) fn pointers(&self, py: Python<'_>) -> PyResult<Py<KeptObjects>> {
        let pointer = self.pointer();
        let known = match &pointer.scope {
            Some(scope) => scope.pointers(),
            None => &pointer.pointers,
        };
        if let Some(known) = known.get() {
            return Ok(known.clone_ref(py));
        }
        let new = Py::new(py, KeptObjects::default())?;
        Ok(known.get_or_init(|| new).clone_ref(py))
    }

    /// Returns whether C may call back through a pointer that has been assigned in the memory.
    pub(super) fn calls_back(&self) -> bool {
        let pointer = self.known_pointer();
        let pointers = pointer.and_then(|pointer| pointer.pointers.get());
        pointers.is_some_and(|pointers| pointers.get().calls_back())
    }

    /// Returns the scope of the callback that closes the handle when it returns, if there is one.
    pub(super) fn scope(&self) -> Option<&Arc<Scope>> {
        self.pointer().scope.as_ref()
    }

    pub(super) fn target(&self) -> &str {
        self.inner().target()
    }

    pub(super) fn in_use(&self) -> Option<InUse> {
        self.inner().in_use()
    }

    /// Returns the pointer as an argument of a function.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if the parameter does not take the handle; `BufferError` if C owns the object
    /// after the call and arrays are on its memory.
    pub(super) fn as_argument(
        &self,
        py: Python<'_>,
        function: &mapcall::Function,
        position: usize,
    ) -> PyResult<InUse> {
        self.inner().lend(function, position).map_err(|problem| {
            let in_use = matches!(problem, Problem::InUse { .. });
            match self.without_arrays() {
                Err(error) if in_use => error,
                _ => errors::argument(py, &function.contract().refuse(position, problem)),
            }
        })
    }

    pub(super) fn open(&self) -> PyResult<Ending<InUse>> {
        self.inner().in_use().map(Ending::new).ok_or_else(|| {
            let remedy = if matches!(self.0, State::Lent(..)) || self.scope().is_some() {
                "copy in the callback what is needed after it"
            } else {
                "open a new one"
            };
            PyValueError::new_err(format!(
                "expected an open handle, got a closed one to {}; {remedy}",
                self.target()
            ))
        })
    }

    /// Checks that no array is on the memory.
    ///
    /// # Errors
    ///
    /// `BufferError` if there is one.
    pub(super) fn without_arrays(&self) -> PyResult<()> {
        let views = self.pointer().views.load(Ordering::Acquire);
        if views > 0 && !self.inner().is_closed() {
            return Err(PyBufferError::new_err(format!(
                "expected a handle to {} without arrays on its memory, got one with {views}; \
                 delete them first",
                self.target()
            )));
        }
        Ok(())
    }

    pub(super) fn end(&self, py: Python<'_>) -> PyResult<()> {
        self.without_arrays()?;
        let pointer = self.pointer();
        // Else C may use the memory until the destructor runs.
        let is_open = !pointer.inner.is_closed();
        let is_last = pointer.is_owner && is_open && pointer.inner.is_alone();
        let mut closed = Ok(None);
        activation::running(|| {
            closed = pointer.inner.close();
            mapcall::call::errno()
        })?;
        if let (true, Some(pointers)) = (is_last, pointer.pointers.get()) {
            pointers.get().clear();
        }
        closed.map(drop).map_err(|error| errors::call(py, &error))
    }
}

/// Calls a callable as the destructor of a handle, with a handle that is closed when it returns.
fn destroy(callable: &Py<PyAny>, last: &mapcall::Handle, ctype: &CType) {
    if is_ending() {
        return;
    }
    // Nothing is destroyed when the interpreter has ended.
    let _ = Python::try_attach(|py| {
        let callable = callable.bind(py);
        let call = || callable.call1((Handle::new(last.clone(), ctype.clone(), None),));
        let called = catch_unwind(AssertUnwindSafe(call));
        if let Err(error) = called.unwrap_or_else(|panic| Err(panicked(&*panic))) {
            activation::raise(py, error, Some(callable));
        }
    });
}

/// Sets the finalizer of the type of handles, which PyO3 has no option for.
///
/// The garbage collector calls it for all garbage before it clears any of it (PEP 442), so that a destructor
/// that is a callable finds the objects intact which it refers to.
pub(super) fn enable_finalizer(py: Python<'_>) {
    let class = py.get_type::<Handle>().as_type_ptr();
    // SAFETY: the pointer is that of a live type. No other thread changes it, because this one is attached.
    let class = unsafe { &mut *class };
    class.tp_finalize = Some(finalize);
}

unsafe extern "C" fn finalize(object: *mut PyObject) {
    // SAFETY: the interpreter finalizes objects on attached threads only.
    let py = unsafe { Python::assume_attached() };
    // SAFETY: the interpreter finalizes a live object.
    let object = unsafe { Borrowed::from_ptr(py, object) };
    let Ok(handle) = object.cast::<Handle>() else {
        return;
    };
    let State::Open(handle) = &handle.get().0 else {
        return;
    };
    // A destructor may call what pointers in the memory keep alive.
    let calls_back =
        handle.callable.is_some() || handle.is_owner && handle.pointers.get().is_some();
    if calls_back && handle.inner.is_alone() {
        // The errors of destructors that are functions are lost, those of callables are not.
        let close = || activation::destroying(|| drop(handle.inner.close()));
        let _ = catch_unwind(AssertUnwindSafe(close));
    }
}

/// Returns the address in a slot; `None` for NULL.
pub(super) fn address(slot: u64) -> Option<NonNull<c_void>> {
    let address = usize::try_from(slot).unwrap_or_default();
    NonNull::new(ptr::with_exposed_provenance_mut::<c_void>(address))
}

/// Makes a handle of the core for a pointer that a function returned; `None` for NULL.
pub(super) fn from_pointer(
    origin: &mapcall::Function,
    pointer: &Pointer,
    slot: u64,
    alive: KeepAlive,
) -> Option<mapcall::Handle> {
    let address = address(slot)?;
    // SAFETY: the user of `load` guarantees that the prototype of `origin` is right, so the address is
    // that of an object of the pointer's type. `alive` has the arguments that the pointer may be one into.
    Some(unsafe { mapcall::Handle::returned(origin, pointer, address, alive) })
}

/// Makes a handle of the core for a pointer that stands in C's memory, or that C passes to a callback.
pub(super) fn at_address(
    library: &mapcall::Library,
    pointer: &Pointer,
    address: NonNull<c_void>,
    alive: KeepAlive,
) -> mapcall::Handle {
    let target = target_name(&pointer.target);
    // SAFETY: the user of `load` guarantees that the prototypes and structs of the library are right, so the
    // address is that of an object of the pointer's type, which C keeps valid as its documentation says.
    unsafe { mapcall::Handle::from_address(library, &target, address, pointer.is_const, alive) }
}

/// The base object of an array on a handle's memory.
#[pyclass(frozen, module = "mapcall._mapcall")]
pub(crate) struct View {
    /// Keeps the handle open.
    _in_use: Ending<InUse>,
    handle: Py<Handle>,
    views: Arc<AtomicUsize>,
}

impl View {
    pub(super) fn new(handle: &Bound<'_, Handle>, in_use: Ending<InUse>) -> Self {
        let views = Arc::clone(&handle.get().pointer().views);
        views.fetch_add(1, Ordering::AcqRel);
        Self {
            _in_use: in_use,
            handle: handle.clone().unbind(),
            views,
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.views.fetch_sub(1, Ordering::AcqRel);
    }
}

#[pymethods]
impl View {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.handle)
    }

    /// The handle whose memory the array is on.
    #[getter]
    fn handle(&self, py: Python<'_>) -> Py<Handle> {
        self.handle.clone_ref(py)
    }
}
