//! Structs in memory, and the Python objects that their pointers keep alive.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ops::Range;
use std::ptr::{self, NonNull};
use std::slice;

use mapcall::contract::HostValue;
use mapcall::ctype::{Body, CType, Record};
use numpy::PyUntypedArray;
use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use super::handle::Handle;
use super::kept::{Kept, KeptObjects, KeptPointers};
use super::{ndarray, structure};
use crate::once::intern;

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
        let Some(tag) = only_declared(ctype).and_then(|record| record.tag.as_ref()) else {
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

/// Returns the struct or union that a type declares by its tag, without its members; `None` for any other type.
pub(super) fn only_declared(ctype: &CType) -> Option<&Record> {
    match ctype.resolved() {
        CType::Record(record) if record.body == Body::Incomplete => Some(record),
        _ => None,
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

/// The memory of a struct, shared by the objects for it and for the structs in it.
#[pyclass(frozen, module = "mapcall._mapcall")]
pub(crate) struct StructMemory {
    /// The object that owns the memory.
    owner: Py<PyAny>,
    address: NonNull<c_void>,
    /// The address in C's memory, which is another one if `address` is that of a callback's copy.
    origin: usize,
    /// The size in bytes, as far as it is known.
    size: usize,
    is_read_only: bool,
    /// Whether another object owns the memory, and keeps alive what the pointers in it lead to.
    is_view: bool,
    /// What the pointers lead to, by their addresses in C's memory.
    kept: Py<KeptObjects>,
}

// SAFETY: the memory at the address is accessed by attached threads only, of which one runs at a time.
unsafe impl Send for StructMemory {}
// SAFETY: the memory at the address is accessed by attached threads only, of which one runs at a time.
unsafe impl Sync for StructMemory {}

impl StructMemory {
    /// Returns memory that `owner` keeps alive.
    pub(super) fn new(
        py: Python<'_>,
        owner: Py<PyAny>,
        address: NonNull<c_void>,
        size: usize,
        is_read_only: bool,
    ) -> PyResult<Self> {
        let kept = Py::new(py, KeptObjects::default())?;
        let memory = Self::sharing(owner, address, is_read_only, (address.addr().get(), kept));
        Ok(Self {
            size,
            is_view: false,
            ..memory
        })
    }

    /// Returns memory at an address of C's, whose owner keeps alive what the pointers in it lead to.
    pub(super) fn sharing(
        owner: Py<PyAny>,
        address: NonNull<c_void>,
        is_read_only: bool,
        (origin, kept): (usize, Py<KeptObjects>),
    ) -> Self {
        Self {
            owner,
            address,
            origin,
            size: 0,
            is_read_only,
            is_view: true,
            kept,
        }
    }

    /// Returns what the pointers in the memory keep alive.
    pub(super) fn kept(&self) -> &Py<KeptObjects> {
        &self.kept
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    /// Returns the addresses in C's memory of a range of bytes.
    fn addresses(&self, range: &Range<usize>) -> Range<usize> {
        let [start, end] = [range.start, range.end].map(|at| self.origin.saturating_add(at));
        start..end
    }

    /// Returns the offset of `size` bytes at an address; `None` if they do not all lie in the memory.
    pub(super) fn offset_of(&self, address: usize, size: usize) -> Option<usize> {
        let offset = address.checked_sub(self.address.addr().get())?;
        let is_inside = offset.checked_add(size).is_some_and(|end| end <= self.size);
        is_inside.then_some(offset)
    }

    /// Keeps alive what the pointers lead to that are written to a range of the memory: see [`keep_pointers`].
    pub(super) fn keep(
        &self,
        py: Python<'_>,
        range: &Range<usize>,
        new: KeptPointers,
    ) -> PyResult<Vec<Kept>> {
        keep_pointers(py, &self.kept, &self.addresses(range), new)
    }

    /// Returns the objects that the pointers in a range keep alive.
    pub(super) fn objects<'py>(
        &self,
        py: Python<'py>,
        range: &Range<usize>,
    ) -> Vec<Bound<'py, PyAny>> {
        self.kept.get().objects(py, &self.addresses(range))
    }
}

#[pymethods]
impl StructMemory {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.kept)?;
        visit.call(&self.owner)
    }
}

/// Keeps alive what the pointers lead to that are written to a range of addresses: see [`KeptObjects::keep`]. The
/// owner of `kept` does not keep itself: pointers in its memory may lead back to it.
pub(super) fn keep_pointers(
    py: Python<'_>,
    kept: &Py<KeptObjects>,
    written: &Range<usize>,
    mut new: KeptPointers,
) -> PyResult<Vec<Kept>> {
    let is_other = |object: &Py<PyAny>| {
        let object = object.bind(py);
        let own = if let Ok(memory) = object.cast::<StructMemory>() {
            Some(&memory.get().kept)
        } else if let Ok(object) = object.cast::<StructObject>() {
            Some(&object.get().memory.get().kept)
        } else {
            let handle = object.cast::<Handle>().ok();
            handle.and_then(|handle| handle.get().known_pointer()?.known_pointers())
        };
        !own.is_some_and(|own| own.is(kept))
    };
    for (_, pointer) in &mut new {
        pointer.retain(is_other);
    }
    new.retain(|(_, pointer)| !pointer.is_empty());
    kept.get().keep(py, written, new)
}

/// Returns whether C may call back through pointers that keep objects alive, or through pointers in the memory of
/// structs among these.
fn calls_back(py: Python<'_>, kept: &Py<KeptObjects>) -> bool {
    let mut all = vec![kept.clone_ref(py)];
    let mut visited = 0;
    while let Some(kept) = all.get(visited) {
        visited += 1;
        if kept.get().calls_back() {
            return true;
        }
        for object in kept.get().all(py) {
            let inner = match (object.cast::<StructMemory>(), object.cast::<StructObject>()) {
                (Ok(memory), _) => &memory.get().kept,
                (_, Ok(object)) => &object.get().memory.get().kept,
                _ => continue,
            };
            if !all.iter().any(|known| known.is(inner)) {
                all.push(inner.clone_ref(py));
            }
        }
    }
    false
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
        self.memory.get().objects(py, &self.range())
    }

    /// Returns what the pointers of a copy of the struct keep alive, by their offsets in bytes.
    pub(super) fn pointers(&self, py: Python<'_>) -> KeptPointers {
        let memory = self.memory.get();
        let mut pointers = memory
            .kept
            .get()
            .shared(py, &memory.addresses(&self.range()));
        // C's own pointers may lead into C's memory.
        let owner = if memory.is_view {
            self.memory.clone_ref(py).into_any()
        } else {
            memory.owner.clone_ref(py)
        };
        let owner = Kept {
            objects: vec![owner],
            ..Kept::default()
        };
        pointers.push((0..self.size(), owner));
        pointers
    }

    /// Returns the bytes of the memory that are those of the struct.
    fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.size()
    }

    /// Returns whether C may call back through a pointer in the struct, or behind one.
    pub(super) fn calls_back(&self, py: Python<'_>) -> bool {
        calls_back(py, &self.memory.get().kept)
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
        kept: KeptPointers,
    ) -> PyResult<()> {
        if offset + bytes.len() > self.size() {
            return Ok(());
        }
        let start = self.offset + offset;
        let range = start..start + bytes.len();
        let old = self.memory.get().keep(py, &range, kept)?;
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
