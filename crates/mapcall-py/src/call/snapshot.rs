//! Copies of the fields of array arguments, to detect that they change after their check.
//!
//! Reading an argument may run Python code (its `__index__`, the protocol of a foreign array, a
//! finalizer when the garbage collector starts). Such code may give an array that has been checked
//! other memory, another shape or other flags. So the fields of each array are copied before it is
//! checked, and compared with the copy immediately before the call.

use std::ptr;

use mapcall::array::layout::Dims;
use mapcall::contract::{Contract, Memory, Problem, Role};
use numpy::{PyArrayDescr, PyUntypedArray};
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;
use smallvec::SmallVec;

use super::{errors, ndarray};

/// A copy of the fields of an array: its memory, shape, strides, dtype and flags.
pub(super) struct Snapshot {
    array: Py<PyUntypedArray>,
    dtype: Py<PyArrayDescr>,
    address: usize,
    shape: Dims<usize>,
    strides: Dims<isize>,
    is_contiguous: bool,
    is_writeable: bool,
    may_have_mask: bool,
    /// For a view: the address and size of its base array's memory, which can be resized.
    owner: Option<(usize, usize)>,
}

impl Snapshot {
    /// Copies the fields of an array.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if an element is masked.
    #[inline]
    pub(super) fn new(
        contract: &Contract,
        role: Role,
        array: &Bound<'_, PyUntypedArray>,
    ) -> PyResult<Self> {
        let may_have_mask = ndarray::may_have_mask(array)?;
        if may_have_mask {
            refuse_masked(contract, role, array)?;
        }
        Self::fields(array, may_have_mask)
    }

    /// Copies the fields of an array without masked elements.
    pub(super) fn of(array: &Bound<'_, PyUntypedArray>) -> PyResult<Self> {
        Self::fields(array, ndarray::may_have_mask(array)?)
    }

    #[inline]
    fn fields(array: &Bound<'_, PyUntypedArray>, may_have_mask: bool) -> PyResult<Self> {
        let memory = ndarray::memory(array);
        Ok(Self {
            array: array.clone().unbind(),
            dtype: ndarray::dtype_of(array).unbind(),
            address: memory.address.expose_provenance(),
            shape: Dims::from_slice(memory.shape),
            strides: Dims::from_slice(memory.strides),
            is_contiguous: memory.is_contiguous,
            is_writeable: memory.is_writeable,
            may_have_mask,
            owner: ndarray::owner(array),
        })
    }

    pub(super) fn array<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyUntypedArray> {
        self.array.bind(py)
    }

    pub(super) fn dtype<'a, 'py>(&'a self, py: Python<'py>) -> &'a Bound<'py, PyArrayDescr> {
        self.dtype.bind(py)
    }

    pub(super) fn memory<'a>(&'a self, py: Python<'a>) -> Memory<'a> {
        Memory {
            address: ptr::with_exposed_provenance_mut(self.address),
            shape: &self.shape,
            strides: &self.strides,
            is_contiguous: self.is_contiguous,
            is_writeable: self.is_writeable,
            is_shared: false,
            backing: ndarray::memory(self.array.bind(py)).backing,
        }
    }

    /// Returns whether the fields of the array are those that were copied.
    pub(super) fn is_current(&self, py: Python<'_>) -> bool {
        let array = self.array.bind(py);
        let memory = ndarray::memory(array);
        memory.address.addr() == self.address
            && memory.shape == self.shape.as_slice()
            && memory.strides == self.strides.as_slice()
            && memory.is_contiguous == self.is_contiguous
            && memory.is_writeable == self.is_writeable
            && ptr::eq(ndarray::descr(array).cast(), self.dtype.as_ptr())
            && ndarray::owner(array) == self.owner
    }
}

#[cold]
fn refuse_masked(
    contract: &Contract,
    role: Role,
    array: &Bound<'_, PyUntypedArray>,
) -> PyResult<()> {
    if !ndarray::is_masked(array)? {
        return Ok(());
    }
    let is_written = match role {
        Role::Parameter(_) | Role::Result => contract
            .array_rule(role)
            .is_some_and(|rule| !rule.is_const()),
        Role::Mask => false,
    };
    let found = errors::what(array)?;
    let problem = Problem::Masked { found, is_written };
    let refused = contract.refuse_role(role, problem);
    Err(errors::argument(array.py(), &refused))
}

/// The arrays of one call or batch.
#[derive(Default)]
pub(super) struct Snapshots {
    arrays: SmallVec<[(Role, Snapshot); 4]>,
    /// Weak references that prevent NumPy from resizing the arrays: see [`Snapshots::forbid_resizing`].
    references: Vec<Py<PyWeakrefReference>>,
}

impl Snapshots {
    pub(super) fn push(&mut self, role: Role, snapshot: Snapshot) {
        self.arrays.push((role, snapshot));
    }

    /// Returns the arrays, among them the views of other libraries' memory that were made for the call.
    pub(super) fn objects<'py>(&self, py: Python<'py>) -> impl Iterator<Item = Bound<'py, PyAny>> {
        let arrays = self.arrays.iter();
        arrays.map(move |(_, snapshot)| snapshot.array.bind(py).as_any().clone())
    }

    /// Prevents Python code that runs during the call from resizing the arrays: with `refcheck=False`,
    /// `ndarray.resize` frees the memory that C accesses, unless the array has a weak reference
    /// (`PyArray_Resize` in NumPy's `shape.c`).
    pub(super) fn forbid_resizing(&mut self, py: Python<'_>) -> PyResult<()> {
        for (_, snapshot) in &self.arrays {
            let reference = PyWeakrefReference::new(snapshot.array.bind(py))?;
            self.references.push(reference.unbind());
        }
        Ok(())
    }

    /// Checks that the arrays are unchanged since they were checked.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if an array has changed, or if an element has been masked since.
    #[inline]
    pub(super) fn check(&self, py: Python<'_>, contract: &Contract) -> PyResult<()> {
        let masked = self.arrays.iter().filter(|(_, array)| array.may_have_mask);
        for (role, array) in masked {
            refuse_masked(contract, *role, array.array.bind(py))?;
        }
        // From here on no Python code runs.
        let mut changed = self
            .arrays
            .iter()
            .filter(|(_, array)| !array.is_current(py));
        match changed.next() {
            None => Ok(()),
            Some((role, _)) => {
                let refused = contract.refuse_role(*role, Problem::Changed);
                Err(errors::argument(py, &refused))
            }
        }
    }
}
