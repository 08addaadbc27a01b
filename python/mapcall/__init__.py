"""Array files of any size as memory maps, handed to native code without a copy.

>>> import ctypes, mapcall, numpy
>>> x = mapcall.create("x.npy", shape=1000, dtype="f8")
>>> x[:] = numpy.linspace(0, 1, 1000)
>>> libm = ctypes.CDLL("libm.so.6")
>>> libm.modf.restype = ctypes.c_double
>>> libm.modf(ctypes.c_double(2.5), x[500:].ctypes)
0.5
>>> float(x[500])
2.0
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
    "create",
    "ctypeslib",
    "get_errno",
    "load",
    "memmap",
    "open",
    "trust_files",
]
