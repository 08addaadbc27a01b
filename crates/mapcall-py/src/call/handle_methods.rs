//! The methods of `Handle` in Python.

#![allow(unsafe_code)]

use mapcall::ctype::CType;
use numpy::PyArrayDescr;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::handle::{Handle, View};
use super::text::Text;
use super::{ndarray, pointee, scope, text};
use crate::convert;
use crate::errors::{attribute_error, missing_attribute};

impl Handle {
    /// Returns the error for an attribute that handles lack, which says where a member of a struct is, or the value.
    #[cold]
    fn no_attribute(this: &Bound<'_, Self>, name: &str) -> PyErr {
        let message = format!("'mapcall.Handle' object has no attribute '{name}'");
        let is_member = match pointee::known_type(this).resolved() {
            CType::Record(record) => {
                let members = record.named_members();
                members.iter().any(|(member, ..)| *member == name)
            }
            _ => false,
        };
        let message = match name {
            _ if is_member => format!("{message}; write handle[0].{name} for the member"),
            // As ctypes has them.
            "value" | "contents" => format!("{message}; write handle[0] for the value"),
            _ => return missing_attribute(this, name, message),
        };
        attribute_error(this.py(), name, None, message)
    }
}

#[pymethods]
impl Handle {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // The destructor is called when the last use of the pointer ends. Unless that is the end of this
        // handle, the callable must not be cleared as garbage.
        let Some(pointer) = self.known_pointer() else {
            return Ok(());
        };
        let callable = pointer.callable.as_deref();
        if let Some(callable) = callable.filter(|_| pointer.inner.is_alone()) {
            visit.call(callable)?;
        }
        visit.call(pointer.known_pointers())?;
        visit.call(&pointer.library)?;
        visit.call(&pointer.kept)
    }

    /// The type of the object: the name of a struct, or a C type.
    ///
    /// >>> import mapcall
    /// >>> tmpfile = mapcall.load(None).function("struct file *tmpfile(void)")
    /// >>> tmpfile().type
    /// 'file'
    #[getter(r#type)]
    fn py_type(&self) -> &str {
        self.inner().target()
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
        self.inner().address().map(|address| address.addr().get())
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
        self.inner().is_closed()
    }

    /// True if C may only read the memory: the pointer is one to ``const``, or one into a read-only
    /// argument. Arrays on the memory are read-only then.
    ///
    /// >>> import mapcall
    /// >>> strchr = mapcall.load(None).function("char *strchr(const char *s, int c)")
    /// >>> strchr("key=value", ord("=")).readonly
    /// True
    #[getter]
    pub(super) fn readonly(&self) -> bool {
        self.inner().is_read_only()
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
        let address = self.inner().release();
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
            let dtype = pointee::known_type(this).dtype().map_err(|error| {
                PyTypeError::new_err(format!(
                    "array: expected a dtype, got none ({error}); give it, as in array(shape, 'f8')"
                ))
            })?;
            convert::to_numpy(py, &dtype)?
        };
        let shape = convert::shape(shape)?.unwrap_or_default();
        let layout = ndarray::c_order(&dtype, &shape)?;
        if let (None, Some((address, parameter))) = (&owner, handle.lent_value())
            && parameter.pointer.is_const
        {
            // SAFETY: C's memory is valid while the callback runs, for as many items as its user guarantees.
            return unsafe { scope::read_only_copy(&dtype, &layout, address) };
        }
        let in_use = handle.open()?;
        let (address, is_writeable) = (in_use.address(), !handle.readonly());
        let owner = match (owner, handle.scope()) {
            (Some(owner), _) => owner,
            (None, Some(scope)) => {
                let inner = Some(handle.inner());
                return scope.array(inner, address, is_writeable, &dtype, &layout);
            }
            (None, None) => Bound::new(py, View::new(this, in_use))?.into_any(),
        };
        ndarray::with_layout(&dtype, &layout, address, is_writeable, owner)
    }

    /// Return a copy of the text at the pointer: of a number of bytes, or up to its NUL.
    ///
    /// >>> import mapcall
    /// >>> strchr = mapcall.load(None).function("char *strchr(const char *s, int c)")
    /// >>> value = strchr(b"key=value", ord("="))
    /// >>> value.text(), value.text(3), value.text(kind="bytes")
    /// ('=value', '=va', b'=value')
    ///
    /// Parameters
    /// ----------
    /// length : int, optional
    ///     The number of bytes of a text that does not end with a NUL, as those of parsers. It can't be checked:
    ///     C's memory must have as many.
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
    /// ValueError
    ///     If the handle is closed, or the length is negative.
    #[pyo3(signature = (length = None, kind = "str"))]
    fn text<'py>(
        &self,
        py: Python<'py>,
        length: Option<&Bound<'py, PyAny>>,
        kind: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (length, kind) = match length {
            Some(length) => match length.extract::<&str>() {
                // The name of the type was the first parameter once.
                Ok(kind) => (None, Text::named(kind)?),
                Err(_) => (Some(length), Text::named(kind)?),
            },
            None => (None, Text::named(kind)?),
        };
        let ctype = &self.pointer().ctype;
        if !matches!(ctype.size(), Some(1)) {
            return Err(PyTypeError::new_err(format!(
                "text: expected a pointer to characters, got one to {}; take an array of it",
                self.target()
            )));
        }
        let in_use = self.open()?;
        if let Some(scope) = self.scope() {
            scope.write_back();
        }
        let address = in_use.address();
        match length {
            Some(length) => {
                let length: i64 = length.extract()?;
                let length = usize::try_from(length).map_err(|_| {
                    PyValueError::new_err(format!("text: expected a length, got {length}"))
                })?;
                // SAFETY: the pointer is open, and its user guarantees that it leads to as many characters.
                unsafe { text::copy_of_length(py, address, length, kind) }
            }
            None => text::copy(py, address.addr().get() as u64, kind),
        }
    }

    /// Return the value at the pointer: ``handle[0]``.
    ///
    /// >>> import mapcall
    /// >>> import numpy as np
    /// >>> qsort = mapcall.load(None).function(
    /// ...     "void qsort(double base[n], size_t n, size_t size,"
    /// ...     "           int (*compare)(const double *a, const double *b))")
    /// >>> x = np.array([0.3, 0.1, 0.2])
    /// >>> qsort(x, x.itemsize, lambda a, b: -1 if a[0] < b[0] else a[0] > b[0])
    /// >>> x
    /// array([0.1, 0.2, 0.3])
    ///
    /// A number is an int, float, bool or complex; a struct with a definition a `StructObject`; a pointer a
    /// `Handle`, a `Function`, or None for NULL. The only index is 0: how many items there are, only the
    /// caller of `array` knows.
    ///
    /// Raises
    /// ------
    /// IndexError
    ///     If the index is not 0.
    /// TypeError
    ///     If the type has no values: ``void``, or a struct without a definition.
    /// ValueError
    ///     If the handle is closed.
    fn __getitem__<'py>(
        this: &Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        pointee::get(this, index)
    }

    /// Set the value at the pointer: ``handle[0] = value``.
    fn __setitem__<'py>(
        this: &Bound<'py, Self>,
        index: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        pointee::set(this, index, value)
    }

    fn __getattr__(this: &Bound<'_, Self>, name: &str) -> PyResult<Py<PyAny>> {
        Err(Self::no_attribute(this, name))
    }

    fn __setattr__(this: &Bound<'_, Self>, name: &str, _value: &Bound<'_, PyAny>) -> PyResult<()> {
        if this.get_type().hasattr(name)? {
            let message = format!("attribute '{name}' of 'mapcall.Handle' objects is not writable");
            return Err(attribute_error(this.py(), name, None, message));
        }
        Err(Self::no_attribute(this, name))
    }

    fn __repr__(&self) -> String {
        match self.inner().address() {
            Some(address) => format!("<mapcall.Handle: {} at {address:p}>", self.target()),
            None => format!("<mapcall.Handle: {}, closed>", self.target()),
        }
    }

    /// Return whether both handles have the same type and pointer.
    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| {
            let other = other.get();
            self.target() == other.target() && self.inner().address() == other.inner().address()
        })
    }

    fn __hash__(&self) -> usize {
        self.address().unwrap_or_default()
    }
}
