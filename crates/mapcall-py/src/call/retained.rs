//! The arguments of a call that the handles of its results keep alive.

#![allow(unsafe_code)]

use std::sync::Arc;

use mapcall::contract::Rule;
use mapcall::function::KeepAlive;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::callback::Callback;
use super::function::Function;
use super::handle::Handle;
use super::kept::KeptObjects;
use super::scope::Scope;
use super::struct_object::StructObject;
use super::{foreign_function, ndarray};

/// The arguments of a call that the pointers which it returns may lead into. The handles of those
/// pointers keep them alive.
pub(super) struct Retained {
    /// Arrays, texts and other objects.
    pub(super) objects: Option<Py<PyTuple>>,
    /// The handles among the arguments, and the address ranges of read-only memory.
    pub(super) alive: KeepAlive,
    /// The scope of a handle among the arguments that is valid during a callback only.
    pub(super) scope: Option<Arc<Scope>>,
    /// What the pointers keep alive in the memory of the first handle or struct among the arguments, which the
    /// pointers that are returned may lead into.
    pub(super) pointers: Option<Py<KeptObjects>>,
}

impl Retained {
    /// Collects the objects from the arguments, and from `arrays`: the arrays that were made of
    /// arguments or allocated for the call.
    #[cold]
    pub(super) fn new<'py>(
        function: &Bound<'py, Function>,
        given: &[*mut PyObject],
        arrays: impl Iterator<Item = Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let (py, this) = (function.py(), function.get());
        let mut alive = KeepAlive::default();
        let mut scope = None;
        let mut pointers = None;
        let mut objects: Vec<Bound<'py, PyAny>> = Vec::new();
        let mut retain = |object: Bound<'py, PyAny>| {
            if !objects.iter().any(|known| known.is(&object)) {
                objects.push(object);
            }
        };
        let mut retain =
            |object: Bound<'py, PyAny>, alive: &mut KeepAlive, scope: &mut Option<Arc<Scope>>| {
                if let Ok(handle) = object.cast::<Handle>() {
                    alive.handle(handle.get().inner());
                    if scope.is_none() {
                        *scope = handle.get().scope().cloned();
                    }
                    let inherited = handle.get().kept().map(|objects| objects.bind(py).iter());
                    inherited.into_iter().flatten().for_each(&mut retain);
                    return;
                }
                retain(object);
            };
        for (rule, argument) in this.inner.contract().rules().iter().zip(given) {
            // SAFETY: null, or an argument, to which the caller of the function has a reference.
            let argument = unsafe { Borrowed::from_ptr_or_opt(py, *argument) };
            let Some(argument) = argument.filter(|argument| !argument.is_none()) else {
                continue;
            };
            let may_be_pointed_into = match rule {
                Rule::Number(_)
                | Rule::Reference(_)
                | Rule::Inferred(_)
                | Rule::Derived(_)
                | Rule::Record { .. } => false,
                // The closure of any other callable belongs to the call and ends with it.
                Rule::Function(_) => {
                    argument.is_instance_of::<Function>()
                        || argument.is_instance_of::<Callback>()
                        || foreign_function::read(&argument)?.is_some()
                }
                _ => true,
            };
            if may_be_pointed_into {
                if pointers.is_none() {
                    pointers = pointers_of(&argument)?;
                }
                retain(argument.to_owned(), &mut alive, &mut scope);
            }
        }
        arrays.for_each(|object| retain(object, &mut alive, &mut scope));
        for object in &objects {
            if let Some(bytes) = ndarray::read_only_bytes(object, this.ndarray.as_ptr().cast()) {
                alive.read_only(bytes);
            }
        }
        let objects = (!objects.is_empty()).then(|| PyTuple::new(py, objects));
        Ok(Self {
            objects: objects.transpose()?.map(Bound::unbind),
            alive,
            scope,
            pointers,
        })
    }
}

/// Returns what the pointers keep alive in the memory of a handle or a struct; `None` for other objects.
fn pointers_of(argument: &Bound<'_, PyAny>) -> PyResult<Option<Py<KeptObjects>>> {
    let py = argument.py();
    if let Ok(handle) = argument.cast::<Handle>() {
        return handle.get().pointers(py).map(Some);
    }
    let object = argument.cast::<StructObject>().ok();
    Ok(object.map(|object| object.get().memory.get().kept().clone_ref(py)))
}
