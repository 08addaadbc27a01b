//! Opening files as memmaps.

#![allow(unsafe_code)]

use std::fs::File;
use std::path::PathBuf;

use mapcall_array::layout::Order;
use mapcall_array::{Array, DType, Error, MapOptions};
use numpy::{PyArrayDescr, PyArrayDescrMethods};
use pyo3::exceptions::PyValueError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyType};

use crate::convert;
use crate::errors::to_py;
use crate::map::Map;
use crate::memory::{Strides, array_on};

/// ``numpy.memmap``'s constructor: a raw file, by name or already open, as an array of `class`.
///
/// >>> import mapcall
/// >>> mapcall._mapcall.memmap(mapcall.memmap, 'x.dat', 'i2', 'w+', 0, 3, 'C')
/// memmap([0, 0, 0], dtype=int16)
#[pyfunction]
#[pyo3(signature = (class, filename, dtype, mode, offset, shape, order))]
pub(crate) fn memmap<'py>(
    class: &Bound<'py, PyType>,
    filename: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
    mode: &Bound<'py, PyAny>,
    offset: &Bound<'py, PyAny>,
    shape: &Bound<'py, PyAny>,
    order: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let mode = convert::mode(mode)?;
    let shape = convert::shape(shape)?;
    let dtype = PyArrayDescr::new(py, dtype)?;
    if dtype.has_object() {
        return Err(PyValueError::new_err(format!(
            "dtype {dtype} holds Python objects, whose addresses mean nothing in a file"
        )));
    }
    let offset = convert::offset(offset)?;
    let order = convert::order(order)?;
    // The core need only know how large an item is.
    let item = DType::void(dtype.itemsize()).map_err(|error| to_py(error.into()))?;
    let mut options = MapOptions::new()
        .mode(mode)
        .offset(offset)
        .dtype(item)
        .order(order);
    if let Some(shape) = shape {
        options = options.shape(shape);
    }

    let source = Source::new(filename)?;
    let name = source.filename()?;
    let array = source.map(py, &options, name.as_ref())?;
    let map = Map::new(array.buffer().clone(), name.map(Bound::unbind), offset);
    let map = Bound::new(py, map)?;
    let strides = Strides::Packed(order);
    array_on(class, map.as_any(), &dtype, array.layout(), strides)
}

/// A ``.npy`` file, or an uncompressed member of a ``.npz``, as an array of `class`.
///
/// >>> import mapcall, numpy
/// >>> numpy.save('x.npy', numpy.arange(3))
/// >>> mapcall._mapcall.open(mapcall.memmap, 'x.npy', 'r', None)
/// memmap([0, 1, 2])
#[pyfunction]
#[pyo3(signature = (class, path, mode, member))]
pub(crate) fn open<'py>(
    class: &Bound<'py, PyType>,
    path: &Bound<'py, PyAny>,
    mode: &Bound<'py, PyAny>,
    member: Option<String>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let mut options = MapOptions::new().mode(convert::mode(mode)?);
    if let Some(member) = member {
        options = options.member(member);
    }
    let file = Named::new(path)?;
    // SAFETY: no reference to the bytes is made here: NumPy reads and writes them as C does.
    let array = py
        .detach(|| unsafe { options.open(&file.path) })
        .map_err(to_py)?;
    numpy_array(class, &array, file.filename()?)
}

/// A new ``.npy`` file of zeros as an array of `class`.
///
/// >>> import mapcall
/// >>> mapcall._mapcall.create(mapcall.memmap, 'x.npy', 2, 'f8', 'C')
/// memmap([0., 0.])
#[pyfunction]
#[pyo3(signature = (class, path, shape, dtype, order))]
pub(crate) fn create<'py>(
    class: &Bound<'py, PyType>,
    path: &Bound<'py, PyAny>,
    shape: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyAny>,
    order: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let dtype = convert::from_numpy(&PyArrayDescr::new(py, dtype)?)?;
    let shape = convert::shape(shape)?
        .ok_or_else(|| PyValueError::new_err("shape must be given for a new file"))?;
    let order = convert::order(order)?;
    let file = Named::new(path)?;
    // SAFETY: as in `open`.
    let array = py
        .detach(|| unsafe { mapcall_array::create(&file.path, dtype, &shape, order) })
        .map_err(to_py)?;
    numpy_array(class, &array, file.filename()?)
}

/// A whole array of the core as one of NumPy's, with the core's dtype.
fn numpy_array<'py>(
    class: &Bound<'py, PyType>,
    array: &Array,
    filename: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let dtype = convert::to_numpy(py, array.dtype())?;
    let layout = array.layout();
    let order = if layout.is_c_contiguous() {
        Order::C
    } else {
        Order::F
    };
    let offset = array.file_offset().unwrap_or(0);
    let map = Map::new(array.buffer().clone(), filename.map(Bound::unbind), offset);
    let map = Bound::new(py, map)?;
    array_on(class, map.as_any(), &dtype, layout, Strides::Packed(order))
}

/// Where the bytes are: a file by its name, or an open one.
enum Source<'py> {
    Named(Named<'py>),
    Open {
        object: Bound<'py, PyAny>,
        file: File,
    },
}

impl<'py> Source<'py> {
    fn new(given: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = given.py();
        if given.is_instance_of::<PyString>() || !given.hasattr(intern!(py, "read"))? {
            return Ok(Self::Named(Named::new(given)?));
        }
        // What the object still buffers is written before the file is looked at.
        given.call_method1(intern!(py, "seek"), (0, 2))?;
        let descriptor = given.call_method0(intern!(py, "fileno"))?.extract()?;
        Ok(Self::Open {
            object: given.clone(),
            file: duplicate(descriptor)?,
        })
    }

    fn map(
        &self,
        py: Python<'py>,
        options: &MapOptions,
        name: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Array> {
        let (object, file) = match self {
            Self::Named(Named { path, .. }) => {
                // SAFETY: no reference to the bytes is made here: NumPy reads and writes them as
                // C does.
                return py.detach(|| unsafe { options.map(path) }).map_err(to_py);
            }
            Self::Open { object, file } => (object, file),
        };
        let path = name.map(PyAnyMethods::extract::<PathBuf>).transpose()?;
        // SAFETY: as above.
        let array = py.detach(|| unsafe { options.map_file(file, path.as_deref()) });
        if let Err(Error::Io {
            action: "resize", ..
        }) = &array
        {
            // An object that can't write says so itself.
            object.call_method1(intern!(py, "write"), (PyBytes::new(py, b""),))?;
        }
        let array = array.map_err(to_py)?;
        // As after NumPy's own growing of the file.
        object.call_method1(intern!(py, "seek"), (0, 2))?;
        Ok(array)
    }

    /// The name that the array remembers.
    fn filename(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self {
            Self::Named(named) => named.filename(),
            Self::Open { object, .. } => {
                let py = object.py();
                let name = object.getattr_opt(intern!(py, "name"))?;
                // A temporary file's name may be its descriptor.
                name.filter(PyAnyMethods::is_instance_of::<PyString>)
                    .map(absolute)
                    .transpose()
            }
        }
    }
}

/// A file by its name.
pub(crate) struct Named<'py> {
    given: Bound<'py, PyAny>,
    name: Bound<'py, PyAny>,
    pub(crate) path: PathBuf,
}

impl<'py> Named<'py> {
    pub(crate) fn new(given: &Bound<'py, PyAny>) -> PyResult<Self> {
        let (name, path) = convert::path(given)?;
        Ok(Self {
            given: given.clone(),
            name,
            path,
        })
    }

    /// A Path for a path object, an absolute str for a str, None for bytes: as NumPy has it.
    pub(crate) fn filename(&self) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = self.given.py();
        let is_path = !self.given.is(&self.name);
        if is_path && let Some(resolve) = self.given.getattr_opt(intern!(py, "resolve"))? {
            return resolve.call0().map(Some);
        }
        if self.name.is_instance_of::<PyString>() {
            return absolute(self.name.clone()).map(Some);
        }
        Ok(None)
    }
}

/// `os.path.abspath`, which costs as much as the rest when the name is absolute already.
fn absolute(name: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyAny>> {
    let py = name.py();
    if name.extract::<&str>().is_ok_and(is_normal) {
        return Ok(name);
    }
    py.import(intern!(py, "os.path"))?
        .call_method1(intern!(py, "abspath"), (name,))
}

/// Whether a name is absolute and has no part to resolve.
fn is_normal(name: &str) -> bool {
    let mut parts = name.split('/');
    cfg!(unix) && parts.next() == Some("") && parts.all(|part| !matches!(part, "" | "." | ".."))
}

/// A file of one's own for a descriptor that belongs to somebody else.
#[cfg(unix)]
fn duplicate(descriptor: i32) -> PyResult<File> {
    use std::os::fd::BorrowedFd;

    if descriptor < 0 {
        return Err(PyValueError::new_err(format!(
            "{descriptor} is no file descriptor"
        )));
    }
    // SAFETY: it is not -1, and Python's file object keeps it open while this runs attached.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let owned = borrowed.try_clone_to_owned();
    owned.map(File::from).map_err(|source| {
        to_py(Error::Io {
            action: "open",
            path: None,
            source,
        })
    })
}

#[cfg(not(unix))]
fn duplicate(_: i32) -> PyResult<File> {
    Err(PyValueError::new_err(
        "give the file's name: an open file can't be mapped on this system",
    ))
}
