"""Arrays from ctypes objects and ctypes objects from arrays, on the same memory."""

import ctypes
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from ._memory import array_at
from ._types import array_type, as_ctypes_type, layout_of

_DATA = (ctypes._SimpleCData, ctypes.Array, ctypes.Structure, ctypes.Union)


def as_array(obj: Any, shape: int | Iterable[int] | None = None) -> np.ndarray:
    """Return a NumPy array on the memory of a ctypes array, object or pointer.

    >>> import ctypes
    >>> from mapcall.ctypeslib import as_array
    >>> numbers = (ctypes.c_int * 4)(0, 1, 2, 3)
    >>> as_array(numbers)
    array([0, 1, 2, 3], dtype=int32)
    >>> pointer = ctypes.cast(numbers, ctypes.POINTER(ctypes.c_int))
    >>> as_array(pointer, (2, 2))
    array([[0, 1],
           [2, 3]], dtype=int32)

    The array keeps `obj` alive, and with it the memory that `obj` keeps alive.

    Parameters
    ----------
    obj : ctypes array, structure, union, scalar or pointer
        Anything else is handed to `numpy.asarray`.
    shape : int or tuple of int, optional
        The shape of the memory that a pointer points to, in elements of its type;
        required for a pointer, ignored for anything else. It can't be checked:
        a shape that is too large leads to reads beyond the memory.

    Returns
    -------
    numpy.ndarray
        The array, C-contiguous. If the elements are ctypes arrays, their axes follow
        those of `shape`.

    Raises
    ------
    TypeError
        If `obj` is a pointer and `shape` is missing or not of integers, or if
        NumPy has no dtype for the elements (pointers, bit-fields).
    ValueError
        If the pointer is NULL or a length is negative.
    OverflowError
        If the array would be larger than any memory.
    """
    if isinstance(obj, ctypes._Pointer):
        if shape is None:
            raise TypeError("as_array() requires a shape argument when called on a pointer")
        dtype, extents = layout_of(obj._type_)
        # Unlike a cast, this makes no reference cycle; NULL is a ValueError.
        address = ctypes.addressof(obj.contents)
        return array_at(address, _extents(shape) + extents, dtype, obj)
    # A bare address says nothing about what it points to: NumPy refuses it.
    if isinstance(obj, _DATA) and not isinstance(obj, ctypes.c_void_p):
        dtype, extents = layout_of(type(obj))
        data: Any = obj
        return np.ndarray(extents, dtype, data)
    return np.asarray(obj)


def _extents(shape: int | Iterable[int]) -> tuple[int, ...]:
    given = shape if isinstance(shape, Iterable) else (shape,)
    extents = tuple(operator.index(extent) for extent in given)
    for extent in extents:
        if extent < 0:
            raise ValueError(f"Array length must be >= 0, not {extent}")
    return extents


def as_ctypes(obj: Any) -> Any:
    """Return a ctypes object on the memory of an array.

    >>> import numpy as np
    >>> from mapcall.ctypeslib import as_ctypes
    >>> x = np.array([1, 2, 3], dtype=np.uint8)
    >>> c = as_ctypes(x)
    >>> c
    ... # doctest: +ELLIPSIS
    <c_ubyte_Array_3 object at ...>
    >>> c[0] = 9
    >>> x
    array([9, 2, 3], dtype=uint8)

    The object keeps `obj` alive. Its type is that of `as_ctypes_type` for the
    dtype, wrapped into an array type for each dimension.

    Parameters
    ----------
    obj : array or any object with ``__array_interface__``
        A C-contiguous, writeable array; it may be structured.

    Returns
    -------
    ctypes object
        An array; without axes, a scalar, a structure or a union.

    Raises
    ------
    TypeError
        If the array is strided or read-only (a NumPy scalar is), or describes
        itself by another version of the interface than 3.
    NotImplementedError
        If ctypes has nothing for the dtype; see `as_ctypes_type`.
    """
    interface = obj.__array_interface__
    if interface.get("strides"):
        raise TypeError("strided arrays not supported")
    if interface["version"] != 3:
        raise TypeError("only __array_interface__ version 3 supported")
    address, readonly = interface["data"]
    # The interface of a scalar describes a copy that is gone by now.
    if readonly or isinstance(obj, np.generic):
        raise TypeError("readonly arrays unsupported")

    # The type string of the interface leaves out the fields: NumPy reads both.
    element = as_ctypes_type(np.asarray(obj).dtype)
    result = array_type(element, interface["shape"]).from_address(address)
    # Past the attributes, where a field of the same name could stand.
    vars(result)["__keep"] = obj
    return result
