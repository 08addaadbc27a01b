"""NumPy arrays and `ctypes`: a drop-in for `numpy.ctypeslib`.

>>> import ctypes
>>> import numpy as np
>>> from mapcall import ctypeslib
>>> memcmp = ctypes.CDLL(None).memcmp
>>> pixels = ctypeslib.ndpointer(np.uint8, ndim=1, flags="C_CONTIGUOUS")
>>> memcmp.argtypes = [pixels, pixels, ctypes.c_size_t]
>>> memcmp(np.zeros(4, np.uint8), np.zeros(4, np.uint8), 4)
0

The functions, their results and their errors are NumPy's. Beyond NumPy:

- `ndpointer` refuses arrays that are unaligned or in foreign byte order unless
  told otherwise, and takes ``None`` for NULL with ``optional=True``;
- `as_ctypes` and `as_ctypes_type` know structured arrays, strings, raw bytes
  and long double (complex numbers too, from Python 3.14);
- `as_array` gives back the dtype that the ctypes object came from, without
  fields for its padding;
- no type is made for each shape and then kept for ever.

Without the ctypes module every function raises `ImportError` when called and
`c_intp` is `numpy.intp`.
"""

from typing import TYPE_CHECKING

try:
    import ctypes
except ImportError:
    ctypes = None  # type: ignore[assignment]

if TYPE_CHECKING or ctypes is not None:
    from ._arrays import as_array, as_ctypes
    from ._library import load_library

    # The private names are here because other packages look for them in NumPy's.
    from ._ndpointer import _concrete_ndptr as _concrete_ndptr
    from ._ndpointer import _ndptr as _ndptr
    from ._ndpointer import ndpointer
    from ._types import as_ctypes_type, c_intp
else:
    from numpy import intp as c_intp

    from ._missing import (
        as_array,
        as_ctypes,
        as_ctypes_type,
        load_library,
        ndpointer,
    )

__all__ = [
    "as_array",
    "as_ctypes",
    "as_ctypes_type",
    "c_intp",
    "load_library",
    "ndpointer",
]
