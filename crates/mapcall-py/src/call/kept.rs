//! The Python objects that pointers in C's memory keep alive.

use std::collections::BTreeMap;
use std::mem;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;

use super::snapshot::Snapshot;

/// The objects that one pointer, or several that were written together, lead to.
#[derive(Default)]
pub(super) struct Kept {
    /// Arrays, texts, callbacks, and the memory of structs.
    pub(super) objects: Vec<Py<PyAny>>,
    pub(super) handles: Vec<KeptHandle>,
    /// The arrays among the objects, as they were when their addresses were taken.
    pub(super) arrays: Vec<Snapshot>,
    /// Whether C gets a function that needs the interpreter's lock.
    pub(super) calls_back: bool,
}

/// A handle that stays open.
pub(super) struct KeptHandle {
    pub(super) object: Py<PyAny>,
    /// What keeps its pointer valid.
    pub(super) in_use: Arc<dyn Send + Sync>,
}

/// What is kept alive for pointers, by the bytes that they are in.
pub(super) type KeptPointers = Vec<(Range<usize>, Kept)>;

impl Kept {
    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.handles.is_empty() && self.arrays.is_empty()
    }

    /// Returns all objects.
    pub(super) fn objects(&self) -> impl Iterator<Item = &Py<PyAny>> {
        let handles = self.handles.iter().map(|handle| &handle.object);
        self.objects.iter().chain(handles)
    }

    /// Keeps only the objects, handles among them, for which `is_kept` returns true.
    pub(super) fn retain(&mut self, is_kept: impl Fn(&Py<PyAny>) -> bool) {
        self.objects.retain(&is_kept);
        self.handles.retain(|handle| is_kept(&handle.object));
    }

    /// Adds what others keep alive.
    pub(super) fn extend(&mut self, other: Self) {
        self.objects.extend(other.objects);
        self.handles.extend(other.handles);
        self.arrays.extend(other.arrays);
        self.calls_back |= other.calls_back;
    }

    /// Returns the same for a copy of the pointers. The arrays are held.
    fn shared(&self, py: Python<'_>) -> Self {
        let objects = self.objects.iter();
        let handles = self.handles.iter().map(|handle| KeptHandle {
            object: handle.object.clone_ref(py),
            in_use: Arc::clone(&handle.in_use),
        });
        Self {
            objects: objects.map(|object| object.clone_ref(py)).collect(),
            handles: handles.collect(),
            arrays: Vec::new(),
            calls_back: self.calls_back,
        }
    }

    /// Replaces the copies of the arrays' fields by weak references, which prevent NumPy from resizing the
    /// arrays: see `Snapshots::forbid_resizing`.
    fn hold_arrays(&mut self, py: Python<'_>) -> PyResult<()> {
        for snapshot in mem::take(&mut self.arrays) {
            let array = snapshot.array(py);
            let reference = PyWeakrefReference::new(array)?;
            self.objects.push(reference.into_any().unbind());
            self.objects.push(array.clone().into_any().unbind());
        }
        Ok(())
    }
}

/// The objects that pointers in C's memory lead to, by the addresses of the pointers.
///
/// The owner of the memory has it (a struct, a handle, a variable, a callback), and so has each object by which
/// Python code reaches the memory from there: the views of its elements, and the handles that it contains.
#[pyclass(frozen, module = "mapcall._mapcall")]
#[derive(Default)]
pub(crate) struct KeptObjects(Mutex<Pointers>);

/// It is locked by attached threads only, and never while Python code runs.
#[derive(Default)]
struct Pointers {
    /// By the first address and the one behind the last.
    kept: BTreeMap<(usize, usize), Kept>,
    /// The maximum number of bytes of a range.
    longest: usize,
    /// The number of ranges through which C may call back.
    callbacks: usize,
}

impl Pointers {
    /// Returns what is kept for pointers that have bytes in a range.
    fn overlapping(&self, range: &Range<usize>) -> impl Iterator<Item = (Range<usize>, &Kept)> {
        let (start, end) = (range.start, range.end);
        let first = (start.saturating_sub(self.longest), 0);
        let kept = self.kept.range(first..(end.max(first.0), 0));
        let kept = kept.map(|(&(start, end), kept)| (start..end, kept));
        kept.filter(move |(other, _)| other.end > start)
    }
}

impl KeptObjects {
    fn pointers(&self) -> MutexGuard<'_, Pointers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps alive what the pointers lead to that are written to a range of addresses; their own ranges are relative
    /// to it. Returns what was kept for pointers that all lie in the range, to be dropped once they have been written.
    ///
    /// # Errors
    ///
    /// `MemoryError`.
    pub(super) fn keep(
        &self,
        py: Python<'_>,
        written: &Range<usize>,
        mut new: KeptPointers,
    ) -> PyResult<Vec<Kept>> {
        for (_, kept) in &mut new {
            kept.hold_arrays(py)?;
        }
        let mut pointers = self.pointers();
        let replaced = pointers.overlapping(written);
        let replaced = replaced.map(|(range, _)| range);
        let replaced: Vec<_> = replaced
            .filter(|range| written.start <= range.start && range.end <= written.end)
            .collect();
        let old: Vec<Kept> = replaced
            .into_iter()
            .filter_map(|range| pointers.kept.remove(&(range.start, range.end)))
            .collect();
        pointers.callbacks -= old.iter().filter(|kept| kept.calls_back).count();
        for (range, kept) in new {
            let [start, end] = [range.start, range.end].map(|at| written.start.saturating_add(at));
            pointers.longest = pointers.longest.max(end - start);
            let known = pointers.kept.entry((start, end)).or_default();
            let is_new_callback = kept.calls_back && !known.calls_back;
            known.extend(kept);
            pointers.callbacks += usize::from(is_new_callback);
        }
        Ok(old)
    }

    /// Returns what is kept for the pointers in a range of addresses, for a copy of them. The ranges are relative to
    /// it.
    pub(super) fn shared(&self, py: Python<'_>, range: &Range<usize>) -> KeptPointers {
        let pointers = self.pointers();
        let shared = pointers.overlapping(range).map(|(other, kept)| {
            let start = other.start.max(range.start) - range.start;
            let end = other.end.min(range.end) - range.start;
            (start..end, kept.shared(py))
        });
        shared.collect()
    }

    /// Returns the objects that are kept for the pointers in a range of addresses.
    pub(super) fn objects<'py>(
        &self,
        py: Python<'py>,
        range: &Range<usize>,
    ) -> Vec<Bound<'py, PyAny>> {
        let pointers = self.pointers();
        let objects = pointers.overlapping(range);
        let objects = objects.flat_map(|(_, kept)| kept.objects());
        objects.map(|object| object.bind(py).clone()).collect()
    }

    /// Returns whether C may call back through one of the pointers.
    pub(super) fn calls_back(&self) -> bool {
        self.pointers().callbacks > 0
    }

    /// Returns the objects that all pointers keep alive.
    pub(super) fn all<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        let pointers = self.pointers();
        let objects = pointers.kept.values().flat_map(Kept::objects);
        objects.map(|object| object.bind(py).clone()).collect()
    }

    /// Drops all objects: C's memory has ended.
    pub(super) fn clear(&self) {
        let pointers = mem::take(&mut *self.pointers());
        // Python code and destructors may run.
        drop(pointers);
    }
}

#[pymethods]
impl KeptObjects {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // If it is locked, it is in use and no garbage.
        if let Ok(pointers) = self.0.try_lock() {
            for object in pointers.kept.values().flat_map(Kept::objects) {
                visit.call(object)?;
            }
        }
        Ok(())
    }

    fn __clear__(&self) {
        self.clear();
    }
}
