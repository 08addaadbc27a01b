/* An extension module for saxpy, written by hand, with the checks that mapcall makes for it. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>
#include <numpy/arrayscalars.h>

#include <math.h>

void saxpy(size_t n, float a, const float x[restrict n], float y[restrict n]);

/* Converts a number to a float. An integer must be exact. A floating-point number is rounded, and
   must not become infinite. */
static int
to_float(PyObject *object, float *out)
{
    if (PyFloat_Check(object) || PyArray_IsScalar(object, Floating)) {
        double value = PyFloat_AsDouble(object);
        *out = (float)value;
        if (isinf(*out) && !isinf(value)) {
            PyErr_SetString(PyExc_OverflowError, "saxpy: a: too large for a float");
            return -1;
        }
        return 0;
    }
    PyObject *integer = PyIndex_Check(object) ? PyNumber_Index(object) : NULL;
    if (integer == NULL) {
        PyErr_Format(PyExc_TypeError, "saxpy: a: expected a number, got %s",
                     Py_TYPE(object)->tp_name);
        return -1;
    }
    double value = PyLong_AsDouble(integer);
    int is_exact = 0;
    if (!PyErr_Occurred()) {
        *out = (float)value;
        PyObject *rounded = PyFloat_FromDouble(*out);
        is_exact = rounded == NULL ? -1 : PyObject_RichCompareBool(integer, rounded, Py_EQ);
        Py_XDECREF(rounded);
    }
    Py_DECREF(integer);
    if (is_exact == 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_OverflowError, "saxpy: a: not exact as a float");
    return is_exact == 1 ? 0 : -1;
}

static PyArrayObject *
to_vector(PyObject *object, const char *name, int flags)
{
    if (!PyArray_Check(object)) {
        PyErr_Format(PyExc_TypeError, "saxpy: %s: expected an array, got %s", name,
                     Py_TYPE(object)->tp_name);
        return NULL;
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_TYPE(array) != NPY_FLOAT || !PyArray_ISNOTSWAPPED(array)) {
        PyErr_Format(PyExc_TypeError, "saxpy: %s: expected float32 in native byte order, got %R",
                     name, PyArray_DESCR(array));
        return NULL;
    }
    if (PyArray_NDIM(array) != 1) {
        PyErr_Format(PyExc_ValueError, "saxpy: %s: expected 1 dimension, got %d", name,
                     PyArray_NDIM(array));
        return NULL;
    }
    if (!PyArray_CHKFLAGS(array, flags)) {
        PyErr_Format(PyExc_ValueError, "saxpy: %s: expected a C-contiguous and aligned%s array",
                     name, flags & NPY_ARRAY_WRITEABLE ? ", writeable" : "");
        return NULL;
    }
    return array;
}

static PyObject *
call(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "saxpy: expected 3 arguments, got %zd", count);
    float a;
    if (to_float(arguments[0], &a) < 0)
        return NULL;
    PyArrayObject *x = to_vector(arguments[1], "x", NPY_ARRAY_CARRAY_RO);
    if (x == NULL)
        return NULL;
    PyArrayObject *y = to_vector(arguments[2], "y", NPY_ARRAY_CARRAY);
    if (y == NULL)
        return NULL;
    npy_intp n = PyArray_DIM(x, 0);
    if (PyArray_DIM(y, 0) != n)
        return PyErr_Format(PyExc_ValueError, "saxpy: y: expected %zd elements as x has, got %zd",
                            n, PyArray_DIM(y, 0));
    npy_uintp x_start = (npy_uintp)PyArray_DATA(x), y_start = (npy_uintp)PyArray_DATA(y);
    npy_uintp size = (npy_uintp)n * sizeof(float);
    if (x_start < y_start + size && y_start < x_start + size) {
        PyErr_SetString(PyExc_ValueError, "saxpy: x and y share memory");
        return NULL;
    }
    saxpy((size_t)n, a, PyArray_DATA(x), PyArray_DATA(y));
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"saxpy", (PyCFunction)(void (*)(void))call, METH_FASTCALL, "saxpy(a, x, y)"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, .m_name = "saxpy_extension", .m_size = -1, .m_methods = methods,
};

PyMODINIT_FUNC
PyInit_saxpy_extension(void)
{
    import_array();
    return PyModule_Create(&definition);
}
