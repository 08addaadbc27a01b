//! `mapcall.Handle`: a typed pointer that C returned.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use mapcall::ctype::CType;
use numpy::PyArrayDescr;
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::prelude::*;

use super::result::{self, Text};
use super::scope::Scope;
use super::{activation, callback, errors, ndarray};
use crate::convert;

/// A typed pointer to what only its library understands.
///
/// >>> import mapcall
/// >>> libc = mapcall.load(None)
/// >>> free = libc.function("void free(void *p)")
/// >>> malloc = libc.function("void *malloc(size_t size)", destructor=free)
/// >>> memory = malloc(24)
/// >>> memory.array(3, "i8")[:] = 1, 2, 3
/// >>> memory.close()      # or let it go, or use it in a `with` statement
/// >>> memory
/// <mapcall.Handle: void, closed>
///
/// Functions return them, and take them where the prototype has a pointer to the same struct. A
/// destructor runs once: when the handle is closed, or when it dies. What made the handle stays
/// loaded while it lives.
#[pyclass(frozen, module = "mapcall", weakref)]
pub(crate) struct Handle {
    inner: mapcall::Handle,
    ctype: CType,
    /// How many arrays lie on the memory.
    views: Arc<AtomicUsize>,
    /// If a callback has received it, until that returns.
    lent: OnceLock<Lent>,
}

/// What a handle has to know that a callback has received.
struct Lent {
    scope: Arc<Scope>,
    is_const: bool,
}

impl Handle {
    pub(super) fn new(inner: mapcall::Handle, ctype: CType) -> Self {
        Self {
            inner,
            ctype,
            views: Arc::default(),
            lent: OnceLock::new(),
        }
    }

    /// Notes that a callback receives it.
    pub(super) fn lend(&self, scope: &Arc<Scope>, is_const: bool) {
        let scope = Arc::clone(scope);
        let _ = self.lent.set(Lent { scope, is_const });
    }

    /// Ends it with the callback that has received it.
    pub(super) fn expire(&self) {
        // Such a handle has no destructor, which could fail.
        let _ = self.inner.close();
    }

    pub(super) fn target(&self) -> &str {
        self.inner.target()
    }

    pub(super) fn in_use(&self) -> Option<mapcall::function::InUse> {
        self.inner.in_use()
    }

    fn open_address(&self) -> PyResult<NonNull<c_void>> {
        self.inner.address().ok_or_else(|| {
            let remedy = if self.lent.get().is_some() {
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

    fn end(&self, py: Python<'_>) -> PyResult<()> {
        let views = self.views.load(Ordering::Acquire);
        if views > 0 && !self.inner.is_closed() {
            return Err(PyBufferError::new_err(format!(
                "expected a handle to {} without arrays on its memory, got one with {views}; let \
                 them go first",
                self.target()
            )));
        }
        let mut closed = Ok(None);
        callback::running(|| {
            closed = self.inner.close();
            mapcall::call::errno()
        })?;
        closed.map(drop).map_err(|error| errors::call(py, &error))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        activation::destroying(|| drop(self.inner.close()));
    }
}

#[pymethods]
impl Handle {
    /// What it points to: the name of a struct, or a C type.
    ///
    /// >>> import mapcall
    /// >>> tmpfile = mapcall.load(None).function("struct file *tmpfile(void)")
    /// >>> tmpfile().type
    /// 'file'
    #[getter(r#type)]
    fn py_type(&self) -> &str {
        self.inner.target()
    }

    /// The pointer as an int; None once closed.
    ///
    /// >>> import mapcall, numpy
    /// >>> memchr = mapcall.load(None).function(
    /// ...     "void *memchr(const unsigned char s[n], int c, size_t n)")
    /// >>> text = numpy.frombuffer(b"address", "u1")
    /// >>> memchr(text, ord("r")).address - text.ctypes.data
    /// 3
    #[getter]
    fn address(&self) -> Option<usize> {
        self.inner.address().map(|address| address.addr().get())
    }

    /// Whether it has been closed.
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

    /// Ends the handle, and runs its destructor if it has one; again, does nothing.
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
    ///     When arrays lie on its memory.
    /// CallError
    ///     When the destructor says that it failed.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.end(py)
    }

    fn __enter__(this: Bound<'_, Self>) -> Bound<'_, Self> {
        this
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        self.end(py)
    }

    /// An array on the memory that the pointer leads to.
    ///
    /// >>> import mapcall
    /// >>> libc = mapcall.load(None)
    /// >>> calloc = libc.function("void *calloc(size_t n, size_t size)",
    /// ...                        destructor=libc.function("void free(void *p)"))
    /// >>> calloc(3, 8).array((3,), "f8")
    /// array([0., 0., 0.])
    ///
    /// A callback's handles end when it returns, with the memory that C has lent it. So arrays of theirs
    /// are copies, which may be kept: read-only where C's memory is ``const``, else written back to it
    /// before C runs again, which is when the callback returns or calls a C function. What C writes
    /// meanwhile is in the next array. Arrays of one callback on the same memory share a copy.
    ///
    /// Parameters
    /// ----------
    /// shape : int or tuple of int
    ///     How many items there are: nobody can check that.
    /// dtype : dtype, optional
    ///     What they are; by default what the pointer's C type says.
    /// owner : object, optional
    ///     What the array keeps alive; by default this handle, which then can't be closed before the
    ///     array is gone. In a callback: what keeps C's memory alive, so that no copy is needed.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     When the handle is closed.
    /// BufferError
    ///     When another array of the same callback lies on a part of the memory.
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
        let address = handle.open_address()?;
        let owner = match (owner, handle.lent.get()) {
            (Some(owner), _) => owner,
            (None, Some(lent)) => {
                let Lent { scope, is_const } = lent;
                return scope.array(&handle.inner, *is_const, address, &dtype, &shape);
            }
            (None, None) => Bound::new(py, View::new(this))?.into_any(),
        };
        ndarray::on_memory(&dtype, &shape, address, owner)
    }

    /// A copy of the text that the pointer leads to, up to its NUL.
    ///
    /// >>> import mapcall
    /// >>> strchr = mapcall.load(None).function("char *strchr(const char *s, int c)")
    /// >>> strchr(b"key=value", ord("=")).text()
    /// '=value'
    ///
    /// Parameters
    /// ----------
    /// kind : {'str', 'bytes'}
    ///     What to make of it; a str must be UTF-8.
    ///
    /// Raises
    /// ------
    /// TypeError
    ///     When it is no pointer to characters.
    #[pyo3(signature = (kind = "str"))]
    fn text<'py>(&self, py: Python<'py>, kind: &str) -> PyResult<Bound<'py, PyAny>> {
        let kind = Text::named(kind)?;
        if !matches!(self.ctype.size(), Some(1)) {
            return Err(PyTypeError::new_err(format!(
                "text: expected a pointer to characters, got one to {}; take an array of it",
                self.target()
            )));
        }
        let address = self.open_address()?;
        if let Some(lent) = self.lent.get() {
            lent.scope.write_back();
        }
        result::text(py, address.addr().get() as u64, kind)
    }

    fn __repr__(&self) -> String {
        match self.inner.address() {
            Some(address) => format!("<mapcall.Handle: {} at {address:p}>", self.target()),
            None => format!("<mapcall.Handle: {}, closed>", self.target()),
        }
    }

    /// Whether both point to the same.
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

/// What an array on a handle's memory belongs to.
#[pyclass(frozen, module = "mapcall._mapcall")]
pub(crate) struct View {
    handle: Py<Handle>,
    views: Arc<AtomicUsize>,
}

impl View {
    fn new(handle: &Bound<'_, Handle>) -> Self {
        let views = Arc::clone(&handle.get().views);
        views.fetch_add(1, Ordering::AcqRel);
        Self {
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
    /// The handle whose memory the array lies on.
    #[getter]
    fn handle(&self, py: Python<'_>) -> Py<Handle> {
        self.handle.clone_ref(py)
    }
}
