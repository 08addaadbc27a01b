//! `mapcall.Ctypes`: NumPy's `ctypes` attribute.

use numpy::npyffi::npy_intp;
use numpy::{PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyImportError, PyTypeError};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple, PyType};

use crate::memory;
use crate::once::{Once, intern};

/// The address, shape and strides of an array as ctypes objects.
///
/// >>> import ctypes, mapcall
/// >>> import numpy as np
/// >>> x = np.arange(6, dtype='i4').reshape(2, 3)
/// >>> c = mapcall.Ctypes(x)
/// >>> c.data == x.__array_interface__['data'][0]
/// True
/// >>> c.data_as(ctypes.POINTER(ctypes.c_int32))[4]
/// 4
/// >>> list(c.shape), list(c.strides)
/// ([2, 3], [12, 4])
///
/// Pointers keep their array alive, so a pointer to a temporary array stays valid:
///
/// >>> mapcall.Ctypes(x + 1).data_as(ctypes.POINTER(ctypes.c_int32))[5]
/// 6
///
/// Parameters
/// ----------
/// array : numpy.ndarray
///     Any array: it may be read-only, unaligned, of any byte order and strides.
///
/// Raises
/// ------
/// TypeError
///     If `array` is no ndarray.
#[pyclass(frozen, module = "mapcall")]
pub(crate) struct Ctypes {
    array: Py<PyUntypedArray>,
}

impl Ctypes {
    pub(crate) fn new(array: Bound<'_, PyUntypedArray>) -> Self {
        Self {
            array: array.unbind(),
        }
    }
}

#[pymethods]
impl Ctypes {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.array)
    }

    #[new]
    fn py_new(array: Bound<'_, PyUntypedArray>) -> Self {
        Self::new(array)
    }

    /// The address of the first element, as an int.
    ///
    /// >>> import mapcall
    /// >>> import numpy as np
    /// >>> mapcall.Ctypes(np.zeros((0, 3))).data != 0
    /// True
    ///
    /// The memory may be unaligned, read-only, and not in native byte order.
    #[getter]
    fn data(&self, py: Python<'_>) -> usize {
        memory::address(self.array.bind(py))
    }

    /// The lengths of the axes as a ``(c_intp * ndim)``; None if the array has no axes.
    ///
    /// >>> import mapcall
    /// >>> import numpy as np
    /// >>> tuple(mapcall.Ctypes(np.zeros((2, 3))).shape)
    /// (2, 3)
    ///
    /// If Python has no ctypes module, it is an array of ``numpy.intp``.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        intps(py, &memory::shape(self.array.bind(py)))
    }

    /// The strides of the axes in bytes as a ``(c_intp * ndim)``; None if the array has no axes.
    ///
    /// >>> import mapcall
    /// >>> import numpy as np
    /// >>> tuple(mapcall.Ctypes(np.zeros((2, 3))).strides)
    /// (24, 8)
    ///
    /// If Python has no ctypes module, it is an array of ``numpy.intp``.
    #[getter]
    fn strides<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        intps(py, &memory::strides(self.array.bind(py)))
    }

    /// Return the address as a pointer of the ctypes type `obj`, which keeps the array alive.
    ///
    /// >>> import ctypes, mapcall
    /// >>> import numpy as np
    /// >>> mapcall.Ctypes(np.ones(3)).data_as(ctypes.POINTER(ctypes.c_double)).contents
    /// c_double(1.0)
    ///
    /// Parameters
    /// ----------
    /// obj : type
    ///     A pointer type, such as ``ctypes.POINTER(ctypes.c_double)`` or ``ctypes.c_void_p``.
    ///
    /// Returns
    /// -------
    /// ctypes pointer
    ///     An instance of `obj`.
    ///
    /// Raises
    /// ------
    /// TypeError
    ///     If `obj` is no pointer type.
    fn data_as<'py>(
        &self,
        py: Python<'py>,
        obj: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let types = Types::required(py)?;
        let address = self.data(py);
        let pointer = if types.is_plain_pointer(py, obj)? {
            // `ctypes.cast` would create a reference cycle, which only the garbage collector frees.
            let bytes = PyBytes::new(py, &address.to_ne_bytes());
            obj.call_method1(intern!(py, "from_buffer_copy"), (bytes,))?
        } else {
            let pointer = types.void_pointer.bind(py).call1((address,))?;
            types
                .module
                .bind(py)
                .call_method1(intern!(py, "cast"), (pointer, obj))?
        };
        pointer.setattr(intern!(py, "_arr"), &self.array)?;
        Ok(pointer)
    }

    /// Return the lengths of the axes as an array of the ctypes integer type `obj`.
    ///
    /// >>> import ctypes, mapcall
    /// >>> import numpy as np
    /// >>> mapcall.Ctypes(np.zeros((2, 3))).shape_as(ctypes.c_short)[:]
    /// [2, 3]
    ///
    /// Parameters
    /// ----------
    /// obj : type
    ///     A ctypes integer type.
    ///
    /// Returns
    /// -------
    /// ctypes array or None
    ///     ``(obj * ndim)``; None for an array without axes.
    fn shape_as<'py>(
        &self,
        py: Python<'py>,
        obj: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        integers(obj, &memory::shape(self.array.bind(py)))
    }

    /// Return the strides of the axes in bytes as an array of the ctypes integer type `obj`.
    ///
    /// >>> import ctypes, mapcall
    /// >>> import numpy as np
    /// >>> mapcall.Ctypes(np.zeros((2, 3))).strides_as(ctypes.c_longlong)[:]
    /// [24, 8]
    ///
    /// Parameters
    /// ----------
    /// obj : type
    ///     A ctypes integer type.
    ///
    /// Returns
    /// -------
    /// ctypes array or None
    ///     ``(obj * ndim)``; None for an array without axes.
    fn strides_as<'py>(
        &self,
        py: Python<'py>,
        obj: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        integers(obj, &memory::strides(self.array.bind(py)))
    }

    /// The address as a ``ctypes.c_void_p``, which ctypes passes to a C function for this object.
    ///
    /// >>> import ctypes, mapcall
    /// >>> import numpy as np
    /// >>> c = mapcall.Ctypes(np.zeros(3))
    /// >>> c._as_parameter_.value == c.data
    /// True
    #[getter(_as_parameter_)]
    fn as_parameter<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.data_as(py, Types::required(py)?.void_pointer.bind(py))
    }

    /// The array.
    #[getter(_arr)]
    fn private_arr(&self, py: Python<'_>) -> Py<PyUntypedArray> {
        self.array.clone_ref(py)
    }

    /// The address as a ``ctypes.c_void_p``.
    #[getter(_data)]
    fn private_data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.as_parameter(py)
    }

    /// The ctypes module; None if Python has none.
    #[getter(_ctypes)]
    #[expect(clippy::unused_self, reason = "a getter of the object")]
    fn private_ctypes<'py>(&self, py: Python<'py>) -> PyResult<Option<&'py Bound<'py, PyAny>>> {
        Ok(Types::get(py)?.map(|types| types.module.bind(py)))
    }

    /// True if the array has no axes.
    #[getter(_zerod)]
    fn private_zerod(&self, py: Python<'_>) -> bool {
        self.array.bind(py).ndim() == 0
    }
}

/// The objects of the ctypes module that this module uses.
struct Types {
    module: Py<PyAny>,
    void_pointer: Py<PyAny>,
    intp: Py<PyAny>,
    /// The base classes of the pointer types whose instances hold an address and nothing else.
    plain: [Py<PyType>; 3],
}

impl Types {
    /// Returns None if Python was built without ctypes.
    fn get(py: Python<'_>) -> PyResult<Option<&Self>> {
        static TYPES: Once<Option<Types>> = Once::new();
        let types = TYPES.get_or_try_init(py, || match py.import("ctypes") {
            Ok(module) => Self::of(module.as_any()).map(Some),
            Err(error) if error.is_instance_of::<PyImportError>(py) => Ok(None),
            Err(error) => Err(error),
        })?;
        Ok(types.as_ref())
    }

    fn required(py: Python<'_>) -> PyResult<&Self> {
        Self::get(py)?.ok_or_else(|| {
            PyImportError::new_err("this Python has no ctypes module; take the address from .data")
        })
    }

    fn of(module: &Bound<'_, PyAny>) -> PyResult<Self> {
        let plain = |name| -> PyResult<Py<PyType>> {
            Ok(module
                .getattr(name)?
                .cast_into::<PyType>()
                .map_err(PyErr::from)?
                .unbind())
        };
        Ok(Self {
            module: module.clone().unbind(),
            void_pointer: module.getattr("c_void_p")?.unbind(),
            intp: module.getattr("c_ssize_t")?.unbind(),
            plain: [plain("_Pointer")?, plain("c_void_p")?, plain("c_char_p")?],
        })
    }

    fn is_plain_pointer(&self, py: Python<'_>, obj: &Bound<'_, PyAny>) -> PyResult<bool> {
        let Ok(class) = obj.cast::<PyType>() else {
            return Ok(false);
        };
        for plain in &self.plain {
            if class.is_subclass(plain.bind(py))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Returns `(obj * len)(*values)`; None if there are no values.
fn integers<'py>(obj: &Bound<'py, PyAny>, values: &[npy_intp]) -> PyResult<Bound<'py, PyAny>> {
    let py = obj.py();
    if values.is_empty() {
        return Ok(py.None().into_bound(py));
    }
    let array = obj.mul(values.len())?;
    if !array.is_callable() {
        return Err(PyTypeError::new_err(format!(
            "{} is no ctypes type",
            obj.repr()?
        )));
    }
    array.call1(PyTuple::new(py, values)?)
}

fn intps<'py>(py: Python<'py>, values: &[npy_intp]) -> PyResult<Bound<'py, PyAny>> {
    match Types::get(py)? {
        Some(types) => integers(types.intp.bind(py), values),
        None if values.is_empty() => Ok(py.None().into_bound(py)),
        None => Ok(numpy::PyArray1::from_slice(py, values).into_any()),
    }
}
