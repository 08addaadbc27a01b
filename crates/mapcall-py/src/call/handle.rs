//! `mapcall.Handle`: a typed pointer that C returned.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mapcall::contract::{Problem, target_name};
use mapcall::ctype::{CType, Pointer};
use mapcall::function::{InUse, KeepAlive};
use numpy::PyArrayDescr;
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::ffi::PyObject;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::scope::Scope;
use super::text::Text;
use super::{activation, errors, ndarray, text};
use crate::convert;
use crate::errors::missing_attribute;
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
#[pyclass(frozen, module = "mapcall", weakref)]
pub(crate) struct Handle {
    inner: Ending<mapcall::Handle>,
    ctype: CType,
    /// The number of arrays on the memory.
    views: Arc<AtomicUsize>,
    /// The arguments, other than handles, that the pointer may be one into. They are dropped after
    /// `inner`, whose destructor may use them.
    kept: Option<Py<PyTuple>>,
    /// The scope of the callback that has received the handle or made it.
    scope: Option<Arc<Scope>>,
    /// The destructor if it is a callable, which `inner` calls.
    callable: Option<Arc<Py<PyAny>>>,
}

impl Handle {
    pub(super) fn new(inner: mapcall::Handle, ctype: CType, kept: Option<Py<PyTuple>>) -> Self {
        Self {
            inner: Ending::new(inner),
            ctype,
            views: Arc::default(),
            kept,
            scope: None,
            callable: None,
        }
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
        Self {
            callable: Some(callable),
            ..Self::new(inner, ctype, kept)
        }
    }

    pub(super) fn inner(&self) -> &mapcall::Handle {
        &self.inner
    }

    pub(super) fn kept(&self) -> Option<&Py<PyTuple>> {
        self.kept.as_ref()
    }

    /// Returns the scope of the callback that closes the handle when it returns, if there is one.
    pub(super) fn scope(&self) -> Option<&Arc<Scope>> {
        self.scope.as_ref()
    }

    /// Makes a handle that is closed when a callback returns: one that the callback receives, or one that a
    /// call in it returns for such handles, since it may point to the same memory. It has no destructor.
    pub(super) fn lent(
        inner: mapcall::Handle,
        ctype: CType,
        kept: Option<Py<PyTuple>>,
        scope: &Arc<Scope>,
    ) -> Self {
        scope.add(inner.clone());
        Self {
            scope: Some(Arc::clone(scope)),
            ..Self::new(inner, ctype, kept)
        }
    }

    pub(super) fn target(&self) -> &str {
        self.inner.target()
    }

    pub(super) fn in_use(&self) -> Option<InUse> {
        self.inner.in_use()
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
        self.inner.lend(function, position).map_err(|problem| {
            let in_use = matches!(problem, Problem::InUse { .. });
            match self.without_arrays() {
                Err(error) if in_use => error,
                _ => errors::argument(py, &function.contract().refuse(position, problem)),
            }
        })
    }

    fn open(&self) -> PyResult<Ending<InUse>> {
        self.inner.in_use().map(Ending::new).ok_or_else(|| {
            let remedy = if self.scope.is_some() {
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
    fn without_arrays(&self) -> PyResult<()> {
        let views = self.views.load(Ordering::Acquire);
        if views > 0 && !self.inner.is_closed() {
            return Err(PyBufferError::new_err(format!(
                "expected a handle to {} without arrays on its memory, got one with {views}; \
                 delete them first",
                self.target()
            )));
        }
        Ok(())
    }

    fn end(&self, py: Python<'_>) -> PyResult<()> {
        self.without_arrays()?;
        let mut closed = Ok(None);
        activation::running(|| {
            closed = self.inner.close();
            mapcall::call::errno()
        })?;
        closed.map(drop).map_err(|error| errors::call(py, &error))
    }
}

#[pymethods]
impl Handle {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // The destructor is called when the last use of the pointer ends. Unless that is the end of this
        // handle, the callable must not be cleared as garbage.
        if let Some(callable) = self.callable.as_deref().filter(|_| self.inner.is_alone()) {
            visit.call(callable)?;
        }
        visit.call(&self.kept)
    }

    /// The type of the object: the name of a struct, or a C type.
    ///
    /// >>> import mapcall
    /// >>> tmpfile = mapcall.load(None).function("struct file *tmpfile(void)")
    /// >>> tmpfile().type
    /// 'file'
    #[getter(r#type)]
    fn py_type(&self) -> &str {
        self.inner.target()
    }

    /// The pointer as an int; None if the handle is closed.
    ///
    /// >>> import mapcall
    /// >>> import numpy as np
    /// >>> memchr = mapcall.load(None).function(
    /// ...     "void *memchr(const unsigned char s[n], int c, size_t n)")
    /// >>> text = np.frombuffer(b"address", "u1")
    /// >>> memchr(text, ord("r")).address - text.ctypes.data
    /// 3
    #[getter]
    fn address(&self) -> Option<usize> {
        self.inner.address().map(|address| address.addr().get())
    }

    /// True if the handle has been closed.
    ///
    /// >>> import mapcall
    /// >>> libc = mapcall.load(None)
    /// >>> malloc = libc.function("void *malloc(size_t size)",
    /// ...                        destructor=libc.function("void free(void *p)"))
    /// >>> with malloc(8) as memory:
    /// ...     memory.closed
    /// False
    /// >>> memory.closed
    /// True
    #[getter]
    fn closed(&self) -> bool {
        self.inner.is_closed()
    }

    /// True if C may only read the memory: the pointer is one to ``const``, or one into a read-only
    /// argument. Arrays on the memory are read-only then.
    ///
    /// >>> import mapcall
    /// >>> strchr = mapcall.load(None).function("char *strchr(const char *s, int c)")
    /// >>> strchr("key=value", ord("=")).readonly
    /// True
    #[getter]
    fn readonly(&self) -> bool {
        self.inner.is_read_only()
    }

    /// Close the handle, and run its destructor if it has one. A closed handle stays unchanged.
    ///
    /// >>> import mapcall
    /// >>> libc = mapcall.load(None)
    /// >>> fclose = libc.function("int fclose(struct file *stream)", check="zero")
    /// >>> fileno = libc.function("int fileno(struct file *stream)")
    /// >>> stream = libc.function("struct file *tmpfile(void)", destructor=fclose)()
    /// >>> stream.close()
    /// >>> fileno(stream)
    /// Traceback (most recent call last):
    /// mapcall.ArgumentError: fileno: stream: expected a pointer to file that is open, ...
    ///
    /// Raises
    /// ------
    /// BufferError
    ///     If arrays are on the memory.
    /// CallError
    ///     If the destructor's `check` finds that it failed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py)
    }

    /// Close the handle without running its destructor, and return the pointer as an int; None if the
    /// handle was closed.
    ///
    /// >>> import mapcall
    /// >>> libc = mapcall.load(None)
    /// >>> malloc = libc.function("void *malloc(size_t size)",
    /// ...                        destructor=libc.function("void free(void *p)"))
    /// >>> memory = malloc(8)
    /// >>> address = memory.release()      # C owns it from now on
    /// >>> memory.closed
    /// True
    ///
    /// Raises
    /// ------
    /// BufferError
    ///     If arrays are on the memory.
    fn release(&self) -> PyResult<Option<usize>> {
        self.without_arrays()?;
        let address = self.inner.release();
        Ok(address.map(|address| address.addr().get()))
    }

    fn __enter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.end(py)
    }

    /// Return an array on the memory at the pointer.
    ///
    /// >>> import mapcall
    /// >>> libc = mapcall.load(None)
    /// >>> calloc = libc.function("void *calloc(size_t n, size_t size)",
    /// ...                        destructor=libc.function("void free(void *p)"))
    /// >>> calloc(3, 8).array((3,), "f8")
    /// array([0., 0., 0.])
    ///
    /// The handles that a callback receives are closed when it returns, and C's memory is valid until
    /// then. Arrays of such handles are on copies, so they may be kept. A copy is read-only if C's memory
    /// is ``const``; else its changes are written to C's memory before C runs again, which is when the
    /// callback returns or calls a C function. The next call of `array` reads C's changes. Arrays of one
    /// callback on the same memory share a copy.
    ///
    /// Parameters
    /// ----------
    /// shape : int or tuple of int
    ///     The number of items on each axis. It can't be checked: C's memory must have as many.
    /// dtype : dtype, optional
    ///     The dtype of the items; by default that of the pointer's C type.
    /// owner : object, optional
    ///     The object that owns the memory, which the array keeps alive. By default it is this handle,
    ///     which can't be closed before the array is deleted. In a callback, the array is on C's memory
    ///     itself, without a copy, if an owner is given.
    ///
    /// Returns
    /// -------
    /// ndarray
    ///     The array, of the given shape; read-only if `readonly` is true.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     If the handle is closed.
    /// TypeError
    ///     If no dtype is given, and the C type has none.
    /// BufferError
    ///     If another array of the same callback lies on a part of the memory.
    ///
    /// Notes
    /// -----
    /// Handles that a callback receives are closed when it returns, as the memory may end then. So arrays
    /// on it are copies, which may be kept: read-only if C's memory is ``const``, else written back to it
    /// before C runs again, which is when the callback returns or calls a C function. What C writes
    /// meanwhile is in the next array. Arrays of one callback on the same memory share a copy.
    #[pyo3(signature = (shape, dtype = None, owner = None))]
    fn array<'py>(
        this: &Bound<'py, Self>,
        shape: &Bound<'py, PyAny>,
        dtype: Option<&Bound<'py, PyAny>>,
        owner: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, handle) = (this.py(), this.get());
        let dtype: Bound<'py, PyArrayDescr> = if let Some(dtype) = dtype {
            convert::dtype(dtype)?
        } else {
            let dtype = handle.ctype.dtype().map_err(|error| {
                PyTypeError::new_err(format!("array: expected a dtype, got none; {error}"))
            })?;
            convert::to_numpy(py, &dtype)?
        };
        let shape = convert::shape(shape)?.unwrap_or_default();
        let in_use = handle.open()?;
        let (address, is_writeable) = (in_use.address(), !handle.readonly());
        let owner = match (owner, &handle.scope) {
            (Some(owner), _) => owner,
            (None, Some(scope)) => {
                return scope.array(&handle.inner, address, is_writeable, &dtype, &shape);
            }
            (None, None) => Bound::new(py, View::new(this, in_use))?.into_any(),
        };
        ndarray::on_memory(&dtype, &shape, address, is_writeable, owner)
    }

    /// Return a copy of the text at the pointer, up to its NUL.
    ///
    /// >>> import mapcall
    /// >>> strchr = mapcall.load(None).function("char *strchr(const char *s, int c)")
    /// >>> strchr(b"key=value", ord("=")).text()
    /// '=value'
    ///
    /// Parameters
    /// ----------
    /// kind : {'str', 'bytes'}, default 'str'
    ///     The type of the result; for a str, the text must be UTF-8.
    ///
    /// Returns
    /// -------
    /// str or bytes
    ///     The text.
    ///
    /// Raises
    /// ------
    /// TypeError
    ///     If the pointer is no pointer to characters.
    #[pyo3(signature = (kind = "str"))]
    fn text<'py>(&self, py: Python<'py>, kind: &str) -> PyResult<Bound<'py, PyAny>> {
        let kind = Text::named(kind)?;
        if !matches!(self.ctype.size(), Some(1)) {
            return Err(PyTypeError::new_err(format!(
                "text: expected a pointer to characters, got one to {}; take an array of it",
                self.target()
            )));
        }
        let in_use = self.open()?;
        if let Some(scope) = &self.scope {
            scope.write_back();
        }
        text::copy(py, in_use.address().addr().get() as u64, kind)
    }

    fn __getattr__(this: &Bound<'_, Self>, name: &str) -> PyResult<Py<PyAny>> {
        let message = format!("'mapcall.Handle' object has no attribute '{name}'");
        Err(missing_attribute(this, name, message))
    }

    fn __repr__(&self) -> String {
        match self.inner.address() {
            Some(address) => format!("<mapcall.Handle: {} at {address:p}>", self.target()),
            None => format!("<mapcall.Handle: {}, closed>", self.target()),
        }
    }

    /// Return whether both handles have the same type and pointer.
    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| {
            let other = other.get();
            self.target() == other.target() && self.inner.address() == other.inner.address()
        })
    }

    fn __hash__(&self) -> usize {
        self.address().unwrap_or_default()
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
    let handle = handle.get();
    if handle.callable.is_some() && handle.inner.is_alone() {
        // The errors of destructors that are functions are lost, but this one is a callable.
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
    fn new(handle: &Bound<'_, Handle>, in_use: Ending<InUse>) -> Self {
        let views = Arc::clone(&handle.get().views);
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
