//! Structs in memory, and the Python objects that their pointers keep alive.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::mem;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mapcall::contract::HostValue;
use mapcall::ctype::{Body, CType, Record};
use mapcall::function::InUse;
use numpy::PyUntypedArray;
use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;

use super::handle::Ending;
use super::snapshot::Snapshot;
use super::{ndarray, structure};

/// A `Library` object, or None, and the library of the core.
pub(super) struct LibraryReference {
    pub(super) object: Py<PyAny>,
    pub(super) inner: mapcall::Library,
}

impl LibraryReference {
    pub(super) fn clone_ref(&self, py: Python<'_>) -> Self {
        Self {
            object: self.object.clone_ref(py),
            inner: self.inner.clone(),
        }
    }

    /// Returns a struct by the tag of a type that was declared only where a pointer to it was: one that the
    /// library has defined since.
    pub(super) fn completed(&self, py: Python<'_>, ctype: &CType) -> CType {
        let CType::Record(record) = ctype.resolved() else {
            return ctype.clone();
        };
        let Some(tag) = record
            .tag
            .as_ref()
            .filter(|_| record.body == Body::Incomplete)
        else {
            return ctype.clone();
        };
        // The library may have no such struct.
        let found = self
            .object
            .bind(py)
            .call_method1(intern!(py, "struct"), (tag,));
        let found = found.ok().and_then(|found| {
            let found = found.cast::<Struct>().ok()?.get();
            Some(found.ctype.clone())
        });
        found.unwrap_or_else(|| ctype.clone())
    }
}

/// A C struct or union with the layout of the C compiler.
///
/// >>> import mapcall
/// >>> import numpy as np
/// >>> lib = mapcall.load(None)
/// >>> _ = lib.function("typedef struct { int quot, rem; } div_t; div_t div(int numer, int denom)")
/// >>> lib.struct("div_t").dtype
/// dtype([('quot', '<i4'), ('rem', '<i4')], align=True)
/// >>> np.zeros(3, lib.struct("div_t").dtype)["rem"]
/// array([0, 0, 0], dtype=int32)
///
/// `Library.struct` returns it. Calling it makes a struct in memory, from its members by name; those that are
/// left out are zero, as in C.
///
/// >>> result = lib.struct("div_t")(quot=3)
/// >>> result
/// <div_t: quot=3, rem=0>
/// >>> result.rem = 1
/// >>> np.asarray(result)
/// array((3, 1), dtype=...)
///
/// Raises
/// ------
/// ArgumentError
///     If there is no such member, or if it does not take the value.
#[pyclass(frozen, module = "mapcall")]
pub(crate) struct Struct {
    pub(super) name: String,
    pub(super) ctype: CType,
    pub(super) library: LibraryReference,
}

impl Struct {
    pub(super) fn new(name: &str, ctype: CType, library: LibraryReference) -> Self {
        Self {
            name: name.to_owned(),
            ctype,
            library,
        }
    }

    pub(super) fn record(&self) -> PyResult<&Record> {
        match self.ctype.resolved() {
            CType::Record(record) => Ok(record),
            _ => Err(PyValueError::new_err(format!("{} is no struct", self.name))),
        }
    }
}

/// The objects that pointers in C's memory lead to.
#[derive(Default)]
pub(super) struct Kept {
    /// Arrays, texts, callbacks, structs and handles.
    pub(super) objects: Vec<Py<PyAny>>,
    /// The pointers of the handles among them, which stay valid.
    pub(super) handles: Vec<Ending<InUse>>,
    /// The arrays among them, as they were when their addresses were taken.
    pub(super) arrays: Vec<Snapshot>,
    /// Whether C gets a function that needs the interpreter's lock.
    pub(super) calls_back: bool,
}

impl Kept {
    fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.handles.is_empty() && self.arrays.is_empty()
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

/// The memory of a struct, shared by the objects for it and for the structs in it.
#[pyclass(frozen, module = "mapcall._mapcall")]
pub(crate) struct StructMemory {
    /// The object that owns the memory.
    owner: Py<PyAny>,
    address: NonNull<c_void>,
    is_read_only: bool,
    /// What the pointers lead to, by the bytes that were assigned together. It is locked by attached threads
    /// only, and never while Python code runs.
    kept: Mutex<Vec<(Range<usize>, Kept)>>,
}

// SAFETY: the memory at the address is accessed by attached threads only, of which one runs at a time.
unsafe impl Send for StructMemory {}
// SAFETY: the memory at the address is accessed by attached threads only, of which one runs at a time.
unsafe impl Sync for StructMemory {}

impl StructMemory {
    /// Returns memory that `owner` keeps alive.
    pub(super) fn new(owner: Py<PyAny>, address: NonNull<c_void>, is_read_only: bool) -> Self {
        Self {
            owner,
            address,
            is_read_only,
            kept: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Range<usize>, Kept)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps alive what the pointers in a range of the memory lead to. Returns what was kept for bytes that
    /// all lie in the range, to be dropped once they have been written.
    fn keep(&self, range: Range<usize>, new: Kept) -> Vec<(Range<usize>, Kept)> {
        let mut kept = self.kept();
        let is_replaced =
            |(old, _): &mut (Range<usize>, Kept)| range.start <= old.start && old.end <= range.end;
        let old = kept.extract_if(.., is_replaced).collect();
        if !new.is_empty() {
            kept.push((range, new));
        }
        old
    }

    /// Returns the objects that the pointers in a range keep alive.
    pub(super) fn objects<'py>(
        &self,
        py: Python<'py>,
        range: Range<usize>,
    ) -> Vec<Bound<'py, PyAny>> {
        let kept = self.kept();
        let overlaps = |other: &Range<usize>| other.start < range.end && range.start < other.end;
        let kept = kept.iter().filter(|(other, _)| overlaps(other));
        let objects = kept.flat_map(|(_, kept)| &kept.objects);
        objects.map(|object| object.bind(py).clone()).collect()
    }
}

#[pymethods]
impl StructMemory {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // If it is locked, it is in use and no garbage.
        if let Ok(kept) = self.kept.try_lock() {
            for object in kept.iter().flat_map(|(_, kept)| &kept.objects) {
                visit.call(object)?;
            }
        }
        visit.call(&self.owner)
    }

    fn __clear__(&self) {
        let kept = mem::take(&mut *self.kept());
        drop(kept);
    }
}

/// A C struct or union in memory.
///
/// >>> import mapcall
/// >>> import numpy as np
/// >>> libc = mapcall.load(None)
/// >>> strlen = libc.function(
/// ...     "struct slice { const double *data; size_t len; }; size_t strlen(const char *s)")
/// >>> x = libc.struct("slice")(data=np.ones(4), len=4)
/// >>> x.len = 3
/// >>> x.data.array(x.len)
/// array([1., 1., 1.])
///
/// Made by calling a `Struct`; `Struct.at` and the members of other structs give such objects, too. Its
/// attributes are the members. It is an argument for parameters that take the struct by its address or by
/// value.
///
/// A member that is a pointer takes an array, a text, a handle, a struct, a list of these or None, and the
/// object keeps alive what it is given. An array gives C its address only: that it has as many elements as
/// C expects can't be checked. A function pointer takes a bound function or a callable.
///
/// Reading a pointer gives a `Handle`, whose `array` and `text` read C's memory; None for NULL, and
/// a `Function` for a function pointer. A struct without pointers is an array of NumPy as well, without a
/// copy: ``numpy.asarray(x)``.
#[pyclass(frozen, module = "mapcall", weakref)]
pub(crate) struct StructObject {
    pub(super) library: LibraryReference,
    pub(super) ctype: CType,
    pub(super) memory: Py<StructMemory>,
    /// The offset of the struct in the memory, in bytes.
    pub(super) offset: usize,
}

impl StructObject {
    /// Returns the struct at the start of memory that `owner` keeps alive.
    pub(super) fn new(
        py: Python<'_>,
        library: LibraryReference,
        ctype: CType,
        memory: StructMemory,
    ) -> PyResult<Self> {
        Ok(Self {
            library,
            ctype,
            memory: Py::new(py, memory)?,
            offset: 0,
        })
    }

    /// Returns the address of the struct.
    pub(super) fn address(&self) -> NonNull<c_void> {
        let base = self.memory.get().address;
        let address = base.as_ptr().wrapping_byte_add(self.offset);
        NonNull::new(address).unwrap_or(base)
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.memory.get().is_read_only
    }

    pub(super) fn size(&self) -> usize {
        self.ctype.size().unwrap_or_default()
    }

    /// Returns the value for the check of an argument that is passed by its address.
    pub(super) fn value(&self) -> HostValue<'_> {
        HostValue::Struct {
            ctype: &self.ctype,
            address: self.address().as_ptr(),
            is_read_only: self.is_read_only(),
        }
    }

    /// Returns the objects that the pointers in the struct keep alive.
    pub(super) fn objects<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyAny>> {
        let range = self.offset..self.offset + self.size();
        self.memory.get().objects(py, range)
    }

    /// Returns whether C may call back through a pointer in the struct.
    pub(super) fn calls_back(&self) -> bool {
        let kept = self.memory.get().kept();
        kept.iter().any(|(_, kept)| kept.calls_back)
    }

    /// Returns a copy of bytes of the struct.
    pub(super) fn read(&self, range: Range<usize>) -> Vec<u8> {
        if range.end > self.size() || range.start > range.end {
            return Vec::new();
        }
        let from = self.address().as_ptr().wrapping_byte_add(range.start);
        // SAFETY: the owner of the memory keeps all bytes of the struct valid, and the range lies in it.
        unsafe { slice::from_raw_parts(from.cast::<u8>(), range.len()) }.to_vec()
    }

    /// Writes bytes of the struct, and keeps alive what their pointers lead to.
    pub(super) fn write(
        &self,
        py: Python<'_>,
        offset: usize,
        bytes: &[u8],
        mut kept: Kept,
    ) -> PyResult<()> {
        if offset + bytes.len() > self.size() {
            return Ok(());
        }
        let start = self.offset + offset;
        kept.hold_arrays(py)?;
        let old = self.memory.get().keep(start..start + bytes.len(), kept);
        let to = self.address().as_ptr().wrapping_byte_add(offset);
        // SAFETY: the owner of the memory keeps all bytes of the struct valid and writeable unless it is
        // read-only, which the caller has checked, and the range lies in it. `bytes` is memory of Rust.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to.cast::<u8>(), bytes.len()) };
        // Python code and destructors may run.
        drop(old);
        Ok(())
    }

    /// Returns an array on the struct, with axes of length 1.
    ///
    /// # Errors
    ///
    /// `ValueError` if it has no dtype.
    pub(super) fn array<'py>(
        &self,
        py: Python<'py>,
        ndim: usize,
    ) -> PyResult<Bound<'py, PyUntypedArray>> {
        let dtype = structure::dtype(py, &self.ctype)?;
        let owner = self.memory.bind(py).clone().into_any();
        let shape = vec![1; ndim];
        let is_writeable = !self.is_read_only();
        let array = ndarray::on_memory(&dtype, &shape, self.address(), is_writeable, owner)?;
        Ok(array.cast_into::<PyUntypedArray>()?)
    }
}

/// Returns whether a value of a type has pointers in it.
pub(super) fn has_pointers(ctype: &CType) -> bool {
    match ctype.resolved() {
        CType::Pointer(_) => true,
        CType::Array(array) => has_pointers(&array.item),
        CType::Record(record) => match &record.body {
            Body::Complete { members, .. } => {
                members.iter().any(|member| has_pointers(&member.ctype))
            }
            _ => false,
        },
        _ => false,
    }
}

/// Makes memory for a number of values of a type, filled with zeros. Returns the array that owns it.
pub(super) fn allocate<'py>(
    py: Python<'py>,
    ctype: &CType,
    count: usize,
) -> PyResult<(Bound<'py, PyUntypedArray>, NonNull<c_void>)> {
    let array = ndarray::zeros(&structure::dtype(py, ctype)?, &[count], false)?;
    let address = ndarray::memory(&array).address.cast::<c_void>();
    let address = NonNull::new(address).unwrap_or(NonNull::dangling());
    Ok((array, address))
}
