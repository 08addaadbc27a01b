//! The objects, closures and handles that a call keeps alive until it ends.

use mapcall::call::Closure;
use mapcall::contract::BroadcastPlan;
use mapcall::function::InUse;
use pyo3::prelude::*;

use super::errors;
use super::handle::Ending;
use super::kept::{Kept, KeptHandle};

/// The resources that a call holds until it ends. Most calls have none.
#[derive(Default)]
pub(super) struct CallResources(Option<Box<Resources>>);

#[derive(Default)]
struct Resources {
    /// Objects whose memory is passed, beside the arguments themselves.
    objects: Vec<Py<PyAny>>,
    /// C functions for the callables among the arguments.
    callbacks: Vec<Closure>,
    /// Handles among the arguments, which can't be closed during the call.
    handles: Vec<Ending<InUse>>,
    /// Handles behind pointers in memory that is passed.
    inner_handles: Vec<KeptHandle>,
    calls_back: bool,
}

impl CallResources {
    /// Adds what the pointers in memory of the call lead to. The arrays are added by the caller.
    pub(super) fn add_kept(&mut self, kept: Kept) {
        let resources = self.0.get_or_insert_default();
        resources.objects.extend(kept.objects);
        resources.inner_handles.extend(kept.handles);
        resources.calls_back |= kept.calls_back;
    }

    pub(super) fn add_object(&mut self, object: Bound<'_, PyAny>) {
        self.0.get_or_insert_default().objects.push(object.unbind());
    }

    /// Returns whether the call has none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Adds a handle, and returns it.
    pub(super) fn add_handle(&mut self, handle: InUse) -> &InUse {
        let handles = &mut self.0.get_or_insert_default().handles;
        handles.push_mut(Ending::new(handle))
    }

    pub(super) fn add_callback(&mut self, closure: Closure) {
        let resources = self.0.get_or_insert_default();
        resources.callbacks.push(closure);
        resources.calls_back = true;
    }

    /// Notes that C gets a callback whose closure another object keeps alive.
    pub(super) fn note_callback(&mut self) {
        self.0.get_or_insert_default().calls_back = true;
    }

    /// Returns the objects whose memory is passed, beside the arguments themselves.
    pub(super) fn objects<'py>(&self, py: Python<'py>) -> impl Iterator<Item = Bound<'py, PyAny>> {
        let resources = self.0.iter();
        let objects = resources.flat_map(|resources| {
            let handles = resources.inner_handles.iter().map(|handle| &handle.object);
            resources.objects.iter().chain(handles)
        });
        objects.map(move |object| object.bind(py).clone())
    }

    /// Closes the handles whose objects C owns after the call, or after the batch.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if there is such a handle, and the batch has several calls or a mask.
    #[inline]
    pub(super) fn hand_over(
        &mut self,
        py: Python<'_>,
        function: &mapcall::Function,
        broadcast: Option<&BroadcastPlan>,
    ) -> PyResult<()> {
        let Some(resources) = &mut self.0 else {
            return Ok(());
        };
        let handles = resources.handles.iter_mut().map(|handle| &mut **handle);
        let handed_over = function.hand_over(handles, broadcast);
        handed_over.map_err(|error| errors::argument(py, &error))
    }

    /// Returns whether C gets a function that needs the interpreter's lock, and that it may call on
    /// another thread.
    pub(super) fn calls_back(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|resources| resources.calls_back)
    }
}
