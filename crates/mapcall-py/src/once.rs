//! Values that are made when they are first needed, once for the process.
//!
//! `PyOnceLock` and `intern!` of PyO3 hold a lock while a value is made. Meanwhile they wait for the interpreter's
//! lock, and other threads run. If one of them forks, the lock stays locked in the child for ever. Here no lock is
//! held while a value is made: two threads may each make one, and the first that is stored is kept.

use std::sync::OnceLock;

use mapcall::array::fork::Section;
use numpy::PyUntypedArray;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

/// A cell for one value, which is made when it is first needed.
pub(crate) struct Once<T>(OnceLock<T>);

impl<T> Once<T> {
    /// Returns a cell without a value.
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Returns the value, if it has been made.
    #[inline]
    pub(crate) fn get(&self, _: Python<'_>) -> Option<&T> {
        self.0.get()
    }

    /// Returns the value, which `make` makes if there is none. The value of another thread comes first.
    #[inline]
    pub(crate) fn get_or_init(&self, py: Python<'_>, make: impl FnOnce() -> T) -> &T {
        match self.get(py) {
            Some(value) => value,
            None => self.store(make()),
        }
    }

    /// Returns the value as [`get_or_init`](Self::get_or_init) does.
    ///
    /// # Errors
    ///
    /// Those of `make`. The next call makes the value again.
    #[inline]
    pub(crate) fn get_or_try_init<E>(
        &self,
        py: Python<'_>,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<&T, E> {
        match self.get(py) {
            Some(value) => Ok(value),
            None => Ok(self.store(make()?)),
        }
    }

    #[cold]
    fn store(&self, value: T) -> &T {
        if let Some(first) = self.0.get() {
            // The second value is dropped outside of the section, as this may run code of Python.
            return first;
        }
        let _section = Section::enter();
        self.0.get_or_init(|| value)
    }
}

impl Once<Py<PyType>> {
    /// Returns a class of a module.
    ///
    /// # Errors
    ///
    /// Those of the import; `AttributeError` or `TypeError` if the module has no such class.
    #[inline]
    pub(crate) fn import<'py>(
        &self,
        py: Python<'py>,
        module: &str,
        name: &str,
    ) -> PyResult<&Bound<'py, PyType>> {
        let class = self.get_or_try_init(py, || {
            let class = py.import(module)?.getattr(name)?;
            Ok::<_, PyErr>(class.cast_into::<PyType>()?.unbind())
        })?;
        Ok(class.bind(py))
    }
}

/// A string of Python that is made when it is first needed: see [`intern`].
pub(crate) struct Interned(&'static str, Once<Py<PyString>>);

impl Interned {
    pub(crate) const fn new(text: &'static str) -> Self {
        Self(text, Once::new())
    }

    #[inline]
    pub(crate) fn get<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        let make = || PyString::intern(py, self.0).unbind();
        self.1.get_or_init(py, make).bind(py)
    }
}

/// Returns the interned string of a text: `intern!(py, "name")`.
macro_rules! intern {
    ($py:expr, $text:expr) => {{
        static INTERNED: $crate::once::Interned = $crate::once::Interned::new($text);
        INTERNED.get($py)
    }};
}
pub(crate) use intern;

/// Makes the values that PyO3 and the crate `numpy` hold in a `PyOnceLock`, and that this extension uses. It is called
/// when the extension is imported.
///
/// # Errors
///
/// Those of the imports that the values need.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    // The interned names of a type's attributes.
    let class = py.get_type::<PyUntypedArray>();
    class.name()?;
    class.qualname()?;
    class.module()?;
    // NumPy's C functions and its version.
    numpy::npyffi::is_numpy_2(py);
    Ok(())
}
