//! Opens files as memmaps.

#![allow(unsafe_code)]

use std::path::Path;

use mapcall_array::layout::Order;
use mapcall_array::{Array, CreateOptions, DType, Error, MapOptions, Mode, WrittenFile};
use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::convert;
use crate::errors::to_py;
use crate::map::new_array;
use crate::memory::Strides;
use crate::package::Package;
use crate::source::{Named, Source};

/// Map a raw file, by name or already open, as an array of `class`.
///
/// It implements the constructor ``numpy.memmap``.
///
/// >>> import mapcall
/// >>> mapcall._mapcall.memmap(mapcall.memmap, 'x.dat', 'i2', 'w+', 0, 3, 'C', False, 0)
/// memmap([0, 0, 0], dtype=int16)
#[pyfunction]
#[pyo3(signature = (class, filename, dtype, mode, offset, shape, order, allocate, reserve))]
#[expect(clippy::too_many_arguments, reason = "they are NumPy's")]
pub(crate) fn memmap<'py>(
    class: &Bound<'py, PyType>,
    filename: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
    mode: &Bound<'py, PyAny>,
    offset: &Bound<'py, PyAny>,
    shape: &Bound<'py, PyAny>,
    order: &Bound<'py, PyAny>,
    allocate: bool,
    reserve: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let mode = convert::mode(mode)?;
    let shape = convert::shape(shape)?;
    let dtype = convert::dtype(dtype)?;
    convert::check_axes(shape.as_deref(), &dtype)?;
    let offset = convert::offset(offset)?;
    let order = convert::order(order)?;
    let options = raw_options(mode, offset, &dtype, order, shape, reserve)?.allocate(allocate);
    let source = Source::new(filename)?;
    let name = source.filename()?;
    let array = source.map(py, &options, name.as_ref())?;
    let (buffer, strides) = (array.buffer(), Strides::Packed(order));
    new_array(class, buffer, name, offset, &dtype, array.layout(), strides)
}

/// Returns the options to map a raw file with items of a dtype of NumPy.
fn raw_options(
    mode: Mode,
    offset: u64,
    dtype: &Bound<'_, PyArrayDescr>,
    order: Order,
    shape: Option<Vec<usize>>,
    reserve: usize,
) -> PyResult<MapOptions> {
    // The core needs only the size of an item.
    let item = DType::void(dtype.itemsize()).map_err(|error| to_py(error.into()))?;
    let options = MapOptions::new()
        .mode(mode)
        .offset(offset)
        .dtype(item)
        .order(order)
        .reserve(reserve);
    Ok(match shape {
        Some(shape) => options.shape(shape),
        None => options,
    })
}

/// Map a raw file that exists as an array of `class`. It is never made longer.
///
/// >>> import mapcall
/// >>> import pathlib
/// >>> _ = pathlib.Path('x.dat').write_bytes(bytes(12))
/// >>> mapcall._mapcall.open_raw(mapcall.memmap, 'x.dat', '>i2', 'r', 4, (-1, 2), 'C', 0)
/// memmap([[0, 0],
///         [0, 0]], dtype='>i2')
#[pyfunction]
#[pyo3(signature = (class, path, dtype, mode, offset, shape, order, reserve))]
#[expect(clippy::too_many_arguments, reason = "they are those of `memmap`")]
pub(crate) fn open_raw<'py>(
    class: &Bound<'py, PyType>,
    path: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
    mode: &Bound<'py, PyAny>,
    offset: &Bound<'py, PyAny>,
    shape: &Bound<'py, PyAny>,
    order: &Bound<'py, PyAny>,
    reserve: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let mode = convert::mode(mode)?;
    if mode == Mode::Write {
        let message = "mode must be 'r', 'r+' or 'c', got 'w+'; mapcall.memmap makes raw files";
        return Err(PyValueError::new_err(message));
    }
    let (shape, inferred) = convert::shape_to_end(shape)?;
    let dtype = convert::dtype(dtype)?;
    convert::check_axes(shape.as_deref(), &dtype)?;
    let (offset, order) = (convert::offset(offset)?, convert::order(order)?);
    let mut options = raw_options(mode, offset, &dtype, order, shape, reserve)?.grow(false);
    if let Some(axis) = inferred {
        options = options.infer_axis(axis);
    }
    let file = Named::new(path)?;
    // SAFETY: no Rust reference to the bytes is made: they are copied through raw pointers, or read
    // and written by C code.
    let array = py.detach(|| unsafe { options.map(&file.path) });
    let array = array.map_err(|error| match &error {
        // NumPy's messages, which `memmap` has, do not say how long the file must be.
        Error::Map { .. } => PyValueError::new_err(error.to_string()),
        _ => to_py(error),
    })?;
    let (buffer, strides) = (array.buffer(), Strides::Packed(order));
    let name = file.filename()?;
    new_array(class, buffer, name, offset, &dtype, array.layout(), strides)
}

/// Map a ``.npy`` file, or an uncompressed member of a ``.npz`` file, as an array of `class`.
///
/// >>> import mapcall
/// >>> import numpy as np
/// >>> np.save('x.npy', np.arange(3))
/// >>> mapcall._mapcall.open(mapcall.memmap, 'x.npy', 'r', None, False, 0)
/// memmap([0, 1, 2])
#[pyfunction]
#[pyo3(signature = (class, path, mode, member, verify, reserve))]
pub(crate) fn open<'py>(
    class: &Bound<'py, PyType>,
    path: &Bound<'py, PyAny>,
    mode: &Bound<'py, PyAny>,
    member: Option<String>,
    verify: bool,
    reserve: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let mut options = MapOptions::new()
        .mode(convert::mode(mode)?)
        .verify(verify)
        .reserve(reserve);
    if let Some(member) = member {
        options = options.member(member);
    }
    let file = Named::new(path)?;
    // SAFETY: no Rust reference to the bytes is made: they are copied through raw pointers, or read
    // and written by C code.
    let array = py
        .detach(|| unsafe { options.open(&file.path) })
        .map_err(to_py)?;
    numpy_array(class, &array, file.filename()?)
}

/// Create a ``.npy`` file of zeros, and map it as an array of `class`.
///
/// >>> import mapcall
/// >>> mapcall._mapcall.create(mapcall.memmap, 'x.npy', 2, 'f8', 'C', False, 0)
/// memmap([0., 0.])
#[pyfunction]
#[pyo3(signature = (class, path, shape, dtype, order, overwrite, reserve))]
pub(crate) fn create<'py>(
    class: &Bound<'py, PyType>,
    path: &Bound<'py, PyAny>,
    shape: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
    order: &Bound<'py, PyAny>,
    overwrite: bool,
    reserve: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let shape = convert::shape(shape)?
        .ok_or_else(|| PyValueError::new_err("shape must be given for a new file"))?;
    let dtype = convert::dtype(dtype)?;
    convert::check_axes(Some(&shape), &dtype)?;
    let dtype = convert::from_numpy(&dtype)?;
    let order = convert::order(order)?;
    let file = Named::new(path)?;
    let options = CreateOptions::new(dtype, shape)
        .order(order)
        .overwrite(overwrite)
        .reserve(reserve);
    // SAFETY: no Rust reference to the bytes is made: they are copied through raw pointers, or read
    // and written by C code.
    let array = py
        .detach(|| unsafe { options.create(&file.path) })
        .map_err(to_py)?;
    numpy_array(class, &array, file.filename()?)
}

/// Maps a new file that has been written, even if the name belongs to another file by now.
pub(crate) fn written<'py>(
    py: Python<'py>,
    file: &WrittenFile,
    path: &Path,
    mode: Mode,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: no Rust reference to the bytes is made: they are copied through raw pointers, or read
    // and written by C code.
    let array = py.detach(|| unsafe { file.map(mode) }).map_err(to_py)?;
    mapped(py, &array, path)
}

/// Returns a core array on a map of a file as a memmap.
pub(crate) fn mapped<'py>(
    py: Python<'py>,
    array: &Array,
    path: &Path,
) -> PyResult<Bound<'py, PyAny>> {
    let class = Package::get(py)?.memmap.bind(py);
    let name = Named::new(&path.into_pyobject(py)?)?;
    numpy_array(class, array, name.filename()?)
}

/// Returns a new array of `class` on the map of a core array, with its dtype and layout.
fn numpy_array<'py>(
    class: &Bound<'py, PyType>,
    array: &Array,
    filename: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let dtype = convert::to_numpy(py, array.dtype())?;
    let offset = array.file_offset().unwrap_or(0);
    let (buffer, layout) = (array.buffer(), array.layout());
    new_array(
        class,
        buffer,
        filename,
        offset,
        &dtype,
        layout,
        Strides::Given,
    )
}
