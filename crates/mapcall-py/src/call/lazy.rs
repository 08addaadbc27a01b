//! Calls with lazy arrays, which have a shape and a dtype, but no memory yet: those of Dask.
//!
//! Such a call makes no call of C. The package builds a graph of tasks for it, by the shapes that the
//! check of the prototype finds.

#![allow(unsafe_code)]

use std::ptr;

use mapcall::array::layout::{Dims, Layout, Order};
use mapcall::batch::PreparedBatch;
use mapcall::contract::{Backing, Check, HostValue, Memory, Output, Problem, Role, Rule, Scalar};
use numpy::PyArrayDescr;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use smallvec::SmallVec;

use super::argument::Reader;
use super::expected::{self, Expected};
use super::function::Function;
use super::keywords::BatchOptions;
use super::parse_arguments::parse_arguments;
use super::returns::Returns;
use super::snapshot::Snapshots;
use super::{errors, ndarray, structure};
use crate::once::{Once, intern};

/// Returns the classes of lazy arrays: a dict from the class to the function that takes over calls with
/// its instances, `take_over(function, args, kwargs)`.
///
/// The package adds a class when the library that defines it is imported.
pub(crate) fn classes(py: Python<'_>) -> &Bound<'_, PyDict> {
    static CLASSES: Once<Py<PyDict>> = Once::new();
    CLASSES
        .get_or_init(py, || PyDict::new(py).unbind())
        .bind(py)
}

/// Hands a call over to the package if one of its arguments or options is a lazy array; `None` if none
/// is.
///
/// # Errors
///
/// The exceptions of the function that takes over.
pub(super) fn take_over<'py>(
    function: &Bound<'py, Function>,
    arguments: &[*mut PyObject],
    positional: usize,
    keywords: Option<&Bound<'py, PyTuple>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = function.py();
    let classes = classes(py);
    if classes.is_empty() {
        return Ok(None);
    }
    for argument in arguments {
        // SAFETY: the caller of the function has a reference to its argument.
        let argument = unsafe { Borrowed::from_ptr(py, *argument) };
        let Some(take_over) = classes.get_item(argument.get_type())? else {
            continue;
        };
        let objects = arguments.iter().map(|argument| {
            // SAFETY: the caller of the function has a reference to its argument.
            unsafe { Borrowed::from_ptr(py, *argument) }.to_owned()
        });
        let objects: Vec<_> = objects.collect();
        let (args, values) = objects.split_at_checked(positional).unwrap_or_default();
        let kwargs = PyDict::new(py);
        for (name, value) in keywords.iter().copied().flatten().zip(values) {
            kwargs.set_item(name, value)?;
        }
        return take_over
            .call1((function, PyTuple::new(py, args)?, kwargs))
            .map(Some);
    }
    Ok(None)
}

/// The description of a call: its arguments by parameter, the lengths of its loop dimensions (None if it
/// is no batch), and for each array that it returns the name of the parameter (None for the result), the
/// dtype and the shape.
type Description<'py> = (
    Bound<'py, PyDict>,
    Option<Bound<'py, PyTuple>>,
    Vec<DescribedOutput<'py>>,
);

/// Check a call by the shapes and dtypes of its arrays, and return its description.
///
/// >>> import mapcall
/// >>> import numpy as np
/// >>> frexp = mapcall.load("m").function("double frexp(double x, int exponent[1])")
/// >>> arguments, loop_shape, outputs = mapcall._mapcall.describe_call(frexp, (np.zeros((2, 3)),), {})
/// >>> list(arguments), loop_shape
/// (['x'], (2, 3))
/// >>> outputs
/// [(None, dtype('float64'), (2, 3)), ('exponent', dtype('int32'), (2, 3, 1))]
///
/// No array is read, C is not called, and ``out`` is ignored. A lazy array without axes is accepted for a
/// number: its value is checked by the call.
#[pyfunction]
pub(crate) fn describe_call<'py>(
    function: &Bound<'py, Function>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Description<'py>> {
    let (py, this) = (function.py(), function.get());
    let contract = this.inner.contract();
    let names = PyTuple::new(py, kwargs.keys())?;
    let objects: Vec<_> = args
        .iter()
        .chain(kwargs.values().iter().collect::<Vec<_>>())
        .collect();
    let pointers: Vec<_> = objects.iter().map(Bound::as_ptr).collect();
    let mut given: SmallVec<[*mut PyObject; 8]> =
        SmallVec::from_elem(ptr::null_mut(), contract.rules().len());
    let options = parse_arguments(py, this, &pointers, args.len(), Some(&names), &mut given)?;

    let mut slots = vec![0; contract.slots()];
    let converts = BatchOptions::converts(options.as_deref(), this.binding().options.converts)?;
    let check = Check::broadcasting(contract, &mut slots).unchecked(this.is_unchecked);
    let mut check = check.converting(converts);
    let mut arrays = Snapshots::default();
    let mut reader = Reader::new(py, this, &mut check, &mut arrays);
    let mut addresses = Addresses::default();
    let arguments = PyDict::new(py);
    let parameters = contract.rules().iter().zip(this.parameters()).enumerate();
    for ((position, (rule, (name, expected))), argument) in parameters.zip(&given) {
        // SAFETY: null, or an object of `objects`.
        let argument = unsafe { Borrowed::from_ptr_or_opt(py, *argument) };
        let Some(argument) = argument.filter(|argument| !argument.is_none()) else {
            reader.omit(position)?;
            continue;
        };
        arguments.set_item(name, &*argument)?;
        let Some(array) = Described::of(this, &argument)? else {
            reader.argument(position, rule, expected.as_ref(), &argument)?;
            continue;
        };
        let role = Role::Parameter(position);
        if let (Rule::Number(_) | Rule::Reference(_), true) = (rule, array.shape.is_empty()) {
            let checked = reader
                .check
                .argument(role, HostValue::Number(Scalar::Int(0)));
            checked.map_err(|error| errors::argument(py, &error))?;
            continue;
        }
        let expected = match rule {
            Rule::Number(_) | Rule::Inferred(_) | Rule::Record { .. } => this.scalar(py, role)?,
            _ => expected.as_ref(),
        };
        // Tasks copy the items of blocks into Fortran order.
        let core = match rule {
            Rule::Array(array) if array.is_column_major() => array.rank(),
            _ => 0,
        };
        let array = Described { core, ..array };
        array.check(reader.check, (role, expected), &mut addresses, &argument)?;
    }
    if let Some(mask) = options.as_ref().and_then(|options| options.mask.as_ref())
        && let Some(array) = Described::of(this, mask)?
    {
        array.check(reader.check, (Role::Mask, None), &mut addresses, mask)?;
    }
    check
        .finish()
        .map_err(|error| errors::argument(py, &error))?;

    let output = |output: &Output| describe_output(function, output);
    if check.broadcast().is_none() {
        let mut outputs = Vec::new();
        match this.scalar(py, Role::Result)? {
            Some(expected) => {
                let dtype = expected.dtype.bind(py).clone();
                outputs.push((None, dtype, PyTuple::empty(py)));
            }
            None if matches!(this.binding().returns, Returns::Void) => {}
            None => {
                let returns = this.inner.prototype().returns.to_string();
                let error = contract.refuse_all(Problem::Unbatched { returns });
                return Err(errors::argument(py, &error));
            }
        }
        let left_out = (0..).map_while(|index| check.output(index));
        for left_out in left_out {
            outputs.push(output(&left_out)?);
        }
        outputs.extend(status(function, &outputs, PyTuple::empty(py))?);
        return Ok((arguments, None, outputs));
    }
    let Some(batch) = PreparedBatch::new(&this.inner, check) else {
        return Ok((arguments, None, Vec::new()));
    };
    let loop_shape = PyTuple::new(py, batch.broadcast().shape())?;
    let mut outputs = batch
        .outputs()
        .iter()
        .map(output)
        .collect::<PyResult<Vec<_>>>()?;
    outputs.extend(status(function, &outputs, loop_shape.clone())?);
    Ok((arguments, Some(loop_shape), outputs))
}

/// The name of an output (None for the result), its dtype and its shape.
type DescribedOutput<'py> = (
    Option<String>,
    Bound<'py, PyArrayDescr>,
    Bound<'py, PyTuple>,
);

/// Returns the description of the statuses of a function that has no other output: nothing else would be computed.
fn status<'py>(
    function: &Bound<'py, Function>,
    outputs: &[DescribedOutput<'py>],
    shape: Bound<'py, PyTuple>,
) -> PyResult<Option<DescribedOutput<'py>>> {
    let prototype = function.get().inner.prototype();
    if !outputs.is_empty() || !function.get().inner.contract().is_status() {
        return Ok(None);
    }
    let dtype = structure::dtype(function.py(), &prototype.returns)?;
    Ok(Some((None, dtype, shape)))
}

/// Returns the name, dtype and shape of an output.
fn describe_output<'py>(
    function: &Bound<'py, Function>,
    output: &Output,
) -> PyResult<DescribedOutput<'py>> {
    let (py, this) = (function.py(), function.get());
    let (name, expected) = match output.role {
        Role::Parameter(position) => {
            let name = this.inner.contract().name(position).to_owned();
            (Some(name), this.expected(position))
        }
        role => (None, this.scalar(py, role)?),
    };
    let dtype = match expected {
        Some(expected) => expected.dtype.bind(py).clone(),
        None => numpy::dtype::<u8>(py),
    };
    Ok((name, dtype, PyTuple::new(py, &output.shape)?))
}

/// An array of which only the shape and the dtype are known.
struct Described<'py> {
    shape: Dims<usize>,
    dtype: Bound<'py, PyArrayDescr>,
    /// The number of its last axes that are described in Fortran order.
    core: usize,
}

impl<'py> Described<'py> {
    /// Returns the description of a lazy array, or of a NumPy array with axes; `None` for any other
    /// object.
    ///
    /// # Errors
    ///
    /// The exceptions of a lazy array's `shape` and `dtype`.
    fn of(function: &Function, object: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let py = object.py();
        if let Some(array) = ndarray::as_array(object, function.ndarray.as_ptr().cast()) {
            let shape = ndarray::memory(array).shape;
            return Ok((!shape.is_empty()).then(|| Self {
                shape: Dims::from_slice(shape),
                dtype: ndarray::dtype_of(array),
                core: 0,
            }));
        }
        if !classes(py).contains(object.get_type())? {
            return Ok(None);
        }
        let shape: Vec<usize> = object.getattr(intern!(py, "shape"))?.extract()?;
        let dtype = object.getattr(intern!(py, "dtype"))?;
        Ok(Some(Self {
            shape: shape.into_iter().collect(),
            dtype: dtype.cast_into::<PyArrayDescr>()?,
            core: 0,
        }))
    }

    /// Gives the array to a check, as one in C order at addresses that no other array has.
    ///
    /// # Errors
    ///
    /// `ArgumentError` if the check refuses it.
    fn check(
        &self,
        check: &mut Check<'_>,
        (role, expected): (Role, Option<&Expected>),
        addresses: &mut Addresses,
        object: &Bound<'py, PyAny>,
    ) -> PyResult<()> {
        let dtype = expected::convert(expected, &self.dtype);
        let itemsize = dtype.as_ref().map_or(1, |dtype| dtype.itemsize());
        let layout = Layout::contiguous(&self.shape, itemsize, Order::C)
            .map_err(|error| crate::errors::to_py(error.into()))?;
        let mut strides: Dims<isize> = layout.strides().into();
        let first = self.shape.len().saturating_sub(self.core);
        let mut step = itemsize;
        let core = strides.iter_mut().zip(&self.shape).skip(first);
        for (stride, length) in core.take(self.core) {
            *stride = step.cast_signed();
            step = step.wrapping_mul(*length);
        }
        let memory = Memory {
            address: addresses.take(layout.bounds().len()),
            shape: layout.shape(),
            strides: &strides,
            is_contiguous: self.core == 0,
            is_writeable: true,
            is_shared: false,
            backing: Backing::Private,
        };
        let value = HostValue::Array {
            memory,
            dtype: expected::borrowed(&dtype),
        };
        let checked = check.argument(role, value);
        checked.map_err(|error| errors::refused(*error, value, object))
    }
}

/// Disjoint ranges of addresses for arrays without memory. The check of a call compares addresses, and
/// reads nothing there.
struct Addresses {
    next: usize,
}

impl Default for Addresses {
    fn default() -> Self {
        Self { next: Self::STEP }
    }
}

impl Addresses {
    /// A multiple of the alignment of every C type.
    const STEP: usize = 1 << 12;

    fn take(&mut self, nbytes: usize) -> *mut u8 {
        let address = ptr::without_provenance_mut(self.next);
        let end = self.next.saturating_add(nbytes).saturating_add(1);
        self.next = end
            .checked_next_multiple_of(Self::STEP)
            .unwrap_or(self.next);
        address
    }
}
