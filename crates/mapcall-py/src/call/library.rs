//! `mapcall.Library`: a shared library, with its header if one is given.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{OsString, c_void};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mapcall::contract::HostValue;
use mapcall::declarations::Definitions;
use mapcall::prototype::Variable as Declared;
use mapcall::{Declarations, Prototype};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::c_value::CValue;
use super::callback;
use super::function::{Function, Options, Origin};
use super::handle::{self, Handle};
use super::header_source::HeaderSource;
use super::source_code::Code;
use super::struct_object::LibraryReference;
use super::variable::Variable;
use super::{errors, foreign, methods};

/// A loaded library.
///
/// >>> import mapcall
/// >>> libm = mapcall.load("m")
/// >>> "cos" in libm.symbols()
/// True
/// >>> libm == mapcall.load("libm.so.6")
/// True
///
/// Made by `load` and `compile`. It stays loaded while this object or one of its functions is in use. The functions
/// and constants of its header are attributes; a constant with the name of a method is in `constants`
/// only.
#[pyclass(frozen, module = "mapcall", weakref)]
pub(crate) struct Library {
    pub(super) inner: mapcall::Library,
    pub(super) header: Option<HeaderSource>,
    /// The source code of a library that was compiled.
    pub(super) code: Option<Code>,
    pub(super) declarations: Declarations,
    /// The types and functions in use. It is locked by attached threads only, and never while Python
    /// code runs.
    pub(super) known: Mutex<Known>,
}

/// The types and functions that have been used so far.
#[derive(Default)]
pub(super) struct Known {
    /// The types that prototypes have defined.
    pub(super) definitions: Definitions,
    /// The header's functions that have been used.
    pub(super) functions: HashMap<String, Py<Function>>,
    /// The variables that have been used. They keep what their pointers lead to.
    pub(super) variables: HashMap<String, Py<Variable>>,
}

impl Library {
    pub(super) fn new(
        inner: mapcall::Library,
        header: Option<HeaderSource>,
        declarations: Declarations,
    ) -> Self {
        Self {
            inner,
            header,
            code: None,
            declarations,
            known: Mutex::default(),
        }
    }

    /// Returns a library that was compiled.
    pub(super) fn of_code(inner: mapcall::Library, declarations: Declarations, code: Code) -> Self {
        Self {
            inner,
            header: None,
            code: Some(code),
            declarations,
            known: Mutex::default(),
        }
    }

    /// Returns the names of what declares the functions; `None` if nothing does.
    pub(super) fn declared_by(&self) -> Option<String> {
        match (&self.header, &self.code) {
            (Some(source), _) => Some(source.names()),
            (None, code) => code.as_ref().map(Code::name),
        }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a variable that the library exports. Each declaration of a name has one object.
    pub(super) fn exported<'py>(
        this: &Bound<'py, Self>,
        declared: Declared,
    ) -> PyResult<Bound<'py, Variable>> {
        let (py, library) = (this.py(), this.get());
        let name = declared.name.clone();
        let known = || {
            let known = library.known();
            let variable = known.variables.get(&name)?;
            let is_same = variable.get().is_of(&declared);
            is_same.then(|| variable.clone_ref(py).into_bound(py))
        };
        if let Some(variable) = known() {
            return Ok(variable);
        }
        let bound = declared.clone();
        // SAFETY: by the docs of `Library.variable`, its user guarantees the declaration.
        let bound = py.detach(|| unsafe { library.inner.bind_variable(bound) });
        let bound = bound.map_err(|error| errors::bind(py, &error))?;
        let variable = Variable::new(py, Self::reference(this), bound)?;
        let variable = Bound::new(py, variable)?;
        // Another thread may have made it since.
        if let Some(variable) = known() {
            return Ok(variable);
        }
        let old = library
            .known()
            .variables
            .insert(name, variable.clone().unbind());
        drop(old);
        Ok(variable)
    }

    pub(super) fn reference(this: &Bound<'_, Self>) -> LibraryReference {
        LibraryReference {
            object: this.clone().into_any().unbind(),
            inner: this.get().inner.clone(),
        }
    }

    /// Returns the path from which a pickle loads the library.
    pub(super) fn source(&self) -> Option<OsString> {
        self.inner.path().map(|path| path.as_os_str().to_owned())
    }

    pub(super) fn bind<'py>(
        this: &Bound<'py, Self>,
        prototype: Prototype,
        origin: Origin,
        options: Options,
    ) -> PyResult<Bound<'py, Function>> {
        let py = this.py();
        let library = &this.get().inner;
        // SAFETY: by the docs of `load`, its user guarantees the prototype.
        let function = py.detach(|| unsafe { library.bind(prototype) });
        let mut function = function.map_err(|error| errors::bind(py, &error))?;
        if !function.prototype().destructors.is_empty() {
            let declared = |name: &str| this.get().declared_prototype(name);
            let destructor = function.prototype().destructor(declared);
            // SAFETY: by the docs of `load`, its user guarantees the prototypes.
            function = unsafe { function.with_destructor(destructor) };
        }
        methods::bind(this, function, (origin, None), options)
    }

    pub(super) fn bind_address<'py>(
        this: &Bound<'py, Self>,
        prototype: Prototype,
        object: &Bound<'py, PyAny>,
        options: Options,
    ) -> PyResult<Bound<'py, Function>> {
        let py = this.py();
        let address = address_of(object)?;
        // SAFETY: by the docs of `Library.function`, its user guarantees the prototype and the address.
        let function = unsafe { this.get().inner.bind_address(prototype, address) };
        let function = function.map_err(|error| errors::bind(py, &error))?;
        let kept = PyTuple::new(py, [object])?.unbind();
        methods::bind(this, function, (Origin::Address, Some(kept)), options)
    }

    /// Returns the prototype of a function of the header; `None` if there is none, or if it can't be
    /// called.
    fn declared_prototype(&self, name: &str) -> Option<Prototype> {
        self.declarations.function(name)?.prototype.ok()
    }

    /// Binds the header's function of that name; `None` if there is none.
    pub(super) fn declared<'py>(
        this: &Bound<'py, Self>,
        name: &str,
        options: Options,
    ) -> PyResult<Option<Bound<'py, Function>>> {
        let declarations = &this.get().declarations;
        match this.py().detach(|| declarations.function(name)) {
            Some(function) => match function.prototype {
                Ok(prototype) => {
                    // A header that is sent to another process is one text, without its files.
                    let header = &this.get().header;
                    let has_prototypes = |source: &HeaderSource| source.has_prototypes();
                    let origin = if header.as_ref().is_some_and(has_prototypes) {
                        Origin::Text(prototype.to_string())
                    } else {
                        Origin::Header
                    };
                    Self::bind(this, prototype, origin, options).map(Some)
                }
                Err(error) => Err(errors::prototype(this.py(), &error)),
            },
            None => Ok(None),
        }
    }
}

/// Returns the address that an object gives: an int, a handle, or a pointer of ctypes.
///
/// # Errors
///
/// `ValueError` if it is 0, or if a handle is closed.
pub(super) fn address_of(object: &Bound<'_, PyAny>) -> PyResult<NonNull<c_void>> {
    let address = if let Ok(handle) = object.cast::<Handle>() {
        handle.get().inner().address()
    } else if let Some(HostValue::Function { address, .. }) = callback::function_value(object) {
        NonNull::new(address.cast_mut())
    } else if let Some(pointer) = CValue::read(object)? {
        let address = pointer.address().ok_or_else(|| {
            PyTypeError::new_err(
                "address: expected an int, a handle or a pointer, got another value of C",
            )
        })?;
        handle::address(address as u64)
    } else {
        handle::address(foreign::address_of(object)? as u64)
    };
    address.ok_or_else(|| PyValueError::new_err("address: expected one that is not 0, got 0"))
}
