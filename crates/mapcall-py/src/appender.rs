//! `mapcall.append` and `mapcall.Appender`: rows of NumPy arrays for the core's appender.

#![allow(unsafe_code)]

use std::io;
use std::path::Path;
use std::ptr;

use mapcall_array::fork::Mutex;
use mapcall_array::layout::Order;
use mapcall_array::{AppendError, AppendOptions, Appender as Core, Error};
use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert;
use crate::errors::to_py;
use crate::memory;
use crate::once::intern;
use crate::source::Named;

/// Append rows to a ``.npy`` file; create the file if there is none.
///
/// >>> import mapcall
/// >>> import numpy as np
/// >>> mapcall.append('log.npy', np.ones((2, 3)))      # creates the file
/// >>> mapcall.append('log.npy', [[4, 5, 6]])
/// >>> np.load('log.npy').shape
/// (3, 3)
///
/// Parameters
/// ----------
/// path : str, bytes or path
///     The file. A new file has the dtype of `rows`, and the shape of its rows is that of `rows` without
///     the first axis.
/// rows : array_like, shape (rows, *row_shape) or (*row_shape,)
///     Any number of rows, or one row, as for `Appender.append`.
/// sync : bool, default False
///     Return when the rows are on the disk: the rows first, then the header.
///
/// Raises
/// ------
/// TypeError, ValueError
///     If the rows don't fit the file, as for `Appender.append`; if there is no file and `rows` has no
///     axes.
/// FormatError, OSError
///     If the file can't be opened, as for `Appender`, or written.
///
/// See Also
/// --------
/// mapcall.Appender : is faster for several calls, and describes the guarantees.
#[pyfunction]
#[pyo3(signature = (path, rows, *, sync = false))]
pub(crate) fn append(path: &Bound<'_, PyAny>, rows: &Bound<'_, PyAny>, sync: bool) -> PyResult<()> {
    let py = path.py();
    let path = Named::new(path)?.path;
    let options = Core::options().sync(sync);
    let opened = match py.detach(|| options.open(&path)) {
        Err(error) if is_missing(&error) => {
            let array = asarray(rows, None, Order::C)?;
            let dtype = convert::dtype(array.dtype().as_any())?;
            let Some((_, row)) = array.shape().split_first() else {
                let source = AppendError::NoRowShape;
                return Err(to_py(Error::Append { path, source }));
            };
            let options = options.dtype(convert::from_numpy(&dtype)?).row_shape(row);
            py.detach(|| options.open(&path))
        }
        opened => opened,
    };
    Appender::new(py, opened.map_err(to_py)?)?.append(rows)
}

/// Append rows to a ``.npy`` file while other processes read it.
///
/// >>> import mapcall
/// >>> import numpy as np
/// >>> with mapcall.Appender('log.npy', 'f8', (3,)) as log:
/// ...     log.append([1, 2, 3])               # one row
/// ...     log.append(np.zeros((5, 3)))        # any number of rows
/// ...     len(log)
/// 6
/// >>> mapcall.open('log.npy').shape
/// (6, 3)
///
/// The array grows along the first axis, or along the last if the file is in Fortran order, as its
/// header says. A row is what one index along this axis selects.
///
/// Parameters
/// ----------
/// path : str, bytes or path
///     The file. If there is none, and `dtype` is given, an array without rows is created, in C order.
/// dtype : dtype, optional
///     The dtype of a new file; an existing file must have it.
/// row_shape : int or tuple of int, optional
///     The shape of a row in a new file, by default that of a single number, ``()``; an existing file
///     must have it.
/// sync : bool, default False
///     `append` returns when the rows are on the disk: the rows first, then the header.
///
/// Raises
/// ------
/// ValueError
///     If the file has another dtype or rows of another shape, is a ``.npz``, or holds several arrays.
/// FormatError
///     If the file is not a ``.npy``, is shorter than its header says, has an array without axes, or has
///     no room in its header; the message says what to do.
/// BlockingIOError
///     If another appender has the file open, in this process or another one.
/// FileNotFoundError
///     If there is no file, and no `dtype` is given.
/// OSError
///     If the system can't open, lock or create the file.
///
/// See Also
/// --------
/// mapcall.append : opens, appends and closes.
///
/// Notes
/// -----
/// Each call of `append` writes the rows, and then the header. Other processes that open the file find
/// the old or the new length with all its rows; so they do after a ``kill -9`` at any moment, and with
/// `sync` after a power failure. After an error the file has the length that it had. Maps that are open
/// keep their length; they pickle, and a process that unpickles one maps the same rows.
///
/// The lock (``flock``) is advisory: other programs can write to the file. A forked child can't use the
/// appender of its parent.
#[pyclass(frozen, module = "mapcall")]
pub(crate) struct Appender {
    /// `None` if the appender is closed.
    core: Mutex<Option<Core>>,
    dtype: Py<PyArrayDescr>,
    order: Order,
}

#[pymethods]
impl Appender {
    #[new]
    #[pyo3(signature = (path, dtype = None, row_shape = None, *, sync = false))]
    fn open(
        path: &Bound<'_, PyAny>,
        dtype: Option<&Bound<'_, PyAny>>,
        row_shape: Option<&Bound<'_, PyAny>>,
        sync: bool,
    ) -> PyResult<Self> {
        let py = path.py();
        let mut options = Core::options().sync(sync);
        let shape = row_shape.map(convert::shape).transpose()?.flatten();
        if let Some(dtype) = dtype {
            let dtype = convert::dtype(dtype)?;
            convert::check_axes(shape.as_deref(), &dtype)?;
            options = options.dtype(convert::from_numpy(&dtype)?);
        }
        if let Some(shape) = shape {
            options = options.row_shape(shape);
        }
        let core = open(py, &options, &Named::new(path)?.path)?;
        Self::new(py, core)
    }

    /// Append one row, or any number of rows.
    ///
    /// >>> import mapcall
    /// >>> log = mapcall.Appender('log.npy', 'f4', 2)
    /// >>> log.append([1.5, 2.5])
    /// >>> log.append([[3, 4], [5, 6]])
    /// >>> len(log)
    /// 3
    ///
    /// Parameters
    /// ----------
    /// rows : array_like, shape (rows, *row_shape) or (*row_shape,)
    ///     Any number of rows, or one row. In a file in Fortran order, the last axis counts the rows.
    ///     An array must have the dtype of the file, or one that can be cast to it by NumPy's rule
    ///     ``'safe'``, which keeps all values. Lists and numbers have no dtype: they are converted as by
    ///     ``numpy.asarray(rows, dtype)``, but floats never become integers.
    ///
    /// Raises
    /// ------
    /// TypeError
    ///     If the dtype can't be cast.
    /// OverflowError
    ///     If a Python int doesn't fit the dtype.
    /// ValueError
    ///     If the shape is another one, if the appender is closed, or in a forked child.
    /// FormatError
    ///     If the header has no room for the new length.
    /// OSError
    ///     If the disk is full, or the rows can't be written otherwise.
    ///
    /// Notes
    /// -----
    /// After an exception, the file has the rows that it had. Arrays that are contiguous and have the
    /// dtype of the file are not copied.
    fn append(&self, rows: &Bound<'_, PyAny>) -> PyResult<()> {
        let rows = rows_of(rows, self.dtype.bind(rows.py()), self.order)?;
        let (address, shape) = (memory::address(&rows), rows.shape());
        self.with(rows.py(), |core| {
            let count = core.count(shape)?;
            let rows = ptr::with_exposed_provenance(address);
            // SAFETY: `rows` is the address of an array that is alive and contiguous in the order of the
            // file, and has its dtype and the elements of `count` rows. The array can't be resized while
            // this function has a reference to it.
            unsafe { core.append_from(rows, count) }
        })
    }

    /// Wait until all rows and the header are on the disk.
    ///
    /// >>> import mapcall
    /// >>> log = mapcall.Appender('log.npy', 'f8')
    /// >>> log.append([1, 2, 3])
    /// >>> log.sync()
    ///
    /// Raises
    /// ------
    /// OSError
    ///     If the system can't write them.
    /// ValueError
    ///     If the appender is closed.
    fn sync(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |core| core.sync())
    }

    /// Close the file, so that another appender can open it.
    ///
    /// >>> import mapcall
    /// >>> log = mapcall.Appender('log.npy', 'f8')
    /// >>> log.close()
    /// >>> log.closed
    /// True
    ///
    /// Closing twice does nothing. An appender that is deleted is closed.
    fn close(&self, py: Python<'_>) {
        py.detach(|| drop(self.core.lock().take()));
    }

    /// Whether the appender is closed.
    ///
    /// >>> import mapcall
    /// >>> with mapcall.Appender('log.npy', 'f8') as log:
    /// ...     log.closed
    /// False
    #[getter]
    fn closed(&self, py: Python<'_>) -> bool {
        py.detach(|| self.core.lock().is_none())
    }

    /// The number of rows in the file.
    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        self.with(py, |core| Ok(core.len()))
    }

    // Without it, an appender without rows would be false.
    #[expect(clippy::unused_self, reason = "Python passes the object")]
    fn __bool__(&self) -> bool {
        true
    }

    fn __enter__(slf: Bound<'_, Self>) -> PyResult<Bound<'_, Self>> {
        slf.get().__len__(slf.py())?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, PyAny>) {
        self.close(py);
    }
}

impl Appender {
    fn new(py: Python<'_>, core: Core) -> PyResult<Self> {
        Ok(Self {
            dtype: convert::to_numpy(py, core.dtype())?.unbind(),
            order: core.order(),
            core: Mutex::new(Some(core)),
        })
    }

    /// Calls a function with the open appender, detached from the interpreter.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&mut Core) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        match py.detach(|| self.core.lock().as_mut().map(call)) {
            Some(result) => result.map_err(to_py),
            None => Err(PyValueError::new_err(
                "expected an open appender, got a closed one; open the file again",
            )),
        }
    }
}

/// Converts rows to an array with the dtype of the file, contiguous in its order.
pub(crate) fn rows_of<'py>(
    rows: &Bound<'py, PyAny>,
    dtype: &Bound<'py, PyArrayDescr>,
    order: Order,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = rows.py();
    if let Ok(array) = rows.cast::<PyUntypedArray>()
        && array.dtype().is_equiv_to(dtype)
        && match order {
            Order::C => array.is_c_contiguous(),
            Order::F => array.is_fortran_contiguous(),
        }
    {
        return Ok(array.clone());
    }
    let has_dtype = rows.hasattr(intern!(py, "dtype"))?;
    if !has_dtype && dtype.has_fields() {
        // Of tuples, NumPy would make an array with one more axis.
        return asarray(rows, Some(dtype), order);
    }
    let found = asarray(rows, None, order)?;
    if !is_castable(&found, dtype, has_dtype)? {
        let found = found.dtype();
        return Err(PyTypeError::new_err(format!(
            "append: rows: expected dtype {dtype}, or one that can be cast to it by the rule 'safe', \
             got {found}; convert the rows by their method astype"
        )));
    }
    // Lists are converted from their own values, so that an int that does not fit is an error.
    let from = if has_dtype { found.as_any() } else { rows };
    asarray(from, Some(dtype), order)
}

/// Returns whether rows can be converted to a dtype: from an array `found`, or from values without a dtype, of
/// which NumPy has made `found`.
fn is_castable(
    found: &Bound<'_, PyUntypedArray>,
    dtype: &Bound<'_, PyArrayDescr>,
    has_dtype: bool,
) -> PyResult<bool> {
    let py = found.py();
    let from = found.dtype();
    let is_text = matches!(from.kind(), b'S' | b'U');
    if !has_dtype {
        let are_integers =
            matches!(from.kind(), b'i' | b'u') && matches!(dtype.kind(), b'i' | b'u');
        if found.len() == 0 || are_integers {
            return Ok(true);
        }
    }
    let rule = if has_dtype || is_text {
        "safe"
    } else {
        "same_kind"
    };
    let numpy = py.import(intern!(py, "numpy"))?;
    let castable = numpy.call_method1(intern!(py, "can_cast"), (from, dtype, rule))?;
    Ok(castable.is_truthy()? && !found.dtype().has_object())
}

/// Calls `numpy.asarray`.
fn asarray<'py>(
    rows: &Bound<'py, PyAny>,
    dtype: Option<&Bound<'py, PyArrayDescr>>,
    order: Order,
) -> PyResult<Bound<'py, PyUntypedArray>> {
    let py = rows.py();
    let options = PyDict::new(py);
    let order = match order {
        Order::C => "C",
        Order::F => "F",
    };
    options.set_item(intern!(py, "order"), order)?;
    let numpy = py.import(intern!(py, "numpy"))?;
    let array = numpy.call_method(intern!(py, "asarray"), (rows, dtype), Some(&options))?;
    Ok(array.cast_into()?)
}

fn open(py: Python<'_>, options: &AppendOptions, path: &Path) -> PyResult<Core> {
    py.detach(|| options.open(path)).map_err(|error| {
        let is_missing = is_missing(&error);
        let exception = to_py(error);
        if is_missing {
            let remedy = "give dtype and row_shape to create the file";
            // Without the note, the exception is still the right one.
            drop(exception.value(py).call_method1("add_note", (remedy,)));
        }
        exception
    })
}

/// Returns whether an appender could not be opened because there is no file.
fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}
