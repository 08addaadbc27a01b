"""The ctypes type of a dtype, and the dtype of a ctypes type."""

import ctypes
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ._cache import TypeCache

# The attribute of a ctypes integer or float that holds its byte-swapped twin.
_SWAPPED = "__ctype_be__" if sys.byteorder == "little" else "__ctype_le__"

# What to do with a dtype that ctypes has nothing for, by its kind or type code.
_REMEDIES = {
    "e": "ctypes has no float16; view the array as uint16 or pass it by ndpointer",
    "c": "ctypes has complex numbers from Python 3.14 on; view the array as its "
    "real type or pass it by ndpointer",
    "M": "ctypes has no dates; view the array as int64",
    "m": "ctypes has no time spans; view the array as int64",
    "O": "ctypes would not count the references; pass the objects one by one",
    "U": "the platform's wchar_t has another size; encode the strings to bytes",
}
_SWAP_REMEDY = "ctypes has it in native byte order only; convert the array first"
_OTHER_REMEDY = "ctypes has nothing like it; convert the array first"


def _native_scalars() -> dict[np.dtype, Any]:
    """Map each dtype to the ctypes scalar of the same C type."""
    # Where two C types are one dtype the later wins.
    integers = "byte short int long longlong ubyte ushort uint ulong ulonglong"
    scalars = {}
    for name in [*integers.split(), "float", "double", "bool"]:
        ctype = getattr(ctypes, f"c_{name}")
        scalars[np.dtype(ctype)] = ctype

    # Each of these only where ctypes has it, with NumPy's idea of its size.
    extras = {
        "g": "c_longdouble",
        "F": "c_float_complex",
        "D": "c_double_complex",
        "G": "c_longdouble_complex",
    }
    for char, name in extras.items():
        dtype, ctype = np.dtype(char), getattr(ctypes, name, None)
        if ctype is not None and ctypes.sizeof(ctype) == dtype.itemsize:
            scalars.setdefault(dtype, ctype)
    return scalars


_CTYPES = _native_scalars()
_DTYPES = {ctype: dtype for dtype, ctype in _CTYPES.items()}
if ctypes.sizeof(ctypes.c_wchar) == np.dtype("U1").itemsize:
    _DTYPES[ctypes.c_wchar] = np.dtype("U1")

_records: TypeCache[type[Any]] = TypeCache()

#: The ctypes integer of `numpy.intp`: the type of a shape and of strides.
c_intp: Any = {"i": ctypes.c_int, "q": ctypes.c_longlong}.get(np.dtype("n").char, ctypes.c_long)


def as_ctypes_type(dtype: DTypeLike) -> Any:
    """Convert a dtype into a ctypes type with the same memory layout.

    >>> from mapcall.ctypeslib import as_ctypes_type
    >>> as_ctypes_type("f4")
    <class 'ctypes.c_float'>
    >>> as_ctypes_type([("id", "u4"), ("name", "S8")])._fields_
    [('id', <class 'ctypes.c_uint'>), ('name', <class 'c_char_Array_8'>)]

    =====================  ==================================================
    dtype                  ctypes type
    =====================  ==================================================
    bool, integer, float   the C type; byte-swapped if the dtype is
    long double, complex   the same, where ctypes has it: ``c_longdouble``,
                           and the complex types from Python 3.14
    ``S``, ``U``, ``V``    ``c_char * n``, ``c_wchar * n``, ``c_ubyte * n``
    sub-array              an array type for each dimension
    structured             a `ctypes.Structure` with its fields by offset and a
                           nameless field for each gap; a `ctypes.Union` if
                           every field is at offset 0
    =====================  ==================================================

    Equal dtypes give the same type for as long as it is in use.

    Parameters
    ----------
    dtype : dtype_like
        The dtype to convert.

    Returns
    -------
    type
        A ctypes scalar, array, structure or union. The order of fields that are
        not sorted by offset, titles, metadata and the names of former ctypes
        structures are lost on the way.

    Raises
    ------
    NotImplementedError
        If ctypes has nothing for the dtype (float16, dates, objects, complex
        before Python 3.14, swapped long double and strings), or if fields
        overlap without all starting at offset 0. The message says what to do
        instead.
    """
    return _ctype_of(np.dtype(dtype))


def _ctype_of(dtype: np.dtype) -> Any:
    if dtype.names is not None:
        return _records.get(dtype, lambda: _record_of(dtype))
    if dtype.subdtype is not None:
        element, shape = dtype.subdtype
        return array_type(_ctype_of(element), shape)
    return _scalar_of(dtype)


def _scalar_of(dtype: np.dtype) -> Any:
    match dtype.kind:
        case "S":
            return array_type(ctypes.c_char, (dtype.itemsize,))
        case "V":
            return array_type(ctypes.c_ubyte, (dtype.itemsize,))
        case "U" if dtype.isnative and ctypes.c_wchar in _DTYPES:
            return array_type(ctypes.c_wchar, (dtype.itemsize // 4,))

    native = _CTYPES.get(dtype.newbyteorder("="))
    ctype = native if dtype.isnative else getattr(native, _SWAPPED, None)
    if ctype is not None:
        return ctype

    remedy = _REMEDIES.get("e" if dtype.char == "e" else dtype.kind, _OTHER_REMEDY)
    if native is not None or (dtype.kind == "U" and not dtype.isnative):
        remedy = _SWAP_REMEDY
    raise NotImplementedError(f"Converting {dtype!r} to a ctypes type: {remedy}")


def _record_of(dtype: np.dtype) -> Any:
    """Make the structure or union of a structured dtype."""
    described: Any = dtype.fields or {}
    fields = []
    for name in dtype.names or ():
        field_dtype, offset = described[name][:2]
        fields.append((offset, name, _ctype_of(field_dtype)))

    overlaid = len(fields) > 1 and all(offset == 0 for offset, _, _ in fields)
    lay_out = _union_fields if overlaid else _struct_fields
    base = ctypes.Union if overlaid else ctypes.Structure
    body = {
        # Every gap is a field, so the C compiler's own padding is turned off.
        "_pack_": 1,
        "_layout_": "ms",
        "_fields_": list(lay_out(fields, dtype.itemsize)),
        "__module__": None,
    }
    return type("union" if overlaid else "struct", (base,), body)


def _struct_fields(fields: list[tuple[int, str, Any]], itemsize: int) -> Iterator[tuple[str, Any]]:
    end = 0
    # A field of no bytes comes before the one that it shares its offset with.
    by_offset = sorted(fields, key=lambda field: (field[0], ctypes.sizeof(field[2])))
    for offset, name, ctype in by_offset:
        if offset < end:
            raise NotImplementedError("Overlapping fields")
        if offset > end:
            yield "", ctypes.c_char * (offset - end)
        yield name, ctype
        end = offset + ctypes.sizeof(ctype)
    if itemsize > end:
        yield "", ctypes.c_char * (itemsize - end)


def _union_fields(fields: list[tuple[int, str, Any]], itemsize: int) -> Iterator[tuple[str, Any]]:
    for _, name, ctype in fields:
        yield name, ctype
    if itemsize != max(ctypes.sizeof(ctype) for _, _, ctype in fields):
        yield "", ctypes.c_char * itemsize


def array_type(element: Any, shape: tuple[int, ...]) -> Any:
    """Return the ctypes array type of `shape`, which ctypes caches weakly."""
    for extent in reversed(shape):
        element = element * extent
        # ctypes sets the name of the module that first made the type, but all modules share it.
        element.__module__ = None
    return element


def layout_of(ctype: Any) -> tuple[np.dtype, tuple[int, ...]]:
    """Return the dtype and the shape of one object of a ctypes type.

    >>> layout_of(ctypes.c_int16 * 3 * 2)
    (dtype('int16'), (2, 3))
    >>> layout_of(as_ctypes_type({"names": ["x"], "formats": ["u1"], "itemsize": 8}))
    (dtype({'names': ['x'], 'formats': ['u1'], 'offsets': [0], 'itemsize': 8}), ())

    It knows what ``numpy.dtype(ctype)`` does not: ``c_wchar``, the fields that a
    structure inherits, and that nameless fields are padding.

    Raises
    ------
    TypeError, NotImplementedError
        If NumPy has no dtype for it: pointers, functions, bit-fields and
        structures whose ``_fields_`` are not set yet.
    """
    extents = []
    while issubclass(ctype, ctypes.Array):
        extents.append(ctype._length_)
        ctype = ctype._type_
    if issubclass(ctype, (ctypes.Structure, ctypes.Union)):
        dtype = _dtype_of_record(ctype)
    else:
        dtype = _DTYPES.get(ctype) or np.dtype(ctype)
    return dtype, tuple(extents)


def _dtype_of_record(ctype: Any) -> np.dtype:
    if not hasattr(ctype, "_fields_"):
        raise TypeError(f"{ctype.__name__} is incomplete: set its _fields_ first")
    declared = [
        field
        for base in reversed(ctype.__mro__)
        for field in vars(base).get("_fields_", ())
        if field[0]
    ]
    if any(len(field) > 2 for field in declared):
        raise TypeError("ctypes bitfields have no dtype equivalent")
    names = [field[0] for field in declared]
    layout: Any = {
        "names": names,
        "formats": [layout_of(field[1]) for field in declared],
        "offsets": [getattr(ctype, name).offset for name in names],
        "itemsize": ctypes.sizeof(ctype),
    }
    aligned = issubclass(ctype, ctypes.Structure) and not hasattr(ctype, "_pack_")
    dtype: np.dtype[Any] = np.dtype(layout, align=aligned)
    return dtype
