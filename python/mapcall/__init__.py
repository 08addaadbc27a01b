"""Calls any C function over arrays and array files, given nothing but its prototype.

>>> import numpy as np
>>> import mapcall
>>> np.save("x.npy", np.linspace(0, 1, 1_000_000))
>>> erf = mapcall.load("m").function("double erf(double x)")
>>> y = erf(mapcall.open("x.npy"), out="y.npy", threads=0)  # from file to file, on all cores
>>> y.shape, float(y[-1])
((1000000,), 0.8427007929497149)

Overview
--------
`load` loads a shared library, and `Library.function` binds one of its functions by its C
prototype. The function takes numbers and arrays, which are checked before each call. Given arrays
with more axes than the prototype has brackets, it is called for each element or row, as a NumPy
ufunc is.

`open` and `create` map ``.npy`` files, and `memmap` any other file, as `numpy.memmap` does. Maps
are ndarrays; any array can be given to a function.

Features
--------
- Lengths of arrays are inferred and must agree; an array that C writes may be left out.
- Nothing is copied or converted silently: what does not fit raises `ArgumentError`.
- Pointers that C returns are a `Handle`; a failure that C reports can raise `CallError`.
- Maps and functions pickle as paths, so that worker processes open the same file and library.
- `ctypeslib` and `Ctypes` take the place of `numpy.ctypeslib` and of the attribute
  ``ndarray.ctypes``.

`__version__` is the version of the package, the command and the extension.

Design
------
The package is a thin layer over an extension module in Rust. The pages in ``docs`` of the
repository describe calls, batches, maps and the design.
"""

from . import _dask, _mapcall, _pickling, _progress, ctypeslib
from ._errors import ArgumentError, CallError, LibraryError, PrototypeError
from ._mapcall import (
    Callback,
    ChangedFileError,
    Ctypes,
    FormatError,
    Function,
    Handle,
    Library,
    Map,
    Parameter,
    ReplacedFileWarning,
    Struct,
    __version__,
    get_errno,
    load,
)
from ._memmap import create, memmap, open, trust_files

# The extension raises, makes and calls these; it never imports the package.
_mapcall._initialise(
    argument_error=ArgumentError,
    call_error=CallError,
    library_error=LibraryError,
    prototype_error=PrototypeError,
    memmap=memmap,
    progress_bar=_progress.Bar,
    digest=_pickling.digest,
    reload=_pickling.reload,
    rebind=_mapcall.rebind,
)
_dask.install()

__all__ = [
    "ArgumentError",
    "CallError",
    "Callback",
    "ChangedFileError",
    "Ctypes",
    "FormatError",
    "Function",
    "Handle",
    "Library",
    "LibraryError",
    "Map",
    "Parameter",
    "PrototypeError",
    "ReplacedFileWarning",
    "Struct",
    "__version__",
    "create",
    "ctypeslib",
    "get_errno",
    "load",
    "memmap",
    "open",
    "trust_files",
]
